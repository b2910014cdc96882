# SPDX-License-Identifier: GPL-2.0-or-later
"""What the study does to the machine, and its undoing however it ends.

Before something is made, a line in the file "undo" of the work directory says
so. A child process, the janitor, waits for its parent's end, whatever that end
is, and then undoes the list from its last line to its first. If the janitor is
killed too, the next study in that directory begins with the same list. The
directory is locked by both: while one cleans up, nobody begins there.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import time

TRIES, PAUSE = 100, 0.05


class Busy(Exception):
    """Somebody else works in the directory."""


def quiet(*words):
    """Whether a command succeeded."""
    return subprocess.run(words, check=False, stdin=subprocess.DEVNULL,
                          capture_output=True).returncode == 0


def until(condition):
    """Whether it came true within some seconds."""
    for _ in range(TRIES):
        if condition():
            return True
        time.sleep(PAUSE)
    return False


def mounted(path):
    """Whether something is mounted right there."""
    with open("/proc/self/mounts", encoding="utf-8") as f:
        return any(line.split()[1] == path for line in f)


def backing_file(device):
    """Of a loop device, or ""."""
    try:
        with open(f"/sys/block/{os.path.basename(device)}/loop/backing_file",
                  encoding="utf-8") as f:
            return f.read().strip()
    except OSError:
        return ""


def workers(work):
    """Programs of a run that is not finished, and the servers they started:
    their environment tells whose they are."""
    mark = f"VBLK_STUDY={work}".encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as f:
                if mark in f.read().split(b"\0"):
                    yield int(pid)
        except OSError:
            continue


def end_workers(work):
    """None of them is left when this returns."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in workers(work):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        if until(lambda: not any(workers(work))):
            return


def undo_mount(work, path):
    """Servers that were killed may use it for a moment."""
    if path.startswith(work) and mounted(path):
        if not until(lambda: quiet("umount", path)):
            quiet("umount", "-l", path)


def undo_loop(work, device):
    """Only if it is still ours."""
    if backing_file(device).startswith(work):
        quiet("losetup", "-d", device)
        until(lambda: not backing_file(device))


def undo_remove(work, path):
    """A file or a directory tree."""
    if not path.startswith(work) or mounted(path):
        return
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.exists(path):
        os.unlink(path)


UNDO = {"mount": undo_mount, "loop": undo_loop, "remove": undo_remove}


def undo_all(work):
    """The list, backwards; then it is gone."""
    path = os.path.join(work, "undo")
    try:
        with open(path, encoding="utf-8") as f:
            lines = f.read().splitlines()
    except OSError:
        return
    end_workers(work)
    for line in reversed(lines):
        kind, _, what = line.partition(" ")
        if kind in UNDO and what:
            UNDO[kind](work, what)
    os.unlink(path)


class Undo:
    """The list of a study that runs."""

    def __init__(self, work):
        """Locks the directory, cleans up after one that was killed, starts
        the janitor."""
        self.work = work
        self.lock = os.open(os.path.join(work, "lock"),
                            os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise Busy(f"another study works in {work}, or cleans up there: "
                       "wait for it, or use another --work-dir") from err
        undo_all(work)
        self.file = open(os.path.join(work, "undo"), "a", encoding="utf-8")
        self.pipe, self.janitor = self.start_janitor()

    def start_janitor(self):
        """(our end of its pipe, its pid)."""
        theirs, ours = os.pipe()
        pid = os.fork()
        if pid:
            os.close(theirs)
            return ours, pid
        try:
            os.close(ours)
            os.setsid()  # Ctrl-C is not meant for it
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP,
                           signal.SIGPIPE):
                signal.signal(number, signal.SIG_IGN)
            os.read(theirs, 1)  # nobody writes: the end of all other ends
            undo_all(self.work)
        finally:
            os._exit(0)

    def note(self, kind, what):
        """To be called before it is done."""
        self.file.write(f"{kind} {what}\n")
        self.file.flush()

    def finish(self):
        """All is undone when this returns."""
        self.file.close()
        os.close(self.pipe)
        os.waitpid(self.janitor, 0)
        os.close(self.lock)
