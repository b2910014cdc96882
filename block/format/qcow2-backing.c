/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The name of the backing file in the image. */
#include "qcow2.h"

#include <errno.h>
#include <string.h>

#include "qcow2-error.h"

static void swap_names(BlockDriverState *bs, char **file, char **format)
{
    char *old_file = bs->backing_file, *old_format = bs->backing_format;

    bs->backing_file = *file;
    bs->backing_format = *format;
    *file = old_file;
    *format = old_format;
}

int coroutine_fn qcow2_co_write_backing_names(BlockDriverState *bs,
                                              const char *file,
                                              const char *format)
{
    g_autofree char *new_file = g_strdup(file);
    g_autofree char *new_format = file ? g_strdup(format) : NULL;
    int ret;

    swap_names(bs, &new_file, &new_format);
    ret = qcow2_co_write_header(bs);
    if (ret == 0) {
        ret = bdrv_co_flush(bs->file);
    }
    if (ret < 0) {
        swap_names(bs, &new_file, &new_format);
    }
    return ret;
}

bool coroutine_fn qcow2_co_change_backing(BlockDriverState *bs,
                                          const char *file,
                                          const char *format, GError **error)
{
    const Qcow2State *s = bs->opaque;
    int ret;

    if (!qcow2_may_change(bs, error)) {
        return false;
    }
    if (file && qcow2_data_file_is_raw(s)) {
        return qcow2_error(error, "Backing file and data-file-raw cannot be "
                           "used at the same time");
    }
    if (file && strlen(file) > QCOW2_MAX_BACKING_NAME) {
        return qcow2_error(error, "Backing file name too long");
    }
    ret = qcow2_co_write_backing_names(bs, file, format);
    if (ret == -ENOSPC) {
        return qcow2_error(error, "Could not change the backing file to '%s': "
                           "No space left in the file header",
                           file ? file : "");
    }
    return ret == 0 ||
           qcow2_error_errno(error, ret, "Could not update qcow2 header");
}
