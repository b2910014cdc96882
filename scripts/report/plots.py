# SPDX-License-Identifier: GPL-2.0-or-later
"""The report's plots, as SVG files. Alone in knowing matplotlib."""

import os

import matplotlib
matplotlib.use("svg")
# pylint: disable=wrong-import-position
from matplotlib import pyplot, ticker  # noqa: E402

import results  # noqa: E402

# Ours are blue, others warm, bare engines grey; darker from threads to
# io_uring, so that a mode has one shade everywhere.
PALETTES = (
    ("vblk", {"threads": "#8ab6e8", "native": "#2f7ed8", "io_uring": "#0b3d7a",
              None: "#2f7ed8"}),
    ("bare", {"libaio": "#9a9a9a", "io_uring": "#555555", None: "#777777"}),
    ("", {"threads": "#f5c08a", "native": "#e8862e", "io_uring": "#a8430d",
          None: "#e8862e"}),
)
BAR_METRICS = (("iops", "IOPS, more is better"),
               ("cpu", "server CPU, us a request, less is better"))

matplotlib.rcParams.update({
    "svg.hashsalt": "vblk", "svg.fonttype": "none", "font.size": 9,
    "axes.spines.top": False, "axes.spines.right": False,
})


GOAL_COLOURS = ("#0a7a2f", "#7b2fbe", "#b00020", "#00808a", "#8a6d00",
                "#000000")


def short(value, _position=None):
    """1.5M, 200k, 0.3."""
    for unit, sign in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:g}{sign}"
    return f"{value:g}"


NUMBERS = ticker.FuncFormatter(short)


def colour(server):
    """The same for a server in every plot."""
    for prefix, shades in PALETTES:
        if server.startswith(prefix):
            mode = next((m for m in shades if m and server.endswith(m)), None)
            return shades[mode]
    return "#000000"


def save(figure, directory, name):
    """Returns the file's name."""
    path = f"{name}.svg"
    figure.savefig(os.path.join(directory, path), bbox_inches="tight",
                   metadata={"Date": None})
    pyplot.close(figure)
    return path


def draw_goals(axes, row, metric):
    """A dashed line for each; a legend says which."""
    lines = results.goal_lines(row, metric)
    for i, (value, text) in enumerate(lines):
        axes.axvline(value, color=GOAL_COLOURS[i % len(GOAL_COLOURS)],
                     linestyle="--", linewidth=1.2, label=text)
    if lines:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18),
                    frameon=False, fontsize=8)


def draw_bars(axes, row, metric, title):
    """A bar for each server, its range over the rounds on it."""
    names = [s["server"] for s in row["servers"]]
    for i, server in enumerate(row["servers"]):
        value = results.figure(server, metric)
        if value is None:
            axes.text(0, i, " failed" if "error" in server else " not measured",
                      va="center", color="#a00000")
            continue
        low = results.figure(server, metric, "min")
        high = results.figure(server, metric, "max")
        error = None
        if low is not None and high is not None:
            error = [[max(value - low, 0)], [max(high - value, 0)]]
        axes.barh(i, value, xerr=error, color=colour(server["server"]),
                  ecolor="#333333", capsize=2, height=0.7)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(NUMBERS)
    axes.set_xlim(left=0)
    axes.set_title(title, fontsize=9, loc="left")
    draw_goals(axes, row, metric)


def bars(row, directory, name):
    """One row: its servers side by side, with the goals."""
    height = 1.2 + 0.28 * len(row["servers"])
    figure, both = pyplot.subplots(1, len(BAR_METRICS), figsize=(11, height),
                                   sharey=False)
    figure.subplots_adjust(wspace=0.35)
    for axes, (metric, title) in zip(both, BAR_METRICS):
        draw_bars(axes, row, metric, title)
    return save(figure, directory, name)


def plain_log(axis, base):
    """A logarithmic axis with plain numbers on it."""
    steps = (1, 2, 5) if base == 10 else (1,)
    axis.set_major_locator(ticker.LogLocator(base=base, subs=steps))
    axis.set_major_formatter(NUMBERS)
    axis.set_minor_formatter(ticker.NullFormatter())


def latency(name, axis, rows, directory, path):
    """Latency against IOPS: what more requests in flight buy, and cost."""
    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    for server in results.servers(rows):
        found = results.points(rows, server, "iops", "p99")
        axes.plot([p[1] for p in found], [p[2] for p in found], marker="o",
                  markersize=3, color=colour(server), label=server)
        for row, iops, p99 in found:
            axes.annotate(f"{row[axis]:.0f}", (iops, p99), fontsize=6,
                          textcoords="offset points", xytext=(3, 3))
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain_log(axes.xaxis, 10)
    plain_log(axes.yaxis, 10)
    axes.set_xlabel("IOPS")
    axes.set_ylabel("99th percentile of latency, us")
    axes.set_title(f"{name}: latency against IOPS, at each {axis}",
                   fontsize=10, loc="left")
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.3)
    return save(figure, directory, path)


def cost(name, axis, rows, directory, path):
    """CPU of the server for a request, against depth or exports."""
    figure, axes = pyplot.subplots(figsize=(8, 4))
    for server in results.servers(rows):
        found = results.points(rows, server, "cpu")
        axes.plot([row[axis] for row, _ in found], [cpu for _, cpu in found],
                  marker="o", markersize=3, color=colour(server), label=server)
    axes.set_xscale("log", base=2)
    plain_log(axes.xaxis, 2)
    axes.set_yscale("log")
    plain_log(axes.yaxis, 10)
    axes.set_xlabel(axis)
    axes.set_ylabel("server CPU, us a request")
    axes.set_title(f"{name}: cost of a request against {axis}", fontsize=10,
                   loc="left")
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.3)
    return save(figure, directory, path)
