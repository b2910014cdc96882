#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules for the text of every file: licence line, white space, length."""

import re

import lint

SPDX = "SPDX-License-Identifier: GPL-2.0-or-later"
MAX_LINES = 800
NOTE = re.compile(r"(/\*|//|#|^\s*\*)\s*(TODO|FIXME|XXX)\b")
# Not ours to reformat, or full of what an image's or a tool's output needs.
AS_IT_IS = ("COPYING",)
AS_IT_IS_SUFFIX = (".out", ".patch", ".svg", ".png", ".zip")


def spdx(name, text):
    """Line 1 in C, one of the first two where a #! may come first."""
    what = lint.kind(name)
    if what == "c" and text.split("\n", 1)[0] != f"/* {SPDX} */":
        return [f"{name}:1: line 1 must be '/* {SPDX} */'"]
    if what in ("python", "shell", "meson"):
        if not any(line == f"# {SPDX}" for line in text.split("\n")[:2]):
            return [f"{name}:1: line 1 or 2 must be '# {SPDX}'"]
    return []


def tabs(name, text):
    """No tab: indentation is four spaces."""
    return [f"{name}:{n}: a tab" for n, line in enumerate(text.split("\n"), 1)
            if "\t" in line]


def trailing(name, text):
    """Nothing after the last visible character, and one newline at the end."""
    found = [f"{name}:{n}: white space at the end of the line"
             for n, line in enumerate(text.split("\n"), 1) if line != line.rstrip()]
    if text and not text.endswith("\n"):
        found.append(f"{name}: the last line does not end")
    if text.endswith("\n\n"):
        found.append(f"{name}: empty lines at the end")
    return found


def length(name, text):
    """A file of many lines hides several jobs."""
    lines = text.count("\n")
    return [f"{name}: {lines} lines: split it"] if lines > MAX_LINES else []


def todo(name, text):
    """A note about work to be done belongs where it is found."""
    if lint.kind(name) not in ("c", "python", "shell"):
        return []
    return [f"{name}:{n}: put it into docs/todo.rst and name its entry here"
            for n, line in enumerate(text.split("\n"), 1)
            if NOTE.search(line) and "docs/todo.rst" not in line]


def main():
    """One point for each rule."""
    texts = {n: lint.read(n) for n in lint.files() if n not in AS_IT_IS
             and not n.endswith(AS_IT_IS_SUFFIX)}
    rules = [("the licence line comes first", spdx), ("no tab", tabs),
             ("no white space at the end", trailing),
             (f"no file over {MAX_LINES} lines", length),
             ("each note about work to be done has its entry in docs/todo.rst", todo)]
    points = lint.Points()
    for what, rule in rules:
        points.report(what, [c for n, t in texts.items() for c in rule(n, t)])
    points.finish()


main()
