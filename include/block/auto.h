/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * aio=auto: which engine is right for which request of a file.
 *
 * The engine of type ENGINE_AUTO sends each request to one of the others. What
 * it goes by is an AutoFile: one for each file and context, made by the
 * protocol driver from what it found out when it opened the file.
 */
#ifndef BLOCK_AUTO_H
#define BLOCK_AUTO_H

#include "block/aio.h"

typedef struct AutoFile AutoFile;

typedef struct AutoFacts {
    const char *name; /* for the trace; borrowed as long as the AutoFile is */
    bool direct;      /* not through the page cache */
    bool nowait;      /* direct, and knows RWF_NOWAIT */
    bool in_memory;   /* a transfer is a copy from memory */
    bool is_device;   /* a block device */
} AutoFacts;

/* Makes those engines that the file needs now. Never fails: where the kernel
 * refuses one, others do. Context: home of @ctx */
AutoFile *auto_file_new(AioContext *ctx, const AutoFacts *facts);

/*
 * Files opened from then on have their rings made at once, where else one that
 * is tried later is made then: for a process that is about to be confined, and
 * may make none afterwards. Linux AIO it may still set up. Context: any
 */
void auto_make_rings_early(void);

/* No request of it is under way. Context: home */
void auto_file_free(AutoFile *file);

/*
 * For --trace: turns on lines in the log that say what is decided, and why, for
 * the files opened from then on. Returns false unless @event, with "enable=" in
 * front or not, is the name of that: "auto". Context: any
 */
bool auto_trace_enable(const char *event);

#endif
