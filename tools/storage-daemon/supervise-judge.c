/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a server's end means: the part of --supervise that decides and does
 * nothing. Called by supervise.c.
 *
 * A signal is a crash. So is an exit before the server was ready, if one had
 * been ready before it: the kernel may keep the image of a process that it
 * killed open, and locked, for a moment. Any other exit was meant.
 */
#include "supervise.h"

#include "block/options.h"

#include <string.h>
#include <sys/wait.h>

/* A server that lived that long has not crashed for the reason that the one
 * before it had. */
#define LONG_LIFE_US (10 * G_USEC_PER_SEC)

#define FIRST_DELAY_MS 20
#define LAST_DELAY_MS  2000

bool supervise_parse(const char *text, unsigned *max_crashes, GError **error)
{
    g_autoptr(Options) opts = NULL;
    uint64_t value = SUPERVISE_MAX_CRASHES;

    opts = options_parse(*text ? text : "{}", "--supervise", NULL, error);
    if (!opts || !options_take_uint(opts, "max-crashes", G_MAXINT32, &value,
                                    error) || !options_finish(opts, error)) {
        return false;
    }
    *max_crashes = value;
    return true;
}

static bool is_crash(const SuperviseLife *life)
{
    if (life->stopping) {
        return false;
    }
    return WIFSIGNALED(life->status) ||
           (WEXITSTATUS(life->status) != 0 && !life->ready && !life->first);
}

bool supervise_again(const SuperviseLife *life, unsigned max_crashes,
                     SuperviseCount *count, int *delay_ms)
{
    if (!is_crash(life)) {
        return false;
    }
    if (life->ready && life->served_us >= LONG_LIFE_US) {
        *count = (SuperviseCount){ 0 };
    }
    count->crashes++;
    count->failures = life->ready ? 0 : count->failures + 1;
    *delay_ms = 0;
    if (count->failures) {
        *delay_ms = MIN(FIRST_DELAY_MS << MIN(count->failures - 1, 10),
                        LAST_DELAY_MS);
    }
    return !max_crashes || count->crashes <= max_crashes;
}

char *supervise_cause(int status)
{
    if (WIFSIGNALED(status)) {
        return g_strdup_printf("was killed by signal %d (%s)%s",
                               WTERMSIG(status), strsignal(WTERMSIG(status)),
                               WCOREDUMP(status) ? ", core dumped" : "");
    }
    return g_strdup_printf("ended with status %d", WEXITSTATUS(status));
}
