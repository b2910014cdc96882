/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The state of a virtual machine, beside Debian's tools. */
#include "tests/lib/block.h"
#include "tests/lib/qcow2-image.h"

#include <errno.h>
#include <string.h>

#include "block/control.h"
#include "block/graph.h"
#include "block/image.h"

#define K 1024

typedef struct State {
    BlockDriverState *bs;
    BlockOp op;
    int64_t offset, bytes;
    void *buf;
    int ret;
} State;

static void coroutine_fn state_entry(void *opaque)
{
    State *state = opaque;

    state->ret = state->op == BLOCK_READ
                     ? bdrv_co_load_vmstate(state->bs, state->offset,
                                            state->bytes, state->buf)
                     : bdrv_co_save_vmstate(state->bs, state->offset,
                                            state->bytes, state->buf);
}

static int run(BlockDriverState *bs, BlockOp op, int64_t offset,
               int64_t bytes, void *buf)
{
    State state = { .bs = bs, .op = op, .offset = offset, .bytes = bytes,
                    .buf = buf };

    bdrv_run_co(bs, state_entry, &state);
    return state.ret;
}

static int save(BlockDriverState *bs, int64_t offset, int64_t bytes,
                uint8_t byte)
{
    g_autofree uint8_t *buf = g_malloc(bytes);

    memset(buf, byte, bytes);
    return run(bs, BLOCK_WRITE, offset, bytes, buf);
}

static void expect(BlockDriverState *bs, int64_t offset, int64_t bytes,
                   uint8_t byte)
{
    g_autofree uint8_t *buf = g_malloc(bytes);

    g_assert_cmpint(run(bs, BLOCK_READ, offset, bytes, buf), ==, 0);
    for (int64_t i = 0; i < bytes; i++) {
        g_assert_cmpuint(buf[i], ==, byte);
    }
}

static BlockDriverState *open_image(const TestImage *image)
{
    g_autofree char *text = g_strdup_printf(
        "driver=qcow2,file.driver=file,file.filename=%s",
        test_image_path(image));
    g_autoptr(GError) error = NULL;
    BlockDriverState *bs = bdrv_open(options_parse(text, "image", NULL, NULL),
                                     &error);

    g_assert_no_error(error);
    return bs;
}

/* What we save others read, and what others save we read; the disk is not
 * touched, also where its end is in the middle of a cluster. */
static void test_both_ways(gconstpointer options)
{
    g_autoptr(TestImage) image = qcow2_image_new(options, "1000k");
    BlockDriverState *bs;

    qcow2_image_io(image, "write -P 1 0 1000k", "write -b -P 2 0 100k",
                   "write -b -P 3 100M 512", NULL);
    bs = open_image(image);
    expect(bs, 0, 100 * K, 2);
    expect(bs, 100 * K, 200 * K, 0);
    expect(bs, 100 * K * K, 512, 3);
    g_assert_cmpint(save(bs, 50 * K, 100 * K, 4), ==, 0);
    g_assert_cmpint(save(bs, 300 * K * K, 512, 5), ==, 0);
    expect(bs, 0, 50 * K, 2);
    expect(bs, 50 * K, 100 * K, 4);
    expect(bs, 300 * K * K, 512, 5);
    bdrv_unref(bs);
    qcow2_image_check(image);
    qcow2_image_io(image, "read -P 1 0 1000k", "read -b -P 2 0 50k",
                   "read -b -P 4 50k 100k", "read -b -P 0 150k 50k",
                   "read -b -P 3 100M 512", "read -b -P 5 300M 512", NULL);
}

/* --- on a disk that changes --- */

typedef struct Change {
    BlockDriverState *bs;
    int64_t bytes;      /* -1: nothing is allocated any more */
} Change;

static void coroutine_fn change_entry(void *opaque)
{
    const Change *change = opaque;
    BlockTruncate to = { .bytes = change->bytes, .exact = true };

    if (change->bytes < 0) {
        g_assert_cmpint(change->bs->drv->image->co_make_empty(change->bs), ==,
                        0);
    } else {
        g_assert_true(bdrv_co_truncate(change->bs, &to, NULL));
    }
}

/* It is lost with what a disk loses, and where it would lie somewhere else:
 * it is no leak, nor does the guest see it. */
static void test_resized(void)
{
    static const struct {
        int64_t bytes;
        bool kept;
    } changes[] = {
        { 1024 * K, false }, { 100 * K, false }, { 990 * K, true },
        { 965 * K, false }, { -1, false },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(changes); i++) {
        g_autoptr(TestImage) image = qcow2_image_new("cluster_size=512",
                                                     "970k");
        BlockDriverState *bs = open_image(image);
        Change change = { bs, changes[i].bytes };

        g_assert_cmpint(save(bs, 0, 100 * K, 1), ==, 0);
        bdrv_run_co(bs, change_entry, &change);
        expect(bs, 0, 100 * K, changes[i].kept ? 1 : 0);
        bdrv_unref(bs);
        qcow2_image_check(image);
        if (change.bytes == 1024 * K) {
            qcow2_image_io(image, "read -P 0 0 1M", NULL);
        }
    }
}

static void test_limits(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");
    BlockDriverState *bs = open_image(image);
    uint8_t buf[512];

    g_assert_cmpint(run(bs, BLOCK_READ, INT64_MAX - 600, 512, buf), ==, -EIO);
    g_assert_cmpint(save(bs, INT64_MAX - 600, 512, 1), ==, -EIO);
    g_assert_cmpint(save(bs, 1LL << 52, 512, 1), ==, -EFBIG);
    expect(bs, 1LL << 52, 512, 0);
    expect(bs, 1LL << 62, 512, 0);
    g_assert_cmpint(run(bs, BLOCK_READ, 0, 0, NULL), ==, 0);
    bdrv_unref(bs);
    qcow2_image_check(image);
    bs = bdrv_open(options_parse("driver=raw,file.driver=null-co", "image",
                                 NULL, NULL), NULL);
    g_assert_cmpint(save(bs, 0, 512, 1), ==, -ENOTSUP);
    bdrv_unref(bs);
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    g_test_add_data_func("/qcow2-vmstate/both-ways", "", test_both_ways);
    g_test_add_data_func("/qcow2-vmstate/both-ways-v2", "compat=0.10",
                         test_both_ways);
    g_test_add_data_func("/qcow2-vmstate/both-ways-subclusters",
                         "extended_l2=on", test_both_ways);
    g_test_add_data_func("/qcow2-vmstate/both-ways-small", "cluster_size=512",
                         test_both_ways);
    g_test_add_func("/qcow2-vmstate/resized", test_resized);
    g_test_add_func("/qcow2-vmstate/limits", test_limits);
    status = g_test_run();
    control_stop();
    return status;
}
