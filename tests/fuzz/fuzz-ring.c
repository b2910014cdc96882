/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rings from hostile guests: memory of any contents, changed while the device
 * works. The device's queue and the model of ring-model.c are led through the
 * same steps and have to agree on every one.
 *
 * Input: a byte of features, one of size, two of flags that count steps, then
 * 4 bytes for each step, then what lies at the beginning of guest memory.
 * FUZZ_PACKED: packed rings, chosen when it is built.
 */
#include "fuzz.h"
#include "ring-model.h"

#include "block/log.h"
#include "hw/virtio/virtqueue.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUEST_ADDR  0x1000
#define MEM_BYTES   0x2000
#define BORDER      0x1000 /* where the second region begins */
#define DESC_AT     0x0
#define DRIVER_AT   0x400
#define DEVICE_AT   0x500
#define MAX_STEPS   64
#define HEADER      4
#define MAX_HELD    64

typedef enum Step {
    STEP_POP, STEP_POP_AGAIN, STEP_PUSH, STEP_PUBLISH, STEP_STORE,
    STEP_STORE_INDEX, STEP_ENABLE, STEP_DISABLE, STEP__COUNT
} Step;

typedef struct Held {
    VirtQueueElement elem;
    ModelChain chain;
} Held;

static uint8_t *mem;                /* as the fuzzer and the model see it */
static GuestMemory *one, *two;      /* all of it in one region, in two */
static Held held[MAX_HELD];
static bool is_held[MAX_HELD];

typedef struct Run {
    VirtQueue *vq;
    GuestMemory *memory;
    RingModel model;
    bool published;                 /* once: later notifications are exact */
    uint16_t published_used;        /* of the model, at the last publish */
    bool published_wrap;
    unsigned unpublished;
} Run;

static void ignore_line(LogLevel level, const char *line, void *opaque)
{
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    int fd = memfd_create("guest", MFD_CLOEXEC);
    const GuestMemoryRegion regions[] = {
        { GUEST_ADDR, 0x10000, BORDER, 0, fd },
        { GUEST_ADDR + BORDER, 0x90000, MEM_BYTES - BORDER, BORDER, fd },
    };

    g_assert(fd >= 0 && ftruncate(fd, MEM_BYTES) == 0);
    mem = mmap(NULL, MEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    g_assert(mem != MAP_FAILED);
    one = guest_memory_new(&(GuestMemoryRegion){ GUEST_ADDR, 0x10000,
                                                 MEM_BYTES, 0, fd }, 1, NULL);
    two = guest_memory_new(regions, 2, NULL);
    g_assert(one && two);
    close(fd);
    for (unsigned i = 0; i < MAX_HELD; i++) {
        virtqueue_element_init(&held[i].elem);
    }
    log_set_sink(ignore_line, NULL);
    return 0;
}

/* --- Set-up --- */

static void *device_ptr(const Run *run, unsigned at)
{
    return guest_memory_map_contiguous(run->memory, GUEST_ADDR + at, 1);
}

static bool start(Run *run, const uint8_t *data)
{
#ifdef FUZZ_PACKED
    bool packed = true;
#else
    bool packed = false;
#endif
    unsigned size = packed ? 1 + data[1] % 17u : 1u << data[1] % 5;
    uint16_t position = packed ? data[2] % size : data[2];
    bool wrap = data[0] & 8;
    VirtQueueConfig config = {
        .size = size, .packed = packed, .event_idx = data[0] & 1,
        .indirect = data[0] & 2, .name = "fuzz",
    };

    run->memory = data[0] & 4 ? two : one;
    config.memory = run->memory;
    config.desc = device_ptr(run, DESC_AT);
    config.avail = device_ptr(run, DRIVER_AT);
    config.used = device_ptr(run, DEVICE_AT);
    config.base = position;
    if (packed) {
        config.base = (position | (wrap ? 0x8000 : 0)) * UINT32_C(0x10001);
    } else {
        memcpy(mem + DEVICE_AT + 2, &position, 2); /* nothing in flight */
    }
    run->vq = virtqueue_new(&config, NULL);
    run->model = (RingModel){
        .memory = { mem, GUEST_ADDR, MEM_BYTES },
        .packed = packed, .size = size, .event_idx = config.event_idx,
        .indirect = config.indirect, .desc = GUEST_ADDR + DESC_AT,
        .driver = GUEST_ADDR + DRIVER_AT, .device = GUEST_ADDR + DEVICE_AT,
        .next_avail = position, .known_avail = position,
        .next_used = position, .avail_wrap = wrap, .used_wrap = wrap,
    };
    run->published_used = position;
    run->published_wrap = wrap;
    return run->vq;
}

/* --- The same thing? --- */

static unsigned join(const Run *run, const struct iovec *iov, unsigned n,
                     ModelPiece *pieces)
{
    unsigned count = 0;

    for (unsigned i = 0; i < n; i++) {
        uint64_t addr, last;
        const char *base = iov[i].iov_base;

        g_assert(iov[i].iov_len > 0);
        g_assert(guest_memory_to_guest(run->memory, base, &addr));
        g_assert(guest_memory_to_guest(run->memory,
                                       base + iov[i].iov_len - 1, &last));
        g_assert(last - addr == iov[i].iov_len - 1);
        if (count && pieces[count - 1].addr + pieces[count - 1].len == addr) {
            pieces[count - 1].len += iov[i].iov_len;
        } else {
            pieces[count++] = (ModelPiece){ addr, iov[i].iov_len };
        }
    }
    return count;
}

static void expect_pieces(const Run *run, const struct iovec *iov, unsigned n,
                          const ModelPiece *expected, unsigned n_expected)
{
    static ModelPiece pieces[VIRTQUEUE_MAX_IOV];

    g_assert_cmpuint(join(run, iov, n, pieces), ==, n_expected);
    for (unsigned i = 0; i < n_expected; i++) {
        g_assert_cmphex(pieces[i].addr, ==, expected[i].addr);
        g_assert_cmphex(pieces[i].len, ==, expected[i].len);
    }
}

/* The model looks second: taking a chain may move the device's own event
 * word, which a descriptor may point to. */
static void pop(Run *run)
{
    unsigned i = 0;
    Held *to;
    bool has_work;
    int ret;

    while (i < MAX_HELD && is_held[i]) {
        i++;
    }
    if (i == MAX_HELD) {
        return;
    }
    to = &held[i];
    has_work = virtqueue_has_work(run->vq);
    g_assert_cmpint(has_work, ==, ring_model_has_work(&run->model));
    ret = virtqueue_pop(run->vq, &to->elem);
    switch (ring_model_pop(&run->model, &to->chain)) {
    case MODEL_EMPTY:
        g_assert_cmpint(ret, ==, 0);
        break;
    case MODEL_BROKEN:
        g_assert_cmpint(ret, ==, -1);
        g_assert(virtqueue_is_broken(run->vq));
        break;
    case MODEL_CHAIN:
        g_assert_cmpint(ret, ==, 1);
        g_assert_cmpuint(to->elem.index, ==, to->chain.id);
        g_assert_cmpuint(to->elem.n_ring_descs, ==, to->chain.slots);
        expect_pieces(run, to->elem.iov, to->elem.out_num, to->chain.out,
                      to->chain.n_out);
        expect_pieces(run, to->elem.in_num ? to->elem.iov + to->elem.out_num
                                           : NULL,
                      to->elem.in_num, to->chain.in, to->chain.n_in);
        is_held[i] = true;
    }
}

static void publish(Run *run)
{
    bool notify = virtqueue_publish(run->vq);
    const RingModel *model = &run->model;

    if (run->unpublished == 0) {
        g_assert_false(notify);
        return;
    }
    if (!model->packed) {
        uint16_t idx;

        memcpy(&idx, mem + DEVICE_AT + 2, 2);
        g_assert_cmpuint(idx, ==, model->next_used);
    }
    g_assert(notify || !ring_model_must_notify(model, run->published_used,
                                               run->published_wrap));
    /* never once too often; a packed ring's event may be no position at all */
    if (run->published && !model->packed) {
        g_assert(!notify || ring_model_must_notify(model, run->published_used,
                                                   run->published_wrap));
    }
    run->published = true;
    run->published_used = model->next_used;
    run->published_wrap = model->used_wrap;
    run->unpublished = 0;
}

/* Alone: what it wrote is there at once. Else with others, before the next
 * publish. */
static void push(Run *run, unsigned which, uint32_t written, bool alone)
{
    RingModel *model = &run->model;
    uint16_t position;
    bool wrap;

    for (unsigned i = 0; i < MAX_HELD && !is_held[which]; i++) {
        which = (which + 1) % MAX_HELD;
    }
    if (!is_held[which]) {
        return;
    }
    if (alone) {
        publish(run);
    }
    position = model->next_used;
    wrap = model->used_wrap;
    virtqueue_push(run->vq, &held[which].elem, written);
    ring_model_push(model, &held[which].chain);
    is_held[which] = false;
    run->unpublished++;
    if (alone) {
        publish(run);
        g_assert(ring_model_was_used(model, position, wrap,
                                     held[which].chain.id, written));
    }
}

static void enable(Run *run)
{
    bool work = virtqueue_enable_kick(run->vq);
    const RingModel *model = &run->model;

    if (!model->packed) {
        uint16_t idx;

        memcpy(&idx, mem + DRIVER_AT + 2, 2);
        g_assert_cmpint(work, ==, idx != model->next_avail && !model->broken);
    } else {
        g_assert_cmpint(work, ==, ring_model_has_work(model));
    }
}

/* --- Steps --- */

static void store(unsigned at, uint16_t value)
{
    at %= MEM_BYTES - 1;
    memcpy(mem + at, &value, 2);
}

static void step(Run *run, const uint8_t *what)
{
    uint16_t number = what[2] | what[3] << 8;

    switch (what[0] % STEP__COUNT) {
    case STEP_POP:
    case STEP_POP_AGAIN:
        pop(run);
        break;
    case STEP_PUSH:
        push(run, what[1] % MAX_HELD, number, what[1] & 0x40);
        break;
    case STEP_PUBLISH:
        publish(run);
        break;
    case STEP_STORE:
        /* the ring and what is near */
        store(what[1] * 8 + (what[0] >> 4), number);
        break;
    case STEP_STORE_INDEX:
        store(DRIVER_AT + what[1] % 8, number);
        break;
    case STEP_ENABLE:
        enable(run);
        break;
    default:
        virtqueue_disable_kick(run->vq);
    }
}

/* A reset takes back what is held. */
static void finish(Run *run)
{
    for (unsigned i = 0; i < MAX_HELD; i++) {
        if (is_held[i]) {
            push(run, i, 0, false);
        }
    }
    publish(run);
    g_assert_cmpuint(virtqueue_in_use(run->vq), ==, 0);
    virtqueue_free(run->vq);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    Run run = { 0 };
    unsigned n_steps;
    size_t at;

    if (bytes < HEADER) {
        return 0;
    }
    n_steps = MIN(data[3] % (MAX_STEPS + 1), (bytes - HEADER) / 4);
    at = HEADER + n_steps * 4;
    memset(mem, 0, MEM_BYTES);
    memcpy(mem, data + at, MIN(bytes - at, MEM_BYTES));
    if (!start(&run, data)) {
        return 0;
    }
    for (unsigned i = 0; i < n_steps; i++) {
        step(&run, data + HEADER + i * 4);
    }
    finish(&run);
    return 0;
}
