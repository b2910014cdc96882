/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The face of both ring formats: making and freeing a queue, what they have
 * in common when collecting a chain, and dispatch. A format is a bool and not
 * a table of pointers: the branch is always predicted.
 */
#include "virtqueue-internal.h"
#include "block/log.h"

#include <gio/gio.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

/* A driver's chain may be 2^32 bytes long (2.6, 2.7.5.3). */
#define CHAIN_MAX_BYTES (UINT64_C(1) << 32)

void virtqueue_element_init(VirtQueueElement *elem)
{
    memset(elem, 0, sizeof(*elem));
}

void virtqueue_element_clear(VirtQueueElement *elem)
{
    g_clear_pointer(&elem->iov, g_free);
    elem->iov_capacity = 0;
}

static bool is_aligned(const void *ptr, uintptr_t alignment)
{
    return ptr && (uintptr_t)ptr % alignment == 0;
}

static bool check_config(const VirtQueueConfig *config, GError **error)
{
    const char *problem = NULL;

    if (config->size < 1 || config->size > VIRTQUEUE_MAX_SIZE) {
        problem = "size is not within 1 and 1024";
    } else if (!config->packed && (config->size & (config->size - 1))) {
        problem = "size is not a power of 2";
    } else if (!is_aligned(config->desc, 16)) {
        problem = "descriptors are missing or not aligned to 16 bytes";
    } else if (!is_aligned(config->avail, config->packed ? 4 : 2)) {
        problem = "driver area is missing or misaligned";
    } else if (!is_aligned(config->used, 4)) {
        problem = "device area is missing or not aligned to 4 bytes";
    }
    if (problem) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, "%s: %s",
                    config->name, problem);
    }
    return !problem;
}

VirtQueue *virtqueue_new(const VirtQueueConfig *config, GError **error)
{
    VirtQueue *vq;
    bool ok;

    if (!check_config(config, error)) {
        inflight_queue_free(config->inflight);
        return NULL;
    }
    vq = g_new0(VirtQueue, 1);
    vq->size = config->size;
    vq->packed = config->packed;
    vq->event_idx = config->event_idx;
    vq->indirect = config->indirect;
    vq->memory = guest_memory_ref(config->memory);
    vq->desc = config->desc;
    vq->avail = config->avail;
    vq->used = config->used;
    vq->kick_fd = vq->call_fd = vq->error_fd = -1;
    vq->name = g_strdup(config->name);
    vq->log_limit = config->log_limit;
    vq->inflight = config->inflight;
    virtqueue_set_log(vq, config->log, config->log_used_ring,
                      config->used_guest_addr);
    ok = vq->packed ? packed_restore(vq, config->base, error)
                    : split_restore(vq, config->base, error);
    if (!ok) {
        g_clear_pointer(&vq, virtqueue_free);
    }
    return vq;
}

void virtqueue_free(VirtQueue *vq)
{
    if (!vq) {
        return;
    }
    guest_memory_unref(vq->memory);
    dirty_log_unref(vq->log);
    inflight_queue_free(vq->inflight);
    g_free(vq->scratch);
    g_free(vq->name);
    g_free(vq);
}

void virtqueue_set_kick_fd(VirtQueue *vq, int fd)
{
    vq->kick_fd = fd;
}

void virtqueue_set_call_fd(VirtQueue *vq, int fd)
{
    vq->call_fd = fd;
}

void virtqueue_set_error_fd(VirtQueue *vq, int fd)
{
    vq->error_fd = fd;
}

int virtqueue_kick_fd(const VirtQueue *vq)
{
    return vq->kick_fd;
}

unsigned virtqueue_size(const VirtQueue *vq)
{
    return vq->size;
}

const GuestMemory *virtqueue_memory(const VirtQueue *vq)
{
    return vq->memory;
}

const char *virtqueue_name(const VirtQueue *vq)
{
    return vq->name;
}

void virtqueue_set_log(VirtQueue *vq, DirtyLog *log, bool log_used_ring,
                       uint64_t used_guest_addr)
{
    if (log) {
        dirty_log_ref(log);
    }
    dirty_log_unref(vq->log);
    vq->log = log;
    vq->log_used_ring = log_used_ring;
    vq->used_guest_addr = used_guest_addr;
}

unsigned virtqueue_in_use(const VirtQueue *vq)
{
    return vq->in_use;
}

bool virtqueue_is_broken(const VirtQueue *vq)
{
    return vq->broken;
}

/* An eventfd whose counter is full has been signalled already. */
static void signal_fd(int fd)
{
    static const uint64_t one = 1;

    if (fd >= 0) {
        ssize_t ret G_GNUC_UNUSED = write(fd, &one, sizeof(one));
    }
}

void virtqueue_warn(VirtQueue *vq, const char *fmt, ...)
{
    g_autofree char *what = NULL;
    va_list ap;

    va_start(ap, fmt);
    what = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    log_warn_limited(vq->log_limit, "%s: %s", vq->name, what);
}

void virtqueue_set_broken(VirtQueue *vq, const char *fmt, ...)
{
    g_autofree char *why = NULL;
    va_list ap;

    if (vq->broken) {
        return;
    }
    vq->broken = true;
    va_start(ap, fmt);
    why = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    virtqueue_warn(vq, "broken until reset: %s", why);
    signal_fd(vq->error_fd);
}

void virtqueue_notify(VirtQueue *vq)
{
    signal_fd(vq->call_fd);
}

unsigned virtqueue_resubmits(const VirtQueue *vq)
{
    return vq->inflight ? inflight_queue_left(vq->inflight) : 0;
}

bool virtqueue_has_work(VirtQueue *vq)
{
    if (G_UNLIKELY(vq->broken)) {
        return false;
    }
    if (G_UNLIKELY(virtqueue_resubmits(vq))) {
        return true;
    }
    return vq->packed ? packed_has_work(vq) : split_has_work(vq);
}

int virtqueue_pop(VirtQueue *vq, VirtQueueElement *elem)
{
    if (G_UNLIKELY(vq->broken)) {
        return -1;
    }
    return vq->packed ? packed_pop(vq, elem) : split_pop(vq, elem);
}

/*
 * The whole writable part is marked and not only the first @written bytes:
 * what a device fills may lie anywhere in it (a failed read writes nothing
 * but the status, which is last), and a page too many costs a copy.
 */
static void log_buffers(VirtQueue *vq, const VirtQueueElement *elem)
{
    for (unsigned i = 0; i < elem->in_num; i++) {
        const struct iovec *iov = &elem->iov[elem->out_num + i];
        uint64_t addr;

        if (guest_memory_to_guest(vq->memory, iov->iov_base, &addr)) {
            dirty_log_mark(vq->log, addr, iov->iov_len);
        }
    }
}

void virtqueue_push(VirtQueue *vq, const VirtQueueElement *elem,
                    uint32_t written)
{
    g_assert(vq->in_use > 0);
    if (G_UNLIKELY(vq->log)) {
        log_buffers(vq, elem);
    }
    vq->in_use--;
    if (vq->packed) {
        packed_push(vq, elem, written);
    } else {
        split_push(vq, elem, written);
    }
}

void virtqueue_allow_abandon(VirtQueue *vq)
{
    vq->may_abandon = vq->inflight;
}

bool virtqueue_may_abandon(const VirtQueue *vq)
{
    return vq->may_abandon;
}

void virtqueue_abandon(VirtQueue *vq, const VirtQueueElement *elem)
{
    g_assert(vq->may_abandon && vq->in_use > 0);
    vq->in_use--;
}

bool virtqueue_publish(VirtQueue *vq)
{
    if (!vq->unpublished) {
        return false;
    }
    return vq->packed ? packed_publish(vq) : split_publish(vq);
}

void virtqueue_disable_kick(VirtQueue *vq)
{
    if (vq->kick != KICK_DISABLED) {
        vq->kick = KICK_DISABLED;
        if (vq->packed) {
            packed_disable_kick(vq);
        } else {
            split_disable_kick(vq);
        }
    }
}

bool virtqueue_enable_kick(VirtQueue *vq)
{
    bool work = vq->packed ? packed_enable_kick(vq) : split_enable_kick(vq);

    vq->kick = KICK_ENABLED;
    return work && !vq->broken;
}

uint32_t virtqueue_base(const VirtQueue *vq)
{
    return vq->packed ? packed_base(vq) : split_base(vq);
}

/* --- Collecting a chain: what is not in the fast path --- */

static bool grow_iov(VirtQueue *vq, VirtQueueElement *elem)
{
    unsigned capacity = elem->iov_capacity ? 2 * elem->iov_capacity : 16;

    if (elem->iov_capacity >= VIRTQUEUE_MAX_IOV) {
        virtqueue_set_broken(vq, "a chain is in more than %u pieces",
                             VIRTQUEUE_MAX_IOV);
        return false;
    }
    elem->iov_capacity = MIN(capacity, VIRTQUEUE_MAX_IOV);
    elem->iov = g_realloc_n(elem->iov, elem->iov_capacity,
                            sizeof(struct iovec));
    return true;
}

bool virtqueue_chain_add_slow(VirtQueue *vq, Chain *chain, uint64_t addr,
                              uint32_t len)
{
    VirtQueueElement *elem = chain->elem;

    /* An empty buffer is no reason to stop a device: the request that lacks
     * its bytes will fail. */
    while (len) {
        int region = guest_memory_find(vq->memory, addr);
        const GuestRange *range;
        uint64_t skip, part;

        if (region < 0) {
            virtqueue_set_broken(vq, "buffer at 0x%" PRIx64 " (%u bytes) is "
                                 "not in guest memory", addr, len);
            return false;
        }
        if (chain->n == elem->iov_capacity && !grow_iov(vq, elem)) {
            return false;
        }
        range = &vq->memory->ranges[region];
        skip = addr - range->guest_addr;
        part = MIN(len, range->size - skip);
        elem->iov[chain->n++] = (struct iovec){ range->host + skip, part };
        addr += part; /* cannot wrap: ranges do not */
        len -= part;
    }
    return true;
}

bool virtqueue_chain_misordered(VirtQueue *vq)
{
    virtqueue_set_broken(vq, "a readable buffer follows a writable one");
    return false;
}

bool virtqueue_chain_finish(VirtQueue *vq, const Chain *chain)
{
    if (G_UNLIKELY(chain->bytes > CHAIN_MAX_BYTES)) {
        virtqueue_set_broken(vq, "a chain of %" PRIu64 " bytes",
                             chain->bytes);
        return false;
    }
    chain->elem->out_num = chain->n_out;
    chain->elem->in_num = chain->n - chain->n_out;
    return true;
}

const void *virtqueue_indirect_table(VirtQueue *vq, const RingDesc *desc,
                                     unsigned *n)
{
    const void *table;

    if (!vq->indirect) {
        virtqueue_set_broken(vq, "indirect descriptor without the feature");
        return NULL;
    }
    if (!desc->len || desc->len % sizeof(struct vring_desc) ||
        desc->len > VIRTQUEUE_MAX_SIZE * sizeof(struct vring_desc)) {
        virtqueue_set_broken(vq, "indirect table of %u bytes", desc->len);
        return NULL;
    }
    *n = desc->len / sizeof(struct vring_desc);
    table = guest_memory_translate(vq->memory, &vq->memory_hint, desc->addr,
                                   desc->len);
    if (G_LIKELY(table)) {
        return table;
    }
    if (!vq->scratch) {
        vq->scratch = g_new(struct vring_desc, VIRTQUEUE_MAX_SIZE);
    }
    if (!guest_memory_read(vq->memory, desc->addr, vq->scratch, desc->len)) {
        virtqueue_set_broken(vq, "indirect table at 0x%" PRIx64 " (%u bytes) "
                             "is not in guest memory", desc->addr, desc->len);
        return NULL;
    }
    return vq->scratch;
}
