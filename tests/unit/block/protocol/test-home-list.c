/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Contexts of a node: found by their own threads, entries used again. */
#include "block/protocol/home-list.h"

typedef struct Home {
    HomeEntry entry;
    int value;
} Home;

/* Contexts are only compared, never looked into. */
static AioContext *ctx(uintptr_t n)
{
    return (AioContext *)(n * 64);
}

static void test_attach(void)
{
    HomeList list = { 0 };
    Home *a, *b;
    bool first;

    g_assert_null(home_list_find(&list, ctx(1)));
    a = home_list_attach(&list, ctx(1), sizeof(Home), &first);
    g_assert_true(first);
    a->value = 1;
    b = home_list_attach(&list, ctx(2), sizeof(Home), &first);
    g_assert_true(first && a != b);
    g_assert_cmpint(b->value, ==, 0);
    g_assert_true(home_list_attach(&list, ctx(1), sizeof(Home), &first) == a);
    g_assert_false(first);
    g_assert_true(home_list_find(&list, ctx(1)) == a);
    g_assert_true(home_list_find(&list, ctx(2)) == b);
    g_assert_null(home_list_detach(&list, ctx(1)));
    g_assert_true(home_list_find(&list, ctx(1)) == a);
    g_assert_true(home_list_detach(&list, ctx(1)) == a);
    g_assert_null(home_list_find(&list, ctx(1)));
    g_assert_true(home_list_find(&list, ctx(2)) == b);
    g_assert_true(home_list_attach(&list, ctx(3), sizeof(Home), &first) == a);
    g_assert_true(first);
    home_list_detach(&list, ctx(2));
    home_list_detach(&list, ctx(3));
    home_list_free(&list);
    g_assert_null(list.head);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/home-list/attach", test_attach);
    return g_test_run();
}
