#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""One daemon serves disks of different kinds to one guest: a plain one, a
read-only one, one through the host's page cache, and one of 4096-byte sectors
that writes through and has a serial number."""

import harness

PREPARED = "bytes=4M,block=1M,seed=21"


def make_exports(bench):
    """In the order in which the guest sees them: vda to vdd."""
    extra = {"logical-block-size": 4096, "writethrough": True}
    if bench.is_vblk:
        extra["serial"] = "vblk-disk-d"
    return [
        harness.daemon.Export("plain", bench.image("plain"), "io_uring", 2),
        harness.daemon.Export("readonly", bench.image("readonly", 8 * harness.MIB),
                              "native", writable=False),
        harness.daemon.Export("buffered", bench.image("buffered"), "threads",
                              direct=False),
        harness.daemon.Export("large", bench.image("large"), "native", export=extra),
    ]


def body(bench):
    """One boot, then the images."""
    exports = make_exports(bench)
    readonly = exports[1].image
    bench.on_image("host: the read-only image is prepared", readonly, f"write,{PREPARED}")
    with open(readonly, "rb") as f:
        before = f.read()
    with bench.daemon(exports) as server:
        disks = [harness.machine.Disk(s, e.queues)
                 for s, e in zip(server.sockets, exports)]
        result = bench.boot(disks, ["facts", "exports"])
        if bench.is_vblk:
            figures = server.stats_on_signal()
            bench.expect("SIGUSR1 prints the figures of every export",
                         sorted(e.name for e in exports), sorted(figures))
        else:
            bench.skip("SIGUSR1 prints the figures of every export", "not vblk")
        bench.stop(server)
    values = result.values
    bench.expect("vdb is read-only", "1", values.get("vdb.ro"))
    bench.expect("vdd has sectors of 4096 bytes", "4096",
                 values.get("vdd.logical_block_size"))
    bench.expect("vdd writes through", "write through", values.get("vdd.write_cache"))
    if bench.is_vblk:
        bench.expect("vda has a write-back cache", "write back",
                     values.get("vda.write_cache"))
        bench.expect("vdd has its serial number", "vblk-disk-d", values.get("vdd.serial"))
    with open(readonly, "rb") as f:
        bench.check("host: the read-only image is as it was", f.read() == before)
    for export, seed in (exports[0], 31), (exports[2], 32), (exports[3], 33):
        bench.on_image(f"host: the image of '{export.name}' holds what the guest wrote",
                       export.image, f"verify,bytes=8M,block=1M,seed={seed}")


harness.main(body)
