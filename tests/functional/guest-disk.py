#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A Linux guest uses two disks: block I/O on one, a file system on the other.

Arguments: engine (threads, native, io_uring), number of queues, ring format
(split, packed). With several queues they are spread over two IOThreads.
"""

import sys

import harness


def check_facts(bench, values, queues, packed):
    """What the guest's driver made of the device."""
    for disk in "vda", "vdb":
        bench.expect(f"{disk} has {queues} queues", str(queues),
                     values.get(f"{disk}.queues"))
        if bench.is_vblk:
            bench.expect(f"{disk} has a write-back cache", "write back",
                         values.get(f"{disk}.write_cache"))
            bench.expect(f"{disk} has the ring that was asked for",
                         "1" if packed else "0", values.get(f"{disk}.packed"))


def check_stats(bench, stats):
    """The figures must be there, and show that requests were batched."""
    if not bench.is_vblk:
        return
    for name in "io", "fs":
        figures = stats.get(name, {})
        bench.note(f"{name}: {figures}")
        bench.check(f"{name}: reads, writes and flushes were counted",
                    all(figures.get(k, 0) > 0 for k in ("reads", "writes", "flushes")),
                    figures)
        bench.expect(f"{name}: no request failed", 0, figures.get("errors"))
    figures = stats.get("io", {})
    bench.check("neighbouring requests were merged", figures.get("merged", 0) > 0, figures)
    bench.check("there are fewer submit calls than requests",
                0 < figures.get("submit_calls", 0) < figures.get("requests", 0), figures)


def body(bench):
    """One boot, then the images."""
    engine, queues, packed = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "packed"
    iothreads = min(queues, 2 if bench.is_vblk else 1)
    exports = [harness.daemon.Export(name, bench.image(name), engine, queues,
                                     iothreads=iothreads) for name in ("io", "fs")]
    with bench.daemon(exports) as server:
        disks = [harness.machine.Disk(s, queues, packed) for s in server.sockets]
        result = bench.boot(disks, ["facts", "io", "filesystem"])
        stats = bench.stop(server)
    check_facts(bench, result.values, queues, packed)
    check_stats(bench, stats)
    bench.on_image("host: the image holds what the guest wrote", exports[0].image,
                   "verify,bytes=16M,block=1M,seed=7",
                   "verify,offset=32M,bytes=8M,block=1M,seed=9",
                   "zeros,offset=40M,bytes=2M,block=1M")
    bench.fsck(exports[1].image)


harness.main(body)
