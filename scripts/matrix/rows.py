# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of the study: what there is, what they are called, which of them
make the quick study, and who is measured in each.

A row's name has its parts in order: ssd-ext4-qcow2-falloc-16vm-randread-4k is
16 virtual machines, each with a qcow2 image made with preallocation=falloc in
an ext4 file system on an SSD, reading 4 KiB at random.
"""

import difflib
import fnmatch
from collections import namedtuple

DISKS = ("ssd", "hdd")
FILE_SYSTEMS = ("none", "ext4", "xfs")
# What qemu-img can make of each; a block device is all there from the start.
PREALLOCATIONS = {"raw": ("off", "falloc", "full"),
                  "qcow2": ("off", "metadata", "falloc", "full")}
VMS = (1, 16)
PATTERNS = ("randread", "randwrite", "randrw", "read", "write")
SIZES = (4, 8, 16, 32, 64)

MODES = {"qsd": ("threads", "native", "io_uring"),
         "vblk": ("threads", "native", "io_uring", "auto")}
SERVERS = tuple(f"{program}-{mode}" for program, modes in MODES.items()
                for mode in modes)

# The rows that the study's text draws conclusions from.
QUICK = (
    "ssd-none-raw-full-1vm-read-4k", "ssd-none-raw-full-1vm-randread-4k",
    "ssd-none-raw-full-1vm-write-4k",
    "ssd-ext4-raw-off-1vm-randwrite-4k",
    "ssd-ext4-raw-full-1vm-read-4k", "ssd-ext4-raw-full-1vm-randread-4k",
    "ssd-ext4-raw-full-1vm-randwrite-4k",
    "ssd-ext4-raw-full-16vm-randread-4k", "ssd-ext4-raw-full-16vm-read-4k",
    "ssd-ext4-qcow2-off-1vm-randread-4k",
    "ssd-ext4-qcow2-off-1vm-randwrite-4k",
    "ssd-ext4-qcow2-falloc-1vm-randwrite-4k",
    "ssd-ext4-qcow2-full-1vm-randread-16k",
    "ssd-xfs-raw-full-1vm-randread-4k", "ssd-xfs-raw-full-16vm-write-4k",
    "ssd-xfs-qcow2-off-1vm-read-4k", "ssd-xfs-qcow2-off-16vm-write-4k",
    "ssd-xfs-qcow2-falloc-1vm-randread-4k",
    "ssd-xfs-qcow2-full-1vm-randwrite-4k",
    "hdd-none-raw-full-1vm-randread-4k",
    "hdd-ext4-raw-full-1vm-randwrite-4k",
    "hdd-ext4-qcow2-off-1vm-randread-4k",
    "hdd-xfs-qcow2-off-1vm-write-4k",
)


class Unknown(Exception):
    """A pattern that matches nothing; its text says what is near."""


class Row(namedtuple("Row", "disk fs image prealloc vms rw size")):
    """One row; @size in KiB."""

    @property
    def name(self):
        """As it stands in --rows, results and reports."""
        return (f"{self.disk}-{self.fs}-{self.image}-{self.prealloc}-"
                f"{self.vms}vm-{self.rw}-{self.size}k")

    @property
    def writes(self):
        """Whether a run changes the image."""
        return self.rw not in ("read", "randread")

    @property
    def fresh(self):
        """Whether each run needs an image that nobody has written to: it is
        the first write to a cluster or block that is being measured."""
        return self.writes and self.prealloc != "full"

    @property
    def family(self):
        """Rows that share a chart."""
        return f"{self.disk}-{self.fs}-{self.image}-{self.vms}vm"

    @property
    def depth(self):
        """Requests in flight of each virtual machine."""
        return 32 if self.vms == 1 else 8


def images(fs):
    """(image, preallocation) that there are on @fs."""
    if fs == "none":
        return [("raw", "full")]
    return [(image, prealloc) for image, all_of_it in PREALLOCATIONS.items()
            for prealloc in all_of_it]


def all_rows():
    """In the order in which they are run: an image's rows together."""
    return [Row(disk, fs, image, prealloc, vms, rw, size)
            for disk in DISKS for fs in FILE_SYSTEMS
            for image, prealloc in images(fs)
            for vms in VMS for rw in PATTERNS for size in SIZES]


def by_name(name):
    """The row of that name; Unknown if there is none."""
    for row in all_rows():
        if row.name == name:
            return row
    raise Unknown(f"there is no row '{name}'")


def choose(names, patterns, what):
    """Those of @names that match one of @patterns, in their own order."""
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            near = difflib.get_close_matches(pattern, names, 3, 0.3)
            raise Unknown(f"{what}: nothing matches '{pattern}'" +
                          (f"; there is {', '.join(near)}" if near else "") +
                          f"; {what.split()[0]} takes * and ?")
    return [name for name in names
            if any(fnmatch.fnmatchcase(name, p) for p in patterns)]


def select(patterns, quick):
    """Rows: of the quick study or of all, those that match."""
    rows = all_rows()
    if quick:
        rows = [row for row in rows if row.name in QUICK]
    if not patterns:
        return rows
    chosen = set(choose([row.name for row in rows], patterns, "--rows"))
    return [row for row in rows if row.name in chosen]


def select_servers(patterns):
    """Names of servers that match."""
    return choose(SERVERS, patterns or ["*"], "--servers")
