/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON in QEMU's form: order of members, spacing, escapes. The expected texts
 * are what qemu-img 7.2 prints. */
#include "block/qjson.h"

static JsonNode *parse(const char *text)
{
    g_autoptr(GError) error = NULL;
    JsonNode *node = json_from_string(text, &error);

    g_assert_no_error(error);
    return node;
}

static void expect(const char *text, const char *compact, const char *pretty)
{
    g_autoptr(JsonNode) node = parse(text);
    g_autofree char *one_line = qobject_to_json(node);
    g_autofree char *lines = qobject_to_json_pretty(node);

    g_assert_cmpstr(one_line, ==, compact);
    g_assert_cmpstr(lines, ==, pretty);
}

static void test_order(void)
{
    expect("{\"dirty-flag\": false, \"actual-size\": 1, \"filename\": \"x\","
           " \"virtual-size\": 2, \"snapshots\": [], \"format\": \"raw\"}",
           "{\"snapshots\": [], \"virtual-size\": 2, \"filename\": \"x\", "
           "\"format\": \"raw\", \"actual-size\": 1, \"dirty-flag\": false}",
           "{\n"
           "    \"snapshots\": [\n"
           "    ],\n"
           "    \"virtual-size\": 2,\n"
           "    \"filename\": \"x\",\n"
           "    \"format\": \"raw\",\n"
           "    \"actual-size\": 1,\n"
           "    \"dirty-flag\": false\n"
           "}");
}

/* "data-file-raw" and "format-specific" share a chain: the newer is first. */
static void test_collision(void)
{
    g_autoptr(JsonNode) node = parse("{\"data-file-raw\": 1, \"a\": 2,"
                                     " \"format-specific\": 3}");
    g_autoptr(GPtrArray) names = qdict_names(json_node_get_object(node));

    g_assert_cmpuint(names->len, ==, 3);
    g_assert_cmpstr(names->pdata[0], ==, "a");
    g_assert_cmpstr(names->pdata[1], ==, "format-specific");
    g_assert_cmpstr(names->pdata[2], ==, "data-file-raw");
}

static void test_nested(void)
{
    expect("[{\"name\": \"b\", \"flags\": [\"auto\", \"in-use\"]}, null]",
           "[{\"flags\": [\"auto\", \"in-use\"], \"name\": \"b\"}, null]",
           "[\n"
           "    {\n"
           "        \"flags\": [\n"
           "            \"auto\",\n"
           "            \"in-use\"\n"
           "        ],\n"
           "        \"name\": \"b\"\n"
           "    },\n"
           "    null\n"
           "]");
}

static void test_values(void)
{
    expect("[true, false, -9223372036854775808, 9223372036854775807, 0.5]",
           "[true, false, -9223372036854775808, 9223372036854775807, 0.5]",
           "[\n    true,\n    false,\n    -9223372036854775808,\n"
           "    9223372036854775807,\n    0.5\n]");
}

static void expect_string(const char *value, const char *expected)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_VALUE);
    g_autofree char *text = NULL;

    json_node_set_string(node, value);
    text = qobject_to_json(node);
    g_assert_cmpstr(text, ==, expected);
}

static void test_escapes(void)
{
    expect_string("a\tb\n\"c\\\b\f\r", "\"a\\tb\\n\\\"c\\\\\\b\\f\\r\"");
    expect_string("\x01\x7f", "\"\\u0001\\u007F\"");
    expect_string("\xc3\xa9", "\"\\u00E9\"");
    expect_string("\xf0\x9f\x98\x80", "\"\\uD83D\\uDE00\"");
    expect_string("/a'b", "\"/a'b\"");
}

/* A file name is bytes. */
static void test_not_utf8(void)
{
    expect_string("a\xff" "b\xc3", "\"a\\uFFFDb\\uFFFD\"");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qjson/order", test_order);
    g_test_add_func("/qjson/collision", test_collision);
    g_test_add_func("/qjson/nested", test_nested);
    g_test_add_func("/qjson/values", test_values);
    g_test_add_func("/qjson/escapes", test_escapes);
    g_test_add_func("/qjson/not-utf8", test_not_utf8);
    return g_test_run();
}
