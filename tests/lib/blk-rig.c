/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Joins node, back end, device and threads, as the storage daemon does.
 */
#include "blk-rig.h"

#include "block/graph.h"
#include "block/iothread.h"

#include <string.h>

#define MAX_IOTHREADS 8

struct BlkRig {
    AioContext *main_ctx;
    IOThread *iothreads[MAX_IOTHREADS];
    unsigned n_iothreads;
    BlockDriverState *opened;
    VirtIOBlock *vblk;
};

/* A thread adopts one context once, for all its rigs. */
static AioContext *main_context(const AioParams *params)
{
    AioContext *ctx = aio_context_current();

    if (!ctx) {
        ctx = aio_context_new(params, NULL);
        g_assert_nonnull(ctx);
        aio_context_adopt(ctx);
    }
    return ctx;
}

static bool open_node(BlkRig *rig, const BlkRigConf *conf, GError **error)
{
    Options *opts = options_parse(conf->blockdev, "--blockdev", "driver",
                                  error);

    rig->opened = opts ? bdrv_open(opts, error) : NULL;
    return rig->opened;
}

static void make_device(BlkRig *rig, const BlkRigConf *conf)
{
    g_autoptr(GError) error = NULL;
    AioContext *contexts[MAX_IOTHREADS] = { rig->main_ctx };
    BlockBackendOptions options = {
        .writable = !conf->read_only,
        .writethrough = conf->writethrough,
        .block_size = conf->block_size ? conf->block_size : 512,
    };
    VirtIOBlockConf vconf = {
        .name = "export 'test'",
        .num_queues = MAX(conf->num_queues, 1),
        .logical_block_size = options.block_size,
        .serial = conf->serial,
        .request_merging = !conf->no_merging,
        .register_buffers = conf->register_buffers,
        .config_wce = !conf->no_config_wce,
        .packed = true,
        .contexts = contexts,
        .n_contexts = MAX(rig->n_iothreads, 1),
        .rerror = conf->rerror,
        .werror = conf->werror,
        .io_error = conf->io_error,
        .resumed = conf->resumed,
        .opaque = conf->error_opaque,
    };
    BlockBackend *blk = blk_new(conf->bs ? conf->bs : rig->opened, &options,
                                &error);

    g_assert_no_error(error);
    for (unsigned i = 0; i < rig->n_iothreads; i++) {
        contexts[i] = iothread_context(rig->iothreads[i]);
    }
    rig->vblk = virtio_blk_new(blk, &vconf, &error);
    g_assert_no_error(error);
}

BlkRig *blk_rig_new(const BlkRigConf *conf, GError **error)
{
    BlkRig *rig = g_new0(BlkRig, 1);

    g_assert_cmpuint(conf->n_iothreads, <=, MAX_IOTHREADS);
    rig->main_ctx = main_context(&conf->params);
    if (!conf->bs && !open_node(rig, conf, error)) {
        g_free(rig);
        return NULL;
    }
    rig->n_iothreads = conf->n_iothreads;
    for (unsigned i = 0; i < rig->n_iothreads; i++) {
        g_autofree char *id = g_strdup_printf("iothread%u", i);

        rig->iothreads[i] = iothread_new(id, &conf->params, error);
        g_assert_nonnull(rig->iothreads[i]);
    }
    make_device(rig, conf);
    return rig;
}

void blk_rig_free(BlkRig *rig)
{
    virtio_blk_free(rig->vblk);
    if (rig->opened) {
        bdrv_unref(rig->opened);
    }
    for (unsigned i = 0; i < rig->n_iothreads; i++) {
        iothread_free(rig->iothreads[i]);
    }
    g_free(rig);
}

VirtIODevice *blk_rig_device(BlkRig *rig)
{
    return virtio_blk_device(rig->vblk);
}

VirtIOBlock *blk_rig_block(BlkRig *rig)
{
    return rig->vblk;
}

AioContext *blk_rig_pump(BlkRig *rig)
{
    return rig->n_iothreads > 0 ? NULL : rig->main_ctx;
}

AioContext *blk_rig_main_context(BlkRig *rig)
{
    return rig->main_ctx;
}

void blk_rig_stats(BlkRig *rig, BlockStats *stats)
{
    memset(stats, 0, sizeof(*stats));
    virtio_blk_get_stats(rig->vblk, stats);
}

uint8_t blk_pattern(int64_t offset)
{
    return (offset / 512 * 7 + offset % 512 + offset / 131072) % 251;
}

TestImage *blk_image_new(int64_t bytes)
{
    TestImage *image = test_image_new(bytes);
    g_autofree uint8_t *buf = g_malloc(bytes);

    for (int64_t i = 0; i < bytes; i++) {
        buf[i] = blk_pattern(i);
    }
    test_image_write(image, 0, buf, bytes);
    test_image_settle(image);
    return image;
}
