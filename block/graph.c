/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opens, names and closes nodes; keeps the table of those that are open.
 *
 * Main thread only. A node is in the table from the moment it is usable until
 * its last reference goes; its child is opened before and closed after it.
 */
#include "block/graph.h"

#include "block/driver.h"
#include "image-filename.h"
#include "node-options.h"
#include "range-lock.h"

static GHashTable *nodes;    /* name to node, no reference */
static GPtrArray *in_order;  /* the same, oldest first */
static GSList *blockdevs;    /* one reference each, newest first */
static unsigned unnamed;     /* how many names we gave */

BlockDriverState *bdrv_find_node(const char *node_name)
{
    return nodes ? g_hash_table_lookup(nodes, node_name) : NULL;
}

static void add_to_table(BlockDriverState *bs)
{
    if (!nodes) {
        nodes = g_hash_table_new(g_str_hash, g_str_equal);
        in_order = g_ptr_array_new();
    }
    g_hash_table_insert(nodes, bs->node_name, bs);
    g_ptr_array_add(in_order, bs);
}

static void remove_from_table(BlockDriverState *bs)
{
    g_hash_table_remove(nodes, bs->node_name);
    g_ptr_array_remove(in_order, bs);
    if (g_hash_table_size(nodes) == 0) {
        g_clear_pointer(&nodes, g_hash_table_unref);
        g_clear_pointer(&in_order, g_ptr_array_unref);
    }
}

void bdrv_foreach_node(BdrvNodeFn *fn, void *opaque)
{
    for (unsigned i = in_order ? in_order->len : 0; i > 0; i--) {
        fn(in_order->pdata[i - 1], opaque);
    }
}

BlockDriverState *bdrv_ref(BlockDriverState *bs)
{
    bs->refcount++;
    return bs;
}

/* A filter is as long as its file. */
static void add_growers(BlockDriverState *bs, int more)
{
    for (; bs; bs = bs->drv->is_filter ? bs->file : NULL) {
        bs->growers += more;
        bs->grows = bs->growers > 0;
    }
}

/* Who else has the last child is not the one that it grew for. */
static void drop_last_child(BlockDriverState *bs)
{
    guint last = bs->children->len - 1;
    BlockDriverState *child = g_ptr_array_remove_index(bs->children, last);

    if (g_array_index(bs->child_flags, unsigned, last) & BDRV_CHILD_GROWS) {
        add_growers(child, -1);
    }
    g_array_set_size(bs->child_flags, last);
    bdrv_unref(child);
}

/* @bs is not, or not any more, in the table; its driver is closed. */
static void free_node(BlockDriverState *bs)
{
    if (bs->claimed) {
        bs->claimed->claims--;
    }
    while (bs->children->len > 0) {
        drop_last_child(bs);
    }
    g_ptr_array_unref(bs->children);
    g_ptr_array_unref(bs->child_keys);
    g_array_unref(bs->child_flags);
    g_clear_pointer(&bs->full_options, json_object_unref);
    range_lock_free(bs->range_lock);
    g_free(bs->filename);
    g_free(bs->backing_file);
    g_free(bs->backing_format);
    g_free(bs->opaque);
    g_free(bs->node_name);
    g_free(bs);
}

void bdrv_unref(BlockDriverState *bs)
{
    g_assert(bs->refcount > 0);
    if (--bs->refcount > 0) {
        return;
    }
    g_assert(bs->attached == 0 && !bs->home);
    remove_from_table(bs);
    if (bs->drv->close) {
        bs->drv->close(bs);
    }
    free_node(bs);
}

static BlockDriverState *new_node(const BlockDriver *drv, char *node_name)
{
    BlockDriverState *bs = g_new0(BlockDriverState, 1);

    bs->refcount = 1;
    bs->drv = drv;
    bs->children = g_ptr_array_new();
    bs->child_keys = g_ptr_array_new_with_free_func(g_free);
    bs->child_flags = g_array_new(FALSE, FALSE, sizeof(unsigned));
    bs->opaque = drv->instance_size ? g_malloc0(drv->instance_size) : NULL;
    bs->node_name = node_name ? node_name
                              : g_strdup_printf("#block%03u", unnamed++);
    bs->limits.request_alignment = 1;
    bs->limits.memory_alignment = 1;
    return bs;
}

static bool check_unique(Options *opts, const char *node_name, GError **error)
{
    if (!node_name || !bdrv_find_node(node_name)) {
        return true;
    }
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                "%s: Duplicate nodes with node-name='%s'", options_what(opts),
                node_name);
    return false;
}

typedef struct ChildRole {
    const char *key; /* the option that names it */
    unsigned flags;  /* BDRV_CHILD_ */
} ChildRole;

static bool check_active(const BlockDriverState *bs,
                         const BlockDriverState *child, const char *key,
                         GError **error)
{
    if (!child->inactive || bs->inactive) {
        return true;
    }
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                "Inactive '%s' can't be a %s child of active '%s'",
                child->node_name, key, bs->node_name);
    return false;
}

/* @child is dropped when it cannot be one. */
static bool adopt_child(BlockDriverState *bs, BlockDriverState *child,
                        ChildRole role, GError **error)
{
    if (!check_active(bs, child, role.key, error)) {
        bdrv_unref(child);
        return false;
    }
    g_ptr_array_add(bs->children, child);
    g_ptr_array_add(bs->child_keys, g_strdup(role.key));
    g_array_append_val(bs->child_flags, role.flags);
    if (role.flags & BDRV_CHILD_GROWS) {
        add_growers(child, 1);
    }
    return true;
}

/* Consumes @child_opts. */
static bool open_inline(BlockDriverState *bs, Options *child_opts,
                        ChildRole role, BlockDriverState **child,
                        GError **error)
{
    NodeSpec spec = {
        .parent = bs,
        .backing = role.flags & BDRV_CHILD_BACKING,
        .is_file = !(role.flags & (BDRV_CHILD_IMAGE | BDRV_CHILD_BACKING)),
    };

    *child = image_open_node(child_opts, &spec, error);
    if (*child && !adopt_child(bs, *child, role, error)) {
        *child = NULL;
    }
    return *child;
}

bool bdrv_open_child_options(BlockDriverState *bs, Options *child_opts,
                             unsigned flags, BlockDriverState **child,
                             GError **error)
{
    ChildRole role = {
        .key = flags & BDRV_CHILD_BACKING ? "backing" : "file",
        .flags = flags,
    };

    return open_inline(bs, child_opts, role, child, error);
}

BlockDriverState *graph_find_node(const Options *opts, const char *name,
                                  GError **error)
{
    BlockDriverState *bs = bdrv_find_node(name);
    g_autofree char *shown = NULL;

    if (bs) {
        return bdrv_ref(bs);
    }
    shown = g_strescape(name, NULL);
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                "%s: Cannot find device='%.64s' nor node-name='%.64s'",
                options_what(opts), shown, shown);
    return NULL;
}

bool bdrv_open_child(BlockDriverState *bs, Options *opts, const char *key,
                     unsigned flags, BlockDriverState **child,
                     GError **error)
{
    ChildRole role = { .key = key, .flags = flags };
    g_autofree char *name = NULL;
    Options *child_opts;

    *child = NULL;
    if (!options_has(opts, key)) {
        if (flags & BDRV_CHILD_OPTIONAL) {
            return true;
        }
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "%s: A block device must be specified for \"%s\"",
                    options_what(opts), key);
        return false;
    }
    if (!options_take_child(opts, key, &child_opts, error)) {
        return false;
    }
    if (child_opts) {
        return open_inline(bs, child_opts, role, child, error);
    }
    if (!options_take_str(opts, key, &name, error)) {
        return false;
    }
    *child = graph_find_node(opts, name, error);
    if (*child && !adopt_child(bs, *child, role, error)) {
        *child = NULL;
    }
    return *child;
}

/* Over a read-only file a node is read-only too, unless it was told not. */
static bool adopt_read_only(BlockDriverState *bs, Options *opts,
                            bool must_write, GError **error)
{
    if (!bs->file || !bs->file->read_only || bs->read_only) {
        return true;
    }
    if (!must_write || bs->auto_read_only) {
        bs->read_only = true;
        return true;
    }
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                "%s: read-only=off was specified, but node '%s' is read-only",
                options_what(opts), bs->file->node_name);
    return false;
}

static bool check_nothing_left(BlockDriverState *bs, Options *opts,
                               GError **error)
{
    g_autofree char *key = options_first_key(opts);

    if (!key) {
        return true;
    }
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_UNKNOWN_OPTION,
                bs->drv->is_protocol
                    ? "%s: Block protocol '%s' doesn't support the option '%s'"
                    : "%s: Block format '%s' does not support the option '%s'",
                options_what(opts), bs->drv->name, key);
    return false;
}

/* Raw data is for whoever wants it; a format's is not. */
static bool claim_file(BlockDriverState *bs, GError **error)
{
    BlockDriverState *node = bs->file;
    unsigned flags = bs->drv->grows_file && !bs->read_only ? BDRV_CLAIM_RESIZE
                                                           : 0;

    if (bs->drv == &bdrv_raw || bs->drv->is_filter) {
        return true;
    }
    while (node && !node->drv->claim) {
        node = node->file;
    }
    bs->claimed = node;
    if (node) {
        node->claims++;
    }
    return !node || node->drv->claim(node, flags, error);
}

/* It could not be opened. Another user of its file finds that as it was. */
static void give_up(BlockDriverState *bs)
{
    BlockDriverState *claimed = bs->claimed ? bdrv_ref(bs->claimed) : NULL;

    free_node(bs);
    if (claimed && claimed->refcount > 1 && claimed->claims == 0) {
        claimed->drv->unclaim(claimed);
    }
    g_clear_pointer(&claimed, bdrv_unref);
}

/* On failure the driver holds nothing; the child may be open. */
static bool open_driver(BlockDriverState *bs, Options *opts, bool must_write,
                        GError **error)
{
    unsigned flags = bs->drv->grows_file ? BDRV_CHILD_GROWS : 0;

    if (!bs->drv->is_protocol &&
        !bdrv_open_child(bs, opts, "file", flags, &bs->file, error)) {
        return false;
    }
    if (!adopt_read_only(bs, opts, must_write, error) ||
        !image_check_loop(bs, opts, error) || !claim_file(bs, error) ||
        !bs->drv->open(bs, opts, error)) {
        return false;
    }
    bdrv_finish_limits(bs);
    if (adopt_read_only(bs, opts, must_write, error) && /* it has one now? */
        check_nothing_left(bs, opts, error) &&
        check_unique(opts, bs->node_name, error)) {
        return true;
    }
    if (bs->drv->close) {
        bs->drv->close(bs);
    }
    return false;
}

BlockDriverState *graph_open_node(Options *options, const NodeSpec *spec,
                                  GError **error)
{
    g_autoptr(Options) opts = options;
    g_autoptr(JsonObject) given = options_copy(opts);
    g_autofree char *node_name = NULL;
    const BlockDriver *drv;
    BlockDriverState *bs;
    bool must_write;

    if (!node_options_identify(opts, &node_name, &drv, error) ||
        !check_unique(opts, node_name, error)) {
        return NULL;
    }
    must_write = options_has(opts, "read-only");
    bs = new_node(drv, g_steal_pointer(&node_name));
    if (!node_options_take(opts, spec, bs, error) ||
        !open_driver(bs, opts, must_write, error)) {
        give_up(bs);
        return NULL;
    }
    bs->overlay = NULL;
    image_name_node(bs, given);
    add_to_table(bs);
    return bs;
}

BlockDriverState *bdrv_open(Options *opts, GError **error)
{
    return graph_open_node(opts, &(NodeSpec){ 0 }, error);
}

bool bdrv_open_blockdev(Options *opts, GError **error)
{
    BlockDriverState *bs;

    if (!options_has(opts, "node-name")) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "%s: 'node-name' must be specified for the root node",
                    options_what(opts));
        options_free(opts);
        return false;
    }
    bs = bdrv_open(opts, error);
    if (!bs) {
        return false;
    }
    blockdevs = g_slist_prepend(blockdevs, bs);
    return true;
}

bool bdrv_del_blockdev(const char *node_name, GError **error)
{
    BlockDriverState *bs = bdrv_find_node(node_name);
    GSList *link = g_slist_find(blockdevs, bs);
    const char *problem = NULL;

    if (!bs) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "Failed to find node with node-name='%.64s'", node_name);
        return false;
    }
    if (!link) {
        problem = "is not owned by the monitor";
    } else if (bs->refcount > 1) {
        problem = "is in use";
    }
    if (problem) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "Node %s %s", node_name, problem);
        return false;
    }
    blockdevs = g_slist_delete_link(blockdevs, link);
    bdrv_unref(bs);
    return true;
}

bool bdrv_hand_over_all(Handover *handover, GError **error)
{
    GHashTableIter iter;
    gpointer value;

    if (!nodes) {
        return true;
    }
    bdrv_hand_over_states(handover);
    g_hash_table_iter_init(&iter, nodes);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        BlockDriverState *bs = value;

        if (bs->drv->hand_over && !bs->drv->hand_over(bs, handover, error)) {
            return false;
        }
    }
    return true;
}

void bdrv_close_all(void)
{
    while (blockdevs) {
        BlockDriverState *bs = blockdevs->data;

        blockdevs = g_slist_delete_link(blockdevs, blockdevs);
        bdrv_unref(bs);
    }
}
