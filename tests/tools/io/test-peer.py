#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vblk-io beside the qemu-io that is installed: they have to agree.

Each group of cases.txt is one test; then come scripts on standard input.

Usage: test-peer.py VBLK-IO
"""

import os
import sys
import tempfile

import peer

RAW = bytes(range(256)) * 256
FILES = {"t.raw": RAW, "pat": b"abc", "empty": b""}

SCRIPTS = [
    "length\n",
    "length",
    "\n",
    "\n\nlength\n\n",
    "",
    "quit\nlength\n",
    "bogus\n",
    "read 0 512\nread -P 5 0 512\nlength\n",
    "read 0 x\n",
    "read -v 0 16\naio_flush\n",
    "close\nlength\n",
    "\r\nlength\r\n",
    "aio_write -P 3 0 512\naio_flush\nread -P 3 0 512\nq\n",
    "x" * 1022 + "\n" + "y" * 1023 + "\n" + "z" * 1024 + "\n" + "length\n",
    "x" * 5000,
    "le\0ngth\nlength\n",
]


def read_cases(path):
    """[(name, options, [[command]])] in the order of the file."""
    groups = []
    with open(path, encoding="ascii") as file:
        for line in file:
            line = line.rstrip("\n")
            if not line or line.startswith("#"):
                continue
            if line.startswith("["):
                name, options = line[1:].split("]", 1)
                groups.append((name, options.split() or
                               ([] if name.startswith("no-") else
                                ["-f", "raw", "%t"]), []))
            else:
                commands = line.replace("\\t", "\t").split(" ;; ")
                groups[-1][2].append(commands)
    return groups


def arguments(options, commands):
    args = ["t.raw" if option == "%t" else option for option in options]
    for command in commands:
        args += ["-c", command]
    return args


def main():
    if not peer.QEMU_IO:
        print("1..0 # SKIP qemu-io is not installed")
        return 77
    folder = os.path.dirname(os.path.abspath(__file__))
    groups = read_cases(os.path.join(folder, "cases.txt"))
    tests = [(name, [(arguments(options, commands), None)
                     for commands in runs]) for name, options, runs in groups]
    tests.append(("standard-input", [(["-f", "raw", "t.raw"], script)
                                     for script in SCRIPTS]))
    print(f"1..{len(tests)}")
    failed = 0
    for number, (name, runs) in enumerate(tests, 1):
        with tempfile.TemporaryDirectory(prefix="vblk-") as scratch:
            pair = peer.Pair(os.path.abspath(sys.argv[1]), scratch)
            lines = []
            for args, stdin in runs:
                lines += pair.compare(FILES, args, stdin)
        failed += bool(lines)
        print(f"{'not ' if lines else ''}ok {number} {name}", flush=True)
        for line in lines:
            print(f"# {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
