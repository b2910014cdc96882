/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finds the snapshot that -l names and has the driver show it. Called by
 * convert and measure.
 */
#include "snapshot-param.h"

#include "block/control.h"
#include "tools/common/message.h"

#include <string.h>

void snapshot_param_clear(SnapshotParam *param)
{
    g_clear_pointer(&param->either, g_free);
    g_clear_pointer(&param->id, g_free);
    g_clear_pointer(&param->name, g_free);
}

static bool take(SnapshotParam *param, Options *opts, GError **error)
{
    g_autofree char *left = NULL;

    if (!options_take_str(opts, "snapshot.id", &param->id, error) ||
        !options_take_str(opts, "snapshot.name", &param->name, error)) {
        return false;
    }
    left = options_first_key(opts);
    if (left) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "Invalid parameter '%s'", left);
        return false;
    }
    return true;
}

bool snapshot_param_parse(SnapshotParam *param, const char *text)
{
    g_autoptr(Options) opts = NULL;
    GError *error = NULL;

    snapshot_param_clear(param);
    if (!g_str_has_prefix(text, "snapshot.")) {
        param->either = g_strdup(text);
        return true;
    }
    opts = options_parse(text, "-l", NULL, &error);
    if (opts && take(param, opts, &error)) {
        return true;
    }
    error_report_err(error);
    error_report("Failed in parsing snapshot param '%s'", text);
    return false;
}

static bool matches(const SnapshotParam *param, const BlockSnapshot *snapshot)
{
    return (!param->id || strcmp(param->id, snapshot->id) == 0) &&
           (!param->name || strcmp(param->name, snapshot->name) == 0);
}

static const BlockSnapshot *find_by(const GPtrArray *list,
                                    const SnapshotParam *param)
{
    for (unsigned i = 0; i < list->len; i++) {
        if (matches(param, list->pdata[i])) {
            return list->pdata[i];
        }
    }
    return NULL;
}

static const BlockSnapshot *find(const GPtrArray *list,
                                 const SnapshotParam *param)
{
    const BlockSnapshot *found;

    if (!param->either) {
        return find_by(list, param);
    }
    found = find_by(list, &(SnapshotParam){ .id = param->either });
    return found ? found
                 : find_by(list, &(SnapshotParam){ .name = param->either });
}

typedef struct LoadCall {
    BlockDriverState *bs;
    const char *id;
    bool ok;
    GError *error;
} LoadCall;

static void coroutine_fn load_entry(void *opaque)
{
    LoadCall *call = opaque;

    call->ok = call->bs->drv->image->co_snapshot_load(call->bs, call->id,
                                                      &call->error);
}

bool snapshot_param_load(const SnapshotParam *param, BlockDriverState *bs)
{
    const BlockImageOps *ops = bs->drv->image;
    LoadCall call = { .bs = bs };
    g_autoptr(GPtrArray) list = NULL;
    const BlockSnapshot *found;

    if (!param->either && !param->id && !param->name) {
        return true;
    }
    if (!ops || !ops->co_snapshot_load || !ops->snapshot_list) {
        error_report("Failed to load snapshot: Block format '%s' used by "
                     "device '' does not support temporarily loading "
                     "internal snapshots", bs->drv->name);
        return false;
    }
    list = ops->snapshot_list(bs);
    found = list ? find(list, param) : NULL;
    if (!found) {
        error_report("Failed to load snapshot: Can't find snapshot");
        return false;
    }
    call.id = found->id;
    bdrv_run_co(bs, load_entry, &call);
    if (!call.ok) {
        error_reportf_err(call.error, "Failed to load snapshot: ");
    }
    return call.ok;
}
