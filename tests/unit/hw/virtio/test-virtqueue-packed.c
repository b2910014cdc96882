/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The packed ring with a driver that breaks the rules, and its own rare but
 * legal cases: chains over the end of the ring, completion out of order,
 * sizes that are no power of 2.
 */
#include "virtqueue-rig.h"

#include <linux/virtio_ring.h>
#include <string.h>

#define N VRING_DESC_F_NEXT
#define W VRING_DESC_F_WRITE
#define I VRING_DESC_F_INDIRECT
#define AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED (1u << VRING_PACKED_DESC_F_USED)

#define SIZE 8

static const RigConfig plain = { .size = SIZE, .packed = true };
static const RigConfig indirect = {
    .size = SIZE, .packed = true, .indirect = true,
};
static const RigConfig two = {
    .size = SIZE, .packed = true, .indirect = true, .two_regions = true,
};

static struct vring_packed_desc *desc(Rig *rig)
{
    return virtio_ring_desc(rig->ring);
}

/* Available in the first lap. */
static void set(Rig *rig, unsigned i, uint64_t addr, uint32_t len,
                uint16_t id, uint16_t flags)
{
    desc(rig)[i] =
        (struct vring_packed_desc){ addr, len, id, flags | AVAIL };
}

static uint64_t buffer(Rig *rig)
{
    return rig_guest(rig, rig->buffers);
}

static void test_id_too_large(void)
{
    g_autoptr(Rig) rig = rig_new(&plain);

    set(rig, 0, buffer(rig), 16, SIZE, 0);
    rig_expect_broken(rig, "buffer id 8 in a ring of 8");
}

static void test_id_twice(void)
{
    g_autoptr(Rig) rig = rig_new(&plain);

    set(rig, 0, buffer(rig), 16, 5, 0);
    set(rig, 1, buffer(rig), 16, 5, 0);
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    rig_expect_broken(rig, "buffer 5 was made available while in use");
}

/* All slots continued: once around the ring and no further. */
static void test_endless_chain(void)
{
    g_autoptr(Rig) rig = rig_new(&plain);

    for (unsigned i = 0; i < SIZE; i++) {
        set(rig, i, buffer(rig), 16, 0, N);
    }
    rig_expect_broken(rig, "take more than the 8 slots");
}

/* A chain that runs into slots of one in flight. */
static void test_chain_into_used_slots(void)
{
    g_autoptr(Rig) rig = rig_new(&plain);

    for (unsigned i = 0; i < SIZE; i++) {
        set(rig, i, buffer(rig), 16, 1, i == 2 ? 0 : N);
    }
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    g_assert_cmpuint(rig->elem.n_ring_descs, ==, 3);
    rig_expect_broken(rig, "take more than the 8 slots");
}

/* The ring is full and the driver claims there is more. */
static void test_more_than_the_ring(void)
{
    g_autoptr(Rig) rig = rig_new(&plain);

    for (unsigned i = 0; i < SIZE; i++) {
        set(rig, i, buffer(rig), 16, i, 0);
        g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    }
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 0);
    desc(rig)[0].flags = USED; /* available in the second lap */
    rig_expect_broken(rig, "take more than the 8 slots");
}

static void test_longest_chain(void)
{
    g_autoptr(Rig) rig = rig_new(&plain);

    for (unsigned i = 0; i < SIZE; i++) {
        set(rig, i, buffer(rig), 16, i == SIZE - 1 ? 3 : 9999,
            i < SIZE - 1 ? N : 0);
    }
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    g_assert_cmpuint(rig->elem.out_num, ==, SIZE);
    g_assert_cmpuint(rig->elem.index, ==, 3); /* the last one's id */
    g_assert_cmpuint(rig->elem.n_ring_descs, ==, SIZE);
    g_assert_cmphex(virtqueue_base(rig->vq), ==, 0x80000000);
}

static void test_readable_after_writable(void)
{
    g_autoptr(Rig) rig = rig_new(&plain);

    set(rig, 0, buffer(rig), 16, 0, N | W);
    set(rig, 1, buffer(rig), 16, 0, 0);
    rig_expect_broken(rig, "readable buffer follows a writable one");
}

static void test_outside_memory(void)
{
    g_autoptr(Rig) rig = rig_new(&two);

    set(rig, 0, UINT64_MAX - 7, 16, 0, 0);
    rig_expect_broken(rig, "is not in guest memory");
}

/* --- Indirect tables --- */

static void test_indirect_refused(void)
{
    static const struct {
        uint32_t len;
        uint16_t flags;
        const char *why;
    } rows[] = {
        { 0, I, "indirect table of 0 bytes" },
        { 24, I, "indirect table of 24 bytes" },
        { (VIRTQUEUE_MAX_SIZE + 1) * 16, I, "indirect table of 16400 bytes" },
        { 16, I | N, "indirect descriptor within a chain" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(Rig) rig = rig_new(&indirect);

        set(rig, 0, buffer(rig), rows[i].len, 0, rows[i].flags);
        rig_expect_broken(rig, rows[i].why);
    }
}

/* Unlike the split ring, the packed one does not mix (2.8.19). */
static void test_indirect_in_chain(void)
{
    g_autoptr(Rig) rig = rig_new(&indirect);

    set(rig, 0, buffer(rig), 16, 0, N);
    set(rig, 1, buffer(rig), 16, 0, I);
    rig_expect_broken(rig, "indirect descriptor within a chain");
}

static void test_indirect_not_negotiated(void)
{
    g_autoptr(Rig) rig = rig_new(&plain);

    set(rig, 0, buffer(rig), 16, 0, I);
    rig_expect_broken(rig, "indirect descriptor without the feature");
}

/* In a table WRITE counts; all else is reserved and ignored (2.8.7). */
static void test_indirect_flags_ignored(void)
{
    g_autoptr(Rig) rig = rig_new(&indirect);
    struct vring_packed_desc *table = (void *)(rig->buffers + 4096);

    table[0] = (struct vring_packed_desc){ buffer(rig), 16, 7777, I | USED };
    table[1] = (struct vring_packed_desc){ buffer(rig) + 16, 32, 1, N | W };
    set(rig, 0, buffer(rig) + 4096, 2 * 16, 4, I | W);
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    g_assert_cmpuint(rig->elem.out_num, ==, 1);
    g_assert_cmpuint(rig->elem.in_num, ==, 1);
    g_assert_cmpuint(rig->elem.index, ==, 4);
    g_assert_cmpuint(rig->elem.n_ring_descs, ==, 1);
}

static void test_indirect_crosses_regions(void)
{
    g_autoptr(Rig) rig = rig_new(&two);
    uint8_t *at = rig->border - 24;
    struct vring_packed_desc entries[2] = {
        { buffer(rig), 100, 0, 0 }, { buffer(rig) + 100, 200, 0, W },
    };

    memcpy(at, entries, sizeof(entries));
    set(rig, 0, rig_guest(rig, at), 32, 0, I);
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    g_assert_cmpuint(rig->elem.out_num, ==, 1);
    g_assert_cmpuint(rig->elem.iov[1].iov_len, ==, 200);
}

/* --- Laps --- */

static void add(Rig *rig, unsigned n, void *token)
{
    struct iovec iov[SIZE];
    VirtioChain chain = { .in = iov, .n_in = n, .token = token };

    for (unsigned i = 0; i < n; i++) {
        iov[i] = (struct iovec){ rig->buffers + 16 * i, 16 };
    }
    g_assert_true(virtio_ring_add(rig->ring, &chain));
    virtio_ring_publish(rig->ring);
}

/* Chains of three in a ring of seven: every lap ends within a chain. */
static void test_chain_over_the_end(void)
{
    static const RigConfig config = {
        .size = 7, .packed = true, .event_idx = true,
    };
    g_autoptr(Rig) rig = rig_new(&config);
    static char token;

    for (unsigned i = 0; i < 200; i++) {
        add(rig, 3, &token);
        g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
        g_assert_cmpuint(rig->elem.in_num, ==, 3);
        g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 0);
        virtqueue_push(rig->vq, &rig->elem, 48);
        g_assert_false(virtio_ring_enable_call(rig->ring));
        g_assert_true(virtqueue_publish(rig->vq));
        g_assert_true(virtio_ring_get_used(rig->ring, NULL) == &token);
    }
    /* 600 slots are 85 laps and 5 slots; the wrap counters began at 1 */
    g_assert_cmphex(virtqueue_base(rig->vq), ==, 0x00050005);
}

/* The used descriptors of a batch lie where the example in the source says,
 * and none is visible before the first one is. */
static void test_out_of_order(void)
{
    g_autoptr(Rig) rig = rig_new(&plain);
    VirtQueueElement elem[3] = { 0 };
    static char a, b, c;
    uint32_t len;

    add(rig, 2, &a);
    add(rig, 1, &b);
    add(rig, 3, &c);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpint(virtqueue_pop(rig->vq, &elem[i]), ==, 1);
    }
    virtqueue_push(rig->vq, &elem[1], 10);
    virtqueue_push(rig->vq, &elem[0], 0);
    virtqueue_push(rig->vq, &elem[2], 30);
    g_assert_false(virtio_ring_has_used(rig->ring));
    g_assert_cmphex(desc(rig)[0].flags & USED, ==, 0);
    g_assert_true(virtqueue_publish(rig->vq));

    g_assert_cmpuint(desc(rig)[0].id, ==, elem[1].index);
    g_assert_cmpuint(desc(rig)[1].id, ==, elem[0].index);
    g_assert_cmpuint(desc(rig)[3].id, ==, elem[2].index);
    g_assert_cmphex(desc(rig)[0].flags, ==, AVAIL | USED | W);
    g_assert_cmphex(desc(rig)[1].flags, ==, AVAIL | USED); /* wrote nothing */
    g_assert_true(virtio_ring_get_used(rig->ring, &len) == &b);
    g_assert_cmpuint(len, ==, 10);
    g_assert_true(virtio_ring_get_used(rig->ring, &len) == &a);
    g_assert_cmpuint(len, ==, 0);
    g_assert_true(virtio_ring_get_used(rig->ring, &len) == &c);
    g_assert_cmpuint(len, ==, 30);
    g_assert_cmphex(virtqueue_base(rig->vq), ==, 0x80068006);
    for (unsigned i = 0; i < 3; i++) {
        virtqueue_element_clear(&elem[i]);
    }
}

/* Base has two halves, each with its wrap counter. */
static void test_base(void)
{
    g_autoptr(Rig) rig = rig_new(&plain);
    VirtQueueConfig config;
    VirtQueue *vq;

    rig_fill_config(rig, &config);
    config.base = 0x80070005; /* used: 7, first lap; available: 5, second */
    vq = virtqueue_new(&config, NULL);
    g_assert_cmphex(virtqueue_base(vq), ==, 0x80070005);
    g_assert_false(virtqueue_has_work(vq));
    set(rig, 5, buffer(rig), 16, 1, 0);
    g_assert_false(virtqueue_has_work(vq)); /* that was the first lap */
    desc(rig)[5].flags = USED;
    g_assert_cmpint(virtqueue_pop(vq, &rig->elem), ==, 1);
    virtqueue_push(vq, &rig->elem, 0);
    virtqueue_publish(vq);
    g_assert_cmphex(desc(rig)[7].flags, ==, AVAIL | USED); /* first lap */
    g_assert_cmphex(virtqueue_base(vq), ==, 0x00000006);
    virtqueue_free(vq);
}

static void test_bases(void)
{
    static const struct {
        uint32_t base, result; /* 0: refused */
    } rows[] = {
        { 0x80008000, 0x80008000 },
        { 0x00008000, 0x80008000 }, /* one half: the other is the same */
        { 0x00008003, 0x80038003 },
        { 0x00000003, 0x00000003 }, /* three slots in flight */
        { 0x80000000, 0x80000000 }, /* all of them */
        { 0x80008008, 0 },
        { 0x80088000, 0 },
        { 0x80058003, 0 },          /* more used than available */
        { 0x80030005, 0 },          /* more in flight than there are slots */
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(Rig) rig = rig_new(&plain);
        GError *error = NULL;
        VirtQueueConfig config;
        VirtQueue *vq;

        rig_fill_config(rig, &config);
        config.base = rows[i].base;
        vq = virtqueue_new(&config, &error);
        g_assert_cmpint(!!vq, ==, !!rows[i].result);
        if (vq) {
            g_assert_cmphex(virtqueue_base(vq), ==, rows[i].result);
        } else {
            g_assert_nonnull(strstr(error->message, "no position"));
            g_error_free(error);
        }
        virtqueue_free(vq);
    }
}

/* An event for a slot counts only in its own lap; without the feature the
 * driver's DESC is no reason to keep silent. */
static void test_event_words(void)
{
    for (int event_idx = 0; event_idx < 2; event_idx++) {
        RigConfig config = {
            .size = SIZE, .packed = true, .event_idx = event_idx,
        };
        g_autoptr(Rig) rig = rig_new(&config);
        uint32_t *event = virtio_ring_avail(rig->ring);
        static char token;

        for (unsigned i = 0; i < 4 * SIZE; i++) {
            bool wrap = i / SIZE % 2 == 0;
            bool hit = i % SIZE == 3 && wrap;

            add(rig, 1, &token);
            g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
            virtqueue_push(rig->vq, &rig->elem, 0);
            *event = VRING_PACKED_EVENT_FLAG_DESC << 16 | 0x8000 | 3;
            g_assert_cmpint(virtqueue_publish(rig->vq), ==,
                            !event_idx || i == 0 || hit);
            virtio_ring_get_used(rig->ring, NULL);
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, fn) g_test_add_func("/virtqueue-packed/" name, fn)
    ADD("id-too-large", test_id_too_large);
    ADD("id-twice", test_id_twice);
    ADD("endless-chain", test_endless_chain);
    ADD("chain-into-used-slots", test_chain_into_used_slots);
    ADD("more-than-the-ring", test_more_than_the_ring);
    ADD("longest-chain", test_longest_chain);
    ADD("readable-after-writable", test_readable_after_writable);
    ADD("outside-memory", test_outside_memory);
    ADD("indirect-refused", test_indirect_refused);
    ADD("indirect-in-chain", test_indirect_in_chain);
    ADD("indirect-not-negotiated", test_indirect_not_negotiated);
    ADD("indirect-flags-ignored", test_indirect_flags_ignored);
    ADD("indirect-crosses-regions", test_indirect_crosses_regions);
    ADD("chain-over-the-end", test_chain_over_the_end);
    ADD("out-of-order", test_out_of_order);
    ADD("base", test_base);
    ADD("bases", test_bases);
    ADD("event-words", test_event_words);
    return g_test_run();
}
