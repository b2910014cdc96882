/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options: good and bad text in both forms, typed takers, what is left over.
 * Error texts are compared in full: they are what an administrator sees.
 */
#include "block/options.h"
#include "block/qjson.h"

#include <string.h>

static Options *parse(const char *text)
{
    g_autoptr(GError) error = NULL;
    Options *opts = options_parse(text, "--blockdev", "driver", &error);

    g_assert_no_error(error);
    g_assert_nonnull(opts);
    return opts;
}

static void expect_str(Options *opts, const char *key, const char *value)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *got = NULL;

    g_assert_true(options_take_str(opts, key, &got, &error));
    g_assert_no_error(error);
    g_assert_cmpstr(got, ==, value);
}

static void expect_end(Options *opts)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(options_finish(opts, &error));
    g_assert_no_error(error);
    options_free(opts);
}

static void test_good_text(void)
{
    static const struct {
        const char *text, *key, *value;
    } cases[] = {
        { "raw", "driver", "raw" },
        { "driver=raw", "driver", "raw" },
        { "raw,", "driver", "raw" },
        { "a,,b", "driver", "a,b" },
        { "driver=", "driver", "" },
        { "filename=x=y", "filename", "x=y" },
        { "filename=,,", "filename", "," },
        { "filename=a,,,,b", "filename", "a,,b" },
        { "x.y.z=1", "x.y.z", "1" },
        { "a=1,a=2", "a", "2" },
        { "{\"driver\": \"raw\"}", "driver", "raw" },
        { "{\"a\": {\"b\": \"c,,d\"}}", "a.b", "c,,d" },
        { "{\"a\": \"\\u00e9\"}", "a", "\xc3\xa9" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        Options *opts = parse(cases[i].text);

        expect_str(opts, cases[i].key, cases[i].value);
        expect_end(opts);
    }
    expect_end(parse(""));
    expect_end(parse("{}"));
}

static void test_bad_text(void)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "raw,raw", "--blockdev: expected '=' after 'raw'" },
        { ",", "--blockdev: expected '=' after ''" },
        { "=x", "--blockdev: '' is not a valid option name" },
        { "a..b=x", "--blockdev: 'a..b' is not a valid option name" },
        { ".a=x", "--blockdev: '.a' is not a valid option name" },
        { "a.=x", "--blockdev: 'a.' is not a valid option name" },
        { "0=x", "--blockdev: '0' is not a valid option name" },
        { "a b=x", "--blockdev: 'a b' is not a valid option name" },
        { "a\nb=x", "--blockdev: 'a?b' is not a valid option name" },
        { "a=\xff", "--blockdev: option 'a' is not valid UTF-8" },
        { "a=1,a.b=2",
          "--blockdev: option 'a' has both a value and parts 'a.*'" },
        { "a.b=2,a=1",
          "--blockdev: option 'a' has both a value and parts 'a.*'" },
        { "a.0=x,a.2=y", "--blockdev: the list 'a' needs the elements 'a.0' "
                         "to 'a.1' and nothing else" },
        { "a.0=x,a.b=y", "--blockdev: the list 'a' needs the elements 'a.0' "
                         "to 'a.1' and nothing else" },
        { "a.99999=x", "--blockdev: 'a.99999' is not a valid option name" },
        { "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q=1",
          "--blockdev: option 'a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q' nests "
          "deeper than 16" },
        { "{\"a.b\": 1}", "--blockdev: 'a.b' is not a valid option name in "
                          "JSON; nest objects instead of dots" },
        { "{\"\": 1}", "--blockdev: '' is not a valid option name in JSON" },
        { "{\"a\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}",
          "--blockdev: JSON nests deeper than 16" },
        { "{\"a\": \"\xff\"}",
          "--blockdev: the JSON text is not valid UTF-8" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(options_parse(cases[i].text, "--blockdev", "driver",
                                    &error));
        g_assert_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED);
        g_assert_cmpstr(error->message, ==, cases[i].message);
    }
}

/* What json-glib says differs between versions: only that it is one line. */
static void test_bad_json(void)
{
    static const char *const texts[] = {
        "{", "{\"a\"}", "{\"a\":}", "{\"a\":1", "{]", "{\"a\":\n\n!}",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(options_parse(texts[i], "--export", NULL, &error));
        g_assert_nonnull(error);
        g_assert_true(g_str_has_prefix(error->message, "--export: "));
        g_assert_null(strchr(error->message, '\n'));
    }
}

/* Half of a character that takes two escapes, and what would end a string. */
static void test_bad_unicode(void)
{
    static const char *const texts[] = {
        "{\"a\":\"\\ud800\"}", "{\"a\":\"x\\udc00y\"}",
        "{\"\\ud83d\":1}", "{\"a\":[\"\\ud83d\\u0041\"]}",
        "{\"a\":\"\\u0000\"}", "{\"a\":\"\\ud8^x\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":\"\\u1\xc3\xa4\n\xc3\xa4\xc3\xa4\xc3\xa4\"}",
        "{\"a\":\"\\ude00\\ud83d\"}",
    };
    g_autoptr(Options) good = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(options_parse(texts[i], "--export", NULL, &error));
        g_assert_nonnull(error);
        g_assert_nonnull(strstr(error->message,
                                "is not a valid Unicode character"));
        g_assert_true(g_utf8_validate(error->message, -1, NULL));
    }
    good = options_parse("{\"a\":\"\\ud83d\\ude00 \\\\ud800\"}", "--export",
                         NULL, NULL);
    g_assert_cmpstr(options_peek_str(good, "a"), ==,
                    "\xf0\x9f\x98\x80 \\ud800");
}

/* Brackets in strings are no brackets. */
static void test_depth(void)
{
    static const char *const texts[] = {
        "{\"a\":[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]}",
        "{\"a\":[\"[[[[[[[[[[[[[[[[[[[[\",[[\"\\\"{{{{{{{{{{{{{{{{\"]]]}",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Options) opts = options_parse(texts[i], "--blockdev", NULL,
                                                &error);

        g_assert_no_error(error);
        g_assert_nonnull(opts);
    }
}

static void test_bounds(void)
{
    g_autofree char *word = g_strnfill(70000, 'x');
    g_autofree char *name = g_strnfill(128, 'n');
    g_autofree char *pair = g_strdup_printf("%s=1", name);
    GString *keys = g_string_new("k=0");
    GString *list = g_string_new("{\"a\":[0");
    g_autoptr(GError) error = NULL;

    g_assert_null(options_parse(word, "--blockdev", "driver", &error));
    g_assert_cmpstr(error->message, ==, "--blockdev: longer than 65536 bytes");
    g_clear_error(&error);
    g_assert_null(options_parse(pair, "--blockdev", NULL, &error));
    g_clear_error(&error);
    for (unsigned i = 0; i < 1024; i++) {
        g_string_append_printf(keys, ",k%u=1", i);
        g_string_append(list, ",0");
    }
    g_string_append(list, "]}");
    g_assert_null(options_parse(keys->str, "--blockdev", NULL, &error));
    g_assert_cmpstr(error->message, ==, "--blockdev: more than 1024 options");
    g_clear_error(&error);
    g_assert_null(options_parse(list->str, "--blockdev", NULL, &error));
    g_assert_cmpstr(error->message, ==, "--blockdev: a list is too long");
    g_string_free(keys, TRUE);
    g_string_free(list, TRUE);
}

static void test_bool(void)
{
    static const struct {
        const char *text;
        bool value;
    } good[] = {
        { "x=on", true },   { "x=yes", true },          { "x=true", true },
        { "x=off", false }, { "x=no", false },          { "x=false", false },
        { "x=y", true },    { "x=n", false },
        { "{\"x\":true}", true }, { "{\"x\":false}", false },
        { "{\"x\":\"on\"}", true },
    };
    static const char *const bad[] = {
        "x=maybe", "x=", "x=ON", "x.y=on", "x.0=on", "{\"x\":1}",
        "{\"x\":null}",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        Options *opts = parse(good[i].text);
        bool value = !good[i].value;

        g_assert_true(options_take_bool(opts, "x", &value, NULL));
        g_assert_true(value == good[i].value);
        expect_end(opts);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(Options) opts = parse(bad[i]);
        g_autoptr(GError) error = NULL;
        bool value = true;

        options_set_what(opts, "blockdev 'f0'");
        g_assert_false(options_take_bool(opts, "x", &value, &error));
        g_assert_cmpstr(error->message, ==, "blockdev 'f0': Parameter 'x' "
                        "expects 'on' or 'off'");
        g_assert_true(value);
    }
}

static void test_size(void)
{
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {
        { "x=0", 0 },
        { "x=1", 1 },
        { "x=512b", 512 },
        { "x=1k", 1024 },
        { "x=1K", 1024 },
        { "x=1M", 1 << 20 },
        { "x=1G", 1 << 30 },
        { "x=1T", 1LL << 40 },
        { "x=2P", 2LL << 50 },
        { "x=7E", 7LL << 60 },
        { "x=1.5G", 3LL << 29 },
        { "x=0.5k", 512 },
        { "x=0x1000", 4096 },
        { "x=9223372036854775807", INT64_MAX },
        { "x=7.99999999999999999999E", INT64_MAX - 92 },
        { "{\"x\":4096}", 4096 },
        { "{\"x\":\"4k\"}", 4096 },
    };
    static const char *const bad[] = {
        "x=",      "x=k",    "x=-1",   "x=+1",   "x= 1",    "x=1 ",
        "x=1kk",   "x=1kB",  "x=1.5",  "x=1.5b", "x=1.",    "x=.5k",
        "x=8E",    "x=9223372036854775808", "x=99999999999999999999999",
        "x=0x",    "x=0x1k", "x=1e3",  "x=0x8000000000000000",
        "{\"x\":-1}", "{\"x\":1.5}", "{\"x\":true}", "x.y=1",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        Options *opts = parse(good[i].text);
        g_autoptr(GError) error = NULL;
        int64_t value = -1;

        g_assert_true(options_take_size(opts, "x", &value, &error));
        if (value > INT64_MAX - 200) {
            g_assert_cmpint(good[i].value, >, INT64_MAX - 200);
        } else {
            g_assert_cmpint(value, ==, good[i].value);
        }
        expect_end(opts);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(Options) opts = parse(bad[i]);
        g_autoptr(GError) error = NULL;
        int64_t value = 77;

        options_set_what(opts, i & 1 ? "blockdev 'f0'" : "");
        g_assert_false(options_take_size(opts, "x", &value, &error));
        g_assert_cmpstr(error->message, ==, i & 1
            ? "blockdev 'f0': Parameter 'x' expects a non-negative number "
              "below 2^64"
            : ": Parameter 'x' expects a non-negative number below 2^64\n"
              "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, "
              "tera-, peta-\nand exabytes, respectively.");
        g_assert_cmpint(value, ==, 77);
    }
}

static void test_range(void)
{
    Options *opts = parse("low=4,least=5,most=9,high=10");
    g_autoptr(GError) error = NULL;
    uint64_t value = 7;

    g_assert_false(options_take_range(opts, "low", 5, 9, &value, &error));
    g_assert_nonnull(strstr(error->message,
                            "option 'low' needs a number from 5 to 9, not "
                            "'4'"));
    g_assert_false(options_take_range(opts, "high", 5, 9, &value, NULL));
    g_assert_cmpuint(value, ==, 7);
    g_assert_true(options_take_range(opts, "least", 5, 9, &value, NULL));
    g_assert_cmpuint(value, ==, 5);
    g_assert_true(options_take_range(opts, "most", 5, 9, &value, NULL));
    g_assert_cmpuint(value, ==, 9);
    expect_end(opts);
}

static void test_uint(void)
{
    static const char *const bad[] = {
        "x=101", "x=-1", "x=", "x=1k", "x= 1", "x=0x65", "x=abc",
        "x=99999999999999999999", "{\"x\":-1}", "{\"x\":101}", "{\"x\":\"a\"}",
    };
    Options *opts = parse("x=100,y=0x10,z=0");
    uint64_t value = 7;

    g_assert_true(options_take_uint(opts, "absent", 100, &value, NULL));
    g_assert_cmpuint(value, ==, 7);
    g_assert_true(options_take_uint(opts, "x", 100, &value, NULL));
    g_assert_cmpuint(value, ==, 100);
    g_assert_true(options_take_uint(opts, "y", 100, &value, NULL));
    g_assert_cmpuint(value, ==, 16);
    g_assert_true(options_take_uint(opts, "z", 100, &value, NULL));
    g_assert_cmpuint(value, ==, 0);
    expect_end(opts);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(Options) o = parse(bad[i]);
        g_autoptr(GError) error = NULL;

        value = 7;
        g_assert_false(options_take_uint(o, "x", 100, &value, &error));
        g_assert_nonnull(strstr(error->message,
                                "option 'x' needs a number from 0 to 100, "
                                "not "));
        g_assert_cmpuint(value, ==, 7);
    }
}

static void test_text(void)
{
    g_autoptr(Options) opts = parse("{\"s\":\"x\",\"n\":-42,\"b\":true,"
                                    "\"o\":{\"a\":1},\"z\":null}");
    g_autoptr(GError) error = NULL;
    g_autofree char *value = g_strdup("as it was");

    g_assert_true(options_take_text(opts, "none", &value, NULL));
    g_assert_cmpstr(value, ==, "as it was");
    g_assert_true(options_take_text(opts, "s", &value, NULL));
    g_assert_cmpstr(value, ==, "x");
    g_assert_true(options_take_text(opts, "n", &value, NULL));
    g_assert_cmpstr(value, ==, "-42");
    g_assert_true(options_take_text(opts, "b", &value, NULL));
    g_assert_cmpstr(value, ==, "true");
    g_assert_false(options_has(opts, "n"));
    g_assert_false(options_take_text(opts, "o", &value, &error));
    g_assert_cmpstr(error->message, ==, "--blockdev: option 'o' needs a "
                                        "string, not an object");
    g_assert_false(options_take_text(opts, "z", &value, NULL));
}

static void test_enum(void)
{
    static const char *const names[] = { "off", "on", "unmap", NULL };
    g_autoptr(Options) opts = parse("a=unmap,b=auto");
    g_autoptr(GError) error = NULL;
    int value = 0;

    g_assert_true(options_take_enum(opts, "a", names, &value, &error));
    g_assert_cmpint(value, ==, 2);
    g_assert_false(options_take_enum(opts, "b", names, &value, &error));
    g_assert_cmpstr(error->message, ==,
                    "--blockdev: option 'b' needs 'off', 'on' or 'unmap', "
                    "not 'auto'");
}

static void test_strv(void)
{
    static const struct {
        const char *text;
        const char *joined; /* NULL: refused */
    } cases[] = {
        { "x=t0", "t0" },
        { "x.0=t0,x.1=t1", "t0 t1" },
        { "x.1=t1,x.0=t0", "t0 t1" },
        { "{\"x\":[\"a\",\"b\",\"c\"]}", "a b c" },
        { "{\"x\":[]}", "" },
        { "{\"x\":[1]}", NULL },
        { "{\"x\":1}", NULL },
        { "x.y=1", NULL },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(Options) opts = parse(cases[i].text);
        g_auto(GStrv) list = NULL;
        g_autofree char *joined = NULL;
        bool ok = options_take_strv(opts, "x", &list, NULL);

        g_assert_true(ok == (cases[i].joined != NULL));
        if (ok) {
            joined = g_strjoinv(" ", list);
            g_assert_cmpstr(joined, ==, cases[i].joined);
        }
    }
}

static void test_child(void)
{
    Options *opts = parse("raw,file.driver=file,file.cache.direct=huh,f=name");
    g_autoptr(GError) error = NULL;
    Options *child;
    bool direct = false;

    options_set_what(opts, "blockdev 'r0'");
    g_assert_true(options_has(opts, "file.cache.direct"));
    g_assert_true(options_take_child(opts, "file", &child, &error));
    g_assert_false(options_has(opts, "file"));
    expect_str(child, "driver", "file");
    g_assert_false(options_take_bool(child, "cache.direct", &direct, &error));
    g_assert_cmpstr(error->message, ==,
                    "blockdev 'r0': Parameter 'file.cache.direct' expects "
                    "'on' or 'off'");
    expect_end(child);
    g_assert_true(options_take_child(opts, "f", &child, NULL));
    g_assert_null(child);
    expect_str(opts, "f", "name");
    g_assert_true(options_take_child(opts, "none", &child, NULL));
    g_assert_null(child);
    expect_str(opts, "driver", "raw");
    expect_end(opts);
}

static void test_unknown(void)
{
    static const struct {
        const char *text, *name;
    } cases[] = {
        { "fo.o=1", "fo.o" },
        { "driver=raw,cache.direct=on,cache.wrong=1", "cache.wrong" },
        { "cache=writeback", "cache" },
        { "l.0.a=1", "l" },
        { "{\"x\":{\"y\":{}}}", "x.y" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(Options) opts = parse(cases[i].text);
        g_autoptr(GError) error = NULL;
        g_autofree char *driver = NULL;
        g_autofree char *text = g_strdup_printf(
            "blockdev 'f0': unknown option '%s'", cases[i].name);
        bool direct;

        options_set_what(opts, "blockdev 'f0'");
        g_assert_true(options_take_str(opts, "driver", &driver, NULL));
        g_assert_true(options_take_bool(opts, "cache.direct", &direct, NULL));
        g_assert_false(options_finish(opts, &error));
        g_assert_error(error, G_OPTION_ERROR, G_OPTION_ERROR_UNKNOWN_OPTION);
        g_assert_cmpstr(error->message, ==, text);
    }
}

/* An object that holds nothing says nothing. */
static void test_empty_object(void)
{
    Options *opts = parse("{\"cache\":{}}");
    bool direct = true;

    g_assert_true(options_take_bool(opts, "cache.direct", &direct, NULL));
    g_assert_true(direct);
    expect_end(opts);
}

static void test_need(void)
{
    g_autoptr(Options) opts = parse("x.y=1");
    g_autoptr(GError) error = NULL;
    g_autofree char *value = NULL;

    g_assert_false(options_need_str(opts, "driver", &value, &error));
    g_assert_cmpstr(error->message, ==,
                    "--blockdev: option 'driver' is missing");
    g_clear_error(&error);
    g_assert_false(options_need_str(opts, "x", &value, &error));
    g_assert_cmpstr(error->message, ==,
                    "--blockdev: option 'x' needs a string, not an object");
}

static void test_set(void)
{
    Options *opts = parse("a=1,b=x");

    options_set_str(opts, "a", "2");
    options_set_str(opts, "b.c.d", "3");
    options_set_str(opts, "b.c.e", "4");
    expect_str(opts, "a", "2");
    expect_str(opts, "b.c.d", "3");
    expect_str(opts, "b.c.e", "4");
    expect_end(opts);
}

static Options *parse_dotted(const char *text, const char *message)
{
    g_autoptr(GError) error = NULL;
    Options *opts = options_parse_dotted(text, "image", &error);

    g_assert_cmpstr(error ? error->message : NULL, ==, message);
    return opts;
}

static void test_dotted(void)
{
    Options *opts = parse_dotted(
        "{\"a.b.c\":\"1\",\"a\":{\"b.d\":\"2\",\"e\":\"3\"},"
        "\"l.1\":\"y\",\"l.0\":\"x\"}", NULL);
    g_auto(GStrv) list = NULL;

    expect_str(opts, "a.b.c", "1");
    expect_str(opts, "a.b.d", "2");
    expect_str(opts, "a.e", "3");
    g_assert_true(options_take_strv(opts, "l", &list, NULL));
    g_assert_cmpuint(g_strv_length(list), ==, 2);
    g_assert_cmpstr(list[0], ==, "x");
    expect_end(opts);
}

/* Names in objects in lists are names, too. */
static void test_dotted_list(void)
{
    g_autoptr(Options) opts = parse_dotted(
        "{\"l\":[{\"a.b\":\"1\",\"c.0\":\"x\"},[{\"d.e\":2}],7]}", NULL);
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    g_autofree char *text = NULL;

    json_node_take_object(node, options_copy(opts));
    text = qobject_to_json(node);
    g_assert_cmpstr(text, ==, "{\"l\": [{\"a\": {\"b\": \"1\"}, "
                    "\"c\": [\"x\"]}, [{\"d\": {\"e\": 2}}], 7]}");
}

static void test_bad_dotted(void)
{
    static const char two[] =
        "image: an option has both a value and parts, or two values";
    g_autofree char *dots = g_strnfill(200, '.');
    g_autofree char *many = NULL;

    parse_dotted("{\"a\":1,\"a.b\":2}", two);
    parse_dotted("{\"a.b\":2,\"a\":1}", two);
    parse_dotted("{\"a.b\":2,\"a\":{\"b\":1}}", two);
    parse_dotted("{\"a.0\":2,\"a.2\":1}",
                 "image: the list 'a' needs the elements 'a.0' to 'a.1' and "
                 "nothing else");
    parse_dotted("{\"l\":[{\"a\":1,\"a.b\":2}]}", two);
    many = g_strdup_printf("{\"a%.100s\":{\"%.100s\":1}}", dots, dots);
    options_free(parse_dotted(many, NULL));
    parse_dotted("[]", "image: the JSON text is not one object");
}

static void test_join(void)
{
    g_autoptr(Options) from = parse("{\"a\":\"1\",\"n\":{\"x\":\"1\","
                                    "\"y\":{\"z\":\"1\"}},\"m\":{}}");
    Options *opts = options_new("opts");

    options_set_str(opts, "a", "2");
    options_set_str(opts, "n.x", "2");
    options_set_str(opts, "m", "2");
    options_join(opts, from);
    expect_str(opts, "a", "2");
    expect_str(opts, "m", "2");
    expect_str(opts, "n.x", "2");
    g_assert_cmpstr(options_peek_str(opts, "n.y.z"), ==, "1");
    expect_str(opts, "n.y.z", "1");
    expect_end(opts);
    expect_str(from, "n.y.z", "1"); /* has lost nothing */
}

static void test_left(void)
{
    g_autoptr(Options) opts = parse("{\"b\":null,\"a\":{\"c\":1}}");
    g_autoptr(JsonObject) copy = options_copy(opts);
    g_autofree char *key = NULL;
    uint64_t one = 0;

    g_assert_false(options_take_null(opts, "a"));
    g_assert_true(options_take_null(opts, "b"));
    g_assert_false(options_take_null(opts, "b"));
    g_assert_null(options_peek_str(opts, "a"));
    g_assert_null(options_peek_str(opts, "a.c"));
    key = options_first_key(opts);
    g_assert_cmpstr(key, ==, "a.c");
    g_assert_true(options_take_uint(opts, "a.c", 1, &one, NULL));
    g_assert_null(options_first_key(opts));
    g_assert_cmpuint(json_object_get_size(copy), ==, 2);
    g_assert_cmpint(json_object_get_int_member(
                        json_object_get_object_member(copy, "a"), "c"), ==, 1);
}

static GPtrArray *take_list(Options *opts, const char *key, const char *message)
{
    g_autoptr(GError) error = NULL;
    GPtrArray *list;

    if (message) {
        g_assert_false(options_take_list(opts, key, &list, &error));
        g_assert_nonnull(error);
        g_assert_cmpstr(error->message, ==, message);
        return NULL;
    }
    g_assert_true(options_take_list(opts, key, &list, &error));
    g_assert_no_error(error);
    return list;
}

static void test_list(void)
{
    Options *opts =
        parse("l.0.a=1,l.0.b.c=2,l.1.a=3,o.a=4,s=5,m.0=6");
    g_autoptr(GPtrArray) list = take_list(opts, "l", NULL);
    g_autoptr(GPtrArray) one = take_list(opts, "o", NULL);

    g_assert_cmpuint(list->len, ==, 2);
    expect_str(list->pdata[0], "a", "1");
    expect_str(list->pdata[0], "b.c", "2");
    expect_str(list->pdata[1], "a", "3");
    g_assert_cmpuint(one->len, ==, 1);
    expect_str(one->pdata[0], "a", "4");
    g_assert_null(take_list(opts, "n", NULL));
    take_list(opts, "s", "--blockdev: option 's' needs an object");
    take_list(opts, "m", "--blockdev: option 'm.0' needs an object");
    expect_end(opts);
}

/* What is wrong in an element is named by its place. */
static void test_list_error(void)
{
    g_autoptr(Options) opts = parse("{\"l\":[{},{\"n\":\"x\",\"u\":1}]}");
    g_autoptr(GPtrArray) list = take_list(opts, "l", NULL);
    g_autoptr(GError) error = NULL;
    uint64_t n;

    g_assert_cmpuint(list->len, ==, 2);
    g_assert_false(options_take_uint(list->pdata[1], "n", 5, &n, &error));
    g_assert_cmpstr(error->message, ==,
                    "--blockdev: option 'l.1.n' needs a number from 0 to 5, "
                    "not 'x'");
    g_clear_error(&error);
    g_assert_false(options_finish(list->pdata[1], &error));
    g_assert_cmpstr(error->message, ==,
                    "--blockdev: unknown option 'l.1.u'");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/options/good-text", test_good_text);
    g_test_add_func("/options/bad-text", test_bad_text);
    g_test_add_func("/options/bad-json", test_bad_json);
    g_test_add_func("/options/bad-unicode", test_bad_unicode);
    g_test_add_func("/options/bounds", test_bounds);
    g_test_add_func("/options/depth", test_depth);
    g_test_add_func("/options/bool", test_bool);
    g_test_add_func("/options/size", test_size);
    g_test_add_func("/options/uint", test_uint);
    g_test_add_func("/options/range", test_range);
    g_test_add_func("/options/text", test_text);
    g_test_add_func("/options/enum", test_enum);
    g_test_add_func("/options/strv", test_strv);
    g_test_add_func("/options/child", test_child);
    g_test_add_func("/options/list", test_list);
    g_test_add_func("/options/list-error", test_list_error);
    g_test_add_func("/options/unknown", test_unknown);
    g_test_add_func("/options/empty-object", test_empty_object);
    g_test_add_func("/options/need", test_need);
    g_test_add_func("/options/set", test_set);
    g_test_add_func("/options/dotted", test_dotted);
    g_test_add_func("/options/dotted-list", test_dotted_list);
    g_test_add_func("/options/bad-dotted", test_bad_dotted);
    g_test_add_func("/options/join", test_join);
    g_test_add_func("/options/left", test_left);
    return g_test_run();
}
