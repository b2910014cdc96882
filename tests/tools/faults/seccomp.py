# SPDX-License-Identifier: GPL-2.0-or-later
"""A seccomp filter that has chosen system calls fail, as a container's does."""

import ctypes
import errno
import platform
import struct

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, MODE_FILTER = 22, 38, 2
LOAD, JUMP_EQUAL, JUMP_GREATER, RETURN = 0x20, 0x15, 0x25, 0x06
ERRNO, ALLOW = 0x00050000, 0x7fff0000
OFFSET_NR, OFFSET_ARG0 = 0, 16
CALLS = {"io_setup": 206, "io_uring_setup": 425, "io_uring_enter": 426}


def available():
    """The numbers above are those of one kind of processor."""
    return platform.machine() == "x86_64"


class Program(ctypes.Structure):
    """struct sock_fprog"""
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def refuse(rules):
    """For preexec_fn: (call, errno's name) or (call, errno's name, limit), the
    latter if the first argument is greater than that."""
    code = []
    for call, name, *limit in rules:
        verdict = (RETURN, 0, 0, ERRNO | getattr(errno, name))
        tail = [verdict]
        if limit:
            tail = [(LOAD, 0, 0, OFFSET_ARG0), (JUMP_GREATER, 0, 1, limit[0]), verdict]
        code += [(LOAD, 0, 0, OFFSET_NR), (JUMP_EQUAL, 0, len(tail), CALLS[call]), *tail]
    code.append((RETURN, 0, 0, ALLOW))
    text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *c) for c in code))
    program = Program(len(code), ctypes.addressof(text))

    def install(_keep=text):
        if (LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 or
                LIBC.prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(program), 0, 0) < 0):
            raise OSError(ctypes.get_errno(), "seccomp")
    return install
