# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=sh
# Writes chunk after chunk and tells the host of each that has been flushed,
# until the power is cut. Other writes keep the disk busy meanwhile, so that
# the cut finds requests under way.
# shellcheck source=tests/functional/guest/guest-lib.sh
. "$GUEST_LIB"

while :; do
    vblk-guest-io /dev/vda write,offset=64M,bytes=16M,block=16k,depth=32,threads=2,order=random
done > /dev/null 2>&1 &

chunk=0
while [ $chunk -lt 200 ]; do
    io write,offset=$((chunk * 262144)),bytes=256k,block=16k,depth=4,seed=$((100 + chunk)) \
       flush > /dev/null || exit 1
    say "DURABLE $chunk"
    chunk=$((chunk + 1))
done
