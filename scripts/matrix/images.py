# SPDX-License-Identifier: GPL-2.0-or-later
"""The images of a row: made by qemu-img, so that each server gets images that
none of them has made.

Rows that read, or overwrite what was preallocated in full, have images that a
guest has filled. Rows whose first writes count (Row.fresh) get images that
nobody has written to, anew before each run.
"""

import os

from places import MIB, run


def half_noise(path, size):
    """As compressible as people's data are."""
    if os.path.exists(path) and os.path.getsize(path) == size:
        return
    with open(path, "wb") as f:
        for at in range(0, size, MIB):
            part = min(MIB, size - at)
            f.write(os.urandom(part // 2) + bytes(part - part // 2))


class Images:
    """Of one place at a time."""

    def __init__(self, places, undoing):
        self.places, self.undo = places, undoing
        self.at_hand = None     # what the images are good for
        self.paths = []

    def prepare(self, row):
        """Before the rounds of a row: paths, one for each machine."""
        want = (row.disk, row.fs, row.image, row.prealloc, row.vms, row.fresh)
        if want == self.at_hand:
            return self.paths
        self.drop()
        self.places.turn(slow=False)
        place = self.places.enter(row.disk, row.fs, row.vms)
        if row.fs == "none":
            self.paths = place
            self.fill_devices(row)
        else:
            self.paths = [self.numbered(place, row, i)
                          for i in range(row.vms)]
            if not row.fresh:
                self.create(row)
                self.fill(row)
        self.at_hand = want
        self.places.turn(slow=True)
        return self.paths

    def refresh(self, row):
        """Before each run."""
        if row.fresh:
            self.places.turn(slow=False)
            self.create(row)
            self.places.turn(slow=True)

    def drop(self):
        """Files go; devices stay with their place."""
        for path in self.paths:
            if os.path.isfile(path):
                os.unlink(path)
        self.at_hand, self.paths = None, []

    @staticmethod
    def numbered(folder, row, i):
        """As vblk-bench numbers them: path, path.1, path.2."""
        path = os.path.join(folder, f"image.{row.image}")
        return f"{path}.{i}" if i else path

    def size(self, row):
        """Of a machine's disk."""
        return self.places.size // row.vms

    def create(self, row):
        """New ones. A sparse file is one that was removed before."""
        for path in self.paths:
            if os.path.exists(path):
                os.unlink(path)
            run("qemu-img", "create", "-q", "-f", row.image, "-o",
                f"preallocation={row.prealloc}", path, str(self.size(row)))

    def template(self, row):
        """What a guest would have written."""
        path = self.places.path(f"fill-{row.vms}vm")
        self.undo.note("remove", path)
        half_noise(path, self.size(row))
        return path

    def fill(self, row):
        """In order, each cluster once."""
        template = self.template(row)
        for path in self.paths:
            run("qemu-img", "convert", "-n", "-t", "none", "-f", "raw", "-O",
                row.image, template, path)
        run("sync", "-f", self.paths[0])  # not while somebody is measured

    def fill_devices(self, row):
        """Those of the SSD are written already."""
        if row.disk != "hdd":
            return
        template = self.template(row)
        for device in self.paths:
            run("dd", f"if={template}", f"of={device}", "bs=1M",
                "oflag=direct", "conv=notrunc", "status=none")
