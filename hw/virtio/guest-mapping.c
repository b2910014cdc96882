/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mapping a foreign file with care: checked against its size, aligned to the
 * pages it is made of (which may be huge), kept out of children and core
 * dumps, guarded against the file being cut short later.
 */
#include "guest-mapping.h"
#include "guest-sigbus.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

struct GuestMapping {
    gatomicrefcount refs;
    void *map_base; /* NULL: borrowed */
    size_t map_bytes;
    void *data;
    SigbusRange *guard;
    int fd;         /* for whoever takes over from us; -1: none */
    uint64_t offset, bytes;
};

static bool check_file_covers(int fd, uint64_t offset, uint64_t size,
                              GError **error)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "cannot stat the file: %s", g_strerror(errno));
        return false;
    }
    /* A character device has no size; the SIGBUS guard must do. */
    if (S_ISREG(st.st_mode) && (uint64_t)st.st_size < offset + size) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "ends at 0x%" PRIx64 ", behind the end of the file "
                    "(0x%" PRIx64 " bytes)", offset + size,
                    (uint64_t)st.st_size);
        return false;
    }
    return true;
}

/* hugetlbfs wants offset, address and munmap() in its own pages. */
static size_t file_page_size(int fd)
{
    size_t page_size = sysconf(_SC_PAGESIZE);
    struct statfs fs;

    if (fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC &&
        (size_t)fs.f_bsize > page_size) {
        page_size = fs.f_bsize;
    }
    return page_size;
}

GuestMapping *guest_mapping_new(int fd, uint64_t offset, uint64_t size,
                                GError **error)
{
    GuestMapping *mapping;
    size_t page_size, skip, bytes;
    uint64_t end;
    void *base;

    /* The margin keeps rounding up to a (huge) page from wrapping. */
    if (!size || __builtin_add_overflow(offset, size, &end) ||
        end > INT64_MAX - (UINT64_C(1) << 40)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "size 0x%" PRIx64 " at offset 0x%" PRIx64
                    " is no valid range", size, offset);
        return NULL;
    }
    if (!check_file_covers(fd, offset, size, error)) {
        return NULL;
    }
    page_size = file_page_size(fd);
    skip = offset % page_size;
    bytes = (skip + size + page_size - 1) / page_size * page_size;
    base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_NORESERVE, fd, offset - skip);
    if (base == MAP_FAILED) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "cannot map 0x%" PRIx64 " bytes: %s", size,
                    g_strerror(errno));
        return NULL;
    }
    /* A child must not make pages under DMA copy-on-write, and a core dump
     * must not hold a guest. Best effort: special files may refuse. */
    madvise(base, bytes, MADV_DONTFORK);
    madvise(base, bytes, MADV_DONTDUMP);

    mapping = g_new0(GuestMapping, 1);
    g_atomic_ref_count_init(&mapping->refs);
    mapping->map_base = base;
    mapping->map_bytes = bytes;
    mapping->data = (uint8_t *)base + skip;
    mapping->guard = sigbus_range_register(base, bytes, page_size);
    mapping->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0); /* can do without */
    mapping->offset = offset;
    mapping->bytes = size;
    return mapping;
}

GuestMapping *guest_mapping_new_borrowed(void *base)
{
    GuestMapping *mapping = g_new0(GuestMapping, 1);

    g_atomic_ref_count_init(&mapping->refs);
    mapping->data = base;
    mapping->fd = -1;
    return mapping;
}

GuestMapping *guest_mapping_ref(GuestMapping *mapping)
{
    g_atomic_ref_count_inc(&mapping->refs);
    return mapping;
}

void guest_mapping_unref(GuestMapping *mapping)
{
    if (!g_atomic_ref_count_dec(&mapping->refs)) {
        return;
    }
    if (mapping->map_base) {
        sigbus_range_unregister(mapping->guard);
        munmap(mapping->map_base, mapping->map_bytes);
    }
    if (mapping->fd >= 0) {
        close(mapping->fd);
    }
    g_free(mapping);
}

bool guest_mapping_hand_over(const GuestMapping *mapping,
                             HandoverRecord *record, GError **error)
{
    if (mapping->fd < 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                    "the file of guest memory was not kept");
        return false;
    }
    handover_put_uint(record, "offset", mapping->offset);
    handover_put_uint(record, "bytes", mapping->bytes);
    return handover_put_fd(record, "fd", mapping->fd, error);
}

void *guest_mapping_data(const GuestMapping *mapping)
{
    return mapping->data;
}

bool guest_mapping_is_broken(const GuestMapping *mapping)
{
    return mapping->guard && sigbus_range_is_broken(mapping->guard);
}
