#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person sees of vblk-storage-daemon's command line.

Each bad command line must end with status 1 and exactly one line on standard
error that names the option or object and the cause; good ones must start,
print what they promise and end with status 0 on SIGTERM.

Usage: test-cmdline.py DAEMON
"""

import os
import re
import signal
import socket
import subprocess
import sys

sys.path.insert(0, os.path.dirname(sys.path[0]))
# pylint: disable=wrong-import-position
from cases import case, main  # noqa: E402
from processes import listens, until  # noqa: E402

DAEMON = os.path.abspath(sys.argv[1])
TIMEOUT = 30


def run(*args, **kwargs):
    return subprocess.run([DAEMON, *args], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=TIMEOUT, check=False, **kwargs)


def refused(pattern, *args, hint=None, **kwargs):
    """The command fails with one line that matches, and perhaps a hint."""
    result = run(*args, **kwargs)
    lines = result.stderr.splitlines()
    assert result.returncode == 1, (result.returncode, result.stderr)
    assert lines[1:] == ([hint] if hint else []), lines
    assert re.search(pattern, lines[0]), (pattern, lines[0])
    assert lines[0].startswith("vblk-storage-daemon: error: "), lines[0]


class Running:
    """A daemon that has been started; ends it at the end of the block."""

    def __init__(self, socket_path, *args, **kwargs):
        self.process = subprocess.Popen(
            [DAEMON, *args], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            **kwargs)
        self.status = self.stderr = None
        try:
            if socket_path:
                wait_for_socket(socket_path, self.process)
        except BaseException:
            self.process.kill()
            raise

    def __enter__(self):
        return self

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        _, self.stderr = self.process.communicate(timeout=TIMEOUT)
        self.status = self.process.returncode

    def __exit__(self, *unused):
        if self.status is None:
            self.stop()


def wait_for_socket(path, process):
    """Until it listens."""
    def attempt():
        assert process.poll() is None, "daemon ended: " + process.stderr.read()
        return listens(path)
    until(attempt, "a socket at " + path)


def image(path, size=1 << 20):
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def file_node(path, extra=""):
    return ("--blockdev",
            f"driver=file,node-name=f0,filename={path}{extra}")


def export(extra="", path="s"):
    return ("--export", "vhost-user-blk,id=e0,node-name=f0,addr.type=unix,"
            f"addr.path={path}{extra}")


@case
def help_documents_every_option():
    result = run("--help")
    assert result.returncode == 0
    for word in ("--blockdev", "--export", "--object", "--drive", "--chardev",
                 "--monitor", "--pidfile", "--daemonize", "--stats",
                 "--version", "cache.direct", "aio=auto|threads|native|io_uring",
                 "num-queues", "logical-block-size", "writethrough",
                 "poll-max-ns", "thread-pool-max", "--sandbox on|off", "--allow-path",
                 "--run-with user=", "addr.type=fd", "serial",
                 "SIGTERM"):
        assert word in result.stdout, word
    assert max(map(len, result.stdout.splitlines())) <= 92


@case
def version_names_the_program():
    result = run("-V")
    assert result.returncode == 0
    assert re.fullmatch(r"vblk-storage-daemon version \d+\.\d+\.\d+\n",
                        result.stdout)


@case
def object_help_explains_objects():
    assert "iothread" in run("--object", "help").stdout
    assert "throttle-group" in run("--object", "help").stdout
    assert "poll-max-ns" in run("--object", "iothread,help").stdout
    assert "iops-total" in run("--object", "throttle-group,help").stdout


@case
def bad_objects():
    refused("unknown type 'secret'.*'iothread' and 'throttle-group'",
            "--object", "secret,id=s")
    refused("'id' is missing", "--object", "throttle-group")
    refused("object 'g'.*burst length cannot be 0", "--object",
            "throttle-group,id=g,x-iops-total-max-length=0")
    refused("object 'g'.*unknown option 'limits.foo'", "--object",
            "throttle-group,id=g,limits.foo=1")
    refused("already a throttle-group 'g'", "--object", "throttle-group,id=g",
            "--object", "iothread,id=g")
    refused("already an iothread 'g'", "--object", "iothread,id=g",
            "--object", "throttle-group,id=g")
    refused("Throttle group 'g' does not exist", "--blockdev",
            "throttle,node-name=t,throttle-group=g,file.driver=null-co")


@case
def unknown_option_and_missing_value():
    refused("unknown option '--frobnicate'", "--frobnicate")
    refused("'--blockdev' needs a value", "--blockdev")
    refused("unexpected argument 'disk.img'", "disk.img")


@case
def bad_takeover():
    for seconds in "0", "86401", "soon":
        refused("--takeover: option 'drain-timeout' needs a number from 1 to "
                f"86400, not '{seconds}'", "--takeover", f"t,drain-timeout={seconds}")
    refused("--takeover: unknown option 'foo'", "--takeover", "t,foo=1")
    refused("--takeover.*path", "--takeover", "drain-timeout=1")
    assert not os.path.exists("t")


@case
def missing_image():
    refused(r"none\.img.*No such file", *file_node("none.img"))
    refused(r"none\.img.*No such file", "--drive", "file=none.img")


@case
def directory_instead_of_image():
    os.mkdir("dir")
    refused(r"dir.*", *file_node("dir"))
    refused(r"dir.*", "--drive", "file=dir,readonly=on")


@case
def no_permission():
    image("secret.img")
    os.chmod("secret.img", 0)
    if os.geteuid() == 0:
        # root may read everything: become nobody for the attempt
        os.chmod(".", 0o777)
        refused(r"secret\.img.*Permission denied", *file_node("secret.img"),
                user=65534, group=65534)
    else:
        refused(r"secret\.img.*Permission denied", *file_node("secret.img"))


@case
def unaligned_image_size():
    image("odd.img", 1000)
    refused(r"(odd\.img|f0).*1000.*512", *file_node("odd.img"), *export())


@case
def socket_path_too_long():
    image("a.img")
    refused(r"e0|xxx.*too long|long", *file_node("a.img"),
            *export(path="x" * 200))


@case
def socket_path_in_use():
    image("a.img")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("busy.sock")
        listener.listen()
        refused(r"busy\.sock.*in use", *file_node("a.img"),
                *export(path="busy.sock"))
    os.unlink("busy.sock")


@case
def socket_in_missing_folder():
    image("a.img")
    refused(r"nowhere/s.*No such file", *file_node("a.img"),
            *export(path="nowhere/s"))


@case
def stale_socket_is_replaced():
    image("a.img")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("stale.sock")
    with Running("stale.sock", *file_node("a.img"),
                 *export(path="stale.sock")) as daemon:
        daemon.stop()
        assert daemon.status == 0
    assert not os.path.exists("stale.sock")


@case
def native_needs_direct():
    image("a.img")
    refused(r"aio=native was specified, but it requires cache\.direct=on, "
            r"which was not specified", *file_node("a.img", ",aio=native"))


@case
def unknown_words_are_named():
    image("a.img")
    refused("f0.*'nonsense'", *file_node("a.img", ",nonsense=1"))
    refused("e0.*'nonsense'", *file_node("a.img"), *export(",nonsense=1"))
    refused("f0.*aio.*'fast'", *file_node("a.img", ",aio=fast"))
    refused("f0.*cache.direct.*expects 'on' or 'off'",
            *file_node("a.img", ",cache.direct=maybe"))
    refused("driver.*'qcow9'|qcow9", "--blockdev", "driver=qcow9,node-name=a")
    refused("'nbd'", "--export", "nbd,id=e0,node-name=f0")
    refused("'secret'", "--object", "secret,id=s0")
    refused("--trace", "-T", "all")
    refused("--nbd-server", "--nbd-server", "addr.type=unix,addr.path=n")


@case
def export_is_checked():
    image("a.img")
    node = file_node("a.img")
    refused("e0.*no node 'f1'", *node, "--export", "vhost-user-blk,id=e0,"
            "node-name=f1,addr.type=unix,addr.path=s")
    refused("e0.*num-queues.*from 1 to", *node, *export(",num-queues=0"))
    refused("e0.*num-queues.*from 1 to", *node, *export(",num-queues=1000"))
    refused("e0.*logical-block-size", *node,
            *export(",logical-block-size=1000"))
    refused("e0.*serial", *node, *export(",serial=" + "x" * 21))
    refused("e0.*iothread 't9'|e0.*'t9'", *node, *export(",iothread=t9"))
    refused("e0.*in use by another", *node, *export(), *export(path="s2"))
    refused("addr.type", *node, "--export",
            "vhost-user-blk,id=e0,node-name=f0")
    refused("addr.str 'seven'", *node, "--export", "vhost-user-blk,id=e0,"
            "node-name=f0,addr.type=fd,addr.str=seven")


@case
def fd_that_is_no_socket():
    image("a.img")
    refused("e0|fd|descriptor", *file_node("a.img"), "--export",
            "vhost-user-blk,id=e0,node-name=f0,addr.type=fd,addr.str=0")


@case
def error_policies():
    image("a.img")
    for good in ("rerror=stop,werror=enospc", "rerror=ignore,werror=report"):
        with Running("s", *file_node("a.img"), *export("," + good)) as daemon:
            daemon.stop()
            assert daemon.status == 0, daemon.stderr
    refused("e0.*rerror.*do not run out of space", *file_node("a.img"),
            *export(",rerror=enospc"))
    refused("e0.*'werror' needs", *file_node("a.img"), *export(",werror=no"))


@case
def monitors_are_made():
    image("a.img")
    with Running("q.sock", "--chardev", "socket,id=c0,path=q.sock,server=on,"
                 "wait=off", "--monitor", "chardev=c0", *file_node("a.img"),
                 *export()) as daemon:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect("q.sock")
            assert client.makefile().readline().startswith('{"QMP": ')
    assert daemon.status == 0 and not os.path.exists("q.sock")
    refused("no chardev 'c9'", "--monitor", "chardev=c9")
    refused("'pty' is not a valid char driver", "--chardev", "pty,id=c0")
    refused("mode 'readline' must be 'control'", "--chardev",
            "socket,id=c0,path=r.sock,server=on", "--monitor",
            "chardev=c0,mode=readline")


@case
def drive_serves_beside_the_image():
    image("a.img")
    with Running("a.img.sock", "--drive", "file=a.img,cache=none,aio=native",
                 "--stats") as daemon:
        daemon.stop(signal.SIGINT)
        assert daemon.status == 0
        assert re.search(r"^stats: export=drive0 requests=0 ", daemon.stderr,
                         re.M)
    assert not os.path.exists("a.img.sock")


@case
def drive_cache_names():
    image("a.img")
    for cache in ("writeback", "none", "writethrough", "directsync",
                  "unsafe", "off"):
        with Running("a.img.sock", "--drive",
                     f"file=a.img,id=d,cache={cache}") as daemon:
            daemon.stop()
            assert daemon.status == 0, daemon.stderr
    refused("drive 'd'.*cache.*'fast'", "--drive", "file=a.img,id=d,cache=fast")


@case
def drive_does_not_guess_qcow2():
    image("q.img")
    with open("q.img", "r+b") as file:
        file.write(b"QFI\xfb")
    refused("looks like qcow2", "--drive", "file=q.img")
    with Running("q.img.sock", "--drive", "file=q.img,format=raw") as daemon:
        daemon.stop()
        assert daemon.status == 0


@case
def json_and_key_value_are_the_same():
    image("a.img")
    with Running("s", "--object", "iothread,id=t0",
                 "--object", '{"qom-type":"iothread","id":"t1"}',
                 "--blockdev", '{"driver":"raw","node-name":"f0","file":'
                 '{"driver":"file","filename":"a.img",'
                 '"cache":{"direct":true}}}',
                 "--export", '{"type":"vhost-user-blk","id":"e0",'
                 '"node-name":"f0","writable":true,"iothread":["t0","t1"],'
                 '"addr":{"type":"unix","path":"s"}}') as daemon:
        daemon.stop()
        assert daemon.status == 0, daemon.stderr
    refused("--blockdev: JSON parse error, premature EOI", "--blockdev", '{"driver":')


@case
def inherited_socket():
    image("a.img")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("inherited.sock")
        listener.listen()
        fd = listener.fileno()
        with Running(None, "--pidfile", "pid", *file_node("a.img"),
                     "--export", "vhost-user-blk,id=e0,node-name=f0,"
                     f"addr.type=fd,addr.str={fd}",
                     pass_fds=(fd,)) as daemon:
            until(lambda: os.path.exists("pid"), "the pid file")
            wait_for_socket("inherited.sock", daemon.process)
            daemon.stop()
            assert daemon.status == 0, daemon.status
    os.unlink("inherited.sock")


@case
def statistics_on_sigusr1():
    image("a.img")
    with Running("s", *file_node("a.img"), *export()) as daemon:
        daemon.process.send_signal(signal.SIGUSR1)
        line = daemon.process.stderr.readline()
        assert line.startswith("stats: export=e0 requests=0 "), line


@case
def daemonize_returns_when_ready():
    image("a.img")
    result = subprocess.run(
        [DAEMON, "--daemonize", "--pidfile", "pid", *file_node("a.img"),
         *export()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, timeout=TIMEOUT, check=False)
    assert result.returncode == 0
    with open("pid", encoding="ascii") as file:
        pid = int(file.read())
    assert listens("s")
    refused("pid.*held by a process", "--pidfile", "pid")
    os.kill(pid, signal.SIGTERM)
    until(lambda: not os.path.exists("pid"), "the pid file to go")
    assert not os.path.exists("s")


@case
def daemonize_reports_failure():
    result = run("--daemonize", *file_node("none.img"))
    assert result.returncode == 1
    assert "No such file" in result.stderr


@case
def image_is_locked_while_served():
    image("a.img")
    with Running("s", *file_node("a.img"), *export(",writable=on")):
        refused("lock", *file_node("a.img"), *export(",writable=on", "s2"),
                hint="Is another process using the image [a.img]?")
    with Running("s", *file_node("a.img"), *export(",writable=on")) as daemon:
        daemon.stop()
        assert daemon.status == 0


if __name__ == "__main__":
    sys.exit(main())
