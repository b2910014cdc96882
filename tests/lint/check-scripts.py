#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts parse, and shellcheck has nothing to say where it is installed."""

import ast
import os
import shutil
import subprocess

import lint


def syntax_of_python(name):
    """What Python says against the file."""
    try:
        ast.parse(lint.read(name), name)
    except SyntaxError as err:
        return [f"{name}:{err.lineno}: {err.msg}"]
    return []


def complaints(words, name):
    """What a program says against the file."""
    run = subprocess.run([*words, name], check=False, cwd=lint.ROOT, text=True,
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT)
    return run.stdout.splitlines() if run.returncode else []


def not_executable(name):
    """A file with #! that cannot be run, or one to be sourced that can."""
    has_line = lint.read(name).startswith("#!")
    if has_line != os.access(f"{lint.ROOT}/{name}", os.X_OK):
        return [f"{name}: " + ("chmod +x" if has_line else "chmod -x, or add #!")]
    return []


def main():
    """One point for each rule."""
    points = lint.Points()
    names = lint.files()
    python = [n for n in names if lint.kind(n) == "python"]
    shell = [n for n in names if lint.kind(n) == "shell"]
    points.report("Python files parse", [c for n in python for c in syntax_of_python(n)])
    points.report("shell files parse",
                  [c for n in shell for c in complaints(["bash", "-n"], n)])
    points.report("what has #! can be run, and nothing else",
                  [c for n in python + shell for c in not_executable(n)])
    if shutil.which("shellcheck"):
        points.report("shellcheck has nothing to say",
                      [c for n in shell
                       for c in complaints(["shellcheck", "-x", "-f", "gcc"], n)])
    else:
        points.skip("shellcheck has nothing to say", "shellcheck is not installed")
    points.finish()


main()
