/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vblk-img create: checks what was asked for, says what is going to be made,
 * and has the format's driver make it.
 */
#include "args.h"
#include "create-opts.h"
#include "img.h"
#include "new-image.h"
#include "tools/common/message.h"

#include <stdio.h>
#include <stdlib.h>

static const char letters[] = ":F:b:f:ho:qu";
static const struct option words[] = {
    IMG_WORD_HELP,
    IMG_WORD_OBJECT,
    IMG_WORDS_END,
};

static int create(const NewImage *image)
{
    g_autofree char *advice = NULL;
    GError *error = NULL;

    if (new_image_create(image, &advice, &error)) {
        return EXIT_SUCCESS;
    }
    error_reportf_err(error, "%s: ", image->filename);
    if (advice) {
        fputs(advice, stderr);
    }
    return EXIT_FAILURE;
}

/* The words behind the options: a name and perhaps a size. */
static int take_words(int argc, char **argv, NewImage *image)
{
    if (optind >= argc) {
        return img_bad_usage("Expecting image file name");
    }
    image->filename = argv[optind++];
    if (optind < argc) {
        if (!img_parse_size("image size", argv[optind++], &image->bytes)) {
            return EXIT_FAILURE;
        }
        image->has_size = true;
    }
    if (optind < argc) {
        return img_bad_usage("Unexpected argument: %s", argv[optind]);
    }
    return create(image);
}

int img_create(int argc, char **argv)
{
    ImgArgs args = IMG_ARGS_INIT;
    NewImage image = { .format = "raw" };
    g_autofree char *list = NULL;
    int c;

    while ((c = img_getopt(argc, argv, letters, words, &args)) != -1) {
        switch (c) {
        case IMG_ARGS_STOP:
            return args.status;
        case 'F':
            image.backing_format = optarg;
            break;
        case 'b':
            image.backing_file = optarg;
            break;
        case 'u':
            image.trust_backing = true;
            break;
        case 'o':
            if (!create_opts_append(&list, optarg)) {
                return EXIT_FAILURE;
            }
            break;
        }
    }
    if (args.format) {
        image.format = args.format;
    }
    image.options = list;
    image.quiet = args.quiet;
    if (create_opts_wants_help(list)) {
        return new_image_help(argv[optind], image.format);
    }
    return take_words(argc, argv, &image);
}
