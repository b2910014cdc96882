#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vblk-io beside the qemu-io that is installed: they have to agree.

Each group of cases.txt is one test; then come scripts on standard input.

Usage: test-peer.py VBLK-IO
"""

import os
import subprocess
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


def make_images(folder):
    """{name: contents} of qcow2 images, the second with a backing file."""
    files = {}
    for name, args in (("q.qcow2", ["q.qcow2", "1000k"]),
                       ("o.qcow2", ["-F", "raw", "-b", "t.raw", "o.qcow2",
                                    "200k"])):
        with open(os.path.join(folder, "t.raw"), "wb") as file:
            file.write(RAW)
        subprocess.run([peer.QEMU_IMG, "create", "-q", "-f", "qcow2", *args],
                       cwd=folder, check=True)
        with open(os.path.join(folder, name), "rb") as file:
            files[name] = file.read()
    return files


def arguments(options, commands):
    args = ["t.raw" if option == "%t" else option for option in options]
    for command in commands:
        args += ["-c", command]
    return args


def main():
    if not peer.QEMU_IO or not peer.QEMU_IMG:
        print("1..0 # SKIP qemu-io and qemu-img are not installed")
        return 0
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
            files = dict(FILES)
            if name.startswith("qcow2"):
                files.update(make_images(scratch))
            for args, stdin in runs:
                lines += pair.compare(files, args, stdin)
        failed += bool(lines)
        print(f"{'not ' if lines else ''}ok {number} {name}", flush=True)
        for line in lines:
            print(f"# {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
