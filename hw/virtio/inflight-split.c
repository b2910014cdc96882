/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which heads of a split ring the device holds.
 *
 * How it works: a head is marked when it is taken and unmarked when the used
 * index that covers it was stored. A crash between the two leaves heads marked
 * that the driver has back already. They are the last batch, which is linked
 * from last_batch_head before the index moves; the region's own used_idx,
 * written last of all, tells that it happened and how many they are.
 */
#include "inflight-internal.h"

static uint64_t counter_of(const InflightQueue *queue, unsigned head)
{
    return LOAD(queue->split->desc[head].counter);
}

/* The batch that the driver has seen and we had not unmarked. */
static bool unmark_last_batch(InflightQueue *queue, uint16_t n,
                              GError **error)
{
    InflightSplit *split = queue->split;
    unsigned head = LOAD(split->last_batch_head);

    if (n > queue->size) {
        return inflight_queue_bad(error, "used index is not the ring's");
    }
    for (; n > 0; n--) {
        if (head >= queue->size) {
            return inflight_queue_bad(error, "batch leads out of the region");
        }
        STORE(split->desc[head].inflight, 0);
        head = LOAD(split->desc[head].next);
    }
    return true;
}

static void init(InflightQueue *queue, uint16_t used_idx)
{
    InflightSplit *split = queue->split;

    for (unsigned i = 0; i < queue->size; i++) {
        STORE(split->desc[i].inflight, 0);
    }
    STORE(split->features, 0);
    STORE(split->desc_num, queue->size);
    STORE(split->last_batch_head, 0);
    STORE(split->used_idx, used_idx);
    STORE(split->version, INFLIGHT_VERSION);
}

bool inflight_split_restore(InflightQueue *queue, uint16_t used_idx,
                            GError **error)
{
    InflightSplit *split = queue->split;

    if (LOAD(split->version) == 0) {
        init(queue, used_idx);
        return false;
    }
    if (LOAD(split->version) != INFLIGHT_VERSION ||
        LOAD(split->desc_num) != queue->size) {
        return inflight_queue_bad(error, "of another version or ring size");
    }
    if (!unmark_last_batch(queue, used_idx - LOAD(split->used_idx), error)) {
        return false;
    }
    STORE(split->used_idx, used_idx);
    for (unsigned i = 0; i < queue->size; i++) {
        if (LOAD(split->desc[i].inflight)) {
            queue->left[queue->n_left++] = i;
        }
    }
    inflight_queue_sort(queue, counter_of);
    return true;
}

void inflight_split_begin(InflightQueue *queue, unsigned head)
{
    InflightSplitDesc *desc = &queue->split->desc[head];

    STORE(desc->counter, queue->counter++);
    STORE(desc->inflight, 1);
}

void inflight_split_end(InflightQueue *queue, unsigned head)
{
    InflightSplit *split = queue->split;

    STORE(split->desc[head].next, LOAD(split->last_batch_head));
    STORE(split->last_batch_head, head);
    inflight_queue_batch(queue, head);
}

void inflight_split_commit(InflightQueue *queue, uint16_t used_idx)
{
    InflightSplit *split = queue->split;

    for (unsigned i = 0; i < queue->n_batch; i++) {
        STORE(split->desc[queue->batch[i]].inflight, 0);
    }
    queue->n_batch = 0;
    STORE(split->used_idx, used_idx);
}
