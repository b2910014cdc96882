# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=sh
# Block I/O on the bare disk: writes, reads back, verifies, flushes, discards.
# Run by /init in the guest. Leaves a pattern behind that the host checks:
# seed 7 in [0, 16M), seed 9 in [32M, 40M), zeros in [40M, 42M).
# shellcheck source=tests/functional/guest/guest-lib.sh
. "$GUEST_LIB"

cpus=$(nproc)

check "write 16 MiB in rising order, 32 requests at once" \
    io write,bytes=16M,block=4k,depth=32,threads="$cpus",seed=7
check "flush" io flush
check "read back and verify" io verify,bytes=16M,block=64k,depth=8,threads="$cpus",seed=7

# Without its own merging the guest sends neighbours as separate requests.
echo 2 > $queue/nomerges
check "neighbouring 4 KiB writes" \
    io write,offset=16M,bytes=4M,block=4k,depth=64,seed=8
check "neighbouring 4 KiB reads" \
    io verify,offset=16M,bytes=4M,block=4k,depth=64,seed=8
echo 0 > $queue/nomerges

check "requests of many memory pieces, in scattered order" \
    io write,offset=32M,bytes=8M,block=32k,segments=13,depth=16,threads="$cpus",order=random,seed=9 \
       flush \
       verify,offset=32M,bytes=8M,block=8k,segments=3,depth=16,threads="$cpus",order=random,seed=9
check "requests of one sector" \
    io write,offset=48M,bytes=256k,block=512,depth=32,seed=10 \
       verify,offset=48M,bytes=256k,block=512,depth=32,order=random,seed=10
check "overwrite in scattered order" \
    io write,offset=48M,bytes=2M,block=16k,depth=8,threads="$cpus",order=random,seed=11 \
       verify,offset=48M,bytes=2M,block=128k,depth=4,seed=11

check "write zeroes" io write,offset=40M,bytes=2M,block=64k,seed=12 \
    zero,offset=40M,bytes=2M,block=1M zeros,offset=40M,bytes=2M,block=64k
if [ "$(cat $queue/discard_max_bytes)" -gt 0 ]; then
    check "discard" io discard,offset=56M,bytes=4M,block=1M flush
    check "discarded space can be written again" \
        io write,offset=56M,bytes=4M,block=64k,depth=4,seed=13 flush \
           verify,offset=56M,bytes=4M,block=64k,depth=4,seed=13
    check "neighbours of discarded space are intact" \
        io write,offset=64M,bytes=3M,block=64k,seed=14 \
           discard,offset=65M,bytes=1M,block=1M \
           verify,offset=64M,bytes=1M,seed=14 verify,offset=66M,bytes=1M,seed=14
else
    say "SKIP discard: the disk does not offer it"
fi
check "all is still there at the end" io verify,bytes=16M,block=128k,depth=8,seed=7
report_verified
