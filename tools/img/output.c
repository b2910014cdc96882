/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Prints JSON for --output=json. Called by the subcommands that have it. */
#include "output.h"

#include "block/qjson.h"

#include <stdio.h>

void img_print_json(JsonNode *node)
{
    g_autofree char *text = qobject_to_json_pretty(node);

    printf("%s\n", text);
}

void img_print_json_object(JsonObject *object)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);

    json_node_take_object(node, object);
    img_print_json(node);
}
