/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Persistent bitmaps. Two images get the same writes and operations, one by
 * Debian's tools and one by us: their bitmaps must be the same all the time.
 */
#include "tests/lib/block.h"
#include "tests/lib/faults.h"
#include "tests/lib/qcow2-ops.h"
#include "tests/lib/qcow2-rig.h"

#include <stdlib.h>
#include <string.h>

#include "block/block-co.h"
#include "block/format/qcow2-bitmap.h"

/* --- what there is on the disk --- */

static uint64_t number(const uint8_t *at, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes; i++) {
        value = value << 8 | at[i];
    }
    return value;
}

/* Where the bitmaps extension of @file is, or NULL. */
static const uint8_t *find_extension(const uint8_t *file)
{
    const uint8_t *at = file + number(file + 100, 4);

    while (number(at, 4) != QCOW2_EXT_END) {
        if (number(at, 4) == QCOW2_EXT_BITMAPS) {
            return at + 8;
        }
        at += 8 + (number(at + 4, 4) + 7) / 8 * 8;
    }
    return NULL;
}

/* All set bits, as ranges. */
static void describe_bits(GString *text, const uint8_t *file,
                          const uint8_t *table, uint64_t entries,
                          uint64_t cluster_bits)
{
    bool before = false;

    for (uint64_t bit = 0; bit < entries * cluster_bits; bit++) {
        uint64_t entry = number(table + bit / cluster_bits * 8, 8);
        uint64_t in = bit % cluster_bits;
        bool set = entry > 1 ? file[entry + in / 8] >> (in % 8) & 1
                             : entry == 1;

        if (set != before) {
            g_string_append_printf(text, "%s%" G_GUINT64_FORMAT,
                                   set ? " " : "-", bit);
        }
        before = set;
    }
}

static const uint8_t *describe_entry(GString *text, const uint8_t *file,
                                     const uint8_t *at)
{
    uint64_t cluster_bits = UINT64_C(8) << number(file + 20, 4);
    unsigned name_bytes = number(at + 18, 2);
    unsigned extra_bytes = number(at + 20, 4);

    g_string_append_printf(text, "%.*s flags=%u granularity=%u bits:",
                           (int)name_bytes, at + 24 + extra_bytes,
                           (unsigned)number(at + 12, 4), at[17]);
    describe_bits(text, file, file + number(at, 8), number(at + 8, 4),
                  cluster_bits);
    g_string_append_c(text, '\n');
    return at + (24 + name_bytes + extra_bytes + 7) / 8 * 8;
}

static char *describe(const TestImage *image)
{
    GString *text = g_string_new(NULL);
    g_autofree char *file = NULL;
    const uint8_t *bytes, *ext, *at;
    gsize length;

    g_assert_true(g_file_get_contents(test_image_path(image), &file, &length,
                                      NULL));
    file = g_realloc(file, length + (2 << 20));
    memset(file + length, 0, 2 << 20);
    bytes = (const uint8_t *)file;
    ext = find_extension(bytes);
    at = ext ? bytes + number(ext + 16, 8) : NULL;
    for (unsigned i = 0; ext && i < number(ext, 4); i++) {
        at = describe_entry(text, bytes, at);
    }
    return g_string_free(text, FALSE);
}

/* --- a random walk --- */

typedef struct Pair {
    TestImage *ours, *theirs;
    GRand *rand;
    int64_t bytes;
} Pair;

static void write_both(Pair *p)
{
    int64_t offset = g_rand_int_range(p->rand, 0, p->bytes / 512) * 512;
    int64_t bytes = g_rand_int_range(p->rand, 1, 300) * 512;
    g_autofree char *command = NULL;

    bytes = MIN(bytes, p->bytes - offset);
    command = g_strdup_printf("write %" G_GINT64_FORMAT " %" G_GINT64_FORMAT,
                              offset, bytes);
    qcow2_image_io(p->theirs, command, NULL);
    if (g_rand_int_range(p->rand, 0, 4) == 0) {
        qcow2_image_io(p->ours, command, NULL);
    } else {
        qcow2_ops_write(p->ours, offset, bytes, 3);
    }
}

static void resize_both(Pair *p)
{
    g_autofree char *size = NULL;

    p->bytes += g_rand_int_range(p->rand, -3000, 3000) * 512;
    p->bytes = MAX(p->bytes, 512);
    size = g_strdup_printf("%" G_GINT64_FORMAT, p->bytes);
    g_free(qcow2_image_run(p->theirs, "resize", "-q", "--shrink", "@", size,
                           NULL));
    qcow2_ops_ok(qcow2_ops_resize(p->ours, p->bytes, PREALLOC_OFF));
}

/* What qemu-img says after the name of the operation; NULL: nothing. */
static char *run_theirs(Pair *p, const char *what, const char *name,
                        const char *granularity)
{
    g_autofree char *option = g_strdup_printf("--%s", what);
    const char *argv[] = { "qemu-img", "bitmap", option,
                           test_image_path(p->theirs), name,
                           granularity ? "-g" : NULL, granularity, NULL };
    g_autofree char *output = NULL;

    if (test_run(argv, &output)) {
        return NULL;
    }
    return g_strstrip(g_strdup(strstr(output, " failed: ") + 9));
}

static void change_both(Pair *p)
{
    static const char *const whats[] = { "add", "add", "add", "remove",
                                         "clear", "enable", "disable" };
    static const char *const sizes[] = { NULL, "512", "4096", "1048576" };
    const char *what = whats[g_rand_int_range(p->rand, 0, 7)];
    const char *size = strcmp(what, "add") == 0
                           ? sizes[g_rand_int_range(p->rand, 0, 4)]
                           : NULL;
    g_autofree char *name = g_strdup_printf("b%d", g_rand_int_range(p->rand,
                                                                    0, 3));
    g_autofree char *theirs = run_theirs(p, what, name, size);
    g_autofree char *ours = qcow2_ops_bitmap(
        p->ours, what, name, size ? g_ascii_strtoull(size, NULL, 10) : 0);

    g_assert_cmpstr(ours, ==, theirs);
}

static void test_random(const void *options)
{
    Pair p = {
        .ours = qcow2_image_new(options, "3M"),
        .theirs = qcow2_image_new(options, "3M"),
        .rand = g_rand_new_with_seed(g_str_hash(options)),
        .bytes = 3 << 20,
    };

    for (unsigned i = 0; i < 40; i++) {
        unsigned what = g_rand_int_range(p.rand, 0, 10);
        g_autofree char *ours = NULL, *theirs = NULL;

        if (what < 4) {
            write_both(&p);
        } else if (what < 9) {
            change_both(&p);
        } else {
            resize_both(&p);
        }
        qcow2_image_check(p.ours);
        ours = describe(p.ours);
        theirs = describe(p.theirs);
        g_assert_cmpstr(ours, ==, theirs);
    }
    g_rand_free(p.rand);
    test_image_free(p.ours);
    test_image_free(p.theirs);
}

/* --- merging --- */

typedef struct MergeOp {
    const char *to, *from;
    BlockDriverState *from_bs; /* NULL: the same image */
} MergeOp;

static bool coroutine_fn merge_op(BlockDriverState *bs, void *opaque,
                                  GError **error)
{
    const MergeOp *op = opaque;

    return bs->drv->image->co_bitmap_merge(bs, op->to,
                                           op->from_bs ? op->from_bs : bs,
                                           op->from, error);
}

/* Finer, coarser, and of another image. */
static void test_merge(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("cluster_size=4k", "2M");
    g_autoptr(TestImage) other = qcow2_image_new("", "2M");
    g_autofree char *bits = NULL, *others = NULL;
    MergeOp op = { "fine", "coarse" };

    qcow2_ops_ok(qcow2_ops_bitmap(image, "add", "coarse", 65536));
    qcow2_ops_write(image, 200000, 1000, 1);
    qcow2_ops_ok(qcow2_ops_bitmap(image, "add", "fine", 512));
    qcow2_ops_ok(qcow2_ops_bitmap(image, "disable", "fine", 0));
    qcow2_ops_ok(qcow2_ops_run(image, merge_op, &op));
    bits = describe(image);
    g_assert_cmpstr(bits, ==,
                    "coarse flags=2 granularity=16 bits: 3-4\n"
                    "fine flags=0 granularity=9 bits: 384-512\n");

    op = (MergeOp){ "x", "fine", qcow2_ops_open(image,
                                               BDRV_OPEN_READ_ONLY) };
    qcow2_ops_ok(qcow2_ops_bitmap(other, "add", "x", 4096));
    qcow2_ops_ok(qcow2_ops_run(other, merge_op, &op));
    bdrv_unref(op.from_bs);
    others = describe(other);
    g_assert_cmpstr(others, ==, "x flags=2 granularity=12 bits: 48-64\n");
    qcow2_image_check(image);
    qcow2_image_check(other);
}

static void test_merge_sizes(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");
    g_autoptr(TestImage) other = qcow2_image_new("", "2M");
    g_autofree char *message = NULL;
    MergeOp op = { "a", "a" };

    qcow2_ops_ok(qcow2_ops_bitmap(other, "add", "a", 0));
    qcow2_ops_ok(qcow2_ops_bitmap(image, "add", "a", 0));
    op.from_bs = qcow2_ops_open(other, BDRV_OPEN_READ_ONLY);
    message = qcow2_ops_run(image, merge_op, &op);
    g_assert_cmpstr(message, ==, "Bitmaps are of different sizes (destination "
                    "size is 1048576, source size is 2097152) and can't be "
                    "merged");
    bdrv_unref(op.from_bs);
}

/* --- compressed --- */

static bool coroutine_fn write_compressed(BlockDriverState *bs, void *opaque,
                                          GError **error)
{
    g_autofree char *text = g_malloc0(2 * 64 * 1024);
    g_autofree char *noise = g_malloc(64 * 1024);
    const BlockImageOps *ops = bs->drv->image;

    test_pattern(noise, 64 * 1024, 1);
    g_assert_cmpint(ops->co_pwrite_compressed(bs, 64 * 1024, 2 * 64 * 1024,
                                              text), ==, 0);
    g_assert_cmpint(ops->co_pwrite_compressed(bs, 7 * 64 * 1024, 64 * 1024,
                                              noise), ==, 0);
    return true;
}

/* Compressed, or as it is because that is shorter. */
static void test_compressed(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");
    g_autofree char *bits = NULL;

    qcow2_ops_ok(qcow2_ops_bitmap(image, "add", "a", 0));
    qcow2_ops_ok(qcow2_ops_run(image, write_compressed, NULL));
    bits = describe(image);
    g_assert_cmpstr(bits, ==, "a flags=2 granularity=16 bits: 1-3 7-8\n");
    qcow2_image_check(image);
}

/* --- in use --- */

static bool coroutine_fn write_and_look(BlockDriverState *bs, void *opaque,
                                        GError **error)
{
    static char buf[512];
    const Qcow2State *s = bs->opaque;
    uint32_t flags;

    for (unsigned i = 0; i < s->bitmaps->len; i++) {
        const Qcow2Bitmap *bitmap = s->bitmaps->pdata[i];
        uint32_t expected = bitmap->flags & QCOW2_BITMAP_AUTO;

        g_assert_cmpint(bdrv_co_pwrite(bs, 0, sizeof(buf), buf, 0), ==, 0);
        g_assert_cmpint(bdrv_co_pread(bs->file, bitmap->flags_offset,
                                      sizeof(flags), &flags), ==, 0);
        expected |= expected ? QCOW2_BITMAP_IN_USE : 0;
        g_assert_cmpuint(GUINT32_FROM_BE(flags), ==, expected);
    }
    return true;
}

/* Whoever looks between the first write and the close is warned. */
static void test_marked(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");
    g_autofree char *before = NULL, *after = NULL;

    qcow2_ops_ok(qcow2_ops_bitmap(image, "add", "on", 0));
    qcow2_ops_ok(qcow2_ops_bitmap(image, "add", "off", 0));
    qcow2_ops_ok(qcow2_ops_bitmap(image, "disable", "off", 0));
    before = describe(image);
    g_assert_cmpstr(before, ==, "on flags=2 granularity=16 bits:\n"
                    "off flags=0 granularity=16 bits:\n");
    qcow2_ops_ok(qcow2_ops_run(image, write_and_look, NULL));
    after = describe(image);
    g_assert_cmpstr(after, ==, "on flags=2 granularity=16 bits: 0-1\n"
                    "off flags=0 granularity=16 bits:\n");
}

/* One that was left in use is left alone, and can only be removed. */
static void test_stale(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");
    g_autofree char *bits = NULL, *message = NULL, *resized = NULL;
    BlockDriverState *bs;
    const Qcow2Bitmap *bitmap;

    qcow2_ops_ok(qcow2_ops_bitmap(image, "add", "a", 0));
    bs = qcow2_ops_open(image, BDRV_OPEN_READ_ONLY);
    bitmap = ((Qcow2State *)bs->opaque)->bitmaps->pdata[0];
    qcow2_image_set32(image, bitmap->flags_offset, 3);
    bdrv_unref(bs);
    qcow2_ops_write(image, 0, 512, 1);
    bits = describe(image);
    g_assert_cmpstr(bits, ==, "a flags=3 granularity=16 bits:\n");
    message = qcow2_ops_bitmap(image, "clear", "a", 0);
    g_assert_cmpstr(message, ==, "Bitmap 'a' is inconsistent and cannot be "
                    "used\nTry block-dirty-bitmap-remove to delete this "
                    "bitmap from disk");
    resized = qcow2_ops_resize(image, 2 << 20, PREALLOC_OFF);
    g_assert_cmpstr(resized, ==, message);
    qcow2_ops_ok(qcow2_ops_bitmap(image, "remove", "a", 0));
    qcow2_image_check(image);
}

/* Regions far from each other, for which two bitmaps take memory: until it is
 * too much. Then they say that they miss something, now and afterwards. */
static bool coroutine_fn note_much(BlockDriverState *bs, void *opaque,
                                   GError **error)
{
    static char buf[512];
    const Qcow2State *s = bs->opaque;
    const int64_t region = 16 << 20, most = 128 << 20;
    unsigned *noted = opaque;

    g_assert_cmpint(bdrv_co_pwrite(bs, 0, sizeof(buf), buf, 0), ==, 0);
    while (s->tracking) {
        g_assert_cmpint(s->pending_bytes, <=, most + 5000);
        qcow2_track_write(bs, *noted * region, 512);
        ++*noted;
    }
    g_assert_cmpint(s->pending_bytes, ==, 0);
    g_assert_cmpint(bdrv_co_pwrite(bs, 0, sizeof(buf), buf, 0), ==, 0);
    g_assert_cmpint(s->pending_bytes, ==, 0);
    return true;
}

static void test_too_much(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1T");
    g_autofree char *bits = NULL;
    unsigned noted = 0;

    qcow2_ops_ok(qcow2_ops_bitmap(image, "add", "a", 512));
    qcow2_ops_ok(qcow2_ops_bitmap(image, "add", "b", 512));
    faults_capture_log();
    qcow2_ops_ok(qcow2_ops_run(image, note_much, &noted));
    g_assert_cmpuint(noted, >, 16000);
    g_assert_cmpuint(faults_log_lines(), ==, 1);
    g_assert_nonnull(strstr(faults_log_line(0), "take more than 128 MiB"));
    bits = qcow2_image_run(image, "info", "@", NULL);
    g_assert_nonnull(strstr(bits, "[0]: in-use"));
    g_assert_nonnull(strstr(bits, "name: b"));
    g_assert_null(strstr(strstr(bits, "[0]: in-use") + 1, "[0]: auto"));
    qcow2_ops_ok(qcow2_ops_bitmap(image, "remove", "a", 0));
    qcow2_image_check(image);
}

static void test_read_only(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");
    BlockDriverState *bs;

    qcow2_ops_ok(qcow2_ops_bitmap(image, "add", "a", 0));
    bs = qcow2_ops_open(image, BDRV_OPEN_READ_ONLY);
    g_assert_false(((Qcow2State *)bs->opaque)->tracking);
    bdrv_unref(bs);
}

static void reopen(BlockDriverState *bs, unsigned flags)
{
    g_autoptr(GError) error = NULL;

    bdrv_reopen(bs, flags, &error);
    g_assert_no_error(error);
}

static void write_cluster(BlockDriverState *bs, int64_t index)
{
    static char buf[64 * 1024];

    bdrv_attach_context(bs, test_ctx());
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, index * sizeof(buf), buf,
                            sizeof(buf)), ==, 0);
    bdrv_detach_context(bs, test_ctx());
}

static void expect_bits(const TestImage *image, const char *expected)
{
    g_autofree char *bits = describe(image);

    g_assert_cmpstr(bits, ==, expected);
}

/* An image that becomes writable, as the base of a commit does, notes what is
 * written, and has it on the disk while it is read-only again. */
static void test_reopen(void)
{
    g_autoptr(TestImage) image = qcow2_image_new("", "1M");
    BlockDriverState *bs;

    qcow2_ops_ok(qcow2_ops_bitmap(image, "add", "a", 0));
    qcow2_ops_ok(qcow2_ops_bitmap(image, "add", "off", 0));
    qcow2_ops_ok(qcow2_ops_bitmap(image, "disable", "off", 0));
    bs = qcow2_ops_open(image, BDRV_OPEN_READ_ONLY);
    reopen(bs, 0);
    write_cluster(bs, 3);
    expect_bits(image, "a flags=3 granularity=16 bits:\n"
                "off flags=0 granularity=16 bits:\n");
    reopen(bs, BDRV_OPEN_READ_ONLY);
    expect_bits(image, "a flags=2 granularity=16 bits: 3-4\n"
                "off flags=0 granularity=16 bits:\n");
    reopen(bs, 0);
    write_cluster(bs, 7);
    bdrv_unref(bs);
    expect_bits(image, "a flags=2 granularity=16 bits: 3-4 7-8\n"
                "off flags=0 granularity=16 bits:\n");
    qcow2_image_check(image);
}

/* Flags, tables and directories are shorter than what the file can write. */
static void test_blocks(void)
{
    TestImage *image = qcow2_image_new("", "1M");
    Qcow2Rig *rig;
    g_autofree char *text = NULL;

    g_free(qcow2_image_run(image, "bitmap", "--add", "@", "b", NULL));
    rig = qcow2_rig_new_with(image, ",file.request-alignment=512");
    g_assert_null(rig->bs->file->range_lock);
    g_assert_cmpint(qcow2_rig_write(rig, 65536, 65536, 1), ==, 0);
    g_assert_cmpint(qcow2_rig_write(rig, 0, 512, 2), ==, 0);
    qcow2_rig_reopen(rig);
    text = describe(rig->image);
    g_assert_cmpstr(text, ==, "b flags=2 granularity=16 bits: 0-2\n");
    qcow2_rig_free(rig);
}

int main(int argc, char **argv)
{
    static const char *const options[] = {
        "cluster_size=64k", "cluster_size=512",
        "cluster_size=1k,refcount_bits=64",
    };
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    test_disk_register();
    for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
        g_autofree char *path = g_strdup_printf("/qcow2-bitmap/random-%s",
                                                options[i]);

        g_test_add_data_func(path, options[i], test_random);
    }
    g_test_add_func("/qcow2-bitmap/merge", test_merge);
    g_test_add_func("/qcow2-bitmap/merge-sizes", test_merge_sizes);
    g_test_add_func("/qcow2-bitmap/marked", test_marked);
    g_test_add_func("/qcow2-bitmap/compressed", test_compressed);
    g_test_add_func("/qcow2-bitmap/stale", test_stale);
    g_test_add_func("/qcow2-bitmap/read-only", test_read_only);
    g_test_add_func("/qcow2-bitmap/reopen", test_reopen);
    g_test_add_func("/qcow2-bitmap/too-much", test_too_much);
    g_test_add_func("/qcow2-bitmap/blocks", test_blocks);
    ret = g_test_run();
    test_block_end();
    return ret;
}
