#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A fuzz target as a test: over its corpus, and over changed copies of each of
its files, the same ones every time. One TAP point for each file.

Usage: run-corpus.py TARGET CORPUS.zip
"""

import os
import subprocess
import sys
import tempfile
import zipfile

COPIES = "60"


def check(target, path, number):
    """Says how it went, and why if it did not go well."""
    name = os.path.basename(path)
    run = subprocess.run([target, "-n", COPIES, path], check=False, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         errors="replace")
    if run.returncode == 0:
        print(f"ok {number} {name}")
        return 0
    print(f"not ok {number} {name}")
    for line in run.stdout.splitlines():
        print(f"# {line}")
    return 1


def main():
    """See above."""
    target, corpus = sys.argv[1:]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(corpus) as archive:
            archive.extractall(folder)
        names = sorted(os.listdir(folder))
        print(f"1..{len(names)}", flush=True)
        for number, name in enumerate(names, 1):
            failed += check(target, os.path.join(folder, name), number)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
