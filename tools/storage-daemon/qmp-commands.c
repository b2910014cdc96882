/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Joins QMP and the daemon; has the commands that are about the process
 * itself. Called by main.c.
 */
#include "qmp-commands.h"

#include "config.h"

static AioFn *quit_fn;
static void *quit_opaque;

static void qmp_quit(QmpCall *call, Options *args)
{
    if (!qmp_no_args(call, args)) {
        return;
    }
    qmp_return(call, NULL);
    quit_fn(quit_opaque);
}

static const QmpCommand process_commands[] = {
    { "quit", qmp_quit },
    { NULL, NULL },
};

void qmp_commands_init(AioContext *main_ctx, AioFn *quit, void *opaque)
{
    quit_fn = quit;
    quit_opaque = opaque;
    qmp_set_package("vblk-storage-daemon " VBLK_VERSION);
    qmp_exports_init(main_ctx);
    qmp_register(process_commands);
    qmp_register(qmp_node_commands);
    qmp_register(qmp_export_commands);
    qmp_register(qmp_object_commands);
}

Options *qmp_args_copy(Options *args)
{
    g_autoptr(JsonObject) object = options_copy(args);
    Options *copy = options_from_json(object, options_what(args), NULL);

    g_assert(copy); /* it was checked when it was read */
    return copy;
}
