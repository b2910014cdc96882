/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images with random words in their metadata: whatever a check finds, it ends,
 * and after a repair qemu-img and we find nothing any more. What is wrong in
 * the header itself may be beyond repair.
 */
#include "tests/lib/block.h"
#include "tests/lib/qcow2-ops.h"

#include <string.h>

#include "block/format/qcow2-format.h"

#define FIX_ALL (BLOCK_CHECK_FIX_LEAKS | BLOCK_CHECK_FIX_ERRORS)

/* A part of the metadata, in words of so many bytes. */
typedef struct Region {
    uint64_t offset, bytes;
    unsigned word;
    bool header;
} Region;

typedef struct Sample {
    GBytes *bytes;
    GArray *regions;
} Sample;

static const uint8_t *at(const Sample *sample, uint64_t offset)
{
    return (const uint8_t *)g_bytes_get_data(sample->bytes, NULL) + offset;
}

static uint64_t word(const Sample *sample, uint64_t offset, unsigned bytes)
{
    const uint8_t *from = at(sample, offset);
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes; i++) {
        value = value << 8 | from[i];
    }
    return value;
}

static void add(Sample *sample, uint64_t offset, uint64_t bytes,
                unsigned size)
{
    Region region = { offset, bytes, size, offset == 0 };

    g_array_append_val(sample->regions, region);
}

static void add_l1(Sample *sample, uint64_t offset, uint64_t entries)
{
    add(sample, offset, entries * 8, 8);
    for (uint64_t i = 0; i < entries; i++) {
        uint64_t l2 = word(sample, offset + i * 8, 8) & QCOW2_L1_OFFSET;

        if (l2) {
            add(sample, l2, 512, 8);
        }
    }
}

static void add_snapshots(Sample *sample)
{
    uint64_t entry = word(sample, 64, 8);

    for (uint64_t i = word(sample, 60, 4); i > 0; i--) {
        uint64_t bytes = 40 + word(sample, entry + 36, 4);

        add(sample, entry, bytes, 4);
        add_l1(sample, word(sample, entry, 8), word(sample, entry + 8, 4));
        bytes += word(sample, entry + 12, 2) + word(sample, entry + 14, 2);
        entry += (bytes + 7) / 8 * 8;
    }
}

/* Behind the names of the features comes the bitmaps extension. */
static void add_bitmaps(Sample *sample)
{
    uint64_t ext = word(sample, 100, 4);

    while (word(sample, ext, 4) != QCOW2_EXT_END) {
        if (word(sample, ext, 4) == QCOW2_EXT_BITMAPS) {
            uint64_t directory = word(sample, ext + 24, 8);

            add(sample, directory, word(sample, ext + 16, 8), 4);
            add(sample, word(sample, directory, 8),
                word(sample, directory + 8, 4) * 8, 8);
        }
        ext += 8 + (word(sample, ext + 4, 4) + 7) / 8 * 8;
    }
}

static void add_refcounts(Sample *sample)
{
    uint64_t table = word(sample, 48, 8);

    add(sample, table, 64, 8);
    for (unsigned i = 0; i < 8; i++) {
        uint64_t block = word(sample, table + i * 8, 8);

        if (block) {
            add(sample, block, 512, 2);
        }
    }
}

static Sample sample_of(TestImage *image)
{
    Sample sample = { .regions = g_array_new(FALSE, FALSE, sizeof(Region)) };
    char *bytes;
    gsize length;

    g_assert_true(g_file_get_contents(test_image_path(image), &bytes, &length,
                                      NULL));
    sample.bytes = g_bytes_new_take(bytes, length);
    add(&sample, 0, 112, 8);
    add_l1(&sample, word(&sample, 40, 8), word(&sample, 36, 4));
    add_refcounts(&sample);
    add_snapshots(&sample);
    if (word(&sample, 4, 4) >= 3) {
        add_bitmaps(&sample);
    }
    test_image_free(image);
    return sample;
}

static TestImage *make_image(const char *options)
{
    TestImage *image = qcow2_image_new(options, "4M");
    bool v3 = !strstr(options, "compat=0.10");

    qcow2_image_io(image, "write 0 300k", "write 2M 64k", "write -z 3M 128k",
                   "write -c 1M 64k", NULL);
    g_free(qcow2_image_run(image, "snapshot", "-c", "one", "@", NULL));
    qcow2_image_io(image, "write 64k 64k", NULL);
    if (v3) {
        g_free(qcow2_image_run(image, "bitmap", "--add", "@", "b", NULL));
        qcow2_image_io(image, "write 3M 4k", NULL);
    }
    return image;
}

/* --- mutation --- */

static uint64_t mutant(GRand *rand, uint64_t old, unsigned bits,
                       uint64_t clusters, unsigned cluster_bits)
{
    uint64_t any = (uint64_t)g_rand_int(rand) << 32 | g_rand_int(rand);
    uint64_t cluster = any % (clusters + 3) << cluster_bits;

    switch (g_rand_int_range(rand, 0, 8)) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX;
    case 2:
        return any;
    case 3:
        return bits == 64 ? cluster | QCOW2_COPIED : cluster;
    case 4:
        return bits == 64 ? cluster : old + 1;
    case 5:
        return old + (any % 2 ? 512 : -1);
    default:
        return old ^ UINT64_C(1) << any % bits;
    }
}

/* Whether the header is affected. */
static bool mutate(const Sample *sample, GRand *rand, TestImage *image)
{
    const Region *region =
        &g_array_index(sample->regions, Region,
                       g_rand_int_range(rand, 0, sample->regions->len));
    uint64_t offset = region->offset +
                      g_rand_int_range(rand, 0, region->bytes /
                                                    region->word) *
                          region->word;
    unsigned cluster_bits = word(sample, 20, 4);
    uint8_t bytes[8];
    uint64_t value = mutant(rand, word(sample, offset, region->word),
                            region->word * 8,
                            g_bytes_get_size(sample->bytes) >> cluster_bits,
                            cluster_bits);

    for (unsigned i = 0; i < region->word; i++) {
        bytes[i] = value >> 8 * (region->word - 1 - i);
    }
    g_test_message("%u bytes at %#" G_GINT64_MODIFIER "x: %#"
                   G_GINT64_MODIFIER "x", region->word, offset, value);
    test_image_write(image, offset, bytes, region->word);
    return region->header;
}

/* Extra data of bitmaps is kept by us, as the specification asks, and too much
 * for qemu-img. */
static void expect_clean(const TestImage *image)
{
    g_autofree char *lines = qcow2_ops_check(image, 0, NULL);
    g_autofree char *theirs = qcow2_image_check_lines(image);

    g_assert_cmpstr(lines, ==, "");
    if (!strstr(theirs, "Bitmap extra data is not supported")) {
        qcow2_image_check(image);
    }
}

static void test_one(const Sample *sample, GRand *rand)
{
    g_autoptr(TestImage) image = test_image_new(0);
    g_autofree char *found = NULL, *repaired = NULL;
    bool header = false;
    gsize length;
    const void *bytes = g_bytes_get_data(sample->bytes, &length);

    test_image_write(image, 0, bytes, length);
    for (int i = g_rand_int_range(rand, 1, 4); i > 0; i--) {
        header |= mutate(sample, rand, image);
    }
    found = qcow2_ops_check(image, 0, NULL);
    repaired = qcow2_ops_check(image, FIX_ALL, NULL);
    if (!header) {
        expect_clean(image);
    }
}

static void test_random(const void *options)
{
    Sample sample = sample_of(make_image(options));
    GRand *rand = g_rand_new_with_seed(g_str_hash(options));

    for (unsigned i = 0; i < 40; i++) {
        test_one(&sample, rand);
    }
    g_rand_free(rand);
    g_bytes_unref(sample.bytes);
    g_array_unref(sample.regions);
}

int main(int argc, char **argv)
{
    static const char *const options[] = {
        "cluster_size=64k", "cluster_size=1k", "cluster_size=4k,compat=0.10",
        "cluster_size=4k,refcount_bits=64", "extended_l2=on",
    };
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
        g_autofree char *path =
            g_strdup_printf("/qcow2-check-random/%s", options[i]);

        g_test_add_data_func(path, options[i], test_random);
    }
    ret = g_test_run();
    test_block_end();
    return ret;
}
