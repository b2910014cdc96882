/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a QMP client sends. Cut into messages as it came and byte by byte, which
 * has to give the same; each that can be read is written down and read again,
 * and has to stay what it is; as arguments of a command it is taken apart.
 */
#include "fuzz.h"

#include "block/options.h"
#include "block/qjson.h"
#include "monitor/qmp-json.h"

#include <stdlib.h>
#include <string.h>

#define STREAM_MAX 65536

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    return 0;
}

/* Messages one after the other, each behind its length. */
static GString *cut(const char *data, size_t bytes, size_t step)
{
    GString *messages = g_string_new(NULL);
    QmpFrame frame = QMP_FRAME_MORE;
    g_autoptr(GError) error = NULL;
    QmpFramer framer;

    qmp_framer_init(&framer);
    while (bytes > 0 && frame != QMP_FRAME_LIMIT) {
        size_t used;

        frame = qmp_framer_feed(&framer, data, MIN(step, bytes), &used,
                                &error);
        g_assert(used <= MIN(step, bytes));
        if (frame == QMP_FRAME_MESSAGE) {
            g_string_append_printf(messages, "%zu:", framer.text->len);
            g_string_append_len(messages, framer.text->str,
                                framer.text->len);
            qmp_framer_reset(&framer);
        }
        data += used;
        bytes -= used;
    }
    g_assert(!error == (frame != QMP_FRAME_LIMIT));
    qmp_framer_clear(&framer);
    return messages;
}

/* What it is once written and read again. Caller frees. */
static char *again(const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) node = qmp_json_parse(text, strlen(text), &error);

    g_assert(node);
    return qobject_to_json(node);
}

/* A double that is whole becomes an integer the first time: -0.0 is 0. Members
 * whose names share a chain change places each time: twice is once. */
static void round_trip(JsonNode *node)
{
    g_autofree char *first = qobject_to_json(node);
    g_autofree char *second = again(first);
    g_autofree char *third = again(second);
    g_autofree char *fourth = again(third);

    g_assert(strlen(second) == strlen(third));
    g_assert(strcmp(second, fourth) == 0);
}

static void use_as_arguments(JsonNode *node)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Options) opts = NULL;
    g_autofree char *key = NULL;

    if (!JSON_NODE_HOLDS_OBJECT(node)) {
        return;
    }
    opts = options_from_json(json_node_get_object(node), "", &error);
    g_assert(!opts == !!error);
    if (opts) {
        g_autofree char *text = NULL;

        key = options_first_key(opts);
        if (key) {
            options_take_text(opts, key, &text, NULL);
        }
    }
}

static void read_message(const char *text, size_t bytes)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) node = qmp_json_parse(text, bytes, &error);

    g_assert(!node == !!error);
    if (node) {
        round_trip(node);
        use_as_arguments(node);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const char *stream = (const char *)data;
    g_autoptr(GString) whole = NULL, pieces = NULL;
    const char *at, *end;

    bytes = MIN(bytes, STREAM_MAX);
    whole = cut(stream, bytes, bytes);
    pieces = cut(stream, bytes, 1);
    g_assert(g_string_equal(whole, pieces));
    end = whole->str + whole->len;
    for (at = whole->str; at < end;) {
        char *text;
        size_t length = strtoul(at, &text, 10);

        read_message(text + 1, length);
        at = text + 1 + length;
    }
    read_message(stream, bytes);
    return 0;
}
