/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hard disk for machines that have none: a file, served over FUSE, whose
 * contents are memory and which answers as one arm over rotating platters
 * would. Called by scripts/study, which makes a loop device of it.
 *
 * How it works: one thread takes requests off /dev/fuse, the other is the arm.
 * Of the 32 oldest requests (the queue of a SATA disk) the arm serves the one
 * next in its direction, and begins anew at the lowest when there is none
 * further on. A request that begins where the last one ended costs its
 * transfer; any other one a seek, which grows with the root of the distance,
 * and half a turn. There is no write cache. SIGUSR1 switches these times on,
 * SIGUSR2 off, so that images can be made in no time. It ends when the file is
 * unmounted.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <linux/fuse.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define MAX_IO      (1 << 20)
#define BUFFER      (MAX_IO + 4096)
#define QUEUE       32
#define NS          1000000000LL
#define SHORT_SEEK  0.001 /* seconds, to the next track */
#define LONG_SEEK   0.016 /* across all of them */
#define HALF_TURN   0.0042 /* at 7200 rpm */
#define BYTES_PER_S 150e6

typedef struct Request {
    struct fuse_in_header head;
    uint64_t offset;
    uint32_t bytes;
    bool write;
    char data[];           /* of a write */
} Request;

typedef struct Disk {
    int fd;                /* /dev/fuse */
    uint64_t size;
    char *contents;
    double speed;          /* 1: of a real disk; set before the threads */
    GMutex lock;           /* guards queue and closed */
    GCond more;
    GQueue queue;          /* Request, oldest first */
    bool closed;
    uint64_t head;         /* where the last request ended; the arm's */
} Disk;

/* Set by signals: whether requests take time. */
static volatile sig_atomic_t slow;

static void switch_speed(int signal)
{
    slow = signal == SIGUSR1;
}

static void reply(const Disk *disk, const struct fuse_in_header *to,
                  int error, const void *data, size_t bytes)
{
    struct fuse_out_header head = {
        .len = sizeof(head) + bytes, .error = error, .unique = to->unique,
    };
    struct iovec iov[] = {
        { &head, sizeof(head) }, { (void *)data, bytes },
    };

    /* fails for who has been interrupted and does not wait any more */
    (void)!writev(disk->fd, iov, bytes ? 2 : 1);
}

/* Seconds until the arm has done the request. */
static double service_time(const Disk *disk, const Request *request)
{
    uint64_t distance = request->offset > disk->head
                            ? request->offset - disk->head
                            : disk->head - request->offset;
    double time = request->bytes / BYTES_PER_S;

    if (distance) {
        time += HALF_TURN + SHORT_SEEK + (LONG_SEEK - SHORT_SEEK) *
                sqrt((double)distance / disk->size);
    }
    return time / disk->speed;
}

static void wait_until(int64_t ns)
{
    struct timespec t = { .tv_sec = ns / NS, .tv_nsec = ns % NS };

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
        continue;
    }
}

/* Called with the lock held, the queue not empty. */
static Request *take_next(Disk *disk)
{
    GList *ahead = NULL, *lowest = NULL, *at = disk->queue.head;
    Request *request;

    for (unsigned i = 0; i < QUEUE && at; i++, at = at->next) {
        uint64_t offset = ((Request *)at->data)->offset;

        if (!lowest || offset < ((Request *)lowest->data)->offset) {
            lowest = at;
        }
        if (offset >= disk->head &&
            (!ahead || offset < ((Request *)ahead->data)->offset)) {
            ahead = at;
        }
    }
    at = ahead ? ahead : lowest;
    request = at->data;
    g_queue_delete_link(&disk->queue, at);
    return request;
}

static void serve(Disk *disk, Request *request)
{
    char *place = disk->contents + request->offset;
    struct fuse_write_out written = { .size = request->bytes };

    disk->head = request->offset + request->bytes;
    if (request->write) {
        memcpy(place, request->data, request->bytes);
        reply(disk, &request->head, 0, &written, sizeof(written));
    } else {
        reply(disk, &request->head, 0, place, request->bytes);
    }
    g_free(request);
}

/* Waits for something to do; NULL when there will be nothing more. Sets *idle
 * when it had to wait. */
static Request *next_request(Disk *disk, bool *idle)
{
    Request *request = NULL;

    g_mutex_lock(&disk->lock);
    *idle = g_queue_is_empty(&disk->queue);
    while (g_queue_is_empty(&disk->queue) && !disk->closed) {
        g_cond_wait(&disk->more, &disk->lock);
    }
    if (!g_queue_is_empty(&disk->queue)) {
        request = take_next(disk);
    }
    g_mutex_unlock(&disk->lock);
    return request;
}

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS + t.tv_nsec;
}

static gpointer arm(gpointer opaque)
{
    Disk *disk = opaque;
    Request *request;
    int64_t free_at = 0;
    bool idle;

    while ((request = next_request(disk, &idle))) {
        if (slow) {
            /* late from the last one: a real arm would not have been */
            free_at = idle ? now_ns() : MAX(free_at, now_ns() - NS / 1000);
            free_at += service_time(disk, request) * NS;
            wait_until(free_at);
        }
        serve(disk, request);
    }
    return NULL;
}

static void queue_request(Disk *disk, Request *request)
{
    g_mutex_lock(&disk->lock);
    g_queue_push_tail(&disk->queue, request);
    g_cond_signal(&disk->more);
    g_mutex_unlock(&disk->lock);
}

static void take_read(Disk *disk, const struct fuse_in_header *head,
                      const struct fuse_read_in *in)
{
    Request *request;

    if (in->offset >= disk->size || in->size > MAX_IO) {
        reply(disk, head, in->size > MAX_IO ? -EINVAL : 0, NULL, 0);
        return;
    }
    request = g_new0(Request, 1);
    request->head = *head;
    request->offset = in->offset;
    request->bytes = MIN(in->size, disk->size - in->offset);
    queue_request(disk, request);
}

static void take_write(Disk *disk, const struct fuse_in_header *head,
                       const struct fuse_write_in *in)
{
    Request *request;

    if (in->size > head->len - sizeof(*head) - sizeof(*in) ||
        in->offset > disk->size || in->size > disk->size - in->offset) {
        reply(disk, head, -ENOSPC, NULL, 0);
        return;
    }
    request = g_malloc0(sizeof(*request) + in->size);
    request->head = *head;
    request->offset = in->offset;
    request->bytes = in->size;
    request->write = true;
    memcpy(request->data, in + 1, in->size);
    queue_request(disk, request);
}

static void tell_attributes(const Disk *disk,
                            const struct fuse_in_header *head)
{
    struct fuse_attr_out out = {
        .attr_valid = 3600,
        .attr = {
            .ino = head->nodeid, .size = disk->size,
            .blocks = disk->size / 512, .mode = S_IFREG | 0600, .nlink = 1,
            .uid = getuid(), .gid = getgid(), .blksize = 4096,
        },
    };

    reply(disk, head, 0, &out, sizeof(out));
}

static void agree(const Disk *disk, const struct fuse_in_header *head,
                  const struct fuse_init_in *in)
{
    struct fuse_init_out out = {
        .major = FUSE_KERNEL_VERSION,
        .minor = MIN(in->minor, FUSE_KERNEL_MINOR_VERSION),
        .max_readahead = in->max_readahead,
        .flags = in->flags & (FUSE_ASYNC_READ | FUSE_ASYNC_DIO |
                              FUSE_BIG_WRITES | FUSE_MAX_PAGES),
        .max_background = 256, .congestion_threshold = 256,
        .max_write = MAX_IO, .max_pages = MAX_IO / 4096,
    };

    reply(disk, head, 0, &out, sizeof(out));
}

static void tell_file(const Disk *disk, const struct fuse_in_header *head)
{
    struct fuse_open_out out = {
        .open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES,
    };

    reply(disk, head, 0, &out, sizeof(out));
}

static void dispatch(Disk *disk, const struct fuse_in_header *head)
{
    const void *in = head + 1;

    switch (head->opcode) {
    case FUSE_INIT:
        agree(disk, head, in);
        break;
    case FUSE_GETATTR:
    case FUSE_SETATTR: /* times only: nobody resizes it */
        tell_attributes(disk, head);
        break;
    case FUSE_OPEN:
        tell_file(disk, head);
        break;
    case FUSE_READ:
        take_read(disk, head, in);
        break;
    case FUSE_WRITE:
        take_write(disk, head, in);
        break;
    case FUSE_FLUSH:
    case FUSE_FSYNC:
    case FUSE_RELEASE: /* what was answered is on the platters */
        reply(disk, head, 0, NULL, 0);
        break;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT: /* want no answer */
        break;
    default:
        reply(disk, head, -ENOSYS, NULL, 0);
    }
}

/* Until the file is unmounted. */
static void take_requests(Disk *disk)
{
    g_autofree char *buffer = g_malloc(BUFFER);

    for (;;) {
        const struct fuse_in_header *head = (void *)buffer;
        ssize_t bytes = read(disk->fd, buffer, BUFFER);

        if (bytes < 0 && (errno == EINTR || errno == ENOENT ||
                          errno == EAGAIN)) {
            continue;
        }
        if (bytes < (ssize_t)sizeof(*head) || head->len != bytes) {
            return; /* ENODEV */
        }
        dispatch(disk, head);
    }
}

static bool mount_on(Disk *disk, const char *path)
{
    g_autofree char *options = NULL;

    disk->fd = g_open("/dev/fuse", O_RDWR | O_CLOEXEC, 0);
    if (disk->fd < 0) {
        g_printerr("rotating-disk: /dev/fuse: %s\n", g_strerror(errno));
        return false;
    }
    options = g_strdup_printf("fd=%d,rootmode=100000,user_id=%u,group_id=%u,"
                              "max_read=%d", disk->fd, getuid(), getgid(),
                              MAX_IO);
    if (mount("rotating-disk", path, "fuse", MS_NOSUID | MS_NODEV,
              options) < 0) {
        g_printerr("rotating-disk: mount on %s: %s\n", path,
                   g_strerror(errno));
        return false;
    }
    return true;
}

static void run(Disk *disk)
{
    GThread *thread = g_thread_new("arm", arm, disk);

    take_requests(disk);
    g_mutex_lock(&disk->lock);
    disk->closed = true;
    g_cond_signal(&disk->more);
    g_mutex_unlock(&disk->lock);
    g_thread_join(thread);
}

static int fail(const char *what, const char *value)
{
    g_printerr("rotating-disk: %s: %s\nUsage: rotating-disk FILE SIZE "
               "[SPEED]\n", what, value);
    return 1;
}

int main(int argc, char **argv)
{
    struct sigaction action = { .sa_handler = switch_speed };
    Disk disk = { .speed = argc > 3 ? g_ascii_strtod(argv[3], NULL) : 1 };

    if (argc < 3 || argc > 4) {
        return fail("needs", "a file and a size");
    }
    disk.size = g_ascii_strtoull(argv[2], NULL, 10) & ~4095ULL;
    if (disk.size < MAX_IO || disk.size > 1ULL << 40) {
        return fail("no size in bytes", argv[2]);
    }
    if (!(disk.speed >= 0.01 && disk.speed <= 1000)) {
        return fail("no speed from 0.01 to 1000", argv[3]);
    }
    disk.contents = mmap(NULL, disk.size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (disk.contents == MAP_FAILED) {
        return fail("no memory", argv[2]);
    }
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    signal(SIGHUP, SIG_IGN); /* who mounted it unmounts it */
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    if (!mount_on(&disk, argv[1])) {
        return 1;
    }
    run(&disk);
    return 0;
}
