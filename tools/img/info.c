/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vblk-img info: describes an image, or with --backing-chain the image and
 * all that it is based on, each opened by itself.
 */
#include "args.h"
#include "image-info-print.h"
#include "img.h"
#include "output.h"
#include "block/graph.h"
#include "tools/common/message.h"

#include <stdio.h>
#include <stdlib.h>

enum { OPT_BACKING_CHAIN = IMG_OPT_OWN };

static const char letters[] = ":hf:U";
static const struct option words[] = {
    IMG_WORD_HELP,
    IMG_WORD_FORMAT,
    IMG_WORD_OUTPUT,
    { "backing-chain", no_argument, NULL, OPT_BACKING_CHAIN },
    IMG_WORD_OBJECT,
    IMG_WORD_IMAGE_OPTS,
    IMG_WORD_FORCE_SHARE,
    IMG_WORDS_END,
};

static ImageInfo *read_info(const ImgArgs *args, const char *filename)
{
    unsigned flags = BDRV_OPEN_READ_ONLY | BDRV_OPEN_NO_BACKING |
                     BDRV_OPEN_NO_IO |
                     (args->force_share ? BDRV_OPEN_SHARE : 0);
    g_autoptr(BlockDriverState) bs = img_open(args, filename, flags);
    GError *error = NULL;
    ImageInfo *info;

    if (!bs) {
        return NULL;
    }
    info = image_info_new(bs, &error);
    if (!info) {
        error_report_err(error);
    }
    return info;
}

static bool is_new(const char *filename, GHashTable *seen)
{
    if (g_hash_table_add(seen, g_strdup(filename))) {
        return true;
    }
    error_report("Backing file '%s' creates an infinite loop.", filename);
    return false;
}

/* The name of the next one; NULL when there is none. */
static const char *next_name(const ImageInfo *info)
{
    return info->backing_path ? info->backing_path : info->backing_file;
}

/* Appends to @infos. @args is changed to suit the image read last. */
static bool read_chain(ImgArgs *args, const char *filename, GPtrArray *infos)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal,
                                                       g_free, NULL);

    while (filename) {
        ImageInfo *info;

        if (!is_new(filename, seen)) {
            return false;
        }
        info = read_info(args, filename);
        if (!info) {
            return false;
        }
        g_ptr_array_add(infos, info);
        filename = next_name(info);
        args->format = info->backing_format;
        args->image_opts = false;
    }
    return true;
}

static void print_list_json(const GPtrArray *infos)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_ARRAY);
    JsonArray *array = json_array_new();

    for (unsigned i = 0; i < infos->len; i++) {
        json_array_add_element(array, image_info_to_json(infos->pdata[i]));
    }
    json_node_take_array(node, array);
    img_print_json(node);
}

static void print_list(const GPtrArray *infos)
{
    for (unsigned i = 0; i < infos->len; i++) {
        if (i > 0) {
            printf("\n");
        }
        image_info_print(infos->pdata[i]);
    }
}

static int show_chain(ImgArgs *args, const char *filename)
{
    g_autoptr(GPtrArray) infos =
        g_ptr_array_new_with_free_func((GDestroyNotify)image_info_free);

    if (!read_chain(args, filename, infos)) {
        return EXIT_FAILURE;
    }
    if (args->json) {
        print_list_json(infos);
    } else {
        print_list(infos);
    }
    return EXIT_SUCCESS;
}

static int show_one(const ImgArgs *args, const char *filename)
{
    g_autoptr(ImageInfo) info = read_info(args, filename);
    g_autoptr(JsonNode) node = NULL;

    if (!info) {
        return EXIT_FAILURE;
    }
    if (!args->json) {
        image_info_print(info);
        return EXIT_SUCCESS;
    }
    node = image_info_to_json(info);
    img_print_json(node);
    return EXIT_SUCCESS;
}

int img_info(int argc, char **argv)
{
    ImgArgs args = IMG_ARGS_INIT;
    bool chain = false;
    int c;

    while ((c = img_getopt(argc, argv, letters, words, &args)) != -1) {
        if (c == IMG_ARGS_STOP) {
            return args.status;
        }
        chain = true; /* the only option of its own */
    }
    if (optind != argc - 1) {
        return img_bad_usage("Expecting one image file name");
    }
    return chain ? show_chain(&args, argv[optind])
                 : show_one(&args, argv[optind]);
}
