/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2 as it lies on the disk: the numbers of the specification
 * (docs/interop/qcow2 of QEMU). Everything is big-endian.
 */
#ifndef BLOCK_FORMAT_QCOW2_FORMAT_H
#define BLOCK_FORMAT_QCOW2_FORMAT_H

#include <glib.h>
#include <stdint.h>

#define QCOW2_MAGIC 0x514649fbU /* "QFI\xfb" */

#define QCOW2_MIN_CLUSTER_BITS 9
#define QCOW2_MAX_CLUSTER_BITS 21
/* With subclusters a cluster has 32 of at least 512 bytes. */
#define QCOW2_MIN_CLUSTER_BITS_EXTL2 14

/* What we take from an image; larger is refused before it is allocated. */
#define QCOW2_MAX_L1_BYTES              (32 * 1024 * 1024)
#define QCOW2_MAX_REFTABLE_BYTES        (8 * 1024 * 1024)
#define QCOW2_MAX_SNAPSHOTS             65536
#define QCOW2_MAX_SNAPSHOT_TABLE_BYTES  (64 * 1024 * 1024)
#define QCOW2_MAX_SNAPSHOT_EXTRA_BYTES  1024
#define QCOW2_MAX_BITMAPS               65535
#define QCOW2_MAX_BITMAP_DIRECTORY_BYTES (QCOW2_MAX_BITMAPS * 1024)
#define QCOW2_MAX_BACKING_NAME          1023

typedef struct Qcow2Header {
    uint32_t magic;
    uint32_t version;
    uint64_t backing_file_offset;
    uint32_t backing_file_size;
    uint32_t cluster_bits;
    uint64_t size;
    uint32_t crypt_method;
    uint32_t l1_size;             /* entries */
    uint64_t l1_table_offset;
    uint64_t refcount_table_offset;
    uint32_t refcount_table_clusters;
    uint32_t nb_snapshots;
    uint64_t snapshots_offset;
    /* version 3 */
    uint64_t incompatible_features;
    uint64_t compatible_features;
    uint64_t autoclear_features;
    uint32_t refcount_order;
    uint32_t header_length;
    /* present when header_length says so */
    uint8_t compression_type;
    uint8_t padding[7];
} Qcow2Header;

/* Natural alignment is that of the disk. */
G_STATIC_ASSERT(sizeof(Qcow2Header) == 112);

#define QCOW2_SNAPSHOT_HEADER_BYTES 40

#define QCOW2_V2_HEADER_LENGTH 72
#define QCOW2_V3_HEADER_LENGTH 104

#define QCOW2_INCOMPAT_DIRTY        (1ULL << 0)
#define QCOW2_INCOMPAT_CORRUPT      (1ULL << 1)
#define QCOW2_INCOMPAT_DATA_FILE    (1ULL << 2)
#define QCOW2_INCOMPAT_COMPRESSION  (1ULL << 3)
#define QCOW2_INCOMPAT_EXTL2        (1ULL << 4)
#define QCOW2_INCOMPAT_KNOWN        0x1fULL
#define QCOW2_COMPAT_LAZY_REFCOUNTS (1ULL << 0)
#define QCOW2_AUTOCLEAR_BITMAPS       (1ULL << 0)
#define QCOW2_AUTOCLEAR_DATA_FILE_RAW (1ULL << 1)
#define QCOW2_AUTOCLEAR_KNOWN         0x3ULL

#define QCOW2_EXT_END            0x00000000U
#define QCOW2_EXT_BACKING_FORMAT 0xe2792acaU
#define QCOW2_EXT_FEATURE_NAMES  0x6803f857U
#define QCOW2_EXT_BITMAPS        0x23852875U
#define QCOW2_EXT_CRYPTO         0x0537be77U
#define QCOW2_EXT_DATA_FILE      0x44415441U

typedef enum Qcow2Compression {
    QCOW2_COMPRESSION_ZLIB,
    QCOW2_COMPRESSION_ZSTD,
    QCOW2_COMPRESSION__COUNT
} Qcow2Compression;

/* L1 and L2 entries */
#define QCOW2_COPIED      (1ULL << 63) /* refcount is exactly 1 */
#define QCOW2_COMPRESSED  (1ULL << 62)
#define QCOW2_ZERO        (1ULL << 0)  /* standard entries, version 3 */
#define QCOW2_L1_OFFSET   0x00fffffffffffe00ULL
#define QCOW2_L2_OFFSET   0x00fffffffffffe00ULL
#define QCOW2_REFTABLE_OFFSET 0xfffffffffffffe00ULL
#define QCOW2_L1_RESERVED 0x7f000000000001ffULL
#define QCOW2_L2_RESERVED 0x3f000000000001feULL
#define QCOW2_REFTABLE_RESERVED 0x1ffULL

/* the bitmap of subclusters */
#define QCOW2_BITMAP_ALL_ALLOCATED 0x00000000ffffffffULL
#define QCOW2_BITMAP_ALL_ZEROES    0xffffffff00000000ULL

#endif
