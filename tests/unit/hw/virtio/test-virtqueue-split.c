/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The split ring with a driver that breaks the rules: descriptors, heads and
 * indexes are written here by hand. Also what is legal but rare.
 */
#include "virtqueue-rig.h"

#include <linux/virtio_ring.h>
#include <string.h>

#define N VRING_DESC_F_NEXT
#define W VRING_DESC_F_WRITE
#define I VRING_DESC_F_INDIRECT

#define SIZE 8

static const RigConfig plain = { .size = SIZE };
static const RigConfig indirect = { .size = SIZE, .indirect = true };
static const RigConfig two = {
    .size = SIZE, .indirect = true, .two_regions = true,
};

static void set_desc(void *table, unsigned i, uint64_t addr, uint32_t len,
                     uint16_t flags, uint16_t next)
{
    ((struct vring_desc *)table)[i] =
        (struct vring_desc){ addr, len, flags, next };
}

static void set(Rig *rig, unsigned i, uint64_t addr, uint32_t len,
                uint16_t flags, uint16_t next)
{
    set_desc(virtio_ring_desc(rig->ring), i, addr, len, flags, next);
}

static uint16_t *avail(Rig *rig)
{
    return virtio_ring_avail(rig->ring);
}

/* Makes @head available as number @idx of all time. */
static void offer(Rig *rig, uint16_t idx, uint16_t head)
{
    avail(rig)[2 + idx % SIZE] = head;
    avail(rig)[1] = idx + 1;
}

static uint64_t buffer(Rig *rig)
{
    return rig_guest(rig, rig->buffers);
}

/* --- The index and the heads --- */

static void test_index_jumps(void)
{
    g_autoptr(Rig) rig = rig_new(&plain);

    avail(rig)[1] = SIZE + 1;
    g_assert_true(virtqueue_has_work(rig->vq));
    rig_expect_broken(rig, "available index jumps from 0 to 9");
}

static void test_index_goes_back(void)
{
    g_autoptr(Rig) rig = rig_new(&plain);

    avail(rig)[1] = 0xffff;
    rig_expect_broken(rig, "available index jumps from 0 to 65535");
}

static void test_head_too_large(void)
{
    g_autoptr(Rig) rig = rig_new(&plain);

    offer(rig, 0, SIZE);
    rig_expect_broken(rig, "head 8 in a ring of 8");
}

static void test_head_twice(void)
{
    g_autoptr(Rig) rig = rig_new(&plain);
    VirtQueueElement first;

    set(rig, 3, buffer(rig), 16, 0, 0);
    offer(rig, 0, 3);
    virtqueue_element_init(&first);
    g_assert_cmpint(virtqueue_pop(rig->vq, &first), ==, 1);

    /* given back, it may come again */
    virtqueue_push(rig->vq, &first, 0);
    virtqueue_publish(rig->vq);
    offer(rig, 1, 3);
    g_assert_cmpint(virtqueue_pop(rig->vq, &first), ==, 1);
    offer(rig, 2, 3);
    rig_expect_broken(rig, "buffer 3 was made available while in use");

    /* what was popped before can still be completed */
    g_assert_cmpuint(virtqueue_in_use(rig->vq), ==, 1);
    virtqueue_push(rig->vq, &first, 0);
    virtqueue_publish(rig->vq);
    g_assert_cmpuint(((uint16_t *)virtio_ring_used(rig->ring))[1], ==, 2);
    virtqueue_element_clear(&first);
}

/* --- Chains --- */

static void test_loop(void)
{
    g_autoptr(Rig) rig = rig_new(&plain);

    set(rig, 0, buffer(rig), 16, N, 1);
    set(rig, 1, buffer(rig), 16, N, 0);
    offer(rig, 0, 0);
    rig_expect_broken(rig, "loop");
}

static void test_longest_chain(void)
{
    g_autoptr(Rig) rig = rig_new(&plain);

    for (unsigned i = 0; i < SIZE; i++) {
        set(rig, i, buffer(rig), 16, i + 1 < SIZE ? N : 0, i + 1);
    }
    offer(rig, 0, 0);
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    g_assert_cmpuint(rig->elem.out_num, ==, SIZE);
}

static void test_next_too_large(void)
{
    g_autoptr(Rig) rig = rig_new(&plain);

    set(rig, 0, buffer(rig), 16, N, SIZE);
    offer(rig, 0, 0);
    rig_expect_broken(rig, "descriptor 8 of 8");
}

static void test_readable_after_writable(void)
{
    g_autoptr(Rig) rig = rig_new(&plain);

    set(rig, 0, buffer(rig), 16, N | W, 1);
    set(rig, 1, buffer(rig), 16, 0, 0);
    offer(rig, 0, 0);
    rig_expect_broken(rig, "readable buffer follows a writable one");
}

static void test_outside_memory(void)
{
    static const struct {
        uint64_t addr;
        uint32_t len;
    } rows[] = {
        { 0, 16 },
        { RIG_GUEST_ADDR - 1, 2 },
        { RIG_GUEST_ADDR, UINT32_MAX },
        { UINT64_MAX, 1 },
        { UINT64_MAX - 7, 16 }, /* addr + len wraps */
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(Rig) rig = rig_new(&two);

        set(rig, 0, rows[i].addr, rows[i].len, W, 0);
        offer(rig, 0, 0);
        rig_expect_broken(rig, "is not in guest memory");
    }
}

static void test_last_byte_of_memory(void)
{
    g_autoptr(Rig) rig = rig_new(&two);

    set(rig, 0, RIG_GUEST_ADDR + rig->bytes - 16, 16, W, 0);
    offer(rig, 0, 0);
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    set(rig, 1, RIG_GUEST_ADDR + rig->bytes - 16, 17, W, 0);
    offer(rig, 1, 1);
    rig_expect_broken(rig, "is not in guest memory");
}

/* More than 2^32 bytes: in a range that claims to be large, since nobody
 * touches it. */
static void test_too_many_bytes(void)
{
    g_autoptr(Rig) rig = rig_new(&indirect);
    g_autoptr(GuestMemory) large =
        guest_memory_new_borrowed(rig->mem, RIG_GUEST_ADDR, 1ull << 40);
    struct vring_desc *table = (struct vring_desc *)rig->buffers;
    VirtQueueConfig config;
    VirtQueue *vq;

    rig_fill_config(rig, &config);
    config.memory = large;
    vq = virtqueue_new(&config, NULL);
    for (unsigned i = 0; i < 3; i++) {
        set_desc(table, i, RIG_GUEST_ADDR, 0x60000000, i < 2 ? N : 0, i + 1);
    }
    set(rig, 0, buffer(rig), 2 * 16, I, 0);
    set_desc(table, 1, RIG_GUEST_ADDR, 0x60000000, 0, 0);
    offer(rig, 0, 0);
    g_assert_cmpint(virtqueue_pop(vq, &rig->elem), ==, 1);
    set_desc(table, 1, RIG_GUEST_ADDR, 0x60000000, N, 2);
    set(rig, 1, buffer(rig), 3 * 16, I, 0);
    offer(rig, 1, 1);
    g_assert_cmpint(virtqueue_pop(vq, &rig->elem), ==, -1);
    g_assert_nonnull(strstr(rig->log->str, "a chain of 4831838208 bytes"));
    virtqueue_free(vq);
}

/* --- Indirect tables --- */

static void test_indirect_after_normal(void)
{
    g_autoptr(Rig) rig = rig_new(&indirect);

    set(rig, 0, buffer(rig), 16, N, 5);
    set(rig, 5, buffer(rig) + 16, 16, N, 2);
    /* WRITE on it means nothing */
    set(rig, 2, buffer(rig) + 4096, 3 * 16, I | W, 77);
    set_desc(rig->buffers + 4096, 0, buffer(rig) + 32, 16, N, 2);
    set_desc(rig->buffers + 4096, 2, buffer(rig) + 48, 16, W, 99);
    offer(rig, 0, 0);
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    g_assert_cmpuint(rig->elem.out_num, ==, 3);
    g_assert_cmpuint(rig->elem.in_num, ==, 1);
    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmphex(rig_guest_of_device(rig, rig->elem.iov[i].iov_base),
                        ==, buffer(rig) + 16 * i);
    }
}

static void test_indirect_refused(void)
{
    static const struct {
        uint32_t len;
        uint16_t flags;
        const char *why;
    } rows[] = {
        { 0, I, "indirect table of 0 bytes" },
        { 15, I, "indirect table of 15 bytes" },
        { 17, I, "indirect table of 17 bytes" },
        { (VIRTQUEUE_MAX_SIZE + 1) * 16, I, "indirect table of 16400 bytes" },
        { 0xfffffff0, I, "indirect table of 4294967280 bytes" },
        { 16, I | N, "both indirect and continued" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(Rig) rig = rig_new(&indirect);

        set(rig, 0, buffer(rig), rows[i].len, rows[i].flags, 0);
        offer(rig, 0, 0);
        rig_expect_broken(rig, rows[i].why);
    }
}

static void test_indirect_not_negotiated(void)
{
    g_autoptr(Rig) rig = rig_new(&plain);

    set(rig, 0, buffer(rig), 16, I, 0);
    offer(rig, 0, 0);
    rig_expect_broken(rig, "indirect descriptor without the feature");
}

static void test_indirect_nested(void)
{
    g_autoptr(Rig) rig = rig_new(&indirect);

    set(rig, 0, buffer(rig), 16, I, 0);
    set_desc(rig->buffers, 0, buffer(rig), 16, I, 0);
    offer(rig, 0, 0);
    rig_expect_broken(rig, "indirect table within a table");
}

static void test_indirect_loop(void)
{
    g_autoptr(Rig) rig = rig_new(&indirect);

    set(rig, 0, buffer(rig), 2 * 16, I, 0);
    set_desc(rig->buffers, 0, buffer(rig), 16, N, 1);
    set_desc(rig->buffers, 1, buffer(rig), 16, N, 1);
    offer(rig, 0, 0);
    rig_expect_broken(rig, "loop");
}

static void test_indirect_next_too_large(void)
{
    g_autoptr(Rig) rig = rig_new(&indirect);

    set(rig, 0, buffer(rig), 2 * 16, I, 0);
    set_desc(rig->buffers, 0, buffer(rig), 16, N, 2);
    offer(rig, 0, 0);
    rig_expect_broken(rig, "descriptor 2 of 2");
}

static void test_indirect_outside(void)
{
    g_autoptr(Rig) rig = rig_new(&two);

    set(rig, 0, RIG_GUEST_ADDR + rig->bytes - 16, 32, I, 0);
    offer(rig, 0, 0);
    rig_expect_broken(rig, "indirect table at");
}

/* The longest table: more pieces than the ring has descriptors. */
static void test_indirect_longest(void)
{
    g_autoptr(Rig) rig = rig_new(&indirect);

    set(rig, 0, buffer(rig), VIRTQUEUE_MAX_SIZE * 16, I, 0);
    for (unsigned i = 0; i < VIRTQUEUE_MAX_SIZE; i++) {
        set_desc(rig->buffers, i, buffer(rig), 1,
                 i + 1 < VIRTQUEUE_MAX_SIZE ? N : 0, i + 1);
    }
    offer(rig, 0, 0);
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    g_assert_cmpuint(rig->elem.out_num, ==, VIRTQUEUE_MAX_SIZE);
}

/* A table over the border of two regions is copied, unaligned or not. */
static void test_indirect_crosses_regions(void)
{
    for (unsigned shift = 0; shift < 16; shift += 3) {
        g_autoptr(Rig) rig = rig_new(&two);
        uint8_t *at = rig->border - 16 - shift;
        struct vring_desc entries[2] = {
            { buffer(rig), 100, N, 1 }, { buffer(rig) + 100, 200, W, 0 },
        };

        memcpy(at, entries, sizeof(entries));
        set(rig, 0, rig_guest(rig, at), 32, I, 0);
        offer(rig, 0, 0);
        g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
        g_assert_cmpuint(rig->elem.out_num, ==, 1);
        g_assert_cmpuint(rig->elem.in_num, ==, 1);
        g_assert_cmpuint(rig->elem.iov[1].iov_len, ==, 200);
    }
}

/* --- Bursts, whose chains are looked at before they are taken --- */

static struct vring_desc *burst_table(Rig *rig, unsigned i)
{
    return (struct vring_desc *)(rig->buffers + i * 64);
}

/* A ring full of chains like those of a block device: header, data, status. */
static void fill_ring(Rig *rig)
{
    for (unsigned i = 0; i < SIZE; i++) {
        struct vring_desc *table = burst_table(rig, i);
        uint64_t at = buffer(rig) + 1024 + i * 256;

        set_desc(table, 0, at, 16, N, 1);
        set_desc(table, 1, at + 16, 100 + i, N | W, 2);
        set_desc(table, 2, at + 255, 1, W, 0);
        set(rig, i, buffer(rig) + i * 64, 48, I, 0);
        avail(rig)[2 + i] = i;
    }
    avail(rig)[1] = SIZE;
}

static void expect_good(Rig *rig, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
        g_assert_cmpuint(rig->elem.index, ==, i);
        g_assert_cmpuint(rig->elem.out_num, ==, 1);
        g_assert_cmpuint(rig->elem.in_num, ==, 2);
        g_assert_cmpuint(rig->elem.iov[1].iov_len, ==, 100 + i);
    }
}

static void test_burst(void)
{
    g_autoptr(Rig) rig = rig_new(&indirect);

    fill_ring(rig);
    expect_good(rig, 0, SIZE);
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 0);
    g_assert_cmpuint(rig->log->len, ==, 0);
}

/* The chains before the bad one are fine, whatever it is. */
static void test_burst_with_bad_chain(void)
{
    static const struct {
        struct vring_desc in_ring, first, last;
        uint16_t head;
        const char *why;
    } rows[] = {
        { .head = SIZE + 5, .why = "head 13 in a ring of 8" },
        { .in_ring = { UINT64_C(1) << 50, 48, I, 0 },
          .why = "not in guest memory" },
        { .in_ring = { UINT64_MAX - 15, 48, I, 0 },
          .why = "not in guest memory" },
        { .in_ring = { RIG_GUEST_ADDR, 0, I, 0 }, .why = "table of 0 bytes" },
        { .in_ring = { RIG_GUEST_ADDR, 15, I, 0 },
          .why = "table of 15 bytes" },
        { .in_ring = { RIG_GUEST_ADDR, 0xfffffff0, I, 0 },
          .why = "table of 4294967280 bytes" },
        { .in_ring = { UINT64_MAX, 16, 0, 0 }, .why = "not in guest memory" },
        { .first = { 0, 16, N, 1 }, .why = "not in guest memory" },
        { .last = { UINT64_MAX, 1, W, 0 }, .why = "not in guest memory" },
        { .last = { RIG_GUEST_ADDR, 1, N | W, 3 }, .why = "descriptor 3 of" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(Rig) rig = rig_new(&indirect);
        struct vring_desc *ring = virtio_ring_desc(rig->ring);

        fill_ring(rig);
        if (rows[i].head) {
            avail(rig)[2 + 5] = rows[i].head;
        }
        if (rows[i].in_ring.addr) {
            ring[5] = rows[i].in_ring;
        }
        if (rows[i].first.len) {
            burst_table(rig, 5)[0] = rows[i].first;
        }
        if (rows[i].last.len) {
            burst_table(rig, 5)[2] = rows[i].last;
        }
        expect_good(rig, 0, 5);
        rig_expect_broken(rig, rows[i].why);
    }
}

/* What counts is what is there when a chain is taken. */
static void test_burst_changes(void)
{
    g_autoptr(Rig) rig = rig_new(&indirect);

    fill_ring(rig);
    expect_good(rig, 0, 1);
    set(rig, 4, buffer(rig), 48, I, 0); /* what chain 0 was */
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    expect_good(rig, 2, 4);
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    g_assert_cmpuint(rig->elem.iov[1].iov_len, ==, 100);
    set(rig, 5, UINT64_C(1) << 50, 48, I, 0);
    rig_expect_broken(rig, "not in guest memory");
}

/* --- The index space --- */

/* Through the wrap of the 16 bit index, with the event index on. */
static void test_index_wraps(void)
{
    static const RigConfig config = { .size = SIZE, .event_idx = true };
    g_autoptr(Rig) rig = rig_new(&config);
    struct iovec iov = { rig->buffers, 16 };
    VirtioChain chain = { .in = &iov, .n_in = 1, .token = rig };

    for (unsigned i = 0; i < 70000; i++) {
        g_assert_false(virtqueue_enable_kick(rig->vq));
        g_assert_true(virtio_ring_add(rig->ring, &chain));
        g_assert_true(virtio_ring_publish(rig->ring));
        virtqueue_disable_kick(rig->vq);
        g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
        g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 0);
        virtqueue_push(rig->vq, &rig->elem, 16);
        g_assert_false(virtio_ring_enable_call(rig->ring));
        g_assert_true(virtqueue_publish(rig->vq));
        g_assert_true(virtio_ring_get_used(rig->ring, NULL) == rig);
    }
    g_assert_cmphex(virtqueue_base(rig->vq), ==, 70000 & 0xffff);
}

/* NO_INTERRUPT is not for drivers that have the event index. */
static void test_no_interrupt_flag(void)
{
    for (int event_idx = 0; event_idx < 2; event_idx++) {
        RigConfig config = { .size = SIZE, .event_idx = event_idx };
        g_autoptr(Rig) rig = rig_new(&config);
        struct iovec iov = { rig->buffers, 16 };
        VirtioChain chain = { .in = &iov, .n_in = 1, .token = rig };

        for (int i = 0; i < 2; i++) {
            g_assert_true(virtio_ring_add(rig->ring, &chain));
            virtio_ring_publish(rig->ring);
            g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
            avail(rig)[0] = VRING_AVAIL_F_NO_INTERRUPT;
            avail(rig)[2 + SIZE] = i; /* used_event: this one */
            virtqueue_push(rig->vq, &rig->elem, 0);
            g_assert_cmpint(virtqueue_publish(rig->vq), ==, event_idx);
        }
    }
}

/* A new queue takes the used index from the ring and the other as told. */
static void test_base(void)
{
    g_autoptr(Rig) rig = rig_new(&plain);
    uint16_t *used = virtio_ring_used(rig->ring);
    VirtQueueConfig config;
    VirtQueue *vq;

    rig_fill_config(rig, &config);
    config.base = 0x1fff0; /* the upper half means nothing */
    used[1] = 0xfff0;
    avail(rig)[1] = 0xfff0;
    vq = virtqueue_new(&config, NULL);
    g_assert_cmphex(virtqueue_base(vq), ==, 0xfff0);
    g_assert_cmpint(virtqueue_pop(vq, &rig->elem), ==, 0);
    set(rig, 2, buffer(rig), 16, W, 0);
    offer(rig, 0xfff0, 2);
    g_assert_cmpint(virtqueue_pop(vq, &rig->elem), ==, 1);
    virtqueue_push(vq, &rig->elem, 16);
    virtqueue_publish(vq);
    g_assert_cmphex(used[1], ==, 0xfff1);
    g_assert_cmphex(virtqueue_base(vq), ==, 0xfff1);
    virtqueue_free(vq);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, fn) g_test_add_func("/virtqueue-split/" name, fn)
    ADD("index-jumps", test_index_jumps);
    ADD("index-goes-back", test_index_goes_back);
    ADD("head-too-large", test_head_too_large);
    ADD("head-twice", test_head_twice);
    ADD("loop", test_loop);
    ADD("longest-chain", test_longest_chain);
    ADD("next-too-large", test_next_too_large);
    ADD("readable-after-writable", test_readable_after_writable);
    ADD("outside-memory", test_outside_memory);
    ADD("last-byte-of-memory", test_last_byte_of_memory);
    ADD("too-many-bytes", test_too_many_bytes);
    ADD("indirect-after-normal", test_indirect_after_normal);
    ADD("indirect-refused", test_indirect_refused);
    ADD("indirect-not-negotiated", test_indirect_not_negotiated);
    ADD("indirect-nested", test_indirect_nested);
    ADD("indirect-loop", test_indirect_loop);
    ADD("indirect-next-too-large", test_indirect_next_too_large);
    ADD("indirect-outside", test_indirect_outside);
    ADD("indirect-longest", test_indirect_longest);
    ADD("indirect-crosses-regions", test_indirect_crosses_regions);
    ADD("burst", test_burst);
    ADD("burst-with-bad-chain", test_burst_with_bad_chain);
    ADD("burst-changes", test_burst_changes);
    ADD("index-wraps", test_index_wraps);
    ADD("no-interrupt-flag", test_no_interrupt_flag);
    ADD("base", test_base);
    return g_test_run();
}
