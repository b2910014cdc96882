/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Numbers, times and rates as qemu-io prints them: scripts cut them out with
 * regular expressions.
 */
#include "report.h"

#include <stdio.h>
#include <string.h>

char *io_bytes_to_str(double bytes)
{
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB",
                                         "PiB", "EiB" };
    g_autofree char *number = NULL;
    unsigned i = 0;
    char *zeroes;

    while (bytes >= 1024 && i + 1 < G_N_ELEMENTS(units)) {
        bytes /= 1024;
        i++;
    }
    number = g_strdup_printf(i == 0 ? "%f" : "%.3f", bytes);
    zeroes = strstr(number, ".000");
    if (zeroes) {
        *zeroes = '\0';
    }
    return g_strdup_printf("%s %s", number, units[i]);
}

/* "0:00:05.11", or "00.02 sec" when it was less than a second. */
static char *time_to_str(int64_t ns, bool fixed)
{
    int64_t seconds = ns / (1000 * 1000 * 1000);
    int hundredths = ns / (10 * 1000 * 1000) % 100;

    if (!fixed && seconds == 0) {
        return g_strdup_printf("00.%02d sec", hundredths);
    }
    return g_strdup_printf("%" G_GINT64_FORMAT ":%02d:%02d.%02d",
                           seconds / 3600, (int)(seconds / 60 % 60),
                           (int)(seconds % 60), hundredths);
}

void io_report(const IoReport *report)
{
    double seconds = report->elapsed_ns / 1e9;
    double rate = report->bytes / seconds;
    g_autofree char *elapsed = time_to_str(report->elapsed_ns,
                                           report->machine);
    g_autofree char *bytes = io_bytes_to_str(report->bytes);
    g_autofree char *speed = io_bytes_to_str(rate);

    if (report->machine) {
        printf("%" G_GINT64_FORMAT ",1,%s,%.3f,%.3f\n", report->bytes,
               elapsed, rate, 1 / seconds);
        return;
    }
    printf("%s %" G_GINT64_FORMAT "/%" G_GINT64_FORMAT " bytes at offset %"
           G_GINT64_FORMAT "\n", report->done, report->bytes, report->bytes,
           report->offset);
    printf("%s, 1 ops; %s (%s/sec and %.4f ops/sec)\n", bytes, elapsed,
           speed, 1 / seconds);
}
