#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Each header compiles alone, so that includes can stand in any order.

Arguments: the build directory, then the compiler. The flags are those of the
tree itself, from its compile_commands.json, and what every layer can count on.
"""

import concurrent.futures
import json
import os
import shlex
import subprocess
import sys

import lint

# Of a file's command line, what decides how a header is read.
WANTED = ("-I", "-isystem", "-D", "-std=", "-pthread")
EVERYWHERE = ("glib-2.0", "gio-2.0", "json-glib-1.0", "liburing")


def flags(build_dir):
    """The union, in order, of what the files of the tree are compiled with."""
    with open(f"{build_dir}/compile_commands.json", encoding="utf-8") as f:
        commands = [shlex.split(entry["command"]) for entry in json.load(f)]
    asked = subprocess.run(["pkg-config", "--cflags", *EVERYWHERE], check=True,
                           text=True, stdout=subprocess.PIPE).stdout
    union = dict.fromkeys([f"-I{lint.ROOT}/include", *asked.split()])
    for words in commands:
        for word in words[1:]:
            if word.startswith(WANTED):
                union[word] = None
    return list(union)


def compile_alone(name, compiler, arguments, build_dir):
    """What the compiler says against the header, or nothing."""
    words = [*compiler, *arguments, "-fsyntax-only", "-Wall", "-Wno-unused", "-Werror",
             "-I", f"{lint.ROOT}/{os.path.dirname(name)}",
             "-include", f"{lint.ROOT}/{name}", "-x", "c", os.devnull]
    run = subprocess.run(words, check=False, cwd=build_dir, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return run.stdout.splitlines()[:6] if run.returncode else []


def main(build_dir, compiler):
    """One point for each header."""
    points = lint.Points()
    arguments = flags(build_dir)
    headers = [n for n in lint.c_files() if n.endswith(".h")]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        said = pool.map(lambda n: compile_alone(n, compiler, arguments, build_dir),
                        headers)
        for name, complaints in zip(headers, said):
            points.report(f"{name} compiles alone", complaints)
    points.finish()


main(sys.argv[1], sys.argv[2:])
