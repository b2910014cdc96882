/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the device's side of a virtqueue costs: bursts of 32 requests of three
 * buffers (header, 4 KiB, status) are popped, pushed in reverse order and
 * published; the driver's side is not counted. "meson test --benchmark".
 *
 * Instructions: valgrind --tool=callgrind --toggle-collect=device_burst
 * virtqueue-bench 10000 split indirect; divide by the requests.
 */
#include "virtqueue-rig.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define BURST 32

static VirtQueueElement elems[BURST];

static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static void driver_burst(Rig *rig)
{
    for (unsigned i = 0; i < BURST; i++) {
        uint8_t *buf = rig->buffers + i * 8192;
        struct iovec out = { buf, 16 };
        struct iovec in[2] = { { buf + 4096, 4096 }, { buf + 16, 1 } };
        VirtioChain chain = {
            .out = &out, .n_out = 1, .in = in, .n_in = 2,
            .indirect = rig->config.indirect, .token = buf,
        };

        g_assert_true(virtio_ring_add(rig->ring, &chain));
    }
    virtio_ring_publish(rig->ring);
}

static __attribute__((noinline)) void device_burst(VirtQueue *vq)
{
    unsigned n = 0;

    virtqueue_disable_kick(vq);
    while (n < BURST && virtqueue_pop(vq, &elems[n]) == 1) {
        n++;
    }
    while (n) {
        virtqueue_push(vq, &elems[--n], 4097);
    }
    virtqueue_publish(vq);
    virtqueue_enable_kick(vq);
}

static void run(const RigConfig *config, unsigned bursts)
{
    g_autoptr(Rig) rig = rig_new(config);
    int64_t best = INT64_MAX, sum = 0;

    for (unsigned i = 0; i < bursts; i++) {
        int64_t start;

        driver_burst(rig);
        start = now_ns();
        device_burst(rig->vq);
        start = now_ns() - start;
        best = MIN(best, start);
        sum += start;
        for (unsigned k = 0; k < BURST; k++) {
            g_assert_nonnull(virtio_ring_get_used(rig->ring, NULL));
        }
    }
    printf("%-6s %-8s %-5s %6.1f ns/request mean, %6.1f best burst\n",
           config->packed ? "packed" : "split",
           config->indirect ? "indirect" : "direct",
           config->event_idx ? "event" : "flags",
           (double)sum / bursts / BURST, (double)best / BURST);
    for (unsigned i = 0; i < BURST; i++) {
        virtqueue_element_clear(&elems[i]);
    }
}

/* [BURSTS [split|packed [direct|indirect]]] */
int main(int argc, char **argv)
{
    guint64 bursts = 100000;

    if (argc > 1 && !g_ascii_string_to_unsigned(argv[1], 10, 1, UINT32_MAX,
                                                &bursts, NULL)) {
        fprintf(stderr, "%s: BURSTS is a number from 1 on\n", argv[0]);
        return 1;
    }

    for (unsigned i = 0; i < 8; i++) {
        RigConfig config = {
            .size = 256, .packed = i & 1, .indirect = i & 2,
            .event_idx = i & 4,
        };

        if ((argc <= 2 || !strcmp(argv[2], "packed") == config.packed) &&
            (argc <= 3 || !strcmp(argv[3], "indirect") == config.indirect)) {
            run(&config, bursts);
        }
    }
    return 0;
}
