# SPDX-License-Identifier: GPL-2.0-or-later
"""Results of `vblk-bench compare --output-format=json`, as the report needs
them: rows, goals as lines, and rows that differ in one thing as curves."""

import fnmatch
import json
import os
import re

GOAL = re.compile(r"^(\S+)\s+(\S+)\s+(>=|<=)\s+(\S+)(?:\s+(\S+))?$")
# What curves are drawn over, and the part of a row's name that tells it.
AXES = {"iodepth": r"-?qd\d+", "exports": r"-?exports\d+"}


class BadResult(Exception):
    """Not what vblk-bench writes."""


def load(path):
    """One comparison; its "name" is the file's."""
    try:
        with open(path, encoding="utf-8") as f:
            result = json.load(f)
        for row in result["rows"]:
            for key in ("row", "servers", "goals", "iodepth"):
                row[key]  # pylint: disable=pointless-statement
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise BadResult(f"{path}: not a comparison by vblk-bench: "
                        f"{err!r}") from err
    result["name"] = os.path.splitext(os.path.basename(path))[0]
    return result


def figure(server, metric, which="median"):
    """A number, or None when it was not measured."""
    value = server.get(metric) or {}
    return value.get(which)


def spread(server, metric):
    """Half of the range over the rounds, as a part of the median; or None."""
    middle = figure(server, metric)
    low, high = figure(server, metric, "min"), figure(server, metric, "max")
    if not middle or low is None or high is None:
        return None
    return (high - low) / 2 / middle


def best(row, pattern, metric):
    """The best median among servers that match, or None."""
    found = [figure(s, metric) for s in row["servers"]
             if fnmatch.fnmatchcase(s["server"], pattern)]
    found = [value for value in found if value is not None]
    if not found:
        return None
    return max(found) if metric == "iops" else min(found)


def goal_lines(row, metric):
    """[(value, text)]: where the row's goals for @metric are on its scale."""
    lines = []
    for goal in row["goals"]:
        match = GOAL.match(goal["goal"])
        if not match or match[2] != metric:
            continue
        factor, value = float(match[4]), 1.0
        if match[5]:
            value = best(row, match[5], metric)
        if value is not None:
            lines.append((factor * value, goal["goal"]))
    return lines


def curves(result):
    """[(name, axis, rows)]: two rows or more that differ in nothing but the
    axis, in its order."""
    found = []
    for axis, pattern in AXES.items():
        groups = {}
        for row in result["rows"]:
            others = tuple(row.get(key) for key in
                           ("image", "rw", "bs", "numjobs", *AXES)
                           if key != axis)
            name = re.sub(pattern, "", row["row"])
            groups.setdefault((name, others), []).append(row)
        for (name, _), rows in groups.items():
            if len({row[axis] for row in rows if row.get(axis)}) > 1:
                rows.sort(key=lambda row, axis=axis: row[axis])
                found.append((name, axis, rows))
    return found


def points(rows, server, *metrics):
    """[(row, value, ...)] of the rows where @server has all of them."""
    found = []
    for row in rows:
        for candidate in row["servers"]:
            values = [figure(candidate, metric) for metric in metrics]
            if candidate["server"] == server and None not in values:
                found.append((row, *values))
    return found


def servers(rows):
    """Names, in the order they come up."""
    return list(dict.fromkeys(s["server"] for row in rows
                              for s in row["servers"]))
