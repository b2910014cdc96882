/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One line on stderr that is overwritten while a run goes on.
 */
#include "report.h"

typedef struct Shown {
    int64_t at_ns;
    uint64_t completed[2];
    bool visible;
} Shown;

static Shown shown;

static char *rate(const BenchProgress *p, unsigned direction)
{
    double seconds = (p->now_ns - shown.at_ns) / 1e9;
    uint64_t n = p->completed[direction] - shown.completed[direction];

    return bench_human_count(seconds > 0 ? n / seconds : 0);
}

void bench_progress_show(const BenchProgress *p, void *opaque)
{
    const char *prefix = opaque ? opaque : "";
    g_autofree char *read = NULL;
    g_autofree char *write = NULL;

    if (p->now_ns < shown.at_ns) { /* another run */
        shown = (Shown) { .visible = shown.visible };
    }
    read = rate(p, 0);
    write = rate(p, 1);
    fprintf(stderr, "\r%s[%s %.1f", prefix, p->phase, p->now_ns / 1e9);
    if (p->end_ns) {
        fprintf(stderr, "/%.1f", p->end_ns / 1e9);
    }
    fprintf(stderr, " s] r=%s w=%s IOPS\033[K", read, write);
    fflush(stderr);
    shown = (Shown) { p->now_ns, { p->completed[0], p->completed[1] }, true };
}

void bench_progress_end(void)
{
    if (shown.visible) {
        fprintf(stderr, "\r\033[K");
        shown.visible = false;
    }
}
