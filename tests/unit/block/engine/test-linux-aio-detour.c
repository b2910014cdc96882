/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests that io_submit() would wait for: which worker calls it, how often,
 * and what becomes of those that it does not take. The map is taught, so that
 * any file system will do.
 */
#include <errno.h>
#include <fcntl.h>

#include "block/engine/engine-internal.h"
#include "block/nowait.h"
#include "block/plug.h"
#include "tests/lib/engine-rig.h"
#include "tests/lib/faults.h"

#define FILE_BYTES (1024 * 1024) /* one region of the map */
#define BURST      32

/* All writes of the next two bursts had better not be tried. */
static NowaitMap *taught_map(void)
{
    NowaitMap *map = nowait_map_new();

    for (unsigned i = 0; i < 7; i++) {
        nowait_map_learn(map, 0);
    }
    return map;
}

static EngineRig *open_rig(void)
{
    faults_reset();
    return eng_new(ENGINE_NATIVE, FILE_BYTES, O_DIRECT);
}

static void burst(EngineRig *rig, NowaitMap *map)
{
    blk_io_plug(rig->ctx);
    for (unsigned i = 0; i < BURST; i++) {
        RigRequest *r = eng_prepare(rig, i, ENGINE_WRITE, i * 4096, 4096);

        r->req.nowait = map;
        eng_submit(r);
    }
    blk_io_unplug(rig->ctx);
    eng_wait(rig);
    eng_expect(rig, 0, BURST, 0);
    g_assert_cmpuint(rig->engine->queue.in_flight, ==, 0);
}

static void expect_data(EngineRig *rig)
{
    for (unsigned i = 0; i < BURST; i++) {
        eng_submit(eng_prepare(rig, i, ENGINE_READ, i * 4096, 4096));
    }
    eng_wait(rig);
    eng_expect_data(rig, 0, BURST);
}

static void test_batches(void)
{
    EngineRig *rig = open_rig();
    NowaitMap *map = taught_map();

    if (rig) {
        burst(rig, map);
        g_assert_cmpuint(rig->stats.detours, ==, BURST);
        g_assert_cmpuint(rig->stats.host_requests, ==, BURST);
        g_assert_cmpuint(rig->stats.taken[ENGINE_NATIVE], ==, BURST);
        g_assert_cmpuint(rig->stats.submit_calls, ==, 2);
        g_assert_cmpuint(faults_read(&faults.submit_calls), ==, 2);
        g_assert_cmpuint(faults_read(&faults.pwrites), ==, 0);
        g_assert_cmpuint(faults.threads_made, ==, 1);
        expect_data(rig);
    }
    nowait_map_free(map);
    if (rig) {
        eng_free(rig);
    }
}

static int five_and_no_more(unsigned call, unsigned n)
{
    return call == 0 ? 5 : call == 1 ? -EINVAL : (int)n;
}

/* What io_submit() refuses is written by workers. */
static void test_refused(void)
{
    EngineRig *rig = open_rig();
    NowaitMap *map = taught_map();

    if (rig) {
        faults.submit = five_and_no_more;
        burst(rig, map);
        g_assert_cmpuint(faults_read(&faults.pwrites), ==, 16 - 5);
        g_assert_cmpuint(faults_read(&faults.submit_calls), ==, 3);
        expect_data(rig);
    }
    nowait_map_free(map);
    if (rig) {
        eng_free(rig);
    }
}

/* No more are in flight than there is room for events. */
static void test_no_room(void)
{
    EngineRig *rig = open_rig();
    NowaitMap *map = taught_map();

    if (rig) {
        rig->engine->queue.capacity = 10;
        burst(rig, map);
        g_assert_cmpuint(faults_read(&faults.pwrites), >, 0);
        g_assert_cmpuint(rig->stats.taken[ENGINE_NATIVE], >=, 10);
        rig->engine->queue.capacity = 128;
        expect_data(rig);
    }
    nowait_map_free(map);
    if (rig) {
        eng_free(rig);
    }
}

/* --- The last of a batch is over when the worker is --- */

static EngineSyscalls slow;
static int (*real_io_submit)(io_context_t id, long n, struct iocb **iocbs);
static unsigned completed, returned; /* atomic */

/* Returns when all but one are complete, and after a while more, in which the
 * last one has every chance. */
static int submit_and_wait(io_context_t id, long n, struct iocb **iocbs)
{
    unsigned before = __atomic_load_n(&completed, __ATOMIC_SEQ_CST);
    int64_t end = aio_clock_ns() + INT64_C(10000000000);
    int ret = real_io_submit(id, n, iocbs);

    while (__atomic_load_n(&completed, __ATOMIC_SEQ_CST) < before + n - 1 &&
           aio_clock_ns() < end) {
        g_thread_yield();
    }
    for (unsigned i = 0; i < 1000; i++) {
        g_thread_yield();
    }
    __atomic_fetch_add(&returned, n, __ATOMIC_SEQ_CST);
    return ret;
}

static void count_completion(RigRequest *r)
{
    unsigned n = __atomic_add_fetch(&completed, 1, __ATOMIC_SEQ_CST);

    if (n % 16 == 0) {
        g_assert_cmpuint(__atomic_load_n(&returned, __ATOMIC_SEQ_CST), ==, n);
    }
}

static void test_last_is_held(void)
{
    EngineRig *rig = open_rig();
    NowaitMap *map = taught_map();

    if (rig) {
        slow = *engine_syscalls;
        real_io_submit = slow.io_submit;
        slow.io_submit = submit_and_wait;
        engine_syscalls = &slow;
        completed = returned = 0;
        blk_io_plug(rig->ctx);
        for (unsigned i = 0; i < BURST; i++) {
            RigRequest *r = eng_prepare(rig, i, ENGINE_WRITE, i * 4096, 4096);

            r->req.nowait = map;
            r->then = count_completion;
            eng_submit(r);
        }
        blk_io_unplug(rig->ctx);
        eng_wait(rig);
        g_assert_cmpuint(returned, ==, BURST);
    }
    nowait_map_free(map);
    if (rig) {
        eng_free(rig);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/linux-aio-detour/batches", test_batches);
    g_test_add_func("/linux-aio-detour/refused", test_refused);
    g_test_add_func("/linux-aio-detour/no-room", test_no_room);
    g_test_add_func("/linux-aio-detour/last-is-held", test_last_is_held);
    return g_test_run();
}
