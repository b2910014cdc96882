#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""--supervise, and what a service manager is told: which ends of the server
are followed by another one, what stays in place meanwhile, what is said.

Usage: test-supervise.py DAEMON UNIT-FILE
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys

sys.path.insert(0, os.path.dirname(sys.path[0]))
# pylint: disable=wrong-import-position
from cases import Skip, case, main  # noqa: E402
from processes import children, has_ended, until  # noqa: E402

DAEMON, UNIT = (os.path.abspath(path) for path in sys.argv[1:3])
TIMEOUT = 60


def environment():
    """Ours, and in a build with AddressSanitizer a signal is a signal."""
    options = os.environ.get("ASAN_OPTIONS", "")
    return dict(os.environ, ASAN_OPTIONS=options + ":handle_segv=0")


class Service:
    """A supervised daemon on d.img, in the current folder."""

    def __init__(self, *args, supervise="--supervise"):
        with open("d.img", "wb") as f:
            f.truncate(1 << 20)
        with open("log", "wb") as log:
            self.process = subprocess.Popen(
                [DAEMON, supervise, "--pidfile", "pid", "--drive",
                 "file=d.img", *args],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment())
        until(lambda: os.path.exists("pid") and open("pid", encoding="ascii").read(),
              "the pid file")

    def server(self):
        return until(lambda: children(self.process.pid), "a server")[0]

    def log(self):
        with open("log", encoding="utf-8") as f:
            return f.read()

    def hit(self, number=signal.SIGKILL):
        """The server dies; returns when another one serves."""
        before = self.log().count("serving again")
        os.kill(self.server(), number)
        until(lambda: self.log().count("serving again") > before,
              "another server: " + self.log())

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT)


def ask(sock):
    """GET_FEATURES: whether somebody serves."""
    sock.sendall((1).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(4))
    return sock.recv(20)


def connect():
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(TIMEOUT)
    sock.connect("d.img.sock")
    return sock


@case
def crashes_are_survived():
    service = Service()
    with open("pid", encoding="ascii") as f:
        assert int(f.read()) == service.process.pid
    for number in signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT:
        service.hit(number)
        with connect() as sock:
            assert len(ask(sock)) == 20
    lines = service.log().splitlines()
    assert len(lines) == 3, lines
    assert re.fullmatch(r"vblk-storage-daemon: warning: process \d+ was killed by "
                        r"signal 9 \(Killed\); serving again after \d+ ms, as "
                        r"process \d+", lines[0]), lines[0]
    assert "signal 11" in lines[1] and "signal 6" in lines[2], lines
    assert service.end() == 0
    assert sorted(os.listdir()) == ["d.img", "log"], os.listdir()


@case
def the_socket_stays():
    """Who connects while nobody serves is served by the next one."""
    service = Service()
    before = os.stat("d.img.sock")
    os.kill(service.process.pid, signal.SIGSTOP)
    os.kill(service.server(), signal.SIGKILL)
    with connect() as sock:
        os.kill(service.process.pid, signal.SIGCONT)
        assert len(ask(sock)) == 20
    after = os.stat("d.img.sock")
    assert (before.st_ino, before.st_dev) == (after.st_ino, after.st_dev)
    assert service.end(signal.SIGINT) == 0


@case
def a_socket_that_was_removed_is_made_anew():
    service = Service()
    os.unlink("d.img.sock")
    service.hit()
    with connect() as sock:
        assert len(ask(sock)) == 20
    service.hit() # and the new one is kept
    with connect() as sock:
        assert len(ask(sock)) == 20
    assert service.end() == 0


@case
def it_gives_up():
    service = Service(supervise="--supervise=max-crashes=2")
    service.hit()
    service.hit()
    os.kill(service.server(), signal.SIGKILL)
    assert service.process.wait(TIMEOUT) == 1
    assert "giving up after 3 crashes in a row" in service.log()
    assert not os.path.exists("pid")


@case
def a_usage_error_is_final():
    for args in (["--drive", "file=nonexistent"], ["--no-such-option"],
                 ["--blockdev", "driver=nonsense,node-name=n"]):
        run = subprocess.run([DAEMON, "--supervise", *args], timeout=TIMEOUT,
                             stderr=subprocess.PIPE, check=False, text=True)
        assert run.returncode == 1, run
        assert len(run.stderr.splitlines()) == 1, run.stderr
    run = subprocess.run([DAEMON, "--supervise=max-crashes=-1"],
                         stderr=subprocess.PIPE, check=False, text=True,
                         timeout=TIMEOUT)
    assert run.returncode == 1 and "max-crashes" in run.stderr, run


@case
def a_clean_end_of_the_server_is_the_end():
    service = Service()
    os.kill(service.server(), signal.SIGTERM)
    assert service.process.wait(TIMEOUT) == 0
    assert service.log() == ""


@case
def what_keeps_it_from_starting_may_pass():
    """The image's lock is held by somebody else for a while."""
    service = Service()
    os.kill(service.process.pid, signal.SIGSTOP)
    server = service.server()
    os.kill(server, signal.SIGKILL)
    until(lambda: has_ended(server), "the server's end")
    with subprocess.Popen([DAEMON, "--blockdev",
                           "driver=file,node-name=n,filename=d.img",
                           "--pidfile", "other"]) as other:
        until(lambda: os.path.exists("other"), "the other one")
        os.kill(service.process.pid, signal.SIGCONT)
        until(lambda: "Is another process using the image" in service.log(),
              "a complaint")
        other.terminate()
    until(lambda: "serving again" in service.log(), "service")
    assert service.end() == 0


@case
def signals_are_passed_on():
    service = Service("--stats")
    service.process.send_signal(signal.SIGUSR1)
    until(lambda: "stats: export=drive0" in service.log(), "statistics")
    assert service.end(signal.SIGHUP) == 0
    assert service.log().count("stats: export=drive0") == 2


@case
def an_orphan_ends():
    service = Service()
    orphan = service.server()
    service.end(signal.SIGKILL)
    until(lambda: not os.path.exists("d.img.sock"), "its end")
    until(lambda: has_ended(orphan), "its end")


@case
def it_goes_to_the_background():
    with open("d.img", "wb") as f:
        f.truncate(1 << 20)
    subprocess.run([DAEMON, "--supervise", "--daemonize", "--pidfile", "pid",
                    "--drive", "file=d.img"], check=True, timeout=TIMEOUT)
    with open("pid", encoding="ascii") as f:
        pid = int(f.read())
    first = children(pid)[0]
    assert len(ask(connect())) == 20
    os.kill(first, signal.SIGKILL)
    second = until(lambda: [c for c in children(pid) if c != first], "another")
    assert len(ask(connect())) == 20 # by its relative name
    assert os.readlink(f"/proc/{second[0]}/fd/0") == "/dev/null"
    os.kill(pid, signal.SIGTERM)
    until(lambda: not os.path.exists("pid"), "the end")
    assert not os.path.exists("d.img.sock")


def manager():
    """systemd's end of NOTIFY_SOCKET."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.settimeout(TIMEOUT)
    sock.bind("notify")
    return sock


def started(*args):
    with open("d.img", "wb") as f:
        f.truncate(1 << 20)
    process = subprocess.Popen(
        [DAEMON, "--drive", "file=d.img", *args],
        env={**os.environ, "NOTIFY_SOCKET": os.path.abspath("notify")})
    return process


@case
def a_service_manager_is_told():
    with manager() as sock:
        process = started()
        text, fds, _, _ = socket.recv_fds(sock, 4096, 4)
        assert text == b"FDSTORE=1\nFDNAME=listen-drive0", text
        assert len(fds) == 1
        assert sock.recv(4096) == f"READY=1\nMAINPID={process.pid}".encode()
        # as systemd does it with what it has kept
        process.kill()
        process.wait(TIMEOUT)
        os.set_inheritable(fds[0], True)
        script = ('export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=listen-drive0; '
                  f'exec 3<&{fds[0]}; exec "$0" --drive file=d.img')
        with connect() as client:
            process = subprocess.Popen(
                ["sh", "-c", script, DAEMON], pass_fds=[fds[0]],
                env={**os.environ, "NOTIFY_SOCKET": os.path.abspath("notify")})
            assert len(ask(client)) == 20
        assert sock.recv(4096) == f"READY=1\nMAINPID={process.pid}".encode()
        process.terminate()
        assert sock.recv(4096) == b"STOPPING=1"
        assert process.wait(TIMEOUT) == 0
    os.close(fds[0])


@case
def a_service_manager_is_told_of_the_parent():
    with manager() as sock:
        process = started("--supervise")
        assert sock.recv(4096) == f"READY=1\nMAINPID={process.pid}".encode()
        first = children(process.pid)[0]
        os.kill(first, signal.SIGKILL)
        until(lambda: [c for c in children(process.pid) if c != first], "another")
        assert len(ask(connect())) == 20
        process.terminate()
        assert sock.recv(4096) == b"STOPPING=1"
        assert process.wait(TIMEOUT) == 0


@case
def systemd_takes_the_unit():
    if not shutil.which("systemd-analyze"):
        raise Skip("systemd-analyze is not installed")
    with open(UNIT, encoding="utf-8") as f:
        text = f.read()
    assert "/usr/bin/vblk-storage-daemon" in text
    name = os.path.basename(UNIT)
    with open(name, "w", encoding="utf-8") as f:
        f.write(text.replace("/usr/bin/vblk-storage-daemon", DAEMON))
    run = subprocess.run(["systemd-analyze", "verify", "--man=no",
                          os.path.abspath(name)], check=False, timeout=TIMEOUT,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert run.returncode == 0 and name not in run.stdout, run.stdout


if __name__ == "__main__":
    sys.exit(main())
