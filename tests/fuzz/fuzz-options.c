/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options as key=value and as JSON. What was read is written down as JSON,
 * read again, and has to be the same; every way of taking something out of it
 * is tried.
 *
 * Input: a byte that chooses the reader, then the text.
 */
#include "fuzz.h"

#include "block/options.h"
#include "block/qjson.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 16384

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    return 0;
}

static Options *parse(unsigned how, const char *text)
{
    switch (how % 4) {
    case 0:
        return options_parse(text, "fuzz", NULL, NULL);
    case 1:
        return options_parse(text, "fuzz", "driver", NULL);
    default:
        return options_parse_dotted(text, "fuzz", NULL);
    }
}

static JsonNode *to_node(Options *opts)
{
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);

    json_node_take_object(node, options_copy(opts));
    return node;
}

/* Written and read again it is the same. The order of keys is not kept. Keys
 * with dots may nest deeper than JSON, and begin with one. */
static void round_trip(Options *opts)
{
    g_autoptr(JsonNode) first = to_node(opts), second = NULL;
    g_autofree char *text = qobject_to_json(first);
    g_autoptr(GError) error = NULL;
    g_autoptr(Options) again = options_parse(text, "again", NULL, &error);

    if (!again) {
        g_assert(strstr(error->message, "nests deeper") ||
                 strstr(error->message, "'' is not a valid option name"));
        return;
    }
    second = to_node(again);
    if (!json_node_equal(first, second)) {
        g_autofree char *other = qobject_to_json(second);

        g_printerr("%s became %s\n", text, other);
        abort();
    }
}

static void take_scalars(Options *opts)
{
    static const char *const keys[] = {
        "driver", "a", "a.b", "a.0", "file.driver", "b.c.d", "n", "s",
    };
    static const char *const words[] = { "off", "on", "auto", NULL };

    for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++) {
        g_autofree char *text = NULL, *other = NULL;
        bool flag = false;
        uint64_t number = 0;
        int64_t size = 0;
        int word = 0;

        options_has(opts, keys[i]);
        options_peek_str(opts, keys[i]);
        switch (i % 6) {
        case 0:
            options_take_bool(opts, keys[i], &flag, NULL);
            break;
        case 1:
            options_take_uint(opts, keys[i], 1000, &number, NULL);
            g_assert(number <= 1000);
            break;
        case 2:
            options_take_size(opts, keys[i], &size, NULL);
            g_assert(size >= 0);
            break;
        case 3:
            options_take_enum(opts, keys[i], words, &word, NULL);
            g_assert(word >= 0 && word < 3);
            break;
        case 4:
            options_take_text(opts, keys[i], &other, NULL);
            break;
        default:
            options_take_str(opts, keys[i], &text, NULL);
        }
    }
}

static void take_nested(Options *opts)
{
    g_autoptr(GPtrArray) list = NULL;
    g_auto(GStrv) strings = NULL;
    Options *child = NULL;

    options_take_null(opts, "backing");
    options_take_strv(opts, "iothread", &strings, NULL);
    options_take_list(opts, "inject-error", &list, NULL);
    if (options_take_child(opts, "file", &child, NULL) && child) {
        g_autofree char *key = options_first_key(child);

        take_scalars(child);
        options_free(child);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    g_autoptr(Options) opts = NULL;
    g_autoptr(Options) empty = options_new("empty");
    g_autofree char *text = NULL, *key = NULL;

    if (bytes < 1 || bytes > TEXT_MAX) {
        return 0;
    }
    text = g_strndup((const char *)data + 1, bytes - 1);
    opts = parse(data[0], text);
    if (!opts) {
        return 0;
    }
    round_trip(opts);
    options_join(empty, opts);
    take_scalars(opts);
    take_nested(opts);
    key = options_first_key(opts);
    g_assert_cmpint(options_finish(opts, NULL), ==, key == NULL);
    return 0;
}
