/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is peculiar to the threads engine: reads from the page cache that do
 * not cross a thread, and what they cost when they miss; and, for all engines,
 * copies from and to memory.
 * What all engines have in common is in test-engine.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "block/engine/engine-internal.h"
#include "block/plug.h"
#include "tests/lib/engine-rig.h"
#include "tests/lib/faults.h"
#include "tests/lib/image.h"

#define FILE_BYTES (1024 * 1024)

static EngineRig *open_rig(void)
{
    EngineRig *rig;

    faults_reset();
    rig = eng_new(ENGINE_THREADS, FILE_BYTES, 0);
    eng_fill_file(rig, FILE_BYTES);
    return rig;
}

static void read_burst(EngineRig *rig, unsigned n)
{
    blk_io_plug(rig->ctx);
    for (unsigned i = 0; i < n; i++) {
        RigRequest *r = eng_prepare(rig, i, ENGINE_READ, i * 4096, 4096);

        r->req.flags = ENGINE_NOWAIT_READ;
        eng_submit(r);
    }
    blk_io_unplug(rig->ctx);
    eng_wait(rig);
    for (unsigned i = 0; i < n; i++) {
        g_assert_cmpint(rig->requests[i].ret, ==, 0);
        g_assert_true(eng_is_filled(rig->requests[i].buf, i * 4096, 4096));
    }
}

/* The rig's callback asserts that none completes inside submit. */
static void test_hits(void)
{
    EngineRig *rig = open_rig();

    read_burst(rig, 32);
    g_assert_cmpuint(faults_read(&faults.nowait_reads), ==, 32);
    g_assert_cmpuint(faults_read(&faults.preads), ==, 0);
    g_assert_cmpuint(faults.threads_made, ==, 0);
    g_assert_cmpuint(rig->stats.host_requests, ==, 32);
    g_assert_cmpuint(rig->stats.submit_calls, ==, 32);
    eng_free(rig);
}

static ssize_t (*real_preadv2)(int, const struct iovec *, int, off_t, int);
static unsigned tried, cached;

/* A page cache that holds the first @cached bytes of each read. */
static ssize_t cold_preadv2(int fd, const struct iovec *iov, int niov,
                            off_t offset, int flags)
{
    if (flags & RWF_NOWAIT) {
        struct iovec part = { iov->iov_base, MIN(iov->iov_len, cached) };

        tried++;
        if (!cached) {
            errno = EAGAIN;
            return -1;
        }
        return real_preadv2(fd, &part, 1, offset, flags);
    }
    return real_preadv2(fd, iov, niov, offset, flags);
}

static EngineSyscalls cold;

static EngineRig *open_cold_rig(unsigned bytes_cached)
{
    EngineRig *rig = open_rig();

    cold = *engine_syscalls;
    real_preadv2 = cold.preadv2;
    cold.preadv2 = cold_preadv2;
    engine_syscalls = &cold;
    tried = 0;
    cached = bytes_cached;
    return rig;
}

/* Each miss doubles the number of reads that are not tried: 1, 3, 7, 15, 31,
 * 63 of 126 reads and some. */
static void test_misses(void)
{
    EngineRig *rig = open_cold_rig(0);

    read_burst(rig, 120);
    g_assert_cmpuint(tried, ==, 6);
    /* ... and a hit forgives it all */
    cached = 4096;
    read_burst(rig, 120);
    g_assert_cmpuint(tried, >, 6 + 50);
    tried = 0;
    read_burst(rig, 120);
    g_assert_cmpuint(tried, ==, 120);
    eng_free(rig);
}

/* What was cached is not read again. */
static void test_partly_cached(void)
{
    EngineRig *rig = open_cold_rig(1024);

    read_burst(rig, 1);
    g_assert_cmpuint(tried, ==, 1);
    g_assert_cmpuint(rig->stats.host_requests, ==, 2);
    eng_free(rig);
}

static void test_end_of_file(void)
{
    EngineRig *rig = open_rig();
    RigRequest *r = eng_prepare(rig, 0, ENGINE_READ, FILE_BYTES - 512, 4096);

    r->req.flags = ENGINE_NOWAIT_READ;
    eng_submit(r);
    eng_wait(rig);
    g_assert_cmpint(r->ret, ==, 0);
    g_assert_true(eng_is_filled(r->buf, FILE_BYTES - 512, 512));
    g_assert_cmpuint(r->buf[512], ==, 0);
    g_assert_cmpuint(r->buf[4095], ==, 0);
    eng_free(rig);
}

/* Writes, and reads without the flag, are not tried. */
static void test_only_marked_reads(void)
{
    EngineRig *rig = open_rig();
    RigRequest *r = eng_prepare(rig, 0, ENGINE_WRITE, 0, 4096);

    r->req.flags = ENGINE_NOWAIT_READ;
    eng_submit(r);
    eng_submit(eng_prepare(rig, 1, ENGINE_READ, 0, 4096));
    eng_wait(rig);
    g_assert_cmpuint(faults_read(&faults.nowait_reads), ==, 0);
    eng_free(rig);
}

/* --- What lies in memory, on each engine --- */

static RigRequest *prepare_in_memory(EngineRig *rig, unsigned i, EngineOp op,
                                     size_t bytes)
{
    RigRequest *r = eng_prepare(rig, i, op, (int64_t)i * bytes, bytes);

    r->req.flags = ENGINE_IN_MEMORY;
    if (op == ENGINE_WRITE) {
        eng_fill(r->buf, r->req.offset, bytes);
    }
    return r;
}

static void in_memory_burst(EngineRig *rig, unsigned n, EngineOp op)
{
    blk_io_plug(rig->ctx);
    for (unsigned i = 0; i < n; i++) {
        eng_submit(prepare_in_memory(rig, i, op, 4096));
    }
    blk_io_unplug(rig->ctx);
    eng_wait(rig);
    for (unsigned i = 0; i < n; i++) {
        g_assert_cmpint(rig->requests[i].ret, ==, 0);
        g_assert_true(eng_is_filled(rig->requests[i].buf, i * 4096, 4096));
    }
}

/* Time passes for reads in the home thread, as slow as they are told to be,
 * and for nothing else. */
static EngineSyscalls timed;
static int64_t clock_now_ns, read_takes_ns;
static unsigned home_reads;
static pthread_t home;

static int64_t timed_clock_ns(void)
{
    return clock_now_ns;
}

static ssize_t timed_preadv2(int fd, const struct iovec *iov, int niov,
                             off_t offset, int flags)
{
    if (pthread_equal(pthread_self(), home)) {
        home_reads++;
        clock_now_ns += read_takes_ns;
    }
    return real_preadv2(fd, iov, niov, offset, flags);
}

static EngineRig *open_memory_rig(gconstpointer data, int64_t takes_ns)
{
    EngineRig *rig;

    faults_reset();
    timed = *engine_syscalls;
    real_preadv2 = timed.preadv2;
    timed.preadv2 = timed_preadv2;
    timed.clock_ns = timed_clock_ns;
    engine_syscalls = &timed;
    read_takes_ns = takes_ns;
    home_reads = 0;
    home = pthread_self();
    rig = eng_new(GPOINTER_TO_INT(data), FILE_BYTES, 0);
    if (rig) {
        eng_set_facts(rig, &(AutoFacts){ .in_memory = true });
    }
    return rig;
}

/* No engine and no worker sees requests that come one by one; a burst costs
 * native one io_submit(). */
static void test_in_memory(gconstpointer data)
{
    bool native = GPOINTER_TO_INT(data) == ENGINE_NATIVE;
    EngineRig *rig = open_memory_rig(data, 1000);

    if (!rig) {
        return;
    }
    for (unsigned i = 0; i < 3; i++) {
        in_memory_burst(rig, 1, ENGINE_WRITE);
        in_memory_burst(rig, 1, ENGINE_READ);
    }
    g_assert_cmpuint(faults.pwrites, ==, 3);
    g_assert_cmpuint(faults.preads, ==, 3);
    g_assert_cmpuint(faults.submit_calls, ==, 0);
    g_assert_cmpuint(rig->stats.submit_calls, ==, 6);
    g_assert_cmpuint(rig->stats.host_requests, ==, 6);

    in_memory_burst(rig, 32, ENGINE_WRITE);
    in_memory_burst(rig, 32, ENGINE_READ);
    g_assert_cmpuint(faults.submit_calls, ==, native ? 2 : 0);
    g_assert_cmpuint(faults.preads, ==, native ? 3 : 35);
    g_assert_cmpuint(rig->stats.host_requests, ==, 70);
    g_assert_cmpuint(faults.threads_made, ==, 0);
    eng_free(rig);
}

/* Memory that is swapped out: as with misses, 6 of 120 reads are tried. */
static void test_slow_memory(gconstpointer data)
{
    EngineRig *rig = open_memory_rig(data, 1000000);

    if (!rig) {
        return;
    }
    eng_fill_file(rig, FILE_BYTES);
    for (unsigned i = 0; i < 120; i++) {
        in_memory_burst(rig, 1, ENGINE_READ);
    }
    g_assert_cmpuint(home_reads, ==, 6);
    g_assert_cmpuint(rig->stats.host_requests, ==, 120);
    eng_free(rig);
}

/* Large copies are the engine's, and so are flushes. */
static void test_in_memory_exceptions(gconstpointer data)
{
    bool threads = GPOINTER_TO_INT(data) == ENGINE_THREADS ||
                   GPOINTER_TO_INT(data) == ENGINE_AUTO;
    EngineRig *rig = open_memory_rig(data, 1000);
    static uint8_t buf[256 * 1024];
    struct iovec iov = { buf, sizeof(buf) };
    RigRequest *r;

    if (!rig) {
        return;
    }
    r = prepare_in_memory(rig, 0, ENGINE_READ, 4096);
    r->req.iov = &iov;
    r->req.niov = 1;
    r->req.bytes = sizeof(buf);
    eng_submit(r);
    eng_wait(rig);
    g_assert_cmpint(r->ret, ==, 0);
    eng_submit(prepare_in_memory(rig, 0, ENGINE_FDSYNC, 0));
    eng_wait(rig);
    g_assert_cmpint(rig->requests[0].ret, ==, 0);
    g_assert_cmpuint(faults.submit_calls, ==, threads ? 0 : 2);
    g_assert_cmpuint(faults.threads_made > 0, ==, threads);
    eng_free(rig);
}

static const EngineRigCase memory_cases[] = {
    { "in-memory", test_in_memory },
    { "slow", test_slow_memory },
    { "exceptions", test_in_memory_exceptions },
};

int main(int argc, char **argv)
{
    if (!test_need_disk()) {
        return 0;
    }
    g_test_init(&argc, &argv, NULL);
    eng_add_cases("memory", memory_cases, G_N_ELEMENTS(memory_cases));
    g_test_add_func("/threads/hits", test_hits);
    g_test_add_func("/threads/misses", test_misses);
    g_test_add_func("/threads/partly-cached", test_partly_cached);
    g_test_add_func("/threads/end-of-file", test_end_of_file);
    g_test_add_func("/threads/only-marked-reads", test_only_marked_reads);
    return g_test_run();
}
