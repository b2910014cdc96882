#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Becomes systemd, with a root of its own: the host's programs and libraries,
# the units in ETC, the images in SRV, and nothing else of the host. For
# machine.py, which has made the namespaces that this needs.
#
# usage: machine.sh ROOT ETC SRV DAEMON
set -eu

root=$1 etc=$2 srv=$3 daemon=$4

mount -t tmpfs none "$root"
cd "$root"
mkdir -p etc run tmp var/log srv opt proc sys/fs/cgroup dev/shm usr old
for name in bin sbin lib lib32 lib64 libx32; do
    if [ -L "/$name" ]; then
        ln -s "$(readlink "/$name")" "$name"
    elif [ -d "/$name" ]; then
        mkdir "$name"
        mount --bind "/$name" "$name"
    fi
done
mount --bind /usr usr
mount --bind "$etc" etc
mount --bind "$srv" srv
touch opt/vblk-storage-daemon
mount --bind "$daemon" opt/vblk-storage-daemon
for name in null zero full random urandom; do
    touch "dev/$name"
    mount --bind "/dev/$name" "dev/$name"
done
mount -t proc proc proc
# systemd raises limits of the whole kernel there.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t cgroup2 none sys/fs/cgroup

pivot_root . old
cd /
umount -l old
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    SYSTEMD_UNIT_PATH=/etc/systemd/system /lib/systemd/systemd --system \
    --unit=multi-user.target --show-status=no
