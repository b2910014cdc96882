# SPDX-License-Identifier: GPL-2.0-or-later
"""What the machine is, and whether it can do what is asked: all that is in the
way is said before anything starts, each with what would help.
"""

import os
import shutil
import subprocess
import tempfile

import places
import undo

GIB = 1 << 30
TOOLS = {"qemu-img": "qemu-utils", "losetup": "mount",
         "mkfs.ext4": "e2fsprogs", "mkfs.xfs": "xfsprogs"}


def first_line(path, default=""):
    """Of a file of the kernel's."""
    try:
        with open(path, encoding="utf-8") as f:
            return f.readline().strip()
    except OSError:
        return default


def output(*words):
    """First line of what a program says, or ""."""
    try:
        done = subprocess.run(words, check=False, capture_output=True,
                              text=True, stdin=subprocess.DEVNULL)
        return (done.stdout.splitlines() or [""])[0]
    except OSError:
        return ""


def processor():
    """Its name."""
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return "unknown"


def describe(programs, root):
    """For the report."""
    system, page = os.uname(), os.sysconf("SC_PAGE_SIZE")
    return {
        "processors": f"{os.cpu_count()} x {processor()}",
        "memory": f"{page * os.sysconf('SC_PHYS_PAGES') / GIB:.0f} GiB",
        "kernel": f"{system.sysname} {system.release} {system.machine}",
        "load before": first_line("/proc/loadavg")[:14],
        "vblk": output("git", "-C", root, "describe", "--always", "--dirty"),
        "peer": output(programs.servers["qsd"] or "false", "--version"),
    }


class Needs:
    """What some rows need."""

    def __init__(self, rows, work):
        self.rows, self.work = rows, work
        self.file_systems = {row.fs for row in rows} - {"none"}
        self.hdd = any(row.disk == "hdd" for row in rows)
        self.loops = [row for row in rows if not
                      places.is_plain_folder(row.disk, row.fs, work)]

    def space(self, size):
        """Bytes of the work directory, at most: one place at a time, with its
        images and what they are filled with."""
        slack = max(places.SLACK[row.fs] for row in self.rows)
        return 2 * size + slack


def without(rows, what):
    """How to leave those rows out."""
    return f"or leave these rows out with --rows (there are {what}: " \
           f"{rows[0].name}{', ...' if len(rows) > 1 else ''})"


def check_programs(programs, needs, servers):
    """Lines of trouble."""
    wanted = ["qemu-img"] + (["losetup"] if needs.loops else [])
    wanted += [f"mkfs.{fs}" for fs in needs.file_systems
               if any(row.fs == fs for row in needs.loops)]
    for name in wanted:
        if not shutil.which(name):
            yield f"there is no {name}: install the package {TOOLS[name]}"
    if any(s.startswith("qsd") for s in servers) and \
            not programs.servers["qsd"]:
        yield ("there is no qemu-storage-daemon: install the package "
               "qemu-system-common, or choose --servers='vblk-*'")
    built = [programs.bench, programs.servers["vblk"]]
    for path in built + ([programs.rotating] if needs.hdd else []):
        if not os.access(path, os.X_OK):
            yield f"there is no {path}: build vblk first"


def has_loop_control():
    """Whether loop devices can be asked for."""
    return undo.quiet("losetup", "-f")


def check_mounts(needs):
    """Lines of trouble."""
    if not needs.loops:
        return
    rest = without(needs.loops, f"{len(needs.loops)} of them")
    if os.geteuid() != 0:
        yield f"no permission to mount file systems: run it as root, {rest}"
        return
    if not has_loop_control():
        yield f"no loop device can be had: modprobe loop, {rest}"
    with open("/proc/filesystems", encoding="utf-8") as f:
        known = f.read().split()
    for fs in sorted(needs.file_systems):
        if fs not in known and not undo.quiet("modprobe", fs):
            yield f"this kernel has no {fs}: " \
                  f"leave its rows out (--rows without '*-{fs}-*')"
    if needs.hdd and not os.access("/dev/fuse", os.R_OK | os.W_OK):
        yield f"no /dev/fuse for the simulated hard disk: modprobe fuse, {rest}"


def memory_available():
    """Bytes."""
    with open("/proc/meminfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0


def check_space(needs, size):
    """Lines of trouble."""
    state = os.statvfs(needs.work)
    free, wanted = state.f_bavail * state.f_frsize, needs.space(size)
    if free < wanted:
        yield (f"{needs.work} has {free / GIB:.2f} GiB free, "
               f"{wanted / GIB:.2f} are needed: choose another --work-dir, "
               "or a smaller --size")
    if needs.hdd and memory_available() < wanted:
        yield (f"the simulated hard disk needs {wanted / GIB:.2f} GiB of "
               "memory: choose a smaller --size, or rows without 'hdd-*'")
    if not takes_direct(needs.work):
        yield (f"{needs.work} takes no O_DIRECT: choose a --work-dir on "
               "a disk's own file system")


def takes_direct(folder):
    """Whether files there can be opened so."""
    with tempfile.NamedTemporaryFile(dir=folder) as f:
        try:
            os.close(os.open(f.name, os.O_RDWR | os.O_DIRECT))
            return True
        except OSError:
            return False


def check(programs, needs, servers, size):
    """All that is in the way."""
    return [*check_programs(programs, needs, servers), *check_mounts(needs),
            *check_space(needs, size)]


def refusal(program, aio, folder):
    """Why a server cannot have that aio mode, in its own words; "" if it
    can."""
    with tempfile.TemporaryDirectory(dir=folder) as here:
        image, pid = f"{here}/probe", f"{here}/pid"
        with open(image, "wb") as f:
            f.truncate(places.MIB)
        with subprocess.Popen(
                [program, "--blockdev", f"driver=file,node-name=d,filename="
                 f"{image},aio={aio},cache.direct=on", "--pidfile", pid],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, text=True) as server:
            undo.until(lambda: os.path.exists(pid) or
                       server.poll() is not None)
            if server.poll() is None:
                server.terminate()
                server.communicate()
                return ""
            said = server.communicate()[1].strip().splitlines()
            return said[-1] if said else f"status {server.returncode}"
