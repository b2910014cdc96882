/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opens images by name: says what is to be opened (image-filename.c), looks
 * into the file where nobody said which format it has, and follows the names
 * of backing files.
 *
 * Called by the tools and, for backing files, by format drivers; calls
 * graph.c with options that are complete. The one rule: contents that
 * anybody may have written decide the format only where no user has.
 */
#include "block/image.h"

#include <string.h>
#include <sys/stat.h>

#include "block/block-co.h"
#include "block/control.h"
#include "block/graph.h"
#include "block/log.h"
#include "image-filename.h"
#include "node-options.h"

#define PROBE_BYTES 2048

/* --- which format --- */

typedef struct ProbeRead {
    BlockDriverState *file;
    uint8_t buf[PROBE_BYTES];
    int64_t bytes;
    int ret;
} ProbeRead;

static void coroutine_fn probe_read_entry(void *opaque)
{
    ProbeRead *read = opaque;

    read->ret = bdrv_co_pread(read->file, 0, read->bytes, read->buf);
}

static const BlockDriver *judge(const ProbeRead *read, GError **error)
{
    const BlockDriver *drv = bdrv_probe(read->buf, read->bytes,
                                        read->file->filename);
    const char *foreign = bdrv_probe_foreign(read->buf, read->bytes);

    if (drv != &bdrv_raw || !foreign) {
        return drv;
    }
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                "Image looks like '%s', which is not supported; the format "
                "'raw' gives its bytes as they are", foreign);
    return NULL;
}

static const BlockDriver *probe_file(BlockDriverState *file, GError **error)
{
    ProbeRead read = { .file = file };

    read.bytes = MIN(file->total_bytes, PROBE_BYTES);
    if (read.bytes > 0) {
        bdrv_run_co(file, probe_read_entry, &read);
    }
    if (read.ret < 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(-read.ret),
                    "Could not read image for determining its format: %s",
                    g_strerror(-read.ret));
        return NULL;
    }
    return judge(&read, error);
}

/* The "file" of an image whose driver is not known yet, opened as that
 * driver's node would: generic options are inherited from what it will be. */
static BlockDriverState *open_file_first(Options *opts, const NodeSpec *spec,
                                         GError **error)
{
    g_autoptr(Options) copy = options_new(options_what(opts));
    BlockDriverState future = { 0 };
    NodeSpec file_spec = { .parent = &future, .is_file = true };
    Options *file_opts;
    const char *name;

    options_join(copy, opts);
    if (!node_options_take(copy, spec, &future, error) ||
        !options_take_child(opts, "file", &file_opts, error)) {
        return NULL;
    }
    if (file_opts) {
        return image_open_node(file_opts, &file_spec, error);
    }
    name = options_peek_str(opts, "file");
    return graph_find_node(opts, name, error);
}

static BlockDriverState *probe_and_open(Options *options,
                                        const NodeSpec *spec, GError **error)
{
    g_autoptr(Options) opts = options;
    g_autoptr(BlockDriverState) file = open_file_first(opts, spec, error);
    const BlockDriver *drv = file ? probe_file(file, error) : NULL;
    NodeSpec probed = *spec;

    if (!drv) {
        return NULL;
    }
    probed.probed = drv == &bdrv_raw;
    options_set_str(opts, "driver", drv->name);
    options_set_str(opts, "file", file->node_name);
    return graph_open_node(g_steal_pointer(&opts), &probed, error);
}

BlockDriverState *image_open_node(Options *opts, const NodeSpec *spec,
                                  GError **error)
{
    if (options_has(opts, "driver")) {
        return graph_open_node(opts, spec, error);
    }
    if (spec->is_file && options_has(opts, "filename")) {
        image_default_protocol(opts);
        return graph_open_node(opts, spec, error);
    }
    if (!spec->is_file && options_has(opts, "file")) {
        return probe_and_open(opts, spec, error);
    }
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                "%s: Must specify either driver or file", options_what(opts));
    options_free(opts);
    return NULL;
}

/* --- by name --- */

static bool is_protocol_driver(const char *name)
{
    const BlockDriver *drv = name ? bdrv_find_driver(name) : NULL;

    return drv && drv->is_protocol;
}

/*
 * Of the node at @prefix of @opts, the child that a file name given for it is
 * meant for; NULL when it is that node itself.
 */
static const char *named_child(const Options *opts, const char *prefix)
{
    g_autofree char *key = g_strconcat(prefix, "driver", NULL);
    const char *name = options_peek_str(opts, key);
    const BlockDriver *drv = name ? bdrv_find_driver(name) : NULL;

    if (!drv) {
        return *prefix ? NULL : "file";
    }
    if (drv == &bdrv_blkdebug) {
        return "image";
    }
    return drv->is_protocol ? NULL : "file";
}

/* Adds @named to the options of the first protocol node from the top. The
 * tree is no deeper than options can be. */
static void add_named(Options *opts, const Options *named)
{
    g_autoptr(GString) prefix = g_string_new(NULL);
    g_autoptr(GPtrArray) keys = g_ptr_array_new();
    g_autoptr(Options) wrapped = options_new("");
    const char *child;

    while ((child = named_child(opts, prefix->str))) {
        g_string_append_printf(prefix, "%s.", child);
        g_ptr_array_add(keys, (char *)child);
    }
    options_join(wrapped, named);
    for (unsigned i = keys->len; i > 0; i--) {
        Options *above = options_new("");

        options_set_child(above, keys->pdata[i - 1], wrapped);
        options_free(wrapped);
        wrapped = above;
    }
    options_join(opts, wrapped);
}

/* What opts say goes before what the name says. */
static bool take_filename(Options *opts, const char *filename,
                          GError **error)
{
    g_autoptr(Options) named = NULL;

    if (g_str_has_prefix(filename, "json:")) {
        if (g_str_has_prefix(filename, "json:[")) {
            g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                        "Invalid JSON object given");
            return false;
        }
        named = options_parse_dotted(filename + strlen("json:"),
                                     "Could not parse the JSON options",
                                     error);
        if (named) {
            options_join(opts, named);
        }
        return named != NULL;
    }
    named = image_filename_options(filename, error);
    if (!named) {
        return false;
    }
    add_named(opts, named);
    return true;
}

static void set_default(Options *opts, const char *key, const char *value)
{
    if (!options_has(opts, key)) {
        options_set_str(opts, key, value);
    }
}

static void take_flags(Options *opts, unsigned flags)
{
    set_default(opts, "read-only",
                flags & BDRV_OPEN_READ_ONLY ? "on" : "off");
    if (flags & BDRV_OPEN_DIRECT) {
        set_default(opts, "cache.direct", "on");
    }
    if (flags & BDRV_OPEN_NO_FLUSH) {
        set_default(opts, "cache.no-flush", "on");
    }
    if (flags & BDRV_OPEN_SHARE) {
        set_default(opts, "force-share", "on");
    }
    if (flags & BDRV_OPEN_DISCARD) {
        set_default(opts, "discard", "unmap");
    }
}

static void strip_prefix(GError **error, const char *what)
{
    size_t len = strlen(what);
    char *rest;

    if (error && *error && g_str_has_prefix((*error)->message, what) &&
        g_str_has_prefix((*error)->message + len, ": ")) {
        rest = g_strdup((*error)->message + len + strlen(": "));
        g_free((*error)->message);
        (*error)->message = rest;
    }
}

void image_strip_what(GError **error)
{
    strip_prefix(error, "");
}

static void warn_probed(const BlockDriverState *bs)
{
    if (!bs->probed || bs->read_only) {
        return;
    }
    log_plain("WARNING: Image format was not specified for '%s' and probing "
              "guessed raw.", bs->filename);
    log_plain("         Automatically detecting the format is dangerous for "
              "raw images, write operations on block 0 will be restricted.");
    log_plain("         Specify the 'raw' format explicitly to remove the "
              "restrictions.");
}

/* The reference to @bs goes to the filter over it, or is dropped. */
static BlockDriverState *add_copy_on_read(BlockDriverState *bs,
                                          GError **error)
{
    g_autoptr(BlockDriverState) below = bs;
    Options *opts;

    if (below->read_only) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "Can't use copy-on-read on read-only device");
        return NULL;
    }
    opts = options_new("");
    options_set_str(opts, "driver", "copy-on-read");
    options_set_str(opts, "file", below->node_name);
    take_flags(opts, 0);
    return graph_open_node(opts, &(NodeSpec){ .flags = below->open_flags },
                           error);
}

BlockDriverState *bdrv_open_image(const char *filename, const char *format,
                                  Options *extra, unsigned flags,
                                  GError **error)
{
    g_autoptr(Options) opts = extra ? extra : options_new("");
    NodeSpec spec = { .flags = flags | BDRV_OPEN_SECTORS };
    BlockDriverState *bs;

    options_set_what(opts, "");
    if (format) {
        options_set_str(opts, "driver", format);
    }
    if (filename && !take_filename(opts, filename, error)) {
        return NULL;
    }
    take_flags(opts, flags);
    bs = image_open_node(g_steal_pointer(&opts), &spec, error);
    if (bs && bs->inactive) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "active=off is for images that wait to be served");
        g_clear_pointer(&bs, bdrv_unref);
    }
    if (bs) {
        warn_probed(bs);
    }
    if (bs && (flags & BDRV_OPEN_COPY_ON_READ)) {
        bs = add_copy_on_read(bs, error);
    }
    if (!bs) {
        image_strip_what(error);
    }
    return bs;
}

/* --- backing files --- */

/* What it is made of in the end: filters have names of their own. */
static const BlockDriverState *file_of(const BlockDriverState *bs)
{
    while (bs && bs->file) {
        bs = bs->file;
    }
    return bs;
}

char *bdrv_backing_path(const char *image, const char *backing,
                        GError **error)
{
    const char *start = image;
    const char *slash;

    if (*backing == '\0' || *backing == '/' ||
        image_filename_has_protocol(backing)) {
        return g_strdup(backing);
    }
    if (g_str_has_prefix(image, "json:") || *image == '\0') {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "Cannot use relative backing file names for '%s'", image);
        return NULL;
    }
    if (image_filename_has_protocol(image)) {
        start = strchr(image, ':') + 1;
    }
    slash = strrchr(start, '/');
    return g_strdup_printf("%.*s%s",
                           (int)((slash ? slash + 1 : start) - image), image,
                           backing);
}

static bool same_file(const BlockDriverState *a, const BlockDriverState *b)
{
    struct stat a_st, b_st;

    if (a->drv != b->drv ||
        (a->drv != &bdrv_file && a->drv != &bdrv_host_device)) {
        return false;
    }
    return stat(a->filename, &a_st) == 0 && stat(b->filename, &b_st) == 0 &&
           a_st.st_dev == b_st.st_dev && a_st.st_ino == b_st.st_ino;
}

/* Only a format goes on to another file from there. */
bool image_check_loop(const BlockDriverState *bs, const Options *opts,
                      GError **error)
{
    const BlockDriverState *file = file_of(bs);

    if (bs->drv == &bdrv_raw || file == bs) {
        return true;
    }
    for (const BlockDriverState *o = bs->overlay; o; o = o->overlay) {
        if (!o->drv->is_filter && same_file(file, file_of(o))) {
            g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                        "%s: Backing file '%s' creates an infinite loop.",
                        options_what(opts), file->filename);
            return false;
        }
    }
    return true;
}

char *bdrv_full_backing_path(const BlockDriverState *bs, GError **error)
{
    return bdrv_backing_path(file_of(bs)->filename, bs->backing_file, error);
}

/* What the image names, as options. False: an error. */
static bool backing_from_header(BlockDriverState *bs, Options *opts,
                                GError **error)
{
    g_autofree char *path = NULL;

    if (bs->backing_format && !options_has(opts, "driver")) {
        options_set_str(opts, "driver", bs->backing_format);
    }
    if (!bs->backing_file || options_peek_str(opts, "file") ||
        options_has(opts, "file.filename") ||
        options_has(opts, "file.driver") ||
        is_protocol_driver(options_peek_str(opts, "driver"))) {
        return true;
    }
    path = bdrv_full_backing_path(bs, error);
    return path && take_filename(opts, path, error);
}

static bool open_backing(BlockDriverState *bs, Options *child_opts,
                         GError **error)
{
    g_autoptr(Options) opts = child_opts;

    return backing_from_header(bs, opts, error) &&
           bdrv_open_child_options(bs, g_steal_pointer(&opts),
                                   BDRV_CHILD_BACKING, &bs->backing, error);
}

static bool is_none(Options *opts)
{
    const char *name = options_peek_str(opts, "backing");
    g_autofree char *taken = NULL;

    if (name && *name == '\0') {
        log_warn("Use of \"backing\": \"\" is deprecated; use \"backing\": "
                 "null instead");
        return options_take_str(opts, "backing", &taken, NULL);
    }
    return options_take_null(opts, "backing");
}

bool bdrv_open_backing(BlockDriverState *bs, Options *opts, GError **error)
{
    Options *child_opts = NULL;
    bool ok;

    if (is_none(opts) || (bs->open_flags & BDRV_OPEN_NO_BACKING)) {
        return true;
    }
    if (!options_take_child(opts, "backing", &child_opts, error)) {
        return false;
    }
    if (child_opts) {
        ok = open_backing(bs, child_opts, error);
    } else if (options_has(opts, "backing")) {
        ok = bdrv_open_child(bs, opts, "backing", BDRV_CHILD_BACKING,
                             &bs->backing, error);
    } else if (bs->backing_file && *bs->backing_file) {
        ok = open_backing(bs, options_new(""), error);
    } else {
        return true;
    }
    if (!ok) {
        image_strip_what(error);
        strip_prefix(error, options_what(opts));
        g_prefix_error(error, "%s: Could not open backing file: ",
                       options_what(opts));
    }
    return ok;
}
