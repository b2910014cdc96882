/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The limits of a throttle group: their names in options, and which of them
 * go together. Words of errors are QEMU's.
 */
#include "block/throttle.h"

static const char *const limit_names[] = {
    [THROTTLE_BPS_TOTAL] = "bps-total",
    [THROTTLE_BPS_READ] = "bps-read",
    [THROTTLE_BPS_WRITE] = "bps-write",
    [THROTTLE_IOPS_TOTAL] = "iops-total",
    [THROTTLE_IOPS_READ] = "iops-read",
    [THROTTLE_IOPS_WRITE] = "iops-write",
};

const char *throttle_limit_name(ThrottleLimit limit)
{
    return limit_names[limit];
}

void throttle_config_init(ThrottleConfig *config)
{
    *config = (ThrottleConfig){ 0 };
    for (unsigned i = 0; i < THROTTLE__COUNT; i++) {
        config->rates[i].burst_length_s = 1;
    }
}

static bool take(Options *opts, const char *prefix, const char *name,
                 const char *suffix, uint64_t *value, GError **error)
{
    g_autofree char *key = g_strconcat(prefix, name, suffix, NULL);

    return options_take_uint(opts, key, INT64_MAX, value, error);
}

static bool take_all(ThrottleConfig *config, Options *opts,
                     const char *prefix, GError **error)
{
    for (unsigned i = 0; i < THROTTLE__COUNT; i++) {
        ThrottleRate *rate = &config->rates[i];
        const char *name = limit_names[i];

        if (!take(opts, prefix, name, "", &rate->avg, error) ||
            !take(opts, prefix, name, "-max", &rate->max, error) ||
            !take(opts, prefix, name, "-max-length", &rate->burst_length_s,
                  error)) {
            return false;
        }
    }
    return take(opts, prefix, "iops-size", "", &config->iops_size, error);
}

bool throttle_config_take(ThrottleConfig *config, Options *opts,
                          GError **error)
{
    return take_all(config, opts, "limits.", error) &&
           take_all(config, opts, "x-", error);
}

static void add(JsonObject *object, const char *name, const char *suffix,
                uint64_t value)
{
    g_autofree char *key = g_strconcat(name, suffix, NULL);

    json_object_set_int_member(object, key, value);
}

JsonObject *throttle_config_to_json(const ThrottleConfig *config)
{
    JsonObject *object = json_object_new();

    for (unsigned i = 0; i < THROTTLE__COUNT; i++) {
        const ThrottleRate *rate = &config->rates[i];

        add(object, limit_names[i], "", rate->avg);
        add(object, limit_names[i], "-max", rate->max);
        add(object, limit_names[i], "-max-length", rate->burst_length_s);
    }
    add(object, "iops-size", "", config->iops_size);
    return object;
}

static bool refuse(GError **error, const char *why)
{
    g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, why);
    return false;
}

/* Either of the two: @total, or the two that follow it. */
static bool is_double(const ThrottleConfig *config, ThrottleLimit total)
{
    const ThrottleRate *rates = &config->rates[total];

    return (rates[0].avg && (rates[1].avg || rates[2].avg)) ||
           (rates[0].max && (rates[1].max || rates[2].max));
}

static bool check_rate(const ThrottleRate *rate, GError **error)
{
    if (rate->avg > THROTTLE_VALUE_MAX || rate->max > THROTTLE_VALUE_MAX) {
        return refuse(error, "bps/iops/max values must be within "
                             "[0, 1000000000000000]");
    }
    if (rate->burst_length_s == 0) {
        return refuse(error, "the burst length cannot be 0");
    }
    if (rate->burst_length_s > 1 && !rate->max) {
        return refuse(error, "burst length set without burst rate");
    }
    if (rate->max &&
        rate->burst_length_s > THROTTLE_VALUE_MAX / rate->max) {
        return refuse(error, "burst length too high for this burst rate");
    }
    if (rate->max && !rate->avg) {
        return refuse(error, "bps_max/iops_max require corresponding "
                             "bps/iops values");
    }
    if (rate->max && rate->max < rate->avg) {
        return refuse(error, "bps_max/iops_max cannot be lower than "
                             "bps/iops");
    }
    return true;
}

bool throttle_config_check(const ThrottleConfig *config, GError **error)
{
    const ThrottleRate *iops = &config->rates[THROTTLE_IOPS_TOTAL];

    if (is_double(config, THROTTLE_BPS_TOTAL) ||
        is_double(config, THROTTLE_IOPS_TOTAL)) {
        return refuse(error, "bps/iops/max total values and read/write "
                             "values cannot be used at the same time");
    }
    if (config->iops_size && !iops[0].avg && !iops[1].avg && !iops[2].avg) {
        return refuse(error, "iops size requires an iops value to be set");
    }
    for (unsigned i = 0; i < THROTTLE__COUNT; i++) {
        if (!check_rate(&config->rates[i], error)) {
            return false;
        }
    }
    return true;
}
