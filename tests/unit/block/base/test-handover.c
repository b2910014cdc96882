/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Records: written, sent, read; what is missing or left over is an error. */
#include "block/handover.h"

#include <fcntl.h>
#include <unistd.h>

/* What sending does: text and descriptors, which the other side gets copies
 * of. */
static Handover *send_all(const Handover *from)
{
    Handover *to = handover_new();
    const int *fds;
    const char *text;
    unsigned n;

    for (unsigned i = 0; (text = handover_text(from, i, &fds, &n)); i++) {
        int copies[HANDOVER_MAX_FDS];

        for (unsigned k = 0; k < n; k++) {
            copies[k] = dup(fds[k]);
        }
        g_assert_true(handover_add_text(to, text, copies, n, NULL));
    }
    return to;
}

static void test_values(void)
{
    g_autoptr(Handover) from = handover_new();
    HandoverRecord *record = handover_add(from, "thing", "a,b=c,,");
    g_autoptr(Handover) to = NULL;
    g_autoptr(HandoverRecord) got = NULL;
    g_autofree char *str = NULL;
    uint64_t value;

    handover_put_uint(record, "big", UINT64_MAX);
    handover_put_uint(record, "none", 0);
    handover_put_str(record, "path", "/tmp/x,y=z");
    to = send_all(from);
    g_assert_true(handover_has(to, "thing", "a,b=c,,"));
    g_assert_null(handover_take(to, "thing", "a"));
    got = handover_take(to, "thing", "a,b=c,,");
    g_assert_nonnull(got);
    g_assert_null(handover_left(to));
    g_assert_true(handover_need_uint(got, "big", UINT64_MAX, &value, NULL));
    g_assert_cmphex(value, ==, UINT64_MAX);
    g_assert_true(handover_need_uint(got, "none", 0, &value, NULL));
    g_assert_false(handover_record_finish(got, NULL)); /* the path */
    g_assert_true(options_take_str(handover_record_options(got), "path", &str,
                                   NULL));
    g_assert_cmpstr(str, ==, "/tmp/x,y=z");
    g_assert_true(handover_record_finish(got, NULL));
}

static void test_bad_values(void)
{
    g_autoptr(Handover) handover = handover_new();
    g_autoptr(HandoverRecord) record = NULL;
    uint64_t value;

    g_assert_true(handover_add_text(handover, "record=r,id=i,n=300,w=abc",
                                    NULL, 0, NULL));
    record = handover_take(handover, "r", NULL);
    g_assert_false(handover_need_uint(record, "absent", 9, &value, NULL));
    g_assert_false(handover_need_uint(record, "n", 299, &value, NULL));
    g_assert_false(handover_need_uint(record, "w", 299, &value, NULL));
    g_assert_cmpint(handover_take_fd(record, "fd"), ==, -1);
    g_assert_false(handover_add_text(handover, "id=i", NULL, 0, NULL));
    g_assert_false(handover_add_text(handover, "record=r", NULL, 0, NULL));
    g_assert_false(handover_add_text(handover, "no key", NULL, 0, NULL));
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* Nothing leaks, and what was taken stays open. */
static void test_descriptors(void)
{
    Handover *from = handover_new(), *to;
    HandoverRecord *record = handover_add(from, "r", "i");
    int pair[2], taken;
    char byte;

    g_assert_cmpint(pipe2(pair, O_CLOEXEC), ==, 0);
    g_assert_true(handover_put_fd(record, "none", -1, NULL));
    g_assert_true(handover_put_fd(record, "in", pair[0], NULL));
    g_assert_true(handover_put_fd(record, "out", pair[1], NULL));
    close(pair[1]);
    to = send_all(from);
    handover_free(from);
    record = handover_take(to, "r", "i");
    g_assert_cmpint(handover_take_fd(record, "none"), ==, -1);
    taken = handover_take_fd(record, "out");
    g_assert_cmpint(handover_take_fd(record, "out"), ==, -1);
    g_assert_false(handover_record_finish(record, NULL)); /* "in" */
    handover_record_free(record);
    handover_free(to);
    g_assert_true(is_open(taken));
    g_assert_cmpint(write(taken, "x", 1), ==, 1);
    g_assert_cmpint(read(pair[0], &byte, 1), ==, 1);
    close(taken);
    g_assert_cmpint(read(pair[0], &byte, 1), ==, 0); /* nobody else has it */
    close(pair[0]);
}

static void test_order(void)
{
    g_autoptr(Handover) handover = handover_new();
    HandoverRecord *record;

    for (unsigned i = 0; i < 3; i++) {
        record = handover_add(handover, "r", i == 1 ? "other" : "mine");
        handover_put_uint(record, "n", i);
    }
    g_assert_null(handover_take_last(handover, "q"));
    handover_drop(handover, "other");
    for (unsigned i = 0; i < 3; i += 2) {
        uint64_t n;

        record = handover_take(handover, "r", "mine");
        g_assert_true(handover_need_uint(record, "n", 2, &n, NULL));
        g_assert_cmpuint(n, ==, i);
        handover_record_free(record);
    }
    g_assert_null(handover_take(handover, "r", NULL));
    g_assert_null(handover_take_last(handover, "r"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/handover/values", test_values);
    g_test_add_func("/handover/bad-values", test_bad_values);
    g_test_add_func("/handover/descriptors", test_descriptors);
    g_test_add_func("/handover/order", test_order);
    return g_test_run();
}
