# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=sh
# The driver lets go of the device and takes it again, which resets it and
# negotiates anew on the same connection; then the write cache is switched.
# shellcheck source=tests/functional/guest/guest-lib.sh
. "$GUEST_LIB"

again() {
    rmmod virtio_blk && insmod /modules/virtio_blk.ko || return 1
    tries=0
    while [ ! -b $disk ] && [ $tries -lt 100 ]; do
        tries=$((tries + 1))
        usleep 20000
    done
    [ -b $disk ]
}

check "write before" io write,offset=16M,bytes=2M,block=64k,depth=8,seed=41
for round in 1 2 3; do
    check "reload the driver, round $round" again
    check "verify after round $round" io verify,offset=16M,bytes=2M,block=64k,depth=8,seed=41
done

if [ "${VBLK_WCE:-0}" = 1 ]; then
    cache=/sys/block/vda/cache_type
    echo "write through" > $cache
    expect "the cache can be switched to write through" "write through" "$(cat $cache)"
    check "write and verify in write-through mode" \
        io write,offset=20M,bytes=1M,block=16k,depth=8,seed=42 \
           verify,offset=20M,bytes=1M,block=16k,depth=8,seed=42
    echo "write back" > $cache
    expect "the cache can be switched back" "write back" "$(cat $cache)"
    check "flush after it" io write,offset=20M,bytes=64k,seed=43 flush
else
    say "SKIP switching the write cache"
fi
