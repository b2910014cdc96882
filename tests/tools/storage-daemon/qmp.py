# SPDX-License-Identifier: GPL-2.0-or-later
"""A storage daemon with a monitor, and a client of it."""

import json
import os
import socket
import subprocess
import time

TIMEOUT = 30


class Client:
    """One connection; replies in order, events aside."""

    def __init__(self, path, negotiate=True, greeted=True):
        """Without @greeted nobody need be there to say who he is."""
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")
        self.events = []
        self.greeting = self.read() if greeted else None
        if negotiate and greeted:
            assert self.do("qmp_capabilities") == {}

    def read(self):
        line = self.file.readline()
        assert line.endswith(b"\r\n") or not line, line
        return json.loads(line) if line else None

    def raw(self, text):
        """Sends @text; the next reply, or None when there will be none."""
        self.socket.sendall(text.encode())
        return self.reply()

    def reply(self):
        while True:
            message = self.read()
            if message is None or "event" not in message:
                return message
            self.events.append(message)

    def ask(self, name, **arguments):
        return self.raw(json.dumps({"execute": name, "arguments": {
            key.replace("_", "-"): value for key, value in arguments.items()}}))

    def do(self, name, **arguments):
        reply = self.ask(name, **arguments)
        assert reply and "return" in reply, (name, arguments, reply)
        return reply["return"]

    def refused(self, name, **arguments):
        reply = self.ask(name, **arguments)
        assert reply and "error" in reply, (name, arguments, reply)
        return reply["error"]["desc"]

    def event(self, name):
        """The next event of that name; others are dropped."""
        while True:
            if not self.events:
                message = self.read()
                assert message and "event" in message, message
                self.events.append(message)
            message = self.events.pop(0)
            if message["event"] == name:
                return message["data"]

    def close(self):
        self.file.close()
        self.socket.close()


class Daemon:
    """Either daemon, with a monitor at q.sock; has to end with status 0."""

    def __init__(self, program, *args):
        if "vblk" in program: # opens what it is told to by QMP only there
            args = ("--allow-path", ".", *args)
        self.process = subprocess.Popen(
            [program, "--chardev",
             "socket,id=m,path=q.sock,server=on,wait=off", "--monitor",
             "chardev=m", *args], stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True)
        self.stderr = None
        self.client = self.connect()

    def connect(self, path="q.sock", **kwargs):
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                return Client(path, **kwargs)
            except (FileNotFoundError, ConnectionRefusedError):
                assert self.process.poll() is None, self.process.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, kind, *unused):
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
        _, self.stderr = self.process.communicate(timeout=TIMEOUT)
        if not kind:
            assert self.process.returncode == 0, self.stderr
            assert not os.path.exists("q.sock")
