/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The way of native requests that would wait in io_submit(): a worker calls it
 * for them. One detour for each file and context, kept in its NowaitMap.
 * Private to linux-aio.c and nowait.c. All functions: Context: home.
 */
#ifndef BLOCK_ENGINE_LINUX_AIO_DETOUR_H
#define BLOCK_ENGINE_LINUX_AIO_DETOUR_H

#include "engine-internal.h"

typedef struct LaioDetour LaioDetour;

/* @queue and @id are of the engine. */
LaioDetour *laio_detour_new(SubmitQueue *queue, io_context_t id);
/* No request of its file is under way. NULL: does nothing. */
void laio_detour_free(LaioDetour *detour);

/* Takes a request whose iocb is ready and may wait. What io_submit() refuses
 * goes to the threads engine. */
void laio_detour_submit(LaioDetour *detour, EngineRequest *req);

/*
 * @req is complete with @res. Returns whether that has to wait for the worker:
 * the last request of a batch is not over before the batch is, so that nobody
 * takes the file away under it.
 */
bool laio_detour_holds(LaioDetour *detour, const EngineRequest *req,
                       ssize_t res);

/* Where the file's detour is kept; NULL at first. In nowait.c. */
LaioDetour **nowait_map_detour(NowaitMap *map);

#endif
