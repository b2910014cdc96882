/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a finished request says of itself. Context: main */
#ifndef TOOLS_IO_REPORT_H
#define TOOLS_IO_REPORT_H

#include "io.h"

typedef struct IoReport {
    const char *done;   /* "read", "wrote", "discard" */
    int64_t offset;
    int64_t bytes;
    int64_t elapsed_ns;
    bool machine;       /* -C: numbers with commas between them */
} IoReport;

void io_report(const IoReport *report);

/* "1.500 MiB", "0.042510 bytes". Caller frees. */
char *io_bytes_to_str(double bytes);

#endif
