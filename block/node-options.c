/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads the options that every node has, whatever its driver. Called by
 * graph.c, in the main thread.
 */
#include "node-options.h"

#include <string.h>

#include "block/image.h"

#define NODE_NAME_MAX 31
/* Opening goes down the graph by recursion, and images say how deep that is. */
#define MAX_DEPTH 1000

/* As QEMU wants identifiers: what starts with '#' is ours to give. */
static bool is_well_formed(const char *name)
{
    return g_ascii_isalpha(*name) &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz"
                        "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") ==
               strlen(name) &&
           strlen(name) <= NODE_NAME_MAX;
}

static bool take_node_name(Options *opts, char **node_name, GError **error)
{
    g_autofree char *what = NULL;

    if (!options_take_str(opts, "node-name", node_name, error)) {
        return false;
    }
    if (!*node_name) {
        return true;
    }
    if (!is_well_formed(*node_name)) {
        g_autofree char *shown = g_strescape(*node_name, NULL);

        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "%s: Invalid node-name: '%.64s'", options_what(opts),
                    shown);
        return false;
    }
    if (*options_what(opts)) { /* else it is named by its file */
        what = g_strdup_printf("blockdev '%s'", *node_name);
        options_set_what(opts, what);
    }
    return true;
}

bool node_options_identify(Options *opts, char **node_name,
                           const BlockDriver **drv, GError **error)
{
    g_autofree char *driver = NULL;
    g_autofree char *shown = NULL;

    if (!take_node_name(opts, node_name, error) ||
        !options_need_str(opts, "driver", &driver, error)) {
        return false;
    }
    *drv = bdrv_find_driver(driver);
    if (*drv) {
        return true;
    }
    shown = g_strescape(driver, NULL);
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                "%s: Unknown driver '%.64s'", options_what(opts), shown);
    return false;
}

static bool take_booleans(Options *opts, BlockDriverState *bs, GError **error)
{
    return options_take_bool(opts, "read-only", &bs->read_only, error) &&
           options_take_bool(opts, "auto-read-only", &bs->auto_read_only,
                             error) &&
           options_take_bool(opts, "cache.direct", &bs->cache_direct,
                             error) &&
           options_take_bool(opts, "cache.no-flush", &bs->cache_no_flush,
                             error) &&
           options_take_bool(opts, "force-share", &bs->force_share, error);
}

/*
 * A child that is described within its parent's options is inactive with it.
 * In a process that takes over, nodes are what they were in the one before.
 */
static bool take_active(Options *opts, const BlockDriverState *above,
                        BlockDriverState *bs, GError **error)
{
    bool active = !above || !above->starts_inactive;

    if (!options_take_bool(opts, "active", &active, error)) {
        return false;
    }
    bs->starts_inactive = !active;
    bs->inactive = !active;
    if (above && above->starts_inactive && !above->inactive) {
        bs->inactive = false;
    } else if (above && !above->starts_inactive && above->inactive) {
        bs->inactive = true;
    }
    bdrv_left_inactive(bs->node_name, &bs->inactive);
    return true;
}

static bool take_enums(Options *opts, BlockDriverState *bs, GError **error)
{
    static const char *const discards[] = { "ignore", "unmap", NULL };
    static const char *const detects[] = { "off", "on", "unmap", NULL };
    int discard = bs->discard_unmap, detect = DETECT_ZEROES_OFF;

    if (!options_take_enum(opts, "discard", discards, &discard, error) ||
        !options_take_enum(opts, "detect-zeroes", detects, &detect, error)) {
        return false;
    }
    bs->discard_unmap = discard;
    bs->detect_zeroes = detect;
    return true;
}

/*
 * A format sends flushes and respects the user's wish for discards itself:
 * its file passes on what it is given. Access and caching are one decision
 * for both.
 */
static void inherit(BlockDriverState *bs, const NodeSpec *spec)
{
    const BlockDriverState *above = spec->parent;

    bs->overlay = spec->backing ? above
                  : above->drv && above->drv->is_filter ? above->overlay
                                                        : NULL;
    bs->open_depth = above->open_depth + 1;
    bs->open_flags = above->open_flags & ~BDRV_OPEN_NO_BACKING;
    bs->read_only = above->read_only || spec->backing;
    bs->auto_read_only = above->auto_read_only && !spec->backing;
    bs->cache_direct = above->cache_direct;
    bs->cache_no_flush = above->cache_no_flush;
    bs->force_share = above->force_share;
    bs->discard_unmap = !spec->backing;
}

bool node_options_take(Options *opts, const NodeSpec *spec,
                       BlockDriverState *bs, GError **error)
{
    bs->open_flags = spec->flags;
    bs->probed = spec->probed;
    if (spec->parent) {
        inherit(bs, spec);
    }
    if (!take_booleans(opts, bs, error) || !take_enums(opts, bs, error) ||
        !take_active(opts, spec->parent, bs, error)) {
        return false;
    }
    if (bs->open_depth > MAX_DEPTH) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "%s: more than %d images and files below each other",
                    options_what(opts), MAX_DEPTH);
        return false;
    }
    if (bs->force_share && !bs->read_only) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "%s: force-share=on can only be used with read-only "
                    "images", options_what(opts));
        return false;
    }
    if (bs->detect_zeroes == DETECT_ZEROES_UNMAP && !bs->discard_unmap) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "%s: setting detect-zeroes to unmap is not allowed "
                    "without setting discard operation to unmap",
                    options_what(opts));
        return false;
    }
    return true;
}
