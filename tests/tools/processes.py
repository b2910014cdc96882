# SPDX-License-Identifier: GPL-2.0-or-later
"""What a test sees of other processes, and how it waits for them."""

import socket
import time

PATIENCE = 60


def until(condition, what):
    """Waits for what another process does: @condition's value, once that is
    true. @what: said if that never is; a text, or what makes one."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError(f"in vain: {what() if callable(what) else what}")


def children(pid):
    """The processes of a process; none if it is gone."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:
        return []


def has_ended(pid):
    """Its files are closed and its locks are gone; perhaps nobody has waited
    for it yet."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def listens(path):
    """Whether somebody has a socket there that takes connections."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True
