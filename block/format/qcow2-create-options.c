/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The options of a new image: what there is, what goes with what.
 *
 * Used by qcow2-create.c and qcow2-measure.c. Errors have the words of
 * qemu-img, and come in its order when several things are wrong.
 */
#include "qcow2-create.h"

#include <string.h>

#include "qcow2-error.h"

#define SECTOR 512
#define NEEDS_V3 \
    "with compatibility level 1.1 and above (use version=v3 or greater)"

/* In the order in which qemu-img lists what an image was made with. */
const BlockOptionHelp qcow2_create_options[] = {
    { "encryption", BLOCK_OPTION_BOOL,
      "Encrypt the image with AES (not supported by vblk)" },
    { "encrypt.format", BLOCK_OPTION_STRING,
      "Encrypt the image: 'aes', 'luks' (not supported by vblk)" },
    { "encrypt.key-secret", BLOCK_OPTION_STRING,
      "ID of the secret that holds the key or passphrase" },
    { "encrypt.cipher-alg", BLOCK_OPTION_STRING, "Name of the cipher" },
    { "encrypt.cipher-mode", BLOCK_OPTION_STRING, "Name of the cipher mode" },
    { "encrypt.ivgen-alg", BLOCK_OPTION_STRING,
      "Name of the generator of initialization vectors" },
    { "encrypt.ivgen-hash-alg", BLOCK_OPTION_STRING,
      "Name of the hash that this generator uses" },
    { "encrypt.hash-alg", BLOCK_OPTION_STRING, "Name of the hash" },
    { "encrypt.iter-time", BLOCK_OPTION_NUMBER,
      "Milliseconds to spend on deriving the key" },
    { "cluster_size", BLOCK_OPTION_SIZE, "Size of a cluster", "65536" },
    { "extended_l2", BLOCK_OPTION_BOOL,
      "Allocate subclusters, 32 in a cluster", "off" },
    { "preallocation", BLOCK_OPTION_STRING,
      "Preallocation mode (allowed values: off, metadata, falloc, full)" },
    { "compression_type", BLOCK_OPTION_STRING,
      "How compressed clusters are compressed: zlib, zstd", "zlib" },
    { "size", BLOCK_OPTION_SIZE, "Size of the virtual disk", NULL, true },
    { "compat", BLOCK_OPTION_STRING,
      "Version of the format (v2 [0.10] or v3 [1.1])", NULL, true },
    { "backing_file", BLOCK_OPTION_STRING, "File name of the base image",
      NULL, true },
    { "backing_fmt", BLOCK_OPTION_STRING, "Format of the base image", NULL,
      true },
    { "data_file", BLOCK_OPTION_STRING,
      "File name of an external data file", NULL, true },
    { "data_file_raw", BLOCK_OPTION_BOOL,
      "Keep the external data file valid as a raw image", NULL, true },
    { "lazy_refcounts", BLOCK_OPTION_BOOL,
      "Postpone updates of reference counts", "off", true },
    { "refcount_bits", BLOCK_OPTION_NUMBER,
      "Width of a reference count in bits", "16", true },
    { NULL }
};

static const char *const encrypt_options[] = {
    "encrypt.format", "encrypt.key-secret", "encrypt.cipher-alg",
    "encrypt.cipher-mode", "encrypt.ivgen-alg", "encrypt.ivgen-hash-alg",
    "encrypt.hash-alg", "encrypt.iter-time",
};

/* As given, not yet looked at. */
typedef struct CreateText {
    char *compat, *prealloc, *compression;
    bool encryption;
    int64_t cluster_bytes;
    uint64_t refcount_bits;
} CreateText;

static void create_text_clear(CreateText *text)
{
    g_free(text->compat);
    g_free(text->prealloc);
    g_free(text->compression);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(CreateText, create_text_clear)

void qcow2_create_options_clear(Qcow2CreateOptions *create)
{
    g_clear_pointer(&create->data_file, g_free);
    g_clear_pointer(&create->backing_file, g_free);
    g_clear_pointer(&create->backing_format, g_free);
}

static bool take_names(Options *opts, Qcow2CreateOptions *create,
                       CreateText *text, GError **error)
{
    return options_take_str(opts, "compat", &text->compat, error) &&
           options_take_str(opts, "preallocation", &text->prealloc, error) &&
           options_take_str(opts, "compression_type", &text->compression,
                            error) &&
           options_take_str(opts, "data_file", &create->data_file, error) &&
           options_take_str(opts, "backing_file", &create->backing_file,
                            error) &&
           options_take_str(opts, "backing_fmt", &create->backing_format,
                            error);
}

static bool take_values(Options *opts, Qcow2CreateOptions *create,
                        CreateText *text, GError **error)
{
    return options_take_size(opts, "size", &create->bytes, error) &&
           options_take_size(opts, "cluster_size", &text->cluster_bytes,
                             error) &&
           options_take_uint(opts, "refcount_bits", UINT64_MAX,
                             &text->refcount_bits, error) &&
           options_take_bool(opts, "encryption", &text->encryption, error) &&
           options_take_bool(opts, "extended_l2", &create->extended_l2,
                             error) &&
           options_take_bool(opts, "lazy_refcounts", &create->lazy_refcounts,
                             error) &&
           options_take_bool(opts, "data_file_raw", &create->data_file_raw,
                             error);
}

/* The index of @value in @names, or -1 with @error. */
static int find_name(const char *const *names, const char *value,
                     const char *parameter, GError **error)
{
    for (int i = 0; names[i]; i++) {
        if (strcmp(names[i], value) == 0) {
            return i;
        }
    }
    qcow2_error(error, "Parameter '%s' does not accept value '%s'", parameter,
                value);
    return -1;
}

static bool refuse_encryption(Options *opts, const CreateText *text,
                              GError **error)
{
    bool wanted = text->encryption;

    for (unsigned i = 0; i < G_N_ELEMENTS(encrypt_options); i++) {
        wanted |= options_has(opts, encrypt_options[i]);
    }
    return !wanted || qcow2_error(error, "Encryption is not supported");
}

/* Formats of backing files that others can read and we cannot: their names
 * may be written down all the same. */
static const char *const foreign_formats[] = {
    "bochs", "cloop", "dmg", "luks", "parallels", "qcow", "qed", "vdi",
    "vhdx", "vmdk", "vpc", NULL,
};

static bool check_backing_format(const char *name, GError **error)
{
    return !name || bdrv_find_driver(name) ||
           find_name(foreign_formats, name, "backing-fmt", error) >= 0;
}

static const char *const versions[] = { "0.10", "v2", "1.1", "v3", NULL };

static bool parse_names(Options *opts, const CreateText *text,
                        Qcow2CreateOptions *create, GError **error)
{
    static const char *const compressions[] = { "zlib", "zstd", NULL };
    int index = 0;

    if (!check_backing_format(create->backing_format, error)) {
        return false;
    }
    if (text->compat) {
        index = find_name(versions, text->compat, "version", error);
        create->version = index < 2 ? 2 : 3;
    }
    if (index < 0 || !refuse_encryption(opts, text, error)) {
        return false;
    }
    if (text->prealloc) {
        index = find_name(block_prealloc_names, text->prealloc,
                          "preallocation", error);
        create->prealloc = index;
    }
    if (index >= 0 && text->compression) {
        index = find_name(compressions, text->compression,
                          "compression-type", error);
        create->compression = index;
    }
    return index >= 0;
}

static bool check_cluster_size(int64_t bytes, Qcow2CreateOptions *create,
                               GError **error)
{
    if (bytes < 1 << QCOW2_MIN_CLUSTER_BITS ||
        bytes > 1 << QCOW2_MAX_CLUSTER_BITS || (bytes & (bytes - 1))) {
        return qcow2_error(error, "Cluster size must be a power of two "
                           "between %d and %dk", 1 << QCOW2_MIN_CLUSTER_BITS,
                           1 << (QCOW2_MAX_CLUSTER_BITS - 10));
    }
    create->cluster_bits = g_bit_nth_lsf(bytes, -1);
    if (create->extended_l2 &&
        create->cluster_bits < QCOW2_MIN_CLUSTER_BITS_EXTL2) {
        return qcow2_error(error, "Extended L2 entries are only supported "
                           "with cluster sizes of at least %d bytes",
                           1 << QCOW2_MIN_CLUSTER_BITS_EXTL2);
    }
    return true;
}

/* @hint: how to ask for version 3, which depends on who calls. */
static bool check_refcount_bits(uint64_t bits, Qcow2CreateOptions *create,
                                const char *hint, GError **error)
{
    if (bits < 1 || bits > 64 || (bits & (bits - 1))) {
        return qcow2_error(error, "Refcount width must be a power of two and "
                           "may not exceed 64 bits");
    }
    if (create->version < 3 && bits != 16) {
        return qcow2_error(error, "Different refcount widths than 16 bits "
                           "require compatibility level 1.1 or above (use "
                           "%s or greater)", hint);
    }
    create->refcount_order = g_bit_nth_lsf(bits, -1);
    return true;
}

static bool check_backing(const Qcow2CreateOptions *create, GError **error)
{
    if (create->backing_file && create->prealloc != PREALLOC_OFF &&
        !create->extended_l2) {
        return qcow2_error(error, "Backing file and preallocation can only "
                           "be used at the same time if extended_l2 is on");
    }
    if (create->backing_format && !create->backing_file) {
        return qcow2_error(error, "Backing format cannot be used without "
                           "backing file");
    }
    return true;
}

static bool check_data_file(const Qcow2CreateOptions *create, GError **error)
{
    if (create->data_file_raw && !create->data_file) {
        return qcow2_error(error, "data-file-raw requires data-file");
    }
    if (create->data_file_raw && create->backing_file) {
        return qcow2_error(error, "Backing file and data-file-raw cannot be "
                           "used at the same time");
    }
    if (create->data_file && create->version < 3) {
        return qcow2_error(error, "External data files are only supported "
                           NEEDS_V3);
    }
    return true;
}

static bool check_all(const CreateText *text, Qcow2CreateOptions *create,
                      GError **error)
{
    bool old = create->version < 3;

    if (create->extended_l2 && old) {
        return qcow2_error(error, "Extended L2 entries are only supported "
                           NEEDS_V3);
    }
    if (!check_cluster_size(text->cluster_bytes, create, error) ||
        !check_backing(create, error)) {
        return false;
    }
    if (create->lazy_refcounts && old) {
        return qcow2_error(error, "Lazy refcounts only supported " NEEDS_V3);
    }
    if (!check_refcount_bits(text->refcount_bits, create, "version=v3",
                             error) ||
        !check_data_file(create, error)) {
        return false;
    }
    if (create->compression != QCOW2_COMPRESSION_ZLIB && old) {
        return qcow2_error(error, "Non-zlib compression type is only "
                           "supported " NEEDS_V3);
    }
    return true;
}

static bool take_all(Options *opts, Qcow2CreateOptions *create,
                     CreateText *text, GError **error)
{
    create->version = 3;
    text->cluster_bytes = 65536;
    text->refcount_bits = 16;
    return take_names(opts, create, text, error) &&
           take_values(opts, create, text, error);
}

static bool round_size(Qcow2CreateOptions *create, GError **error)
{
    if (create->bytes > INT64_MAX - SECTOR) {
        return qcow2_error(error, "Could not resize image: Image size cannot be "
                           "negative");
    }
    create->bytes = (create->bytes + SECTOR - 1) / SECTOR * SECTOR;
    return true;
}

bool qcow2_create_options_take(Options *opts, Qcow2CreateOptions *create,
                               GError **error)
{
    g_auto(CreateText) text = { 0 };

    if (!take_all(opts, create, &text, error) ||
        !parse_names(opts, &text, create, error) ||
        !check_all(&text, create, error) || !round_size(create, error)) {
        return false;
    }
    /* a raw image shows only what its file has, so all of it is allocated */
    if (create->data_file_raw && create->prealloc == PREALLOC_OFF) {
        create->prealloc = PREALLOC_METADATA;
    }
    return true;
}

bool qcow2_measure_options_take(Options *opts, Qcow2CreateOptions *create,
                                GError **error)
{
    g_auto(CreateText) text = { 0 };
    int index = 3;

    if (!take_all(opts, create, &text, error) ||
        !refuse_encryption(opts, &text, error) ||
        !check_cluster_size(text.cluster_bytes, create, error)) {
        return false;
    }
    if (text.compat) {
        index = find_name(versions, text.compat, "compat", NULL);
    }
    if (index < 0) {
        return qcow2_error(error, "Invalid compatibility level: '%s'",
                           text.compat);
    }
    create->version = index < 2 ? 2 : 3;
    if (!check_refcount_bits(text.refcount_bits, create, "compat=1.1",
                             error)) {
        return false;
    }
    index = text.prealloc ? find_name(block_prealloc_names, text.prealloc,
                                      "preallocation", NULL)
                          : PREALLOC_OFF;
    if (index < 0) {
        return qcow2_error(error, "invalid parameter value: %s",
                           text.prealloc);
    }
    create->prealloc = index;
    return round_size(create, error);
}
