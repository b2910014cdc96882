/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What both ring formats must do alike, run over every combination of format,
 * event index, indirect descriptors and one or two memory regions, against a
 * driver that knows nothing of the device's code.
 */
#include "virtqueue-rig.h"

#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

/* --- One chain at a time --- */

static const void *TOKEN = "token";

/* Adds a chain of @n_out and @n_in buffers of @len bytes each. */
static void add(Rig *rig, unsigned n_out, unsigned n_in, size_t len)
{
    struct iovec iov[64];
    VirtioChain chain = {
        .out = iov, .n_out = n_out, .in = iov + n_out, .n_in = n_in,
        .indirect = rig->config.indirect, .token = (void *)TOKEN,
    };

    for (unsigned i = 0; i < n_out + n_in; i++) {
        iov[i] = (struct iovec){ rig->buffers + i * len, len };
    }
    g_assert_true(virtio_ring_add(rig->ring, &chain));
}

static void add_and_publish(Rig *rig)
{
    add(rig, 1, 1, 512);
    virtio_ring_publish(rig->ring);
}

static void pop_push(Rig *rig, uint32_t written)
{
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    virtqueue_push(rig->vq, &rig->elem, written);
}

static void test_roundtrip(gconstpointer opaque)
{
    g_autoptr(Rig) rig = rig_new(opaque);
    VirtQueueElement *elem = &rig->elem;
    uint32_t len;

    g_assert_false(virtqueue_has_work(rig->vq));
    g_assert_cmpint(virtqueue_pop(rig->vq, elem), ==, 0);
    add(rig, 2, 3, 100);
    g_assert_false(virtqueue_has_work(rig->vq)); /* not published */
    g_assert_true(virtio_ring_publish(rig->ring));
    g_assert_true(virtqueue_has_work(rig->vq));
    memcpy(rig->buffers, "request", 7);

    g_assert_cmpint(virtqueue_pop(rig->vq, elem), ==, 1);
    g_assert_cmpuint(virtqueue_in_use(rig->vq), ==, 1);
    g_assert_cmpuint(elem->out_num, ==, 2);
    g_assert_cmpuint(elem->in_num, ==, 3);
    for (unsigned i = 0; i < 5; i++) {
        g_assert_cmpuint(elem->iov[i].iov_len, ==, 100);
        g_assert_cmphex(rig_guest_of_device(rig, elem->iov[i].iov_base), ==,
                        rig_guest(rig, rig->buffers + i * 100));
    }
    g_assert_cmpmem(elem->iov[0].iov_base, 7, "request", 7);
    memcpy(elem->iov[2].iov_base, "answer", 6);
    g_assert_false(virtqueue_has_work(rig->vq));
    g_assert_cmpint(virtqueue_pop(rig->vq, elem), ==, 0);

    g_assert_false(virtqueue_publish(rig->vq)); /* nothing was pushed */
    virtqueue_push(rig->vq, elem, 123);
    g_assert_cmpuint(virtqueue_in_use(rig->vq), ==, 0);
    g_assert_null(virtio_ring_get_used(rig->ring, &len)); /* nor published */
    g_assert_true(virtqueue_publish(rig->vq));
    g_assert_true(virtio_ring_get_used(rig->ring, &len) == TOKEN);
    g_assert_cmpuint(len, ==, 123);
    g_assert_null(virtio_ring_get_used(rig->ring, &len));
    g_assert_cmpmem(rig->buffers + 200, 6, "answer", 6);
    g_assert_cmpstr(rig->log->str, ==, "");
}

/* A buffer over the border of two regions is one descriptor, two pieces. */
static void test_buffer_crosses_regions(gconstpointer opaque)
{
    g_autoptr(Rig) rig = rig_new(opaque);
    struct iovec iov = { rig->border - 100, 300 };
    VirtioChain chain = {
        .out = &iov, .n_out = 1, .token = (void *)TOKEN,
        .indirect = rig->config.indirect,
    };

    g_assert_true(virtio_ring_add(rig->ring, &chain));
    virtio_ring_publish(rig->ring);
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    if (rig->config.two_regions) {
        g_assert_cmpuint(rig->elem.out_num, ==, 2);
        g_assert_cmpuint(rig->elem.iov[0].iov_len, ==, 100);
        g_assert_cmpuint(rig->elem.iov[1].iov_len, ==, 200);
    } else {
        g_assert_cmpuint(rig->elem.out_num, ==, 1);
    }
}

/* Pieces are no descriptors: a chain as long as the ring, each buffer over
 * the border, is no loop (and makes the element grow). */
static void test_full_ring_crossing(gconstpointer opaque)
{
    const RigConfig *config = opaque;
    g_autoptr(Rig) rig = rig_new(config);
    unsigned n = config->indirect ? RIG_INDIRECT_MAX : config->size;
    g_autofree struct iovec *iov = g_new(struct iovec, n);
    VirtioChain chain = {
        .out = iov, .n_out = 1, .in = iov + 1, .n_in = n - 1,
        .indirect = config->indirect, .token = (void *)TOKEN,
    };

    for (unsigned i = 0; i < n; i++) {
        iov[i] = (struct iovec){ rig->border - 1, 2 };
    }
    g_assert_true(virtio_ring_add(rig->ring, &chain));
    virtio_ring_publish(rig->ring);
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    g_assert_cmpuint(rig->elem.out_num + rig->elem.in_num, ==,
                     config->two_regions ? 2 * n : n);
}

/* Empty buffers vanish; a chain of nothing else is for the device to fail. */
static void test_zero_length(gconstpointer opaque)
{
    g_autoptr(Rig) rig = rig_new(opaque);
    struct iovec iov[3] = {
        { rig->buffers, 10 }, { rig->buffers + 10, 0 }, { rig->buffers, 5 },
    };
    VirtioChain chain = {
        .out = iov, .n_out = 2, .in = iov + 2, .n_in = 1,
        .indirect = rig->config.indirect, .token = (void *)TOKEN,
    };

    g_assert_true(virtio_ring_add(rig->ring, &chain));
    iov[0].iov_len = iov[2].iov_len = 0;
    g_assert_true(virtio_ring_add(rig->ring, &chain));
    virtio_ring_publish(rig->ring);
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    g_assert_cmpuint(rig->elem.out_num, ==, 1);
    g_assert_cmpuint(rig->elem.in_num, ==, 1);
    virtqueue_push(rig->vq, &rig->elem, 0);
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    g_assert_cmpuint(rig->elem.out_num + rig->elem.in_num, ==, 0);
    virtqueue_push(rig->vq, &rig->elem, 0);
    virtqueue_publish(rig->vq);
    g_assert_nonnull(virtio_ring_get_used(rig->ring, NULL));
    g_assert_nonnull(virtio_ring_get_used(rig->ring, NULL));
}

/* --- Notifications --- */

static void test_kick_suppression(gconstpointer opaque)
{
    g_autoptr(Rig) rig = rig_new(opaque);

    virtqueue_disable_kick(rig->vq);
    for (unsigned i = 0; i < 3 * rig->config.size; i++) {
        add(rig, 1, 1, 512);
        g_assert_false(virtio_ring_publish(rig->ring));
        g_assert_true(virtqueue_has_work(rig->vq));
        pop_push(rig, 0);
        virtqueue_publish(rig->vq);
        g_assert_nonnull(virtio_ring_get_used(rig->ring, NULL));
    }
    g_assert_false(virtqueue_enable_kick(rig->vq));
    add(rig, 1, 1, 512);
    g_assert_true(virtio_ring_publish(rig->ring));

    /* what came in between is found by the one who enables */
    virtqueue_disable_kick(rig->vq);
    pop_push(rig, 0);
    add_and_publish(rig);
    g_assert_true(virtqueue_enable_kick(rig->vq));
}

/* A device that never quiets its ring: one kick for each burst. */
static void test_kicks_always_on(gconstpointer opaque)
{
    g_autoptr(Rig) rig = rig_new(opaque);

    g_assert_false(virtqueue_enable_kick(rig->vq));
    for (unsigned i = 0; i < 3 * rig->config.size; i++) {
        add(rig, 1, 1, 512);
        g_assert_true(virtio_ring_publish(rig->ring));
        pop_push(rig, 0);
        g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 0);
        virtqueue_publish(rig->vq);
        g_assert_nonnull(virtio_ring_get_used(rig->ring, NULL));
    }
}

static void test_call_suppression(gconstpointer opaque)
{
    g_autoptr(Rig) rig = rig_new(opaque);
    unsigned n = rig->config.size / 2 - 1;

    /* the first publish is always told with the event index */
    add_and_publish(rig);
    pop_push(rig, 1);
    g_assert_true(virtqueue_publish(rig->vq));
    g_assert_nonnull(virtio_ring_get_used(rig->ring, NULL));

    for (unsigned round = 0; round < 20; round++) {
        virtio_ring_disable_call(rig->ring);
        for (unsigned i = 0; i < n; i++) {
            add_and_publish(rig);
            pop_push(rig, 1);
        }
        g_assert_false(virtqueue_publish(rig->vq));
        g_assert_true(virtio_ring_enable_call(rig->ring));
        for (unsigned i = 0; i < n; i++) {
            g_assert_nonnull(virtio_ring_get_used(rig->ring, NULL));
        }
        g_assert_false(virtio_ring_enable_call(rig->ring));
        for (unsigned i = 0; i < n; i++) {
            add_and_publish(rig);
            pop_push(rig, 1);
        }
        g_assert_true(virtqueue_publish(rig->vq)); /* once for the batch */
        while (virtio_ring_get_used(rig->ring, NULL)) {
        }
    }
}

/* "After the third one": exactly the publish that contains it is told. */
static void test_call_after(gconstpointer opaque)
{
    const RigConfig *config = opaque;
    g_autoptr(Rig) rig = rig_new(config);

    if (!config->event_idx || (config->packed && !config->indirect)) {
        g_test_skip("needs the event index and chains of one slot");
        return;
    }
    add_and_publish(rig);
    pop_push(rig, 1);
    virtqueue_publish(rig->vq);
    virtio_ring_get_used(rig->ring, NULL);
    for (unsigned round = 0; round < 100; round++) {
        virtio_ring_enable_call_after(rig->ring, 3);
        for (unsigned i = 0; i < 5; i++) {
            add_and_publish(rig);
            pop_push(rig, 1);
            g_assert_cmpint(virtqueue_publish(rig->vq), ==, i == 2);
        }
        for (unsigned i = 0; i < 5; i++) {
            g_assert_nonnull(virtio_ring_get_used(rig->ring, NULL));
        }
    }
}

static void test_notify_fd(gconstpointer opaque)
{
    g_autoptr(Rig) rig = rig_new(opaque);
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    uint64_t full = UINT64_MAX - 1, got;

    virtqueue_notify(rig->vq); /* none: no effect */
    virtqueue_set_call_fd(rig->vq, fd);
    virtqueue_notify(rig->vq);
    g_assert_cmpint(read(fd, &got, 8), ==, 8);
    g_assert_cmpuint(got, ==, 1);
    g_assert_cmpint(write(fd, &full, 8), ==, 8);
    virtqueue_notify(rig->vq); /* does not block */
    virtqueue_set_error_fd(rig->vq, fd);
    g_assert_cmpint(read(fd, &got, 8), ==, 8);
    virtqueue_set_broken(rig->vq, "for a test");
    virtqueue_set_broken(rig->vq, "twice");
    g_assert_cmpint(read(fd, &got, 8), ==, 8);
    g_assert_cmpuint(got, ==, 1);
    close(fd);
}

/* --- Setting up --- */

static void test_config(gconstpointer opaque)
{
    g_autoptr(Rig) rig = rig_new(opaque);
    bool packed = rig->config.packed;
    VirtQueueConfig good, bad;
    GError *error = NULL;
    VirtQueue *vq;

    rig_fill_config(rig, &good);
    vq = virtqueue_new(&good, NULL);
    g_assert_nonnull(vq);
    g_assert_cmpuint(virtqueue_size(vq), ==, good.size);
    g_assert_cmpstr(virtqueue_name(vq), ==, "test queue");
    g_assert_cmpint(virtqueue_kick_fd(vq), ==, -1);
    g_assert_cmphex(virtqueue_base(vq), ==, packed ? 0x80008000 : 0);
    virtqueue_free(vq);

#define REFUSED(field, value)                            \
    do {                                                 \
        bad = good;                                      \
        bad.field = value;                               \
        g_assert_null(virtqueue_new(&bad, &error));      \
        g_assert_nonnull(error);                         \
        g_clear_error(&error);                           \
    } while (0)

    REFUSED(size, 0);
    REFUSED(size, VIRTQUEUE_MAX_SIZE + 1);
    REFUSED(desc, NULL);
    REFUSED(avail, NULL);
    REFUSED(used, NULL);
    REFUSED(desc, (char *)good.desc + 8);
    REFUSED(avail, (char *)good.avail + (packed ? 2 : 1));
    REFUSED(used, (char *)good.used + 2);
    if (packed) {
        REFUSED(base, 0x80008000 | good.size);
        REFUSED(base, 0x80008000 | good.size << 16);
    } else {
        REFUSED(size, 24);
    }
#undef REFUSED
}

/* --- Live migration --- */

#define LOG_BYTES 4096

static bool log_bit(const uint8_t *bits, uint64_t guest)
{
    return bits[guest / 4096 / 8] >> (guest / 4096 % 8) & 1;
}

static void test_dirty_log(gconstpointer opaque)
{
    g_autoptr(Rig) rig = rig_new(opaque);
    int fd = memfd_create("log", MFD_CLOEXEC);
    uint64_t ring = rig_guest(rig, virtio_ring_used(rig->ring));
    struct iovec iov[] = {
        { rig->buffers, 4096 },
        { rig->border - 4096, 8192 },
        { rig->border + 9 * 4096 + 4000, 200 },
    };
    VirtioChain chain = {
        .out = iov, .n_out = 1, .in = iov + 1, .n_in = 2,
        .indirect = rig->config.indirect, .token = (void *)TOKEN,
    };
    DirtyLog *log;
    uint8_t *bits;

    g_assert_cmpint(ftruncate(fd, LOG_BYTES), ==, 0);
    bits = mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    g_assert_true(bits != MAP_FAILED);
    log = dirty_log_new(fd, 0, LOG_BYTES, NULL);

    g_assert_true(virtio_ring_add(rig->ring, &chain));
    virtio_ring_publish(rig->ring);
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, 1);
    /* switched on while the request is in flight: still in time. The used
     * ring is logged at the address given, which need not be its own. */
    virtqueue_set_log(rig->vq, log, true, 0x300000);
    virtqueue_push(rig->vq, &rig->elem, 1);
    virtqueue_publish(rig->vq);

    g_assert_false(log_bit(bits, rig_guest(rig, rig->buffers))); /* only read */
    for (unsigned i = 1; i < 3; i++) {
        uint64_t guest = rig_guest(rig, iov[i].iov_base);

        g_assert_true(log_bit(bits, guest));
        g_assert_true(log_bit(bits, guest + iov[i].iov_len - 1));
    }
    if (rig->config.packed) {
        g_assert_true(log_bit(bits, rig_guest(rig,
                                              virtio_ring_desc(rig->ring))));
        g_assert_false(log_bit(bits, 0x300000));
        virtqueue_disable_kick(rig->vq); /* writes the device area */
    }
    g_assert_true(log_bit(bits, 0x300000));

    /* buffers only; then nothing at all */
    memset(bits, 0, LOG_BYTES);
    virtqueue_set_log(rig->vq, log, false, ring);
    dirty_log_unref(log);
    g_assert_true(virtio_ring_get_used(rig->ring, NULL) == TOKEN);
    g_assert_true(virtio_ring_add(rig->ring, &chain));
    virtio_ring_publish(rig->ring);
    pop_push(rig, 1);
    virtqueue_publish(rig->vq);
    g_assert_true(log_bit(bits, rig_guest(rig, rig->border)));
    g_assert_false(log_bit(bits, ring));

    memset(bits, 0, LOG_BYTES);
    virtqueue_set_log(rig->vq, NULL, false, 0);
    g_assert_true(virtio_ring_get_used(rig->ring, NULL) == TOKEN);
    g_assert_true(virtio_ring_add(rig->ring, &chain));
    virtio_ring_publish(rig->ring);
    pop_push(rig, 1);
    virtqueue_publish(rig->vq);
    for (unsigned i = 0; i < LOG_BYTES; i++) {
        g_assert_cmphex(bits[i], ==, 0);
    }
    munmap(bits, LOG_BYTES);
    close(fd);
}

int main(int argc, char **argv)
{
    static const RigTest tests[] = {
        { "roundtrip", test_roundtrip },
        { "buffer-crosses-regions", test_buffer_crosses_regions },
        { "full-ring-crossing", test_full_ring_crossing },
        { "zero-length", test_zero_length },
        { "kick-suppression", test_kick_suppression },
        { "kicks-always-on", test_kicks_always_on },
        { "call-suppression", test_call_suppression },
        { "call-after", test_call_after },
        { "notify-fd", test_notify_fd },
        { "config", test_config },
        { "dirty-log", test_dirty_log },
    };

    g_test_init(&argc, &argv, NULL);
    rig_add_tests("virtqueue", tests, G_N_ELEMENTS(tests));
    return g_test_run();
}
