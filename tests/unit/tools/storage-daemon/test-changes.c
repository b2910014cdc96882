/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The list of what monitors have changed: which commands are in it after
 * which, and that what is written can be read. A model that goes by names
 * follows random commands.
 */
#include "tools/storage-daemon/changes.h"

#include <stdio.h>
#include <string.h>

#define NAMES 5

static Change *change(ChangeKind kind, const char *json)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Options) args = options_parse(json, "", NULL, &error);
    Change *made;

    g_assert_no_error(error);
    made = change_new(kind, args, &error);
    g_assert_no_error(error);
    return made;
}

static void expect(const Changes *changes, const char *text)
{
    g_autofree char *found = changes_to_text(changes);

    g_assert_cmpstr(found, ==, text);
}

/* Read and written it is the same. */
static void expect_readable(const Changes *changes)
{
    g_autofree char *text = changes_to_text(changes);
    g_autoptr(GError) error = NULL;
    Changes again;

    changes_init(&again);
    changes_from_text(&again, text, &error);
    g_assert_no_error(error);
    expect(&again, text);
    changes_clear(&again);
}

#define NODE(name) "{\"node-name\": \"" name "\", \"driver\": \"null-co\"}"
#define ADD_NODE(name) \
    "{\"execute\": \"blockdev-add\", \"arguments\": " \
    "{\"node-name\": \"" name "\", \"driver\": \"null-co\"}}\n"
#define DEL_NODE(name) \
    "{\"execute\": \"blockdev-del\", \"arguments\": " \
    "{\"node-name\": \"" name "\"}}\n"

static void test_nodes(void)
{
    Changes changes;

    changes_init(&changes);
    expect(&changes, "");
    changes_add(&changes, change(CHANGE_NODE, NODE("a")));
    changes_add(&changes, change(CHANGE_NODE, NODE("b")));
    expect(&changes, ADD_NODE("a") ADD_NODE("b"));
    changes_delete(&changes, CHANGE_NODE, "a");
    expect(&changes, ADD_NODE("b"));
    changes_delete(&changes, CHANGE_NODE, "c"); /* the command line's */
    expect(&changes, ADD_NODE("b") DEL_NODE("c"));
    g_assert_true(changes_is_deleted(&changes, CHANGE_NODE, "c"));
    g_assert_false(changes_is_deleted(&changes, CHANGE_EXPORT, "c"));
    g_assert_false(changes_is_deleted(&changes, CHANGE_NODE, "a"));
    changes_add(&changes, change(CHANGE_NODE, NODE("c")));
    expect(&changes, ADD_NODE("b") DEL_NODE("c") ADD_NODE("c"));
    changes_delete(&changes, CHANGE_NODE, "c");
    changes_delete(&changes, CHANGE_NODE, "b");
    expect(&changes, DEL_NODE("c"));
    expect_readable(&changes);
    changes_clear(&changes);
}

static void test_limits(void)
{
    Changes changes;
    Change *found;

    changes_init(&changes);
    changes_add(&changes, change(CHANGE_OBJECT,
                                 "{\"qom-type\":\"throttle-group\","
                                 "\"id\":\"g\"}"));
    changes_add(&changes, change(CHANGE_LIMITS,
                                 "{\"path\":\"g\",\"value\":{\"x\":1}}"));
    changes_add(&changes, change(CHANGE_LIMITS,
                                 "{\"path\":\"g\",\"value\":{\"x\":2}}"));
    g_assert_cmpuint(changes.list->len, ==, 2);
    found = changes_find(&changes, CHANGE_LIMITS, "g");
    g_assert_nonnull(strstr(found->args, "\"x\": 2"));
    expect_readable(&changes);
    changes_delete(&changes, CHANGE_OBJECT, "g");
    expect(&changes, "");
    changes_clear(&changes);
}

/* One that is added replaces it; one that is deleted is not asked for. */
static void test_waiting(void)
{
    Changes changes;
    Change *old;

    changes_init(&changes);
    changes_add(&changes, change(CHANGE_NODE, NODE("a")));
    changes_add(&changes, change(CHANGE_NODE, NODE("b")));
    old = changes_find(&changes, CHANGE_NODE, "a");
    old->waiting = true;
    expect_readable(&changes);
    changes_add(&changes, change(CHANGE_NODE, NODE("a")));
    expect(&changes, ADD_NODE("b") ADD_NODE("a"));
    changes_clear(&changes);
}

static void test_limits_of_text(void)
{
    g_autoptr(Options) args = options_new("");
    g_autofree char *name = g_strnfill(50000, 'x'), *more = NULL;
    GError *error = NULL;

    options_set_str(args, "node-name", "n");
    options_set_str(args, "filename", name);
    change_free(change_new(CHANGE_NODE, args, &error));
    g_assert_no_error(error);
    more = g_strconcat(name, name, NULL);
    options_set_str(args, "filename", more);
    g_assert_null(change_new(CHANGE_NODE, args, &error));
    g_assert_nonnull(strstr(error->message, "longer than"));
    g_clear_error(&error);
}

/* As deep as a command line's can be it is not kept. */
static void test_depth(void)
{
    g_autoptr(GString) deep = g_string_new("{\"node-name\":\"n\",\"x\":1}");
    unsigned kept = 0;
    Options *tree;

    while ((tree = options_parse(deep->str, "", NULL, NULL)) != NULL) {
        g_autoptr(Change) made = NULL;

        made = change_new(CHANGE_NODE, tree, NULL);
        options_free(tree);
        if (made) {
            kept++;
        }
        g_string_prepend(deep, "{\"node-name\":\"n\",\"file\":");
        g_string_append(deep, "}");
    }
    g_assert_cmpuint(kept, >, 10);
}

static void test_nonsense(void)
{
    static const char *const texts[] = {
        "x", "\n", "{}\n", "{\"execute\":\"quit\",\"arguments\":{}}\n",
        "{\"execute\":\"blockdev-add\",\"arguments\":{}}",
        "{\"execute\":\"blockdev-add\",\"arguments\":{\"node-name\":1}}",
        "{\"execute\":\"blockdev-add\"}", ADD_NODE("a") "{\"execute\":",
        "{\"execute\":\"qom-set\",\"arguments\":{\"path\":\"g\"},\"x\":1}",
        "execute=blockdev-add,arguments.node-name=n\n",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
        GError *error = NULL;
        Changes changes;

        changes_init(&changes);
        changes_add(&changes, change(CHANGE_NODE, NODE("b")));
        g_assert_false(changes_from_text(&changes, texts[i], &error));
        g_assert_nonnull(error);
        g_clear_error(&error);
        expect(&changes, ADD_NODE("b"));
        changes_clear(&changes);
    }
}

/* --- Against a model --- */

typedef struct Thing {
    bool there;
    unsigned version; /* that was added by a monitor; 0: the command line's */
} Thing;

/* What comes of the command line and the list. */
static void replay_on(const Changes *changes, Thing *things)
{
    for (unsigned i = 0; i < NAMES; i++) {
        g_autofree char *name = g_strdup_printf("n%u", i);
        Change *added = changes_find(changes, CHANGE_NODE, name);

        things[i] = (Thing){
            .there = i < 2 && !changes_is_deleted(changes, CHANGE_NODE, name),
        };
        if (added) {
            g_autoptr(Options) args = change_args(added);
            uint64_t version = 0;

            g_assert_false(things[i].there);
            options_take_uint(args, "version", 100000, &version, NULL);
            things[i] = (Thing){ true, version };
        }
    }
}

static void do_something(Changes *changes, Thing *thing, const char *name,
                         unsigned version)
{
    g_autofree char *json = NULL;

    if (thing->there) {
        changes_delete(changes, CHANGE_NODE, name);
        *thing = (Thing){ 0 };
        return;
    }
    json = g_strdup_printf("{\"node-name\":\"%s\",\"version\":%u}", name,
                           version);
    changes_add(changes, change(CHANGE_NODE, json));
    *thing = (Thing){ true, version };
}

static void test_model(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(8);
    Thing things[NAMES] = { { true, 0 }, { true, 0 } }, found[NAMES];
    Changes changes;

    changes_init(&changes);
    for (unsigned i = 1; i < 3000; i++) {
        unsigned n = g_rand_int_range(rand, 0, NAMES);
        g_autofree char *name = g_strdup_printf("n%u", n);

        do_something(&changes, &things[n], name, i);
        replay_on(&changes, found);
        for (unsigned k = 0; k < NAMES; k++) {
            g_assert_true(found[k].there == things[k].there);
            g_assert_cmpuint(found[k].version, ==, things[k].version);
        }
        g_assert_cmpuint(changes.list->len, <=, NAMES + 2);
        expect_readable(&changes);
    }
    changes_clear(&changes);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/changes/nodes", test_nodes);
    g_test_add_func("/changes/limits", test_limits);
    g_test_add_func("/changes/waiting", test_waiting);
    g_test_add_func("/changes/limits-of-text", test_limits_of_text);
    g_test_add_func("/changes/depth", test_depth);
    g_test_add_func("/changes/nonsense", test_nonsense);
    g_test_add_func("/changes/model", test_model);
    return g_test_run();
}
