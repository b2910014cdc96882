/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Nodes become active and inactive: an image goes from one process to another
 * while both have it open. Called by the program; calls the drivers.
 *
 * How it works: what a node is made of is active before the node and inactive
 * after it, so that whoever reads or writes tables has a file that is his:
 *
 *     activate     file: locks, length -> qcow2: header, tables
 *     inactivate   qcow2: tables, flush -> file: no locks
 *
 * When a node refuses, those that have changed are changed back.
 */
#include "block/graph.h"

#include "block/driver.h"

bool bdrv_is_inactive(const BlockDriverState *bs)
{
    return bs->inactive;
}

bool bdrv_is_made_of(const BlockDriverState *bs,
                     const BlockDriverState *below)
{
    bool found = bs == below;

    for (unsigned i = 0; i < bs->children->len && !found; i++) {
        found = bdrv_is_made_of(bs->children->pdata[i], below);
    }
    return found;
}

typedef struct ParentSearch {
    BlockDriverState *child;
    bool found;
} ParentSearch;

static void look_for_parent(BlockDriverState *bs, void *opaque)
{
    ParentSearch *search = opaque;

    search->found |= !bs->inactive &&
                     g_ptr_array_find(bs->children, search->child, NULL);
}

static bool has_active_parent(BlockDriverState *bs)
{
    ParentSearch search = { .child = bs };

    bdrv_foreach_node(look_for_parent, &search);
    return search.found;
}

/* Depth is that of the graph, which open has bounded. */
static bool inactivate_tree(BlockDriverState *bs, GError **error);

/* Those that are somebody else's as well stay. */
static bool inactivate_child(BlockDriverState *child, GError **error)
{
    return child->inactive || child->must_be_active ||
           has_active_parent(child) || inactivate_tree(child, error);
}

static bool activate_self(BlockDriverState *bs, GError **error)
{
    if (bs->drv->activate && !bs->drv->activate(bs, error)) {
        return false;
    }
    if (bs->drv->is_filter && bs->file) {
        bs->total_bytes = bs->file->total_bytes;
    }
    bs->inactive = false;
    return true;
}

/* The first @n children, those of them that this has activated. */
static void undo_children(BlockDriverState *bs, const bool *changed,
                          unsigned n)
{
    for (unsigned i = n; i > 0; i--) {
        if (changed[i - 1]) {
            inactivate_child(bs->children->pdata[i - 1], NULL);
        }
    }
}

bool bdrv_activate(BlockDriverState *bs, GError **error)
{
    unsigned n = bs->children->len;
    g_autofree bool *changed = g_new0(bool, n + 1);

    if (!bs->inactive) {
        return true;
    }
    for (unsigned i = 0; i < n; i++) {
        BlockDriverState *child = bs->children->pdata[i];

        changed[i] = child->inactive;
        if (!bdrv_activate(child, error)) {
            undo_children(bs, changed, i);
            return false;
        }
    }
    if (!activate_self(bs, error)) {
        undo_children(bs, changed, n);
        return false;
    }
    return true;
}

static bool inactivate_tree(BlockDriverState *bs, GError **error)
{
    if (bs->drv->inactivate && !bs->drv->inactivate(bs, error)) {
        return false;
    }
    bs->inactive = true;
    for (unsigned i = bs->children->len; i > 0; i--) {
        if (!inactivate_child(bs->children->pdata[i - 1], error)) {
            bdrv_activate(bs, NULL); /* its locks are still there */
            return false;
        }
    }
    return true;
}

bool bdrv_inactivate(BlockDriverState *bs, GError **error)
{
    if (bs->inactive) {
        return true;
    }
    if (has_active_parent(bs)) {
        g_set_error_literal(error, G_FILE_ERROR, G_FILE_ERROR_FAILED,
                            "Node has active parent node");
        return false;
    }
    if (bs->must_be_active) {
        g_set_error_literal(error, G_FILE_ERROR, G_FILE_ERROR_PERM,
                            "Failed to inactivate node: Operation not "
                            "permitted");
        return false;
    }
    if (!inactivate_tree(bs, error)) {
        g_prefix_error(error, "Failed to inactivate node: ");
        return false;
    }
    return true;
}

/* --- From one process to the next --- */

static GHashTable *left; /* name of a node to GINT of "inactive" */

static void hand_over_state(BlockDriverState *bs, void *opaque)
{
    if (bs->inactive != bs->starts_inactive) {
        HandoverRecord *record = handover_add(opaque, "node", bs->node_name);

        handover_put_uint(record, "inactive", bs->inactive);
    }
}

void bdrv_hand_over_states(Handover *handover)
{
    bdrv_foreach_node(hand_over_state, handover);
}

void bdrv_take_over_states(Handover *handover)
{
    HandoverRecord *record;

    g_assert(!left);
    left = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    while ((record = handover_take(handover, "node", NULL))) {
        uint64_t inactive;

        if (handover_need_uint(record, "inactive", 1, &inactive, NULL)) {
            g_hash_table_insert(left,
                                g_strdup(handover_record_id(record)),
                                GINT_TO_POINTER(inactive));
        }
        handover_record_free(record);
    }
}

void bdrv_take_over_states_end(void)
{
    g_clear_pointer(&left, g_hash_table_unref);
}

void bdrv_left_inactive(const char *node_name, bool *inactive)
{
    gpointer value;

    if (left && node_name &&
        g_hash_table_lookup_extended(left, node_name, NULL, &value)) {
        *inactive = GPOINTER_TO_INT(value);
    }
}
