/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vblk-img rebase: gives an image another backing file. What it shows through
 * the old one and would not through the new one becomes its own before; with
 * -u only the name is changed.
 */
#include "args.h"
#include "chain.h"
#include "disk.h"
#include "img.h"
#include "sparse.h"
#include "block/control.h"
#include "block/graph.h"
#include "tools/common/message.h"
#include "tools/common/progress.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_BYTES (2 << 20)

static const char letters[] = ":hf:F:b:upt:T:qUi:";
static const struct option words[] = {
    IMG_WORD_HELP,
    IMG_WORD_OBJECT,
    IMG_WORD_IMAGE_OPTS,
    IMG_WORD_FORCE_SHARE,
    IMG_WORDS_END,
};

/* A backing file: what it has from an offset on. */
typedef struct Backing {
    ImgDisk *disk;     /* NULL: there is none, all is zero */
    const char *what;  /* "old", "new" */
    uint8_t *buf;
    bool behind_end;   /* what is in buf is zero because nothing is there */
} Backing;

typedef struct Rebase {
    const char *filename;
    const char *new_name;   /* -b; NULL or "": none */
    const char *new_format; /* -F, or NULL */
    bool unsafe;            /* -u */
    ImgArgs args;
    unsigned read_flags;
    bool writethrough;

    BlockDriverState *image;   /* of the disk, below filters */
    ImgDisk *disk;
    Backing old_backing, new_backing;
    BlockDriverState *prefix;  /* the new one if it is below the old one:
                                  what is not above is the same */
    bool ok;
} Rebase;

static void rebase_clear(Rebase *rebase)
{
    img_disk_free(rebase->new_backing.disk);
    img_disk_free(rebase->old_backing.disk);
    img_disk_free(rebase->disk);
    img_buffer_free(rebase->new_backing.buf);
    img_buffer_free(rebase->old_backing.buf);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Rebase, rebase_clear)

static bool has_new(const Rebase *rebase)
{
    return rebase->new_name && *rebase->new_name;
}

/* --- making the difference the image's own --- */

/* Whether anybody from @bs down to, not including, @base has @offset, and how
 * far that is so. */
static int coroutine_fn is_allocated(BlockDriverState *bs,
                                     BlockDriverState *base, int64_t offset,
                                     int64_t *bytes)
{
    BlockStatus status;
    unsigned depth;
    int ret = bdrv_co_block_status_above(bs, base, offset, *bytes, &status,
                                         &depth);

    if (ret < 0) {
        error_report("error while reading image metadata: %s",
                     g_strerror(-ret));
        return ret;
    }
    if (status.bytes > 0) {
        *bytes = MIN(*bytes, status.bytes);
    }
    return !!(status.flags & BLOCK_STATUS_ALLOCATED);
}

/* 1: what is at @offset stays as it is whatever lies below; 0: it may change;
 * or a negative errno, which has been reported. */
static int coroutine_fn is_unaffected(Rebase *rebase, int64_t offset,
                                      int64_t *bytes)
{
    BlockDriverState *old = rebase->image->backing;
    int ret = is_allocated(rebase->image, old, offset, bytes);

    if (ret != 0 || !rebase->prefix || offset >= old->total_bytes) {
        return ret;
    }
    ret = is_allocated(old, rebase->prefix, offset, bytes);
    return ret < 0 ? ret : !ret;
}

/* Cuts *@bytes at the end of the backing file. */
static bool coroutine_fn read_backing(Backing *backing, int64_t offset,
                                      int64_t *bytes)
{
    int64_t length = backing->disk ? img_disk_length(backing->disk) : 0;
    int ret;

    backing->behind_end = offset >= length;
    if (backing->behind_end) {
        memset(backing->buf, 0, *bytes);
        return true;
    }
    *bytes = MIN(*bytes, length - offset);
    ret = blk_co_pread(backing->disk->channel, offset, *bytes, backing->buf);
    if (ret < 0) {
        error_report("error while reading from %s backing file",
                     backing->what);
    }
    return ret == 0;
}

static int coroutine_fn write_old(Rebase *rebase, int64_t offset,
                                  int64_t bytes, const uint8_t *buf)
{
    BlkChannel *channel = rebase->disk->channel;

    if (rebase->old_backing.behind_end) {
        return blk_co_pwrite_zeroes(channel, offset, bytes, 0);
    }
    return blk_co_pwrite(channel, offset, bytes, buf, 0);
}

static bool coroutine_fn write_difference(Rebase *rebase, int64_t offset,
                                          int64_t bytes)
{
    const uint8_t *old = rebase->old_backing.buf;
    const uint8_t *new = rebase->new_backing.buf;
    int64_t n;

    for (int64_t pos = 0; pos < bytes; pos += n) {
        bool same;
        int ret = 0;

        n = sparse_compare(old + pos, new + pos, bytes - pos, &same);
        if (!same) {
            ret = write_old(rebase, offset + pos, n, old + pos);
        }
        if (ret < 0) {
            error_report("Error while writing to COW image: %s",
                         g_strerror(-ret));
            return false;
        }
    }
    return true;
}

static bool coroutine_fn merge_at(Rebase *rebase, int64_t offset,
                                  int64_t *bytes)
{
    int ret = is_unaffected(rebase, offset, bytes);

    if (ret != 0) {
        return ret > 0;
    }
    return read_backing(&rebase->old_backing, offset, bytes) &&
           read_backing(&rebase->new_backing, offset, bytes) &&
           write_difference(rebase, offset, *bytes);
}

/* All of it is to be stable before the old backing file is given up. */
static bool coroutine_fn flush(Rebase *rebase)
{
    int ret = blk_co_flush(rebase->disk->channel);

    if (ret < 0) {
        error_report("Error while flushing COW image: %s", g_strerror(-ret));
    }
    return ret == 0;
}

static bool coroutine_fn merge(Rebase *rebase)
{
    int64_t length = img_disk_length(rebase->disk), bytes;

    for (int64_t offset = 0; offset < length; offset += bytes) {
        bytes = MIN(BUFFER_BYTES, length - offset);
        if (!merge_at(rebase, offset, &bytes)) {
            return false;
        }
        progress_set(100.0 * (offset + bytes) / length);
    }
    return flush(rebase);
}

/* --- the name --- */

/* What qemu-img says, whichever part of the job the driver failed at. */
static void report_name(const Rebase *rebase, GError *error)
{
    if (g_str_has_prefix(error->message, "Could not change the backing ")) {
        error_report_err(error);
        return;
    }
    error_reportf_err(error, "Could not change the backing file to '%s': ",
                      rebase->new_name ? rebase->new_name : "");
}

static bool coroutine_fn change_name(Rebase *rebase)
{
    BlockDriverState *bs = rebase->image;
    GError *error = NULL;

    if (has_new(rebase) && !rebase->new_format) {
        error_setg(&error, "backing format must be specified");
    } else if (!bs->drv->image || !bs->drv->image->co_change_backing) {
        error_setg(&error, "%s", g_strerror(ENOTSUP));
    } else if (has_new(rebase)) {
        bs->drv->image->co_change_backing(bs, rebase->new_name,
                                          rebase->new_format, &error);
    } else {
        bs->drv->image->co_change_backing(bs, NULL, NULL, &error);
    }
    if (error) {
        report_name(rebase, error);
        return false;
    }
    return true;
}

static void coroutine_fn rebase_entry(void *opaque)
{
    Rebase *rebase = opaque;

    rebase->ok = (rebase->unsafe || merge(rebase)) && change_name(rebase);
}

/* --- images --- */

static bool check_format(const Rebase *rebase)
{
    if (rebase->new_format && !bdrv_find_driver(rebase->new_format)) {
        error_report("Invalid format name: '%s'", rebase->new_format);
        return false;
    }
    return true;
}

/* Shared with the chain it may be a part of. */
static bool use_backing(Backing *backing, BlockDriverState *bs,
                        const char *what, const char *name)
{
    backing->what = what;
    backing->buf = img_buffer_new(BUFFER_BYTES);
    if (!backing->buf) {
        error_report("Out of memory");
        return false;
    }
    if (bs) {
        backing->disk = img_disk_new(bdrv_ref(bs), name, false);
    }
    return !bs || backing->disk;
}

static bool use_new(Rebase *rebase)
{
    g_autoptr(BlockDriverState) bs = NULL;
    g_autofree char *path = NULL;
    GError *error = NULL;

    path = img_backing_path(rebase->image, rebase->new_name, &error);
    if (!path) {
        error_reportf_err(error, "Could not resolve backing filename: ");
        return false;
    }
    rebase->prefix = img_find_backing(rebase->image, path);
    if (rebase->prefix) {
        bs = bdrv_ref(rebase->prefix);
    } else {
        bs = bdrv_open_image(path, rebase->new_format, NULL,
                             rebase->read_flags, &error);
    }
    if (!bs) {
        error_reportf_err(error, "Could not open new backing file '%s': ",
                          rebase->new_name);
        return false;
    }
    return use_backing(&rebase->new_backing, bs, "new", rebase->new_name);
}

static bool use_backings(Rebase *rebase)
{
    if (rebase->unsafe) {
        return true;
    }
    if (!use_backing(&rebase->old_backing, rebase->image->backing, "old",
                     rebase->filename)) {
        return false;
    }
    return has_new(rebase) ? use_new(rebase)
                           : use_backing(&rebase->new_backing, NULL, "new",
                                         NULL);
}

static bool open_image(Rebase *rebase, unsigned flags)
{
    BlockDriverState *bs;

    if (rebase->unsafe) {
        flags |= BDRV_OPEN_NO_BACKING;
    }
    bs = img_open(&rebase->args, rebase->filename, flags);
    rebase->disk = img_disk_new(bs, rebase->filename, rebase->writethrough);
    if (!rebase->disk) {
        return false;
    }
    rebase->image = img_skip_filters(rebase->disk->bs);
    return true;
}

static int open_and_rebase(Rebase *rebase)
{
    unsigned flags;

    if (!img_write_flags(&rebase->args, &flags, &rebase->writethrough) ||
        !img_read_flags(&rebase->args, &rebase->read_flags)) {
        return EXIT_FAILURE;
    }
    progress_init(rebase->args.progress && !rebase->args.quiet, 1);
    progress_set(0);
    if (open_image(rebase, flags) && check_format(rebase) &&
        use_backings(rebase)) {
        control_run_co(rebase_entry, rebase);
    }
    if (rebase->ok) {
        progress_set(100);
    }
    progress_end();
    return rebase->ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

int img_rebase(int argc, char **argv)
{
    g_auto(Rebase) rebase = { .args = IMG_ARGS_INIT };
    int c;

    while ((c = img_getopt(argc, argv, letters, words, &rebase.args)) != -1) {
        switch (c) {
        case IMG_ARGS_STOP:
            return rebase.args.status;
        case 'F':
            rebase.new_format = optarg;
            break;
        case 'b':
            rebase.new_name = optarg;
            break;
        case 'u':
            rebase.unsafe = true;
            break;
        }
    }
    if (optind != argc - 1) {
        return img_bad_usage("Expecting one image file name");
    }
    if (!rebase.unsafe && !rebase.new_name) {
        return img_bad_usage("Must specify backing file (-b) or use unsafe "
                             "mode (-u)");
    }
    rebase.filename = argv[optind];
    return open_and_rebase(&rebase);
}
