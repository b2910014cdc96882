/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Operations on whole qcow2 images, for tests. */
#include "tests/lib/qcow2-ops.h"

#include <stdio.h>
#include <string.h>

#include "block/block-co.h"
#include "block/control.h"
#include "block/graph.h"

static BlockDriverState *open_image(const TestImage *image, unsigned flags,
                                    GError **error)
{
    return bdrv_open_image(test_image_path(image), "qcow2", NULL, flags,
                           error);
}

BlockDriverState *qcow2_ops_open(const TestImage *image, unsigned flags)
{
    g_autoptr(GError) error = NULL;
    BlockDriverState *bs = open_image(image, flags, &error);

    g_assert_no_error(error);
    return bs;
}

void qcow2_ops_ok(char *message)
{
    g_assert_cmpstr(message, ==, NULL);
    g_free(message);
}

/* --- running --- */

typedef struct Qcow2Op {
    BlockDriverState *bs;
    Qcow2OpFn *fn;
    void *opaque;
    GError *error;
    bool ok;
} Qcow2Op;

static void coroutine_fn op_entry(void *opaque)
{
    Qcow2Op *op = opaque;

    op->ok = op->fn(op->bs, op->opaque, &op->error);
}

/* A message there is if, and only if, it failed. */
static char *finish(Qcow2Op *op)
{
    char *message = op->error ? g_strdup(op->error->message) : NULL;

    g_assert_cmpint(op->ok, ==, op->error == NULL);
    g_clear_error(&op->error);
    return message;
}

char *qcow2_ops_run(const TestImage *image, Qcow2OpFn *fn, void *opaque)
{
    Qcow2Op op = { .fn = fn, .opaque = opaque };

    op.bs = open_image(image, 0, &op.error);
    if (op.bs) {
        bdrv_run_co(op.bs, op_entry, &op);
        bdrv_unref(op.bs);
    }
    return finish(&op);
}

/* --- snapshots and bitmaps --- */

typedef struct NamedOp {
    const char *what, *name;
    uint32_t granularity;
} NamedOp;

static bool coroutine_fn take_snapshot(BlockDriverState *bs, const char *name,
                                       GError **error)
{
    BlockSnapshot snapshot = { .name = (char *)name, .date_s = 1000000000 };
    bool ok = bs->drv->image->co_snapshot_create(bs, &snapshot, error);

    g_free(snapshot.id);
    return ok;
}

static bool coroutine_fn snapshot_op(BlockDriverState *bs, void *opaque,
                                     GError **error)
{
    const BlockImageOps *ops = bs->drv->image;
    const NamedOp *op = opaque;

    if (strcmp(op->what, "create") == 0) {
        return take_snapshot(bs, op->name, error);
    }
    return strcmp(op->what, "apply") == 0
               ? ops->co_snapshot_apply(bs, op->name, error)
               : ops->co_snapshot_delete(bs, op->name, error);
}

char *qcow2_ops_snapshot(const TestImage *image, const char *what,
                         const char *name)
{
    return qcow2_ops_run(image, snapshot_op,
                         &(NamedOp){ .what = what, .name = name });
}

static bool coroutine_fn bitmap_op(BlockDriverState *bs, void *opaque,
                                   GError **error)
{
    const BlockImageOps *ops = bs->drv->image;
    const NamedOp *op = opaque;

    if (strcmp(op->what, "add") == 0) {
        return ops->co_bitmap_add(bs, op->name, op->granularity, error);
    }
    if (strcmp(op->what, "remove") == 0) {
        return ops->co_bitmap_remove(bs, op->name, error);
    }
    if (strcmp(op->what, "clear") == 0) {
        return ops->co_bitmap_clear(bs, op->name, error);
    }
    return ops->co_bitmap_enable(bs, op->name,
                                 strcmp(op->what, "enable") == 0, error);
}

char *qcow2_ops_bitmap(const TestImage *image, const char *what,
                       const char *name, uint32_t granularity)
{
    return qcow2_ops_run(image, bitmap_op,
                         &(NamedOp){ .what = what, .name = name,
                                     .granularity = granularity });
}

/* --- shape --- */

static bool coroutine_fn resize_op(BlockDriverState *bs, void *opaque,
                                   GError **error)
{
    return bs->drv->image->co_truncate(bs, opaque, error);
}

char *qcow2_ops_resize(const TestImage *image, int64_t bytes,
                       BlockPrealloc prealloc)
{
    return qcow2_ops_run(image, resize_op,
                         &(BlockTruncate){ .bytes = bytes, .exact = true,
                                           .prealloc = prealloc });
}

char *qcow2_ops_amend(const TestImage *image, const char *options)
{
    Qcow2Op op = { 0 };
    g_autoptr(Options) opts = options_parse(options, "amend", NULL, NULL);

    g_assert_nonnull(opts);
    op.bs = open_image(image, 0, &op.error);
    if (op.bs) {
        op.ok = op.bs->drv->image->amend(op.bs, opts, false, &op.error);
        bdrv_unref(op.bs);
    }
    return finish(&op);
}

char *qcow2_ops_create(const char *filename, const char *options)
{
    Qcow2Op op = { 0 };
    g_autoptr(Options) opts = options_parse(options, "create", NULL, NULL);

    g_assert_nonnull(opts);
    op.ok = bdrv_find_driver("qcow2")->image->create(filename, opts,
                                                     &op.error);
    return finish(&op);
}

/* --- writing --- */

typedef struct WriteOp {
    int64_t offset, bytes;
    uint8_t byte;
} WriteOp;

static bool coroutine_fn write_op(BlockDriverState *bs, void *opaque,
                                  GError **error)
{
    const WriteOp *op = opaque;
    g_autofree void *buf = g_malloc(op->bytes);

    memset(buf, op->byte, op->bytes);
    g_assert_cmpint(bdrv_co_pwrite(bs, op->offset, op->bytes, buf, 0), ==, 0);
    return true;
}

void qcow2_ops_write(const TestImage *image, int64_t offset, int64_t bytes,
                     uint8_t byte)
{
    qcow2_ops_ok(qcow2_ops_run(image, write_op,
                               &(WriteOp){ offset, bytes, byte }));
}

/* --- checks --- */

typedef struct CheckOp {
    BlockCheck check;
    GPtrArray *lines;
} CheckOp;

static void add_line(void *opaque, const char *line)
{
    g_ptr_array_add(opaque, g_strdup(line));
}

static bool coroutine_fn check_op(BlockDriverState *bs, void *opaque,
                                  GError **error)
{
    return bs->drv->image->co_check(bs, opaque, error);
}

static int compare_lines(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *join_sorted(GPtrArray *lines)
{
    GString *text = g_string_new(NULL);

    g_ptr_array_sort(lines, compare_lines);
    for (unsigned i = 0; i < lines->len; i++) {
        g_string_append_printf(text, "%s\n", (char *)lines->pdata[i]);
    }
    return g_string_free(text, FALSE);
}

char *qcow2_ops_check(const TestImage *image, unsigned fix, BlockCheck *check)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
    BlockCheck local;
    Qcow2Op op = { .fn = check_op };
    g_autofree char *message = NULL;

    check = check ? check : &local;
    *check = (BlockCheck){ .fix = fix, .report = add_line,
                           .report_opaque = lines };
    op.opaque = check;
    op.bs = open_image(image, BDRV_OPEN_CHECK | BDRV_OPEN_NO_BACKING |
                                  (fix ? 0 : BDRV_OPEN_READ_ONLY), &op.error);
    if (op.bs) {
        bdrv_run_co(op.bs, op_entry, &op);
        bdrv_unref(op.bs);
    }
    message = finish(&op);
    if (message) {
        add_line(lines, message);
    }
    return join_sorted(lines);
}

/* Not a line of the report, but of what qemu-img makes of it. */
static bool is_summary(const char *line)
{
    return !*line || strstr(line, "errors were found") ||
           strstr(line, "leaked clusters were found") ||
           strstr(line, "internal errors have") ||
           strstr(line, "% allocated") ||
           g_str_has_prefix(line, "Image end offset") ||
           g_str_has_prefix(line, "Data may be corrupted") ||
           g_str_has_prefix(line, "This means waste") ||
           g_str_has_prefix(line, "qcow2: ");
}

char *qcow2_image_check_lines(const TestImage *image)
{
    const char *argv[] = { "qemu-img", "check", "-f", "qcow2",
                           test_image_path(image), NULL };
    g_autoptr(GPtrArray) lines = g_ptr_array_new();
    g_autofree char *output = NULL;
    g_auto(GStrv) all = NULL;

    test_run(argv, &output);
    all = g_strsplit(output, "\n", -1);
    for (unsigned i = 0; all[i]; i++) {
        if (!is_summary(all[i])) {
            g_ptr_array_add(lines, all[i]);
        }
    }
    return join_sorted(lines);
}

char *qcow2_image_checksum(const TestImage *image, const char *snapshot)
{
    g_autofree char *raw = g_strdup_printf("%s.raw", test_image_path(image));
    g_autofree char *option = g_strdup_printf("snapshot.name=%s",
                                              snapshot ? snapshot : "");
    g_autofree char *contents = NULL;
    gsize length;

    g_free(snapshot ? qcow2_image_run(image, "convert", "-l", option, "-f",
                                      "qcow2", "-O", "raw", "@", raw, NULL)
                    : qcow2_image_run(image, "convert", "-f", "qcow2", "-O",
                                      "raw", "@", raw, NULL));
    g_assert_true(g_file_get_contents(raw, &contents, &length, NULL));
    g_assert_cmpint(remove(raw), ==, 0);
    return g_compute_checksum_for_data(G_CHECKSUM_MD5, (guchar *)contents,
                                       length);
}
