/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Limits of a throttle group: both spellings, and what goes together. */
#include "block/throttle.h"

static bool add(const char *id, const char *text, char **message)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Options) opts = options_parse(text, "object 'g'", NULL, &error);
    bool ok;

    g_assert_no_error(error);
    ok = throttle_group_add(id, opts, &error);
    g_assert_true(ok == !error);
    *message = error ? g_strdup(error->message) : NULL;
    return ok;
}

static void test_take(void)
{
    static const char text[] =
        "limits.iops-total=1,limits.iops-total-max=20,"
        "limits.iops-total-max-length=3,x-bps-read=4,x-bps-write=5,"
        "x-bps-write-max=60,x-bps-write-max-length=7,x-iops-size=8";
    g_autoptr(GError) error = NULL;
    g_autoptr(Options) opts = options_parse(text, "object 'g'", NULL, &error);
    ThrottleConfig config;

    throttle_config_init(&config);
    g_assert_true(throttle_config_take(&config, opts, &error));
    g_assert_true(options_finish(opts, &error));
    g_assert_true(throttle_config_check(&config, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(config.rates[THROTTLE_IOPS_TOTAL].avg, ==, 1);
    g_assert_cmpuint(config.rates[THROTTLE_IOPS_TOTAL].max, ==, 20);
    g_assert_cmpuint(config.rates[THROTTLE_IOPS_TOTAL].burst_length_s, ==, 3);
    g_assert_cmpuint(config.rates[THROTTLE_BPS_READ].avg, ==, 4);
    g_assert_cmpuint(config.rates[THROTTLE_BPS_READ].burst_length_s, ==, 1);
    g_assert_cmpuint(config.rates[THROTTLE_BPS_WRITE].avg, ==, 5);
    g_assert_cmpuint(config.rates[THROTTLE_BPS_WRITE].max, ==, 60);
    g_assert_cmpuint(config.rates[THROTTLE_BPS_WRITE].burst_length_s, ==, 7);
    g_assert_cmpuint(config.rates[THROTTLE_BPS_TOTAL].avg, ==, 0);
    g_assert_cmpuint(config.iops_size, ==, 8);
}

static void test_json(void)
{
    g_autofree char *message = NULL;

    g_assert_true(add("json", "{\"limits\":{\"iops-read\":5,"
                      "\"iops-write\":6}}", &message));
    g_assert_nonnull(throttle_group_find("json"));
}

static void test_bad(void)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "x-iops-total=100,x-iops-read=5",
          "bps/iops/max total values and read/write values cannot be used at "
          "the same time" },
        { "limits.bps-total=100,x-bps-write=7",
          "bps/iops/max total values and read/write values cannot be used at "
          "the same time" },
        { "x-iops-size=4096", "iops size requires an iops value to be set" },
        { "x-iops-total=1000000000000001",
          "bps/iops/max values must be within [0, 1000000000000000]" },
        { "x-iops-total=100,x-iops-total-max=200,x-iops-total-max-length=0",
          "the burst length cannot be 0" },
        { "x-iops-total=100,x-iops-total-max-length=5",
          "burst length set without burst rate" },
        { "x-bps-total=100,x-bps-total-max=1000000000000000,"
          "x-bps-total-max-length=2",
          "burst length too high for this burst rate" },
        { "x-iops-total-max=200",
          "bps_max/iops_max require corresponding bps/iops values" },
        { "x-iops-total=100,x-iops-total-max=50",
          "bps_max/iops_max cannot be lower than bps/iops" },
        { "x-iops-total=-1",
          "option 'x-iops-total' needs a number from 0 to "
          "9223372036854775807, not '-1'" },
        { "limits.iops-total=1k",
          "option 'limits.iops-total' needs a number from 0 to "
          "9223372036854775807, not '1k'" },
        { "x-foo=1", "unknown option 'x-foo'" },
        { "limits.foo=1", "unknown option 'limits.foo'" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *expected = g_strdup_printf("object 'g': %s",
                                                    cases[i].message);
        g_autofree char *message = NULL;

        g_assert_false(add("bad", cases[i].text, &message));
        g_assert_cmpstr(message, ==, expected);
    }
    g_assert_null(throttle_group_find("bad"));
}

static void test_good(void)
{
    static const char *const cases[] = {
        "", "limits.bps-total=1000000000000000",
        "x-bps-total=100,x-bps-total-max=1000000000000000",
        "x-iops-read=100,limits.iops-write=100",
        "x-iops-total=100,x-bps-read=5",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *id = g_strdup_printf("good%u", i);
        g_autofree char *message = NULL;

        add(id, cases[i], &message);
        g_assert_cmpstr(message, ==, NULL);
        g_assert_nonnull(throttle_group_find(id));
    }
}

static void test_duplicate(void)
{
    g_autofree char *none = NULL, *message = NULL;

    g_assert_true(add("twice", "", &none));
    g_assert_false(add("twice", "", &message));
    g_assert_cmpstr(message, ==, "object 'g': attempt to add duplicate "
                    "property 'twice' to object (type 'container')");
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/throttle-config/take", test_take);
    g_test_add_func("/throttle-config/json", test_json);
    g_test_add_func("/throttle-config/bad", test_bad);
    g_test_add_func("/throttle-config/good", test_good);
    g_test_add_func("/throttle-config/duplicate", test_duplicate);
    ret = g_test_run();
    throttle_group_free_all();
    return ret;
}
