#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that monitors hear in the midst of a takeover: each is answered by
exactly one of both processes, once, and what was answered is so afterwards.

Between both there is somebody who passes on what they say, as far as a case
wants it: the moments are exact. Others are seeded.

Usage: test-takeover.py DAEMON STEADY-GUEST [CASE...]
"""

import json
import os
import random
import select
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(sys.path[0]))
# pylint: disable=wrong-import-position
from cases import case, main  # noqa: E402
from processes import until  # noqa: E402
from qmp import Client  # noqa: E402
from service import (TIMEOUT, Guest, Process, add_disk, add_export,  # noqa: E402
                     image, served, state)

Process.program, Guest.program = map(os.path.abspath, sys.argv[1:3])
SECOND = ("--chardev", "socket,id=m2,path=q2.sock,server=on,wait=off",
          "--monitor", "chardev=m2")
COUNT = {"commands": 0, "takeovers": 0, "failed": 0}


class Between:
    """Whom the new process takes for the old one, and the old for the new."""

    def __init__(self):
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind("between.sock")
        self.listener.listen()
        self.listener.settimeout(TIMEOUT)
        self.new = self.old = self.packet = None

    def meet(self):
        """The new process has come; it will be heard."""
        self.new, _ = self.listener.accept()
        self.old = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.old.connect("t.sock")
        for sock in self.new, self.old:
            sock.settimeout(TIMEOUT)

    def take(self, source):
        """Its next packet; the kind of the record."""
        assert self.packet is None
        text, fds, _, _ = socket.recv_fds(source, 1 << 16, 64)
        assert text, "it has ended"
        self.packet = text, fds
        return text.decode().split(",", 1)[0].partition("=")[2]

    def give(self, target):
        """The packet that was taken."""
        text, fds = self.packet
        socket.send_fds(target, [text], fds)
        self.drop()

    def drop(self):
        """Nobody gets it."""
        for fd in self.packet[1] if self.packet else ():
            os.close(fd)
        self.packet = None

    def records(self, kind):
        """Passes on what the old one leaves, up to that kind of record, which is
        held."""
        while self.take(self.old) != kind:
            self.give(self.new)

    def until(self, moment):
        """Lets them go on up to that moment."""
        for name in MOMENTS[:MOMENTS.index(moment) + 1]:
            MOMENT[name](self)

    def go_on(self, moment):
        """From there to the end."""
        for name in MOMENTS[MOMENTS.index(moment) + 1:]:
            MOMENT[name](self)

    def cut(self):
        """Both find that the other one has gone."""
        self.drop()
        self.new.close()
        self.old.close()

    def close(self):
        """The next takeover needs another one."""
        self.cut()
        self.listener.close()
        os.unlink("between.sock")


def hello_is_held(between):
    """The old process knows of nothing."""
    between.meet()
    assert between.take(between.new) == "hello"


def drained(between):
    """It has drained, and says so first thing."""
    between.give(between.old)
    between.take(between.old)


def config_is_held(between):
    """The new one has the files, and not yet what monitors have changed."""
    between.give(between.new)
    between.records("config")


def end_is_held(between):
    """It has all but the end of the list."""
    between.give(between.new)
    between.records("end")


def ready_is_held(between):
    """It has opened all of it, and the old one does not know."""
    between.give(between.new)
    assert between.take(between.new) == "ready"


def commit_is_held(between):
    """The old one is the old one no more; the new one does not know."""
    between.give(between.old)
    assert between.take(between.old) == "commit"


def committed(between):
    """The new one serves."""
    between.give(between.new)


MOMENT = {function.__name__: function for function in (
    hello_is_held, drained, config_is_held, end_is_held, ready_is_held, commit_is_held,
    committed)}
MOMENTS = list(MOMENT)
# the old one has said nothing of what is to come; it ends as the old one
MAY_BE_CUT = MOMENTS[:MOMENTS.index("commit_is_held")]


def blank(name):
    """A new image of zeroes."""
    with open(name, "wb") as file:
        file.truncate(1 << 20)
    return name


def command(number, name, **arguments):
    """As it is sent."""
    return json.dumps({"execute": name, "id": number, "arguments": {
        key.replace("_", "-"): value for key, value in arguments.items()}})


def commands(disk, gone, spare):
    """A disk to come, an export and a node to go, and one thing that cannot be."""
    return [
        command(1, "blockdev-add", driver="file", node_name=disk,
                filename=blank(disk + ".img")),
        command(2, "block-export-add", type="vhost-user-blk", id="e-" + disk,
                node_name=disk, writable=True,
                addr={"type": "unix", "path": disk + ".sock"}),
        command(3, "block-export-del", id="e-" + gone),
        command(4, "blockdev-del", node_name=spare),
        command(5, "blockdev-del", node_name="nobody"),
    ]


def replies(client, count):
    """So many, and no more; ids of those that succeeded, and the events beside."""
    found = [client.reply() for _ in range(count)]
    assert [message["id"] for message in found] == list(range(1, count + 1)), found
    return [message["id"] for message in found if "return" in message]


def is_silent(client):
    """Nothing has been said."""
    return not select.select([client.socket], [], [], 0)[0]


def set_up(client):
    """Disks of which some will go."""
    for name in "gone1", "gone2":
        add_disk(client, name)
    for name in "spare1", "spare2":
        client.do("blockdev-add", driver="file", node_name=name,
                  filename=image(name + ".img"))
    client.do("blockdev-add", driver="file", node_name="a", filename=blank("a.img"))
    add_export(client, "a")


def judge(client, late):
    """All was done, and once."""
    exports = [("e-a", "a"), ("e-new1", "new1"), ("e-new2", "new2")]
    for one in client, late:
        gone = [one.event("BLOCK_EXPORT_DELETED")["id"]]
        if gone == ["e-gone1"] or one is client: # the other was not there for it
            gone.append(one.event("BLOCK_EXPORT_DELETED")["id"])
        assert sorted(gone)[-1] == "e-gone2" and len(set(gone)) == len(gone), gone
        found = state(one)
        assert found["exports"] == exports, found
        assert [n[0] for n in found["nodes"]] == ["a", "gone1", "gone2", "new1", "new2"]
        assert one.events == [] and is_silent(one), one.events
    for name in "new1", "new2":
        with Guest(name + ".sock"):
            pass
        assert not os.path.exists(name.replace("new", "gone") + ".sock")


def send_both(client, moment):
    """From a client that has been there since before, and from one that comes now,
    which is returned. Nobody answers while the disks are nobody's."""
    client.socket.sendall("".join(commands("new1", "gone1", "spare1")).encode())
    late = Client("q2.sock", greeted=False)
    late.socket.sendall("".join([command(0, "qmp_capabilities")] + commands(
        "new2", "gone2", "spare2")).encode())
    if moment in ("hello_is_held", "committed"):
        until(lambda: not is_silent(client) and not is_silent(late), "an answer")
    else:
        time.sleep(0.05) # for somebody who should not
        assert is_silent(client) and is_silent(late)
    return late


def at(moment, cut=False):
    """Commands are sent at that moment; then both processes go on, or find that the
    other one is gone."""
    between = Between()
    with Process("--takeover", "t.sock", *SECOND) as old, \
            Process("--takeover", "between.sock", *SECOND) as new:
        client = old.client()
        set_up(client)
        with Guest("a.sock"):
            between.until(moment)
            late = send_both(client, moment)
            if cut:
                between.cut()
                new.wait(1)
            else:
                between.go_on(moment)
                old.wait()
            check(client, late)
        between.close()
        (old if cut else new).end()
    COUNT["failed" if cut else "takeovers"] += 1


def check(client, late):
    """Each of the two has been answered, and it is so."""
    assert replies(client, 5) == [1, 2, 3, 4]
    assert "QMP" in late.read() and late.reply()["id"] == 0
    assert replies(late, 5) == [1, 2, 3, 4]
    COUNT["commands"] += 10
    judge(client, late)


class Model:
    """What a client has been told, and what it has asked for since."""

    def __init__(self, rand):
        self.rand = rand
        self.disks = {f"x{i}": "nothing" for i in range(8)}
        self.asked = [] # disk, what it is to be
        self.number = 0

    def next(self, name):
        """A command for this disk, and what it makes of it."""
        node = {"driver": "file", "node-name": name, "filename": name + ".img"}
        export = {"type": "vhost-user-blk", "id": "e-" + name, "node-name": name,
                  "writable": True, "addr": {"type": "unix", "path": name + ".sock"}}
        return self.rand.choice({
            "nothing": [("blockdev-add", node, "node")],
            "node": [("block-export-add", export, "disk"),
                     ("blockdev-del", {"node-name": name}, "nothing")],
            "disk": [("block-export-del", {"id": "e-" + name}, "going")],
        }[self.disks[name]])

    def ask(self, client):
        """Some commands at once, whose answers are for later."""
        text = ""
        for _ in range(self.rand.randrange(1, 5)):
            name = self.rand.choice([n for n in self.disks if self.disks[n] != "going"])
            what, arguments, self.disks[name] = self.next(name)
            self.number += 1
            self.asked.append((self.number, name))
            text += command(self.number, what, **arguments)
        client.socket.sendall(text.encode())

    def hear(self, client):
        """All answers, in order, and the end of exports that had to go."""
        for number, _ in self.asked:
            reply = client.reply()
            assert reply == {"return": {}, "id": number}, (reply, self.asked)
        COUNT["commands"] += len(self.asked)
        self.asked = []
        for name in [n for n in self.disks if self.disks[n] == "going"]:
            while self.disks[name] == "going":
                gone = client.event("BLOCK_EXPORT_DELETED")["id"].removeprefix("e-")
                assert self.disks[gone] == "going", gone
                self.disks[gone] = "node"

    def check(self, client):
        """It is so."""
        found = state(client)
        nodes = [n for n in self.disks if self.disks[n] != "nothing"]
        disks = [n for n in self.disks if self.disks[n] == "disk"]
        assert [n[0] for n in found["nodes"]] == nodes, (found, self.disks)
        assert found["exports"] == [("e-" + n, n) for n in disks], (found, self.disks)
        assert all(served(name + ".sock") for name in disks)


@case
def commands_at_seeded_moments():
    """Some of them under way at any time, and a client that does not wait."""
    rand = random.Random(11)
    model = Model(rand)
    for name in model.disks:
        blank(name + ".img")
    old = Process("--takeover", "t.sock")
    client = old.client()
    for _ in range(12):
        new = Process("--takeover", "t.sock")
        while old.process.poll() is None:
            model.ask(client)
            if rand.random() < 0.5:
                model.hear(client)
            if rand.random() < 0.5:
                time.sleep(rand.random() * 0.02)
        old.wait()
        model.hear(client)
        model.check(client)
        old = new
        COUNT["takeovers"] += 1
    old.end()


@case
def one_who_says_nothing():
    """Nobody waits for him, neither those who ask nor those who take over."""
    with Process("--takeover", "t.sock") as old:
        client = old.client()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as mute:
            mute.connect("t.sock")
            add_disk(client, "a")
            with Process("--takeover", "t.sock") as new:
                old.wait()
                assert [e[0] for e in state(client)["exports"]] == ["e-a"]
                mute.settimeout(TIMEOUT)
                assert mute.recv(1) == b""
                new.end()
    COUNT["takeovers"] += 1


def add_cases():
    """One for each moment, and one for each in which it may fail."""
    for moment in MOMENTS:
        def goes_on(name=moment):
            at(name)
        goes_on.__name__ = "commands_when_" + moment
        case(goes_on)
    for moment in MAY_BE_CUT:
        def is_cut(name=moment):
            at(name, cut=True)
        is_cut.__name__ = "cut_when_" + moment
        case(is_cut)


add_cases()

if __name__ == "__main__":
    STATUS = main(sys.argv[3:])
    print(f"# {COUNT['takeovers']} takeovers, {COUNT['failed']} that failed, beside "
          f"{COUNT['commands']} commands")
    sys.exit(STATUS)
