#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The storage daemon in its sandbox: every engine, format and filter works as
outside, and what the process has is what it should have.

Usage: test-sandbox.py DAEMON VBLK-BENCH VBLK-IMG
"""

import contextlib
import glob
import json
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys

sys.path.insert(0, os.path.dirname(sys.path[0]))
# pylint: disable=wrong-import-position
from cases import Skip, case, main  # noqa: E402
from processes import children, listens, until  # noqa: E402
from service import front_end  # noqa: E402

DAEMON, BENCH, IMG = (os.path.abspath(path) for path in sys.argv[1:4])
TIMEOUT = 60
NOBODY = 65534
EXPORT = "vhost-user-blk,id=e,node-name=n,writable=on,addr.type=unix,addr.path="


def bench(options, *job):
    """Load on a daemon in the sandbox, all of it checked."""
    server = shlex.join([DAEMON, "--sandbox", "on", *options,
                         "--export", EXPORT + "{socket}"])
    result = subprocess.run(
        [BENCH, "--server=" + server, "--eta=never", "--verify=pattern",
         "--rw=randrw", "--iodepth=8", "--numjobs=2", "--syscalls=off",
         *(job or ("--number_ios=2000",))],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, timeout=TIMEOUT, check=False)
    assert result.returncode == 0, result.stderr


def image(name="a.img", size=32 << 20):
    """An empty file."""
    with open(name, "wb") as file:
        file.truncate(size)
    return name


def qcow2(*options):
    """An empty qcow2 image."""
    subprocess.run([IMG, "create", "-q", "-f", "qcow2", *options, "q.img",
                    "32M"], check=True, stdin=subprocess.DEVNULL)
    return "q.img"


class Running:
    """A daemon in the sandbox; ended at the end of the block."""

    def __init__(self, *args, **kwargs):
        self.process = subprocess.Popen(
            [DAEMON, "--sandbox", "on", *args, "--pidfile", "pid"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, **kwargs)

    def __enter__(self):
        # entered once the parent of --daemonize could go; the filter is last
        until(lambda: self.process.poll() is not None or
                   "Seccomp:\t2" in self.read("status"), "its sandbox")
        assert self.process.poll() is None, self.process.stderr.read()
        return self

    def __exit__(self, *unused):
        self.process.send_signal(signal.SIGTERM)
        _, stderr = self.process.communicate(timeout=TIMEOUT)
        assert self.process.returncode == 0, (self.process.returncode, stderr)

    def path(self, *names):
        """Below its folder in /proc."""
        return os.path.join("/proc", str(self.process.pid), *names)

    def read(self, *names):
        """A file of /proc; empty when the thread or descriptor is gone."""
        try:
            with open(self.path(*names), encoding="ascii",
                      errors="replace") as file:
                return file.read()
        except (FileNotFoundError, ProcessLookupError):
            return ""


def file_node(name="a.img", more=""):
    """--blockdev of a file."""
    return ("--blockdev", f"driver=file,node-name=n,filename={name}{more}")


@case
def engines_raw():
    image()
    for engine in ("threads", "native", "io_uring"):
        bench(file_node(more=f",cache.direct=on,aio={engine},discard=unmap"))
    for engine in ("threads", "io_uring"):
        bench(file_node(more=f",aio={engine},detect-zeroes=on"))


@case
def engines_qcow2():
    for engine in ("threads", "native", "io_uring"):
        bench(("--blockdev", "driver=qcow2,node-name=n,discard=unmap,"
               f"file.driver=file,file.filename={qcow2()},"
               f"file.cache.direct=on,file.aio={engine}"))


@case
def auto_has_its_ring():
    """io_uring can be tried later although no ring could be made by then."""
    system = subprocess.run(["stat", "-f", "-c", "%T", "."], check=True,
                            stdout=subprocess.PIPE, text=True, timeout=TIMEOUT)
    if system.stdout.strip() == "tmpfs":
        raise Skip("io_uring is no way to files in memory")
    image()
    with Running("--object", "iothread,id=t", *file_node(),
                 "--export", EXPORT + "e.sock,iothread=t") as daemon:
        folder = daemon.path("fd")
        files = [os.readlink(os.path.join(folder, fd))
                 for fd in os.listdir(folder)]
        assert files.count("anon_inode:[io_uring]") == 1, files


@case
def qcow2_compressed():
    image("raw.img", 32 << 20)
    subprocess.run([IMG, "convert", "-c", "-O", "qcow2", "raw.img", "q.img"],
                   check=True)
    bench(("--blockdev", "driver=qcow2,node-name=n,file.driver=file,"
           "file.filename=q.img"))


@case
def several_iothreads():
    image()
    options = ("--object", "iothread,id=t0", "--object", "iothread,id=t1",
               *file_node(more=",cache.direct=on,aio=io_uring"))
    server = shlex.join([DAEMON, "--sandbox", "on", *options, "--export",
                         EXPORT + "{socket},iothread.0=t0,iothread.1=t1"])
    subprocess.run([BENCH, "--server=" + server, "--eta=never",
                    "--rw=randwrite", "--verify=pattern", "--iodepth=8",
                    "--numjobs=4", "--number_ios=1000", "--syscalls=off"],
                   check=True, stdout=subprocess.DEVNULL, timeout=TIMEOUT)


@case
def throttle():
    bench(("--object", "throttle-group,id=g,x-iops-total=5000", "--blockdev",
           "throttle,node-name=n,throttle-group=g,file.driver=file,"
           f"file.filename={image()}"), "--number_ios=500")


@case
def null():
    bench(("--blockdev", "null-co,node-name=n,read-zeroes=on"),
          "--verify=none", "--number_ios=2000")


@contextlib.contextmanager
def nbdkit():
    """A disk in memory behind nbd.sock."""
    if not shutil.which("nbdkit"):
        raise Skip("nbdkit is not installed")
    server = subprocess.Popen(["nbdkit", "-f", "-U", "nbd.sock", "memory", "32M"])
    try:
        until(lambda: os.path.exists("nbd.sock"), "nbdkit")
        yield
    finally:
        server.terminate()
        server.wait()


@case
def nbd():
    with nbdkit():
        bench(("--blockdev", "nbd,node-name=n,server.type=unix,"
               "server.path=nbd.sock"))


def load_on(path, *more):
    """A front end that stays for a while."""
    return subprocess.Popen(
        [BENCH, "--socket=" + path, "--eta=never", "--rw=randrw",
         "--numjobs=2", "--iodepth=8", "--runtime=1500ms", "--syscalls=off",
         *more], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def guest_memory(daemon):
    """The flags of each mapping of a front end's memory."""
    smaps = daemon.read("smaps")
    blocks = re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", smaps)
    return [re.search(r"^VmFlags: (.*)$", block, re.M)[1].split()
            for block in blocks if "/memfd:" in block.split("\n")[0]]


def check_descriptors(daemon):
    """All but the standard ones are closed on exec."""
    for path in glob.glob(daemon.path("fdinfo", "*")):
        number = int(os.path.basename(path))
        flags = re.search(r"^flags:\s+0([0-7]+)$",
                          daemon.read("fdinfo", str(number)), re.M)
        if number > 2 and flags:
            assert int(flags[1], 8) & os.O_CLOEXEC, (number, flags[0])


def check_threads(daemon):
    """No thread was forgotten. Returns how many there are."""
    tasks = os.listdir(daemon.path("task"))
    for task in tasks:
        status = daemon.read("task", task, "status")
        if not status or status.startswith("Name:\tiou-"):
            continue
        for line in ("NoNewPrivs:\t1", "Seccomp:\t2",
                     "CapPrm:\t" + "0" * 16, "CapEff:\t" + "0" * 16):
            assert line in status, (line, status)
    return len(tasks)


@case
def process_under_load():
    image()
    samples = most_threads = 0
    with Running(*file_node(more=",aio=threads"), "--export", EXPORT + "s",
                 "--object", "iothread,id=spare") as daemon:
        load = load_on("s")
        while load.poll() is None:
            # not in core dumps, not in children; soon after it was mapped
            until(lambda: all("dd" in flags and "dc" in flags
                                   for flags in guest_memory(daemon)),
                       "guest memory goes into core dumps")
            samples += len(guest_memory(daemon))
            check_descriptors(daemon)
            most_threads = max(most_threads, check_threads(daemon))
        assert load.returncode == 0, load.stderr.read()
    assert samples > 0 and most_threads > 3, (samples, most_threads)


@case
def inherited_descriptors_are_closed():
    image()
    with open("secret", "w+b") as secret:
        os.set_inheritable(secret.fileno(), True)
        with Running(*file_node(), "--export", EXPORT + "s",
                     pass_fds=(secret.fileno(),)) as daemon:
            names = [os.readlink(path)
                     for path in glob.glob(daemon.path("fd", "*"))]
            assert not [name for name in names if "secret" in name], names
            assert [name for name in names if "a.img" in name], names


@case
def sockets_are_private():
    image()
    with Running(*file_node(), "--export", EXPORT + "s"):
        status = os.stat("s")
        assert stat.S_IMODE(status.st_mode) == 0o600
        assert status.st_uid == os.geteuid()
    assert not os.path.exists("s") and not os.path.exists("pid")


@case
def socket_of_somebody_else():
    if os.geteuid() != 0:
        raise Skip("only root can give a socket away")
    image()
    with Running(*file_node(), "--export", EXPORT +
                 f"s,socket-mode=0660,socket-owner={NOBODY}:{NOBODY}"):
        status = os.stat("s")
        assert stat.S_IMODE(status.st_mode) == 0o660
        assert (status.st_uid, status.st_gid) == (NOBODY, NOBODY)
    assert not os.path.exists("s")


@case
def bad_socket_access():
    image()
    for more, words in (("socket-mode=1777", "socket-mode"),
                        ("socket-mode=rw", "socket-mode"),
                        ("socket-owner=no-such-user", "names no user"),
                        ("socket-owner=0:no-such-group", "names no group"),
                        ("socket-owner=", "names no user")):
        result = subprocess.run(
            [DAEMON, *file_node(), "--export", EXPORT + "s," + more],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            timeout=TIMEOUT, check=False)
        assert result.returncode == 1, result.stderr
        assert words in result.stderr, result.stderr


@case
def another_user():
    if os.geteuid() != 0:
        raise Skip("only root can become another user")
    image()
    os.chmod("a.img", 0o600)     # root's: open before the user changes
    os.mkdir("run")
    os.chown("run", NOBODY, NOBODY)
    os.chmod(".", 0o755)
    with Running(*file_node(more=",cache.direct=on,aio=native"), "--export",
                 EXPORT + "run/s", "--run-with",
                 f"user={NOBODY}:{NOBODY}") as daemon:
        assert re.search(rf"^Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}$",
                         daemon.read("status"), re.M)
        load = load_on("run/s")
        _, stderr = load.communicate(timeout=TIMEOUT)
        assert load.returncode == 0, stderr
    assert not os.path.exists("run/s")


@case
def user_that_is_not_there():
    result = subprocess.run([DAEMON, "--run-with", "user=no-such-user"],
                            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                            text=True, timeout=TIMEOUT, check=False)
    assert result.returncode == 1
    assert "User 'no-such-user' doesn't exist" in result.stderr, result.stderr


class FrontEnd:
    """One that has taken all features, which have to stay."""

    def __init__(self, path):
        self.sock = front_end(path)
        self.features = self.get_features()
        self.sock.sendall(struct.pack("<III", 3, 1, 0)) # SET_OWNER
        self.sock.sendall(struct.pack("<IIIQ", 2, 1, 8, self.features))

    def get_features(self):
        self.sock.sendall(struct.pack("<III", 1, 1, 0))
        return struct.unpack("<IIIQ", self.sock.recv(20))[3]

    def check(self):
        assert self.get_features() == self.features


def failing_successor():
    """What it says: if it has been given anything, that it has not all."""
    result = subprocess.run(
        [DAEMON, "--sandbox", "off", "--blockdev", "null-co,node-name=n",
         "--takeover", "t"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, timeout=TIMEOUT, check=False)
    assert result.returncode == 1, result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def taken_back(*options, path="s"):
    """The successor fails when the images are closed: these have to be opened
    again without a path. Twice: what was taken back, too."""
    with Running(*options, "--export", EXPORT + path, "--takeover", "t"):
        front = FrontEnd(path)
        for _ in range(2):
            said = failing_successor()
            assert "has an export 'e', and this one has not" in said, said
            front.check()
        load = load_on(path, "--verify=pattern")
        front.sock.close()
        _, stderr = load.communicate(timeout=TIMEOUT)
        assert load.returncode == 0, stderr


@case
def takes_back_files():
    image()
    image("base.img", 1 << 20)
    for engine in ("threads", "native", "io_uring", "auto"):
        taken_back(*file_node(more=f",cache.direct=on,aio={engine},"
                              "discard=unmap"))
    qcow2("-b", "base.img", "-F", "raw")
    for cache in ("on", "off"):
        taken_back("--blockdev", "driver=qcow2,node-name=n,file.driver=file,"
                   f"file.filename=q.img,file.cache.direct={cache}")


@case
def takes_back_a_device():
    """What it can is in /sys only; and one that is read-only was so at the
    second attempt to open it."""
    image()
    with contextlib.ExitStack() as stack:
        name = loop_device(stack)
        taken_back("--blockdev", f"host_device,node-name=n,filename={name},"
                   "discard=unmap,cache.direct=on")
    with contextlib.ExitStack() as stack:
        name = loop_device(stack, "--read-only")
        with Running("--blockdev", f"host_device,node-name=n,filename={name},"
                     "auto-read-only=on", "--export", EXPORT.replace(
                         "writable=on", "writable=off") + "s",
                     "--takeover", "t"):
            front = FrontEnd("s")
            failing_successor()
            front.check()


def loop_device(stack, *options):
    """Of a.img, for as long as @stack is there."""
    result = subprocess.run(["losetup", "--find", "--show", *options, "a.img"],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True,
                            timeout=TIMEOUT, check=False)
    if result.returncode:
        raise Skip("there is no loop device: " + result.stderr.strip())
    name = result.stdout.strip()
    stack.callback(subprocess.run, ["losetup", "--detach", name], check=True)
    return name


@case
def takes_back_as_another_user():
    if os.geteuid() != 0:
        raise Skip("only root can become another user")
    image()
    os.chmod("a.img", 0o600)
    os.mkdir("run")
    os.chown("run", NOBODY, NOBODY)
    os.chmod(".", 0o755)
    taken_back(*file_node(), "--run-with", f"user={NOBODY}:{NOBODY}",
               path="run/s")


@case
def keeps_what_it_cannot_take_back():
    """A connection to a server: the successor is told at once."""
    with nbdkit():
        with Running("--blockdev", "nbd,node-name=n,server.type=unix,"
                     "server.path=nbd.sock", "--export", EXPORT + "s",
                     "--takeover", "t"):
            front = FrontEnd("s")
            said = failing_successor()
            assert re.search("refuses: node 'n' could not be connected to .*"
                             "nbd.sock again: Permission denied$", said), said
            front.check()


class Monitor:
    """A QMP client."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.file = self.socket.makefile("rw", encoding="utf-8")
        json.loads(self.file.readline())
        self.ask("qmp_capabilities")

    def ask(self, command, **arguments):
        """What comes back: "return" or "error"."""
        self.file.write(json.dumps({"execute": command,
                                    "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            answer = json.loads(self.file.readline())
            if "event" not in answer:
                return answer


def add_node(monitor, name, path):
    """blockdev-add of a file."""
    return monitor.ask("blockdev-add", **{"driver": "file", "node-name": name,
                                          "filename": os.path.abspath(path)})


def add_export(monitor, node, path):
    """block-export-add of a node."""
    return monitor.ask("block-export-add", **{
        "type": "vhost-user-blk", "id": node, "node-name": node,
        "writable": True,
        "addr": {"type": "unix", "path": os.path.abspath(path)}})


@case
def monitor_opens_what_is_allowed():
    os.mkdir("in")
    os.mkdir("out")
    image("in/a.img")
    image("out/b.img")
    with Running("--allow-path", "in", "--chardev",
                 "socket,id=m,path=q,server=on,wait=off",
                 "--monitor", "chardev=m"):
        monitor = Monitor("q")
        assert "return" in add_node(monitor, "n", "in/a.img")
        answer = add_node(monitor, "b", "out/b.img")
        assert "Permission denied" in answer["error"]["desc"], answer
        assert "error" in add_export(monitor, "n", "out/s")
        assert "return" in add_export(monitor, "n", "in/s")
        load = load_on("in/s")
        _, stderr = load.communicate(timeout=TIMEOUT)
        assert load.returncode == 0, stderr
    assert not os.path.exists("q") and not os.path.exists("in/s")


@case
def monitor_opens_nothing_else():
    image()
    with Running("--chardev", "socket,id=m,path=q,server=on,wait=off",
                 "--monitor", "chardev=m", *file_node()):
        monitor = Monitor("q")
        answer = add_node(monitor, "b", "a.img")
        assert "Permission denied" in answer["error"]["desc"], answer
        assert "error" in add_export(monitor, "n", "s")
        assert "return" in monitor.ask("query-block-exports")


def is_confined(pid):
    """Whether the filter is on."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return "Seccomp:\t2" in file.read()


@case
def monitor_without_paths_is_not_confined():
    image()
    process = subprocess.Popen(
        [DAEMON, "--chardev", "socket,id=m,path=q,server=on,wait=off",
         "--monitor", "chardev=m", "--pidfile", "pid"])
    until(lambda: os.path.exists("pid"), "the pid file")
    assert not is_confined(process.pid)
    assert "return" in add_node(Monitor("q"), "b", "a.img")
    process.terminate()
    assert process.wait(timeout=TIMEOUT) == 0


@case
def supervised():
    image()
    process = subprocess.Popen(
        [DAEMON, "--supervise", "--sandbox", "on", "--pidfile", "pid",
         *file_node(), "--export", EXPORT + "s"], stderr=subprocess.DEVNULL)
    for _ in range(2):
        until(lambda: os.path.exists("pid"), "the pid file")
        server = children(process.pid)[0]
        until(lambda pid=server: is_confined(pid), "its sandbox")
        load = load_on("s", f"--pid={server}")
        _, stderr = load.communicate(timeout=TIMEOUT)
        assert load.returncode == 0, stderr
        os.kill(server, signal.SIGKILL)
        until(lambda pid=server: not os.path.exists(f"/proc/{pid}"), "its end")
        until(lambda: children(process.pid), "another one")
    process.terminate()
    assert process.wait(timeout=TIMEOUT) == 0
    assert not os.path.exists("pid")


@case
def daemonized():
    image()
    subprocess.run([DAEMON, "--sandbox", "on", "--daemonize", "--pidfile",
                    "pid", *file_node(), "--export", EXPORT + "s"],
                   check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open("pid", encoding="ascii") as file:
        pid = int(file.read())
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        assert "Seccomp:\t2" in file.read()
    assert listens("s")
    os.kill(pid, signal.SIGTERM)
    until(lambda: not os.path.exists("pid"), "the pid file to go")
    assert not os.path.exists("s")


if __name__ == "__main__":
    sys.exit(main())
