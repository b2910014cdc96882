/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Amending, beside qemu-img on a copy: the same message or none, the same
 * "info" afterwards, and what the disk and its snapshots show stays.
 */
#include "tests/lib/block.h"
#include "tests/lib/qcow2-ops.h"

#include <string.h>

#include "block/block-co.h"

static char *info_of(const TestImage *image)
{
    g_autofree char *text = qcow2_image_run(image, "info", "--output=json",
                                            "@", NULL);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    GString *kept = g_string_new(NULL);

    for (unsigned i = 0; lines[i]; i++) {
        if (!strstr(lines[i], "actual-size") &&
            !strstr(lines[i], "\"filename\"")) {
            g_string_append_printf(kept, "%s\n", lines[i]);
        }
    }
    return g_string_free(kept, FALSE);
}

static TestImage *copy_of(const TestImage *image)
{
    TestImage *copy = test_image_new(0);
    g_autofree char *bytes = NULL;
    gsize length;

    g_assert_true(g_file_get_contents(test_image_path(image), &bytes, &length,
                                      NULL));
    test_image_write(copy, 0, bytes, length);
    return copy;
}

static char *amend_theirs(const TestImage *image, const char *options)
{
    const char *argv[] = { "qemu-img", "amend", "-o", options,
                           test_image_path(image), NULL };
    g_autofree char *output = NULL;

    if (test_run(argv, &output)) {
        return NULL;
    }
    g_assert_true(g_str_has_prefix(output, "qemu-img: "));
    return g_strstrip(g_strdup(output + strlen("qemu-img: ")));
}

static void amend_both(const TestImage *image, const char *options)
{
    g_autoptr(TestImage) copy = copy_of(image);
    g_autofree char *theirs = amend_theirs(copy, options);
    g_autofree char *ours = qcow2_ops_amend(image, options);
    g_autofree char *info = info_of(image), *expected = info_of(copy);

    g_assert_cmpstr(ours, ==, theirs);
    g_assert_cmpstr(info, ==, expected);
}

/* --- data stays --- */

static void fill(TestImage *image, GRand *rand, unsigned *snapshots)
{
    for (unsigned i = 0; i < 10; i++) {
        static const char *const commands[] = { "write -P 7", "write -z",
                                                "write -z -u", "discard" };
        int64_t offset = g_rand_int_range(rand, 0, 2048) * 512;
        int64_t bytes = g_rand_int_range(rand, 1, 300) * 512;
        g_autofree char *command = g_strdup_printf(
            "%s %" G_GINT64_FORMAT " %" G_GINT64_FORMAT,
            commands[g_rand_int_range(rand, 0, 4)], offset,
            MIN(bytes, (1 << 20) - offset));

        qcow2_image_io(image, command, NULL);
        if (i % 4 == 3) {
            g_autofree char *name = g_strdup_printf("s%u", (*snapshots)++);

            g_free(qcow2_image_run(image, "snapshot", "-c", name, "@", NULL));
        }
    }
}

static char *show_all(TestImage *image, unsigned snapshots)
{
    GString *sums = g_string_new(NULL);
    g_autofree char *now = qcow2_image_checksum(image, NULL);

    g_string_append_printf(sums, "%s\n", now);
    for (unsigned i = 0; i < snapshots; i++) {
        g_autofree char *name = g_strdup_printf("s%u", i);
        g_autofree char *sum = qcow2_image_checksum(image, name);

        g_string_append_printf(sums, "%s\n", sum);
    }
    return g_string_free(sums, FALSE);
}

static void test_random(const void *options)
{
    static const char *const changes[] = {
        "compat=v2", "compat=v3", "refcount_bits=2", "refcount_bits=8",
        "refcount_bits=64", "lazy_refcounts=on", "lazy_refcounts=off",
        "compat=0.10,refcount_bits=16", "compat=1.1,refcount_bits=32",
    };
    g_autoptr(TestImage) backing = test_image_new(1 << 20);
    g_autofree char *all =
        g_strdup_printf("backing_file=%s,backing_fmt=raw,%s",
                        test_image_path(backing), (const char *)options);
    g_autoptr(TestImage) image = qcow2_image_new(all, "1M");
    GRand *rand = g_rand_new_with_seed(g_str_hash(options));
    g_autofree char *before = NULL;
    unsigned snapshots = 0;

    test_image_write(backing, 500000, "not zero", 8);
    fill(image, rand, &snapshots);
    before = show_all(image, snapshots);
    for (unsigned i = 0; i < 9; i++) {
        g_autofree char *after = NULL;

        amend_both(image, changes[g_rand_int_range(rand, 0,
                                                   G_N_ELEMENTS(changes))]);
        qcow2_image_check(image);
        after = show_all(image, snapshots);
        g_assert_cmpstr(after, ==, before);
    }
    g_rand_free(rand);
}

/* --- what is not done --- */

static void test_refused(void)
{
    static const char *const changes[] = {
        "compat=0.11", "refcount_bits=7", "refcount_bits=128",
        "backing_file=x", "backing_file=", "data_file=x", "data_file_raw=on",
    };
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");
    g_autoptr(TestImage) old = qcow2_image_new("compat=0.10", "1M");
    g_autoptr(TestImage) extended = qcow2_image_new("extended_l2=on", "1M");
    g_autoptr(TestImage) wide = qcow2_image_new("refcount_bits=64", "1M");
    g_autoptr(TestImage) zstd = qcow2_image_new("compression_type=zstd",
                                                "1M");

    for (unsigned i = 0; i < G_N_ELEMENTS(changes); i++) {
        amend_both(image, changes[i]);
    }
    amend_both(old, "lazy_refcounts=on");
    amend_both(old, "refcount_bits=8");
    amend_both(extended, "compat=0.10");
    amend_both(wide, "compat=0.10");
    amend_both(zstd, "compat=0.10");
    amend_both(zstd, "compat=1.1");
    g_free(qcow2_image_run(image, "snapshot", "-c", "a", "@", NULL));
    g_free(qcow2_image_run(image, "resize", "-q", "@", "2M", NULL));
    amend_both(image, "compat=0.10");
    qcow2_image_io(image, "write 0 1M", NULL);
    g_free(qcow2_image_run(image, "snapshot", "-c", "b", "@", NULL));
    amend_both(image, "refcount_bits=1");
    qcow2_image_check(image);
}

static void test_zstd_in_use(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("compression_type=zstd",
                                                 "1M");

    qcow2_image_io(image, "write -c 0 64k", NULL);
    amend_both(image, "compat=0.10");
}

static void test_size(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");

    amend_both(image, "size=3M");
    amend_both(image, "size=512k");
    qcow2_image_check(image);
}

/* Bitmaps go, and take no room. */
static void test_bitmaps(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");

    qcow2_ops_ok(qcow2_ops_bitmap(image, "add", "a", 0));
    qcow2_ops_ok(qcow2_ops_amend(image, "compat=0.10"));
    qcow2_image_check(image);
}

int main(int argc, char **argv)
{
    static const char *const options[] = {
        "cluster_size=64k", "cluster_size=4k", "cluster_size=512",
        "cluster_size=1k,refcount_bits=64",
    };
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
        g_autofree char *path = g_strdup_printf("/qcow2-amend/random-%s",
                                                options[i]);

        g_test_add_data_func(path, options[i], test_random);
    }
    g_test_add_func("/qcow2-amend/refused", test_refused);
    g_test_add_func("/qcow2-amend/zstd-in-use", test_zstd_in_use);
    g_test_add_func("/qcow2-amend/size", test_size);
    g_test_add_func("/qcow2-amend/bitmaps", test_bitmaps);
    ret = g_test_run();
    test_block_end();
    return ret;
}
