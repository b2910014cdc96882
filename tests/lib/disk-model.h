/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a disk may contain, sector by sector, after requests that came side by
 * side, failed or were cut short by loss of power.
 *
 * Every write has a tag, and its sectors contents that belong to tag and
 * sector; tag 0 are zeroes. Changes of one sector do not overlap in time: the
 * generator sees to it.
 */
#ifndef TESTS_LIB_DISK_MODEL_H
#define TESTS_LIB_DISK_MODEL_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define MODEL_SECTOR 512

typedef struct DiskModel DiskModel;
typedef struct ModelChange ModelChange;

/* All zeroes. @bytes is a multiple of a sector. */
DiskModel *disk_model_new(int64_t bytes);
void disk_model_free(DiskModel *model);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DiskModel, disk_model_free)

/* What belongs there. */
void disk_model_fill(void *buf, int64_t offset, int64_t bytes, uint32_t tag);

/* A change begins; @at says where the log of the disk below is then. Borrowed
 * until the model goes. */
ModelChange *disk_model_begin(DiskModel *model, int64_t offset, int64_t bytes,
                              uint32_t tag, unsigned at);
/* It has been done; one that failed is never ended. */
void disk_model_end(DiskModel *model, ModelChange *change);
/* Some change of the range has begun and not ended. */
bool disk_model_is_busy(const DiskModel *model, int64_t offset,
                        int64_t bytes);
/* Failed changes do not count as busy any more. */
void disk_model_fail(DiskModel *model, ModelChange *change);
/* One that has ended outlasts a cut without a flush, and the log is at @at. */
void disk_model_keep(ModelChange *change, unsigned at);

/* A number that grows with each of these calls. */
uint64_t disk_model_now(DiskModel *model);

/* A flush that began at @began (see now) is finished, and the log is at
 * @at. */
void disk_model_flushed(DiskModel *model, uint64_t began, unsigned at);
/* What has ended so far has to outlive the process from there on. */
void disk_model_answered(DiskModel *model, unsigned at);

/*
 * Asserts that @buf may have been read at @offset by a read that began at
 * @began: the last change that had ended by then, or a later one, or parts of
 * several of these.
 */
void disk_model_check(DiskModel *model, const void *buf, int64_t offset,
                      int64_t bytes, uint64_t began);
/* The same for a disk that lost power when its log was @at. Returns how many
 * sectors had been promised to outlast that. */
unsigned disk_model_check_cut(DiskModel *model, const void *buf, unsigned at);
/* And for one whose writer was killed then; see disk_model_answered(). */
void disk_model_check_kill(DiskModel *model, const void *buf, unsigned at);

/* After a check of the whole disk: what was found is what it contains now. */
void disk_model_settle(DiskModel *model, const void *buf);

#endif
