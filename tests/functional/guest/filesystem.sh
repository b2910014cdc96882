# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=sh
# A file system on the disk: made, filled, unmounted, checked, mounted again.
# Run by /init in the guest, on the second disk if there is one; the host runs
# e2fsck on the image afterwards.
# shellcheck source=tests/functional/guest/guest-lib.sh
. "$GUEST_LIB"

[ ! -b /dev/vdb ] || disk=/dev/vdb

# Files of many sizes, some of them synced, some removed, some renamed.
fill() {
    mkdir -p /mnt/a/b /mnt/c || return 1
    for n in 1 2 3 4 5 6 7 8 9 10 11 12; do
        dd if=/dev/urandom of=/mnt/a/f$n bs=$((n * 1777)) count=$((n * 7)) 2> /dev/null || return 1
    done
    dd if=/dev/urandom of=/mnt/a/b/large bs=1M count=6 conv=fsync 2> /dev/null || return 1
    cp -r /mnt/a /mnt/c/copy || return 1
    rm /mnt/a/f3 /mnt/a/f6 || return 1
    mv /mnt/a/f5 /mnt/c/moved || return 1
    sync
}

sums() {
    (cd /mnt && find . -type f | sort | xargs md5sum)
}

same_sums() {
    sums > /tmp/sums.now
    [ -s /tmp/sums ] && cmp /tmp/sums /tmp/sums.now
}

fsck_clean() {
    e2fsck -fn $disk > /tmp/fsck.log 2>&1 && return 0
    cat /tmp/fsck.log
    return 1
}

check "mkfs.ext4" mkfs.ext4 -q -F $disk || exit 0
check "mount" mount -t ext4 -o discard $disk /mnt || exit 0
check "write files" fill
sums > /tmp/sums
check "unmount" umount /mnt
check "fsck finds nothing to mend" fsck_clean
echo 3 > /proc/sys/vm/drop_caches
check "mount again" mount -t ext4 $disk /mnt || exit 0
check "checksums are the same" same_sums
check "trim" fstrim /mnt
check "checksums are the same after trim" same_sums
check "unmount again" umount /mnt
check "fsck finds nothing to mend after trim" fsck_clean
