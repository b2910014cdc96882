#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The same command lines with vblk-img and with Debian's qemu-img.

Both are called "qemu-img" and work in folders of their own, so that all they
print can be compared byte for byte. Each case is run twice: with standard
output and standard error apart, and with both in one pipe, where their order
shows.

A file of cases has a "[title]" and below it lines for the shell; each line is
compared. In them "img" is the program, and "held OPTIONS" runs it while qemu-io
has an image open; other programs prepare images and are the same for both.
Lines that start with # are notes.

Usage: test-same.py VBLK_IMG FILE
"""

import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile

QEMU_IMG = shutil.which("qemu-img")
QEMU_IO = shutil.which("qemu-io")
TIMEOUT = 280
# How much of its medium an image takes is the file system's affair, and the
# time of day is ours, as is how long something takes.
FILTERS = (
    (re.compile(r"^(disk size: ).*$", re.M), r"\1SIZE"),
    (re.compile(r'("actual-size": )\d+'), r"\1SIZE"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "DATE TIME"),
    (re.compile(r'("date-n?sec": )\d+'), r"\1N"),
    (re.compile(r"#block\d+"), "NODE"),
    (re.compile(r"(Run completed in )[0-9.]+"), r"\1TIME"),
)
# "held": runs img while qemu-io has an image open, which it has when it has
# answered.
FUNCTIONS = r"""
img() { "$IMG/qemu-img" "$@"; }
held() {
    local status
    coproc qemu-io $1
    echo length >&"${COPROC[1]}"
    read -r _ <&"${COPROC[0]}"
    img "${@:2}"
    status=$?
    echo quit >&"${COPROC[1]}"
    wait
    return $status
}
"""


class Program:
    """One of the two, with a folder to work in."""

    def __init__(self, path):
        self.folder = tempfile.mkdtemp(prefix="vblk-img-test-")
        os.chmod(self.folder, 0o755)
        self.bin = os.path.join(self.folder, "bin")
        self.work = os.path.join(self.folder, "work")
        os.mkdir(self.bin)
        os.mkdir(self.work)
        os.symlink(os.path.realpath(path), os.path.join(self.bin, "qemu-img"))

    def run(self, line, merged):
        """What a line printed and ended with, as one text."""
        env = dict(os.environ, LC_ALL="C.UTF-8", TZ="UTC", IMG=self.bin)
        result = subprocess.run(
            ["bash", "-c", FUNCTIONS + line], cwd=self.work, env=env,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            timeout=TIMEOUT, check=False)
        text = result.stdout.decode(errors="backslashreplace")
        if not merged:
            text += "\n--- standard error\n"
            text += result.stderr.decode(errors="backslashreplace")
        text += f"\n--- status {result.returncode}\n"
        for pattern, replacement in FILTERS:
            text = pattern.sub(replacement, text)
        return text

    def close(self):
        shutil.rmtree(self.folder)


def difference(lines, path, merged):
    """The lines that the two answer differently, and how."""
    ours, theirs = Program(path), Program(QEMU_IMG)
    problems = []
    for line in lines:
        expected, got = theirs.run(line, merged), ours.run(line, merged)
        if got != expected:
            diff = difflib.unified_diff(expected.splitlines(),
                                        got.splitlines(), "qemu-img",
                                        "vblk-img", lineterm="")
            problems += [f"$ {line}", *diff]
    ours.close()
    theirs.close()
    return problems


def read_cases(path):
    """[(title, [line])]"""
    cases = []
    with open(path, encoding="utf-8") as text:
        for line in text.read().splitlines():
            title = re.fullmatch(r"\[(.*)\]", line)
            if title:
                cases.append((title[1], []))
            elif line and not line.startswith("#"):
                cases[-1][1].append(line)
    return cases


def main():
    """TAP: a point for each case."""
    cases = read_cases(sys.argv[2])
    if not QEMU_IMG or not QEMU_IO:
        print("1..0 # SKIP there is no qemu-img to compare with")
        sys.exit(0)
    print(f"1..{len(cases)}")
    failed = False
    for number, (title, lines) in enumerate(cases, 1):
        problems = (difference(lines, sys.argv[1], False) or
                    difference(lines, sys.argv[1], True))
        failed = failed or bool(problems)
        for text in problems:
            print("# " + text)
        print(f"{'not ok' if problems else 'ok'} {number} - {title}",
              flush=True)
    sys.exit(1 if failed else 0)


main()
