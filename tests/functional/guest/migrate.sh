# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=sh
# A load that verifies itself, round after round, while the machine moves from
# one QEMU to another. Beside it requests of all sizes keep the queues full.
# The host says in vblk.ROUNDS how many rounds there are.
# shellcheck source=tests/functional/guest/guest-lib.sh
. "$GUEST_LIB"

cpus=$(nproc)

while :; do
    vblk-guest-io /dev/vda \
        write,offset=64M,bytes=8M,block=16k,depth=32,threads="$cpus",order=random,seed=5 \
        verify,offset=64M,bytes=8M,block=32k,depth=8,threads="$cpus",order=random,seed=5 \
        || exit 1
done > /dev/null &
load=$!

round=1
while [ $round -le "$VBLK_ROUNDS" ]; do
    at=$((round % 16 * 1048576))
    io write,offset=$at,bytes=1M,block=4k,depth=32,threads="$cpus",order=random,seed=$round \
       flush \
       verify,offset=$at,bytes=1M,block=64k,depth=4,seed=$round > /dev/null \
        || say "FAIL round $round"
    say "ROUND $round"
    round=$((round + 1))
done
check "the load beside the rounds still runs" kill $load
wait $load 2> /dev/null
while [ $round -gt $((VBLK_ROUNDS - 7)) ]; do
    round=$((round - 1))
    check "round $round is there" \
        io verify,offset=$((round % 16 * 1048576)),bytes=1M,block=128k,depth=4,seed=$round
done
report_verified
