/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vblk-img convert: copies an image, or several one behind the other, into
 * another image, which is made for it unless there is one.
 */
#include "convert.h"

#include "chain.h"
#include "copy.h"
#include "img.h"
#include "block/graph.h"
#include "tools/common/message.h"
#include "tools/common/progress.h"

#include <inttypes.h>
#include <stdlib.h>

typedef struct Convert {
    const ConvertArgs *args;
    CopySource *sources; /* of args->n_sources, disks owned */
    int64_t bytes;       /* of all of them */
    ConvertTarget target;
} Convert;

static void convert_clear(Convert *convert)
{
    convert_target_clear(&convert->target);
    for (unsigned i = 0; i < convert->args->n_sources; i++) {
        img_disk_free(convert->sources[i].disk);
    }
    g_free(convert->sources);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Convert, convert_clear)

/* --- sources --- */

static bool open_source(Convert *convert, unsigned i, unsigned flags)
{
    const ConvertArgs *args = convert->args;
    CopySource *source = &convert->sources[i];

    source->disk = img_disk_new(img_open(&args->img, args->sources[i], flags),
                                args->sources[i], false);
    return source->disk != NULL;
}

static bool open_sources(Convert *convert, unsigned flags)
{
    for (unsigned i = 0; i < convert->args->n_sources; i++) {
        if (!open_source(convert, i, flags)) {
            return false;
        }
    }
    return true;
}

static bool load_snapshot(const Convert *convert)
{
    const ConvertArgs *args = convert->args;

    if (args->snapshot.either && args->n_sources > 1) {
        error_report("No support for concatenating multiple snapshot");
        return false;
    }
    return snapshot_param_load(&args->snapshot, convert->sources[0].disk->bs);
}

static void add_up(Convert *convert)
{
    for (unsigned i = 0; i < convert->args->n_sources; i++) {
        convert->bytes += img_disk_length(convert->sources[i].disk);
    }
}

/* --- the copy --- */

static void report_failed(void *opaque, CopyStep step, int64_t offset,
                          int ret)
{
    switch (step) {
    case COPY_STATUS:
        error_report("error while reading block status at offset %" PRId64
                     ": %s", offset, g_strerror(-ret));
        break;
    case COPY_READ:
        error_report("error while reading at byte %" PRId64 ": %s", offset,
                     g_strerror(-ret));
        break;
    case COPY_WRITE:
        error_report("error while writing at byte %" PRId64 ": %s", offset,
                     g_strerror(-ret));
        break;
    }
}

static void report_salvaged(void *opaque, CopyStep step, int64_t offset,
                            int ret)
{
    warn_report(step == COPY_STATUS
                    ? "error while reading block status at offset %" PRId64
                      ": %s"
                    : "error while reading offset %" PRId64 ": %s",
                offset, g_strerror(-ret));
}

static int64_t buffer_bytes(const BlockLimits *limits)
{
    int64_t bytes = MAX(limits->opt_transfer, limits->discard_alignment);

    bytes = CLAMP(bytes, COPY_BUFFER_BYTES, COPY_MAX_BUFFER_BYTES);
    return bytes & -(int64_t)SPARSE_BLOCK;
}

static int64_t power_of_2_within(int64_t value)
{
    int64_t power = SPARSE_BLOCK;

    while (power * 2 <= value) {
        power *= 2;
    }
    return power;
}

static bool prepare_compression(const Convert *convert, CopyJob *job)
{
    if (!convert->args->compress) {
        return true;
    }
    job->compress_bytes = img_cluster_bytes(job->target->bs);
    if (job->compress_bytes <= 0 || job->compress_bytes > job->buffer_bytes) {
        error_report("invalid cluster size");
        return false;
    }
    job->buffer_bytes = job->compress_bytes;
    return true;
}

/* What the target shows through its backing file is not written. */
static void prepare_backing(const Convert *convert, CopyJob *job)
{
    BlockDriverState *source = img_skip_filters(convert->sources[0].disk->bs);
    BlockDriverState *target = img_skip_filters(job->target->bs);

    if (!convert->target.backing_file) {
        return;
    }
    job->keep_backing = true;
    job->backing_bytes = target->backing ? target->backing->total_bytes : -1;
    convert->sources[0].base = source->backing;
}

static bool copy(Convert *convert)
{
    const ConvertArgs *args = convert->args;
    ImgDisk *target = convert->target.disk;
    const BlockLimits *limits = &target->bs->limits;
    CopyJob job = {
        .sources = convert->sources,
        .n_sources = args->n_sources,
        .target = target,
        .workers = args->workers,
        .in_order = !args->out_of_order,
        .target_is_zero = convert_target_is_zero(&convert->target, args),
        .zeroes_as_data = args->sparse_bytes == 0,
        .sparse.min_bytes = args->sparse_bytes,
        .sparse.alignment = MAX(power_of_2_within(args->sparse_bytes),
                                limits->request_alignment),
        .salvage = args->salvage,
        .failed = report_failed,
        .salvaged = args->img.quiet ? NULL : report_salvaged,
    };

    rate_limit_init(&job.rate, args->rate);
    job.buffer_bytes = buffer_bytes(limits);
    prepare_backing(convert, &job);
    return prepare_compression(convert, &job) && copy_run(&job) == 0;
}

static bool copy_bitmaps(const Convert *convert)
{
    return !convert->args->bitmaps ||
           convert_bitmaps_copy(convert->sources[0].disk->bs,
                                convert->target.disk->bs);
}

static bool flush(const Convert *convert)
{
    int ret = img_disk_flush(convert->target.disk);

    if (ret < 0) {
        error_report("error while flushing: %s", g_strerror(-ret));
    }
    return ret == 0;
}

static bool convert_images(const ConvertArgs *args, unsigned source_flags)
{
    g_auto(Convert) convert = {
        .args = args,
        .sources = g_new0(CopySource, args->n_sources),
    };

    if (!open_sources(&convert, source_flags) || !load_snapshot(&convert)) {
        return false;
    }
    add_up(&convert);
    return convert_target_check(&convert.target, args, convert.bytes) &&
           convert_bitmaps_check(convert.sources[0].disk->bs, args) &&
           convert_target_open(&convert.target, args, convert.bytes) &&
           copy(&convert) && copy_bitmaps(&convert) && flush(&convert);
}

int img_convert(int argc, char **argv)
{
    g_auto(ConvertArgs) args = { 0 };
    int status = convert_args_parse(&args, argc, argv);
    unsigned flags;
    bool ok;

    if (status >= 0) {
        return status;
    }
    if (!img_read_flags(&args.img, &flags)) {
        return EXIT_FAILURE;
    }
    progress_init(args.img.progress && !args.img.quiet, 1);
    progress_set(0);
    /* a copy of what changes meanwhile is of no use */
    ok = convert_images(&args, flags | BDRV_OPEN_NO_SHARE);
    if (ok) {
        progress_set(100);
    }
    progress_end();
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
