/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file is written again only when its size is not right or it has holes. A
 * zram device is only taken when nobody has set it up, or a vblk-bench that was
 * killed.
 */
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image-qcow2.h"

#define CHUNK (1 << 20)
#define RESET_TRIES    100
#define RESET_PAUSE_US 20000

static bool fail(const char *path, const char *what, GError **error)
{
    int err = errno;

    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(err),
                "image '%s': %s: %s", path, what, g_strerror(err));
    return false;
}

char *bench_image_path(const BenchSpecImage *image, unsigned index)
{
    if (image->kind == BENCH_IMAGE_NULL) {
        return g_strdup("");
    }
    return index && image->count > 1
               ? g_strdup_printf("%s.%u", image->path, index)
               : g_strdup(image->path);
}

/* /sys/block/zramN/NAME; caller frees. */
static char *zram_attribute(const BenchSpecImage *image, const char *name)
{
    g_autofree char *device = g_path_get_basename(image->path);

    return g_strdup_printf("/sys/block/%s/%s", device, name);
}

static bool zram_is_unused(const BenchSpecImage *image)
{
    g_autofree char *path = zram_attribute(image, "disksize");
    g_autofree char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) &&
           g_ascii_strtoull(text, NULL, 10) == 0;
}

/*
 * The file that says whose a device is: not empty from before one of us sets
 * the device up until after it is reset, and locked by whoever does. A run that
 * was killed leaves it behind, not empty and not locked. /run goes with the
 * devices when the machine starts anew. Returns a descriptor, or -1.
 */
static int zram_claim(const BenchSpecImage *image)
{
    g_autofree char *device = g_path_get_basename(image->path);
    g_autofree char *path = g_strdup_printf("/run/vblk-bench-%s", device);
    int fd = g_open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
        g_close(fd, NULL);
        return -1;
    }
    return fd;
}

/* The claims of this process, by image. */
static GHashTable *claims;

/* Sets errno as well. */
static bool write_attribute(const BenchSpecImage *image, const char *name,
                            const char *value, GError **error)
{
    g_autofree char *path = zram_attribute(image, name);
    int fd = g_open(path, O_WRONLY | O_CLOEXEC, 0);
    bool good = fd >= 0 && write(fd, value, strlen(value)) > 0;
    int err = errno;

    if (!good) {
        fail(image->path, name, error);
    }
    if (fd >= 0) {
        g_close(fd, NULL);
    }
    errno = err;
    return good;
}

/* A server that was killed may have the device open for a moment yet. */
static bool zram_reset(const BenchSpecImage *image, int claim)
{
    for (unsigned i = 0; !write_attribute(image, "reset", "1", NULL); i++) {
        if (errno != EBUSY || i == RESET_TRIES) {
            return false;
        }
        g_usleep(RESET_PAUSE_US);
    }
    return ftruncate(claim, 0) == 0;
}

/* What a run that was killed has set up. Returns whether it is free now. */
static bool zram_recover(const BenchSpecImage *image)
{
    int claim = zram_claim(image);
    struct stat st;
    bool good = claim >= 0 && fstat(claim, &st) == 0 && st.st_size > 0 &&
                zram_reset(image, claim);

    if (claim >= 0) {
        g_close(claim, NULL);
    }
    return good;
}

static bool zram_set_up(const BenchSpecImage *image, GError **error)
{
    g_autofree char *size = g_strdup_printf("%" G_GINT64_FORMAT, image->size);
    int claim = zram_claim(image);

    if (claim < 0 || write(claim, "\n", 1) != 1) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_BUSY,
                    "%s: another vblk-bench is about to use it", image->path);
        return false;
    }
    if (!claims) {
        claims = g_hash_table_new(NULL, NULL);
    }
    g_hash_table_insert(claims, (gpointer)image, GINT_TO_POINTER(claim));
    return write_attribute(image, "disksize", size, error);
}

static void zram_release(const BenchSpecImage *image)
{
    gpointer claim;

    if (claims && g_hash_table_lookup_extended(claims, image, NULL, &claim)) {
        zram_reset(image, GPOINTER_TO_INT(claim));
        g_close(GPOINTER_TO_INT(claim), NULL);
        g_hash_table_remove(claims, image);
    }
}

char *bench_image_obstacle(const BenchSpecImage *image)
{
    char *obstacle = bench_qcow2_obstacle(image);
    struct stat st;

    if (obstacle) {
        return obstacle;
    }
    if (image->kind == BENCH_IMAGE_BLOCK &&
        (stat(image->path, &st) < 0 || !S_ISBLK(st.st_mode))) {
        return g_strdup_printf("%s is no block device", image->path);
    }
    if (image->kind != BENCH_IMAGE_ZRAM) {
        return NULL;
    }
    if (stat(image->path, &st) < 0 || !S_ISBLK(st.st_mode)) {
        return g_strdup_printf("there is no %s (modprobe zram)",
                               image->path);
    }
    if (access(image->path, R_OK | W_OK) < 0) {
        return g_strdup_printf("%s: %s", image->path, g_strerror(errno));
    }
    return zram_is_unused(image) || zram_recover(image)
               ? NULL
               : g_strdup_printf("%s is in use", image->path);
}

/* Every second word is noise. */
static void fill_chunk(uint64_t *words, uint64_t *rng)
{
    for (unsigned i = 0; i < CHUNK / 8; i += 2) {
        *rng ^= *rng << 13;
        *rng ^= *rng >> 7;
        *rng ^= *rng << 17;
        words[i] = *rng;
        words[i + 1] = 0x766b6c622d62656e;
    }
}

static bool write_all(int fd, int64_t size, const char *path, GError **error)
{
    g_autofree uint64_t *chunk = g_malloc(CHUNK);
    uint64_t rng = 88172645463325252;

    for (int64_t at = 0; at < size;) {
        ssize_t ret;

        fill_chunk(chunk, &rng);
        ret = pwrite(fd, chunk, MIN(CHUNK, size - at), at);
        if (ret < 0 && errno == EINTR) {
            continue;
        }
        if (ret <= 0) {
            return fail(path, "write", error);
        }
        at += ret;
    }
    return fdatasync(fd) == 0 || fail(path, "fdatasync", error);
}

static bool fill_file(const char *path, int flags, int64_t size,
                      GError **error)
{
    int fd = g_open(path, O_WRONLY | O_CLOEXEC | flags, 0600);
    bool good = fd >= 0 ? write_all(fd, size, path, error)
                        : fail(path, "open", error);

    if (fd >= 0) {
        g_close(fd, NULL);
    }
    return good;
}

/* All of it is a hole. */
static bool empty_file(const char *path, int64_t size, GError **error)
{
    int fd = g_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool good = fd >= 0 ? ftruncate(fd, size) == 0 ||
                              fail(path, "ftruncate", error)
                        : fail(path, "open", error);

    if (fd >= 0) {
        g_close(fd, NULL);
    }
    return good;
}

static bool prepare_file(const BenchSpecImage *image, unsigned index,
                         GError **error)
{
    g_autofree char *path = bench_image_path(image, index);
    g_autofree char *folder = g_path_get_dirname(path);
    struct stat st;

    if (g_mkdir_with_parents(folder, 0755) < 0) {
        return fail(folder, "mkdir", error);
    }
    if (image->sparse) {
        return empty_file(path, image->size, error);
    }
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
        st.st_size == image->size && st.st_blocks * 512 >= image->size) {
        return true;
    }
    return fill_file(path, O_CREAT | O_TRUNC, image->size, error);
}

bool bench_image_prepare(const BenchSpecImage *image, GError **error)
{
    switch (image->kind) {
    case BENCH_IMAGE_FILE:
    case BENCH_IMAGE_TMPFS:
        for (unsigned i = 0; i < MAX(image->count, 1); i++) {
            if (!prepare_file(image, i, error)) {
                return false;
            }
        }
        return bench_qcow2_prepare(image, error);
    case BENCH_IMAGE_ZRAM:
        if (!zram_is_unused(image)) {
            return true; /* ours, of an earlier row */
        }
        return zram_set_up(image, error) &&
               fill_file(image->path, 0, image->size, error);
    default:
        return true;
    }
}

static bool read_through(const char *path, GError **error)
{
    g_autofree char *chunk = g_malloc(CHUNK);
    int fd = g_open(path, O_RDONLY | O_CLOEXEC, 0);
    ssize_t ret;

    if (fd < 0) {
        return fail(path, "open", error);
    }
    do {
        ret = read(fd, chunk, CHUNK);
    } while (ret > 0 || (ret < 0 && errno == EINTR));
    if (ret < 0) {
        fail(path, "read", error);
    }
    g_close(fd, NULL);
    return ret == 0;
}

static bool drop_cache(const char *path, GError **error)
{
    int fd = g_open(path, O_RDONLY | O_CLOEXEC, 0);

    if (fd < 0) {
        return fail(path, "open", error);
    }
    fdatasync(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    g_close(fd, NULL);
    return true;
}

bool bench_image_settle(const BenchSpecImage *image, GError **error)
{
    if (!bench_qcow2_settle(image, error)) {
        return false;
    }
    if (image->kind != BENCH_IMAGE_FILE && image->kind != BENCH_IMAGE_BLOCK) {
        return true;
    }
    for (unsigned i = 0; i < MAX(image->count, 1); i++) {
        g_autofree char *path = bench_image_path(image, i);

        if (image->sparse && !empty_file(path, image->size, error)) {
            return false;
        }
        if (image->warm ? !read_through(path, error)
                        : !drop_cache(path, error)) {
            return false;
        }
    }
    return true;
}

/* What takes memory, or was but an empty file. */
static bool is_temporary(const BenchSpecImage *image)
{
    return image->kind == BENCH_IMAGE_TMPFS ||
           (image->kind == BENCH_IMAGE_FILE && image->sparse);
}

void bench_image_release(const BenchSpecImage *image)
{
    if (image->kind == BENCH_IMAGE_ZRAM) {
        zram_release(image);
    }
    bench_qcow2_release(image);
    for (unsigned i = 0; is_temporary(image) && i < MAX(image->count, 1);
         i++) {
        g_autofree char *path = bench_image_path(image, i);

        g_unlink(path);
    }
}

void bench_image_abandon(const BenchSpecImage *image)
{
    if (image->kind == BENCH_IMAGE_ZRAM && !zram_is_unused(image)) {
        zram_recover(image);
    }
    bench_image_release(image);
}
