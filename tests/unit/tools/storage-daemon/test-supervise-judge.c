/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * After which ends of a server there is another one, and how soon.
 */
#include "tools/storage-daemon/supervise.h"

#include <glib.h>
#include <signal.h>

#define EXITED(code)   ((code) << 8)
#define SECONDS(s)     ((s) * G_USEC_PER_SEC)

/* The delay, or -1: no other one. */
static int judge(SuperviseCount *count, SuperviseLife life)
{
    int delay_ms = -2;

    return supervise_again(&life, 3, count, &delay_ms) ? delay_ms : -1;
}

static void test_ends_that_were_meant(void)
{
    static const SuperviseLife lives[] = {
        { .status = EXITED(0), .ready = true },
        { .status = EXITED(0), .ready = false, .first = true },
        { .status = EXITED(0), .ready = false },
        { .status = EXITED(1), .ready = false, .first = true }, /* usage */
        { .status = EXITED(1), .ready = true }, /* it decided so itself */
        { .status = SIGKILL, .ready = true, .stopping = true },
    };
    SuperviseCount count = { 0 };

    for (unsigned i = 0; i < G_N_ELEMENTS(lives); i++) {
        g_assert_cmpint(judge(&count, lives[i]), ==, -1);
    }
    g_assert_cmpuint(count.crashes, ==, 0);
}

static void test_crashes_are_counted(void)
{
    const SuperviseLife crash = { .status = SIGSEGV, .ready = true };
    SuperviseCount count = { 0 };

    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpint(judge(&count, crash), ==, 0);
    }
    g_assert_cmpint(judge(&count, crash), ==, -1);
}

static void test_a_long_life_starts_the_count_again(void)
{
    const SuperviseLife crash = { .status = SIGKILL, .ready = true };
    SuperviseLife late = crash;
    SuperviseCount count = { 0 };

    late.served_us = SECONDS(11);
    for (unsigned i = 0; i < 20; i++) {
        g_assert_cmpint(judge(&count, late), ==, 0);
        g_assert_cmpint(judge(&count, crash), ==, 0);
    }
}

static void test_no_limit(void)
{
    const SuperviseLife crash = { .status = SIGKILL, .ready = true };
    SuperviseCount count = { 0 };
    int delay_ms;

    for (unsigned i = 0; i < 1000; i++) {
        g_assert_true(supervise_again(&crash, 0, &count, &delay_ms));
    }
}

/* It was ready once: what keeps it from starting now may pass. */
static void test_failures_to_start_are_spaced_out(void)
{
    const SuperviseLife failure = { .status = EXITED(1), .ready = false };
    const SuperviseLife crash = { .status = SIGKILL, .ready = true };
    SuperviseCount count = { 0 };
    int last = 0;

    for (unsigned i = 0; i < 40; i++) {
        int delay_ms;

        g_assert_true(supervise_again(&failure, 0, &count, &delay_ms));
        g_assert_cmpint(delay_ms, >=, last);
        g_assert_cmpint(delay_ms, <=, 2000);
        last = delay_ms;
    }
    g_assert_cmpint(last, ==, 2000);
    g_assert_cmpint(judge(&count, crash), ==, -1); /* that makes 41 of 3 */
    count = (SuperviseCount){ 0 };
    g_assert_cmpint(judge(&count, failure), ==, 20);
    g_assert_cmpint(judge(&count, crash), ==, 0);
    g_assert_cmpint(judge(&count, failure), ==, 20);
}

static void test_options(void)
{
    g_autoptr(GError) error = NULL;
    unsigned n = 77;

    g_assert_true(supervise_parse("", &n, &error));
    g_assert_cmpuint(n, ==, SUPERVISE_MAX_CRASHES);
    g_assert_true(supervise_parse("max-crashes=0", &n, &error));
    g_assert_cmpuint(n, ==, 0);
    g_assert_false(supervise_parse("max-crashs=5", &n, &error));
    g_assert_nonnull(strstr(error->message, "max-crashs"));
    g_clear_error(&error);
    g_assert_false(supervise_parse("max-crashes=many", &n, &error));
}

static void test_causes(void)
{
    g_autofree char *killed = supervise_cause(SIGKILL);
    g_autofree char *ended = supervise_cause(EXITED(3));

    g_assert_cmpstr(killed, ==, "was killed by signal 9 (Killed)");
    g_assert_cmpstr(ended, ==, "ended with status 3");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/supervise/meant", test_ends_that_were_meant);
    g_test_add_func("/supervise/counted", test_crashes_are_counted);
    g_test_add_func("/supervise/long-life",
                    test_a_long_life_starts_the_count_again);
    g_test_add_func("/supervise/no-limit", test_no_limit);
    g_test_add_func("/supervise/spaced-out",
                    test_failures_to_start_are_spaced_out);
    g_test_add_func("/supervise/options", test_options);
    g_test_add_func("/supervise/causes", test_causes);
    return g_test_run();
}
