/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opens the file of a "file" or "host_device" node: options, kind of file,
 * access mode, locks. Called by the graph; all in the main thread.
 */
#include "file-posix.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/image.h"

typedef struct FileOptions {
    char *filename;
    int aio;
    int locking;
    uint64_t max_batch;
    bool drop_cache;
} FileOptions;

static void file_options_clear(FileOptions *options)
{
    g_clear_pointer(&options->filename, g_free);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(FileOptions, file_options_clear)

static bool take_aio(Options *opts, int *aio, GError **error)
{
    const char *names[ENGINE__COUNT + 1] = { NULL };

    for (unsigned i = 0; i < ENGINE__COUNT; i++) {
        names[i] = engine_type_name(i);
    }
    return options_take_enum(opts, "aio", names, aio, error);
}

static int default_aio(const BlockDriverState *bs)
{
    switch (bs->open_flags & BDRV_OPEN_AIO_MASK) {
    case BDRV_OPEN_THREADS:
        return ENGINE_THREADS;
    case BDRV_OPEN_NATIVE_AIO:
        return ENGINE_NATIVE;
    case BDRV_OPEN_IO_URING:
        return ENGINE_IO_URING;
    default:
        return ENGINE_AUTO;
    }
}

static bool take_options(BlockDriverState *bs, Options *opts,
                         FileOptions *options, GError **error)
{
    static const char *const lockings[] = { "off", "on", "auto", NULL };

    options->aio = default_aio(bs);
    options->locking = FILE_LOCKING_AUTO;
    options->drop_cache = true;
    if (!options_take_str(opts, "filename", &options->filename, error) ||
        !take_aio(opts, &options->aio, error) ||
        !options_take_uint(opts, "aio-max-batch", FILE_MAX_BATCH_LIMIT,
                           &options->max_batch, error) ||
        !options_take_enum(opts, "locking", lockings, &options->locking,
                           error) ||
        !options_take_bool(opts, "drop-cache", &options->drop_cache, error)) {
        return false;
    }
    if (!options->filename || !*options->filename) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "%s: The '%s' block driver requires a file name",
                    options_what(opts), bs->drv->name);
        return false;
    }
    if (options_has(opts, "pr-manager")) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "%s: option 'pr-manager': persistent reservations are "
                    "not supported", options_what(opts));
        return false;
    }
    if (options->aio == ENGINE_NATIVE && !bs->cache_direct) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "%s: aio=native was specified, but it requires "
                    "cache.direct=on, which was not specified.",
                    options_what(opts));
        return false;
    }
    if (!engine_is_permitted(options->aio, error)) {
        g_prefix_error(error, "%s: Unable to use %s: ", options_what(opts),
                       engine_type_name(options->aio));
        return false;
    }
    return true;
}

static bool open_error(FileState *s, bool direct, int err, GError **error)
{
    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(err),
                "Could not open '%s': %s", s->path,
                direct && err == EINVAL ? "filesystem does not support O_DIRECT"
                                        : g_strerror(err));
    return false;
}

static bool check_kind(BlockDriverState *bs, mode_t mode, GError **error)
{
    FileState *s = bs->opaque;

    if (s->is_device ? S_ISBLK(mode) || S_ISCHR(mode) : S_ISREG(mode)) {
        return true;
    }
    if (S_ISDIR(mode) && !bs->read_only) {
        return open_error(s, false, EISDIR, error);
    }
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                "'%s' driver requires '%s' to be %s", bs->drv->name, s->path,
                s->is_device ? "either a character or block device"
                             : "a regular file");
    return false;
}

/* By a descriptor that another process has left, if there is one: the file
 * itself may have been replaced by now. */
static int stat_file(const FileState *s, struct stat *st)
{
    FileLockParams locks;
    int fd = file_left_fd(s->full_path, &locks);

    return fd < 0 ? stat(s->path, st) : fstat(fd, st);
}

static char *name_to_open(const FileState *s)
{
    FileLockParams locks;
    int fd = file_left_fd(s->full_path, &locks);

    return fd < 0 ? g_strdup(s->path)
                  : g_strdup_printf("/proc/self/fd/%d", fd);
}

static int open_anew(const FileState *s, int flags)
{
    g_autofree char *name = name_to_open(s);
    int fd;

    do {
        fd = open(name, flags | O_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

/* What we had open already, a sandbox would not let us open again. It is there
 * in the mode that we got, which may be the second that we asked for. */
static int open_mode(BlockDriverState *bs, bool read_only)
{
    FileState *s = bs->opaque;
    int flags = (read_only ? O_RDONLY : O_RDWR) |
                (bs->cache_direct ? O_DIRECT : 0);
    int fd;

    if (!file_is_back(s->full_path)) {
        return open_anew(s, flags);
    }
    fd = file_back_fd(s->full_path, flags);
    if (fd < 0) {
        errno = EACCES;
        return -1;
    }
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/* Looks at the kind before it opens: an open of a pipe could wait forever,
 * one of a tape could rewind it. */
static bool open_fd(BlockDriverState *bs, GError **error)
{
    FileState *s = bs->opaque;
    struct stat st;

    if (stat_file(s, &st) < 0) {
        return open_error(s, false, errno, error);
    }
    if (S_ISDIR(st.st_mode) && !bs->read_only) { /* what open() would say */
        return open_error(s, false, EISDIR, error);
    }
    if (!check_kind(bs, st.st_mode, error)) {
        return false;
    }
    s->fd = open_mode(bs, bs->read_only);
    if (s->fd < 0 && !bs->read_only && bs->auto_read_only &&
        (errno == EACCES || errno == EPERM || errno == EROFS)) {
        s->fd = open_mode(bs, true);
        bs->read_only = s->fd >= 0;
    }
    if (s->fd < 0) {
        return open_error(s, bs->cache_direct, errno, error);
    }
    if (fstat(s->fd, &st) < 0) {
        return open_error(s, false, errno, error);
    }
    return check_kind(bs, st.st_mode, error);
}

/* Locks of a process that we take over from are not in our way. What belongs
 * to yet another one is not locked at all. */
static bool take_locks(BlockDriverState *bs, GError **error)
{
    FileState *s = bs->opaque;
    FileLockParams theirs;
    int fd = file_left_fd(s->full_path, &theirs);

    if (bs->inactive) {
        return true;
    }
    if (fd < 0) {
        return file_lock_take(s->fd, s->path, &s->locks, error);
    }
    if (file_is_back(s->full_path)) {
        return true; /* a duplicate: they never were away */
    }
    file_lock_release(s->fd); /* theirs keep the image meanwhile */
    return file_lock_move(fd, s->fd, s->path, &theirs, &s->locks, error);
}

/* What a guest's disk holds and shares: nobody else writes or resizes. The
 * tools share until a format claims the file, unless they say otherwise. */
static void set_own_locks(BlockDriverState *bs)
{
    FileState *s = bs->opaque;
    bool sharing = (bs->open_flags & BDRV_OPEN_SECTORS) &&
                   !(bs->open_flags & BDRV_OPEN_NO_SHARE);

    s->locks.held = FILE_PERM_CONSISTENT_READ;
    s->locks.shared = FILE_PERM_ALL;
    if (!bs->read_only) {
        s->locks.held |= FILE_PERM_WRITE;
    }
    if (!sharing && !bs->force_share) {
        s->locks.shared = FILE_PERM_CONSISTENT_READ |
                          FILE_PERM_WRITE_UNCHANGED;
    }
}

static bool lock_image(BlockDriverState *bs, FileLocking locking,
                       GError **error)
{
    FileState *s = bs->opaque;

    s->locks.locking = locking;
    set_own_locks(bs);
    return take_locks(bs, error);
}

void file_unclaim(BlockDriverState *bs)
{
    FileState *s = bs->opaque;

    set_own_locks(bs);
    if (!bs->inactive) {
        file_lock_trim(s->fd, &s->locks);
    }
}

bool file_claim(BlockDriverState *bs, unsigned flags, GError **error)
{
    FileState *s = bs->opaque;

    if (!bs->force_share) {
        s->locks.shared = FILE_PERM_CONSISTENT_READ |
                          FILE_PERM_WRITE_UNCHANGED;
    }
    if (flags & BDRV_CLAIM_RESIZE) {
        s->locks.held |= FILE_PERM_RESIZE;
    }
    return take_locks(bs, error);
}

/* The process may go elsewhere: names mean the same all the time. */
static const char *start_folder(void)
{
    static char *folder;

    if (!folder) {
        folder = g_get_current_dir();
    }
    return folder;
}

static bool open_common(BlockDriverState *bs, Options *opts, GError **error)
{
    FileState *s = bs->opaque;
    g_auto(FileOptions) options = { 0 };

    s->fd = -1;
    file_flush_init(&s->flush);
    pthread_mutex_init(&s->status.mutex, NULL);
    if (!take_options(bs, opts, &options, error)) {
        file_close(bs);
        return false;
    }
    s->path = g_steal_pointer(&options.filename);
    s->full_path = g_canonicalize_filename(s->path, start_folder());
    s->aio = options.aio;
    s->max_batch = options.max_batch;
    s->drop_cache = options.drop_cache;
    if (!open_fd(bs, error) || !lock_image(bs, options.locking, error) ||
        !file_probe(bs, error)) {
        g_prefix_error(error, "%s: ", options_what(opts));
        file_close(bs);
        return false;
    }
    return true;
}

bool file_open(BlockDriverState *bs, Options *opts, GError **error)
{
    return open_common(bs, opts, error);
}

bool host_device_open(BlockDriverState *bs, Options *opts, GError **error)
{
    FileState *s = bs->opaque;

    s->is_device = true;
    return open_common(bs, opts, error);
}

void file_close(BlockDriverState *bs)
{
    FileState *s = bs->opaque;

    home_list_free(&s->homes);
    file_flush_destroy(&s->flush);
    pthread_mutex_destroy(&s->status.mutex);
    if (s->fd >= 0) {
        close(s->fd);
        s->fd = -1;
    }
    g_clear_pointer(&s->path, g_free);
    g_clear_pointer(&s->full_path, g_free);
}
