/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changes how an open image is accessed and cached. Called by the tools: a
 * commit makes the backing file writable for the time it takes.
 *
 * How it works: from the node down through its files, never its backing
 * files. Who is to be written through is opened for that before who writes;
 * who writes stops before his file is closed to it. When a node refuses,
 * those that have changed are changed back.
 */
#include "block/graph.h"

#include "block/driver.h"
#include "block/image.h"
#include "range-lock.h"

#define REOPEN_FLAGS \
    (BDRV_OPEN_READ_ONLY | BDRV_OPEN_DIRECT | BDRV_OPEN_NO_FLUSH)

static unsigned current_flags(const BlockDriverState *bs)
{
    return (bs->read_only ? BDRV_OPEN_READ_ONLY : 0) |
           (bs->cache_direct ? BDRV_OPEN_DIRECT : 0) |
           (bs->cache_no_flush ? BDRV_OPEN_NO_FLUSH : 0);
}

/* Alignment may have come with O_DIRECT, and writes that do not have it. */
static void need_range_lock(BlockDriverState *bs)
{
    if (!bs->read_only && !bs->range_lock &&
        bs->limits.request_alignment > 1) {
        bs->range_lock = range_lock_new();
    }
}

static bool reopen_self(BlockDriverState *bs, unsigned flags, GError **error)
{
    if (bs->drv->reopen && !bs->drv->reopen(bs, flags, error)) {
        return false;
    }
    bs->read_only = flags & BDRV_OPEN_READ_ONLY;
    bs->cache_direct = flags & BDRV_OPEN_DIRECT;
    bs->cache_no_flush = flags & BDRV_OPEN_NO_FLUSH;
    need_range_lock(bs);
    return true;
}

static bool reopen_tree(BlockDriverState *bs, unsigned flags, GError **error);

/* Back as they were, the first @n of them. */
static void undo_children(BlockDriverState *bs, const unsigned *old,
                          unsigned n)
{
    for (unsigned i = n; i > 0; i--) {
        BlockDriverState *child = bs->children->pdata[i - 1];

        if (child != bs->backing) {
            reopen_tree(child, old[i - 1], NULL);
        }
    }
}

static bool reopen_children(BlockDriverState *bs, unsigned flags,
                            const unsigned *old, GError **error)
{
    for (unsigned i = 0; i < bs->children->len; i++) {
        BlockDriverState *child = bs->children->pdata[i];

        if (child != bs->backing && !reopen_tree(child, flags, error)) {
            undo_children(bs, old, i);
            return false;
        }
    }
    return true;
}

static unsigned *children_flags(const BlockDriverState *bs)
{
    unsigned *flags = g_new(unsigned, bs->children->len + 1);

    for (unsigned i = 0; i < bs->children->len; i++) {
        flags[i] = current_flags(bs->children->pdata[i]);
    }
    return flags;
}

/* Depth is that of the graph, which open has bounded. */
static bool reopen_tree(BlockDriverState *bs, unsigned flags, GError **error)
{
    g_autofree unsigned *old_children = children_flags(bs);
    unsigned old = current_flags(bs);

    if (flags & BDRV_OPEN_READ_ONLY) {
        if (!reopen_self(bs, flags, error)) {
            return false;
        }
        if (!reopen_children(bs, flags, old_children, error)) {
            reopen_self(bs, old, NULL);
            return false;
        }
        return true;
    }
    if (!reopen_children(bs, flags, old_children, error)) {
        return false;
    }
    if (!reopen_self(bs, flags, error)) {
        undo_children(bs, old_children, bs->children->len);
        return false;
    }
    return true;
}

bool bdrv_reopen(BlockDriverState *bs, unsigned flags, GError **error)
{
    unsigned tree_flags = flags & REOPEN_FLAGS;

    if (tree_flags != current_flags(bs) &&
        !reopen_tree(bs, tree_flags, error)) {
        return false;
    }
    bs->discard_unmap |= flags & BDRV_OPEN_DISCARD;
    return true;
}
