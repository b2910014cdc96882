/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * L2 tables in a check: what they refer to, and what cannot be.
 *
 * An entry that leads nowhere is mended so that it reads as zeroes, where
 * nobody could have read anything before. What is not an L2 table at all,
 * qcow2-check-walk.c does not let come here then.
 */
#include "qcow2-check.h"

#include <errno.h>
#include <inttypes.h>

#define SUBCLUSTERS_ALLOCATED 0xffffffffULL

typedef struct L2Entry {
    uint64_t entry;
    uint64_t bitmap; /* 0 without subclusters */
    unsigned index;
} L2Entry;

typedef struct L2Check {
    Qcow2Check *check;
    Qcow2TableUse *use;
    void *table;
    bool fix;             /* what is broken */
    bool dirty;
    uint64_t next_data;   /* where the next cluster is if not fragmented */
} L2Check;

static const Qcow2State *state(const L2Check *c)
{
    return c->check->bs->opaque;
}

/* --- mending --- */

static void set_entry(L2Check *c, L2Entry e)
{
    const Qcow2State *s = state(c);

    qcow2_set_l2_entry(s, c->table, e.index, e.entry);
    if (qcow2_has_subclusters(s)) {
        qcow2_set_l2_bitmap(s, c->table, e.index, e.bitmap);
    }
    c->dirty = true;
}

/* Version 2 knows no zero clusters: the backing file shows instead. */
static void set_zero(L2Check *c, L2Entry e)
{
    const Qcow2State *s = state(c);

    e.bitmap = ~SUBCLUSTERS_ALLOCATED;
    e.entry = s->version >= 3 && !qcow2_has_subclusters(s) ? QCOW2_ZERO : 0;
    set_entry(c, e);
}

/* --- compressed clusters --- */

static int check_compressed_range(L2Check *c, L2Entry e)
{
    Qcow2Check *check = c->check;
    uint64_t host;
    unsigned bytes;

    qcow2_parse_compressed(state(c), e.entry, &host, &bytes);
    if (c->fix && qcow2_check_beyond(check, host, bytes)) {
        qcow2_check_broken(check, true, "", "compressed cluster %u: it is "
                           "behind the end of the file, entry=0x%" PRIx64,
                           e.index, e.entry);
        set_zero(c, e);
        return 0;
    }
    if (c->use->active) {
        /* they do not lie in clusters of their own, which is fragmented */
        check->out->allocated_clusters++;
        check->out->compressed_clusters++;
        check->out->fragmented_clusters++;
    }
    return qcow2_check_use(check, host, bytes, c->use->times);
}

static int check_compressed(L2Check *c, L2Entry e)
{
    const Qcow2State *s = state(c);
    uint64_t offset_mask = (UINT64_C(1) << (70 - s->cluster_bits)) - 1;

    if (qcow2_has_data_file(s)) {
        if (qcow2_check_broken(c->check, c->fix, "ERROR ", "compressed "
                               "cluster %u with data file, entry=0x%" PRIx64,
                               e.index, e.entry)) {
            set_zero(c, e);
        }
        return 0;
    }
    if ((e.entry & QCOW2_COPIED) &&
        qcow2_check_broken(c->check, c->fix, "ERROR: ", "coffset=0x%" PRIx64
                           ": copied flag must never be set for compressed "
                           "clusters", e.entry & offset_mask)) {
        set_entry(c, (L2Entry){ e.entry & ~QCOW2_COPIED, e.bitmap, e.index });
    }
    e.entry &= ~QCOW2_COPIED;
    if (e.bitmap) {
        if (!qcow2_check_broken(c->check, c->fix, "ERROR ", "compressed "
                                "cluster %u with non-zero subcluster "
                                "allocation bitmap, entry=0x%" PRIx64,
                                e.index, e.entry)) {
            return 0;
        }
        e.bitmap = 0;
        set_entry(c, e);
    }
    return check_compressed_range(c, e);
}

/* --- standard clusters --- */

static void count_shape(L2Check *c, uint64_t host)
{
    BlockCheck *out = c->check->out;

    if (!c->use->active) {
        return;
    }
    out->allocated_clusters++;
    if (c->next_data && host != c->next_data) {
        out->fragmented_clusters++;
    }
    c->next_data = host + state(c)->cluster_size;
}

/* Subclusters cannot be both there and zero: they are there. */
static void check_bitmap(L2Check *c, L2Entry *e, uint64_t host)
{
    if (((e->bitmap >> 32) & e->bitmap) &&
        qcow2_check_broken(c->check, c->fix, "ERROR ", "offset=%" PRIx64
                           ": Allocated cluster has corrupted subcluster "
                           "allocation bitmap", host)) {
        e->bitmap &= ~((e->bitmap & SUBCLUSTERS_ALLOCATED) << 32);
        set_entry(c, *e);
    }
}

/* Whether the cluster is one that counts. */
static bool check_place(L2Check *c, L2Entry e, uint64_t host)
{
    const Qcow2State *s = state(c);
    bool data = qcow2_has_subclusters(s) ? e.bitmap & SUBCLUSTERS_ALLOCATED
                                         : !(e.entry & QCOW2_ZERO);
    bool fix = c->fix;

    if (qcow2_offset_in_cluster(s, host)) {
        qcow2_check_broken(c->check, fix, "ERROR ", "offset=%" PRIx64 ": %s "
                           "cluster is not properly aligned; L2 entry "
                           "corrupted.", host,
                           data ? "Data" : "Preallocated");
    } else if (fix && !qcow2_has_data_file(s) &&
               qcow2_check_beyond(c->check, host, s->cluster_size)) {
        qcow2_check_broken(c->check, true, "", "offset=%" PRIx64 ": Cluster "
                           "is behind the end of the file", host);
    } else {
        return true;
    }
    if (fix) {
        set_zero(c, e);
    }
    return !fix;
}

static int check_standard(L2Check *c, L2Entry e)
{
    const Qcow2State *s = state(c);
    uint64_t host = e.entry & QCOW2_L2_OFFSET;

    count_shape(c, host);
    check_bitmap(c, &e, host);
    if (!check_place(c, e, host) || qcow2_has_data_file(s)) {
        return 0;
    }
    return qcow2_check_use(c->check, host, s->cluster_size, c->use->times);
}

/* An offset of 0 is one only in an external data file, where it is marked
 * with QCOW2_COPIED. */
static bool is_allocated(const Qcow2State *s, uint64_t entry)
{
    return (entry & QCOW2_L2_OFFSET) ||
           (qcow2_has_data_file(s) && (entry & QCOW2_COPIED));
}

static int check_entry(L2Check *c, L2Entry e)
{
    const Qcow2State *s = state(c);

    if (e.entry & QCOW2_COMPRESSED) {
        return check_compressed(c, e);
    }
    if ((e.entry & QCOW2_L2_RESERVED) &&
        qcow2_check_broken(c->check, c->fix, "ERROR ", "found l2 entry with "
                           "reserved bits set: %" PRIx64, e.entry)) {
        e.entry &= ~QCOW2_L2_RESERVED;
        set_entry(c, e);
    }
    if (is_allocated(s, e.entry)) {
        return check_standard(c, e);
    }
    if ((e.bitmap & SUBCLUSTERS_ALLOCATED) &&
        qcow2_check_broken(c->check, c->fix, "ERROR: ", "Unallocated cluster "
                           "has non-zero subcluster allocation map")) {
        e.bitmap &= ~SUBCLUSTERS_ALLOCATED;
        set_entry(c, e);
    }
    return 0;
}

/* --- tables --- */

static int check_entries(L2Check *c)
{
    const Qcow2State *s = state(c);
    unsigned entries = s->cluster_size / s->l2_entry_bytes;
    int ret = 0;

    for (unsigned i = 0; i < entries && ret == 0; i++) {
        int64_t corruptions = c->check->out->corruptions;
        L2Entry e = {
            .entry = qcow2_l2_entry(s, c->table, i),
            .bitmap = qcow2_l2_bitmap(s, c->table, i),
            .index = i,
        };

        if (e.entry || e.bitmap) {
            ret = check_entry(c, e);
            c->use->broken += c->check->out->corruptions > corruptions;
            c->use->good += c->check->out->corruptions == corruptions;
        }
    }
    return ret;
}

static int coroutine_fn write_l2(L2Check *c)
{
    Qcow2Check *check = c->check;
    int ret = bdrv_co_pwrite(check->bs->file, c->use->offset,
                             state(c)->cluster_size, c->table, 0);

    if (ret < 0) {
        qcow2_check_report(check, "ERROR: Failed to overwrite L2 table entry: "
                           "%s", g_strerror(-ret));
        check->out->check_errors++;
    }
    return ret;
}

int coroutine_fn qcow2_check_l2(Qcow2Check *check, Qcow2TableUse *use)
{
    const Qcow2State *s = check->bs->opaque;
    L2Check c = { .check = check, .use = use };
    int ret;

    c.fix = check->mode == QCOW2_WALK_FIX;
    c.table = g_malloc(s->cluster_size);
    ret = qcow2_co_read_file(check->bs->file, use->offset, s->cluster_size,
                             c.table);
    if (ret < 0) {
        qcow2_check_report(check, "ERROR: I/O error in check_refcounts_l2");
        check->out->check_errors++;
    } else {
        ret = check_entries(&c);
    }
    if (ret == 0 && c.dirty) {
        ret = write_l2(&c);
    }
    g_free(c.table);
    return ret;
}
