# SPDX-License-Identifier: GPL-2.0-or-later
# What the scripts in cases/ share: the two programs with the options of the
# combination under test, and filters for what may differ between machines.
# Sourced first by every script; run by tests/iotests/run, which sets TEST_DIR,
# IMGFMT, CACHEMODE, AIOMODE, VBLK_IMG, VBLK_IO.
# shellcheck shell=bash

set -u
# empty where QEMU's tools are not installed
# shellcheck disable=SC2153
: "$QEMU_IMG" "$QEMU_IO"
export IMG=$TEST_DIR/t.$IMGFMT

# Paths, rates, names of programs; sizes on disk; the format under test.
filter() {
    sed -E -e "s#$TEST_DIR#TEST_DIR#g" \
        -e "s#(t|base|mid|top|target|other)\.$IMGFMT#\1.IMGFMT#g" \
        -e "s#\b(vblk|qemu)-(img|io)(: |> | --help)#\2\3#g" \
        -e "s/#block[0-9]+/NODE/g" \
        -e "s#; [0-9:.]+ sec \([^)]*\)#; RATE#" \
        -e "s#^disk size: .*#disk size: SIZE#" \
        -e "s#fmt=$IMGFMT #fmt=IMGFMT #" \
        -e "s#^(.*Block format ')$IMGFMT'#\1IMGFMT'#" \
        -e "s#^file format: $IMGFMT\$#file format: IMGFMT#"
}

# Options of create that only say what the default is are left out.
filter_create() {
    filter | sed -E -e "s# (cluster_size|extended_l2|compression_type|lazy_refcounts|refcount_bits|preallocation)=[^ ]*##g"
}

img() {
    "$VBLK_IMG" "$@" 2>&1 | filter
    return "${PIPESTATUS[0]}"
}

# create OPTIONS... SIZE: $IMG in the format under test
create() {
    "$VBLK_IMG" create -f "$IMGFMT" "$@" 2>&1 | filter_create
    return "${PIPESTATUS[0]}"
}

# io FILE COMMAND...: each command with -c, in the combination under test
io() {
    local file=$1 args=()

    shift
    for command in "$@"; do
        args+=(-c "$command")
    done
    "$VBLK_IO" -f "$IMGFMT" -t "$CACHEMODE" -i "$AIOMODE" \
        "${args[@]}" "$file" 2>&1 | filter
    return "${PIPESTATUS[0]}"
}

# check IMAGE: consistent, for us and, where it is installed, for QEMU.
check() {
    [ "$IMGFMT" = raw ] && return
    "$VBLK_IMG" check -q -f "$IMGFMT" "$1" 2>&1 | filter
    if [ -n "$QEMU_IMG" ]; then
        "$QEMU_IMG" check -q -f "$IMGFMT" "$1" 2>&1 | filter
    fi
}

# poke FILE OFFSET '\x00...': overwrites bytes
poke() {
    # shellcheck disable=SC2059
    printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# peek FILE OFFSET BYTES: in hex
peek() {
    dd if="$1" bs=1 skip="$2" count="$3" status=none | od -An -v -tx1 | tr -d ' \n'
}

title() {
    printf '\n== %s ==\n' "$1"
}

skip() {
    echo "$1"
    exit 77
}
