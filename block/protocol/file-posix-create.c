/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes the file of a new image, or empties the one that is there. Called
 * through BlockImageOps, in the main thread of a tool, which has nothing else
 * to do.
 */
#include "file-posix.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "block/image.h"

/* What XFS is asked to allocate at a time, so that the file of an image that
 * grows block by block does not end in as many pieces. */
#define DEFAULT_EXTENT_SIZE_HINT (1024 * 1024)

typedef struct CreateOptions {
    int64_t bytes;
    int64_t extent_size_hint;
    bool nocow;
    int prealloc;
} CreateOptions;

static bool create_error(int err, GError **error, const char *fmt, ...)
    G_GNUC_PRINTF(3, 4);

/* With the text of @err behind it, unless that is 0. */
static bool create_error(int err, GError **error, const char *fmt, ...)
{
    va_list args;
    g_autofree char *text = NULL;

    va_start(args, fmt);
    text = g_strdup_vprintf(fmt, args);
    va_end(args);
    g_set_error(error, G_FILE_ERROR,
                err ? (int)g_file_error_from_errno(err)
                    : (int)G_FILE_ERROR_INVAL,
                "%s%s%s", text, err ? ": " : "", err ? g_strerror(err) : "");
    return false;
}

static bool take_prealloc(Options *opts, int *prealloc, GError **error)
{
    g_autofree char *name = NULL;

    if (!options_take_str(opts, "preallocation", &name, error)) {
        return false;
    }
    for (*prealloc = 0; name && block_prealloc_names[*prealloc];
         ++*prealloc) {
        if (g_str_equal(name, block_prealloc_names[*prealloc])) {
            break;
        }
    }
    if (!block_prealloc_names[*prealloc]) {
        return create_error(0, error, "invalid parameter value: %s", name);
    }
    if (*prealloc == PREALLOC_METADATA) {
        return create_error(0, error, "Unsupported preallocation mode: %s",
                            name);
    }
    return true;
}

static bool take_create_options(Options *opts, CreateOptions *create,
                                GError **error)
{
    g_autofree char *left = NULL;

    create->extent_size_hint = DEFAULT_EXTENT_SIZE_HINT;
    if (!options_take_size(opts, "size", &create->bytes, error) ||
        !options_take_size(opts, "extent_size_hint",
                           &create->extent_size_hint, error) ||
        !options_take_bool(opts, "nocow", &create->nocow, error) ||
        !take_prealloc(opts, &create->prealloc, error)) {
        return false;
    }
    left = options_first_key(opts);
    if (left) {
        return create_error(0, error, "Invalid parameter '%s'", left);
    }
    if (create->bytes > INT64_MAX - 511) {
        return create_error(EFBIG, error, "Could not resize file");
    }
    create->bytes = (create->bytes + 511) & ~511LL;
    return true;
}

/* Hints: a file system that does not know them, or knows better, is as good
 * as one that takes them. */
static void set_hints(int fd, const CreateOptions *create)
{
    struct fsxattr xattr;
    int flags;

    if (create->nocow && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
        flags |= FS_NOCOW_FL;
        ioctl(fd, FS_IOC_SETFLAGS, &flags);
    }
    if (create->extent_size_hint > 0 &&
        create->extent_size_hint <= UINT32_MAX &&
        ioctl(fd, FS_IOC_FSGETXATTR, &xattr) == 0) {
        xattr.fsx_xflags |= FS_XFLAG_EXTSIZE;
        xattr.fsx_extsize = create->extent_size_hint;
        ioctl(fd, FS_IOC_FSSETXATTR, &xattr);
    }
}

static bool fill_file(int fd, const char *path, const CreateOptions *create,
                      GError **error)
{
    FileLockParams locks = {
        .locking = FILE_LOCKING_AUTO,
        .held = FILE_PERM_WRITE | FILE_PERM_RESIZE,
        .shared = FILE_PERM_ALL,
    };
    FileResize resize = {
        .fd = fd,
        .to = create->bytes,
        .prealloc = create->prealloc,
    };
    int ret;

    if (!file_lock_take(fd, path, &locks, error)) {
        return false;
    }
    if (ftruncate(fd, 0) < 0) {
        return create_error(errno, error, "Could not resize file");
    }
    set_hints(fd, create);
    ret = file_resize(&resize);
    return ret == 0 || create_error(-ret, error, "%s", resize.step);
}

/* *made says whether it was not there before. */
static int open_new(const char *path, bool *made)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    *made = fd >= 0;
    return fd < 0 && errno == EEXIST
               ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644) : fd;
}

bool file_create(const char *path, Options *opts, GError **error)
{
    CreateOptions create = { 0 };
    bool made, ok;
    int fd;

    if (!take_create_options(opts, &create, error)) {
        return false;
    }
    fd = open_new(path, &made);
    if (fd < 0) {
        return create_error(errno, error, "Could not create '%s'", path);
    }
    ok = fill_file(fd, path, &create, error);
    if (!ok && made) {
        unlink(path);
    }
    close(fd);
    return ok;
}
