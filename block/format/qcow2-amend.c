/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changes options of an image that it was created with. Words and order are
 * those of qemu-img amend: what needs version 3 is done after the upgrade and
 * before a downgrade.
 */
#include "qcow2-amend.h"

#include <errno.h>
#include <string.h>

#include "qcow2-error.h"

typedef struct Qcow2Amendment {
    BlockDriverState *bs;
    char *compat, *backing_file, *backing_format, *data_file;
    unsigned version;
    uint64_t refcount_bits;
    int64_t bytes;
    bool lazy_refcounts;
    bool data_file_raw;
    bool has_size, has_lazy;
    bool ok;
    GError **error;
} Qcow2Amendment;

static void qcow2_amendment_clear(Qcow2Amendment *amend)
{
    g_free(amend->compat);
    g_free(amend->backing_file);
    g_free(amend->backing_format);
    g_free(amend->data_file);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Qcow2Amendment, qcow2_amendment_clear)

/* --- what is wanted --- */

static bool take_options(Options *opts, Qcow2Amendment *amend, GError **error)
{
    const Qcow2State *s = amend->bs->opaque;

    amend->version = s->version;
    amend->refcount_bits = s->refcount_bits;
    amend->lazy_refcounts = s->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS;
    amend->data_file_raw = qcow2_data_file_is_raw(s);
    amend->has_size = options_has(opts, "size");
    amend->has_lazy = options_has(opts, "lazy_refcounts");
    return options_take_str(opts, "compat", &amend->compat, error) &&
           options_take_str(opts, "backing_file", &amend->backing_file,
                            error) &&
           options_take_str(opts, "backing_fmt", &amend->backing_format,
                            error) &&
           options_take_str(opts, "data_file", &amend->data_file, error) &&
           options_take_size(opts, "size", &amend->bytes, error) &&
           options_take_uint(opts, "refcount_bits", UINT64_MAX,
                             &amend->refcount_bits, error) &&
           options_take_bool(opts, "lazy_refcounts", &amend->lazy_refcounts,
                             error) &&
           options_take_bool(opts, "data_file_raw", &amend->data_file_raw,
                             error) &&
           options_finish(opts, error);
}

static bool parse_version(Qcow2Amendment *amend, GError **error)
{
    const char *compat = amend->compat;

    if (!compat || !*compat) {
        return true;
    }
    if (strcmp(compat, "0.10") == 0 || strcmp(compat, "v2") == 0) {
        amend->version = 2;
    } else if (strcmp(compat, "1.1") == 0 || strcmp(compat, "v3") == 0) {
        amend->version = 3;
    } else {
        return qcow2_error(error, "Unknown compatibility level %s", compat);
    }
    return true;
}

static bool check_data_file(const Qcow2Amendment *amend, GError **error)
{
    const Qcow2State *s = amend->bs->opaque;

    if (amend->data_file && !qcow2_has_data_file(s)) {
        return qcow2_error(error, "data-file can only be set for images that "
                           "use an external data file");
    }
    if (amend->data_file_raw && !qcow2_data_file_is_raw(s)) {
        return qcow2_error(error, "data-file-raw cannot be set on existing "
                           "images");
    }
    return true;
}

static bool check_all(Qcow2Amendment *amend, GError **error)
{
    uint64_t bits = amend->refcount_bits;

    if (!parse_version(amend, error)) {
        return false;
    }
    if (bits < 1 || bits > 64 || (bits & (bits - 1))) {
        return qcow2_error(error, "Refcount width must be a power of two and "
                           "may not exceed 64 bits");
    }
    return check_data_file(amend, error);
}

/* --- one after the other --- */

static bool coroutine_fn set_refcount_bits(const Qcow2Amendment *amend)
{
    const Qcow2State *s = amend->bs->opaque;

    if (amend->refcount_bits == s->refcount_bits) {
        return true;
    }
    if (amend->version < 3 && amend->refcount_bits != 16) {
        return qcow2_error(amend->error, "Refcount widths other than 16 bits "
                           "require compatibility level 1.1 or above (use "
                           "compat=1.1 or greater)");
    }
    return qcow2_co_set_refcount_order(amend->bs,
                                       g_bit_nth_lsf(amend->refcount_bits,
                                                     -1),
                                       amend->error);
}

/* To what it is already it may be set. */
static bool check_backing(const Qcow2Amendment *amend)
{
    const BlockDriverState *bs = amend->bs;
    const char *file = amend->backing_file, *format = amend->backing_format;

    if ((file && g_strcmp0(file, bs->backing_file) != 0) ||
        (format && g_strcmp0(format, bs->backing_format) != 0)) {
        return qcow2_error(amend->error, "Cannot amend the backing file\n"
                           "You can use 'qemu-img rebase' instead.");
    }
    return true;
}

static bool coroutine_fn write_header(const Qcow2Amendment *amend)
{
    int ret = qcow2_co_write_header(amend->bs);

    if (ret == 0) {
        ret = bdrv_co_flush(amend->bs->file);
    }
    return ret == 0 || qcow2_error_errno(amend->error, ret,
                                         "Failed to update the image header");
}

static bool coroutine_fn set_data_file(Qcow2Amendment *amend)
{
    Qcow2State *s = amend->bs->opaque;
    uint64_t autoclear = s->autoclear;

    if (!amend->data_file_raw) {
        autoclear &= ~QCOW2_AUTOCLEAR_DATA_FILE_RAW;
    }
    if (autoclear == s->autoclear && !amend->data_file) {
        return true;
    }
    s->autoclear = autoclear;
    if (amend->data_file) {
        g_free(s->data_file_name);
        s->data_file_name = *amend->data_file
                                ? g_steal_pointer(&amend->data_file)
                                : NULL;
    }
    return write_header(amend);
}

static bool coroutine_fn set_lazy(const Qcow2Amendment *amend)
{
    Qcow2State *s = amend->bs->opaque;
    bool is_lazy = s->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS;
    int ret;

    if (!amend->has_lazy || amend->lazy_refcounts == is_lazy) {
        return true;
    }
    if (amend->lazy_refcounts && amend->version < 3) {
        return qcow2_error(amend->error, "Lazy refcounts only supported with "
                           "compatibility level 1.1 and above (use compat=1.1 "
                           "or greater)");
    }
    ret = qcow2_co_mark_clean(amend->bs);
    if (ret < 0) {
        return qcow2_error_errno(amend->error, ret,
                                 "Failed to make the image clean");
    }
    s->compatible ^= QCOW2_COMPAT_LAZY_REFCOUNTS;
    s->use_lazy_refcounts = amend->lazy_refcounts;
    return write_header(amend);
}

static bool coroutine_fn set_size(const Qcow2Amendment *amend)
{
    BlockTruncate to = { .bytes = amend->bytes };

    return !amend->has_size ||
           qcow2_co_truncate(amend->bs, &to, amend->error);
}

static bool coroutine_fn amend_all(Qcow2Amendment *amend)
{
    const Qcow2State *s = amend->bs->opaque;

    if (amend->version > s->version &&
        !qcow2_co_upgrade(amend->bs, amend->error)) {
        return false;
    }
    if (!set_refcount_bits(amend) || !check_backing(amend) ||
        !set_data_file(amend) || !set_lazy(amend) || !set_size(amend)) {
        return false;
    }
    return amend->version >= s->version ||
           qcow2_co_downgrade(amend->bs, amend->error);
}

static void coroutine_fn amend_entry(void *opaque)
{
    Qcow2Amendment *amend = opaque;

    amend->ok = amend_all(amend);
}

bool qcow2_amend(BlockDriverState *bs, Options *opts, bool force,
                 GError **error)
{
    g_auto(Qcow2Amendment) amend = { .bs = bs, .error = error };

    if (!take_options(opts, &amend, error) || !check_all(&amend, error)) {
        return false;
    }
    bdrv_run_co(bs, amend_entry, &amend);
    return amend.ok;
}
