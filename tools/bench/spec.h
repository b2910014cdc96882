/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A SPEC: which servers are compared on which images by which jobs.
 *
 * An ini file. [compare] has words for all rows; [variables] names texts for
 * {name} in commands and paths; [image NAME], [server NAME] and [row NAME]
 * say what there is. A list "a;b" behind a word of a row makes a row of each.
 * docs/vblk-bench.rst has the whole.
 */
#ifndef TOOLS_BENCH_SPEC_H
#define TOOLS_BENCH_SPEC_H

#include "job.h"

typedef enum BenchImageKind {
    BENCH_IMAGE_NULL,      /* none: {image} is empty */
    BENCH_IMAGE_FILE,      /* made and fully written; kept */
    BENCH_IMAGE_TMPFS,     /* the same in memory; removed at the end */
    BENCH_IMAGE_ZRAM,      /* an unused /dev/zramN; reset at the end */
    BENCH_IMAGE_BLOCK,     /* a block device as it is */
    BENCH_IMAGE_GIVEN,     /* what somebody else has made, untouched */
} BenchImageKind;

typedef struct BenchSpecImage {
    char *name;
    int kind;              /* BenchImageKind */
    char *path;
    int64_t size;
    uint64_t count;        /* of files: path, path.1, path.2 ... */
    bool sparse;           /* a file: emptied before each run, not written */
    bool warm;             /* read into the page cache before each run */
    char *qcow2;           /* options of an image at path.qcow2; NULL: none */
    int64_t qcow2_size;    /* of its disk; 0: as the image */
    bool qcow2_fresh;      /* it is made anew before each run */
} BenchSpecImage;

typedef struct BenchSpecServer {
    char *name;
    char *command;         /* NULL: bare */
    char *export;          /* appended once for each export; may be NULL */
    char **against;        /* patterns: whose best it is compared with */
    char **images;         /* patterns of those it can serve; NULL: all */
    GHashTable *vars;      /* of its keys "var.NAME" */
    char **words;          /* of the job: key, value, key, value ... NULL */
} BenchSpecServer;

typedef struct BenchSpecRow {
    char *name;
    const BenchSpecImage *image;
    char **servers;        /* patterns; NULL: all */
    char **goals;
    GHashTable *vars;      /* stronger than the servers' */
    char **words;
    uint64_t exports;      /* sockets that are loaded at once */
    int64_t idle_ns;       /* the server is watched that long afterwards */
    char *server_cpus;     /* NULL: as the SPEC says */
} BenchSpecRow;

typedef struct BenchSpec {
    char *title;
    uint64_t rounds;
    char *server_cpus;
    char **words;          /* of the job, for all rows */
    char **goals;          /* of all rows */
    GHashTable *variables;
    GPtrArray *images, *servers, *rows; /* of the above; owned */
} BenchSpec;

/* @set: "NAME=VALUE" for [variables], or NULL. Context: main, like the rest. */
BenchSpec *bench_spec_load(const char *path, char **set, GError **error);
void bench_spec_free(BenchSpec *spec);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BenchSpec, bench_spec_free)

/* The job of @row on @server: words of compare, row and server, in order. */
BenchJob *bench_spec_job(const BenchSpec *spec, const BenchSpecRow *row,
                         const BenchSpecServer *server, GError **error);

/* @text with variables put in; {socket}, {image} and {n} stay. Caller
 * frees. */
char *bench_spec_expand(const BenchSpec *spec, const BenchSpecRow *row,
                        const BenchSpecServer *server, const char *text,
                        GError **error);

/* Whether @name matches one of the patterns with * and ?; NULL has all. */
bool bench_matches(char **patterns, const char *name);

#endif
