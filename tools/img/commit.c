/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vblk-img commit: what an image has goes to its backing file, or to one
 * further down, which is opened for writing as long as that takes. Then the
 * image need not have it any more.
 *
 * Nothing is taken out of the image before the backing file has all of it on
 * stable storage.
 */
#include "args.h"
#include "chain.h"
#include "copy.h"
#include "img.h"
#include "block/control.h"
#include "block/graph.h"
#include "tools/common/message.h"
#include "tools/common/progress.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define WORKERS 8

static const char letters[] = ":f:ht:b:dpqr:i:";
static const struct option words[] = {
    IMG_WORD_HELP,
    IMG_WORD_OBJECT,
    IMG_WORD_IMAGE_OPTS,
    IMG_WORDS_END,
};

typedef struct Commit {
    const char *base_name; /* -b, or NULL */
    bool keep;             /* -d: leave the image as it is */
    int64_t rate;          /* -r */
    BlockDriverState *top; /* with its chain */
    BlockDriverState *base;
    bool writethrough;
} Commit;

/* --- the base --- */

static bool find_base(Commit *commit, const char *filename)
{
    if (commit->base_name) {
        commit->base = img_find_backing(commit->top, commit->base_name);
        if (!commit->base) {
            error_report("Did not find '%s' in the backing chain of '%s'",
                         commit->base_name, filename);
        }
        return commit->base;
    }
    commit->base = img_skip_filters(commit->top)->backing;
    if (!commit->base) {
        error_report("Image does not have a backing file");
    }
    return commit->base;
}

/* With the cache mode that it has been opened with. */
static bool make_writable(BlockDriverState *base)
{
    unsigned flags = (base->cache_direct ? BDRV_OPEN_DIRECT : 0) |
                     (base->cache_no_flush ? BDRV_OPEN_NO_FLUSH : 0) |
                     BDRV_OPEN_DISCARD;
    GError *error = NULL;

    if (bdrv_reopen(base, flags, &error)) {
        return true;
    }
    error_reportf_err(error, "Could not open '%s': ", base->filename);
    return false;
}

typedef struct GrowCall {
    BlockDriverState *bs;
    BlockTruncate to;
    bool ok;
    GError *error;
} GrowCall;

static void coroutine_fn grow_entry(void *opaque)
{
    GrowCall *call = opaque;

    call->ok = bdrv_co_truncate(call->bs, &call->to, &call->error);
}

static bool grow_base(const Commit *commit)
{
    GrowCall call = {
        .bs = commit->base,
        .to.bytes = commit->top->total_bytes,
    };

    if (call.to.bytes <= commit->base->total_bytes) {
        return true;
    }
    bdrv_run_co(commit->base, grow_entry, &call);
    if (!call.ok) {
        error_reportf_err(call.error, "Block job failed: ");
    }
    return call.ok;
}

/* --- the copy --- */

static int copy_to(const Commit *commit, ImgDisk *top, ImgDisk *base)
{
    CopySource source = { .disk = top, .base = commit->base };
    CopyJob job = {
        .sources = &source,
        .n_sources = 1,
        .target = base,
        .workers = WORKERS,
        .buffer_bytes = COPY_BUFFER_BYTES,
        .keep_backing = true, /* what only the base has is there */
        .backing_bytes = -1,
    };
    int ret;

    rate_limit_init(&job.rate, commit->rate);
    ret = copy_run(&job);
    return ret < 0 ? ret : img_disk_flush(base);
}

static bool copy(const Commit *commit, const char *filename)
{
    g_autoptr(ImgDisk) top = img_disk_new(bdrv_ref(commit->top), filename,
                                          false);
    g_autoptr(ImgDisk) base = img_disk_new(bdrv_ref(commit->base),
                                           commit->base->filename,
                                           commit->writethrough);
    int ret;

    if (!top || !base) {
        return false;
    }
    ret = copy_to(commit, top, base);
    if (ret < 0) {
        error_report("Block job failed: %s", g_strerror(-ret));
    }
    return ret == 0;
}

/* --- the image --- */

typedef struct EmptyCall {
    BlockDriverState *bs;
    int ret;
} EmptyCall;

static void coroutine_fn empty_entry(void *opaque)
{
    EmptyCall *call = opaque;

    call->ret = call->bs->drv->image->co_make_empty(call->bs);
    if (call->ret == 0) {
        call->ret = bdrv_co_flush(call->bs);
    }
}

static bool empty(const Commit *commit)
{
    BlockDriverState *bs = img_skip_filters(commit->top);
    EmptyCall call = { .bs = bs, .ret = -ENOTSUP };

    if (bs->drv->image && bs->drv->image->co_make_empty) {
        bdrv_run_co(bs, empty_entry, &call);
    }
    if (call.ret < 0) {
        error_report("Failed to empty %s: %s", bs->filename,
                     g_strerror(-call.ret));
    }
    return call.ret == 0;
}

static bool commit_image(Commit *commit, const char *filename)
{
    return find_base(commit, filename) && make_writable(commit->base) &&
           grow_base(commit) && copy(commit, filename) &&
           (commit->keep || empty(commit));
}

static int open_and_commit(Commit *commit, const ImgArgs *args,
                           const char *filename)
{
    g_autoptr(BlockDriverState) top = NULL;
    unsigned flags;
    bool ok;

    if (!img_write_flags(args, &flags, &commit->writethrough)) {
        return EXIT_FAILURE;
    }
    top = img_open(args, filename, flags | BDRV_OPEN_DISCARD);
    if (!top) {
        return EXIT_FAILURE;
    }
    commit->top = top;
    progress_init(args->progress && !args->quiet, 1);
    progress_set(0);
    ok = commit_image(commit, filename);
    if (ok) {
        progress_set(100);
    }
    progress_end();
    if (ok && !args->quiet) {
        printf("Image committed.\n");
    }
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

int img_commit(int argc, char **argv)
{
    ImgArgs args = IMG_ARGS_INIT;
    Commit commit = { 0 };
    int c;

    while ((c = img_getopt(argc, argv, letters, words, &args)) != -1) {
        switch (c) {
        case IMG_ARGS_STOP:
            return args.status;
        case 'b':
            commit.base_name = optarg;
            commit.keep = true; /* images in between may need it */
            break;
        case 'd':
            commit.keep = true;
            break;
        case 'r':
            if (!img_parse_size("rate limit", optarg, &commit.rate)) {
                return EXIT_FAILURE;
            }
            break;
        }
    }
    if (optind != argc - 1) {
        return img_bad_usage("Expecting one image file name");
    }
    return open_and_commit(&commit, &args, argv[optind]);
}
