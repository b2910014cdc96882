# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=sh
# What the workloads in the guest share. Sourced by each of them; /init says
# where it lies in $GUEST_LIB. Reports go to the host as "VBLK-GUEST: " lines.

disk=/dev/vda
# shellcheck disable=SC2034 # for those who source this file
queue=/sys/block/vda/queue
verified=0

say() { echo "VBLK-GUEST: $*"; }

# check WHAT COMMAND...: one named check; its output is shown either way.
check() {
    what=$1
    shift
    if "$@"; then
        say "PASS $what"
    else
        say "FAIL $what: '$*' gave status $?"
        return 1
    fi
}

# expect WHAT WANTED FOUND: one named check of a value.
expect() {
    if [ "$2" = "$3" ]; then
        say "PASS $1"
    else
        say "FAIL $1: expected '$2', found '$3'"
        return 1
    fi
}

# io OPERATION...: vblk-guest-io on the disk; adds up what has been verified.
io() {
    io_status=0
    vblk-guest-io "$disk" "$@" > /tmp/io.log 2>&1 || io_status=$?
    cat /tmp/io.log
    io_bytes=$(sed -n 's/^verified: \([0-9]*\) bytes$/\1/p' /tmp/io.log)
    verified=$((verified + ${io_bytes:-0}))
    return $io_status
}

# report_verified: tells the host how many bytes came back right.
report_verified() {
    say "VALUE verified_bytes=$verified"
}
