# SPDX-License-Identifier: GPL-2.0-or-later
"""What the linters share: the list of files, and a TAP point for each rule.

A linter collects complaints, each "file:line: what and what instead", and
calls report() once for each rule; untracked files are looked at as well, so
that a mistake is found before it is committed.
"""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Points:
    """The TAP output of one linter."""

    def __init__(self):
        self.count = self.failures = 0

    def report(self, rule, complaints):
        """One point: good when there is no complaint."""
        self.count += 1
        good = not complaints
        self.failures += not good
        print(f"{'ok' if good else 'not ok'} {self.count} - {rule}")
        for complaint in complaints:
            print(f"# {complaint}")

    def skip(self, rule, reason):
        """One point that cannot be made here."""
        self.count += 1
        print(f"ok {self.count} - {rule} # SKIP {reason}")

    def finish(self):
        """The plan; ends the program."""
        print(f"1..{self.count}")
        sys.exit(1 if self.failures else 0)


def files():
    """Paths, from the root, of all files but the ignored ones."""
    listing = ["git", "-c", "safe.directory=*", "-C", ROOT, "ls-files", "-z",
               "--cached", "--others", "--exclude-standard"]
    try:
        out = subprocess.run(listing, check=True, stdout=subprocess.PIPE).stdout
    except (OSError, subprocess.CalledProcessError) as err:
        print(f"1..0 # SKIP the files are listed by git, which says: {err}")
        sys.exit(0)
    names = sorted(set(out.decode("utf-8").split("\0")) - {""})
    return [n for n in names if os.path.isfile(f"{ROOT}/{n}")]


def c_files():
    """Those in C, headers included."""
    return [n for n in files() if n.endswith((".c", ".h"))]


def read(name):
    """The text of a file."""
    with open(f"{ROOT}/{name}", encoding="utf-8", errors="replace") as f:
        return f.read()


def kind(name):
    """c, python, shell or another word for what a file is written in."""
    suffix = os.path.splitext(name)[1]
    known = {".c": "c", ".h": "c", ".py": "python", ".sh": "shell", ".rst": "text",
             ".md": "text", ".txt": "text", ".build": "meson"}
    if suffix in known:
        return known[suffix]
    if os.path.basename(name) == "meson_options.txt":
        return "meson"
    first = read(name).split("\n", 1)[0]
    if first.startswith("#!") and "python" in first:
        return "python"
    if re.match(r"#!.*\b(ba|da|)sh\b", first):
        return "shell"
    return "other"


def table(name):
    """[(first word, rest)] of the lines of a data file; # starts a comment."""
    rows = []
    for line in read(name).splitlines():
        words = line.split("#", 1)[0].split(None, 1)
        if words:
            rows.append((words[0], words[1].strip() if len(words) > 1 else ""))
    return rows
