/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * In which clusters of a file there may be tables: a set that never forgets
 * one, and is seldom wrong about others, in bounded memory and time however
 * many tables an image has and wherever it says that they are.
 */
#ifndef BLOCK_FORMAT_QCOW2_OVERLAP_MAP_H
#define BLOCK_FORMAT_QCOW2_OVERLAP_MAP_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Qcow2OverlapMap Qcow2OverlapMap;

#define QCOW2_OVERLAP_MAP_MAX_NEAR (UINT64_C(1) << 28)

/* Empty. It is exact for the first @near clusters of the file, at most the
 * number above; behind these it has room for @far tables of one cluster, and
 * for those of more. Context: any, like all here */
Qcow2OverlapMap *qcow2_overlap_map_new(uint64_t near, uint64_t far);
void qcow2_overlap_map_free(Qcow2OverlapMap *map);

/* How many clusters it is exact for. */
uint64_t qcow2_overlap_map_near(const Qcow2OverlapMap *map);

/* There is a table from cluster @first to @last. */
void qcow2_overlap_map_add(Qcow2OverlapMap *map, uint64_t first,
                           uint64_t last);
/* More were added far away than there is room for: it is wrong more often. */
bool qcow2_overlap_map_is_full(const Qcow2OverlapMap *map);

/* Whether @cluster may be part of a table. */
bool qcow2_overlap_map_get(Qcow2OverlapMap *map, uint64_t cluster);
/* It is not; remembered of those that are near. */
void qcow2_overlap_map_clear(Qcow2OverlapMap *map, uint64_t cluster);

#endif
