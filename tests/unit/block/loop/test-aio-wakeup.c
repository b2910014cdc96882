/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests that no wake-up is lost: the protocol of aio-context.c as a model of
 * which all interleavings are walked, and the code itself under several
 * threads. The model also walks broken variants and must find them broken; a
 * lost wake-up in the code is a hang, which the watchdog turns into a failure.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../../../block/loop/aio-private.h"

/* --- The model: every step is one access to shared memory --- */

typedef enum Variant {
    CORRECT,
    SLEEP_BLINDLY,    /* R stores SLEEPING whatever was there */
    LOOK_FIRST,       /* the look comes before A */
    NOTIFY_FIRST,     /* N comes before the work is published */
    NO_WRITE,         /* the eventfd is not written */
} Variant;

enum { NOTIFIERS = 2, JOBS = 2 };

/* Where each thread is. A notifier does JOBS times P, N, W. */
typedef struct Model {
    uint8_t wake_state;
    uint8_t eventfd;              /* written since the last wait */
    uint8_t published, seen;      /* work */
    uint8_t home_step;            /* R, wait, A, look */
    uint8_t may_sleep;            /* R succeeded */
    uint8_t notifier_step[NOTIFIERS];
    uint8_t notifier_old[NOTIFIERS]; /* what N found */
} Model;

enum { HOME_R, HOME_WAIT, HOME_A, HOME_LOOK, HOME_STEPS };
enum { STEP_PUBLISH, STEP_EXCHANGE, STEP_WRITE, STEPS };

static void notifier_step(Model *m, unsigned i, Variant variant)
{
    static const uint8_t usual[STEPS] = {
        STEP_PUBLISH, STEP_EXCHANGE, STEP_WRITE
    };
    static const uint8_t early[STEPS] = {
        STEP_EXCHANGE, STEP_WRITE, STEP_PUBLISH
    };
    const uint8_t *order = variant == NOTIFY_FIRST ? early : usual;

    switch (order[m->notifier_step[i]++ % STEPS]) {
    case STEP_PUBLISH:
        m->published++;
        break;
    case STEP_EXCHANGE:
        m->notifier_old[i] = m->wake_state;
        m->wake_state = AIO_NOTIFIED;
        break;
    case STEP_WRITE:
        if (m->notifier_old[i] == AIO_SLEEPING && variant != NO_WRITE) {
            m->eventfd = 1;
        }
        break;
    }
}

/* Returns false when the home thread sleeps. */
static bool home_step(Model *m, Variant variant)
{
    static const uint8_t usual[HOME_STEPS] = {
        HOME_R, HOME_WAIT, HOME_A, HOME_LOOK
    };
    static const uint8_t hasty[HOME_STEPS] = {
        HOME_R, HOME_WAIT, HOME_LOOK, HOME_A
    };
    const uint8_t *order = variant == LOOK_FIRST ? hasty : usual;

    switch (order[m->home_step]) {
    case HOME_R:
        m->may_sleep = m->wake_state == AIO_AWAKE || variant == SLEEP_BLINDLY;
        if (m->may_sleep) {
            m->wake_state = AIO_SLEEPING;
        }
        break;
    case HOME_WAIT:
        if (m->may_sleep && !m->eventfd) {
            return false;
        }
        m->eventfd = 0;
        break;
    case HOME_A:
        m->wake_state = AIO_AWAKE;
        break;
    case HOME_LOOK:
        m->seen = m->published;
        break;
    }
    m->home_step = (m->home_step + 1) % HOME_STEPS;
    return true;
}

typedef struct Walk {
    Variant variant;
    GHashTable *visited; /* of Model */
    unsigned stuck;      /* states that sleep for ever on unseen work */
    unsigned asleep;     /* states that sleep with all done, as they should */
} Walk;

static guint model_hash(gconstpointer key)
{
    const uint8_t *bytes = key;
    guint hash = 5381;

    for (size_t i = 0; i < sizeof(Model); i++) {
        hash = hash * 33 + bytes[i];
    }
    return hash;
}

static gboolean model_equal(gconstpointer a, gconstpointer b)
{
    return memcmp(a, b, sizeof(Model)) == 0;
}

static void walk(Walk *w, const Model *from)
{
    bool moved = false;
    Model m = *from;

    if (!g_hash_table_add(w->visited, g_memdup2(from, sizeof(*from)))) {
        return;
    }
    if (home_step(&m, w->variant)) {
        moved = true;
        walk(w, &m);
    }
    for (unsigned i = 0; i < NOTIFIERS; i++) {
        if (from->notifier_step[i] < JOBS * STEPS) {
            m = *from;
            notifier_step(&m, i, w->variant);
            moved = true;
            walk(w, &m);
        }
    }
    if (!moved && from->seen < from->published) {
        w->stuck++;
    } else if (!moved) {
        w->asleep++;
    }
}

static Walk walk_all(Variant variant)
{
    Walk w = { .variant = variant };
    Model start = { .wake_state = AIO_AWAKE };

    w.visited = g_hash_table_new_full(model_hash, model_equal, g_free, NULL);
    walk(&w, &start);
    g_test_message("%u states, %u asleep, %u stuck",
                   g_hash_table_size(w.visited), w.asleep, w.stuck);
    g_hash_table_destroy(w.visited);
    return w;
}

static void test_model(void)
{
    Walk w = walk_all(CORRECT);

    g_assert_cmpuint(w.stuck, ==, 0);
    g_assert_cmpuint(w.asleep, >, 0);
}

static void test_model_broken(void)
{
    const Variant broken[] = {
        SLEEP_BLINDLY, LOOK_FIRST, NOTIFY_FIRST, NO_WRITE
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(broken); i++) {
        g_assert_cmpuint(walk_all(broken[i]).stuck, >, 0);
    }
}

/* --- The code --- */

enum { THREADS = 4, WATCHDOG_S = 90 };

static void watchdog_bites(int signum)
{
    static const char message[] = "watchdog: the loop sleeps on its work\n";
    ssize_t ret = write(STDERR_FILENO, message, sizeof(message) - 1);

    (void)ret;
    _exit(1);
}

static void watchdog_start(unsigned seconds)
{
    signal(SIGALRM, watchdog_bites);
    alarm(seconds);
}

static void watchdog_stop(void)
{
    alarm(0);
    signal(SIGALRM, SIG_DFL);
}

typedef struct Producer {
    struct Stress *stress;
    AioBH *bh;
    unsigned long published; /* atomic; by the producer */
    unsigned long seen;      /* atomic; by the home thread */
    unsigned long calls;     /* of bh */
    pthread_t thread;
} Producer;

typedef struct Stress {
    AioContext *ctx;
    unsigned long jobs; /* of each producer */
    bool in_turns;      /* publish only after the last job was seen */
    Producer producers[THREADS];
} Stress;

static unsigned long get(unsigned long *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* Work is published with relaxed stores only: what makes the home thread see
 * it is the protocol. */
static void publish(Producer *producer, unsigned long job)
{
    __atomic_store_n(&producer->published, job, __ATOMIC_RELAXED);
}

static void wait_until_seen(Producer *producer, unsigned long job)
{
    while (get(&producer->seen) < job) {
        sched_yield();
    }
}

static void *notify_thread(void *opaque)
{
    Producer *producer = opaque;
    Stress *stress = producer->stress;

    for (unsigned long job = 1; job <= stress->jobs; job++) {
        publish(producer, job);
        aio_notify(stress->ctx);
        if (stress->in_turns) {
            wait_until_seen(producer, job);
        }
    }
    return NULL;
}

static void *schedule_thread(void *opaque)
{
    Producer *producer = opaque;
    Stress *stress = producer->stress;

    for (unsigned long job = 1; job <= stress->jobs; job++) {
        publish(producer, job);
        aio_bh_schedule(producer->bh);
        if (stress->in_turns) {
            wait_until_seen(producer, job);
        }
    }
    return NULL;
}

static void look(Producer *producer)
{
    __atomic_store_n(&producer->seen, get(&producer->published),
                     __ATOMIC_RELAXED);
}

static void look_bh(void *opaque)
{
    Producer *producer = opaque;

    producer->calls++;
    look(producer);
}

static bool all_seen(Stress *stress)
{
    for (unsigned i = 0; i < THREADS; i++) {
        if (get(&stress->producers[i].seen) < stress->jobs) {
            return false;
        }
    }
    return true;
}

static void start(Stress *stress, void *(*fn)(void *))
{
    stress->ctx = aio_context_new(NULL, NULL);
    aio_context_adopt(stress->ctx);
    for (unsigned i = 0; i < THREADS; i++) {
        Producer *producer = &stress->producers[i];

        *producer = (Producer){ .stress = stress };
        producer->bh = aio_bh_new(stress->ctx, look_bh, producer);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        Producer *producer = &stress->producers[i];

        g_assert_cmpint(pthread_create(&producer->thread, NULL, fn, producer),
                        ==, 0);
    }
}

static void finish(Stress *stress)
{
    AioStats stats = aio_context_stats(stress->ctx);

    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(stress->producers[i].thread, NULL);
    }
    while (aio_poll(stress->ctx, false)) {
        /* a call may be left over that finds nothing new */
    }
    for (unsigned i = 0; i < THREADS; i++) {
        g_assert_cmpuint(stress->producers[i].seen, ==, stress->jobs);
        g_assert_cmpuint(stress->producers[i].calls, <=, stress->jobs);
        aio_bh_free(stress->producers[i].bh);
    }
    g_test_message("%lu jobs, %lu rounds, %lu sleeps, %lu notifies",
                   THREADS * stress->jobs, (unsigned long)stats.rounds,
                   (unsigned long)stats.sleeps,
                   (unsigned long)stats.notifies);
    /* A write belongs to a sleep that was announced. */
    g_assert_cmpuint(stats.notifies, <=, stats.sleeps);
    aio_context_free(stress->ctx);
}

static void run_notify(Stress *stress)
{
    watchdog_start(WATCHDOG_S);
    start(stress, notify_thread);
    while (!all_seen(stress)) {
        aio_poll(stress->ctx, true);
        for (unsigned i = 0; i < THREADS; i++) {
            look(&stress->producers[i]);
        }
    }
    finish(stress);
    watchdog_stop();
}

static void run_schedule(Stress *stress)
{
    watchdog_start(WATCHDOG_S);
    start(stress, schedule_thread);
    while (!all_seen(stress)) {
        aio_poll(stress->ctx, true);
    }
    finish(stress);
    watchdog_stop();
}

static void test_notify_flood(void)
{
    Stress stress = { .jobs = 250000 };

    run_notify(&stress);
}

static void test_notify_turns(void)
{
    Stress stress = { .jobs = 10000, .in_turns = true };

    run_notify(&stress);
}

static void test_schedule_flood(void)
{
    Stress stress = { .jobs = 500000 };

    run_schedule(&stress);
}

static void test_schedule_turns(void)
{
    Stress stress = { .jobs = 10000, .in_turns = true };

    run_schedule(&stress);
}

static bool poll_nothing(void *opaque)
{
    return false;
}

static void not_ready(void *opaque)
{
    g_assert_not_reached();
}

/* The same with busy polling between awake and asleep. */
static void test_schedule_turns_polled(void)
{
    static const AioHandlerOps ops = {
        .ready = not_ready, .poll = poll_nothing
    };
    Stress stress = { .jobs = 10000, .in_turns = true };
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    AioHandler *handler;

    watchdog_start(WATCHDOG_S);
    start(&stress, schedule_thread);
    handler = aio_handler_add(stress.ctx, fd, &ops, NULL);
    while (!all_seen(&stress)) {
        aio_poll(stress.ctx, true);
    }
    g_test_message("%lu of %lu polls hit",
                   (unsigned long)stress.ctx->stats.poll_hits,
                   (unsigned long)stress.ctx->stats.poll_rounds);
    aio_handler_remove(handler);
    close(fd);
    finish(&stress);
    watchdog_stop();
}

/* --- A ring with a kick that can be switched off, as a guest has it --- */

typedef struct Ring {
    unsigned long avail; /* atomic; by the producer */
    unsigned long seen;  /* atomic; by the home thread */
    bool quiet;          /* atomic; by the home thread: do not kick */
    unsigned long kicks; /* by the producer */
    unsigned long jobs;
    int fd;
    AioHandler *handler;
    pthread_t thread;
} Ring;

static void *ring_thread(void *opaque)
{
    Ring *ring = opaque;

    for (unsigned long job = 1; job <= ring->jobs; job++) {
        /* Pairs with ring_end(): either it sees the job, or we kick. */
        __atomic_store_n(&ring->avail, job, __ATOMIC_SEQ_CST);
        if (!__atomic_load_n(&ring->quiet, __ATOMIC_SEQ_CST)) {
            ring->kicks++;
            eventfd_write(ring->fd, 1);
        }
        while (get(&ring->seen) < job) {
            sched_yield();
        }
    }
    return NULL;
}

static bool ring_poll(void *opaque)
{
    Ring *ring = opaque;
    unsigned long avail = __atomic_load_n(&ring->avail, __ATOMIC_SEQ_CST);

    if (avail == ring->seen) {
        return false;
    }
    __atomic_store_n(&ring->seen, avail, __ATOMIC_RELAXED);
    return true;
}

static void ring_ready(void *opaque)
{
    Ring *ring = opaque;
    eventfd_t value;

    g_assert_cmpint(eventfd_read(ring->fd, &value), ==, 0);
    ring_poll(ring);
}

static void ring_begin(void *opaque)
{
    Ring *ring = opaque;

    __atomic_store_n(&ring->quiet, true, __ATOMIC_SEQ_CST);
}

static void ring_end(void *opaque)
{
    Ring *ring = opaque;

    __atomic_store_n(&ring->quiet, false, __ATOMIC_SEQ_CST);
}

static const AioHandlerOps ring_ops = {
    .ready = ring_ready,
    .poll = ring_poll,
    .poll_begin = ring_begin,
    .poll_end = ring_end,
};

static bool rings_done(Ring *rings)
{
    for (unsigned i = 0; i < THREADS; i++) {
        if (rings[i].seen < rings[i].jobs) {
            return false;
        }
    }
    return true;
}

/*
 * Some rings have little to do, so that they drop out of polling and come
 * back; all fall silent now and then, so that polling begins and ends.
 */
static void test_rings(void)
{
    AioContext *ctx = aio_context_new(NULL, NULL);
    Ring rings[THREADS];
    unsigned long kicks = 0;
    AioStats stats;

    watchdog_start(WATCHDOG_S);
    aio_context_adopt(ctx);
    for (unsigned i = 0; i < THREADS; i++) {
        Ring *ring = &rings[i];

        *ring = (Ring){ .jobs = i == 0 ? 30000 : 1000 * i };
        ring->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        ring->handler = aio_handler_add(ctx, ring->fd, &ring_ops, ring);
        pthread_create(&ring->thread, NULL, ring_thread, ring);
    }
    while (!rings_done(rings)) {
        aio_poll(ctx, true);
    }
    stats = aio_context_stats(ctx);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(rings[i].thread, NULL);
        kicks += rings[i].kicks;
        aio_handler_remove(rings[i].handler);
        g_assert_false(rings[i].quiet);
        close(rings[i].fd);
    }
    g_test_message("%lu kicks, %lu rounds, %lu sleeps, %lu of %lu polls hit",
                   kicks, (unsigned long)stats.rounds,
                   (unsigned long)stats.sleeps,
                   (unsigned long)stats.poll_hits,
                   (unsigned long)stats.poll_rounds);
    aio_context_free(ctx);
    watchdog_stop();
}

static void *forgetful_thread(void *opaque)
{
    Producer *producer = opaque;

    while (aio_context_stats(producer->stress->ctx).sleeps == 0) {
        sched_yield();
    }
    publish(producer, 1); /* and no word to anybody */
    return NULL;
}

/* A wake-up that is really lost ends in the watchdog and not in a hang. */
static void test_watchdog(void)
{
    if (g_test_subprocess()) {
        Stress stress = { .jobs = 1 };

        watchdog_start(1);
        start(&stress, forgetful_thread);
        while (!all_seen(&stress)) {
            aio_poll(stress.ctx, true);
        }
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*watchdog*");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/aio-wakeup/model", test_model);
    g_test_add_func("/aio-wakeup/model-broken", test_model_broken);
    g_test_add_func("/aio-wakeup/watchdog", test_watchdog);
    g_test_add_func("/aio-wakeup/notify-flood", test_notify_flood);
    g_test_add_func("/aio-wakeup/notify-turns", test_notify_turns);
    g_test_add_func("/aio-wakeup/schedule-flood", test_schedule_flood);
    g_test_add_func("/aio-wakeup/schedule-turns", test_schedule_turns);
    g_test_add_func("/aio-wakeup/schedule-turns-polled",
                    test_schedule_turns_polled);
    g_test_add_func("/aio-wakeup/rings", test_rings);
    return g_test_run();
}
