/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One vring: see the table in the header. Short changes to a running queue
 * (another call descriptor, logging on or off) are made in the queue's thread
 * while the main thread waits for it; stopping may take as long as its
 * requests do, so it is asked for and comes back as a bottom half.
 */
#include "vhost-user-ring.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <inttypes.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define HAS(env, bit) (!!((env)->features & (UINT64_C(1) << (bit))))

void vhost_user_ring_init(VhostUserRing *ring, VirtIODevice *dev,
                          AioContext *main_ctx, unsigned index)
{
    *ring = (VhostUserRing){
        .dev = dev, .main_ctx = main_ctx, .index = index,
        .name = g_strdup_printf("%s queue %u", dev->name, index),
        .kick_fd = -1, .call_fd = -1, .error_fd = -1,
    };
}

static void replace_fd(int *fd, int new_fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = new_fd;
}

void vhost_user_ring_clear(VhostUserRing *ring)
{
    g_assert(ring->state == VHOST_USER_RING_STOPPED);
    replace_fd(&ring->kick_fd, -1);
    replace_fd(&ring->call_fd, -1);
    replace_fd(&ring->error_fd, -1);
    g_clear_pointer(&ring->name, g_free);
}

void vhost_user_ring_reset(VhostUserRing *ring)
{
    g_assert(ring->state == VHOST_USER_RING_STOPPED);
    replace_fd(&ring->kick_fd, -1);
    ring->num = 0;
    ring->have_addr = false;
    ring->base = 0;
    ring->enabled = false;
    ring->broken = ring->failed = false;
}

void vhost_user_ring_drop_kick(VhostUserRing *ring)
{
    g_assert(ring->state == VHOST_USER_RING_STOPPED);
    replace_fd(&ring->kick_fd, -1);
}

static bool refuse(const VhostUserRing *ring, GError **error, const char *why)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                "queue %u %s", ring->index, why);
    return false;
}

static bool check_stopped(const VhostUserRing *ring, GError **error)
{
    return ring->state == VHOST_USER_RING_STOPPED ||
           refuse(ring, error, "is running: GET_VRING_BASE stops it");
}

bool vhost_user_ring_set_num(VhostUserRing *ring, unsigned num,
                             GError **error)
{
    if (num < 1 || num > VIRTQUEUE_MAX_SIZE) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "queue %u: size %u is not within 1 and %u", ring->index,
                    num, VIRTQUEUE_MAX_SIZE);
        return false;
    }
    if (num != ring->num && !check_stopped(ring, error)) {
        return false;
    }
    ring->num = num;
    ring->failed = false;
    return true;
}

bool vhost_user_ring_set_base(VhostUserRing *ring, uint32_t base,
                              GError **error)
{
    if (!check_stopped(ring, error)) {
        return false;
    }
    ring->base = base;
    ring->failed = false;
    return true;
}

/* --- Addresses --- */

typedef struct RingParts {
    void *desc, *avail, *used;
} RingParts;

static void *translate(const VhostUserRing *ring, const VhostUserRingEnv *env,
                       uint64_t user_addr, uint64_t bytes, GError **error)
{
    void *ptr = guest_memory_map_user(env->memory, user_addr, bytes);

    if (!ptr) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "queue %u: %" PRIu64 " bytes of ring at user address "
                    "0x%" PRIx64 " are not in the memory table", ring->index,
                    bytes, user_addr);
    }
    return ptr;
}

static bool translate_parts(const VhostUserRing *ring,
                            const VhostUserRingEnv *env,
                            const VhostUserVringAddr *addr, RingParts *parts,
                            GError **error)
{
    /* one event word behind the ring, when there is the event index */
    unsigned event = HAS(env, VIRTIO_RING_F_EVENT_IDX) ? 2 : 0;
    bool packed = HAS(env, VIRTIO_F_RING_PACKED);
    size_t avail = packed ? 4 : 4 + 2 * (size_t)ring->num + event;
    size_t used = packed ? 4 : 4 + 8 * (size_t)ring->num + event;

    parts->desc = translate(ring, env, addr->desc,
                            sizeof(struct vring_desc) * ring->num, error);
    if (!parts->desc) {
        return false;
    }
    parts->avail = translate(ring, env, addr->avail, avail, error);
    if (!parts->avail) {
        return false;
    }
    parts->used = translate(ring, env, addr->used, used, error);
    return parts->used != NULL;
}

static bool same_place(const VhostUserVringAddr *a, const VhostUserVringAddr *b)
{
    return a->desc == b->desc && a->avail == b->avail && a->used == b->used;
}

/*
 * A running ring's addresses may be sent again with another log flag: that is
 * how a front end switches the logging of the used ring.
 */
bool vhost_user_ring_set_addr(VhostUserRing *ring, const VhostUserRingEnv *env,
                              const VhostUserVringAddr *addr, GError **error)
{
    RingParts parts;

    if (addr->flags & ~VHOST_USER_VRING_F_LOG) {
        return refuse(ring, error, "has unknown address flags");
    }
    if (ring->state != VHOST_USER_RING_STOPPED &&
        !same_place(addr, &ring->addr)) {
        return check_stopped(ring, error);
    }
    if (ring->num && env->memory &&
        !translate_parts(ring, env, addr, &parts, error)) {
        return false;
    }
    ring->addr = *addr;
    ring->have_addr = true;
    ring->failed = false;
    if (ring->state == VHOST_USER_RING_RUNNING) {
        vhost_user_ring_update_log(ring, env);
    }
    return true;
}

/* --- Descriptors --- */

/* The loop can wait for it; a regular file it could not. Where the check
 * itself fails the loop will say so. */
static bool can_be_polled(int fd)
{
    struct epoll_event event = { .events = EPOLLIN };
    int epfd = epoll_create1(EPOLL_CLOEXEC);
    bool ok = epfd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event) == 0 ||
              errno != EPERM;

    if (epfd >= 0) {
        close(epfd);
    }
    return ok;
}

/*
 * Only event descriptors: a pipe without a writer would be readable for ever,
 * a terminal or a file might block. Where /proc is missing the check is
 * lenient.
 */
static bool is_eventfd(int fd)
{
    char path[64], target[64];
    ssize_t n;

    g_snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    n = readlink(path, target, sizeof(target) - 1);
    if (n < 0) {
        return true;
    }
    target[n] = 0;
    return strcmp(target, "anon_inode:[eventfd]") == 0;
}

/* Takes @fd; false when it is unfit. It may be shared with somebody who wants
 * it blocking: we cannot have that. */
static bool adopt_fd(const VhostUserRing *ring, int fd, GError **error)
{
    int flags = fcntl(fd, F_GETFL);

    if (!is_eventfd(fd) || !can_be_polled(fd)) {
        close(fd);
        return refuse(ring, error, "was sent a file descriptor that is no "
                      "eventfd");
    }
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        close(fd);
        return refuse(ring, error, "has a descriptor that cannot be made "
                      "non-blocking");
    }
    return true;
}

bool vhost_user_ring_set_kick(VhostUserRing *ring, int fd, GError **error)
{
    if (fd < 0) {
        return refuse(ring, error, "has no kick descriptor, and polling "
                      "without one is not supported");
    }
    if (!adopt_fd(ring, fd, error)) {
        return false;
    }
    g_assert(ring->state == VHOST_USER_RING_STOPPED);
    replace_fd(&ring->kick_fd, fd);
    ring->broken = ring->failed = false;
    return true;
}

/*
 * The new call descriptor is signalled at once. A front end that unmasks an
 * interrupt looks whether the old descriptor was signalled and sends the new
 * one, but does not wait until we have it: what we signal in between would be
 * lost. One interrupt too many is harmless.
 */
static void set_call_bh(void *opaque)
{
    VhostUserRing *ring = opaque;

    virtqueue_set_call_fd(ring->vq, ring->call_fd);
    virtqueue_notify(ring->vq);
}

static void set_error_bh(void *opaque)
{
    VhostUserRing *ring = opaque;

    virtqueue_set_error_fd(ring->vq, ring->error_fd);
}

/* Replaces a descriptor the queue writes to: first there, then closed. */
static bool set_output_fd(VhostUserRing *ring, int *slot, int fd,
                          AioFn *hand_over, GError **error)
{
    int old = *slot;

    if (fd >= 0 && !adopt_fd(ring, fd, error)) {
        return false;
    }
    *slot = fd;
    if (ring->state != VHOST_USER_RING_STOPPED) {
        aio_bh_run_sync(ring->dev->ops->queue_context(ring->dev, ring->index),
                        hand_over, ring);
    }
    if (old >= 0) {
        close(old);
    }
    return true;
}

bool vhost_user_ring_set_call(VhostUserRing *ring, int fd, GError **error)
{
    return set_output_fd(ring, &ring->call_fd, fd, set_call_bh, error);
}

bool vhost_user_ring_set_error(VhostUserRing *ring, int fd, GError **error)
{
    return set_output_fd(ring, &ring->error_fd, fd, set_error_bh, error);
}

/* --- Start and stop --- */

bool vhost_user_ring_can_start(const VhostUserRing *ring,
                               const VhostUserRingEnv *env)
{
    return ring->state == VHOST_USER_RING_STOPPED && ring->enabled &&
           !ring->broken && !ring->failed && ring->kick_fd >= 0 &&
           ring->num && ring->have_addr && env->memory;
}

static DirtyLog *log_in_use(const VhostUserRingEnv *env)
{
    return env->features & VHOST_F_LOG_ALL_BIT ? env->log : NULL;
}

static VirtQueue *make_virtqueue(VhostUserRing *ring,
                                 const VhostUserRingEnv *env, GError **error)
{
    VirtQueueConfig config = {
        .size = ring->num,
        .packed = HAS(env, VIRTIO_F_RING_PACKED),
        .event_idx = HAS(env, VIRTIO_RING_F_EVENT_IDX),
        .indirect = HAS(env, VIRTIO_RING_F_INDIRECT_DESC),
        .memory = env->memory,
        .used_guest_addr = ring->addr.log,
        .log = log_in_use(env),
        .log_used_ring = ring->addr.flags & VHOST_USER_VRING_F_LOG,
        .base = ring->base,
        .name = ring->name,
        .log_limit = &ring->dev->log_limit,
    };
    RingParts parts;
    VirtQueue *vq;

    if (!translate_parts(ring, env, &ring->addr, &parts, error)) {
        return NULL;
    }
    config.desc = parts.desc;
    config.avail = parts.avail;
    config.used = parts.used;
    if (env->inflight) {
        config.inflight = inflight_queue_new(env->inflight, ring->index,
                                             ring->num, error);
        if (!config.inflight) {
            return NULL;
        }
    }
    vq = virtqueue_new(&config, error);
    if (vq) {
        virtqueue_set_kick_fd(vq, ring->kick_fd);
        virtqueue_set_call_fd(vq, ring->call_fd);
        virtqueue_set_error_fd(vq, ring->error_fd);
    }
    return vq;
}

static void start_bh(void *opaque)
{
    VhostUserRing *ring = opaque;

    ring->dev->ops->queue_start(ring->dev, ring->index, ring->vq);
}

bool vhost_user_ring_start(VhostUserRing *ring, const VhostUserRingEnv *env,
                           GError **error)
{
    g_assert(vhost_user_ring_can_start(ring, env));
    ring->vq = make_virtqueue(ring, env, error);
    if (!ring->vq) {
        ring->failed = true;
        return false;
    }
    ring->state = VHOST_USER_RING_RUNNING;
    ring->settled = false;
    ring->resubmits = virtqueue_resubmits(ring->vq);
    aio_bh_run_sync(ring->dev->ops->queue_context(ring->dev, ring->index),
                    start_bh, ring);
    return true;
}

/* Main thread: the device is done with the queue. */
static void stopped_bh(void *opaque)
{
    VhostUserRing *ring = opaque;

    ring->base = virtqueue_base(ring->vq);
    ring->broken = virtqueue_is_broken(ring->vq);
    /* of what the process before us had taken, a device that is paused or
     * halted may not have come to all */
    ring->settled = !ring->resumes &&
                    (ring->broken || virtqueue_resubmits(ring->vq) == 0);
    g_clear_pointer(&ring->vq, virtqueue_free);
    ring->state = VHOST_USER_RING_STOPPED;
    ring->stopped(ring->stopped_opaque);
}

/* Home of the queue. */
static void drained_cb(void *opaque)
{
    VhostUserRing *ring = opaque;

    aio_bh_once(ring->main_ctx, stopped_bh, ring);
}

static void stop_bh(void *opaque)
{
    VhostUserRing *ring = opaque;

    if (ring->resumes) {
        virtqueue_allow_abandon(ring->vq);
    }
    ring->dev->ops->queue_stop(ring->dev, ring->index, drained_cb, ring);
}

void vhost_user_ring_stop(VhostUserRing *ring, AioFn *fn, void *opaque)
{
    g_assert(ring->state == VHOST_USER_RING_RUNNING);
    ring->state = VHOST_USER_RING_STOPPING;
    ring->stopped = fn;
    ring->stopped_opaque = opaque;
    aio_bh_once(ring->dev->ops->queue_context(ring->dev, ring->index),
                stop_bh, ring);
}

typedef struct LogChange {
    VhostUserRing *ring;
    DirtyLog *log;
} LogChange;

static void set_log_bh(void *opaque)
{
    LogChange *change = opaque;
    const VhostUserVringAddr *addr = &change->ring->addr;

    virtqueue_set_log(change->ring->vq, change->log,
                      addr->flags & VHOST_USER_VRING_F_LOG, addr->log);
}

void vhost_user_ring_update_log(VhostUserRing *ring,
                                const VhostUserRingEnv *env)
{
    LogChange change = { ring, log_in_use(env) };

    g_assert(ring->state == VHOST_USER_RING_RUNNING);
    aio_bh_run_sync(ring->dev->ops->queue_context(ring->dev, ring->index),
                    set_log_bh, &change);
}
