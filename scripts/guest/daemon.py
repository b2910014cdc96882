# SPDX-License-Identifier: GPL-2.0-or-later
"""Starts and stops the storage daemon that a guest's disks come from.

Used by the demonstration and the functional tests. The command line is the one
vblk-storage-daemon shares with qemu-storage-daemon, so that either can be run:
VBLK_DAEMON names another program than the one in the build directory.
"""

import dataclasses
import json
import os
import signal
import subprocess
import tempfile
import time

START_LIMIT = 20
STOP_LIMIT = 20


class DaemonError(Exception):
    """The daemon did not start, did not stop or ended with an error."""


def find_daemon(build_dir):
    """The program to test, or None when it has not been built."""
    named = os.environ.get("VBLK_DAEMON")
    path = named or f"{build_dir}/tools/storage-daemon/vblk-storage-daemon"
    return path if os.access(path, os.X_OK) else None


def is_vblk(program):
    """False for another server, of which less may be expected."""
    return os.path.basename(program).startswith("vblk")


def supports_direct_io(folder):
    """Whether files in @folder can be opened with O_DIRECT."""
    with tempfile.NamedTemporaryFile(dir=folder) as f:
        try:
            os.close(os.open(f.name, os.O_RDONLY | os.O_DIRECT))
        except OSError:
            return False
    return True


def socket_folder():
    """A new temporary folder; a socket's path has at most 107 bytes."""
    usual = tempfile.gettempdir()
    return tempfile.mkdtemp(prefix="vblk-", dir=usual if len(usual) < 50 else "/tmp")


def image_folder(build_dir):
    """Where images can lie; None when no file system here can do direct I/O."""
    own = f"{build_dir}/guest"
    os.makedirs(own, exist_ok=True)
    return next((f for f in (own, "/var/tmp") if supports_direct_io(f)), None)


def flatten(prefix, value):
    """key=value words for a tree of options, as in addr.path=/tmp/x.sock."""
    if isinstance(value, dict):
        return [word for key, below in value.items()
                for word in flatten(f"{prefix}.{key}" if prefix else key, below)]
    if isinstance(value, bool):
        value = "on" if value else "off"
    return [f"{prefix}=" + str(value).replace(",", ",,")]


def option_text(options):
    """key=value as people type it, or JSON for what only JSON can say."""
    if any(isinstance(value, list) for value in options.values()):
        return json.dumps(options)
    return ",".join(flatten("", options))


@dataclasses.dataclass
class Export:
    """One disk: an image and how it is served."""
    name: str
    image: str
    engine: str = "threads"
    queues: int = 1
    direct: bool = True
    writable: bool = True
    iothreads: int = 0
    node: str = ""      # another export's node is served, and image not opened
    blockdev: dict = dataclasses.field(default_factory=dict)
    export: dict = dataclasses.field(default_factory=dict)

    def node_name(self):
        """What it serves."""
        return self.node or f"node-{self.name}"

    def blockdev_option(self):
        """--blockdev of the image: a raw file, unless blockdev names a driver."""
        if "driver" in self.blockdev:
            return option_text({"node-name": self.node_name(), "discard": "unmap",
                                **self.blockdev})
        return option_text({
            "driver": "file", "node-name": self.node_name(),
            "filename": self.image, "aio": self.engine,
            "cache": {"direct": self.direct}, "discard": "unmap",
            "read-only": not self.writable, **self.blockdev})

    def export_option(self, socket):
        """--export of the node on a socket."""
        option = {
            "type": "vhost-user-blk", "id": self.name,
            "node-name": self.node_name(), "writable": self.writable,
            "addr": {"type": "unix", "path": socket},
            "num-queues": self.queues, **self.export}
        threads = [f"{self.name}-t{i}" for i in range(self.iothreads)]
        if threads:
            option["iothread"] = threads[0] if len(threads) == 1 else threads
        return option_text(option)


class Daemon:
    """A running server; use it with `with`, or call stop()."""

    def __init__(self, program, exports, run_dir):
        self.program = program
        self.exports = exports
        self.sockets = [f"{run_dir}/{e.name}.sock" for e in exports]
        self.pidfile = f"{run_dir}/daemon.pid"
        self.log = f"{run_dir}/daemon.log"
        self.process = None
        self.extra = [] # options that come first

    def command(self):
        """The whole command line."""
        words = [self.program, "--pidfile", self.pidfile, *self.extra]
        for export, socket in zip(self.exports, self.sockets):
            for i in range(export.iothreads):
                words += ["--object", f"iothread,id={export.name}-t{i}"]
            if not export.node:
                words += ["--blockdev", export.blockdev_option()]
            words += ["--export", export.export_option(socket)]
        return words + (["--stats"] if self.has_stats() else [])

    def has_stats(self):
        """Whether the program counts; asked of its own help."""
        text = subprocess.run([self.program, "--help"], check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return "--stats" in text.stdout

    def start(self):
        """Returns when the daemon serves: sockets are there, then the pid file."""
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        limit = time.monotonic() + START_LIMIT
        while not all(os.path.exists(p) for p in [*self.sockets, self.pidfile]):
            if self.process.poll() is not None:
                raise DaemonError(f"{self.program} ended with status "
                                  f"{self.process.returncode}: {self.tail()}")
            if time.monotonic() > limit:
                self.kill()
                raise DaemonError(f"{self.program} does not serve after "
                                  f"{START_LIMIT} s: {self.tail()}")
            time.sleep(0.02)
        return self

    def stop(self):
        """SIGTERM, which must end in exit status 0; returns the statistics."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired as err:
            self.kill()
            raise DaemonError(f"{self.program} still runs {STOP_LIMIT} s after "
                              f"SIGTERM: {self.tail()}") from err
        if status != 0:
            raise DaemonError(f"{self.program} ended with status {status}: "
                              f"{self.tail()}")
        return self.stats()

    def kill(self):
        """Ends the daemon at once, if it still runs."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stats_on_signal(self, limit=10):
        """The figures SIGUSR1 makes the running daemon print."""
        before = len(self.log_text())
        self.process.send_signal(signal.SIGUSR1)
        end = time.monotonic() + limit
        while time.monotonic() < end and self.alive():
            figures = self.stats(before)
            if len(figures) >= len(self.exports):
                return figures
            time.sleep(0.05)
        raise DaemonError(f"no statistics on SIGUSR1: {self.tail()}")

    def alive(self):
        """True while the daemon runs."""
        return self.process is not None and self.process.poll() is None

    def stats(self, start=0):
        """{export: {figure: number}} of the log's "stats:" lines from @start."""
        figures = {}
        for line in self.log_text()[start:].splitlines():
            if not line.startswith("stats: "):
                continue
            words = dict(w.split("=", 1) for w in line.split()[1:] if "=" in w)
            name = words.pop("export", "")
            figures.setdefault(name, {}).update(
                {k: int(v) for k, v in words.items() if v.isdigit()})
        return figures

    def log_text(self):
        """All the daemon said so far."""
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def tail(self):
        """The end of what it said, for an error message."""
        return self.log_text().strip()[-1500:] or "(it said nothing)"

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.kill()
