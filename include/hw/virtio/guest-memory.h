/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's memory as the front end described it: a table of regions,
 * mapped into this process. Immutable once made; a change of memory makes a
 * new table while the queues stand still.
 *
 * Regions come from another process that may shrink the file behind them:
 * touching such a page marks the region's table broken in place of killing
 * the process (SIGBUS is caught).
 */
#ifndef HW_VIRTIO_GUEST_MEMORY_H
#define HW_VIRTIO_GUEST_MEMORY_H

#include <sys/uio.h>

#include "block/handover.h"

typedef struct GuestMemory GuestMemory;
typedef struct DirtyLog DirtyLog;

#define GUEST_MEMORY_MAX_REGIONS 509

/* One region, as in vhost-user's memory table. */
typedef struct GuestMemoryRegion {
    uint64_t guest_addr;    /* guest physical */
    uint64_t user_addr;     /* in the front end's address space */
    uint64_t size;
    uint64_t mmap_offset;   /* in the file */
    int fd;                 /* borrowed for the call */
} GuestMemoryRegion;

/*
 * Maps all regions, or none: NULL with @error when one is empty, overlaps
 * another, wraps around, or lies behind the end of its file. Context: main
 */
GuestMemory *guest_memory_new(const GuestMemoryRegion *regions,
                              unsigned n_regions, GError **error);

/* For tests and in-process guests: memory that is mapped already. */
GuestMemory *guest_memory_new_borrowed(void *base, uint64_t guest_addr,
                                       uint64_t size);

/* A new table: that of @mem (may be NULL) with one region more or less. The
 * old one stays valid until its reference is dropped. Context: main */
GuestMemory *guest_memory_with_region(GuestMemory *mem,
                                      const GuestMemoryRegion *region,
                                      GError **error);
GuestMemory *guest_memory_without_region(GuestMemory *mem,
                                         const GuestMemoryRegion *region,
                                         GError **error);

GuestMemory *guest_memory_ref(GuestMemory *mem);  /* Context: any */
void guest_memory_unref(GuestMemory *mem);        /* Context: any */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GuestMemory, guest_memory_unref)

/* Records of the regions for the process that takes over, and back; @id names
 * whose they are. No region: true and *mem is NULL. Context: main */
bool guest_memory_hand_over(const GuestMemory *mem, Handover *handover,
                            const char *id, GError **error);
bool guest_memory_take_over(Handover *handover, const char *id,
                            GuestMemory **mem, GError **error);

unsigned guest_memory_n_regions(const GuestMemory *mem);

/* Where region @i is mapped, and how long it is. Context: any */
void *guest_memory_region(const GuestMemory *mem, unsigned i, uint64_t *bytes);

/*
 * Translates @bytes at guest physical @addr. Writes at most @max elements to
 * @iov (more than one when it crosses regions) and returns their number, or
 * -1 when a byte of it is outside, the range wraps, or @max is too small.
 * Context: any
 */
int guest_memory_map(const GuestMemory *mem, uint64_t addr, uint64_t bytes,
                     struct iovec *iov, unsigned max);

/* All of [@addr, @addr + @bytes) within one region, or NULL: for rings. */
void *guest_memory_map_contiguous(const GuestMemory *mem, uint64_t addr,
                                  uint64_t bytes);

/* The same for an address of the front end's: rings are given that way. */
void *guest_memory_map_user(const GuestMemory *mem, uint64_t user_addr,
                            uint64_t bytes);

/* Copies, read once; false when a byte is outside. Context: any */
bool guest_memory_read(const GuestMemory *mem, uint64_t addr, void *buf,
                       uint64_t bytes);

/* Back from a mapped pointer to the guest physical address; false when the
 * pointer is in no region. For the dirty log. */
bool guest_memory_to_guest(const GuestMemory *mem, const void *ptr,
                           uint64_t *guest_addr);

/* A page behind the table turned out to be gone. Context: any */
bool guest_memory_is_broken(const GuestMemory *mem);

/* --- Dirty log: which guest pages the device wrote, for live migration --- */

/* Maps the log the front end sent. NULL with @error. Context: main */
DirtyLog *dirty_log_new(int fd, uint64_t mmap_offset, uint64_t mmap_size,
                        GError **error);
bool dirty_log_hand_over(const DirtyLog *log, Handover *handover,
                         const char *id, GError **error);
/* No log: true and *log is NULL. */
bool dirty_log_take_over(Handover *handover, const char *id, DirtyLog **log,
                         GError **error);
DirtyLog *dirty_log_ref(DirtyLog *log);
void dirty_log_unref(DirtyLog *log);

/* Marks the 4 KiB pages of the range, atomically; what lies behind the log's
 * end is ignored. Context: any */
void dirty_log_mark(DirtyLog *log, uint64_t guest_addr, uint64_t bytes);

#endif
