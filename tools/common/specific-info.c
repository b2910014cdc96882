/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Prints a tree of names and values, a line each, indented by its depth.
 * Called by "vblk-img info" and the info of vblk-io.
 */
#include "specific-info.h"

#include "block/qjson.h"

#include <stdbool.h>
#include <stdio.h>

static void print_tree(JsonNode *node, unsigned depth);

static void indent(unsigned depth)
{
    printf("%*s", 4 * depth, "");
}

static bool is_tree(JsonNode *node)
{
    return JSON_NODE_HOLDS_OBJECT(node) || JSON_NODE_HOLDS_ARRAY(node);
}

static void print_value(JsonNode *node)
{
    GType type = json_node_get_value_type(node);

    if (type == G_TYPE_STRING) {
        printf(" %s\n", json_node_get_string(node));
    } else if (type == G_TYPE_BOOLEAN) {
        printf(" %s\n", json_node_get_boolean(node) ? "true" : "false");
    } else {
        printf(" %" G_GINT64_FORMAT "\n", json_node_get_int(node));
    }
}

/* What follows a "name:" */
static void print_member(JsonNode *node, unsigned depth)
{
    if (is_tree(node)) {
        printf("\n");
        print_tree(node, depth + 1);
    } else {
        print_value(node);
    }
}

static void print_object(JsonObject *object, unsigned depth)
{
    g_autoptr(GPtrArray) names = qdict_names(object);

    for (unsigned i = 0; i < names->len; i++) {
        g_autofree char *shown = g_strdelimit(g_strdup(names->pdata[i]), "-",
                                              ' ');

        indent(depth);
        printf("%s:", shown);
        print_member(json_object_get_member(object, names->pdata[i]), depth);
    }
}

static void print_array(JsonArray *array, unsigned depth)
{
    for (unsigned i = 0; i < json_array_get_length(array); i++) {
        indent(depth);
        printf("[%u]:", i);
        print_member(json_array_get_element(array, i), depth);
    }
}

static void print_tree(JsonNode *node, unsigned depth)
{
    if (JSON_NODE_HOLDS_OBJECT(node)) {
        print_object(json_node_get_object(node), depth);
    } else {
        print_array(json_node_get_array(node), depth);
    }
}

void specific_info_print(JsonObject *specific)
{
    JsonNode *data = json_object_get_member(specific, "data");

    printf("Format specific information:\n");
    if (data && is_tree(data)) {
        print_tree(data, 1);
    }
}
