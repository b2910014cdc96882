/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vblk-img compare: says whether two images show the same, and where the first
 * difference is.
 *
 * How it works: both are walked in stretches over which either has one status.
 * What is zero on both sides is not read, what is zero on one is looked for
 * data on the other. The status is asked for once per stretch, not for every
 * buffer.
 */
#include "args.h"
#include "disk.h"
#include "img.h"
#include "sparse.h"
#include "block/control.h"
#include "tools/common/message.h"
#include "tools/common/progress.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BUFFER_BYTES (2 << 20)
#define NO_RESULT (-1)

/* What the program exits with. */
enum {
    EXIT_SAME = 0,
    EXIT_DIFFERENT = 1,
    EXIT_CANNOT_OPEN = 2,
    EXIT_CANNOT_TELL = 3, /* the status of a part */
    EXIT_CANNOT_READ = 4,
};

static const char letters[] = ":hf:F:T:pqsUi:";
static const struct option words[] = {
    IMG_WORD_HELP,
    IMG_WORD_OBJECT,
    IMG_WORD_IMAGE_OPTS,
    IMG_WORD_FORCE_SHARE,
    IMG_WORDS_END,
};

typedef struct Side {
    ImgDisk *disk;
    uint8_t *buf;
    unsigned flags;  /* BLOCK_STATUS_ of the stretch */
    int64_t end;     /* of the stretch */
} Side;

typedef struct Compare {
    Side sides[2];
    bool strict, quiet;
    int64_t shorter, longer; /* bytes of the images */
    int result;
} Compare;

static void compare_clear(Compare *compare)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(compare->sides); i++) {
        img_disk_free(compare->sides[i].disk);
        img_buffer_free(compare->sides[i].buf);
    }
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Compare, compare_clear)

static void say(const Compare *compare, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);

static void say(const Compare *compare, const char *fmt, ...)
{
    va_list ap;

    if (compare->quiet) {
        return;
    }
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
}

/* --- one stretch or buffer --- */

static int coroutine_fn find_status(Side *side, int64_t offset)
{
    BlockDriverState *bs = side->disk->bs;
    BlockStatus status;
    unsigned depth;
    int ret;

    if (side->end > offset) {
        return NO_RESULT;
    }
    ret = bdrv_co_block_status_above(bs, NULL, offset,
                                     bs->total_bytes - offset, &status,
                                     &depth);
    if (ret < 0) {
        error_report("Sector allocation test failed for %s",
                     side->disk->name);
        return EXIT_CANNOT_TELL;
    }
    side->flags = status.flags;
    side->end = offset + status.bytes;
    return NO_RESULT;
}

static int coroutine_fn read_side(Side *side, int64_t offset, int64_t bytes)
{
    int ret = blk_co_pread(side->disk->channel, offset, bytes, side->buf);

    if (ret < 0) {
        error_report("Error while reading offset %" PRId64 " of %s: %s",
                     offset, side->disk->name, g_strerror(-ret));
        return EXIT_CANNOT_READ;
    }
    return NO_RESULT;
}

static int report_mismatch(const Compare *compare, int64_t offset)
{
    say(compare, "Content mismatch at offset %" PRId64 "!\n", offset);
    return EXIT_DIFFERENT;
}

static int coroutine_fn expect_zeroes(Compare *compare, Side *side,
                                      int64_t offset, int64_t bytes)
{
    int result = read_side(side, offset, bytes);
    int64_t data;

    if (result != NO_RESULT) {
        return result;
    }
    data = sparse_find_data(side->buf, bytes);
    return data >= 0 ? report_mismatch(compare, offset + data) : NO_RESULT;
}

static int coroutine_fn expect_same(Compare *compare, int64_t offset,
                                    int64_t bytes)
{
    Side *sides = compare->sides;
    int result = read_side(&sides[0], offset, bytes);
    int64_t n;
    bool same;

    if (result == NO_RESULT) {
        result = read_side(&sides[1], offset, bytes);
    }
    if (result != NO_RESULT) {
        return result;
    }
    n = sparse_compare(sides[0].buf, sides[1].buf, bytes, &same);
    if (same && n == bytes) {
        return NO_RESULT;
    }
    return report_mismatch(compare, same ? offset + n : offset);
}

static bool is_zero(const Side *side)
{
    return side->flags & BLOCK_STATUS_ZERO;
}

/* -s: the same parts must be allocated, zero and data. Nor may one image be
 * alike up to its end where the other is not. */
static int check_flags(const Compare *compare, int64_t offset)
{
    unsigned mask = BLOCK_STATUS_DATA | BLOCK_STATUS_ZERO |
                    BLOCK_STATUS_ALLOCATED | BLOCK_STATUS_EOF;

    if (!compare->strict || !((compare->sides[0].flags ^
                               compare->sides[1].flags) & mask)) {
        return NO_RESULT;
    }
    say(compare, "Strict mode: Offset %" PRId64 " block status mismatch!\n",
        offset);
    return EXIT_DIFFERENT;
}

static int coroutine_fn compare_contents(Compare *compare, int64_t offset,
                                         int64_t *bytes)
{
    Side *sides = compare->sides;

    if (is_zero(&sides[0]) && is_zero(&sides[1])) {
        return NO_RESULT;
    }
    *bytes = MIN(*bytes, BUFFER_BYTES);
    if (is_zero(&sides[0])) {
        return expect_zeroes(compare, &sides[1], offset, *bytes);
    }
    if (is_zero(&sides[1])) {
        return expect_zeroes(compare, &sides[0], offset, *bytes);
    }
    return expect_same(compare, offset, *bytes);
}

/* --- all of it --- */

static int coroutine_fn compare_at(Compare *compare, int64_t offset,
                                   int64_t *bytes)
{
    Side *sides = compare->sides;
    int result = find_status(&sides[0], offset);

    if (result == NO_RESULT) {
        result = find_status(&sides[1], offset);
    }
    if (result == NO_RESULT) {
        result = check_flags(compare, offset);
    }
    if (result != NO_RESULT) {
        return result;
    }
    *bytes = MIN(sides[0].end, sides[1].end) - offset;
    return compare_contents(compare, offset, bytes);
}

static int coroutine_fn compare_common(Compare *compare)
{
    int64_t bytes;

    for (int64_t offset = 0; offset < compare->shorter; offset += bytes) {
        int result = compare_at(compare, offset, &bytes);

        if (result != NO_RESULT) {
            return result;
        }
        progress_set(100.0 * (offset + bytes) / compare->longer);
    }
    return NO_RESULT;
}

/* What only the longer image has is zero in images that are the same. */
static int coroutine_fn check_rest(Compare *compare, Side *side)
{
    int64_t bytes;

    say(compare, "Warning: Image size mismatch!\n");
    for (int64_t offset = compare->shorter; offset < compare->longer;
         offset += bytes) {
        int result = find_status(side, offset);

        if (result != NO_RESULT) {
            return result;
        }
        bytes = side->end - offset;
        if (!is_zero(side)) {
            bytes = MIN(bytes, BUFFER_BYTES);
            result = expect_zeroes(compare, side, offset, bytes);
        }
        if (result != NO_RESULT) {
            return result;
        }
        progress_set(100.0 * (offset + bytes) / compare->longer);
    }
    return NO_RESULT;
}

static int coroutine_fn compare_all(Compare *compare)
{
    int64_t lengths[] = {
        img_disk_length(compare->sides[0].disk),
        img_disk_length(compare->sides[1].disk),
    };
    int result;

    progress_set(0);
    if (compare->strict && lengths[0] != lengths[1]) {
        say(compare, "Strict mode: Image size mismatch!\n");
        return EXIT_DIFFERENT;
    }
    compare->shorter = MIN(lengths[0], lengths[1]);
    compare->longer = MAX(lengths[0], lengths[1]);
    result = compare_common(compare);
    if (result == NO_RESULT && lengths[0] != lengths[1]) {
        result = check_rest(compare,
                            &compare->sides[lengths[0] < lengths[1]]);
    }
    if (result != NO_RESULT) {
        return result;
    }
    say(compare, "Images are identical.\n");
    return EXIT_SAME;
}

static void coroutine_fn compare_entry(void *opaque)
{
    Compare *compare = opaque;

    compare->result = compare_all(compare);
}

/* --- the command line --- */

static bool open_side(Side *side, const ImgArgs *args, const char *filename)
{
    unsigned flags;

    if (!img_read_flags(args, &flags)) {
        return false;
    }
    side->disk = img_disk_new(img_open(args, filename, flags), filename,
                              false);
    side->buf = img_buffer_new(BUFFER_BYTES);
    if (side->disk && !side->buf) {
        error_report("Out of memory");
    }
    return side->disk && side->buf;
}

static int compare_images(Compare *compare, const ImgArgs args[2],
                          char *const filenames[2])
{
    for (unsigned i = 0; i < 2; i++) {
        if (!open_side(&compare->sides[i], &args[i], filenames[i])) {
            return EXIT_CANNOT_OPEN;
        }
    }
    control_run_co(compare_entry, compare);
    return compare->result;
}

int img_compare(int argc, char **argv)
{
    ImgArgs args[2] = { IMG_ARGS_INIT, IMG_ARGS_INIT };
    const char *second_format = NULL;
    g_auto(Compare) compare = { 0 };
    int c, result;

    args[0].object_error = EXIT_CANNOT_OPEN;
    while ((c = img_getopt(argc, argv, letters, words, &args[0])) != -1) {
        switch (c) {
        case IMG_ARGS_STOP:
            return args[0].status;
        case 'F':
            second_format = optarg;
            break;
        case 's':
            compare.strict = true;
            break;
        }
    }
    if (optind != argc - 2) {
        return img_bad_usage("Expecting two image file names");
    }
    args[1] = args[0];
    args[1].format = second_format;
    compare.quiet = args[0].quiet;
    progress_init(args[0].progress && !args[0].quiet, 2);
    result = compare_images(&compare, args, argv + optind);
    progress_end();
    return result;
}
