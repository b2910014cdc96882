# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine of namespaces in which systemd is the first process, for tests of a
unit as it is installed. It has the units of a journal, and the one to test;
the targets that others belong to are empty.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

from cases import Skip
from processes import children, until

TARGETS = ("basic", "sysinit", "shutdown", "multi-user")
JOURNAL = ("systemd-journald.service", "systemd-journald.socket",
           "systemd-journald-dev-log.socket")
UNITS = "/lib/systemd/system"
PROGRAM = "/opt/vblk-storage-daemon"
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "machine.sh")
NEEDED = ("unshare", "nsenter", "setpriv", "mount", "pivot_root", "systemctl",
          "journalctl", "/lib/systemd/systemd")
# what a container says that must not have any of its own
REFUSED = "not permitted|denied|read-only|No such device|not supported"


def cgroup_here():
    """The folder of our own cgroup."""
    with open("/proc/self/cgroup", encoding="ascii") as file:
        ours = [line[3:].strip() for line in file if line.startswith("0::")]
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        mounts = [line.split() for line in file if " - cgroup2 " in line]
    if not ours or not mounts:
        raise Skip("there is no cgroup2")
    return mounts[0][4] + ours[0].rstrip("/")


def write(path, text):
    """A file with that in it."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


class Machine:
    """Runs until the block's end."""

    def __init__(self, daemon, unit):
        missing = [name for name in NEEDED if not shutil.which(name)]
        if missing or os.geteuid() != 0:
            raise Skip("there is no " + missing[0] if missing else "needs root")
        # not /tmp, which may be memory: there is no O_DIRECT
        self.folder = tempfile.mkdtemp(prefix="vblk-systemd-", dir="/var/tmp")
        self.cgroup = f"{cgroup_here()}/{os.path.basename(self.folder)}"
        for name in "root", "srv", "etc/systemd/system", "etc/vblk":
            os.makedirs(f"{self.folder}/{name}")
        self.write_etc(unit)
        self.process = self.init = None
        try:
            self.start(daemon)
        except BaseException:
            self.__exit__()
            raise

    def write_etc(self, unit):
        """Of what is in /etc, that which somebody looks for."""
        etc = self.folder + "/etc"
        for name in "passwd", "group", "hosts", "nsswitch.conf", "ld.so.cache":
            shutil.copy("/etc/" + name, etc)
        write(etc + "/machine-id", "0123456789abcdef0123456789abcdef\n")
        env = " ".join(f"'{key}={value}'" for key, value in os.environ.items()
                       if key.endswith("SAN_OPTIONS"))
        write(etc + "/systemd/system.conf", f"[Manager]\nDefaultEnvironment={env}\n")
        write(etc + "/systemd/journald.conf",
              "[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\n"
              "RateLimitIntervalSec=0\n")
        etc += "/systemd/system"
        for name in TARGETS:
            wants = f"Wants={' '.join(JOURNAL)}\n" if name == "multi-user" else ""
            write(f"{etc}/{name}.target", f"[Unit]\nDefaultDependencies=no\n{wants}")
        for name in JOURNAL:
            shutil.copy(f"{UNITS}/{name}", etc)
        with open(unit, encoding="utf-8") as file:
            text = file.read()
        assert text.count("/usr/bin/vblk-storage-daemon") >= 1
        write(f"{etc}/{os.path.basename(unit)}",
              text.replace("/usr/bin/vblk-storage-daemon", PROGRAM))

    def start(self, daemon):
        """Returns when all has been started."""
        try:
            os.mkdir(self.cgroup)
        except OSError as error:
            raise Skip(f"no cgroup can be made: {error.strerror}") from error
        words = ["setpriv", "--pdeathsig", "KILL", "sh", "-c",
                 'echo 0 > "$0/cgroup.procs" && exec "$@"', self.cgroup,
                 "unshare", "--mount", "--pid", "--ipc", "--uts", "--cgroup",
                 "--propagation", "private", "--fork", "--kill-child", SCRIPT,
                 self.folder + "/root", self.folder + "/etc", self.srv, daemon]
        with open(self.folder + "/log", "wb") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        until(self.is_up, self.first_words)

    def first_words(self):
        """What was said before there was a journal."""
        with open(self.folder + "/log", encoding="utf-8") as file:
            return "a machine: " + file.read()

    def is_up(self):
        """Whether systemd has done what it does at first."""
        if self.process.poll() is not None:
            words = self.first_words().strip().replace("\n", "; ")
            assert re.search(REFUSED, words), words
            raise Skip(words)
        pids = children(self.process.pid)
        if not pids:
            return False
        with open(f"/proc/{pids[0]}/comm", encoding="ascii") as file:
            if file.read() != "systemd\n":
                return False
        self.init = pids[0]
        return self.run("systemctl", "is-system-running", status=None) == "running\n"

    def run(self, *words, status=0):
        """What a program says in there. @status: how it must end; None: however
        it likes."""
        done = subprocess.run(["nsenter", "--target", str(self.init), "--all", *words],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False,
                              timeout=120)
        assert status in (None, done.returncode), (words, done)
        return done.stdout

    @property
    def srv(self):
        """A folder of the host, and /srv in there."""
        return self.folder + "/srv"

    def path(self, path):
        """From outside."""
        return f"/proc/{self.init}/root{path}"

    def processes(self):
        """All, by their numbers outside."""
        for folder, _, _ in os.walk(self.cgroup):
            with open(folder + "/cgroup.procs", encoding="ascii") as file:
                yield from (int(number) for number in file.read().split())

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.process:
            self.process.kill()
            self.process.wait()
            until(self.is_empty, "the machine's end")
        if os.path.isdir(self.cgroup):
            for folder, _, _ in os.walk(self.cgroup, topdown=False):
                os.rmdir(folder)
        shutil.rmtree(self.folder)

    def is_empty(self):
        """Whether all processes are gone."""
        with open(self.cgroup + "/cgroup.events", encoding="ascii") as file:
            return "populated 0" in file.read()


if __name__ == "__main__":
    # by hand: machine.py DAEMON UNIT, and a shell in there
    with Machine(*sys.argv[1:3]) as machine:
        subprocess.run(["nsenter", "--target", str(machine.init), "--all", "sh"],
                       check=False)
