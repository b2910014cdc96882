/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See fuzz-image.h. */
#include "fuzz-image.h"

#include "block/graph.h"
#include "block/log.h"
#include "tests/lib/test-disk.h"

#define DISK_MAX (8 << 20)

#define AT_INCOMPATIBLE 79 /* low byte */
#define DATA_FILE_BIT   0x4

static TestDisk *image, *data_file;

static void ignore_line(LogLevel level, const char *line, void *opaque)
{
}

void fuzz_image_init(void)
{
    test_disk_register();
    image = test_disk_new("image", 1);
    data_file = test_disk_new("data", 1);
    test_disk_set_limit(image, DISK_MAX);
    test_disk_set_limit(data_file, DISK_MAX);
    log_set_sink(ignore_line, NULL);
}

void fuzz_image_set(const uint8_t *data, size_t bytes)
{
    test_disk_set(image, data, bytes);
    test_disk_set(data_file, data, 0);
}

BlockDriverState *fuzz_image_open(const char *more)
{
    bool has_data = test_disk_bytes(image) > AT_INCOMPATIBLE &&
                    (test_disk_data(image)[AT_INCOMPATIBLE] & DATA_FILE_BIT);
    g_autofree char *text = g_strdup_printf(
        "{\"driver\":\"qcow2\",\"backing\":null,%s%s"
        "\"file\":{\"driver\":\"test-disk\",\"disk\":\"image\"}}",
        has_data ? "\"data-file\":{\"driver\":\"test-disk\","
                   "\"disk\":\"data\"}," : "", more);

    return bdrv_open(options_parse(text, "fuzz", NULL, NULL), NULL);
}
