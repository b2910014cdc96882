# SPDX-License-Identifier: GPL-2.0-or-later
"""A storage daemon that monitors configure: processes that may be killed or
succeeded, disks, and what a monitor can see of it all. In the current folder.
"""

import os
import re
import signal
import socket
import struct
import subprocess

from processes import children, until
from qmp import Client

TIMEOUT = 30
MONITOR = ("--chardev", "socket,id=m,path=q.sock,server=on,wait=off",
           "--monitor", "chardev=m")


def image(name, size=1 << 20):
    """A file that says whose it is."""
    with open(name, "wb") as file:
        file.write(name.encode().ljust(size, b"."))
    return name


class Guest:
    """A verifying load on a disk of zeroes, until the end of the block."""

    program = None # steady-guest; set by the test
    size = 1 << 20 # bytes of the disk

    def __init__(self, path):
        self.process = subprocess.Popen(
            [self.program, path, str(self.size)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.served_by(1)

    def served_by(self, number):
        """Waits until the disk works by its N-th connection."""
        line = self.process.stdout.readline()
        assert line == f"served {number}\n", line + self.process.stdout.read()

    def ended(self, requests, verified):
        """What it has done: a number, and bytes."""

    def __enter__(self):
        return self

    def __exit__(self, kind, *unused):
        if kind:
            self.process.kill()
        output, _ = self.process.communicate(timeout=TIMEOUT)
        if not kind:
            assert self.process.returncode == 0, output
            self.ended(*map(int, re.findall(r"\d+", output.splitlines()[-1])))


class Process:
    """A daemon whose standard error goes to a file."""

    program = None # set by the test
    count = 0

    def __init__(self, *args, monitor=MONITOR, **kwargs):
        Process.count += 1
        self.name = f"log{Process.count}"
        with open(self.name, "wb") as log:
            self.process = subprocess.Popen(
                [self.program, *monitor, "--allow-path", ".", *args],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, **kwargs)
        self.pid = self.process.pid

    def log(self):
        with open(self.name, encoding="utf-8") as file:
            return file.read()

    def client(self, path="q.sock"):
        """A new one, once somebody listens."""
        def attempt():
            assert self.process.poll() is None, self.log()
            try:
                return Client(path)
            except (FileNotFoundError, ConnectionRefusedError):
                return None
        return until(attempt, "a monitor")

    def wait(self, status=0):
        assert self.process.wait(TIMEOUT) == status, self.log()

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.wait()

    def kill(self):
        self.process.kill()
        self.process.wait(TIMEOUT)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        """Whatever the case has left."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                self.kill()


class Supervised(Process):
    """One that is started again."""

    def __init__(self, *args, **kwargs):
        super().__init__("--supervise=max-crashes=0", *args, **kwargs)

    def server(self):
        return until(lambda: children(self.pid), "a server")[0]

    def crash(self):
        """Returns when another one serves."""
        before = self.log().count("serving again")
        os.kill(self.server(), signal.SIGKILL)
        until(lambda: self.log().count("serving again") > before, self.log)


def front_end(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(TIMEOUT)
    sock.connect(path)
    return sock


def asks(sock):
    """GET_FEATURES: somebody serves it."""
    sock.sendall(struct.pack("<III", 1, 1, 0))
    return len(sock.recv(20)) == 20


def served(path):
    with front_end(path) as sock:
        return asks(sock)


def add_disk(client, name, **more):
    """A node and an export of that name."""
    client.do("blockdev-add", driver="file", node_name=name,
              filename=image(name + ".img"), **more)
    add_export(client, name)


def add_export(client, name, path=None, **more):
    client.do("block-export-add", type="vhost-user-blk", id="e-" + name,
              node_name=name, writable=True,
              addr={"type": "unix", "path": path or name + ".sock"}, **more)


def del_disk(client, name):
    client.do("block-export-del", id="e-" + name)
    while client.event("BLOCK_EXPORT_DELETED")["id"] != "e-" + name:
        pass
    client.do("blockdev-del", node_name=name)


def state(client):
    """All that can be configured."""
    groups = [o["name"] for o in client.do("qom-list", path="/objects")
              if o["type"] == "child<throttle-group>"]
    return {
        "nodes": sorted((n["node-name"], n["drv"], n["ro"], n["image"]["virtual-size"])
                        for n in client.do("query-named-block-nodes", flat=True)),
        "exports": sorted((e["id"], e["node-name"])
                          for e in client.do("query-block-exports")),
        "iothreads": sorted(t["id"] for t in client.do("query-iothreads")
                            if t["id"] != "vblk-io"),
        "limits": {g: client.do("qom-get", path=g, property="limits")
                   for g in groups},
    }
