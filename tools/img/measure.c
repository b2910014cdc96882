/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vblk-img measure: says how large a new image would be, of a given size or
 * with the contents of another image.
 */
#include "args.h"
#include "create-opts.h"
#include "img.h"
#include "output.h"
#include "snapshot-param.h"
#include "block/graph.h"
#include "tools/common/message.h"

#include <stdio.h>
#include <stdlib.h>

enum { OPT_SIZE = IMG_OPT_OWN };

static const char letters[] = ":hf:l:o:O:U";
static const struct option words[] = {
    IMG_WORD_HELP,
    IMG_WORD_IMAGE_OPTS,
    IMG_WORD_OBJECT,
    IMG_WORD_OUTPUT,
    { "size", required_argument, NULL, OPT_SIZE },
    IMG_WORD_FORCE_SHARE,
    IMG_WORDS_END,
};

typedef struct Measure {
    const char *filename;   /* or NULL */
    const char *out_format;
    char *options;          /* -o, or NULL */
    const char *snapshot;   /* -l, or NULL */
    SnapshotParam param;
    int64_t bytes;          /* --size, or negative */
} Measure;

static void measure_clear(Measure *measure)
{
    g_free(measure->options);
    snapshot_param_clear(&measure->param);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Measure, measure_clear)

static void print_human(const BlockMeasure *result)
{
    printf("required size: %" G_GINT64_FORMAT "\n", result->required);
    printf("fully allocated size: %" G_GINT64_FORMAT "\n",
           result->fully_allocated);
    if (result->bitmaps >= 0) {
        printf("bitmaps size: %" G_GINT64_FORMAT "\n", result->bitmaps);
    }
}

static void print_json(const BlockMeasure *result)
{
    JsonObject *object = json_object_new();

    json_object_set_int_member(object, "required", result->required);
    json_object_set_int_member(object, "fully-allocated",
                               result->fully_allocated);
    if (result->bitmaps >= 0) {
        json_object_set_int_member(object, "bitmaps", result->bitmaps);
    }
    img_print_json_object(object);
}

static const BlockDriver *find_driver(const char *name)
{
    const BlockDriver *drv = bdrv_find_driver(name);

    if (!drv) {
        error_report("Unknown file format '%s'", name);
        return NULL;
    }
    if (!drv->image || !drv->image->create_options) {
        error_report("Format driver '%s' does not support image creation",
                     name);
        return NULL;
    }
    if (!drv->image->measure) {
        error_report("Block driver '%s' does not support size measurement",
                     name);
        return NULL;
    }
    return drv;
}

/* The options of the image to be; NULL: reported. */
static Options *take_options(const Measure *measure, const BlockDriver *drv)
{
    g_autoptr(CreateOpts) opts =
        create_opts_new(drv->image->create_options,
                        bdrv_file.image->create_options);
    g_autofree char *size = NULL;
    GError *error = NULL;

    if (!create_opts_parse(opts, measure->options, &error)) {
        error_report_err(error);
        error_report("Invalid options for file format '%s'", drv->name);
        return NULL;
    }
    if (measure->bytes >= 0) {
        size = g_strdup_printf("%" G_GINT64_FORMAT, measure->bytes);
        create_opts_set(opts, "size", size, NULL);
    }
    return create_opts_to_options(opts, "");
}

static int run(const Measure *measure, const ImgArgs *args,
               BlockDriverState *from)
{
    const BlockDriver *drv = find_driver(measure->out_format);
    g_autoptr(Options) opts = drv ? take_options(measure, drv) : NULL;
    BlockMeasure result = { .bitmaps = -1 };
    GError *error = NULL;

    if (!opts) {
        return EXIT_FAILURE;
    }
    if (!drv->image->measure(opts, from, &result, &error)) {
        error_report_err(error);
        return EXIT_FAILURE;
    }
    if (args->json) {
        print_json(&result);
    } else {
        print_human(&result);
    }
    return EXIT_SUCCESS;
}

static int run_with_image(const Measure *measure, const ImgArgs *args)
{
    unsigned flags = BDRV_OPEN_READ_ONLY |
                     (args->force_share ? BDRV_OPEN_SHARE : 0);
    g_autoptr(BlockDriverState) bs = img_open(args, measure->filename, flags);

    if (!bs || !snapshot_param_load(&measure->param, bs)) {
        return EXIT_FAILURE;
    }
    return run(measure, args, bs);
}

static bool check_words(const Measure *measure, const ImgArgs *args,
                        int n_words)
{
    if (n_words > 1) {
        error_report("At most one filename argument is allowed.");
    } else if (n_words == 0 &&
               (args->image_opts || args->format || measure->snapshot)) {
        error_report("--image-opts, -f, and -l require a filename argument.");
    } else if (n_words == 0 && measure->bytes < 0) {
        error_report("Either --size N or one filename must be specified.");
    } else if (n_words == 1 && measure->bytes >= 0) {
        error_report("--size N cannot be used together with a filename.");
    } else {
        return true;
    }
    return false;
}

/* Reports what is wrong with the value. */
static bool take(Measure *measure, int c)
{
    switch (c) {
    case 'l':
        measure->snapshot = optarg;
        return snapshot_param_parse(&measure->param, optarg);
    case 'o':
        return create_opts_append(&measure->options, optarg);
    case 'O':
        measure->out_format = optarg;
        return true;
    default:
        return img_parse_size("image size", optarg, &measure->bytes);
    }
}

int img_measure(int argc, char **argv)
{
    ImgArgs args = IMG_ARGS_INIT;
    g_auto(Measure) measure = { .out_format = "raw", .bytes = -1 };
    int c;

    while ((c = img_getopt(argc, argv, letters, words, &args)) != -1) {
        if (c == IMG_ARGS_STOP) {
            return args.status;
        }
        if (!take(&measure, c)) {
            return EXIT_FAILURE;
        }
    }
    if (!check_words(&measure, &args, argc - optind)) {
        return EXIT_FAILURE;
    }
    measure.filename = argv[optind];
    return measure.filename ? run_with_image(&measure, &args)
                            : run(&measure, &args, NULL);
}
