/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * JSON as QEMU's programs print it: their spacing, their escapes, and their
 * order of an object's members, which people's scripts compare with what they
 * got last time. All functions: Context: main.
 */
#ifndef BLOCK_QJSON_H
#define BLOCK_QJSON_H

#include <json-glib/json-glib.h>

/* On one line: {"a": 1, "b": [true]}. Caller frees. */
char *qobject_to_json(JsonNode *node);

/* Four spaces a level, no newline at the end. Caller frees. */
char *qobject_to_json_pretty(JsonNode *node);

/* The names of @object's members in the order in which QEMU lists them; the
 * strings are @object's. Free the array only. */
GPtrArray *qdict_names(JsonObject *object);

#endif
