/* SPDX-License-Identifier: GPL-2.0-or-later */
/* blkdebug: which requests fail, how they are cut to its limits. */
#include "block/debug.h"

#include <errno.h>
#include <string.h>

#include "block/image.h"
#include "tests/lib/block.h"
#include "tests/lib/image.h"
#include "tests/lib/mem-node.h"

#define RULE(n, text) "file.inject-error." n ".event=" text ","

static char buf[262144] __attribute__((aligned(4096)));

/* raw over blkdebug, as most tests of QEMU have it. */
static BlockDriverState *open_rules(const char *rules)
{
    return test_open_attached("raw,discard=unmap,file.driver=blkdebug,%s"
                              "file.image.driver=test-mem", rules);
}

static int do_read(BlockDriverState *bs, int64_t offset)
{
    return test_rw(bs, BLOCK_READ, offset, buf, 512);
}

static int do_write(BlockDriverState *bs, int64_t offset)
{
    return test_rw(bs, BLOCK_WRITE, offset, buf, 512);
}

static void test_no_rules(void)
{
    BlockDriverState *bs = open_rules("");
    BlockDriverState *mem = bs->file->file;

    g_assert_cmpint(do_write(bs, 0), ==, 0);
    g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES,
                            BLOCK_REQ_FUA | BLOCK_REQ_MAY_UNMAP, 0, 4096),
                    ==, 0);
    g_assert_cmpuint(test_mem(mem)->last_flags, ==,
                     BLOCK_REQ_FUA | BLOCK_REQ_MAY_UNMAP);
    g_assert_cmpint(do_read(bs, 0), ==, 0);
    g_assert_cmpint(test_op(bs, BLOCK_FLUSH, 0, 0, 0), ==, 0);
    g_assert_cmpint(test_op(bs, BLOCK_DISCARD, 0, 0, 4096), ==, 0);
    for (unsigned op = 0; op < BLOCK_OP__COUNT; op++) {
        g_assert_cmpuint(test_mem_count(mem, op), ==, 1);
    }
    test_detach_unref(bs);
}

/* Once active, a rule is for all requests until another event replaces it. */
static void test_active(void)
{
    BlockDriverState *bs =
        open_rules(RULE("0", "read_aio")
                   RULE("1", "write_aio") "file.inject-error.1.errno=28,");

    g_assert_cmpint(test_op(bs, BLOCK_FLUSH, 0, 0, 0), ==, 0);
    g_assert_cmpint(do_read(bs, 0), ==, -EIO);
    g_assert_cmpint(test_op(bs, BLOCK_DISCARD, 0, 0, 512), ==, -EIO);
    g_assert_cmpint(do_write(bs, 0), ==, -ENOSPC);
    g_assert_cmpint(test_op(bs, BLOCK_FLUSH, 0, 0, 0), ==, -ENOSPC);
    g_assert_cmpint(do_read(bs, 0), ==, -EIO);
    g_assert_cmpuint(test_mem_count(bs->file->file, BLOCK_WRITE), ==, 0);
    test_detach_unref(bs);
}

static void test_once(void)
{
    BlockDriverState *bs =
        open_rules(RULE("0", "read_aio") "file.inject-error.0.once=on,"
                   RULE("1", "read_aio") "file.inject-error.1.once=on,"
                   "file.inject-error.1.errno=28,");

    g_assert_cmpint(do_read(bs, 0), ==, -EIO);
    g_assert_cmpint(do_write(bs, 0), ==, -ENOSPC);
    g_assert_cmpint(do_read(bs, 0), ==, 0);
    test_detach_unref(bs);
}

static void test_sector(void)
{
    BlockDriverState *bs =
        open_rules(RULE("0", "none") "file.inject-error.0.sector=2,");

    g_assert_cmpint(do_read(bs, 512), ==, 0);
    g_assert_cmpint(do_read(bs, 1024), ==, -EIO);
    g_assert_cmpint(do_read(bs, 1536), ==, 0);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, buf, 1024), ==, 0);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, buf, 1025), ==, -EIO);
    g_assert_cmpint(test_op(bs, BLOCK_FLUSH, 0, 0, 0), ==, 0);
    test_detach_unref(bs);
}

static void test_iotype(void)
{
    static const struct {
        const char *name;
        BlockOp op;
    } cases[] = {
        { "read", BLOCK_READ },
        { "write", BLOCK_WRITE },
        { "write-zeroes", BLOCK_WRITE_ZEROES },
        { "discard", BLOCK_DISCARD },
        { "flush", BLOCK_FLUSH },
        { "block-status", BLOCK_OP__COUNT },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *rules = g_strdup_printf(
            RULE("0", "none") "file.inject-error.0.iotype=%s,",
            cases[i].name);
        BlockDriverState *bs = open_rules(rules);

        for (unsigned op = 0; op < BLOCK_OP__COUNT; op++) {
            int ret = op == BLOCK_READ || op == BLOCK_WRITE
                          ? test_rw(bs, op, 0, buf, 512)
                          : test_op(bs, op, 0, 0,
                                    op == BLOCK_FLUSH ? 0 : 512);

            g_assert_cmpint(ret, ==, op == cases[i].op ? -EIO : 0);
        }
        test_detach_unref(bs);
    }
}

typedef struct StatusCall {
    BlockDriverState *bs;
    BlockStatus status;
    int ret;
    bool done;
} StatusCall;

static void coroutine_fn status_entry(void *opaque)
{
    StatusCall *call = opaque;

    call->ret = bdrv_co_block_status(call->bs, 0, 4096, &call->status);
    call->done = true;
}

static void test_block_status(void)
{
    BlockDriverState *bs =
        open_rules(RULE("0", "none") "file.inject-error.0.iotype="
                   "block-status,file.inject-error.0.once=on,");
    StatusCall call = { .bs = bs->file };

    coroutine_enter(coroutine_new(status_entry, &call));
    g_assert_true(call.done);
    g_assert_cmpint(call.ret, ==, -EIO);
    coroutine_enter(coroutine_new(status_entry, &call));
    g_assert_cmpint(call.ret, ==, 0);
    g_assert_cmpint(call.status.bytes, ==, 4096);
    g_assert_true(call.status.file == bs->file->file);
    test_detach_unref(bs);
}

/* No error is a rule, too: it shields requests from later ones. */
static void test_no_error(void)
{
    BlockDriverState *bs =
        open_rules(RULE("0", "none") "file.inject-error.0.errno=0,"
                   "file.inject-error.0.once=on,"
                   "file.inject-error.0.sector=0," RULE("1", "none"));

    g_assert_cmpint(do_read(bs, 0), ==, 0);
    g_assert_cmpint(do_read(bs, 512), ==, -EIO);
    g_assert_cmpint(do_read(bs, 0), ==, 0);
    test_detach_unref(bs);
}

/* A state that an event sets counts from the next event. */
static void test_state(void)
{
    BlockDriverState *bs =
        open_rules(RULE("0", "read_aio") "file.inject-error.0.state=42,"
                   "file.inject-error.0.once=on,"
                   "file.set-state.0.event=write_aio,"
                   "file.set-state.0.new_state=42,"
                   "file.set-state.1.event=read_aio,"
                   "file.set-state.1.state=42,"
                   "file.set-state.1.new_state=1,");

    g_assert_cmpint(do_read(bs, 0), ==, 0);
    g_assert_cmpint(do_write(bs, 0), ==, 0);
    g_assert_cmpint(do_read(bs, 0), ==, -EIO);
    g_assert_cmpint(do_read(bs, 0), ==, 0);
    test_detach_unref(bs);
}

/* What the request itself goes through, and a flush of the node above. */
static void test_own_events(void)
{
    static const struct {
        const char *event;
        int read, write, zeroes, flush, write_again;
    } cases[] = {
        { "pwritev", 0, -EIO, -EIO, -EIO, -EIO },
        { "pwritev_zero", 0, 0, -EIO, -EIO, -EIO },
        { "pwritev_done", 0, 0, -EIO, -EIO, -EIO },
        { "flush_to_os", 0, 0, 0, -EIO, -EIO },
        { "flush_to_disk", 0, 0, 0, -EIO, -EIO },
        { "write_aio", 0, -EIO, -EIO, -EIO, -EIO },
        { "cow_read", 0, 0, 0, 0, 0 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *rules = g_strdup_printf(RULE("0", "%s"),
                                                 cases[i].event);
        BlockDriverState *bs = open_rules(rules);

        g_assert_cmpint(do_read(bs, 0), ==, cases[i].read);
        g_assert_cmpint(do_write(bs, 0), ==, cases[i].write);
        g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, 0, 0, 512), ==,
                        cases[i].zeroes);
        g_assert_cmpint(test_op(bs, BLOCK_FLUSH, 0, 0, 0), ==,
                        cases[i].flush);
        g_assert_cmpint(do_write(bs, 0), ==, cases[i].write_again);
        test_detach_unref(bs);
    }
}

/* The read-modify-write around an unaligned write. */
static void test_rmw_events(void)
{
    static const char *const events[] = {
        "pwritev_rmw_head", "pwritev_rmw_after_head", "pwritev_rmw_tail",
        "pwritev_rmw_after_tail",
    };
    /* a request, and which of the events it passes */
    static const struct {
        int64_t offset, bytes;
        unsigned passes;
    } cases[] = {
        { 0, 4096, 0 },    { 512, 512, 0xf },  { 512, 3584, 0x3 },
        { 0, 512, 0xc },   { 512, 8192, 0xf }, { 4096, 4608, 0xc },
        { 512, 7680, 0x3 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(events); i++) {
        for (unsigned j = 0; j < G_N_ELEMENTS(cases); j++) {
            g_autoptr(GError) error = NULL;
            g_autoptr(BlockDriverState) bs = test_open(
                "blkdebug,align=4096,inject-error.event=%s,"
                "image.driver=test-mem", events[i]);

            bdrv_set_block_size(bs, 512, &error);
            g_assert_no_error(error);
            bdrv_attach_context(bs, test_ctx());
            g_assert_cmpint(test_rw(bs, BLOCK_WRITE, cases[j].offset, buf,
                                    cases[j].bytes),
                            ==, cases[j].passes & (1u << i) ? -EIO : 0);
            bdrv_detach_context(bs, test_ctx());
        }
    }
}

static void test_transfer_limits(void)
{
    BlockDriverState *bs =
        test_open_attached("blkdebug,align=4096,max-transfer=8192,"
                           "image.driver=test-mem");
    BlockDriverState *mem = bs->file;

    g_assert_cmpuint(bs->limits.request_alignment, ==, 4096);
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 0, buf, 32768), ==, 0);
    g_assert_cmpuint(test_mem_count(mem, BLOCK_WRITE), ==, 4);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 512, buf, 512), ==, 0);
    g_assert_cmpint(test_mem(mem)->last_offset, ==, 0);
    g_assert_cmpint(test_mem(mem)->last_bytes, ==, 4096);
    test_detach_unref(bs);
}

static void test_write_zeroes_limits(void)
{
    BlockDriverState *bs =
        test_open_attached("blkdebug,opt-write-zero=64k,max-write-zero=128k,"
                           "image.driver=test-mem");
    BlockDriverState *mem = bs->file;
    uint8_t *data = test_mem(mem)->data;

    memset(data, 1, 1 << 20);
    g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, 0, 60 * 1024, 400 * 1024),
                    ==, 0);
    /* 4k of data, 128k, 128k, 128k, 12k of data */
    g_assert_cmpuint(test_mem_count(mem, BLOCK_WRITE_ZEROES), ==, 3);
    g_assert_cmpuint(test_mem_count(mem, BLOCK_WRITE), ==, 2);
    g_assert_cmpint(data[60 * 1024 - 1], ==, 1);
    g_assert_cmpint(data[60 * 1024], ==, 0);
    g_assert_cmpint(data[460 * 1024 - 1], ==, 0);
    g_assert_cmpint(data[460 * 1024], ==, 1);
    test_mem_reset_counts(mem);
    g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, BLOCK_REQ_FUA, 512, 512),
                    ==, 0);
    g_assert_cmpuint(test_mem_count(mem, BLOCK_WRITE_ZEROES), ==, 0);
    g_assert_cmpuint(test_mem_count(mem, BLOCK_WRITE), ==, 1);
    g_assert_cmpuint(test_mem(mem)->last_flags, ==, BLOCK_REQ_FUA);
    test_detach_unref(bs);
}

/* An image that cannot write zeroes gets data. */
static void test_write_zeroes_unsupported(void)
{
    BlockDriverState *bs =
        test_open_attached("blkdebug,inject-error.event=none,"
                           "inject-error.errno=95,"
                           "inject-error.iotype=write-zeroes,"
                           "image.driver=test-mem");

    g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, 0, 0, 200 * 1024), ==, 0);
    g_assert_cmpuint(test_mem_count(bs->file, BLOCK_WRITE_ZEROES), ==, 0);
    g_assert_cmpuint(test_mem_count(bs->file, BLOCK_WRITE), ==, 4);
    test_detach_unref(bs);
}

static void test_discard_limits(void)
{
    BlockDriverState *bs =
        test_open_attached("blkdebug,discard=unmap,opt-discard=64k,"
                           "max-discard=128k,image.driver=test-mem");
    BlockDriverState *mem = bs->file;

    g_assert_cmpuint(bs->limits.discard_alignment, ==, 65536);
    g_assert_cmpint(test_op(bs, BLOCK_DISCARD, 0, 60 * 1024, 400 * 1024), ==,
                    0);
    g_assert_cmpuint(test_mem_count(mem, BLOCK_DISCARD), ==, 5);
    g_assert_cmpint(test_op(bs, BLOCK_DISCARD, 0, 4096, 65536), ==, 0);
    g_assert_cmpuint(test_mem_count(mem, BLOCK_DISCARD), ==, 7);
    test_detach_unref(bs);
}

/* The shortest name that opens the same. */
static void test_filename(void)
{
    g_autoptr(TestImage) image = test_image_new(4096);
    const char *path = test_image_path(image);
    struct {
        const char *options;
        char *name;
    } cases[] = {
        { "", g_strdup_printf("blkdebug::%s", path) },
        { "read-only=on,config=/dev/null,",
          g_strdup_printf("blkdebug:/dev/null:%s", path) },
        { "align=512,",
          g_strdup_printf("json:{\"image\": {\"driver\": \"file\", "
                          "\"filename\": \"%s\"}, \"driver\": \"blkdebug\", "
                          "\"align\": \"512\"}", path) },
        { "inject-error.event=none,",
          g_strdup_printf("json:{\"image\": {\"driver\": \"file\", "
                          "\"filename\": \"%s\"}, \"driver\": \"blkdebug\", "
                          "\"inject-error.event\": \"none\"}", path) },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(BlockDriverState) bs =
            test_open("blkdebug,%simage.driver=file,image.filename=%s",
                      cases[i].options, path);

        g_assert_cmpstr(bs->filename, ==, cases[i].name);
        g_free(cases[i].name);
    }
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    test_mem_register();
    g_test_add_func("/blkdebug/no-rules", test_no_rules);
    g_test_add_func("/blkdebug/active", test_active);
    g_test_add_func("/blkdebug/once", test_once);
    g_test_add_func("/blkdebug/sector", test_sector);
    g_test_add_func("/blkdebug/iotype", test_iotype);
    g_test_add_func("/blkdebug/block-status", test_block_status);
    g_test_add_func("/blkdebug/no-error", test_no_error);
    g_test_add_func("/blkdebug/state", test_state);
    g_test_add_func("/blkdebug/own-events", test_own_events);
    g_test_add_func("/blkdebug/rmw-events", test_rmw_events);
    g_test_add_func("/blkdebug/transfer-limits", test_transfer_limits);
    g_test_add_func("/blkdebug/write-zeroes-limits", test_write_zeroes_limits);
    g_test_add_func("/blkdebug/write-zeroes-unsupported",
                    test_write_zeroes_unsupported);
    g_test_add_func("/blkdebug/discard-limits", test_discard_limits);
    g_test_add_func("/blkdebug/filename", test_filename);
    ret = g_test_run();
    test_block_end();
    return ret;
}
