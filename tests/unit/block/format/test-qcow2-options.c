/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runtime options: what is refused, in qemu-io's words, and what comes of
 * those that are taken.
 */
#include "tests/lib/block.h"
#include "tests/lib/qcow2-image.h"

#include <string.h>

#include "block/format/qcow2.h"

#define MIB (1024 * 1024)

typedef struct BadOption {
    const char *options;
    const char *message;
    const char *image; /* options of it, or NULL */
} BadOption;

static const BadOption bad_options[] = {
    { "l2-cache-size=1G,cache-size=1M",
      "l2-cache-size may not exceed cache-size" },
    { "refcount-cache-size=1G,cache-size=1M",
      "refcount-cache-size may not exceed cache-size" },
    { "l2-cache-size=1M,cache-size=2M,refcount-cache-size=1M",
      "cache-size, l2-cache-size and refcount-cache-size may not be set at "
      "the same time" },
    { "l2-cache-entry-size=1000",
      "L2 cache entry size must be a power of two between 512 and the cluster "
      "size (65536)" },
    { "l2-cache-entry-size=256",
      "L2 cache entry size must be a power of two between 512 and the cluster "
      "size (65536)" },
    { "l2-cache-entry-size=131072",
      "L2 cache entry size must be a power of two between 512 and the cluster "
      "size (65536)" },
    { "l2-cache-entry-size=8k",
      "L2 cache entry size must be a power of two between 512 and the cluster "
      "size (4096)", "cluster_size=4k" },
    { "refcount-cache-size=9223372036854775807",
      "Refcount cache size too big" },
    { "cache-clean-interval=4294967296", "Cache clean interval too big" },
    { "overlap-check=foo",
      "Unsupported value 'foo' for qcow2 option 'overlap-check'. Allowed are "
      "any of the following: none, constant, cached, all" },
    { "overlap-check.template=foo",
      "Unsupported value 'foo' for qcow2 option 'overlap-check'. Allowed are "
      "any of the following: none, constant, cached, all" },
    { "lazy-refcounts=on",
      "Lazy refcounts require a qcow2 image with at least qemu 1.1 "
      "compatibility level", "compat=0.10" },
    { "encrypt.format=luks",
      "No encryption in image header, but options specified format 'luks'" },
    { "foo=1", "Block format 'qcow2' does not support the option 'foo'" },
};

static void check_peer(const TestImage *image, const BadOption *bad)
{
    g_autofree char *opts =
        g_strdup_printf("driver=qcow2,file.filename=%s,%s",
                        test_image_path(image), bad->options);
    const char *argv[] = { "qemu-io", "--image-opts", "-c", "quit", opts,
                           NULL };
    g_autofree char *output = NULL;
    g_autofree char *wanted = g_strdup_printf("qemu-io: can't open: %s\n",
                                              bad->message);

    g_assert_false(test_run(argv, &output));
    g_assert_cmpstr(output, ==, wanted);
}

static void test_bad(gconstpointer opaque)
{
    const BadOption *bad = opaque;
    g_autoptr(TestImage) image =
        qcow2_image_new(bad->image ? bad->image : "", "64M");
    g_autofree char *text =
        g_strdup_printf("qcow2,node-name=q,file.driver=file,file.filename=%s,"
                        "%s", test_image_path(image), bad->options);
    g_autofree char *message = g_strdup_printf("blockdev 'q': %s",
                                               bad->message);

    check_peer(image, bad);
    test_open_fails(text, message);
}

/* --- caches --- */

typedef struct CacheCase {
    const char *image, *size, *options;
    int64_t l2_bytes, refcount_bytes;
    unsigned slice_entries;
} CacheCase;

static const CacheCase cache_cases[] = {
    /* as much as the disk needs, but eight tables */
    { "", "64M", "", 8 * 65536, 4 * 65536, 8192 },
    { "", "200G", "", 25 * MIB, 4 * 65536, 8192 },
    { "", "8T", "", 32 * MIB, 4 * 65536, 8192 },
    { "extended_l2=on", "8T", "", 32 * MIB, 4 * 65536, 4096 },
    { "cluster_size=2M", "8T", "", 32 * MIB, 8 * MIB, 8192 },
    /* 8 GiB, however small the clusters */
    { "cluster_size=512", "16G", "", 128 * MIB, 4 * 512, 64 },
    { "cluster_size=512", "2G", "", 32 * MIB, 4 * 512, 64 },
    { "", "8T", "l2-cache-entry-size=4k", 32 * MIB, 4 * 65536, 512 },
    { "", "8T", "l2-cache-size=1M", MIB, 4 * 65536, 8192 },
    { "", "8T", "l2-cache-size=0", 8 * 65536, 4 * 65536, 8192 },
    { "", "64M", "l2-cache-size=9223372036854775807", 8 * 65536, 4 * 65536,
      8192 },
    { "", "8T", "refcount-cache-size=1M", 32 * MIB, MIB, 8192 },
    { "", "8T", "cache-size=2M", 2 * MIB - 4 * 65536, 4 * 65536, 8192 },
    { "", "8T", "cache-size=2M,l2-cache-size=1M", MIB, MIB, 8192 },
    { "", "8T", "cache-size=4M,refcount-cache-size=1M", 3 * MIB, MIB, 8192 },
    /* what L2 tables do not need goes to the refcounts */
    { "", "64G", "cache-size=16M", 8 * MIB, 8 * MIB, 8192 },
};

static void test_caches(gconstpointer opaque)
{
    const CacheCase *c = opaque;
    g_autoptr(TestImage) image = qcow2_image_new(c->image, c->size);
    g_autoptr(BlockDriverState) bs =
        test_open("qcow2,file.driver=file,file.filename=%s%s%s",
                  test_image_path(image), *c->options ? "," : "", c->options);
    const Qcow2State *s = bs->opaque;

    g_assert_cmpint(s->l2_cache_bytes, ==, c->l2_bytes);
    g_assert_cmpint(s->refcount_cache_bytes, ==, c->refcount_bytes);
    g_assert_cmpuint(s->l2_slice_entries, ==, c->slice_entries);
}

/* Tables that nobody asks for are given back, and the node rests then. */
static void test_clean_interval(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "64M");
    BlockDriverState *bs;
    const Qcow2State *s;
    char buf[512];

    qcow2_image_io(image, "write -P 1 0 64k", NULL);
    bs = test_open_attached("qcow2,cache-clean-interval=1,file.driver=file,"
                            "file.filename=%s", test_image_path(image));
    s = bs->opaque;
    g_assert_false(s->clean_timer.armed);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, buf, 512), ==, 0);
    g_assert_true(qcow2_cache_in_use(s->l2_cache));
    g_assert_true(s->clean_timer.armed);
    while (qcow2_cache_in_use(s->l2_cache)) {
        aio_poll(test_ctx(), true);
    }
    g_assert_false(s->clean_timer.armed);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, buf, 512), ==, 0);
    g_assert_cmpint(buf[0], ==, 1);
    test_detach_unref(bs);
    bs = test_open_attached("qcow2,cache-clean-interval=0,file.driver=file,"
                            "file.filename=%s", test_image_path(image));
    s = bs->opaque;
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, buf, 512), ==, 0);
    g_assert_false(s->clean_timer.armed);
    test_detach_unref(bs);
}

/* --- the others --- */

typedef struct CheckCase {
    const char *options;
    unsigned checks;
} CheckCase;

static const CheckCase check_cases[] = {
    { "", QCOW2_OL_CACHED },
    { ",overlap-check=none", 0 },
    { ",overlap-check=constant", QCOW2_OL_CONSTANT },
    { ",overlap-check=cached", QCOW2_OL_CACHED },
    { ",overlap-check=all", QCOW2_OL_ALL },
    { ",overlap-check.template=constant", QCOW2_OL_CONSTANT },
    { ",overlap-check.template=none,overlap-check.active-l1=on,"
      "overlap-check.bitmap-directory=on",
      QCOW2_OL_ACTIVE_L1 | QCOW2_OL_BITMAP_DIRECTORY },
    { ",overlap-check.main-header=off",
      QCOW2_OL_CACHED & ~QCOW2_OL_MAIN_HEADER },
    { ",overlap-check.inactive-l2=on", QCOW2_OL_ALL },
};

static void test_overlap_check(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "64M");

    for (unsigned i = 0; i < G_N_ELEMENTS(check_cases); i++) {
        g_autoptr(BlockDriverState) bs =
            test_open("qcow2,file.driver=file,file.filename=%s%s",
                      test_image_path(image), check_cases[i].options);
        const Qcow2State *s = bs->opaque;

        g_assert_cmphex(s->overlap_check, ==, check_cases[i].checks);
    }
}

static void test_discards(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "64M");
    g_autoptr(BlockDriverState) plain =
        test_open("qcow2,read-only=on,file.driver=file,file.filename=%s",
                  test_image_path(image));
    g_autoptr(BlockDriverState) unmap =
        test_open("qcow2,read-only=on,discard=unmap,discard-no-unref=on,"
                  "pass-discard-snapshot=off,pass-discard-other=on,"
                  "file.driver=file,file.filename=%s",
                  test_image_path(image));
    const Qcow2State *a = plain->opaque, *b = unmap->opaque;

    g_assert_false(a->pass_discard[QCOW2_DISCARD_REQUEST]);
    g_assert_true(a->pass_discard[QCOW2_DISCARD_SNAPSHOT]);
    g_assert_false(a->pass_discard[QCOW2_DISCARD_OTHER]);
    g_assert_false(a->discard_no_unref);
    g_assert_true(b->pass_discard[QCOW2_DISCARD_REQUEST]);
    g_assert_false(b->pass_discard[QCOW2_DISCARD_SNAPSHOT]);
    g_assert_true(b->pass_discard[QCOW2_DISCARD_OTHER]);
    g_assert_true(b->discard_no_unref);
}

static void test_lazy_refcounts(void)
{
    g_autoptr(TestImage) eager = qcow2_image_new("", "64M");
    g_autoptr(TestImage) lazy = qcow2_image_new("lazy_refcounts=on", "64M");
    g_autoptr(BlockDriverState) on =
        test_open("qcow2,lazy-refcounts=on,file.driver=file,"
                  "file.filename=%s", test_image_path(eager));
    g_autoptr(BlockDriverState) as_is =
        test_open("qcow2,read-only=on,file.driver=file,file.filename=%s",
                  test_image_path(lazy));
    g_autoptr(BlockDriverState) off =
        test_open("qcow2,read-only=on,lazy-refcounts=off,file.driver=file,"
                  "file.filename=%s", test_image_path(lazy));

    g_assert_true(((Qcow2State *)on->opaque)->use_lazy_refcounts);
    g_assert_true(((Qcow2State *)as_is->opaque)->use_lazy_refcounts);
    g_assert_false(((Qcow2State *)off->opaque)->use_lazy_refcounts);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(bad_options); i++) {
        g_autofree char *path = g_strdup_printf("/qcow2-options/bad/%s",
                                                bad_options[i].options);

        g_test_add_data_func(path, &bad_options[i], test_bad);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(cache_cases); i++) {
        g_autofree char *path = g_strdup_printf("/qcow2-options/cache/%u", i);

        g_test_add_data_func(path, &cache_cases[i], test_caches);
    }
    g_test_add_func("/qcow2-options/clean-interval", test_clean_interval);
    g_test_add_func("/qcow2-options/overlap-check", test_overlap_check);
    g_test_add_func("/qcow2-options/discards", test_discards);
    g_test_add_func("/qcow2-options/lazy-refcounts", test_lazy_refcounts);
    ret = g_test_run();
    test_block_end();
    return ret;
}
