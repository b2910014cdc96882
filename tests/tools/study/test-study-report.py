#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The report that scripts/study makes of results that are there.

sample.jsonl has what reports have to cope with: rows inside and outside the old
study, differences that chance explains, servers that failed, a round that was
repeated, figures and servers that were not measured.

Usage: test-study-report.py SCRIPTS_STUDY
"""

import json
import os
import re
import subprocess
import sys
import tempfile

STUDY = sys.argv[1]
SAMPLE = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                      "sample.jsonl")
MAX_LINES = 800  # tests/lint/check-text.py: reports are checked in
CASES = []


def case(fn):
    """Registers a test; its description is its first line."""
    CASES.append(fn)
    return fn


class Report:
    """What is made of a file of results."""

    def __init__(self, results, folder):
        self.folder = folder
        self.run = subprocess.run(
            [STUDY, "--no-setup", f"--from={results}", f"--output={folder}"],
            check=False, capture_output=True, text=True, timeout=120)

    def text(self, name):
        """A file of it; reStructuredText without its backslashes."""
        with open(os.path.join(self.folder, name), encoding="utf-8") as f:
            return f.read().replace("\\", "")


def changed(folder, change):
    """The report of the sample with its rounds changed."""
    with open(SAMPLE, encoding="utf-8") as f:
        header, *rounds = map(json.loads, f)
    path = os.path.join(folder, "changed.jsonl")
    with open(path, "w", encoding="utf-8") as f:
        for record in [header, *change(rounds)]:
            f.write(json.dumps(record) + "\n")
    return Report(path, os.path.join(folder, "changed"))


@case
def made(report, _folder):
    """all pages are made, named, and short enough to be checked in"""
    assert report.run.returncode == 0, report.run.stderr
    for name in ("report.html", "index.rst", "which-aio.rst"):
        assert name in report.run.stdout, report.run.stdout
        text = report.text(name)
        assert text.count("\n") < MAX_LINES, name
        assert text.endswith("\n") and "\t" not in text, name
        assert not re.search(r"[ \t]$", text, re.MULTILINE), name


@case
def verdicts(report, _folder):
    """each row has the study's words, and whether they hold for each"""
    text = report.text("index.rst")
    assert ('ssd-ext4-raw-full-1vm-randread-4k,"N: randwrite, write, randrw; '
            'T: 4k read 10-15 %, 4k randread 8 %",holds: threads +15 %,'
            'no longer: native +20 %') in text
    assert "qemu-storage-daemon: of 2 statements 1 hold." in text
    assert "vblk: of 2 statements 0 hold." in text


@case
def chance(report, _folder):
    """what chance explains is no difference, and nor is what is small"""
    line = next(line for line in report.text("index.rst").splitlines()
                if line.startswith("   ssd-ext4-qcow2-off-16vm-randwrite-4k"))
    assert line.endswith("no longer: equal (+8 %),no longer: equal (-3 %)"), \
        line


@case
def outside(report, _folder):
    """rows that the study lacks, and servers without figures, are marked"""
    assert ("hdd-xfs-qcow2-metadata-1vm-read-64k,(not in the study),"
            "not measured: -,native +8 %") in report.text("index.rst")


@case
def figures(report, _folder):
    """means, deviations, and a dash for what was not measured"""
    text = report.text("index.rst")
    assert 'qsd-threads,"116,000",1.2%,"1,000",5.50,5.25,0.250,0.125,4.0,0.0%' \
        in text
    assert 'qsd-native,"101,000",1.4%,"1,000",5.50,-,' in text


@case
def failures(report, _folder):
    """failures are told, but not those that were mended"""
    text, page = report.text("index.rst"), report.text("report.html")
    assert "qsd-threads failed: server died <at request 17>" in text
    assert "&lt;at request 17&gt;" in page
    assert "lost & mended" not in text
    assert 'qsd-native,710,0.0%' in text, "the repeated round counts"


@case
def charts(report, _folder):
    """a chart for each family, in the page, with ids of its own"""
    page = report.text("report.html")
    assert page.count("<svg") == 3
    for name in ("ssd-ext4-raw-1vm", "ssd-ext4-qcow2-16vm",
                 "hdd-xfs-qcow2-1vm"):
        assert f'aria-label="{name}: IOPS' in page, name
    ids = re.findall(r'<\w+[^>]* id="([^"]+)"', page)
    assert len(ids) == len(set(ids)), "ids are there twice"
    for target in re.findall(r'(?:xlink:href="|url\()#([^")]+)', page):
        assert target in ids, target
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)


@case
def unmeasured(report, _folder):
    """what of the study has no row here is listed, NFS with its reason"""
    text = report.text("index.rst")
    assert "ssd ext4 raw yes over NFS,1," in text
    assert "hdd none raw yes,16,N all" in text
    assert "ssd ext4 raw yes,1," not in text
    assert "libnfs" in text


@case
def machine(report, _folder):
    """the machine, the settings and who was left out are told"""
    text = report.text("index.rst")
    for part in ("2 x Processor of a_test", "there is none", "Each row ran 1 or 2 times",
                 "250ms (1s", "have 0.5 GiB together", "8 times the speed",
                 "load,2.1 (1.5 to 2.8)"):
        assert part in " ".join(text.split()), part


@case
def advice(report, _folder):
    """the advice follows from what aio=auto did"""
    text = report.text("which-aio.rst")
    assert "None: leave it out." in text
    plain = " ".join(text.split())
    assert "0.97 of the best fixed mode's in 2, behind by more than chance " \
        "explains in 1, and too uncertain to tell in 0." in plain
    assert ('ssd-ext4-raw-full-1vm-randread-4k,native,"120,000",0.99x,±2%,'
            "1.03x,1.04x,threads") in text
    assert "native in 3 rows" in text


@case
def busy(report, folder):
    """results of a busy machine begin with a warning, others have none"""
    def load(rounds):
        return [dict(record, load=9.0) for record in rounds]

    def partly(rounds):
        return [dict(record, load=12.0 if i else 1.9)
                for i, record in enumerate(rounds)]

    words = "Do not quote these figures"
    pages = changed(folder, load)
    for name in ("index.rst", "which-aio.rst", "report.html"):
        assert words in " ".join(pages.text(name).split()), name
        assert words not in " ".join(report.text(name).split()), name
    # 16 machines are a load of their own
    assert words not in " ".join(
        changed(folder, partly).text("index.rst").split())


@case
def without_auto(_report, folder):
    """without aio=auto in the results the advice says so"""
    def drop(rounds):
        for record in rounds:
            record["servers"].pop("vblk-auto", None)
        return rounds

    text = changed(folder, drop).text("which-aio.rst")
    assert "no row with aio=auto" in text and "leave it out" not in text


@case
def bad_rows(_report, folder):
    """results of no rows, or of rows that there are not, are refused"""
    def rename(rounds):
        rounds[0]["row"] = "tape-none"
        return rounds

    for change, word in ((rename, "'tape-none'"), (lambda _: [], "no results")):
        run = changed(folder, change).run
        assert run.returncode == 1 and word in run.stderr, run


def main():
    """TAP."""
    if all(subprocess.run([python, "-c", "import matplotlib"], check=False,
                          capture_output=True).returncode
           for python in ("python3", "/usr/bin/python3")):
        print("1..0 # SKIP no matplotlib")
        sys.exit(0)
    bad = 0
    print(f"1..{len(CASES)}")
    with tempfile.TemporaryDirectory(prefix="vblk-study-report-") as folder:
        report = Report(SAMPLE, os.path.join(folder, "report"))
        for number, fn in enumerate(CASES, 1):
            try:
                fn(report, folder)
                print(f"ok {number} - {fn.__doc__}")
            except (AssertionError, OSError) as err:
                bad += 1
                print(f"not ok {number} - {fn.__doc__}")
                print("\n".join(f"# {line}" for line in str(err).splitlines()))
    sys.exit(1 if bad else 0)


main()
