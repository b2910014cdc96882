/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vblk-img map: prints which parts of an image hold data and where that lies,
 * neighbours that are alike joined into one line.
 */
#include "args.h"
#include "img.h"
#include "block/control.h"
#include "block/graph.h"
#include "tools/common/message.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char letters[] = ":f:s:l:hU";
static const struct option words[] = {
    IMG_WORD_HELP,
    IMG_WORD_FORMAT,
    IMG_WORD_OUTPUT,
    IMG_WORD_OBJECT,
    IMG_WORD_IMAGE_OPTS,
    IMG_WORD_FORCE_SHARE,
    { "start-offset", required_argument, NULL, 's' },
    { "max-length", required_argument, NULL, 'l' },
    IMG_WORDS_END,
};

typedef struct MapEntry {
    int64_t start, bytes;
    unsigned depth;   /* layers above the one that knows */
    unsigned flags;   /* BLOCK_STATUS_ */
    int64_t map;
    const BlockDriverState *file;
} MapEntry;

typedef struct Map {
    BlockDriverState *bs;
    bool json;
    bool first;       /* nothing has been printed yet */
    int64_t start, end;
    MapEntry entry;   /* not printed yet: it may go on */
    int ret;
} Map;

/* --- one entry --- */

static void print_human(const MapEntry *entry)
{
    unsigned data = entry->flags & (BLOCK_STATUS_DATA | BLOCK_STATUS_ZERO);

    if (data == BLOCK_STATUS_DATA) {
        printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n",
               (uint64_t)entry->start, (uint64_t)entry->bytes,
               (uint64_t)entry->map, entry->file->filename);
    }
}

/* Data that is no part of a file as it is. */
static bool check_human(const MapEntry *entry)
{
    if ((entry->flags & BLOCK_STATUS_DATA) &&
        !(entry->flags & BLOCK_STATUS_OFFSET)) {
        error_report("File contains external, encrypted or compressed "
                     "clusters.");
        return false;
    }
    return true;
}

static const char *word(const MapEntry *entry, unsigned flag)
{
    return entry->flags & flag ? "true" : "false";
}

static void print_json(Map *map)
{
    const MapEntry *entry = &map->entry;

    printf("%s{ \"start\": %" PRId64 ", \"length\": %" PRId64 ", "
           "\"depth\": %u, \"present\": %s, \"zero\": %s, \"data\": %s",
           map->first ? "[" : ",\n", entry->start, entry->bytes, entry->depth,
           word(entry, BLOCK_STATUS_ALLOCATED), word(entry, BLOCK_STATUS_ZERO),
           word(entry, BLOCK_STATUS_DATA));
    if (entry->flags & BLOCK_STATUS_OFFSET) {
        printf(", \"offset\": %" PRId64, entry->map);
    }
    putchar('}');
    map->first = false;
}

static bool print_entry(Map *map)
{
    if (map->json) {
        print_json(map);
        return true;
    }
    if (!check_human(&map->entry)) {
        return false;
    }
    print_human(&map->entry);
    return true;
}

/* --- joining them --- */

static bool goes_on(const MapEntry *entry, const MapEntry *next)
{
    return entry->bytes > 0 && entry->flags == next->flags &&
           entry->depth == next->depth &&
           (!(entry->flags & BLOCK_STATUS_OFFSET) ||
            (entry->file == next->file &&
             entry->map + entry->bytes == next->map));
}

static bool add_entry(Map *map, const MapEntry *next)
{
    if (goes_on(&map->entry, next)) {
        map->entry.bytes += next->bytes;
        return true;
    }
    if (map->entry.bytes > 0 && !print_entry(map)) {
        return false;
    }
    map->entry = *next;
    return true;
}

/* The layer that knows what there is, from the top; the last one if none. */
static int coroutine_fn ask_layers(BlockDriverState *bs, MapEntry *entry)
{
    BlockStatus status;

    for (;;) {
        int ret = bdrv_co_block_status(bs, entry->start, entry->bytes,
                                       &status);

        if (ret < 0) {
            return ret;
        }
        entry->bytes = status.bytes;
        entry->flags = status.flags &
                       (BLOCK_STATUS_DATA | BLOCK_STATUS_ZERO |
                        BLOCK_STATUS_OFFSET | BLOCK_STATUS_ALLOCATED);
        entry->map = status.map;
        entry->file = status.file;
        if (entry->flags & (BLOCK_STATUS_DATA | BLOCK_STATUS_ZERO)) {
            return 0;
        }
        while (bs->drv->is_filter && bs->file) {
            bs = bs->file;
        }
        bs = bs->backing;
        if (!bs) {
            entry->flags = 0;
            return 0;
        }
        entry->depth++;
    }
}

static void coroutine_fn map_entry(void *opaque)
{
    Map *map = opaque;

    while (map->start < map->end) {
        MapEntry next = {
            .start = map->start,
            .bytes = map->end - map->start,
        };

        map->ret = ask_layers(map->bs, &next);
        if (map->ret < 0) {
            error_report("Failed to read image metadata: %s",
                         g_strerror(-map->ret));
            return;
        }
        map->start += next.bytes;
        if (!add_entry(map, &next)) {
            map->ret = -ENOTSUP;
            return;
        }
    }
}

static int show_map(Map *map)
{
    map->entry.start = map->start;
    if (!map->json) {
        printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to",
               "File");
    }
    bdrv_run_co(map->bs, map_entry, map);
    if (map->ret < 0 || !print_entry(map)) {
        return EXIT_FAILURE;
    }
    if (map->json) {
        puts("]");
    }
    return EXIT_SUCCESS;
}

static int open_and_map(const ImgArgs *args, const char *filename,
                        int64_t start, int64_t length)
{
    g_autoptr(BlockDriverState) bs = NULL;
    Map map = { .json = args->json, .first = true, .start = start };
    unsigned flags;

    if (!img_read_flags(args, &flags)) {
        return EXIT_FAILURE;
    }
    bs = img_open(args, filename, flags);
    if (!bs) {
        return EXIT_FAILURE;
    }
    map.bs = bs;
    map.end = length >= 0 && length < bs->total_bytes - start
                  ? start + length : bs->total_bytes;
    return show_map(&map);
}

int img_map(int argc, char **argv)
{
    ImgArgs args = IMG_ARGS_INIT;
    int64_t start = 0, length = -1;
    int c;

    while ((c = img_getopt(argc, argv, letters, words, &args)) != -1) {
        switch (c) {
        case IMG_ARGS_STOP:
            return args.status;
        case 's':
            if (!img_parse_size("start offset", optarg, &start)) {
                return EXIT_FAILURE;
            }
            break;
        case 'l':
            if (!img_parse_size("max length", optarg, &length)) {
                return EXIT_FAILURE;
            }
            break;
        }
    }
    if (optind != argc - 1) {
        return img_bad_usage("Expecting one image file name");
    }
    return open_and_map(&args, argv[optind], start, length);
}
