# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=sh
# Tells the host what the guest's driver made of each disk. Run by /init.
# shellcheck source=tests/functional/guest/guest-lib.sh
. "$GUEST_LIB"

for block in /sys/block/vd*; do
    name=${block##*/}
    for fact in queue/write_cache queue/logical_block_size queue/physical_block_size \
        queue/max_segments queue/max_segment_size queue/discard_max_bytes \
        queue/write_zeroes_max_bytes ro size serial; do
        if [ -e "$block/$fact" ]; then
            say "VALUE $name.${fact##*/}=$(cat "$block/$fact")"
        fi
    done
    set -- "$block"/mq/*
    say "VALUE $name.queues=$#"
    # Bit 34 of the negotiated features; the file lists bit 0 first.
    say "VALUE $name.packed=$(cut -c35 "$block/device/features")"
done
