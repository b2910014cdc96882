/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shows how far a job is, in the form that scripts read from qemu-img. */
#include "progress.h"

#include <signal.h>
#include <stdio.h>

static struct {
    bool shown;
    double step;
    double last;    /* shown last; negative: nothing yet */
} progress;

/* Set by the handler, cleared by the job. */
static volatile sig_atomic_t asked;

static void ask(int signal_number)
{
    asked = 1;
}

void progress_init(bool shown, double percent)
{
    struct sigaction action = { .sa_handler = ask, .sa_flags = SA_RESTART };

    progress.shown = shown;
    progress.step = percent;
    progress.last = -1;
    asked = 0;
    if (!shown) {
        sigaction(SIGUSR1, &action, NULL);
    }
}

static bool is_due(double percent)
{
    return progress.last < 0 || percent >= 100 ||
           percent > progress.last + progress.step;
}

void progress_set(double percent)
{
    if (progress.shown && is_due(percent)) {
        progress.last = percent;
        printf("    (%3.2f/100%%)\r", percent);
        fflush(stdout);
    }
    if (asked) {
        asked = 0;
        fprintf(stderr, "    (%3.2f/100%%)\n", percent);
    }
}

void progress_end(void)
{
    if (progress.shown) {
        printf("\n");
    }
}
