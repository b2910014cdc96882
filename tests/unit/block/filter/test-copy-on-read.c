/* SPDX-License-Identifier: GPL-2.0-or-later */
/* copy-on-read: what is copied, and that no write is undone by a copy. */
#include "block/debug.h"

#include <errno.h>
#include <string.h>

#include "block/image.h"
#include "tests/lib/block.h"
#include "tests/lib/mem-node.h"
#include "tests/lib/qcow2-image.h"

#define KIB 1024
#define MIB (1024 * 1024)
#define CLUSTER (64 * KIB)

static char buf[8 * MIB] __attribute__((aligned(4096)));

typedef struct Chain {
    TestImage *base, *middle, *top;
    BlockDriverState *bs;
} Chain;

static TestImage *overlay(const TestImage *below, const char *format)
{
    g_autofree char *options = g_strdup_printf(
        "backing_file=%s,backing_fmt=%s", test_image_path(below), format);

    return qcow2_image_new(options, "8M");
}

/* base has 0x11 in the second MiB, middle 0x22 in the third; top nothing. */
static void chain_init(Chain *chain)
{
    chain->base = qcow2_image_new("", "8M");
    qcow2_image_io(chain->base, "write -P 0x11 1M 1M", NULL);
    chain->middle = overlay(chain->base, "qcow2");
    qcow2_image_io(chain->middle, "write -P 0x22 2M 1M", NULL);
    chain->top = overlay(chain->middle, "qcow2");
}

static void chain_open(Chain *chain, const char *options)
{
    chain->bs = test_open_attached(
        "copy-on-read,discard=unmap,%sfile.driver=blkdebug,"
        "file.image.driver=qcow2,file.image.file.driver=file,"
        "file.image.file.filename=%s,file.image.backing.driver=qcow2,"
        "file.image.backing.node-name=middle,"
        "file.image.backing.file.driver=file,"
        "file.image.backing.file.filename=%s", options,
        test_image_path(chain->top), test_image_path(chain->middle));
}

static void chain_close(Chain *chain)
{
    test_detach_unref(chain->bs);
    qcow2_image_check(chain->top);
    test_image_free(chain->top);
    test_image_free(chain->middle);
    test_image_free(chain->base);
}

static void expect(BlockDriverState *bs, int64_t offset, int64_t bytes,
                   uint8_t byte)
{
    memset(buf, 0xee, bytes);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, offset, buf, bytes), ==, 0);
    for (int64_t i = 0; i < bytes; i++) {
        g_assert_cmpint((uint8_t)buf[i], ==, byte);
    }
}

/* "start+length" of what the top image has itself, after it was closed. */
static char *own_map(Chain *chain)
{
    g_autofree char *json = NULL;
    GString *map = g_string_new(NULL);
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonArray *array;

    bdrv_detach_context(chain->bs, test_ctx());
    g_clear_pointer(&chain->bs, bdrv_unref);
    json = qcow2_image_run(chain->top, "map", "--output=json", "@", NULL);
    g_assert_true(json_parser_load_from_data(parser, json, -1, NULL));
    array = json_node_get_array(json_parser_get_root(parser));
    for (unsigned i = 0; i < json_array_get_length(array); i++) {
        JsonObject *part = json_array_get_object_element(array, i);

        if (json_object_get_int_member(part, "depth") == 0 &&
            json_object_get_boolean_member(part, "present")) {
            g_string_append_printf(
                map, "%" G_GINT64_FORMAT "+%" G_GINT64_FORMAT "%s ",
                json_object_get_int_member(part, "start") / KIB,
                json_object_get_int_member(part, "length") / KIB,
                json_object_get_boolean_member(part, "zero") ? "z" : "");
        }
    }
    chain_open(chain, "");
    return g_string_free(map, FALSE);
}

/* Whole clusters, from whichever layer, zeroes as zeroes. */
static void test_copies(void)
{
    g_autofree char *map = NULL;
    Chain chain;

    chain_init(&chain);
    chain_open(&chain, "");
    expect(chain.bs, 512, 512, 0);
    expect(chain.bs, MIB + 100 * KIB, 4 * KIB, 0x11);
    expect(chain.bs, 3 * MIB - 512, 512, 0x22);
    map = own_map(&chain);
    g_assert_cmpstr(map, ==, "0+64z 1088+64 3008+64 ");
    expect(chain.bs, 0, MIB, 0);
    expect(chain.bs, MIB, MIB, 0x11);
    expect(chain.bs, 2 * MIB, MIB, 0x22);
    chain_close(&chain);
}

/* One read through all of it, odd at both ends. */
static void test_long_read(void)
{
    g_autofree char *map = NULL;
    Chain chain;

    chain_init(&chain);
    chain_open(&chain, "");
    memset(buf, 0xee, sizeof(buf));
    g_assert_cmpint(test_rw(chain.bs, BLOCK_READ, 512, buf, 7 * MIB), ==, 0);
    for (int64_t i = 0; i < 7 * MIB; i++) {
        int64_t mib = (i + 512) / MIB;

        g_assert_cmpint((uint8_t)buf[i], ==,
                        mib == 1 ? 0x11 : mib == 2 ? 0x22 : 0);
    }
    map = own_map(&chain);
    g_assert_cmpstr(map, ==, "0+1024z 1024+2048 3072+4160z ");
    chain_close(&chain);
}

/* What is there already is not copied: the image does not get longer. */
static void test_second_read(void)
{
    Chain chain;
    int64_t length;

    chain_init(&chain);
    chain_open(&chain, "");
    expect(chain.bs, MIB, CLUSTER, 0x11);
    length = test_image_length(chain.top);
    expect(chain.bs, MIB, CLUSTER, 0x11);
    expect(chain.bs, MIB + 512, 1024, 0x11);
    g_assert_cmpint(test_image_length(chain.top), ==, length);
    chain_close(&chain);
}

/* Nothing from below "bottom", and nothing of what nobody has. */
static void test_bottom(void)
{
    g_autofree char *map = NULL;
    Chain chain;

    chain_init(&chain);
    chain_open(&chain, "bottom=middle,");
    expect(chain.bs, 0, MIB, 0);
    expect(chain.bs, MIB, MIB, 0x11);
    expect(chain.bs, 2 * MIB, CLUSTER, 0x22);
    map = own_map(&chain);
    g_assert_cmpstr(map, ==, "2048+64 ");
    chain_close(&chain);
}

static void send(BlockDriverState *bs, TestRequest *test, BlockOp op,
                 int64_t offset, void *data, int64_t bytes)
{
    *test = (TestRequest){
        .req.op = op,
        .req.offset = offset,
        .req.bytes = bytes,
        .req.niov = 1,
        .iov = { data, bytes },
    };
    test->req.iov = &test->iov;
    test_submit(bs, test);
}

static void poll_until_suspended(BlockDriverState *bs, const char *tag)
{
    while (!bdrv_debug_is_suspended(bs, tag)) {
        aio_poll(test_ctx(), true);
    }
}

static void poll_a_while(void)
{
    for (unsigned i = 0; i < 64; i++) {
        aio_poll(test_ctx(), false);
    }
}

/* A write that comes between the read and the write of a copy. */
static void test_write_during_copy(void)
{
    static char wanted[4096], other[4096], back[4096];
    TestRequest read, write, elsewhere;
    Chain chain;

    chain_init(&chain);
    chain_open(&chain, "");
    memset(wanted, 0x77, sizeof(wanted));
    bdrv_debug_breakpoint(chain.bs, "cor_write", "A");
    send(chain.bs, &read, BLOCK_READ, MIB, back, sizeof(back));
    poll_until_suspended(chain.bs, "A");
    send(chain.bs, &write, BLOCK_WRITE, MIB + 8192, wanted, sizeof(wanted));
    send(chain.bs, &elsewhere, BLOCK_WRITE, 5 * MIB, other, sizeof(other));
    g_assert_cmpint(test_wait(&elsewhere), ==, 0);
    poll_a_while();
    g_assert_false(write.done);
    g_assert_cmpint(bdrv_debug_resume(chain.bs, "A"), ==, 0);
    g_assert_cmpint(test_wait(&write), ==, 0);
    g_assert_cmpint(test_wait(&read), ==, 0);
    expect(chain.bs, MIB, 8192, 0x11);
    expect(chain.bs, MIB + 8192, 4096, 0x77);
    expect(chain.bs, MIB + 12288, 4096, 0x11);
    chain_close(&chain);
}

/* A copy that comes while a write is on its way. */
static void test_copy_during_write(void)
{
    static char wanted[4096], back[8192];
    TestRequest read, write;
    Chain chain;

    chain_init(&chain);
    chain_open(&chain, "");
    memset(wanted, 0x77, sizeof(wanted));
    bdrv_debug_breakpoint(chain.bs, "pwritev", "A");
    send(chain.bs, &write, BLOCK_WRITE, MIB, wanted, sizeof(wanted));
    poll_until_suspended(chain.bs, "A");
    send(chain.bs, &read, BLOCK_READ, MIB, back, sizeof(back));
    poll_a_while();
    g_assert_false(read.done);
    g_assert_cmpint(bdrv_debug_resume(chain.bs, "A"), ==, 0);
    g_assert_cmpint(test_wait(&write), ==, 0);
    g_assert_cmpint(test_wait(&read), ==, 0);
    g_assert_cmpint(back[0], ==, 0x77);
    g_assert_cmpint(back[4096], ==, 0x11);
    expect(chain.bs, MIB, 4096, 0x77);
    chain_close(&chain);
}

/* Two reads of one cluster: the second waits and finds it. */
static void test_two_copies(void)
{
    static char back[2][4096];
    TestRequest reads[2];
    Chain chain;

    chain_init(&chain);
    chain_open(&chain, "");
    bdrv_debug_breakpoint(chain.bs, "cor_write", "A");
    send(chain.bs, &reads[0], BLOCK_READ, MIB, back[0], 4096);
    poll_until_suspended(chain.bs, "A");
    bdrv_debug_breakpoint(chain.bs, "cor_write", "B");
    send(chain.bs, &reads[1], BLOCK_READ, MIB + 4096, back[1], 4096);
    poll_a_while();
    g_assert_false(reads[1].done);
    g_assert_cmpint(bdrv_debug_resume(chain.bs, "A"), ==, 0);
    g_assert_cmpint(test_wait(&reads[0]), ==, 0);
    g_assert_cmpint(test_wait(&reads[1]), ==, 0);
    g_assert_false(bdrv_debug_is_suspended(chain.bs, "B"));
    g_assert_cmpint(back[1][0], ==, 0x11);
    chain_close(&chain);
}

/* A copy that cannot be written is an error of the read, as in QEMU. */
static void test_copy_fails(void)
{
    Chain chain;

    chain_init(&chain);
    chain_open(&chain, "file.inject-error.event=cor_write,"
                       "file.inject-error.errno=28,"
                       "file.inject-error.once=on,");
    g_assert_cmpint(test_rw(chain.bs, BLOCK_READ, MIB, buf, 4096), ==,
                    -ENOSPC);
    expect(chain.bs, MIB, 4096, 0x11);
    chain_close(&chain);
}

/* A file of its own is all there is. */
static void test_no_backing(void)
{
    BlockDriverState *bs =
        test_open_attached("copy-on-read,discard=unmap,file.driver=test-mem");

    expect(bs, 0, 65536, 0);
    g_assert_cmpuint(test_mem_count(bs->file, BLOCK_WRITE), ==, 0);
    g_assert_cmpuint(test_mem_count(bs->file, BLOCK_WRITE_ZEROES), ==, 0);
    g_assert_cmpint(test_op(bs, BLOCK_FLUSH, 0, 0, 0), ==, 0);
    g_assert_cmpint(test_op(bs, BLOCK_DISCARD, 0, 0, 4096), ==, 0);
    g_assert_cmpuint(test_mem_count(bs->file, BLOCK_DISCARD), ==, 1);
    test_detach_unref(bs);
}

static void test_bad_options(void)
{
    g_autoptr(BlockDriverState) other =
        test_open("test-mem,node-name=other");
    g_autoptr(BlockDriverState) filter =
        test_open("blkdebug,node-name=filter,image=other");

    test_open_fails("copy-on-read,node-name=c,bottom=x,file.driver=test-mem",
                    "blockdev 'c': Bottom node 'x' not found");
    test_open_fails("copy-on-read,node-name=c,bottom=filter,file=filter",
                    "blockdev 'c': Bottom node 'filter' is a filter");
    test_open_fails("copy-on-read,node-name=c,bottom=other,"
                    "file.driver=test-mem,file.node-name=mem",
                    "blockdev 'c': Bottom node 'other' is not in the backing "
                    "chain of 'mem'");
    test_open_fails("copy-on-read,node-name=c,read-only=on,"
                    "file.driver=test-mem",
                    "blockdev 'c': Block node is read-only");
}

/* The copies need a file that can be written to. */
static void test_reopen(void)
{
    g_autoptr(BlockDriverState) bs =
        test_open("copy-on-read,file.driver=test-mem,file.node-name=mem");
    g_autoptr(GError) error = NULL;

    g_assert_true(bdrv_reopen(bs, BDRV_OPEN_NO_FLUSH, &error));
    g_assert_no_error(error);
    g_assert_false(bdrv_reopen(bs, BDRV_OPEN_READ_ONLY, &error));
    g_assert_nonnull(error);
    g_assert_cmpstr(error->message, ==, "Can't set node 'mem' to r/o with "
                                        "copy-on-read enabled");
    g_assert_false(bs->file->read_only);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    test_mem_register();
    g_test_add_func("/copy-on-read/copies", test_copies);
    g_test_add_func("/copy-on-read/long-read", test_long_read);
    g_test_add_func("/copy-on-read/second-read", test_second_read);
    g_test_add_func("/copy-on-read/bottom", test_bottom);
    g_test_add_func("/copy-on-read/write-during-copy",
                    test_write_during_copy);
    g_test_add_func("/copy-on-read/copy-during-write",
                    test_copy_during_write);
    g_test_add_func("/copy-on-read/two-copies", test_two_copies);
    g_test_add_func("/copy-on-read/copy-fails", test_copy_fails);
    g_test_add_func("/copy-on-read/no-backing", test_no_backing);
    g_test_add_func("/copy-on-read/bad-options", test_bad_options);
    g_test_add_func("/copy-on-read/reopen", test_reopen);
    ret = g_test_run();
    test_block_end();
    return ret;
}
