/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Command lines of vblk-bench: words of a job, and words about the run.
 */
#ifndef TOOLS_BENCH_CMDLINE_H
#define TOOLS_BENCH_CMDLINE_H

#include "run.h"

typedef struct BenchCmdline {
    bool help, version;
    BenchJob *job;
    /* the target */
    char *socket, *server, *server_cpus, *filename;
    uint64_t pid;
    /* the run */
    BenchOptions options;
    bool json;
    int eta;                   /* BenchFeature: the progress line */
    char *output;              /* file for the report; NULL: stdout */
} BenchCmdline;

/*
 * Reads "--key=value", "--key value" and "--flag"; - and _ are the same in a
 * key. @positional gets what starts without a dash; NULL: nothing may.
 * Caller frees. Context: main, all of these.
 */
Options *bench_cmdline_read(int argc, char **argv, GPtrArray *positional,
                            GError **error);

/* Of a single run. */
bool bench_cmdline_parse(BenchCmdline *cmdline, int argc, char **argv,
                         GError **error);
void bench_cmdline_clear(BenchCmdline *cmdline);

/* For main.c: the text of --help. */
extern const char bench_help[];

#endif
