/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vblk-guest-io: puts a disk under load and proves what it holds.
 *
 * Runs inside the test guest on /dev/vda, and on the host on the image behind
 * it: the pattern follows from offset and seed, so that either side can check
 * what the other one wrote. Parses a list of operations, does one after the
 * other, stops at the first that fails.
 */
#include "guest-io-worker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "Usage: vblk-guest-io FILE OPERATION[,KEY=VALUE...]...\n"
    "\n"
    "Operations\n"
    "  write     write the pattern\n"
    "  verify    read and compare with the pattern\n"
    "  zeros     read and expect zeros\n"
    "  discard   give the range back (BLKDISCARD; a hole in a regular file)\n"
    "  zero      zero the range without sending zeros (BLKZEROOUT)\n"
    "  flush     fsync\n"
    "Keys (sizes take k, M, G)\n"
    "  offset=0  bytes=1M  block=4k  depth=1  threads=1  seed=1\n"
    "  segments=1  align=512  order=rising|random\n"
    "\n"
    "A block device is opened with O_DIRECT. Exit 0: all was as expected.\n";

typedef struct Operation {
    char name[16];
    IoJob job;
} Operation;

typedef struct Disk {
    const char *path;
    int fd;
    bool is_device;
    uint64_t verified; /* bytes read and found right */
} Disk;

static bool parse_number(const char *text, uint64_t *value)
{
    static const char suffixes[] = "kMG";
    const char *suffix;
    char *end;

    errno = 0;
    *value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *text == '-') {
        return false;
    }
    if (*end == '\0') {
        return true;
    }
    suffix = strchr(suffixes, *end);
    if (suffix == NULL || end[1] != '\0') {
        return false;
    }
    *value <<= 10 * (suffix - suffixes + 1);
    return true;
}

static bool set_order(IoJob *job, const char *value)
{
    job->random = strcmp(value, "random") == 0;
    return job->random || strcmp(value, "rising") == 0;
}

static bool set_count(IoJob *job, const char *key, uint64_t number)
{
    struct { const char *key; unsigned *field; } counts[] = {
        { "depth", &job->depth }, { "threads", &job->threads },
        { "segments", &job->segments }, { "align", &job->align },
    };

    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        if (strcmp(key, counts[i].key) == 0 && number > 0 && number <= 65536) {
            *counts[i].field = (unsigned)number;
            return true;
        }
    }
    return false;
}

static bool set_key(IoJob *job, const char *key, const char *value)
{
    struct { const char *key; uint64_t *field; } sizes[] = {
        { "offset", &job->offset }, { "bytes", &job->bytes },
        { "block", &job->block }, { "seed", &job->seed },
    };
    uint64_t number;

    if (strcmp(key, "order") == 0) {
        return set_order(job, value);
    }
    if (!parse_number(value, &number)) {
        return false;
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        if (strcmp(key, sizes[i].key) == 0) {
            *sizes[i].field = number;
            return true;
        }
    }
    return set_count(job, key, number);
}

static bool job_is_sound(const IoJob *job)
{
    return job->align % 512 == 0 && job->offset % job->align == 0 &&
           job->block > 0 && job->block % job->align == 0 &&
           job->bytes > 0 && job->bytes % job->block == 0 &&
           job->segments <= job->block / job->align;
}

/* @text is cut up in place. */
static bool parse_operation(char *text, Operation *op)
{
    char *rest = text, *item = strsep(&rest, ",");

    *op = (Operation) { .job = { .bytes = 1 << 20, .block = 4096, .depth = 1,
                                 .threads = 1, .seed = 1, .segments = 1,
                                 .align = 512 } };
    snprintf(op->name, sizeof(op->name), "%s", item);
    while ((item = strsep(&rest, ",")) != NULL) {
        char *value = item, *key = strsep(&value, "=");

        if (value == NULL || !set_key(&op->job, key, value)) {
            fprintf(stderr, "vblk-guest-io: %s: bad setting '%s%s%s'\n",
                    op->name, key, value ? "=" : "", value ? value : "");
            return false;
        }
    }
    if (!job_is_sound(&op->job)) {
        fprintf(stderr, "vblk-guest-io: %s: block must be a multiple of align, "
                "bytes a multiple of block, segments at most block / align\n",
                op->name);
        return false;
    }
    return true;
}

static int give_back(Disk *disk, uint64_t offset, uint64_t bytes)
{
    uint64_t range[2] = { offset, bytes };

    return disk->is_device
        ? ioctl(disk->fd, BLKDISCARD, range)
        : fallocate(disk->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                    (off_t)offset, (off_t)bytes);
}

static int make_zero(Disk *disk, uint64_t offset, uint64_t bytes)
{
    uint64_t range[2] = { offset, bytes };

    return disk->is_device
        ? ioctl(disk->fd, BLKZEROOUT, range)
        : fallocate(disk->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                    (off_t)offset, (off_t)bytes);
}

typedef int RangeFunc(Disk *disk, uint64_t offset, uint64_t bytes);

/* One call for each block: with block=bytes, one for the range. */
static bool run_ranges(Disk *disk, const IoJob *job, RangeFunc *func,
                       char *why, size_t why_size)
{
    for (uint64_t done = 0; done < job->bytes; done += job->block) {
        if (func(disk, job->offset + done, job->block) != 0) {
            snprintf(why, why_size, "at %" PRIu64 ": %s",
                     job->offset + done, strerror(errno));
            return false;
        }
    }
    return true;
}

static bool run_job(Disk *disk, IoJob *job, IoKind kind,
                    char *why, size_t why_size)
{
    job->fd = disk->fd;
    job->kind = kind;
    if (!io_job_run(job, why, why_size)) {
        return false;
    }
    disk->verified += kind == IO_WRITE ? 0 : job->bytes;
    return true;
}

static bool run_operation(Disk *disk, Operation *op,
                          char *why, size_t why_size)
{
    if (strcmp(op->name, "write") == 0) {
        return run_job(disk, &op->job, IO_WRITE, why, why_size);
    }
    if (strcmp(op->name, "verify") == 0) {
        return run_job(disk, &op->job, IO_VERIFY, why, why_size);
    }
    if (strcmp(op->name, "zeros") == 0) {
        return run_job(disk, &op->job, IO_ZEROS, why, why_size);
    }
    if (strcmp(op->name, "discard") == 0) {
        return run_ranges(disk, &op->job, give_back, why, why_size);
    }
    if (strcmp(op->name, "zero") == 0) {
        return run_ranges(disk, &op->job, make_zero, why, why_size);
    }
    if (strcmp(op->name, "flush") == 0) {
        snprintf(why, why_size, "fsync failed");
        return fsync(disk->fd) == 0;
    }
    snprintf(why, why_size, "no such operation");
    return false;
}

static double seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void print_done(const Operation *op, double seconds)
{
    const IoJob *job = &op->job;

    if (strcmp(op->name, "flush") == 0) {
        printf("flush: %.2f s\n", seconds);
        return;
    }
    printf("%s: %" PRIu64 " bytes at %" PRIu64 ", %" PRIu64 " requests"
           " of %" PRIu64 ", %.2f s\n", op->name, job->bytes, job->offset,
           job->bytes / job->block, job->block, seconds);
}

static bool run_and_report(Disk *disk, char *text)
{
    char why[256] = "";
    double start = seconds_now();
    Operation op;

    if (!parse_operation(text, &op)) {
        return false;
    }
    if (!run_operation(disk, &op, why, sizeof(why))) {
        fprintf(stderr, "vblk-guest-io: %s: %s: %s\n",
                disk->path, op.name, why);
        return false;
    }
    print_done(&op, seconds_now() - start);
    return true;
}

/* A disk that cannot be written is opened for reading: it still verifies. */
static bool disk_open(Disk *disk, const char *path)
{
    struct stat st;
    int direct;

    if (stat(path, &st) != 0) {
        return false;
    }
    *disk = (Disk) { .path = path, .is_device = S_ISBLK(st.st_mode) };
    direct = disk->is_device ? O_DIRECT : 0;
    disk->fd = open(path, O_RDWR | O_CLOEXEC | direct);
    if (disk->fd < 0 && (errno == EROFS || errno == EACCES || errno == EPERM)) {
        disk->fd = open(path, O_RDONLY | O_CLOEXEC | direct);
    }
    return disk->fd >= 0;
}

int main(int argc, char **argv)
{
    bool ok = true;
    Disk disk;

    if (argc < 3 || strcmp(argv[1], "--help") == 0) {
        fputs(usage, argc < 3 ? stderr : stdout);
        return argc < 3 ? EXIT_FAILURE : EXIT_SUCCESS;
    }
    if (!disk_open(&disk, argv[1])) {
        fprintf(stderr, "vblk-guest-io: %s: %s\n", argv[1], strerror(errno));
        return EXIT_FAILURE;
    }
    for (int i = 2; i < argc && ok; i++) {
        ok = run_and_report(&disk, argv[i]);
        fflush(stdout);
    }
    printf("verified: %" PRIu64 " bytes\n", disk.verified);
    close(disk.fd);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
