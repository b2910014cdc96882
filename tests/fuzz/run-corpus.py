#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A fuzz target as a test: over a corpus that is made for it, and over changed
copies of that. One TAP point for each file.

Usage: run-corpus.py TARGET MAKE_CORPUS

Skips where the corpus cannot be made for want of a program.
"""

import os
import shutil
import subprocess
import sys
import tempfile

COPIES = "100"
NEEDED = ["qemu-img", "qemu-io"]


def check(target, path, number):
    """Says how it went, and why if it did not go well."""
    name = os.path.basename(path)
    run = subprocess.run([target, "-n", COPIES, path], check=False, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         errors="replace")
    if run.returncode == 0:
        print(f"ok {number} {name}")
        return
    print(f"not ok {number} {name}")
    for line in run.stdout.splitlines():
        print(f"# {line}")


def main():
    """See above."""
    target, make_corpus = sys.argv[1:]
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing:
        print(f"1..0 # SKIP {missing[0]} is not installed")
        return
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([make_corpus, directory], check=True)
        names = sorted(os.listdir(directory))
        print(f"1..{len(names)}", flush=True)
        for number, name in enumerate(names, 1):
            check(target, os.path.join(directory, name), number)


if __name__ == "__main__":
    main()
