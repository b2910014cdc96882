/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What several subcommands print. */
#ifndef TOOLS_IMG_OUTPUT_H
#define TOOLS_IMG_OUTPUT_H

#include <json-glib/json-glib.h>

/* On standard output, with a newline. */
void img_print_json(JsonNode *node);
/* The same; consumes @object. */
void img_print_json_object(JsonObject *object);

#endif
