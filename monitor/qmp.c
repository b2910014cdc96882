/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP without its transport: greeting, negotiation, commands by name,
 * replies, errors, events. Called by monitor.c with messages and by commands
 * with their results. Words are QEMU's: clients compare them.
 */
#include "monitor/qmp.h"

#include "monitor-internal.h"
#include "block/error.h"

#include <string.h>

/* The interface that clients find here; "package" says who we are. */
#define QEMU_MAJOR 7
#define QEMU_MINOR 2
#define QEMU_MICRO 0

struct QmpCall {
    QmpSession *session; /* NULL: the client is gone */
    JsonNode *id;        /* or NULL */
};

static GPtrArray *tables; /* of QmpCommand arrays */
static const char *package = "";

G_DEFINE_QUARK(qmp-error-quark, qmp_error)

void qmp_register(const QmpCommand *commands)
{
    if (!tables) {
        tables = g_ptr_array_new();
    }
    g_ptr_array_add(tables, (void *)commands);
}

void qmp_set_package(const char *name)
{
    package = name;
}

/* --- Messages to the client --- */

static JsonNode *object_node(JsonObject *object)
{
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);

    json_node_take_object(node, object);
    return node;
}

/* @value is taken. */
static void send_reply(QmpSession *session, const char *member,
                       JsonNode *value, JsonNode *id)
{
    JsonObject *reply = json_object_new();

    json_object_set_member(reply, member, value);
    if (id) {
        json_object_set_member(reply, "id", json_node_copy(id));
    }
    monitor_send(session, object_node(reply));
}

static const char *class_name(const GError *error)
{
    if (g_error_matches(error, QMP_ERROR, QMP_ERROR_COMMAND_NOT_FOUND)) {
        return "CommandNotFound";
    }
    if (g_error_matches(error, QMP_ERROR, QMP_ERROR_DEVICE_NOT_FOUND)) {
        return "DeviceNotFound";
    }
    return "GenericError";
}

static JsonNode *error_node(const GError *error)
{
    JsonObject *object = json_object_new();
    const char *text = error->message;

    if (g_str_has_prefix(text, ": ")) { /* options that have no name */
        text += 2;
    }
    json_object_set_string_member(object, "class", class_name(error));
    json_object_set_string_member(object, "desc", text);
    return object_node(object);
}

static JsonObject *version(void)
{
    JsonObject *qemu = json_object_new(), *object = json_object_new();

    json_object_set_int_member(qemu, "major", QEMU_MAJOR);
    json_object_set_int_member(qemu, "minor", QEMU_MINOR);
    json_object_set_int_member(qemu, "micro", QEMU_MICRO);
    json_object_set_object_member(object, "qemu", qemu);
    json_object_set_string_member(object, "package", package);
    return object;
}

JsonNode *qmp_greeting(void)
{
    JsonObject *qmp = json_object_new(), *object = json_object_new();

    json_object_set_object_member(qmp, "version", version());
    json_object_set_array_member(qmp, "capabilities", json_array_new());
    json_object_set_object_member(object, "QMP", qmp);
    return object_node(object);
}

static void send_event(QmpSession *session, void *opaque)
{
    if (session->negotiated) {
        monitor_send(session, json_node_copy(opaque));
    }
}

void qmp_event(const char *name, JsonObject *data)
{
    JsonObject *event = json_object_new(), *timestamp = json_object_new();
    gint64 now_us = g_get_real_time();
    g_autoptr(JsonNode) node = NULL;

    json_object_set_int_member(timestamp, "seconds", now_us / G_USEC_PER_SEC);
    json_object_set_int_member(timestamp, "microseconds",
                               now_us % G_USEC_PER_SEC);
    json_object_set_object_member(event, "timestamp", timestamp);
    json_object_set_string_member(event, "event", name);
    if (data) {
        json_object_set_object_member(event, "data", data);
    }
    node = object_node(event);
    monitor_foreach(send_event, node);
}

/* --- Calls --- */

static void end_call(QmpCall *call)
{
    if (call->session) {
        call->session->call = NULL;
        monitor_resume(call->session);
    }
    g_clear_pointer(&call->id, json_node_unref);
    g_free(call);
}

static void answer(QmpCall *call, const char *member, JsonNode *value)
{
    if (call->session) {
        send_reply(call->session, member, value, call->id);
    } else {
        json_node_unref(value);
    }
    end_call(call);
}

void qmp_return(QmpCall *call, JsonNode *value)
{
    answer(call, "return", value ? value : object_node(json_object_new()));
}

void qmp_return_array(QmpCall *call, JsonArray *array)
{
    JsonNode *node = json_node_new(JSON_NODE_ARRAY);

    json_node_take_array(node, array);
    qmp_return(call, node);
}

void qmp_fail(QmpCall *call, GError *error)
{
    answer(call, "error", error_node(error));
    g_error_free(error);
}

void qmp_finish(QmpCall *call, GError *error)
{
    if (error) {
        qmp_fail(call, error);
    } else {
        qmp_return(call, NULL);
    }
}

void qmp_session_end(QmpSession *session)
{
    if (session->call) {
        session->call->session = NULL;
        session->call = NULL;
    }
    session->negotiated = false;
}

/* --- Commands that every monitor has --- */

static void query_version(QmpCall *call, Options *args)
{
    if (qmp_no_args(call, args)) {
        qmp_return(call, object_node(version()));
    }
}

static void query_commands(QmpCall *call, Options *args);

/* There is nothing to enable: out-of-band commands are not offered. */
static void qmp_capabilities(QmpCall *call, Options *args)
{
    GError *error = NULL;
    g_auto(GStrv) enable = NULL;

    if (options_take_strv(args, "enable", &enable, &error) && enable &&
        enable[0]) {
        g_set_error(&error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "Capability '%.64s' is not available", enable[0]);
    }
    if (!error && qmp_args_done(args, &error)) {
        call->session->negotiated = true;
    }
    qmp_finish(call, error);
}

static const QmpCommand common[] = {
    { "qmp_capabilities", qmp_capabilities },
    { "query-version", query_version },
    { "query-commands", query_commands },
    { "query-chardev", qmp_query_chardev },
    { NULL, NULL },
};

static void add_names(JsonArray *array, const QmpCommand *commands)
{
    for (; commands->name; commands++) {
        JsonObject *object = json_object_new();

        json_object_set_string_member(object, "name", commands->name);
        json_array_add_object_element(array, object);
    }
}

static void query_commands(QmpCall *call, Options *args)
{
    JsonArray *array;

    if (!qmp_no_args(call, args)) {
        return;
    }
    array = json_array_new();
    add_names(array, common);
    for (unsigned i = 0; tables && i < tables->len; i++) {
        add_names(array, tables->pdata[i]);
    }
    qmp_return_array(call, array);
}

static const QmpCommand *find_in(const QmpCommand *commands, const char *name)
{
    for (; commands->name; commands++) {
        if (strcmp(commands->name, name) == 0) {
            return commands;
        }
    }
    return NULL;
}

static const QmpCommand *find_command(const char *name)
{
    const QmpCommand *found = find_in(common, name);

    for (unsigned i = 0; !found && tables && i < tables->len; i++) {
        found = find_in(tables->pdata[i], name);
    }
    return found;
}

/* --- Messages from the client --- */

typedef struct QmpInput {
    const char *execute;   /* borrowed from the message, as are the others */
    JsonObject *arguments; /* or NULL */
    JsonNode *id;          /* or NULL */
} QmpInput;

static bool take_member(QmpInput *input, const char *name, JsonNode *value,
                        GError **error)
{
    if (strcmp(name, "execute") == 0) {
        if (!JSON_NODE_HOLDS_VALUE(value) ||
            json_node_get_value_type(value) != G_TYPE_STRING) {
            return error_setg(error,
                              "QMP input member 'execute' must be a string");
        }
        input->execute = json_node_get_string(value);
        return true;
    }
    if (strcmp(name, "arguments") == 0) {
        if (!JSON_NODE_HOLDS_OBJECT(value)) {
            return error_setg(error,
                              "QMP input member 'arguments' must be an object");
        }
        input->arguments = json_node_get_object(value);
        return true;
    }
    return strcmp(name, "id") == 0 ||
           error_setg(error, "QMP input member '%.64s' is unexpected", name);
}

static bool read_input(QmpInput *input, JsonNode *message, GError **error)
{
    JsonObjectIter iter;
    const char *name;
    JsonNode *value;

    if (!JSON_NODE_HOLDS_OBJECT(message)) {
        return error_setg(error, "QMP input must be a JSON object");
    }
    input->id = json_object_get_member(json_node_get_object(message), "id");
    json_object_iter_init(&iter, json_node_get_object(message));
    while (json_object_iter_next(&iter, &name, &value)) {
        if (!take_member(input, name, value, error)) {
            return false;
        }
    }
    return input->execute ||
           error_setg(error, "QMP input lacks member 'execute'");
}

static bool not_found(GError **error, const char *fmt, const char *name)
    G_GNUC_PRINTF(2, 0);

static bool not_found(GError **error, const char *fmt, const char *name)
{
    g_autofree char *text = g_strdup_printf(fmt, name);

    g_set_error_literal(error, QMP_ERROR, QMP_ERROR_COMMAND_NOT_FOUND, text);
    return false;
}

static bool check_negotiation(const QmpSession *session,
                              const QmpCommand *command, GError **error)
{
    bool negotiates = command && command->fn == qmp_capabilities;

    if (!session->negotiated && !negotiates) {
        return not_found(error, "Expecting capabilities negotiation with "
                         "'%s'", "qmp_capabilities");
    }
    if (session->negotiated && negotiates) {
        return not_found(error, "Capabilities negotiation is already "
                         "complete, %s ignored", "command");
    }
    return true;
}

static void call_command(QmpSession *session, const QmpCommand *command,
                         const QmpInput *input, Options *args)
{
    QmpCall *call = g_new0(QmpCall, 1);

    call->session = session;
    call->id = input->id ? json_node_copy(input->id) : NULL;
    session->call = call;
    command->fn(call, args);
}

void qmp_dispatch(QmpSession *session, JsonNode *message)
{
    QmpInput input = { 0 };
    const QmpCommand *command = NULL;
    g_autoptr(Options) args = NULL;
    g_autoptr(GError) error = NULL;

    if (read_input(&input, message, &error)) {
        command = find_command(input.execute);
        if (check_negotiation(session, command, &error) && !command) {
            not_found(&error, "The command %.64s has not been found",
                      input.execute);
        }
        if (!error) {
            args = options_from_json(input.arguments, "", &error);
        }
    }
    if (error) {
        send_reply(session, "error", error_node(error), input.id);
        return;
    }
    call_command(session, command, &input, args);
}

void qmp_dispatch_error(QmpSession *session, GError *error)
{
    send_reply(session, "error", error_node(error), NULL);
    g_error_free(error);
}

/* --- Arguments --- */

bool qmp_need_str(Options *args, const char *key, char **value,
                  GError **error)
{
    if (!options_has(args, key)) {
        return error_setg(error, "Parameter '%s' is missing", key);
    }
    return options_take_str(args, key, value, error);
}

bool qmp_args_done(Options *args, GError **error)
{
    g_autofree char *key = options_first_key(args);

    return !key || error_setg(error, "Parameter '%s' is unexpected", key);
}

bool qmp_no_args(QmpCall *call, Options *args)
{
    GError *error = NULL;

    if (!qmp_args_done(args, &error)) {
        qmp_fail(call, error);
        return false;
    }
    return true;
}
