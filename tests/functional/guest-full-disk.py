#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A Linux guest writes to a disk whose image lies on a file system that runs
full, round after round. Its writes hang; when there is room again they are
done, by themselves (werror=enospc) or when the monitor says so (stop). The
guest sees no error and finds what it has written.

Arguments: engine, policy (enospc, stop), format (raw, qcow2). Mounts an ext4
of its own.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading

import harness

ROUNDS = 4
BYTES = 8 * harness.MIB    # a round
ROOM = 2 * harness.MIB     # that is there when a round begins
WAIT = 60


class FileSystem:
    """An ext4 in a file, which holds the image and files that can go."""

    def __init__(self, folder):
        self.disk = f"{folder}/host.ext4"
        self.path = f"{folder}/mnt"
        os.mkdir(self.path)
        with open(self.disk, "wb") as f:
            f.truncate(96 * harness.MIB)

    def __enter__(self):
        for words in (["mkfs.ext4", "-q", "-m", "0", self.disk],
                      ["mount", "-o", "loop", self.disk, self.path]):
            run = subprocess.run(words, check=False, text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if run.returncode != 0:
                raise harness.Skip(f"{words[0]}: {run.stdout.strip()}")
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", self.path], check=False)

    def free(self):
        """Bytes that anybody may still take."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_bsize

    def take(self, name, size):
        """A file of that size."""
        with open(f"{self.path}/{name}", "wb") as f:
            os.posix_fallocate(f.fileno(), 0, size)

    def fill(self):
        """But for some room, and in files of which one makes room for a round."""
        for i in range(ROUNDS):
            self.take(f"filler{i}", BYTES + harness.MIB)
        self.take("ballast", self.free() - ROOM)

    def make_room(self, i):
        """For one round."""
        os.unlink(f"{self.path}/filler{i}")
        subprocess.run(["sync", "-f", self.path], check=True)


class Monitor:
    """A conversation with the daemon, in one thread."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(WAIT)
        self.socket.connect(path)
        self.file = self.socket.makefile("rw", encoding="utf-8")
        self.events = []
        self.file.readline()
        self.run("qmp_capabilities")

    def read(self):
        """One message."""
        return json.loads(self.file.readline())

    def run(self, command):
        """Its answer; events that come first are kept."""
        self.file.write(json.dumps({"execute": command}) + "\n")
        self.file.flush()
        while True:
            message = self.read()
            if "event" not in message:
                return message["return"]
            self.events.append(message)

    def wait(self, event):
        """The next event of that name."""
        while True:
            message = self.events.pop(0) if self.events else self.read()
            if message.get("event") == event:
                return message["data"]


class Host:
    """Makes room whenever the guest hangs."""

    def __init__(self, fs, monitor, policy):
        self.fs, self.monitor, self.policy = fs, monitor, policy
        self.written = set()
        self.threads = []
        self.held = []          # requests, each time
        self.early = []         # rounds that did not hang
        self.failures = []

    def watch(self, kind, text):
        """Called with each report of the guest."""
        if kind == "FILL":
            thread = threading.Thread(target=self.help, args=(int(text),))
            thread.start()
            self.threads.append(thread)
        elif kind == "WRITTEN":
            self.written.add(int(text))
        return False

    def help(self, number):
        """Waits until writes are held; the guest waits for them."""
        try:
            data = self.monitor.wait("BLOCK_IO_ERROR")
            if not data["nospace"] or data["action"] != "stop":
                self.failures.append(data)
            self.held.append(self.held_now())
            if number in self.written:
                self.early.append(number)
            if self.policy == "stop":
                self.go_on_in_vain()
            self.fs.make_room(number)
            if self.policy == "stop":
                self.monitor.run("cont")
            else:
                self.monitor.wait("X_VBLK_EXPORT_RESUMED")
            self.monitor.events.clear()
        except (OSError, ValueError, KeyError) as err:
            self.failures.append(repr(err))

    def go_on_in_vain(self):
        """There is no room yet: writes fail again and are held again."""
        self.monitor.run("cont")
        self.monitor.wait("BLOCK_IO_ERROR")

    def held_now(self):
        """How many requests wait."""
        stats = self.monitor.run("x-vblk-stats")
        return sum(export["held"] for export in stats)

    def finish(self):
        """After the guest's end."""
        for thread in self.threads:
            thread.join()


def blockdev(image, engine, form):
    """What the export serves."""
    file = {"driver": "file", "filename": image, "aio": engine,
            "cache": {"direct": engine != "threads"}}
    return file if form == "raw" else {"driver": "qcow2", "file": file}


def make_image(fs, form):
    """A sparse one; a cluster's refcounts and tables take some room, too."""
    path = f"{fs.path}/image"
    with open(path, "wb") as f:
        f.truncate(64 * harness.MIB)
    if form == "qcow2":
        subprocess.run([os.environ["VBLK_IMG"], "create", "-q", "-f", "qcow2", path, "64M"],
                       check=True)
    return path


def serve(bench, fs, engine, policy, form):
    """One boot on a daemon with a monitor."""
    export = harness.daemon.Export("disk", make_image(fs, form), engine, 2, iothreads=1,
                                   export={"werror": policy})
    export.blockdev = blockdev(export.image, engine, form)
    fs.fill()
    server = bench.daemon([export])
    path = f"{os.path.dirname(server.log)}/monitor"
    server.extra = ["--chardev", f"socket,id=m,path={path},server=on,wait=off",
                    "--monitor", "chardev=m"]
    with server:
        host = Host(fs, Monitor(path), policy)
        disk = harness.machine.Disk(server.sockets[0], 2, True)
        result = bench.boot([disk], ["full"], watch=host.watch,
                            settings={"ROUNDS": ROUNDS, "BYTES": BYTES})
        host.finish()
        bench.stop(server)
    bench.expect("nothing else went wrong", [], host.failures)
    bench.expect("writes were held in each round", ROUNDS, sum(n > 0 for n in host.held))
    bench.expect("the guest waited for them", [], host.early)
    bench.note(f"{ROUNDS} rounds of {BYTES >> 20} MiB, {ROOM >> 20} MiB of room; "
               f"held at a time: {host.held}; "
               f"{result.values.get('verified_bytes')} bytes verified")
    return export.image


def check_image(bench, image, form):
    """What the host finds in it."""
    if form == "qcow2":
        bench.command("host: qemu-img finds nothing wrong with the image",
                      ["qemu-img", "check", image])
        return
    for number in range(ROUNDS):
        bench.on_image(f"host: round {number} is in the image", image,
                       f"verify,offset={number * BYTES},bytes={BYTES},block=64k,"
                       f"seed={100 + number}")


def body(bench):
    """One file system, one guest; then the image."""
    engine, policy, form = sys.argv[1:4]
    if not bench.is_vblk:
        bench.skip("writes wait for room", "not vblk")
        return
    try:
        with tempfile.TemporaryDirectory(dir=bench.images) as folder, \
                FileSystem(folder) as fs:
            check_image(bench, serve(bench, fs, engine, policy, form), form)
    except harness.Skip as err:
        bench.skip("writes wait for room", err)


harness.main(body)
