/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file as a disk, without a guest and a server: the baseline that shows
 * what there is to be had. bare-libaio.c and bare-uring.c do the I/O.
 */
#include "bare.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct BareDisk {
    BenchDisk disk;
    const BareEngine *engine;
    int fd;
} BareDisk;

bool bare_fail(const char *what, int err, GError **error)
{
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(err), "%s: %s", what,
                g_strerror(err));
    return false;
}

void bare_set_result(BenchIo *io, int64_t res)
{
    io->error = res == io->bytes ? 0 : res < 0 ? (int)res : BENCH_ERROR_SHORT;
}

static bool open_file(BareDisk *disk, const BenchJob *job,
                      const char *filename, GError **error)
{
    g_autofree char *what = g_strdup_printf("file '%s'", filename);
    int access = bench_job_writes(job) ? O_RDWR : O_RDONLY;
    uint64_t bytes;
    struct stat st;

    disk->fd = open(filename, access | O_CLOEXEC |
                    (job->direct ? O_DIRECT : 0));
    if (disk->fd < 0 || fstat(disk->fd, &st) < 0) {
        return bare_fail(what, errno, error);
    }
    disk->disk.capacity = st.st_size;
    if (S_ISBLK(st.st_mode)) {
        if (ioctl(disk->fd, BLKGETSIZE64, &bytes) < 0) {
            return bare_fail(what, errno, error);
        }
        disk->disk.capacity = bytes;
    } else if (!S_ISREG(st.st_mode)) {
        return bare_fail(what, EINVAL, error);
    }
    return true;
}

static bool make_queue(BareDisk *disk, const BenchJob *job, GError **error)
{
    BareQueue *q = g_malloc0(disk->engine->queue_size);
    unsigned depth = job->iodepth;

    disk->disk.queues[disk->disk.n_queues++] = &q->queue;
    q->queue.ops = disk->engine->ops;
    q->queue.depth = depth;
    q->queue.ios = g_new0(BenchIo *, depth);
    q->ios = g_new0(BenchIo, depth);
    q->fd = disk->fd;
    q->fixedbufs = job->fixedbufs;
    q->data_bytes = depth * ((job->bs + 4095) & ~INT64_C(4095));
    q->data = mmap(NULL, q->data_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (q->data == MAP_FAILED) {
        q->data = NULL;
        return bare_fail("buffers", errno, error);
    }
    memset(q->data, 0x5a, q->data_bytes);
    for (unsigned i = 0; i < depth; i++) {
        q->queue.ios[i] = &q->ios[i];
        q->ios[i].bytes = job->bs;
        q->ios[i].data = q->data + i * (q->data_bytes / depth);
    }
    return disk->engine->init(q, error);
}

static void bare_close(BenchDisk *base)
{
    BareDisk *disk = (BareDisk *)base;

    for (unsigned i = 0; i < base->n_queues; i++) {
        BareQueue *q = (BareQueue *)base->queues[i];

        disk->engine->fini(q); /* waits for what is in flight */
        if (q->data) {
            munmap(q->data, q->data_bytes);
        }
        g_free(q->queue.ios);
        g_free(q->ios);
        g_free(q);
    }
    if (disk->fd >= 0) {
        close(disk->fd);
    }
    g_free(base->queues);
    g_free(base->about);
    g_free(disk);
}

BenchDisk *bench_disk_open_bare(const BenchJob *job, const char *filename,
                                GError **error)
{
    BareDisk *disk = g_new0(BareDisk, 1);
    bool good;

    disk->engine = job->bare == BENCH_BARE_LIBAIO ? &bare_libaio
                                                  : &bare_io_uring;
    disk->fd = -1;
    disk->disk.close = bare_close;
    disk->disk.server_pid = -1;
    disk->disk.watch_fd = -1;
    disk->disk.about = g_strdup_printf(
        "%s%s%s on the bare file", bench_job_bare_name(job),
        job->fixedbufs ? " with registered buffers" : "",
        job->direct ? "" : ", through the page cache,");
    disk->disk.queues = g_new0(BenchQueue *, job->numjobs);
    good = open_file(disk, job, filename, error);
    for (unsigned i = 0; good && i < job->numjobs; i++) {
        good = make_queue(disk, job, error);
    }
    if (!good) {
        bare_close(&disk->disk);
        return NULL;
    }
    return &disk->disk;
}
