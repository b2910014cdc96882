/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runtime options of a qcow2 node: sizes of the caches, what writes are
 * checked against, which frees become discards. Taken when the node is
 * opened; the names, defaults and limits are QEMU's.
 *
 * The L2 cache is what makes random access fast: 8 bytes of it map a cluster.
 * By default it grows as far as the disk needs it, up to 32 MiB, and never
 * has less than 8 GiB of disk need.
 */
#include "qcow2-error.h"
#include "qcow2.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

#define DEFAULT_MAX_L2_CACHE   (32 * 1024 * 1024)
#define DEFAULT_COVERED        (8LL << 30)
#define DEFAULT_L2_ENTRY_BYTES 65536
#define MIN_L2_ENTRY_BYTES     512
/* As many as the driver may have pinned at a time, and some. */
#define MIN_L2_TABLES          8
#define MIN_REFCOUNT_TABLES    4
#define DEFAULT_CLEAN_S        600

typedef struct CacheSizes {
    int64_t l2, refcount, all; /* -1: not given */
    int64_t l2_entry;
} CacheSizes;

/* --- overlap-check --- */

static const char *const template_names[] = {
    "none", "constant", "cached", "all", NULL,
};

static const unsigned templates[] = {
    0, QCOW2_OL_CONSTANT, QCOW2_OL_CACHED, QCOW2_OL_ALL,
};

static bool find_template(const char *name, unsigned *checks, GError **error)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(templates); i++) {
        if (strcmp(name, template_names[i]) == 0) {
            *checks = templates[i];
            return true;
        }
    }
    return qcow2_error(error, "Unsupported value '%s' for qcow2 option "
                       "'overlap-check'. Allowed are any of the following: "
                       "none, constant, cached, all", name);
}

static bool take_single_checks(Options *flags, unsigned *checks,
                               GError **error)
{
    static const char *const names[] = {
        "main-header", "active-l1", "active-l2", "refcount-block",
        "refcount-table", "snapshot-table", "inactive-l1", "inactive-l2",
        "bitmap-directory",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        bool on = *checks >> i & 1;

        if (!options_take_bool(flags, names[i], &on, error)) {
            return false;
        }
        *checks = (*checks & ~(1U << i)) | (unsigned)on << i;
    }
    return true;
}

/* A template, or an object with one and with single checks on and off. */
static bool take_overlap_check(Options *opts, unsigned *checks,
                               GError **error)
{
    g_autoptr(Options) flags = NULL;
    g_autofree char *template = NULL;

    *checks = QCOW2_OL_CACHED;
    if (!options_take_child(opts, "overlap-check", &flags, error) ||
        !(flags ? options_take_str(flags, "template", &template, error)
                : options_take_str(opts, "overlap-check", &template,
                                   error)) ||
        (template && !find_template(template, checks, error))) {
        return false;
    }
    return !flags || (take_single_checks(flags, checks, error) &&
                      options_finish(flags, error));
}

/* --- frees --- */

static bool take_discards(BlockDriverState *bs, Options *opts, GError **error)
{
    Qcow2State *s = bs->opaque;
    bool *pass = s->pass_discard;

    pass[QCOW2_DISCARD_NEVER] = false;
    pass[QCOW2_DISCARD_ALWAYS] = true;
    pass[QCOW2_DISCARD_REQUEST] = bs->discard_unmap;
    pass[QCOW2_DISCARD_SNAPSHOT] = true;
    pass[QCOW2_DISCARD_OTHER] = false;
    s->discard_no_unref = false;
    return options_take_bool(opts, "pass-discard-request",
                             &pass[QCOW2_DISCARD_REQUEST], error) &&
           options_take_bool(opts, "pass-discard-snapshot",
                             &pass[QCOW2_DISCARD_SNAPSHOT], error) &&
           options_take_bool(opts, "pass-discard-other",
                             &pass[QCOW2_DISCARD_OTHER], error) &&
           options_take_bool(opts, "discard-no-unref", &s->discard_no_unref,
                             error);
}

static bool take_lazy_refcounts(BlockDriverState *bs, Options *opts,
                                GError **error)
{
    Qcow2State *s = bs->opaque;

    s->use_lazy_refcounts = s->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS;
    if (!options_take_bool(opts, "lazy-refcounts", &s->use_lazy_refcounts,
                           error)) {
        return false;
    }
    if (s->use_lazy_refcounts && s->version < 3) {
        return qcow2_error(error, "Lazy refcounts require a qcow2 image with "
                           "at least qemu 1.1 compatibility level");
    }
    return true;
}

/* --- caches --- */

static bool take_sizes(BlockDriverState *bs, Options *opts, CacheSizes *sizes,
                       GError **error)
{
    const Qcow2State *s = bs->opaque;

    *sizes = (CacheSizes){
        .l2 = -1, .refcount = -1, .all = -1,
        .l2_entry = MIN(s->cluster_size, DEFAULT_L2_ENTRY_BYTES),
    };
    if (!options_take_size(opts, "cache-size", &sizes->all, error) ||
        !options_take_size(opts, "l2-cache-size", &sizes->l2, error) ||
        !options_take_size(opts, "refcount-cache-size", &sizes->refcount,
                           error) ||
        !options_take_size(opts, "l2-cache-entry-size", &sizes->l2_entry,
                           error)) {
        return false;
    }
    if (sizes->l2_entry < MIN_L2_ENTRY_BYTES ||
        sizes->l2_entry > s->cluster_size ||
        (sizes->l2_entry & (sizes->l2_entry - 1))) {
        return qcow2_error(error, "L2 cache entry size must be a power of two "
                           "between %d and the cluster size (%" PRId64 ")",
                           MIN_L2_ENTRY_BYTES, s->cluster_size);
    }
    return true;
}

static bool check_sizes(const CacheSizes *sizes, GError **error)
{
    if (sizes->all < 0) {
        return true;
    }
    if (sizes->l2 >= 0 && sizes->refcount >= 0) {
        return qcow2_error(error, "cache-size, l2-cache-size and "
                           "refcount-cache-size may not be set at the same "
                           "time");
    }
    if (sizes->l2 > sizes->all) {
        return qcow2_error(error, "l2-cache-size may not exceed cache-size");
    }
    if (sizes->refcount > sizes->all) {
        return qcow2_error(error, "refcount-cache-size may not exceed "
                           "cache-size");
    }
    return true;
}

/* What all of the disk takes, in whole tables. */
static int64_t full_l2_bytes(const BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;
    int64_t entries = qcow2_size_to_clusters(s, bs->total_bytes);

    return (entries * s->l2_entry_bytes + s->cluster_size - 1) &
           ~(s->cluster_size - 1);
}

static int64_t default_l2_bytes(const BlockDriverState *bs)
{
    const Qcow2State *s = bs->opaque;
    int64_t covering = (DEFAULT_COVERED >> s->cluster_bits) *
                       s->l2_entry_bytes;

    return MIN(full_l2_bytes(bs), MAX(DEFAULT_MAX_L2_CACHE, covering));
}

/* Divides what was given; the rest of cache-size goes where it helps more. */
static void decide_sizes(const BlockDriverState *bs, CacheSizes *sizes)
{
    const Qcow2State *s = bs->opaque;
    int64_t least_refcount = MIN_REFCOUNT_TABLES * s->cluster_size;

    if (sizes->all >= 0 && sizes->l2 < 0 && sizes->refcount < 0) {
        sizes->l2 = MIN(full_l2_bytes(bs),
                        MAX(sizes->all - least_refcount, 0));
    }
    if (sizes->l2 < 0) {
        sizes->l2 = sizes->all >= 0 ? sizes->all - sizes->refcount
                                    : default_l2_bytes(bs);
    }
    if (sizes->refcount < 0) {
        sizes->refcount = sizes->all >= 0 ? sizes->all - sizes->l2
                                          : least_refcount;
    }
}

static bool set_sizes(BlockDriverState *bs, const CacheSizes *sizes,
                      GError **error)
{
    Qcow2State *s = bs->opaque;
    int64_t l2_tables = sizes->l2 / sizes->l2_entry;
    int64_t refcount_tables = sizes->refcount >> s->cluster_bits;

    l2_tables = MAX(l2_tables, MIN_L2_TABLES);
    refcount_tables = MAX(refcount_tables, MIN_REFCOUNT_TABLES);
    /* more than the whole disk has is of no use */
    l2_tables = MIN(l2_tables, MAX(full_l2_bytes(bs) / sizes->l2_entry,
                                   MIN_L2_TABLES));
    if (l2_tables > INT_MAX) {
        return qcow2_error(error, "L2 cache size too big");
    }
    if (refcount_tables > INT_MAX) {
        return qcow2_error(error, "Refcount cache size too big");
    }
    s->l2_slice_entries = sizes->l2_entry / s->l2_entry_bytes;
    s->l2_cache_bytes = l2_tables * sizes->l2_entry;
    s->refcount_cache_bytes = (uint64_t)refcount_tables << s->cluster_bits;
    return true;
}

static bool take_caches(BlockDriverState *bs, Options *opts, GError **error)
{
    Qcow2State *s = bs->opaque;
    CacheSizes sizes;
    uint64_t clean_s = DEFAULT_CLEAN_S;

    if (!take_sizes(bs, opts, &sizes, error) ||
        !check_sizes(&sizes, error) ||
        !options_take_uint(opts, "cache-clean-interval", UINT64_MAX, &clean_s,
                           error)) {
        return false;
    }
    if (clean_s > UINT_MAX) {
        return qcow2_error(error, "Cache clean interval too big");
    }
    s->cache_clean_s = clean_s;
    decide_sizes(bs, &sizes);
    return set_sizes(bs, &sizes, error);
}

bool qcow2_caches_new(BlockDriverState *bs, GError **error)
{
    Qcow2State *s = bs->opaque;
    unsigned slice_bytes = s->l2_slice_entries * s->l2_entry_bytes;

    s->l2_cache = qcow2_cache_new(bs, s->l2_cache_bytes / slice_bytes,
                                  slice_bytes);
    s->refcount_cache = qcow2_cache_new(bs, s->refcount_cache_bytes >>
                                                s->cluster_bits,
                                        s->cluster_size);
    if (s->l2_cache && s->refcount_cache) {
        return true;
    }
    g_clear_pointer(&s->l2_cache, qcow2_cache_free);
    g_clear_pointer(&s->refcount_cache, qcow2_cache_free);
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOMEM,
                "Could not allocate metadata caches");
    return false;
}

/* --- all --- */

/* There are only images without; a key that nobody uses hurts nobody. */
static bool refuse_encryption(Options *opts, GError **error)
{
    g_autoptr(Options) encrypt = NULL;
    g_autofree char *format = NULL;

    if (!options_take_child(opts, "encrypt", &encrypt, error)) {
        return false;
    }
    if (encrypt && !options_take_str(encrypt, "format", &format, error)) {
        return false;
    }
    if (format) {
        return qcow2_error(error, "No encryption in image header, but options "
                           "specified format '%s'", format);
    }
    return true;
}

bool qcow2_take_options(BlockDriverState *bs, Options *opts, GError **error)
{
    Qcow2State *s = bs->opaque;

    return take_caches(bs, opts, error) &&
           take_discards(bs, opts, error) &&
           take_lazy_refcounts(bs, opts, error) &&
           take_overlap_check(opts, &s->overlap_check, error) &&
           refuse_encryption(opts, error);
}
