# SPDX-License-Identifier: GPL-2.0-or-later
"""Rounds of results as the report needs them: mean, standard deviation and
failures of each server in each row, and how the modes compare."""

import math
import statistics

import journal
import rows

METRICS = ("iops", "p99", "cpu", "syscalls", "interrupts", "kicks", "switches",
           "host_kib", "merged")
# Below the best fixed mode by more than this, leaving aio= out costs something.
AUTO_GOAL = 0.97
# A load that is always above this is not the study's own.
QUIET = 4


class Series:
    """Samples of one server in one row."""

    def __init__(self):
        self.values = {metric: [] for metric in METRICS}
        self.errors = []

    def add(self, figures):
        """One sample; metrics may be missing."""
        if "error" in figures:
            self.errors.append(figures["error"])
        for metric in METRICS:
            if figures.get(metric) is not None:
                self.values[metric].append(figures[metric])

    def mean(self, metric="iops"):
        """Or None."""
        return statistics.mean(self.values[metric]) if self.values[metric] \
            else None

    def deviation(self, metric="iops"):
        """0 of a single sample."""
        values = self.values[metric]
        return statistics.stdev(values) if len(values) > 1 else 0.0


def chance(one, other):
    """What the difference of two series' means may be by chance, as a part of
    the other's mean: twice its standard error."""
    parts = [series.deviation() ** 2 / len(series.values["iops"])
             for series in (one, other)]
    return 2 * math.sqrt(sum(parts)) / other.mean()


class Result:
    """One row."""

    def __init__(self, row):
        self.row, self.servers = row, {}

    def mean(self, server, metric="iops"):
        """Or None."""
        series = self.servers.get(server)
        return series.mean(metric) if series else None

    def best(self, program, without=()):
        """(mode, IOPS) of the program's best mode, or (None, None)."""
        found = [(self.mean(f"{program}-{mode}"), mode)
                 for mode in rows.MODES[program] if mode not in without]
        found = [pair for pair in found if pair[0]]
        return (max(found)[1], max(found)[0]) if found else (None, None)

    def auto_against(self, program):
        """auto's IOPS as a part of the best fixed mode's, or None."""
        auto = self.mean("vblk-auto")
        best = self.best(program, without=("auto",))[1]
        return auto / best if auto and best else None

    def auto_chance(self):
        """What that may be off by chance, where there is one."""
        mode = self.best("vblk", without=("auto",))[0]
        return chance(self.servers["vblk-auto"], self.servers[f"vblk-{mode}"])

    def auto_is_behind(self):
        """Whether it misses the goal by more than chance explains."""
        ratio = self.auto_against("vblk")
        return ratio < min(AUTO_GOAL, 1 - self.auto_chance())


def summarise(rounds):
    """[Result] in the order of the matrix."""
    results = {}
    for (name, _), servers in journal.latest(rounds).items():
        if name not in results:
            results[name] = Result(rows.by_name(name))
        for server, figures in servers.items():
            results[name].servers.setdefault(server, Series()).add(figures)
    order = {row: i for i, row in enumerate(rows.all_rows())}
    return sorted(results.values(), key=lambda r: order[r.row])


def load(rounds):
    """(calm, text) of the machine's load: "1.9 (1.2 to 2.4)".

    Calm is what the tenth with the least load had at most. The text has the
    median, which is the study's own doing: 16 machines and their server's
    threads are a load of ten by themselves.
    """
    loads = sorted(r["load"] for r in rounds if "load" in r)
    if not loads:
        return 0, "unknown"
    middle = statistics.median(loads)
    return (loads[len(loads) // 10],
            f"{middle:.1f} ({loads[0]:.1f} to {loads[-1]:.1f})")


def warning(rounds):
    """What to think of results from a busy machine; "" of a quiet one."""
    calm, text = load(rounds)
    if calm <= QUIET:
        return ""
    return (f"The machine was busy with other work: load {text}, and {calm:.1f} "
            "in its calmest tenth, where 2 to 3 are the study's own. IOPS of its "
            "disk are those that were left over, and deviations are large. Do not "
            "quote these figures: run scripts/study --quick on a machine that does "
            "nothing else.")


def families(results):
    """{name: [Result]}: what shares a chart."""
    found = {}
    for result in results:
        found.setdefault(result.row.family, []).append(result)
    return found
