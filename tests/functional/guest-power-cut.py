#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU dies while the guest writes; the daemon goes on, nothing that the guest
had flushed is lost, and the next guest, with another ring format and another
number of queues, is served by the same daemon."""

import harness

ROUNDS = 12
CHUNK = 256 * 1024


def body(bench):
    """Two boots on one daemon."""
    export = harness.daemon.Export("e0", bench.image("disk"), "native", 4)
    flushed = []

    def watch(kind, text):
        if kind == "DURABLE":
            flushed.append(int(text))
        return len(flushed) >= ROUNDS

    with bench.daemon([export]) as server:
        first = harness.machine.Disk(server.sockets[0], 4, False)
        bench.boot([first], ["endless"], watch=watch)
        bench.expect(f"the guest came to {ROUNDS} flushed chunks", ROUNDS, len(flushed))
        bench.check("the daemon lives on", server.alive(), server.tail())
        for chunk in flushed:
            bench.on_image(f"host: flushed chunk {chunk} is in the image", export.image,
                           f"verify,offset={chunk * CHUNK},bytes={CHUNK},"
                           f"block={CHUNK},seed={100 + chunk}")
        second = harness.machine.Disk(server.sockets[0], 2, True)
        bench.boot([second], ["survivor", "reload"],
                   settings={"CHUNKS": len(flushed), "WCE": int(bench.is_vblk)})
        bench.stop(server)


harness.main(body)
