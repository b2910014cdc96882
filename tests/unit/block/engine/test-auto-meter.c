/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * aio=auto measures: a way that is slow here is left for one that is not, in
 * every class on its own; what came by another way is counted as such. The
 * file has a page cache, so that the ways are the thread pool and io_uring; a
 * worker's system calls can be made slow.
 */
#include <string.h>
#include <unistd.h>

#include "block/engine/auto-file.h"
#include "block/plug.h"
#include "tests/lib/engine-rig.h"
#include "tests/lib/faults.h"

#define FILE_BYTES (8 * 1024 * 1024)
#define SLOW_NS    300000

static EngineSyscalls slow;
static ssize_t (*real_pwritev2)(int fd, const struct iovec *iov, int niov,
                                off_t offset, int flags);
static unsigned slow_ns; /* relaxed atomic */

/* Not a sleep: nobody waits for it but the request. */
static ssize_t slow_pwritev2(int fd, const struct iovec *iov, int niov,
                             off_t offset, int flags)
{
    int64_t end = aio_clock_ns() + __atomic_load_n(&slow_ns, __ATOMIC_RELAXED);

    while (aio_clock_ns() < end) {
    }
    return real_pwritev2(fd, iov, niov, offset, flags);
}

static EngineRig *open_rig(bool uring)
{
    EngineRig *rig;

    faults_reset();
    faults.uring_init_err = uring ? 0 : -ENOSYS;
    slow = *engine_syscalls;
    real_pwritev2 = slow.pwritev2;
    slow.pwritev2 = slow_pwritev2;
    engine_syscalls = &slow;
    __atomic_store_n(&slow_ns, SLOW_NS, __ATOMIC_RELAXED);
    rig = eng_new(ENGINE_AUTO, FILE_BYTES, 0);
    return rig;
}

/* @n writes, @depth at a time, all over the file. */
static void write_all(EngineRig *rig, unsigned n, unsigned depth, size_t bytes)
{
    for (unsigned done = 0; done < n; done += depth) {
        blk_io_plug(rig->ctx);
        for (unsigned i = 0; i < depth; i++) {
            int64_t slot = (done + i) * 37 % (FILE_BYTES / RIG_SLOT);

            eng_submit(eng_prepare(rig, i, ENGINE_WRITE, slot * RIG_SLOT,
                                   bytes));
        }
        blk_io_unplug(rig->ctx);
        eng_wait(rig);
        eng_expect(rig, 0, depth, 0);
    }
}

static bool kernel_has_uring(void)
{
    struct io_uring ring;

    if (io_uring_queue_init(1, &ring, 0) < 0) {
        g_test_skip("the kernel here refuses io_uring");
        return false;
    }
    io_uring_queue_exit(&ring);
    return true;
}

static void test_slow_way_is_left(void)
{
    EngineRig *rig = open_rig(true);
    const uint64_t *taken = rig->stats.taken;

    if (kernel_has_uring()) {
        /* nothing is tried, and no ring made, while there is no need yet */
        write_all(rig, 500, 1, 4096);
        g_assert_cmpuint(taken[ENGINE_THREADS], ==, 500);
        g_assert_cmpuint(rig->stats.tried, ==, 0);
        g_assert_null(aio_context_slot(rig->ctx, AIO_SLOT_IO_URING));

        write_all(rig, 2572, 1, 4096);
        g_assert_cmpuint(rig->stats.moved, ==, 1);
        g_assert_cmpuint(rig->stats.tried, >=, 7 * 64);
        g_assert_cmpuint(taken[ENGINE_IO_URING], >, 1024);
        g_assert_cmpuint(taken[ENGINE_IO_URING] + taken[ENGINE_THREADS], ==,
                         3072);

        /* another class knows nothing of that */
        write_all(rig, 64, 1, RIG_SLOT);
        g_assert_cmpuint(rig->auto_file->meters[AUTO_WRITE_LARGE].way->type,
                         ==, ENGINE_THREADS);
        g_assert_cmpuint(rig->auto_file->meters[AUTO_WRITE].way->type, ==,
                         ENGINE_IO_URING);
    }
    eng_free(rig);
}

/* With one way there is nothing to try. */
static void test_no_other_way(void)
{
    EngineRig *rig = open_rig(false);

    faults_capture_log();
    __atomic_store_n(&slow_ns, 0, __ATOMIC_RELAXED);
    write_all(rig, 8192, 4, 4096);
    g_assert_cmpuint(rig->stats.taken[ENGINE_THREADS], ==, 8192);
    g_assert_cmpuint(rig->stats.tried, ==, 0);
    g_assert_cmpuint(faults_log_lines(), ==, 0);
    eng_free(rig);
}

/* What was found out with one request at a time does not hold for many. */
static void test_regimes(void)
{
    EngineRig *rig = open_rig(true);
    const AutoMeter *meter = &rig->auto_file->meters[AUTO_WRITE];

    __atomic_store_n(&slow_ns, 0, __ATOMIC_RELAXED);
    write_all(rig, 256, 1, 4096);
    g_assert_cmpuint(meter->regime, ==, 0);
    write_all(rig, 2048, 32, 4096);
    g_assert_cmpuint(meter->regime, ==, AUTO_DEEP);
    for (unsigned i = 0; i < 512; i++) {
        eng_submit(eng_prepare(rig, 0, ENGINE_WRITE, i * 4096, 4096));
        eng_wait(rig);
    }
    g_assert_cmpuint(meter->regime, ==, AUTO_SEQUENTIAL);
    g_assert_cmpuint(meter->in_flight, ==, 0);
    eng_free(rig);
}

/* Flushes are no transfers: neither counted nor sent astray. */
static void test_flushes(void)
{
    EngineRig *rig = open_rig(true);

    __atomic_store_n(&slow_ns, 0, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < 300; i++) {
        eng_submit(eng_prepare(rig, 0, ENGINE_FDSYNC, 0, 0));
        eng_wait(rig);
    }
    g_assert_cmpuint(faults_read(&faults.fdatasyncs), ==, 300);
    g_assert_cmpuint(rig->auto_file->meters[AUTO_WRITE].submitted, ==, 0);
    eng_free(rig);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/auto-meter/slow-way-is-left", test_slow_way_is_left);
    g_test_add_func("/auto-meter/no-other-way", test_no_other_way);
    g_test_add_func("/auto-meter/regimes", test_regimes);
    g_test_add_func("/auto-meter/flushes", test_flushes);
    return g_test_run();
}
