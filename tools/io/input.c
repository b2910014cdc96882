/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads commands from standard input. Not with stdio: what it has buffered
 * poll() does not know of, and requests complete while we wait.
 */
#include "input.h"

#include <errno.h>
#include <glib.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "events.h"

/* Test suites wait for this prompt, whatever the program is called. */
#define PROMPT "qemu-io> "
#define LINE_MAX_BYTES 1023

static char buffered[LINE_MAX_BYTES];
static size_t bytes;
static bool at_end;

/* The first line of what is buffered, if that is a whole one. */
static char *take_line(void)
{
    char *newline = memchr(buffered, '\n', bytes);
    size_t used = newline ? (size_t)(newline + 1 - buffered) : bytes;
    char *line;

    if (!newline && bytes < sizeof(buffered) && !(at_end && bytes > 0)) {
        return NULL;
    }
    line = g_strndup(buffered, newline ? used - 1 : used);
    bytes -= used;
    memmove(buffered, buffered + used, bytes);
    return line;
}

static void read_more(void)
{
    ssize_t ret = read(STDIN_FILENO, buffered + bytes,
                       sizeof(buffered) - bytes);

    if (ret > 0) {
        bytes += ret;
    } else if (ret == 0 || (errno != EINTR && errno != EAGAIN)) {
        at_end = true;
    }
}

static void wait_for_more(void)
{
    struct pollfd pfds[] = {
        { .fd = STDIN_FILENO, .events = POLLIN },
        { .fd = events_fd(), .events = POLLIN },
    };

    if (poll(pfds, G_N_ELEMENTS(pfds), -1) < 0) {
        return;
    }
    if (pfds[1].revents) {
        events_run();
        fflush(stdout);
    }
    if (pfds[0].revents) {
        read_more();
    }
}

char *input_line(void)
{
    char *line;

    fputs(PROMPT, stdout);
    fflush(stdout);
    events_run();
    while (!(line = take_line())) {
        if (at_end) {
            return NULL;
        }
        wait_for_more();
    }
    return line;
}
