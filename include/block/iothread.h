/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IOThread: a thread that runs one AioContext until it is freed. Made and
 * freed by the main thread (--object iothread).
 */
#ifndef BLOCK_IOTHREAD_H
#define BLOCK_IOTHREAD_H

#include "block/aio.h"

typedef struct IOThread IOThread;

/*
 * Starts a thread named after @id. Returns once it runs, or NULL with @error.
 * Context: main
 */
IOThread *iothread_new(const char *id, const AioParams *params,
                       GError **error);

/* Stops the loop, destroys the context in its thread, joins. Nothing may be
 * attached to it any more. Waits for each other IOThread to come round once,
 * which may just have scheduled something there. Context: main */
void iothread_free(IOThread *iothread);

const char *iothread_id(const IOThread *iothread);     /* Context: any */
AioContext *iothread_context(const IOThread *iothread); /* Context: any */

G_DEFINE_AUTOPTR_CLEANUP_FUNC(IOThread, iothread_free)

#endif
