#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts that are short of something: io_uring is forbidden, Linux AIO's
requests or locked memory are used up, there is little memory at all. Programs
say in a line what is missing, and end or do without; what is served is right.

Usage: test-shortage.py DAEMON VBLK_BENCH VBLK_IMG VBLK_IO [CASE...]
"""

import functools
import os
import re
import resource
import signal
import subprocess
import sys

import seccomp

sys.path.insert(0, os.path.dirname(sys.path[0]))
# pylint: disable=wrong-import-position
import cases
from cases import Skip
from processes import listens, until

DAEMON, BENCH, IMG, IO = (os.path.abspath(path) for path in sys.argv[1:5])
TIMEOUT = 60
PR_CAPBSET_DROP, CAP_IPC_LOCK = 24, 14
NOBODY = 65534
MIB = 1 << 20


def case(function):
    """A test by the name of its function, with an image."""
    @cases.case
    @functools.wraps(function)
    def with_image():
        with open("a.img", "wb") as file:
            file.truncate(8 * MIB)
        function()


def node(aio):
    """The command line's beginning."""
    return ["--blockdev", f"driver=file,node-name=n,filename=a.img,aio={aio},"
            "cache.direct=on,discard=unmap"]


def command(aio):
    """A daemon with one disk on two IOThreads."""
    return [DAEMON, "--object", "iothread,id=t0", "--object", "iothread,id=t1",
            *node(aio), "--export", "vhost-user-blk,id=e,node-name=n,writable=on,"
            "num-queues=2,iothread.0=t0,iothread.1=t1,addr.type=unix,addr.path=s"]


def wait_for(process):
    """Until it serves or has ended; whether it serves."""
    until(lambda: process.poll() is not None or listens("s"), "service, or an end")
    return process.poll() is None


def load(**more):
    """A verifying load on the daemon."""
    return subprocess.run(
        [BENCH, "--socket=s", "--rw=randrw", "--verify=pattern", "--iodepth=16",
         "--numjobs=2", "--number_ios=1500", "--bs=8k", "--eta=never", "--syscalls=off",
         f"--timeout={TIMEOUT}s"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, timeout=2 * TIMEOUT, check=False, **more)


def start(aio, preexec):
    """The daemon, in trouble from the beginning."""
    return subprocess.Popen(command(aio), stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                            text=True, preexec_fn=preexec)


def end(process):
    """What it said, when it has ended because it was asked to."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.communicate(timeout=TIMEOUT)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def serves(aio, preexec, *warnings, perhaps=()):
    """It serves what is right, and says no more than these."""
    with start(aio, preexec) as process:
        try:
            assert wait_for(process), process.stderr.read()
            result = load()
        finally:
            errors = end(process)
    assert result.returncode == 0, result.stderr
    assert process.returncode == 0, (process.returncode, errors)
    lines = errors.splitlines()
    warnings = warnings or perhaps[:len(lines)]
    assert len(lines) == len(warnings), errors
    for line, pattern in zip(lines, warnings):
        assert re.search(pattern, line), line


def refused(words, preexec, pattern):
    """It ends with status 1 and one line."""
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=TIMEOUT,
                          check=False, preexec_fn=preexec)
    lines = done.stderr.splitlines()
    assert done.returncode == 1, (done.returncode, done.stderr)
    assert len(lines) == 1 and re.search(pattern, lines[0]), done.stderr


def filtered(*rules):
    """A seccomp filter."""
    if not seccomp.available():
        raise Skip("the numbers of system calls are those of x86-64")
    return seccomp.refuse(rules)


# --- io_uring is forbidden ---

FORBIDDEN = {
    "EPERM": r"io_uring_setup: Operation not permitted \(forbidden by a seccomp profile "
             r"or by the sysctl kernel\.io_uring_disabled\)$",
    "ENOSYS": r"io_uring_setup: Function not implemented \(the kernel lacks io_uring, "
              r"or a seccomp profile hides it\)$",
}


@case
def io_uring_forbidden_is_said():
    for name, why in FORBIDDEN.items():
        rules = filtered(("io_uring_setup", name))
        why = "Unable to use io_uring: " + why
        refused(command("io_uring"), rules, "blockdev 'n': " + why)
        refused([IMG, "bench", "-c", "1", "-i", "io_uring", "-f", "raw", "a.img"], rules,
                "Could not open 'a.img': " + why)
        refused([IO, "-i", "io_uring", "-f", "raw", "-c", "read 0 512", "a.img"], rules,
                "a.img.*" + why)


@case
def io_uring_forbidden_halfway():
    for name in FORBIDDEN:
        refused(command("io_uring"), filtered(("io_uring_enter", name)),
                "Unable to use io_uring: io_uring_enter: ")


@case
def auto_does_without_io_uring():
    for call in "io_uring_setup", "io_uring_enter":
        for name in FORBIDDEN:
            serves("auto", filtered((call, name)))


@case
def auto_does_without_any():
    serves("auto", filtered(("io_uring_setup", "EPERM"), ("io_setup", "ENOSYS")),
           *["warning: .*aio=auto"] * 2)


# --- Linux AIO's requests are used up ---

@case
def aio_max_nr_used_up():
    serves("native", filtered(("io_setup", "EAGAIN")),
           *["warning: aio=native: io_setup: .*aio-max-nr.*; using aio=threads instead$"] * 2)
    serves("auto", filtered(("io_setup", "EAGAIN")))


@case
def aio_max_nr_nearly_used_up():
    serves("native", filtered(("io_setup", "EAGAIN", 128)))


# --- locked memory is used up ---

def no_locked_memory():
    """For preexec_fn."""
    seccomp.LIBC.prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


NO_LOCKED_MEMORY = [
    r"warning: aio=io_uring: io_uring_setup: Cannot allocate memory \(raise the "
    r"locked memory limit, ulimit -l\); using aio=threads instead$"] * 2


@case
def no_locked_memory_at_all():
    """Not all kernels count rings as locked: then nothing is said."""
    if os.getuid() != 0:
        raise Skip("not root: CAP_IPC_LOCK cannot be dropped")
    os.chmod(".", 0o777)
    os.chmod("a.img", 0o666)
    serves("io_uring", no_locked_memory, perhaps=NO_LOCKED_MEMORY)
    serves("native", no_locked_memory)
    serves("auto", no_locked_memory)


@case
def io_uring_has_no_memory():
    serves("io_uring", filtered(("io_uring_setup", "ENOMEM")),
           *NO_LOCKED_MEMORY)
    serves("auto", filtered(("io_uring_setup", "ENOMEM")))


# --- there is little memory at all ---

OUT_OF_MEMORY = re.compile(r"failed to (allocate|map)|[Cc]annot allocate|"
                           r"Resource temporarily unavailable|Error creating thread")


def limited(bytes_):
    """For preexec_fn."""
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (bytes_, bytes_))


def under_limit(aio, mib):
    """Starts, or says what it lacks; serves right, or ends. What it did."""
    with start(aio, limited(mib * MIB)) as process:
        ready = wait_for(process)
        result = load() if ready else None
        errors = end(process)
    if process.returncode != 0:
        # GLib's last words take memory as well, until the stack is full
        assert OUT_OF_MEMORY.search(errors) or process.returncode == -signal.SIGSEGV, \
            (mib, process.returncode, errors)
        return "ended while it served" if ready else "ended"
    assert ready
    if result.returncode != 0:
        assert "expected" not in result.stderr and "verify" not in result.stderr, \
            (mib, result.stderr)
        return "served in part"
    return "served"


@case
def little_memory():
    """More and more of it, until all is well."""
    with open(DAEMON, "rb") as file:
        if b"__asan_init" in file.read() or b"__tsan_init" in file.read():
            raise Skip("sanitizers want address space without end")
    for aio in "threads", "native", "io_uring":
        seen = {}
        for mib in (*range(8, 56, 8), *range(56, 120, 2), *range(120, 1000, 20)):
            what = under_limit(aio, mib)
            seen.setdefault(what, []).append(mib)
            if what == "served" and len(seen[what]) == 3:
                break
        assert "served" in seen, seen
        cases.NOTES.append(f"{aio}: " + ", ".join(
            f"{what} at {at[0]} to {at[-1]} MiB ({len(at)})" for what, at in seen.items()))


sys.exit(cases.main(sys.argv[5:]))
