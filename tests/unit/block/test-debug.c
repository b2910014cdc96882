/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of events, and who gets to see them. */
#include "block/debug.h"

#include <errno.h>

#include "tests/lib/block.h"

static unsigned seen[BLKDBG__COUNT];
static char *breakpoint;

static void spy_event(BlockDriverState *bs, BlkdebugEvent event)
{
    seen[event]++;
}

static void spy_add(BlockDriverState *bs, BlkdebugEvent event,
                    const char *tag)
{
    g_free(breakpoint);
    breakpoint = g_strdup_printf("%s@%s", tag, blkdebug_event_names[event]);
}

static bool spy_is_known(BlockDriverState *bs, const char *tag)
{
    return g_str_equal(tag, "A");
}

static bool spy_open(BlockDriverState *bs, Options *opts, GError **error)
{
    bs->total_bytes = 1 << 20;
    bs->debugged = true;
    return true;
}

static const BlockDebugOps spy_debug = {
    .event = spy_event,
    .co_event = spy_event,
    .add_breakpoint = spy_add,
    .remove_breakpoint = spy_is_known,
    .resume = spy_is_known,
    .is_suspended = spy_is_known,
};

static const BlockDriver spy_driver = {
    .name = "spy",
    .is_protocol = true,
    .open = spy_open,
    .debug = &spy_debug,
};

static void test_names(void)
{
    for (unsigned i = 0; i < BLKDBG__COUNT; i++) {
        g_assert_nonnull(blkdebug_event_names[i]);
        for (unsigned j = 0; j < i; j++) {
            g_assert_cmpstr(blkdebug_event_names[i], !=,
                            blkdebug_event_names[j]);
        }
    }
    g_assert_null(blkdebug_event_names[BLKDBG__COUNT]);
    g_assert_cmpstr(blkdebug_event_names[BLKDBG_COW_READ], ==, "cow_read");
}

static void test_event(void)
{
    g_autoptr(BlockDriverState) bs = test_open("raw,file.driver=spy");

    bdrv_debug_event(bs, BLKDBG_L2_LOAD);
    g_assert_cmpuint(seen[BLKDBG_L2_LOAD], ==, 0);
    bdrv_debug_event(bs->file, BLKDBG_L2_LOAD);
    g_assert_cmpuint(seen[BLKDBG_L2_LOAD], ==, 1);
    bdrv_co_debug_event(bs, BLKDBG_L2_LOAD);
    bdrv_co_debug_event(bs->file, BLKDBG_L2_LOAD);
    g_assert_cmpuint(seen[BLKDBG_L2_LOAD], ==, 2);
}

static void test_breakpoint(void)
{
    g_autoptr(BlockDriverState) bs = test_open("raw,file.driver=spy");

    g_assert_cmpint(bdrv_debug_breakpoint(bs, "write_aio", "A"), ==, 0);
    g_assert_cmpstr(breakpoint, ==, "A@write_aio");
    g_assert_cmpint(bdrv_debug_breakpoint(bs, "writeaio", "A"), ==, -ENOENT);
    g_assert_true(bdrv_debug_is_suspended(bs, "A"));
    g_assert_cmpint(bdrv_debug_resume(bs, "A"), ==, 0);
    g_assert_cmpint(bdrv_debug_resume(bs, "B"), ==, -ENOENT);
    g_assert_cmpint(bdrv_debug_remove_breakpoint(bs, "A"), ==, 0);
    g_assert_cmpint(bdrv_debug_remove_breakpoint(bs, "B"), ==, -ENOENT);
    g_clear_pointer(&breakpoint, g_free);
}

static void test_nobody(void)
{
    g_autoptr(BlockDriverState) bs = test_open("raw,file.driver=null-co");

    g_assert_cmpint(bdrv_debug_breakpoint(bs, "write_aio", "A"), ==,
                    -ENOTSUP);
    g_assert_cmpint(bdrv_debug_remove_breakpoint(bs, "A"), ==, -ENOTSUP);
    g_assert_cmpint(bdrv_debug_resume(bs, "A"), ==, -ENOTSUP);
    g_assert_false(bdrv_debug_is_suspended(bs, "A"));
    bdrv_debug_wait_suspended(bs, "A");
}

static char *said;

static void hear(const char *line)
{
    g_free(said);
    said = g_strdup(line);
}

static void test_report(void)
{
    bdrv_debug_report("to %s", "nobody");
    bdrv_debug_set_report(hear);
    bdrv_debug_report("Suspended request '%s'", "A");
    bdrv_debug_set_report(NULL);
    g_assert_cmpstr(said, ==, "Suspended request 'A'");
    g_clear_pointer(&said, g_free);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    bdrv_register(&spy_driver);
    g_test_add_func("/debug/names", test_names);
    g_test_add_func("/debug/event", test_event);
    g_test_add_func("/debug/breakpoint", test_breakpoint);
    g_test_add_func("/debug/nobody", test_nobody);
    g_test_add_func("/debug/report", test_report);
    ret = g_test_run();
    test_block_end();
    return ret;
}
