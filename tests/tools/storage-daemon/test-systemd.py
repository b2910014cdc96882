#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The unit in contrib/systemd, as it is installed, under a systemd that is the
first process of a machine of namespaces (machine.py).

Usage: test-systemd.py DAEMON STEADY-GUEST UNIT
"""

import collections
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(sys.path[0]))
# pylint: disable=wrong-import-position
from cases import NOTES, Skip, case, main  # noqa: E402
from machine import Machine, write  # noqa: E402
from processes import children, has_ended, until  # noqa: E402
from qmp import Client  # noqa: E402
import service  # noqa: E402
from service import add_export, del_disk, state  # noqa: E402

DAEMON, service.Guest.program, UNIT = map(os.path.abspath, sys.argv[1:4])
TIMEOUT = 60
BYTES = 4 << 20
MONITOR = (" --allow-path /srv --allow-path /run/vblk --chardev socket,id=m,path=/run/vblk/{}.qmp,server=on,"
           "wait=off --monitor chardev=m")
MACHINE = None # the one of all cases
COUNT = {"kills": 0, "requests": 0, "bytes": 0}


class Unit:
    """An instance of the unit, with an image of its name; stopped at the end of
    the block."""

    def __init__(self, name, more="", node="cache=none,aio=native"):
        self.name = name
        self.unit = f"vblk-storage-daemon@{name}.service"
        self.socket = MACHINE.path(f"/run/vblk/{name}.sock")
        self.image(name + ".img")
        self.configure(f"--drive file=/srv/{name}.img,{node},id={name},"
                       f"socket=/run/vblk/{name}.sock {more}")

    @staticmethod
    def image(name):
        """A new one."""
        with open(f"{MACHINE.srv}/{name}", "wb") as file:
            file.truncate(BYTES)

    def configure(self, options):
        """From the next start on."""
        self.options = options
        write(MACHINE.path(f"/etc/vblk/{self.name}.conf"), f"OPTIONS={options}\n")

    def do(self, verb, *more, status=0):
        """What systemctl says."""
        return MACHINE.run("systemctl", verb, *more, self.unit, status=status)

    def show(self, name):
        """A property."""
        return self.do("show", "--value", "--property", name).strip()

    def pid(self):
        """The main process, as the machine counts."""
        return int(self.show("MainPID"))

    def status(self):
        """The kernel's page about the main process."""
        with open(MACHINE.path(f"/proc/{self.pid()}/status"), encoding="utf-8") as file:
            return file.read()

    def log(self):
        """The daemon's lines."""
        MACHINE.run("journalctl", "--sync")
        return MACHINE.run("journalctl", "--output=cat", "--no-pager", "--quiet",
                           "--identifier=vblk-storage-daemon", "--unit",
                           self.unit).splitlines()

    def is_there(self):
        """Whether the main process lives."""
        return os.path.exists(MACHINE.path(f"/proc/{self.pid()}/exe"))

    def is_another(self, pid):
        """Whether another process serves."""
        return self.show("ActiveState") == "active" and self.pid() not in (0, pid)

    def kill(self):
        """Returns when another process serves."""
        pid = self.pid()
        self.do("kill", "--kill-who=main", "--signal=KILL")
        COUNT["kills"] += 1
        until(lambda: self.is_another(pid), lambda: self.do("status", status=None))

    def monitor(self):
        """A new client."""
        return Client(MACHINE.path(f"/run/vblk/{self.name}.qmp"))

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.do("stop")
        self.do("reset-failed", status=None)


class Guest(service.Guest):
    """Counted."""

    size = BYTES

    def ended(self, requests, verified):
        COUNT["requests"] += requests
        COUNT["bytes"] += verified


def listening(path):
    """The kernel's number of the socket that listens on a path."""
    with open("/proc/net/unix", encoding="utf-8") as file:
        lines = [line.split() for line in file]
    return [line[6] for line in lines if line[3] == "00010000" and line[-1] == path]


@contextlib.contextmanager
def nbd_server(family, address):
    """An image behind a socket: the server's process, and the socket."""
    if not shutil.which("qemu-nbd"):
        raise Skip("qemu-nbd is not installed")
    with socket.socket(family) as listener:
        listener.bind(address)
        listener.listen()
        with subprocess.Popen(
                ["sh", "-c", 'exec 3<&0 </dev/null; '
                 'LISTEN_PID=$$ LISTEN_FDS=1 exec qemu-nbd -t -e 0 -f raw "$0"',
                 MACHINE.srv + "/nbd.img"],
                stdin=listener, stderr=subprocess.DEVNULL) as process:
            try:
                yield process, listener
            finally:
                process.kill()


@case
def it_is_active_when_it_serves():
    """And not before: its image does not answer at first."""
    path = MACHINE.srv + "/nbd"
    with Unit("nbd") as unit, nbd_server(socket.AF_UNIX, path) as (server, _):
        unit.configure("--blockdev nbd,node-name=n,server.type=unix,server.path=/srv/nbd "
                       "--export vhost-user-blk,id=e,node-name=n,writable=on,"
                       "addr.type=unix,addr.path=/run/vblk/nbd.sock")
        server.send_signal(signal.SIGSTOP)
        unit.do("start", "--no-block")
        def waits():
            with open("/proc/net/unix", encoding="utf-8") as file:
                return sum(line.endswith(path + "\n") for line in file) > 1
        until(waits, "a connection to the image")
        assert unit.show("ActiveState") == "activating"
        server.send_signal(signal.SIGCONT)
        unit.do("start") # the job that is there
        assert unit.show("ActiveState") == "active"
        with Guest(unit.socket):
            pass


@case
def kills_are_survived():
    with Unit("a") as unit:
        unit.do("start")
        before = listening("/run/vblk/a.sock")
        assert len(before) == 1
        with Guest(unit.socket) as guest:
            for i in range(5):
                unit.kill()
                guest.served_by(2 + i)
                assert listening("/run/vblk/a.sock") == before
                assert unit.show("NFileDescriptorStore") == "2"
        assert unit.show("NRestarts") == "5"
        assert unit.log() == [], unit.log()


def add_disk(client, name):
    """By way of the monitor."""
    Unit.image(name + ".img")
    client.do("blockdev-add", driver="file", node_name=name,
              filename=f"/srv/{name}.img", aio="native", cache={"direct": True})
    add_export(client, name, path=f"/run/vblk/{name}.sock")


@case
def what_a_monitor_was_told_is_there_again():
    with Unit("b", MONITOR.format("b")) as unit:
        unit.do("start")
        client = unit.monitor()
        add_disk(client, "b1")
        add_disk(client, "b2")
        del_disk(client, "b2")
        before = state(client)
        assert [e[0] for e in before["exports"]] == ["b", "e-b1"], before
        with Guest(MACHINE.path("/run/vblk/b1.sock")) as guest, Guest(unit.socket) as own:
            for i in range(3):
                unit.kill()
                guest.served_by(2 + i)
                own.served_by(2 + i)
                assert state(unit.monitor()) == before
        # two disks, the monitor, the journal, the successor's way in
        assert unit.show("NFileDescriptorStore") == "5"


@case
def a_stop_is_the_end():
    """Under load: what the guest had sent is done, or waits for the next start,
    which knows nothing of what monitors had added."""
    with Unit("c", MONITOR.format("c")) as unit:
        unit.do("start")
        sockets = sorted(os.listdir(MACHINE.path("/run/vblk")))
        with Guest(unit.socket) as guest:
            client = unit.monitor()
            before = state(client)
            add_disk(client, "c1")
            unit.do("stop")
            assert unit.show("Result") == "success"
            assert unit.show("ExecMainStatus") == "0"
            assert unit.show("NFileDescriptorStore") == "0"
            assert not [f for f in os.listdir(MACHINE.path("/run/vblk"))
                        if f.startswith("c")]
            unit.do("start")
            guest.served_by(2)
            assert state(unit.monitor()) == before
            pid = unit.pid()
            unit.do("restart")
            assert unit.is_another(pid)
            guest.served_by(3)
        # what systemd has kept meanwhile is of no use: its files are gone
        for path in sockets:
            assert len(listening("/run/vblk/" + path)) == 1, path
        # the export, the monitor, the journal, the successor's way in
        assert unit.show("NFileDescriptorStore") == "4"
        assert unit.log() == [], unit.log()


@case
def a_reload_is_a_takeover():
    """The guest keeps its connection; crashes are survived before and after."""
    with Unit("t", MONITOR.format("t")) as unit:
        unit.do("start")
        client = unit.monitor()
        add_disk(client, "t1")
        before = state(client)
        with Guest(unit.socket) as own, Guest(MACHINE.path("/run/vblk/t1.sock")) as guest:
            for i in range(4):
                pid = unit.pid()
                kept = unit.show("NFileDescriptorStore"), listening("/run/vblk/t1.sock")
                unit.do("reload")
                assert unit.is_another(pid)
                until(lambda old=pid: not os.path.exists(MACHINE.path(f"/proc/{old}")),
                      "the end of the one before")
                assert state(client) == before
                assert kept == (unit.show("NFileDescriptorStore"),
                                listening("/run/vblk/t1.sock"))
                if i % 2:
                    unit.kill()
                    own.served_by(2 + i // 2)
                    guest.served_by(2 + i // 2)
                    client = unit.monitor()
                    assert state(client) == before
        assert unit.show("NRestarts") == "2"
        unit.do("stop")
        assert unit.show("Result") == "success"
        log = "".join(line + "\n" for line in unit.log())
        assert log.count("took over from process") == 4 == len(log.splitlines()) / 2, log


@case
def a_reload_that_fails():
    """Whoever runs goes on."""
    with Unit("u") as unit:
        unit.do("start")
        pid = unit.pid()
        good = unit.options
        with Guest(unit.socket):
            unit.configure(good + " --blockdev file,node-name=z,filename=nonexistent")
            unit.do("reload", status=1)
            assert unit.show("ActiveState") == "active" and unit.pid() == pid
            unit.configure("--drive file=/srv/u.img,id=other,socket=/run/vblk/other.sock")
            unit.do("reload", status=1)
            assert unit.show("ActiveState") == "active" and unit.pid() == pid
            unit.configure(good)
            unit.do("reload")
            assert unit.is_another(pid)
        log = "\n".join(unit.log())
        assert "nonexistent" in log and "export 'u'" in log, log


def successor(unit):
    """The process that is to take over, or has."""
    for pid in MACHINE.processes():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
                words = file.read()
            # the command that systemd has started leads a session
            if f"--daemonize\0--takeover\0/run/vblk/{unit.name}.takeover" in words and \
                    os.getsid(pid) != pid and pid in children(MACHINE.init):
                return pid
    return None


@case
def a_reload_that_is_killed():
    """At any moment: somebody serves afterwards, and the guest sees no error."""
    rand = random.Random(6)
    outcomes = collections.Counter()
    with Unit("w") as unit:
        unit.do("start")
        with Guest(unit.socket):
            while sum(outcomes.values()) < 12 or (
                    len(outcomes) < 2 and sum(outcomes.values()) < 60):
                unit.do("restart") # its process is none that was to take over
                pid, restarts = unit.pid(), unit.show("NRestarts")
                unit.do("reload", "--no-block")
                new = until(lambda: successor(unit), "a successor")
                time.sleep(rand.random() ** 2 * 0.25)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(new, signal.SIGKILL)
                until(lambda pid=new: has_ended(pid), "its end")
                until(lambda: unit.show("ActiveState") == "active" and unit.is_there(),
                      lambda: unit.do("status", status=None))
                assert unit.pid() == pid or unit.show("NRestarts") != restarts, (
                    pid, unit.do("status"))
                outcomes["gone on" if unit.pid() == pid else "started again"] += 1
                unit.do("reset-failed") # they may have been too many
    NOTES.append(f"successors killed: {dict(outcomes)}")
    assert len(outcomes) == 2, outcomes


@case
def one_that_cannot_start_says_why():
    with Unit("d") as unit:
        unit.configure("--drive file=/srv/nonexistent.img")
        said = unit.do("start", status=1)
        assert "failed" in said, said
        until(lambda: unit.show("ActiveState") == "failed", "an end of it")
        lines = unit.log()
        assert len(set(lines)) == 1 and "'/srv/nonexistent.img'" in lines[0] and \
            "No such file or directory" in lines[0], lines
        assert len(lines) == 10, len(lines)


@case
def a_crash_loop_ends():
    with Unit("e") as unit:
        unit.do("start")
        def crashes():
            unit.do("kill", "--kill-who=main", "--signal=KILL", status=None)
            return unit.show("ActiveState") == "failed"
        until(crashes, "the end")
        assert unit.show("NRestarts") == "10", unit.show("NRestarts")
        assert unit.show("NFileDescriptorStore") == "0"
        # until somebody has looked at it
        unit.do("start", status=1)
        unit.do("reset-failed")
        unit.do("start")
        with Guest(unit.socket):
            pass


@case
def every_engine_works_in_the_sandbox():
    for node in ("cache=writeback,aio=threads", "cache=none,aio=native",
                 "cache=none,aio=io_uring", "cache=none,aio=auto"):
        with Unit("f", "--sandbox on", node) as unit:
            unit.do("start")
            with Guest(unit.socket) as guest:
                status = unit.status()
                assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status
                unit.kill()
                guest.served_by(2)
            assert unit.log() == [], unit.log()


@case
def what_the_unit_does_not_forbid():
    """Images on other hosts, sockets in /tmp; and it does forbid something."""
    with Unit("nbd") as unit, nbd_server(socket.AF_INET, ("127.0.0.1", 0)) as (_, listener):
        port = listener.getsockname()[1]
        unit.configure("--sandbox off --blockdev nbd,node-name=n,server.type=inet,"
                       f"server.host=localhost,server.port={port} "
                       "--export vhost-user-blk,id=e,node-name=n,writable=on,"
                       "addr.type=unix,addr.path=/tmp/nbd.sock")
        unit.do("start")
        with Guest(MACHINE.path("/tmp/nbd.sock")):
            status = unit.status()
        assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status, status


@case
def instances_share_the_folder():
    with Unit("g") as one, Unit("h") as other:
        one.do("start")
        other.do("start")
        with Guest(other.socket):
            one.do("stop")
            assert os.path.exists(other.socket)
            one.do("start")
            with Guest(one.socket):
                pass


def run_all():
    """All cases on one machine."""
    global MACHINE # pylint: disable=global-statement
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(1)) # with its machine
    try:
        with Machine(DAEMON, UNIT) as machine:
            MACHINE = machine
            status = main(sys.argv[4:])
            print(f"# {COUNT['kills']} kills, {COUNT['requests']} requests, "
                  f"{COUNT['bytes'] >> 20} MiB verified")
            return status
    except Skip as reason:
        print(f"1..0 # SKIP {reason}")
        return 0


if __name__ == "__main__":
    sys.exit(run_all())
