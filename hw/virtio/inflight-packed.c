/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which chains of a packed ring the device holds, and what they consist of:
 * the ring's own slots are overwritten by whatever completes first.
 *
 * How it works: the region's entries are on a free list or belong to a chain,
 * linked alike through "next". Free list and used position exist twice. A
 * batch is given back in this order:
 *
 *     link its entries into the free list, move used_idx    free_head, used_idx
 *     store the flags of its first slot: the driver has it
 *     unmark its entries
 *     take the new values over                               old_free_head, ...
 *
 * After a crash the two differ if it came in between. The flags of the slot
 * at the old position tell whether the driver has the batch: forward to the
 * new values, or back to the old ones.
 */
#include "inflight-internal.h"

static InflightPackedDesc *entry_at(const InflightQueue *queue, unsigned i)
{
    return &queue->packed->desc[i];
}

static uint64_t counter_of(const InflightQueue *queue, unsigned i)
{
    return LOAD(entry_at(queue, i)->counter);
}

void inflight_packed_init(InflightQueue *queue, InflightPosition at)
{
    InflightPacked *packed = queue->packed;

    for (unsigned i = 0; i < queue->size; i++) {
        STORE(packed->desc[i].inflight, 0);
        STORE(packed->desc[i].next, i + 1);
    }
    STORE(packed->features, 0);
    STORE(packed->desc_num, queue->size);
    STORE(packed->free_head, 0);
    STORE(packed->old_free_head, 0);
    STORE(packed->used_idx, at.idx);
    STORE(packed->old_used_idx, at.idx);
    STORE(packed->used_wrap_counter, at.wrap);
    STORE(packed->old_used_wrap_counter, at.wrap);
    STORE(packed->version, INFLIGHT_VERSION);
}

bool inflight_packed_positions(const InflightQueue *queue,
                               InflightPosition *old, InflightPosition *next)
{
    const InflightPacked *packed = queue->packed;

    *old = (InflightPosition){ LOAD(packed->old_used_idx),
                               LOAD(packed->old_used_wrap_counter) & 1 };
    *next = (InflightPosition){ LOAD(packed->used_idx),
                                LOAD(packed->used_wrap_counter) & 1 };
    return LOAD(packed->version) == INFLIGHT_VERSION &&
           (old->idx != next->idx || old->wrap != next->wrap);
}

/*
 * Forward or back: afterwards both say the same. The wrap counter goes first:
 * with the old index it names a slot that is used, whatever the counter, while
 * the new slot with the old counter may look as if it were available.
 */
static void settle(InflightPacked *packed, bool forward)
{
    if (forward) {
        STORE(packed->old_free_head, LOAD(packed->free_head));
        STORE(packed->old_used_wrap_counter, LOAD(packed->used_wrap_counter));
        STORE(packed->old_used_idx, LOAD(packed->used_idx));
    } else {
        STORE(packed->free_head, LOAD(packed->old_free_head));
        STORE(packed->used_idx, LOAD(packed->old_used_idx));
        STORE(packed->used_wrap_counter, LOAD(packed->old_used_wrap_counter));
    }
}

/* Counts an entry of a list; false: it is there twice, or no entry. */
static bool visit(bool *seen, unsigned size, unsigned i)
{
    if (i >= size || seen[i]) {
        return false;
    }
    seen[i] = true;
    return true;
}

/* The free list ends with the first index that is none. */
static bool unmark_free(InflightQueue *queue, bool *seen, unsigned *n,
                        GError **error)
{
    unsigned i = LOAD(queue->packed->free_head);

    for (*n = 0; i < queue->size; (*n)++) {
        if (!visit(seen, queue->size, i)) {
            return inflight_queue_bad(error, "free list has a loop");
        }
        STORE(entry_at(queue, i)->inflight, 0);
        i = LOAD(entry_at(queue, i)->next);
    }
    return true;
}

static bool visit_chain(InflightQueue *queue, bool *seen, unsigned head,
                        unsigned *n)
{
    unsigned num = LOAD(entry_at(queue, head)->num);
    unsigned i = head;

    if (num == 0 || num > queue->size) {
        return false;
    }
    for (unsigned k = 0; k < num; k++) {
        if (!visit(seen, queue->size, i)) {
            return false;
        }
        if (k == num - 1 && LOAD(entry_at(queue, head)->last) != i) {
            return false;
        }
        i = LOAD(entry_at(queue, i)->next);
    }
    queue->left_num[head] = num;
    *n += num;
    return true;
}

/* What is marked are chains; all entries are in one of them or free. */
static bool collect_left(InflightQueue *queue, unsigned *slots,
                         GError **error)
{
    g_autofree bool *seen = g_new0(bool, queue->size);
    unsigned n_free;

    if (!unmark_free(queue, seen, &n_free, error)) {
        return false;
    }
    *slots = 0;
    for (unsigned i = 0; i < queue->size; i++) {
        if (LOAD(entry_at(queue, i)->inflight)) {
            if (!visit_chain(queue, seen, i, slots)) {
                return inflight_queue_bad(error, "a chain is broken");
            }
            queue->left[queue->n_left++] = i;
        }
    }
    if (n_free + *slots != queue->size) {
        return inflight_queue_bad(error, "entries are missing");
    }
    inflight_queue_sort(queue, counter_of);
    return true;
}

bool inflight_packed_restore(InflightQueue *queue, bool published,
                             InflightPosition *at, unsigned *slots,
                             GError **error)
{
    InflightPacked *packed = queue->packed;
    InflightPosition next;

    if (LOAD(packed->version) == 0) {
        return false;
    }
    if (LOAD(packed->version) != INFLIGHT_VERSION ||
        LOAD(packed->desc_num) != queue->size) {
        return inflight_queue_bad(error, "of another version or ring size");
    }
    settle(packed, published);
    inflight_packed_positions(queue, at, &next);
    if (at->idx >= queue->size) {
        return inflight_queue_bad(error, "position is not in the ring");
    }
    return collect_left(queue, slots, error);
}

/* --- Taking --- */

void inflight_packed_begin(InflightQueue *queue)
{
    queue->chain_first = LOAD(queue->packed->free_head);
    queue->chain_at = queue->chain_first;
    queue->chain_num = 0;
}

/* The ring lets the device hold no more slots than there are entries: when
 * none is free, it is not we who wrote "next". */
bool inflight_packed_add(InflightQueue *queue, const InflightDesc *desc)
{
    InflightPackedDesc *entry = entry_at(queue, queue->chain_at);

    if (queue->chain_at >= queue->size) {
        return false;
    }
    STORE(entry->addr, desc->addr);
    STORE(entry->len, desc->len);
    STORE(entry->id, desc->id);
    STORE(entry->flags, desc->flags);
    queue->chain_last = queue->chain_at;
    queue->chain_at = LOAD(entry->next);
    queue->chain_num++;
    return true;
}

unsigned inflight_packed_taken(InflightQueue *queue)
{
    InflightPacked *packed = queue->packed;
    InflightPackedDesc *entry = entry_at(queue, queue->chain_first);

    STORE(entry->num, queue->chain_num);
    STORE(entry->last, queue->chain_last);
    STORE(entry->counter, queue->counter++);
    /* marked first: an entry that is marked and free is not in flight */
    STORE(entry->inflight, 1);
    STORE(packed->old_free_head, queue->chain_at);
    STORE(packed->free_head, queue->chain_at);
    return queue->chain_first;
}

unsigned inflight_packed_count(const InflightQueue *queue, unsigned entry)
{
    return queue->left_num[entry];
}

bool inflight_packed_desc(const InflightQueue *queue, unsigned *cursor,
                          InflightDesc *desc)
{
    const InflightPackedDesc *entry = entry_at(queue, *cursor);

    if (*cursor >= queue->size) {
        return false;
    }
    *cursor = LOAD(entry->next);
    *desc = (InflightDesc){
        .addr = LOAD(entry->addr), .len = LOAD(entry->len),
        .id = LOAD(entry->id), .flags = LOAD(entry->flags),
    };
    return true;
}

/* --- Giving back --- */

void inflight_packed_end(InflightQueue *queue, unsigned entry)
{
    inflight_queue_batch(queue, entry);
}

void inflight_packed_prepare(InflightQueue *queue, InflightPosition next)
{
    InflightPacked *packed = queue->packed;

    for (unsigned i = 0; i < queue->n_batch; i++) {
        unsigned head = queue->batch[i];
        unsigned last = LOAD(entry_at(queue, head)->last);

        /* ours, but in shared memory */
        if (last < queue->size) {
            STORE(entry_at(queue, last)->next, LOAD(packed->free_head));
            STORE(packed->free_head, head);
        }
    }
    STORE(packed->used_idx, next.idx);
    STORE(packed->used_wrap_counter, next.wrap);
}

void inflight_packed_commit(InflightQueue *queue)
{
    for (unsigned i = 0; i < queue->n_batch; i++) {
        STORE(entry_at(queue, queue->batch[i])->inflight, 0);
    }
    queue->n_batch = 0;
    settle(queue->packed, true);
}
