/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How nodes are opened: by graph.c, with the options that every node has, and
 * by image-open.c, which finds out what it is that is to be opened. */
#ifndef BLOCK_NODE_OPTIONS_H
#define BLOCK_NODE_OPTIONS_H

#include "block/driver.h"

/*
 * Takes "node-name" and "driver"; names the object in @opts for all errors
 * that follow. *node_name stays NULL when none was given. Context: main
 */
bool node_options_identify(Options *opts, char **node_name,
                           const BlockDriver **drv, GError **error);

/* What a new node is told that is not in its options. */
typedef struct NodeSpec {
    const BlockDriverState *parent; /* that it is an inline child of, or NULL */
    bool backing;   /* the parent shows its bytes where it has none */
    bool is_file;   /* the parent's bytes: no format is looked for */
    bool probed;    /* the driver was guessed from the contents */
    unsigned flags; /* BDRV_OPEN_, where there is no parent */
} NodeSpec;

/*
 * Takes the generic options into @bs. What is not given is inherited from the
 * parent. Context: main
 */
bool node_options_take(Options *opts, const NodeSpec *spec,
                       BlockDriverState *bs, GError **error);

/* In graph.c: opens the node that @opts, consumed, describe; a "driver" is
 * among them. Context: main */
BlockDriverState *graph_open_node(Options *opts, const NodeSpec *spec,
                                  GError **error);

/* A reference to the node @name. Errors speak of @opts. Context: main */
BlockDriverState *graph_find_node(const Options *opts, const char *name,
                                  GError **error);

/* In image-open.c: the same for options that may lack a driver: it is looked
 * up by the file's name or its contents. Context: main */
BlockDriverState *image_open_node(Options *opts, const NodeSpec *spec,
                                  GError **error);

/*
 * That @bs, whose file is open, is not made of the same file as one of the
 * images whose backing file it is going to be. Context: main
 */
bool image_check_loop(const BlockDriverState *bs, const Options *opts,
                      GError **error);

/* Nodes opened for the tools begin their errors with ": ", for who calls
 * knows best which image it is about. Takes that away. */
void image_strip_what(GError **error);

#endif
