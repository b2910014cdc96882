/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Creating and measuring beside qemu-img: the same errors, and images that it
 * calls clean and describes like its own.
 */
#include "tests/lib/block.h"
#include "tests/lib/qcow2-ops.h"

#include <stdio.h>
#include <string.h>

/* --- making one --- */

/* What may differ: names, and what the host has given. */
static char *info_of(const char *path)
{
    const char *argv[] = { "qemu-img", "info", "--output=json", path, NULL };
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    GString *kept = g_string_new(NULL);

    g_assert_true(test_run(argv, &text));
    lines = g_strsplit(text, "\n", -1);
    for (unsigned i = 0; lines[i]; i++) {
        if (!strstr(lines[i], "actual-size") && !strstr(lines[i], "-file")) {
            g_string_append_printf(kept, "%s\n", lines[i]);
        }
    }
    return g_string_free(kept, FALSE);
}

/* "qemu-img create" with the same; its message, or NULL. */
static char *create_theirs(const char *path, const char *options,
                           const char *size)
{
    const char *argv[] = { "qemu-img", "create", "-q", "-u", "-f", "qcow2",
                           "-o", options, path, size, NULL };
    g_autofree char *output = NULL;
    const char *message;

    if (test_run(argv, &output)) {
        return NULL;
    }
    message = strstr(output, path);
    g_assert_nonnull(message);
    return g_strstrip(g_strdup(message + strlen(path) + 2));
}

static char *create_ours(const char *path, const char *options,
                         const char *size)
{
    g_autofree char *all = g_strdup_printf("size=%s%s%s", size,
                                           *options ? "," : "", options);

    return qcow2_ops_create(path, all);
}

typedef struct Case {
    const char *options, *size;
} Case;

/* @ stands for the data file. */
static char *fill_in(const char *options, const TestImage *data)
{
    g_auto(GStrv) parts = g_strsplit(options, "@", 2);

    return g_strjoinv(test_image_path(data), parts);
}

static void test_made(const void *opaque)
{
    const Case *test = opaque;
    g_autoptr(TestImage) image = test_image_new(0);
    g_autoptr(TestImage) data = test_image_new(0);
    g_autofree char *options = fill_in(test->options, data);
    g_autofree char *expected = NULL, *info = NULL;

    qcow2_ops_ok(create_theirs(test_image_path(image), options, test->size));
    expected = info_of(test_image_path(image));
    qcow2_ops_ok(create_ours(test_image_path(image), options, test->size));
    info = info_of(test_image_path(image));
    g_assert_cmpstr(info, ==, expected);
    qcow2_image_check(image);
    if (strcmp(test->size, "1M") == 0) {
        qcow2_image_io(image, "read -P 0 0 1M", "write -P 9 1000 500k",
                       "read -P 9 1000 500k", NULL);
        qcow2_image_check(image);
    }
}

/* And nothing is left behind. */
static void test_refused(const void *opaque)
{
    const Case *test = opaque;
    g_autoptr(TestImage) image = test_image_new(0);
    g_autoptr(TestImage) data = test_image_new(0);
    g_autofree char *options = fill_in(test->options, data);
    g_autofree char *path = g_build_filename(test_image_dir(image), "new",
                                             NULL);
    g_autofree char *expected = create_theirs(path, options, test->size);
    g_autofree char *message = create_ours(path, options, test->size);

    g_assert_cmpstr(message, ==, expected);
    g_assert_nonnull(message);
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
}

static const Case made[] = {
    { "compat=1.1", "1M" }, { "compat=1.1", "0" }, { "compat=1.1", "1000" },
    { "cluster_size=512", "1M" },
    { "cluster_size=2M", "1M" }, { "cluster_size=512,refcount_bits=64", "1G" },
    { "cluster_size=512,refcount_bits=1", "100G" }, { "compat=0.10", "1M" },
    { "compat=v3", "1M" }, { "extended_l2=on", "1M" },
    { "lazy_refcounts=on", "1M" }, { "compression_type=zstd", "1M" },
    { "lazy_refcounts=off", "2P" }, { "cluster_size=2M", "2E" },
    { "preallocation=metadata", "1M" }, { "preallocation=falloc", "1M" },
    { "preallocation=full", "1M" },
    { "preallocation=metadata,compat=0.10", "1M" },
    { "preallocation=falloc,cluster_size=512,refcount_bits=64", "10M" },
    { "preallocation=metadata,extended_l2=on", "1M" },
    { "data_file=@", "1M" }, { "data_file=@,data_file_raw=on", "1M" },
    { "data_file=@,preallocation=metadata", "1M" },
};

static const Case refused[] = {
    { "cluster_size=1000", "1M" }, { "cluster_size=4M", "1M" },
    { "compat=0.9", "1M" }, { "compat=v2,lazy_refcounts=on", "1M" },
    { "refcount_bits=7", "1M" }, { "refcount_bits=128", "1M" },
    { "compat=0.10,refcount_bits=8", "1M" }, { "data_file_raw=on", "1M" },
    { "data_file=@,compat=v2", "1M" },
    { "extended_l2=on,cluster_size=8k", "1M" },
    { "extended_l2=on,compat=v2", "1M" }, { "compression_type=foo", "1M" },
    { "compression_type=zstd,compat=v2", "1M" }, { "preallocation=foo", "1M" },
    { "backing_fmt=raw", "1M" }, { "cluster_size=512", "200G" },
    { "data_file=/nonexistent/file", "1M" },
    { "backing_file=x,backing_fmt=raw,preallocation=full", "1M" },
    { "backing_file=x,backing_fmt=raw,data_file=@,data_file_raw=on", "1M" },
    { "cluster_size=3,compat=foo,refcount_bits=3", "1M" },
    { "cluster_size=3,refcount_bits=3", "1M" },
};

static void test_encryption(void)
{
    g_autoptr(TestImage) image = test_image_new(0);
    g_autofree char *path = g_build_filename(test_image_dir(image), "new",
                                             NULL);
    g_autofree char *message =
        qcow2_ops_create(path, "size=1M,encrypt.format=luks");

    g_assert_cmpstr(message, ==, "Encryption is not supported");
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
}

/* Subclusters that are not allocated show the backing file. */
static void test_preallocated_overlay(void)
{
    g_autoptr(TestImage) backing = test_image_new(1 << 20);
    g_autoptr(TestImage) image = test_image_new(0);
    g_autofree char *options =
        g_strdup_printf("size=1M,backing_file=%s,backing_fmt=raw,"
                        "extended_l2=on,preallocation=metadata",
                        test_image_path(backing));
    g_autofree char *buf = g_malloc(1 << 20);

    memset(buf, 7, 1 << 20);
    test_image_write(backing, 0, buf, 1 << 20);
    qcow2_ops_ok(qcow2_ops_create(test_image_path(image), options));
    qcow2_image_io(image, "read -P 7 0 1M", "write -P 8 64k 1k",
                   "read -P 8 64k 1k", "read -P 7 65k 63k", NULL);
    qcow2_image_check(image);
}

/* An image that is there is replaced; one that cannot be made is not. */
static void test_replace(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");
    g_autofree char *message = NULL;

    qcow2_image_io(image, "write -P 5 0 1M", NULL);
    message = create_ours(test_image_path(image), "cluster_size=3", "1M");
    g_assert_nonnull(message);
    qcow2_image_io(image, "read -P 5 0 1M", NULL);
    qcow2_ops_ok(create_ours(test_image_path(image), "", "2M"));
    qcow2_image_io(image, "read -P 0 0 2M", NULL);
    qcow2_image_check(image);
}

/* --- measuring --- */

static char *measure_theirs(const char *options, const char *size,
                            const TestImage *from)
{
    const char *of_image[] = { "qemu-img", "measure", "-O", "qcow2", "-o",
                               options, "-f", "qcow2",
                               from ? test_image_path(from) : NULL, NULL };
    const char *of_size[] = { "qemu-img", "measure", "-O", "qcow2", "-o",
                              options, "--size", size, NULL };
    char *output;

    test_run(from ? of_image : of_size, &output);
    return output;
}

static char *measure_ours(const char *options, const char *size,
                          const TestImage *from)
{
    g_autofree char *all = g_strdup_printf("size=%s,%s", size, options);
    g_autoptr(Options) opts = options_parse(all, "measure", NULL, NULL);
    g_autoptr(GError) error = NULL;
    BlockDriverState *bs =
        from ? qcow2_ops_open(from, BDRV_OPEN_READ_ONLY) : NULL;
    BlockMeasure measure;
    bool ok = bdrv_find_driver("qcow2")->image->measure(opts, bs, &measure,
                                                        &error);
    GString *text = g_string_new(NULL);

    if (bs) {
        bdrv_unref(bs);
    }
    if (!ok) {
        g_string_printf(text, "qemu-img: %s\n", error->message);
        return g_string_free(text, FALSE);
    }
    g_string_printf(text, "required size: %" G_GINT64_FORMAT "\n"
                    "fully allocated size: %" G_GINT64_FORMAT "\n",
                    measure.required, measure.fully_allocated);
    if (measure.bitmaps >= 0) {
        g_string_append_printf(text, "bitmaps size: %" G_GINT64_FORMAT "\n",
                               measure.bitmaps);
    }
    return g_string_free(text, FALSE);
}

static void compare_measures(const char *options, const char *size,
                             const TestImage *from)
{
    g_autofree char *theirs = measure_theirs(options, size, from);
    g_autofree char *ours = measure_ours(options, size, from);

    g_assert_cmpstr(ours, ==, theirs);
}

static void test_measure_size(void)
{
    static const char *const options[] = {
        "cluster_size=64k", "preallocation=full", "preallocation=metadata",
        "cluster_size=512,refcount_bits=64", "extended_l2=on", "compat=0.10",
        "refcount_bits=3", "refcount_bits=8,compat=0.10", "compat=foo",
        "preallocation=foo", "cluster_size=3", "cluster_size=2M",
    };
    static const char *const sizes[] = { "0", "1", "1000000", "1G", "3T",
                                         "2P", "4P" };

    for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
        for (unsigned j = 0; j < G_N_ELEMENTS(sizes); j++) {
            compare_measures(options[i], sizes[j], NULL);
        }
    }
}

static void test_measure_image(void)
{
    static const char *const options[] = {
        "cluster_size=64k", "cluster_size=512", "compat=0.10",
        "preallocation=full", "backing_file=x", "cluster_size=2M",
    };
    g_autoptr(TestImage) image = qcow2_image_new("", "10M");

    qcow2_image_io(image, "write 1M 1M", "write -z 3M 1M", "write 4M 64k",
                   "write -c 6M 64k", NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
        compare_measures(options[i], "0", image);
    }
    g_free(qcow2_image_run(image, "bitmap", "--add", "@", "a", NULL));
    g_free(qcow2_image_run(image, "bitmap", "--add", "-g", "512", "@",
                           "another one", NULL));
    for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
        compare_measures(options[i], "0", image);
    }
}

static void add(const char *kind, const Case *test, GTestDataFunc fn)
{
    g_autofree char *path = g_strdup_printf("/qcow2-create/%s/%s %s", kind,
                                            test->size, test->options);

    g_strdelimit(path + strlen("/qcow2-create/refused/"), "/", '.');
    g_test_add_data_func(path, test, fn);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(made); i++) {
        add("made", &made[i], test_made);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(refused); i++) {
        add("refused", &refused[i], test_refused);
    }
    g_test_add_func("/qcow2-create/encryption", test_encryption);
    g_test_add_func("/qcow2-create/preallocated-overlay",
                    test_preallocated_overlay);
    g_test_add_func("/qcow2-create/replace", test_replace);
    g_test_add_func("/qcow2-create/measure-size", test_measure_size);
    g_test_add_func("/qcow2-create/measure-image", test_measure_image);
    ret = g_test_run();
    test_block_end();
    return ret;
}
