/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a protocol node keeps for each AioContext that submits to it: engine
 * pointers, queues. Found by every request, changed when a channel comes or
 * goes. Private to block/protocol.
 *
 * Entries are linked once and stay until the node is closed, so that a thread
 * looking for its own never meets freed memory. Attaching is serialised by
 * the main thread, which waits for each; what is in an entry is touched by
 * its home thread alone.
 */
#ifndef BLOCK_PROTOCOL_HOME_LIST_H
#define BLOCK_PROTOCOL_HOME_LIST_H

#include "block/aio.h"

/* First member of the owner's structure. */
typedef struct HomeEntry {
    AioContext *ctx; /* NULL: free; relaxed atomic, see home_list_find() */
    unsigned refs;   /* channels */
    struct HomeEntry *next; /* fixed once linked */
} HomeEntry;

typedef struct HomeList {
    HomeEntry *head; /* released by attach, acquired by find */
} HomeList;

/*
 * The entry of @ctx, made with @size zeroed bytes when it is the context's
 * first; then *first is set and the owner initialises what it adds.
 * Context: home of @ctx, one context at a time
 */
void *home_list_attach(HomeList *list, AioContext *ctx, size_t size,
                       bool *first);

/* Drops one reference. Returns the entry when it was the last, for its owner
 * to clean up at once; else NULL. Context: home of @ctx */
void *home_list_detach(HomeList *list, AioContext *ctx);

/* Nothing is attached any more. Context: main */
void home_list_free(HomeList *list);

/*
 * The entry of the calling thread's context, which is attached. An entry
 * whose ctx equals ours was written by this thread, so that relaxed loads of
 * it are enough; the acquire makes other threads' entries safe to walk over.
 * Context: home of @ctx
 */
static inline void *home_list_find(HomeList *list, const AioContext *ctx)
{
    HomeEntry *entry = __atomic_load_n(&list->head, __ATOMIC_ACQUIRE);

    while (entry && __atomic_load_n(&entry->ctx, __ATOMIC_RELAXED) != ctx) {
        entry = entry->next;
    }
    return entry;
}

#endif
