# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=sh
# Writes more than the host has room for, round after round: the writes hang
# until the host has made room, and then all is there.
# shellcheck source=tests/functional/guest/guest-lib.sh
. "$GUEST_LIB"

round=0
while [ $round -lt "$VBLK_ROUNDS" ]; do
    at=offset=$((round * VBLK_BYTES)),bytes=$VBLK_BYTES,block=16k,depth=32,seed=$((100 + round))
    say "FILL $round"
    check "round $round is written" io write,"$at",order=random flush
    say "WRITTEN $round"
    check "round $round is there" io verify,"$at"
    round=$((round + 1))
done
round=0
while [ $round -lt "$VBLK_ROUNDS" ]; do
    check "round $round is still there" io verify,depth=8,block=64k,seed=$((100 + round)),offset=$((round * VBLK_BYTES)),bytes="$VBLK_BYTES"
    round=$((round + 1))
done
report_verified
