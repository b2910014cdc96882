#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest moves from one QEMU to another while it writes and verifies.

Arguments: the way the image is shared (two-daemons: a raw image that both
have open, without locks; one-daemon: a qcow2 image with two exports), ring
format (split, packed).
"""

import json
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

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(LIMIT)
        self.sock.connect(path)
        self.lines = self.sock.makefile("r", encoding="utf-8")
        self.read()
        self.run("qmp_capabilities")

    def read(self):
        """The next message."""
        line = self.lines.readline()
        if not line:
            raise harness.daemon.DaemonError("QEMU closed its monitor")
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

    def wait_migration(self):
        """Until it is over; how it went."""
        while True:
            message = self.read()
            if message.get("event") == "MIGRATION":
                status = message["data"]["status"]
                if status in ("completed", "failed", "cancelled"):
                    return status


class Qemu:
    """One of the two machines, followed by a thread of its own."""

    def __init__(self, bench, name, disk, incoming=None):
        self.path = f"{bench.run_dir}/{name}.qmp"
        self.result = harness.machine.Result(console=f"{bench.run_dir}/{name}.log")
        self.rounds = []
        self.moment = threading.Event()
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
            if len(self.rounds) == MOVE_AFTER:
                self.moment.set()
        return False

    def end(self):
        """Waits until it has ended by itself."""
        self.thread.join()
        self.timer.cancel()

    def kill(self):
        """Whatever it does."""
        self.process.kill()
        self.end()


def wait_for_socket(path, process):
    """Connects to the monitor as soon as it is there."""
    event = threading.Event()
    while process.poll() is None:
        try:
            return Monitor(path)
        except (FileNotFoundError, ConnectionRefusedError):
            event.wait(0.05)
    raise harness.daemon.DaemonError("QEMU did not start")


def move(bench, source, target_path, target):
    """The migration itself, and what both ends say of it."""
    target_monitor = wait_for_socket(target.path, target.process)
    monitor = wait_for_socket(source.path, source.process)
    source.moment.wait(LIMIT)
    if not source.rounds:
        bench.check("the guest has begun to work", False, source.result.tail())
        return
    capability = [{"capability": "events", "state": True}]
    monitor.run("migrate-set-capabilities", capabilities=capability)
    monitor.run("migrate", uri=f"unix:{target_path}")
    bench.expect("the migration is completed", "completed", monitor.wait_migration())
    figures = monitor.run("query-migrate")
    bench.note(f"{figures.get('total-time')} ms, the guest stood still for "
               f"{figures.get('downtime')} ms, "
               f"{figures['ram']['transferred'] // 1024} KiB of memory in "
               f"{figures['ram']['dirty-sync-count']} rounds")
    target_monitor.sock.close()
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


def check_rounds(bench, source, target):
    """Each round ended once, here or there."""
    for failure in source.result.failed + target.result.failed:
        bench.check(f"guest: {failure.split(':')[0]}", False, failure)
    bench.note(f"{len(source.rounds)} rounds before the move, "
               f"{len(target.rounds)} after it")
    bench.expect("each round ended once", list(range(1, ROUNDS + 1)),
                 source.rounds + target.rounds)
    bench.check("there were rounds on both sides", source.rounds and target.rounds)
    bench.check("the guest came to its end", target.result.done,
                target.result.tail())
    for passed in target.result.passed:
        bench.check(f"guest: {passed}", True)


def run(bench, servers, packed):
    """Both machines, one after the other."""
    sockets = [path for server in servers for path in server.sockets]
    disks = [harness.machine.Disk(path, 2, packed) for path in sockets]
    channel = f"{bench.run_dir}/migration"
    source = Qemu(bench, "source", disks[0])
    target = Qemu(bench, "target", disks[1], channel)
    try:
        move(bench, source, channel, target)
        target.end()
    finally:
        source.kill()
        target.kill()
    check_rounds(bench, source, target)


def body(bench):
    """One move."""
    way, packed = sys.argv[1], sys.argv[2] == "packed"
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
        words = [f"verify,offset={n % 16 * MIB},bytes={MIB},block=64k,seed={n}"
                 for n in range(ROUNDS - 7, ROUNDS + 1)]
        bench.on_image("host: the image holds the last rounds", lists[0][0].image, *words)


harness.main(body)
