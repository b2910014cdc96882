#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The monitor of vblk-storage-daemon: the same conversation as with
qemu-storage-daemon where that is there, then what only ours has.

Usage: test-qmp.py DAEMON
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys

from qmp import TIMEOUT, Daemon

sys.path.insert(0, os.path.dirname(sys.path[0]))
from cases import Skip, case, main  # noqa: E402 pylint: disable=wrong-import-position

DAEMON = os.path.abspath(sys.argv[1])
PEER = shutil.which("qemu-storage-daemon")
PEER_VERSION = subprocess.run([PEER, "--version"], stdout=subprocess.PIPE, text=True,
                              check=True).stdout if PEER else ""


def image(path="a.img", size=1 << 20):
    with open(path, "wb") as file:
        file.truncate(size)
    return os.path.abspath(path)


def unix(path):
    return {"type": "unix", "path": path}


def vhost(name, node, **more):
    return dict(type="vhost-user-blk", id=name, node_name=node,
                addr=unix(name + ".sock"), **more)


# What both daemons are asked, in this order; a string is sent as it is.
SAME = [
    '{"execute":"query-block-exports"}',
    '{"execute":"qmp_capabilities","id":[1,{"a":null}]}',
    '{"execute":"qmp_capabilities"}',
    '{"execute":"nope","id":"x"}',
    '{"execute":"query-block-exports","id":7}',
    '{"execute":"query-block-exports"} {"execute":"query-block","id":2}',
    None,
    '{"execute":5}', '{"execute":"quit","foo":1}', "{}", "[]", "5 ", '"x"',
    '{"execute":"quit","arguments":{"foo":1}}',
    '{"execute":"quit","arguments":[]}',
    '{"execute":"query-block"\n', "}", "nonsense\n",
    ("query-block", {}), ("query-jobs", {}), ("query-block-jobs", {}),
    ("query-chardev", {}), ("query-named-block-nodes", {}),
    ("blockdev-add", dict(driver="file", node_name="f0", filename="a.img")),
    ("blockdev-add", dict(driver="file", node_name="f0", filename="a.img")),
    ("blockdev-add", dict(driver="file", filename="a.img")),
    ("block_resize", dict(node_name="nope", size=1 << 20)),
    ("block_resize", dict(node_name="f0", size=-1)),
    ("block_resize", dict(node_name="f0")),
    ("block_resize", dict(node_name="f0", size=2 << 20)),
    ("query-named-block-nodes", {}),
    ("blockdev-add", dict(driver="nope", node_name="f1")),
    ("blockdev-add", dict(node_name="f1")),
    ("blockdev-add", dict(driver="file", node_name="f1", filename="no.img")),
    ("blockdev-add", dict(driver="raw", node_name="9t", file="f0")),
    ("blockdev-add", dict(driver="raw", node_name="r1", file="nope")),
    ("blockdev-add", dict(driver="qcow2", node_name="q0", file={
        "driver": "file", "filename": "b.qcow2", "node-name": "q0f"})),
    ("query-named-block-nodes", {}),
    ("query-named-block-nodes", dict(flat=True)),
    ("blockdev-del", dict(node_name="q0f")),
    ("object-add", dict(qom_type="iothread", id="t0")),
    ("object-add", dict(qom_type="iothread", id="t0")),
    ("object-add", dict(qom_type="iothread")),
    ("object-add", dict(qom_type="nope", id="t1")),
    ("object-add", dict(qom_type="iothread", id="1t")),
    ("object-add", dict(qom_type="throttle-group", id="g0",
                        limits={"iops-total": 100})),
    ("blockdev-add", dict(driver="throttle", node_name="t9",
                          throttle_group="nope", file="f0")),
    ("qom-get", dict(path="/objects/g0", property="limits")),
    ("qom-get", dict(path="g1", property="limits")),
    ("qom-get", dict(path="g0", property="nope")),
    ("qom-set", dict(path="g0", property="limits",
                     value={"bps-total": 50, "iops-size": 7})),
    ("qom-get", dict(path="g0", property="limits")),
    ("qom-set", dict(path="g0", property="limits",
                     value={"iops-read": 4})),
    ("qom-set", dict(path="g0", property="limits",
                     value={"iops-foo": 4})),
    ("qom-set", dict(path="g0", property="limits")),
    ("qom-get", dict(path="g0", property="x-iops-total")),
    ("qom-set", dict(path="g0", property="x-iops-total", value=7)),
    ("qom-get", dict(path="t0", property="poll-max-ns")),
    ("qom-get", dict(path="t0", property="type")),
    ("block-export-add", vhost("e0", "f0", writable=True, iothread="t0")),
    ("block-export-add", vhost("e0", "f0")),
    ("block-export-add", vhost("9e", "f0")),
    ("block-export-add", vhost("e1", "nope")),
    ("block-export-add", vhost("e1", "f0", iothread="nope")),
    ("block-export-add", dict(vhost("e1", "f0"), type="foo")),
    ("block-export-add", dict(type="vhost-user-blk", node_name="f0")),
    ("block-export-add", dict(type="vhost-user-blk", id="e1")),
    ("query-block-exports", {}),
    ("blockdev-del", dict(node_name="f0")),
    ("blockdev-del", dict(node_name="nope")),
    ("blockdev-del", {}),
    ("blockdev-del", dict(node_name="q0", foo=1)),
    ("blockdev-del", dict(node_name="q0")),
    ("block-export-del", dict(id="nope")),
    ("block-export-del", dict(id="e0", mode="foo")),
    ("block-export-del", dict(id="e0")),
    "BLOCK_EXPORT_DELETED",
    ("query-block-exports", {}),
    ("blockdev-del", dict(node_name="f0")),
    ("object-del", dict(id="t0")),
    ("object-del", dict(id="t0")),
    ("object-del", dict(id="g0")),
    ("quit", {}),
]


def conversation(program):
    """What the daemon says to all of SAME, one item each."""
    said = []
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "b.qcow2",
                    "1M"], check=True)
    image()
    with Daemon(program) as daemon:
        client = daemon.client
        client.close()
        daemon.client = client = daemon.connect(negotiate=False)
        for item in SAME:
            if item is None:
                said.append(client.reply())
            elif isinstance(item, tuple):
                said.append(client.ask(item[0], **item[1]))
            elif item.startswith("BLOCK"):
                said.append(client.event(item))
            elif item.endswith('"\n'):
                client.socket.sendall(item.encode())
            else:
                said.append(client.raw(item))
        daemon.process.wait(timeout=TIMEOUT)
    return said


def as_old(answer):
    """Without what QEMU says since 10.0 only; it has to be there."""
    nodes = answer.get("return")
    for node in nodes if isinstance(nodes, list) else ():
        if "drv" in node and "10." not in PEER_VERSION:
            assert node.pop("active") is True
    return answer


@case
def same_as_qemu():
    if not PEER:
        return "qemu-storage-daemon is not installed"
    ours, theirs = conversation(DAEMON), conversation(PEER)
    asked = [item for item in SAME if not str(item).endswith('"\n')]
    assert len(ours) == len(theirs) == len(asked)
    for what, mine, yours in zip(asked, ours, theirs):
        mine = as_old(mine)
        assert mine == yours, f"{what}:\n  {mine}\n  {yours}"
    print(f"# {len(ours)} answers compared")
    return None


@case
def greeting_and_version():
    with Daemon(DAEMON) as daemon:
        version = daemon.client.greeting["QMP"]["version"]
        assert version["package"].startswith("vblk-storage-daemon ")
        assert daemon.client.do("query-version") == version
        names = [c["name"] for c in daemon.client.do("query-commands")]
        assert len(names) == len(set(names)) and "blockdev-add" in names


def front_end(path):
    """Connects and waits until the server has seen it: GET_FEATURES."""
    vhost_user = socket.socket(socket.AF_UNIX)
    vhost_user.settimeout(TIMEOUT)
    vhost_user.connect(path)
    vhost_user.sendall(bytes([1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]))
    assert len(vhost_user.recv(20)) == 20
    return vhost_user


@case
def exports_come_and_go():
    with Daemon(DAEMON) as daemon:
        client = daemon.client
        for number in range(20):
            client.do("blockdev-add", driver="file", node_name="f0",
                      filename=image())
            client.do("object-add", qom_type="iothread", id="t0")
            client.do("block-export-add",
                      **vhost("e0", "f0", writable=True, iothread="t0"))
            guest = front_end("e0.sock")
            stats, = client.do("x-vblk-stats")
            assert stats["connected"] and stats["id"] == "e0"
            assert stats["stats"]["requests"] == 0
            assert client.refused("block-export-del", id="e0") == \
                "export 'e0' still in use"
            assert "in use" in client.refused("object-del", id="t0")
            if number % 2:
                guest.close()
            client.do("block-export-del", id="e0", mode="hard")
            assert client.event("BLOCK_EXPORT_DELETED") == {"id": "e0"}
            assert not os.path.exists("e0.sock")
            if not number % 2:
                assert guest.recv(1) == b""
                guest.close()
            client.do("blockdev-del", node_name="f0")
            client.do("object-del", id="t0")
        assert client.do("x-vblk-stats") == []


@case
def iothread_stays_while_a_node_lives_there():
    """The first overlay's thread is the shared backing file's home, and that
    has users after the overlay has gone."""
    for name in ("base", "o0", "o1"):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2",
                        name + ".qcow2", "1M"], check=True)
    with Daemon(DAEMON) as daemon:
        client = daemon.client

        def add(number):
            client.do("blockdev-add", driver="qcow2", node_name=f"o{number}",
                      file=dict(driver="file", filename=f"o{number}.qcow2"),
                      backing="base")
            client.do("object-add", qom_type="iothread", id=f"t{number}")
            client.do("block-export-add",
                      **vhost(f"e{number}", f"o{number}", writable=True,
                              iothread=f"t{number}"))
            return front_end(f"e{number}.sock")

        def remove(number):
            client.do("block-export-del", id=f"e{number}", mode="hard")
            assert client.event("BLOCK_EXPORT_DELETED") == {"id": f"e{number}"}
            client.do("blockdev-del", node_name=f"o{number}")

        client.do("blockdev-add", driver="qcow2", node_name="base",
                  read_only=True,
                  file=dict(driver="file", filename="base.qcow2"))
        guests = [add(0), add(1)]
        remove(0)
        assert client.refused("object-del", id="t0") == \
            "object 't0' is in use, can not be deleted"
        remove(1)
        for number in range(2):
            client.do("object-del", id=f"t{number}")
            guests[number].close()
        client.do("blockdev-del", node_name="base")


@case
def who_hung_up_uses_nothing():
    """Also before the server has read of it: the command is there first."""
    with Daemon(DAEMON) as daemon:
        client = daemon.client
        client.do("blockdev-add", driver="null-co", node_name="n0",
                  size=1 << 20)
        client.do("block-export-add", **vhost("e0", "n0"))
        guest = front_end("e0.sock")
        os.kill(daemon.process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, daemon.process.pid, os.WSTOPPED | os.WNOWAIT)
        client.socket.sendall(b'{"execute": "block-export-del", '
                              b'"arguments": {"id": "e0"}}')
        guest.close()
        os.kill(daemon.process.pid, signal.SIGCONT)
        assert client.reply() == {"return": {}}
        assert client.event("BLOCK_EXPORT_DELETED") == {"id": "e0"}


@case
def several_monitors():
    with Daemon(DAEMON, "--chardev", "socket,id=n,path=r.sock,server=on",
                "--monitor", "n") as daemon:
        other = daemon.connect("r.sock")
        daemon.client.do("blockdev-add", driver="null-co", node_name="n0",
                         size=1 << 20)
        assert len(other.do("query-named-block-nodes")) == 1
        daemon.client.do("block-export-add", **vhost("e0", "n0"))
        other.do("block-export-del", id="e0")
        for client in (daemon.client, other):
            assert client.event("BLOCK_EXPORT_DELETED") == {"id": "e0"}
        other.close()


@case
def backing_images_are_nested():
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "base.qcow2",
                    "1M"], check=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b",
                    "base.qcow2", "-F", "qcow2", "top.qcow2"], check=True)
    with Daemon(DAEMON) as daemon:
        daemon.client.do("blockdev-add", driver="qcow2", node_name="q0",
                         file={"driver": "file", "filename": "top.qcow2"})
        nodes = {n["node-name"]: n for n in
                 daemon.client.do("query-named-block-nodes")}
        assert nodes["q0"]["backing_file_depth"] == 1
        assert nodes["q0"]["image"]["backing-image"]["filename"] == \
            "base.qcow2"
        assert len(nodes) == 4


@case
def resize_is_checked():
    with Daemon(DAEMON) as daemon:
        client = daemon.client
        client.do("blockdev-add", driver="raw", node_name="r0", file={
            "driver": "file", "node-name": "f0", "filename": image()})
        client.do("block-export-add", **vhost("e0", "r0",
                                              logical_block_size=4096))
        assert "used by another node" in client.refused(
            "block_resize", node_name="f0", size=1 << 20)
        assert "multiple of 512" in client.refused(
            "block_resize", node_name="r0", size=1000)
        assert "logical block size 4096" in client.refused(
            "block_resize", node_name="r0", size=(1 << 20) + 512)
        client.do("block_resize", node_name="r0", size=3 << 20)
        assert os.path.getsize("a.img") == 3 << 20


@case
def errors_and_cont():
    """Without a guest there is nothing to hold; vhost-user-blk-error-test has
    one."""
    with Daemon(DAEMON) as daemon:
        client = daemon.client
        client.do("blockdev-add", driver="null-co", node_name="n0",
                  size=1 << 20)
        client.do("block-export-add", **vhost("e0", "n0", werror="stop"))
        stats, = client.do("x-vblk-stats")
        assert (stats["io-status"], stats["held"]) == ("ok", 0)
        assert client.do("query-status") == {
            "status": "running", "running": True, "singlestep": False}
        client.do("cont")
        client.do("cont", id="e0")
        assert client.refused("cont", id="e1") == "Export 'e1' is not found"


@case
def stdio():
    script = '{"execute":"qmp_capabilities"}{"execute":"quit","id":1}'
    result = subprocess.run(
        [DAEMON, "--chardev", "stdio,id=s", "--monitor", "s"], input=script,
        capture_output=True, text=True, timeout=TIMEOUT, check=False)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 0, result.stderr
    assert "QMP" in lines[0]
    assert lines[1:] == [{"return": {}}, {"return": {}, "id": 1}]


@case
def strangers_do_no_harm():
    with Daemon(DAEMON) as daemon:
        daemon.client.close()
        for junk in (b"\0" * 5000, b"{" * 5000, b'"' + b"x" * (1 << 21),
                     bytes(range(256)) * 64, b"[" * 31 + b"]" * 40,
                     b'{"execute":"' + b"\\u0000" * 100 + b'"}'):
            client = daemon.connect()
            try:
                client.socket.sendall(junk)
                client.socket.shutdown(socket.SHUT_WR)
                while client.socket.recv(65536):
                    pass
            except (BrokenPipeError, ConnectionResetError):
                pass
            client.close()
        daemon.client = daemon.connect()
        assert daemon.client.do("query-block") == []


@case
def commands_end_with_the_daemon():
    """Behind "quit" nothing is read, and the answer comes."""
    with Daemon(DAEMON) as daemon:
        daemon.client.socket.sendall(
            b'{"execute":"quit"}{"execute":"query-block"}')
        assert daemon.client.reply() == {"return": {}}
        assert daemon.client.reply() is None


if __name__ == "__main__":
    sys.exit(main())
