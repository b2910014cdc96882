#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A Linux guest in a stock QEMU under verifying load, while the server is
killed and comes back by --supervise, and is taken over from by another process.
Writes are slowed down to 150 a second while reads go on, so that requests end
in another order than they came in. The guest sees no error.

Arguments: engine, ring format (split, packed), "huge" for memory in huge pages.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time

import harness
import hugepages

ROUNDS = 8
TAKEOVERS = (3, 6)


class SlowExport(harness.daemon.Export):
    """A disk whose writes are throttled."""

    def blockdev_option(self):
        return harness.daemon.option_text({
            "driver": "throttle", "node-name": f"node-{self.name}",
            "throttle-group": "slow",
            "file": {"driver": "file", "filename": self.image, "aio": self.engine,
                     "cache": {"direct": True}}})


def children(pid):
    """Processes that are its children."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [int(word) for word in f.read().split()]


class Trouble:
    """Kills and replaces servers when the guest begins a round."""

    def __init__(self, bench, server):
        self.bench = bench
        self.server = server
        self.random = random.Random(7)
        self.one_by_one = threading.Lock()
        self.threads = []
        self.kills = 0
        self.taken_over = []

    def watch(self, kind, text):
        """Called with each report of the guest."""
        if kind == "ROUND":
            act = self.take_over if int(text) in TAKEOVERS else self.kill
            timer = threading.Timer(self.random.uniform(0, 0.4), self.do, (act,))
            timer.start()
            self.threads.append(timer)
        return False

    def do(self, act):
        """After what an earlier round has begun."""
        with self.one_by_one:
            act()

    def kill(self):
        """The server dies; its supervisor starts another one. There may be
        none yet since it died last."""
        deadline = time.monotonic() + 60
        while not children(self.server.process.pid):
            if time.monotonic() > deadline:
                return
            time.sleep(0.01)
        for pid in children(self.server.process.pid):
            os.kill(pid, signal.SIGKILL)
            self.kills += 1

    def take_over(self):
        """Another supervised daemon, with the same command line."""
        old = self.server.process
        with open(self.server.log, "ab") as log:
            new = subprocess.Popen(self.server.command(), stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log)
        self.taken_over.append(old.wait(60))
        self.server.process = new

    def finish(self):
        """Waits for what was begun."""
        for thread in self.threads:
            thread.join()


def body(bench):
    """One boot, in the memory that is asked for."""
    if not bench.is_vblk:
        bench.skip("the guest outlives its server", "not vblk")
        return
    if "huge" not in sys.argv[3:]:
        crash(bench)
        return
    with hugepages.reserved(harness.machine.MEMORY_MIB) as there:
        bench.machine.huge_pages = there
        if there:
            crash(bench)
        else:
            bench.skip("the guest outlives its server", "no huge pages")


def crash(bench):
    """One boot."""
    engine, packed = sys.argv[1], sys.argv[2] == "packed"
    export = SlowExport("disk", bench.image("disk"), engine, 2, iothreads=2)
    server = bench.daemon([export])
    server.extra = ["--supervise=max-crashes=0",
                    "--takeover", f"{os.path.dirname(server.log)}/takeover",
                    "--object", "throttle-group,id=slow,limits.iops-write=150"]
    with server:
        trouble = Trouble(bench, server)
        disk = harness.machine.Disk(server.sockets[0], 2, packed, reconnect=1)
        started = time.monotonic()
        result = bench.boot([disk], ["crash"], watch=trouble.watch,
                            settings={"ROUNDS": ROUNDS})
        trouble.finish()
        bench.expect("the old processes ended well", [0] * len(TAKEOVERS),
                     trouble.taken_over)
        bench.stop(server)
    bench.check("the server was killed in the middle", trouble.kills >= ROUNDS - 3,
                trouble.kills)
    bench.note(f"{trouble.kills} kills and {len(trouble.taken_over)} takeovers in "
               f"{time.monotonic() - started:.0f} s, "
               f"{result.values.get('verified_bytes')} bytes verified in the foreground")
    for line in server.log_text().splitlines():
        if "process" in line:
            bench.note(line)
    for number in range(ROUNDS):
        bench.on_image(f"host: round {number} is in the image", export.image,
                       f"verify,offset={number * 262144},bytes=256k,block=64k,"
                       f"seed={100 + number}")


harness.main(body)
