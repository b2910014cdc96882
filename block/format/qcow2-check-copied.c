/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether QCOW2_COPIED in the active tables tells the truth: set exactly
 * where the refcount is 1.
 *
 * Called by qcow2-check.c once refcounts were compared. The flag is mended
 * only where the refcounts are known to be right by then.
 */
#include "qcow2-check.h"

#include <errno.h>
#include <inttypes.h>

#define L1_ENTRY_BYTES 8

typedef struct Qcow2CopiedCheck {
    Qcow2Check *check;
    bool repair;
    GHashTable *seen;   /* L2 tables by offset, which it points to */
    void *l2;           /* a cluster */
    int64_t fixed;      /* in the table at hand, not yet written */
} Qcow2CopiedCheck;

static const char *prefix(const Qcow2CopiedCheck *c)
{
    return c->repair ? "Repairing" : "ERROR";
}

/* 1 when the flag is right, 0 when not, or a negative errno. */
static int coroutine_fn is_right(Qcow2CopiedCheck *c, uint64_t entry,
                                 uint64_t offset, uint64_t *refcount)
{
    const Qcow2State *s = c->check->bs->opaque;
    int ret = qcow2_check_get_refcount(c->check, offset >> s->cluster_bits,
                                       refcount);

    return ret < 0 ? ret : (*refcount == 1) == !!(entry & QCOW2_COPIED);
}

/* --- data clusters --- */

static bool has_cluster(const Qcow2State *s, uint64_t entry)
{
    return !(entry & QCOW2_COMPRESSED) && (entry & QCOW2_L2_OFFSET);
}

static void coroutine_fn check_data(Qcow2CopiedCheck *c, unsigned index)
{
    const Qcow2State *s = c->check->bs->opaque;
    uint64_t entry = qcow2_l2_entry(s, c->l2, index);
    uint64_t refcount;

    if (!has_cluster(s, entry)) {
        return;
    }
    if (qcow2_has_data_file(s)) {
        /* its clusters are not counted and nobody else's */
        refcount = 1;
        if (entry & QCOW2_COPIED) {
            return;
        }
    } else if (is_right(c, entry, entry & QCOW2_L2_OFFSET, &refcount) != 0) {
        return;
    }
    qcow2_check_report(c->check, "%s OFLAG_COPIED data cluster: l2_entry=%"
                       PRIx64 " refcount=%" PRIu64, prefix(c), entry,
                       refcount);
    if (c->repair) {
        qcow2_set_l2_entry(s, c->l2, index, entry ^ QCOW2_COPIED);
        c->fixed++;
    } else {
        c->check->out->corruptions++;
    }
}

static int coroutine_fn write_l2(Qcow2CopiedCheck *c, uint64_t offset)
{
    Qcow2Check *check = c->check;
    const Qcow2State *s = check->bs->opaque;
    int ret;

    if (c->fixed == 0) {
        return 0;
    }
    ret = bdrv_co_pwrite(check->bs->file, offset, s->cluster_size, c->l2, 0);
    if (ret < 0) {
        qcow2_check_report(check, "ERROR: Could not write L2 table: %s",
                           g_strerror(-ret));
        check->out->check_errors++;
        check->out->corruptions += c->fixed;
    } else {
        check->out->corruptions_fixed += c->fixed;
    }
    return ret;
}

static int coroutine_fn check_l2(Qcow2CopiedCheck *c, uint64_t offset)
{
    Qcow2Check *check = c->check;
    const Qcow2State *s = check->bs->opaque;
    int ret = qcow2_co_read_file(check->bs->file, offset, s->cluster_size,
                                 c->l2);

    if (ret < 0) {
        qcow2_check_report(check, "ERROR: Could not read L2 table: %s",
                           g_strerror(-ret));
        check->out->check_errors++;
        return ret;
    }
    c->fixed = 0;
    for (unsigned i = 0; i < s->cluster_size / s->l2_entry_bytes; i++) {
        check_data(c, i);
    }
    return write_l2(c, offset);
}

/* --- L2 tables --- */

/* True once for each. */
static bool first_visit(Qcow2CopiedCheck *c, uint64_t offset)
{
    uint64_t *key = g_memdup2(&offset, sizeof(offset));

    return g_hash_table_add(c->seen, key);
}

static int coroutine_fn write_l1_entry(Qcow2CopiedCheck *c, unsigned index)
{
    Qcow2Check *check = c->check;
    const Qcow2State *s = check->bs->opaque;
    uint64_t entry = GUINT64_TO_BE(s->l1[index]);
    int ret = qcow2_co_write_file(check->bs->file,
                                  s->l1_offset +
                                      (uint64_t)index * L1_ENTRY_BYTES,
                                  sizeof(entry), &entry);

    *(ret < 0 ? &check->out->check_errors
              : &check->out->corruptions_fixed) += 1;
    return ret;
}

static int coroutine_fn check_l1_entry(Qcow2CopiedCheck *c, unsigned index)
{
    Qcow2Check *check = c->check;
    const Qcow2State *s = check->bs->opaque;
    uint64_t entry = s->l1[index];
    uint64_t offset = entry & QCOW2_L1_OFFSET;
    uint64_t refcount;
    int ret;

    if (offset == 0) {
        return 0;
    }
    ret = is_right(c, entry, offset, &refcount);
    if (ret < 0) {
        return 0; /* counted when it was compared */
    }
    if (ret == 0) {
        qcow2_check_report(check, "%s OFLAG_COPIED L2 cluster: l1_index=%u "
                           "l1_entry=%" PRIx64 " refcount=%" PRIu64,
                           prefix(c), index, entry, refcount);
        if (c->repair) {
            s->l1[index] ^= QCOW2_COPIED;
            ret = write_l1_entry(c, index);
        } else {
            check->out->corruptions++;
        }
    }
    return ret >= 0 && first_visit(c, offset) ? check_l2(c, offset)
                                              : MIN(ret, 0);
}

/* Mending leaks makes flags wrong that were right. They follow the counts if
 * these can be relied on. */
static bool may_repair(const BlockCheck *out)
{
    return (out->fix & BLOCK_CHECK_FIX_ERRORS) ||
           ((out->fix & BLOCK_CHECK_FIX_LEAKS) && !out->check_errors &&
            !out->corruptions && !out->leaks);
}

int coroutine_fn qcow2_check_copied(Qcow2Check *check)
{
    const Qcow2State *s = check->bs->opaque;
    Qcow2CopiedCheck c = {
        .check = check,
        .repair = may_repair(check->out),
        .seen = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free,
                                      NULL),
        .l2 = g_malloc(s->cluster_size),
    };
    int ret = 0;

    for (unsigned i = 0; i < s->l1_entries && ret == 0; i++) {
        ret = check_l1_entry(&c, i);
    }
    g_hash_table_unref(c.seen);
    g_free(c.l2);
    return ret;
}
