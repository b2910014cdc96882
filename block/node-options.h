/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The options that every node has. Private to block/graph.c and its twin. */
#ifndef BLOCK_NODE_OPTIONS_H
#define BLOCK_NODE_OPTIONS_H

#include "block/driver.h"

/*
 * Takes "node-name" and "driver"; names the object in @opts for all errors
 * that follow. *node_name stays NULL when none was given. Context: main
 */
bool node_options_identify(Options *opts, char **node_name,
                           const BlockDriver **drv, GError **error);

/* The node that another is an inline child of. */
typedef struct NodeParent {
    const BlockDriverState *bs;
    bool backing; /* it shows the child's bytes where it has none */
} NodeParent;

/*
 * Takes the generic options into @bs. What is not given is inherited from
 * @parent, or NULL. Context: main
 */
bool node_options_take(Options *opts, const NodeParent *parent,
                       BlockDriverState *bs, GError **error);

#endif
