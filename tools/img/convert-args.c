/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads the command line of vblk-img convert, and says which of its options
 * do not go together.
 */
#include "convert.h"

#include "copy.h"
#include "create-opts.h"
#include "new-image.h"
#include "tools/common/message.h"

#include <errno.h>
#include <stdlib.h>

enum {
    OPT_TARGET_IMAGE_OPTS = IMG_OPT_OWN,
    OPT_SALVAGE,
    OPT_TARGET_IS_ZERO,
    OPT_BITMAPS,
    OPT_SKIP_BROKEN,
};

#define DEFAULT_WORKERS 8
#define DEFAULT_SPARSE_BYTES 4096

static const char letters[] = ":hf:O:B:CcF:o:l:S:pt:T:qnm:Wr:Ui:";
static const struct option words[] = {
    IMG_WORD_HELP,
    IMG_WORD_OBJECT,
    IMG_WORD_IMAGE_OPTS,
    IMG_WORD_FORCE_SHARE,
    { "target-image-opts", no_argument, NULL, OPT_TARGET_IMAGE_OPTS },
    { "salvage", no_argument, NULL, OPT_SALVAGE },
    { "target-is-zero", no_argument, NULL, OPT_TARGET_IS_ZERO },
    { "bitmaps", no_argument, NULL, OPT_BITMAPS },
    { "skip-broken-bitmaps", no_argument, NULL, OPT_SKIP_BROKEN },
    IMG_WORDS_END,
};

void convert_args_clear(ConvertArgs *args)
{
    g_free(args->options);
    snapshot_param_clear(&args->snapshot);
}

static bool parse_workers(ConvertArgs *args)
{
    char *end;

    errno = 0;
    args->workers = strtoll(optarg, &end, 0);
    if (errno || end == optarg || *end || args->workers < 1 ||
        args->workers > COPY_MAX_WORKERS) {
        error_report("Invalid number of coroutines. Allowed number of "
                     "coroutines is between 1 and %d", COPY_MAX_WORKERS);
        return false;
    }
    return true;
}

static bool parse_sparse(ConvertArgs *args)
{
    if (!img_parse_size("buffer size for sparse output", optarg,
                        &args->sparse_bytes)) {
        return false;
    }
    if (args->sparse_bytes % SPARSE_BLOCK != 0 ||
        args->sparse_bytes > COPY_MAX_BUFFER_BYTES) {
        error_report("Invalid buffer size for sparse output specified. Valid "
                     "sizes are multiples of %d up to %d. Select 0 to disable "
                     "sparse detection (fully allocates output).",
                     SPARSE_BLOCK, COPY_MAX_BUFFER_BYTES);
        return false;
    }
    args->sparse_given = true;
    return true;
}

/* Those with a value; false: it makes no sense, which was reported. */
static bool take_value(ConvertArgs *args, int c)
{
    switch (c) {
    case 'O':
        args->out_format = optarg;
        return true;
    case 'B':
        args->backing_file = optarg;
        return true;
    case 'F':
        args->backing_format = optarg;
        return true;
    case 'o':
        return create_opts_append(&args->options, optarg);
    case 'l':
        return snapshot_param_parse(&args->snapshot, optarg);
    case 'S':
        return parse_sparse(args);
    case 'm':
        return parse_workers(args);
    default:
        return img_parse_size("rate limit", optarg, &args->rate);
    }
}

static bool *flag_of(ConvertArgs *args, int c)
{
    switch (c) {
    case 'C':
        return &args->copy_range;
    case 'c':
        return &args->compress;
    case 'n':
        return &args->skip_create;
    case 'W':
        return &args->out_of_order;
    case OPT_TARGET_IMAGE_OPTS:
        return &args->target_image_opts;
    case OPT_SALVAGE:
        return &args->salvage;
    case OPT_TARGET_IS_ZERO:
        return &args->target_is_zero;
    case OPT_BITMAPS:
        return &args->bitmaps;
    case OPT_SKIP_BROKEN:
        return &args->skip_broken_bitmaps;
    default:
        return NULL;
    }
}

static bool take(ConvertArgs *args, int c)
{
    bool *flag = flag_of(args, c);

    if (!flag) {
        return take_value(args, c);
    }
    *flag = true;
    return true;
}

/* Why the options do not go together; NULL: they do. */
static const char *conflict(const ConvertArgs *args)
{
    if (args->skip_broken_bitmaps && !args->bitmaps) {
        return "Use of --skip-broken-bitmaps requires --bitmaps";
    }
    if (args->copy_range && args->compress) {
        return "Cannot enable copy offloading when -c is used";
    }
    if (args->copy_range && args->sparse_given) {
        return "Cannot enable copy offloading when -S is used";
    }
    if (args->copy_range && args->salvage) {
        return "Cannot use copy offloading in salvaging mode";
    }
    if (args->target_image_opts && !args->skip_create) {
        return "--target-image-opts requires use of -n flag";
    }
    if (args->skip_create && args->options) {
        return "-o has no effect when skipping image creation";
    }
    if (args->target_is_zero && !args->skip_create) {
        return "--target-is-zero requires use of -n flag";
    }
    if (args->target_is_zero && args->backing_file) {
        return "Cannot use --target-is-zero when the destination image has a "
               "backing file";
    }
    return NULL;
}

static int take_names(ConvertArgs *args, int argc, char **argv)
{
    int names = argc - optind;

    if (names > 1) {
        args->target = argv[argc - 1];
    }
    if (create_opts_wants_help(args->options)) {
        return new_image_help(args->target, args->out_format);
    }
    if (names < 2) {
        error_report("Must specify image file name");
        return EXIT_FAILURE;
    }
    args->sources = argv + optind;
    args->n_sources = names - 1;
    return -1;
}

int convert_args_parse(ConvertArgs *args, int argc, char **argv)
{
    const char *why;
    int c;

    args->img = (ImgArgs)IMG_ARGS_INIT;
    args->img.cache = "unsafe";
    args->workers = DEFAULT_WORKERS;
    args->sparse_bytes = DEFAULT_SPARSE_BYTES;
    while ((c = img_getopt(argc, argv, letters, words, &args->img)) != -1) {
        if (c == IMG_ARGS_STOP) {
            return args->img.status;
        }
        if (!take(args, c)) {
            return EXIT_FAILURE;
        }
    }
    if (!args->out_format && !args->target_image_opts) {
        args->out_format = "raw";
    }
    why = conflict(args);
    if (why) {
        error_report("%s", why);
        return EXIT_FAILURE;
    }
    return take_names(args, argc, argv);
}
