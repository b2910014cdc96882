/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finds backing files by the names that people give them. Called by commit,
 * rebase and convert.
 */
#include "chain.h"

#include <string.h>
#include <sys/stat.h>

BlockDriverState *img_skip_filters(BlockDriverState *bs)
{
    while (bs && bs->drv->is_filter && bs->file) {
        bs = bs->file;
    }
    return bs;
}

static const BlockDriverState *file_of(const BlockDriverState *bs)
{
    while (bs->file) {
        bs = bs->file;
    }
    return bs;
}

char *img_backing_path(const BlockDriverState *bs, const char *backing,
                       GError **error)
{
    return bdrv_backing_path(file_of(bs)->filename, backing, error);
}

static bool is_same_file(const char *path, const char *other)
{
    struct stat a, b;

    return stat(path, &a) == 0 && stat(other, &b) == 0 &&
           a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static bool is_path(const char *name)
{
    return name[strcspn(name, ":/")] != ':';
}

/* As the image calls it, as we do, or another name of the same file. */
static bool is_called(const BlockDriverState *overlay, const char *name)
{
    const BlockDriverState *bs = overlay->backing;
    g_autofree char *path = NULL;

    if (g_strcmp0(name, overlay->backing_file) == 0) {
        return true;
    }
    if (!is_path(name)) {
        return strcmp(name, bs->filename) == 0;
    }
    path = img_backing_path(overlay, name, NULL);
    return path && (strcmp(path, bs->filename) == 0 ||
                    is_same_file(path, file_of(bs)->filename));
}

BlockDriverState *img_find_backing(BlockDriverState *bs, const char *name)
{
    for (bs = img_skip_filters(bs); bs && bs->backing;
         bs = img_skip_filters(bs->backing)) {
        if (is_called(bs, name)) {
            return bs->backing;
        }
    }
    return NULL;
}
