#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters below an export, from the guest's side: throttling, errors made by
blkdebug, differences found by blkverify.

Of time only that nothing is faster than its limit is asserted.

Usage: test-nodes.py DAEMON VBLK-BENCH
"""

import json
import os
import re
import shlex
import subprocess
import sys

sys.path.insert(0, os.path.dirname(sys.path[0]))
from cases import case, main  # noqa: E402 pylint: disable=wrong-import-position

DAEMON, BENCH = (os.path.abspath(path) for path in sys.argv[1:3])
EXPORT = ("--export", "vhost-user-blk,id=e,node-name=n,writable=on,"
          "addr.type=unix,addr.path={socket}")


def bench(daemon_options, *job):
    server = shlex.join([DAEMON, *daemon_options])
    return subprocess.run([BENCH, "--server=" + server, "--eta=never",
                           "--output-format=json", *job],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=120,
                          check=False)


def runtime_ms(result):
    """How long the slowest job took."""
    assert result.returncode == 0, result.stderr
    jobs = json.loads(result.stdout)["jobs"]
    return max(job[way]["runtime"] for job in jobs for way in ("read", "write"))


def fails(pattern, result):
    assert result.returncode == 1, (result.returncode, result.stdout)
    assert re.search(pattern, result.stderr), result.stderr


def throttled(limits, file="file.driver=null-co"):
    return ("--object", "throttle-group,id=g," + limits,
            "--blockdev", f"throttle,node-name=n,throttle-group=g,{file}",
            *EXPORT)


@case
def throttle_operations():
    # 10 and one go at once, 60 - 11 need 10 ms each
    took = runtime_ms(bench(throttled("limits.iops-total=100"),
                            "--rw=randrw", "--iodepth=4", "--number_ios=60"))
    assert took >= 480, took


@case
def throttle_bytes():
    # 100 ms' worth and one go at once: 320 - 26 * 4k at 1M a second
    took = runtime_ms(bench(throttled("x-bps-read=1048576"), "--rw=randread",
                            "--iodepth=8", "--number_ios=320"))
    assert took >= 1130, took


@case
def throttle_queues_together():
    options = throttled("x-iops-total=200")
    options = (*options[:-1], options[-1] + ",iothread.0=t0,iothread.1=t1")
    took = runtime_ms(bench(("--object", "iothread,id=t0",
                             "--object", "iothread,id=t1", *options),
                            "--rw=randread", "--iodepth=4", "--numjobs=2",
                            "--number_ios=60", "--poll=off"))
    assert took >= 490, took


@case
def throttle_does_not_hang_at_the_end():
    # the guest leaves with requests in the queue; the daemon ends by itself
    result = bench(throttled("x-iops-total=20"), "--rw=randread",
                   "--iodepth=16", "--runtime=100ms")
    assert result.returncode == 0, result.stderr


@case
def blkdebug_fails_a_sector():
    options = ("--blockdev", "blkdebug,node-name=n,image.driver=null-co,"
               "inject-error.event=none,inject-error.sector=24,"
               "inject-error.iotype=read", *EXPORT)
    fails("read of 4096 bytes at offset 12288: I/O error",
          bench(options, "--rw=read", "--size=1M"))
    assert bench(options, "--rw=write", "--size=1M").returncode == 0


@case
def blkverify_ends_the_daemon():
    with open("raw.img", "wb") as raw, open("test.img", "wb") as test:
        raw.truncate(1 << 20)
        test.truncate(1 << 20)
        test.seek(40960)
        test.write(b"x")
    options = ("--blockdev", "blkverify,node-name=n,"
               "raw.driver=file,raw.filename=raw.img,test.driver=raw,"
               "test.file.driver=file,test.file.filename=test.img",
               "--pidfile", "pid", *EXPORT)
    assert bench(options, "--rw=read", "--size=40k").returncode == 0
    fails("ended with status 1: blkverify: read offset=40960 bytes=4096 "
          "contents mismatch at offset 40960",
          bench(options, "--rw=read", "--size=1M"))
    assert not os.path.exists("pid")
    # a write of everything makes them the same
    assert bench(options, "--rw=write", "--size=1M",
                 "--verify=pattern").returncode == 0
    with open("raw.img", "rb") as raw, open("test.img", "rb") as test:
        assert raw.read() == test.read()


if __name__ == "__main__":
    sys.exit(main())
