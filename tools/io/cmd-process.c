/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sleep, sigraise and abort: what happens to the process itself, for scripts
 * that watch an image survive it. */
#include "args.h"
#include "events.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static bool parse_ms(const char *text, int64_t *ms)
{
    char *end;

    errno = 0;
    *ms = strtoll(text, &end, 0);
    if (end == text || *end || errno || *ms < 0 ||
        *ms > INT64_MAX / 1000000) {
        printf("%s is not a valid number\n", text);
        return false;
    }
    return true;
}

/* What completes meanwhile is reported when it does. */
static void sleep_until(int64_t deadline_us)
{
    struct pollfd pfd = { .fd = events_fd(), .events = POLLIN };
    int64_t left_us;

    while ((left_us = deadline_us - g_get_monotonic_time()) > 0) {
        int64_t ms = MIN((left_us + 999) / 1000, 1000 * 1000);

        if (poll(&pfd, 1, ms) > 0) {
            events_run();
        }
    }
}

static bool run_sleep(Io *io, int argc, char **argv)
{
    int64_t ms;

    if (!parse_ms(argv[1], &ms)) {
        return false;
    }
    sleep_until(g_get_monotonic_time() + ms * 1000);
    return true;
}

static bool run_sigraise(Io *io, int argc, char **argv)
{
    int64_t number;

    if (!io_parse_size(argv[1], &number)) {
        return false;
    }
    if (number > NSIG) {
        printf("signal argument '%s' is too large to be a valid signal\n",
               argv[1]);
        return false;
    }
    fflush(stdout);
    raise(number);
    return true;
}

static bool run_abort(Io *io, int argc, char **argv)
{
    abort();
}

const IoCommand io_cmd_sleep = {
    .name = "sleep",
    .oneline = "waits for the given value in milliseconds",
    .min_args = 1,
    .max_args = 1,
    .flags = IO_NEEDS_NO_IMAGE,
    .run = run_sleep,
};

const IoCommand io_cmd_sigraise = {
    .name = "sigraise",
    .args = "signal",
    .oneline = "raises a signal",
    .help =
"\n"
" Sends a signal to vblk-io itself.\n"
"\n"
" Example:\n"
" 'sigraise 9' - ends without closing the image\n"
"\n",
    .min_args = 1,
    .max_args = 1,
    .flags = IO_NEEDS_NO_IMAGE,
    .run = run_sigraise,
};

const IoCommand io_cmd_abort = {
    .name = "abort",
    .oneline = "simulate a program crash using abort(3)",
    .flags = IO_NEEDS_NO_IMAGE,
    .run = run_abort,
};
