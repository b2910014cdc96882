/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random requests of a guest, and what they may find. */
#include "guest-load.h"

#include "disk-model.h"

#include <endian.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECK_BYTES (64 * 1024)
#define LARGE_BYTES (1280 * 1024)

/* What a slot is made for: its memory is cut to size once. */
typedef enum SlotKind {
    SLOT_DATA,   /* reads and writes */
    SLOT_RANGE,  /* discards and zeroes */
    SLOT_FLUSH,
} SlotKind;

typedef struct LoadSlot {
    GuestReq *req;
    unsigned queue;
    SlotKind kind;
    bool busy;
    int64_t offset, bytes;  /* of the disk */
    uint64_t began;
    ModelChange *change;    /* NULL: changes nothing */
    bool through;           /* outlasts a cut when it is done */
} LoadSlot;

struct GuestLoad {
    GuestLoadConf conf;
    GuestBlk *guest;
    GRand *rand;
    DiskModel *model;
    uint8_t *busy;          /* sectors with a request on its way */
    LoadSlot *slots;        /* queues * depth */
    GuestReq *check;
    GuestReq *check_tail;   /* what is left behind whole chunks, or NULL */
    GArray *promises;       /* of unsigned */
    bool writethrough;
    int64_t last_end;       /* of the last request's range */
    bool running[GUEST_BLK_MAX_QUEUES];
    unsigned in_flight;
    uint32_t tag;
    GuestLoadCounts counts;
};

GuestLoad *guest_load_new(const GuestLoadConf *conf)
{
    GuestLoad *load = g_new0(GuestLoad, 1);

    g_assert_cmpuint(conf->depth, >=, 8);
    g_assert_cmpint(conf->bytes % MODEL_SECTOR, ==, 0);
    load->conf = *conf;
    load->rand = g_rand_new_with_seed(conf->seed);
    load->model = disk_model_new(conf->bytes);
    load->busy = g_new0(uint8_t, conf->bytes / MODEL_SECTOR);
    load->slots = g_new0(LoadSlot, conf->queues * conf->depth);
    load->promises = g_array_new(false, false, sizeof(unsigned));
    return load;
}

void guest_load_free(GuestLoad *load)
{
    g_rand_free(load->rand);
    g_array_unref(load->promises);
    disk_model_free(load->model);
    g_free(load->busy);
    g_free(load->slots);
    g_free(load);
}

/* --- slots --- */

/* Most are of a page, some are small, a few are large. */
static size_t slot_bytes(const GuestLoad *load, unsigned i)
{
    static const size_t sizes[] = { 4096, 512, 4096, 16384, 4096, 1536, 8192,
                                    49152 };

    if (load->conf.large && i % G_N_ELEMENTS(sizes) == 7) {
        return LARGE_BYTES;
    }
    return sizes[i % G_N_ELEMENTS(sizes)];
}

static void make_slot(GuestLoad *load, LoadSlot *slot, unsigned queue,
                      unsigned i)
{
    size_t bytes = slot_bytes(load, i);

    *slot = (LoadSlot) { .queue = queue };
    if (i == 0) {
        slot->kind = SLOT_FLUSH;
        bytes = 0;
    } else if (i == 1 && !load->conf.no_ranges) {
        slot->kind = SLOT_RANGE;
        bytes = sizeof(struct virtio_blk_discard_write_zeroes);
    }
    slot->req = guest_req_new(load->guest, VIRTIO_BLK_T_OUT, 0, bytes);
}

void guest_load_attach(GuestLoad *load, GuestBlk *guest)
{
    const GuestLoadConf *conf = &load->conf;

    guest_load_forget(load);
    load->guest = guest;
    load->check = guest_req_new(guest, VIRTIO_BLK_T_IN, 0, CHECK_BYTES);
    load->check_tail = NULL;
    if (conf->bytes % CHECK_BYTES) {
        load->check_tail = guest_req_new(guest, VIRTIO_BLK_T_IN, 0,
                                         conf->bytes % CHECK_BYTES);
    }
    for (unsigned q = 0; q < conf->queues; q++) {
        load->running[q] = true;
        for (unsigned i = 0; i < conf->depth; i++) {
            make_slot(load, &load->slots[q * conf->depth + i], q, i);
        }
    }
}

static void set_busy(GuestLoad *load, const LoadSlot *slot, bool busy)
{
    memset(load->busy + slot->offset / MODEL_SECTOR, busy,
           slot->bytes / MODEL_SECTOR);
}

static bool is_busy(const GuestLoad *load, int64_t offset, int64_t bytes)
{
    return memchr(load->busy + offset / MODEL_SECTOR, 1,
                  bytes / MODEL_SECTOR);
}

static unsigned log_at(const GuestLoad *load)
{
    return load->conf.log_at ? load->conf.log_at() : 0;
}

/* --- sending --- */

static unsigned below(GuestLoad *load, unsigned n)
{
    return g_rand_int_range(load->rand, 0, n);
}

/* A range that nobody uses, half of the time where others are, too. */
static bool choose_range(GuestLoad *load, LoadSlot *slot, int64_t bytes)
{
    int64_t room = (load->conf.bytes - bytes) / MODEL_SECTOR;
    int64_t sector = g_rand_int_range(load->rand, 0, room + 1);

    if (g_rand_boolean(load->rand)) {
        sector = sector / 8 * 8;
    }
    if (load->check_tail && below(load, 8) == 0) {
        sector = room; /* the last block, of which there is a part */
    }
    if (load->conf.neighbours && load->last_end + bytes <= load->conf.bytes &&
        g_rand_boolean(load->rand)) {
        sector = load->last_end / MODEL_SECTOR;
    }
    slot->offset = sector * MODEL_SECTOR;
    slot->bytes = bytes;
    load->last_end = slot->offset + bytes;
    return !is_busy(load, slot->offset, bytes);
}

static void prepare_data(GuestLoad *load, LoadSlot *slot)
{
    GuestReq *req = slot->req;

    req->type = below(load, 10) < 6 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
    req->writes_guest = req->type == VIRTIO_BLK_T_IN;
    req->sector = slot->offset / 512;
    if (req->writes_guest) {
        memset(req->data, 0xee, req->bytes);
        return;
    }
    load->tag++;
    disk_model_fill(req->data, slot->offset, slot->bytes, load->tag);
    slot->change = disk_model_begin(load->model, slot->offset, slot->bytes,
                                    load->tag, log_at(load));
}

static void prepare_range(GuestLoad *load, LoadSlot *slot)
{
    bool zeroes = g_rand_boolean(load->rand);
    bool unmap = zeroes && g_rand_boolean(load->rand);
    struct virtio_blk_discard_write_zeroes range = {
        .sector = htole64(slot->offset / 512),
        .num_sectors = htole32(slot->bytes / 512),
        .flags = htole32(unmap ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0),
    };

    slot->req->type = zeroes ? VIRTIO_BLK_T_WRITE_ZEROES
                             : VIRTIO_BLK_T_DISCARD;
    slot->req->sector = 0;
    memcpy(slot->req->data, &range, sizeof(range));
    slot->change = disk_model_begin(load->model, slot->offset, slot->bytes, 0,
                                    log_at(load));
}

static int64_t range_bytes(GuestLoad *load)
{
    unsigned most = load->conf.large && g_rand_boolean(load->rand)
                        ? LARGE_BYTES / 4096
                        : 12;

    return 4096 * (1 + below(load, most));
}

static bool prepare(GuestLoad *load, LoadSlot *slot)
{
    slot->change = NULL;
    slot->through = load->writethrough;
    slot->offset = slot->bytes = 0;
    switch (slot->kind) {
    case SLOT_DATA:
        if (!choose_range(load, slot, slot->req->bytes)) {
            return false;
        }
        prepare_data(load, slot);
        break;
    case SLOT_RANGE:
        if (!choose_range(load, slot, range_bytes(load))) {
            return false;
        }
        prepare_range(load, slot);
        break;
    case SLOT_FLUSH:
        slot->req->type = VIRTIO_BLK_T_FLUSH;
        break;
    }
    return true;
}

static void send(GuestLoad *load, LoadSlot *slot)
{
    GuestReq *req = slot->req;

    if (!prepare(load, slot)) {
        return;
    }
    req->indirect = guest_blk_has(load->guest, VIRTIO_RING_F_INDIRECT_DESC) &&
                    g_rand_boolean(load->rand);
    req->layout = below(load, GUEST_LAYOUT__COUNT);
    req->n_segments = 1 + below(load, 4);
    slot->began = disk_model_now(load->model);
    if (!guest_blk_submit(load->guest, slot->queue, req)) {
        if (slot->change) {
            disk_model_fail(load->model, slot->change);
        }
        return; /* no room in the ring: nobody has seen it */
    }
    slot->busy = true;
    set_busy(load, slot, true);
    load->in_flight++;
    load->counts.requests++;
}

/* --- taking back --- */

static void slot_over(GuestLoad *load, LoadSlot *slot)
{
    slot->busy = false;
    set_busy(load, slot, false);
    load->in_flight--;
}

static void slot_failed(GuestLoad *load, LoadSlot *slot)
{
    g_assert_true(load->conf.may_fail);
    g_assert_cmpuint(slot->req->status, ==, VIRTIO_BLK_S_IOERR);
    load->counts.failed++;
    load->counts.flushes_failed += slot->kind == SLOT_FLUSH;
    if (slot->change) {
        disk_model_fail(load->model, slot->change);
    }
}

/* A discard is a hint and promises nothing. */
static bool is_kept(const LoadSlot *slot)
{
    return slot->change && slot->req->type != VIRTIO_BLK_T_DISCARD;
}

/* What a later cut must not take. */
static void note_promise(GuestLoad *load, const LoadSlot *slot)
{
    unsigned at = log_at(load);

    if (!load->conf.log_at) {
        return;
    }
    if (slot->kind == SLOT_FLUSH) {
        disk_model_flushed(load->model, slot->began, at);
    } else {
        disk_model_keep(slot->change, at);
    }
    g_array_append_val(load->promises, at);
}

static void slot_done(GuestLoad *load, LoadSlot *slot)
{
    const GuestReq *req = slot->req;

    g_assert_cmpuint(req->used_len, ==,
                     req->type == VIRTIO_BLK_T_IN ? req->bytes + 1 : 1);
    if (req->type == VIRTIO_BLK_T_IN) {
        disk_model_check(load->model, req->data, slot->offset, slot->bytes,
                         slot->began);
        load->counts.verified += slot->bytes;
    } else if (req->type == VIRTIO_BLK_T_DISCARD) {
        disk_model_fail(load->model, slot->change); /* a hint, no promise */
    } else if (slot->change) {
        disk_model_end(load->model, slot->change);
    }
    if (slot->kind == SLOT_FLUSH || (slot->through && is_kept(slot))) {
        note_promise(load, slot);
    }
}

void guest_load_reap(GuestLoad *load)
{
    for (unsigned q = 0; q < load->conf.queues; q++) {
        if (guest_blk_ring(load->guest, q)) {
            guest_blk_reap(load->guest, q);
        }
    }
    for (unsigned i = 0; i < load->conf.queues * load->conf.depth; i++) {
        LoadSlot *slot = &load->slots[i];

        if (!slot->busy || !slot->req->done) {
            continue;
        }
        slot_over(load, slot);
        load->counts.completed++;
        if (slot->req->status == VIRTIO_BLK_S_OK) {
            slot_done(load, slot);
        } else {
            slot_failed(load, slot);
        }
    }
}

void guest_load_step(GuestLoad *load)
{
    for (unsigned q = 0; q < load->conf.queues; q++) {
        unsigned n = below(load, load->conf.depth);

        if (!load->running[q]) {
            continue;
        }
        for (unsigned k = 0; k < n; k++) {
            unsigned i = below(load, load->conf.depth);
            LoadSlot *slot = &load->slots[q * load->conf.depth + i];

            if (!slot->busy) {
                send(load, slot);
            }
        }
        guest_blk_kick(load->guest, q);
    }
    guest_load_reap(load);
}

void guest_load_wait(GuestLoad *load)
{
    for (unsigned q = 0; q < load->conf.queues; q++) {
        if (load->running[q]) {
            guest_blk_wait_all(load->guest, q);
        }
    }
    guest_load_reap(load);
    g_assert_cmpuint(load->in_flight, ==, 0);
}

void guest_load_forget(GuestLoad *load)
{
    for (unsigned i = 0; i < load->conf.queues * load->conf.depth; i++) {
        LoadSlot *slot = &load->slots[i];

        if (!slot->busy) {
            continue;
        }
        slot_over(load, slot);
        load->counts.lost++;
        if (slot->change) {
            disk_model_fail(load->model, slot->change);
        }
    }
}

/* Virtio 1.2, 5.2.6.2: stable are writes during which the cache was off from
 * beginning to end. */
void guest_load_set_writethrough(GuestLoad *load, bool on)
{
    load->writethrough = on;
    for (unsigned i = 0; !on && i < load->conf.queues * load->conf.depth;
         i++) {
        load->slots[i].through = false;
    }
}

void guest_load_set_running(GuestLoad *load, unsigned queue, bool running)
{
    load->running[queue] = running;
}

unsigned guest_load_in_flight(const GuestLoad *load)
{
    return load->in_flight;
}

/* --- the whole disk --- */

void guest_load_check_against(GuestLoad *load, const void *contents)
{
    g_assert_cmpuint(load->in_flight, ==, 0);
    disk_model_check(load->model, contents, 0, load->conf.bytes,
                     disk_model_now(load->model));
    disk_model_settle(load->model, contents);
    load->counts.verified += load->conf.bytes;
}

void guest_load_check(GuestLoad *load)
{
    g_autofree uint8_t *disk = g_malloc(load->conf.bytes);

    for (int64_t at = 0; at < load->conf.bytes; at += CHECK_BYTES) {
        GuestReq *req = load->conf.bytes - at < CHECK_BYTES ? load->check_tail
                                                            : load->check;

        req->sector = at / 512;
        g_assert_cmpuint(guest_blk_run(load->guest, 0, req), ==,
                         VIRTIO_BLK_S_OK);
        memcpy(disk + at, req->data, req->bytes);
    }
    guest_load_check_against(load, disk);
}

unsigned guest_load_check_cut(GuestLoad *load, const void *contents,
                              unsigned at)
{
    load->counts.verified += load->conf.bytes;
    return disk_model_check_cut(load->model, contents, at);
}

const GArray *guest_load_promises(const GuestLoad *load)
{
    return load->promises;
}

const GuestLoadCounts *guest_load_counts(const GuestLoad *load)
{
    return &load->counts;
}

void *guest_load_snapshot(GuestLoad *load, size_t *bytes)
{
    int fd = guest_blk_memfd(load->guest);
    struct stat st;
    void *snapshot;

    g_assert_cmpint(fstat(fd, &st), ==, 0);
    snapshot = g_malloc(st.st_size);
    g_assert_cmpint(pread(fd, snapshot, st.st_size, 0), ==, st.st_size);
    *bytes = st.st_size;
    return snapshot;
}

void guest_load_expect_untouched(GuestLoad *load, void *snapshot)
{
    size_t bytes;
    g_autofree uint8_t *now = guest_load_snapshot(load, &bytes);
    g_autofree uint8_t *then = snapshot;

    if (memcmp(now, then, bytes) != 0) {
        size_t i = 0;

        while (now[i] == then[i]) {
            i++;
        }
        g_error("byte 0x%zx of the guest's memory was written after the "
                "device had stopped", i);
    }
}
