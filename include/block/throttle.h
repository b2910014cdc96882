/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Throttle groups: limits on the requests and bytes a second of one or of
 * several nodes together. Tools make groups, the throttle driver joins them.
 */
#ifndef BLOCK_THROTTLE_H
#define BLOCK_THROTTLE_H

#include "block/handover.h"
#include "block/options.h"
#include "block/request.h"

/* What is limited: bytes and operations; of both directions together, or of
 * each. Discards and zeroes are writes; flushes are free. */
typedef enum ThrottleLimit {
    THROTTLE_BPS_TOTAL,
    THROTTLE_BPS_READ,
    THROTTLE_BPS_WRITE,
    THROTTLE_IOPS_TOTAL,
    THROTTLE_IOPS_READ,
    THROTTLE_IOPS_WRITE,
    THROTTLE__COUNT
} ThrottleLimit;

typedef enum ThrottleDirection {
    THROTTLE_READ,
    THROTTLE_WRITE,
    THROTTLE_DIRECTIONS
} ThrottleDirection;

#define THROTTLE_VALUE_MAX 1000000000000000LL

typedef struct ThrottleRate {
    uint64_t avg;            /* a second, in the long run; 0: no limit */
    uint64_t max;            /* a second, in a burst; 0: none allowed */
    uint64_t burst_length_s; /* how long max lasts; 1 or more */
} ThrottleRate;

typedef struct ThrottleConfig {
    ThrottleRate rates[THROTTLE__COUNT];
    uint64_t iops_size;      /* a larger request counts as several; 0: never */
} ThrottleConfig;

/* --- configuration: throttle-config.c --- */

void throttle_config_init(ThrottleConfig *config); /* no limits */

/* "iops-total" and the like. Context: any */
const char *throttle_limit_name(ThrottleLimit limit);

/* Takes "limits.iops-total" and the like, and "x-iops-total" and the like.
 * Context: main */
bool throttle_config_take(ThrottleConfig *config, Options *opts,
                          GError **error);

/* As qom-get shows them: "iops-total" and the like. Caller unrefs. */
JsonObject *throttle_config_to_json(const ThrottleConfig *config);

/* Whether the values make sense together. Context: any */
bool throttle_config_check(const ThrottleConfig *config, GError **error);

/* --- arithmetic: throttle-bucket.c --- */

typedef struct ThrottleBucket {
    double level;       /* bytes or operations that have not leaked yet */
    double burst_level; /* the same, leaking at the rate of bursts */
} ThrottleBucket;

/* Zeroed is good: nothing was done yet. */
typedef struct ThrottleState {
    ThrottleBucket buckets[THROTTLE__COUNT];
    int64_t leaked_ns;  /* until when they have leaked */
} ThrottleState;

/* How long the next request of that direction has to wait; 0: not at all.
 * Times may come in any order, late ones count. Context: any, one at a time */
int64_t throttle_wait_ns(const ThrottleConfig *config, ThrottleState *state,
                         ThrottleDirection direction, int64_t now_ns);

/* A request of @bytes goes. */
void throttle_account(const ThrottleConfig *config, ThrottleState *state,
                      ThrottleDirection direction, int64_t bytes);

/* No bucket holds more than fits, nor has leaked later than @now_ns: for a
 * state that comes from somewhere else. */
void throttle_clamp(const ThrottleConfig *config, ThrottleState *state,
                    int64_t now_ns);

/* --- groups: throttle-group.c --- */

typedef struct ThrottleGroup ThrottleGroup;

/* What --object throttle-group does: @opts has the limits, and nothing that
 * is left over. False when the id is taken. Context: main */
bool throttle_group_add(const char *id, Options *opts, GError **error);

/* Borrowed, or NULL. Context: main */
ThrottleGroup *throttle_group_find(const char *id);

typedef void ThrottleGroupFn(void *opaque, const char *id);
void throttle_group_foreach(ThrottleGroupFn *fn, void *opaque);

/* A group that there is, and that no node uses. Context: main */
bool throttle_group_del(const char *id, GError **error);

void throttle_group_get_config(const ThrottleGroup *group,
                               ThrottleConfig *config); /* Context: main */
/* From now on, also for who waits; @config was checked. Context: main */
void throttle_group_set_config(ThrottleGroup *group,
                               const ThrottleConfig *config);

void throttle_group_get_state(ThrottleGroup *group,
                              ThrottleState *state); /* Context: main */
/* Goes on with @state, as far as its limits know such a thing. Nobody waits.
 * Context: main */
void throttle_group_set_state(ThrottleGroup *group,
                              const ThrottleState *state);

/* Forgets all groups; what nodes still use goes with the last of them.
 * Context: main */
void throttle_group_free_all(void);

ThrottleGroup *throttle_group_ref(ThrottleGroup *group); /* Context: main */
void throttle_group_unref(ThrottleGroup *group);         /* Context: main */

/* --- from process to process: throttle-handover.c --- */

/* A record of each group. Context: main, nothing is in flight */
void throttle_hand_over(Handover *handover);
/* Groups of those names, which have been made, go on with that. Context: main,
 * nothing is in flight */
bool throttle_take_over(Handover *handover, GError **error);

/* --- members: throttle-group.c --- */

/*
 * One node in a group. Requests of all members take turns, one member after
 * the other, reads and writes apart.
 */
typedef struct ThrottleMember ThrottleMember;

/* Called in the home of the member's context when a request may go, for each
 * request once, from the loop or inside throttle_member_submit(). */
typedef void ThrottlePassFn(void *opaque, BlockRequest *req);

/* Borrows @group. Context: home of @ctx */
ThrottleMember *throttle_member_new(ThrottleGroup *group, AioContext *ctx,
                                    ThrottlePassFn *pass, void *opaque);
/* None of its requests waits. Context: home */
void throttle_member_free(ThrottleMember *member);

/* Passes @req now or later; no allocation. Context: home */
void throttle_member_submit(ThrottleMember *member, BlockRequest *req);

/* Requests that wait and whose channel is cancelled complete with -ECANCELED;
 * to the group they never were. Context: home */
void throttle_member_cancel(ThrottleMember *member);

#endif
