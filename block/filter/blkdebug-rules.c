/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules of a blkdebug node: what an event sets going, and which request
 * fails for it.
 *
 * How it works: an event with at least one inject-error rule for the current
 * state makes those rules active, and all others inactive. A request fails by
 * the first active rule that it meets. Rules stay active after that, for
 * requests that have nothing to do with the event as well, until the next
 * event with such a rule; "once" takes a rule away when it has struck. A
 * breakpoint is gone when it was hit. New states count from the next event.
 */
#include "blkdebug.h"

BlkdebugRule *blkdebug_rule_new(BlkdebugAction action, BlkdebugEvent event)
{
    BlkdebugRule *rule = g_new0(BlkdebugRule, 1);

    rule->action = action;
    rule->event = event;
    rule->offset = -1;
    return rule;
}

void blkdebug_rule_free(void *opaque)
{
    BlkdebugRule *rule = opaque;

    g_free(rule->tag);
    g_free(rule);
}

static bool applies(const BlkdebugState *s, const BlkdebugRule *rule,
                    BlkdebugEvent event)
{
    return rule->event == event &&
           (rule->state == 0 || rule->state == s->state);
}

/* Whether any rule applies, in which case those are now the active ones. */
static void activate(BlkdebugState *s, BlkdebugEvent event)
{
    bool any = false;

    for (unsigned i = 0; i < s->rules->len; i++) {
        BlkdebugRule *rule = s->rules->pdata[i];

        any |= rule->action == BLKDEBUG_INJECT_ERROR &&
               applies(s, rule, event);
    }
    for (unsigned i = 0; any && i < s->rules->len; i++) {
        BlkdebugRule *rule = s->rules->pdata[i];

        rule->active = applies(s, rule, event);
    }
}

void blkdebug_process(BlkdebugState *s, BlkdebugEvent event, GPtrArray *tags)
{
    unsigned new_state, i = 0;

    pthread_mutex_lock(&s->mutex);
    new_state = s->state;
    activate(s, event);
    while (i < s->rules->len) {
        BlkdebugRule *rule = s->rules->pdata[i];

        if (rule->action == BLKDEBUG_SUSPEND && applies(s, rule, event)) {
            g_ptr_array_add(tags, g_steal_pointer(&rule->tag));
            g_ptr_array_remove_index(s->rules, i);
            continue;
        }
        if (rule->action == BLKDEBUG_SET_STATE && applies(s, rule, event)) {
            new_state = rule->new_state;
        }
        i++;
    }
    s->state = new_state;
    pthread_mutex_unlock(&s->mutex);
}

static bool strikes(const BlkdebugRule *rule, BlkdebugIo io, int64_t offset,
                    int64_t bytes)
{
    return rule->action == BLKDEBUG_INJECT_ERROR && rule->active &&
           (rule->io & io) &&
           (rule->offset < 0 ||
            (rule->offset >= offset && rule->offset - offset < bytes));
}

/* Takes a rule away whose one time this is. The mutex is held. */
static int find_error(BlkdebugState *s, BlkdebugIo io, int64_t offset,
                      int64_t bytes)
{
    for (unsigned i = 0; i < s->rules->len; i++) {
        BlkdebugRule *rule = s->rules->pdata[i];
        int error = rule->error;

        if (!strikes(rule, io, offset, bytes)) {
            continue;
        }
        if (error && rule->once) {
            g_ptr_array_remove_index(s->rules, i);
        }
        return error;
    }
    return 0;
}

int blkdebug_check(BlkdebugState *s, BlkdebugIo io, int64_t offset,
                   int64_t bytes)
{
    int error;

    pthread_mutex_lock(&s->mutex);
    error = find_error(s, io, offset, bytes);
    pthread_mutex_unlock(&s->mutex);
    return -error;
}
