# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What the scripts of this folder share: messages, the source tree's place,
# a temporary directory that goes away. Sourced, never run:
#   . "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib.sh"

set -euo pipefail

# The root of the source tree, from whatever directory the script was called.
# shellcheck disable=SC2034 # used by those who source this file
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)

if [ -t 1 ] && [ -z "${NO_COLOR-}" ] && [ "${TERM-dumb}" != dumb ]; then
    bold=$'\e[1m' red=$'\e[31m' green=$'\e[32m' yellow=$'\e[33m' plain=$'\e[0m'
else
    bold='' red='' green='' yellow='' plain=''
fi

# step TEXT: the next thing to be done.
step() {
    printf '%s==> %s%s\n' "$bold" "$*" "$plain"
}

# note TEXT: a detail of the step.
note() {
    printf '    %s\n' "$*"
}

good() {
    printf '    %s%s%s\n' "$green" "$*" "$plain"
}

warn() {
    printf '%s: %swarning: %s%s\n' "$(basename "$0")" "$yellow" "$*" "$plain" >&2
}

# die CAUSE...: ends the script; the further arguments are lines of help.
die() {
    printf '%s: %serror: %s%s\n' "$(basename "$0")" "$red" "$1" "$plain" >&2
    shift
    [ $# -eq 0 ] || printf '    %s\n' "$@" >&2
    exit 1
}

# make_tempdir: sets $tempdir; it is removed when the script ends, however that
# comes about.
make_tempdir() {
    tempdir=$(mktemp -d "${TMPDIR:-/tmp}/vblk.XXXXXX") ||
        die "cannot make a temporary directory in ${TMPDIR:-/tmp}"
    trap 'rm -rf "$tempdir"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# logged LOG WHAT COMMAND...: runs a command that says too much; its output is
# shown only when it fails.
logged() {
    local log=$1 what=$2
    shift 2
    if ! "$@" > "$log" 2>&1 < /dev/null; then
        tail -n 40 "$log" >&2
        die "$what failed: $*" "all of its output: $log"
    fi
}

# configure_tree BUILD [meson options]: a step of its own.
configure_tree() {
    local build=$1 log
    step "Configuring $build"
    mkdir -p "$build"
    log=$build/configure.log
    logged "$log" "configuring" "$root/configure" "$@"
    sed -n 's/^C compiler for the host machine: \(.*\)$/    \1/p' "$log" | head -n 1
}

# build_tree BUILD: a step of its own; stops at the first error, which ninja
# prints last.
build_tree() {
    step "Building $1"
    ninja -C "$1" < /dev/null ||
        die "the build failed; its first error is above"
}

# find_python: prints one that has matplotlib. A python3 of one's own in front
# of Debian's lacks Debian's modules.
find_python() {
    local candidate
    for candidate in python3 /usr/bin/python3; do
        if "$candidate" -c 'import matplotlib' 2> /dev/null; then
            echo "$candidate"
            return
        fi
    done
    die "python3 has no matplotlib" "scripts/setup --bench installs it"
}
