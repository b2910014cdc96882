# SPDX-License-Identifier: GPL-2.0-or-later
"""Operations on exports of an NBD server, while system calls on the connection
fail: what is lost then is the connection. The server is Debian's qemu-nbd,
which nothing happens to.
"""

import contextlib
import os
import shutil
import subprocess
import time

import nth
from operations import (MIB, OPERATIONS, Broken, Convert, IoWrite, Operation, export,
                        make_qcow2, make_raw, mixture, operation, same, tool, untouched,
                        whole)
from processes import listens


@contextlib.contextmanager
def server(image, path):
    """qemu-nbd on a file, of which it knows no format, until the block's end; by
    then the file has what was written."""
    with subprocess.Popen(["qemu-nbd", "-t", "-e", "0", "-f", "raw", "-k", path, image],
                          stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + nth.TIMEOUT
            while not listens(path):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise Broken("qemu-nbd does not serve")
                time.sleep(0.005)
            yield
        finally:
            process.terminate()
            process.wait(nth.TIMEOUT)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


class Nbd(Operation):
    """On one image of the folder."""
    served = "raw"

    def serving(self, folder):
        return server(f"{folder}/{self.served}", f"{folder}/nbd")

    @staticmethod
    def uri(folder):
        """Of the export."""
        return f"nbd+unix:///?socket={folder}/nbd"

    @staticmethod
    def options(folder):
        """Of a node."""
        return f"driver=nbd,server.type=unix,server.path={folder}/nbd"


class Look(Nbd, Convert):
    """Nothing is written there."""

    def prepare(self):
        Convert.prepare(self)

    def check(self, done):
        untouched("raw", "raw.want")


@operation("nbd-info")
class Info(Look):
    """Opened, and that is all."""

    def words(self, folder):
        return ["info", self.uri(folder)]


@operation("nbd-map")
class Map(Look):
    """What is where."""

    def words(self, folder):
        return ["map", "-f", "raw", self.uri(folder)]


@operation("nbd-compare")
class Compare(Look):
    """All of it is read."""
    failed = (2, 3, 4)

    def words(self, folder):
        return ["compare", "-f", "raw", "-F", "qcow2", self.uri(folder), f"{folder}/base"]


@operation("convert-from-nbd")
class ConvertFrom(Look):
    """Into clusters."""

    def words(self, folder):
        return ["convert", "-f", "raw", "-O", "qcow2", self.uri(folder), f"{folder}/new"]

    def check(self, done):
        super().check(done)
        if done:
            whole("new", (0,))
            same("new", "qcow2", "raw.want")


@operation("convert-to-nbd")
class ConvertTo(Nbd):
    """Over what is there."""

    def prepare(self):
        make_raw("raw", 6)
        make_raw("other", 7)
        tool("cp", "raw", "raw.want")
        tool("cp", "other", "other.want")

    def words(self, folder):
        return ["convert", "-n", "-W", "-m", "4", "-f", "raw", "-O", "raw",
                f"{folder}/other", self.uri(folder)]

    def check(self, done):
        untouched("other", "other.want")
        if done:
            untouched("raw", "other.want")
        else:
            mixture("raw", "raw.want", "other.want", step=512)


@operation("nbd-write")
class Write(Nbd):
    """Written, emptied, flushed."""
    program = "io"
    commands = ("write -P 5 4096 300000", "write -z 400000 100000", "write -f -P 6 1M 512",
                "flush")

    def prepare(self):
        make_raw("raw", 8, 2 * MIB)
        for name in "raw.want", "new.want":
            tool("cp", "raw", name)
        tool("qemu-io", "-f", "raw", *self.io_words(), "new.want")

    def io_words(self):
        """Of qemu-io as well."""
        return [word for command in self.commands for word in ("-c", command)]

    def words(self, folder):
        return ["-f", "raw", *self.io_words(), self.uri(folder)]

    def check(self, done):
        if done:
            untouched("raw", "new.want")
        else:
            mixture("raw", "raw.want", "new.want", step=32)


@operation("nbd-qcow2-write")
class Qcow2Write(Nbd, IoWrite):
    """An image that lies behind the connection: whole, wherever that ends."""
    served = "top"

    def prepare(self):
        make_raw("top.want", 9)
        make_qcow2("top", "top.want")
        os.truncate("top", 4 * MIB) # an export does not grow

    def words(self, folder):
        return ["--image-opts", "-c", "write -P 5 4096 60000", "-c",
                "write -P 5 500000 60000", "-c", "flush",
                "driver=qcow2," + ",".join("file." + word for word in
                                           self.options(folder).split(","))]

    def check(self, done):
        whole("top")
        self.check_written(done)


@operation("serve-nbd")
class Serve(Look):
    """The daemon opens it, or says why it cannot, and closes it."""
    program = "daemon"

    def words(self, folder):
        return export(self.options(folder), folder)


if not shutil.which("qemu-nbd"):
    for name in [n for n in OPERATIONS if "nbd" in n]:
        del OPERATIONS[name]
