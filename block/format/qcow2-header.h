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

/* --- qcow2-header-place.c --- */

/* Where the parts of a header end, in bytes from the start of the file. */
typedef struct Qcow2HeaderLayout {
    size_t list_end;           /* behind the mark that ends the extensions */
    size_t name_at, name_end;  /* of the backing file; 0: there is none */
} Qcow2HeaderLayout;

typedef struct Qcow2HeaderChange {
    const uint8_t *old;        /* the first cluster, as the file has it */
    const uint8_t *new;        /* and as it is to be */
    size_t bytes;              /* of both */
    size_t sector;             /* the file writes whole */
    Qcow2HeaderLayout was, is;
    bool name_apart;           /* it is where qcow2_place_name() said */
} Qcow2HeaderChange;

/* Of what is on the disk; it need not make sense. Context: any */
Qcow2HeaderLayout qcow2_header_layout(const uint8_t *buf, size_t bytes);

/* All that a reader needs is in the first sector. Context: any */
bool qcow2_header_is_within(const Qcow2HeaderLayout *layout, size_t sector);

/* Where a name of @bytes can be that does not fit behind the list of
 * extensions in the first sector; 0: nowhere. change->is and ->new are not
 * looked at. Context: any */
size_t qcow2_place_name(const Qcow2HeaderChange *change, const char *name,
                        size_t bytes);

/* Writes what has changed; the last write is not flushed. 0 or an errno. */
int coroutine_fn qcow2_co_put_header(BlockDriverState *bs,
                                     const Qcow2HeaderChange *change);

#endif
