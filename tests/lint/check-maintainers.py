#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""MAINTAINERS says of every file who looks after it, and names no dead file.

A pattern is as in QEMU's file: one ending in a slash covers what lies below it,
any other is a name with * and ? that do not cross a slash.
"""

import re

import lint


def translate(pattern):
    """The regular expression of an F: pattern."""
    if pattern.endswith("/"):
        pattern += "**"
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    words = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(words.get(p, re.escape(p)) for p in parts) + r"\Z")


def sections(text):
    """[(title, {letter: [values]})]: a title stands above a line of dashes."""
    found, lines = [], text.split("\n")
    for above, line in zip(lines, lines[1:]):
        if re.fullmatch(r"-{3,}", line):
            found.append((above, {}))
        entry = re.match(r"([A-Z]): +(.*)", line)
        if entry and found:
            found[-1][1].setdefault(entry[1], []).append(entry[2])
    return found


def main():
    """A point for each rule."""
    points = lint.Points()
    areas = sections(lint.read("MAINTAINERS"))
    patterns = {p: translate(p) for _, area in areas for p in area.get("F", [])}
    names = lint.files()
    points.report("every section has a maintainer, a status and files",
                  [f"section '{title}' has no {letter}:" for title, area in areas
                   for letter in "MSF" if letter not in area])
    points.report("every file is covered",
                  [f"{n}: no F: pattern covers it" for n in names
                   if not any(r.match(n) for r in patterns.values())])
    points.report("every file that is named exists",
                  [f"F: {p}: no such file" for p in patterns
                   if not re.search(r"[*?]|/$", p) and p not in names])
    points.finish()


main()
