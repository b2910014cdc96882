#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The report that scripts/bench makes of results that are there.

compare-sample.json has what reports have to cope with: goals reached, missed
and not judged, a server that failed, a row that was skipped, figures that were
not measured, rows that make a curve.

Usage: test-report.py SCRIPTS_BENCH
"""

import html
import json
import os
import re
import subprocess
import sys
import tempfile

BENCH = sys.argv[1]
SAMPLE = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                      "compare-sample.json")
CASES = []


def case(fn):
    """Registers a test; its description is its first line."""
    CASES.append(fn)
    return fn


def has_matplotlib():
    """Of one of those that scripts/bench tries."""
    return any(subprocess.run([python, "-c", "import matplotlib"], check=False,
                              capture_output=True).returncode == 0
               for python in ("python3", "/usr/bin/python3"))


def bench(*arguments):
    """Runs scripts/bench on results; returns what subprocess does."""
    return subprocess.run([BENCH, "--no-setup", *arguments], check=False,
                          capture_output=True, text=True, timeout=120)


class World:
    """One report for all cases."""

    def __init__(self, directory):
        self.directory = directory
        with open(SAMPLE, encoding="utf-8") as f:
            self.sample = json.load(f)
        self.run = bench("--from", SAMPLE, "--output", directory)
        self.html = self.text("report.html")
        self.markdown = self.text("report.md").replace("\\", "")

    def text(self, name):
        """A file of the report, or nothing."""
        try:
            with open(os.path.join(self.directory, name),
                      encoding="utf-8") as f:
                return f.read()
        except OSError:
            return ""

    def plot(self, name):
        """Text in a plot, as it would be read."""
        return html.unescape(self.text(os.path.join("plots", name)))


@case
def made(world):
    """the report is made, and named on standard output"""
    assert world.run.returncode == 0, world.run.stderr
    for name in ("report.html", "report.md"):
        assert os.path.join(world.directory, name) in world.run.stdout, name


@case
def rows(world):
    """each row has a heading in both"""
    for row in world.sample["rows"]:
        assert f">{row['row']}</h3>" in world.html, row["row"]
        assert f"\n### {row['row']}\n" in world.markdown, row["row"]


@case
def goals(world):
    """each goal stands there with its row and verdict"""
    for row in world.sample["rows"]:
        for goal in row["goals"]:
            line = f"| {row['row']} | {goal['goal']} | {goal['verdict']} |"
            assert line in world.markdown, line
            assert html.escape(goal["goal"]) in world.html, goal
    assert "4 reached, 1 missed, 2 not judged" in world.markdown


@case
def failures(world):
    """a failed server and a skipped row say why"""
    assert "failed: the server died: exit status 1 <at request 17>" in \
        world.markdown
    assert "&lt;at request 17&gt;" in world.html
    assert "Skipped: /dev/zram0: in use" in world.markdown


@case
def figures(world):
    """medians, spread, ratios and what was not measured"""
    assert "| vblk-native | 230,000 ±4% | 210 |" in world.markdown
    assert "1.47x IOPS, 0.67x CPU of qsd-native" in world.markdown
    assert re.search(r"\| bare-libaio \| [^|]+\| [^|]+\| [^|]+\| - \|",
                     world.markdown)


@case
def bars(world):
    """bars name the servers and each goal of their metric"""
    plot = world.plot("compare-sample-tmpfs-depth-qd32.svg")
    for text in ("qsd-native", "vblk-native", "bare-libaio",
                 "vblk-native iops >= 1.3 qsd-native",
                 "vblk-native cpu <= 0.8 qsd-native",
                 "vblk-native iops >= 0.92 bare-libaio"):
        assert text in plot, text
    assert "failed" in world.plot("compare-sample-null-4k-qd32.svg")


@case
def curves(world):
    """rows that differ in depth become latency and cost curves"""
    base = "compare-sample-tmpfs-depth-iodepth"
    assert "latency against IOPS" in world.plot(f"{base}-latency.svg")
    assert "cost of a request" in world.plot(f"{base}-cost.svg")


@case
def pictures(world):
    """all pictures are in the HTML, and beside the markdown"""
    paths = re.findall(r"\]\((plots/[^)]+)\)", world.markdown)
    assert len(paths) == 6, paths
    assert sorted(os.path.basename(p) for p in paths) == \
        sorted(os.listdir(os.path.join(world.directory, "plots")))
    assert world.html.count("data:image/svg+xml;base64,") == len(paths)


@case
def bad_input(world):
    """what is no comparison is refused by name"""
    for content in ("", "[]", '{"rows": [{"row": "x"}]}'):
        path = os.path.join(world.directory, "bad.json")
        with open(path, "w", encoding="utf-8") as f:
            f.write(content)
        run = bench("--from", path, "--output", world.directory)
        assert run.returncode == 1, run
        assert f"{path}: not a comparison" in run.stderr, run.stderr
        assert "Traceback" not in run.stderr, run.stderr


def main():
    """TAP."""
    if not has_matplotlib():
        print("1..0 # SKIP no matplotlib: scripts/setup --bench installs it")
        sys.exit(0)
    bad = 0
    print(f"1..{len(CASES)}")
    with tempfile.TemporaryDirectory(prefix="vblk-report-") as directory:
        world = World(directory)
        for number, fn in enumerate(CASES, 1):
            try:
                fn(world)
                print(f"ok {number} - {fn.__doc__}")
            except AssertionError as err:
                bad += 1
                print(f"not ok {number} - {fn.__doc__}")
                print("\n".join(f"# {line}" for line in str(err).splitlines()))
    sys.exit(1 if bad else 0)


main()
