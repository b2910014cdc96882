/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What can be done with a file or device besides I/O: where it has data, how
 * much room it takes, making it longer or shorter.
 *
 * Called through BlockImageOps, in coroutines. What may take long is done by
 * a worker; asking for holes is not, it reads what the kernel has in memory.
 */
#include "file-posix.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/error.h"
#include "block/image.h"

/* --- where data is --- */

void file_status_forget(FileState *s)
{
    pthread_mutex_lock(&s->status.mutex);
    s->status.end = s->status.start;
    s->status.forgotten++;
    pthread_mutex_unlock(&s->status.mutex);
}

/* Where the known data at @offset ends; 0: none is known. */
static int64_t status_recall(FileState *s, int64_t offset,
                             unsigned *forgotten)
{
    FileStatusCache *cache = &s->status;
    int64_t end = 0;

    pthread_mutex_lock(&cache->mutex);
    if (offset >= cache->start && offset < cache->end) {
        end = cache->end;
    }
    *forgotten = cache->forgotten;
    pthread_mutex_unlock(&cache->mutex);
    return end;
}

/* Unless something was discarded while we looked. */
static void status_remember(FileState *s, int64_t start, int64_t end,
                            unsigned forgotten)
{
    FileStatusCache *cache = &s->status;

    pthread_mutex_lock(&cache->mutex);
    if (cache->forgotten == forgotten) {
        cache->start = start;
        cache->end = end;
    }
    pthread_mutex_unlock(&cache->mutex);
}

/*
 * Whether there is data at @offset, and where that ends or begins. A file
 * system that cannot tell has data everywhere.
 */
static bool find_data(int fd, int64_t offset, int64_t *end)
{
    off_t data = lseek(fd, offset, SEEK_DATA);

    *end = INT64_MAX;
    if (data < 0) {
        return errno != ENXIO; /* that is a hole up to the end */
    }
    if (data > offset) {
        *end = data;
        return false;
    }
    data = lseek(fd, offset, SEEK_HOLE);
    if (data > offset) {
        *end = data;
    }
    return true;
}

/* Requests come in blocks; a block with some data is data. */
static int64_t round_to_block(const BlockDriverState *bs, int64_t end,
                              bool up)
{
    int64_t mask = (int64_t)bs->limits.request_alignment - 1;

    if (end > bs->total_bytes) {
        return bs->total_bytes;
    }
    return up ? (end + mask) & ~mask : end & ~mask;
}

static int coroutine_fn file_co_block_status(BlockDriverState *bs,
                                             int64_t offset, int64_t bytes,
                                             BlockStatus *status)
{
    FileState *s = bs->opaque;
    unsigned forgotten;
    int64_t end = status_recall(s, offset, &forgotten);
    bool data = end > 0;

    if (!data) {
        data = find_data(s->fd, offset, &end);
        end = round_to_block(bs, end, data);
        if (end <= offset) { /* the data begins within this block */
            data = true;
            end = offset + bs->limits.request_alignment;
        }
        if (data) {
            status_remember(s, offset, end, forgotten);
        }
    }
    status->flags = BLOCK_STATUS_OFFSET |
                    (data ? BLOCK_STATUS_DATA : BLOCK_STATUS_ZERO);
    status->bytes = MIN(bytes, end - offset);
    status->map = offset;
    status->file = bs;
    return 0;
}

static int64_t file_allocated_bytes(BlockDriverState *bs)
{
    FileState *s = bs->opaque;
    struct stat st;

    return fstat(s->fd, &st) < 0 ? -errno : st.st_blocks * 512;
}

/* --- longer, shorter --- */

#define FIRST_BLOCK 4096

static int cut(FileResize *resize, int64_t bytes)
{
    int ret;

    resize->step = "Could not resize file";
    do {
        ret = ftruncate(resize->fd, bytes);
    } while (ret < 0 && errno == EINTR);
    return ret < 0 ? -errno : 0;
}

static int preallocate(FileResize *resize)
{
    int ret;

    resize->step = "Could not preallocate new data";
    do {
        ret = posix_fallocate(resize->fd, resize->from,
                              resize->to - resize->from);
    } while (ret == EINTR);
    return -ret;
}

/* Through the page cache, where blocks need no alignment. */
static int fill(FileResize *resize)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", resize->fd);
    int ret = cut(resize, resize->to), fd;

    if (ret < 0) {
        return ret;
    }
    resize->step = "Could not write zeros for preallocation";
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    ret = file_write_zero_bytes(fd, resize->from, resize->to - resize->from);
    if (ret == 0 && fsync(fd) < 0) {
        resize->step = "Could not flush file to disk";
        ret = -errno;
    }
    close(fd);
    return ret;
}

/*
 * What alignment direct I/O needs is found out by reading, and holes are read
 * with any. So the first block of a file is never one, as with QEMU. A file
 * system that has no room for it will say so later.
 */
static void fill_first_block(const FileResize *resize)
{
    int64_t bytes = MIN(resize->to - resize->from, FIRST_BLOCK);

    if (resize->from == 0 && bytes > 0) {
        file_write_zero_bytes(resize->fd, 0, bytes);
    }
}

int file_resize(FileResize *resize)
{
    int ret;

    if (resize->to <= resize->from || resize->prealloc == PREALLOC_OFF) {
        ret = cut(resize, resize->to);
        if (ret == 0) {
            fill_first_block(resize);
        }
        return ret;
    }
    ret = resize->prealloc == PREALLOC_FALLOC ? preallocate(resize)
                                              : fill(resize);
    if (ret < 0) {
        const char *step = resize->step;

        cut(resize, resize->from);
        resize->step = step;
    }
    return ret;
}

/* One call by a worker, and the coroutine that waits for it. */
typedef struct ResizeWork {
    ThreadPoolWork work;
    FileResize resize;
    Coroutine *co;
    int ret;
} ResizeWork;

static int resize_fn(ThreadPoolWork *work)
{
    ResizeWork *job = (ResizeWork *)work;

    return file_resize(&job->resize);
}

static void resize_cb(ThreadPoolWork *work, int ret)
{
    ResizeWork *job = (ResizeWork *)work;

    job->ret = ret;
    coroutine_enter(job->co);
}

static bool check_prealloc(const BlockTruncate *to, int64_t length,
                           GError **error)
{
    if (to->prealloc != PREALLOC_OFF && to->bytes < length) {
        return error_setg(error, "Cannot use preallocation for shrinking "
                          "files");
    }
    if (to->prealloc == PREALLOC_METADATA) {
        return error_setg(error, "Unsupported preallocation mode: %s",
                          block_prealloc_names[to->prealloc]);
    }
    return true;
}

static bool coroutine_fn file_co_truncate(BlockDriverState *bs,
                                          const BlockTruncate *to,
                                          GError **error)
{
    FileState *s = bs->opaque;
    ResizeWork job = {
        .work = { .fn = resize_fn, .cb = resize_cb },
        .resize = { .fd = s->fd, .to = to->bytes, .prealloc = to->prealloc },
        .co = coroutine_self(),
    };
    struct stat st;

    if (fstat(s->fd, &st) < 0) {
        return error_setg(error, "Could not get the length of '%s': %s",
                          s->path, g_strerror(errno));
    }
    if (!check_prealloc(to, st.st_size, error)) {
        return false;
    }
    job.resize.from = st.st_size;
    thread_pool_submit(thread_pool_get(aio_context_current()), &job.work);
    coroutine_yield();
    file_status_forget(s);
    if (job.ret < 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(-job.ret),
                    "%s: %s", job.resize.step, g_strerror(-job.ret));
        return false;
    }
    bs->total_bytes = to->bytes;
    file_round_up_for_tools(bs);
    return true;
}

/* A device has its length; that it is long enough is all one can ask. It may
 * have been made longer since it was opened: that is seen here. */
static bool coroutine_fn device_co_truncate(BlockDriverState *bs,
                                            const BlockTruncate *to,
                                            GError **error)
{
    const FileState *s = bs->opaque;
    int64_t bytes = file_length(s);

    if (to->prealloc != PREALLOC_OFF) {
        return error_setg(error, "Preallocation mode '%s' unsupported for "
                          "this non-regular file",
                          block_prealloc_names[to->prealloc]);
    }
    if (bytes < 0) {
        return error_setg(error, "Could not get the length of '%s': %s",
                          s->path, g_strerror(-bytes));
    }
    if (to->exact && to->bytes != bytes) {
        return error_setg(error, "Cannot resize device files");
    }
    if (to->bytes > bytes) {
        return error_setg(error, "Cannot grow device files");
    }
    bs->total_bytes = bytes;
    return true;
}

/* In the order in which qemu-img prints them. */
static const BlockOptionHelp file_create_options[] = {
    { .name = "size", .type = BLOCK_OPTION_SIZE,
      .help = "Virtual disk size" },
    { .name = "nocow", .type = BLOCK_OPTION_BOOL,
      .help = "Turn off copy-on-write (valid only on btrfs)" },
    { .name = "preallocation", .type = BLOCK_OPTION_STRING,
      .help = "Preallocation mode (allowed values: off, falloc, full)" },
    { .name = "extent_size_hint", .type = BLOCK_OPTION_SIZE,
      .help = "Extent size hint for the image file, 0 to disable" },
    { .name = NULL },
};

static const BlockOptionHelp device_create_options[] = {
    { .name = "preallocation", .type = BLOCK_OPTION_STRING,
      .help = "Preallocation mode (allowed values: off)" },
    { .name = "size", .type = BLOCK_OPTION_SIZE,
      .help = "Virtual disk size" },
    { .name = NULL },
};

const BlockImageOps file_image = {
    .create_options = file_create_options,
    .create = file_create,
    .co_block_status = file_co_block_status,
    .co_truncate = file_co_truncate,
    .allocated_bytes = file_allocated_bytes,
};

const BlockImageOps host_device_image = {
    .create_options = device_create_options,
    .co_block_status = file_co_block_status,
    .co_truncate = device_co_truncate,
    .allocated_bytes = file_allocated_bytes,
};
