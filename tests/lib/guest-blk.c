/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's side of virtio-blk: memory, rings, requests and waiting.
 * guest-blk-direct.c and guest-blk-socket.c bring it to a device.
 */
#include "guest-blk-transport.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define HEADER_BYTES sizeof(struct virtio_blk_outhdr)
#define MAX_PIECES 512

static void set_defaults(GuestBlkConf *conf)
{
    conf->num_queues = conf->num_queues ? conf->num_queues : 1;
    conf->queue_size = conf->queue_size ? conf->queue_size : 128;
    conf->memory_bytes = conf->memory_bytes ? conf->memory_bytes : 64 << 20;
    conf->features = conf->features ? conf->features : GUEST_BLK_ALL_FEATURES;
    g_assert_cmpuint(conf->num_queues, <=, GUEST_BLK_MAX_QUEUES);
}

static void make_queue(GuestBlk *guest, GuestQueue *queue)
{
    queue->ring_config = (VirtioRingConfig) {
        .size = guest->conf.queue_size,
        .indirect_max = guest->conf.no_indirect ? 0 : MAX_PIECES + 2,
        .packed = guest->conf.packed,
    };
    queue->ring_config.mem = guest_blk_alloc(
        guest, virtio_ring_bytes(&queue->ring_config), 4096);
    queue->ring_config.guest_addr =
        guest_blk_addr(guest, queue->ring_config.mem);
    queue->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    queue->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    g_assert_cmpint(queue->call_fd, >=, 0);
}

GuestBlk *guest_blk_new(const GuestTransport *transport,
                        const GuestBlkConf *conf, uint64_t base,
                        size_t reserved)
{
    GuestBlk *guest = g_new0(GuestBlk, 1);

    guest->transport = transport;
    guest->conf = *conf;
    set_defaults(&guest->conf);
    guest->sock = -1;
    guest->base = base;
    guest->mem_used = reserved;
    guest->reqs = g_ptr_array_new_with_free_func(g_free);
    guest->memfd = memfd_create("guest", MFD_CLOEXEC);
    g_assert_cmpint(ftruncate(guest->memfd, guest->conf.memory_bytes), ==, 0);
    guest->mem = mmap(NULL, guest->conf.memory_bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED, guest->memfd, 0);
    g_assert_true(guest->mem != MAP_FAILED);
    for (unsigned i = 0; i < guest->conf.num_queues; i++) {
        make_queue(guest, &guest->queues[i]);
    }
    return guest;
}

static uint64_t choose_features(const GuestBlk *guest)
{
    uint64_t features = guest->offered & guest->conf.features;

    if (!guest->conf.packed) {
        features &= ~(UINT64_C(1) << VIRTIO_F_RING_PACKED);
    } else {
        g_assert_true(features >> VIRTIO_F_RING_PACKED & 1);
    }
    if (guest->conf.no_event_idx) {
        features &= ~(UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX);
    }
    if (guest->conf.no_indirect) {
        features &= ~(UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC);
    }
    return features;
}

void guest_blk_negotiate(GuestBlk *guest)
{
    guest->offered = guest->transport->get_features(guest);
    guest_blk_set_features(guest, choose_features(guest));
}

void guest_blk_free(GuestBlk *guest)
{
    for (unsigned i = 0; i < guest->conf.num_queues; i++) {
        if (guest->queues[i].running) {
            guest_blk_stop_queue_quietly(guest, i);
        }
    }
    guest->transport->close(guest);
    for (unsigned i = 0; i < guest->conf.num_queues; i++) {
        GuestQueue *queue = &guest->queues[i];

        if (queue->ring) {
            virtio_ring_free(queue->ring);
        }
        close(queue->kick_fd);
        close(queue->call_fd);
    }
    g_ptr_array_unref(guest->reqs);
    munmap(guest->mem, guest->conf.memory_bytes);
    close(guest->memfd);
    g_free(guest);
}

void guest_blk_kill(GuestBlk *guest)
{
    g_assert_cmpint(guest->sock, >=, 0);
    for (unsigned i = 0; i < guest->conf.num_queues; i++) {
        guest->queues[i].running = false;
    }
    guest_blk_free(guest);
}

uint64_t guest_blk_offered(const GuestBlk *guest)
{
    return guest->offered;
}

uint64_t guest_blk_features(const GuestBlk *guest)
{
    return guest->features;
}

bool guest_blk_has(const GuestBlk *guest, unsigned feature_bit)
{
    return guest->features >> feature_bit & 1;
}

int guest_blk_socket(const GuestBlk *guest)
{
    return guest->sock;
}

int guest_blk_memfd(const GuestBlk *guest)
{
    return guest->memfd;
}

unsigned guest_blk_max_queues(const GuestBlk *guest)
{
    return guest->max_queues;
}

void guest_blk_set_features(GuestBlk *guest, uint64_t features)
{
    guest->features = features;
    guest->transport->set_features(guest, features);
}

void guest_blk_get_config(GuestBlk *guest, uint32_t offset, void *buf,
                          uint32_t bytes)
{
    guest->transport->get_config(guest, offset, buf, bytes);
}

void guest_blk_read_config(GuestBlk *guest, struct virtio_blk_config *config)
{
    guest_blk_get_config(guest, 0, config, sizeof(*config));
}

bool guest_blk_set_config(GuestBlk *guest, uint32_t offset, const void *buf,
                          uint32_t bytes)
{
    return guest->transport->set_config(guest, offset, buf, bytes);
}

void guest_blk_start_queue(GuestBlk *guest, unsigned index)
{
    GuestQueue *queue = &guest->queues[index];

    g_assert_false(queue->running);
    if (queue->ring) {
        virtio_ring_free(queue->ring);
    }
    queue->ring_config.event_idx =
        guest_blk_has(guest, VIRTIO_RING_F_EVENT_IDX);
    queue->ring = virtio_ring_new(&queue->ring_config);
    guest_blk_resume_queue(guest, index,
                           virtio_ring_initial_base(queue->ring));
}

void guest_blk_resume_queue(GuestBlk *guest, unsigned index, uint32_t base)
{
    guest->transport->start_queue(guest, index, base);
    guest->queues[index].running = true;
}

void guest_blk_start_queue_on(GuestBlk *guest, unsigned index, int kick_fd)
{
    GuestQueue *queue = &guest->queues[index];
    int own_fd = queue->kick_fd;

    queue->kick_fd = kick_fd;
    guest_blk_start_queue(guest, index);
    queue->kick_fd = own_fd;
}

void guest_blk_start(GuestBlk *guest)
{
    for (unsigned i = 0; i < guest->conf.num_queues; i++) {
        guest_blk_start_queue(guest, i);
    }
}

uint32_t guest_blk_stop_queue(GuestBlk *guest, unsigned index)
{
    uint32_t base = guest->transport->stop_queue(guest, index);

    guest->queues[index].running = false;
    guest_blk_reap(guest, index);
    return base;
}

uint32_t guest_blk_stop_queue_quietly(GuestBlk *guest, unsigned index)
{
    uint32_t base = guest->transport->stop_queue(guest, index);

    guest->queues[index].running = false;
    return base;
}

void guest_blk_reset(GuestBlk *guest)
{
    for (unsigned i = 0; i < guest->conf.num_queues; i++) {
        if (guest->queues[i].running) {
            guest_blk_stop_queue_quietly(guest, i);
        }
    }
    guest->transport->reset(guest);
    guest_blk_negotiate(guest);
}

void *guest_blk_alloc(GuestBlk *guest, size_t bytes, size_t align)
{
    size_t start = (guest->mem_used + align - 1) & ~(align - 1);

    g_assert_cmpuint(start + bytes, <=, guest->conf.memory_bytes);
    guest->mem_used = start + bytes;
    return guest->mem + start;
}

uint64_t guest_blk_addr(const GuestBlk *guest, const void *ptr)
{
    return guest->base + ((const uint8_t *)ptr - guest->mem);
}

VirtioRing *guest_blk_ring(GuestBlk *guest, unsigned index)
{
    return guest->queues[index].ring;
}

VirtQueue *guest_blk_virtqueue(GuestBlk *guest, unsigned index)
{
    return guest->queues[index].vq;
}

/* --- Requests --- */

static bool type_writes_guest(uint32_t type)
{
    return type != VIRTIO_BLK_T_OUT && type != VIRTIO_BLK_T_DISCARD &&
           type != VIRTIO_BLK_T_WRITE_ZEROES;
}

/* Data starts at a page, so that it suits O_DIRECT. */
GuestReq *guest_req_new(GuestBlk *guest, uint32_t type, uint64_t sector,
                        size_t bytes)
{
    GuestReq *req = g_new0(GuestReq, 1);
    uint8_t *page = guest_blk_alloc(guest, 4096 + bytes + 1, 4096);

    req->type = type;
    req->sector = sector;
    req->bytes = bytes;
    req->data = page + 4096;
    req->frame = req->data - HEADER_BYTES;
    req->writes_guest = type_writes_guest(type);
    g_ptr_array_add(guest->reqs, req);
    return req;
}

static unsigned add_piece(struct iovec *iov, unsigned n, void *base,
                          size_t len)
{
    g_assert_cmpuint(n, <, MAX_PIECES);
    iov[n] = (struct iovec) { .iov_base = base, .iov_len = len };
    return n + 1;
}

/* Cuts [@base, @base + @bytes) into @pieces, the last gets what is left. */
static unsigned cut(struct iovec *iov, unsigned n, uint8_t *base,
                    size_t bytes, unsigned pieces)
{
    size_t each = MAX(bytes / pieces, 1);

    while (bytes > 0) {
        size_t len = pieces > 1 ? MIN(each, bytes) : bytes;

        n = add_piece(iov, n, base, len);
        base += len;
        bytes -= len;
        pieces--;
    }
    return n;
}

/* Header, then data if the device reads it. */
static unsigned lay_out_readable(const GuestReq *req, struct iovec *iov)
{
    size_t bytes = req->writes_guest ? 0 : req->bytes;
    unsigned pieces = MAX(req->n_segments, 1);
    unsigned n = 0;

    switch (req->layout) {
    case GUEST_LAYOUT_JOINED:
        return cut(iov, 0, req->frame, HEADER_BYTES + bytes, pieces);
    case GUEST_LAYOUT_SPLIT:
        n = add_piece(iov, n, req->frame, 1);
        n = add_piece(iov, n, req->frame + 1, 11);
        n = add_piece(iov, n, req->frame + 12, 4 + MIN(bytes, 5));
        return cut(iov, n, req->data + MIN(bytes, 5), bytes - MIN(bytes, 5),
                   pieces);
    default:
        n = add_piece(iov, n, req->frame, HEADER_BYTES);
        return cut(iov, n, req->data, bytes, pieces);
    }
}

/* Data if the device fills it, then the status. */
static unsigned lay_out_writable(const GuestReq *req, struct iovec *iov)
{
    size_t bytes = req->writes_guest ? req->bytes : 0;
    uint8_t *status = req->data + req->bytes;
    uint8_t *data = req->writes_guest ? req->data : status;
    unsigned pieces = MAX(req->n_segments, 1);
    unsigned n = 0;

    switch (req->layout) {
    case GUEST_LAYOUT_JOINED:
        return cut(iov, 0, data, bytes + 1, pieces);
    case GUEST_LAYOUT_SPLIT:
        n = cut(iov, n, data, MIN(bytes, 3), 1);
        n = cut(iov, n, data + MIN(bytes, 3), bytes - MIN(bytes, 3), pieces);
        return add_piece(iov, n, status, 1);
    default:
        n = cut(iov, n, data, bytes, pieces);
        return add_piece(iov, n, status, 1);
    }
}

bool guest_blk_submit_chain(GuestBlk *guest, unsigned queue, GuestReq *req,
                            VirtioChain *chain)
{
    chain->token = req;
    req->done = false;
    return virtio_ring_add(guest->queues[queue].ring, chain);
}

bool guest_blk_submit(GuestBlk *guest, unsigned queue, GuestReq *req)
{
    struct virtio_blk_outhdr header = {
        .type = htole32(req->type), .sector = htole64(req->sector),
    };
    struct iovec out[MAX_PIECES], in[MAX_PIECES];
    VirtioChain chain = { .out = out, .in = in, .indirect = req->indirect };

    memcpy(req->frame, &header, sizeof(header));
    req->data[req->bytes] = 0xff;
    chain.n_out = lay_out_readable(req, out);
    chain.n_in = lay_out_writable(req, in);
    return guest_blk_submit_chain(guest, queue, req, &chain);
}

void guest_blk_kick_only(GuestBlk *guest, unsigned queue)
{
    uint64_t one = 1;

    if (guest->transport->kick) {
        guest->transport->kick(guest, queue);
        return;
    }
    g_assert_cmpint(write(guest->queues[queue].kick_fd, &one, 8), ==, 8);
}

bool guest_blk_kick(GuestBlk *guest, unsigned queue)
{
    if (!virtio_ring_publish(guest->queues[queue].ring)) {
        return false;
    }
    guest_blk_kick_only(guest, queue);
    return true;
}

unsigned guest_blk_reap(GuestBlk *guest, unsigned queue)
{
    VirtioRing *ring = guest->queues[queue].ring;
    unsigned n = 0;
    GuestReq *req;
    uint32_t len;

    while ((req = virtio_ring_get_used(ring, &len))) {
        req->status = req->data[req->bytes];
        req->used_len = len;
        req->done = true;
        req->number = ++guest->completed;
        n++;
    }
    return n;
}

uint64_t guest_blk_take_calls(GuestBlk *guest, unsigned queue)
{
    uint64_t calls = 0;

    if (read(guest->queues[queue].call_fd, &calls, sizeof(calls)) < 0) {
        g_assert_cmpint(errno, ==, EAGAIN);
        return 0;
    }
    return calls;
}

/* Until something may have come back. The interrupt is asked for by then. */
static void wait_for_call(GuestBlk *guest, unsigned queue)
{
    struct pollfd pfd = {
        .fd = guest->queues[queue].call_fd, .events = POLLIN,
    };

    if (guest->transport->wait) {
        guest->transport->wait(guest, queue);
        return;
    }
    if (guest->pump) {
        aio_poll(guest->pump, true);
        return;
    }
    if (poll(&pfd, 1, GUEST_BLK_PATIENCE_MS) == 0) {
        g_error("queue %u: no interrupt in %d s", queue,
                GUEST_BLK_PATIENCE_MS / 1000);
    }
    guest_blk_take_calls(guest, queue);
}

void guest_blk_wait_call(GuestBlk *guest, unsigned queue)
{
    struct pollfd pfd = {
        .fd = guest->queues[queue].call_fd, .events = POLLIN,
    };

    while (guest->pump && poll(&pfd, 1, 0) == 0) {
        aio_poll(guest->pump, true);
    }
    if (poll(&pfd, 1, GUEST_BLK_PATIENCE_MS) == 0) {
        g_error("queue %u: no interrupt in %d s", queue,
                GUEST_BLK_PATIENCE_MS / 1000);
    }
    guest_blk_take_calls(guest, queue);
}

uint8_t guest_blk_wait(GuestBlk *guest, unsigned queue, GuestReq *req)
{
    while (!req->done) {
        if (guest_blk_reap(guest, queue) == 0 &&
            !virtio_ring_enable_call(guest->queues[queue].ring)) {
            wait_for_call(guest, queue);
        }
    }
    return req->status;
}

void guest_blk_wait_all(GuestBlk *guest, unsigned queue)
{
    VirtioRing *ring = guest->queues[queue].ring;

    while (virtio_ring_in_flight(ring) > 0) {
        if (guest_blk_reap(guest, queue) == 0 &&
            !virtio_ring_enable_call(ring)) {
            wait_for_call(guest, queue);
        }
    }
}

uint8_t guest_blk_run(GuestBlk *guest, unsigned queue, GuestReq *req)
{
    g_assert_true(guest_blk_submit(guest, queue, req));
    guest_blk_kick(guest, queue);
    return guest_blk_wait(guest, queue, req);
}

uint8_t guest_blk_read(GuestBlk *guest, uint64_t sector, void *buf,
                       size_t bytes)
{
    GuestReq *req = guest_req_new(guest, VIRTIO_BLK_T_IN, sector, bytes);
    uint8_t status = guest_blk_run(guest, 0, req);

    memcpy(buf, req->data, bytes);
    return status;
}

uint8_t guest_blk_write(GuestBlk *guest, uint64_t sector, const void *buf,
                        size_t bytes)
{
    GuestReq *req = guest_req_new(guest, VIRTIO_BLK_T_OUT, sector, bytes);

    memcpy(req->data, buf, bytes);
    return guest_blk_run(guest, 0, req);
}
