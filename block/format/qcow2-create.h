/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a new image is to be like: the options of create, checked. For
 * qcow2-create.c, which makes it, and qcow2-measure.c, which only says how
 * large it would be.
 */
#ifndef BLOCK_FORMAT_QCOW2_CREATE_H
#define BLOCK_FORMAT_QCOW2_CREATE_H

#include "qcow2.h"

typedef struct Qcow2CreateOptions {
    int64_t bytes;             /* of the guest's disk; whole sectors */
    unsigned version;
    unsigned cluster_bits;
    unsigned refcount_order;
    Qcow2Compression compression;
    BlockPrealloc prealloc;
    bool extended_l2;
    bool lazy_refcounts;
    bool data_file_raw;
    char *data_file;           /* names; or NULL */
    char *backing_file;
    char *backing_format;
} Qcow2CreateOptions;

/* @create is empty before. On failure, too, it has to be cleared.
 * Context: main */
bool qcow2_create_options_take(Options *opts, Qcow2CreateOptions *create,
                               GError **error);
/* For what is only measured less has to be right. */
bool qcow2_measure_options_take(Options *opts, Qcow2CreateOptions *create,
                                GError **error);
void qcow2_create_options_clear(Qcow2CreateOptions *create);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Qcow2CreateOptions,
                                 qcow2_create_options_clear)

/* Entries of the L1 table that maps all of the disk. */
uint64_t qcow2_create_l1_entries(const Qcow2CreateOptions *create);
/* Whether that is a table that can be opened again. */
bool qcow2_create_fits(const Qcow2CreateOptions *create);

/*
 * Refcount structures for an image of @clusters others: numbers of blocks and
 * of clusters of their table, which count themselves.
 */
typedef struct Qcow2RefcountSize {
    uint64_t blocks;
    uint64_t table_clusters;
} Qcow2RefcountSize;

Qcow2RefcountSize qcow2_refcount_size(uint64_t clusters,
                                      unsigned cluster_bits,
                                      unsigned refcount_order);

#endif
