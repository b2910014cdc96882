/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finds out what an open file or block device asks of I/O and what it likes:
 * length, alignment, granularities. Called once, by file-posix-open.c.
 *
 * Sources, best first: statx() says what direct I/O needs since Linux 6.1; a
 * device says it through ioctls and sysfs; what is left is found by trying.
 * What sysfs says is remembered: a sandbox keeps it from us when we open again
 * what a successor has not taken.
 */
#include "file-posix.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "block/image.h"

#define PROBE_MIN 512u
#define PROBE_MAX 4096u

static bool is_power_of_2(uint64_t n)
{
    return n && (n & (n - 1)) == 0;
}

/* Whether statx() knows. Zero would mean "no direct I/O on this file", but
 * the open with O_DIRECT has succeeded: then trying decides. */
static bool probe_statx(int fd, BlockLimits *limits)
{
#ifdef STATX_DIOALIGN
    struct statx st;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) < 0 ||
        !(st.stx_mask & STATX_DIOALIGN) ||
        !is_power_of_2(st.stx_dio_mem_align) ||
        !is_power_of_2(st.stx_dio_offset_align)) {
        return false;
    }
    limits->memory_alignment = st.stx_dio_mem_align;
    limits->request_alignment = st.stx_dio_offset_align;
    return true;
#else
    return false;
#endif
}

/*
 * Whether a direct read of @align bytes into memory that is aligned to no
 * more works. Errors other than EINVAL are about the medium and not about
 * alignment, as far as one can tell.
 */
static bool try_alignment(int fd, char *buf, unsigned align)
{
    ssize_t ret;

    do {
        ret = pread(fd, buf + align, align, 0);
    } while (ret < 0 && errno == EINTR);
    return ret >= 0 || errno != EINVAL;
}

static bool probe_by_reading(int fd, BlockLimits *limits)
{
    char *buf = NULL;
    unsigned align;

    if (posix_memalign((void **)&buf, 2 * PROBE_MAX, 2 * PROBE_MAX)) {
        return false;
    }
    for (align = PROBE_MIN; align <= PROBE_MAX; align *= 2) {
        if (try_alignment(fd, buf, align)) {
            break;
        }
    }
    free(buf);
    limits->request_alignment = align;
    limits->memory_alignment = align;
    return align <= PROBE_MAX;
}

static bool probe_alignment(BlockDriverState *bs, GError **error)
{
    FileState *s = bs->opaque;

    bs->limits.request_alignment = 1;
    bs->limits.memory_alignment = 1;
    if (!bs->cache_direct || probe_statx(s->fd, &bs->limits)) {
        return true;
    }
    if (s->is_device) {
        bs->limits.request_alignment = s->device_block_size;
        bs->limits.memory_alignment = s->device_block_size;
        return true;
    }
    if (probe_by_reading(s->fd, &bs->limits)) {
        return true;
    }
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                "cache.direct=on, but direct reads of '%s' fail with every "
                "alignment up to %u bytes: use cache.direct=off", s->path,
                PROBE_MAX);
    return false;
}

/* Whether a read may say that it will not wait. Finding nothing at hand is as
 * good an answer as data. */
static bool probe_nowait(BlockDriverState *bs)
{
    FileState *s = bs->opaque;
    uint32_t bytes = MAX(bs->limits.request_alignment, PROBE_MIN);
    struct iovec iov = { .iov_len = bytes };
    ssize_t ret;
    int err;

    if (posix_memalign(&iov.iov_base, MAX(bytes, PROBE_MAX), bytes)) {
        return false;
    }
    ret = preadv2(s->fd, &iov, 1, 0, RWF_NOWAIT);
    err = errno;
    free(iov.iov_base);
    return ret >= 0 || err == EAGAIN;
}

/* What sysfs has of a device; 0 where there is nothing. */
typedef struct QueueLimits {
    dev_t dev;
    uint64_t max_hw_bytes;
    uint64_t discard_granularity;
    bool can_discard;
    bool can_write_zeroes;
} QueueLimits;

static GHashTable *known; /* dev_t, QueueLimits: as of its last open */

/* A number from the device's queue directory. A partition has its disk's. */
static uint64_t queue_limit(dev_t dev, const char *name)
{
    static const char *const dirs[] = { "queue", "../queue" };

    for (unsigned i = 0; i < G_N_ELEMENTS(dirs); i++) {
        g_autofree char *path = g_strdup_printf(
            "/sys/dev/block/%u:%u/%s/%s", major(dev), minor(dev), dirs[i],
            name);
        g_autofree char *text = NULL;

        if (g_file_get_contents(path, &text, NULL, NULL)) {
            return g_ascii_strtoull(text, NULL, 10);
        }
    }
    return 0;
}

static const QueueLimits *read_queue_limits(dev_t dev)
{
    QueueLimits *queue = g_new(QueueLimits, 1);

    *queue = (QueueLimits){
        .dev = dev,
        .max_hw_bytes = queue_limit(dev, "max_hw_sectors_kb") * 1024,
        .discard_granularity = queue_limit(dev, "discard_granularity"),
        .can_discard = queue_limit(dev, "discard_max_bytes") > 0,
        .can_write_zeroes = queue_limit(dev, "write_zeroes_max_bytes") > 0,
    };
    if (!known) {
        known = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL,
                                      g_free);
    }
    G_STATIC_ASSERT(sizeof(queue->dev) == sizeof(gint64));
    g_hash_table_replace(known, &queue->dev, queue);
    return queue;
}

/* Of a device that we had open all the time, what we knew. */
static const QueueLimits *queue_limits(const FileState *s, dev_t dev)
{
    const QueueLimits *queue = NULL;

    if (file_is_back(s->full_path) && known) {
        queue = g_hash_table_lookup(known, &dev);
    }
    return queue ? queue : read_queue_limits(dev);
}

/*
 * The kernel splits what is too long for a device, so that max_transfer only
 * says where merging stops paying. The number of segments is no limit at all:
 * neighbouring pages are one segment.
 */
static void probe_device_limits(BlockDriverState *bs, dev_t dev)
{
    FileState *s = bs->opaque;
    BlockLimits *limits = &bs->limits;
    const QueueLimits *queue = queue_limits(s, dev);
    unsigned value;

    if (ioctl(s->fd, BLKPBSZGET, &value) == 0 && is_power_of_2(value)) {
        limits->physical_block_size = value;
    }
    if (ioctl(s->fd, BLKIOMIN, &value) == 0) {
        limits->min_transfer = value;
    }
    if (ioctl(s->fd, BLKIOOPT, &value) == 0) {
        limits->opt_transfer = value;
    }
    limits->max_transfer =
        queue->max_hw_bytes < ENGINE_MAX_BYTES ? queue->max_hw_bytes : 0;
    limits->discard_alignment = queue->discard_granularity;
    limits->can_discard = queue->can_discard;
    limits->can_write_zeroes = queue->can_write_zeroes;
    s->no_discard = !limits->can_discard;
}

/* Whether the file system can punch holes is learnt from the first try: any
 * probe that proves it would change the file. */
static void probe_file_limits(BlockDriverState *bs, const struct stat *st)
{
    BlockLimits *limits = &bs->limits;

    if (is_power_of_2(st->st_blksize)) {
        limits->min_transfer = st->st_blksize;
        limits->discard_alignment = st->st_blksize;
    }
    limits->can_discard = true;
    limits->can_write_zeroes = true;
}

/* By name: the kernel knows, and does not say. A partition's parent directory
 * is its disk's. */
static bool is_memory_device(dev_t dev)
{
    g_autofree char *link = g_strdup_printf("/sys/dev/block/%u:%u",
                                            major(dev), minor(dev));
    g_autofree char *target = g_file_read_link(link, NULL);

    return target && (strstr(target, "/block/zram") ||
                      strstr(target, "/block/ram") ||
                      strstr(target, "/block/pmem"));
}

/* Buffered writes to a device may wait for others' pages to be written. */
static bool is_in_memory(BlockDriverState *bs, const struct stat *st)
{
    FileState *s = bs->opaque;
    struct statfs fs;

    if (S_ISBLK(st->st_mode)) {
        return bs->cache_direct && is_memory_device(st->st_rdev);
    }
    return S_ISREG(st->st_mode) && fstatfs(s->fd, &fs) == 0 &&
           (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

void file_round_up_for_tools(BlockDriverState *bs)
{
    if (bs->open_flags & BDRV_OPEN_SECTORS) {
        bs->total_bytes = (bs->total_bytes + 511) & ~511LL;
    }
}

int64_t file_length(const FileState *s)
{
    struct stat st;
    uint64_t bytes;

    if (fstat(s->fd, &st) < 0) {
        return -errno;
    }
    if (S_ISCHR(st.st_mode)) {
        return MAX(lseek(s->fd, 0, SEEK_END), 0);
    }
    if (!S_ISBLK(st.st_mode)) {
        return st.st_size;
    }
    return ioctl(s->fd, BLKGETSIZE64, &bytes) < 0 ? -errno : (int64_t)bytes;
}

static bool probe_block_size(FileState *s, mode_t mode)
{
    int block_size = 1;

    if (S_ISBLK(mode) && ioctl(s->fd, BLKSSZGET, &block_size) < 0) {
        return false;
    }
    s->device_block_size = block_size;
    return true;
}

/* Length, and of a device its block size. */
static bool probe_size(BlockDriverState *bs, struct stat *st, GError **error)
{
    FileState *s = bs->opaque;
    int64_t bytes = file_length(s);

    if (bytes < 0 || fstat(s->fd, st) < 0 ||
        (s->is_device && !probe_block_size(s, st->st_mode))) {
        int err = bytes < 0 ? -bytes : errno;

        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(err),
                    "Could not get the size of '%s': %s", s->path,
                    g_strerror(err));
        return false;
    }
    bs->total_bytes = bytes;
    if (!s->is_device) {
        file_round_up_for_tools(bs);
    }
    return true;
}

bool file_refresh_size(BlockDriverState *bs, GError **error)
{
    struct stat st;

    return probe_size(bs, &st, error);
}

/* What file_sync_failed() wants to know. */
static bool sync_repeats(const FileState *s, mode_t mode)
{
    struct statfs fs;

    return S_ISBLK(mode) ||
           (fstatfs(s->fd, &fs) == 0 && (fs.f_type == EXT4_SUPER_MAGIC ||
                                         fs.f_type == XFS_SUPER_MAGIC));
}

/* RWF_NOWAIT for those engines that need to know. */
static void probe_facts(BlockDriverState *bs, const struct stat *st)
{
    FileState *s = bs->opaque;

    s->facts = (AutoFacts){
        .name = s->path,
        .direct = bs->cache_direct,
        .in_memory = is_in_memory(bs, st),
        .is_device = S_ISBLK(st->st_mode),
    };
    s->sync_repeats = sync_repeats(s, st->st_mode);
    if (bs->cache_direct &&
        (s->aio == ENGINE_NATIVE || s->aio == ENGINE_AUTO)) {
        s->facts.nowait = probe_nowait(bs);
    }
}

bool file_probe(BlockDriverState *bs, GError **error)
{
    struct stat st;

    if (!probe_size(bs, &st, error)) {
        return false;
    }
    if (!probe_alignment(bs, error)) {
        return false;
    }
    probe_facts(bs, &st);
    if (S_ISBLK(st.st_mode)) {
        probe_device_limits(bs, st.st_rdev);
    } else if (S_ISREG(st.st_mode)) {
        probe_file_limits(bs, &st);
    }
    if (bs->limits.request_alignment > 1) {
        bs->limits.physical_block_size = MAX(bs->limits.physical_block_size,
                                             bs->limits.request_alignment);
    }
    return true;
}
