/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The main thread's part of a run: starts what is needed, sets the workers'
 * phases, reads counters at their borders, and watches over the server.
 */
#include "run.h"
#include "cpus.h"
#include "crew.h"
#include "server.h"
#include "syscalls.h"
#include "block/stats.h"

#include <errno.h>
#include <gio/gio.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PROGRESS_NS   (BENCH_NS / 2)
#define SYSCALLS_NS   (BENCH_NS * 3 / 10)

typedef struct Run {
    const BenchJob *job;
    const BenchTarget *target;
    const BenchOptions *options;
    BenchServer *server;
    BenchDisk **disks;         /* one for each export */
    unsigned n_disks;
    BenchCrew crew;
    BenchWorker *workers;
    unsigned n_workers;        /* initialised */
    int server_pid;            /* <= 0: none */
    int64_t start_ns;
} Run;

/* Everything that is read at once, before and after. */
typedef struct Snapshot {
    int64_t now_ns;
    uint64_t requests, submits, kicks, interrupts;
    ProcessFigures server, client;
    DiskFigures disk;
    bool has_disk;
} Snapshot;

uint64_t bench_result_requests(const BenchResult *result)
{
    return result->latency[0].count + result->latency[1].count;
}

static void sum_completed(const Run *run, uint64_t completed[2])
{
    completed[0] = completed[1] = 0;
    for (unsigned i = 0; i < run->n_workers; i++) {
        completed[0] += stats_read(&run->workers[i].completed[0]);
        completed[1] += stats_read(&run->workers[i].completed[1]);
    }
}

static bool snapshot(const Run *run, Snapshot *s, GError **error)
{
    uint64_t completed[2];

    memset(s, 0, sizeof(*s));
    if (run->server_pid > 0 &&
        !process_figures_read(run->server_pid, &s->server, error)) {
        return false;
    }
    if (!process_figures_read(getpid(), &s->client, error)) {
        return false;
    }
    if (run->target->filename) {
        s->has_disk = disk_figures_read(run->target->filename, &s->disk);
    }
    sum_completed(run, completed);
    s->requests = completed[0] + completed[1];
    for (unsigned i = 0; i < run->n_workers; i++) {
        const BenchQueue *queue = run->workers[i].queue;

        s->submits += stats_read(&queue->submits);
        s->kicks += stats_read(&queue->kicks);
        s->interrupts += stats_read(&queue->interrupts);
    }
    s->now_ns = bench_now_ns();
    return true;
}

static void set_phase(Run *run, BenchPhase phase)
{
    __atomic_store_n(&run->crew.phase, phase, __ATOMIC_RELAXED);
}

static bool has_failed(const Run *run)
{
    return __atomic_load_n(&run->crew.failed, __ATOMIC_ACQUIRE);
}

static void show_progress(const Run *run, const char *phase)
{
    const BenchJob *job = run->job;
    BenchProgress progress = {
        .now_ns = bench_now_ns() - run->start_ns,
        .end_ns = job->runtime_ns ? job->runtime_ns + job->ramp_ns : 0,
        .phase = phase,
    };

    if (run->options->progress_cb) {
        sum_completed(run, progress.completed);
        run->options->progress_cb(&progress, run->options->opaque);
    }
}

static void note_server_gone(Run *run)
{
    GError *error = NULL;

    /* It may close the socket a moment before it is dead. */
    for (unsigned i = 0; run->server && i < 100; i++) {
        if (bench_server_is_dead(run->server, &error)) {
            break;
        }
        g_usleep(1000);
    }
    if (!error) {
        error = g_error_new(G_IO_ERROR, G_IO_ERROR_CLOSED,
                            "the server closed the connection");
    }
    bench_crew_fail(&run->crew, error);
}

/* What wakes the main thread: a worker's end, a server's. */
static struct pollfd *make_pollfds(const Run *run)
{
    struct pollfd *fds = g_new0(struct pollfd, run->n_disks + 1);

    fds[0] = (struct pollfd) { .fd = run->crew.done_fd, .events = POLLIN };
    for (unsigned i = 0; i < run->n_disks; i++) {
        fds[i + 1] = (struct pollfd) { .fd = run->disks[i]->watch_fd,
                                       .events = POLLRDHUP };
    }
    return fds;
}

static void look_at(Run *run, struct pollfd *fds)
{
    uint64_t ended;

    if (fds[0].revents &&
        read(run->crew.done_fd, &ended, sizeof(ended)) < 0) {
        return; /* somebody else has seen it; it is only there to wake us */
    }
    for (unsigned i = 1; i <= run->n_disks; i++) {
        if (fds[i].revents && !has_failed(run)) {
            note_server_gone(run);
        }
        if (fds[i].revents) {
            fds[i].fd = -1;
        }
    }
}

/* Waits until @end_ns (0: for ever), or until *@counter of the crew is 0,
 * which a failure sees to as well. */
static void watch(Run *run, int64_t end_ns, const int *counter,
                  const char *phase)
{
    g_autofree struct pollfd *fds = make_pollfds(run);

    while (__atomic_load_n(counter, __ATOMIC_ACQUIRE) > 0) {
        int64_t now = bench_now_ns();
        int64_t wait = end_ns ? MIN(PROGRESS_NS, end_ns - now) : PROGRESS_NS;
        struct timespec ts = { .tv_sec = 0, .tv_nsec = wait };

        if (wait <= 0) {
            return;
        }
        if (ppoll(fds, run->n_disks + 1, &ts, NULL) > 0) {
            look_at(run, fds);
        }
        show_progress(run, phase);
    }
}

static double per_request(uint64_t n, uint64_t requests)
{
    return requests ? (double)n / requests : 0;
}

static void fill_disk(BenchResult *result, const Snapshot *a,
                      const Snapshot *b)
{
    result->has_disk = a->has_disk && b->has_disk;
    result->disk = b->disk;
    result->disk.reads -= a->disk.reads;
    result->disk.reads_merged -= a->disk.reads_merged;
    result->disk.read_sectors -= a->disk.read_sectors;
    result->disk.writes -= a->disk.writes;
    result->disk.writes_merged -= a->disk.writes_merged;
    result->disk.write_sectors -= a->disk.write_sectors;
    result->disk.busy_ms -= a->disk.busy_ms;
}

static void fill_process(ProcessFigures *figures, const ProcessFigures *a,
                         const ProcessFigures *b)
{
    *figures = *b;
    figures->cpu_ns -= a->cpu_ns;
    figures->user_ticks -= a->user_ticks;
    figures->system_ticks -= a->system_ticks;
    /* threads that ended took theirs along */
    figures->switches -= MIN(a->switches, b->switches);
}

static void fill_differences(const Run *run, BenchResult *result,
                             const Snapshot *a, const Snapshot *b)
{
    uint64_t requests = b->requests - a->requests;

    result->elapsed_ns = b->now_ns - a->now_ns;
    result->submits = per_request(b->submits - a->submits, requests);
    result->kicks = per_request(b->kicks - a->kicks, requests);
    result->interrupts = per_request(b->interrupts - a->interrupts, requests);
    result->client_cpu_ns = b->client.cpu_ns - a->client.cpu_ns;
    result->has_server = run->server_pid > 0 || run->job->bare;
    result->server_pid = run->server_pid;
    if (run->server_pid > 0) {
        fill_process(&result->server, &a->server, &b->server);
    } else {
        /* bare: we are the server */
        fill_process(&result->server, &a->client, &b->client);
    }
    fill_disk(result, a, b);
}

/* System calls a request, in a short time of its own. */
static double count_syscalls(Run *run, int64_t time_ns)
{
    SyscallCounter *counter = syscall_counter_new(
        run->job->bare ? getpid() : run->server_pid);
    uint64_t before[2], after[2], calls;

    if (!counter) {
        return -1;
    }
    sum_completed(run, before);
    calls = syscall_counter_read(counter);
    watch(run, time_ns ? bench_now_ns() + time_ns : 0, &run->crew.n_running,
          "system calls");
    calls = syscall_counter_read(counter) - calls;
    sum_completed(run, after);
    syscall_counter_free(counter);
    return after[0] + after[1] > before[0] + before[1]
               ? per_request(calls, after[0] + after[1] - before[0] -
                                        before[1])
               : -1;
}

static bool can_count(const Run *run)
{
    return run->options->syscalls != BENCH_OFF &&
           (run->server_pid > 0 || run->job->bare);
}

static double watch_idle(Run *run, GError **error)
{
    ProcessFigures before, after;
    int64_t start;

    if (!run->options->idle_ns || run->server_pid <= 0) {
        return -1;
    }
    show_progress(run, "idle");
    if (!process_figures_read(run->server_pid, &before, error)) {
        return -1;
    }
    start = bench_now_ns();
    g_usleep(run->options->idle_ns / 1000);
    if (!process_figures_read(run->server_pid, &after, error)) {
        return -1;
    }
    return (double)(after.cpu_ns - before.cpu_ns) / (bench_now_ns() - start);
}

static void start_workers(Run *run)
{
    run->start_ns = bench_now_ns();
    bench_crew_start(&run->crew, run->workers, run->n_workers);
}

/* Without a ramp all requests count, from the very first one on. */
static bool begin(Run *run, Snapshot *before, GError **error)
{
    const BenchJob *job = run->job;

    if (job->ramp_ns) {
        set_phase(run, BENCH_PHASE_RAMP);
        start_workers(run);
        watch(run, run->start_ns + job->ramp_ns, &run->crew.n_running,
              "ramp");
        if (!snapshot(run, before, error)) {
            return false;
        }
        set_phase(run, BENCH_PHASE_MEASURE);
    } else {
        set_phase(run, BENCH_PHASE_MEASURE);
        if (!snapshot(run, before, error)) {
            return false;
        }
        start_workers(run);
    }
    return true;
}

static bool measure(Run *run, BenchResult *result, GError **error)
{
    const BenchJob *job = run->job;
    Snapshot a, b;

    if (!begin(run, &a, error)) {
        return false;
    }
    if (can_count(run) && run->options->syscalls == BENCH_ON) {
        result->syscalls = count_syscalls(run, job->runtime_ns);
    } else {
        watch(run, job->runtime_ns ? a.now_ns + job->runtime_ns : 0,
              &run->crew.n_running, "run");
    }
    set_phase(run, BENCH_PHASE_AFTER);
    if (has_failed(run) || !snapshot(run, &b, error)) {
        return false;
    }
    fill_differences(run, result, &a, &b);
    if (can_count(run) && result->syscalls < 0 && job->runtime_ns) {
        result->syscalls = count_syscalls(run, SYSCALLS_NS);
    }
    return true;
}

static void fill_workers(const Run *run, BenchResult *result)
{
    histogram_reset(&result->latency[0]);
    histogram_reset(&result->latency[1]);
    for (unsigned i = 0; i < run->n_workers; i++) {
        const BenchWorker *w = &run->workers[i];

        histogram_merge(&result->latency[0], &w->histograms[0]);
        histogram_merge(&result->latency[1], &w->histograms[1]);
        result->verified += w->verified;
    }
}

/* The crew's error, with the oldest request in flight if it names none. */
static void take_error(Run *run, GError **error)
{
    const BenchIo *oldest = NULL;
    unsigned queue = 0;

    g_propagate_error(error, run->crew.error);
    for (unsigned i = 0; i < run->n_workers; i++) {
        const BenchIo *io = bench_worker_oldest(&run->workers[i]);

        if (io && (!oldest || io->start_ns < oldest->start_ns)) {
            oldest = io;
            queue = i;
        }
    }
    if (oldest && error && *error && !strstr((*error)->message, "queue ")) {
        g_autofree char *what = bench_io_describe(queue, oldest);
        g_autofree char *text = g_steal_pointer(&(*error)->message);

        (*error)->message = g_strdup_printf("%s, with %s in flight", text,
                                            what);
    }
}

static bool stop_disks(Run *run, GError **error)
{
    for (unsigned i = 0; i < run->n_disks; i++) {
        BenchDisk *disk = run->disks[i];

        if (disk->stop && !disk->stop(disk, error)) {
            return false;
        }
    }
    return true;
}

/* Workers run from here to the return. */
static bool run_workers(Run *run, BenchResult *result, GError **error)
{
    GError *idle_error = NULL;
    bool good;

    good = measure(run, result, error);
    set_phase(run, BENCH_PHASE_STOP);
    watch(run, 0, &run->crew.n_alive, "finish");
    bench_crew_join(&run->crew);
    if (has_failed(run)) {
        g_clear_error(error);
        take_error(run, error);
        return false;
    }
    if (!good) {
        return false;
    }
    fill_workers(run, result);
    result->idle_cpu = watch_idle(run, &idle_error);
    if (idle_error) {
        g_propagate_error(error, idle_error);
        return false;
    }
    return stop_disks(run, error);
}

/* When the server has died that is what is wrong. */
static void explain(Run *run, GError **error)
{
    GError *dead = NULL;

    if (run->server && bench_server_is_dead(run->server, &dead)) {
        g_clear_error(error);
        g_propagate_error(error, dead);
    }
}

static bool start_server(Run *run, GError **error)
{
    const BenchTarget *target = run->target;
    BenchServerConfig config = {
        .command = target->command,
        .export = target->export,
        .n_exports = target->exports,
        .images = target->images,
        .cpus = target->server_cpus,
    };

    if (!run->job->bare && target->command) {
        run->server = bench_server_start(&config, error);
        return run->server != NULL;
    }
    return true;
}

/* A supervisor keeps the socket of a server that crashed, and so does a server
 * that has taken over: whose it is, the kernel does not say. */
static int find_server(const Run *run)
{
    pid_t pid = run->disks[0]->server_pid;

    if (pid > 0 && kill(pid, 0) < 0 && errno == ESRCH) {
        fprintf(stderr, "vblk-bench: warning: process %d, which made the "
                "socket, has ended: figures of the server are left out; "
                "--pid=N says whose they are\n", (int)pid);
        return -1;
    }
    return pid;
}

static bool open_disks(Run *run, GError **error)
{
    const BenchTarget *target = run->target;
    unsigned n = MAX(target->exports, 1);

    run->disks = g_new0(BenchDisk *, n);
    if (run->server &&
        !bench_server_wait(run->server, run->job->timeout_ns / 1000000,
                           error)) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        const char *socket = run->server ? bench_server_socket(run->server, i)
                                         : target->socket;
        const char *file = target->images ? target->images[i]
                                          : target->filename;

        run->disks[i] = run->job->bare
                            ? bench_disk_open_bare(run->job, file, error)
                            : bench_disk_open_guest(run->job, socket, error);
        if (!run->disks[i]) {
            explain(run, error);
            return false;
        }
        run->n_disks++;
    }
    run->server_pid = run->server ? bench_server_pid(run->server)
                    : target->pid ? target->pid : find_server(run);
    return true;
}

static bool make_workers(Run *run, GError **error)
{
    unsigned n = run->n_disks * run->job->numjobs;

    if (bench_job_writes(run->job) && run->disks[0]->read_only) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_READ_ONLY,
                    "rw=%s: the disk is read-only",
                    bench_job_rw_name(run->job));
        return false;
    }
    run->workers = g_new0(BenchWorker, n);
    for (unsigned i = 0; i < n; i++) {
        BenchDisk *disk = run->disks[i / run->job->numjobs];

        run->n_workers++;
        if (!bench_worker_init(&run->workers[i], &run->crew, i, disk,
                               i % run->job->numjobs, error)) {
            return false;
        }
    }
    return true;
}

static void close_disks(Run *run)
{
    for (unsigned i = 0; i < run->n_disks; i++) {
        run->disks[i]->close(run->disks[i]);
    }
    run->n_disks = 0;
    g_clear_pointer(&run->disks, g_free);
}

static void clean_up(Run *run)
{
    for (unsigned i = 0; i < run->n_workers; i++) {
        bench_worker_fini(&run->workers[i]);
    }
    g_free(run->workers);
    close_disks(run);
    bench_server_free(run->server);
    bench_crew_fini(&run->crew);
}

BenchResult *bench_run(const BenchJob *job, const BenchTarget *target,
                       const BenchOptions *options, GError **error)
{
    g_autoptr(BenchResult) result = g_new0(BenchResult, 1);
    Run run = { .job = job, .target = target, .options = options,
                .server_pid = -1 };
    cpu_set_t before;
    bool good;

    sched_getaffinity(0, sizeof(before), &before);
    bench_crew_init(&run.crew, job);
    result->syscalls = result->idle_cpu = -1;
    result->bytes = job->bs;
    good = start_server(&run, error) &&
           (!job->cpus_allowed || bench_cpus_apply(job->cpus_allowed, error)) &&
           open_disks(&run, error) && make_workers(&run, error) &&
           run_workers(&run, result, error);
    if (good) {
        result->about = g_strdup(run.disks[0]->about);
        close_disks(&run);
        result->untidy = run.server ? bench_server_stop(run.server) : NULL;
    }
    clean_up(&run);
    sched_setaffinity(0, sizeof(before), &before);
    return good ? g_steal_pointer(&result) : NULL;
}

void bench_result_free(BenchResult *result)
{
    if (result) {
        g_free(result->about);
        g_free(result->untidy);
        g_free(result);
    }
}
