# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs vblk-io and qemu-io on images that are alike, and compares.

What they print, where, how they end and what the image holds afterwards has to
be the same; rates and times of day are not compared.
"""

import os
import re
import shutil
import subprocess

QEMU_IO = shutil.which("qemu-io")
QEMU_IMG = shutil.which("qemu-img")
TIMEOUT = 60

RATE = re.compile(r"\d+ ops; [0-9:.]+( sec)? \([0-9.inf]+ (bytes|[KMGTPE]iB)/sec"
                  r" and [0-9.inf]+ ops/sec\)")
MACHINE = re.compile(r"^(\d+),1,\d+:\d\d:\d\d\.\d\d,[0-9.]+,[0-9.]+$",
                     re.MULTILINE)


def filtered(text):
    """Without what depends on how fast the machine is."""
    text = RATE.sub(r"X ops; XX:XX:XX.X (XXX YYY/sec and XXX ops/sec)", text)
    return MACHINE.sub(r"\1,1,TIME,RATE,RATE", text)


def contents(path):
    """What an image holds; of a qcow2 image the guest's bytes and what
    qemu-img check says of it."""
    with open(path, "rb") as file:
        data = file.read()
    if not path.endswith(".qcow2"):
        return data
    check = subprocess.run([QEMU_IMG, "check", "-q", path], check=False,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    raw = path + ".raw"
    subprocess.run([QEMU_IMG, "convert", "-O", "raw", path, raw], check=True)
    with open(raw, "rb") as file:
        data = file.read()
    os.unlink(raw)
    return check.stdout + data


class Outcome:
    """What one run of a program left."""

    def __init__(self, done, files):
        self.status = done.returncode
        self.stdout = filtered(done.stdout)
        self.stderr = filtered(done.stderr)
        self.files = files

    def differences(self, other):
        lines = []
        for name in ("status", "stdout", "stderr"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                lines += [f"{name}:", f"  vblk-io: {ours!r}",
                          f"  qemu-io: {theirs!r}"]
        for name in sorted(set(self.files) | set(other.files)):
            if self.files.get(name) != other.files.get(name):
                lines.append(f"contents of {name} differ")
        return lines


class Pair:
    """Both programs, each with a folder of its own.

    Ours is called by the name of theirs, which stands in front of errors.
    """

    def __init__(self, vblk_io, scratch):
        self.folders = {}
        self.programs = {}
        for who, program in (("ours", vblk_io), ("theirs", QEMU_IO)):
            folder = os.path.join(scratch, who)
            os.makedirs(os.path.join(folder, "bin"))
            link = os.path.join(folder, "bin", "qemu-io")
            os.symlink(program, link)
            self.folders[who] = folder
            self.programs[who] = link

    def run(self, who, files, args, stdin=None):
        """Writes @files {name: contents}, runs, and reads them back."""
        folder = self.folders[who]
        for name, data in files.items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(data)
        words = [self.programs[who], *args]
        try:
            done = subprocess.run(
                words, cwd=folder, input=stdin or "",
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                errors="surrogateescape", timeout=TIMEOUT, check=False)
        except subprocess.TimeoutExpired:
            done = subprocess.CompletedProcess(words, "too slow", "", "")
        after = {}
        for name in files:
            after[name] = contents(os.path.join(folder, name))
        return Outcome(done, after)

    def compare(self, files, args, stdin=None):
        """The lines that say what is different; none when nothing is."""
        ours = self.run("ours", files, args, stdin)
        theirs = self.run("theirs", files, args, stdin)
        lines = ours.differences(theirs)
        return [f"{' '.join(args)} {stdin!r}"] + lines if lines else []
