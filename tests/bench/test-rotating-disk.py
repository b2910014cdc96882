#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The simulated hard disk of scripts/study keeps what is written to it, knows
its end, and goes when it is unmounted.

Usage: test-rotating-disk.py ROTATING_DISK
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

DISK = sys.argv[1]
MIB = 1 << 20
SIZE = 16 * MIB
PLACES = (5, 15, 0, 9, 1, 14)  # MiB: the arm has to turn round
CASES = []


def case(fn):
    """Registers a test; its description is its first line."""
    CASES.append(fn)
    return fn


def until(condition):
    """Waits for an event."""
    for _ in range(300):
        if condition():
            return True
        time.sleep(0.1)
    return False


def same(there, wanted):
    """With both in the message."""
    assert there == wanted, f"{there!r} instead of {wanted!r}"


@case
def keeps(fd, disk):
    """what was written is there, fast and slow, at any place"""
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        disk.send_signal(number)
        for n in PLACES:
            same(os.pwrite(fd, bytes([n, number]) * (MIB // 2), n * MIB), MIB)
        for n in reversed(PLACES):
            same(os.pread(fd, 2, n * MIB + MIB - 2), bytes([n, number]))


@case
def end(fd, _disk):
    """nothing is read or written behind the end"""
    same(os.pread(fd, MIB, SIZE), b"")
    same(len(os.pread(fd, MIB, SIZE - 512)), 512)
    try:
        os.pwrite(fd, b"x", SIZE)
    except OSError:
        return
    raise AssertionError("wrote behind the end")


@case
def usage(_fd, _disk):
    """what is no size or speed is refused"""
    for words in ((), ("file",), ("file", "many"), ("file", "1"),
                  ("file", str(SIZE), "0"), ("/nonexistent", str(SIZE))):
        run = subprocess.run([DISK, *words], check=False, capture_output=True,
                             text=True, timeout=60)
        same(run.returncode, 1)
        assert run.stderr.startswith("rotating-disk: "), run.stderr


def run_cases(path, disk):
    """Returns how many failed."""
    bad = 0
    fd = os.open(path, os.O_RDWR)
    for number, fn in enumerate(CASES, 1):
        try:
            fn(fd, disk)
            print(f"ok {number} - {fn.__doc__}")
        except (AssertionError, OSError) as err:
            bad += 1
            print(f"not ok {number} - {fn.__doc__}\n# {err}")
    os.close(fd)
    return bad


def main(folder):
    """TAP."""
    path = os.path.join(folder, "disk")
    with open(path, "w", encoding="utf-8"):
        pass
    print(f"1..{len(CASES) + 1}")
    with subprocess.Popen([DISK, path, str(SIZE), "100"]) as disk:
        if not until(lambda: os.path.getsize(path) == SIZE or
                     disk.poll() is not None) or disk.poll() is not None:
            print("Bail out! it does not start")
            return 1
        bad = run_cases(path, disk)
        subprocess.run(["umount", path], check=True)
        ended = until(lambda: disk.poll() is not None)
        bad += not ended
        print(f"{'' if ended else 'not '}ok {len(CASES) + 1} - "
              "it ends when it is unmounted")
        if not ended:
            disk.kill()
    return 1 if bad else 0


if os.geteuid() != 0 or not os.access("/dev/fuse", os.W_OK):
    print("1..0 # SKIP needs root and FUSE")
    sys.exit(0)
FOLDER = tempfile.mkdtemp(prefix="vblk-disk-")
try:
    sys.exit(main(FOLDER))
finally:
    shutil.rmtree(FOLDER)
