#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Nodes that are active and inactive: active=, blockdev-set-active and
allow-inactive=, between daemons and Debian's tools.

Usage: test-active.py DAEMON
"""

import json
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(sys.path[0]))
from cases import Skip, case, main  # noqa: E402 pylint: disable=wrong-import-position
from qmp import Daemon  # noqa: E402 pylint: disable=wrong-import-position

DAEMON = os.path.abspath(sys.argv[1])
DISK = "qcow2,node-name=n,file.driver=file,file.filename=i.qcow2"
EXPORT = {"type": "vhost-user-blk", "id": "e", "writable": True,
          "addr": {"type": "unix", "path": "e.sock"}}


def tool(*words):
    """One of Debian's; whether it succeeded, and its output."""
    if not shutil.which(words[0]):
        raise Skip(f"there is no {words[0]}")
    done = subprocess.run(words, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False)
    return done.returncode == 0, done.stdout


def image(*options):
    good, output = tool("qemu-img", "create", "-f", "qcow2", *options,
                        "i.qcow2", "16M")
    assert good, output


def others_may_write():
    good, output = tool("qemu-io", "-f", "qcow2", "-c", "write 0 4k", "i.qcow2")
    assert good or "lock" in output, output
    return good


def check_image():
    good, output = tool("qemu-img", "check", "i.qcow2")
    assert good, output


class Server(Daemon):
    """Of several in one folder."""

    def __init__(self, name, *args):
        os.makedirs(name, exist_ok=True)
        self.path = f"{name}/q.sock"
        self.process = subprocess.Popen(
            [DAEMON, "--allow-path", ".", "--chardev",
             f"socket,id=m,path={self.path},server=on,wait=off", "--monitor",
             "chardev=m", *args], stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True)
        self.stderr = None
        self.client = self.connect(self.path)

    def states(self):
        """Of each node, by its name."""
        return {node["node-name"]: node["active"] for node in
                self.client.do("query-named-block-nodes", flat=True)}

    def set(self, active, **node):
        assert self.client.do("blockdev-set-active", active=active,
                              **node) == {}

    def cannot(self, active, **node):
        return self.client.refused("blockdev-set-active", active=active,
                                   **node)


@case
def from_one_daemon_to_another_and_back():
    image()
    with Server("a", "--blockdev", DISK) as a, \
         Server("b", "--blockdev", DISK + ",active=off") as b:
        assert set(a.states().values()) == {True}, a.states()
        assert set(b.states().values()) == {False}, b.states()
        for _ in range(3):
            assert not others_may_write()
            assert "Failed to get" in b.cannot(True, node_name="n")
            assert set(b.states().values()) == {False}
            a.set(False, node_name="n")
            assert others_may_write()
            b.set(True, node_name="n")
            assert not others_may_write()
            assert "Failed to get" in a.cannot(True)
            b.set(False)
            check_image()
            a.set(True)
            assert set(a.states().values()) == {True}
    check_image()


@case
def what_others_did_is_seen():
    image()
    with Server("a", "--blockdev", DISK + ",active=off") as a:
        def size():
            nodes = a.client.do("query-named-block-nodes")
            return [n["image"]["virtual-size"] for n in nodes
                    if n["node-name"] == "n"][0]
        assert size() == 16 << 20
        assert tool("qemu-img", "resize", "-q", "i.qcow2", "32M")[0]
        assert tool("qemu-img", "snapshot", "-c", "s", "i.qcow2")[0]
        a.set(True)
        assert size() == 32 << 20
        nodes = a.client.do("query-named-block-nodes")
        assert "snapshots" in json.dumps(nodes)
        a.set(False)
        assert tool("qemu-img", "snapshot", "-d", "s", "i.qcow2")[0]
        a.set(True)
        nodes = a.client.do("query-named-block-nodes")
        assert "snapshots" not in json.dumps(nodes)


@case
def exports():
    image()
    with Server("a", "--blockdev", DISK + ",active=off") as a:
        do, refused = a.client.do, a.client.refused
        assert "inactive" in refused("block_resize", node_name="n",
                                     size=32 << 20)
        do("block-export-add", node_name="n", **EXPORT)
        assert set(a.states().values()) == {True}
        error = "Failed to inactivate node: Operation not permitted"
        assert a.cannot(False, node_name="n") == error
        assert a.cannot(False) == error
        do("block-export-del", id="e")
        a.client.event("BLOCK_EXPORT_DELETED")
        a.set(False, node_name="n")
        do("block-export-add", node_name="n", allow_inactive=True, **EXPORT)
        assert set(a.states().values()) == {False}
        assert others_may_write()
        a.set(True, node_name="n")
        do("block_resize", node_name="n", size=32 << 20)
        a.set(False, node_name="n")
        do("block-export-del", id="e")
        a.client.event("BLOCK_EXPORT_DELETED")
    check_image()


@case
def an_export_of_an_image_that_is_taken():
    image()
    with Server("a", "--blockdev", DISK), \
         Server("b", "--blockdev", DISK + ",active=off") as b:
        error = b.client.refused("block-export-add", node_name="n", **EXPORT)
        assert "Failed to get" in error, error
        assert not os.path.exists("e.sock")


@case
def refusals():
    with Server("a", "--blockdev", "null-co,node-name=f",
                "--blockdev", "raw,node-name=n,file=f") as a:
        assert (a.cannot(False, node_name="x") ==
                "Failed to find node with node-name='x'")
        assert a.cannot(False, node_name="f") == "Node has active parent node"
        assert (a.client.refused("blockdev-set-active", node_name="n") ==
                "Parameter 'active' is missing")
        assert "'x'" in a.cannot(False, node_name="n", x=1)
        assert a.states() == {"f": True, "n": True}
        a.set(False)
        assert a.states() == {"f": False, "n": False}
        assert ("Inactive 'f' can't be a file child of active 'm'" in
                a.client.refused("blockdev-add", driver="raw", node_name="m",
                                 file="f"))
        a.client.do("blockdev-add", driver="raw", node_name="m", file="f",
                    active=False)
        a.set(True)
        assert set(a.states().values()) == {True}


@case
def in_the_sandbox():
    image()
    with Server("a", "--sandbox", "on", "--blockdev", DISK + ",active=off",
                "--export", "vhost-user-blk,id=e,node-name=n,writable=on,"
                "allow-inactive=on,addr.type=unix,addr.path=e.sock") as a:
        for _ in range(2):
            a.set(True)
            a.set(False)
    check_image()


@case
def drive():
    image()
    with Server("a", "--drive", "file=i.qcow2,format=qcow2,id=d,active=off,"
                "allow-inactive=on") as a:
        assert a.states() == {"d": False, "d-file": False}
        assert others_may_write()
        a.set(True, node_name="d")
        assert a.states() == {"d": True, "d-file": True}


if __name__ == "__main__":
    sys.exit(main())
