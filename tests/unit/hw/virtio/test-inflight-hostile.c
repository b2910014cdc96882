/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A driver that does not wait for the used ring, and a front end that writes
 * to the in-flight area while it is in use: the ring breaks, or what was
 * checked stays what it was.
 */
#include "../../hw/virtio/inflight-internal.h"
#include "block/log.h"
#include "hw/virtio/virtqueue.h"

#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RING 4
#define MEM_BYTES 0x10000
#define AVAIL_AT 0x1000
#define USED_AT 0x2000
#define DATA_AT 0x3000
#define SPLIT_BASE 0
#define PACKED_BASE 0x80008000u /* both wrap counters are 1 */

typedef struct Hostile {
    bool packed;
    uint8_t *mem;       /* guest address 0 */
    GuestMemory *memory;
    Inflight *inflight;
    uint8_t *area;      /* as the front end sees it */
    size_t area_bytes;
    VirtQueue *vq;
    GString *log;
} Hostile;

static void collect_line(LogLevel level, const char *line, void *opaque)
{
    g_string_append_printf(opaque, "%s\n", line);
}

/* The first device, or one after it. */
static void take_over(Hostile *h)
{
    GError *error = NULL;
    VirtQueueConfig config = {
        .size = RING, .packed = h->packed, .memory = h->memory,
        .desc = h->mem, .avail = h->mem + AVAIL_AT, .used = h->mem + USED_AT,
        .base = h->packed ? PACKED_BASE : SPLIT_BASE, .name = "test queue",
    };

    virtqueue_free(h->vq);
    config.inflight = inflight_queue_new(h->inflight, 0, RING, &error);
    g_assert_no_error(error);
    h->vq = virtqueue_new(&config, &error);
    g_assert_no_error(error);
}

static void hostile_init(Hostile *h, bool packed)
{
    GError *error = NULL;
    int fd;

    *h = (Hostile){ .packed = packed, .mem = g_malloc0(MEM_BYTES),
                    .area_bytes = inflight_bytes(1, RING),
                    .log = g_string_new(NULL) };
    log_set_sink(collect_line, h->log);
    h->memory = guest_memory_new_borrowed(h->mem, 0, MEM_BYTES);
    h->inflight = inflight_new(1, RING, &fd, &error);
    g_assert_no_error(error);
    h->area = mmap(NULL, h->area_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                   fd, 0);
    g_assert_true(h->area != MAP_FAILED);
    close(fd);
    take_over(h);
}

static void hostile_clear(Hostile *h)
{
    virtqueue_free(h->vq);
    munmap(h->area, h->area_bytes);
    inflight_free(h->inflight);
    guest_memory_unref(h->memory);
    g_free(h->mem);
    log_set_sink(NULL, NULL);
    g_string_free(h->log, true);
}

static void offer_split(Hostile *h, unsigned n)
{
    struct vring_desc *desc = (struct vring_desc *)h->mem;
    struct vring_avail *avail = (struct vring_avail *)(h->mem + AVAIL_AT);
    unsigned i = n % RING;

    desc[i] = (struct vring_desc){ DATA_AT, 1, VRING_DESC_F_WRITE, 0 };
    avail->ring[i] = i;
    avail->idx = n + 1;
}

static void offer_packed(Hostile *h, unsigned n)
{
    struct vring_packed_desc *desc = (struct vring_packed_desc *)h->mem;
    bool wrap = n / RING % 2 == 0;
    unsigned i = n % RING;

    desc[i] = (struct vring_packed_desc){
        DATA_AT, 1, i, VRING_DESC_F_WRITE |
                       (wrap ? 1 << VRING_PACKED_DESC_F_AVAIL
                             : 1 << VRING_PACKED_DESC_F_USED),
    };
}

/* Makes the @n-th buffer of one slot available, whoever has the slot. */
static void offer(Hostile *h, unsigned n)
{
    if (h->packed) {
        offer_packed(h, n);
    } else {
        offer_split(h, n);
    }
}

/* The driver takes the byte in its buffer for the end of the request. */
static void test_impatient(gconstpointer packed)
{
    VirtQueueElement elem = { 0 };
    Hostile h;
    unsigned n = 0;

    hostile_init(&h, packed != NULL);
    while (n < 4 * RING) {
        offer(&h, n);
        if (virtqueue_pop(h.vq, &elem) <= 0) {
            break;
        }
        virtqueue_push(h.vq, &elem, 1);
        n++;
    }
    g_assert_cmpuint(n, ==, RING);
    g_assert_true(virtqueue_is_broken(h.vq));
    g_assert_nonnull(strstr(h.log->str, packed ? "chains take more than"
                                               : "available index jumps"));
    virtqueue_publish(h.vq);
    virtqueue_element_clear(&elem);
    hostile_clear(&h);
}

/* Half of the ring is in the device's hands: the other half is free. */
static void test_greedy(gconstpointer packed)
{
    VirtQueueElement elems[RING + 1] = { { 0 } };
    Hostile h;
    unsigned n = 0;

    hostile_init(&h, packed != NULL);
    offer(&h, 0);
    g_assert_cmpint(virtqueue_pop(h.vq, &elems[0]), ==, 1);
    for (unsigned i = 1; i <= RING; i++) {
        offer(&h, i);
    }
    while (n < RING && virtqueue_pop(h.vq, &elems[n + 1]) > 0) {
        n++;
    }
    g_assert_cmpuint(n, <, RING);
    g_assert_true(virtqueue_is_broken(h.vq));
    for (unsigned i = 0; i <= RING; i++) {
        virtqueue_element_clear(&elems[i]);
    }
    hostile_clear(&h);
}

/* The length of a chain is what it was when it was checked. */
static void test_recorded_length(void)
{
    VirtQueueElement elems[2] = { { 0 } };
    InflightPacked *area;
    Hostile h;

    hostile_init(&h, true);
    for (unsigned i = 0; i < G_N_ELEMENTS(elems); i++) {
        offer(&h, i);
        g_assert_cmpint(virtqueue_pop(h.vq, &elems[i]), ==, 1);
    }
    take_over(&h);
    g_assert_cmpuint(virtqueue_resubmits(h.vq), ==, G_N_ELEMENTS(elems));
    area = (InflightPacked *)h.area;
    for (unsigned i = 0; i < RING; i++) {
        area->desc[i].num = 40000;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(elems); i++) {
        g_assert_cmpint(virtqueue_pop(h.vq, &elems[i]), ==, 1);
        g_assert_cmpuint(elems[i].n_ring_descs, ==, 1);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(elems); i++) {
        virtqueue_push(h.vq, &elems[i], 1);
        virtqueue_element_clear(&elems[i]);
    }
    virtqueue_publish(h.vq);
    hostile_clear(&h);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/inflight-hostile/impatient/split", NULL,
                         test_impatient);
    g_test_add_data_func("/inflight-hostile/impatient/packed", "packed",
                         test_impatient);
    g_test_add_data_func("/inflight-hostile/greedy/split", NULL, test_greedy);
    g_test_add_data_func("/inflight-hostile/greedy/packed", "packed",
                         test_greedy);
    g_test_add_func("/inflight-hostile/recorded-length", test_recorded_length);
    return g_test_run();
}
