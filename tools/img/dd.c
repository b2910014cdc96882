/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vblk-img dd: copies blocks from an image to a new one, with dd's operands.
 *
 * bs says where blocks begin and end; requests are larger where blocks are
 * small, until one fails: then it is done block by block, so that the output
 * has all that could be read before.
 */
#include "args.h"
#include "disk.h"
#include "img.h"
#include "new-image.h"
#include "block/control.h"
#include "block/graph.h"
#include "tools/common/message.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DEFAULT_BLOCK_BYTES 512
#define REQUEST_BYTES (1 << 20)

static const char letters[] = ":hf:O:Ui:";
static const struct option words[] = {
    IMG_WORD_HELP,
    IMG_WORD_OBJECT,
    IMG_WORD_IMAGE_OPTS,
    IMG_WORD_FORCE_SHARE,
    IMG_WORDS_END,
};

typedef struct Dd {
    const char *input, *output, *out_format;
    int64_t block_bytes;
    int64_t count;      /* blocks; negative: all */
    int64_t skip;       /* blocks */

    int64_t start, end; /* of what is copied, in the input */
    ImgDisk *in, *out;
    uint8_t *buf;
    int64_t request_bytes;
    const char *failed; /* what could not be done, for an error message */
    int ret;
} Dd;

static void dd_clear(Dd *dd)
{
    img_disk_free(dd->out);
    img_disk_free(dd->in);
    img_buffer_free(dd->buf);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Dd, dd_clear)

/* --- copying --- */

static int coroutine_fn read_blocks(Dd *dd, int64_t offset, int64_t *bytes)
{
    int ret = blk_co_pread(dd->in->channel, offset, *bytes, dd->buf);

    if (ret < 0 && *bytes > dd->block_bytes) {
        dd->request_bytes = *bytes = dd->block_bytes;
        ret = blk_co_pread(dd->in->channel, offset, *bytes, dd->buf);
    }
    return ret;
}

static int coroutine_fn copy_blocks(Dd *dd)
{
    int64_t bytes;
    int ret = 0;

    for (int64_t offset = dd->start; offset < dd->end; offset += bytes) {
        bytes = MIN(dd->request_bytes, dd->end - offset);
        dd->failed = "error while reading from input image file";
        ret = read_blocks(dd, offset, &bytes);
        if (ret < 0) {
            return ret;
        }
        dd->failed = "error while writing to output image file";
        ret = blk_co_pwrite(dd->out->channel, offset - dd->start, bytes,
                            dd->buf, 0);
        if (ret < 0) {
            return ret;
        }
    }
    dd->failed = "error while flushing output image file";
    return blk_co_flush(dd->out->channel);
}

static void coroutine_fn dd_entry(void *opaque)
{
    Dd *dd = opaque;

    dd->ret = copy_blocks(dd);
}

static int copy(Dd *dd)
{
    dd->request_bytes = MAX(REQUEST_BYTES / dd->block_bytes, 1) *
                        dd->block_bytes;
    dd->buf = img_buffer_new(MIN(dd->request_bytes,
                                 MAX(dd->end - dd->start, 0)));
    if (!dd->buf) {
        error_report("Out of memory");
        return EXIT_FAILURE;
    }
    control_run_co(dd_entry, dd);
    if (dd->ret < 0) {
        error_report("%s: %s", dd->failed, g_strerror(-dd->ret));
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

/* --- input and output --- */

/* Blocks that are skipped are among those that are counted, as qemu-img has
 * it. Returns whether there are as many. */
static bool find_range(Dd *dd)
{
    int64_t bs = dd->block_bytes;

    dd->end = img_disk_length(dd->in);
    if (dd->count >= 0 && dd->count <= dd->end / bs) {
        dd->end = dd->count * bs;
    }
    if (dd->skip > dd->end / bs) {
        dd->start = dd->end;
        return false;
    }
    dd->start = dd->skip * bs;
    return true;
}

/* It would be empty before it is read. */
static bool check_not_same(const Dd *dd, const ImgArgs *args)
{
    struct stat in, out;

    if (args->image_opts || stat(dd->input, &in) < 0 ||
        stat(dd->output, &out) < 0 || in.st_dev != out.st_dev ||
        in.st_ino != out.st_ino) {
        return true;
    }
    error_report("'%s' and '%s' are the same file", dd->input, dd->output);
    return false;
}

static bool find_format(const Dd *dd)
{
    if (!bdrv_find_driver(dd->out_format)) {
        error_report("Unknown file format");
        return false;
    }
    return true;
}

static bool make_output(const Dd *dd, const ImgArgs *args)
{
    NewImage image = {
        .filename = dd->output,
        .format = dd->out_format,
        .bytes = dd->end - dd->start,
    };
    g_autoptr(CreateOpts) opts = NULL;
    GError *error = NULL;

    opts = new_image_options(&image, &error);
    if (!opts) {
        error_report_err(error);
        return false;
    }
    if (!check_not_same(dd, args)) {
        return false;
    }
    if (!new_image_make(&image, opts, &error)) {
        error_reportf_err(error, "%s: error while creating output image: ",
                          dd->output);
        return false;
    }
    return true;
}

static bool open_input(Dd *dd, const ImgArgs *args)
{
    unsigned flags;

    if (!img_read_flags(args, &flags)) {
        return false;
    }
    dd->in = img_disk_new(img_open(args, dd->input, flags), dd->input, false);
    return dd->in;
}

static bool open_output(Dd *dd, const ImgArgs *args)
{
    ImgArgs out = IMG_ARGS_INIT;

    out.format = dd->out_format;
    dd->out = img_disk_new(img_open(&out, dd->output, args->aio), dd->output,
                           false);
    return dd->out;
}

static int open_and_copy(Dd *dd, const ImgArgs *args)
{
    bool enough;

    if (!open_input(dd, args) || !find_format(dd)) {
        return EXIT_FAILURE;
    }
    enough = find_range(dd);
    if (!make_output(dd, args) || !open_output(dd, args)) {
        return EXIT_FAILURE;
    }
    if (!enough) { /* an empty output is as good, as with dd(1) */
        error_report("%s: cannot skip to specified offset", dd->input);
    }
    return copy(dd);
}

/* --- the command line --- */

static bool take_operand(Dd *dd, const char *name, const char *value)
{
    if (strcmp(name, "if") == 0) {
        dd->input = value;
        return true;
    }
    if (strcmp(name, "of") == 0) {
        dd->output = value;
        return true;
    }
    if (strcmp(name, "bs") == 0) {
        return img_parse_range(name, value, 1, INT_MAX, &dd->block_bytes);
    }
    if (strcmp(name, "count") == 0) {
        return img_parse_size(name, value, &dd->count);
    }
    if (strcmp(name, "skip") == 0) {
        return img_parse_size(name, value, &dd->skip);
    }
    error_report("unrecognized operand %s", name);
    return false;
}

static bool take_word(Dd *dd, const char *word)
{
    const char *equals = strchr(word, '=');
    g_autofree char *name = NULL;

    if (!equals) {
        error_report("unrecognized operand %s", word);
        return false;
    }
    name = g_strndup(word, equals - word);
    return take_operand(dd, name, equals + 1);
}

int img_dd(int argc, char **argv)
{
    ImgArgs args = IMG_ARGS_INIT;
    g_auto(Dd) dd = {
        .out_format = "raw",
        .block_bytes = DEFAULT_BLOCK_BYTES,
        .count = -1,
    };
    int c;

    while ((c = img_getopt(argc, argv, letters, words, &args)) != -1) {
        if (c == IMG_ARGS_STOP) {
            return args.status;
        }
        dd.out_format = optarg; /* the only option of its own */
    }
    for (int i = optind; i < argc; i++) {
        if (!take_word(&dd, argv[i])) {
            return EXIT_FAILURE;
        }
    }
    if (!dd.input || !dd.output) {
        error_report("Must specify both input and output files");
        return EXIT_FAILURE;
    }
    return open_and_copy(&dd, &args);
}
