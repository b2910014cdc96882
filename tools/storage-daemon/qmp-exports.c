/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP commands about exports: what there is, block-export-add and -del,
 * statistics. Called by clients through monitor/qmp.h; calls export.c.
 */
#include "qmp-commands.h"

#include "export.h"
#include "object.h"
#include "settings.h"
#include "block/error.h"
#include "block/graph.h"

#include <string.h>

static AioContext *ctx;

/* --- query-block-exports --- */

static void add_export(Export *export, void *opaque)
{
    JsonObject *object = json_object_new();

    json_object_set_string_member(object, "id", export_id(export));
    json_object_set_string_member(object, "type", "vhost-user-blk");
    json_object_set_string_member(object, "node-name",
                                  export_node_name(export));
    json_object_set_boolean_member(object, "shutting-down",
                                   export_is_deleted(export));
    json_array_add_object_element(opaque, object);
}

static void query_exports(QmpCall *call, Options *args, ExportFn *add)
{
    JsonArray *array;

    if (!qmp_no_args(call, args)) {
        return;
    }
    array = json_array_new();
    export_foreach(add, array);
    qmp_return_array(call, array);
}

static void query_block_exports(QmpCall *call, Options *args)
{
    query_exports(call, args, add_export);
}

/* --- x-vblk-stats --- */

/* The counters of --stats, by the same names. */
static JsonObject *counters(const BlockStats *stats)
{
    g_autofree char *line = block_stats_line(stats);
    g_auto(GStrv) words = g_strsplit(line, " ", -1);
    JsonObject *object = json_object_new();

    for (char **word = words; *word; word++) {
        char *value = strchr(*word, '=');
        gint64 number;

        if (!value) {
            continue;
        }
        *value++ = '\0';
        if (g_ascii_string_to_signed(value, 10, 0, G_MAXINT64, &number,
                                     NULL)) {
            json_object_set_int_member(object, *word, number);
        } else {
            json_object_set_string_member(object, *word, value);
        }
    }
    return object;
}

/* Element i counts requests that took from 2^i us on. */
static JsonArray *latencies(const BlockStats *stats)
{
    JsonArray *array = json_array_new();

    for (unsigned i = 0; i < BLOCK_LATENCY_BUCKETS; i++) {
        json_array_add_int_element(array, stats->latency[i]);
    }
    return array;
}

static void add_stats(Export *export, void *opaque)
{
    static const char *const statuses[] = {
        [BLOCK_DEVICE_IO_STATUS_OK] = "ok",
        [BLOCK_DEVICE_IO_STATUS_FAILED] = "failed",
        [BLOCK_DEVICE_IO_STATUS_NOSPACE] = "nospace",
    };
    VirtIOBlockHold hold = virtio_blk_get_hold(export_device(export));
    JsonObject *object = json_object_new();
    BlockStats stats = { 0 };

    virtio_blk_get_stats(export_device(export), &stats);
    json_object_set_string_member(object, "id", export_id(export));
    json_object_set_string_member(object, "node-name",
                                  export_node_name(export));
    json_object_set_boolean_member(object, "connected",
                                   export_is_connected(export));
    json_object_set_boolean_member(object, "active",
                                   !bdrv_is_inactive(bdrv_find_node(
                                       export_node_name(export))));
    json_object_set_string_member(object, "io-status",
                                  statuses[hold.io_status]);
    json_object_set_int_member(object, "held", hold.n_held);
    json_object_set_object_member(object, "stats", counters(&stats));
    json_object_set_array_member(object, "latency-us-log2",
                                 latencies(&stats));
    json_array_add_object_element(opaque, object);
}

static void x_vblk_stats(QmpCall *call, Options *args)
{
    query_exports(call, args, add_stats);
}

/* --- block-export-add, block-export-del --- */

static bool check_present(Options *args, GError **error)
{
    static const char *const keys[] = { "type", "id", "node-name" };

    for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (!options_peek_str(args, keys[i])) {
            return error_setg(error, "Parameter '%s' is missing", keys[i]);
        }
    }
    return true;
}

static bool check_iothread(Options *args, GError **error)
{
    const char *id = options_peek_str(args, "iothread");

    if (id && !object_lookup_iothread(id)) {
        return error_setg(error, "iothread \"%.64s\" not found", id);
    }
    return true;
}

/* What QEMU says before it looks at anything else. */
static bool check_export(Options *args, GError **error)
{
    const char *type, *id, *node_name;

    if (!check_present(args, error)) {
        return false;
    }
    type = options_peek_str(args, "type");
    id = options_peek_str(args, "id");
    node_name = options_peek_str(args, "node-name");
    if (strcmp(type, "vhost-user-blk") != 0) {
        error_setg(error, "Parameter 'type' does not accept value '%.64s'",
                   type);
    } else if (!g_ascii_isalpha(*id) ||
               id[strspn(id, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "-._")]) {
        error_setg(error, "Invalid block export id");
    } else if (export_find(id)) {
        error_setg(error, "Block export id '%s' is already in use", id);
    } else if (!bdrv_find_node(node_name)) {
        error_setg(error, "Cannot find device='' nor node-name='%.64s'",
                   node_name);
    } else {
        return check_iothread(args, error);
    }
    return false;
}

static void block_export_add(QmpCall *call, Options *args)
{
    g_autoptr(Change) change = NULL;
    GError *error = NULL;

    if (check_export(args, &error) &&
        settings_prepare(CHANGE_EXPORT, args, &change, &error) &&
        export_add(qmp_args_copy(args), ctx, &error)) {
        settings_added(g_steal_pointer(&change));
    }
    qmp_finish(call, error);
}

static bool take_mode(Options *args, bool *hard, GError **error)
{
    g_autofree char *mode = NULL;

    if (!options_take_str(args, "mode", &mode, error)) {
        return false;
    }
    *hard = g_strcmp0(mode, "hard") == 0;
    if (mode && !*hard && strcmp(mode, "safe") != 0) {
        return error_setg(error, "Parameter 'mode' does not accept value "
                          "'%.64s'", mode);
    }
    return true;
}

static void delete_export(const char *id, bool hard, GError **error)
{
    Export *export = export_find(id);

    if (!export && settings_give_up(CHANGE_EXPORT, id)) {
        export_drop_kept_socket(id);
        return;
    }
    if (!export) {
        error_setg(error, "Export '%.64s' is not found", id);
    } else if (export_is_deleted(export)) {
        error_setg(error, "Export '%s' is already shutting down", id);
    } else if (!hard && export_is_connected(export)) {
        error_setg(error, "export '%s' still in use", id);
    } else {
        export_forget_socket(export);
        export_del(export);
        settings_deleted(CHANGE_EXPORT, id);
    }
}

static void block_export_del(QmpCall *call, Options *args)
{
    GError *error = NULL;
    g_autofree char *id = NULL;
    bool hard = false;

    if (qmp_need_str(args, "id", &id, &error) &&
        take_mode(args, &hard, &error) && qmp_args_done(args, &error)) {
        delete_export(id, hard, &error);
    }
    qmp_finish(call, error);
}

/* --- errors, cont --- */

static Export *need_export(const char *id, GError **error)
{
    Export *export = export_find(id);

    if (!export || export_is_deleted(export)) {
        error_setg(error, "Export '%.64s' is not found", id);
        return NULL;
    }
    return export;
}

static void resume_export(Export *export, void *opaque)
{
    virtio_blk_resume(export_device(export));
}

/* All of them, as QEMU's lets the whole machine go on; or one. */
static void qmp_cont(QmpCall *call, Options *args)
{
    GError *error = NULL;
    g_autofree char *id = NULL;
    Export *export;

    if (!options_take_str(args, "id", &id, &error) ||
        !qmp_args_done(args, &error)) {
        qmp_fail(call, error);
        return;
    }
    if (!id) {
        export_foreach(resume_export, NULL);
    } else {
        export = need_export(id, &error);
        if (export) {
            resume_export(export, NULL);
        }
    }
    qmp_finish(call, error);
}

static void look_for_hold(Export *export, void *opaque)
{
    bool *held = opaque;

    *held |= virtio_blk_get_hold(export_device(export)).io_status !=
             BLOCK_DEVICE_IO_STATUS_OK;
}

/* QEMU's words for a machine that stands still because of an error. */
static void query_status(QmpCall *call, Options *args)
{
    bool held = false;
    JsonObject *object;
    JsonNode *node;

    if (!qmp_no_args(call, args)) {
        return;
    }
    export_foreach(look_for_hold, &held);
    object = json_object_new();
    json_object_set_string_member(object, "status",
                                  held ? "io-error" : "running");
    json_object_set_boolean_member(object, "running", !held);
    json_object_set_boolean_member(object, "singlestep", false);
    node = json_node_new(JSON_NODE_OBJECT);
    json_node_take_object(node, object);
    qmp_return(call, node);
}

/* --- events --- */

static JsonObject *event_data(const char *id)
{
    JsonObject *data = json_object_new();

    json_object_set_string_member(data, "id", id);
    return data;
}

static void export_deleted(const char *id)
{
    qmp_event("BLOCK_EXPORT_DELETED", event_data(id));
}

static void export_io_error(Export *export, const VirtIOBlockError *error)
{
    static const char *const actions[] = {
        [BLOCK_ERROR_ACTION_REPORT] = "report",
        [BLOCK_ERROR_ACTION_IGNORE] = "ignore",
        [BLOCK_ERROR_ACTION_STOP] = "stop",
    };
    JsonObject *data = json_object_new();

    json_object_set_string_member(data, "device", export_id(export));
    json_object_set_string_member(data, "node-name",
                                  export_node_name(export));
    json_object_set_string_member(data, "operation",
                                  error->op == BLOCK_READ ? "read" : "write");
    json_object_set_string_member(data, "action", actions[error->action]);
    json_object_set_boolean_member(data, "nospace", error->nospace);
    json_object_set_string_member(data, "reason", g_strerror(error->error));
    qmp_event("BLOCK_IO_ERROR", data);
}

static void export_resumed(Export *export)
{
    qmp_event("X_VBLK_EXPORT_RESUMED", event_data(export_id(export)));
}

void qmp_exports_init(AioContext *main_ctx)
{
    static const ExportEvents events = {
        .deleted = export_deleted,
        .io_error = export_io_error,
        .resumed = export_resumed,
    };

    ctx = main_ctx;
    export_set_events(&events);
}

const QmpCommand qmp_export_commands[] = {
    { "query-block-exports", query_block_exports },
    { "block-export-add", block_export_add },
    { "block-export-del", block_export_del },
    { "block_resize", qmp_block_resize },
    { "cont", qmp_cont },
    { "query-status", query_status },
    { "x-vblk-stats", x_vblk_stats },
    { NULL, NULL },
};
