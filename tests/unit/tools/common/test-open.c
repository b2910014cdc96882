/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How command lines name images and cache modes. */
#include "tools/common/open.h"

#include "block/graph.h"

static void expect_mode(const char *mode, unsigned flags, bool writethrough)
{
    unsigned got = BDRV_OPEN_READ_ONLY | BDRV_OPEN_DIRECT |
                   BDRV_OPEN_NO_FLUSH;
    bool got_writethrough = !writethrough;

    g_assert_true(cache_mode_parse(mode, &got, &got_writethrough));
    g_assert_cmphex(got, ==, flags | BDRV_OPEN_READ_ONLY);
    g_assert_cmpint(got_writethrough, ==, writethrough);
}

static void test_cache_modes(void)
{
    unsigned flags = BDRV_OPEN_DIRECT;
    bool writethrough = true;

    expect_mode("none", BDRV_OPEN_DIRECT, false);
    expect_mode("off", BDRV_OPEN_DIRECT, false);
    expect_mode("writeback", 0, false);
    expect_mode("writethrough", 0, true);
    expect_mode("directsync", BDRV_OPEN_DIRECT, true);
    expect_mode("unsafe", BDRV_OPEN_NO_FLUSH, false);
    g_assert_false(cache_mode_parse("quick", &flags, &writethrough));
    g_assert_cmphex(flags, ==, BDRV_OPEN_DIRECT);
    g_assert_true(writethrough);
}

static void expect_error(const char *text, unsigned flags,
                         const char *expected)
{
    g_autoptr(GError) error = NULL;
    ImageName name = { .text = text, .image_opts = true };

    g_assert_null(image_open(&name, flags, &error));
    g_assert_nonnull(error);
    g_assert_cmpstr(error->message, ==, expected);
}

static void test_image_opts_errors(void)
{
    expect_error("disk", 0, "Cannot find device='disk' nor node-name='disk'");
    expect_error("{}", 0, "Cannot find device='{}' nor node-name='{}'");
    expect_error("", 0, "Must specify either driver or file");
    expect_error("a=b", 0, "Must specify either driver or file");
    expect_error("driver=null-co,force-share=off",
                 BDRV_OPEN_SHARE | BDRV_OPEN_READ_ONLY,
                 "--force-share/-U conflicts with image options");
}

static void test_image_opts(void)
{
    g_autoptr(GError) error = NULL;
    ImageName name = {
        .text = "driver=raw,file.driver=null-co,file.size=1M",
        .image_opts = true,
    };
    g_autoptr(BlockDriverState) bs = image_open(&name, BDRV_OPEN_READ_ONLY,
                                                &error);

    g_assert_no_error(error);
    g_assert_cmpstr(bs->drv->name, ==, "raw");
    g_assert_cmpint(bs->total_bytes, ==, 1 << 20);
    g_assert_true(bs->read_only);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/open/cache-modes", test_cache_modes);
    g_test_add_func("/open/image-opts-errors", test_image_opts_errors);
    g_test_add_func("/open/image-opts", test_image_opts);
    return g_test_run();
}
