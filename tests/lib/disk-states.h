/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a disk contained after each of several steps, its size and its
 * snapshots included, and what may be left of it when power fails. Steps come
 * one after the other; what is done within one has no order.
 *
 * Contents are tags, as in a DiskModel: see disk_model_fill(). Failures
 * assert.
 */
#ifndef TESTS_LIB_DISK_STATES_H
#define TESTS_LIB_DISK_STATES_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct DiskState {
    unsigned began;      /* how long the log was when the step began */
    unsigned stable;     /* from this length on it is promised */
    int64_t sectors;
    uint32_t *tags;      /* of each sector */
} DiskState;

typedef struct DiskSnapshot {
    char *name;
    int64_t sectors;
    uint32_t *tags;
    unsigned stable;     /* from this length of the log on it is there */
    unsigned deleted;    /* until this one; UINT_MAX: not deleted */
} DiskSnapshot;

typedef struct DiskStates {
    GPtrArray *states;   /* of DiskState, oldest first; never empty */
    GPtrArray *saved;    /* of DiskSnapshot */
} DiskStates;

/* A disk full of @tag, stable. */
DiskStates *disk_states_new(int64_t bytes, uint32_t tag);
void disk_states_free(DiskStates *states);

/* A step begins when the log is @at long: what it changes is changed in what
 * this returns, which begins as the last one. */
DiskState *disk_states_begin(DiskStates *states, unsigned at);
void disk_state_set(DiskState *state, int64_t offset, int64_t bytes,
                    uint32_t tag);
/* What is new has tag 0. */
void disk_state_resize(DiskState *state, int64_t bytes);
void disk_state_apply(DiskState *state, const DiskSnapshot *saved);
/* Of what the disk has now; it is stable once something is promised. */
DiskSnapshot *disk_states_save(DiskStates *states, const char *name);

/* Whatever has been done so far is promised when the log is @at long. */
void disk_states_promise(DiskStates *states, unsigned at);

bool disk_state_has_tag(const void *sector, int64_t index, uint32_t tag);
/*
 * @found may be left by a cut when the log was @at long: of each sector what it
 * had in one of the states that may be on the medium; of a length that one of
 * them had. True when something had been promised by then.
 */
bool disk_states_check_cut(const DiskStates *states, const void *found,
                           int64_t bytes, unsigned at);
/* The snapshot of that name is exactly this. */
void disk_states_check_snapshot(const DiskStates *states, const char *name,
                                const void *found, int64_t bytes);
/* Snapshots that were promised are among @list, of BlockSnapshot. */
void disk_states_check_list(const DiskStates *states, const GPtrArray *list,
                            unsigned at);

#endif
