/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finds free host clusters and makes them used. All of it under s->lock.
 *
 * The one rule: what was found free is so only until the next call that may
 * make a refcount block, as that takes clusters, too. So the blocks for a
 * range are made first, and when one had to be, the search begins anew.
 *
 * How long a search takes is up to the image: it lets others in between. No
 * two regions of the file have one block, or 8 MiB of a table could make a
 * search of years out of one block without a free cluster: a search that gets
 * far looks whether that is so.
 */
#include "qcow2-write.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "block/debug.h"
#include "block/log.h"
#include "block/thread-pool.h"

/* --- finding --- */

#define COUNTS_AT_A_TIME 65536 /* a tenth of a millisecond or so */
#define FAR_BLOCKS 16

/* A search on its way upwards. */
typedef struct Search {
    uint64_t min, max;
    uint64_t start;      /* of the run of free clusters that ends at next */
    uint64_t next;       /* to be looked at */
    uint64_t first_free; /* the first one seen, part of a run or not */
    unsigned counts_left; /* to look at until others are let in */
    unsigned blocks;      /* gone through to the end */
    bool seen;
    bool done;
} Search;

/* The next @clusters are free. */
static void search_free(Search *search, uint64_t clusters)
{
    if (!search->seen) {
        search->seen = true;
        search->first_free = search->next;
    }
    search->next += clusters;
    if (search->next - search->start >= search->max) {
        search->next = search->start + search->max;
        search->done = true;
    }
}

/* The next cluster is in use. */
static void search_used(Search *search)
{
    if (search->next - search->start >= search->min) {
        search->done = true;
        return;
    }
    search->next++;
    search->start = search->next;
}

static void search_counts(const Qcow2State *s, Search *search,
                          const void *block, uint64_t end)
{
    uint64_t mask = (1ULL << s->refcount_block_bits) - 1;

    while (!search->done && search->next < end) {
        if (qcow2_refcount_at(s, block, search->next & mask) == 0) {
            search_free(search, 1);
        } else {
            search_used(search);
        }
    }
}

static void coroutine_fn search_block(const Qcow2State *s, Search *search,
                                      const void *block, uint64_t end)
{
    while (!search->done && search->next < end) {
        uint64_t from = search->next;

        search_counts(s, search, block,
                      MIN(end, from + search->counts_left));
        search->counts_left -= search->next - from;
        if (search->counts_left == 0) {
            coroutine_give_way();
            search->counts_left = COUNTS_AT_A_TIME;
        }
    }
}

/* --- blocks of their own --- */

typedef struct Distinct {
    ThreadPoolWork work;
    Coroutine *co;
    uint64_t *offsets;
    size_t count;
    uint64_t twice; /* an offset, or 0 */
} Distinct;

static int compare_offsets(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* In a worker, as there may be a million. */
static int distinct_fn(ThreadPoolWork *work)
{
    Distinct *d = (Distinct *)work;

    qsort(d->offsets, d->count, sizeof(uint64_t), compare_offsets);
    for (size_t i = 1; i < d->count && !d->twice; i++) {
        if (d->offsets[i] == d->offsets[i - 1]) {
            d->twice = d->offsets[i];
        }
    }
    return 0;
}

static void distinct_cb(ThreadPoolWork *work, int ret)
{
    coroutine_enter(((Distinct *)work)->co);
}

static int coroutine_fn check_distinct(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    Distinct d = {
        .work = { .fn = distinct_fn, .cb = distinct_cb },
        .co = coroutine_self(),
        .offsets = g_try_new(uint64_t, s->reftable_entries),
    };

    if (!d.offsets) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < s->reftable_entries; i++) {
        uint64_t offset = s->reftable[i] & QCOW2_REFTABLE_OFFSET;

        if (offset) {
            d.offsets[d.count++] = offset;
        }
    }
    thread_pool_submit(thread_pool_get(aio_context_current()), &d.work);
    coroutine_yield();
    g_free(d.offsets);
    if (d.twice) {
        qcow2_co_signal_corruption(bs, true, d.twice,
                                   "Refcount block at %#" PRIx64 " is in the "
                                   "refcount table more than once", d.twice);
        return -EIO;
    }
    s->refblocks_distinct = true;
    return 0;
}

/* --- region by region --- */

/* Up to the end of the region of one refcount block. */
static int coroutine_fn search_region(BlockDriverState *bs, Search *search)
{
    Qcow2State *s = bs->opaque;
    uint64_t end = ((search->next >> s->refcount_block_bits) + 1)
                   << s->refcount_block_bits;
    int64_t offset = qcow2_co_refblock_offset(bs, search->next);
    void *block;
    int ret;

    if (offset < 0) {
        return offset;
    }
    if (offset == 0) {
        search_free(search, end - search->next);
        return 0;
    }
    ret = qcow2_cache_get(s->refcount_cache, offset, &block);
    if (ret < 0) {
        return ret;
    }
    search_block(s, search, block, end);
    qcow2_cache_put(s->refcount_cache, &block);
    if (++search->blocks == FAR_BLOCKS && !s->refblocks_distinct) {
        return check_distinct(bs);
    }
    return 0;
}

int coroutine_fn qcow2_co_find_free(BlockDriverState *bs, uint64_t min,
                                    uint64_t max, Qcow2Found *found)
{
    Qcow2State *s = bs->opaque;
    Search search = {
        .min = min,
        .max = max,
        .start = s->free_hint,
        .next = s->free_hint,
        .counts_left = COUNTS_AT_A_TIME,
    };

    while (!search.done) {
        int ret = search_region(bs, &search);

        if (ret < 0) {
            return ret;
        }
        if (search.start + min > qcow2_max_cluster(s)) {
            return -EFBIG;
        }
    }
    s->free_hint = search.first_free;
    found->first = search.start;
    found->clusters = MIN(search.next, qcow2_max_cluster(s)) - search.start;
    return 0;
}

void qcow2_note_free(BlockDriverState *bs, uint64_t cluster)
{
    Qcow2State *s = bs->opaque;
    Qcow2WriteState *w = s->write;
    uint64_t offset = cluster << s->cluster_bits;

    s->free_hint = MIN(s->free_hint, cluster);
    qcow2_freed_cluster(bs, cluster);
    qcow2_cache_forget(s->l2_cache, offset, s->cluster_size);
    qcow2_cache_forget(s->refcount_cache, offset, s->cluster_size);
    if (w->compressed_end && (w->compressed_end - 1) >> s->cluster_bits ==
                                 cluster) {
        w->compressed_end = 0;
    }
}

/* --- taking --- */

/* 1: there are new blocks, and what was free may not be any more. */
static int coroutine_fn make_refblocks(BlockDriverState *bs,
                                       const Qcow2Found *found)
{
    Qcow2State *s = bs->opaque;
    uint64_t step = 1ULL << s->refcount_block_bits;
    uint64_t end = found->first + found->clusters;
    uint64_t at = found->first;
    int made = 0;

    while (at < end) {
        int ret = qcow2_co_make_refblock(bs, at);

        if (ret < 0) {
            return ret;
        }
        made |= ret;
        at = (at & ~(step - 1)) + step;
    }
    return made;
}

/* What the refcounts call free must not be a table all the same. */
static int coroutine_fn check_free(BlockDriverState *bs,
                                   const Qcow2Found *found)
{
    Qcow2State *s = bs->opaque;

    if (found->first == 0) {
        qcow2_co_signal_corruption(bs, true, -1,
                                   "Preventing invalid allocation of cluster "
                                   "at offset 0");
        return -EIO;
    }
    return qcow2_co_check_overlap(bs, 0, found->first << s->cluster_bits,
                                  found->clusters << s->cluster_bits);
}

int coroutine_fn qcow2_co_check_place(BlockDriverState *bs, uint64_t first,
                                      uint64_t clusters)
{
    const Qcow2State *s = bs->opaque;

    if (first + clusters > qcow2_max_cluster(s)) {
        return -EFBIG;
    }
    if (!bs->file->grows &&
        (int64_t)((first + clusters) << s->cluster_bits) >
            bs->file->total_bytes) {
        return -ENOSPC;
    }
    return check_free(bs, &(Qcow2Found){ first, clusters });
}

static int coroutine_fn take(BlockDriverState *bs, const Qcow2Found *found)
{
    Qcow2State *s = bs->opaque;
    Qcow2RefcountChange change = {
        .first = found->first,
        .clusters = found->clusters,
        .addend = 1,
    };
    int ret = check_free(bs, found);

    if (ret == 0) {
        ret = qcow2_co_change_refcount(bs, &change);
    }
    if (ret == 0 && s->free_hint == found->first) {
        s->free_hint += found->clusters;
    }
    return ret;
}

static int coroutine_fn alloc_run(BlockDriverState *bs, uint64_t min,
                                  uint64_t max, Qcow2Found *found)
{
    int ret;

    bdrv_co_debug_event(bs->file, BLKDBG_CLUSTER_ALLOC);
    do {
        ret = qcow2_co_find_free(bs, min, max, found);
        if (ret == 0) {
            ret = make_refblocks(bs, found);
        }
    } while (ret > 0);
    return ret < 0 ? ret : take(bs, found);
}

int coroutine_fn qcow2_co_alloc_some(BlockDriverState *bs, uint64_t max,
                                     Qcow2Found *found)
{
    return alloc_run(bs, 1, max, found);
}

int64_t coroutine_fn qcow2_co_alloc_clusters(BlockDriverState *bs,
                                             uint64_t bytes)
{
    Qcow2State *s = bs->opaque;
    uint64_t clusters = qcow2_size_to_clusters(s, bytes);
    Qcow2Found found;
    int ret = alloc_run(bs, clusters, clusters, &found);
    int64_t host;

    if (ret < 0) {
        return ret;
    }
    host = found.first << s->cluster_bits;
    qcow2_co_use_clusters(bs, host, clusters << s->cluster_bits);
    return host;
}

/* How many of @clusters from @first on are free; or an errno. */
static int coroutine_fn count_free(BlockDriverState *bs, uint64_t first,
                                   uint64_t clusters, Qcow2Found *found)
{
    found->first = first;
    for (found->clusters = 0; found->clusters < clusters;
         found->clusters++) {
        uint64_t count;
        int ret = qcow2_co_get_refcount(bs, first + found->clusters, &count);

        if (ret < 0) {
            return ret;
        }
        if (count > 0) {
            break;
        }
    }
    return 0;
}

int coroutine_fn qcow2_co_alloc_clusters_at(BlockDriverState *bs,
                                            int64_t host, uint64_t *clusters)
{
    Qcow2State *s = bs->opaque;
    uint64_t first = host >> s->cluster_bits;
    Qcow2Found found;
    int ret;

    if (first >= qcow2_max_cluster(s)) {
        return -EFBIG;
    }
    *clusters = MIN(*clusters, qcow2_max_cluster(s) - first);
    do {
        ret = count_free(bs, first, *clusters, &found);
        if (ret == 0) {
            ret = make_refblocks(bs, &found);
        }
    } while (ret > 0);
    if (ret == 0 && found.clusters > 0) {
        ret = take(bs, &found);
    }
    if (ret < 0) {
        return ret;
    }
    *clusters = found.clusters;
    if (found.clusters > 0) {
        qcow2_co_use_clusters(bs, host, found.clusters << s->cluster_bits);
    }
    return 0;
}

/* --- giving back at once --- */

int coroutine_fn qcow2_co_try_free_clusters(BlockDriverState *bs, int64_t host,
                                            uint64_t bytes,
                                            Qcow2DiscardType type)
{
    const Qcow2State *s = bs->opaque;
    Qcow2RefcountChange change = {
        .first = host >> s->cluster_bits,
        .clusters = ((host + bytes - 1) >> s->cluster_bits) -
                    (host >> s->cluster_bits) + 1,
        .addend = 1,
        .decrease = true,
        .type = type,
    };

    bdrv_co_debug_event(bs->file, BLKDBG_CLUSTER_FREE);
    /* of one that is broken nothing is written any more */
    return s->broken ? 0 : qcow2_co_change_refcount(bs, &change);
}

void coroutine_fn qcow2_co_free_clusters(BlockDriverState *bs, int64_t host,
                                         uint64_t bytes,
                                         Qcow2DiscardType type)
{
    int ret = qcow2_co_try_free_clusters(bs, host, bytes, type);

    if (ret < 0) {
        log_plain("qcow2_free_clusters failed: %s", g_strerror(-ret));
    }
}

/* --- compressed clusters --- */

/* The count of each cluster that @bytes at @host touch, but for what comes
 * after @counted: that has been allocated for it. */
static int coroutine_fn share(BlockDriverState *bs, int64_t host,
                              int64_t bytes)
{
    Qcow2State *s = bs->opaque;

    return qcow2_co_change_refcount(bs, &(Qcow2RefcountChange){
        .first = host >> s->cluster_bits,
        .clusters = ((host + bytes - 1) >> s->cluster_bits) -
                    (host >> s->cluster_bits) + 1,
        .addend = 1 });
}

/* Behind the last compressed cluster, if there is room. 0: there is none. */
static int64_t coroutine_fn alloc_behind(BlockDriverState *bs, unsigned bytes)
{
    Qcow2State *s = bs->opaque;
    int64_t host = s->write->compressed_end;
    int64_t next = qcow2_cluster_start(s, host + s->cluster_size - 1);
    uint64_t clusters = 1;
    int ret;

    if (host == 0 || host == next) {
        return 0;
    }
    if (host + bytes > next) {
        ret = qcow2_co_alloc_clusters_at(bs, next, &clusters);
        if (ret < 0 || clusters == 0) {
            return ret;
        }
    }
    ret = share(bs, host, MIN(bytes, next - host));
    if (ret == 0) {
        return host;
    }
    if (host + bytes > next) {
        qcow2_co_free_clusters(bs, next, s->cluster_size, QCOW2_DISCARD_NEVER);
    }
    return ret == -EINVAL ? 0 : ret; /* shared by as many as can be */
}

int64_t coroutine_fn qcow2_co_alloc_bytes(BlockDriverState *bs,
                                          unsigned bytes)
{
    Qcow2State *s = bs->opaque;
    unsigned offset_bits = 62 - (s->cluster_bits - 8);
    int64_t host;

    g_assert(bytes > 0 && bytes <= s->cluster_size);
    bdrv_co_debug_event(bs->file, BLKDBG_CLUSTER_ALLOC_BYTES);
    host = alloc_behind(bs, bytes);
    if (host == 0) {
        host = qcow2_co_alloc_clusters(bs, s->cluster_size);
    }
    if (host < 0) {
        return host;
    }
    if ((host + bytes) >> offset_bits) {
        qcow2_co_free_clusters(bs, host, bytes, QCOW2_DISCARD_NEVER);
        return -EFBIG;
    }
    s->write->compressed_end = host + bytes;
    return host;
}
