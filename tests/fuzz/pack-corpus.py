#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes corpus/TARGET.zip of the files in a folder, the same from the same
files. With --add, those that are there already stay.

Usage: pack-corpus.py [--add] TARGET FOLDER
"""

import os
import sys
import zipfile

HERE = os.path.dirname(os.path.realpath(__file__))


def read_archive(path):
    """name: contents"""
    if not os.path.exists(path):
        return {}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def read_folder(path):
    """name: contents"""
    files = {}
    for name in os.listdir(path):
        with open(os.path.join(path, name), "rb") as file:
            files[name] = file.read()
    return files


def main():
    """See above."""
    arguments = sys.argv[1:]
    add = "--add" in arguments
    target, folder = [word for word in arguments if word != "--add"]
    path = os.path.join(HERE, "corpus", target + ".zip")
    files = read_archive(path) if add else {}
    files.update(read_folder(folder))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED,
                         compresslevel=9) as archive:
        for name, contents in sorted(files.items()):
            entry = zipfile.ZipInfo(name) # of 1980
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, contents)
    print(f"{path}: {len(files)} files, {os.path.getsize(path)} bytes")


if __name__ == "__main__":
    main()
