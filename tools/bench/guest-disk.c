/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk behind a vhost-user-blk server, as a guest's driver sees it.
 *
 * Guest memory is one memfd, touched before anything is measured. Each queue
 * has its part: ring, then 64 bytes for each request's header and status,
 * then the data. Requests are laid out once: header, data in segments,
 * status. guest-queue.c sends them.
 */
#include "guest-queue.h"
#include "guest/vmm.h"

#include <errno.h>
#include <gio/gio.h>
#include <linux/memfd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUEST_BASE  UINT64_C(0x100000000)
#define FRAME_BYTES 64
#define STATUS_AT   32
#define HUGE_PAGE   (2 << 20)
#define BIT(n)      (UINT64_C(1) << (n))

typedef struct GuestDisk {
    BenchDisk disk;
    Vmm *vmm;
    GuestQueue *queues;
    uint64_t features;
    unsigned ring_size;
    int memfd;
    uint8_t *mem;
    size_t mem_bytes, mem_used;
} GuestDisk;

static bool take_feature(GuestDisk *disk, int wanted, unsigned bit,
                         const char *name, GError **error)
{
    if (wanted == BENCH_OFF) {
        return true;
    }
    if (disk->vmm->offered & BIT(bit)) {
        disk->features |= BIT(bit);
    } else if (wanted == BENCH_ON) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "socket '%s': the server refuses %s", disk->vmm->path,
                    name);
        return false;
    }
    return true;
}

static bool negotiate(GuestDisk *disk, const BenchJob *job, GError **error)
{
    int mq = job->numjobs > 1 ? BENCH_ON : BENCH_OFF;

    return take_feature(disk, BENCH_ON, VIRTIO_F_VERSION_1,
                        "VIRTIO_F_VERSION_1", error) &&
           take_feature(disk, job->packed, VIRTIO_F_RING_PACKED,
                        "VIRTIO_F_RING_PACKED (packed=on)", error) &&
           take_feature(disk, job->event_idx, VIRTIO_RING_F_EVENT_IDX,
                        "VIRTIO_F_EVENT_IDX (event_idx=on)", error) &&
           take_feature(disk, job->indirect, VIRTIO_RING_F_INDIRECT_DESC,
                        "VIRTIO_F_INDIRECT_DESC (indirect=on)", error) &&
           take_feature(disk, mq, VIRTIO_BLK_F_MQ, "VIRTIO_BLK_F_MQ "
                        "(numjobs above 1)", error) &&
           take_feature(disk, BENCH_AUTO, VIRTIO_BLK_F_SEG_MAX, "", error) &&
           take_feature(disk, BENCH_AUTO, VIRTIO_BLK_F_BLK_SIZE, "", error) &&
           take_feature(disk, BENCH_AUTO, VIRTIO_BLK_F_RO, "", error) &&
           take_feature(disk, BENCH_AUTO, VIRTIO_BLK_F_FLUSH, "", error) &&
           vmm_set_features(disk->vmm, disk->features, error);
}

static bool has(const GuestDisk *disk, unsigned bit)
{
    return disk->features & BIT(bit);
}

static unsigned segments(const BenchJob *job)
{
    return job->segment ? (job->bs + job->segment - 1) / job->segment : 1;
}

static bool read_config(GuestDisk *disk, const BenchJob *job, GError **error)
{
    struct virtio_blk_config config;

    if (!vmm_get_config(disk->vmm, &config,
                                     offsetof(struct virtio_blk_config,
                                              max_discard_sectors), error)) {
        return false;
    }
    disk->disk.capacity = config.capacity * 512;
    disk->disk.read_only = has(disk, VIRTIO_BLK_F_RO);
    if (has(disk, VIRTIO_BLK_F_SEG_MAX) && config.seg_max < segments(job)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "socket '%s': the server takes %u segments a request, "
                    "bs=%" G_GINT64_FORMAT " has %u", disk->vmm->path,
                    config.seg_max, job->bs, segments(job));
        return false;
    }
    if (has(disk, VIRTIO_BLK_F_BLK_SIZE) && config.blk_size > 512 &&
        job->bs % config.blk_size) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "socket '%s': the disk has blocks of %u bytes, bs=%"
                    G_GINT64_FORMAT, disk->vmm->path, config.blk_size,
                    job->bs);
        return false;
    }
    return true;
}

/* The ring holds all requests at once. */
static bool choose_ring(GuestDisk *disk, const BenchJob *job, GError **error)
{
    bool indirect = has(disk, VIRTIO_RING_F_INDIRECT_DESC);
    unsigned need = job->iodepth * (indirect ? 1 : 2 + segments(job));

    disk->ring_size = job->queue_size;
    if (!disk->ring_size) {
        for (disk->ring_size = 128; disk->ring_size < need;) {
            disk->ring_size *= 2;
        }
    }
    if (disk->ring_size < need || disk->ring_size > 32768) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "a queue of %u descriptors does not hold iodepth=%"
                    G_GUINT64_FORMAT " requests, which need %u",
                    disk->ring_size, job->iodepth, need);
        return false;
    }
    if (job->numjobs > disk->vmm->max_queues) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "socket '%s': the server has %u queues, numjobs=%"
                    G_GUINT64_FORMAT, disk->vmm->path,
                    disk->vmm->max_queues, job->numjobs);
        return false;
    }
    return true;
}

/* As QEMU does it, wherever the server can. */
static bool keep_inflight(GuestDisk *disk, const BenchJob *job, GError **error)
{
    if (job->inflight == BENCH_OFF) {
        return true;
    }
    if (vmm_keeps_inflight(disk->vmm)) {
        return vmm_keep_inflight(disk->vmm, job->numjobs, disk->ring_size,
                                 error);
    }
    if (job->inflight == BENCH_ON) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "socket '%s': the server refuses an in-flight area "
                    "(inflight=on)", disk->vmm->path);
        return false;
    }
    return true;
}

static size_t align_page(size_t n)
{
    return (n + 4095) & ~(size_t)4095;
}

static VirtioRingConfig ring_config(const GuestDisk *disk, const BenchJob *job)
{
    return (VirtioRingConfig) {
        .mem = disk->mem + disk->mem_used,
        .guest_addr = GUEST_BASE + disk->mem_used,
        .size = disk->ring_size,
        .indirect_max = has(disk, VIRTIO_RING_F_INDIRECT_DESC)
                            ? 2 + segments(job) : 0,
        .packed = has(disk, VIRTIO_F_RING_PACKED),
        .event_idx = has(disk, VIRTIO_RING_F_EVENT_IDX),
        .tolerant = true,
    };
}

static bool make_memory(GuestDisk *disk, const BenchJob *job, GError **error)
{
    VirtioRingConfig config = ring_config(disk, job);
    size_t queue = align_page(virtio_ring_bytes(&config)) +
                   align_page(job->iodepth * FRAME_BYTES) +
                   job->iodepth * align_page(job->bs);
    size_t unit = job->hugepages ? HUGE_PAGE : 4096;

    disk->mem_bytes = (queue * job->numjobs + unit - 1) / unit * unit;
    disk->memfd = memfd_create("vblk-bench", MFD_CLOEXEC |
                               (job->hugepages ? MFD_HUGETLB | MFD_HUGE_2MB
                                               : 0));
    if (disk->memfd < 0 || ftruncate(disk->memfd, disk->mem_bytes) < 0 ||
        (disk->mem = mmap(NULL, disk->mem_bytes, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_POPULATE, disk->memfd, 0)) ==
            MAP_FAILED) {
        int err = errno;

        disk->mem = NULL;
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(err),
                    "cannot get %zu MiB of guest memory%s: %s",
                    disk->mem_bytes >> 20,
                    job->hugepages ? " in huge pages (vm.nr_hugepages)" : "",
                    g_strerror(err));
        return false;
    }
    memset(disk->mem, 0x5a, disk->mem_bytes);
    return vmm_set_memory(disk->vmm, disk->memfd,
                                       disk->mem_bytes, GUEST_BASE,
                                       (uintptr_t)disk->mem, error);
}

static void lay_out_io(GuestIo *gio, const BenchJob *job, uint8_t *frame)
{
    size_t step = job->segment ? job->segment : job->bs;
    unsigned n = 0;

    gio->header = (struct virtio_blk_outhdr *)frame;
    gio->status = frame + STATUS_AT;
    gio->io.bytes = job->bs;
    memset(gio->header, 0, sizeof(*gio->header));
    gio->iov[n++] = (struct iovec) { gio->header, sizeof(*gio->header) };
    for (size_t at = 0; at < gio->io.bytes; at += step) {
        gio->iov[n++] = (struct iovec) { gio->io.data + at,
                                         MIN(step, gio->io.bytes - at) };
    }
    gio->iov[n] = (struct iovec) { gio->status, 1 };
}

static void lay_out_queue(GuestDisk *disk, GuestQueue *q, const BenchJob *job)
{
    VirtioRingConfig config = ring_config(disk, job);
    size_t at = disk->mem_used + align_page(virtio_ring_bytes(&config));
    uint8_t *frames = disk->mem + at;
    uint8_t *data = frames + align_page(job->iodepth * FRAME_BYTES);

    q->queue.ops = &guest_queue_ops;
    q->queue.depth = job->iodepth;
    q->queue.ios = g_new(BenchIo *, job->iodepth);
    q->ring = virtio_ring_new(&config);
    q->n_segments = segments(job);
    q->indirect = config.indirect_max > 0;
    q->poll = job->poll;
    q->ios = g_new0(GuestIo, job->iodepth);
    q->iovs = g_new0(struct iovec, job->iodepth * (q->n_segments + 2));
    for (unsigned i = 0; i < job->iodepth; i++) {
        q->ios[i].iov = q->iovs + i * (q->n_segments + 2);
        q->ios[i].io.data = data + i * align_page(job->bs);
        lay_out_io(&q->ios[i], job, frames + i * FRAME_BYTES);
        q->queue.ios[i] = &q->ios[i].io;
    }
    disk->mem_used = data + job->iodepth * align_page(job->bs) - disk->mem;
}

static bool start_queue(GuestDisk *disk, unsigned index, const BenchJob *job,
                        GError **error)
{
    GuestQueue *q = &disk->queues[index];
    VmmRing ring;

    lay_out_queue(disk, q, job);
    q->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    q->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (q->kick_fd < 0 || q->call_fd < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "eventfd: %s", g_strerror(errno));
        return false;
    }
    ring = (VmmRing) {
        .index = index,
        .size = disk->ring_size,
        .base = virtio_ring_initial_base(q->ring),
        .desc = (uintptr_t)virtio_ring_desc(q->ring),
        .avail = (uintptr_t)virtio_ring_avail(q->ring),
        .used = (uintptr_t)virtio_ring_used(q->ring),
        .kick_fd = q->kick_fd,
        .call_fd = q->call_fd,
    };
    return vmm_start_ring(disk->vmm, &ring, error);
}

static bool start_queues(GuestDisk *disk, const BenchJob *job, GError **error)
{
    disk->disk.n_queues = job->numjobs;
    disk->disk.queues = g_new0(BenchQueue *, job->numjobs);
    disk->queues = g_new0(GuestQueue, job->numjobs);
    for (unsigned i = 0; i < job->numjobs; i++) {
        disk->queues[i].kick_fd = disk->queues[i].call_fd = -1;
    }
    for (unsigned i = 0; i < job->numjobs; i++) {
        disk->disk.queues[i] = &disk->queues[i].queue;
        if (!start_queue(disk, i, job, error)) {
            return false;
        }
    }
    return true;
}

static bool guest_stop(BenchDisk *base, GError **error)
{
    GuestDisk *disk = (GuestDisk *)base;
    uint32_t vring_base;

    for (unsigned i = 0; i < base->n_queues; i++) {
        if (!vmm_stop_ring(disk->vmm, i, &vring_base, error)) {
            return false;
        }
    }
    return true;
}

static void close_queue(GuestQueue *q)
{
    virtio_ring_free(q->ring);
    g_free(q->queue.ios);
    g_free(q->ios);
    g_free(q->iovs);
    if (q->kick_fd >= 0) {
        close(q->kick_fd);
    }
    if (q->call_fd >= 0) {
        close(q->call_fd);
    }
}

static void guest_close(BenchDisk *base)
{
    GuestDisk *disk = (GuestDisk *)base;

    vmm_free(disk->vmm);
    for (unsigned i = 0; i < base->n_queues; i++) {
        close_queue(&disk->queues[i]);
    }
    g_free(disk->queues);
    g_free(base->queues);
    g_free(base->about);
    if (disk->mem) {
        munmap(disk->mem, disk->mem_bytes);
    }
    if (disk->memfd >= 0) {
        close(disk->memfd);
    }
    g_free(disk);
}

static char *describe(const GuestDisk *disk, const BenchJob *job)
{
    return g_strdup_printf("%s ring of %u%s%s%s%s, %s",
                           has(disk, VIRTIO_F_RING_PACKED) ? "packed"
                                                           : "split",
                           disk->ring_size,
                           has(disk, VIRTIO_RING_F_EVENT_IDX)
                               ? ", event index" : "",
                           has(disk, VIRTIO_RING_F_INDIRECT_DESC)
                               ? ", indirect" : "",
                           disk->vmm->inflight_fd >= 0
                               ? ", in-flight area" : "",
                           job->hugepages ? ", huge pages" : "",
                           job->poll ? "polling" : "interrupts");
}

BenchDisk *bench_disk_open_guest(const BenchJob *job, const char *socket,
                                 GError **error)
{
    GuestDisk *disk;
    Vmm *vmm = vmm_new(
        socket, MIN(job->timeout_ns / 1000000, G_MAXINT), error);

    if (!vmm) {
        return NULL;
    }
    disk = g_new0(GuestDisk, 1);
    disk->disk.close = guest_close;
    disk->disk.stop = guest_stop;
    disk->disk.server_pid = vmm_peer(vmm);
    disk->disk.watch_fd = vmm->sock;
    disk->vmm = vmm;
    disk->memfd = -1;
    if (!negotiate(disk, job, error) || !read_config(disk, job, error) ||
        !choose_ring(disk, job, error) ||
        !keep_inflight(disk, job, error) || !make_memory(disk, job, error) ||
        !start_queues(disk, job, error)) {
        guest_close(&disk->disk);
        return NULL;
    }
    disk->disk.about = describe(disk, job);
    return &disk->disk;
}
