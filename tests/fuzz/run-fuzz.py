#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs libFuzzer's targets, one after the other, each for so many seconds,
beginning with what is checked in. One TAP point for each.

Usage: run-fuzz.py [--seconds N] [--keep FOLDER] [--arguments TEXT] BUILD
                   [TARGET...]

BUILD is a build folder made with -Dfuzz=true. With --keep, what is found (crash
and inputs that reach something new) stays in FOLDER/TARGET; a later run goes
on from there. Called by scripts/check --fuzz, and by people for hours.
"""

import argparse
import glob
import os
import re
import shlex
import subprocess
import sys
import tempfile
import zipfile

HERE = os.path.dirname(os.path.realpath(__file__))
# How long an input may be, and take, and how much memory.
LIMITS = {"fuzz-qcow2-open": 131072, "fuzz-qcow2-check": 131072,
          "fuzz-qcow2-write": 131072,
          "fuzz-vhost-user": 8192, "fuzz-options": 4096,
          "fuzz-handover": 4096}
OPTIONS = ["-timeout=30", "-rss_limit_mb=2048", "-use_value_profile=0",
           "-print_final_stats=1", "-verbosity=1"]


def targets(build):
    """Names of all that were built."""
    return sorted(os.path.basename(path)
                  for path in glob.glob(os.path.join(build, "tests/fuzz/fuzz-*"))
                  if os.access(path, os.X_OK) and os.path.isfile(path))


def unpack(name, folder):
    """What is checked in, as files."""
    corpus = os.path.join(HERE, "corpus", name + ".zip")
    if os.path.exists(corpus):
        with zipfile.ZipFile(corpus) as archive:
            archive.extractall(folder)


def fuzz(options, name, folder):
    """Runs one; its last words as a list of lines, and whether all was well."""
    new, seeds = os.path.join(folder, "new"), os.path.join(folder, "seeds")
    os.makedirs(new, exist_ok=True)
    os.makedirs(seeds, exist_ok=True)
    unpack(name, seeds)
    program = os.path.abspath(os.path.join(options.build, "tests/fuzz", name))
    run = subprocess.run(
        [program, *OPTIONS, f"-max_len={LIMITS.get(name, 2048)}",
         f"-max_total_time={options.seconds}", "-artifact_prefix=./",
         *shlex.split(options.arguments), new, seeds],
        cwd=folder, check=False, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
        text=True)
    return run.stdout.splitlines(), run.returncode == 0


def report(number, name, lines, good):
    """One point, with how much was tried or what was found."""
    stats = dict(re.findall(r"stat::(\w+):\s+(\d+)", "\n".join(lines)))
    print(f"{'ok' if good else 'not ok'} {number} {name}")
    print(f"# {stats.get('number_of_executed_units', '?')} executions, "
          f"{stats.get('average_exec_per_sec', '?')} a second")
    for line in [] if good else [line for line in lines
                                     if not line.startswith("#")][-30:]:
        print(f"# {line}")
    sys.stdout.flush()


def main():
    """See above."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--keep")
    parser.add_argument("--arguments", default="")
    parser.add_argument("build")
    parser.add_argument("target", nargs="*")
    options = parser.parse_args()
    names = options.target or targets(options.build)
    failed = 0
    os.environ.setdefault("ASAN_OPTIONS", "detect_stack_use_after_return=1:"
                          "strict_string_checks=1:allocator_may_return_null=1")
    os.environ.setdefault("UBSAN_OPTIONS", "halt_on_error=1:"
                          "print_stacktrace=1")
    print(f"1..{len(names)}", flush=True)
    for number, name in enumerate(names, 1):
        with tempfile.TemporaryDirectory() as scratch:
            folder = os.path.join(options.keep, name) if options.keep else scratch
            lines, good = fuzz(options, name, os.path.abspath(folder))
        report(number, name, lines, good)
        failed += not good
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
