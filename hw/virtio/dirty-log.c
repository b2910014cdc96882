/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The dirty log of live migration: one bit for each 4 KiB page of guest
 * physical memory, in memory shared with the front end.
 *
 * Order: the data is written before its bit is set, and the bit is always set
 * with an atomic read-modify-write, a full barrier. Testing it first would be
 * cheaper but wrong: the front end may clear the bit and copy the page while
 * our data is still in the store buffer.
 */
#include "hw/virtio/guest-memory.h"
#include "guest-mapping.h"

#include <unistd.h>

#define LOG_PAGE 4096

struct DirtyLog {
    gatomicrefcount refs;
    GuestMapping *mapping;
    uint8_t *bits;
    uint64_t n_bytes;
};

DirtyLog *dirty_log_new(int fd, uint64_t mmap_offset, uint64_t mmap_size,
                        GError **error)
{
    GuestMapping *mapping = guest_mapping_new(fd, mmap_offset, mmap_size,
                                              error);
    DirtyLog *log;

    if (!mapping) {
        g_prefix_error(error, "dirty log: ");
        return NULL;
    }
    log = g_new0(DirtyLog, 1);
    g_atomic_ref_count_init(&log->refs);
    log->mapping = mapping;
    log->bits = guest_mapping_data(mapping);
    log->n_bytes = mmap_size;
    return log;
}

bool dirty_log_hand_over(const DirtyLog *log, Handover *handover,
                         const char *id, GError **error)
{
    return guest_mapping_hand_over(log->mapping,
                                   handover_add(handover, "log", id), error);
}

bool dirty_log_take_over(Handover *handover, const char *id, DirtyLog **log,
                         GError **error)
{
    g_autoptr(HandoverRecord) record = handover_take(handover, "log", id);
    uint64_t offset, bytes;
    int fd;

    *log = NULL;
    if (!record) {
        return true;
    }
    if (!handover_need_uint(record, "offset", UINT64_MAX, &offset, error) ||
        !handover_need_uint(record, "bytes", UINT64_MAX, &bytes, error)) {
        return false;
    }
    fd = handover_take_fd(record, "fd");
    *log = dirty_log_new(fd, offset, bytes, error);
    if (fd >= 0) {
        close(fd);
    }
    return *log && handover_record_finish(record, error);
}

DirtyLog *dirty_log_ref(DirtyLog *log)
{
    g_atomic_ref_count_inc(&log->refs);
    return log;
}

void dirty_log_unref(DirtyLog *log)
{
    if (log && g_atomic_ref_count_dec(&log->refs)) {
        guest_mapping_unref(log->mapping);
        g_free(log);
    }
}

void dirty_log_mark(DirtyLog *log, uint64_t guest_addr, uint64_t bytes)
{
    uint64_t page, last;

    if (!bytes) {
        return;
    }
    if (__builtin_add_overflow(guest_addr, bytes - 1, &last)) {
        last = UINT64_MAX;
    }
    page = guest_addr / LOG_PAGE;
    last /= LOG_PAGE;
    while (page <= last && page / 8 < log->n_bytes) {
        unsigned first_bit = page % 8;
        unsigned last_bit = MIN(last - page + first_bit, 7);
        uint8_t mask = (0xff << first_bit) & (0xff >> (7 - last_bit));

        __atomic_fetch_or(&log->bits[page / 8], mask, __ATOMIC_SEQ_CST);
        page += last_bit - first_bit + 1;
    }
}
