# SPDX-License-Identifier: GPL-2.0-or-later
"""Results as they come: JSON lines. The first says what the study is (settings,
machine), each other one has a round: one sample of a row from each server.

What is written is on the disk before the next round begins. A study that was
killed leaves a last line without its end; it is dropped when it goes on.
"""

import json
import os

FORMAT = 1


class BadJournal(Exception):
    """No results of a study, or not of this one."""


def read(path):
    """(header, rounds); a torn last line is left out."""
    try:
        with open(path, encoding="utf-8") as f:
            text = f.read()
        lines = text[:text.rfind("\n") + 1].splitlines()
        header, *rounds = [json.loads(line) for line in lines]
        if header["study"] != FORMAT:
            raise ValueError(f"format {header['study']}")
        for record in rounds:
            if not isinstance(record["servers"], dict):
                raise TypeError("servers")
            record["row"], record["sample"]  # pylint: disable=W0104
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise BadJournal(f"{path}: no results of scripts/study: "
                         f"{err}") from err
    return header, rounds


class Journal:
    """The file of a study that runs."""

    def __init__(self, path, settings, machine, resume):
        """@resume: go on with what is there. Settings must be the same."""
        self.path, self.rounds = path, []
        if os.path.exists(path) and os.path.getsize(path):
            if not resume:
                raise BadJournal(
                    f"{path} has results already: --resume goes on with them, "
                    "another --output begins anew")
            self.go_on(settings)
        else:
            self.file = open(path, "w", encoding="utf-8")
            self.write({"study": FORMAT, "settings": settings,
                        "machine": machine})

    def go_on(self, settings):
        """Reads what there is, cuts off a torn line."""
        header, self.rounds = read(self.path)
        for key, value in settings.items():
            there = header["settings"].get(key)
            if there != value:
                raise BadJournal(f"{self.path} was measured with {key}={there}"
                                 f", not {value}: results would not compare")
        self.file = open(self.path, "r+", encoding="utf-8")
        text = self.file.read()
        self.file.seek(0)
        self.file.truncate(len(text[:text.rfind("\n") + 1].encode()))
        self.file.seek(0, os.SEEK_END)

    def write(self, record):
        """One line, for good."""
        self.file.write(json.dumps(record, separators=(",", ":")) + "\n")
        self.file.flush()
        os.fsync(self.file.fileno())

    def add(self, row, sample, servers):
        """@servers: name -> figures, or {"error": why}."""
        record = {"row": row.name, "sample": sample,
                  "load": os.getloadavg()[0], "servers": servers}
        self.rounds.append(record)
        self.write(record)

    def has(self, row, sample, servers):
        """Whether all of @servers have been measured in that round."""
        return any(r["row"] == row.name and r["sample"] == sample and
                   all("iops" in r["servers"].get(s, {}) for s in servers)
                   for r in self.rounds)


def latest(rounds):
    """(row, sample) -> servers: a round that was repeated counts once, and so
    does each server in it; a figure stands before an error."""
    found = {}
    for record in rounds:
        servers = found.setdefault((record["row"], record["sample"]), {})
        for name, figures in record["servers"].items():
            if "iops" in figures or "iops" not in servers.get(name, {}):
                servers[name] = figures
    return found
