/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Breakpoints of a blkdebug node: coroutines stop at an event and wait until
 * the user lets them go.
 *
 * The main thread sets breakpoints and resumes; the mutex in BlkdebugState is
 * between it and the requests. A coroutine is only ever entered in its own
 * thread, by a bottom half.
 */
#include "blkdebug.h"

#include <string.h>

/* On the stack of the coroutine that waits. */
typedef struct BlkdebugSuspended {
    const char *tag;
    Coroutine *co;
    AioContext *ctx;
    bool resumed;    /* its own thread */
} BlkdebugSuspended;

static void coroutine_fn suspend(BlkdebugState *s, const char *tag)
{
    BlkdebugSuspended here = {
        .tag = tag,
        .co = coroutine_self(),
        .ctx = aio_context_current(),
    };

    g_assert(here.co && here.ctx);
    pthread_mutex_lock(&s->mutex);
    s->suspended = g_slist_prepend(s->suspended, &here);
    bdrv_debug_report("blkdebug: Suspended request '%s'", tag);
    pthread_cond_broadcast(&s->stopped);
    pthread_mutex_unlock(&s->mutex);
    while (!here.resumed) {
        coroutine_yield();
    }
}

static void suspend_at_all(BlkdebugState *s, GPtrArray *tags)
{
    for (unsigned i = 0; i < tags->len; i++) {
        suspend(s, tags->pdata[i]);
    }
}

void coroutine_fn blkdebug_co_event(BlkdebugState *s, BlkdebugEvent event)
{
    g_autoptr(GPtrArray) tags = g_ptr_array_new_with_free_func(g_free);

    blkdebug_process(s, event, tags);
    suspend_at_all(s, tags);
}

void coroutine_fn blkdebug_co_held(BlkdebugState *s)
{
    g_autoptr(GPtrArray) tags = NULL;

    pthread_mutex_lock(&s->mutex);
    tags = g_steal_pointer(&s->held);
    pthread_mutex_unlock(&s->mutex);
    if (tags) {
        suspend_at_all(s, tags);
    }
}

static void event(BlockDriverState *bs, BlkdebugEvent event_hit)
{
    BlkdebugState *s = bs->opaque;
    g_autoptr(GPtrArray) tags = g_ptr_array_new_with_free_func(g_free);

    blkdebug_process(s, event_hit, tags);
    if (tags->len == 0) {
        return;
    }
    pthread_mutex_lock(&s->mutex);
    if (s->held) {
        g_ptr_array_extend_and_steal(s->held, g_steal_pointer(&tags));
    } else {
        s->held = g_steal_pointer(&tags);
    }
    pthread_mutex_unlock(&s->mutex);
}

static void coroutine_fn co_event(BlockDriverState *bs,
                                  BlkdebugEvent event_hit)
{
    blkdebug_co_event(bs->opaque, event_hit);
}

static void add_breakpoint(BlockDriverState *bs, BlkdebugEvent at,
                           const char *tag)
{
    BlkdebugState *s = bs->opaque;
    BlkdebugRule *rule = blkdebug_rule_new(BLKDEBUG_SUSPEND, at);

    rule->tag = g_strdup(tag);
    pthread_mutex_lock(&s->mutex);
    g_ptr_array_add(s->rules, rule);
    pthread_mutex_unlock(&s->mutex);
}

/* The newest that stands at @tag. The mutex is held. */
static BlkdebugSuspended *find_suspended(BlkdebugState *s, const char *tag)
{
    for (GSList *l = s->suspended; l; l = l->next) {
        BlkdebugSuspended *there = l->data;

        if (strcmp(there->tag, tag) == 0) {
            return there;
        }
    }
    return NULL;
}

static void resume_bh(void *opaque)
{
    BlkdebugSuspended *there = opaque;

    there->resumed = true;
    coroutine_enter(there->co);
}

static bool resume(BlockDriverState *bs, const char *tag)
{
    BlkdebugState *s = bs->opaque;
    BlkdebugSuspended *there;

    pthread_mutex_lock(&s->mutex);
    there = find_suspended(s, tag);
    s->suspended = g_slist_remove(s->suspended, there);
    pthread_mutex_unlock(&s->mutex);
    if (!there) {
        return false;
    }
    bdrv_debug_report("blkdebug: Resuming request '%s'", tag);
    aio_bh_once(there->ctx, resume_bh, there);
    return true;
}

static bool remove_breakpoint(BlockDriverState *bs, const char *tag)
{
    BlkdebugState *s = bs->opaque;
    bool removed = false;

    pthread_mutex_lock(&s->mutex);
    for (unsigned i = s->rules->len; i > 0; i--) {
        BlkdebugRule *rule = s->rules->pdata[i - 1];

        if (rule->action == BLKDEBUG_SUSPEND && strcmp(rule->tag, tag) == 0) {
            g_ptr_array_remove_index(s->rules, i - 1);
            removed = true;
        }
    }
    pthread_mutex_unlock(&s->mutex);
    while (resume(bs, tag)) {
        /* all of them */
    }
    return removed;
}

static bool is_suspended(BlockDriverState *bs, const char *tag)
{
    BlkdebugState *s = bs->opaque;
    bool found;

    pthread_mutex_lock(&s->mutex);
    found = find_suspended(s, tag) != NULL;
    pthread_mutex_unlock(&s->mutex);
    return found;
}

static void wait_suspended(BlockDriverState *bs, const char *tag)
{
    BlkdebugState *s = bs->opaque;

    pthread_mutex_lock(&s->mutex);
    while (!find_suspended(s, tag)) {
        pthread_cond_wait(&s->stopped, &s->mutex);
    }
    pthread_mutex_unlock(&s->mutex);
}

const BlockDebugOps blkdebug_debug_ops = {
    .event = event,
    .co_event = co_event,
    .add_breakpoint = add_breakpoint,
    .remove_breakpoint = remove_breakpoint,
    .resume = resume,
    .is_suspended = is_suspended,
    .wait_suspended = wait_suspended,
};
