# SPDX-License-Identifier: GPL-2.0-or-later
"""Bars of a family of rows, as one SVG. Alone in knowing matplotlib."""

import io
import re

import matplotlib
matplotlib.use("svg")
# pylint: disable=wrong-import-position
from matplotlib import pyplot, ticker  # noqa: E402

import rows  # noqa: E402

# vblk blue, its peer warm; darker from threads to io_uring.
COLOURS = {"qsd-threads": "#f5c08a", "qsd-native": "#e8862e",
           "qsd-io_uring": "#a8430d", "vblk-threads": "#8ab6e8",
           "vblk-native": "#2f7ed8", "vblk-io_uring": "#0b3d7a",
           "vblk-auto": "#0a7a2f"}
WIDTH = 0.8  # of a row's group

matplotlib.rcParams.update({
    "svg.hashsalt": "vblk", "svg.fonttype": "none", "font.size": 8,
    "axes.spines.top": False, "axes.spines.right": False,
})


def label(row):
    """What distinguishes a row in its family."""
    return f"{row.prealloc}\n{row.rw} {row.size}k"


def draw(axes, results, servers):
    """A group of bars for each row, with the standard deviation on them."""
    width = WIDTH / len(servers)
    for i, server in enumerate(servers):
        at, means, deviations = [], [], []
        for k, result in enumerate(results):
            if result.mean(server):
                at.append(k - WIDTH / 2 + (i + 0.5) * width)
                means.append(result.mean(server))
                deviations.append(result.servers[server].deviation())
        axes.bar(at, means, width, yerr=deviations, color=COLOURS[server],
                 label=server, error_kw={"elinewidth": 0.7})
    axes.set_xticks(range(len(results)), [label(r.row) for r in results])


def shrink(svg):
    """Without what no browser needs."""
    svg = re.sub(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?"
                 r"</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' clip-path="[^"]*"|<clipPath.*?</clipPath>', "", svg,
                 flags=re.DOTALL)
    svg = re.sub(r"'DejaVu Sans'[^\"]*sans-serif", "sans-serif", svg)
    svg = re.sub(r' id="patch_\d+"', "", svg)
    svg = re.sub(r"(\d+\.\d)\d+", r"\1", svg)
    return re.sub(r"\s*\n\s*", " ", svg).strip()


def family(name, results):
    """The chart's SVG text."""
    servers = [s for s in rows.SERVERS if any(r.mean(s) for r in results)]
    if not servers:
        return ""
    groups = len(results)
    figure, axes = pyplot.subplots(
        figsize=(min(2.2 + 1.5 * groups, 16), 2.6))
    draw(axes, results, servers)
    axes.yaxis.set_major_formatter(ticker.EngFormatter(sep=""))
    axes.set_ylabel("IOPS")
    axes.set_title(name, fontsize=9, loc="left")
    axes.legend(fontsize=7, frameon=False, loc="upper left",
                bbox_to_anchor=(1, 1))
    out = io.StringIO()
    figure.savefig(out, format="svg", bbox_inches="tight",
                   metadata={"Date": None})
    pyplot.close(figure)
    # ids are of a chart; several stand in one page
    text = shrink(out.getvalue())
    return re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", text)
