#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""No file in C calls a function of forbidden.txt."""

import re

import lint

TABLE = "tests/lint/forbidden.txt"
# Comments and literals, so that what they say is not taken for a call.
NOT_CODE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'',
                      re.DOTALL)
NEW_LINES = re.compile(r"[^\n]")


def code_only(text):
    """@text with all else blanked, line by line where it was."""
    return NOT_CODE.sub(lambda m: NEW_LINES.sub(" ", m[0]), text)


def calls(name, function, instead):
    """Complaints about the calls of one function in one file."""
    text = lint.read(name)
    lines = text.split("\n")
    # As a word of its own, and not as a member that happens to bear the name.
    pattern = re.compile(rf"(?<![\w.>]){function}\s*\(")
    return [f"{name}:{n}: {function}: use {instead}"
            for n, line in enumerate(code_only(text).split("\n"), 1)
            if pattern.search(line) and f"lint: allow {function}: " not in lines[n - 1]]


def main():
    """One point for each function."""
    points = lint.Points()
    names = lint.c_files()
    for function, instead in lint.table(TABLE):
        points.report(f"nothing calls {function}",
                      [c for n in names for c in calls(n, function, instead)])
    points.finish()


main()
