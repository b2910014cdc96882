/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How often each cluster of an image file is referred to, as a check counts
 * it or the refcounts say it: a sparse array of numbers. Memory is taken for the neighbourhood of
 * clusters that are counted, whatever the file's size says, and bounded.
 *
 * Arrays that are in use together share what they may take.
 */
#ifndef BLOCK_FORMAT_QCOW2_COUNTS_H
#define BLOCK_FORMAT_QCOW2_COUNTS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Qcow2Counts Qcow2Counts;

/* How many bytes the counts of one check take, or of what changes them all,
 * where the file gives no reason for more. */
#define QCOW2_COUNTS_ROOM (INT64_C(1) << 30)

/* All are 0; none may exceed @max. What memory they take is taken from *room,
 * which outlives them and gets it back. Context: any, like all here */
Qcow2Counts *qcow2_counts_new(uint64_t max, int64_t *room);
void qcow2_counts_free(Qcow2Counts *counts);

uint64_t qcow2_counts_get(Qcow2Counts *counts, uint64_t cluster);

/* 0, -ERANGE (and no change) where that exceeds the maximum, or -ENOMEM where
 * there is no room. */
int qcow2_counts_add(Qcow2Counts *counts, uint64_t cluster, uint64_t times);

/* One less: 0, or -ERANGE where there is none. */
int qcow2_counts_take(Qcow2Counts *counts, uint64_t cluster);

/* Back to 0. */
void qcow2_counts_clear(Qcow2Counts *counts, uint64_t cluster);

/* The first cluster from @cluster on that is not 0, or UINT64_MAX. */
uint64_t qcow2_counts_next(Qcow2Counts *counts, uint64_t cluster);

/* The first of @clusters neighbours that are all 0, from @cluster on. */
uint64_t qcow2_counts_find_free(Qcow2Counts *counts, uint64_t cluster,
                                uint64_t clusters);

#endif
