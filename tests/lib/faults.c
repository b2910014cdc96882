/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fault injection for engines: see faults.h.
 */
#include "tests/lib/faults.h"

#include <errno.h>

#include "block/log.h"

Faults faults;

static GPtrArray *log_lines;

static void count(unsigned *counter)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static int fault_io_setup(int events, io_context_t *id)
{
    faults.setup_calls++;
    if (events > faults.setup_events_left) {
        return -EAGAIN;
    }
    return engine_syscalls_linux.io_setup(events, id);
}

static int ask_submit(unsigned n)
{
    unsigned call = __atomic_fetch_add(&faults.submit_calls, 1,
                                       __ATOMIC_RELAXED);

    return faults.submit ? faults.submit(call, n) : (int)n;
}

/* io_submit() stops before a request that it refuses, and says so only when
 * that is the first. */
static bool refuses(const struct iocb *iocb)
{
    bool fdsync = iocb->aio_lio_opcode == IO_CMD_FDSYNC;

    return (faults.refuse_aio_fdsync && fdsync) ||
           (faults.refuse_aio_flags && !fdsync && iocb->aio_rw_flags);
}

static int fault_io_submit(io_context_t id, long n, struct iocb **iocbs)
{
    int most = ask_submit(n);
    int ok = 0;

    if (most <= 0) {
        return most;
    }
    while (ok < most && !refuses(iocbs[ok])) {
        ok++;
    }
    return ok ? engine_syscalls_linux.io_submit(id, ok, iocbs) : -EINVAL;
}

static int fault_uring_init(unsigned entries, struct io_uring *ring,
                            struct io_uring_params *params)
{
    faults.setup_calls++;
    if (faults.uring_init_err) {
        return faults.uring_init_err;
    }
    if (params->flags & faults.uring_flags_refused) {
        return -EINVAL;
    }
    faults.uring = ring;
    return engine_syscalls_linux.uring_init(entries, ring, params);
}

static int fault_uring_submit(struct io_uring *ring)
{
    unsigned n = ring->sq.sqe_tail - ring->sq.sqe_head;
    int most = ask_submit(n);

    if (most <= 0) {
        return most;
    }
    ring->sq.sqe_tail -= n - most;
    return engine_syscalls_linux.uring_submit(ring);
}

static int fault_uring_register(struct io_uring *ring, unsigned op, void *arg,
                                unsigned n)
{
    faults.buffer_updates += op == IORING_REGISTER_BUFFERS_UPDATE;
    if (faults.uring_register_err && faults.uring_register_refused == (int)op) {
        return faults.uring_register_err;
    }
    return engine_syscalls_linux.uring_register(ring, op, arg, n);
}

static ssize_t fault_preadv2(int fd, const struct iovec *iov, int niov,
                             off_t offset, int flags)
{
    count(flags & RWF_NOWAIT ? &faults.nowait_reads : &faults.preads);
    return engine_syscalls_linux.preadv2(fd, iov, niov, offset, flags);
}

static ssize_t fault_pwritev2(int fd, const struct iovec *iov, int niov,
                              off_t offset, int flags)
{
    count(flags & RWF_DSYNC ? &faults.dsync_writes : &faults.pwrites);
    return engine_syscalls_linux.pwritev2(fd, iov, niov, offset, flags);
}

static int fault_fdatasync(int fd)
{
    count(&faults.fdatasyncs);
    return engine_syscalls_linux.fdatasync(fd);
}

static int fault_thread_create(pthread_t *thread, const pthread_attr_t *attr,
                               void *(*fn)(void *), void *opaque)
{
    if (faults.threads_made >= faults.threads_left) {
        return EAGAIN;
    }
    faults.threads_made++;
    return engine_syscalls_linux.thread_create(thread, attr, fn, opaque);
}

static int fault_futex_wake(uint32_t *word, int n)
{
    faults.futex_wakes++;
    return engine_syscalls_linux.futex_wake(word, n);
}

static ssize_t fault_result(const EngineRequest *req, ssize_t res)
{
    return faults.result ? faults.result(req, res) : res;
}

static const EngineSyscalls fault_syscalls = {
    .io_setup = fault_io_setup,
    .io_submit = fault_io_submit,
    .uring_init = fault_uring_init,
    .uring_submit = fault_uring_submit,
    .uring_register = fault_uring_register,
    .preadv2 = fault_preadv2,
    .pwritev2 = fault_pwritev2,
    .fdatasync = fault_fdatasync,
    .thread_create = fault_thread_create,
    .futex_wake = fault_futex_wake,
    .clock_ns = aio_clock_ns,
    .result = fault_result,
};

void faults_reset(void)
{
    faults = (Faults) {
        .setup_events_left = INT_MAX,
        .threads_left = UINT_MAX,
    };
    engine_syscalls = &fault_syscalls;
}

static void keep_line(LogLevel level, const char *line, void *opaque)
{
    g_ptr_array_add(log_lines, g_strdup(line));
}

void faults_capture_log(void)
{
    if (log_lines) {
        g_ptr_array_unref(log_lines);
    }
    log_lines = g_ptr_array_new_with_free_func(g_free);
    log_set_sink(keep_line, NULL);
}

unsigned faults_log_lines(void)
{
    return log_lines->len;
}

const char *faults_log_line(unsigned i)
{
    return g_ptr_array_index(log_lines, i);
}
