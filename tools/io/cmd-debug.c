/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * break, remove_break, wait_break and resume: requests that stop where a
 * blkdebug node below the image is told to stop them, so that a test can say
 * in which order things happen.
 */
#include "events.h"
#include "image.h"
#include "request.h"

#include <stdio.h>

#include "block/debug.h"

static bool run_break(Io *io, int argc, char **argv)
{
    int ret = bdrv_debug_breakpoint(io->image->bs, argv[1], argv[2]);

    if (ret < 0) {
        printf("Could not set breakpoint: %s\n", g_strerror(-ret));
        return false;
    }
    g_ptr_array_add(io->image->tags, g_strdup(argv[2]));
    return true;
}

static bool run_remove_break(Io *io, int argc, char **argv)
{
    int ret = bdrv_debug_remove_breakpoint(io->image->bs, argv[1]);

    io_request_settle();
    if (ret < 0) {
        printf("Could not remove breakpoint %s: %s\n", argv[1],
               g_strerror(-ret));
        return false;
    }
    return true;
}

static bool run_resume(Io *io, int argc, char **argv)
{
    int ret = bdrv_debug_resume(io->image->bs, argv[1]);

    if (ret < 0) {
        printf("Could not resume request: %s\n", g_strerror(-ret));
        return false;
    }
    io_request_settle();
    return true;
}

static bool run_wait_break(Io *io, int argc, char **argv)
{
    bdrv_debug_wait_suspended(io->image->bs, argv[1]);
    events_run();
    return true;
}

const IoCommand io_cmd_break = {
    .name = "break",
    .args = "event tag",
    .oneline = "sets a breakpoint on event and tags the stopped request as "
               "tag",
    .min_args = 2,
    .max_args = 2,
    .run = run_break,
};

const IoCommand io_cmd_remove_break = {
    .name = "remove_break",
    .args = "tag",
    .oneline = "remove a breakpoint by tag",
    .min_args = 1,
    .max_args = 1,
    .run = run_remove_break,
};

const IoCommand io_cmd_resume = {
    .name = "resume",
    .args = "tag",
    .oneline = "resumes the request tagged as tag",
    .min_args = 1,
    .max_args = 1,
    .run = run_resume,
};

const IoCommand io_cmd_wait_break = {
    .name = "wait_break",
    .args = "tag",
    .oneline = "waits for the suspension of a request",
    .min_args = 1,
    .max_args = 1,
    .run = run_wait_break,
};
