#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Instructions a request, held against tests/bench/instructions.txt.

request-cost sends a fixed number of requests through the device and an engine
under callgrind; one TAP point for each of its cases. More than the figure and
its slack fails. Another compiler, or another kind of build, than the figures
were made with counts differently: then all is skipped.

Usage: guard.py [--update] REQUEST_COST "COMPILER VERSION CPU -OLEVEL"
                [SANITIZERS]

--update writes the file anew. scripts/check --update-guard calls it so.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

FIGURES = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                       "instructions.txt")
SLACK = 0.05
TIMEOUT = 60  # seconds; a case takes one


class Skip(Exception):
    """A case cannot run here."""


def skip_all(reason):
    """Ends the program."""
    print(f"1..0 # SKIP {reason}")
    sys.exit(0)


def read_figures():
    """(what they were made with, {case: instructions a request})."""
    made_with, figures = "", {}
    with open(FIGURES, encoding="utf-8") as f:
        for line in f:
            words = line.split("#", 1)[0].split(None, 1)
            if not words:
                continue
            if words[0] == "made-with":
                made_with = words[1].strip()
            else:
                figures[words[0]] = float(words[1])
    return made_with, figures


def write_figures(made_with, figures):
    """Keeps the comment at the top."""
    with open(FIGURES, encoding="utf-8") as f:
        head = [line for line in f if line.startswith("#")]
    with open(FIGURES, "w", encoding="utf-8") as f:
        f.writelines(head)
        f.write(f"\nmade-with {made_with}\n\n")
        for case, figure in figures.items():
            f.write(f"{case:<20} {figure:8.1f}\n")


def cases(program):
    """Names, in the program's order."""
    return subprocess.run([program], check=True, stdout=subprocess.PIPE,
                          text=True).stdout.split()


def count(program, case, directory):
    """Instructions a request of @case."""
    out = os.path.join(directory, case)
    run = subprocess.run(
        ["valgrind", "--tool=callgrind", "--collect-atstart=no",
         f"--callgrind-out-file={out}", program, case],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        timeout=TIMEOUT, check=False)
    said = [line for line in run.stderr.splitlines()
            if line and not line.startswith("==")]
    if run.returncode == 77:
        raise Skip(" ".join(said))
    if run.returncode != 0:
        raise RuntimeError(f"exit status {run.returncode}: {' '.join(said)}")
    with open(out, encoding="utf-8") as f:
        total = re.search(r"^summary: (\d+)", f.read(), re.MULTILINE)
    if not total or not int(total[1]):
        raise RuntimeError("callgrind counted nothing")
    return int(total[1]) / int(run.stdout)


def judge(case, counted, figure):
    """(good, what to say)."""
    if figure is None:
        return False, f"{counted:.1f}, and no figure in instructions.txt"
    change = counted / figure - 1
    text = f"{counted:.1f} instructions a request, {change:+.1%} of {figure:.1f}"
    if change > SLACK:
        return False, f"{text}: see docs/testing.rst, Speed"
    if change < -SLACK:
        text += ": better; scripts/check --update-guard keeps it so"
    return True, text


def check(program, figures, directory):
    """Prints the points; returns how many are bad."""
    names = cases(program)
    bad = 0
    print(f"1..{len(names)}")
    for number, case in enumerate(names, 1):
        try:
            good, text = judge(case, count(program, case, directory),
                               figures.get(case))
        except Skip as reason:
            good, text = True, f"# SKIP {reason}"
        except (RuntimeError, subprocess.TimeoutExpired) as err:
            good, text = False, str(err)
        bad += not good
        if text.startswith("# SKIP"):
            print(f"ok {number} - {case} {text}", flush=True)
            continue
        if good:
            print(f"ok {number} - {case}\n# {text}", flush=True)
        else:
            print(f"not ok {number} - {case}: {text}", flush=True)
    return bad


def update(program, made_with, directory):
    """Counts and writes; a case that cannot run keeps its figure."""
    _, old = read_figures()
    new = {}
    for case in cases(program):
        try:
            new[case] = count(program, case, directory)
        except Skip as reason:
            print(f"{case}: {reason}", file=sys.stderr)
            if case in old:
                new[case] = old[case]
            continue
        was = f"{old[case]:.1f}" if case in old else "new"
        print(f"{case:<20} {was:>8} -> {new[case]:8.1f}")
    write_figures(made_with, new)


def main(arguments):
    """Returns the exit status."""
    updating = arguments[:1] == ["--update"]
    program, made_with, *sanitizers = arguments[1 if updating else 0:]
    if not shutil.which("valgrind"):
        skip_all("valgrind is not installed")
    if sanitizers and sanitizers[0] != "none":
        skip_all(f"built with a sanitizer: {sanitizers[0]}")
    reference, figures = read_figures()
    with tempfile.TemporaryDirectory(prefix="vblk-guard-") as directory:
        if updating:
            update(program, made_with, directory)
            return 0
        if made_with != reference:
            skip_all(f"built with {made_with}, and the figures in "
                     f"tests/bench/instructions.txt are of {reference}")
        return 1 if check(program, figures, directory) else 0


sys.exit(main(sys.argv[1:]))
