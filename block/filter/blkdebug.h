/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * State of a blkdebug node: rules, what they have done so far, and the
 * requests that stand at a breakpoint. Private to block/filter/blkdebug*.c.
 */
#ifndef BLOCK_FILTER_BLKDEBUG_H
#define BLOCK_FILTER_BLKDEBUG_H

#include <pthread.h>

#include "block/debug.h"

/* Where errors can be injected; bits of BlkdebugRule.io. */
typedef enum BlkdebugIo {
    BLKDEBUG_IO_READ         = 0x01,
    BLKDEBUG_IO_WRITE        = 0x02,
    BLKDEBUG_IO_WRITE_ZEROES = 0x04,
    BLKDEBUG_IO_DISCARD      = 0x08,
    BLKDEBUG_IO_FLUSH        = 0x10,
    BLKDEBUG_IO_BLOCK_STATUS = 0x20,
} BlkdebugIo;

#define BLKDEBUG_IO_DEFAULT 0x1f /* all but block-status */

typedef enum BlkdebugAction {
    BLKDEBUG_INJECT_ERROR,
    BLKDEBUG_SET_STATE,
    BLKDEBUG_SUSPEND,
} BlkdebugAction;

typedef struct BlkdebugRule {
    BlkdebugAction action;
    BlkdebugEvent event;
    unsigned state;     /* in which it applies; 0: any */

    /* INJECT_ERROR */
    unsigned io;        /* BLKDEBUG_IO_ */
    int error;          /* positive; 0: none, and none of a later rule */
    int64_t offset;     /* byte that a request has to touch; -1: any */
    bool once;
    bool active;        /* its event was the last with an error */

    unsigned new_state; /* SET_STATE */
    char *tag;          /* SUSPEND */
} BlkdebugRule;

typedef struct BlkdebugState {
    pthread_mutex_t mutex; /* for all down to held: breakpoints are set by the
                              main thread; one that TSan knows */
    pthread_cond_t stopped; /* something was added to suspended */
    GPtrArray *rules;     /* BlkdebugRule, in the order of the options */
    unsigned state;       /* starts at 1 */
    GSList *suspended;    /* BlkdebugSuspended, newest first */
    GPtrArray *held;      /* tags at which the next request has to stop */

    char *config;         /* file of rules, or NULL; constant once open */
    /* the same; bytes, 0: none */
    uint32_t align;
    uint32_t max_transfer;
    uint32_t opt_write_zero, max_write_zero;
    uint32_t opt_discard, max_discard;
} BlkdebugState;

/* --- blkdebug-rules.c --- */

BlkdebugRule *blkdebug_rule_new(BlkdebugAction action, BlkdebugEvent event);
void blkdebug_rule_free(void *rule);

/*
 * Applies the rules for @event. The tags of breakpoints that were hit, which
 * are gone then, are added to @tags. Takes the mutex. Context: any
 */
void blkdebug_process(BlkdebugState *s, BlkdebugEvent event, GPtrArray *tags);

/* The error for a request of the kind @io, negative, or 0; @bytes 0 has no
 * place. Takes the mutex. Context: any */
int blkdebug_check(BlkdebugState *s, BlkdebugIo io, int64_t offset,
                   int64_t bytes);

/* --- blkdebug-config.c --- */

/* Rules and limits out of the options and the file they name. Main */
bool blkdebug_take_options(BlkdebugState *s, Options *opts, GError **error);

/* --- blkdebug-break.c --- */

extern const BlockDebugOps blkdebug_debug_ops;

void coroutine_fn blkdebug_co_event(BlkdebugState *s, BlkdebugEvent event);

/* Stops where earlier events said that the next request should. */
void coroutine_fn blkdebug_co_held(BlkdebugState *s);

#endif
