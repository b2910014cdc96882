# SPDX-License-Identifier: GPL-2.0-or-later
"""Where images lie: an SSD and a hard disk, each as a bare block device, with
ext4 and with XFS. One place at a time is there; the next one replaces it.

The SSD is the file system of the work directory: its ext4 if it has one, and
loop devices over files in it for all else. The hard disk is tests/bench/
rotating-disk, with a loop device over its one file.
"""

import os
import signal
import subprocess

import undo

MIB = 1 << 20
# What a file system needs beside its files: its log, and room to allocate.
SLACK = {"none": 0, "ext4": 256 * MIB, "xfs": 384 * MIB}
MKFS = {"ext4": ("mkfs.ext4", "-q", "-F", "-E",
                 "lazy_itable_init=0,lazy_journal_init=0,nodiscard"),
        "xfs": ("mkfs.xfs", "-q", "-f", "-K")}


class CannotMake(Exception):
    """A place or an image that cannot be had; its text says why."""


def run(*words):
    """A command that must succeed."""
    done = subprocess.run(words, check=False, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise CannotMake(f"{' '.join(words)}: "
                         f"{said[-1] if said else done.returncode}")
    return done.stdout.strip()


def file_system_of(path):
    """Its type, as the kernel calls it."""
    best = ("", "")
    with open("/proc/self/mounts", encoding="utf-8") as f:
        for line in f:
            _, where, kind = line.split()[:3]
            inside = path == where or path.startswith(where.rstrip("/") + "/")
            if inside and len(where) >= len(best[0]):
                best = (where, kind)
    return best[1]


def is_plain_folder(disk, fs, work):
    """Whether that place needs no loop device."""
    return disk == "ssd" and fs == "ext4" and file_system_of(work) == "ext4"


class Places:
    """Makes places; one is there at a time."""

    def __init__(self, work, size, hdd, undoing):
        """@size: bytes of all images of a row. @hdd: (program, speed)."""
        self.work, self.size, self.hdd, self.undo = work, size, hdd, undoing
        self.now, self.made, self.arm = None, [], None

    def path(self, name):
        """In the work directory."""
        return os.path.join(self.work, name)

    def enter(self, disk, fs, count):
        """Makes the place for @count images; returns the folder, or for a
        block device the list of devices."""
        if self.now and self.now[0] == (disk, fs, count):
            return self.now[1]
        self.leave()
        if is_plain_folder(disk, fs, self.work):
            place = self.folder(self.path("images"))
        else:
            below = self.platter(fs) if disk == "hdd" else self.flash(fs)
            place = self.devices(disk, below, count) if fs == "none" else \
                self.file_system(disk, fs, below)
        self.now = ((disk, fs, count), place)
        return place

    def leave(self):
        """Unmakes what was made, backwards."""
        for kind, what in reversed(self.made):
            undo.UNDO[kind](self.work, what)
        if self.arm:
            self.arm.wait()
        self.now, self.made, self.arm = None, [], None

    def note(self, kind, what):
        """For this process and for the janitor."""
        self.undo.note(kind, what)
        self.made.append((kind, what))

    def folder(self, path):
        """An empty one."""
        self.note("remove", path)
        os.makedirs(path, exist_ok=True)
        return path

    def flash(self, fs):
        """A file with all of its blocks."""
        path = self.path(f"ssd-{fs}.img")
        self.note("remove", path)
        run("fallocate", "-l", str(self.size + SLACK[fs]), path)
        if fs == "none":  # written: else the first write would convert it
            with open(path, "r+b") as f:
                for _ in range(0, self.size, MIB):
                    f.write(os.urandom(MIB // 2) + bytes(MIB // 2))
                os.fsync(f.fileno())
        return path

    def platter(self, fs):
        """The hard disk's one file."""
        program, speed = self.hdd
        path = self.path(f"hdd-{fs}")
        self.note("remove", path)
        with open(path, "w", encoding="utf-8"):
            pass
        self.note("mount", path)
        # pylint: disable=consider-using-with
        self.arm = subprocess.Popen(
            [program, path, str(self.size + SLACK[fs]), str(speed)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, start_new_session=True, text=True)
        if not undo.until(lambda: undo.mounted(path) or
                          self.arm.poll() is not None) or \
                self.arm.poll() is not None:
            raise CannotMake(self.arm.stderr.read().strip() or
                             f"{program} does not start")
        return path

    def loop(self, disk, path, offset, size):
        """A loop device over a part of a file, without the page cache."""
        device = run("losetup", "-f", "--show", "--direct-io=on", "-o",
                     str(offset), "--sizelimit", str(size), path)
        self.note("loop", device)
        queue = f"/sys/block/{os.path.basename(device)}/queue"
        for name, value in (("scheduler", "mq-deadline"),
                            ("rotational", str(int(disk == "hdd")))):
            try:
                with open(f"{queue}/{name}", "w", encoding="utf-8") as f:
                    f.write(value)
            except OSError:
                pass  # this kernel lacks it
        return device

    def devices(self, disk, path, count):
        """Links to equal parts, as logical volumes would be."""
        size = self.size // count
        folder = self.folder(self.path("devices"))
        links = [os.path.join(folder, f"image.{i}" if i else "image")
                 for i in range(count)]
        for i, link in enumerate(links):
            os.symlink(self.loop(disk, path, i * size, size), link)
        return links

    def file_system(self, disk, fs, path):
        """Its folder."""
        device = self.loop(disk, path, 0, os.path.getsize(path))
        run(*MKFS[fs], device)
        folder = self.path(f"mnt-{disk}-{fs}")
        self.note("remove", folder)
        os.makedirs(folder, exist_ok=True)
        self.note("mount", folder)
        run("mount", device, folder)
        return folder

    def turn(self, slow):
        """The hard disk takes its time, or does not: images are made in no
        time."""
        if self.arm:
            self.arm.send_signal(signal.SIGUSR1 if slow else signal.SIGUSR2)
