/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vblk-img bitmap: adds, removes, clears, switches and merges the persistent
 * bitmaps of an image, as many actions in one call as were asked for and in
 * that order.
 */
#include "args.h"
#include "img.h"
#include "block/control.h"
#include "block/graph.h"
#include "tools/common/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MIN_GRANULARITY 512

enum {
    OPT_ADD = IMG_OPT_OWN,
    OPT_REMOVE,
    OPT_CLEAR,
    OPT_ENABLE,
    OPT_DISABLE,
    OPT_MERGE,
};

static const char letters[] = ":b:f:F:g:h";
static const struct option words[] = {
    IMG_WORD_HELP,
    IMG_WORD_OBJECT,
    IMG_WORD_IMAGE_OPTS,
    { "add", no_argument, NULL, OPT_ADD },
    { "clear", no_argument, NULL, OPT_CLEAR },
    { "disable", no_argument, NULL, OPT_DISABLE },
    { "enable", no_argument, NULL, OPT_ENABLE },
    { "granularity", required_argument, NULL, 'g' },
    { "merge", required_argument, NULL, OPT_MERGE },
    { "remove", no_argument, NULL, OPT_REMOVE },
    { "source-file", required_argument, NULL, 'b' },
    { "source-format", required_argument, NULL, 'F' },
    IMG_WORDS_END,
};

typedef struct BitmapAction {
    int what;           /* OPT_ */
    const char *source; /* of a merge: the other bitmap */
} BitmapAction;

typedef struct Bitmap {
    GArray *actions;
    const char *filename, *name;
    const char *source_file, *source_format; /* of merges, or NULL */
    int64_t granularity;
    bool has_granularity, adds, merges;
} Bitmap;

static void bitmap_clear(Bitmap *bitmap)
{
    g_array_unref(bitmap->actions);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Bitmap, bitmap_clear)

/* What an action needs. */
typedef struct BitmapCall {
    const Bitmap *bitmap;
    const BitmapAction *action;
    BlockDriverState *bs;
    BlockDriverState *source_bs; /* borrowed; @bs itself without -b */
    bool ok;
    GError *error;
} BitmapCall;

static bool coroutine_fn act(BitmapCall *call)
{
    const BlockImageOps *ops = call->bs->drv->image;
    const char *name = call->bitmap->name;

    switch (call->action->what) {
    case OPT_ADD:
        return ops->co_bitmap_add(call->bs, name, call->bitmap->granularity,
                                  &call->error);
    case OPT_REMOVE:
        return ops->co_bitmap_remove(call->bs, name, &call->error);
    case OPT_CLEAR:
        return ops->co_bitmap_clear(call->bs, name, &call->error);
    case OPT_ENABLE:
        return ops->co_bitmap_enable(call->bs, name, true, &call->error);
    case OPT_DISABLE:
        return ops->co_bitmap_enable(call->bs, name, false, &call->error);
    default:
        return ops->co_bitmap_merge(call->bs, name, call->source_bs,
                                    call->action->source, &call->error);
    }
}

static void coroutine_fn act_entry(void *opaque)
{
    BitmapCall *call = opaque;

    call->ok = act(call);
}

/* --- the source of a merge is attached for as long as it takes --- */

static void coroutine_fn attach_entry(void *opaque)
{
    bdrv_attach_context(opaque, control_context());
}

static void coroutine_fn detach_entry(void *opaque)
{
    bdrv_detach_context(opaque, control_context());
}

static const char *action_name(int what)
{
    for (unsigned i = 0; words[i].name; i++) {
        if (words[i].val == what) {
            return words[i].name;
        }
    }
    return "";
}

static bool has_bitmap(BlockDriverState *bs, const char *name)
{
    const BlockImageOps *ops = bs->drv->image;
    g_autoptr(GPtrArray) list = NULL;

    list = ops && ops->bitmap_list ? ops->bitmap_list(bs) : NULL;
    for (unsigned i = 0; list && i < list->len; i++) {
        const BlockBitmapInfo *info = list->pdata[i];

        if (strcmp(info->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool need_bitmap(BlockDriverState *bs, const char *name,
                        GError **error)
{
    if (!has_bitmap(bs, name)) {
        return error_setg(error, "Dirty bitmap '%s' not found", name);
    }
    return true;
}

static bool check_source(const BitmapCall *call, GError **error)
{
    if (!need_bitmap(call->source_bs, call->action->source, error)) {
        return false;
    }
    if (call->source_bs->total_bytes != call->bs->total_bytes) {
        return error_setg(error, "Bitmaps are of different sizes (destination "
                          "size is %" G_GINT64_FORMAT ", source size is "
                          "%" G_GINT64_FORMAT ") and can't be merged",
                          call->bs->total_bytes, call->source_bs->total_bytes);
    }
    return true;
}

static bool check_add(const BitmapCall *call, GError **error)
{
    const BlockImageOps *ops = call->bs->drv->image;
    const char *name = call->bitmap->name;
    uint32_t granularity = call->bitmap->granularity;

    if (*name == '\0') {
        return error_setg(error, "Bitmap name cannot be empty");
    }
    if (call->bitmap->granularity != 0 &&
        (granularity < MIN_GRANULARITY || granularity & (granularity - 1))) {
        return error_setg(error, "Granularity must be power of 2 and at "
                          "least %d", MIN_GRANULARITY);
    }
    if (has_bitmap(call->bs, name)) {
        return error_setg(error, "Bitmap already exists: %s", name);
    }
    if (!ops || !ops->co_bitmap_add) {
        return error_setg(error, "Can't store persistent bitmaps to %s: %s",
                          call->bs->node_name, g_strerror(ENOTSUP));
    }
    return true;
}

/* Before the driver is asked, so that all of them say the same. */
static bool check_action(const BitmapCall *call, GError **error)
{
    const char *name = call->bitmap->name;

    if (call->action->what == OPT_ADD) {
        return check_add(call, error);
    }
    return need_bitmap(call->bs, name, error) &&
           (call->action->what != OPT_MERGE || check_source(call, error));
}

static bool run_action(BitmapCall *call)
{
    call->error = NULL;
    call->ok = check_action(call, &call->error);
    if (call->ok) {
        bdrv_run_co(call->bs, act_entry, call);
    }
    if (!call->ok) {
        error_reportf_err(call->error, "Operation %s on bitmap %s failed: ",
                          action_name(call->action->what),
                          call->bitmap->name);
    }
    return call->ok;
}

static bool run_actions(BitmapCall *call)
{
    const GArray *actions = call->bitmap->actions;

    for (unsigned i = 0; i < actions->len; i++) {
        call->action = &g_array_index(actions, BitmapAction, i);
        if (!run_action(call)) {
            return false;
        }
    }
    return true;
}

/* NULL: reported. */
static BlockDriverState *open_source(const Bitmap *bitmap)
{
    ImgArgs args = IMG_ARGS_INIT;

    args.format = bitmap->source_format;
    return img_open(&args, bitmap->source_file,
                    BDRV_OPEN_READ_ONLY | BDRV_OPEN_NO_IO);
}

static int run_with_source(BitmapCall *call)
{
    g_autoptr(BlockDriverState) source = open_source(call->bitmap);
    bool ok;

    if (!source) {
        return EXIT_FAILURE;
    }
    call->source_bs = source;
    control_run_co(attach_entry, source);
    ok = run_actions(call);
    control_run_co(detach_entry, source);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int open_and_run(const Bitmap *bitmap, const ImgArgs *args)
{
    g_autoptr(BlockDriverState) bs = img_open(args, bitmap->filename, 0);
    BitmapCall call = { .bitmap = bitmap, .bs = bs, .source_bs = bs };

    if (!bs) {
        return EXIT_FAILURE;
    }
    if (bitmap->source_file) {
        return run_with_source(&call);
    }
    return run_actions(&call) ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* --- the command line --- */

static bool check_combination(const Bitmap *bitmap)
{
    if (bitmap->actions->len == 0) {
        error_report("Need at least one of --add, --remove, --clear, "
                     "--enable, --disable, or --merge");
        return false;
    }
    if (bitmap->has_granularity && !bitmap->adds) {
        error_report("granularity only supported with --add");
        return false;
    }
    if (bitmap->source_format && !bitmap->source_file) {
        error_report("-F only supported with -b");
        return false;
    }
    if (bitmap->source_file && !bitmap->merges) {
        error_report("Merge bitmap source file only supported with --merge");
        return false;
    }
    return true;
}

/* 0 is the driver's default. */
static bool parse_granularity(Bitmap *bitmap)
{
    bitmap->has_granularity = true;
    return img_parse_range("granularity", optarg, 0, INT64_MAX,
                           &bitmap->granularity);
}

static bool take(Bitmap *bitmap, int c)
{
    BitmapAction action = { .what = c, .source = optarg };

    switch (c) {
    case 'b':
        bitmap->source_file = optarg;
        return true;
    case 'F':
        bitmap->source_format = optarg;
        return true;
    case 'g':
        return parse_granularity(bitmap);
    case OPT_ADD:
        bitmap->adds = true;
        break;
    case OPT_MERGE:
        bitmap->merges = true;
        break;
    }
    g_array_append_val(bitmap->actions, action);
    return true;
}

int img_bitmap(int argc, char **argv)
{
    ImgArgs args = IMG_ARGS_INIT;
    g_auto(Bitmap) bitmap = {
        .actions = g_array_new(FALSE, FALSE, sizeof(BitmapAction)),
    };
    int c;

    while ((c = img_getopt(argc, argv, letters, words, &args)) != -1) {
        if (c == IMG_ARGS_STOP) {
            return args.status;
        }
        if (!take(&bitmap, c)) {
            return EXIT_FAILURE;
        }
    }
    if (!check_combination(&bitmap)) {
        return EXIT_FAILURE;
    }
    if (optind != argc - 2) {
        error_report("Expecting filename and bitmap name");
        return EXIT_FAILURE;
    }
    bitmap.filename = argv[optind];
    bitmap.name = argv[optind + 1];
    return open_and_run(&bitmap, &args);
}
