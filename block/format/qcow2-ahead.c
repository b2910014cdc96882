/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clusters that are counted before anybody wants them: for guests that outlive
 * this process. Under s->lock.
 *
 * What such a guest is told is written has to be found by the next process, so
 * the tables that lead to it are in the file by then; and before them what
 * counts the cluster has to be stable, or a loss of power could give it to two.
 * A flush for each burst would be most of the burst's time. So clusters are
 * counted many at a time, and the flush is paid for all of them.
 *
 * How it works: two rows of clusters that nobody uses yet.
 *
 *     ready  |######....|        counted, and that is stable
 *     next   |..............|    counted; stable once the refcounts are flushed
 *
 * Data and new L2 tables go to the first of ready, when there are none left to
 * the first of next: then the L2 tables wait for the flush as they would have
 * to without all this, and with it the rest of next becomes ready. That is how
 * it begins. Later, when half of what was counted last is used, next is filled
 * in good time by a coroutine; some write waits along with it, so that who
 * drains the node waits for it, too.
 *
 * How many: as many as are used in about a second, see STEP_. Nothing is ever
 * written to them; whoever compares counts with what is in use has them given
 * back (qcow2_co_settle()), and so does closing. A process that is killed
 * leaves them behind as leaks, holes at the end of the file.
 */
#include "qcow2-write.h"

#include <errno.h>

/* How many clusters are counted at once. */
#define STEP_BYTES_MIN (1024 * 1024)
#define STEP_BYTES_MAX (64 * 1024 * 1024)
#define STEP_MIN 4
#define STEP_MAX 1024

#define NS_PER_MS INT64_C(1000000)
#define USED_FAST (500 * NS_PER_MS)
#define USED_SLOW (4000 * NS_PER_MS)

/* Counts need no order in an image that is dirty. On a device new clusters have
 * old contents, so that what is written there has to be stable before an entry
 * leads to it: that flush will do for the counts. And a device has an end. */
static bool is_wanted(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;

    return bdrv_is_outlived(bs) &&
           bs->file->grows && !qcow2_counts_may_lag(s);
}

static uint64_t step_min(const Qcow2State *s)
{
    return CLAMP((uint64_t)STEP_BYTES_MIN >> s->cluster_bits, STEP_MIN,
                 STEP_MAX);
}

static uint64_t step_max(const Qcow2State *s)
{
    return CLAMP((uint64_t)STEP_BYTES_MAX >> s->cluster_bits, STEP_MIN,
                 STEP_MAX);
}

/* More when the last ones were used up quickly, less when they lasted. */
static uint64_t choose_step(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;
    Qcow2Ahead *ahead = &s->write->ahead;
    int64_t now = aio_context_now_ns(aio_context_current());
    int64_t lasted = now - ahead->counted_ns;

    if (ahead->step && lasted < USED_FAST) {
        ahead->step *= 2;
    } else if (lasted > USED_SLOW) {
        ahead->step /= 2;
    }
    ahead->counted_ns = now;
    ahead->step = CLAMP(ahead->step, step_min(s), step_max(s));
    return ahead->step;
}

/* New clusters, at most @max; what counts them is not stable yet. */
static int coroutine_fn alloc_row(BlockDriverState *bs, uint64_t max,
                                  Qcow2Row *row)
{
    const Qcow2State *s = bs->opaque;
    Qcow2Found found;
    int ret = qcow2_co_alloc_some(bs, max, &found);

    if (ret < 0) {
        return ret;
    }
    *row = (Qcow2Row){
        .first = found.first,
        .clusters = found.clusters,
        .fresh = qcow2_co_use_clusters(bs, found.first << s->cluster_bits,
                                       found.clusters << s->cluster_bits),
    };
    return 0;
}

/* The next row; its first @now clusters are wanted at once. */
static int coroutine_fn count_next(BlockDriverState *bs, uint64_t now)
{
    Qcow2State *s = bs->opaque;
    Qcow2Ahead *ahead = &s->write->ahead;
    int ret = alloc_row(bs, now + choose_step(bs), &ahead->next);

    if (ret < 0) {
        return ret;
    }
    ahead->number++;
    ahead->next_stable = false;
    return 0;
}

static void move_up(Qcow2Ahead *ahead)
{
    if (ahead->ready.clusters == 0 && ahead->next_stable) {
        ahead->ready = ahead->next;
        ahead->ready.counted = true;
        ahead->next.clusters = 0;
        ahead->next_stable = false;
    }
}

int coroutine_fn qcow2_co_take_row(BlockDriverState *bs, uint64_t max,
                                   Qcow2Row *row)
{
    Qcow2State *s = bs->opaque;
    Qcow2Ahead *ahead = &s->write->ahead;
    int ret;

    move_up(ahead);
    if (ahead->ready.clusters > 0) {
        *row = qcow2_row_take(&ahead->ready, max);
        return 0;
    }
    if (ahead->next.clusters == 0) {
        if (!is_wanted(bs)) {
            return alloc_row(bs, max, row);
        }
        ret = count_next(bs, max);
        if (ret < 0) {
            return ret;
        }
    }
    *row = qcow2_row_take(&ahead->next, max);
    return 0;
}

void qcow2_ahead_is_stable(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;

    if (s->write) {
        s->write->ahead.next_stable = s->write->ahead.next.clusters > 0;
    }
}

bool qcow2_ahead_is_low(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;
    const Qcow2Ahead *ahead = &s->write->ahead;

    return !ahead->filling && ahead->step && is_wanted(bs) &&
           (ahead->ready.clusters == 0 || ahead->next.clusters == 0) &&
           ahead->ready.clusters + ahead->next.clusters <= ahead->step / 2;
}

/* A next row that is there may be one that a write began a moment ago: its
 * counts have to be written as well. */
static int coroutine_fn fill(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    Qcow2Ahead *ahead = &s->write->ahead;
    int ret = 0;

    move_up(ahead);
    if (ahead->next.clusters == 0) {
        ret = count_next(bs, 0);
    }
    return ret < 0 ? ret : qcow2_cache_write(s->refcount_cache);
}

void coroutine_fn qcow2_co_fill_ahead(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    Qcow2Ahead *ahead = &s->write->ahead;
    uint64_t number;
    int ret;

    ahead->filling = true;
    co_mutex_lock(&s->lock);
    ret = fill(bs);
    number = ahead->number;
    co_mutex_unlock(&s->lock);
    if (ret == 0) {
        ret = bdrv_co_flush(bs->file);
    }
    if (ret == 0 && ahead->number == number && ahead->next.clusters > 0) {
        ahead->next_stable = true;
    }
    ahead->filling = false;
}

static void coroutine_fn give_back(BlockDriverState *bs, Qcow2Row *from)
{
    const Qcow2State *s = bs->opaque;
    Qcow2Row row = *from;

    if (row.clusters > 0) {
        from->clusters = 0;
        qcow2_co_free_clusters(bs, row.first << s->cluster_bits,
                               row.clusters << s->cluster_bits,
                               QCOW2_DISCARD_NEVER);
        qcow2_unuse_row(bs, &row);
    }
}

/* The later one first: used_end moves down. */
void coroutine_fn qcow2_co_give_ahead_back(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    Qcow2Ahead *ahead = &s->write->ahead;

    give_back(bs, &ahead->next);
    give_back(bs, &ahead->ready);
    ahead->next_stable = false;
    ahead->step = 0;
}
