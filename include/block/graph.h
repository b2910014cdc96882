/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opening, naming and closing nodes. Main thread only.
 */
#ifndef BLOCK_GRAPH_H
#define BLOCK_GRAPH_H

#include "block/handover.h"

typedef struct BlockDriverState BlockDriverState;

/*
 * Opens the node that @opts describe (--blockdev): driver, node-name, the
 * generic options, the driver's own, "file" as a node name or a nested
 * object. @opts is consumed. Returns a reference, or NULL with @error.
 * Context: main
 */
BlockDriverState *bdrv_open(Options *opts, GError **error);

/*
 * The same for a node that stays, under the name it has to have, until
 * bdrv_close_all(): what --blockdev does. Context: main
 */
bool bdrv_open_blockdev(Options *opts, GError **error);

/* Closes such a node again, unless somebody uses it. Context: main */
bool bdrv_del_blockdev(const char *node_name, GError **error);

/* Borrowed, or NULL. Context: main */
BlockDriverState *bdrv_find_node(const char *node_name);

/* Each open node, the newest first; @fn opens and closes none. Context: main */
typedef void BdrvNodeFn(BlockDriverState *bs, void *opaque);
void bdrv_foreach_node(BdrvNodeFn *fn, void *opaque);

BlockDriverState *bdrv_ref(BlockDriverState *bs); /* Context: main */
/* The last reference closes. Context: main, drained */
void bdrv_unref(BlockDriverState *bs);

/*
 * Changes access and caching of an open node and of the files it is made of,
 * not of its backing files: @flags are BDRV_OPEN_READ_ONLY, _DIRECT and
 * _NO_FLUSH of block/image.h, each on or off; with BDRV_OPEN_DISCARD the node
 * passes discards on from now on, which a backing file does not. On failure
 * everything is as it was. A BlockBackend of the node keeps what it allows:
 * make a new one.
 * Context: main; nothing is in flight, nobody else uses the files
 */
bool bdrv_reopen(BlockDriverState *bs, unsigned flags, GError **error);

/*
 * An image on storage that several hosts share belongs to one process at a
 * time. In all others its nodes may be open, but inactive: without locks, and
 * nothing of the image that can change is known. bdrv_activate() takes the
 * locks of the node and of all below it, and reads size and tables anew; when
 * it fails, for another process has the locks or because of what was read,
 * everything is as it was. bdrv_inactivate() brings all that is known to the
 * disk and gives the locks up, those of children too unless an active node
 * uses them; it fails with "Node has active parent node", or when somebody
 * needs the node, or when writing fails: then the node is active still.
 * Context: main, nothing of the nodes is in flight
 */
bool bdrv_activate(BlockDriverState *bs, GError **error);
bool bdrv_inactivate(BlockDriverState *bs, GError **error);
bool bdrv_is_inactive(const BlockDriverState *bs); /* Context: main */

/* Whether @bs is @below or uses it, through whatever nodes. Context: main */
bool bdrv_is_made_of(const BlockDriverState *bs,
                     const BlockDriverState *below);

/*
 * One process takes over from another: the first one leaves records of its
 * open files, then closes its nodes; what the second one opens until
 * bdrv_take_over_end() are these very files, with their locks, whatever has
 * become of their names. Context: main
 */
bool bdrv_hand_over_all(Handover *handover, GError **error);
#define BDRV_TAKE_BACK 0x1 /* records of our own: opens nothing anew */
void bdrv_take_over(Handover *handover, unsigned flags);
void bdrv_take_over_end(void);

/* Drops the references that bdrv_open_blockdev() kept. Context: main */
void bdrv_close_all(void);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(BlockDriverState, bdrv_unref)

#endif
