/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon's options as commands of QMP: the same words, in JSON.
 */
#include "blk-server-qmp.h"

#include "block/options.h"
#include "block/qjson.h"

#define PATIENCE_US (30 * G_USEC_PER_SEC)

static char *to_json(const char *text, const char *implied_key)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Options) opts = options_parse(text, "", implied_key, &error);
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);

    g_assert_no_error(error);
    json_node_take_object(node, options_copy(opts));
    return qobject_to_json(node);
}

static void run(QmpClient *client, const char *name, const char *text,
                const char *implied_key)
{
    g_autofree char *arguments = to_json(text, implied_key);

    qmp_client_run_with(client, name, arguments);
}

static void add_node(QmpClient *client, const char *text)
{
    g_autofree char *arguments = to_json(text, "driver");
    int64_t end_us = g_get_monotonic_time() + PATIENCE_US;

    while (!qmp_client_try(client, "blockdev-add", arguments)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end_us);
    }
}

void blk_server_configure(QmpClient *client, const BlkServerConf *conf,
                          const char *export)
{
    if (conf->object) {
        run(client, "object-add", conf->object, "qom-type");
    }
    for (unsigned i = 0; i < conf->n_iothreads; i++) {
        g_autofree char *text = g_strdup_printf("iothread,id=io%u", i);

        run(client, "object-add", text, "qom-type");
    }
    add_node(client, conf->blockdev);
    run(client, "block-export-add", export, "type");
}
