/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clusters that were given up, from then until they may be used again.
 *
 * Called by whatever takes clusters out of the tables; the flush makes it
 * take effect. Two things have to be waited for. The disk has to know: else
 * after a crash two guest clusters could lie in one host cluster. And those
 * who looked at the tables before have to have ended: a late read would see,
 * a late write spoil somebody else's data. Until then nothing is done at all:
 * the refcounts stay as they are, and nobody finds the clusters free.
 *
 * How it works: every read and write is in an epoch. A flush ends the epoch
 * if something was freed in it:
 *
 *     epoch 7             |    epoch 8           |  epoch 9
 *     free A    free B    |flush              free C       flush|
 *     read 1 ------------------------>|          |
 *
 * A and B are on the list with number 7. When the first flush is done they
 * are stable; but read 1 is still there, so they wait for the next one. That
 * finds epoch 7 empty and gives A and B back; C if epoch 8 is empty as well.
 */
#include "qcow2-write.h"

#include <errno.h>
#include <inttypes.h>

/* When this much waits, whoever freed it flushes. */
#define PRESSING_ENTRIES 4096
#define PRESSING_BYTES   (1024 * 1024 * 1024)

typedef struct Qcow2Free {
    int64_t host;
    uint64_t bytes;
    Qcow2DiscardType type;
    uint64_t epoch;
} Qcow2Free;

GArray *qcow2_frees_new(void)
{
    return g_array_new(false, false, sizeof(Qcow2Free));
}

void qcow2_epoch_cb(BlockRequest *req, void *opaque, int ret)
{
    qcow2_epoch_leave(opaque);
    block_request_complete(req, ret);
}

static Qcow2Free *last_free(Qcow2WriteState *w)
{
    return w->frees->len
               ? &g_array_index(w->frees, Qcow2Free, w->frees->len - 1)
               : NULL;
}

/* Neighbours become one, but for compressed ones, which share clusters. */
static bool join(const Qcow2State *s, Qcow2Free *last, const Qcow2Free *next)
{
    if (!last || last->epoch != next->epoch || last->type != next->type ||
        last->host + (int64_t)last->bytes != next->host ||
        qcow2_offset_in_cluster(s, next->host) ||
        qcow2_offset_in_cluster(s, next->bytes)) {
        return false;
    }
    last->bytes += next->bytes;
    return true;
}

void qcow2_free_later(BlockDriverState *bs, int64_t host, uint64_t bytes,
                      Qcow2DiscardType type)
{
    Qcow2State *s = bs->opaque;
    Qcow2WriteState *w = s->write;
    Qcow2Free entry = {
        .host = host,
        .bytes = bytes,
        .type = type,
        .epoch = w->newest_number,
    };

    w->freed_bytes += bytes;
    if (!join(s, last_free(w), &entry)) {
        g_array_append_val(w->frees, entry);
    }
}

void qcow2_free_entry_later(BlockDriverState *bs, uint64_t entry,
                            Qcow2DiscardType type)
{
    const Qcow2State *s = bs->opaque;
    uint64_t host;
    unsigned bytes;

    if (entry & QCOW2_COMPRESSED) {
        qcow2_parse_compressed(s, entry, &host, &bytes);
        qcow2_free_later(bs, host, bytes, type);
        return;
    }
    host = entry & QCOW2_L2_OFFSET;
    if (host && !qcow2_has_data_file(s)) {
        qcow2_free_later(bs, host, s->cluster_size, type);
    }
}

bool qcow2_frees_pressing(const Qcow2WriteState *w)
{
    return w->frees->len > PRESSING_ENTRIES ||
           w->freed_bytes > PRESSING_BYTES;
}

/* --- epochs --- */

/* Those that are over and not needed any more. */
static void drop_epochs(Qcow2WriteState *w)
{
    const Qcow2State *s = w->bs->opaque;

    while (w->oldest_epoch != s->epoch && !w->oldest_epoch->in_flight) {
        Qcow2Epoch *epoch = w->oldest_epoch;

        w->oldest_epoch = epoch->next;
        w->oldest_number++;
        g_free(epoch);
    }
}

Qcow2FlushMark qcow2_flush_mark(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    Qcow2WriteState *w = s->write;
    Qcow2Free *last = last_free(w);

    if (last && last->epoch == w->newest_number) {
        s->epoch->next = g_new0(Qcow2Epoch, 1);
        s->epoch = s->epoch->next;
        w->newest_number++;
    }
    return (Qcow2FlushMark){ w->changes, w->frees_done + w->frees->len };
}

bool qcow2_is_unflushed(BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;
    const Qcow2WriteState *w = s->write;

    return w->changes != w->flushed || w->frees->len > 0;
}

/* No table on the disk has the clusters: nothing has to be written before
 * their counts. */
static int coroutine_fn give_back(BlockDriverState *bs,
                                  const Qcow2Free *entry)
{
    const Qcow2State *s = bs->opaque;
    Qcow2RefcountChange change = {
        .first = entry->host >> s->cluster_bits,
        .clusters = ((entry->host + entry->bytes - 1) >> s->cluster_bits) -
                    (entry->host >> s->cluster_bits) + 1,
        .addend = 1,
        .decrease = true,
        .type = entry->type,
    };
    int ret = qcow2_co_change_refcount(bs, &change);

    if (ret == -EINVAL) {
        qcow2_co_signal_corruption(bs, false, -1,
                                   "Freeing clusters at offset %#" PRIx64
                                   " that are not in use",
                                   (uint64_t)entry->host);
        return 0;
    }
    return ret;
}

/* Entries that are given back, or of which that failed: a leak. */
static void remove_first(Qcow2WriteState *w, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        w->freed_bytes -= g_array_index(w->frees, Qcow2Free, i).bytes;
    }
    w->frees_done += count;
    g_array_remove_range(w->frees, 0, count);
}

int coroutine_fn qcow2_co_flush_done(BlockDriverState *bs,
                                     Qcow2FlushMark mark)
{
    Qcow2State *s = bs->opaque;
    Qcow2WriteState *w = s->write;
    unsigned count = 0;
    int ret = 0;

    w->flushed = MAX(w->flushed, mark.changes);
    drop_epochs(w);
    while (ret == 0 && count < w->frees->len &&
           w->frees_done + count < mark.frees) {
        Qcow2Free entry = g_array_index(w->frees, Qcow2Free, count);

        if (entry.epoch >= w->oldest_number) {
            break;
        }
        count++;
        ret = give_back(bs, &entry);
    }
    remove_first(w, count);
    return ret;
}

/* What is left after a round, somebody still uses. */
int coroutine_fn qcow2_co_settle(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    unsigned before;
    int ret;

    co_mutex_lock(&s->lock);
    qcow2_co_give_ahead_back(bs);
    co_mutex_unlock(&s->lock);
    do {
        before = s->write->frees->len;
        ret = qcow2_co_flush_metadata(bs);
    } while (ret == 0 && s->write->frees->len < before);
    return ret;
}
