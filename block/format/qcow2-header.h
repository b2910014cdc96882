/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files that read and write the header share among them. */
#ifndef BLOCK_FORMAT_QCOW2_HEADER_H
#define BLOCK_FORMAT_QCOW2_HEADER_H

#include "qcow2-error.h"
#include "qcow2.h"

/* Behind compression_type; what comes then is kept as it is. */
#define QCOW2_KNOWN_HEADER_BYTES 105

/* As an extension: type and length, then the data, padded to 8. */
#define QCOW2_EXT_HEADER_BYTES 8
#define QCOW2_FEATURE_NAME_BYTES 46
#define QCOW2_MAX_BACKING_FORMAT 15

typedef struct Qcow2FeatureName {
    uint8_t type; /* 0: incompatible, 1: compatible, 2: autoclear */
    uint8_t bit;
    char name[QCOW2_FEATURE_NAME_BYTES]; /* padded with zeroes */
} Qcow2FeatureName;

G_STATIC_ASSERT(sizeof(Qcow2FeatureName) == 48);

typedef struct Qcow2BitmapsExt {
    uint32_t count;
    uint32_t reserved;
    uint64_t directory_bytes;
    uint64_t directory_offset;
} Qcow2BitmapsExt;

G_STATIC_ASSERT(sizeof(Qcow2BitmapsExt) == 24);

/* False, with the names that the image itself has for them, when there are
 * incompatible features that we do not know. */
bool coroutine_fn qcow2_co_check_features(BlockDriverState *bs,
                                          const Qcow2Header *h,
                                          GError **error);

/* Context: any */
void qcow2_free_extensions(BlockDriverState *bs);

/* Takes over all extensions, the ones that we do not know as they are. The
 * geometry is known. */
bool coroutine_fn qcow2_co_read_extensions(BlockDriverState *bs,
                                           const Qcow2Header *h,
                                           GError **error);

#endif
