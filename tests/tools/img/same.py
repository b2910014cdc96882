# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the same command lines with vblk-img and with Debian's qemu-img.

Both are called "qemu-img" and work in folders of their own, so that all they
print can be compared byte for byte: standard output, standard error and exit
status of every line. Lines are the shell's; "img" in them is the program,
other programs prepare images and are the same for both.
"""

import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile

QEMU_IMG = shutil.which("qemu-img")
TIMEOUT = 120
# How much of its medium an image takes is the file system's affair, and the
# time of day is ours.
FILTERS = (
    (re.compile(r"^(disk size: ).*$", re.M), r"\1SIZE"),
    (re.compile(r'("actual-size": )\d+'), r"\1SIZE"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "DATE TIME"),
    (re.compile(r'("date-n?sec": )\d+'), r"\1N"),
)


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

    def run(self, line):
        """What a line printed and ended with, as one text."""
        env = dict(os.environ, LC_ALL="C.UTF-8", TZ="UTC", IMG=self.bin)
        script = 'img() { "$IMG/qemu-img" "$@"; }\n' + line
        result = subprocess.run(["bash", "-c", script], cwd=self.work, env=env,
                                stdin=subprocess.DEVNULL, capture_output=True,
                                timeout=TIMEOUT, check=False)
        text = (result.stdout.decode(errors="backslashreplace") +
                "--- stderr\n" +
                result.stderr.decode(errors="backslashreplace") +
                f"--- status {result.returncode}\n")
        for pattern, replacement in FILTERS:
            text = pattern.sub(replacement, text)
        return text

    def close(self):
        shutil.rmtree(self.folder)


def difference(script, ours, theirs):
    """The lines of @script that the two answer differently, and how."""
    problems = []
    for line in script.strip().splitlines():
        line = line.strip()
        expected, got = theirs.run(line), ours.run(line)
        if got != expected:
            diff = difflib.unified_diff(expected.splitlines(),
                                        got.splitlines(), "qemu-img",
                                        "vblk-img", lineterm="")
            problems += [f"$ {line}", *diff]
    return problems


def run(program, cases):
    """TAP for a table {name: script}."""
    if not QEMU_IMG:
        print("1..0 # SKIP there is no qemu-img to compare with")
        sys.exit(77)
    print(f"1..{len(cases)}")
    failed = False
    for number, (name, script) in enumerate(cases.items(), 1):
        ours, theirs = Program(program), Program(QEMU_IMG)
        problems = difference(script, ours, theirs)
        ours.close()
        theirs.close()
        failed = failed or bool(problems)
        for text in problems:
            print("# " + text)
        print(f"{'not ok' if problems else 'ok'} {number} - {name}",
              flush=True)
    sys.exit(1 if failed else 0)
