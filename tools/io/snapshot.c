/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -s: an image that forgets. The one that the user named becomes the backing
 * file of a qcow2 image whose file has no name any more when it is open.
 */
#include "snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <stdlib.h>
#include <unistd.h>

#include "block/driver.h"
#include "block/graph.h"

/* Where it may become large: /tmp is often in memory. */
static char *make_file(GError **error)
{
    const char *folder = g_getenv("TMPDIR");
    g_autofree char *path = g_build_filename(folder ? folder : "/var/tmp",
                                             "vl.XXXXXX", NULL);
    int fd = g_mkstemp_full(path, O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "Could not get temporary filename: %s",
                    g_strerror(errno));
        return NULL;
    }
    close(fd);
    return g_steal_pointer(&path);
}

static bool create(const char *path, int64_t bytes, GError **error)
{
    const BlockDriver *qcow2 = bdrv_find_driver("qcow2");
    g_autofree char *size = g_strdup_printf("%" G_GINT64_FORMAT, bytes);
    g_autoptr(Options) opts = options_new("");

    if (!qcow2 || !qcow2->image || !qcow2->image->create) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "a temporary snapshot needs the format 'qcow2', which "
                    "this program does not have");
        return false;
    }
    options_set_str(opts, "size", size);
    return qcow2->image->create(path, opts, error);
}

static BlockDriverState *open_overlay(const IoImageSpec *spec,
                                      const char *path,
                                      BlockDriverState *base, GError **error)
{
    Options *opts = options_new("");
    unsigned flags = (spec->flags & ~BDRV_OPEN_DIRECT) | BDRV_OPEN_NO_FLUSH;

    options_set_str(opts, "driver", "qcow2");
    options_set_str(opts, "file.driver", "file");
    options_set_str(opts, "file.filename", path);
    options_set_str(opts, "backing", base->node_name);
    return bdrv_open_image(NULL, NULL, opts, flags, error);
}

BlockDriverState *io_snapshot_open(const IoImageSpec *spec, GError **error)
{
    unsigned flags = (spec->flags | BDRV_OPEN_READ_ONLY) &
                     ~BDRV_OPEN_COPY_ON_READ;
    Options *opts = spec->opts ? io_options_dup(spec->opts) : NULL;
    g_autoptr(BlockDriverState) base =
        bdrv_open_image(spec->filename, NULL, opts, flags, error);
    g_autofree char *path = base ? make_file(error) : NULL;
    BlockDriverState *overlay = NULL;

    if (!path) {
        return NULL;
    }
    if (create(path, base->total_bytes, error)) {
        overlay = open_overlay(spec, path, base, error);
    }
    unlink(path);
    return overlay;
}
