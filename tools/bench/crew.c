/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads over workers: thread k of T steps the workers k, k + T, k + 2T ...
 * in turn. One that has a single worker lets it wait; one that has several
 * only looks.
 */
#include "crew.h"

#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SLICE_NS (BENCH_NS / 20) /* how long a failure may go unnoticed */

typedef struct Share {
    BenchWorker *workers;
    unsigned first, stride, n_all;
} Share;

void bench_crew_init(BenchCrew *crew, const BenchJob *job)
{
    *crew = (BenchCrew) { .job = job };
    g_mutex_init(&crew->lock);
    crew->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    crew->threads = g_ptr_array_new();
}

void bench_crew_fini(BenchCrew *crew)
{
    close(crew->done_fd);
    g_mutex_clear(&crew->lock);
    g_ptr_array_unref(crew->threads);
}

void bench_crew_fail(BenchCrew *crew, GError *error)
{
    g_mutex_lock(&crew->lock);
    if (crew->error) {
        g_error_free(error);
    } else {
        crew->error = error;
    }
    g_mutex_unlock(&crew->lock);
    __atomic_store_n(&crew->failed, 1, __ATOMIC_RELEASE);
}

void bench_crew_count_down(BenchCrew *crew, int *counter)
{
    uint64_t one = 1;

    __atomic_sub_fetch(counter, 1, __ATOMIC_RELEASE);
    if (write(crew->done_fd, &one, sizeof(one)) < 0) {
        g_assert_not_reached(); /* it counts to 2^64 */
    }
}

/* The workers of a share that still run, in @list. Returns how many. */
static unsigned begin_share(const Share *share, BenchWorker **list)
{
    unsigned n = 0;

    for (unsigned i = share->first; i < share->n_all; i += share->stride) {
        list[n++] = &share->workers[i];
        bench_worker_begin(&share->workers[i]);
    }
    return n;
}

static void *share_main(void *opaque)
{
    g_autofree Share *share = opaque;
    g_autofree BenchWorker **list = g_new(BenchWorker *, share->n_all);
    unsigned n = begin_share(share, list);
    int64_t timeout_ns = n == 1 ? SLICE_NS : 0;

    while (n > 0) {
        for (unsigned i = 0; i < n;) {
            if (bench_worker_step(list[i], timeout_ns)) {
                i++;
            } else {
                list[i] = list[--n];
            }
        }
    }
    return NULL;
}

static unsigned count_cpus(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

void bench_crew_start(BenchCrew *crew, BenchWorker *workers, unsigned n)
{
    bool spins = crew->job->poll && !crew->job->bare;
    unsigned n_threads = spins ? MIN(n, count_cpus()) : n;

    crew->n_running = crew->n_alive = n;
    for (unsigned i = 0; i < n_threads; i++) {
        Share *share = g_new(Share, 1);

        *share = (Share) { workers, i, n_threads, n };
        g_ptr_array_add(crew->threads,
                        g_thread_new("guest", share_main, share));
    }
}

void bench_crew_join(BenchCrew *crew)
{
    for (unsigned i = 0; i < crew->threads->len; i++) {
        g_thread_join(crew->threads->pdata[i]);
    }
    g_ptr_array_set_size(crew->threads, 0);
}
