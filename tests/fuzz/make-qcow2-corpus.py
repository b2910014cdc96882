#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Small qcow2 images of all kinds, made by qemu-img and qemu-io, for the fuzz
targets to begin with.

Usage: make-qcow2-corpus.py DIRECTORY [BYTES]

With BYTES, each is there three times, with so many random bytes behind it,
the same ones every time: what fuzz-qcow2-write does to it.

Called by people, and by run-corpus.py.
"""

import os
import random
import shutil
import subprocess
import sys

SIZE = "64k"

# name: options of the image, commands for qemu-io
IMAGES = {
    "plain": ("cluster_size=512", ["write -P 1 0 3k", "write -z 4k 1k"]),
    "v2": ("cluster_size=512,compat=0.10", ["write -P 1 1k 3k"]),
    "empty": ("cluster_size=512", []),
    "cluster-4k": ("cluster_size=4k", ["write -P 1 0 9k",
                                       "write -zu 12k 4k"]),
    "extended-l2": ("cluster_size=16k,extended_l2=on",
                    ["write -P 1 0 1k", "write -z 2k 1k",
                     "write -P 2 20k 9k"]),
    "zlib": ("cluster_size=4k", ["write -c -P 1 0 4k", "write -c -P 2 8k 4k",
                                 "write -P 3 8k 512"]),
    "zstd": ("cluster_size=4k,compression_type=zstd",
             ["write -c -P 1 0 4k", "write -c -P 2 8k 4k"]),
    "refcounts-1": ("cluster_size=512,refcount_bits=1",
                    ["write -P 1 0 3k", "discard 1k 1k"]),
    "refcounts-64": ("cluster_size=512,refcount_bits=64", ["write 0 3k"]),
    "lazy": ("cluster_size=512,lazy_refcounts=on", ["write 0 1k"]),
    "preallocated": ("cluster_size=4k,preallocation=metadata", []),
    "data-file": ("cluster_size=4k,data_file=@data", ["write 0 8k"]),
    "backing": ("cluster_size=512,backing_file=@base,backing_fmt=raw",
                ["write 2k 1k"]),
}


# of these also with a snapshot and a bitmap
SNAPSHOTS = ["plain", "v2", "extended-l2", "zlib"]


def run(*argv):
    """Fails loudly."""
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def make(directory, name, options, commands):
    """One image, and what belongs to it while it is made."""
    path = os.path.join(directory, name)
    base, data = path + ".base", path + ".data"
    options = options.replace("@base", base).replace("@data", data)
    run("qemu-img", "create", "-q", "-f", "raw", base, SIZE)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, path, SIZE)
    for command in commands:
        run("qemu-io", "-f", "qcow2", "-c", command, path)
    if name in SNAPSHOTS:
        snapshot = path + "-snapshots"
        shutil.copyfile(path, snapshot)
        run("qemu-img", "snapshot", "-c", "one", snapshot)
        if "compat=0.10" not in options:
            run("qemu-img", "bitmap", "--add", "-g", "512", snapshot, "b")
        run("qemu-io", "-f", "qcow2", "-c", "write 1k 2k", snapshot)
    for leftover in (base, data):
        if os.path.exists(leftover):
            os.unlink(leftover)


def add_scripts(directory, size):
    """Copies of each image instead of it."""
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        with open(path, "rb") as file:
            image = file.read()
        os.unlink(path)
        for copy in "abc":
            rand = random.Random(f"{name}-{copy}")
            with open(f"{path}-{copy}", "wb") as file:
                file.write(image + rand.randbytes(size))


def main():
    """See above."""
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 1
    os.makedirs(sys.argv[1], exist_ok=True)
    for name, (options, commands) in IMAGES.items():
        make(sys.argv[1], name, options, commands)
    if len(sys.argv) == 3:
        add_scripts(sys.argv[1], int(sys.argv[2]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
