# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=sh
# Writes and verifies round after round, and tells the host when a round
# begins: it then kills the server, or has another one take over. Reads of what
# was written before go on all the time, while the host slows writes down.
# shellcheck source=tests/functional/guest/guest-lib.sh
. "$GUEST_LIB"

check "what is read all the time is written" \
    io write,offset=32M,bytes=8M,block=512k,depth=4,seed=77 flush
while :; do
    vblk-guest-io /dev/vda verify,offset=32M,bytes=8M,block=4k,depth=8,order=random,seed=77 \
        > /tmp/reader.log 2>&1 || say "FAIL reads: $(cat /tmp/reader.log)"
done &
reader=$!

round=0
while [ $round -lt "$VBLK_ROUNDS" ]; do
    say "ROUND $round"
    at=offset=$((round * 262144)),bytes=256k,block=4k,depth=32,seed=$((100 + round))
    check "round $round" io write,"$at",order=random flush verify,"$at"
    round=$((round + 1))
done
kill $reader
check "all is there at the end" io verify,offset=32M,bytes=8M,block=64k,depth=8,seed=77
round=0
while [ $round -lt "$VBLK_ROUNDS" ]; do
    io verify,offset=$((round * 262144)),bytes=256k,block=4k,depth=8,seed=$((100 + round)) \
        || say "FAIL round $round is gone"
    round=$((round + 1))
done
report_verified
