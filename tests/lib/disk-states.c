/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What may be left of a disk that changes step by step. */
#include "tests/lib/disk-states.h"

#include <string.h>

#include "block/image.h"
#include "tests/lib/disk-model.h"

#define NEVER UINT_MAX

static void state_free(void *opaque)
{
    DiskState *state = opaque;

    g_free(state->tags);
    g_free(state);
}

static void snapshot_free(void *opaque)
{
    DiskSnapshot *saved = opaque;

    g_free(saved->name);
    g_free(saved->tags);
    g_free(saved);
}

static uint32_t *copy_tags(const uint32_t *tags, int64_t sectors)
{
    return g_memdup2(tags, sectors * sizeof(*tags));
}

DiskStates *disk_states_new(int64_t bytes, uint32_t tag)
{
    DiskStates *states = g_new0(DiskStates, 1);
    DiskState *first = g_new0(DiskState, 1);

    states->states = g_ptr_array_new_with_free_func(state_free);
    states->saved = g_ptr_array_new_with_free_func(snapshot_free);
    first->sectors = bytes / MODEL_SECTOR;
    first->tags = g_new0(uint32_t, first->sectors);
    disk_state_set(first, 0, bytes, tag);
    g_ptr_array_add(states->states, first);
    return states;
}

void disk_states_free(DiskStates *states)
{
    g_ptr_array_unref(states->states);
    g_ptr_array_unref(states->saved);
    g_free(states);
}

static DiskState *last_state(const DiskStates *states)
{
    return states->states->pdata[states->states->len - 1];
}

/* --- steps --- */

DiskState *disk_states_begin(DiskStates *states, unsigned at)
{
    const DiskState *last = last_state(states);
    DiskState *state = g_new0(DiskState, 1);

    state->began = at;
    state->stable = NEVER;
    state->sectors = last->sectors;
    state->tags = copy_tags(last->tags, last->sectors);
    g_ptr_array_add(states->states, state);
    return state;
}

void disk_state_set(DiskState *state, int64_t offset, int64_t bytes,
                    uint32_t tag)
{
    for (int64_t i = 0; i < bytes / MODEL_SECTOR; i++) {
        state->tags[offset / MODEL_SECTOR + i] = tag;
    }
}

void disk_state_resize(DiskState *state, int64_t bytes)
{
    int64_t old = state->sectors;

    state->sectors = bytes / MODEL_SECTOR;
    state->tags = g_renew(uint32_t, state->tags, state->sectors);
    for (int64_t i = old; i < state->sectors; i++) {
        state->tags[i] = 0;
    }
}

void disk_state_apply(DiskState *state, const DiskSnapshot *saved)
{
    g_free(state->tags);
    state->sectors = saved->sectors;
    state->tags = copy_tags(saved->tags, saved->sectors);
}

DiskSnapshot *disk_states_save(DiskStates *states, const char *name)
{
    const DiskState *last = last_state(states);
    DiskSnapshot *saved = g_new0(DiskSnapshot, 1);

    saved->name = g_strdup(name);
    saved->stable = saved->deleted = NEVER;
    saved->sectors = last->sectors;
    saved->tags = copy_tags(last->tags, last->sectors);
    g_ptr_array_add(states->saved, saved);
    return saved;
}

void disk_states_promise(DiskStates *states, unsigned at)
{
    for (unsigned i = 0; i < states->states->len; i++) {
        DiskState *state = states->states->pdata[i];

        state->stable = MIN(state->stable, at);
    }
    for (unsigned i = 0; i < states->saved->len; i++) {
        DiskSnapshot *saved = states->saved->pdata[i];

        saved->stable = MIN(saved->stable, at);
    }
}

/* --- what is left --- */

bool disk_state_has_tag(const void *sector, int64_t index, uint32_t tag)
{
    uint8_t wanted[MODEL_SECTOR];

    disk_model_fill(wanted, index * MODEL_SECTOR, MODEL_SECTOR, tag);
    return memcmp(sector, wanted, MODEL_SECTOR) == 0;
}

/* The states that a cut may show: from the last one that was promised to the
 * last one that had begun. */
typedef struct Window {
    unsigned first, last;
} Window;

static Window find_window(const DiskStates *states, unsigned at)
{
    Window window = { 0, 0 };

    for (unsigned i = 0; i < states->states->len; i++) {
        const DiskState *state = states->states->pdata[i];

        if (state->stable <= at) {
            window.first = i;
        }
        if (state->began <= at) {
            window.last = i;
        }
    }
    return window;
}

static bool may_be(const DiskStates *states, Window window,
                   const uint8_t *sector, int64_t index)
{
    for (unsigned i = window.last + 1; i > window.first; i--) {
        const DiskState *state = states->states->pdata[i - 1];

        if (index < state->sectors &&
            disk_state_has_tag(sector, index, state->tags[index])) {
            return true;
        }
    }
    return false;
}

static bool may_be_so_long(const DiskStates *states, Window window,
                           int64_t bytes)
{
    for (unsigned i = window.first; i <= window.last; i++) {
        const DiskState *state = states->states->pdata[i];

        if (state->sectors * MODEL_SECTOR == bytes) {
            return true;
        }
    }
    return false;
}

bool disk_states_check_cut(const DiskStates *states, const void *found,
                           int64_t bytes, unsigned at)
{
    Window window = find_window(states, at);

    g_assert_true(may_be_so_long(states, window, bytes));
    for (int64_t i = 0; i < bytes / MODEL_SECTOR; i++) {
        const uint8_t *sector = (const uint8_t *)found + i * MODEL_SECTOR;

        if (!may_be(states, window, sector, i)) {
            g_error("cut at %u: sector %" G_GINT64_FORMAT " has what it cannot "
                    "have (steps %u to %u)", at, i, window.first,
                    window.last);
        }
    }
    return window.first > 0;
}

/* --- snapshots --- */

static const DiskSnapshot *find_saved(const DiskStates *states,
                                      const char *name)
{
    for (unsigned i = 0; i < states->saved->len; i++) {
        const DiskSnapshot *saved = states->saved->pdata[i];

        if (strcmp(saved->name, name) == 0) {
            return saved;
        }
    }
    g_assert_not_reached();
}

void disk_states_check_snapshot(const DiskStates *states, const char *name,
                                const void *found, int64_t bytes)
{
    const DiskSnapshot *saved = find_saved(states, name);

    g_assert_cmpint(bytes, ==, saved->sectors * MODEL_SECTOR);
    for (int64_t i = 0; i < saved->sectors; i++) {
        const uint8_t *sector = (const uint8_t *)found + i * MODEL_SECTOR;

        g_assert_true(disk_state_has_tag(sector, i, saved->tags[i]));
    }
}

static bool is_listed(const GPtrArray *list, const char *name)
{
    for (unsigned i = 0; list && i < list->len; i++) {
        const BlockSnapshot *snapshot = list->pdata[i];

        if (strcmp(snapshot->name, name) == 0) {
            return true;
        }
    }
    return false;
}

void disk_states_check_list(const DiskStates *states, const GPtrArray *list,
                            unsigned at)
{
    for (unsigned i = 0; i < states->saved->len; i++) {
        const DiskSnapshot *saved = states->saved->pdata[i];

        g_assert_true(saved->stable > at || saved->deleted <= at ||
                      is_listed(list, saved->name));
    }
}
