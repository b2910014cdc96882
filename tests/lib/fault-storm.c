/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Faults by chance, from a seed. */
#include "fault-storm.h"

#include "block/engine/syscalls.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define CHUNK    4096 /* direct I/O can be cut there, whatever the disk */
#define DELAY_US 300

static struct {
    uint32_t seed;
    unsigned odds[FAULT__COUNT];  /* in 1000 */
    unsigned events_left;         /* io_setup() grants so many */
    int uring_err;
    unsigned uring_flags_refused;
    bool raging;                  /* atomic */
    uint64_t draws;               /* atomic: of random numbers */
    uint64_t injected[FAULT__COUNT]; /* atomic */
} plan;

static const char *const names[FAULT__COUNT] = {
    "submissions refused", "partial submissions", "short transfers", "EINTR",
    "EAGAIN", "EIO", "torn writes", "ENOSPC", "RWF_DSYNC refused", "delays",
    "ranges refused", "failed flushes", "engines or features refused",
    "threads refused",
};

/* --- chance --- */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ULL;
    return x ^ x >> 33;
}

static unsigned draw(unsigned n)
{
    uint64_t i = __atomic_fetch_add(&plan.draws, 1, __ATOMIC_RELAXED);

    return mix(((uint64_t)plan.seed << 32) + i) % n;
}

static void count(FaultKind kind)
{
    __atomic_fetch_add(&plan.injected[kind], 1, __ATOMIC_RELAXED);
}

/* Whether a fault strikes now; then it is counted. */
static bool strikes(FaultKind kind)
{
    if (!__atomic_load_n(&plan.raging, __ATOMIC_RELAXED) ||
        !plan.odds[kind] || draw(1000) >= plan.odds[kind]) {
        return false;
    }
    count(kind);
    return true;
}

/* --- submission --- */

/* How many of @n requests the kernel shall see, or a negative errno. */
static int admit(unsigned n)
{
    static const int errors[] = { -EAGAIN, -EBUSY, -ENOMEM, -EINTR };

    if (strikes(FAULT_REFUSED)) {
        return errors[draw(G_N_ELEMENTS(errors))];
    }
    if (n > 1 && strikes(FAULT_PARTIAL)) {
        return 1 + draw(n - 1);
    }
    return n;
}

static int storm_io_submit(io_context_t id, long n, struct iocb **iocbs)
{
    int most = admit(n);

    return most < 0 ? most : engine_syscalls_linux.io_submit(id, most, iocbs);
}

static int storm_uring_submit(struct io_uring *ring)
{
    unsigned n = ring->sq.sqe_tail - ring->sq.sqe_head;
    int most = n ? admit(n) : 0;

    if (most < 0) {
        return most;
    }
    ring->sq.sqe_tail -= n - most;
    return engine_syscalls_linux.uring_submit(ring);
}

/* --- set-up --- */

static int storm_io_setup(int events, io_context_t *id)
{
    if ((unsigned)events > plan.events_left) {
        count(FAULT_SETUP);
        return -EAGAIN;
    }
    return engine_syscalls_linux.io_setup(events, id);
}

static int storm_uring_init(unsigned entries, struct io_uring *ring,
                            struct io_uring_params *params)
{
    if (plan.uring_err || (params->flags & plan.uring_flags_refused)) {
        count(FAULT_SETUP);
        return plan.uring_err ? plan.uring_err : -EINVAL;
    }
    return engine_syscalls_linux.uring_init(entries, ring, params);
}

static int storm_thread_create(pthread_t *thread, const pthread_attr_t *attr,
                               void *(*fn)(void *), void *opaque)
{
    return strikes(FAULT_NO_THREAD) ? EAGAIN
               : engine_syscalls_linux.thread_create(thread, attr, fn, opaque);
}

/* --- transfers --- */

static void delay(void)
{
    if (strikes(FAULT_DELAY)) {
        g_usleep(draw(DELAY_US));
    }
}

/* Copies the head of @iov, as many bytes as a cut leaves; 0: it is too short
 * to be cut. */
static int cut(struct iovec *part, const struct iovec *iov, int niov)
{
    size_t bytes = 0, keep;
    int n = 0;

    for (int i = 0; i < niov; i++) {
        bytes += iov[i].iov_len;
    }
    if (bytes < 2 * CHUNK || niov > 64) {
        return 0;
    }
    keep = (1 + draw(bytes / CHUNK - 1)) * CHUNK;
    for (; keep; n++) {
        part[n] = iov[n];
        part[n].iov_len = MIN(part[n].iov_len, keep);
        keep -= part[n].iov_len;
    }
    return n;
}

static ssize_t storm_preadv2(int fd, const struct iovec *iov, int niov,
                             off_t offset, int flags)
{
    struct iovec part[64];
    int n = strikes(FAULT_SHORT) ? cut(part, iov, niov) : 0;

    delay();
    return engine_syscalls_linux.preadv2(fd, n ? part : iov, n ? n : niov,
                                         offset, flags);
}

static ssize_t storm_pwritev2(int fd, const struct iovec *iov, int niov,
                              off_t offset, int flags)
{
    bool torn = strikes(FAULT_TORN);
    struct iovec part[64];
    int n = torn || strikes(FAULT_SHORT) ? cut(part, iov, niov) : 0;
    ssize_t ret;

    delay();
    ret = engine_syscalls_linux.pwritev2(fd, n ? part : iov, n ? n : niov,
                                         offset, flags);
    if (torn) {
        errno = EIO;
        return -1;
    }
    return ret;
}

static int storm_fdatasync(int fd)
{
    delay();
    return engine_syscalls_linux.fdatasync(fd);
}

static ssize_t fail_sync(ssize_t res)
{
    if (strikes(FAULT_FLUSH)) {
        return -EIO;
    }
    return strikes(FAULT_EINTR) ? -EINTR : res;
}

/* The kernel did what it was asked to, and says that it did not. */
static ssize_t storm_result(const EngineRequest *req, ssize_t res)
{
    bool writes = req->op == ENGINE_WRITE;

    if (req->op == ENGINE_FDSYNC ||
        (req->sync_after && req->done == req->bytes)) {
        return fail_sync(res);
    }
    if (strikes(FAULT_EIO)) {
        return -EIO;
    }
    if (strikes(FAULT_EINTR)) {
        return -EINTR;
    }
    if (strikes(FAULT_EAGAIN)) {
        return -EAGAIN;
    }
    if (writes && strikes(FAULT_ENOSPC)) {
        return -ENOSPC;
    }
    if (writes && (req->flags & ENGINE_FUA) && !req->sync_after &&
        strikes(FAULT_NO_DSYNC)) {
        return -EOPNOTSUPP;
    }
    if (res >= 2 * CHUNK && strikes(FAULT_SHORT)) {
        return (ssize_t)(1 + draw(res / CHUNK - 1)) * CHUNK;
    }
    return res;
}

int fault_storm_range(void)
{
    static const int errors[] = { EIO, ENOSPC, EINTR, EINTR, EINTR };

    delay();
    return strikes(FAULT_RANGE) ? errors[draw(G_N_ELEMENTS(errors))] : 0;
}

/* --- the plan --- */

static const EngineSyscalls storm_syscalls = {
    .io_setup = storm_io_setup,
    .io_submit = storm_io_submit,
    .uring_init = storm_uring_init,
    .uring_submit = storm_uring_submit,
    .preadv2 = storm_preadv2,
    .pwritev2 = storm_pwritev2,
    .fdatasync = storm_fdatasync,
    .thread_create = storm_thread_create,
    .result = storm_result,
};

/* What the kernel refuses before there is any I/O. */
static void plan_setup(void)
{
    static const unsigned events[] = { 0, 16, 128, 128, UINT_MAX, UINT_MAX,
                                       UINT_MAX, UINT_MAX };
    static const int errors[] = { -EPERM, -ENOSYS, -ENOMEM, 0, 0, 0, 0, 0, 0,
                                  0, 0, 0 };

    plan.events_left = events[draw(G_N_ELEMENTS(events))];
    plan.uring_err = errors[draw(G_N_ELEMENTS(errors))];
    plan.uring_flags_refused =
        (draw(4) == 0 ? IORING_SETUP_SINGLE_ISSUER : 0) |
        (draw(4) == 0 ? IORING_SETUP_DEFER_TASKRUN : 0) |
        (draw(4) == 0 ? IORING_SETUP_CQSIZE : 0);
}

void fault_storm_plan(uint32_t seed)
{
    static EngineSyscalls table;

    plan.seed = seed;
    plan.draws = 0;
    plan.raging = false;
    for (unsigned kind = 0; kind < FAULT__COUNT; kind++) {
        plan.odds[kind] = draw(2) ? 1 + draw(60) : 0;
    }
    /* fatal to all flushes after it: not in every run */
    plan.odds[FAULT_FLUSH] = draw(3) ? 0 : 30;
    plan.odds[FAULT_NO_THREAD] = draw(2) ? 500 : 0;
    plan_setup();
    table = storm_syscalls;
    table.futex_wake = engine_syscalls_linux.futex_wake;
    table.clock_ns = engine_syscalls_linux.clock_ns;
    table.uring_register = engine_syscalls_linux.uring_register;
    engine_syscalls = &table;
}

void fault_storm_set_odds(FaultKind kind, unsigned in_1000)
{
    plan.odds[kind] = in_1000;
}

void fault_storm_begin(void)
{
    __atomic_store_n(&plan.raging, true, __ATOMIC_RELAXED);
}

void fault_storm_end(void)
{
    __atomic_store_n(&plan.raging, false, __ATOMIC_RELAXED);
}

bool fault_storm_has(FaultKind kind)
{
    return plan.odds[kind] > 0;
}

uint64_t fault_storm_injected(FaultKind kind)
{
    return __atomic_load_n(&plan.injected[kind], __ATOMIC_RELAXED);
}

const char *fault_storm_name(FaultKind kind)
{
    return names[kind];
}
