/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vblk-img check: has the format's driver look for contradictions in an
 * image, and repair them if asked to; what was repaired is looked at again.
 *
 * Exits with 0: nothing wrong (any more), 1: the check could not be made,
 * 2: corruptions, 3: leaked clusters only, 63: the format has no check.
 */
#include "args.h"
#include "img.h"
#include "output.h"
#include "block/control.h"
#include "block/graph.h"
#include "tools/common/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STATUS_CORRUPT = 2,
    STATUS_LEAKS = 3,
    STATUS_NOT_SUPPORTED = 63,
};

static const char letters[] = ":hf:r:T:qU";
static const struct option words[] = {
    IMG_WORD_HELP,
    IMG_WORD_FORMAT,
    { "repair", required_argument, NULL, 'r' },
    IMG_WORD_OUTPUT,
    IMG_WORD_OBJECT,
    IMG_WORD_IMAGE_OPTS,
    IMG_WORD_FORCE_SHARE,
    IMG_WORDS_END,
};

/* --- human --- */

static void print_problems(const BlockCheck *check)
{
    if (!check->corruptions && !check->leaks && !check->check_errors) {
        printf("No errors were found on the image.\n");
        return;
    }
    if (check->corruptions) {
        printf("\n%" G_GINT64_FORMAT " errors were found on the image.\n"
               "Data may be corrupted, or further writes to the image may "
               "corrupt it.\n", check->corruptions);
    }
    if (check->leaks) {
        printf("\n%" G_GINT64_FORMAT " leaked clusters were found on the "
               "image.\n"
               "This means waste of disk space, but no harm to data.\n",
               check->leaks);
    }
    if (check->check_errors) {
        printf("\n%" G_GINT64_FORMAT " internal errors have occurred during "
               "the check.\n", check->check_errors);
    }
}

static void print_result(const BlockCheck *check)
{
    print_problems(check);
    if (check->total_clusters != 0 && check->allocated_clusters != 0) {
        printf("%" G_GINT64_FORMAT "/%" G_GINT64_FORMAT " = %0.2f%% "
               "allocated, %0.2f%% fragmented, %0.2f%% compressed clusters\n",
               check->allocated_clusters, check->total_clusters,
               check->allocated_clusters * 100.0 / check->total_clusters,
               check->fragmented_clusters * 100.0 / check->allocated_clusters,
               check->compressed_clusters * 100.0 /
                   check->allocated_clusters);
    }
    if (check->image_end_offset > 0) {
        printf("Image end offset: %" G_GINT64_FORMAT "\n",
               check->image_end_offset);
    }
}

static void print_repaired(const BlockCheck *check)
{
    printf("The following inconsistencies were found and repaired:\n\n"
           "    %" G_GINT64_FORMAT " leaked clusters\n"
           "    %" G_GINT64_FORMAT " corruptions\n\n"
           "Double checking the fixed image now...\n",
           check->leaks_fixed, check->corruptions_fixed);
}

/* --- JSON --- */

static void add(JsonObject *object, const char *name, int64_t value)
{
    if (value != 0) {
        json_object_set_int_member(object, name, value);
    }
}

static void print_json(const BlockDriverState *bs, const char *filename,
                       const BlockCheck *check)
{
    JsonObject *object = json_object_new();

    json_object_set_string_member(object, "filename", filename);
    json_object_set_string_member(object, "format", bs->drv->name);
    json_object_set_int_member(object, "check-errors", check->check_errors);
    add(object, "image-end-offset", check->image_end_offset);
    add(object, "corruptions", check->corruptions);
    add(object, "leaks", check->leaks);
    add(object, "corruptions-fixed", check->corruptions_fixed);
    add(object, "leaks-fixed", check->leaks_fixed);
    add(object, "total-clusters", check->total_clusters);
    add(object, "allocated-clusters", check->allocated_clusters);
    add(object, "fragmented-clusters", check->fragmented_clusters);
    add(object, "compressed-clusters", check->compressed_clusters);
    img_print_json_object(object);
}

/* --- the check --- */

typedef struct CheckCall {
    BlockDriverState *bs;
    BlockCheck *check;
    bool ok;
    GError *error;
} CheckCall;

static void coroutine_fn check_entry(void *opaque)
{
    CheckCall *call = opaque;

    call->ok = call->bs->drv->image->co_check(call->bs, call->check,
                                              &call->error);
}

/* The control thread's; main waits for it. */
static void report_line(void *opaque, const char *line)
{
    fprintf(stderr, "%s\n", line);
}

/* Reports when the check could not be made. */
static bool run_check(BlockDriverState *bs, unsigned fix, BlockCheck *check)
{
    CheckCall call = { .bs = bs, .check = check };

    *check = (BlockCheck){ .fix = fix, .report = report_line };
    bdrv_run_co(bs, check_entry, &call);
    if (!call.ok) {
        error_reportf_err(call.error, "Check failed: ");
    }
    return call.ok;
}

static bool check_again(BlockDriverState *bs, BlockCheck *check)
{
    int64_t leaks_fixed = check->leaks_fixed;
    int64_t corruptions_fixed = check->corruptions_fixed;
    bool ok = run_check(bs, 0, check);

    check->leaks_fixed = leaks_fixed;
    check->corruptions_fixed = corruptions_fixed;
    return ok;
}

static int exit_status(const BlockCheck *check)
{
    if (check->check_errors) {
        error_report("Check failed");
        return EXIT_FAILURE;
    }
    if (check->corruptions) {
        return STATUS_CORRUPT;
    }
    return check->leaks ? STATUS_LEAKS : EXIT_SUCCESS;
}

static int check(const ImgArgs *args, BlockDriverState *bs,
                 const char *filename, unsigned fix)
{
    BlockCheck result;

    if (!run_check(bs, fix, &result)) {
        return EXIT_FAILURE;
    }
    if (result.leaks_fixed || result.corruptions_fixed) {
        if (!args->json && !args->quiet) {
            print_repaired(&result);
        }
        if (!check_again(bs, &result)) {
            return EXIT_FAILURE;
        }
    }
    if (args->json && !args->quiet) {
        print_json(bs, filename, &result);
    } else if (!args->quiet) {
        print_result(&result);
    }
    return exit_status(&result);
}

static int open_and_check(const ImgArgs *args, const char *filename,
                          unsigned fix)
{
    g_autoptr(BlockDriverState) bs = NULL;
    unsigned flags;

    if (!img_read_flags(args, &flags)) {
        return EXIT_FAILURE;
    }
    flags |= BDRV_OPEN_CHECK;
    bs = img_open(args, filename,
                  fix ? flags & ~BDRV_OPEN_READ_ONLY : flags);
    if (!bs) {
        return EXIT_FAILURE;
    }
    if (!bs->drv->image || !bs->drv->image->co_check) {
        error_report("This image format does not support checks");
        return STATUS_NOT_SUPPORTED;
    }
    return check(args, bs, filename, fix);
}

/* 0: no word of -r's. */
static unsigned fix_of(const char *word)
{
    if (strcmp(word, "leaks") == 0) {
        return BLOCK_CHECK_FIX_LEAKS;
    }
    return strcmp(word, "all") == 0
               ? BLOCK_CHECK_FIX_LEAKS | BLOCK_CHECK_FIX_ERRORS : 0;
}

int img_check(int argc, char **argv)
{
    ImgArgs args = IMG_ARGS_INIT;
    unsigned fix = 0;
    int c;

    while ((c = img_getopt(argc, argv, letters, words, &args)) != -1) {
        if (c == IMG_ARGS_STOP) {
            return args.status;
        }
        fix = fix_of(optarg); /* -r is all that is left */
        if (!fix) {
            return img_bad_usage("Unknown option value for -r (expecting "
                                 "'leaks' or 'all'): %s", optarg);
        }
    }
    if (optind != argc - 1) {
        return img_bad_usage("Expecting one image file name");
    }
    return open_and_check(&args, argv[optind], fix);
}
