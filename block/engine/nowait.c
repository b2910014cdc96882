/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What was learned of regions of a file in which native I/O has to wait.
 * Used by linux-aio.c; made by the protocol driver, one for each context.
 *
 * How it works: a small table, found by the number of the region; a region
 * that comes to the same place takes it over. Each refusal doubles the number
 * of transfers that go to a worker untried, until a try succeeds:
 *
 *     tried refused   1 untried   tried refused   2 untried   tried ...
 */
#include "block/nowait.h"

#include <glib.h>

#include "linux-aio-detour.h"

#define REGION_BITS 20 /* 1 MiB: what a file system allocates in a piece */
#define REGIONS     256
#define SKIP_MAX    64

typedef struct NowaitRegion {
    int64_t number;   /* offset >> REGION_BITS; meaningful while penalty */
    uint8_t skip;     /* transfers that go to a worker untried */
    uint8_t penalty;  /* what skip was last; 0: nothing is known */
} NowaitRegion;

struct NowaitMap {
    LaioDetour *detour;
    bool no_writes;   /* RWF_NOWAIT is for reads only */
    unsigned known;   /* regions with a penalty */
    NowaitRegion regions[REGIONS];
};

NowaitMap *nowait_map_new(void)
{
    return g_new0(NowaitMap, 1);
}

void nowait_map_free(NowaitMap *map)
{
    if (map) {
        laio_detour_free(map->detour);
        g_free(map);
    }
}

LaioDetour **nowait_map_detour(NowaitMap *map)
{
    return &map->detour;
}

void nowait_map_refuse_writes(NowaitMap *map)
{
    map->no_writes = true;
}

bool nowait_map_refuses_writes(const NowaitMap *map)
{
    return map->no_writes;
}

/* Neighbours get places of their own; distant ones are mixed. */
static NowaitRegion *place_of(NowaitMap *map, int64_t offset)
{
    uint64_t number = (uint64_t)offset >> REGION_BITS;

    return &map->regions[(number ^ number / REGIONS) % REGIONS];
}

static NowaitRegion *find(NowaitMap *map, int64_t offset)
{
    NowaitRegion *region = place_of(map, offset);

    return region->penalty && region->number == offset >> REGION_BITS
               ? region : NULL;
}

bool nowait_map_expects_wait(NowaitMap *map, int64_t offset)
{
    NowaitRegion *region = map->known ? find(map, offset) : NULL;

    if (!region || region->skip == 0) {
        return false;
    }
    region->skip--;
    return true;
}

void nowait_map_learn(NowaitMap *map, int64_t offset)
{
    NowaitRegion *region = find(map, offset);

    if (!region) {
        region = place_of(map, offset);
        map->known += region->penalty == 0;
        region->number = offset >> REGION_BITS;
        region->penalty = 0;
    }
    region->penalty = region->penalty ? MIN(2 * region->penalty, SKIP_MAX) : 1;
    region->skip = region->penalty;
}

void nowait_map_forget(NowaitMap *map, int64_t offset)
{
    NowaitRegion *region = map->known ? find(map, offset) : NULL;

    if (region) {
        region->penalty = region->skip = 0;
        map->known--;
    }
}
