/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bursts of requests from a guest through the device, the node and an engine,
 * for callgrind to count the instructions of: guard.py runs it. The calling
 * thread is guest and home thread in turn.
 *
 * How it works: only what runs inside aio_poll() is collected, and in there
 * neither system calls nor what stands in for them. A count depends on how
 * completions are batched, and that on the moods of disk and scheduler; so
 * the home thread goes on only when the whole burst is there: the engines'
 * system calls are replaced by such that wait for it. The pool has one worker,
 * which does a burst while the home thread waits outside the loop, and whose
 * reads take as long as those of a disk. What is left of chance are a worker's
 * last instructions before it sleeps.
 */
#include "block/engine/syscalls.h"
#include "block/engine/thread-pool-internal.h"
#include "tests/lib/blk-rig.h"
#include "tests/lib/guest-blk.h"
#include "tests/lib/qcow2-image.h"

#include <errno.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#ifdef CONFIG_VALGRIND_H
#include <valgrind/callgrind.h>
#define CAN_COUNT 1
#else
#define CAN_COUNT 0
#define CALLGRIND_TOGGLE_COLLECT
#define CALLGRIND_ZERO_STATS
#endif

#define DEPTH_MAX   32
#define BLOCK       4096
#define IMAGE_BYTES (4 << 20)
#define WARM_UP     100
#define BURSTS      100
#define DISK_US     50
#define POLL_NS     INT64_C(1000000000)

typedef struct CostCase {
    const char *name;
    const char *engine; /* NULL: null-co */
    unsigned depth;
    bool sequential;    /* merged by the device */
    bool worker;        /* count the worker instead of the home thread */
    bool poll;          /* the loop polls: no kick, no sleep */
    bool qcow2;         /* an image with all clusters allocated */
    bool fixed;         /* register-buffers=on */
} CostCase;

static const CostCase cases[] = {
    { "null", NULL, 32, false },
    { "null-polling", NULL, 32, false, .poll = true },
    { "null-depth-1", NULL, 1, false },
    { "threads", "threads", 32, false },
    { "threads-worker", "threads", 32, false, .worker = true },
    { "native", "native", 32, false },
    { "native-sequential", "native", 32, true },
    { "native-depth-1", "native", 1, false },
    { "native-polling", "native", 32, false, .poll = true },
    { "native-qcow2", "native", 32, false, .qcow2 = true },
    { "io_uring", "io_uring", 32, false },
    { "io_uring-polling", "io_uring", 32, false, .poll = true },
    { "io_uring-fixed", "io_uring", 32, false, .fixed = true },
};

static EngineSyscalls syscalls;
static bool count_worker;

/* Each thread starts with collecting off, and has a switch of its own. */
static void toggle_home(void)
{
    if (!count_worker) {
        CALLGRIND_TOGGLE_COLLECT;
    }
}

static void toggle_worker(void)
{
    if (count_worker) {
        CALLGRIND_TOGGLE_COLLECT;
    }
}
static sem_t may_read; /* one for each request that a worker may do */

/* --- System calls that return when all is done, and do not count --- */

/* fs/aio.c's, as block/engine/linux-aio.c knows it. */
typedef struct AioRingHead {
    uint32_t id, nr, head, tail;
} AioRingHead;

static int submit_and_wait(io_context_t id, long n, struct iocb **iocbs)
{
    const AioRingHead *ring = (const AioRingHead *)id;
    uint32_t want = (ring->tail + n) % ring->nr;
    int ret;

    toggle_home();
    ret = engine_syscalls_linux.io_submit(id, n, iocbs);
    g_assert_cmpint(ret, ==, n);
    while (__atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE) != want) {
        sched_yield();
    }
    toggle_home();
    return ret;
}

static int uring_submit_and_wait(struct io_uring *ring)
{
    struct io_uring_cqe *cqe;
    int ret;

    toggle_home();
    ret = engine_syscalls_linux.uring_submit(ring);
    g_assert_cmpint(ret, >, 0);
    g_assert_cmpint(io_uring_wait_cqe_nr(ring, &cqe, ret), ==, 0);
    toggle_home();
    return ret;
}

static ssize_t read_like_a_disk(int fd, const struct iovec *iov, int niov,
                                off_t offset, int flags)
{
    ssize_t ret;

    toggle_worker();
    while (sem_wait(&may_read) != 0) {
        g_assert_cmpint(errno, ==, EINTR);
    }
    g_usleep(DISK_US);
    ret = engine_syscalls_linux.preadv2(fd, iov, niov, offset, flags);
    toggle_worker();
    return ret;
}

static void *worker_fn(void *opaque)
{
    toggle_worker();
    return thread_pool_worker(opaque);
}

static int create_worker(pthread_t *thread, const pthread_attr_t *attr,
                         void *(*fn)(void *), void *opaque)
{
    g_assert_true(fn == thread_pool_worker);
    return engine_syscalls_linux.thread_create(thread, attr, worker_fn,
                                               opaque);
}

static int wake_uncounted(uint32_t *word, int n)
{
    int ret;

    toggle_home();
    ret = engine_syscalls_linux.futex_wake(word, n);
    toggle_home();
    return ret;
}

static void replace_syscalls(void)
{
    syscalls = engine_syscalls_linux;
    syscalls.io_submit = submit_and_wait;
    syscalls.uring_submit = uring_submit_and_wait;
    syscalls.preadv2 = read_like_a_disk;
    syscalls.thread_create = create_worker;
    syscalls.futex_wake = wake_uncounted;
    engine_syscalls = &syscalls;
    g_assert_cmpint(sem_init(&may_read, 0, 0), ==, 0);
}

/* The worker does the burst; it has told of everything when it sleeps. */
static void let_worker_work(AioContext *ctx, unsigned n)
{
    ThreadPool *pool = thread_pool_get(ctx);

    if (!pool->outstanding) {
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        sem_post(&may_read);
    }
    while (work_ring_count(&pool->ring) ||
           __atomic_load_n(&pool->sleepers, __ATOMIC_SEQ_CST) <
               thread_pool_workers(pool)) {
        sched_yield();
    }
}

/* --- The guest --- */

typedef struct Bench {
    const CostCase *cost;
    TestImage *image;
    BlkRig *rig;
    GuestBlk *guest;
    GuestReq *reqs[DEPTH_MAX];
} Bench;

static void bench_burst(Bench *bench)
{
    AioContext *ctx = blk_rig_pump(bench->rig);
    bool threads = g_strcmp0(bench->cost->engine, "threads") == 0;
    unsigned depth = bench->cost->depth;
    unsigned done = 0;

    virtio_ring_enable_call_after(guest_blk_ring(bench->guest, 0), depth);
    for (unsigned i = 0; i < depth; i++) {
        g_assert_true(guest_blk_submit(bench->guest, 0, bench->reqs[i]));
    }
    guest_blk_kick(bench->guest, 0);
    while (done < depth) {
        toggle_home();
        aio_poll(ctx, true);
        toggle_home();
        if (threads) {
            let_worker_work(ctx, depth);
        }
        done += guest_blk_reap(bench->guest, 0);
    }
    guest_blk_take_calls(bench->guest, 0);
}

/* An engine that the kernel refuses is replaced by threads. */
static bool engine_is_there(const char *name, AioContext *ctx)
{
    EngineType type;

    return !name || (engine_type_parse(name, &type) &&
                     engine_type(engine_get(ctx, type)) == type);
}

static bool bench_make_image(Bench *bench)
{
    if (!bench->cost->qcow2) {
        bench->image = test_image_new(IMAGE_BYTES);
        return true;
    }
    if (!test_program_present("qemu-img")) {
        fprintf(stderr, "there is no qemu-img to make an image\n");
        return false;
    }
    bench->image = qcow2_image_new("preallocation=full", "4M");
    return true;
}

static char *bench_blockdev(const Bench *bench)
{
    const CostCase *cost = bench->cost;

    if (!cost->engine) {
        return g_strdup("driver=null-co,node-name=n0,size=4M");
    }
    return g_strdup_printf(cost->qcow2
                               ? "driver=qcow2,node-name=n0,file.driver=file,"
                                 "file.filename=%s,file.aio=%s,"
                                 "file.cache.direct=on"
                               : "driver=file,node-name=n0,filename=%s,"
                                 "aio=%s,cache.direct=on",
                           test_image_path(bench->image), cost->engine);
}

/* False where the case cannot run. */
static bool bench_open(Bench *bench)
{
    const char *engine = bench->cost->engine;
    g_autofree char *blockdev = NULL;
    g_autoptr(GError) error = NULL;
    GuestBlkConf guest = { 0 };
    BlkRigConf conf = {
        .params = {
            .poll_max_ns = bench->cost->poll ? POLL_NS : -1,
            .thread_pool_min = 1, .thread_pool_max = 1,
        },
        .register_buffers = bench->cost->fixed,
    };

    if (!bench_make_image(bench)) {
        return false;
    }
    blockdev = bench_blockdev(bench);
    conf.blockdev = blockdev;
    bench->rig = blk_rig_new(&conf, &error);
    if (!bench->rig) {
        fprintf(stderr, "%s\n", error->message);
        return false;
    }
    if (!engine_is_there(engine, blk_rig_main_context(bench->rig))) {
        return false; /* it was said in the log */
    }
    bench->guest = guest_blk_new_direct(blk_rig_device(bench->rig),
                                        blk_rig_pump(bench->rig), &guest);
    guest_blk_start(bench->guest);
    return true;
}

static void bench_make_requests(Bench *bench)
{
    for (unsigned i = 0; i < bench->cost->depth; i++) {
        unsigned unit = bench->cost->sequential ? i : i * 37 % 101 * 3;

        bench->reqs[i] = guest_req_new(bench->guest, VIRTIO_BLK_T_IN,
                                       unit * (BLOCK / 512), BLOCK);
        bench->reqs[i]->indirect = true;
    }
}

static void bench_check(const Bench *bench)
{
    for (unsigned i = 0; i < bench->cost->depth; i++) {
        g_assert_cmpuint(bench->reqs[i]->status, ==, VIRTIO_BLK_S_OK);
    }
}

static void bench_close(Bench *bench)
{
    guest_blk_free(bench->guest);
    blk_rig_free(bench->rig);
    test_image_free(bench->image);
}

/* 0, or 77 where this cannot run. Prints how many requests were counted. */
static int run(const CostCase *cost)
{
    Bench bench = { .cost = cost };

    if (!CAN_COUNT) {
        fprintf(stderr, "built without valgrind's headers\n");
        return 77;
    }
    count_worker = cost->worker;
    replace_syscalls();
    if (!bench_open(&bench)) {
        g_clear_pointer(&bench.image, test_image_free);
        return 77;
    }
    bench_make_requests(&bench);
    for (unsigned i = 0; i < WARM_UP; i++) {
        bench_burst(&bench);
    }
    CALLGRIND_ZERO_STATS;
    for (unsigned i = 0; i < BURSTS; i++) {
        bench_burst(&bench);
    }
    bench_check(&bench);
    printf("%u\n", BURSTS * cost->depth);
    fflush(stdout);
    /* What follows is not collected. */
    bench_close(&bench);
    return 0;
}

/* With a case's name: runs it. Without: prints their names. */
int main(int argc, char **argv)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        if (argc < 2) {
            puts(cases[i].name);
        } else if (!strcmp(argv[1], cases[i].name)) {
            return run(&cases[i]);
        }
    }
    return argc < 2 ? 0 : 1;
}
