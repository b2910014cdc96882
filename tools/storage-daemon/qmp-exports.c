/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP commands about exports: what there is, block-export-add and -del,
 * statistics. Called by clients through monitor/qmp.h; calls export.c.
 */
#include "qmp-commands.h"

#include "export.h"
#include "object.h"
#include "block/graph.h"

#include <string.h>

static AioContext *ctx;

static void fail(GError **error, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

static void fail(GError **error, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                        text);
}

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
    GError *error = NULL;
    JsonArray *array;

    if (!qmp_args_done(args, &error)) {
        qmp_fail(call, error);
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
    JsonObject *object = json_object_new();
    BlockStats stats = { 0 };

    virtio_blk_get_stats(export_device(export), &stats);
    json_object_set_string_member(object, "id", export_id(export));
    json_object_set_string_member(object, "node-name",
                                  export_node_name(export));
    json_object_set_boolean_member(object, "connected",
                                   export_is_connected(export));
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
            fail(error, "Parameter '%s' is missing", keys[i]);
            return false;
        }
    }
    return true;
}

static bool check_iothread(Options *args, GError **error)
{
    const char *id = options_peek_str(args, "iothread");

    if (id && !object_lookup_iothread(id)) {
        fail(error, "iothread \"%.64s\" not found", id);
        return false;
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
        fail(error, "Parameter 'type' does not accept value '%.64s'", type);
    } else if (!g_ascii_isalpha(*id) ||
               id[strspn(id, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "-._")]) {
        fail(error, "Invalid block export id");
    } else if (export_find(id)) {
        fail(error, "Block export id '%s' is already in use", id);
    } else if (!bdrv_find_node(node_name)) {
        fail(error, "Cannot find device='' nor node-name='%.64s'",
             node_name);
    } else {
        return check_iothread(args, error);
    }
    return false;
}

static void block_export_add(QmpCall *call, Options *args)
{
    GError *error = NULL;

    if (check_export(args, &error)) {
        export_add(qmp_args_copy(args), ctx, &error);
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
        fail(error, "Parameter 'mode' does not accept value '%.64s'", mode);
        return false;
    }
    return true;
}

static void delete_export(const char *id, bool hard, GError **error)
{
    Export *export = export_find(id);

    if (!export) {
        fail(error, "Export '%.64s' is not found", id);
    } else if (export_is_deleted(export)) {
        fail(error, "Export '%s' is already shutting down", id);
    } else if (!hard && export_is_connected(export)) {
        fail(error, "export '%s' still in use", id);
    } else {
        export_del(export);
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

static void export_deleted(const char *id)
{
    JsonObject *data = json_object_new();

    json_object_set_string_member(data, "id", id);
    qmp_event("BLOCK_EXPORT_DELETED", data);
}

void qmp_exports_init(AioContext *main_ctx)
{
    ctx = main_ctx;
    export_set_deleted_fn(export_deleted);
}

const QmpCommand qmp_export_commands[] = {
    { "query-block-exports", query_block_exports },
    { "block-export-add", block_export_add },
    { "block-export-del", block_export_del },
    { "x-vblk-stats", x_vblk_stats },
    { NULL, NULL },
};
