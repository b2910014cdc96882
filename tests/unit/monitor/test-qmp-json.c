/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a QMP client may write, and what it gets for anything else. Streams
 * are fed whole and byte by byte: both have to give the same messages.
 */
#include "block/qjson.h"
#include "monitor/qmp-json.h"

#include <string.h>

/* What @text means, or its error. */
static char *read_back(const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) node = qmp_json_parse(text, strlen(text), &error);

    g_assert_true(!node == !!error);
    return node ? qobject_to_json(node) : g_strdup(error->message);
}

static void expect(const char *text, const char *meaning)
{
    g_autofree char *got = read_back(text);

    g_assert_cmpstr(got, ==, meaning);
}

static void expect_error(const char *text, const char *cause)
{
    g_autofree char *want = g_strconcat("JSON parse error, ", cause, NULL);

    expect(text, want);
}

static void test_values(void)
{
    expect("{}", "{}");
    expect(" { \"a\" : [ ] } ", "{\"a\": []}");
    expect("[1,-2,0,true,false,null,\"x\"]",
           "[1, -2, 0, true, false, null, \"x\"]");
    expect("9223372036854775807", "9223372036854775807");
    expect("-9223372036854775808", "-9223372036854775808");
    expect("[1.5,1e2,2E-1]", "[1.5, 100, 0.20000000000000001]");
    expect("9223372036854775808", "9.2233720368547758e+18");
    expect("\"\\u0041\\n\\\"\\\\\\/\"", "\"A\\n\\\"\\\\/\"");
    expect("\"\\ud83d\\ude00\"", "\"\\uD83D\\uDE00\"");
    expect("\"\xc3\xa9\"", "\"\\u00E9\"");
}

static void test_not_json(void)
{
    expect_error("", "expecting value");
    expect_error("}", "expecting value");
    expect_error("{\"a\":1,}", "key is not a string in object");
    expect_error("{a:1}", "key is not a string in object");
    expect_error("{'a':1}", "key is not a string in object");
    expect_error("{\"a\" 1}", "missing : in object pair");
    expect_error("{\"a\":1 \"b\":2}", "expected separator in dict");
    expect_error("{\"a\":1,\"a\":2}", "duplicate key");
    expect_error("[1,]", "expecting value");
    expect_error("[1 2]", "expected separator in list");
    expect_error("[1", "expected separator in list");
    expect_error("nonsense", "invalid keyword 'nonsense'");
    expect_error("True", "invalid keyword 'True'");
    expect_error("{} {}", "something follows the value");
    expect_error("/* c */ 1", "expecting value");
    expect_error("var a = 1", "invalid keyword 'var'");
}

static void test_not_numbers(void)
{
    static const char *const texts[] = {
        "01", "+1", "1.", ".5", "1e", "0x10", "-", "1e+", "NaN", "Infinity",
        "--1", "1-",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autofree char *cause = g_strdup_printf("invalid keyword '%s'",
                                                 texts[i]);

        expect_error(texts[i], cause);
    }
    expect_error("1e999", "number out of range");
}

static void test_not_strings(void)
{
    static const char escape[] = "invalid escape sequence in string";

    expect_error("\"a", "unterminated string");
    expect_error("\"a\nb\"", "control character in string");
    expect_error("\"\\x\"", escape);
    expect_error("\"\\u12\"", escape);
    expect_error("\"\\u12g4\"", escape);
    expect_error("\"\\u0000\"", escape);
    expect_error("\"\\ud83d\"", escape);
    expect_error("\"\\ud83d\\u0041\"", escape);
    expect_error("\"\\ude00\"", escape);
    expect_error("\"\xff\"", "invalid UTF-8 sequence in string");
    expect_error("\"\xc0\x80\"", "invalid UTF-8 sequence in string");
    expect_error("\"\xed\xa0\x80\"", "invalid UTF-8 sequence in string");
}

static void test_nul_is_no_end(void)
{
    static const char text[] = "{}\0{}";
    g_autoptr(GError) error = NULL;

    g_assert_null(qmp_json_parse(text, sizeof(text) - 1, &error));
    g_assert_nonnull(error);
}

static void test_depth(void)
{
    g_autofree char *open = g_strnfill(QMP_MAX_DEPTH, '[');
    g_autofree char *close = g_strnfill(QMP_MAX_DEPTH, ']');
    g_autofree char *good = g_strconcat(open, close, NULL);
    g_autofree char *bad = g_strconcat("[", good, "]", NULL);

    expect(good, good);
    expect_error(bad, "nested too deeply");
}

/* --- the framer --- */

/* Feeds pieces of @step bytes; the messages, each in its own element. */
static GPtrArray *cut(const char *stream, size_t length, size_t step,
                      GError **error)
{
    GPtrArray *messages = g_ptr_array_new_with_free_func(g_free);
    QmpFramer framer;
    QmpFrame frame = QMP_FRAME_MORE;

    qmp_framer_init(&framer);
    while (length > 0 && frame != QMP_FRAME_LIMIT) {
        size_t used;

        frame = qmp_framer_feed(&framer, stream, MIN(step, length), &used,
                                error);
        g_assert_cmpuint(used, <=, MIN(step, length));
        if (frame == QMP_FRAME_MESSAGE) {
            g_ptr_array_add(messages, g_strdup(framer.text->str));
            qmp_framer_reset(&framer);
        }
        stream += used;
        length -= used;
    }
    qmp_framer_clear(&framer);
    return messages;
}

static void expect_cut(const char *stream, const char *const *want)
{
    for (size_t step = 1; step <= strlen(stream); step++) {
        g_autoptr(GPtrArray) got = cut(stream, strlen(stream), step, NULL);
        unsigned n = 0;

        for (; want[n]; n++) {
            g_assert_cmpuint(n, <, got->len);
            g_assert_cmpstr(got->pdata[n], ==, want[n]);
        }
        g_assert_cmpuint(got->len, ==, n);
    }
}

#define EXPECT_CUT(stream, ...) \
    expect_cut(stream, (const char *const[]){ __VA_ARGS__, NULL })

static void test_messages(void)
{
    EXPECT_CUT("{\"a\":1}{\"b\":[2]}\n [3]", "{\"a\":1}", "{\"b\":[2]}",
               "[3]");
    EXPECT_CUT("{\"a\":\"}]\\\"{\"}{}", "{\"a\":\"}]\\\"{\"}", "{}");
    EXPECT_CUT("5 nonsense\n\"x\" {", "5", "nonsense", "\"x\"");
    EXPECT_CUT("5{}", "5", "{}");
    EXPECT_CUT("}{}", "}", "{}");
    EXPECT_CUT("{\"a\":[}{}", "{\"a\":[}", "{}");
    EXPECT_CUT("[1}[2]", "[1}", "[2]");
    EXPECT_CUT(",:{}", ",", ":", "{}");
    EXPECT_CUT("{\"a\":[[\xff{}", "{\"a\":[[\xff", "{}");
    EXPECT_CUT("{\"a\":\"\xff{}", "{\"a\":\"\xff", "{}");
}

static void test_limits(void)
{
    g_autofree char *deep = g_strnfill(QMP_MAX_DEPTH + 1, '[');
    g_autofree char *blank = g_strnfill(4 * QMP_MAX_MESSAGE, ' ');
    g_autofree char *word = g_strnfill(QMP_MAX_MESSAGE + 2, 'x');
    g_autoptr(GError) nested = NULL, token = NULL, none = NULL;
    g_autoptr(GPtrArray) a = cut(deep, strlen(deep), 7, &nested);
    g_autoptr(GPtrArray) b = cut(word, strlen(word), 4096, &token);
    g_autoptr(GPtrArray) c = cut(blank, strlen(blank), 4096, &none);

    g_assert_cmpstr(nested->message, ==, "JSON nesting limit exceeded");
    g_assert_cmpstr(token->message, ==, "JSON token size limit exceeded");
    g_assert_no_error(none);
    g_assert_cmpuint(a->len + b->len + c->len, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qmp-json/values", test_values);
    g_test_add_func("/qmp-json/not-json", test_not_json);
    g_test_add_func("/qmp-json/not-numbers", test_not_numbers);
    g_test_add_func("/qmp-json/not-strings", test_not_strings);
    g_test_add_func("/qmp-json/nul-is-no-end", test_nul_is_no_end);
    g_test_add_func("/qmp-json/depth", test_depth);
    g_test_add_func("/qmp-json/messages", test_messages);
    g_test_add_func("/qmp-json/limits", test_limits);
    return g_test_run();
}
