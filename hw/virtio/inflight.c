/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The in-flight area: a region for each queue and, behind them, a word for
 * the device. Made for the front end, or mapped when it comes back with it.
 *
 * Called by the connection and its rings. A queue's region has room for
 * either ring format; inflight-split.c and inflight-packed.c work in it.
 */
#include "inflight-internal.h"

#include "guest-mapping.h"
#include "hw/virtio/virtqueue.h"

#include <errno.h>
#include <gio/gio.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <unistd.h>

#define REGION_ALIGN 64

struct Inflight {
    GuestMapping *mapping;
    uint8_t *base;
    unsigned num_queues;
    unsigned queue_size;
    uint64_t region_bytes;
};

static uint64_t region_bytes(unsigned queue_size)
{
    uint64_t bytes = sizeof(InflightPacked) +
                     (uint64_t)queue_size * sizeof(InflightPackedDesc);

    G_STATIC_ASSERT(sizeof(InflightPackedDesc) >= sizeof(InflightSplitDesc));
    G_STATIC_ASSERT(sizeof(InflightPacked) >= sizeof(InflightSplit));
    return (bytes + REGION_ALIGN - 1) & ~(uint64_t)(REGION_ALIGN - 1);
}

uint64_t inflight_bytes(unsigned num_queues, unsigned queue_size)
{
    return num_queues * region_bytes(queue_size) + REGION_ALIGN;
}

Inflight *inflight_map(int fd, uint64_t offset, uint64_t bytes,
                       unsigned num_queues, unsigned queue_size,
                       GError **error)
{
    Inflight *inflight;
    GuestMapping *mapping;

    if (!num_queues || !queue_size || queue_size > VIRTQUEUE_MAX_SIZE ||
        offset % REGION_ALIGN != 0 ||
        bytes != inflight_bytes(num_queues, queue_size)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "in-flight area of %" PRIu64 " bytes at %" PRIu64
                    " for %u queues of %u is not one of ours", bytes, offset,
                    num_queues, queue_size);
        return NULL;
    }
    mapping = guest_mapping_new(fd, offset, bytes, error);
    if (!mapping) {
        g_prefix_error(error, "in-flight area: ");
        return NULL;
    }
    inflight = g_new0(Inflight, 1);
    inflight->mapping = mapping;
    inflight->base = guest_mapping_data(mapping);
    inflight->num_queues = num_queues;
    inflight->queue_size = queue_size;
    inflight->region_bytes = region_bytes(queue_size);
    return inflight;
}

Inflight *inflight_new(unsigned num_queues, unsigned queue_size, int *fd,
                       GError **error)
{
    uint64_t bytes = inflight_bytes(num_queues, queue_size);
    Inflight *inflight;

    *fd = memfd_create("vhost-user-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (*fd < 0 || ftruncate(*fd, bytes) < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "in-flight area of %" PRIu64 " bytes: %s", bytes,
                    g_strerror(errno));
        inflight = NULL;
    } else {
        inflight = inflight_map(*fd, 0, bytes, num_queues, queue_size, error);
    }
    if (!inflight && *fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    return inflight;
}

void inflight_free(Inflight *inflight)
{
    if (inflight) {
        guest_mapping_unref(inflight->mapping);
        g_free(inflight);
    }
}

bool inflight_hand_over(const Inflight *inflight, Handover *handover,
                        const char *id, GError **error)
{
    HandoverRecord *record = handover_add(handover, "inflight", id);

    handover_put_uint(record, "queues", inflight->num_queues);
    handover_put_uint(record, "queue-size", inflight->queue_size);
    return guest_mapping_hand_over(inflight->mapping, record, error);
}

bool inflight_take_over(Handover *handover, const char *id,
                        Inflight **inflight, GError **error)
{
    g_autoptr(HandoverRecord) record = handover_take(handover, "inflight",
                                                     id);
    uint64_t queues, size, offset, bytes;
    int fd;

    *inflight = NULL;
    if (!record) {
        return true;
    }
    if (!handover_need_uint(record, "queues", UINT16_MAX, &queues, error) ||
        !handover_need_uint(record, "queue-size", UINT16_MAX, &size, error) ||
        !handover_need_uint(record, "offset", UINT64_MAX, &offset, error) ||
        !handover_need_uint(record, "bytes", UINT64_MAX, &bytes, error)) {
        return false;
    }
    fd = handover_take_fd(record, "fd");
    *inflight = inflight_map(fd, offset, bytes, queues, size, error);
    if (fd >= 0) {
        close(fd);
    }
    if (*inflight && handover_record_finish(record, error)) {
        return true;
    }
    g_clear_pointer(inflight, inflight_free);
    return false;
}

static void *region(Inflight *inflight, unsigned index)
{
    return inflight->base + index * inflight->region_bytes;
}

uint64_t *inflight_device_word(Inflight *inflight)
{
    return region(inflight, inflight->num_queues);
}

void inflight_forget_ring(Inflight *inflight, unsigned index)
{
    InflightSplit *any = region(inflight, index);

    /* both formats have it at the same place */
    G_STATIC_ASSERT(G_STRUCT_OFFSET(InflightSplit, version) ==
                    G_STRUCT_OFFSET(InflightPacked, version));
    if (index < inflight->num_queues) {
        STORE(any->version, 0);
    }
}

bool inflight_queue_bad(GError **error, const char *what)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                "in-flight region: %s", what);
    return false;
}

InflightQueue *inflight_queue_new(Inflight *inflight, unsigned index,
                                  unsigned size, GError **error)
{
    InflightQueue *queue;

    if (index >= inflight->num_queues || size > inflight->queue_size) {
        inflight_queue_bad(error, "made for fewer or smaller rings");
        return NULL;
    }
    queue = g_new0(InflightQueue, 1);
    queue->split = region(inflight, index);
    queue->size = size;
    queue->batch = g_new(uint16_t, size);
    queue->left = g_new(uint16_t, size);
    queue->left_num = g_new0(uint16_t, size);
    return queue;
}

void inflight_queue_free(InflightQueue *queue)
{
    if (queue) {
        g_free(queue->batch);
        g_free(queue->left);
        g_free(queue->left_num);
        g_free(queue);
    }
}

unsigned inflight_queue_left(const InflightQueue *queue)
{
    return queue->n_left - queue->next_left;
}

unsigned inflight_queue_next(InflightQueue *queue)
{
    return queue->left[queue->next_left++];
}

typedef struct SortBy {
    const InflightQueue *queue;
    uint64_t (*key)(const InflightQueue *, unsigned);
} SortBy;

static int compare(const void *a, const void *b, void *opaque)
{
    const SortBy *by = opaque;
    uint64_t left = by->key(by->queue, *(const uint16_t *)a);
    uint64_t right = by->key(by->queue, *(const uint16_t *)b);

    return (left > right) - (left < right);
}

void inflight_queue_sort(InflightQueue *queue,
                         uint64_t (*key)(const InflightQueue *, unsigned))
{
    SortBy by = { queue, key };

    g_qsort_with_data(queue->left, queue->n_left, sizeof(queue->left[0]),
                      compare, &by);
    if (queue->n_left > 0) {
        queue->counter = key(queue, queue->left[queue->n_left - 1]) + 1;
    }
}
