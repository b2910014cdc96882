#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The n-th system call on an image fails, for each n, while programs make,
open and change images. They succeed all the same, or they end with status 1
and one line that says which image it was and why; images that were there
before are whole (operations.py says what that is).

Usage: test-faults.py [--runs N] [--seed N] [--all] [--only NAME]
                      VBLK_IMG VBLK_IO DAEMON LIBRARY
Without --all it is N runs for each operation, chosen by the seed; and for
those that change counts and flags together, the disk dies at each write and
each flush.
"""

import argparse
import collections
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(sys.path[0]))
# pylint: disable=wrong-import-position
import nbd_operations  # noqa: F401 pylint: disable=unused-import
import nth  # noqa: E402
from operations import OPERATIONS, Broken  # noqa: E402
from processes import listens  # noqa: E402

PROGRAMS = {"img": "vblk-img", "io": "vblk-io", "daemon": "vblk-storage-daemon"}


# QEMU's sentences, which name nothing; the command line has one image to change.
UNNAMED = re.compile(
    r": (error while (writing at|reading at) byte \d+|error while reading image metadata|"
    r"error while flushing|Could not resize file|Could not resize image|Block job failed|"
    r"Error while writing to COW image|Could not \w+ snapshot 's\d'|Check failed|"
    r"Operation \w+ on bitmap b0 failed|Failed to grow the L1 table|"
    r"Failed to update the image (size|header)|Failed to reduce the number of L2 tables|"
    r"Failed to flush the preallocated area to disk|Failed to discard cropped clusters|"
    r"Failed to turn zero into data clusters|"
    r"error while (reading from input|(writing to|flushing) output) image file|"
    r"Error while flushing COW image): |^(write|read|flush) failed: |"
    r"error while reading from (old|new) backing file$|: Check failed$|"
    r"^vblk-io: can't open: |"
    r": (Failed to read image metadata|error while reading block status at offset \d+): ")

# QEMU's as well, and they say no cause, or another word for it.
UNEXPLAINED = re.compile(
    r"error while reading from (old|new) backing file$|No space left in the file header$|"
    r": Check failed$|Sector allocation test failed for ")

# Said beside the error: hints, what an image says that cannot be closed well,
# what a check has found so far, other requests of the same copy.
ALSO = re.compile(
    r"^vblk-\w+: Failed to flush the (L2 table|refcount block) cache: |"
    r"^Could not open backing image\.$|^(ERROR|Leaked|Repairing|Can't get refcount) |"
    r"^Rebuilding refcount structure$")
# What is said of a connection, once; requests are given EIO then.
LOST = re.compile(r"^vblk-[\w-]+: (error: )?node '.*': connection to NBD server '.*' is lost")
REPEATED = re.compile(r"^vblk-img: error while (reading|writing) at byte ")


class Bench:
    """Folders, programs, and counts of what has been done."""

    def __init__(self, args):
        self.args = args
        self.paths = {"img": args.img, "io": args.io, "daemon": args.daemon}
        self.root = tempfile.mkdtemp(prefix="vblk-nth-")
        self.work = os.path.join(self.root, "work")
        self.socket = os.path.join(self.root, "socket")
        self.injector = nth.Injector(os.path.abspath(args.library),
                                     os.path.join(self.root, "control"), self.work)
        self.counts = collections.Counter()
        self.messages = collections.Counter()

    def template(self, name):
        """Where the images of an operation are kept."""
        return os.path.join(self.root, name)

    def prepare(self, name):
        """Makes the images of an operation."""
        os.mkdir(self.template(name))
        os.chdir(self.template(name))
        OPERATIONS[name].prepare()

    def fresh(self, name):
        """The work folder with new copies of the images."""
        os.chdir(self.root)
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.template(name), self.work)
        os.chdir(self.work)

    def serve(self, words, number, kind):
        """The daemon, until it has ended or serves; then it is asked to end."""
        self.injector.plan(number, kind)
        with subprocess.Popen(words, env=self.injector.env, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            deadline = time.monotonic() + nth.TIMEOUT
            while process.poll() is None and not listens(self.socket):
                if time.monotonic() > deadline:
                    process.kill()
                    raise Broken("the daemon neither serves nor ends")
                time.sleep(0.005)
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            output, errors = process.communicate(timeout=nth.TIMEOUT)
        return self.injector.outcome(process.returncode, output, errors)

    def run(self, name, number=0, kind="EIO"):
        """One run on fresh images, and a look at what is left."""
        op = OPERATIONS[name]
        self.fresh(name)
        words = [self.paths[op.program], *op.words(self.work)]
        start = self.serve if op.program == "daemon" else self.injector.run
        try:
            with op.serving(self.work):
                outcome = start(words, number, kind)
        except subprocess.TimeoutExpired as err:
            raise Broken(f"it hangs: {err}") from err
        self.judge(op, outcome, kind)
        op.check(outcome.status == 0)
        return outcome

    def judge(self, op, outcome, kind):
        """Status and message."""
        self.counts["runs"] += 1
        self.counts["struck"] += outcome.struck > 0
        self.counts["faults"] += outcome.struck
        if outcome.status == 0:
            self.counts["succeeded"] += outcome.struck > 0
            return
        lines = self.complaints(op, outcome)
        text = outcome.errors.replace(self.work, "")
        self.messages[f"{PROGRAMS[op.program]} {kind} {outcome.call}: {text.strip()}"] += 1
        if outcome.status not in op.failed:
            raise Broken(f"status {outcome.status}: {outcome.errors}")
        if not outcome.struck:
            raise Broken(f"nothing was the matter: {outcome.errors}")
        if op.program == "io" and not lines:
            return # "flush" fails without a word, as qemu-io's
        if len(lines) != 1:
            raise Broken(f"{len(lines)} lines: {outcome.errors}")
        if "work/" not in lines[0] and not UNNAMED.search(lines[0]) and \
                not re.search("blockdev 'n'", lines[0]):
            raise Broken(f"the message names no image: {lines[0]}")
        lost = re.search(LOST.pattern, outcome.errors, re.MULTILINE)
        if not nth.explains(lines[0], kind) and not UNEXPLAINED.search(lines[0]) and \
                not (lost and nth.explains(lines[0], "EIO")):
            raise Broken(f"the message names no cause: {lines[0]}")

    @staticmethod
    def complaints(op, outcome):
        """The lines that say what is wrong; vblk-io says it where it says all."""
        text = (outcome.output if op.program == "io" else "") + outcome.errors
        lines = [line for line in text.splitlines()
                 if line and not ALSO.search(line) and not LOST.search(line)]
        if op.program == "io":
            lines = [line for line in lines if "failed: " in line or "open" in line][:1]
        return lines[:1] + [line for line in lines[1:] if not REPEATED.search(line)]

    def numbers(self, name, well):
        """Which calls fail how, in which run."""
        every = [(n, kind) for n in range(1, well.calls + 1) for kind in nth.KINDS
                 if well.may_have(n, kind)]
        if self.args.all:
            return every
        chance = random.Random(f"{self.args.seed} {name}")
        some = chance.sample(every, min(self.args.runs, len(every)))
        if OPERATIONS[name].thorough:
            some += [(n, "dead") for n in range(1, well.calls + 1)
                     if well.may_have(n, "ENOSPC") and (n, "dead") not in some]
        return some

    def test(self, name):
        """All runs of an operation. Returns what is wrong."""
        wrong = []
        self.prepare(name)
        well = self.run(name)
        for number, kind in self.numbers(name, well):
            try:
                self.run(name, number, kind)
            except Broken as err:
                with open(self.injector.control, "rb") as file:
                    call = nth.Outcome(0, "", "", file.read()).call
                wrong.append(f"call {number} of {well.calls} ({call}): {kind}: {err}")
        return wrong


def parse():
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--only")
    parser.add_argument("--messages", action="store_true")
    for name in "img", "io", "daemon", "library":
        parser.add_argument(name, type=os.path.abspath)
    return parser.parse_args()


def main():
    """Prints TAP."""
    args = parse()
    if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
        print("1..0 # SKIP qemu-img and qemu-io are not installed")
        return 0
    bench = Bench(args)
    names = [n for n in OPERATIONS if args.only in (None, n)]
    failures = 0
    print(f"1..{len(names)}", flush=True)
    for i, name in enumerate(names, 1):
        wrong = bench.test(name)
        failures += bool(wrong)
        print(f"{'not ok' if wrong else 'ok'} {i} - {name}", flush=True)
        for line in wrong:
            print("# " + line.replace("\n", "\n#   "), flush=True)
    counts = bench.counts
    print(f"# {counts['runs']} runs, {counts['struck']} with a fault "
          f"({counts['faults']} faults); {counts['succeeded']} of these succeeded "
          f"all the same")
    if args.messages:
        for text, count in sorted(bench.messages.items()):
            print(f"# {count:4} {text}".replace("\n", "\n#      "))
    os.chdir("/")
    shutil.rmtree(bench.root)
    return 1 if failures else 0


sys.exit(main())
