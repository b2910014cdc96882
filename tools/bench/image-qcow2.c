/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qcow2 image beside an image: made by qemu-img, so that all servers get
 * one that none of them has made. Called by image.c.
 */
#include "image-qcow2.h"

#include <gio/gio.h>
#include <glib/gstdio.h>

#include "image.h"

char *bench_qcow2_obstacle(const BenchSpecImage *image)
{
    g_autofree char *program = NULL;

    if (!image->qcow2) {
        return NULL;
    }
    if (image->kind != BENCH_IMAGE_FILE && image->kind != BENCH_IMAGE_TMPFS) {
        return g_strdup("a qcow2 image can only be beside a file");
    }
    program = g_find_program_in_path("qemu-img");
    return program ? NULL : g_strdup("there is no qemu-img");
}

static char *qcow2_path(const BenchSpecImage *image, unsigned index)
{
    g_autofree char *path = bench_image_path(image, index);

    return g_strconcat(path, ".qcow2", NULL);
}

static bool create(const BenchSpecImage *image, unsigned index,
                   GError **error)
{
    g_autofree char *path = qcow2_path(image, index);
    g_autofree char *size =
        g_strdup_printf("%" G_GINT64_FORMAT,
                        image->qcow2_size ? image->qcow2_size : image->size);
    const char *argv[] = {
        "qemu-img", "create", "-q", "-f", "qcow2", "-o", image->qcow2, path,
        size, NULL,
    };
    g_autofree char *said = NULL;
    int status;

    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL,
                      NULL, NULL, &said, &status, error)) {
        return false;
    }
    if (!g_spawn_check_wait_status(status, NULL)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "%s",
                    g_strstrip(said));
        return false;
    }
    return true;
}

static bool create_all(const BenchSpecImage *image, GError **error)
{
    for (unsigned i = 0; i < MAX(image->count, 1); i++) {
        if (!create(image, i, error)) {
            return false;
        }
    }
    return true;
}

bool bench_qcow2_prepare(const BenchSpecImage *image, GError **error)
{
    return !image->qcow2 || image->qcow2_fresh || create_all(image, error);
}

bool bench_qcow2_settle(const BenchSpecImage *image, GError **error)
{
    return !image->qcow2 || !image->qcow2_fresh || create_all(image, error);
}

void bench_qcow2_release(const BenchSpecImage *image)
{
    for (unsigned i = 0; image->qcow2 && i < MAX(image->count, 1); i++) {
        g_autofree char *path = qcow2_path(image, i);

        g_unlink(path);
    }
}
