/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files behind block/options.h share: the tree, its bounds, and the
 * one way to word an error. Private to block/base.
 */
#ifndef BLOCK_BASE_OPTIONS_PRIVATE_H
#define BLOCK_BASE_OPTIONS_PRIVATE_H

#include "block/options.h"

#define OPTIONS_MAX_TEXT  (64 * 1024)
#define OPTIONS_MAX_DEPTH 16
#define OPTIONS_MAX_KEYS  1024
#define OPTIONS_MAX_NAME  127 /* of one key between two dots */

struct Options {
    JsonObject *root;
    char *what;
    char *prefix; /* "file." in a child that is named by its parent, or "" */
};

/*
 * The two readers. Each fills @root, or sets an error that starts with @what.
 * Nesting and length are checked before anything recurses.
 */
bool options_read_keyval(JsonObject *root, const char *text, const char *what,
                         const char *implied_key, GError **error);

#define OPTIONS_JSON_DOTS 0x1 /* names may have dots */

JsonObject *options_read_json(const char *text, const char *what,
                              unsigned flags, GError **error);

/* Makes lists of the objects below @root whose keys are 0, 1, 2 ... */
bool options_make_lists(JsonObject *root, const char *what, GError **error);

/* Takes @root. */
Options *options_new_from(JsonObject *root, const char *what,
                          const char *prefix);

/*
 * Removes @key from the tree and returns its value, or NULL. Objects that
 * become empty go too: they hold nothing that could be unknown.
 */
JsonNode *options_steal(Options *opts, const char *key);

/* The object that the last part of @path belongs into, made where it is
 * missing. */
JsonObject *options_object_of(Options *opts, char **path);

/* Borrowed, or NULL. */
JsonNode *options_peek(const Options *opts, const char *key);

/* "WHAT: option 'KEY' FMT" */
void options_error(const Options *opts, const char *key, GError **error,
                   const char *fmt, ...) G_GNUC_PRINTF(4, 5);

/* @text made fit for an error line: printable and not too long. */
char *options_printable(const char *text);

/* Like strtoull with base 10 or 0x, and nothing else before or after. */
bool options_number(const char *text, uint64_t *value);
/* A number or a decimal fraction, with a suffix; at most INT64_MAX. */
bool options_size(const char *text, int64_t *value);

#endif
