/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What throttle groups have let through lately, on its way to a process that
 * takes over: else each takeover would be worth a burst to the guest. Called
 * by the program, in the main thread, while no request is under way.
 *
 * A record for each group, by its id: how full its buckets are, in thousandths
 * of a byte or operation, and when they were. Both processes have the same
 * monotonic clock. A group that is not there any more leaves nothing; one with
 * other limits starts with buckets that are full at most.
 */
#include "block/throttle.h"

#include <math.h>

#define PER_UNIT  1000.0
#define LEVEL_MAX 1000000000000000000LL /* of these */

static void put_level(HandoverRecord *record, const char *name,
                      const char *suffix, double level)
{
    g_autofree char *key = g_strconcat(name, suffix, NULL);

    handover_put_uint(record, key, fmin(level * PER_UNIT, LEVEL_MAX));
}

static void hand_over_group(void *opaque, const char *id)
{
    ThrottleGroup *group = throttle_group_find(id);
    HandoverRecord *record = handover_add(opaque, "throttle", id);
    ThrottleConfig config;
    ThrottleState state;

    throttle_group_get_config(group, &config);
    throttle_group_get_state(group, &state);
    handover_put_uint(record, "leaked-ns", state.leaked_ns);
    for (unsigned i = 0; i < THROTTLE__COUNT; i++) {
        if (config.rates[i].avg) {
            const char *name = throttle_limit_name(i);

            put_level(record, name, "", state.buckets[i].level);
            put_level(record, name, "-burst", state.buckets[i].burst_level);
        }
    }
}

void throttle_hand_over(Handover *handover)
{
    throttle_group_foreach(hand_over_group, handover);
}

static bool take_level(Options *opts, const char *name, const char *suffix,
                       double *level, GError **error)
{
    g_autofree char *key = g_strconcat(name, suffix, NULL);
    uint64_t value = 0;

    if (!options_take_uint(opts, key, LEVEL_MAX, &value, error)) {
        return false;
    }
    *level = value / PER_UNIT;
    return true;
}

static bool take_state(HandoverRecord *record, ThrottleState *state,
                       GError **error)
{
    Options *opts = handover_record_options(record);
    uint64_t leaked_ns;

    *state = (ThrottleState){ 0 };
    if (!handover_need_uint(record, "leaked-ns", INT64_MAX, &leaked_ns,
                            error)) {
        return false;
    }
    state->leaked_ns = leaked_ns;
    for (unsigned i = 0; i < THROTTLE__COUNT; i++) {
        const char *name = throttle_limit_name(i);
        ThrottleBucket *bucket = &state->buckets[i];

        if (!take_level(opts, name, "", &bucket->level, error) ||
            !take_level(opts, name, "-burst", &bucket->burst_level, error)) {
            return false;
        }
    }
    return handover_record_finish(record, error);
}

static bool take_over_group(HandoverRecord *record, GError **error)
{
    ThrottleGroup *group = throttle_group_find(handover_record_id(record));
    ThrottleState state;

    if (!take_state(record, &state, error)) {
        return false;
    }
    if (group) {
        throttle_group_set_state(group, &state);
    }
    return true;
}

bool throttle_take_over(Handover *handover, GError **error)
{
    HandoverRecord *record;
    bool ok = true;

    while (ok && (record = handover_take(handover, "throttle", NULL))) {
        ok = take_over_group(record, error);
        handover_record_free(record);
    }
    return ok;
}
