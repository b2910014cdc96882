# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases of a TAP test: functions marked with @case, each run in a folder of
its own that is gone afterwards. A file of cases ends with sys.exit(main()).
"""

import os
import tempfile
import traceback

CASES = []
NOTES = []    # lines that are shown behind the results


class Skip(Exception):
    """Why a case cannot run here."""


def case(function):
    """A test by the name of its function."""
    CASES.append(function)
    return function


def comment(text):
    """What TAP readers show beside the result."""
    return "# " + text.replace("\n", "\n# ")


def way_to(error):
    """The lines that led there, from the case on."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    return " ".join(f"{os.path.basename(f.filename)}:{f.lineno}" for f in frames)


def run(number, function):
    """One line of TAP, perhaps with the cause. Whether it is good."""
    title = f"{number} {function.__name__.replace('_', '-')}"
    try:
        function()
    except Skip as reason:
        title += f" # SKIP {reason}"
    except Exception as error:    # any failure is a failed case
        print(f"not ok {title}")
        print(comment(f"{way_to(error)}: {type(error).__name__}: {error}"), flush=True)
        return False
    print(f"ok {title}", flush=True)
    return True


def main(only=()):
    """Runs those of these names, or all, in the order in which they were
    marked."""
    good = True
    cases = [c for c in CASES if not only or c.__name__ in only]
    print(f"1..{len(cases)}", flush=True)
    for number, function in enumerate(cases, 1):
        with tempfile.TemporaryDirectory(prefix="vblk-") as folder:
            os.chdir(folder)
            good &= run(number, function)
            os.chdir("/")
    for note in NOTES:
        print(comment(note))
    return 0 if good else 1
