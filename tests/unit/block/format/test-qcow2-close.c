/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An image that goes from node to node, and to Debian's tools and back: what
 * one has written the next one finds, and in between the image is whole.
 */
#include "tests/lib/block.h"
#include "tests/lib/qcow2-image.h"

#include <string.h>

#include "block/block-backend.h"
#include "block/block-co.h"
#include "block/control.h"
#include "block/format/qcow2.h"
#include "block/iothread.h"

#define MIB (1024 * 1024)
#define DISK (64 * MIB)
#define ROUNDS 12

/* --- nodes --- */

static BlockDriverState *open_node(TestImage *image, const char *options)
{
    return test_open("qcow2,file.driver=file,file.filename=%s%s",
                     test_image_path(image), options);
}

static BlockDriverState *open_inactive(TestImage *image)
{
    return open_node(image, ",active=off");
}

static void activate(BlockDriverState *bs)
{
    g_autoptr(GError) error = NULL;

    bdrv_activate(bs, &error);
    g_assert_no_error(error);
}

static void inactivate(BlockDriverState *bs)
{
    g_autoptr(GError) error = NULL;

    bdrv_inactivate(bs, &error);
    g_assert_no_error(error);
}

static void activate_fails(BlockDriverState *bs, const char *message)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(bdrv_activate(bs, &error));
    g_assert_cmpstr(error->message, ==, message);
    g_assert_true(bdrv_is_inactive(bs) && bdrv_is_inactive(bs->file));
}

typedef struct Transfer {
    BlockDriverState *bs;
    int64_t offset, bytes;
    uint8_t *buf;
    int ret;
} Transfer;

static void coroutine_fn write_entry(void *opaque)
{
    Transfer *t = opaque;

    t->ret = bdrv_co_pwrite(t->bs, t->offset, t->bytes, t->buf, 0);
}

static void coroutine_fn read_entry(void *opaque)
{
    Transfer *t = opaque;

    t->ret = bdrv_co_pread(t->bs, t->offset, t->bytes, t->buf);
}

static int write_at(BlockDriverState *bs, int64_t offset, int64_t bytes,
                    uint8_t byte)
{
    g_autofree uint8_t *buf = g_malloc(bytes);
    Transfer t = { bs, offset, bytes, buf };

    memset(buf, byte, bytes);
    bdrv_run_co(bs, write_entry, &t);
    return t.ret;
}

static void write_ok(BlockDriverState *bs, int64_t offset, int64_t bytes,
                     uint8_t byte)
{
    g_assert_cmpint(write_at(bs, offset, bytes, byte), ==, 0);
}

static void expect(BlockDriverState *bs, int64_t offset, int64_t bytes,
                   uint8_t byte)
{
    g_autofree uint8_t *buf = g_malloc(bytes);
    Transfer t = { bs, offset, bytes, buf };

    bdrv_run_co(bs, read_entry, &t);
    g_assert_cmpint(t.ret, ==, 0);
    for (int64_t i = 0; i < bytes; i++) {
        g_assert_cmpuint(buf[i], ==, byte);
    }
}

static bool says(const TestImage *image, const char *what)
{
    g_autofree char *info = qcow2_image_run(image, "info", "-U", "@", NULL);

    return strstr(info, what);
}

/* --- the tests --- */

/* Each writes over what the other one wrote, and to new places, while the
 * other one is open. Nobody asks for a flush. */
static void take_turns(TestImage *image, const char *options)
{
    g_autofree char *off = g_strconcat(options, ",active=off", NULL);
    g_autoptr(BlockDriverState) a = open_node(image, off);
    g_autoptr(BlockDriverState) b = open_node(image, off);

    for (unsigned i = 0; i < ROUNDS; i++) {
        BlockDriverState *bs = i % 2 ? b : a;

        activate(bs);
        for (unsigned j = 0; j < i; j++) {
            expect(bs, j * 5 * MIB, 100000, j + 1);
        }
        write_ok(bs, i * 5 * MIB, 200000, i + 1);
        if (i > 0) {
            write_ok(bs, (i - 1) * 5 * MIB + 100000, 300000, 0x80 + i);
        }
        inactivate(bs);
        qcow2_image_check(image);
    }
}

static void test_turns(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "64M");

    take_turns(image, "");
}

static void test_small_clusters(void)
{
    g_autoptr(TestImage) image =
        qcow2_image_new("cluster_size=4k", "64M");

    take_turns(image, ",l2-cache-size=64k");
}

static void test_subclusters(void)
{
    g_autoptr(TestImage) image =
        qcow2_image_new("cluster_size=64k,extended_l2=on", "64M");

    take_turns(image, "");
}

/* The bit is set while the image is written to, and is not there when it is
 * given away: the next one has nothing to repair. */
static void test_lazy_refcounts(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("lazy_refcounts=on", "64M");
    g_autoptr(BlockDriverState) bs = open_inactive(image);

    activate(bs);
    write_ok(bs, 0, MIB, 7);
    g_assert_cmphex(qcow2_image_get64(image, 72), ==, QCOW2_INCOMPAT_DIRTY);
    inactivate(bs);
    g_assert_cmphex(qcow2_image_get64(image, 72), ==, 0);
    take_turns(image, "");
}

/* A node that is open and inactive has nothing to write when it is closed. */
static void test_closed_inactive(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "64M");
    BlockDriverState *a = open_inactive(image);
    BlockDriverState *b = open_node(image, "");

    write_ok(b, MIB, MIB, 1);
    bdrv_unref(a);
    write_ok(b, 3 * MIB, MIB, 2);
    a = open_inactive(image); /* in the midst of writing */
    bdrv_unref(b);
    activate(a);
    expect(a, MIB, MIB, 1);
    expect(a, 3 * MIB, MIB, 2);
    bdrv_unref(a);
    qcow2_image_check(image);
}

/* What others do meanwhile: a snapshot makes clusters shared, the disk gets
 * longer, a bitmap appears. */
static void test_others(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "64M");
    g_autoptr(BlockDriverState) bs = open_node(image, "");
    g_autoptr(GPtrArray) list = NULL;

    write_ok(bs, 0, MIB, 1);
    inactivate(bs);
    g_free(qcow2_image_run(image, "snapshot", "-c", "s", "@", NULL));
    g_free(qcow2_image_run(image, "resize", "-q", "@", "128M", NULL));
    activate(bs);
    g_assert_cmpint(bs->total_bytes, ==, 2 * DISK);
    list = qcow2_snapshot_list(bs);
    g_assert_cmpuint(list->len, ==, 1);
    write_ok(bs, 0, MIB, 2);
    write_ok(bs, 2 * DISK - MIB, MIB, 3);
    inactivate(bs);
    qcow2_image_check(image);
    g_free(qcow2_image_run(image, "snapshot", "-a", "s", "@", NULL));
    activate(bs);
    expect(bs, 0, MIB, 1);
}

/* Noted by whoever writes, stored when the image is given away. */
static void test_bitmap(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "64M");
    g_autoptr(BlockDriverState) a = open_inactive(image);
    g_autoptr(BlockDriverState) b = open_inactive(image);

    g_free(qcow2_image_run(image, "bitmap", "--add", "@", "map", NULL));
    activate(a);
    write_ok(a, 0, MIB, 1);
    inactivate(a);
    g_assert_true(says(image, "map"));
    g_assert_false(says(image, "in-use"));
    activate(b);
    write_ok(b, 2 * MIB, MIB, 2);
    inactivate(b);
    g_assert_false(says(image, "in-use"));
    activate(a);
    write_ok(a, 4 * MIB, MIB, 3);
    inactivate(a);
    g_assert_false(says(image, "in-use"));
    qcow2_image_check(image);
}

/* The backing file is read anew as well; who has it open for nothing but
 * reading goes on. */
static void test_backing(void)
{
    g_autoptr(TestImage) base = qcow2_image_new("", "64M");
    g_autofree char *options = g_strdup_printf(
        "backing_file=%s,backing_fmt=qcow2", test_image_path(base));
    g_autoptr(TestImage) image = qcow2_image_new(options, "64M");
    g_autoptr(BlockDriverState) bs = open_inactive(image);

    g_assert_true(bdrv_is_inactive(bs->backing));
    activate(bs);
    expect(bs, 0, MIB, 0);
    inactivate(bs);
    qcow2_image_io(base, "write -P 5 0 1M", NULL);
    activate(bs);
    expect(bs, 0, MIB, 5);
    write_ok(bs, 512, 512, 6);
    expect(bs, 0, 512, 5);
    inactivate(bs);
    g_free(qcow2_image_run(image, "rebase", "-u", "-b", "", "@", NULL));
    activate_fails(bs, "Could not reopen qcow2 layer: the image has another "
                       "backing file than when it was opened");
    activate_fails(bs, "Could not reopen qcow2 layer: the image has another "
                       "backing file than when it was opened");
}

static void test_bad_image(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "64M");
    g_autoptr(BlockDriverState) bs = open_inactive(image);
    uint64_t table = qcow2_image_get64(image, 48); /* of refcounts */

    qcow2_image_set64(image, 48, 1);
    activate_fails(bs, "Could not reopen qcow2 layer: Reference count table "
                       "offset invalid");
    qcow2_image_set64(image, 48, table);
    activate(bs);
    write_ok(bs, 0, MIB, 1);
    inactivate(bs);
    qcow2_image_check(image);
}

/* Whoever cannot give it away keeps it, and all that it holds. */
static void test_write_error(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "64M");
    g_autoptr(BlockDriverState) other = open_inactive(image);
    g_autoptr(BlockDriverState) bs = NULL;
    g_autoptr(GError) error = NULL;

    qcow2_image_io(image, "write 0 1M", NULL);
    g_free(qcow2_image_run(image, "bitmap", "--add", "@", "map", NULL));
    bs = test_open("qcow2,file.driver=blkdebug,file.image.driver=file,"
                   "file.image.filename=%s,"
                   "file.inject-error.0.event=l2_update,"
                   "file.inject-error.0.errno=28,"
                   "file.inject-error.0.once=on", test_image_path(image));
    write_ok(bs, MIB, MIB, 1);
    g_assert_false(bdrv_inactivate(bs, &error));
    g_assert_cmpstr(error->message, ==, "Failed to inactivate node: Could not "
                    "write the image's metadata: No space left on device");
    g_assert_false(bdrv_is_inactive(bs) || bdrv_is_inactive(bs->file));
    g_assert_false(bdrv_activate(other, NULL));
    g_assert_false(says(image, "in-use")); /* so far it came */
    write_ok(bs, 0, 512, 2);
    g_assert_true(says(image, "in-use"));
    inactivate(bs);
    g_assert_false(says(image, "in-use"));
    activate(other);
    expect(other, 0, 512, 2);
    expect(other, MIB, MIB, 1);
    inactivate(other);
    qcow2_image_check(image);
}

/* The tables are the IOThread's while there is a device. */
static void test_home(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "64M");
    g_autoptr(BlockDriverState) a = open_inactive(image);
    g_autoptr(BlockDriverState) b = open_inactive(image);
    BlockBackendOptions options = { .writable = true, .block_size = 512,
                                    .allow_inactive = true };
    IOThread *thread = iothread_new("t", NULL, NULL);
    BlockBackend *blk = blk_new(a, &options, NULL);
    BlkChannel *channel = blk_channel_new(blk, iothread_context(thread));

    for (unsigned i = 0; i < ROUNDS; i++) {
        BlockDriverState *bs = i % 3 ? a : b;

        activate(bs);
        g_assert_true(!!bs->home == (bs == a));
        write_ok(bs, i * MIB, MIB, i + 1);
        for (unsigned j = 0; j < i; j++) {
            expect(bs, j * MIB, 4096, j + 1);
        }
        inactivate(bs);
    }
    blk_channel_free(channel);
    activate(a);
    blk_free(blk);
    iothread_free(thread);
}

static void test_data_file(void)
{
    g_autoptr(TestImage) data = test_image_new(0);
    g_autofree char *options = g_strdup_printf("data_file=%s",
                                               test_image_path(data));
    g_autoptr(TestImage) image = qcow2_image_new(options, "64M");

    take_turns(image, "");
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    g_test_add_func("/qcow2-close/turns", test_turns);
    g_test_add_func("/qcow2-close/small-clusters", test_small_clusters);
    g_test_add_func("/qcow2-close/subclusters", test_subclusters);
    g_test_add_func("/qcow2-close/lazy-refcounts", test_lazy_refcounts);
    g_test_add_func("/qcow2-close/closed-inactive", test_closed_inactive);
    g_test_add_func("/qcow2-close/others", test_others);
    g_test_add_func("/qcow2-close/bitmap", test_bitmap);
    g_test_add_func("/qcow2-close/backing", test_backing);
    g_test_add_func("/qcow2-close/bad-image", test_bad_image);
    g_test_add_func("/qcow2-close/write-error", test_write_error);
    g_test_add_func("/qcow2-close/home", test_home);
    g_test_add_func("/qcow2-close/data-file", test_data_file);
    ret = g_test_run();
    control_stop();
    test_block_end();
    return ret;
}
