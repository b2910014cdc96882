#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/study: what it plans, refuses, measures, keeps and cleans up.

Tiny studies of real servers on real mounts and loop devices, ended in every way
there is. Numbers are never judged, only that they are there.

Usage: test-study.py SCRIPTS_STUDY BUILD_DIR
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

STUDY, BUILD = sys.argv[1], os.path.realpath(sys.argv[2])
TIMEOUT = 120
TINY = ("--runtime=50ms", "--hdd-runtime=50ms", "--hdd-speed=100", "--size=64M",
        "--ramp=10ms", "--servers=vblk-native,vblk-threads")
FOLDER_ROWS = "ssd-ext4-raw-off-1vm-randwrite-4k,ssd-ext4-raw-full-1vm-read-8k"
MOUNT_ROW = "hdd-xfs-qcow2-off-1vm-randwrite-4k"
CASES = []


class Skip(Exception):
    """This case cannot be run here."""


def case(fn):
    """Registers a test; its description is its first line."""
    CASES.append(fn)
    return fn


class World:
    """Folders of one case: where it works, where results go."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="vblk-study-test-", dir="/var/tmp")
        self.work, self.output = f"{self.path}/work", f"{self.path}/out"
        self.build = BUILD
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)

    def command(self, *options):
        """With the folders."""
        return [STUDY, "--no-setup", "--no-build", f"--build-dir={self.build}",
                f"--work-dir={self.work}", f"--output={self.output}", *options]

    def study(self, *options):
        """Runs to its end."""
        return subprocess.run(self.command(*options), check=False, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=TIMEOUT)

    def start(self, *options):
        """Runs beside us, until somebody ends it."""
        return subprocess.Popen(self.command(*options), text=True,
                                stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE)

    def lines(self):
        """Of the results."""
        try:
            with open(f"{self.output}/results.jsonl", encoding="utf-8") as f:
                return f.read().splitlines()
        except OSError:
            return []

    def rounds(self):
        """Without the header."""
        return [json.loads(line) for line in self.lines()[1:]]

    def traces(self):
        """What a study has made and not unmade."""
        found = []
        with open("/proc/self/mounts", encoding="utf-8") as f:
            found += [line for line in f if self.path in line]
        for device in os.listdir("/sys/block"):
            try:
                with open(f"/sys/block/{device}/loop/backing_file",
                          encoding="utf-8") as f:
                    found += [device] if self.path in f.read() else []
            except OSError:
                continue
        found += [pid for pid in filter(str.isdigit, os.listdir("/proc"))
                  if self.path in command_of(pid)]
        if os.path.isdir(self.work):
            found += sorted(set(os.listdir(self.work)) - {"lock"})
        return found


def command_of(pid):
    """Of a process, or "" if it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8",
                  errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def until(condition, what):
    """Waits for an event."""
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError(f"{what} did not come about")


def need_root():
    """For mounts and loop devices."""
    if os.geteuid() != 0:
        raise Skip("needs root to mount")
    if subprocess.run(["losetup", "-f"], capture_output=True,
                      check=False).returncode or \
            not os.path.exists("/dev/fuse") or not shutil.which("mkfs.xfs"):
        raise Skip("needs loop devices, FUSE and xfsprogs")


def need_images():
    """For the rows that are files on ext4: where it is not there already, it
    is mounted."""
    kind = subprocess.run(["findmnt", "-n", "-o", "FSTYPE", "-T", "/var/tmp"],
                          check=False, capture_output=True, text=True)
    if kind.stdout.strip() != "ext4":
        need_root()
    if not shutil.which("qemu-img"):
        raise Skip("needs qemu-img")


def same(there, wanted):
    """With both in the message."""
    assert there == wanted, f"{there!r} instead of {wanted!r}"


def refused(world, *parts, options=()):
    """Ended with status 1 and these parts of a message, nothing begun."""
    run = world.study(*options)
    assert run.returncode == 1, run
    for part in parts:
        assert part in run.stderr, (part, run.stderr)
    assert "Traceback" not in run.stderr, run.stderr
    same(world.rounds(), [])
    same(world.traces(), [])


@case
def matrix(world):
    """--list has the whole matrix; the quick rows are a part of it"""
    names = world.study("--list").stdout.split()
    same(len(names), 2 * 15 * 2 * 5 * 5)
    same(len(set(names)), len(names))
    quick = world.study("--list", "--quick").stdout.split()
    assert 15 <= len(quick) <= 30 and set(quick) < set(names), quick
    chosen = world.study("--list", "--rows=hdd-*-1vm-read-4k,ssd-none-*-64k")
    same(len(chosen.stdout.split()), 15 + 2 * 5)
    assert not os.path.exists(world.work), "--list has made something"


@case
def unknown(world):
    """unknown rows, servers and words are refused, with what is near"""
    refused(world, "'ssd-ext4-raw-full-1vm-randread-5k'",
            "ssd-ext4-raw-full-1vm-randread-", "--list prints all rows",
            options=["--rows=ssd-ext4-raw-full-1vm-randread-5k"])
    refused(world, "'vblk-nativ'", "vblk-native",
            options=["--servers=vblk-nativ"])
    refused(world, "--samples", "'0'", options=["--samples=0"])
    refused(world, "--size", "'lots'", options=["--size=lots"])
    refused(world, "--size", "4M for each machine", options=["--size=32M"])
    refused(world, "--runtime", "'3'", options=["--runtime=3"])
    refused(world, "--hdd-speed", "'0'", options=["--hdd-speed=0"])
    refused(world, "unknown argument: --colour", options=["--colour=red"])
    refused(world, "--rows needs a value", options=["--rows"])


@case
def folders(world):
    """folders that cannot be used are named"""
    with open(f"{world.path}/file", "w", encoding="utf-8"):
        pass
    world.work = f"{world.path}/file/work"
    refused(world, world.work, "--work-dir", options=TINY)
    world.work = f"{world.path}/a,b"
    refused(world, "commas", options=TINY)


@case
def space(world):
    """no space: said before anything starts, with what would help"""
    need_images()
    refused(world, f"{world.work} has", "GiB free", "--work-dir", "--size",
            options=[f"--rows={FOLDER_ROWS}", "--size=512T"])


@case
def memory(world):
    """no memory for the hard disk: said likewise"""
    need_root()
    refused(world, "hard disk needs", "GiB of memory", "'hdd-*'",
            options=[f"--rows={MOUNT_ROW}", "--size=512T"])


@case
def permission(world):
    """no permission to mount: said, with the rows that need it"""
    need_root()
    os.chmod(world.path, 0o777)
    run = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
         *world.command(f"--rows={MOUNT_ROW}", *TINY)],
        check=False, capture_output=True, text=True, timeout=TIMEOUT)
    same(run.returncode, 1)
    assert "no permission to mount" in run.stderr, run.stderr
    assert "as root" in run.stderr and MOUNT_ROW in run.stderr, run.stderr


@case
def loops(world):
    """no loop device: said, with the rows that need one"""
    need_root()
    run = subprocess.run(
        ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /dev && exec "$@"',
         "sh", *world.command(f"--rows={MOUNT_ROW}", *TINY)],
        check=False, capture_output=True, text=True, timeout=TIMEOUT)
    same(run.returncode, 1)
    assert "no loop device" in run.stderr, run.stderr
    assert "no /dev/fuse" in run.stderr, "not all at once: " + run.stderr
    same(world.rounds(), [])


@case
def measures(world):
    """each round has a sample of each server, with all figures"""
    need_images()
    run = world.study(f"--rows={FOLDER_ROWS}", "--samples=2", *TINY)
    same(run.returncode, 0)
    rounds = world.rounds()
    same([(r["row"], r["sample"]) for r in rounds],
         [(row, n) for row in FOLDER_ROWS.split(",") for n in (1, 2)])
    for record in rounds:
        same(list(record["servers"]), ["vblk-threads", "vblk-native"])
        for figures in record["servers"].values():
            assert figures["iops"] > 0 and figures["cpu"] > 0, figures
            assert {"p99", "interrupts", "kicks", "switches"} <= set(figures)
    for name in ("report.html", "index.rst", "which-aio.rst"):
        assert f"{world.output}/{name}" in run.stdout, run.stdout
        assert os.path.getsize(f"{world.output}/{name}") > 1000, name
    same(world.traces(), [])


@case
def sixteen(world):
    """16 machines have 16 images, also as parts of a block device"""
    need_root()
    run = world.study("--rows=*-none-raw-full-16vm-randwrite-4k",
                      "--samples=1", *TINY)
    same((run.returncode, run.stderr.count("study:")), (0, 0))
    same(len(world.rounds()), 2)
    for record in world.rounds():
        for figures in record["servers"].values():
            assert figures.get("host_kib"), "no figures of the device"
    same(world.traces(), [])


@case
def refused_mode(world):
    """a mode that a server refuses is left out, in the server's words"""
    need_images()
    fake_daemon(world, 'case "$*" in *aio=native*) echo "no such mode" >&2; '
                "exit 1;; esac")
    run = world.study(f"--rows={FOLDER_ROWS}", "--samples=1", *TINY)
    same(run.returncode, 0)
    assert "vblk-native is left out: no such mode" in run.stderr, run.stderr
    same({s for r in world.rounds() for s in r["servers"]}, {"vblk-threads"})
    assert "no such mode" in world.lines()[0], "the report will not know"


def fake_daemon(world, shell):
    """A build directory whose daemon runs a line of shell before."""
    world.build = f"{world.path}/build"
    for name in ("tools/bench/vblk-bench", "tests/bench/rotating-disk"):
        os.makedirs(os.path.dirname(f"{world.build}/{name}"))
        os.symlink(f"{BUILD}/{name}", f"{world.build}/{name}")
    daemon = "tools/storage-daemon/vblk-storage-daemon"
    os.makedirs(os.path.dirname(f"{world.build}/{daemon}"))
    with open(f"{world.build}/{daemon}", "w", encoding="utf-8") as f:
        f.write(f'#!/bin/sh\n{shell}\nexec {BUILD}/{daemon} "$@"\n')
    os.chmod(f"{world.build}/{daemon}", 0o755)


@case
def failed_sample(world):
    """a failed sample is reported, ends nothing, and is tried again"""
    need_images()
    fake_daemon(world, f'case "$*" in *aio=native*--export*) test -e '
                f'{world.path}/mended || {{ echo "it broke" >&2; exit 1; }};; '
                "esac")
    row = FOLDER_ROWS.split(",", maxsplit=1)[0]
    run = world.study(f"--rows={row}", "--samples=2", *TINY)
    same(run.returncode, 1)
    assert f"{row}, sample 2: vblk-native: " in run.stderr, run.stderr
    assert "it broke" in run.stderr, run.stderr
    for record in world.rounds():
        assert "it broke" in record["servers"]["vblk-native"]["error"]
        assert record["servers"]["vblk-threads"]["iops"] > 0
    with open(f"{world.output}/index.rst", encoding="utf-8") as f:
        assert "it broke" in f.read()
    with open(f"{world.path}/mended", "w", encoding="utf-8"):
        pass
    run = world.study(f"--rows={row}", "--samples=2", "--resume", *TINY)
    same(run.returncode, 0)
    same(len(world.rounds()), 4)
    with open(f"{world.output}/index.rst", encoding="utf-8") as f:
        assert "it broke" not in f.read(), "an error outlives its repetition"


@case
def resume(world):
    """--resume measures what is missing, and a line that was torn"""
    need_images()
    same(world.study(f"--rows={FOLDER_ROWS}", "--samples=2",
                     *TINY).returncode, 0)
    lines = world.lines()
    with open(f"{world.output}/results.jsonl", "w", encoding="utf-8") as f:
        f.write("\n".join([*lines[:2], lines[3], lines[4][:99]]))
    run = world.study(f"--rows={FOLDER_ROWS}", "--samples=2", *TINY)
    same(run.returncode, 1)
    assert "--resume" in run.stderr, run.stderr
    run = world.study(f"--rows={FOLDER_ROWS}", "--samples=2", "--resume",
                      *TINY, "--runtime=60ms")
    same(run.returncode, 1)
    assert "runtime=50ms, not 60ms" in run.stderr, run.stderr
    run = world.study(f"--rows={FOLDER_ROWS}", "--samples=2", "--resume",
                      *TINY)
    same(run.returncode, 0)
    same(world.lines()[:3], [*lines[:2], lines[3]])
    there = [(r["row"], r["sample"]) for r in world.rounds()]
    same(len(there), 4)
    same(len(set(there)), 4)


@case
def not_results(world):
    """files that are no results are refused by name"""
    need_images()
    os.mkdir(world.output)
    for content in ("[]\n", '{"study":9}\n', "text\n",
                    '{"study":1,"settings":{}}\n{"row":1}\n'):
        path = f"{world.output}/results.jsonl"
        with open(path, "w", encoding="utf-8") as f:
            f.write(content)
        run = world.study("--from", path)
        assert run.returncode == 1 and path in run.stderr, run
        assert "Traceback" not in run.stderr, run.stderr
        run = world.study(f"--rows={FOLDER_ROWS}", "--resume", *TINY)
        assert run.returncode == 1 and path in run.stderr, run
        same(world.traces(), [])


def ended_by(world, number):
    """Starts a long study, signals it in the middle, waits for its end."""
    need_root()
    with world.start(f"--rows={MOUNT_ROW}", "--samples=999", *TINY) as study:
        until(world.rounds, "a round")
        assert world.traces(), "nothing is mounted: what is tested here?"
        study.send_signal(number)
        said = study.communicate(timeout=TIMEOUT)[1]
    return study.returncode, said


@case
def terminated(world):
    """SIGTERM: cleaned up, results kept, said so, resumed"""
    status, said = ended_by(world, signal.SIGTERM)
    same(status, 128 + signal.SIGTERM)
    assert "--resume goes on" in said, said
    same(world.traces(), [])
    before = len(world.rounds())
    run = world.study(f"--rows={MOUNT_ROW}", f"--samples={before + 1}",
                      "--resume", *TINY)
    same((run.returncode, len(world.rounds())), (0, before + 1))


@case
def interrupted(world):
    """SIGINT: the same"""
    same(ended_by(world, signal.SIGINT)[0], 128 + signal.SIGINT)
    same(world.traces(), [])


@case
def killed(world):
    """SIGKILL: the janitor cleans up, results are kept"""
    same(ended_by(world, signal.SIGKILL)[0], -signal.SIGKILL)
    until(lambda: not world.traces(), "a clean machine")
    before = len(world.rounds())
    run = world.study(f"--rows={MOUNT_ROW}", f"--samples={before + 1}",
                      "--resume", *TINY)
    same((run.returncode, len(world.rounds())), (0, before + 1))


def family_of(pid):
    """Processes whose parent it is."""
    for child in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{child}/stat", encoding="utf-8") as f:
                if int(f.read().rpartition(")")[2].split()[1]) == pid:
                    yield int(child)
        except OSError:
            continue


@case
def janitor_killed(world):
    """SIGKILL for both: the next study cleans up after them"""
    need_root()
    with world.start(f"--rows={MOUNT_ROW}", "--samples=999", *TINY) as study:
        until(world.rounds, "a round")
        janitors = [pid for pid in family_of(study.pid)
                    if "run-study" in command_of(pid)]
        same(len(janitors), 1)
        os.kill(janitors[0], signal.SIGKILL)
        study.kill()
    assert world.traces(), "who has cleaned up?"
    run = world.study("--rows=ssd-ext4-raw-off-1vm-read-4k", "--samples=1",
                      "--resume", *TINY)
    same(run.returncode, 0)
    same(world.traces(), [])


@case
def alone(world):
    """two studies do not work in one folder"""
    need_images()
    with world.start(f"--rows={FOLDER_ROWS}", "--samples=999",
                     *TINY) as study:
        until(world.rounds, "a round")
        run = subprocess.run(world.command(f"--rows={FOLDER_ROWS}", *TINY),
                             check=False, capture_output=True, text=True,
                             timeout=TIMEOUT)
        study.terminate()
        study.communicate(timeout=TIMEOUT)
    assert run.returncode == 1 and "another study" in run.stderr, run


def main():
    """TAP."""
    bad = 0
    print(f"1..{len(CASES)}")
    for number, fn in enumerate(CASES, 1):
        try:
            with World() as world:
                fn(world)
            print(f"ok {number} - {fn.__doc__}", flush=True)
        except Skip as why:
            print(f"ok {number} - {fn.__doc__} # SKIP {why}", flush=True)
        except (AssertionError, subprocess.TimeoutExpired) as err:
            bad += 1
            print(f"not ok {number} - {fn.__doc__}")
            print("\n".join(f"# {line}" for line in str(err).splitlines()),
                  flush=True)
    sys.exit(1 if bad else 0)


main()
