/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The set of clusters with tables.
 *
 * How it works: where files mostly end, one bit a cluster. Pages of bits are
 * made where there are tables. Far away, where only the largest files and
 * hostile images have anything, each table of one cluster sets BITS_EACH bits
 * of one array, at places that random multipliers tell (a Bloom filter): all
 * three are set for one cluster in a hundred that is no table, or fewer, and
 * no image can know which. Tables of more clusters are kept as ranges.
 */
#include "qcow2-overlap-map.h"

#include <glib.h>
#include <string.h>
#include <sys/random.h>

#define PAGE_BITS      12 /* clusters that a page is for: 512 bytes */
#define PAGE_CLUSTERS  (1 << PAGE_BITS)
#define PAGE_WORDS     (PAGE_CLUSTERS / 64)

#define BITS_EACH      3
#define ROOM_EACH      16       /* bits of the array for a table */
#define MIN_ARRAY_BITS 16       /* log2: 8 KiB */
#define MAX_ARRAY_BITS 27       /* 16 MiB */

typedef struct FarRange {
    uint64_t first, last;
    uint64_t reach; /* the last cluster of this one and those before it */
} FarRange;

struct Qcow2OverlapMap {
    uint64_t **pages;  /* NULL: no table there */
    uint64_t near;     /* clusters they are for */

    uint64_t *array;   /* NULL: until there is something far away */
    unsigned array_bits; /* log2 */
    uint64_t multipliers[BITS_EACH];
    uint64_t far;      /* tables in it */

    GArray *ranges;    /* of FarRange, by first unless unsorted */
    bool unsorted;
};

/* The kernel's, as a sandbox allows: GLib's generator would begin with a file
 * or with getppid(). An old kernel without gets what no image knows either. */
static void make_multipliers(Qcow2OverlapMap *map)
{
    uint64_t random[BITS_EACH] = {
        (uintptr_t)map, g_get_monotonic_time(), g_get_real_time(),
    };
    uint64_t fresh[BITS_EACH];

    if (getrandom(fresh, sizeof(fresh), 0) == sizeof(fresh)) {
        memcpy(random, fresh, sizeof(random));
    }
    for (unsigned i = 0; i < BITS_EACH; i++) {
        map->multipliers[i] = random[i] * UINT64_C(0x9e3779b97f4a7c15) | 1;
    }
}

Qcow2OverlapMap *qcow2_overlap_map_new(uint64_t near, uint64_t far)
{
    Qcow2OverlapMap *map = g_new0(Qcow2OverlapMap, 1);
    uint64_t pages = (near + PAGE_CLUSTERS - 1) >> PAGE_BITS;

    g_assert(near <= QCOW2_OVERLAP_MAP_MAX_NEAR);
    map->near = pages << PAGE_BITS;
    map->pages = g_new0(uint64_t *, pages);
    map->array_bits = MIN_ARRAY_BITS;
    while (map->array_bits < MAX_ARRAY_BITS &&
           far > (1ULL << map->array_bits) / ROOM_EACH) {
        map->array_bits++;
    }
    make_multipliers(map);
    map->ranges = g_array_new(FALSE, FALSE, sizeof(FarRange));
    return map;
}

void qcow2_overlap_map_free(Qcow2OverlapMap *map)
{
    for (uint64_t i = 0; i < map->near >> PAGE_BITS; i++) {
        g_free(map->pages[i]);
    }
    g_free(map->pages);
    g_free(map->array);
    g_array_unref(map->ranges);
    g_free(map);
}

uint64_t qcow2_overlap_map_near(const Qcow2OverlapMap *map)
{
    return map->near;
}

bool qcow2_overlap_map_is_full(const Qcow2OverlapMap *map)
{
    return map->far > (1ULL << map->array_bits) / ROOM_EACH &&
           map->array_bits < MAX_ARRAY_BITS;
}

/* --- near --- */

/* Of a page, bits from @first to @last. */
static void set_in_page(uint64_t *page, unsigned first, unsigned last)
{
    for (unsigned word = first / 64; word <= last / 64; word++) {
        uint64_t mask = UINT64_MAX;

        if (word == first / 64) {
            mask &= UINT64_MAX << (first % 64);
        }
        if (word == last / 64) {
            mask &= UINT64_MAX >> (63 - last % 64);
        }
        page[word] |= mask;
    }
}

static void add_near(Qcow2OverlapMap *map, uint64_t first, uint64_t last)
{
    while (first <= last) {
        uint64_t **page = &map->pages[first >> PAGE_BITS];
        uint64_t end = MIN(first | (PAGE_CLUSTERS - 1), last);

        if (!*page) {
            *page = g_new0(uint64_t, PAGE_WORDS);
        }
        set_in_page(*page, first % PAGE_CLUSTERS, end % PAGE_CLUSTERS);
        first = end + 1;
    }
}

static bool get_near(const Qcow2OverlapMap *map, uint64_t cluster)
{
    const uint64_t *page = map->pages[cluster >> PAGE_BITS];
    unsigned bit = cluster % PAGE_CLUSTERS;

    return page && (page[bit / 64] >> (bit % 64) & 1);
}

void qcow2_overlap_map_clear(Qcow2OverlapMap *map, uint64_t cluster)
{
    unsigned bit = cluster % PAGE_CLUSTERS;

    if (cluster < map->near && map->pages[cluster >> PAGE_BITS]) {
        map->pages[cluster >> PAGE_BITS][bit / 64] &= ~(1ULL << (bit % 64));
    }
}

/* --- far --- */

static uint64_t place(const Qcow2OverlapMap *map, uint64_t cluster,
                      unsigned i)
{
    return cluster * map->multipliers[i] >> (64 - map->array_bits);
}

static void add_to_array(Qcow2OverlapMap *map, uint64_t cluster)
{
    if (!map->array) {
        map->array = g_new0(uint64_t, (1ULL << map->array_bits) / 64);
    }
    for (unsigned i = 0; i < BITS_EACH; i++) {
        uint64_t bit = place(map, cluster, i);

        map->array[bit / 64] |= 1ULL << (bit % 64);
    }
    map->far++;
}

static bool is_in_array(const Qcow2OverlapMap *map, uint64_t cluster)
{
    for (unsigned i = 0; map->array && i < BITS_EACH; i++) {
        uint64_t bit = place(map, cluster, i);

        if (!(map->array[bit / 64] >> (bit % 64) & 1)) {
            return false;
        }
    }
    return map->array;
}

static int compare_ranges(const void *a, const void *b)
{
    const FarRange *x = a, *y = b;

    return x->first < y->first ? -1 : x->first > y->first;
}

static void sort_ranges(Qcow2OverlapMap *map)
{
    uint64_t reach = 0;

    g_array_sort(map->ranges, compare_ranges);
    for (unsigned i = 0; i < map->ranges->len; i++) {
        FarRange *range = &g_array_index(map->ranges, FarRange, i);

        reach = MAX(reach, range->last);
        range->reach = reach;
    }
    map->unsorted = false;
}

static bool is_in_range(Qcow2OverlapMap *map, uint64_t cluster)
{
    unsigned low = 0, high = map->ranges->len;

    if (map->unsorted) {
        sort_ranges(map);
    }
    while (low < high) {
        unsigned middle = low + (high - low) / 2;

        if (g_array_index(map->ranges, FarRange, middle).first <= cluster) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low > 0 &&
           g_array_index(map->ranges, FarRange, low - 1).reach >= cluster;
}

/* --- both --- */

void qcow2_overlap_map_add(Qcow2OverlapMap *map, uint64_t first,
                           uint64_t last)
{
    if (first < map->near) {
        add_near(map, first, MIN(last, map->near - 1));
        first = map->near;
    }
    if (first == last) {
        add_to_array(map, first);
    } else if (first < last) {
        FarRange range = { .first = first, .last = last };

        g_array_append_val(map->ranges, range);
        map->unsorted = true;
    }
}

bool qcow2_overlap_map_get(Qcow2OverlapMap *map, uint64_t cluster)
{
    if (G_LIKELY(cluster < map->near)) {
        return get_near(map, cluster);
    }
    return is_in_array(map, cluster) || is_in_range(map, cluster);
}
