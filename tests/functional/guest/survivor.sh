# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=sh
# Looks, in a new guest, for what endless.sh had flushed before the power was
# cut; the host says in vblk.CHUNKS how many chunks that were.
# shellcheck source=tests/functional/guest/guest-lib.sh
. "$GUEST_LIB"

all_there() {
    chunk=0
    while [ $chunk -lt "$VBLK_CHUNKS" ]; do
        io verify,offset=$((chunk * 262144)),bytes=256k,block=64k,depth=4,seed=$((100 + chunk)) \
            || return 1
        chunk=$((chunk + 1))
    done
}

check "all $VBLK_CHUNKS flushed chunks are there" all_there
