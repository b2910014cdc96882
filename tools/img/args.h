/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The options that several subcommands have, read in one place. A subcommand
 * lists the letters and words that it takes; those it shares with others are
 * dealt with here, the others it gets.
 *
 *     ImgArgs args = IMG_ARGS_INIT;
 *     while ((c = img_getopt(argc, argv, ":hf:qs", options, &args)) != -1) {
 *         if (c == IMG_ARGS_STOP) {
 *             return args.status;
 *         }
 *         strict = true; ("-s" is all that is left)
 *     }
 */
#ifndef TOOLS_IMG_ARGS_H
#define TOOLS_IMG_ARGS_H

#include "tools/common/open.h"

#include <getopt.h>

/* Values of words that have no letter. */
enum {
    IMG_OPT_OBJECT = 256,
    IMG_OPT_IMAGE_OPTS,
    IMG_OPT_OUTPUT,
    IMG_OPT_OWN, /* a subcommand's own begin here */
};

/* Elements of a subcommand's table; every table ends with IMG_WORDS_END. */
#define IMG_WORD_HELP        { "help", no_argument, NULL, 'h' }
#define IMG_WORD_FORMAT      { "format", required_argument, NULL, 'f' }
#define IMG_WORD_OBJECT      { "object", required_argument, NULL, \
                               IMG_OPT_OBJECT }
#define IMG_WORD_IMAGE_OPTS  { "image-opts", no_argument, NULL, \
                               IMG_OPT_IMAGE_OPTS }
#define IMG_WORD_OUTPUT      { "output", required_argument, NULL, \
                               IMG_OPT_OUTPUT }
#define IMG_WORD_FORCE_SHARE { "force-share", no_argument, NULL, 'U' }
#define IMG_WORDS_END        { NULL, 0, NULL, 0 }

#define IMG_ARGS_STOP (-2)

typedef struct ImgArgs {
    const char *format;    /* -f */
    const char *cache;     /* -t, or what it was set to before */
    const char *src_cache; /* -T, likewise */
    bool image_opts;
    bool quiet;            /* -q */
    bool progress;         /* -p */
    bool force_share;      /* -U */
    bool json;             /* --output=json */
    unsigned aio;          /* -i: BDRV_OPEN_ flags */
    int object_error;      /* to exit with at a bad --object; 0: as usual */
    int status;            /* to exit with at IMG_ARGS_STOP */
} ImgArgs;

#define IMG_ARGS_INIT { .cache = "writeback", .src_cache = "writeback" }

/*
 * The next option that is not one of ImgArgs; -1 when there is no more, with
 * optind as getopt_long() leaves it; IMG_ARGS_STOP when the subcommand is to
 * end: an error has been reported, or the help shown. Context: main
 */
int img_getopt(int argc, char **argv, const char *letters,
               const struct option *words, ImgArgs *args);

/* Reports that the command line makes no sense and how to get help. Returns
 * EXIT_FAILURE. Context: main */
int img_bad_usage(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* What an image is opened with that is to be read only, or written to, -i
 * included. Both report what is wrong. Context: main */
bool img_read_flags(const ImgArgs *args, unsigned *flags);
bool img_write_flags(const ImgArgs *args, unsigned *flags,
                     bool *writethrough);

/* Opens an image of the command line; reports why it cannot. */
BlockDriverState *img_open(const ImgArgs *args, const char *filename,
                           unsigned flags);

/* A number of bytes, called @name in errors, which are reported. Context:
 * main */
bool img_parse_size(const char *name, const char *text, int64_t *value);

/* Between @min and @max, which may be INT64_MAX. */
bool img_parse_range(const char *name, const char *text, int64_t min,
                     int64_t max, int64_t *value);

#endif
