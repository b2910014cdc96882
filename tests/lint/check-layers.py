#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Every #include of a project's header is granted by layers.txt."""

import fnmatch
import os
import re

import lint

TABLE = "tests/lint/layers.txt"
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def read_table():
    """{folder or file: [patterns]} with the word "base" spelled out."""
    rows = {name: granted.split() for name, granted in lint.table(TABLE)}
    base = rows.pop("base")
    return {name: [p for word in granted for p in (base if word == "base" else [word])]
            for name, granted in rows.items()}


def row_of(name, rows):
    """The longest row that names @name or a folder above it."""
    while name and name not in rows:
        name = os.path.dirname(name)
    return name


def is_granted(name, header, row, patterns):
    """@header as written in @name: of its own folder, or granted by the row."""
    folder = os.path.dirname(name)
    if os.path.dirname(header) in ("", folder, folder.removeprefix("include/")):
        own = f"{lint.ROOT}/{folder}/{os.path.basename(header)}"
        # Beside the file; a row for one file grants what it names alone.
        if os.path.exists(own) and not os.path.isfile(f"{lint.ROOT}/{row}"):
            return True
    return any(p == "**" or (fnmatch.fnmatchcase(header, p)
                             and header.count("/") == p.count("/")) for p in patterns)


def complaints_about(name, rows):
    """The includes of one file that its row does not grant."""
    text = lint.read(name)
    row = row_of(name, rows)
    found = []
    for match in INCLUDE.finditer(text):
        line = text.count("\n", 0, match.start(1)) + 1
        if not row:
            found.append(f"{name}:{line}: its folder has no row in {TABLE}")
        elif not is_granted(name, match[1], row, rows[row]):
            found.append(f"{name}:{line}: {match[1]} is not for {row} ({TABLE})")
    return found


def main():
    """One point for each row, and one for files that no row covers."""
    points = lint.Points()
    rows = read_table()
    found = {row: [] for row in rows}
    stray = []
    for name in lint.c_files():
        row = row_of(name, rows)
        (found[row] if row else stray).extend(complaints_about(name, rows))
    for row, complaints in found.items():
        points.report(f"{row} includes only what it may see", complaints)
    points.report("every folder has its row", stray)
    points.finish()


main()
