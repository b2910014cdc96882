/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images from strangers in the hands of guests who write, and of people who do
 * to a disk in use whatever can be done. Whatever the image: the header and
 * the tables that lead to everything are ours alone. An image that a check
 * calls clean, and where no two share a cluster, stays clean, contains what was
 * written, in its snapshots as well, and is not written to far behind its end.
 *
 * Input: the image, and behind it SCRIPT_BYTES that say how it is opened and
 * what is done.
 */
#include "fuzz-image.h"
#include "fuzz-qcow2-model.h"

#include "block/block-co.h"
#include "block/control.h"
#include "block/graph.h"
#include "block/image.h"
#include "fuzz.h"

#include <string.h>

#define STEPS        12
#define STEP_BYTES   4
#define SCRIPT_BYTES (1 + STEPS * STEP_BYTES)

#define WRITE_MAX (256 * 1024)
#define BURST     4
#define REACH_MAX (256 << 20)  /* of the steps, in the worst case */

/* Bits of the first byte of a script. */
#define HOW_OUTLIVED  0x01
#define HOW_LAZY      0x02
#define HOW_NO_UNMAP  0x04
#define HOW_SMALL     0x08  /* caches */
#define HOW_NO_UNREF  0x10
#define HOW_DETECT    0x20
#define HOW_NO_BASE   0x40

typedef enum StepKind {
    STEP_WRITE, STEP_BURST, STEP_ZEROES, STEP_DISCARD, STEP_FLUSH,
    STEP_COMPRESSED, STEP_RESIZE, STEP_SNAPSHOT, STEP_APPLY, STEP_DELETE,
    STEP_ADD_BITMAP, STEP_REMOVE_BITMAP, STEP_CLEAR_BITMAP,
    STEP_ENABLE_BITMAP, STEP_VMSTATE, STEP_COMMIT, STEP_BACKING, STEP_REPAIR,
    STEP_REOPEN, STEP_FAIL, STEP__COUNT
} StepKind;

typedef struct Step {
    StepKind kind;
    uint8_t how, at, more;
} Step;

typedef struct SavedSnapshot {
    char *id;
    FuzzModel contents;
} SavedSnapshot;

/* What is known of the image. */
static struct {
    uint8_t how;
    BlockDriverState *bs;
    bool clean;            /* a check has said so */
    bool trouble;          /* requests have failed: there may be leaks */
    bool leaky;            /* there may be some anyway */
    FuzzModel model;       /* of a clean image */
    GPtrArray *saved;      /* of SavedSnapshot */
    Step step;
} run;

static uint8_t buf[WRITE_MAX];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_image_init();
    return 0;
}

static void saved_free(void *opaque)
{
    SavedSnapshot *saved = opaque;

    fuzz_model_clear(&saved->contents);
    g_free(saved->id);
    g_free(saved);
}

/* --- checks --- */

/* Shown with G_MESSAGES_DEBUG=all, as steps are. */
static void report(void *opaque, const char *line)
{
    g_debug("%s", line);
}

/* True when there is nothing wrong with it, or leaks only. */
static bool coroutine_fn co_check(unsigned fix)
{
    BlockCheck check = { .fix = fix, .report = report };

    return run.bs->drv->image->co_check(run.bs, &check, NULL) &&
           check.check_errors == 0 && check.corruptions == 0 &&
           (run.trouble || run.leaky || check.leaks == 0);
}

static void coroutine_fn check_entry(void *opaque)
{
    bool *good = opaque;

    *good = co_check(0);
}

static void coroutine_fn load_entry(void *opaque)
{
    fuzz_model_load(&run.model, run.bs);
}

static void coroutine_fn compare_entry(void *opaque)
{
    fuzz_model_compare(&run.model, run.bs);
}

static void coroutine_fn compare_snapshot_entry(void *opaque)
{
    const SavedSnapshot *saved = opaque;

    g_assert_true(run.bs->drv->image->co_snapshot_load(run.bs, saved->id,
                                                       NULL));
    fuzz_model_compare(&saved->contents, run.bs);
}

/* Opened read-only for one thing. False when it does not open. */
static bool look(CoroutineFn *fn, void *opaque)
{
    run.bs = fuzz_image_open("\"read-only\":true,");
    if (!run.bs) {
        return false;
    }
    bdrv_run_co(run.bs, fn, opaque);
    g_clear_pointer(&run.bs, bdrv_unref);
    return true;
}

/* A check does not look at where entries lead to in a data file. */
static bool is_clean(bool good)
{
    return good && !fuzz_image_shares() &&
           (run.model.bytes || !fuzz_image_has_data_file());
}

/* Counts behind the end of the file are no leaks until it gets longer. */
static bool counts_behind_end(void)
{
    bool good = true;

    fuzz_image_pad();
    look(check_entry, &good);
    fuzz_image_unpad();
    return !good;
}

static void check_first(void)
{
    bool good = false;

    if (look(check_entry, &good) && good) {
        look(load_entry, NULL);
        run.clean = is_clean(good);
        run.leaky = counts_behind_end();
    }
}

static void coroutine_fn mend_entry(void *opaque)
{
    co_check(BLOCK_CHECK_FIX_LEAKS);
}

/* Counts that are too high may be at odds with what entries say of them. */
static void mend_leaks(void)
{
    run.bs = fuzz_image_open("");
    g_assert_nonnull(run.bs);
    bdrv_run_co(run.bs, mend_entry, NULL);
    g_clear_pointer(&run.bs, bdrv_unref);
    run.trouble = false;
}

/* What has been closed. */
static void check_clean(void)
{
    bool good = false;

    if (!run.clean) {
        return;
    }
    if (run.trouble) {
        mend_leaks();
    }
    g_assert_true(look(check_entry, &good));
    g_assert_true(good);
    look(compare_entry, NULL);
    for (unsigned i = 0; i < run.saved->len; i++) {
        look(compare_snapshot_entry, run.saved->pdata[i]);
    }
}

/* --- where and how much --- */

static int64_t cluster_bytes(void)
{
    return run.bs->limits.discard_alignment;
}

/* All over the disk, or near the beginning; a byte more now and then. */
static int64_t choose_offset(void)
{
    int64_t offset = (int64_t)run.step.at * (run.bs->total_bytes / 256);

    if (run.step.more & 0x80) {
        offset = (int64_t)run.step.at * cluster_bytes() / 4;
    }
    offset = run.step.more & 0x40 ? offset : offset & ~INT64_C(511);
    return offset < run.bs->total_bytes ? offset : 0;
}

static int64_t choose_bytes(int64_t offset)
{
    const int64_t sizes[] = { 512, 4096, 1, cluster_bytes(),
                              3 * cluster_bytes() / 2, 65536, WRITE_MAX,
                              2 * cluster_bytes() };
    int64_t bytes = sizes[run.step.more % G_N_ELEMENTS(sizes)];

    return MIN(MIN(bytes, WRITE_MAX), run.bs->total_bytes - offset);
}

/* --- what guests do --- */

/* A request ended that should have made the range @byte. */
static void coroutine_fn note(int ret, int64_t offset, int64_t bytes,
                              uint8_t byte)
{
    if (ret == 0) {
        fuzz_model_set(&run.model, offset, bytes, byte);
    } else {
        run.trouble = true;
        fuzz_model_adopt(&run.model, run.bs, offset, bytes);
    }
}

static uint8_t fill(int64_t bytes)
{
    uint8_t byte = FUZZ_IMAGE_DATA | (run.step.how & 0xf);

    memset(buf, byte, bytes);
    return byte;
}

static void coroutine_fn write_some(void)
{
    int64_t offset = choose_offset(), bytes = choose_bytes(offset);
    uint8_t byte = fill(bytes);

    note(bdrv_co_pwrite(run.bs, offset, bytes, buf,
                        run.step.how & 0x10 ? BLOCK_REQ_FUA : 0),
         offset, bytes, byte);
}

/* Side by side, neighbours or with a gap. */
static void coroutine_fn write_burst(void)
{
    int64_t offset = choose_offset(), bytes = choose_bytes(offset) / BURST;
    int64_t step = run.step.how & 0x10 ? bytes : bytes + 512;
    uint8_t byte = fill(bytes);
    struct iovec iov = { .iov_base = buf, .iov_len = bytes };
    BlockIo ios[BURST] = { 0 };
    unsigned count = 0;
    int ret;

    for (; bytes && count < BURST; count++) {
        int64_t at = offset + count * step;

        if (at + bytes > run.bs->total_bytes) {
            break;
        }
        ios[count] = (BlockIo){ .op = BLOCK_WRITE, .offset = at,
                                .bytes = bytes, .iov = &iov, .niov = 1 };
    }
    ret = bdrv_co_io_all(run.bs, ios, count);
    for (unsigned i = 0; i < count; i++) {
        note(ret, ios[i].offset, bytes, byte);
    }
}

static void coroutine_fn write_zeroes(void)
{
    int64_t offset = choose_offset();
    int64_t bytes = run.step.how & 0x20
                        ? MIN(run.bs->total_bytes - offset, 1 << 30)
                        : choose_bytes(offset);
    unsigned flags = run.step.how & 0x10 ? BLOCK_REQ_MAY_UNMAP : 0;

    note(bdrv_co_pwrite_zeroes(run.bs, offset, bytes, flags), offset, bytes,
         0);
}

/* A hint: what is there then is what is there. */
static void coroutine_fn discard(void)
{
    int64_t offset = choose_offset();
    int64_t bytes = run.step.how & 0x20
                        ? MIN(run.bs->total_bytes - offset, 1 << 30)
                        : choose_bytes(offset);

    run.trouble |= bdrv_co_pdiscard(run.bs, offset, bytes) < 0;
    fuzz_model_adopt(&run.model, run.bs, offset, bytes);
}

static void coroutine_fn write_compressed(void)
{
    int64_t offset = choose_offset() / cluster_bytes() * cluster_bytes();
    int64_t bytes = MIN(cluster_bytes(), run.bs->total_bytes - offset);
    uint8_t byte = fill(MIN(bytes, WRITE_MAX));
    int ret;

    if (bytes == 0 || bytes > WRITE_MAX) {
        return;
    }
    ret = run.bs->drv->image->co_pwrite_compressed(run.bs, offset, bytes,
                                                   buf);
    note(ret, offset, bytes, byte);
    run.bs->drv->image->co_pwrite_compressed(run.bs, 0, 0, NULL);
}

/* --- what people do to a disk --- */

static void coroutine_fn resize(void)
{
    int64_t old = run.bs->total_bytes;
    BlockTruncate to = {
        .exact = true,
        .prealloc = run.step.how & 0x10 ? PREALLOC_METADATA : PREALLOC_OFF,
        .bytes = run.step.how & 1 ? old + (run.step.at + 1) * 2048
                                  : old / 512 * run.step.at / 256 * 512,
    };

    if (bdrv_co_truncate(run.bs, &to, NULL)) {
        fuzz_model_resize(&run.model, to.bytes);
    } else {
        run.trouble = true;
        fuzz_model_load(&run.model, run.bs);
    }
}

static void coroutine_fn take_snapshot(void)
{
    g_autofree char *name = g_strdup_printf("s%u", run.step.how % 8);
    BlockSnapshot snapshot = {
        .name = name, .icount = UINT64_MAX,
        .vm_state_bytes = run.step.how & 0x10 ? run.step.at * 512 : 0,
    };
    SavedSnapshot *saved;

    if (!run.bs->drv->image->co_snapshot_create(run.bs, &snapshot, NULL)) {
        run.trouble = true;
        return;
    }
    saved = g_new0(SavedSnapshot, 1);
    saved->id = snapshot.id;
    fuzz_model_copy(&saved->contents, &run.model);
    g_ptr_array_add(run.saved, saved);
}

/* The id of one of them, or NULL. */
static char *choose_snapshot(void)
{
    g_autoptr(GPtrArray) list = run.bs->drv->image->snapshot_list(run.bs);
    const BlockSnapshot *snapshot;

    if (!list || list->len == 0) {
        return NULL;
    }
    snapshot = list->pdata[run.step.how % list->len];
    return g_strdup(snapshot->id);
}

static SavedSnapshot *find_saved(const char *id)
{
    for (unsigned i = 0; i < run.saved->len; i++) {
        SavedSnapshot *saved = run.saved->pdata[i];

        if (strcmp(saved->id, id) == 0) {
            return saved;
        }
    }
    return NULL;
}

static void coroutine_fn apply_snapshot(void)
{
    g_autofree char *id = choose_snapshot();
    const SavedSnapshot *saved = id ? find_saved(id) : NULL;

    if (!id) {
        return;
    }
    if (run.bs->drv->image->co_snapshot_apply(run.bs, id, NULL) && saved) {
        fuzz_model_copy(&run.model, &saved->contents);
        return;
    }
    run.trouble |= saved != NULL;
    if (run.model.bytes) {
        fuzz_model_load(&run.model, run.bs);
    }
}

static void coroutine_fn delete_snapshot(void)
{
    g_autofree char *id = choose_snapshot();
    SavedSnapshot *saved = id ? find_saved(id) : NULL;

    if (id && !run.bs->drv->image->co_snapshot_delete(run.bs, id, NULL)) {
        run.trouble = true;
    }
    if (saved) { /* of one that could not be deleted half may be left */
        g_ptr_array_remove(run.saved, saved);
    }
}

static char *choose_bitmap(void)
{
    g_autoptr(GPtrArray) list = run.bs->drv->image->bitmap_list(run.bs);
    const BlockBitmapInfo *bitmap;

    if (!list || list->len == 0) {
        return g_strdup("b");
    }
    bitmap = list->pdata[run.step.how % list->len];
    return g_strdup(bitmap->name);
}

static void coroutine_fn change_bitmaps(void)
{
    const BlockImageOps *ops = run.bs->drv->image;
    g_autofree char *name = choose_bitmap();
    g_autofree char *new_name = g_strdup_printf("b%u", run.step.how % 8);
    bool ok = false;

    switch (run.step.kind) {
    case STEP_ADD_BITMAP:
        ok = ops->co_bitmap_add(run.bs, new_name, 512u << run.step.at % 12,
                                NULL);
        break;
    case STEP_REMOVE_BITMAP:
        ok = ops->co_bitmap_remove(run.bs, name, NULL);
        break;
    case STEP_CLEAR_BITMAP:
        ok = ops->co_bitmap_clear(run.bs, name, NULL);
        break;
    default:
        ok = ops->co_bitmap_enable(run.bs, name, run.step.at & 1, NULL);
    }
    run.trouble |= !ok;
}

static void coroutine_fn write_vmstate(void)
{
    int64_t offset = run.step.at * 512;

    fill(4096);
    run.trouble |= run.bs->drv->image->co_vmstate(run.bs, BLOCK_WRITE, offset,
                                                  4096, buf) < 0;
}

/* What the image has goes to the disk below; nothing that fits is lost. */
static void coroutine_fn commit(void)
{
    bool whole = fuzz_image_commit(run.bs);

    if (run.bs->drv->image->co_make_empty(run.bs) < 0) {
        run.trouble = true;
        whole = false;
    }
    if (!whole && run.model.bytes) {
        fuzz_model_load(&run.model, run.bs);
    }
}

/* What is below is another one when the image is opened next. */
static void coroutine_fn change_backing(void)
{
    run.trouble |= !run.bs->drv->image->co_change_backing(
        run.bs, run.step.how & 1 ? "base" : NULL,
        run.step.how & 1 ? "raw" : NULL, NULL);
    fuzz_model_clear(&run.model);
    g_ptr_array_set_size(run.saved, 0);
}

/* What was repaired is clean from here on. */
static void coroutine_fn repair(void)
{
    bool good = co_check(BLOCK_CHECK_FIX_LEAKS | BLOCK_CHECK_FIX_ERRORS);

    if (!run.clean) {
        run.leaky = true; /* behind the end nobody has looked */
        g_ptr_array_set_size(run.saved, 0);
        fuzz_model_load(&run.model, run.bs);
        run.clean = is_clean(good);
    }
}

/* --- steps --- */

static void coroutine_fn guest_step(void)
{
    switch (run.step.kind) {
    case STEP_WRITE:
        write_some();
        break;
    case STEP_BURST:
        write_burst();
        break;
    case STEP_ZEROES:
        write_zeroes();
        break;
    case STEP_DISCARD:
        discard();
        break;
    case STEP_COMPRESSED:
        write_compressed();
        break;
    default:
        run.trouble |= bdrv_co_flush(run.bs) < 0;
    }
}

static void coroutine_fn step_entry(void *opaque)
{
    static void coroutine_fn (*const steps[STEP__COUNT])(void) = {
        [STEP_RESIZE] = resize,
        [STEP_SNAPSHOT] = take_snapshot,
        [STEP_APPLY] = apply_snapshot,
        [STEP_DELETE] = delete_snapshot,
        [STEP_ADD_BITMAP] = change_bitmaps,
        [STEP_REMOVE_BITMAP] = change_bitmaps,
        [STEP_CLEAR_BITMAP] = change_bitmaps,
        [STEP_ENABLE_BITMAP] = change_bitmaps,
        [STEP_VMSTATE] = write_vmstate,
        [STEP_COMMIT] = commit,
        [STEP_BACKING] = change_backing,
        [STEP_REPAIR] = repair,
    };

    if (steps[run.step.kind]) {
        steps[run.step.kind]();
    } else {
        guest_step();
    }
    if (run.clean) {
        fuzz_model_compare(&run.model, run.bs);
    }
}

static bool open_to_write(void)
{
    g_autofree char *options = g_strdup_printf(
        "%s%s%s%s%s",
        run.how & HOW_NO_UNMAP ? "" : "\"discard\":\"unmap\",",
        run.how & HOW_LAZY ? "\"lazy-refcounts\":true," : "",
        run.how & HOW_SMALL ? "\"l2-cache-size\":4096,"
                              "\"refcount-cache-size\":4096," : "",
        run.how & HOW_NO_UNREF ? "\"discard-no-unref\":true," : "",
        run.how & HOW_DETECT ? "\"detect-zeroes\":\"on\"," : "");

    run.bs = fuzz_image_open(options);
    g_debug("opened: %d, with %s", run.bs != NULL, options);
    if (run.bs) {
        bdrv_add_outlived(run.bs, run.how & HOW_OUTLIVED);
    }
    return run.bs;
}

/* Nobody would hear of errors. */
static void close_image(void)
{
    fuzz_image_fail(0, 0);
    bdrv_add_outlived(run.bs, -(run.how & HOW_OUTLIVED));
    g_clear_pointer(&run.bs, bdrv_unref);
}

static bool reopen(void)
{
    close_image();
    check_clean();
    return open_to_write();
}

static bool load(void)
{
    if (run.clean) {
        bdrv_run_co(run.bs, load_entry, NULL);
    }
    return true;
}

/* False when the image does not open any more. */
static bool do_step(void)
{
    g_debug("step %u: how %#x, at %u, more %#x", run.step.kind, run.step.how,
            run.step.at, run.step.more);
    if (run.step.kind == STEP_FAIL) {
        run.trouble = true;
        fuzz_image_fail(run.step.at % 32, 1 + run.step.how % 4);
        return true;
    }
    if (run.step.kind == STEP_REOPEN) {
        return reopen();
    }
    bdrv_run_co(run.bs, step_entry, NULL);
    fuzz_image_check_tables();
    return run.step.kind != STEP_BACKING || (reopen() && load());
}

static void do_script(const uint8_t *script)
{
    run.how = *script++;
    fuzz_image_use_base(!(run.how & HOW_NO_BASE));
    check_first();
    if (!open_to_write()) {
        g_assert_false(run.clean && !(run.how & (HOW_NO_UNREF | HOW_LAZY)));
        return;
    }
    for (unsigned i = 0; i < STEPS; i++, script += STEP_BYTES) {
        run.step = (Step){ script[0] % STEP__COUNT, script[1], script[2],
                           script[3] };
        if (!do_step()) {
            g_assert_false(run.clean);
            return;
        }
    }
    close_image();
    check_clean();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes > FUZZ_IMAGE_MAX || bytes < SCRIPT_BYTES) {
        return 0;
    }
    bytes -= SCRIPT_BYTES;
    run.clean = run.trouble = run.leaky = false;
    run.saved = g_ptr_array_new_with_free_func(saved_free);
    fuzz_image_set(data, bytes);
    do_script(data + bytes);
    g_assert_true(!run.clean || fuzz_image_reach() < REACH_MAX);
    fuzz_model_clear(&run.model);
    g_clear_pointer(&run.saved, g_ptr_array_unref);
    return 0;
}
