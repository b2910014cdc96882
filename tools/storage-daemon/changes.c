/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See the header. Called by settings.c and replay.c.
 *
 * How it works: of a thing that QMP deletes, what QMP had added goes from the
 * list; if there was nothing, the command line had it, and that is noted. So
 * the list never is longer than what there is, and what is left of it can be
 * done in its order: nothing can be deleted that another thing uses.
 */
#include "changes.h"

#include "block/qjson.h"

#include <gio/gio.h>
#include <string.h>

#define WHAT      "journal"
#define MAX_BYTES (60 * 1024) /* of a line */

static const struct {
    const char *name, *add, *del, *key;
} kinds[] = {
    [CHANGE_NODE] = { "node", "blockdev-add", "blockdev-del", "node-name" },
    [CHANGE_OBJECT] = { "object", "object-add", "object-del", "id" },
    [CHANGE_EXPORT] = { "export", "block-export-add", "block-export-del",
                        "id" },
    [CHANGE_LIMITS] = { "limits of", "qom-set", NULL, "path" },
    [CHANGE_ACTIVE] = { "state of node", "blockdev-set-active", NULL,
                        "node-name" },
};

const char *change_kind_name(ChangeKind kind)
{
    return kinds[kind].name;
}

void change_free(Change *change)
{
    if (change) {
        g_free(change->id);
        g_free(change->args);
        g_free(change);
    }
}

static char *json_of(JsonObject *object)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);

    json_node_set_object(node, object);
    return qobject_to_json(node);
}

/* --- Lines --- */

static void append_line(GString *text, const Change *change)
{
    g_string_append_printf(text, "{\"execute\": \"%s\", \"arguments\": %s%s}\n",
                           change->deleted ? kinds[change->kind].del
                                           : kinds[change->kind].add,
                           change->args,
                           change->waiting ? ", \"waiting\": true" : "");
}

static bool find_command(Change *change, const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        change->kind = i;
        change->deleted = g_strcmp0(name, kinds[i].del) == 0;
        if (change->deleted || strcmp(name, kinds[i].add) == 0) {
            return true;
        }
    }
    return false;
}

static bool take_args(Change *change, Options *args, GError **error)
{
    g_autoptr(JsonObject) object = options_copy(args);
    const char *id = options_peek_str(args, kinds[change->kind].key);

    if (!id && change->kind != CHANGE_ACTIVE) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    WHAT ": a command lacks '%s'", kinds[change->kind].key);
        return false;
    }
    change->id = g_strdup(id ? id : "");
    change->args = json_of(object);
    return true;
}

static bool take_line(Change *change, Options *line, GError **error)
{
    g_autofree char *name = NULL;
    g_autoptr(Options) args = NULL;

    if (!options_need_str(line, "execute", &name, error) ||
        !options_take_child(line, "arguments", &args, error) ||
        !options_take_bool(line, "waiting", &change->waiting, error) ||
        !options_finish(line, error)) {
        return false;
    }
    if (!args || !find_command(change, name)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    WHAT ": unknown command '%.64s'", name);
        return false;
    }
    return take_args(change, args, error);
}

static Change *parse_line(const char *text, GError **error)
{
    g_autoptr(Change) change = g_new0(Change, 1);
    g_autoptr(Options) line = options_parse(*text == '{' ? text : "{", WHAT,
                                            NULL, error);

    return line && take_line(change, line, error) ? g_steal_pointer(&change)
                                                  : NULL;
}

/* --- One of them --- */

/* Proves that it can be read. */
static bool check_line(const Change *change, GError **error)
{
    g_autoptr(GString) line = g_string_new(NULL);
    g_autoptr(Change) again = NULL;

    append_line(line, change);
    if (line->len > MAX_BYTES) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "the arguments are longer than %u bytes", MAX_BYTES);
        return false;
    }
    again = parse_line(line->str, error);
    return again;
}

Change *change_new(ChangeKind kind, const Options *args, GError **error)
{
    g_autoptr(Change) change = g_new0(Change, 1);
    g_autoptr(JsonObject) object = options_copy(args);
    const char *id = options_peek_str(args, kinds[kind].key);

    change->kind = kind;
    change->id = g_strdup(id ? id : "");
    change->args = json_of(object);
    return !id || check_line(change, error) ? g_steal_pointer(&change) : NULL;
}

static Change *new_deleted(ChangeKind kind, const char *id)
{
    Change *change = g_new0(Change, 1);
    g_autoptr(JsonObject) object = json_object_new();

    json_object_set_string_member(object, kinds[kind].key, id);
    change->kind = kind;
    change->deleted = true;
    change->id = g_strdup(id);
    change->args = json_of(object);
    return change;
}

Options *change_args(const Change *change)
{
    Options *args = options_parse(change->args, WHAT, NULL, NULL);

    g_assert(args); /* it was read when it came */
    return args;
}

/* --- The list --- */

void changes_init(Changes *changes)
{
    changes->list = g_ptr_array_new_with_free_func(
        (GDestroyNotify)change_free);
}

void changes_clear(Changes *changes)
{
    g_clear_pointer(&changes->list, g_ptr_array_unref);
}

static Change *find(const Changes *changes, ChangeKind kind, const char *id,
                    bool deleted)
{
    for (unsigned i = 0; i < changes->list->len; i++) {
        Change *change = changes->list->pdata[i];

        if (change->kind == kind && change->deleted == deleted &&
            strcmp(change->id, id) == 0) {
            return change;
        }
    }
    return NULL;
}

Change *changes_find(const Changes *changes, ChangeKind kind, const char *id)
{
    return find(changes, kind, id, false);
}

bool changes_is_deleted(const Changes *changes, ChangeKind kind,
                        const char *id)
{
    return changes->list && find(changes, kind, id, true);
}

void changes_forget(Changes *changes, Change *change)
{
    g_ptr_array_remove(changes->list, change);
}

static bool forget(Changes *changes, ChangeKind kind, const char *id)
{
    Change *change = changes_find(changes, kind, id);

    if (change) {
        changes_forget(changes, change);
    }
    return change;
}

/* Nodes come and go; who says something about all of them means those that
 * there were. */
static void forget_states(Changes *changes)
{
    for (unsigned i = changes->list->len; i > 0; i--) {
        const Change *change = changes->list->pdata[i - 1];

        if (change->kind == CHANGE_ACTIVE) {
            g_ptr_array_remove_index(changes->list, i - 1);
        }
    }
}

void changes_add(Changes *changes, Change *change)
{
    if (change->kind == CHANGE_ACTIVE && !*change->id) {
        forget_states(changes);
    }
    forget(changes, change->kind, change->id);
    g_ptr_array_add(changes->list, change);
}

void changes_delete(Changes *changes, ChangeKind kind, const char *id)
{
    if (kind == CHANGE_OBJECT) {
        forget(changes, CHANGE_LIMITS, id);
    } else if (kind == CHANGE_NODE) {
        forget(changes, CHANGE_ACTIVE, id);
    }
    if (!forget(changes, kind, id) && !find(changes, kind, id, true)) {
        g_ptr_array_add(changes->list, new_deleted(kind, id));
    }
}

/* --- Text --- */

char *changes_to_text(const Changes *changes)
{
    GString *text = g_string_new(NULL);

    for (unsigned i = 0; i < changes->list->len; i++) {
        append_line(text, changes->list->pdata[i]);
    }
    return g_string_free(text, FALSE);
}

static Change *next_line(const char **text, GError **error)
{
    const char *end = strchrnul(*text, '\n');
    g_autofree char *line = g_strndup(*text, end - *text);

    *text = *end ? end + 1 : end;
    return parse_line(line, error);
}

bool changes_from_text(Changes *changes, const char *text, GError **error)
{
    unsigned had = changes->list->len;

    while (*text) {
        Change *change = next_line(&text, error);

        if (!change) {
            g_ptr_array_set_size(changes->list, had);
            return false;
        }
        g_ptr_array_add(changes->list, change);
    }
    return true;
}
