#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest moves from one QEMU to another while it writes and verifies.

Arguments: the way the image is shared (two-daemons: a raw image that both
have open, without locks; one-daemon: a qcow2 image with two exports;
two-hosts-raw, two-hosts-qcow2: an image with locks that is one daemon's at a
time), ring format (split, packed). Between two hosts the guest moves forth and
back, after a migration that is cancelled when its disk has been given away.
"""

import json
import shutil
import socket
import subprocess
import sys
import threading

import harness

ROUNDS = 40
MOVE_AFTER = 4
LIMIT = 150
MIB = harness.MIB


class Monitor:
    """The QMP socket of one QEMU."""

    def __init__(self, qemu):
        self.qemu = qemu
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(LIMIT)
        self.sock.connect(qemu.path)
        self.lines = self.sock.makefile("r", encoding="utf-8")
        self.events = []    # that came before the answer to a command
        self.read()
        self.run("qmp_capabilities")

    def close(self):
        """Makes room for another client."""
        self.lines.close()
        self.sock.close()

    def read(self):
        """The next message."""
        line = self.lines.readline()
        if not line:
            raise harness.daemon.DaemonError("QEMU closed its monitor: " +
                                             self.qemu.last_words())
        return json.loads(line)

    def run(self, command, **arguments):
        """A command's return value."""
        self.sock.sendall(json.dumps(
            {"execute": command, "arguments": arguments}).encode())
        while True:
            message = self.read()
            if "error" in message:
                raise harness.daemon.DaemonError(f"{command}: {message['error']}")
            if "return" in message:
                return message["return"]
            self.events.append(message)

    def wait_migration(self, states=("completed", "failed", "cancelled")):
        """Until it is over, or in one of these states; which one."""
        while True:
            message = self.events.pop(0) if self.events else self.read()
            if message.get("event") == "MIGRATION":
                status = message["data"]["status"]
                if status in states:
                    return status

    def set_capabilities(self, **states):
        """Switches these on or off."""
        self.run("migrate-set-capabilities", capabilities=[
            {"capability": name.replace("_", "-"), "state": state}
            for name, state in states.items()])


class Qemu:
    """One of the two machines, followed by a thread of its own."""

    def __init__(self, bench, name, disk, incoming=None):
        self.path = f"{bench.run_dir}/{name}.qmp"
        self.result = harness.machine.Result(console=f"{bench.run_dir}/{name}.log")
        self.rounds = []
        self.moment = threading.Event()
        self.more = threading.Condition()
        machine = bench.machine
        words = machine.command([disk], ["migrate"], disk.queues, machine.accel,
                                {"ROUNDS": ROUNDS})
        words += ["-qmp", f"unix:{self.path},server=on,wait=off"]
        if incoming:
            words += ["-incoming", f"unix:{incoming}"]
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)
        self.name, self.channel = name, incoming
        self.timer = threading.Timer(LIMIT, self.process.kill)
        self.timer.start()
        self.thread = threading.Thread(target=self.follow)
        self.thread.start()

    def follow(self):
        """Reads the console to its end."""
        harness.machine.Machine.follow(self.process, self.result, self.watch)
        self.moment.set()

    def watch(self, kind, text):
        """Notes the rounds; the moment has come after some."""
        if kind == "ROUND":
            self.rounds.append(int(text))
            with self.more:
                self.more.notify_all()
            if len(self.rounds) == MOVE_AFTER:
                self.moment.set()
        return False

    def wait_rounds(self, count):
        """Until there are so many."""
        with self.more:
            self.more.wait_for(lambda: len(self.rounds) >= count or
                               self.process.poll() is not None, LIMIT)

    def last_words(self):
        """How it has ended, and what it said."""
        self.end()
        return (f"{self.name}, status {self.process.returncode}\n"
                f"{self.result.tail()}")

    def end(self):
        """Waits until it has ended by itself."""
        self.thread.join()
        self.timer.cancel()

    def kill(self):
        """Whatever it does."""
        self.process.kill()
        self.end()


def wait_for_socket(qemu):
    """Connects to the monitor as soon as it is there."""
    event = threading.Event()
    while qemu.process.poll() is None:
        try:
            return Monitor(qemu)
        except (FileNotFoundError, ConnectionRefusedError):
            event.wait(0.05)
    raise harness.daemon.DaemonError("QEMU did not start: " + qemu.last_words())


def begin(bench, source, target, pause=False):
    """Monitors of both; the migration runs, if the guest does."""
    target_monitor = wait_for_socket(target)
    monitor = wait_for_socket(source)
    source.moment.wait(LIMIT)
    if not source.rounds:
        bench.check("the guest has begun to work", False, source.result.tail())
        return None, None
    monitor.set_capabilities(events=True, pause_before_switchover=pause)
    monitor.run("migrate", uri=f"unix:{target.channel}")
    return monitor, target_monitor


def move(bench, source, target):
    """The migration itself, and what both ends say of it."""
    monitor, target_monitor = begin(bench, source, target)
    if not monitor:
        return
    bench.expect("the migration is completed", "completed", monitor.wait_migration())
    figures = monitor.run("query-migrate")
    bench.note(f"{figures.get('total-time')} ms, the guest stood still for "
               f"{figures.get('downtime')} ms, "
               f"{figures['ram']['transferred'] // 1024} KiB of memory in "
               f"{figures['ram']['dirty-sync-count']} rounds")
    target_monitor.close()
    monitor.run("quit")
    source.end()


def exports_of(bench, way):
    """Lists of exports, one for each daemon."""
    if way == "one-daemon":
        image = f"{bench.images}/disk.qcow2"
        bench.command("make a qcow2 image",
                      [f"{bench.build_dir}/tools/img/vblk-img", "create", "-q", "-f",
                       "qcow2", image, "128M"])
        first = harness.daemon.Export("first", image, queues=2, iothreads=2)
        first.blockdev = {"driver": "qcow2", "file": {
            "driver": "file", "filename": image, "aio": "native",
            "cache": {"direct": True}}, "cache": {"direct": True}}
        second = harness.daemon.Export("second", image, queues=2, iothreads=2,
                                       node=first.node_name())
        return [[first, second]]
    image = bench.image("disk")
    unlocked = {"locking": "off"}
    return [[harness.daemon.Export(name, image, engine, 2, iothreads=2,
                                   blockdev=unlocked)]
            for name, engine in (("first", "native"), ("second", "io_uring"))]


def check_locks(bench, export):
    """Without locking=off the second writer is refused."""
    export = harness.daemon.Export("locked", export.image, "threads")
    with bench.daemon([export]):
        second = bench.daemon([export])
        try:
            second.start()
            second.kill()
            bench.check("two daemons cannot write to one image by mistake", False)
        except harness.daemon.DaemonError as err:
            bench.check("two daemons cannot write to one image by mistake",
                        "lock" in str(err), err)


def check_rounds(bench, *machines):
    """Each round ended once, here or there."""
    for failure in [f for m in machines for f in m.result.failed]:
        bench.check(f"guest: {failure.split(':')[0]}", False, failure)
    bench.note(" + ".join(f"{len(m.rounds)} ({m.name})" for m in machines) + " rounds")
    bench.expect("each round ended once", list(range(1, ROUNDS + 1)),
                 [n for m in machines for n in m.rounds])
    bench.check("there were rounds on all sides", all(m.rounds for m in machines))
    target = machines[-1]
    bench.check("the guest came to its end", target.result.done,
                target.result.tail())
    for passed in target.result.passed:
        bench.check(f"guest: {passed}", True)


def run(bench, servers, packed):
    """Both machines, one after the other."""
    sockets = [path for server in servers for path in server.sockets]
    disks = [harness.machine.Disk(path, 2, packed) for path in sockets]
    source = Qemu(bench, "source", disks[0])
    target = Qemu(bench, "target", disks[1], f"{bench.run_dir}/migration")
    try:
        move(bench, source, target)
        target.end()
    finally:
        source.kill()
        target.kill()
    check_rounds(bench, source, target)


# --- two hosts ---

def cancel(bench, source, target, image):
    """A migration that does not come off: the guest stood still already, and
    nobody had its disk."""
    monitor, target_monitor = begin(bench, source, target, pause=True)
    if not monitor:
        return
    bench.expect("the guest stands still", "pre-switchover",
                 monitor.wait_migration(("pre-switchover", "failed", "completed")))
    image.check_idle("while the guest stands still")
    monitor.run("migrate_cancel")
    bench.expect("the migration is cancelled", "cancelled", monitor.wait_migration())
    had = len(source.rounds)
    target_monitor.close()
    monitor.close()
    target.kill()
    source.wait_rounds(had + 2)
    bench.check("the guest goes on where it was", len(source.rounds) >= had + 2,
                source.result.tail())
    image.check_busy()


class Image:
    """The one that both daemons have, as Debian's tools see it."""

    def __init__(self, bench, qcow2):
        self.bench, self.format = bench, "qcow2" if qcow2 else "raw"
        if not shutil.which("qemu-img"):
            raise harness.Skip("there is no qemu-img")
        if qcow2:
            self.path = f"{bench.images}/disk.qcow2"
            self.tool("create", "-q", "-f", "qcow2", self.path, "128M")
            self.tool("bitmap", "--add", self.path, "map")
        else:
            self.path = bench.image("disk")

    def tool(self, *words):
        """qemu-img; its output, or None with a status that is not 0."""
        run = subprocess.run(["qemu-img", *words], check=False, text=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT)
        self.last = run.stdout
        return None if run.returncode else run.stdout

    def check_busy(self):
        """It is somebody's."""
        self.bench.check("others are kept from the image while the guest works",
                         self.tool("resize", "-f", self.format, self.path, "+0") is None
                         and "lock" in self.last, self.last)

    def check_idle(self, when):
        """It is nobody's, and whole."""
        self.bench.check(f"the image is free {when}",
                         self.tool("resize", "-q", "-f", self.format, self.path, "+0")
                         is not None, self.last)
        if self.format == "qcow2":
            self.bench.check(f"qemu-img check finds nothing {when}",
                             self.tool("check", self.path), self.last)

    def written(self):
        """Bytes of clusters that have data."""
        pieces = json.loads(self.tool("map", "--output=json", self.path))
        return sum(p["length"] for p in pieces if p["data"])

    def check_bitmap(self):
        """It has noted all that was written, on whichever side."""
        info = json.loads(self.tool("info", "--output=json", self.path))
        bitmaps = info["format-specific"]["data"].get("bitmaps", [])
        self.bench.expect("the bitmap is not in use", [["auto"]],
                          [b["flags"] for b in bitmaps])
        bits = self.bitmap_bytes()
        self.bench.check("the bitmap covers all that was written",
                         bits >= self.written() > 0, f"{bits} < {self.written()}")

    def bitmap_bytes(self):
        """What Debian's daemon counts in it."""
        commands = [{"execute": name} for name in
                    ("qmp_capabilities", "query-named-block-nodes", "quit")]
        run = subprocess.run(
            ["qemu-storage-daemon", "--blockdev", "qcow2,node-name=n,file.driver=file,"
             f"file.filename={self.path}", "--chardev", "stdio,id=m", "--monitor",
             "chardev=m"], input="\n".join(map(json.dumps, commands)), check=True,
            text=True, stdout=subprocess.PIPE)
        for line in run.stdout.splitlines():
            for node in json.loads(line).get("return") or ():
                if "dirty-bitmaps" in node:
                    return node["dirty-bitmaps"][0]["count"]
        return 0


def two_hosts(bench, qcow2, packed):
    """Both daemons have the same command line, but for their sockets."""
    image = Image(bench, qcow2)
    blockdev = {"active": False, "driver": image.format, "file": {
        "driver": "file", "filename": image.path, "aio": "native",
        "cache": {"direct": True}}}
    servers = [bench.daemon([harness.daemon.Export(
        name, image.path, queues=2, iothreads=2, blockdev=blockdev,
        export={"auto-active": True})]) for name in ("first", "second")]
    disks = [harness.machine.Disk(server.sockets[0], 2, packed) for server in servers]
    try:
        for server in servers:
            server.start()
        image.check_idle("before there is a guest")
        there_and_back(bench, disks, image)
        image.check_idle("when the guest is gone")
        for server in servers:
            bench.stop(server)
    finally:
        for server in servers:
            server.kill()
    if qcow2:
        image.check_bitmap()
    check_contents(bench, image.path, image.format)


def there_and_back(bench, disks, image):
    """Four machines, one after the other; the second one waits in vain."""
    machines = [Qemu(bench, "home", disks[0])]

    def incoming(name, disk):
        machines.append(Qemu(bench, name, disk, f"{bench.run_dir}/to-{name}"))
        return machines[-1]

    try:
        home = machines[0]
        cancel(bench, home, incoming("nowhere", disks[1]), image)
        away = incoming("away", disks[1])
        move(bench, home, away)
        image.check_busy()
        back = incoming("back", disks[0])
        move(bench, away, back)
        back.end()
    finally:
        for machine in machines:
            machine.kill()
    check_rounds(bench, home, away, back)


def check_contents(bench, path, image_format):
    """What the guest has written last is in the image, as others read it."""
    raw = path
    if image_format != "raw":
        raw = f"{bench.images}/contents.raw"
        bench.command("qemu-img reads the image", [
            "qemu-img", "convert", "-O", "raw", path, raw])
    words = [f"verify,offset={n % 16 * MIB},bytes={MIB},block=64k,seed={n}"
             for n in range(ROUNDS - 7, ROUNDS + 1)]
    bench.on_image("host: the image holds the last rounds", raw, *words)


def body(bench):
    """One move."""
    way, packed = sys.argv[1], sys.argv[2] == "packed"
    if way.startswith("two-hosts"):
        two_hosts(bench, way.endswith("qcow2"), packed)
        return
    lists = exports_of(bench, way)
    if way == "two-daemons":
        check_locks(bench, lists[0][0])
    servers = [bench.daemon(exports) for exports in lists]
    try:
        for server in servers:
            server.start()
        run(bench, servers, packed)
        for server in servers:
            bench.stop(server)
    finally:
        for server in servers:
            server.kill()
    if way == "one-daemon":
        bench.command("the image is whole", [
            f"{bench.build_dir}/tools/img/vblk-img", "check", "-q", lists[0][0].image])
    else:
        check_contents(bench, lists[0][0].image, "raw")


harness.main(body)
