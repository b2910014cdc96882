/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who changes which part of the guest's disk, and who waits for that.
 *
 * Claimed is what an allocation, a discard or a write of zeroes has in hand
 * between looking at the tables and having changed them for good, with data
 * on its way to the disk in between. Claims never overlap, so a tree by their
 * start is all it takes to find one.
 */
#include "qcow2-write.h"

static int compare_starts(gconstpointer a, gconstpointer b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

GTree *qcow2_claims_new(void)
{
    return g_tree_new(compare_starts);
}

Qcow2Claim *qcow2_claim_find(Qcow2WriteState *w, int64_t start, int64_t end)
{
    GTreeNode *node;
    Qcow2Claim *claim;

    if (g_tree_nnodes(w->claims) == 0) {
        return NULL;
    }
    /* of those that begin before the end only the last one can reach in */
    node = g_tree_lower_bound(w->claims, &end);
    node = node ? g_tree_node_previous(node) : g_tree_node_last(w->claims);
    claim = node ? g_tree_node_value(node) : NULL;
    return claim && claim->end > start ? claim : NULL;
}

void qcow2_claim_add(Qcow2WriteState *w, Qcow2Claim *claim, int64_t start,
                     int64_t end)
{
    g_assert(!qcow2_claim_find(w, start, end));
    claim->start = start;
    claim->end = end;
    claim->waiters = NULL;
    claim->last_waiter = &claim->waiters;
    g_tree_insert(w->claims, &claim->start, claim);
}

void qcow2_claim_wait(Qcow2Claim *claim, Qcow2Waiter *waiter)
{
    waiter->next = NULL;
    *claim->last_waiter = waiter;
    claim->last_waiter = &waiter->next;
}

void qcow2_claim_remove(Qcow2WriteState *w, Qcow2Claim *claim)
{
    Qcow2Waiter *waiter = claim->waiters;

    g_tree_remove(w->claims, &claim->start);
    while (waiter) {
        Qcow2Waiter *next = waiter->next;

        waiter->wake(waiter);
        waiter = next;
    }
}

/* --- a coroutine that waits --- */

typedef struct CoWaiter {
    Qcow2Waiter waiter;
    Coroutine *co;
    bool waiting; /* else it is still on its way to sleep */
    bool woken;
} CoWaiter;

static void wake_coroutine(Qcow2Waiter *waiter)
{
    CoWaiter *co_waiter = (CoWaiter *)waiter;

    co_waiter->woken = true;
    if (co_waiter->waiting) {
        coroutine_enter(co_waiter->co);
    }
}

void coroutine_fn qcow2_co_wait_claims(BlockDriverState *bs, int64_t start,
                                       int64_t end)
{
    Qcow2State *s = bs->opaque;
    Qcow2Claim *claim;

    while ((claim = qcow2_claim_find(s->write, start, end))) {
        CoWaiter waiter = {
            .waiter.wake = wake_coroutine,
            .co = coroutine_self(),
        };

        qcow2_claim_wait(claim, &waiter.waiter);
        co_mutex_unlock(&s->lock); /* may run who removes the claim */
        waiter.waiting = true;
        if (!waiter.woken) {
            coroutine_yield();
        }
        co_mutex_lock(&s->lock);
    }
}
