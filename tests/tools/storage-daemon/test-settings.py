#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What monitors have configured outlives the process: a crash under
--supervise or a service manager, and --takeover.

Usage: test-settings.py DAEMON
"""

import contextlib
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(sys.path[0]))
# pylint: disable=wrong-import-position
from cases import NOTES, Skip, case, main  # noqa: E402
from processes import children, listens, until  # noqa: E402
from service import (MONITOR, TIMEOUT, Process, Supervised, add_disk,  # noqa: E402
                     add_export, asks, del_disk, front_end, image, served, state)

DAEMON = Process.program = os.path.abspath(sys.argv[1])
LIMITS = {"iops-total": 77, "iops-total-max": 100, "bps-read": 1 << 20}


def configure(client):
    """One of each."""
    client.do("object-add", qom_type="iothread", id="t")
    client.do("object-add", qom_type="throttle-group", id="g",
              limits={"iops-total": 5})
    client.do("blockdev-add", driver="file", node_name="f",
              filename=image("f.img"), read_only=False)
    client.do("blockdev-add", driver="throttle", node_name="n", file="f",
              throttle_group="g")
    add_export(client, "n", iothread="t")
    client.do("qom-set", path="g", property="limits", value=LIMITS)
    add_disk(client, "m")
    add_disk(client, "gone")
    del_disk(client, "gone")


CMDLINE = ("--object", "throttle-group,id=cg,x-iops-total=9",
           "--object", "iothread,id=ct",
           "--blockdev", "file,node-name=c,filename=c.img",
           "--export", "vhost-user-blk,id=e-c,node-name=c,addr.type=unix,"
           "addr.path=c.sock,iothread=ct",
           "--drive", "file=d.img,id=d")


def images():
    image("c.img")
    image("d.img")


def change_command_line(client):
    """Most of it goes, some comes back as something else."""
    client.do("qom-set", path="cg", property="limits", value={"bps-total": 1 << 30})
    client.do("block-export-del", id="e-c")
    client.do("block-export-del", id="d")
    client.event("BLOCK_EXPORT_DELETED")
    client.event("BLOCK_EXPORT_DELETED")
    client.do("blockdev-del", node_name="c")
    client.do("blockdev-del", node_name="d")
    client.do("object-del", id="ct")
    add_disk(client, "c", read_only=False)


@case
def a_crash():
    with Supervised() as service:
        client = service.client()
        configure(client)
        before = state(client)
        service.crash()
        again = service.client()
        assert state(again) == before, (state(again), before)
        assert before["limits"]["g"]["iops-total"] == 77
        assert served("n.sock") and served("m.sock")
        assert not os.path.exists("gone.sock")
        del_disk(again, "m") # and what is changed then
        before = state(again)
        service.crash()
        assert state(service.client()) == before
        assert not os.path.exists("m.sock")
        service.end()
    assert sorted(f for f in os.listdir() if f.endswith("sock")) == []


def states(client):
    return {n["node-name"]: n["active"] for n in
            client.do("query-named-block-nodes", flat=True)}


def other_node(client, name):
    """Another node of this image, and whether it can have it."""
    client.do("blockdev-add", driver="file", node_name="other",
              filename=name, active=False)
    answer = client.ask("blockdev-set-active", node_name="other", active=True)
    client.do("blockdev-del", node_name="other")
    return "return" in answer


@case
def active_and_inactive_nodes():
    """Are what they were."""
    images()
    with Supervised("--blockdev", "file,node-name=c,filename=c.img,active=off",
                    "--drive", "file=d.img,id=d") as service:
        client = service.client()
        add_disk(client, "a", active=False)
        client.do("block-export-del", id="e-a")
        client.event("BLOCK_EXPORT_DELETED")
        client.do("block-export-del", id="d")
        client.event("BLOCK_EXPORT_DELETED")
        assert states(client) == {"a": True, "c": False, "d": True,
                                  "d-file": True} # a had an export
        client.do("blockdev-set-active", active=False)
        client.do("blockdev-set-active", node_name="c", active=True)
        client.do("blockdev-set-active", node_name="d-file", active=True)
        for _ in range(2):
            before = states(client)
            service.crash()
            client = service.client()
            assert states(client) == before, (states(client), before)
            assert not other_node(client, "c.img")
            assert other_node(client, "a.img")
            client.do("blockdev-set-active", node_name="c", active=False)
            client.do("blockdev-set-active", node_name="c", active=True)
            client.do("blockdev-set-active", node_name="d", active=True)


@case
def an_image_that_is_anothers_meanwhile():
    """Is had again when that lets go; nobody takes it away."""
    with Supervised() as service:
        client = service.client()
        add_disk(client, "b")
        client.do("blockdev-add", driver="file", node_name="a",
                  filename=image("a.img"), active=False, locking="on")
        client.do("blockdev-set-active", node_name="a", active=True)
        server = service.server()
        os.kill(service.pid, signal.SIGSTOP)
        os.kill(server, signal.SIGKILL)
        until(lambda: not os.path.exists(f"/proc/{server}/exe"), "its end")
        with Process("--blockdev", "file,node-name=a,filename=a.img",
                     monitor=("--chardev", "socket,id=m,path=r.sock,server=on,"
                              "wait=off", "--monitor", "chardev=m")) as other:
            other.client("r.sock")
            os.kill(service.pid, signal.SIGCONT)
            client = service.client()
            assert states(client)["a"] is False
            assert "Failed to get" in service.log()
        until(lambda: states(client)["a"], service.log())
        assert "state of node 'a' is there again" in service.log()


@case
def a_crash_and_the_command_line():
    images()
    with Supervised(*CMDLINE) as service:
        client = service.client()
        change_command_line(client)
        before = state(client)
        assert [n[0] for n in before["nodes"]] == ["c", "d-file"], before
        for _ in range(2):
            service.crash()
            client = service.client()
            assert state(client) == before, (state(client), before)
        client.do("blockdev-del", node_name="d-file")
        service.crash()
        client = service.client()
        assert [n[0] for n in state(client)["nodes"]] == ["c"]
        assert served("c.sock") and not os.path.exists("d.img.sock")


@case
def nobody_is_refused():
    """Who comes while nobody serves is served by the next one."""
    with Supervised() as service:
        add_disk(service.client(), "m")
        before = os.stat("q.sock").st_ino
        os.kill(service.pid, signal.SIGSTOP)
        os.kill(service.server(), signal.SIGKILL)
        until(lambda: not os.path.exists(f"/proc/{children(service.pid)[0]}/exe"),
              "its end")
        with front_end("m.sock") as disk:
            with socket.socket(socket.AF_UNIX) as monitor:
                monitor.connect("q.sock")
                os.kill(service.pid, signal.SIGCONT)
                assert asks(disk)
                monitor.settimeout(TIMEOUT)
                assert b"QMP" in monitor.recv(4096)
        assert os.stat("q.sock").st_ino == before


@case
def one_that_is_gone():
    """A disk that cannot be had does not keep others down, and comes back."""
    with Supervised() as service:
        client = service.client()
        add_disk(client, "a")
        add_disk(client, "b")
        before = state(client)
        os.rename("a.img", "away")
        service.crash()
        assert served("b.sock")
        client = service.client()
        assert [n[0] for n in state(client)["nodes"]] == ["b"]
        log = [line for line in service.log().splitlines() if "'a'" in line]
        assert len(log) == 2 and "No such file" in log[0], log
        service.crash() # it is not forgotten
        os.rename("away", "a.img")
        client = service.client()
        until(lambda: state(client) == before, service.log())
        assert served("a.sock")
        assert "export 'e-a' is there again" in service.log()
        service.crash()
        assert state(service.client()) == before


@case
def one_that_is_given_up():
    with Supervised() as service:
        client = service.client()
        add_disk(client, "a")
        add_disk(client, "b")
        os.unlink("a.img")
        os.rename("b.img", "away")
        service.crash()
        client = service.client()
        assert listens("a.sock") # kept until then
        client.do("block-export-del", id="e-a")
        client.do("blockdev-del", node_name="a")
        assert not os.path.exists("a.sock")
        # another of that name
        client.do("blockdev-add", driver="null-co", node_name="b")
        add_export(client, "b")
        before = state(client)
        assert "waiting" not in json.dumps(before)
        os.rename("away", "b.img")
        service.crash()
        assert state(service.client()) == before
        assert not os.path.exists("a.sock")


@case
def the_end_of_one_that_waits():
    """Its socket goes with the service."""
    with Supervised() as service:
        add_disk(service.client(), "a")
        os.unlink("a.img")
        service.crash()
        assert listens("a.sock")
        service.end()
    assert not os.path.exists("a.sock")


@case
def a_clean_end_is_the_end():
    with Supervised() as service:
        add_disk(service.client(), "m")
        service.client().do("quit")
        service.wait()
    with Supervised() as service:
        assert state(service.client())["nodes"] == []


class Model:
    """A client that is cut off, and knows what must be there."""

    def __init__(self, rand):
        self.rand = rand
        self.disks = {}   # name -> whether it is there; None: either
        self.open = None  # a command that was not answered

    def name(self, there):
        """A disk to add or to delete."""
        names = [n for n in (f"x{i}" for i in range(6))
                 if bool(self.disks.get(n)) == there]
        return self.rand.choice(names) if names else None

    def commands(self):
        """The next thing to do."""
        add = self.rand.random() < 0.6
        name = self.name(not add)
        if not name:
            return
        if add:
            yield name, None, "blockdev-add", {
                "driver": "file", "node-name": name, "filename": name + ".img"}
            yield name, True, "block-export-add", {
                "type": "vhost-user-blk", "id": "e-" + name, "node-name": name,
                "addr": {"type": "unix", "path": name + ".sock"}}
        else:
            yield name, False, "block-export-del", {"id": "e-" + name}


def sync(client, model):
    """What is there is what was answered; whole or not at all else."""
    exports = {e[0] for e in state(client)["exports"]}
    nodes = {n[0] for n in state(client)["nodes"]}
    for name, there in model.disks.items():
        assert there is None or there == ("e-" + name in exports), (
            name, there, exports)
        assert name in nodes or "e-" + name not in exports
    for name in list(model.disks): # afresh
        if "e-" + name in exports:
            model.disks[name] = True
            assert served(name + ".sock")
            continue
        model.disks[name] = False
        if name in nodes:
            client.do("blockdev-del", node_name=name)
        assert not os.path.exists(name + ".sock") or not listens(name + ".sock")


def work(client, model, steps):
    """Commands, of which the last ones are not waited for."""
    for left in range(steps, 0, -1):
        for name, after, command, arguments in model.commands():
            model.disks[name] = None
            text = json.dumps({"execute": command, "arguments": arguments})
            if left == 1:
                client.socket.sendall(text.encode())
                continue
            reply = client.raw(text)
            assert reply == {"return": {}}, (command, arguments, reply)
            model.disks[name] = after
            if after is False:
                while client.event("BLOCK_EXPORT_DELETED")["id"] != "e-" + name:
                    pass
                client.do("blockdev-del", node_name=name)


@case
def kills_at_any_moment():
    rand = random.Random(20)
    model = Model(rand)
    for i in range(6):
        image(f"x{i}.img")
    rounds = 12 if "ASAN_OPTIONS" in os.environ else 40
    with Supervised() as service:
        for _ in range(rounds):
            client = service.client()
            sync(client, model)
            work(client, model, rand.randrange(1, 6))
            if rand.random() < 0.5:
                time.sleep(rand.random() * 0.003)
            service.crash()
            client.close()
        sync(service.client(), model)
    NOTES.append(f"{rounds} kills beside commands of a monitor")


def take_over(*args, **kwargs):
    return Process("--takeover", "t.sock", *args, **kwargs)


@contextlib.contextmanager
def configured():
    """A process with disks from both, its monitor, the front end of a disk, and
    all that can be seen in the monitor."""
    images()
    with take_over(*CMDLINE) as old:
        client = old.client()
        configure(client)
        change_command_line(client)
        with front_end("n.sock") as disk:
            assert asks(disk)
            yield old, client, disk, state(client)


@case
def a_takeover():
    with configured() as (old, client, disk, before):
        inode = os.stat("q.sock").st_ino
        with take_over(*CMDLINE) as new:
            old.wait()
            assert asks(disk)
            # the client has not noticed
            assert state(client) == before, (state(client), before)
            assert client.events == []
            assert os.stat("q.sock").st_ino == inode
            add_disk(client, "later")
            del_disk(client, "m")
            client.close()
            before = state(new.client())
            with take_over(*CMDLINE) as third:
                new.wait()
                assert state(third.client()) == before
                assert asks(disk)
                assert served("later.sock") and served("c.sock")
                third.end()
    assert sorted(f for f in os.listdir() if f.endswith("sock")) == []


@case
def a_takeover_that_fails():
    with configured() as (old, client, disk, before):
        bad = (("--blockdev", "file,node-name=z,filename=nonexistent"),
               # found out when the rest is open
               ("--export", "vhost-user-blk,id=z,node-name=d-file,"
                "addr.type=unix,addr.path=n.sock"))
        for args in bad:
            with take_over(*CMDLINE, *args) as new:
                new.wait(1)
            assert state(client) == before, (state(client), before)
            assert asks(disk)
            assert client.events == []
        # among what a monitor had added: no iothread of that name
        with take_over(*CMDLINE, "--object", "throttle-group,id=t") as new:
            new.wait(1)
        assert "there is no iothread 't'" in new.log(), new.log()
        assert "there is no iothread 't'" in old.log(), old.log()
        assert state(client) == before, (state(client), before)
        assert asks(disk)


def pidfile():
    with open("pid", encoding="ascii") as file:
        return int(file.read())


@case
def the_pid_file():
    """It is the running process's at any time, also after one that failed."""
    pid = ("--pidfile", "pid")
    with take_over(*pid) as old:
        configure(old.client())
        assert pidfile() == old.pid
        with take_over(*pid, "--object", "throttle-group,id=t") as new:
            new.wait(1)
        assert pidfile() == old.pid
        with take_over(*pid) as new:
            old.wait()
            until(lambda: pidfile() == new.pid, "its number")
            # another one's file is not touched
            with take_over("--pidfile", "pid2") as third:
                new.wait()
                assert not os.path.exists("pid")
                with take_over("--supervise", "--pidfile", "pid2") as fourth:
                    third.wait()
                    until(lambda: os.path.exists("pid2"), "the pid file")
                    with open("pid2", encoding="ascii") as file:
                        assert int(file.read()) == fourth.pid
                    fourth.end()
    assert not os.path.exists("pid2")


@case
def a_group_that_is_gone():
    """Limits of what a new command line has no more."""
    images()
    with take_over(*CMDLINE) as old:
        old.client().do("qom-set", path="cg", property="limits",
                        value={"bps-total": 1 << 30})
        with take_over(*CMDLINE[2:]) as new:
            old.wait()
            assert state(new.client())["limits"] == {}
            new.end()


@case
def commands_beside_takeovers():
    """None is lost, none is done twice, each is answered."""
    images()
    rand = random.Random(4)
    old = take_over(*CMDLINE)
    client = old.client()
    added = 0
    for i in range(12):
        new = take_over(*CMDLINE)
        while old.process.poll() is None:
            client.do("object-add", qom_type="iothread", id=f"o{added}")
            added += 1
            if rand.random() < 0.5:
                time.sleep(rand.random() * 0.02)
        old.wait()
        old = new
        threads = {t for t in state(client)["iothreads"] if t.startswith("o")}
        assert threads == {f"o{n}" for n in range(added)}, threads
        if i % 4 == 3:
            for n in range(added):
                client.do("object-del", id=f"o{n}")
            added = 0
    old.end()


@case
def half_a_command():
    """Its client is cut off, and can come again."""
    with take_over() as old:
        client = old.client()
        client.socket.sendall(b'{"execute": "query-version", "argum')
        until(lambda: not unread(client), "it to be read")
        with take_over() as new:
            old.wait()
            assert client.file.read() == b""
            state(new.client())
            new.end()


def unread(client):
    """What the other end has not read yet."""
    import array # pylint: disable=import-outside-toplevel
    import fcntl # pylint: disable=import-outside-toplevel
    import termios # pylint: disable=import-outside-toplevel
    count = array.array("i", [0])
    fcntl.ioctl(client.socket, termios.TIOCOUTQ, count)
    return count[0]


@case
def what_the_new_command_line_has():
    """What both have comes from there; without a monitor as well."""
    with take_over() as old:
        client = old.client()
        add_disk(client, "m")
        add_disk(client, "k")
        mine = ("--blockdev", "file,node-name=m,filename=m.img",
                "--export", "vhost-user-blk,id=e-m,node-name=m,"
                "addr.type=unix,addr.path=m.sock,writable=on")
        with take_over(*mine, monitor=()) as new:
            old.wait()
            assert client.file.read() == b"" # nobody is there for it
            assert served("m.sock") and served("k.sock")
            with take_over(*mine) as third:
                new.wait()
                os.unlink("q.sock")
            del third


@case
def a_supervised_takeover():
    """Both are supervised; then the new one crashes."""
    with take_over("--supervise") as old:
        client = old.client()
        configure(client)
        before = state(client)
        with Supervised("--takeover", "t.sock") as new:
            old.wait()
            assert state(client) == before
            new.crash()
            assert state(new.client()) == before
            assert served("n.sock")
            new.end()


@case
def a_commit_that_comes_late():
    """The old process may have been frozen, and then ends when it has sent
    that: the new one has to be there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as old:
        old.settimeout(TIMEOUT)
        old.bind("t.sock")
        old.listen()
        with take_over() as new:
            peer, _ = old.accept()
            peer.settimeout(TIMEOUT)
            assert peer.recv(4096).startswith(b"record=hello")
            peer.send(b"record=takeover,id=,began-us=0x1,pid=0x2a")
            peer.send(b"record=end,id=")
            assert peer.recv(4096).startswith(b"record=ready")
            until(lambda: 'process 42 has not said "commit"' in new.log(),
                  new.log)
            peer.send(b"record=commit,id=")
            peer.close()
            state(new.client())
            new.end()


def manager():
    """systemd's end of NOTIFY_SOCKET."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.settimeout(TIMEOUT)
    sock.bind("notify")
    return sock


def take_messages(sock, store, word):
    """Keeps what it is given, up to a message with that word."""
    while True:
        text, fds, _, _ = socket.recv_fds(sock, 4096, 4)
        lines = dict(line.split("=", 1) for line in text.decode().splitlines())
        if "FDSTORE" in lines:
            store.setdefault(lines["FDNAME"], []).extend(fds)
        elif "FDSTOREREMOVE" in lines:
            for fd in store.pop(lines["FDNAME"], []):
                os.close(fd)
        if word in lines:
            return


def start_with(store, stderr=None):
    """As systemd does it."""
    names = [name for name, fds in store.items() for _ in fds]
    fds = [fd for fds in store.values() for fd in fds]
    env = dict(os.environ, NOTIFY_SOCKET=os.path.abspath("notify"))
    if not fds:
        return Process(env=env)
    moves = "".join(f"exec {3 + i}<&{100 + i} {100 + i}<&-; "
                    for i in range(len(fds)))
    for i, fd in enumerate(fds):
        os.dup2(fd, 100 + i)
        os.set_inheritable(100 + i, True)
    # numbers above 9 are bash's
    process = subprocess.Popen(
        ["bash", "-c", f"export LISTEN_PID=$$ LISTEN_FDS={len(fds)} "
         f"LISTEN_FDNAMES={':'.join(names)}; {moves} exec \"$@\"", "sh",
         DAEMON, *MONITOR, "--allow-path", "."],
        pass_fds=range(100, 100 + len(fds)), env=env, stdin=subprocess.DEVNULL,
        stderr=stderr)
    for i in range(len(fds)):
        os.close(100 + i)
    wrapped = Process.__new__(Process)
    wrapped.process, wrapped.pid, wrapped.name = process, process.pid, "/dev/null"
    return wrapped


@case
def a_service_manager_keeps_it():
    store = {}
    with manager() as sock:
        with start_with(store) as first:
            take_messages(sock, store, "READY")
            assert sorted(store) == ["config", "monitor-m"], store
            client = first.client()
            configure(client)
            before = state(client)
            first.kill()
        take_pending(sock, store)
        assert sorted(store) == ["config", "listen-e-m", "listen-e-n",
                                 "monitor-m"], store
        with start_with(store) as second:
            client = second.client()
            take_messages(sock, store, "READY")
            assert state(client) == before, (state(client), before)
            assert served("n.sock") and served("m.sock")
            second.end() # well: the next one begins anew
        take_pending(sock, store)
        assert "config" not in store, store


def take_pending(sock, store):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as me:
        me.connect("notify")
        me.send(b"LAST=1")
    take_messages(sock, store, "LAST")


@case
def a_socket_of_nobody():
    """The export was never answered for: who comes there is refused."""
    with socket.socket(socket.AF_UNIX) as listening, manager() as sock:
        listening.bind("x.sock")
        listening.listen()
        store = {"listen-e-x": [os.dup(listening.fileno())]}
        listening.close()
        with start_with(store) as process:
            take_messages(sock, store, "READY")
            assert sorted(store) == ["config", "monitor-m"], store
            assert not listens("x.sock")
            add_disk(process.client(), "x")
            assert served("x.sock")
            process.end()


@case
def a_socket_that_cannot_be_given_away():
    """It is not kept, or the next one would be the second of its name."""
    image("x.img")
    store = {}
    with manager() as sock, start_with(store) as process:
        take_messages(sock, store, "READY")
        client = process.client()
        client.do("blockdev-add", driver="file", node_name="x", filename="x.img")
        for _ in range(2):
            reply = client.ask("block-export-add", type="vhost-user-blk", id="e-x",
                               node_name="x", socket_owner="65534",
                               addr={"type": "unix", "path": "x.sock"})
            if "return" in reply:
                raise Skip("the daemon may give files away here")
            assert "cannot change its owner" in reply["error"]["desc"], reply
            client.event("BLOCK_EXPORT_DELETED")
            take_pending(sock, store)
            assert sorted(store) == ["config", "monitor-m"], store
            assert not os.path.exists("x.sock")
        add_export(client, "x")
        take_pending(sock, store)
        assert len(store["listen-e-x"]) == 1, store
        process.end()


@case
def a_journal_of_nonsense():
    """What a server left that was not our own any more."""
    with open("x", "w+b") as plain:
        pipe, other = os.pipe()
        sealed = os.memfd_create("x", os.MFD_ALLOW_SEALING)
        os.write(sealed, b"vblk-journal 1 1 4096 5 0\0" + bytes(5000))
        for fd in plain.fileno(), pipe, sealed:
            store = {"config": [os.dup(fd)]}
            with manager() as sock:
                with start_with(store) as process:
                    client = process.client()
                    assert state(client)["nodes"] == []
                    add_disk(client, "m")
                    take_messages(sock, store, "READY")
                    process.kill()
                take_pending(sock, store)
                with start_with(store) as process:
                    assert [n[0] for n in state(process.client())["nodes"]] == ["m"]
                    process.end()
                    take_pending(sock, store)
            os.unlink("notify")
        os.close(pipe)
        os.close(other)
        os.close(sealed)


def journal_of(*commands):
    """As a server that a guest has taken over may write it."""
    text = "".join(json.dumps({"execute": name, "arguments": arguments}) + "\n"
                   for name, arguments in commands).encode()
    fd = os.memfd_create("x", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.pwrite(fd, text, 4096)
    os.pwrite(fd, f"vblk-journal 1 1 4096 {len(text)} "
              f"{hashlib.sha256(text).hexdigest()}\0".encode(), 256)
    return fd


@case
def a_journal_gets_no_more_than_a_client():
    """What it names is opened in the sandbox."""
    os.mkdir("inside")
    os.chdir("inside")
    image("m.img")
    image("../n.img")
    store = {"config": [journal_of(
        ("blockdev-add", {"driver": "file", "node-name": "m", "filename": "m.img"}),
        ("blockdev-add", {"driver": "file", "node-name": "n",
                          "filename": os.path.abspath("../n.img")}))]}
    with manager() as sock:
        with start_with(store, stderr=open("log", "wb")) as process:
            client = process.client()
            with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
                confined = "Seccomp:\t2" in file.read()
            nodes = [n[0] for n in state(client)["nodes"]]
            process.end()
        take_pending(sock, store)
    if not confined:
        raise Skip("there is no sandbox here")
    assert nodes == ["m"], nodes
    with open("log", encoding="utf-8") as file:
        assert "Permission denied" in file.read()


if __name__ == "__main__":
    sys.exit(main(sys.argv[2:]))
