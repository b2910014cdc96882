/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vblk-img resize: makes an image longer or, with --shrink, shorter.
 */
#include "args.h"
#include "create-opts.h"
#include "img.h"
#include "block/control.h"
#include "block/graph.h"
#include "tools/common/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_PREALLOCATION = IMG_OPT_OWN, OPT_SHRINK };

static const char letters[] = ":f:hq";
static const struct option words[] = {
    IMG_WORD_HELP,
    IMG_WORD_OBJECT,
    IMG_WORD_IMAGE_OPTS,
    { "preallocation", required_argument, NULL, OPT_PREALLOCATION },
    { "shrink", no_argument, NULL, OPT_SHRINK },
    IMG_WORDS_END,
};

typedef struct Resize {
    int sign;          /* 0: absolute */
    uint64_t bytes;
    BlockPrealloc prealloc;
    bool shrink;
} Resize;

typedef struct TruncateCall {
    BlockDriverState *bs;
    BlockTruncate to;
    bool ok;
    GError *error;
} TruncateCall;

static void coroutine_fn truncate_entry(void *opaque)
{
    TruncateCall *call = opaque;

    call->ok = bdrv_co_truncate(call->bs, &call->to, &call->error);
}

/* Negative for what is not there: less than nothing, more than there can be. */
static int64_t new_bytes(const Resize *resize, int64_t now)
{
    uint64_t bytes = resize->bytes;

    if (bytes > INT64_MAX) {
        return -1;
    }
    if (resize->sign < 0) {
        return now - (int64_t)bytes;
    }
    if (resize->sign > 0) {
        return (int64_t)bytes > INT64_MAX - now ? -1 : now + (int64_t)bytes;
    }
    return bytes;
}

static bool check_new_bytes(const Resize *resize, int64_t now, int64_t bytes)
{
    if (bytes <= 0) {
        error_report("New image size must be positive");
        return false;
    }
    if (bytes <= now && resize->prealloc != PREALLOC_OFF) {
        error_report("Preallocation can only be used for growing images");
        return false;
    }
    if (bytes < now && !resize->shrink) {
        error_report("Use the --shrink option to perform a shrink "
                     "operation.");
        warn_report("Shrinking an image will delete all data beyond the "
                    "shrunken image's end. Before performing such an "
                    "operation, make sure there is no important data there.");
        return false;
    }
    return true;
}

static int resize_image(BlockDriverState *bs, const Resize *resize,
                        bool quiet)
{
    TruncateCall call = {
        .bs = bs,
        .to = {
            .bytes = new_bytes(resize, bs->total_bytes),
            .prealloc = resize->prealloc,
            .exact = true,
        },
    };

    if (!check_new_bytes(resize, bs->total_bytes, call.to.bytes)) {
        return EXIT_FAILURE;
    }
    bdrv_run_co(bs, truncate_entry, &call);
    if (!call.ok) {
        error_report_err(call.error);
        return EXIT_FAILURE;
    }
    if (!quiet) {
        printf("Image resized.\n");
    }
    return EXIT_SUCCESS;
}

static bool parse_size(const char *text, Resize *resize)
{
    GError *error = NULL;

    resize->sign = *text == '+' ? 1 : *text == '-' ? -1 : 0;
    if (create_opts_parse_size("size", text + (resize->sign != 0),
                               &resize->bytes, &error)) {
        return true;
    }
    error_report_err(error);
    return false;
}

static bool parse_prealloc(const char *text, Resize *resize)
{
    for (int i = 0; block_prealloc_names[i]; i++) {
        if (strcmp(text, block_prealloc_names[i]) == 0) {
            resize->prealloc = i;
            return true;
        }
    }
    error_report("Invalid preallocation mode '%s'", text);
    return false;
}

static int open_and_resize(const ImgArgs *args, const char *filename,
                           const Resize *resize)
{
    g_autoptr(BlockDriverState) bs = img_open(args, filename, 0);

    return bs ? resize_image(bs, resize, args->quiet) : EXIT_FAILURE;
}

/* "-1M" is a size and no option: the last word is taken away first. */
int img_resize(int argc, char **argv)
{
    ImgArgs args = IMG_ARGS_INIT;
    Resize resize = { .prealloc = PREALLOC_OFF };
    const char *size;
    int c;

    if (argc < 3) {
        return img_bad_usage("Not enough arguments");
    }
    size = argv[--argc];
    while ((c = img_getopt(argc, argv, letters, words, &args)) != -1) {
        switch (c) {
        case IMG_ARGS_STOP:
            return args.status;
        case OPT_PREALLOCATION:
            if (!parse_prealloc(optarg, &resize)) {
                return EXIT_FAILURE;
            }
            break;
        case OPT_SHRINK:
            resize.shrink = true;
            break;
        }
    }
    if (optind != argc - 1) {
        return img_bad_usage("Expecting image file name and size");
    }
    if (!parse_size(size, &resize)) {
        return EXIT_FAILURE;
    }
    return open_and_resize(&args, argv[optind], &resize);
}
