/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options of a --blockdev, --export or --object: one tree whether they came
 * as key=value,key.sub=value or as a JSON object.
 *
 * A consumer takes the keys it knows; what is left over when it is done was
 * unknown, and options_finish() says so. Errors name the option and the
 * object. All functions: Context: main.
 */
#ifndef BLOCK_OPTIONS_H
#define BLOCK_OPTIONS_H

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Options Options;

/*
 * Parses "key=value,..." (",," is a literal comma, "a.b=c" nests, "a.0=x"
 * makes a list, the first word may lack "key=" when @implied_key is given) or,
 * when @text starts with '{', JSON. @what names it in errors, e.g.
 * "--blockdev". Depth, size and number of keys are bounded.
 */
Options *options_parse(const char *text, const char *what,
                       const char *implied_key, GError **error);
/*
 * Parses JSON in which "a.b" means b in a, as QEMU takes it after "json:".
 * Bounded like options_parse().
 */
Options *options_parse_dotted(const char *text, const char *what,
                              GError **error);
/* The same for an object that was read already and that takers will take
 * apart; NULL: empty. Its depth the caller has bounded. */
Options *options_from_json(JsonObject *object, const char *what,
                           GError **error);
Options *options_new(const char *what); /* empty */
void options_free(Options *opts);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Options, options_free)

/* Says what is being configured in later errors: "blockdev 'f0'". */
void options_set_what(Options *opts, const char *what);
const char *options_what(const Options *opts);

/* Sets @error to "WHAT: ..." for what is wrong with @opts taken together; see
 * options_error() for one of them. Returns false, to be returned. */
bool options_fail(const Options *opts, GError **error, const char *fmt, ...)
    G_GNUC_PRINTF(3, 4);

bool options_has(const Options *opts, const char *key);

/* The string there, borrowed; NULL when there is none or something else. */
const char *options_peek_str(const Options *opts, const char *key);

/* The dotted name of a key that nobody took, made printable; NULL: none is
 * left. Caller frees. */
char *options_first_key(const Options *opts);

/* A copy of all that is left. Caller unrefs. */
JsonObject *options_copy(const Options *opts);

/*
 * Takers: "cache.direct" style keys. An absent key leaves *@value as it is
 * (callers put the default there first) and succeeds. A malformed value
 * fails. Strings come newly allocated.
 */
bool options_take_str(Options *opts, const char *key, char **value,
                      GError **error);
/* The same for what QEMU takes from JSON in whatever way it is written there:
 * 42 is "42". */
bool options_take_text(Options *opts, const char *key, char **value,
                       GError **error);
bool options_take_bool(Options *opts, const char *key, bool *value,
                       GError **error);
/* Decimal, 0x hex. */
bool options_take_uint(Options *opts, const char *key, uint64_t max,
                       uint64_t *value, GError **error);
bool options_take_range(Options *opts, const char *key, uint64_t min,
                        uint64_t max, uint64_t *value, GError **error);
/* Bytes with an optional suffix: b k K M G T P E, powers of 1024. */
bool options_take_size(Options *opts, const char *key, int64_t *value,
                       GError **error);
/* @names ends with NULL; *value is an index into it. */
bool options_take_enum(Options *opts, const char *key,
                       const char *const *names, int *value, GError **error);
/* A string or a list of strings; *list is a GStrv or stays as it is. */
bool options_take_strv(Options *opts, const char *key, char ***list,
                       GError **error);
/* A nested object; *child is NULL when the key is absent or holds a string
 * (which options_take_str() then gives). */
bool options_take_child(Options *opts, const char *key, Options **child,
                        GError **error);

/* Takes @key if it is JSON's null. Returns whether it was. */
bool options_take_null(Options *opts, const char *key);

/*
 * A list of objects, or one object in place of a list of one: *list gets an
 * Options of each and owns them; NULL when the key is absent.
 */
bool options_take_list(Options *opts, const char *key, GPtrArray **list,
                       GError **error);

/* Like options_take_str(), and absence is an error. */
bool options_need_str(Options *opts, const char *key, char **value,
                      GError **error);

/* Fails when a key was not taken: "blockdev 'f0': unknown option 'fo.o'". */
bool options_finish(Options *opts, GError **error);

/* Adds copies of the keys of @from that @opts does not have, nested ones
 * too. */
void options_join(Options *opts, const Options *from);

/* Adds a copy of @child as a nested object. */
void options_set_child(Options *opts, const char *key, const Options *child);

/* Adds a key, replacing one that is there: for shorthands. */
void options_set_str(Options *opts, const char *key, const char *value);

#endif
