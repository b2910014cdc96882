/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is peculiar to io_uring: kernels and profiles that refuse it or some
 * of its features, a submission ring that is full, wake-ups that must arrive.
 * What all engines have in common is in test-engine.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "block/engine/engine-internal.h"
#include "block/plug.h"
#include "tests/lib/engine-rig.h"
#include "tests/lib/faults.h"

#define FILE_BYTES (8 * 1024 * 1024)

static void check_fall_back(int err, const char *advice)
{
    AioContext *ctx;
    Engine *engine;

    faults_reset();
    faults_capture_log();
    faults.uring_init_err = err;
    ctx = aio_context_new(NULL, NULL);
    aio_context_adopt(ctx);
    engine = engine_get(ctx, ENGINE_IO_URING);
    g_assert_cmpint(engine_type(engine), ==, ENGINE_THREADS);
    faults.uring_init_err = 0;
    g_assert_true(engine_get(ctx, ENGINE_IO_URING) == engine);
    g_assert_cmpuint(faults_log_lines(), ==, 1);
    g_assert_nonnull(strstr(faults_log_line(0), "aio=io_uring"));
    g_assert_nonnull(strstr(faults_log_line(0), advice));
    aio_context_free(ctx);
}

static void test_fall_back(void)
{
    check_fall_back(-ENOSYS, "seccomp");
    check_fall_back(-EPERM, "kernel.io_uring_disabled");
    check_fall_back(-ENOMEM, "ulimit -l");
    check_fall_back(-EMFILE, "ulimit -n");
    check_fall_back(-EINVAL, "io_uring_setup");
}

static void write_and_read_back(EngineRig *rig)
{
    for (unsigned round = 0; round < 20; round++) {
        eng_burst(rig, 100, round % 2 ? ENGINE_READ : ENGINE_WRITE, 4096);
        eng_wait(rig);
        for (unsigned i = 0; i < 100; i++) {
            g_assert_cmpint(rig->requests[i].ret, ==, 0);
        }
    }
    g_assert_true(eng_is_filled(rig->requests[99].buf, 99 * 4096, 4096));
}

/* Each plainer set-up works too, with direct and with buffered I/O: what
 * completes in the submit call, in our context and on a kernel thread. */
static void test_plainer_setups(void)
{
    static const unsigned refused[] = {
        0, IORING_SETUP_DEFER_TASKRUN,
        IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN,
    };

    for (unsigned i = 0; i < 2 * G_N_ELEMENTS(refused); i++) {
        EngineRig *rig;

        faults_reset();
        faults.uring_flags_refused = refused[i / 2];
        rig = eng_new(ENGINE_IO_URING, FILE_BYTES, i % 2 ? O_DIRECT : 0);
        if (!rig) {
            return;
        }
        g_assert_cmpuint(faults.setup_calls, >=, 1 + i / 2);
        write_and_read_back(rig);
        eng_free(rig);
    }
}

/* Who gets hold of the ring's memory can make it read and write, and nothing
 * else: not open a file, not make a socket. */
static int refused_op(struct io_uring *ring, uint8_t op)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    struct io_uring_cqe *cqe;
    int res;

    io_uring_prep_rw(op, sqe, AT_FDCWD, "/etc/passwd", 0, 0);
    g_assert_cmpint(io_uring_submit_and_wait(ring, 1), >=, 0);
    g_assert_cmpint(io_uring_wait_cqe(ring, &cqe), ==, 0);
    res = cqe->res;
    io_uring_cqe_seen(ring, cqe);
    return res;
}

static void test_restricted(void)
{
    static const uint8_t ops[] = {
        IORING_OP_OPENAT, IORING_OP_OPENAT2, IORING_OP_SOCKET,
        IORING_OP_CONNECT, IORING_OP_UNLINKAT, IORING_OP_SENDMSG,
        IORING_OP_FALLOCATE, IORING_OP_STATX,
    };
    EngineRig *rig;
    struct io_uring *ring;

    faults_reset();
    rig = eng_new(ENGINE_IO_URING, FILE_BYTES, 0);
    if (!rig) {
        return;
    }
    ring = faults.uring;
    for (unsigned i = 0; i < G_N_ELEMENTS(ops); i++) {
        g_assert_cmpint(refused_op(ring, ops[i]), ==, -EACCES);
    }
    write_and_read_back(rig);
    eng_free(rig);
}

/* One flush of more than the submission ring holds. */
static void test_ring_full(void)
{
    AioParams params = { .aio_max_batch = 1000 };
    EngineRig *rig;

    faults_reset();
    rig = eng_new_with(&params, ENGINE_IO_URING, FILE_BYTES, O_DIRECT);
    if (!rig) {
        return;
    }
    blk_io_plug(rig->ctx);
    eng_hold_back(rig);
    for (unsigned i = 0; i < RIG_REQUESTS; i++) {
        eng_submit(eng_prepare(rig, i, ENGINE_WRITE, i * 4096, 4096));
    }
    /* two entries are somebody's already: the flush takes a second call */
    rig->engine->queue.capacity = 126;
    blk_io_unplug(rig->ctx);
    g_assert_cmpuint(rig->stats.host_requests, ==, 126);
    eng_wait(rig);
    g_assert_cmpuint(rig->stats.host_requests, ==, RIG_REQUESTS);
    eng_free(rig);
}

/* Every call fails for good: each request fails with the error, none is left
 * in the ring to be submitted by a later call. */
static int refuse_all(unsigned call, unsigned n)
{
    return -ENXIO;
}

static void test_refused_leaves_ring(void)
{
    EngineRig *rig;

    faults_reset();
    rig = eng_new(ENGINE_IO_URING, FILE_BYTES, O_DIRECT);
    if (!rig) {
        return;
    }
    faults.submit = refuse_all;
    eng_burst(rig, 10, ENGINE_WRITE, 4096);
    eng_wait(rig);
    for (unsigned i = 0; i < 10; i++) {
        g_assert_cmpint(rig->requests[i].ret, ==, -ENXIO);
    }
    faults.submit = NULL;
    eng_burst(rig, 3, ENGINE_WRITE, 4096);
    eng_wait(rig);
    g_assert_cmpuint(rig->stats.host_requests, ==, 3);
    g_assert_cmpuint(rig->completed, ==, 13);
    eng_free(rig);
}

/*
 * A read that completes much later, when the loop sleeps: of a pipe that
 * another thread writes to once the reader waits. Without the eventfd's
 * signal for deferred work this would hang.
 */
static void *write_one(void *opaque)
{
    EngineRig *rig = opaque;
    int *fds = (int *)rig->requests[1].buf;

    while (aio_context_stats(rig->ctx).sleeps == 0) {
        g_thread_yield();
    }
    g_assert_cmpint(write(fds[1], "x", 1), ==, 1);
    return NULL;
}

static void test_wakes_sleeper(void)
{
    static const unsigned refused[] = {
        0, IORING_SETUP_DEFER_TASKRUN,
        IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN,
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(refused); i++) {
        AioParams params = { .poll_max_ns = -1 };
        EngineRig *rig;
        RigRequest *r;
        GThread *thread;
        int *fds;

        faults_reset();
        faults.uring_flags_refused = refused[i];
        rig = eng_new_with(&params, ENGINE_IO_URING, 0, 0);
        if (!rig) {
            return;
        }
        fds = (int *)rig->requests[1].buf;
        g_assert_cmpint(pipe(fds), ==, 0);
        r = eng_prepare(rig, 0, ENGINE_READ, 0, 1);
        r->req.fd = fds[0];
        eng_submit(r);
        thread = g_thread_new("writer", write_one, rig);
        eng_wait(rig);
        g_thread_join(thread);
        g_assert_cmpint(r->ret, ==, 0);
        g_assert_cmpint(r->buf[0], ==, 'x');
        close(fds[0]);
        close(fds[1]);
        eng_free(rig);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/io-uring/fall-back", test_fall_back);
    g_test_add_func("/io-uring/plainer-setups", test_plainer_setups);
    g_test_add_func("/io-uring/restricted", test_restricted);
    g_test_add_func("/io-uring/ring-full", test_ring_full);
    g_test_add_func("/io-uring/refused-leaves-ring", test_refused_leaves_ring);
    g_test_add_func("/io-uring/wakes-sleeper", test_wakes_sleeper);
    return g_test_run();
}
