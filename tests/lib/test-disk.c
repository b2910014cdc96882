/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The test-disk driver. */
#include "tests/lib/test-disk.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

#include "block/image.h"
#include "block/iov.h"

#define SECTOR 512

typedef enum EntryKind {
    ENTRY_DATA,        /* data, or zeroes when that is NULL */
    ENTRY_LENGTH,      /* the disk is offset bytes long from now on */
    ENTRY_FLUSH_BEGIN, /* bytes: which flush */
    ENTRY_FLUSH_END,
} EntryKind;

typedef struct Entry {
    const TestDisk *disk;
    EntryKind kind;
    int64_t offset;
    int64_t bytes;
    uint8_t *data;
} Entry;

struct TestDisk {
    char *name;
    GByteArray *data;
    GByteArray *before;  /* contents when the log began */
    GPtrArray *log;      /* of Entry, perhaps with others; or NULL: nothing
                            is remembered */
    GRand *rand;
    int64_t limit;
    unsigned counts[BLOCK_OP__COUNT];
    int64_t reach;
    unsigned fail_after[BLOCK_OP__COUNT], fail_count[BLOCK_OP__COUNT];
    int64_t flushes;
    bool hold[BLOCK_OP__COUNT];
    GPtrArray *held;     /* of Pending */
};

typedef struct DiskNode {
    TestDisk *disk;
    uint64_t delay;
} DiskNode;

static GPtrArray *disks;

/* --- the disk --- */

static void entry_free(void *opaque)
{
    Entry *entry = opaque;

    g_free(entry->data);
    g_free(entry);
}

TestDisk *test_disk_new(const char *name, uint32_t seed)
{
    TestDisk *disk = g_new0(TestDisk, 1);

    disk->name = g_strdup(name);
    disk->data = g_byte_array_new();
    disk->held = g_ptr_array_new();
    disk->rand = g_rand_new_with_seed(seed);
    if (!disks) {
        disks = g_ptr_array_new();
    }
    g_ptr_array_add(disks, disk);
    return disk;
}

void test_disk_free(TestDisk *disk)
{
    g_ptr_array_remove(disks, disk);
    if (disks->len == 0) {
        g_clear_pointer(&disks, g_ptr_array_unref);
    }
    g_assert_cmpuint(disk->held->len, ==, 0);
    g_ptr_array_unref(disk->held);
    g_byte_array_unref(disk->data);
    g_clear_pointer(&disk->before, g_byte_array_unref);
    g_clear_pointer(&disk->log, g_ptr_array_unref);
    g_rand_free(disk->rand);
    g_free(disk->name);
    g_free(disk);
}

static TestDisk *find_disk(const char *name)
{
    for (unsigned i = 0; disks && i < disks->len; i++) {
        TestDisk *disk = disks->pdata[i];

        if (strcmp(disk->name, name) == 0) {
            return disk;
        }
    }
    g_assert_not_reached();
}

void test_disk_set(TestDisk *disk, const void *data, size_t bytes)
{
    g_byte_array_set_size(disk->data, 0);
    g_byte_array_append(disk->data, data, bytes);
}

void test_disk_load(TestDisk *disk, const char *path)
{
    g_autofree char *contents = NULL;
    gsize bytes;

    g_assert_true(g_file_get_contents(path, &contents, &bytes, NULL));
    test_disk_set(disk, contents, bytes);
}

void test_disk_store(const TestDisk *disk, const char *path)
{
    /* without this a longer file would keep its tail */
    g_unlink(path);
    g_assert_true(g_file_set_contents_full(path, (char *)disk->data->data,
                                           disk->data->len,
                                           G_FILE_SET_CONTENTS_NONE, 0600,
                                           NULL));
}

int64_t test_disk_bytes(const TestDisk *disk)
{
    return disk->data->len;
}

uint8_t *test_disk_data(TestDisk *disk)
{
    return disk->data->data;
}

static void set_length(GByteArray *data, int64_t bytes)
{
    int64_t before = data->len;

    g_assert_cmpint(bytes, <, 1 << 30);
    g_byte_array_set_size(data, bytes);
    if (bytes > before) {
        memset(data->data + before, 0, bytes - before);
    }
}

void test_disk_set_length(TestDisk *disk, int64_t bytes)
{
    set_length(disk->data, bytes);
}

static void put(GByteArray *data, int64_t offset, const uint8_t *from,
                int64_t bytes)
{
    if (offset + bytes > data->len) {
        set_length(data, offset + bytes);
    }
    if (from) {
        memcpy(data->data + offset, from, bytes);
    } else {
        memset(data->data + offset, 0, bytes);
    }
}

/* --- the log --- */

static void take_log(TestDisk *disk, GPtrArray *log)
{
    g_clear_pointer(&disk->log, g_ptr_array_unref);
    g_clear_pointer(&disk->before, g_byte_array_unref);
    disk->log = log;
    disk->before = g_byte_array_new();
    g_byte_array_append(disk->before, disk->data->data, disk->data->len);
}

void test_disk_start_log(TestDisk *disk)
{
    take_log(disk, g_ptr_array_new_with_free_func(entry_free));
}

void test_disk_join_log(TestDisk *disk, const TestDisk *other)
{
    take_log(disk, g_ptr_array_ref(other->log));
}

unsigned test_disk_log_length(const TestDisk *disk)
{
    return disk->log ? disk->log->len : 0;
}

bool test_disk_is_flush(const TestDisk *disk, unsigned i)
{
    const Entry *entry = disk->log->pdata[i];

    return entry->kind == ENTRY_FLUSH_END;
}

static void remember(TestDisk *disk, EntryKind kind, int64_t offset,
                     int64_t bytes, const uint8_t *data)
{
    Entry *entry;

    if (!disk->log) {
        return;
    }
    entry = g_new(Entry, 1);
    entry->disk = disk;
    entry->kind = kind;
    entry->offset = offset;
    entry->bytes = bytes;
    entry->data = data ? g_memdup2(data, bytes) : NULL;
    g_ptr_array_add(disk->log, entry);
}

static unsigned find_flush_begin(const TestDisk *disk, unsigned end,
                                 int64_t flush)
{
    for (unsigned i = end; i > 0; i--) {
        const Entry *entry = disk->log->pdata[i - 1];

        if (entry->disk == disk && entry->kind == ENTRY_FLUSH_BEGIN &&
            entry->bytes == flush) {
            return i - 1;
        }
    }
    g_assert_not_reached();
}

/* Entries that no power cut after @length entries can lose. Flushes may end
 * in another order than they began in. */
static unsigned find_stable(const TestDisk *disk, unsigned length)
{
    unsigned stable = 0;

    for (unsigned i = 0; i < length; i++) {
        const Entry *entry = disk->log->pdata[i];

        if (entry->disk == disk && entry->kind == ENTRY_FLUSH_END) {
            stable = MAX(stable, find_flush_begin(disk, i, entry->bytes));
        }
    }
    return stable;
}

static void replay(TestDisk *cut, const Entry *entry)
{
    if (entry->kind == ENTRY_DATA) {
        put(cut->data, entry->offset, entry->data, entry->bytes);
    } else if (entry->kind == ENTRY_LENGTH) {
        set_length(cut->data, entry->offset);
    }
}

/* All of it, nothing, or some sectors. */
static void replay_part(TestDisk *cut, const Entry *entry, GRand *rand)
{
    int fate = g_rand_int_range(rand, 0, 3);

    if (fate == 0) {
        return;
    }
    if (fate == 1 || entry->kind != ENTRY_DATA) {
        replay(cut, entry);
        return;
    }
    for (int64_t at = 0; at < entry->bytes; at += SECTOR) {
        if (g_rand_boolean(rand)) {
            put(cut->data, entry->offset + at,
                entry->data ? entry->data + at : NULL,
                MIN(SECTOR, entry->bytes - at));
        }
    }
}

void test_disk_cut(const TestDisk *disk, unsigned length, GRand *rand,
                   TestDisk *cut)
{
    unsigned stable = find_stable(disk, length);

    g_byte_array_set_size(cut->data, 0);
    g_byte_array_append(cut->data, disk->before->data, disk->before->len);
    for (unsigned i = 0; i < length; i++) {
        const Entry *entry = disk->log->pdata[i];

        if (entry->disk != disk) {
            continue;
        }
        if (i < stable) {
            replay(cut, entry);
        } else {
            replay_part(cut, entry, rand);
        }
    }
}

void test_disk_kill(const TestDisk *disk, unsigned length, TestDisk *cut)
{
    g_byte_array_set_size(cut->data, 0);
    g_byte_array_append(cut->data, disk->before->data, disk->before->len);
    for (unsigned i = 0; i < length; i++) {
        const Entry *entry = disk->log->pdata[i];

        if (entry->disk == disk) {
            replay(cut, entry);
        }
    }
}

/* --- failures --- */

void test_disk_fail(TestDisk *disk, BlockOp op, unsigned after,
                    unsigned count)
{
    disk->fail_after[op] = after;
    disk->fail_count[op] = count;
}

unsigned test_disk_count(const TestDisk *disk, BlockOp op)
{
    return disk->counts[op];
}

int64_t test_disk_reach(const TestDisk *disk)
{
    return disk->reach;
}

void test_disk_reset_counts(TestDisk *disk)
{
    disk->reach = 0;
    memset(disk->counts, 0, sizeof(disk->counts));
}

void test_disk_set_limit(TestDisk *disk, int64_t bytes)
{
    disk->limit = bytes;
}

static int fate(TestDisk *disk, const BlockRequest *req)
{
    BlockOp op = req->op;
    bool writes = op == BLOCK_WRITE || op == BLOCK_WRITE_ZEROES;

    disk->counts[op]++;
    g_assert_cmpint(req->offset, >=, 0);
    g_assert_cmpint(req->bytes, <=, INT64_MAX - req->offset);
    if (writes) {
        disk->reach = MAX(disk->reach, req->offset + req->bytes);
    }
    if (writes && disk->limit && req->offset + req->bytes > disk->limit) {
        return -ENOSPC;
    }
    if (disk->fail_count[op] == 0) {
        return 0;
    }
    if (disk->fail_after[op] > 0) {
        disk->fail_after[op]--;
        return 0;
    }
    disk->fail_count[op]--;
    return -EIO;
}

/* --- the driver --- */

typedef struct Pending {
    BlockDriverState *bs;
    BlockRequest *req;
    unsigned rounds;
    int ret;
    int64_t flush;
} Pending;

static void disk_read(TestDisk *disk, const BlockRequest *req)
{
    int64_t there = CLAMP((int64_t)disk->data->len - req->offset, 0,
                          req->bytes);

    iov_from_buf(req->iov, req->niov, 0, disk->data->data + req->offset,
                 there);
    iov_memset(req->iov, req->niov, there, 0, req->bytes - there);
}

static void disk_write(BlockDriverState *bs, const BlockRequest *req)
{
    DiskNode *node = bs->opaque;
    TestDisk *disk = node->disk;
    g_autofree uint8_t *buf = NULL;
    int64_t bytes = req->bytes;

    if (req->op == BLOCK_WRITE) {
        buf = g_malloc(req->bytes);
        iov_to_buf(req->iov, req->niov, 0, buf, req->bytes);
    }
    if (req->op == BLOCK_DISCARD) {
        bytes = CLAMP(disk->data->len - req->offset, 0, bytes);
    }
    if (bytes == 0) {
        return; /* a hole behind the end */
    }
    put(disk->data, req->offset, buf, bytes);
    remember(disk, ENTRY_DATA, req->offset, bytes, buf);
    bs->total_bytes = disk->data->len;
}

static void perform(const Pending *pending)
{
    DiskNode *node = pending->bs->opaque;
    TestDisk *disk = node->disk;

    switch (pending->req->op) {
    case BLOCK_READ:
        disk_read(disk, pending->req);
        break;
    case BLOCK_FLUSH:
        remember(disk, ENTRY_FLUSH_END, 0, pending->flush, NULL);
        break;
    default:
        disk_write(pending->bs, pending->req);
        break;
    }
}

static void pending_bh(void *opaque)
{
    Pending *pending = opaque;
    BlockRequest *req = pending->req;
    int ret = pending->ret;

    if (pending->rounds > 0) {
        pending->rounds--;
        aio_bh_once(req->ctx, pending_bh, pending);
        return;
    }
    if (ret == 0) {
        perform(pending);
    }
    g_free(pending);
    block_request_complete(req, ret);
}

static void disk_submit(BlockDriverState *bs, BlockRequest *req)
{
    DiskNode *node = bs->opaque;
    Pending *pending = g_new0(Pending, 1);

    if (req->op == BLOCK_READ || req->op == BLOCK_WRITE) {
        g_assert_cmpuint(iov_size(req->iov, req->niov), ==, req->bytes);
    }
    pending->bs = bs;
    pending->req = req;
    pending->rounds = g_rand_int_range(node->disk->rand, 0, node->delay + 1);
    pending->ret = fate(node->disk, req);
    if (req->op == BLOCK_FLUSH) {
        pending->flush = ++node->disk->flushes;
        remember(node->disk, ENTRY_FLUSH_BEGIN, 0, pending->flush, NULL);
    }
    if (node->disk->hold[req->op]) {
        g_ptr_array_add(node->disk->held, pending);
    } else {
        aio_bh_once(req->ctx, pending_bh, pending);
    }
}

void test_disk_hold(TestDisk *disk, BlockOp op)
{
    disk->hold[op] = true;
}

void test_disk_release(TestDisk *disk)
{
    memset(disk->hold, 0, sizeof(disk->hold));
    for (unsigned i = 0; i < disk->held->len; i++) {
        Pending *pending = disk->held->pdata[i];

        aio_bh_once(pending->req->ctx, pending_bh, pending);
    }
    g_ptr_array_set_size(disk->held, 0);
}

static bool disk_open(BlockDriverState *bs, Options *opts, GError **error)
{
    DiskNode *node = bs->opaque;
    g_autofree char *name = NULL;
    uint64_t request_alignment = 1, memory_alignment = 1;

    if (!options_need_str(opts, "disk", &name, error) ||
        !options_take_uint(opts, "delay", 100, &node->delay, error) ||
        !options_take_uint(opts, "request-alignment", 65536,
                           &request_alignment, error) ||
        !options_take_uint(opts, "memory-alignment", 65536,
                           &memory_alignment, error)) {
        return false;
    }
    node->disk = find_disk(name);
    bs->total_bytes = node->disk->data->len;
    bs->limits.request_alignment = request_alignment;
    bs->limits.memory_alignment = memory_alignment;
    bs->limits.can_discard = true;
    bs->limits.can_write_zeroes = true;
    return true;
}

static void disk_close(BlockDriverState *bs)
{
}

static bool coroutine_fn disk_truncate(BlockDriverState *bs,
                                       const BlockTruncate *to,
                                       GError **error)
{
    DiskNode *node = bs->opaque;

    if (node->disk->limit && to->bytes > node->disk->limit) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOSPC, "No space");
        return false;
    }
    set_length(node->disk->data, to->bytes);
    remember(node->disk, ENTRY_LENGTH, to->bytes, 0, NULL);
    bs->total_bytes = to->bytes;
    return true;
}

static const BlockImageOps disk_image_ops = {
    .co_truncate = disk_truncate,
};

static const BlockDriver test_disk_driver = {
    .name = "test-disk",
    .is_protocol = true,
    .instance_size = sizeof(DiskNode),
    .image = &disk_image_ops,
    .open = disk_open,
    .close = disk_close,
    .submit = disk_submit,
};

void test_disk_register(void)
{
    bdrv_register(&test_disk_driver);
}
