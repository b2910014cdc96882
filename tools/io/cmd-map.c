/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * map and alloc: what of the image lies in this layer, not in a backing file.
 *
 * A driver answers for as much as it knows at once, often a cluster table; the
 * answers are put together here until one differs.
 */
#include "args.h"
#include "image.h"
#include "report.h"
#include "request.h"

#include <stdio.h>

typedef struct Query {
    IoImage *image;
    int64_t offset;
    int64_t bytes;
    bool until_change; /* stop where it differs from the first answer */
    /* results */
    int ret;
    bool allocated;    /* of the first stretch */
    int64_t seen;      /* bytes that were asked about */
    int64_t found;     /* of these, how many are allocated */
} Query;

static bool take_answer(Query *query, const BlockStatus *status)
{
    bool allocated = status->flags & BLOCK_STATUS_ALLOCATED;

    if (query->seen == 0) {
        query->allocated = allocated;
    } else if (query->until_change && allocated != query->allocated) {
        return false;
    }
    query->seen += status->bytes;
    query->found += allocated ? status->bytes : 0;
    return true;
}

static void coroutine_fn query_co(void *opaque)
{
    Query *query = opaque;
    BlockStatus status;

    while (query->seen < query->bytes) {
        query->ret = bdrv_co_block_status(query->image->bs,
                                          query->offset + query->seen,
                                          query->bytes - query->seen,
                                          &status);
        if (query->ret < 0 || status.bytes == 0 ||
            !take_answer(query, &status)) {
            return;
        }
    }
}

static void show_stretch(const Query *query)
{
    g_autofree char *bytes = io_bytes_to_str(query->seen);
    g_autofree char *offset = io_bytes_to_str(query->offset);

    printf("%s (0x%" G_GINT64_MODIFIER "x) bytes %s allocated at offset %s "
           "(0x%" G_GINT64_MODIFIER "x)\n", bytes, query->seen,
           query->allocated ? "   " : "not", offset, query->offset);
}

static bool run_map(Io *io, int argc, char **argv)
{
    int64_t length = io_image_length(io->image);
    Query query = { .image = io->image };

    for (int64_t offset = 0; offset < length; offset += query.seen) {
        query = (Query){ .image = io->image, .offset = offset,
                         .bytes = length - offset, .until_change = true };
        io_run_co(query_co, &query);
        if (query.ret < 0) {
            printf("Failed to query allocation status: %s\n",
                   g_strerror(-query.ret));
            return false;
        }
        if (query.seen == 0) {
            printf("Unexpected end of image\n");
            return false;
        }
        show_stretch(&query);
    }
    return true;
}

static bool run_alloc(Io *io, int argc, char **argv)
{
    Query query = { .image = io->image, .bytes = 512 };
    g_autofree char *offset = NULL;

    if (!io_parse_size(argv[1], &query.offset) ||
        (argc == 3 && !io_parse_size(argv[2], &query.bytes))) {
        return false;
    }
    io_run_co(query_co, &query);
    if (query.ret < 0) {
        printf("is_allocated failed: %s\n", g_strerror(-query.ret));
        return false;
    }
    offset = io_bytes_to_str(query.offset);
    printf("%" G_GINT64_FORMAT "/%" G_GINT64_FORMAT " bytes allocated at "
           "offset %s\n", query.found, query.seen, offset);
    return true;
}

const IoCommand io_cmd_map = {
    .name = "map",
    .args = "",
    .oneline = "prints the allocated areas of a file",
    .run = run_map,
};

const IoCommand io_cmd_alloc = {
    .name = "alloc",
    .alias = "a",
    .args = "offset [count]",
    .oneline = "checks if offset is allocated in the file",
    .min_args = 1,
    .max_args = 2,
    .run = run_alloc,
};
