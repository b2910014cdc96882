/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the commands of vblk-io share: the state they work on and the form in
 * which the table in command.c lists them.
 */
#ifndef TOOLS_IO_IO_H
#define TOOLS_IO_IO_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct IoImage IoImage; /* image.h */

/* As of the image that is open. Main thread. */
typedef struct Io {
    IoImage *image;     /* NULL: none is open */
    bool misalign;      /* -m: buffers lie 16 bytes beside a boundary */
    bool image_opts;    /* --image-opts: names are options */
    bool quit;          /* no further command is wanted */
    unsigned in_flight; /* aio_* requests that nobody has reported yet */
} Io;

/* The longest request, and the most pieces of one, that a command takes. */
#define IO_MAX_BYTES INT64_C(2147483136)
#define IO_MAX_IOV   1024

#define IO_NEEDS_NO_IMAGE 0x1
#define IO_NEEDS_WRITABLE 0x2

typedef struct IoCommand {
    const char *name;
    const char *alias;    /* or NULL */
    const char *args;     /* as they are shown, or NULL */
    const char *oneline;
    const char *help;     /* what "help NAME" says beyond that, or NULL */
    int min_args;
    int max_args;         /* -1: no limit */
    unsigned flags;
    /* argv[0] is the name as it was typed; getopt() is reset. Returns whether
     * all went well; what did not has been said. Context: main */
    bool (*run)(Io *io, int argc, char **argv);
} IoCommand;

/* By the files that implement them. */
extern const IoCommand io_cmd_abort;
extern const IoCommand io_cmd_aio_flush;
extern const IoCommand io_cmd_aio_read;
extern const IoCommand io_cmd_aio_write;
extern const IoCommand io_cmd_alloc;
extern const IoCommand io_cmd_break;
extern const IoCommand io_cmd_close;
extern const IoCommand io_cmd_discard;
extern const IoCommand io_cmd_flush;
extern const IoCommand io_cmd_info;
extern const IoCommand io_cmd_length;
extern const IoCommand io_cmd_map;
extern const IoCommand io_cmd_open;
extern const IoCommand io_cmd_read;
extern const IoCommand io_cmd_readv;
extern const IoCommand io_cmd_remove_break;
extern const IoCommand io_cmd_reopen;
extern const IoCommand io_cmd_resume;
extern const IoCommand io_cmd_sigraise;
extern const IoCommand io_cmd_sleep;
extern const IoCommand io_cmd_truncate;
extern const IoCommand io_cmd_wait_break;
extern const IoCommand io_cmd_write;
extern const IoCommand io_cmd_writev;

#endif
