/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * aio=auto: which engine takes what, and who takes its place where the kernel
 * refuses. That data come back right is in test-engine.c, for all engines.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "block/engine/engine-internal.h"
#include "block/log.h"
#include "block/plug.h"
#include "tests/lib/engine-rig.h"
#include "tests/lib/faults.h"
#include "tests/lib/image.h"

#define FILE_BYTES (8 * 1024 * 1024)
#define BURST      32

static EngineRig *rig_of(const AutoFacts *facts)
{
    EngineRig *rig = eng_new(ENGINE_AUTO, FILE_BYTES,
                             facts->direct ? O_DIRECT : 0);

    if (rig) {
        eng_set_facts(rig, facts);
        eng_fill_file(rig, FILE_BYTES);
    }
    return rig;
}

static void burst(EngineRig *rig, unsigned n, EngineOp op, unsigned flags)
{
    blk_io_plug(rig->ctx);
    for (unsigned i = 0; i < n; i++) {
        RigRequest *r = eng_prepare(rig, i, op, (int64_t)i * 8192, 4096);

        r->req.flags = flags;
        eng_submit(r);
    }
    blk_io_unplug(rig->ctx);
    eng_wait(rig);
    if (op == ENGINE_FDSYNC) {
        eng_expect(rig, 0, n, 0);
    } else {
        eng_expect_data(rig, 0, n);
    }
}

static void expect_taken(const EngineRig *rig, unsigned threads,
                         unsigned native, unsigned uring, unsigned inlined)
{
    const EngineStats *stats = &rig->stats;

    g_assert_cmpuint(stats->taken[ENGINE_THREADS], ==, threads);
    g_assert_cmpuint(stats->taken[ENGINE_NATIVE], ==, native);
    g_assert_cmpuint(stats->taken[ENGINE_IO_URING], ==, uring);
    g_assert_cmpuint(stats->taken[ENGINE_AUTO], ==, 0);
    g_assert_cmpuint(stats->inlined, ==, inlined);
}

/* --- By what the file is --- */

static void test_direct(void)
{
    AutoFacts facts = { .direct = true, .nowait = true };
    EngineRig *rig;

    faults_reset();
    rig = rig_of(&facts);
    if (!rig) {
        return;
    }
    burst(rig, BURST, ENGINE_READ, 0);
    burst(rig, BURST, ENGINE_WRITE, 0);
    burst(rig, 1, ENGINE_FDSYNC, 0);
    burst(rig, 1, ENGINE_WRITE, ENGINE_FUA);
    expect_taken(rig, 0, 2 * BURST + 2, 0, 0);
    g_assert_cmpuint(faults.submit_calls, ==, 2 * g_bit_storage(BURST) + 2);
    eng_free(rig);
}

/* io_submit() might wait: it is left alone. */
static void test_direct_that_waits(void)
{
    AutoFacts facts = { .direct = true };
    EngineRig *rig;

    faults_reset();
    rig = rig_of(&facts);
    if (!rig) {
        return;
    }
    burst(rig, BURST, ENGINE_READ, 0);
    burst(rig, BURST, ENGINE_WRITE, 0);
    burst(rig, 1, ENGINE_FDSYNC, 0);
    expect_taken(rig, 2 * BURST + 1, 0, 0, 0);
    g_assert_cmpuint(faults.submit_calls, ==, 0);
    eng_free(rig);
}

/* What the page cache has is read by the home thread. */
static void test_buffered(void)
{
    AutoFacts facts = { 0 };
    EngineRig *rig;

    faults_reset();
    rig = rig_of(&facts);
    burst(rig, BURST, ENGINE_READ, ENGINE_NOWAIT_READ);
    expect_taken(rig, 0, 0, 0, BURST);
    burst(rig, BURST, ENGINE_WRITE, 0);
    burst(rig, 1, ENGINE_FDSYNC, 0);
    expect_taken(rig, BURST + 1, 0, 0, BURST);
    g_assert_cmpuint(faults.submit_calls, ==, 0);
    eng_free(rig);
}

/* Nobody said what it is: what cannot go wrong. */
static void test_unknown(void)
{
    AutoFacts facts = { 0 };
    EngineRig *rig;

    faults_reset();
    rig = rig_of(&facts);
    g_clear_pointer(&rig->auto_file, auto_file_free);
    burst(rig, BURST, ENGINE_READ, 0);
    expect_taken(rig, BURST, 0, 0, 0);
    eng_free(rig);
}

/* --- Where the kernel refuses --- */

static void test_no_linux_aio(void)
{
    AutoFacts facts = { .direct = true, .nowait = true };
    EngineRig *rig;

    faults_reset();
    faults_capture_log();
    faults.setup_events_left = 0;
    rig = rig_of(&facts);
    if (!rig) {
        return;
    }
    burst(rig, BURST, ENGINE_READ, 0);
    expect_taken(rig, 0, 0, BURST, 0);
    g_assert_cmpuint(faults_log_lines(), ==, 0);
    /* who asks for it by name is told */
    g_assert_cmpint(engine_type(engine_get(rig->ctx, ENGINE_NATIVE)), ==,
                    ENGINE_THREADS);
    g_assert_cmpuint(faults_log_lines(), ==, 1);
    eng_free(rig);
}

static void test_neither(void)
{
    AutoFacts facts = { .direct = true, .nowait = true };
    EngineRig *rig;

    faults_reset();
    faults_capture_log();
    faults.setup_events_left = 0;
    faults.uring_init_err = -EPERM;
    rig = eng_new(ENGINE_AUTO, FILE_BYTES, O_DIRECT);
    if (!rig) {
        return;
    }
    g_assert_cmpuint(faults_log_lines(), ==, 1);
    g_assert_nonnull(strstr(faults_log_line(0), "fs.aio-max-nr"));
    g_assert_nonnull(strstr(faults_log_line(0), "io_uring_disabled"));
    eng_fill_file(rig, FILE_BYTES);
    burst(rig, BURST, ENGINE_READ, 0);
    expect_taken(rig, BURST, 0, 0, 0);
    /* a second file of the context has no news */
    auto_file_free(auto_file_new(rig->ctx, &facts));
    g_assert_cmpuint(faults_log_lines(), ==, 1);
    eng_free(rig);
}

/* io_uring would have each copy made by a kernel thread. */
static void test_memory_without_linux_aio(void)
{
    AutoFacts facts = { .in_memory = true };
    EngineRig *rig;

    faults_reset();
    faults.setup_events_left = 0;
    rig = rig_of(&facts);
    burst(rig, BURST, ENGINE_READ, ENGINE_IN_MEMORY);
    expect_taken(rig, 0, 0, 0, BURST);
    eng_free(rig);
}

/* --- What it says --- */

static void test_trace(void)
{
    AutoFacts facts = { .name = "disk.img", .direct = true, .nowait = true };
    EngineRig *rig;

    faults_reset();
    faults_capture_log();
    g_assert_false(auto_trace_enable("all"));
    g_assert_false(auto_trace_enable("enable="));
    rig = rig_of(&(AutoFacts){ 0 });
    g_assert_cmpuint(faults_log_lines(), ==, 0);
    g_assert_true(auto_trace_enable("enable=auto"));
    auto_file_free(auto_file_new(rig->ctx, &facts));
    g_assert_cmpuint(faults_log_lines(), ==, 1);
    g_assert_nonnull(strstr(faults_log_line(0), "auto: disk.img: direct I/O that can say it would "
                           "wait: native, or perhaps io_uring"));
    eng_free(rig);
}

int main(int argc, char **argv)
{
    if (!test_need_disk()) {
        return 0;
    }
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/auto/direct", test_direct);
    g_test_add_func("/auto/direct-that-waits", test_direct_that_waits);
    g_test_add_func("/auto/buffered", test_buffered);
    g_test_add_func("/auto/unknown", test_unknown);
    g_test_add_func("/auto/no-linux-aio", test_no_linux_aio);
    g_test_add_func("/auto/neither", test_neither);
    g_test_add_func("/auto/memory-without-linux-aio",
                    test_memory_without_linux_aio);
    g_test_add_func("/auto/trace", test_trace);
    return g_test_run();
}
