/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vblk-img amend: changes options that an image was created with.
 */
#include "args.h"
#include "create-opts.h"
#include "img.h"
#include "block/graph.h"
#include "tools/common/message.h"
#include "tools/common/progress.h"

#include <stdio.h>
#include <stdlib.h>

enum { OPT_FORCE = IMG_OPT_OWN };

static const char letters[] = ":ho:f:t:pq";
static const struct option words[] = {
    IMG_WORD_HELP,
    IMG_WORD_OBJECT,
    IMG_WORD_IMAGE_OPTS,
    { "force", no_argument, NULL, OPT_FORCE },
    IMG_WORDS_END,
};

typedef struct Amend {
    char *options;
    bool force;
} Amend;

static void amend_clear(Amend *amend)
{
    g_free(amend->options);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Amend, amend_clear)

/* Also without an image, when -f says the format. */
static bool check_driver(const BlockDriver *drv)
{
    if (drv->image && drv->image->amend && drv->image->create_options) {
        return true;
    }
    error_report("Format driver '%s' does not support option amendment",
                 drv->name);
    return false;
}

static int help(const BlockDriver *drv)
{
    g_autoptr(CreateOpts) opts = NULL;

    if (!check_driver(drv)) {
        return EXIT_FAILURE;
    }
    opts = create_opts_new_amend(drv->image->create_options);
    printf("Amend options for '%s':\n", drv->name);
    create_opts_print_help(opts);
    return EXIT_SUCCESS;
}

static int help_for_format(const char *format)
{
    const BlockDriver *drv = bdrv_find_driver(format);

    if (!drv) {
        error_report("Unknown file format '%s'", format);
        return EXIT_FAILURE;
    }
    return help(drv);
}

static bool change(BlockDriverState *bs, const Amend *amend, GError **error)
{
    g_autoptr(CreateOpts) opts =
        create_opts_new_amend(bs->drv->image->create_options);
    g_autoptr(Options) options = NULL;

    if (!create_opts_parse(opts, amend->options, error)) {
        return false;
    }
    options = create_opts_to_options(opts, "");
    progress_set(0); /* in case the driver does it in one go */
    if (!bs->drv->image->amend(bs, options, amend->force, error)) {
        return false;
    }
    progress_set(100);
    return true;
}

static int amend_image(BlockDriverState *bs, const Amend *amend,
                       const ImgArgs *args)
{
    GError *error = NULL;
    bool ok;

    if (create_opts_wants_help(amend->options)) {
        return help(bs->drv);
    }
    if (!check_driver(bs->drv)) {
        return EXIT_FAILURE;
    }
    progress_init(args->progress && !args->quiet, 1);
    ok = change(bs, amend, &error);
    progress_end();
    if (!ok) {
        error_report_err(error);
    }
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int open_and_amend(const ImgArgs *args, const char *filename,
                          const Amend *amend)
{
    g_autoptr(BlockDriverState) bs = NULL;
    unsigned flags;
    bool writethrough;

    if (!img_write_flags(args, &flags, &writethrough)) {
        return EXIT_FAILURE;
    }
    bs = img_open(args, filename, flags);
    return bs ? amend_image(bs, amend, args) : EXIT_FAILURE;
}

int img_amend(int argc, char **argv)
{
    ImgArgs args = IMG_ARGS_INIT;
    g_auto(Amend) amend = { 0 };
    int c;

    while ((c = img_getopt(argc, argv, letters, words, &args)) != -1) {
        switch (c) {
        case IMG_ARGS_STOP:
            return args.status;
        case 'o':
            if (!create_opts_append(&amend.options, optarg)) {
                return EXIT_FAILURE;
            }
            break;
        case OPT_FORCE:
            amend.force = true;
            break;
        }
    }
    if (!amend.options) {
        return img_bad_usage("Must specify options (-o)");
    }
    if (args.format && create_opts_wants_help(amend.options)) {
        return help_for_format(args.format);
    }
    if (optind != argc - 1) {
        error_report("Expecting one image file name");
        return EXIT_FAILURE;
    }
    return open_and_amend(&args, argv[optind], &amend);
}
