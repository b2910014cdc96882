/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that a ring of io_uring holds: which requests make use of it, when it
 * is taken and let go of, and what happens when the kernel refuses it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "block/engine/io-uring-internal.h"
#include "tests/lib/engine-rig.h"
#include "tests/lib/faults.h"

#define FILE_BYTES (8 * 1024 * 1024)
#define MEMORY_BYTES ((size_t)RIG_REQUESTS * RIG_SLOT)
#define PIECE URING_PIECE_BYTES

static EngineRig *rig_new(void)
{
    EngineRig *rig = eng_new(ENGINE_IO_URING, FILE_BYTES, O_DIRECT);

    if (rig) {
        eng_fill_file(rig, FILE_BYTES);
    }
    return rig;
}

/* The kernel takes hold of a piece after a request to it has gone out. */
static void settle(EngineRig *rig)
{
    while (aio_poll(rig->ctx, false)) {
    }
}

/* How many of a burst used registered memory. */
static unsigned burst(EngineRig *rig, unsigned n, EngineOp op)
{
    uint64_t before = rig->stats.fixed;

    eng_burst(rig, n, op, 4096);
    eng_wait(rig);
    if (op == ENGINE_READ) {
        eng_expect_data(rig, 0, n);
    } else {
        eng_expect(rig, 0, n, 0);
    }
    settle(rig);
    return rig->stats.fixed - before;
}

/* Whether a read into @buf used it. */
static bool reads_fixed(EngineRig *rig, void *buf, size_t bytes)
{
    RigRequest *r = eng_prepare(rig, 0, ENGINE_READ, 0, 4096);
    uint64_t before = rig->stats.fixed;

    r->iov[0] = (struct iovec){ buf, bytes };
    r->req.bytes = bytes;
    eng_submit(r);
    eng_wait(rig);
    g_assert_cmpint(r->ret, ==, 0);
    g_assert_true(eng_is_filled(buf, 0, bytes));
    settle(rig);
    return rig->stats.fixed != before;
}

/* Whether this kernel has tables that are filled later (Linux 5.19). */
static bool can_register(EngineRig *rig)
{
    engine_memory_add(rig->ctx, rig->memory, MEMORY_BYTES);
    burst(rig, 1, ENGINE_READ);
    if (faults.buffer_updates == 0) {
        g_test_skip("this kernel cannot register buffers one by one");
        engine_memory_remove(rig->ctx, rig->memory, MEMORY_BYTES);
        eng_free(rig);
        return false;
    }
    return true;
}

static void test_each_request(void)
{
    EngineRig *rig;

    faults_reset();
    rig = rig_new();
    if (!rig) {
        return;
    }
    g_assert_cmpuint(burst(rig, 32, ENGINE_READ), ==, 0);
    if (!can_register(rig)) {
        return;
    }
    g_assert_cmpuint(rig->stats.fixed, ==, 0); /* that one was the first */
    g_assert_cmpuint(burst(rig, 32, ENGINE_READ), ==, 32);
    g_assert_cmpuint(burst(rig, 100, ENGINE_WRITE), ==, 100);
    g_assert_cmpuint(burst(rig, 1, ENGINE_READ), ==, 1);
    g_assert_cmpuint(faults.buffer_updates, ==, 1);
    engine_memory_remove(rig->ctx, rig->memory, MEMORY_BYTES);
    g_assert_cmpuint(faults.buffer_updates, ==, 2);
    g_assert_cmpuint(burst(rig, 32, ENGINE_READ), ==, 0);
    g_assert_cmpuint(faults.buffer_updates, ==, 2);
    eng_free(rig);
}

/* In several pieces, or elsewhere: as ever. */
static void test_others(void)
{
    g_autofree char *room = g_malloc(8192);
    char *elsewhere = (char *)(((uintptr_t)room + 4095) & ~UINT64_C(4095));
    EngineRig *rig;
    RigRequest *r;

    faults_reset();
    rig = rig_new();
    if (!rig || !can_register(rig)) {
        return;
    }
    r = eng_prepare(rig, 0, ENGINE_READ, 4096, 4096);
    eng_scatter(r, 3);
    eng_submit(r);
    eng_wait(rig);
    eng_expect_data(rig, 0, 1);
    g_assert_cmpuint(rig->stats.fixed, ==, 0);
    g_assert_false(reads_fixed(rig, elsewhere, 4096));
    g_assert_true(reads_fixed(rig, rig->memory, 4096));
    engine_memory_remove(rig->ctx, rig->memory, MEMORY_BYTES);
    eng_free(rig);
}

static void test_counted(void)
{
    EngineRig *rig;

    faults_reset();
    rig = rig_new();
    if (!rig || !can_register(rig)) {
        return;
    }
    engine_memory_add(rig->ctx, rig->memory, MEMORY_BYTES);
    engine_memory_remove(rig->ctx, rig->memory, MEMORY_BYTES);
    g_assert_cmpuint(burst(rig, 3, ENGINE_READ), ==, 3);
    engine_memory_remove(rig->ctx, rig->memory, MEMORY_BYTES);
    g_assert_cmpuint(burst(rig, 3, ENGINE_READ), ==, 0);
    eng_free(rig);
}

static uint8_t *map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    g_assert_true(memory != MAP_FAILED);
    return memory;
}

/* Each piece is taken when it is first used, the last one is shorter, and what
 * crosses from one to the next is not fixed. */
static void test_pieces(void)
{
    size_t bytes = PIECE + 65536;
    uint8_t *memory = map(bytes);
    EngineRig *rig;

    faults_reset();
    rig = rig_new();
    if (!rig || !can_register(rig)) {
        munmap(memory, bytes);
        return;
    }
    engine_memory_add(rig->ctx, memory, bytes);
    g_assert_false(reads_fixed(rig, memory + PIECE, 4096));
    g_assert_cmpuint(faults.buffer_updates, ==, 2);
    g_assert_true(reads_fixed(rig, memory + PIECE, 4096));
    g_assert_true(reads_fixed(rig, memory + bytes - 4096, 4096));
    g_assert_false(reads_fixed(rig, memory + PIECE - 4096, 4096));
    g_assert_true(reads_fixed(rig, memory + PIECE - 4096, 4096));
    g_assert_false(reads_fixed(rig, memory + PIECE - 4096, 8192));
    g_assert_true(reads_fixed(rig, rig->memory, 4096));
    g_assert_cmpuint(faults.buffer_updates, ==, 3);
    engine_memory_remove(rig->ctx, memory, bytes);
    g_assert_cmpuint(faults.buffer_updates, ==, 5);
    g_assert_false(reads_fixed(rig, memory + PIECE, 4096));
    engine_memory_remove(rig->ctx, rig->memory, MEMORY_BYTES);
    eng_free(rig);
    munmap(memory, bytes);
}

/* Found whatever the order in which they came and went. */
static void test_regions(void)
{
    static const unsigned come[] = { 3, 0, 4, 1, 2 }, go[] = { 1, 4, 0, 3, 2 };
    size_t step = 65536;
    uint8_t *memory = map(5 * step);
    bool there[5] = { false };
    EngineRig *rig;

    faults_reset();
    rig = rig_new();
    if (!rig || !can_register(rig)) {
        munmap(memory, 5 * step);
        return;
    }
    for (unsigned i = 0; i < 5; i++) {
        engine_memory_add(rig->ctx, memory + come[i] * step, step / 2);
        g_assert_false(reads_fixed(rig, memory + come[i] * step, 4096));
    }
    memset(there, true, sizeof(there));
    for (unsigned i = 0; i < 5; i++) {
        for (unsigned k = 0; k < 5; k++) {
            uint8_t *at = memory + k * step;

            g_assert_cmpint(reads_fixed(rig, at, 4096), ==, there[k]);
            g_assert_false(reads_fixed(rig, at + step / 2, 4096));
            g_assert_false(reads_fixed(rig, at + step / 2 - 4096, 8192));
        }
        engine_memory_remove(rig->ctx, memory + go[i] * step, step / 2);
        there[go[i]] = false;
    }
    engine_memory_remove(rig->ctx, rig->memory, MEMORY_BYTES);
    eng_free(rig);
    munmap(memory, 5 * step);
}

/* It goes before the kernel was asked to take hold of it. */
static void test_gone_before(void)
{
    EngineRig *rig;

    faults_reset();
    rig = rig_new();
    if (!rig || !can_register(rig)) {
        return;
    }
    engine_memory_remove(rig->ctx, rig->memory, MEMORY_BYTES);
    engine_memory_add(rig->ctx, rig->memory, MEMORY_BYTES);
    eng_submit(eng_prepare(rig, 0, ENGINE_READ, 0, 4096));
    engine_memory_remove(rig->ctx, rig->memory, MEMORY_BYTES);
    eng_wait(rig);
    settle(rig);
    g_assert_cmpuint(faults.buffer_updates, ==, 2);
    g_assert_cmpuint(burst(rig, 2, ENGINE_READ), ==, 0);
    eng_free(rig);
}

static void check_refused(unsigned op, int err, unsigned updates,
                          const char *line)
{
    EngineRig *rig;

    faults_reset();
    faults_capture_log();
    faults.uring_register_refused = op;
    faults.uring_register_err = err;
    rig = rig_new();
    if (!rig) {
        return;
    }
    engine_memory_add(rig->ctx, rig->memory, MEMORY_BYTES);
    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmpuint(burst(rig, 10, ENGINE_READ), ==, 0);
    }
    g_assert_cmpuint(faults.buffer_updates, ==, updates);
    g_assert_cmpuint(faults_log_lines(), ==, line ? 1 : 0);
    if (line) {
        g_assert_nonnull(strstr(faults_log_line(0), line));
    }
    engine_memory_remove(rig->ctx, rig->memory, MEMORY_BYTES);
    g_assert_cmpuint(faults.buffer_updates, ==, updates);
    eng_free(rig);
}

static void test_refused(void)
{
    check_refused(IORING_REGISTER_BUFFERS2, -EINVAL, 0, NULL);
    check_refused(IORING_REGISTER_BUFFERS_UPDATE, -EOPNOTSUPP, 1,
                  "cannot register guest memory");
    check_refused(IORING_REGISTER_BUFFERS_UPDATE, -ENOMEM, 1, "ulimit -l");
}

/* Of the thread, and what it may have back. Returns whether it had it. */
static bool set_ipc_lock(bool on)
{
    struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct caps[2];
    uint32_t bit = 1U << CAP_IPC_LOCK;
    bool had;

    g_assert_cmpint(syscall(SYS_capget, &head, caps), ==, 0);
    had = caps[0].effective & bit;
    caps[0].effective = on ? caps[0].effective | bit
                           : caps[0].effective & ~bit;
    g_assert_cmpint(syscall(SYS_capset, &head, caps), ==, 0);
    return had;
}

/* The real thing: the limit of locked memory, met and then raised. */
static void test_memlock(void)
{
    struct rlimit limit, low;
    EngineRig *rig;
    bool had_cap = set_ipc_lock(false);

    faults_reset();
    faults_capture_log();
    getrlimit(RLIMIT_MEMLOCK, &limit);
    low = (struct rlimit){ MIN(limit.rlim_cur, 1 << 20), limit.rlim_max };
    rig = rig_new();
    if (rig && can_register(rig)) {
        engine_memory_remove(rig->ctx, rig->memory, MEMORY_BYTES);
        setrlimit(RLIMIT_MEMLOCK, &low);
        engine_memory_add(rig->ctx, rig->memory, MEMORY_BYTES);
        g_assert_cmpuint(burst(rig, 10, ENGINE_READ), ==, 0);
        g_assert_cmpuint(burst(rig, 10, ENGINE_READ), ==, 0);
        g_assert_cmpuint(faults_log_lines(), ==, 1);
        g_assert_nonnull(strstr(faults_log_line(0), "ulimit -l"));
        engine_memory_remove(rig->ctx, rig->memory, MEMORY_BYTES);

        /* what is smaller than the limit, or no limit */
        setrlimit(RLIMIT_MEMLOCK, &limit);
        engine_memory_add(rig->ctx, rig->memory, 256 * 1024);
        g_assert_cmpuint(burst(rig, 4, ENGINE_READ), ==, 0);
        g_assert_cmpuint(burst(rig, 4, ENGINE_READ), ==, 4);
        engine_memory_remove(rig->ctx, rig->memory, 256 * 1024);
        eng_free(rig);
    }
    if (had_cap) {
        set_ipc_lock(true);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/io-uring-memory/each-request", test_each_request);
    g_test_add_func("/io-uring-memory/others", test_others);
    g_test_add_func("/io-uring-memory/counted", test_counted);
    g_test_add_func("/io-uring-memory/pieces", test_pieces);
    g_test_add_func("/io-uring-memory/regions", test_regions);
    g_test_add_func("/io-uring-memory/gone-before", test_gone_before);
    g_test_add_func("/io-uring-memory/refused", test_refused);
    g_test_add_func("/io-uring-memory/memlock", test_memlock);
    return g_test_run();
}
