/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One suite for all engines: data that comes back right, bursts that cost
 * what they should, and every way in which the kernel takes less than it was
 * given. The file is a real one with O_DIRECT unless a test says otherwise.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "block/engine/engine-internal.h"
#include "block/log.h"
#include "block/plug.h"
#include "tests/lib/count.h"
#include "tests/lib/engine-rig.h"
#include "tests/lib/faults.h"

#define FILE_BYTES (8 * 1024 * 1024)
#define BURST      32

/* Workers may ask the hooks: what these change is atomic. */
static unsigned hook_count;

static unsigned hook_next(void)
{
    return __atomic_fetch_add(&hook_count, 1, __ATOMIC_RELAXED);
}

static EngineRig *open_rig(gconstpointer data)
{
    faults_reset();
    hook_count = 0;
    return eng_new(GPOINTER_TO_INT(data), FILE_BYTES, O_DIRECT);
}

/* --- Data --- */

/* Each request has a part of the file to itself; within it, reads see what
 * was written before and zeroes elsewhere. */
static void random_request(EngineRig *rig, unsigned i, uint8_t *written)
{
    int64_t base = (int64_t)i * RIG_SLOT;
    unsigned sector = g_test_rand_int_range(0, 120);
    unsigned n = g_test_rand_int_range(1, 128 - sector + 1);
    EngineOp op = g_test_rand_int_range(0, 2) ? ENGINE_READ : ENGINE_WRITE;
    RigRequest *r = eng_prepare(rig, i, op, base + sector * 512, n * 512);

    eng_scatter(r, g_test_rand_int_range(1, 8));
    if (op == ENGINE_WRITE) {
        r->req.flags = g_test_rand_int_range(0, 4) ? 0 : ENGINE_FUA;
        memset(&written[i * 128 + sector], 1, n);
    }
    eng_submit(r);
}

static void check_random_request(RigRequest *r, const uint8_t *written)
{
    static const uint8_t zeroes[512];

    g_assert_cmpint(r->ret, ==, 0);
    for (size_t done = 0; done < r->req.bytes; done += 512) {
        int64_t offset = r->req.offset + done;

        if (written[offset / 512]) {
            g_assert_true(eng_is_filled(r->buf + done, offset, 512));
        } else {
            g_assert_cmpmem(r->buf + done, 512, zeroes, 512);
        }
    }
}

static void test_random(gconstpointer data)
{
    EngineRig *rig = open_rig(data);
    g_autofree uint8_t *written = g_malloc0(RIG_REQUESTS * 128);

    for (unsigned round = 0; rig && round < 30; round++) {
        unsigned n = g_test_rand_int_range(1, 64);
        unsigned first = g_test_rand_int_range(0, RIG_REQUESTS - n);

        blk_io_plug(rig->ctx);
        for (unsigned i = first; i < first + n; i++) {
            random_request(rig, i, written);
        }
        blk_io_unplug(rig->ctx);
        eng_wait(rig);
        for (unsigned i = first; i < first + n; i++) {
            check_random_request(&rig->requests[i], written);
        }
    }
    if (rig) {
        eng_free(rig);
    }
}

/* 5000 bytes: the end lies inside a sector, and inside a page. */
static void check_eof(EngineRig *rig)
{
    static const struct { int64_t offset; size_t bytes; } reads[] = {
        { 0, 8192 }, { 4096, 4096 }, { 4608, 512 }, { 4608, 4096 },
        { 8192, 4096 }, { 1 << 20, 65536 },
    };

    eng_fill_file(rig, 5000);
    g_assert_cmpint(ftruncate(rig->fd, 5000), ==, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(reads); i++) {
        RigRequest *r = eng_prepare(rig, i, ENGINE_READ, reads[i].offset,
                                    reads[i].bytes);
        size_t there = MAX(5000 - reads[i].offset, 0);
        size_t rest;

        there = MIN(there, reads[i].bytes);
        rest = reads[i].bytes - there;
        eng_scatter(r, 1 + i);
        eng_submit(r);
        eng_wait(rig);
        g_assert_cmpint(r->ret, ==, 0);
        g_assert_true(eng_is_filled(r->buf, reads[i].offset, there));
        for (size_t k = 0; k < rest; k++) {
            g_assert_cmpuint(r->buf[there + k], ==, 0);
        }
    }
}

static void test_eof_direct(gconstpointer data)
{
    EngineRig *rig = open_rig(data);

    if (rig) {
        check_eof(rig);
        eng_free(rig);
    }
}

static void test_eof_buffered(gconstpointer data)
{
    EngineRig *rig;

    faults_reset();
    rig = eng_new(GPOINTER_TO_INT(data), FILE_BYTES, 0);
    if (rig) {
        check_eof(rig);
        eng_free(rig);
    }
}

static void test_empty_request(gconstpointer data)
{
    EngineRig *rig = open_rig(data);

    if (rig) {
        RigRequest *r = eng_prepare(rig, 0, ENGINE_READ, 0, 0);

        r->req.niov = 0;
        eng_submit(r);
        eng_wait(rig);
        g_assert_cmpint(r->ret, ==, 0);
        eng_free(rig);
    }
}

/* --- What a burst costs --- */

static void test_burst(gconstpointer data)
{
    EngineRig *rig = open_rig(data);

    if (!rig) {
        return;
    }
    eng_burst(rig, BURST, ENGINE_WRITE, 4096);
    g_assert_cmpuint(rig->pending, ==, BURST);
    if (!eng_is_threads(rig)) {
        g_assert_cmpuint(faults.submit_calls, ==, 1);
    }
    eng_wait(rig);
    eng_expect(rig, 0, BURST, 0);
    eng_burst(rig, BURST, ENGINE_READ, 4096);
    g_assert_cmpuint(faults.submit_calls, ==, eng_is_threads(rig) ? 0 : 2);
    g_assert_cmpuint(faults.futex_wakes, <=, 2);
    eng_wait(rig);
    eng_expect_data(rig, 0, BURST);
    g_assert_cmpuint(rig->stats.host_requests, ==, 2 * BURST);
    g_assert_cmpuint(rig->stats.submit_calls, ==,
                     eng_is_threads(rig) ? 2 * BURST : 2);
    g_assert_cmpuint(rig->stats.bursts, ==, 2);
    g_assert_cmpuint(rig->stats.batch[5], ==, 2);
    eng_free(rig);
}

/* What comes in one section is with the kernel from the first request on. */
static void test_early(gconstpointer data)
{
    EngineRig *rig = open_rig(data);

    if (!rig) {
        return;
    }
    blk_io_plug(rig->ctx);
    for (unsigned n = 1; n <= BURST; n++) {
        eng_submit(eng_prepare(rig, n - 1, ENGINE_WRITE, (n - 1) * 4096,
                               4096));
        if (!eng_is_threads(rig)) {
            /* 1, 3, 7, 15 and 31 of them make a batch full */
            g_assert_cmpuint(rig->stats.host_requests, ==,
                             (1u << (g_bit_storage(n + 1) - 1)) - 1);
        }
    }
    blk_io_unplug(rig->ctx);
    eng_wait(rig);
    if (!eng_is_threads(rig)) {
        g_assert_cmpuint(faults.submit_calls, ==, 6); /* 1 2 4 8 16 1 */
    }
    g_assert_cmpuint(rig->stats.bursts, ==, 1);
    eng_free(rig);
}

static void test_max_batch(gconstpointer data)
{
    EngineRig *rig = open_rig(data);

    if (!rig) {
        return;
    }
    eng_burst(rig, 100, ENGINE_WRITE, 4096);
    g_assert_cmpuint(rig->stats.bursts, ==, 1);
    g_assert_cmpuint(rig->stats.batch[7], ==, 1);
    g_assert_cmpuint(faults.submit_calls, ==, eng_is_threads(rig) ? 0 : 4);
    eng_wait(rig);

    blk_io_plug(rig->ctx);
    eng_hold_back(rig);
    for (unsigned i = 0; i < BURST; i++) {
        RigRequest *r = eng_prepare(rig, i, ENGINE_READ, i * 4096, 4096);

        r->req.max_batch = 8;
        eng_submit(r);
    }
    g_assert_cmpuint(faults.submit_calls, ==, eng_is_threads(rig) ? 0 : 8);
    blk_io_unplug(rig->ctx);
    g_assert_cmpuint(faults.submit_calls, ==, eng_is_threads(rig) ? 0 : 8);
    g_assert_cmpuint(rig->stats.bursts, ==, 2);
    eng_wait(rig);
    eng_expect_data(rig, 0, BURST);
    eng_free(rig);
}

static void test_two_users(gconstpointer data)
{
    EngineRig *rig = open_rig(data);
    EngineStats other = { 0 };

    if (!rig) {
        return;
    }
    blk_io_plug(rig->ctx);
    eng_hold_back(rig);
    for (unsigned i = 0; i < 12; i++) {
        RigRequest *r = eng_prepare(rig, i, ENGINE_WRITE, i * 4096, 4096);

        r->req.stats = i % 4 ? &rig->stats : &other;
        eng_submit(r);
    }
    blk_io_unplug(rig->ctx);
    eng_wait(rig);
    g_assert_cmpuint(rig->stats.host_requests, ==, 9);
    g_assert_cmpuint(other.host_requests, ==, 3);
    g_assert_cmpuint(rig->stats.bursts, ==, 1);
    g_assert_cmpuint(other.bursts, ==, 1);
    g_assert_cmpuint(other.submit_calls, ==, eng_is_threads(rig) ? 3 : 1);
    g_assert_cmpuint(rig->stats.submit_calls, ==, eng_is_threads(rig) ? 9 : 1);
    eng_free(rig);
}

/* A completion that submits the next one, a thousand times in all. */
static void submit_next(RigRequest *r)
{
    EngineRig *rig = r->rig;
    unsigned i = r - rig->requests;
    unsigned n = hook_next();

    g_assert_cmpint(r->ret, ==, 0);
    if (n < 1000) {
        RigRequest *next = eng_prepare(rig, i, n % 2 ? ENGINE_READ
                                                     : ENGINE_WRITE,
                                       i * 4096, 4096);

        next->then = submit_next;
        eng_submit(next);
    }
}

static void test_chain(gconstpointer data)
{
    EngineRig *rig = open_rig(data);

    if (!rig) {
        return;
    }
    blk_io_plug(rig->ctx);
    for (unsigned i = 0; i < 8; i++) {
        RigRequest *r = eng_prepare(rig, i, ENGINE_WRITE, i * 4096, 4096);

        r->then = submit_next;
        eng_submit(r);
    }
    blk_io_unplug(rig->ctx);
    eng_wait(rig);
    g_assert_cmpuint(rig->completed, ==, 1008);
    g_assert_cmpuint(rig->stats.host_requests, ==, 1008);
    eng_free(rig);
}

/* Nothing is allocated and no lock is taken once the first burst has made
 * what there is to make: workers, the plug, the kernel's rings. */
static void test_steady_state(gconstpointer data)
{
    EngineRig *rig;
    unsigned allocations, locks;

    if (!count_available()) {
        g_test_skip("sanitizers have malloc() and the locks to themselves");
        return;
    }
    rig = open_rig(data);
    if (!rig) {
        return;
    }
    for (unsigned i = 0; i < 4; i++) {
        eng_burst(rig, BURST, ENGINE_WRITE, 4096);
        eng_wait(rig);
    }
    faults.threads_left = faults.threads_made; /* starting one allocates */
    faults_capture_log();
    eng_burst(rig, BURST, ENGINE_WRITE, 4096);
    eng_wait(rig); /* "cannot start a worker" is said here, once */
    allocations = count_allocations();
    locks = count_mutex_locks();
    for (unsigned i = 0; i < 20; i++) {
        eng_burst(rig, BURST, i % 2 ? ENGINE_READ : ENGINE_WRITE, 4096);
        eng_wait(rig);
    }
    allocations = count_allocations() - allocations;
    locks = count_mutex_locks() - locks;
    log_set_sink(NULL, NULL);
    /* eng_fill() and others make none */
    g_assert_cmpuint(allocations, ==, 0);
    g_assert_cmpuint(locks, ==, 0);
    eng_free(rig);
}

/* The counter counts: a short read allocates the list of what is left. */
static ssize_t first_half(const EngineRequest *req, ssize_t res)
{
    bool first = req->done == 0 && res == (ssize_t)req->bytes;

    return first ? res / 2 : res;
}

static void test_counting_works(gconstpointer data)
{
    EngineRig *rig;
    unsigned allocations;

    if (!count_available()) {
        g_test_skip("sanitizers have malloc() and the locks to themselves");
        return;
    }
    rig = open_rig(data);
    if (!rig) {
        return;
    }
    eng_burst(rig, 1, ENGINE_WRITE, 4096);
    eng_wait(rig);
    faults.result = first_half;
    allocations = count_allocations();
    eng_burst(rig, 1, ENGINE_READ, 4096);
    eng_wait(rig);
    g_assert_cmpuint(count_allocations() - allocations, ==, 1);
    eng_free(rig);
}

/* --- The kernel takes less, or nothing --- */

static int take_one(unsigned call, unsigned n)
{
    return 1;
}

static int take_three(unsigned call, unsigned n)
{
    return MIN(n, 3);
}

static void test_partial(gconstpointer data)
{
    static int (*const takers[])(unsigned, unsigned) = { take_one,
                                                         take_three };

    for (unsigned i = 0; i < G_N_ELEMENTS(takers); i++) {
        EngineRig *rig = open_rig(data);

        if (!rig) {
            return;
        }
        faults.submit = takers[i];
        eng_burst(rig, BURST, ENGINE_WRITE, 4096);
        eng_wait(rig);
        eng_expect(rig, 0, BURST, 0);
        eng_burst(rig, BURST, ENGINE_READ, 4096);
        eng_wait(rig);
        eng_expect_data(rig, 0, BURST);
        g_assert_cmpuint(rig->stats.bursts, ==, 2);
        if (!eng_is_threads(rig)) {
            g_assert_cmpuint(rig->stats.submit_calls, ==, i ? 22 : 64);
        }
        eng_free(rig);
    }
}

static int again_three_times(unsigned call, unsigned n)
{
    return call < 3 ? -EAGAIN : (int)n;
}

static void test_again_none_in_flight(gconstpointer data)
{
    EngineRig *rig = open_rig(data);

    if (!rig) {
        return;
    }
    faults.submit = again_three_times;
    eng_burst(rig, BURST, ENGINE_WRITE, 4096);
    eng_wait(rig);
    eng_expect(rig, 0, BURST, 0);
    if (!eng_is_threads(rig)) {
        /* three refusals, each followed by a wait, then all at once */
        g_assert_cmpuint(faults.submit_calls, ==, 4);
        g_assert_cmpuint(rig->stats.submit_calls, ==, 1);
    }
    eng_free(rig);
}

static int ten_then_again(unsigned call, unsigned n)
{
    return call == 0 ? 10 : call == 1 ? -EAGAIN : (int)n;
}

static void test_again_in_flight(gconstpointer data)
{
    EngineRig *rig = open_rig(data);

    if (!rig) {
        return;
    }
    faults.submit = ten_then_again;
    eng_burst(rig, BURST, ENGINE_WRITE, 4096);
    if (!eng_is_threads(rig)) {
        g_assert_cmpuint(faults.submit_calls, ==, 2);
        g_assert_cmpuint(rig->stats.host_requests, ==, 10);
    }
    eng_wait(rig);
    eng_expect(rig, 0, BURST, 0);
    if (!eng_is_threads(rig)) {
        g_assert_cmpuint(faults.submit_calls, ==, 3);
    }
    eng_free(rig);
}

static int eio_first(unsigned call, unsigned n)
{
    return call == 0 ? -EIO : (int)n;
}

static ssize_t eio_at_0(const EngineRequest *req, ssize_t res)
{
    return req->offset == 0 ? -EIO : res;
}

/* Refused by the submit call: for this one request, and not inside submit
 * (the rig's callback asserts that). Threads see it as a result. */
static void test_eio_first(gconstpointer data)
{
    EngineRig *rig = open_rig(data);

    if (!rig) {
        return;
    }
    faults.submit = eio_first;
    faults.result = eng_is_threads(rig) ? eio_at_0 : NULL;
    eng_burst(rig, BURST, ENGINE_WRITE, 4096);
    eng_wait(rig);
    g_assert_cmpint(rig->requests[0].ret, ==, -EIO);
    eng_expect(rig, 1, BURST, 0);
    eng_free(rig);
}

static void test_eio_result(gconstpointer data)
{
    EngineRig *rig = open_rig(data);

    if (!rig) {
        return;
    }
    faults.result = eio_at_0;
    eng_burst(rig, BURST, ENGINE_WRITE, 4096);
    eng_wait(rig);
    g_assert_cmpint(rig->requests[0].ret, ==, -EIO);
    eng_expect(rig, 1, BURST, 0);
    g_assert_cmpuint(rig->stats.host_requests, ==, BURST);
    eng_free(rig);
}

/* Without injection: a descriptor that is none. */
static void test_bad_fd(gconstpointer data)
{
    EngineRig *rig = open_rig(data);

    if (!rig) {
        return;
    }
    blk_io_plug(rig->ctx);
    for (unsigned i = 0; i < 5; i++) {
        RigRequest *r = eng_prepare(rig, i, ENGINE_WRITE, i * 4096, 4096);

        r->req.fd = i % 2 ? rig->fd : -1;
        eng_submit(r);
    }
    blk_io_unplug(rig->ctx);
    eng_wait(rig);
    for (unsigned i = 0; i < 5; i++) {
        g_assert_cmpint(rig->requests[i].ret, ==, i % 2 ? 0 : -EBADF);
    }
    eng_free(rig);
}

/* Without injection: memory that is none. */
static void test_bad_memory(gconstpointer data)
{
    EngineRig *rig = open_rig(data);
    RigRequest *r;

    if (!rig) {
        return;
    }
    eng_burst(rig, 1, ENGINE_WRITE, 4096);
    eng_wait(rig);
    r = eng_prepare(rig, 0, ENGINE_READ, 0, 4096);
    r->iov[0].iov_base = (void *)4096;
    eng_submit(r);
    eng_wait(rig);
    g_assert_cmpint(r->ret, ==, -EFAULT);
    eng_free(rig);
}

static void test_names(void)
{
    EngineType type = ENGINE__COUNT;

    g_assert_true(engine_type_parse("native", &type));
    g_assert_cmpint(type, ==, ENGINE_NATIVE);
    g_assert_false(engine_type_parse("io-uring", &type));
    for (unsigned i = 0; i < ENGINE__COUNT; i++) {
        g_assert_true(engine_type_parse(engine_type_name(i), &type));
        g_assert_cmpuint(type, ==, i);
    }
}

static const EngineRigCase cases[] = {
    { "random", test_random },
    { "eof-direct", test_eof_direct },
    { "eof-buffered", test_eof_buffered },
    { "empty-request", test_empty_request },
    { "burst", test_burst },
    { "early", test_early },
    { "max-batch", test_max_batch },
    { "two-users", test_two_users },
    { "chain", test_chain },
    { "steady-state", test_steady_state },
    { "counting-works", test_counting_works },
    { "partial", test_partial },
    { "again-none-in-flight", test_again_none_in_flight },
    { "again-in-flight", test_again_in_flight },
    { "eio-first", test_eio_first },
    { "eio-result", test_eio_result },
    { "bad-fd", test_bad_fd },
    { "bad-memory", test_bad_memory },
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    eng_add_cases("engine", cases, G_N_ELEMENTS(cases));
    g_test_add_func("/engine/names", test_names);
    return g_test_run();
}
