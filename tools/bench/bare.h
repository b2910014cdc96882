/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the two bare engines share: the file, the buffers, the queues' places.
 * Private to bare*.c.
 */
#ifndef TOOLS_BENCH_BARE_H
#define TOOLS_BENCH_BARE_H

#include "disk.h"

typedef struct BareQueue {
    BenchQueue queue;
    int fd;
    BenchIo *ios;
    uint8_t *data;
    size_t data_bytes;     /* of all ios */
    bool fixedbufs;
} BareQueue;

typedef struct BareEngine {
    const BenchQueueOps *ops;
    size_t queue_size;     /* of what starts with a BareQueue */
    bool (*init)(BareQueue *queue, GError **error);
    void (*fini)(BareQueue *queue); /* also after a failed init */
} BareEngine;

extern const BareEngine bare_libaio;
extern const BareEngine bare_io_uring;

/* Sets io->error from what the kernel returned. */
void bare_set_result(BenchIo *io, int64_t res);

/* "WHAT: strerror"; returns false. */
bool bare_fail(const char *what, int err, GError **error);

#endif
