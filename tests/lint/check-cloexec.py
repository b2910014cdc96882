#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a program of ours opens it does not leave to another: every call that
makes a descriptor says so at once, since a second call would be too late for
a thread that executes something meanwhile."""

import re

import lint

# Calls that can say it, and how; with the C library's "e" for fopen().
CAN = {
    "open": "O_CLOEXEC", "openat": "O_CLOEXEC", "socket": "SOCK_CLOEXEC",
    "socketpair": "SOCK_CLOEXEC", "accept4": "SOCK_CLOEXEC",
    "pipe2": "O_CLOEXEC", "eventfd": "EFD_CLOEXEC",
    "epoll_create1": "EPOLL_CLOEXEC", "timerfd_create": "TFD_CLOEXEC",
    "signalfd": "SFD_CLOEXEC", "memfd_create": "MFD_CLOEXEC",
    "inotify_init1": "IN_CLOEXEC", "dup3": "O_CLOEXEC",
    "recvmsg": "MSG_CMSG_CLOEXEC", "fopen": '"[^"]*e[^"]*"',
    "mkostemp": "O_CLOEXEC",
}
# Calls that cannot, and which one can.
CANNOT = {
    "creat": "open", "accept": "accept4", "pipe": "pipe2",
    "epoll_create": "epoll_create1", "inotify_init": "inotify_init1",
    "dup": "fcntl with F_DUPFD_CLOEXEC", "mkstemp": "mkostemp",
    "tmpfile": "memfd_create", "eventfd2": "eventfd",
}
# Programs that people and guests meet. What belongs to tests is not asked.
FOLDERS = ("block/", "hw/", "tools/")
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
NOT_NEW_LINE = re.compile(r"[^\n]")


def arguments(text, start):
    """What is in the brackets that open before @start."""
    depth = 1
    for at in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return text[start:at]
    return text[start:]


def complaints(name, pattern, judge):
    """The calls in one file that @judge has something against."""
    text = COMMENT.sub(lambda m: NOT_NEW_LINE.sub(" ", m[0]), lint.read(name))
    lines = lint.read(name).split("\n")
    found = []
    for match in re.finditer(rf"(?<![\w.>]){pattern}\(", text):
        number = text.count("\n", 0, match.start()) + 1
        why = judge(arguments(text, match.end()))
        if why and "lint: allow" not in lines[number - 1]:
            found.append(f"{name}:{number}: {why}")
    return found


def main():
    """One point for each call."""
    points = lint.Points()
    names = [n for n in lint.c_files() if n.startswith(FOLDERS)]
    for call, flag in CAN.items():
        def lacks(given, call=call, flag=flag):
            return None if re.search(flag, given) else f"{call}: add {flag}"
        points.report(f"{call} closes on exec",
                      [c for n in names for c in complaints(n, call, lacks)])
    for call, instead in CANNOT.items():
        def wrong(_, call=call, instead=instead):
            return f"{call}: use {instead}"
        points.report(f"nothing calls {call}",
                      [c for n in names for c in complaints(n, call, wrong)])
    points.finish()


main()
