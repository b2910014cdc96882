# SPDX-License-Identifier: GPL-2.0-or-later
"""Huge pages for a guest's memory: the host's, or made for the time being."""

import contextlib

COUNT = "/proc/sys/vm/nr_hugepages" # of the usual size


def facts():
    """What the host says of them."""
    with open("/proc/meminfo", encoding="ascii") as f:
        lines = dict(line.split(":") for line in f)
    return {key: int(lines.get(key, "0").split()[0])
            for key in ("HugePages_Total", "HugePages_Free", "Hugepagesize")}


def keep(pages):
    """Sets how many there are; whether the host let us."""
    try:
        with open(COUNT, "w", encoding="ascii") as f:
            f.write(str(pages))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def reserved(mib):
    """Yields whether there are so many MiB of 2 MiB pages that nobody uses."""
    before = facts()
    lacking = mib // 2 - before["HugePages_Free"]
    changed = lacking > 0 and keep(before["HugePages_Total"] + lacking)
    now = facts()
    try:
        yield now["Hugepagesize"] == 2048 and now["HugePages_Free"] >= mib // 2
    finally:
        if changed:
            keep(before["HugePages_Total"])
