/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Log lines reach the sink whole, with their level, from any thread. */
#include "block/log.h"
#include "tests/lib/count.h"

#include <string.h>

typedef struct Seen {
    unsigned lines;
    LogLevel level;
    char *line;
} Seen;

static void remember(LogLevel level, const char *line, void *opaque)
{
    Seen *seen = opaque;

    seen->lines++;
    seen->level = level;
    g_free(seen->line);
    seen->line = g_strdup(line);
}

static void test_levels(void)
{
    Seen seen = { 0 };

    log_set_sink(remember, &seen);
    log_error("disk '%s' is gone", "a");
    g_assert_cmpint(seen.level, ==, LOG_LEVEL_ERROR);
    g_assert_cmpstr(seen.line, ==, "disk 'a' is gone");
    log_warn("%d left", 3);
    g_assert_cmpint(seen.level, ==, LOG_LEVEL_WARNING);
    g_assert_cmpstr(seen.line, ==, "3 left");
    log_info("hello");
    g_assert_cmpint(seen.level, ==, LOG_LEVEL_INFO);
    g_assert_cmpuint(seen.lines, ==, 3);
    log_set_sink(NULL, NULL);
    g_free(seen.line);
}

/* Whole, however long. */
static void test_long_line(void)
{
    g_autofree char *text = g_strnfill(2000, 'x');
    Seen seen = { 0 };

    log_set_sink(remember, &seen);
    log_warn("%s", text);
    g_assert_cmpstr(seen.line, ==, text);
    text[511] = '\0';
    log_warn("%s", text);
    g_assert_cmpstr(seen.line, ==, text);
    log_set_sink(NULL, NULL);
    g_free(seen.line);
}

static void count_line(LogLevel level, const char *line, void *opaque)
{
    ++*(unsigned *)opaque;
}

/* That memory is short can be said without memory. */
static void test_no_allocation(void)
{
    unsigned lines = 0, allocations;

    if (!count_available()) {
        g_test_skip("allocations cannot be counted under a sanitizer");
        return;
    }
    log_set_sink(count_line, &lines);
    allocations = count_allocations();
    log_warn("cannot start a worker thread: %s", "Cannot allocate memory");
    g_assert_cmpuint(count_allocations(), ==, allocations);
    g_assert_cmpuint(lines, ==, 1);
    log_set_sink(NULL, NULL);
}

/* A flood shows its beginning; what comes after says how much was left out. */
static void test_limit(void)
{
    Seen seen = { 0 };
    LogLimit limit = { 0 };

    log_set_sink(remember, &seen);
    for (unsigned i = 0; i < 1000; i++) {
        log_warn_limited(&limit, "line %u", i);
    }
    g_assert_cmpuint(seen.lines, ==, LOG_LIMIT_LINES);
    limit.window_us -= LOG_LIMIT_WINDOW_US; /* time goes by */
    log_warn_limited(&limit, "again");
    g_assert_cmpuint(seen.lines, ==, LOG_LIMIT_LINES + 1);
    g_assert_cmpstr(seen.line, ==, "again (and 984 lines before it)");
    log_warn_limited(&limit, "and again");
    g_assert_cmpstr(seen.line, ==, "and again");
    for (unsigned i = 0; i < 100; i++) {
        log_warn_limited(NULL, "no limit");
    }
    g_assert_cmpuint(seen.lines, ==, LOG_LIMIT_LINES + 102);
    log_set_sink(NULL, NULL);
    g_free(seen.line);
}

static gpointer log_many(gpointer opaque)
{
    for (unsigned i = 0; i < 1000; i++) {
        log_info("line");
    }
    return NULL;
}

static void test_threads(void)
{
    Seen seen = { 0 };
    GThread *threads[4];

    log_set_sink(remember, &seen);
    for (unsigned i = 0; i < 4; i++) {
        threads[i] = g_thread_new("log", log_many, NULL);
    }
    for (unsigned i = 0; i < 4; i++) {
        g_thread_join(threads[i]);
    }
    g_assert_cmpuint(seen.lines, ==, 4000);
    log_set_sink(NULL, NULL);
    g_free(seen.line);
}

static void test_default_sink(void)
{
    if (g_test_subprocess()) {
        g_set_prgname("vblk-test");
        log_warn("low on %s", "tea");
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr("*vblk-test: warning: low on tea\n*");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/log/levels", test_levels);
    g_test_add_func("/log/long-line", test_long_line);
    g_test_add_func("/log/no-allocation", test_no_allocation);
    g_test_add_func("/log/limit", test_limit);
    g_test_add_func("/log/threads", test_threads);
    g_test_add_func("/log/default-sink", test_default_sink);
    return g_test_run();
}
