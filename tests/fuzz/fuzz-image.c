/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See fuzz-image.h. */
#include "fuzz-image.h"

#include "block/block-co.h"
#include "block/graph.h"
#include "block/image.h"
#include "block/log.h"
#include "tests/lib/test-disk.h"

#include <string.h>

#define DISK_MAX   (8 << 20)
#define BASE_BYTES (96 * 1024 + 512)

#define AT_BACKING      8
#define AT_BACKING_SIZE 16
#define AT_CLUSTER_BITS 20
#define AT_L1_ENTRIES   36
#define AT_L1           40
#define AT_REFTABLE     48
#define AT_REFTABLE_CLUSTERS 56
#define AT_INCOMPATIBLE 79 /* low byte */
#define AT_REFCOUNT_ORDER 96
#define HEADER_BYTES    80
#define DATA_FILE_BIT   0x4
#define MAGIC           0x514649fb

static TestDisk *image, *data_file, *base;
static bool use_base;
static bool looks_written; /* as if by a guest, before one did */
static int64_t unpadded;

static void debug_line(LogLevel level, const char *line, void *opaque)
{
    g_debug("%s", line);
}

void fuzz_image_init(void)
{
    test_disk_register();
    image = test_disk_new("image", 1);
    data_file = test_disk_new("data", 1);
    base = test_disk_new("base", 1);
    test_disk_set_limit(image, DISK_MAX);
    test_disk_set_limit(data_file, DISK_MAX);
    log_set_sink(debug_line, NULL);
}

/* --- what the image says --- */

/* Big-endian; 0 where nothing is. */
static uint64_t number_at(int64_t offset, unsigned bytes)
{
    const uint8_t *data = test_disk_data(image);
    uint64_t number = 0;

    if (offset < 0 || offset > test_disk_bytes(image) - (int64_t)bytes) {
        return 0;
    }
    for (unsigned i = 0; i < bytes; i++) {
        number = number << 8 | data[offset + i];
    }
    return number;
}

static bool is_data(uint64_t number)
{
    return number >> 60 == FUZZ_IMAGE_DATA >> 4 &&
           number == (number & 0xff) * UINT64_C(0x0101010101010101);
}

static bool has_data(int64_t offset, int64_t bytes)
{
    int64_t end = test_disk_bytes(image);

    if (offset < 0 || offset > end) {
        return false;
    }
    end = MIN(end, offset + bytes);
    for (; offset + 8 <= end; offset += 8) {
        if (is_data(number_at(offset, 8))) {
            return true;
        }
    }
    return false;
}

void fuzz_image_check_tables(void)
{
    unsigned bits = number_at(AT_CLUSTER_BITS, 4);

    g_assert_cmphex(number_at(0, 4), ==, MAGIC);
    if (looks_written) {
        return;
    }
    g_assert_false(has_data(0, HEADER_BYTES));
    g_assert_false(has_data(number_at(AT_L1, 8),
                            number_at(AT_L1_ENTRIES, 4) * 8));
    g_assert_false(has_data(number_at(AT_REFTABLE, 8),
                            number_at(AT_REFTABLE_CLUSTERS, 4) << bits));
}

/* Any number above 1 has a bit that is not the lowest one of its count. */
static bool block_shares(int64_t block, int64_t bytes, unsigned bits)
{
    uint64_t ones = bits == 64 ? 1 : UINT64_MAX / ((UINT64_C(1) << bits) - 1);

    for (int64_t at = 0; at < bytes && bits > 1; at += 8) {
        if (number_at(block + at, 8) & ~ones) {
            return true;
        }
    }
    return false;
}

bool fuzz_image_shares(void)
{
    int64_t cluster = INT64_C(1) << number_at(AT_CLUSTER_BITS, 4);
    int64_t table = number_at(AT_REFTABLE, 8);
    int64_t end = table + number_at(AT_REFTABLE_CLUSTERS, 4) * cluster;
    unsigned bits = number_at(4, 4) < 3
                        ? 16
                        : 1U << number_at(AT_REFCOUNT_ORDER, 4);

    for (int64_t at = table; at < MIN(end, test_disk_bytes(image)); at += 8) {
        int64_t block = number_at(at, 8);

        if (block && block_shares(block, cluster, bits)) {
            return true;
        }
    }
    return false;
}

bool fuzz_image_has_data_file(void)
{
    return number_at(AT_INCOMPATIBLE, 1) & DATA_FILE_BIT;
}

/* --- disks --- */

static void set_base(void)
{
    g_autofree uint8_t *bytes = g_malloc(BASE_BYTES);

    for (unsigned i = 0; i < BASE_BYTES; i++) {
        bytes[i] = 1 + i / 512 % 127;
    }
    test_disk_set(base, bytes, BASE_BYTES);
}

void fuzz_image_set(const uint8_t *data, size_t bytes)
{
    test_disk_set(image, data, bytes);
    test_disk_set(data_file, data, 0);
    test_disk_reset_counts(image);
    set_base();
    looks_written = has_data(0, bytes);
}

void fuzz_image_use_base(bool on)
{
    use_base = on;
}

void fuzz_image_pad(void)
{
    unpadded = test_disk_bytes(image);
    test_disk_set_length(image, MAX(unpadded, DISK_MAX));
}

void fuzz_image_unpad(void)
{
    test_disk_set_length(image, unpadded);
}

void fuzz_image_fail(unsigned after, unsigned count)
{
    test_disk_fail(image, BLOCK_WRITE, after, count);
}

int64_t fuzz_image_reach(void)
{
    return test_disk_reach(image);
}

static int coroutine_fn commit_part(BlockDriverState *bs, int64_t offset,
                                    const BlockStatus *status)
{
    if (!(status->flags & BLOCK_STATUS_ALLOCATED)) {
        return 0;
    }
    return bdrv_co_pread(bs, offset, status->bytes,
                         test_disk_data(base) + offset);
}

bool coroutine_fn fuzz_image_commit(BlockDriverState *bs)
{
    BlockStatus status;

    if (!bs->backing || bs->total_bytes > test_disk_bytes(base)) {
        return false;
    }
    for (int64_t at = 0; at < bs->total_bytes; at += status.bytes) {
        if (bdrv_co_block_status(bs, at, bs->total_bytes - at, &status) < 0 ||
            commit_part(bs, at, &status) < 0) {
            return false;
        }
    }
    return true;
}

/* --- the node --- */

BlockDriverState *fuzz_image_open(const char *more)
{
    bool data = fuzz_image_has_data_file();
    g_autofree char *text = g_strdup_printf(
        "{\"driver\":\"qcow2\",\"backing\":%s,%s%s"
        "\"file\":{\"driver\":\"test-disk\",\"disk\":\"image\"}}",
        use_base && number_at(AT_BACKING, 8) && number_at(AT_BACKING_SIZE, 4)
            ? "{\"driver\":\"raw\",\"read-only\":true,\"file\":"
              "{\"driver\":\"test-disk\",\"disk\":\"base\"}}"
            : "null",
        data ? "\"data-file\":{\"driver\":\"test-disk\","
                   "\"disk\":\"data\"}," : "", more);

    return bdrv_open(options_parse(text, "fuzz", NULL, NULL), NULL);
}
