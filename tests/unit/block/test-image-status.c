/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block status: holes of files, windows of raw, filters, chains of layers of
 * different lengths. A file system without holes has nothing to show; then
 * the test is skipped.
 */
#include "tests/lib/block.h"

#include <string.h>
#include <unistd.h>

#include "block/control.h"
#include "block/image.h"
#include "tests/lib/image.h"

#define K 1024
#define DATA (BLOCK_STATUS_DATA | BLOCK_STATUS_ALLOCATED)
#define ZERO (BLOCK_STATUS_ZERO | BLOCK_STATUS_ALLOCATED)

/* --- a layer: a byte for each 4 KiB says what is there --- */

#define BLOCK 4096

typedef struct Layer {
    char *map; /* 'd'ata, 'z'ero, '.': not ours, 'r': data, ask the file */
} Layer;

static bool layer_open(BlockDriverState *bs, Options *opts, GError **error)
{
    Layer *layer = bs->opaque;

    if (!options_need_str(opts, "map", &layer->map, error) ||
        !bdrv_open_child(bs, opts, "backing",
                         BDRV_CHILD_BACKING | BDRV_CHILD_OPTIONAL,
                         &bs->backing, error)) {
        return false;
    }
    bs->total_bytes = strlen(layer->map) * BLOCK;
    return true;
}

static void layer_close(BlockDriverState *bs)
{
    Layer *layer = bs->opaque;

    g_free(layer->map);
}

static int coroutine_fn layer_status(BlockDriverState *bs, int64_t offset,
                                     int64_t bytes, BlockStatus *status)
{
    Layer *layer = bs->opaque;
    const char *p = layer->map + offset / BLOCK;
    int64_t end = offset / BLOCK;

    while (layer->map[end] == *p) {
        end++;
    }
    status->bytes = end * BLOCK - offset; /* may say more than was asked */
    status->flags = *p == 'z' ? BLOCK_STATUS_ZERO
                    : *p == '.' ? 0 : BLOCK_STATUS_DATA;
    if (*p == 'd' || *p == 'r') {
        status->flags |= BLOCK_STATUS_OFFSET |
                         (*p == 'r' ? BLOCK_STATUS_RECURSE : 0);
        status->map = offset;
        status->file = bs->file;
    }
    return 0;
}

static void layer_submit(BlockDriverState *bs, BlockRequest *req)
{
    g_assert_not_reached();
}

static const BlockImageOps layer_image = { .co_block_status = layer_status };

static const BlockDriver layer_driver = {
    .name = "test-layer",
    .instance_size = sizeof(Layer),
    .image = &layer_image,
    .open = layer_open,
    .close = layer_close,
    .submit = layer_submit,
};

static bool filter_open(BlockDriverState *bs, Options *opts, GError **error)
{
    bs->total_bytes = bs->file->total_bytes;
    return true;
}

static const BlockDriver filter_driver = {
    .name = "test-filter",
    .is_filter = true,
    .open = filter_open,
    .submit = layer_submit,
};

/* --- asking --- */

typedef struct Ask {
    BlockDriverState *bs, *base;
    int64_t offset, bytes;
    BlockStatus status;
    unsigned depth;
    bool above;
    int ret;
} Ask;

static void coroutine_fn ask_entry(void *opaque)
{
    Ask *ask = opaque;

    ask->ret = ask->above
                   ? bdrv_co_block_status_above(ask->bs, ask->base,
                                                ask->offset, ask->bytes,
                                                &ask->status, &ask->depth)
                   : bdrv_co_block_status(ask->bs, ask->offset, ask->bytes,
                                          &ask->status);
}

static Ask ask(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    Ask question = { .bs = bs, .offset = offset, .bytes = bytes };

    bdrv_run_co(bs, ask_entry, &question);
    g_assert_cmpint(question.ret, ==, 0);
    return question;
}

static void expect(BlockDriverState *bs, int64_t offset, int64_t bytes,
                   unsigned flags, int64_t got)
{
    Ask answer = ask(bs, offset, bytes);

    g_assert_cmphex(answer.status.flags, ==, flags);
    g_assert_cmpint(answer.status.bytes, ==, got);
    if (flags & BLOCK_STATUS_OFFSET) {
        g_assert_nonnull(answer.status.file);
    }
}

static void expect_above(BlockDriverState *bs, BlockDriverState *base,
                         int64_t blocks, unsigned flags, int64_t got,
                         unsigned depth)
{
    Ask answer = { .bs = bs, .base = base, .offset = blocks * BLOCK,
                   .bytes = 100 * BLOCK, .above = true };

    bdrv_run_co(bs, ask_entry, &answer);
    g_assert_cmpint(answer.ret, ==, 0);
    g_assert_cmphex(answer.status.flags & ~BLOCK_STATUS_OFFSET, ==, flags);
    g_assert_cmpint(answer.status.bytes, ==, got * BLOCK);
    g_assert_cmpuint(answer.depth, ==, depth);
}

/* Data at 64k-128k and in the last 1000 bytes. */
static TestImage *image_with_holes(void)
{
    TestImage *image = test_image_new(1000 * K + 1000);
    g_autofree char *buf = g_malloc(64 * K);

    test_pattern(buf, 64 * K, 1);
    test_image_write(image, 64 * K, buf, 64 * K);
    test_image_write(image, 1000 * K, buf, 1000);
    g_assert_cmpint(chdir(test_image_dir(image)), ==, 0);
    return image;
}

static bool has_holes(const TestImage *image)
{
    if (test_image_allocated(image) < 512 * K) {
        return true;
    }
    g_test_skip("no holes in files here");
    return false;
}

#define OFFSET BLOCK_STATUS_OFFSET
#define EOF_   BLOCK_STATUS_EOF

static void test_file(void)
{
    g_autoptr(TestImage) image = image_with_holes();
    g_autoptr(BlockDriverState) bs = test_open("file,filename=image");
    int64_t length = 1000 * K + 1000;

    if (!has_holes(image)) {
        return;
    }
    expect(bs, 0, length, ZERO | OFFSET, 64 * K);
    expect(bs, 0, K, ZERO | OFFSET, K);
    expect(bs, 64 * K, length, DATA | OFFSET, 64 * K);
    expect(bs, 64 * K + 1, 3, DATA | OFFSET, 3); /* as is remembered */
    expect(bs, 128 * K - 1, length, DATA | OFFSET, 1);
    expect(bs, 128 * K, length, ZERO | OFFSET, 872 * K);
    expect(bs, 1000 * K, length, DATA | OFFSET | EOF_, 1000);
    expect(bs, length - 1, 1, DATA | OFFSET | EOF_, 1);
    expect(bs, length, 1, EOF_, 0);
    expect(bs, length + K, 1, EOF_, 0);
    expect(bs, 0, 0, EOF_, 0);
}

/* The tools round up; what is behind the end is a hole. */
static void test_file_of_tools(void)
{
    g_autoptr(TestImage) image = image_with_holes();
    g_autoptr(BlockDriverState) bs =
        bdrv_open_image("image", NULL, NULL, BDRV_OPEN_READ_ONLY, NULL);

    if (!has_holes(image)) {
        return;
    }
    g_assert_cmpint(bs->total_bytes, ==, 1001 * K);
    expect(bs, 1000 * K, K, DATA | OFFSET, 1000);
    expect(bs, 1000 * K + 1000, K, ZERO | OFFSET | EOF_, 24);
}

static void test_direct(void)
{
    g_autoptr(TestImage) image = image_with_holes();
    g_autoptr(BlockDriverState) bs =
        test_open("file,filename=image,cache.direct=on");

    if (!has_holes(image)) {
        return;
    }
    expect(bs, 0, 1 << 20, ZERO | OFFSET, 64 * K);
    expect(bs, 64 * K, 1 << 20, DATA | OFFSET, 64 * K);
    expect(bs, 1000 * K, 1 << 20, DATA | OFFSET | EOF_, 1000);
}

static void test_raw_window(void)
{
    g_autoptr(TestImage) image = image_with_holes();
    g_autoptr(BlockDriverState) bs = test_open(
        "raw,offset=96k,size=64k,file.driver=file,file.filename=image");
    Ask answer;

    if (!has_holes(image)) {
        return;
    }
    expect(bs, 0, 64 * K, DATA | OFFSET, 32 * K);
    expect(bs, 32 * K, 64 * K, ZERO | OFFSET | EOF_, 32 * K);
    answer = ask(bs, K, 64 * K);
    g_assert_true(answer.status.file == bs->file);
    g_assert_cmpint(answer.status.map, ==, 97 * K);
}

/* Zeroes take the storage away, and what was remembered is forgotten. */
static void test_discarded(void)
{
    g_autoptr(TestImage) image = image_with_holes();
    BlockDriverState *bs =
        test_open("raw,discard=unmap,file.driver=file,file.filename=image");

    if (has_holes(image)) {
        expect(bs, 64 * K, 64 * K, DATA | OFFSET, 64 * K);
        bdrv_attach_context(bs, test_ctx());
        g_assert_cmpint(test_op(bs, BLOCK_DISCARD, 0, 64 * K, 32 * K), ==, 0);
        bdrv_detach_context(bs, test_ctx());
        expect(bs, 64 * K, 64 * K, ZERO | OFFSET, 32 * K);
        expect(bs, 96 * K, 64 * K, DATA | OFFSET, 32 * K);
    }
    bdrv_unref(bs);
}

static void test_null(void)
{
    g_autoptr(BlockDriverState) bs = test_open("null-co,size=8k");
    g_autoptr(BlockDriverState) zero =
        test_open("null-co,size=8k,read-zeroes=on");

    expect(bs, 0, 8 * K, BLOCK_STATUS_ALLOCATED | OFFSET | EOF_, 8 * K);
    expect(zero, 0, 8 * K, ZERO | OFFSET | EOF_, 8 * K);
}

/* A driver that says nothing has data. */
static void test_default(void)
{
    g_autoptr(BlockDriverState) bs = test_open(
        "test-filter,file.driver=raw,file.file.driver=null-co,"
        "file.file.size=8k");

    expect(bs, K, 8 * K, BLOCK_STATUS_ALLOCATED | OFFSET | EOF_, 7 * K);
}

/* What a layer does not have it does not have under a filter either, also
 * where zeroes are all there can be. */
static void test_filter(void)
{
    g_autoptr(BlockDriverState) bs = test_open(
        "test-filter,file.driver=test-filter,file.file.driver=test-layer,"
        "file.file.map=.zd.,file.file.file.driver=null-co,"
        "file.file.file.size=16k");

    expect(bs, 0, 16 * K, BLOCK_STATUS_ZERO, 4 * K);
    expect(bs, 4 * K, 12 * K, ZERO, 4 * K);
    expect(bs, 8 * K, 8 * K, DATA | OFFSET, 4 * K);
    expect(bs, 13 * K, K, BLOCK_STATUS_ZERO, K);
    expect(bs, 13 * K, 8 * K, BLOCK_STATUS_ZERO | EOF_, 3 * K);
}

/* What a format calls data may be a hole of its file, or behind its end. */
static void test_recurse(void)
{
    g_autoptr(TestImage) image = image_with_holes();
    g_autofree char *map = g_strnfill(300, 'r');
    g_autoptr(BlockDriverState) bs = test_open(
        "test-layer,map=%s,file.driver=file,file.filename=image", map);
    unsigned both = DATA | ZERO | OFFSET;

    if (!has_holes(image)) {
        return;
    }
    expect(bs, 0, 1200 * K, both, 64 * K);
    expect(bs, 64 * K, 1200 * K, DATA | OFFSET, 64 * K);
    expect(bs, 1000 * K + 1000, 4 * K, both, 4 * K);
    expect(bs, 1004 * K, 300 * K, both | EOF_, 196 * K);
}

static BlockDriverState *open_chain(const char *top, const char *middle,
                                    const char *bottom)
{
    return test_open("test-layer,map=%s,file.driver=null-co,"
                     "backing.driver=test-filter,"
                     "backing.file.driver=test-layer,backing.file.map=%s,"
                     "backing.file.file.driver=null-co,"
                     "backing.file.backing.driver=test-layer,"
                     "backing.file.backing.map=%s,"
                     "backing.file.backing.file.driver=null-co",
                     top, middle, bottom);
}

static void test_chain(void)
{
    g_autoptr(BlockDriverState) bs = open_chain("dz......", ".zd..", "dddd");
    BlockDriverState *middle = bs->backing->file;
    BlockDriverState *bottom = middle->backing;

    expect(bs, 0, BLOCK, DATA | OFFSET, BLOCK);
    expect(bs, 2 * BLOCK, 9 * BLOCK, 0, 3 * BLOCK); /* as the next is long */
    expect(bs, 5 * BLOCK, 9 * BLOCK, BLOCK_STATUS_ZERO | EOF_, 3 * BLOCK);

    expect_above(bs, NULL, 0, DATA, 1, 0);
    expect_above(bs, NULL, 1, ZERO, 1, 0);
    expect_above(bs, NULL, 2, DATA, 1, 1);
    expect_above(bs, NULL, 3, DATA, 1, 2);
    expect_above(bs, NULL, 4, ZERO, 1, 2); /* behind the end of the bottom */
    expect_above(bs, NULL, 5, ZERO | EOF_, 3, 1);
    expect_above(bs, bottom, 3, 0, 1, 2);
    expect_above(bs, bottom, 2, DATA, 1, 1);
    expect_above(bs, middle, 2, 0, 3, 1);
    expect_above(bs, bs->backing, 2, 0, 3, 1); /* the filter over it */
    expect_above(bs, bs, 0, EOF_, 0, 0);
    expect_above(bottom, NULL, 0, DATA | EOF_, 4, 0);
    expect_above(bs, NULL, 8, EOF_, 0, 0);
}

/* Nobody has it. */
static void test_nobody(void)
{
    g_autoptr(BlockDriverState) bs = open_chain("..", "..", "..");

    expect_above(bs, NULL, 0, BLOCK_STATUS_ZERO | EOF_, 2, 3);
    expect_above(bs, NULL, 1, BLOCK_STATUS_ZERO | EOF_, 1, 3);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    bdrv_register(&layer_driver);
    bdrv_register(&filter_driver);
    g_test_add_func("/image-status/file", test_file);
    g_test_add_func("/image-status/file-of-tools", test_file_of_tools);
    g_test_add_func("/image-status/direct", test_direct);
    g_test_add_func("/image-status/raw-window", test_raw_window);
    g_test_add_func("/image-status/discarded", test_discarded);
    g_test_add_func("/image-status/null", test_null);
    g_test_add_func("/image-status/default", test_default);
    g_test_add_func("/image-status/filter", test_filter);
    g_test_add_func("/image-status/recurse", test_recurse);
    g_test_add_func("/image-status/chain", test_chain);
    g_test_add_func("/image-status/nobody", test_nobody);
    ret = g_test_run();
    control_stop();
    test_block_end();
    return ret;
}
