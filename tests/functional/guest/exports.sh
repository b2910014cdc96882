# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=sh
# Disks of different kinds at once, see guest-exports.py: vda plain, vdb
# read-only and prepared by the host, vdc buffered, vdd of 4096-byte sectors.
# shellcheck source=tests/functional/guest/guest-lib.sh
. "$GUEST_LIB"

refuses_to_write() {
    ! io write,bytes=64k
}

disk=/dev/vda
check "the plain disk" io write,bytes=8M,block=16k,depth=8,threads=2,seed=31 flush \
    verify,bytes=8M,block=64k,depth=8,seed=31
disk=/dev/vdb
check "the read-only disk reads" io verify,bytes=4M,block=32k,depth=8,seed=21
check "the read-only disk refuses to be written" refuses_to_write
disk=/dev/vdc
check "the buffered disk" io write,bytes=8M,block=16k,depth=8,seed=32 flush \
    verify,bytes=8M,block=64k,depth=8,seed=32
disk=/dev/vdd
check "the disk of large sectors" \
    io write,bytes=8M,block=16k,align=4096,depth=8,seed=33 flush \
       verify,bytes=8M,block=64k,align=4096,segments=5,depth=8,seed=33
report_verified
