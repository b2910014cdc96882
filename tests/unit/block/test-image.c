/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Making and resizing the files of images, with what can go wrong and the
 * words for it, which are those of qemu-img.
 */
#include "tests/lib/block.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/control.h"
#include "block/image.h"
#include "tests/lib/image.h"

#define K 1024

typedef struct Resize {
    BlockDriverState *bs;
    BlockTruncate to;
    bool ok;
    GError *error;
} Resize;

static void coroutine_fn resize_entry(void *opaque)
{
    Resize *resize = opaque;

    resize->ok = bdrv_co_truncate(resize->bs, &resize->to, &resize->error);
}

/* NULL: it works. */
static void resize(BlockDriverState *bs, int64_t bytes, BlockPrealloc prealloc,
                   const char *message)
{
    Resize job = { .bs = bs, .to = { .bytes = bytes, .prealloc = prealloc } };

    bdrv_run_co(bs, resize_entry, &job);
    g_assert_cmpstr(job.error ? job.error->message : NULL, ==, message);
    g_assert_true(job.ok == !message);
    g_clear_error(&job.error);
}

static BlockDriverState *open_image(const char *name, const char *format,
                                    unsigned flags)
{
    g_autoptr(GError) error = NULL;
    BlockDriverState *bs = bdrv_open_image(name, format, NULL, flags, &error);

    g_assert_no_error(error);
    return bs;
}

static TestImage *image_here(int64_t bytes)
{
    TestImage *image = test_image_new(bytes);

    g_assert_cmpint(chdir(test_image_dir(image)), ==, 0);
    return image;
}

static void test_resize(void)
{
    g_autoptr(TestImage) image = image_here(64 * K);
    g_autoptr(BlockDriverState) bs = open_image("image", "raw", 0);

    resize(bs, 1024 * K, PREALLOC_OFF, NULL);
    g_assert_cmpint(test_image_length(image), ==, 1024 * K);
    g_assert_cmpint(bs->total_bytes, ==, 1024 * K);
    g_assert_cmpint(bdrv_allocated_bytes(bs), ==, 0);
    resize(bs, 1000, PREALLOC_OFF, NULL);
    g_assert_cmpint(test_image_length(image), ==, 1000);
    g_assert_cmpint(bs->total_bytes, ==, 1024);
    resize(bs, 512 * K, PREALLOC_FALLOC, NULL);
    g_assert_cmpint(test_image_length(image), ==, 512 * K);
    g_assert_cmpint(bdrv_allocated_bytes(bs), >=, 500 * K);
    g_assert_cmpint(bdrv_allocated_bytes(bs), ==,
                    test_image_allocated(image));
    resize(bs, 1024 * K + 512, PREALLOC_FULL, NULL);
    g_assert_cmpint(test_image_length(image), ==, 1024 * K + 512);
    g_assert_cmpint(bdrv_allocated_bytes(bs), >=, 1000 * K);
}

/* What is new reads as zeroes, also where something was before. */
static void test_resize_keeps(void)
{
    g_autoptr(TestImage) image = image_here(64 * K);
    g_autoptr(BlockDriverState) bs = open_image("image", "raw", 0);
    g_autofree char *data = g_malloc(64 * K), *got = g_malloc0(64 * K);

    test_pattern(data, 64 * K, 7);
    test_image_write(image, 0, data, 64 * K);
    resize(bs, 512, PREALLOC_OFF, NULL);
    resize(bs, 32 * K, PREALLOC_FULL, NULL);
    resize(bs, 64 * K, PREALLOC_FALLOC, NULL);
    test_image_read(image, 0, got, 64 * K);
    g_assert_cmpmem(got, 512, data, 512);
    memset(data, 0, 64 * K);
    g_assert_cmpmem(got + 512, 64 * K - 512, data, 64 * K - 512);
}

static void test_resize_direct(void)
{
    g_autoptr(TestImage) image = image_here(4096);
    g_autoptr(BlockDriverState) bs = open_image("image", "raw",
                                                BDRV_OPEN_DIRECT);

    resize(bs, 1000 * K + 512, PREALLOC_FULL, NULL);
    g_assert_cmpint(test_image_length(image), ==, 1000 * K + 512);
}

static void test_resize_refused(void)
{
    g_autoptr(TestImage) image = image_here(64 * K);
    g_autoptr(BlockDriverState) bs = open_image("image", "raw", 0);
    g_autoptr(BlockDriverState) ro = open_image("image", "raw",
                                                BDRV_OPEN_READ_ONLY);
    g_autoptr(BlockDriverState) null = open_image("null-co://", "null-co", 0);
    g_autoptr(BlockDriverState) dev = open_image("/dev/null", "raw", 0);
    g_autoptr(BlockDriverState) sized =
        test_open("raw,size=512,file.driver=null-co");
    g_autoptr(BlockDriverState) moved =
        test_open("raw,offset=512,file.driver=null-co");

    resize(bs, -1, PREALLOC_OFF, "Image size cannot be negative");
    resize(bs, INT64_MAX, PREALLOC_OFF, "Required too big image size, it must "
           "be not greater than 9223372035781033984");
    resize(bs, 7LL << 60, PREALLOC_OFF,
           "Could not resize file: File too large");
    resize(bs, 128 * K, PREALLOC_METADATA,
           "Unsupported preallocation mode: metadata");
    resize(bs, 32 * K, PREALLOC_FULL,
           "Cannot use preallocation for shrinking files");
    resize(bs, 32 * K, PREALLOC_METADATA,
           "Cannot use preallocation for shrinking files");
    resize(ro, 128 * K, PREALLOC_OFF, "Image is read-only");
    resize(null, 128 * K, PREALLOC_OFF, NULL);
    g_assert_cmpint(null->total_bytes, ==, 128 * K);
    resize(dev, 128 * K, PREALLOC_OFF, "Cannot grow device files");
    resize(dev, 0, PREALLOC_OFF, NULL);
    resize(dev, 0, PREALLOC_FULL, "Preallocation mode 'full' unsupported for "
           "this non-regular file");
    resize(sized, 1024, PREALLOC_OFF, "Cannot resize fixed-size raw disks");
    resize(moved, 1024, PREALLOC_OFF, NULL);
    g_assert_cmpint(moved->file->total_bytes, ==, 1536);
    g_assert_cmpint(test_image_length(image), ==, 64 * K);
}

/* One that was made longer since it was opened, as by lvextend. */
static void test_resize_device(void)
{
    g_autoptr(TestImage) image = image_here(1024 * K);
    g_autofree char *output = NULL;
    const char *reason;
    char *loop = test_loop_new(image, 512, &reason);
    const char *look_again[] = { "losetup", "--set-capacity", loop, NULL };
    BlockDriverState *bs;

    if (!loop) {
        g_test_skip(reason);
        return;
    }
    bs = test_open("raw,file.driver=host_device,file.filename=%s", loop);
    resize(bs, 2048 * K, PREALLOC_OFF, "Cannot grow device files");
    test_image_truncate(image, 2048 * K);
    g_assert_true(test_run(look_again, &output));
    resize(bs, 2049 * K, PREALLOC_OFF, "Cannot grow device files");
    g_assert_cmpint(bs->total_bytes, ==, 1024 * K);
    resize(bs, 2048 * K, PREALLOC_OFF, NULL);
    g_assert_cmpint(bs->total_bytes, ==, 2048 * K);
    g_assert_cmpint(bs->file->total_bytes, ==, 2048 * K);
    resize(bs, 1024 * K, PREALLOC_OFF, NULL); /* it is as long as it is */
    g_assert_cmpint(bs->total_bytes, ==, 2048 * K);
    bdrv_unref(bs);
    test_loop_free(loop);
}

/* A limit on the file's size stands for a full disk. */
static void test_resize_fails(void)
{
    g_autoptr(TestImage) image = image_here(64 * K);
    g_autoptr(BlockDriverState) bs = open_image("image", "raw", 0);

    resize(bs, 1LL << 60, PREALLOC_FALLOC,
           "Could not preallocate new data: File too large");
    g_assert_cmpint(test_image_length(image), ==, 64 * K);
    g_assert_cmpint(bs->total_bytes, ==, 64 * K);
}

/* With the raw driver. NULL: it works. */
static void create(const char *name, const char *options, const char *message)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Options) opts = options_parse(options, "x", NULL, NULL);
    bool ok = bdrv_raw.image->create(name, opts, &error);

    g_assert_cmpstr(error ? error->message : NULL, ==, message);
    g_assert_true(ok == !message);
}

/* Half of the way there, the file is as long as it was. */
static void test_resize_no_space(void)
{
    g_autoptr(TestImage) image = image_here(0);
    g_autoptr(GError) error = NULL;
    BlockDriverState *bs;
    struct stat st;

    g_assert_cmpint(mkdir("small", 0700), ==, 0);
    if (mount("none", "small", "tmpfs", 0, "size=1m") < 0) {
        g_test_skip("cannot mount a small file system");
        return;
    }
    g_assert_true(g_file_set_contents("small/a", "abc", 3, NULL));
    bs = bdrv_open_image("small/a", "raw", NULL, 0, &error);
    g_assert_no_error(error);
    resize(bs, 4096 * K, PREALLOC_FULL, "Could not write zeros for "
           "preallocation: No space left on device");
    g_assert_cmpint(stat("small/a", &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, 3);
    resize(bs, 4096 * K, PREALLOC_FALLOC, "Could not preallocate new data: No "
           "space left on device");
    bdrv_unref(bs);
    create("small/b", "size=4M,preallocation=full", "Could not write zeros "
           "for preallocation: No space left on device");
    g_assert_cmpint(access("small/b", F_OK), ==, -1);
    g_assert_cmpint(umount("small"), ==, 0);
}

/* --- over a backing file --- */

static bool last_zero; /* what the format was told last */

static bool over_open(BlockDriverState *bs, Options *opts, GError **error)
{
    bs->total_bytes = 64 * K;
    return bdrv_open_child(bs, opts, "backing",
                           BDRV_CHILD_BACKING | BDRV_CHILD_OPTIONAL,
                           &bs->backing, error);
}

static bool coroutine_fn over_truncate(BlockDriverState *bs,
                                       const BlockTruncate *to,
                                       GError **error)
{
    last_zero = to->zero;
    bs->total_bytes = to->bytes;
    return true;
}

static void over_submit(BlockDriverState *bs, BlockRequest *req)
{
    g_assert_not_reached();
}

static const BlockImageOps over_image = { .co_truncate = over_truncate };

static const BlockDriver over_driver = {
    .name = "test-over",
    .image = &over_image,
    .open = over_open,
    .submit = over_submit,
};

/* What was cut off, or never was there, is not what the backing file has. */
static void test_resize_over_backing(void)
{
    g_autoptr(BlockDriverState) bs = test_open(
        "test-over,file.driver=null-co,backing.driver=null-co,"
        "backing.size=128k");
    g_autoptr(BlockDriverState) alone =
        test_open("test-over,file.driver=null-co");

    resize(bs, 96 * K, PREALLOC_OFF, NULL);
    g_assert_true(last_zero);
    resize(bs, 32 * K, PREALLOC_OFF, NULL);
    g_assert_false(last_zero);
    resize(bs, 256 * K, PREALLOC_OFF, NULL);
    g_assert_true(last_zero);
    resize(bs, 512 * K, PREALLOC_OFF, NULL);
    g_assert_false(last_zero);
    resize(alone, 512 * K, PREALLOC_OFF, NULL);
    g_assert_false(last_zero);
}


/* --- creating --- */

static struct stat stat_of(const char *name)
{
    struct stat st;

    g_assert_cmpint(stat(name, &st), ==, 0);
    return st;
}

static void test_create(void)
{
    g_autoptr(TestImage) image = image_here(64 * K);
    char byte = 'x';

    create("a", "size=1M", NULL);
    g_assert_cmpint(stat_of("a").st_size, ==, 1024 * K);
    g_assert_cmpint(stat_of("a").st_blocks, ==, 8);
    create("file:a", "size=1000,nocow=on,extent_size_hint=2M", NULL);
    g_assert_cmpint(stat_of("a").st_size, ==, 1024);
    create("a", "size=512k,preallocation=falloc", NULL);
    g_assert_cmpint(stat_of("a").st_blocks, >=, 1000);
    create("a", "size=512k,preallocation=full", NULL);
    g_assert_cmpint(stat_of("a").st_blocks, >=, 1000);
    create("a", "preallocation=off", NULL);
    g_assert_cmpint(stat_of("a").st_size, ==, 0);
    g_assert_cmpint(unlink("a"), ==, 0);
    /* what was there is gone */
    test_image_write(image, 0, &byte, 1);
    create("image", "size=64k", NULL);
    test_image_read(image, 0, &byte, 1);
    g_assert_cmpint(byte, ==, 0);
}

static void test_create_refused(void)
{
    static const struct {
        const char *name, *options, *message;
    } cases[] = {
        { "/nodir/x", "size=1M",
          "Could not create '/nodir/x': No such file or directory" },
        { ".", "size=1M", "Could not create '.': Is a directory" },
        { "foo:bar", "size=1M", "Unknown protocol 'foo'" },
        { "json:{}", "size=1M", "Unknown protocol 'json'" },
        { "null-co://", "size=1M", "Protocol driver 'null-co' does not "
          "support image creation" },
        { "a", "size=1M,foo=1", "Invalid parameter 'foo'" },
        { "a", "size=1M,preallocation=metadata",
          "Unsupported preallocation mode: metadata" },
        { "a", "size=1M,preallocation=x", "invalid parameter value: x" },
        { "a", "size=7E", "Could not resize file: File too large" },
        { "a", "size=9223372036854775807",
          "Could not resize file: File too large" },
        { "image", "size=7E", "Could not resize file: File too large" },
        { "/dev/null", "size=1M", "Cannot grow device files" },
        { "/dev/null", "preallocation=full",
          "Unsupported preallocation mode 'full'" },
        { "/dev/null", "nocow=on", "Invalid parameter 'nocow'" },
        { "host_device:image", "size=1M", "Protocol driver 'host_device' does "
          "not support image creation, and opening the image failed: "
          "'host_device' driver requires 'image' to be either a character or "
          "block device" },
    };
    g_autoptr(TestImage) image = image_here(64 * K);

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        create(cases[i].name, cases[i].options, cases[i].message);
        g_assert_cmpint(access("a", F_OK), ==, -1);
        g_assert_cmpint(access("image", F_OK), ==, 0);
    }
}

/* An image that somebody writes to is not emptied under his hands. */
static void test_create_in_use(void)
{
    g_autoptr(TestImage) image = image_here(64 * K);
    g_autoptr(BlockDriverState) served = test_open("file,filename=image");

    create("image", "size=1M", "Failed to get \"write\" lock\nIs another "
           "process using the image [image]?");
    g_assert_cmpint(test_image_length(image), ==, 64 * K);
}

/* A device keeps its length, and loses its first sector. */
static void test_create_over_device(void)
{
    g_autoptr(TestImage) image = image_here(64 * K);
    char data[1024], got[1024];
    const char *reason;
    char *loop = test_loop_new(image, 512, &reason);

    if (!loop) {
        g_test_skip(reason);
        return;
    }
    test_pattern(data, sizeof(data), 1);
    test_image_write(image, 0, data, sizeof(data));
    create(loop, "size=128k", "Cannot grow device files");
    create(loop, "size=32k", NULL);
    test_loop_free(loop);
    test_image_read(image, 0, got, sizeof(got));
    memset(data, 0, 512);
    g_assert_cmpmem(got, sizeof(got), data, sizeof(data));
}

static void test_measure(void)
{
    g_autoptr(TestImage) image = image_here(1000);
    g_autoptr(BlockDriverState) bs = test_open("file,filename=image");
    g_autoptr(Options) opts = options_parse("size=1000", "x", NULL, NULL);
    BlockMeasure measure = { 0 };

    g_assert_true(bdrv_raw.image->measure(opts, NULL, &measure, NULL));
    g_assert_cmpint(measure.required, ==, 1024);
    g_assert_cmpint(measure.fully_allocated, ==, 1024);
    g_assert_cmpint(measure.bitmaps, ==, -1);
    measure.required = 0;
    g_assert_true(bdrv_raw.image->measure(opts, bs, &measure, NULL));
    g_assert_cmpint(measure.required, ==, 1024);
}

static void test_allocated(void)
{
    g_autoptr(BlockDriverState) null = test_open("raw,file.driver=null-co");

    g_assert_cmpint(bdrv_allocated_bytes(null), ==, 0);
}

static void test_free_helpers(void)
{
    BlockImageInfo info = { 0 };
    BlockSnapshot *sn = g_new0(BlockSnapshot, 1);
    BlockBitmapInfo *bitmap = g_new0(BlockBitmapInfo, 1);

    sn->name = g_strdup("a");
    bitmap->name = g_strdup("b");
    info.snapshots = g_ptr_array_new_with_free_func(block_snapshot_free);
    g_ptr_array_add(info.snapshots, sn);
    info.specific = json_object_new();
    block_image_info_clear(&info);
    g_assert_null(info.snapshots);
    block_bitmap_info_free(bitmap);
    g_assert_cmpstr(block_prealloc_names[PREALLOC_FULL], ==, "full");
    g_assert_null(block_prealloc_names[PREALLOC_FULL + 1]);
}

int main(int argc, char **argv)
{
    int ret;

    if (!test_need_disk()) {
        return 0;
    }
    g_test_init(&argc, &argv, NULL);
    signal(SIGXFSZ, SIG_IGN);
    g_test_add_func("/image/resize", test_resize);
    g_test_add_func("/image/resize-keeps", test_resize_keeps);
    g_test_add_func("/image/resize-direct", test_resize_direct);
    g_test_add_func("/image/resize-refused", test_resize_refused);
    g_test_add_func("/image/resize-device", test_resize_device);
    g_test_add_func("/image/resize-fails", test_resize_fails);
    g_test_add_func("/image/resize-no-space", test_resize_no_space);
    bdrv_register(&over_driver);
    g_test_add_func("/image/resize-over-backing", test_resize_over_backing);
    g_test_add_func("/image/create", test_create);
    g_test_add_func("/image/create-refused", test_create_refused);
    g_test_add_func("/image/create-in-use", test_create_in_use);
    g_test_add_func("/image/create-over-device", test_create_over_device);
    g_test_add_func("/image/measure", test_measure);
    g_test_add_func("/image/allocated", test_allocated);
    g_test_add_func("/image/free-helpers", test_free_helpers);
    ret = g_test_run();
    control_stop();
    test_block_end();
    return ret;
}
