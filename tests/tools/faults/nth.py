# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs whose n-th system call on an image fails: what tests/lib/fault-nth.c
is told, and what it says."""

import errno
import mmap
import os
import struct
import subprocess

TIMEOUT = 60
LAYOUT = struct.Struct("IIIII36s4096s")
SHORT = 0x10000
FOREVER = 0xffffffff

# What a call must be able to do to have an error, if not all have it.
CAN = {errno.EINTR: 1, errno.ENOSPC: 2, SHORT: 4}

# name: what the call says, and whether those after it say so too
KINDS = {
    "EIO": (errno.EIO, False),
    "ENOSPC": (errno.ENOSPC, False),
    "ENOMEM": (errno.ENOMEM, False),
    "EINTR": (errno.EINTR, False),
    "short": (SHORT, False),
    "dead": (errno.EIO, True),
    "full": (errno.ENOSPC, True),
}


def explains(message, kind):
    """Whether it says what the call said; what is short may mean anything."""
    error = KINDS[kind][0]
    return error == SHORT or os.strerror(error) in message


class Outcome:
    """What became of a run."""

    def __init__(self, status, output, errors, control):
        self.status = status
        self.output = output
        self.errors = errors
        fields = LAYOUT.unpack(control)
        self.calls, self.struck = fields[3], fields[4]
        self.call = fields[5].rstrip(b"\0").decode()
        self.can = fields[6]

    def may_have(self, number, kind):
        """Whether that call can have that error."""
        needs = CAN.get(KINDS[kind][0], 0)
        return (self.can[number - 1] & needs) == needs


class Injector:
    """Runs programs on images in one folder."""

    def __init__(self, library, control, folder):
        self.control = control
        with open(control, "wb") as file:
            file.truncate(LAYOUT.size)
        self.env = dict(os.environ, VBLK_FAULT_NTH=control,
                        VBLK_FAULT_DIR=folder + "/", LC_ALL="C.UTF-8")
        before = [self.env["VBLK_PRELOAD_FIRST"]] if "VBLK_PRELOAD_FIRST" in self.env else []
        self.env["LD_PRELOAD"] = " ".join(before + [library])

    def plan(self, nth, kind):
        """Which call of the next program fails; 0: none."""
        error, lasting = KINDS[kind]
        last = FOREVER if lasting else nth
        with open(self.control, "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
            view[:] = LAYOUT.pack(nth, error, last, 0, 0, b"", b"")

    def outcome(self, status, output, errors):
        """Of a program that has ended."""
        with open(self.control, "rb") as file:
            return Outcome(status, output, errors, file.read())

    def run(self, words, nth=0, kind="EIO"):
        """To its end; a program that hangs fails the test."""
        self.plan(nth, kind)
        done = subprocess.run(words, env=self.env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, errors="backslashreplace",
                              timeout=TIMEOUT, check=False)
        return self.outcome(done.returncode, done.stdout, done.stderr)
