/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Block status of every kind of cluster. */
#include "tests/lib/block.h"
#include "tests/lib/qcow2-image.h"

#include "block/format/qcow2.h"

#define KIB     1024
#define CLUSTER (64 * KIB)

#define DATA  (BLOCK_STATUS_DATA | BLOCK_STATUS_ALLOCATED)
#define ZERO  (BLOCK_STATUS_ZERO | BLOCK_STATUS_ALLOCATED)
#define PLACE BLOCK_STATUS_OFFSET

typedef struct StatusCall {
    BlockDriverState *bs;
    int64_t offset, bytes;
    BlockStatus status;
    int ret;
} StatusCall;

static void coroutine_fn status_entry(void *opaque)
{
    StatusCall *call = opaque;

    call->ret = qcow2_co_block_status(call->bs, call->offset, call->bytes,
                                      &call->status);
}

static BlockStatus status_at(BlockDriverState *bs, int64_t offset)
{
    StatusCall call = {
        .bs = bs,
        .offset = offset,
        .bytes = bs->total_bytes - offset,
    };

    test_run_co(status_entry, &call);
    g_assert_cmpint(call.ret, ==, 0);
    return call.status;
}

typedef struct Stretch {
    int64_t bytes;
    unsigned flags;
} Stretch;

/* From the start of the disk to its end. Whether small files have holes is up
 * to the file system. */
static void expect(BlockDriverState *bs, const Stretch *stretch)
{
    unsigned unknown = stretch->flags & BLOCK_STATUS_RECURSE
                           ? 0
                           : BLOCK_STATUS_RECURSE;
    int64_t offset = 0;

    for (; offset < bs->total_bytes; stretch++) {
        BlockStatus status = status_at(bs, offset);

        g_assert_cmphex(status.flags & ~unknown, ==, stretch->flags);
        g_assert_cmpint(status.bytes, ==, stretch->bytes);
        if (status.flags & PLACE) {
            g_assert_true(status.file ==
                          ((Qcow2State *)bs->opaque)->data_file);
            g_assert_cmpint(status.map % 512, ==, 0);
            g_assert_cmpint(status.map, >, 0);
        }
        offset += status.bytes;
    }
}

static BlockDriverState *open_image(const TestImage *image)
{
    return test_open_attached("qcow2,read-only=on,file.driver=file,"
                              "file.filename=%s", test_image_path(image));
}

static void test_kinds(void)
{
    static const Stretch wanted[] = {
        { 2 * CLUSTER, DATA | PLACE },
        { CLUSTER, ZERO | PLACE },
        { CLUSTER, ZERO },
        { CLUSTER, DATA | BLOCK_STATUS_COMPRESSED },
        { 11 * CLUSTER, 0 },
    };
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");
    BlockDriverState *bs;

    qcow2_image_io(image, "write 0 192k", "write -z 128k 64k",
                   "write -z 192k 64k", "write -c -P 7 256k 64k", NULL);
    bs = open_image(image);
    expect(bs, wanted);
    test_detach_unref(bs);
}

static void test_subclusters(void)
{
    static const Stretch wanted[] = {
        { 2 * KIB, DATA | PLACE },
        { 4 * KIB, PLACE },
        { 2 * KIB, ZERO | PLACE },
        { 56 * KIB, PLACE },
        { 15 * CLUSTER, 0 },
    };
    g_autoptr(TestImage) image = qcow2_image_new("extended_l2=on", "1M");
    BlockDriverState *bs;

    qcow2_image_io(image, "write 0 2k", "write -z 6k 2k", NULL);
    bs = open_image(image);
    expect(bs, wanted);
    test_detach_unref(bs);
}

/* Clusters that are holes of the file are to be asked for there. */
static void test_holes(void)
{
    static const Stretch wanted[] = {
        { 16 * CLUSTER, DATA | PLACE | BLOCK_STATUS_RECURSE },
    };
    g_autoptr(TestImage) image = qcow2_image_new("preallocation=metadata",
                                                 "1M");
    BlockDriverState *bs = open_image(image);

    expect(bs, wanted);
    test_detach_unref(bs);
}

static void test_data_file(void)
{
    static const Stretch wanted[] = {
        { CLUSTER, 0 },
        { CLUSTER, DATA | PLACE },
        { 14 * CLUSTER, 0 },
    };
    g_autoptr(TestImage) data = test_image_new(0);
    g_autofree char *options =
        g_strdup_printf("data_file=%s", test_image_path(data));
    g_autoptr(TestImage) image = qcow2_image_new(options, "1M");
    BlockDriverState *bs;

    qcow2_image_io(image, "write 64k 64k", NULL);
    bs = open_image(image);
    expect(bs, wanted);
    g_assert_cmpint(status_at(bs, CLUSTER + 512).map, ==, CLUSTER + 512);
    test_detach_unref(bs);
}

typedef struct Rounds {
    StatusCall call;
    AioBH *bh;
    bool done;
    unsigned count;
} Rounds;

static void coroutine_fn rounds_entry(void *opaque)
{
    Rounds *rounds = opaque;

    status_entry(&rounds->call);
    rounds->done = true;
}

static void round_bh(void *opaque)
{
    Rounds *rounds = opaque;

    rounds->count++;
    if (!rounds->done) {
        aio_bh_schedule(rounds->bh);
    }
}

/* 16 million counts, of one block that is in memory: others in the thread get
 * their turn. */
static void test_long_count(void)
{
    g_autoptr(TestImage) image =
        qcow2_image_new("cluster_size=4k,refcount_bits=1", "1M");
    int64_t reftable = qcow2_image_get64(image, 48);
    Rounds rounds = { .call = { .bytes = 4096 } };

    for (unsigned i = 1; i < 512; i++) {
        qcow2_image_set64(image, reftable + i * 8, 1024 * KIB);
    }
    qcow2_image_set64(image, 512 * (32768LL << 12) - 8, 0);
    rounds.call.bs = open_image(image);
    rounds.bh = aio_bh_new(test_ctx(), round_bh, &rounds);
    aio_bh_schedule(rounds.bh);
    test_run_co(rounds_entry, &rounds);
    g_assert_cmpint(rounds.call.ret, ==, 0);
    g_assert_false(((Qcow2State *)rounds.call.bs->opaque)->has_holes);
    g_assert_cmpuint(rounds.count, >=, 250);
    aio_bh_free(rounds.bh);
    test_detach_unref(rounds.call.bs);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    g_test_add_func("/qcow2-status/kinds", test_kinds);
    g_test_add_func("/qcow2-status/subclusters", test_subclusters);
    g_test_add_func("/qcow2-status/holes", test_holes);
    g_test_add_func("/qcow2-status/data-file", test_data_file);
    g_test_add_func("/qcow2-status/long-count", test_long_count);
    ret = g_test_run();
    test_block_end();
    return ret;
}
