# SPDX-License-Identifier: GPL-2.0-or-later
"""The page "What aio= should I use?": what it says follows from the results."""

import summary

NONE = ("None: leave it out. vblk then chooses for each request (aio=auto). Of "
        "the {all} rows below its mean was at least {goal:.2f} of the best "
        "fixed mode's in {good}, behind by more than chance explains in "
        "{behind}, and too uncertain to tell in {open}.")
OPEN = ("These results have no row with aio=auto, so that this page can only "
        "say what the best fixed mode was; it differs from row to row.")
BEFORE = (
    ("The study of 2016 told people to use native for what is fully allocated "
     "on a local disk, and threads for all else: native then stopped the "
     "whole machine when a write had to allocate. In vblk it does not: what "
     "would block goes to a thread, that request alone."),
    ("One needs to name a mode for three reasons: to compare, to be sure that "
     "a kernel interface is not used (where io_uring is forbidden, vblk "
     "notices and does without it), or to have what a management tool has "
     "written down: each of QEMU's words is taken."),
)


def ratio_text(value):
    """"0.98x"."""
    return f"{value:.2f}x" if value else "-"


def cells(result):
    """A line of the table."""
    mode, best = result.best("vblk", without=("auto",))
    peer_mode, peer = result.best("qsd")
    auto = result.mean("vblk-auto")
    return [result.row.name, mode or "-",
            f"{result.mean('vblk-auto'):,.0f}" if auto else "-",
            ratio_text(result.auto_against("vblk")),
            f"±{result.auto_chance():.0%}" if auto and best else "-",
            ratio_text(auto and peer and auto / peer),
            ratio_text(best and peer and best / peer), peer_mode or "-"]


def winners(results):
    """"native 12, threads 4": how often each fixed mode was the best."""
    found = {}
    for result in results:
        mode = result.best("vblk", without=("auto",))[0]
        if mode:
            found[mode] = found.get(mode, 0) + 1
    ordered = sorted(found.items(), key=lambda item: -item[1])
    return ", ".join(f"{mode} in {n}" for mode, n in ordered)


def answer(results):
    """The first paragraph."""
    measured = [r for r in results if r.auto_against("vblk")]
    if not measured:
        return OPEN
    good = sum(r.auto_against("vblk") >= summary.AUTO_GOAL for r in measured)
    behind = sum(r.auto_is_behind() for r in measured)
    return NONE.format(goal=summary.AUTO_GOAL, good=good, behind=behind,
                       open=len(measured) - good - behind, all=len(measured))


def fill(page, results, warning):
    """All of it. @warning: of a busy machine, or ""."""
    page.paragraph(answer(results))
    if warning:
        page.paragraph(warning)
    for paragraph in BEFORE:
        page.paragraph(paragraph)
    page.heading(2, "What that rests on")
    page.paragraph("Of vblk's fixed modes the best was "
                   f"{winners(results)} rows. Means of all samples; "
                   "index and report.html have all servers, deviations and "
                   "failures. \"Chance\" is twice the standard error of the "
                   "quotient before it; the best of three has luck on its "
                   "side besides.")
    page.table(["row", "best fixed mode", "IOPS of auto>",
                "auto against it>", "chance>", "auto against qsd's best>",
                "best fixed against qsd's best>", "qsd's best"],
               [cells(r) for r in results])
