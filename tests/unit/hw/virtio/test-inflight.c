/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A device that dies between any two instructions of its work leaves a ring
 * and an in-flight area from which the next one goes on: every chain comes
 * back to the driver exactly once, in the order of submission where it has to
 * be sent again.
 *
 * The device is built so that it stops before every store (step-stores.h);
 * whenever something has changed since the last stop, a child takes over from
 * there and goes on until the end.
 */
#include "step-stores.h"
#include "virtqueue-rig.h"

#include "hw/virtio/inflight.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define RING 8
#define CHAINS 4  /* in flight at the crash, two slots each if not indirect */
#define EXIT_OK 0

typedef struct Crash {
    Rig *rig;
    int area_fd;
    uint8_t *area;
    size_t area_bytes;
    size_t ring_bytes;  /* rig->mem up to the buffers */
    uint8_t *seen;      /* both, as of the last look */
    unsigned states;
    Inflight *inflight; /* of the last device */
} Crash;

static void *token(unsigned n)
{
    return GUINT_TO_POINTER(n);
}

/* Chain @n: two readable buffers, the first of which says its number. */
static void submit(Rig *rig, unsigned n)
{
    uint8_t *data = rig->buffers + n * 64;
    const struct iovec out[] = { { data, 16 }, { data + 32, 16 } };
    VirtioChain chain = {
        .out = out, .n_out = 2, .token = token(n),
        .indirect = rig->config.indirect,
    };

    *data = n;
    g_assert_true(virtio_ring_add(rig->ring, &chain));
    virtio_ring_publish(rig->ring);
}

static VirtQueue *make_device(Crash *crash, uint32_t base, GError **error)
{
    VirtQueueConfig config;
    Inflight *inflight = inflight_map(crash->area_fd, 0, crash->area_bytes, 1,
                                      RING, error);

    g_assert_nonnull(inflight); /* the queue points into it */
    crash->inflight = inflight;
    rig_fill_config(crash->rig, &config);
    config.base = base;
    config.inflight = inflight_queue_new(inflight, 0, RING, error);
    g_assert_nonnull(config.inflight);
    return virtqueue_new(&config, error);
}

static unsigned pop(Rig *rig, VirtQueue *vq, VirtQueueElement *elem)
{
    g_assert_cmpint(virtqueue_pop(vq, elem), ==, 1);
    return *(uint8_t *)elem->iov[0].iov_base;
}

/* --- The device that dies --- */

/* Out of order, in batches of several and of one, with pops in between. */
static void work(Rig *rig, VirtQueue *vq)
{
    VirtQueueElement elems[CHAINS] = { { 0 } };

    pop(rig, vq, &elems[0]);
    pop(rig, vq, &elems[1]);
    pop(rig, vq, &elems[2]);
    virtqueue_push(vq, &elems[1], 0);
    virtqueue_push(vq, &elems[0], 0);
    virtqueue_publish(vq);
    pop(rig, vq, &elems[3]);
    virtqueue_push(vq, &elems[3], 0);
    virtqueue_publish(vq);
    virtqueue_push(vq, &elems[2], 0);
    virtqueue_publish(vq);
    for (unsigned i = 0; i < CHAINS; i++) {
        virtqueue_element_clear(&elems[i]);
    }
}

/* --- The one that takes over --- */

/* What was in flight comes first and in order; then what is new. */
static unsigned take_all(Rig *rig, VirtQueue *vq, VirtQueueElement *elems)
{
    unsigned n = 0, last = 0;
    unsigned recorded = virtqueue_resubmits(vq);

    while (virtqueue_pop(vq, &elems[n]) > 0) {
        unsigned number = *(uint8_t *)elems[n].iov[0].iov_base;

        g_assert_cmpuint(elems[n].out_num, ==, 2);
        if (n < recorded) {
            g_assert_cmpuint(number, >, last);
            last = number;
        }
        n++;
    }
    return n;
}

static void expect_used_once(Rig *rig)
{
    g_assert_nonnull(virtio_ring_get_used(rig->ring, NULL));
    g_assert_null(virtio_ring_get_used(rig->ring, NULL));
}

static unsigned count_used(Rig *rig)
{
    unsigned n = 0;

    while (virtio_ring_get_used(rig->ring, NULL)) {
        n++;
    }
    return n;
}

/* The driver aborts when something comes back twice. */
static void take_over(Crash *crash)
{
    Rig *rig = crash->rig;
    VirtQueueElement elems[RING] = { { 0 } };
    GError *error = NULL;
    VirtQueue *vq = make_device(crash, 0x1234, &error);
    unsigned n, back;

    g_assert_no_error(error);
    back = count_used(rig); /* from before the crash */
    n = take_all(rig, vq, elems);
    g_assert_cmpuint(back + n, ==, CHAINS);
    while (n > 0) {
        virtqueue_push(vq, &elems[--n], 0);
        virtqueue_publish(vq);
        /* one after the other: nothing is there before its turn */
        expect_used_once(rig);
    }
    g_assert_cmpuint(virtio_ring_in_flight(rig->ring), ==, 0);
    /* and the ring works */
    for (unsigned i = 1; i <= 2 * RING; i++) {
        submit(rig, i);
        pop(rig, vq, &elems[0]);
        virtqueue_push(vq, &elems[0], 0);
        virtqueue_publish(vq);
        expect_used_once(rig);
    }
}

static void check_takeover(Crash *crash)
{
    int status;
    pid_t pid = fork();

    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        take_over(crash);
        _exit(EXIT_OK);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_OK) {
        g_error("taking over failed in state %u", crash->states);
    }
}

/* --- Stepping --- */

static void remember(Crash *crash)
{
    memcpy(crash->seen, crash->rig->mem, crash->ring_bytes);
    memcpy(crash->seen + crash->ring_bytes, crash->area, crash->area_bytes);
}

static void put_back(Crash *crash)
{
    memcpy(crash->rig->mem, crash->seen, crash->ring_bytes);
    memcpy(crash->area, crash->seen + crash->ring_bytes, crash->area_bytes);
}

static bool has_changed(const Crash *crash)
{
    return memcmp(crash->seen, crash->rig->mem, crash->ring_bytes) != 0 ||
           memcmp(crash->seen + crash->ring_bytes, crash->area,
                  crash->area_bytes) != 0;
}

void (*step_before_store)(void);
static Crash *stepping;

static void look(void)
{
    Crash *crash = stepping;

    if (!has_changed(crash)) {
        return;
    }
    step_before_store = NULL;
    remember(crash);
    crash->states++;
    check_takeover(crash);
    put_back(crash);
    step_before_store = look;
}

static void crash_init(Crash *crash, const RigConfig *config)
{
    GError *error = NULL;

    crash->rig = rig_new(config);
    inflight_free(inflight_new(1, RING, &crash->area_fd, &error));
    g_assert_no_error(error);
    crash->area_bytes = inflight_bytes(1, RING);
    crash->area = mmap(NULL, crash->area_bytes, PROT_READ | PROT_WRITE,
                       MAP_SHARED, crash->area_fd, 0);
    g_assert_true(crash->area != MAP_FAILED);
    crash->ring_bytes = crash->rig->buffers - crash->rig->mem;
    crash->seen = g_malloc(crash->ring_bytes + crash->area_bytes);
    crash->states = 0;
    crash->inflight = NULL;
}

static void crash_clear(Crash *crash)
{
    inflight_free(crash->inflight);
    munmap(crash->area, crash->area_bytes);
    close(crash->area_fd);
    g_free(crash->seen);
    rig_free(crash->rig);
}

/* @warm chains have passed before, so that the ring wraps at another place. */
static void crash_after(const RigConfig *config, unsigned warm)
{
    Crash crash;
    VirtQueueElement elem = { 0 };
    GError *error = NULL;
    VirtQueue *vq;

    crash_init(&crash, config);
    vq = make_device(&crash, virtio_ring_initial_base(crash.rig->ring),
                     &error);
    g_assert_no_error(error);
    for (unsigned i = 1; i <= warm; i++) {
        submit(crash.rig, i);
        pop(crash.rig, vq, &elem);
        virtqueue_push(vq, &elem, 0);
        virtqueue_publish(vq);
        expect_used_once(crash.rig);
    }
    for (unsigned i = 1; i <= CHAINS; i++) {
        submit(crash.rig, i);
    }
    remember(&crash);
    stepping = &crash;
    step_before_store = look;
    work(crash.rig, vq);
    look();
    step_before_store = NULL;
    g_assert_cmpuint(crash.states, >, 20);
    virtqueue_element_clear(&elem);
    virtqueue_free(vq);
    crash_clear(&crash);
}

static void test_crash(gconstpointer opaque)
{
    const RigConfig *config = opaque;

    if (config->two_regions || config->event_idx) {
        return; /* nothing of it matters here */
    }
    for (unsigned warm = 0; warm < 4; warm++) {
        RigConfig small = *config;

        small.size = RING;
        crash_after(&small, warm);
    }
}

/* --- An area that somebody else wrote --- */

static void scribble(GRand *rand, uint8_t *area, size_t bytes)
{
    unsigned n = g_rand_int_range(rand, 1, 6);

    for (unsigned i = 0; i < n; i++) {
        size_t at = g_rand_int_range(rand, 0, bytes);

        area[at] = g_rand_boolean(rand) ? g_rand_int_range(rand, 0, 256)
                                        : g_rand_int_range(rand, 0, RING + 2);
    }
}

static void test_hostile(gconstpointer opaque)
{
    RigConfig config = *(const RigConfig *)opaque;
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    unsigned refused = 0, accepted = 0;
    Crash crash;

    config.size = RING;
    crash_init(&crash, &config);
    for (unsigned i = 1; i <= CHAINS; i++) {
        submit(crash.rig, i);
    }
    for (unsigned round = 0; round < 3000; round++) {
        VirtQueueElement elems[2 * RING] = { { 0 } };
        g_autoptr(GError) error = NULL;
        GError *ignored = NULL;
        Inflight *inflight = inflight_map(crash.area_fd, 0, crash.area_bytes,
                                          1, RING, &ignored);
        VirtQueueConfig vq_config;
        VirtQueue *vq;
        unsigned n = 0;

        scribble(rand, crash.area, crash.area_bytes);
        rig_fill_config(crash.rig, &vq_config);
        vq_config.base = virtio_ring_initial_base(crash.rig->ring);
        vq_config.inflight = inflight_queue_new(inflight, 0, RING, &ignored);
        vq = virtqueue_new(&vq_config, &error);
        if (vq) {
            while (n < 2 * RING && virtqueue_pop(vq, &elems[n]) > 0) {
                n++;
            }
            scribble(rand, crash.area, crash.area_bytes);
            for (unsigned i = 0; i < n; i++) {
                virtqueue_push(vq, &elems[i], 0);
            }
            virtqueue_publish(vq);
            accepted++;
        } else {
            g_assert_nonnull(strstr(error->message, "in-flight region"));
            memset(crash.area, 0, crash.area_bytes);
            refused++;
        }
        for (unsigned i = 0; i < 2 * RING; i++) {
            virtqueue_element_clear(&elems[i]);
        }
        virtqueue_free(vq);
        inflight_free(inflight);
    }
    g_assert_cmpuint(refused, >, 100);
    g_assert_cmpuint(accepted, >, 100);
    crash_clear(&crash);
}

static void test_area(void)
{
    GError *error = NULL;
    int fd;
    Inflight *inflight = inflight_new(4, 128, &fd, &error);

    g_assert_no_error(error);
    g_assert_cmpuint(*inflight_device_word(inflight), ==, 0);
    *inflight_device_word(inflight) = 5;
    inflight_free(inflight);

    inflight = inflight_map(fd, 0, inflight_bytes(4, 128), 4, 128, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(*inflight_device_word(inflight), ==, 5);
    g_assert_null(inflight_queue_new(inflight, 4, 128, &error));
    g_clear_error(&error);
    g_assert_null(inflight_queue_new(inflight, 0, 256, &error));
    g_clear_error(&error);
    inflight_free(inflight);

    /* what no GET_INFLIGHT_FD of ours has answered */
    g_assert_null(inflight_map(fd, 0, inflight_bytes(4, 128) - 1, 4, 128,
                               &error));
    g_clear_error(&error);
    g_assert_null(inflight_map(fd, 1 << 20, inflight_bytes(4, 128), 4, 128,
                               &error));
    g_clear_error(&error);
    g_assert_null(inflight_map(fd, 0, inflight_bytes(0, 128), 0, 128,
                               &error));
    g_clear_error(&error);
    close(fd);
}

int main(int argc, char **argv)
{
    static const RigTest tests[] = {
        { "crash-anywhere", test_crash },
        { "hostile-area", test_hostile },
    };

    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/inflight/area", test_area);
    rig_add_tests("/inflight", tests, G_N_ELEMENTS(tests));
    return g_test_run();
}
