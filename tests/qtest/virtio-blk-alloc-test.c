/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a request costs once the pools are warm: no allocation, no lock, and
 * for a burst one submit call and one interrupt. The C library's allocator
 * and both kinds of mutexes are counted by standing in front of them.
 */
#include "engines.h"

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#define IMAGE_BYTES (4 << 20)
#define DEPTH 32
#define WARM_UP 300
#define BURSTS 300

/* Under a sanitizer the allocator is not ours to replace. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTING 0
#else
#define COUNTING 1
#endif

static bool counting;
static uint64_t allocations, locks;

#if COUNTING
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t bytes);
void *__libc_realloc(void *ptr, size_t bytes);
void *__libc_memalign(size_t align, size_t bytes);

static void count(uint64_t *counter)
{
    if (__atomic_load_n(&counting, __ATOMIC_RELAXED)) {
        __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
    }
}

void *malloc(size_t bytes)
{
    count(&allocations);
    return __libc_malloc(bytes);
}

void *calloc(size_t n, size_t bytes)
{
    count(&allocations);
    return __libc_calloc(n, bytes);
}

void *realloc(void *ptr, size_t bytes)
{
    count(&allocations);
    return __libc_realloc(ptr, bytes);
}

void *aligned_alloc(size_t align, size_t bytes)
{
    count(&allocations);
    return __libc_memalign(align, bytes);
}

int posix_memalign(void **ptr, size_t align, size_t bytes)
{
    count(&allocations);
    *ptr = __libc_memalign(align, bytes);
    return *ptr ? 0 : ENOMEM;
}

int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    static int (*next)(pthread_mutex_t *);

    if (!next) {
        next = dlsym(RTLD_NEXT, "pthread_mutex_lock");
    }
    count(&locks);
    return next(mutex);
}

void g_mutex_lock(GMutex *mutex)
{
    static void (*next)(GMutex *);

    if (!next) {
        next = dlsym(RTLD_NEXT, "g_mutex_lock");
    }
    count(&locks);
    next(mutex);
}
#endif

static void set_counting(bool on)
{
    __atomic_store_n(&counting, on, __ATOMIC_RELAXED);
}

/* The counters are of use only if they count. */
static void test_counters(void)
{
    GMutex lock;
    pthread_mutex_t plock = PTHREAD_MUTEX_INITIALIZER;

    if (!COUNTING) {
        g_test_skip("built with a sanitizer that has its own allocator");
        return;
    }
    allocations = locks = 0;
    set_counting(true);
    g_free(g_malloc(1000));
    g_free(g_malloc0(1000));
    g_mutex_init(&lock);
    g_mutex_lock(&lock);
    pthread_mutex_lock(&plock);
    set_counting(false);
    g_mutex_unlock(&lock);
    pthread_mutex_unlock(&plock);
    g_assert_cmpuint(allocations, >=, 2);
    g_assert_cmpuint(locks, >=, 2);
}

/* One burst; the guest asks for one interrupt, after the last of it. A ring
 * that was just started may send one more, whatever was asked for. */
static void burst(Disk *disk, GuestReq *reqs[DEPTH])
{
    VirtioRing *ring = guest_blk_ring(disk->guest, 0);
    unsigned done = 0;

    virtio_ring_enable_call_after(ring, DEPTH);
    for (unsigned i = 0; i < DEPTH; i++) {
        g_assert_true(guest_blk_submit(disk->guest, 0, reqs[i]));
    }
    guest_blk_kick(disk->guest, 0);
    while (done < DEPTH) {
        guest_blk_wait_call(disk->guest, 0);
        done += guest_blk_reap(disk->guest, 0);
    }
}

static void make_requests(Disk *disk, GuestReq *reqs[DEPTH], bool sequential)
{
    for (unsigned i = 0; i < DEPTH; i++) {
        unsigned unit = sequential ? i : i * 37 % 101 * 3;

        reqs[i] = guest_req_new(disk->guest, i % 2 && !sequential
                                ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN,
                                unit * 8, 4096);
        reqs[i]->indirect = true;
    }
}

static void run(const World *world, bool sequential)
{
    GuestReq *reqs[DEPTH];
    BlockStats before, after;
    uint64_t calls;
    Disk disk;

    if (!COUNTING) {
        g_test_skip("built with a sanitizer that has its own allocator");
        return;
    }
    if (!disk_open(&disk, world, IMAGE_BYTES, NULL, NULL, NULL)) {
        return;
    }
    make_requests(&disk, reqs, sequential);
    for (unsigned i = 0; i < WARM_UP; i++) {
        burst(&disk, reqs);
    }
    blk_rig_stats(disk.rig, &before);
    guest_blk_take_calls(disk.guest, 0);
    allocations = locks = 0;
    set_counting(true);
    for (unsigned i = 0; i < BURSTS; i++) {
        burst(&disk, reqs);
    }
    set_counting(false);
    blk_rig_stats(disk.rig, &after);
    calls = after.notifications - before.notifications;
    g_test_message("%u bursts: %" PRIu64 " allocations, %" PRIu64 " locks, "
                   "%" PRIu64 " submit calls, %" PRIu64 " interrupts",
                   BURSTS, allocations, locks,
                   after.engine.submit_calls - before.engine.submit_calls,
                   calls);
    /* auto tries workers now and then, which are made when first needed */
    g_assert_cmpuint(allocations, <=,
                     strcmp(world->engine, "auto") ? 0 : 2 * DEPTH);
    g_assert_cmpuint(calls, ==, BURSTS);
    if (strcmp(world->engine, "threads") != 0) {
        g_assert_cmpuint(locks, ==, 0);
    }
    if (strcmp(world->engine, "threads") && strcmp(world->engine, "auto")) {
        /* one at once, then in batches that double */
        g_assert_cmpuint(after.engine.submit_calls -
                         before.engine.submit_calls, ==,
                         BURSTS * g_bit_storage(sequential ? 1 : DEPTH));
    }
    disk_close(&disk);
}

static void test_random(const World *world)
{
    run(world, false);
}

static void test_sequential(const World *world)
{
    run(world, true);
}

int main(int argc, char **argv)
{
    if (!test_need_disk()) {
        return 0;
    }
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-blk-alloc/counters", test_counters);
    worlds_add("virtio-blk-alloc", "random", test_random);
    worlds_add("virtio-blk-alloc", "sequential", test_sequential);
    return g_test_run();
}
