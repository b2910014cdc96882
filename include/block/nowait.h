/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where in a file io_submit() would have to wait.
 *
 * aio=native asks the kernel not to wait (RWF_NOWAIT). What comes back because
 * it would have, as a write to a hole does, goes to a worker, and so do the
 * next writes nearby at once: the detour is not paid twice. A map belongs to
 * one file in one context. All functions: Context: home.
 */
#ifndef BLOCK_NOWAIT_H
#define BLOCK_NOWAIT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct NowaitMap NowaitMap;

NowaitMap *nowait_map_new(void);
void nowait_map_free(NowaitMap *map);

/*
 * Whether a transfer at @offset had better go to a worker untried. Each yes
 * uses up a bit of what was learned, so that it is tried again in time.
 */
bool nowait_map_expects_wait(NowaitMap *map, int64_t offset);

/* A transfer at @offset came back because of waiting; or it did not. */
void nowait_map_learn(NowaitMap *map, int64_t offset);
void nowait_map_forget(NowaitMap *map, int64_t offset);

/*
 * A write came back because it must not be asked not to wait: the file system
 * makes buffered writes of direct ones, as ext4 with data=journal does. None
 * is tried again.
 */
void nowait_map_refuse_writes(NowaitMap *map);
bool nowait_map_refuses_writes(const NowaitMap *map);

#endif
