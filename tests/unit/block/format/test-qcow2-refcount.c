/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reference counts: all widths, limits, undoing; new blocks and larger
 * tables; clusters found and shared.
 */
#include "tests/lib/qcow2-rig.h"

#include <errno.h>
#include <string.h>

#include "tests/lib/faults.h"

#define K 1024
#define M (1024 * K)

/* --- counts in a block --- */

/* Each count is what was set, and none of the others moves. */
static void test_widths(void)
{
    for (unsigned order = 0; order <= 6; order++) {
        Qcow2State s = { .refcount_order = order };
        uint64_t block[64] = { 0 };
        unsigned count = sizeof(block) * 8 >> order;

        s.refcount_bits = 1 << order;
        s.refcount_max = UINT64_MAX >> (64 - s.refcount_bits);
        for (unsigned i = 0; i < count; i++) {
            uint64_t value = (i * 0x9e3779b97f4a7c15ULL) & s.refcount_max;

            g_assert_true(qcow2_set_refcount_at(&s, block, i, value));
        }
        for (unsigned i = 0; i < count; i++) {
            uint64_t value = (i * 0x9e3779b97f4a7c15ULL) & s.refcount_max;

            g_assert_cmphex(qcow2_refcount_at(&s, block, i), ==, value);
        }
        if (order < 6) {
            g_assert_false(qcow2_set_refcount_at(&s, block, 3,
                                                 s.refcount_max + 1));
        }
    }
}

/* As the specification lays them out. */
static void test_layout(void)
{
    Qcow2State s = { .refcount_order = 0, .refcount_max = 1 };
    uint8_t block[16] = { 0 };

    qcow2_set_refcount_at(&s, block, 9, 1);
    g_assert_cmphex(block[1], ==, 0x02);
    s = (Qcow2State){ .refcount_order = 2, .refcount_max = 15 };
    qcow2_set_refcount_at(&s, block, 5, 0xa);
    g_assert_cmphex(block[2], ==, 0xa0);
    s = (Qcow2State){ .refcount_order = 4, .refcount_max = 0xffff };
    qcow2_set_refcount_at(&s, block, 2, 0x1234);
    g_assert_cmphex(block[4], ==, 0x12);
    g_assert_cmphex(block[5], ==, 0x34);
}

/* --- changing --- */

typedef struct Change {
    Qcow2Rig *rig;
    uint64_t first, clusters, addend;
    bool decrease;
    int ret;
} Change;

static void coroutine_fn change_entry(void *opaque)
{
    Change *c = opaque;
    Qcow2State *s = c->rig->s;

    co_mutex_lock(&s->lock);
    c->ret = qcow2_co_update_refcount(c->rig->bs,
                                      c->first << s->cluster_bits,
                                      c->clusters << s->cluster_bits,
                                      c->addend, c->decrease,
                                      QCOW2_DISCARD_NEVER);
    co_mutex_unlock(&s->lock);
}

static int change(Qcow2Rig *rig, uint64_t first, uint64_t clusters,
                  int addend)
{
    Change c = { rig, first, clusters, ABS(addend), addend < 0 };

    test_run_co(change_entry, &c);
    return c.ret;
}

static void expect(Qcow2Rig *rig, uint64_t first, uint64_t clusters,
                   uint64_t count)
{
    for (uint64_t i = first; i < first + clusters; i++) {
        g_assert_cmpuint(qcow2_rig_refcount(rig, i), ==, count);
    }
}

/* Beyond what the width can hold, and below nothing: nothing changes, in no
 * block that the range is in. */
static void test_all_or_nothing(void)
{
    Qcow2Rig *rig = qcow2_rig_new("cluster_size=512,refcount_bits=8", "1M",
                                  "");

    /* a block has 512 counts */
    g_assert_cmpint(change(rig, 500, 100, 3), ==, 0);
    expect(rig, 500, 100, 3);
    g_assert_cmpint(change(rig, 590, 5, 250), ==, 0);
    g_assert_cmpint(change(rig, 500, 100, 5), ==, -EINVAL);
    expect(rig, 500, 90, 3);
    expect(rig, 590, 5, 253);
    expect(rig, 595, 5, 3);
    g_assert_cmpint(change(rig, 590, 5, -250), ==, 0);
    g_assert_cmpint(change(rig, 498, 10, -1), ==, -EINVAL);
    g_assert_cmpint(change(rig, 500, 101, -3), ==, -EINVAL);
    expect(rig, 500, 100, 3);
    g_assert_cmpint(change(rig, 500, 100, -3), ==, 0);
    expect(rig, 500, 100, 0);
    /* a region without a block has nothing to be taken */
    g_assert_cmpint(change(rig, 5000, 1, -1), ==, -EINVAL);
    qcow2_rig_free(rig);
}

static void test_full_width(void)
{
    Qcow2Rig *rig = qcow2_rig_new("cluster_size=512,refcount_bits=1", "1M",
                                  "");

    g_assert_cmpint(change(rig, 500, 2, 1), ==, 0);
    g_assert_cmpint(change(rig, 500, 2, 1), ==, -EINVAL);
    g_assert_cmpint(change(rig, 500, 2, -1), ==, 0);
    qcow2_rig_free(rig);
    rig = qcow2_rig_new("cluster_size=512,refcount_bits=64", "1M", "");
    g_assert_cmpint(change(rig, 500, 2, INT32_MAX), ==, 0);
    expect(rig, 500, 2, INT32_MAX);
    g_assert_cmpint(change(rig, 500, 2, -INT32_MAX), ==, 0);
    qcow2_rig_free(rig);
}

/* --- growing --- */

static void write_all(Qcow2Rig *rig, int64_t bytes)
{
    for (int64_t at = 0; at < bytes; at += M) {
        g_assert_cmpint(qcow2_rig_write(rig, at, M, at / M + 1), ==, 0);
    }
}

static void expect_all(Qcow2Rig *rig, int64_t bytes)
{
    for (int64_t at = 0; at < bytes; at += M) {
        qcow2_rig_expect(rig, at, M, at / M + 1);
    }
}

/* A table of one cluster is for 64 blocks of 64 counts: 2 MiB. */
static void test_larger_table(void)
{
    Qcow2Rig *rig = qcow2_rig_new("cluster_size=512,refcount_bits=64", "16M",
                                  "");
    uint64_t offset = rig->s->reftable_offset;

    write_all(rig, 16 * M);
    g_assert_cmphex(rig->s->reftable_offset, !=, offset);
    g_assert_cmpuint(rig->s->reftable_clusters, >=, 8);
    expect_all(rig, 16 * M);
    qcow2_rig_reopen(rig);
    expect_all(rig, 16 * M);
    /* the old table is used for something else now */
    g_assert_cmpint(qcow2_rig_write(rig, 0, M, 1), ==, 0);
    qcow2_rig_free(rig);
}

typedef struct Alloc {
    Qcow2Rig *rig;
    uint64_t clusters;
    int64_t host;
} Alloc;

static void coroutine_fn alloc_entry(void *opaque)
{
    Alloc *alloc = opaque;
    Qcow2State *s = alloc->rig->s;

    co_mutex_lock(&s->lock);
    alloc->host = qcow2_co_alloc_clusters(alloc->rig->bs,
                                          alloc->clusters << s->cluster_bits);
    co_mutex_unlock(&s->lock);
}

static int64_t alloc(Qcow2Rig *rig, uint64_t clusters)
{
    Alloc call = { rig, clusters, 0 };

    test_run_co(alloc_entry, &call);
    return call.host;
}

/* Over several regions that have no blocks yet, of a table that is too short:
 * all that is needed is made, and what was asked for is in a row. */
static void test_many_at_once(void)
{
    Qcow2Rig *rig = qcow2_rig_new("cluster_size=512,refcount_bits=64", "16M",
                                  "");
    int64_t host = alloc(rig, 20000);

    g_assert_cmpint(host, >, 0);
    expect(rig, host / 512, 20000, 1);
    g_assert_cmpint(change(rig, host / 512, 20000, -1), ==, 0);
    qcow2_rig_free(rig);
}

/* What does not fit into the largest table there may be. */
static void test_too_many(void)
{
    Qcow2Rig *rig = qcow2_rig_new("cluster_size=512,refcount_bits=64", "16M",
                                  "");

    /* 8 MiB of table: 1048576 blocks of 64 counts */
    g_assert_cmpint(alloc(rig, 70 * M), ==, -EFBIG);
    qcow2_rig_free(rig);
}

/* Free clusters are found in order, gaps that are too small left for later. */
static void test_gaps(void)
{
    Qcow2Rig *rig = qcow2_rig_new("cluster_size=4k", "64M", "");
    int64_t host = alloc(rig, 16);

    g_assert_cmpint(change(rig, host / 4096 + 2, 1, -1), ==, 0);
    g_assert_cmpint(change(rig, host / 4096 + 5, 3, -1), ==, 0);
    g_assert_cmpint(alloc(rig, 3), ==, host + 5 * 4096);
    g_assert_cmpint(alloc(rig, 2), ==, host + 16 * 4096);
    g_assert_cmpint(alloc(rig, 1), ==, host + 2 * 4096);
    g_assert_cmpint(alloc(rig, 1), ==, host + 18 * 4096);
    g_assert_cmpint(change(rig, host / 4096, 19, -1), ==, 0);
    qcow2_rig_free(rig);
}

/* Wherever a write of tables fails, on the way to new ones as well. */
static void test_failing_writes(void)
{
    Qcow2Rig *rig = qcow2_rig_new("cluster_size=512,refcount_bits=64", "16M",
                                  "");

    faults_capture_log();
    for (unsigned i = 0; i < 60; i++) {
        test_disk_fail(rig->disk, BLOCK_WRITE, i, 1);
        qcow2_rig_write(rig, (int64_t)i * 64 * K, 64 * K, 1);
    }
    g_assert_cmpuint(faults_log_lines(), ==, 0); /* nothing leaked */
    test_disk_fail(rig->disk, BLOCK_WRITE, 0, 0);
    for (unsigned i = 0; i < 60; i++) {
        g_assert_cmpint(qcow2_rig_write(rig, (int64_t)i * 64 * K, 64 * K,
                                        i), ==, 0);
    }
    for (unsigned i = 0; i < 60; i++) {
        qcow2_rig_expect(rig, (int64_t)i * 64 * K, 64 * K, i);
    }
    test_detach_unref(rig->bs);
    rig->bs = NULL;
    qcow2_rig_store(rig);
    g_free(qcow2_image_run(rig->image, "check", "-r", "leaks", "@", NULL));
    qcow2_image_check(rig->image);
    qcow2_rig_free_broken(rig);
}

/* --- hostile images --- */

static void fill_cluster(TestImage *image, int64_t offset, size_t bytes,
                         uint8_t byte)
{
    g_autofree uint8_t *full = g_malloc(bytes);

    memset(full, byte, bytes);
    test_image_write(image, offset, full, bytes);
}

/* One block that has no free cluster for all of the table. */
static void test_block_shared(void)
{
    TestImage *image = qcow2_image_new("cluster_size=512,refcount_bits=16",
                                       "64k");
    int64_t block = 256 * 512;
    int64_t reftable = qcow2_image_get64(image, 48);
    Qcow2Rig *rig;

    fill_cluster(image, block, 512, 1);
    for (unsigned i = 0; i < 64; i++) {
        qcow2_image_set64(image, reftable + i * 8, block);
    }
    rig = qcow2_rig_new_with(image, "");
    faults_capture_log();
    g_assert_cmpint(qcow2_rig_write(rig, 0, 4 * K, 1), ==, -EIO);
    g_assert_cmpuint(faults_log_lines(), ==, 1);
    g_assert_cmpstr(faults_log_line(0), ==,
                    "qcow2: Marking image as corrupt: Refcount block at "
                    "0x20000 is in the refcount table more than once; "
                    "further corruption events will be suppressed");
    g_assert_cmpint(qcow2_rig_write(rig, 0, 4 * K, 1), ==, -ENOMEDIUM);
    qcow2_rig_free_broken(rig);
}

/* As many blocks that each are there once: nothing wrong with them. */
static void test_blocks_full(void)
{
    TestImage *image = qcow2_image_new("cluster_size=512,refcount_bits=16",
                                       "64k");
    int64_t blocks = 256 * 512;
    int64_t reftable = qcow2_image_get64(image, 48);
    Qcow2Rig *rig;

    fill_cluster(image, blocks, 64 * 512, 1);
    for (unsigned i = 0; i < 64; i++) {
        qcow2_image_set64(image, reftable + i * 8, blocks + i * 512);
    }
    rig = qcow2_rig_new_with(image, "");
    g_assert_cmpint(qcow2_rig_write(rig, 0, 4 * K, 1), ==, 0);
    g_assert_true(rig->s->refblocks_distinct);
    g_assert_cmpuint(qcow2_rig_entry(rig, 0) & QCOW2_L2_OFFSET, >=,
                     64 * 256 * 512);
    qcow2_rig_free_broken(rig);
}

typedef struct Search {
    Qcow2Rig *rig;
    Qcow2Found found;
    int ret;
    bool done;
    AioBH *bh;
    unsigned rounds;
} Search;

static void coroutine_fn search_entry(void *opaque)
{
    Search *search = opaque;
    Qcow2State *s = search->rig->s;

    co_mutex_lock(&s->lock);
    search->ret = qcow2_co_find_free(search->rig->bs, 1, 1, &search->found);
    co_mutex_unlock(&s->lock);
    search->done = true;
}

static void round_bh(void *opaque)
{
    Search *search = opaque;

    search->rounds++;
    if (!search->done) {
        aio_bh_schedule(search->bh);
    }
}

/* A block of 16 million counts: others in the thread get their turn. */
static void test_long_search(void)
{
    TestImage *image = qcow2_image_new("cluster_size=2M,refcount_bits=1",
                                       "64M");
    int64_t block = qcow2_image_get64(image, qcow2_image_get64(image, 48));
    Search search = { 0 };

    fill_cluster(image, block, 2 * M, 0xff);
    search.rig = qcow2_rig_new_with(image, "");
    search.bh = aio_bh_new(test_ctx(), round_bh, &search);
    aio_bh_schedule(search.bh);
    test_run_co(search_entry, &search);
    g_assert_cmpint(search.ret, ==, 0);
    g_assert_cmpuint(search.found.first, ==, 16 * M);
    g_assert_cmpuint(search.rounds, >=, 256);
    aio_bh_free(search.bh);
    qcow2_rig_free_broken(search.rig);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    test_disk_register();
    g_test_add_func("/qcow2/refcount/widths", test_widths);
    g_test_add_func("/qcow2/refcount/layout", test_layout);
    g_test_add_func("/qcow2/refcount/all-or-nothing", test_all_or_nothing);
    g_test_add_func("/qcow2/refcount/full-width", test_full_width);
    g_test_add_func("/qcow2/refcount/larger-table", test_larger_table);
    g_test_add_func("/qcow2/refcount/many-at-once", test_many_at_once);
    g_test_add_func("/qcow2/refcount/too-many", test_too_many);
    g_test_add_func("/qcow2/refcount/gaps", test_gaps);
    g_test_add_func("/qcow2/refcount/failing-writes", test_failing_writes);
    g_test_add_func("/qcow2/refcount/block-shared", test_block_shared);
    g_test_add_func("/qcow2/refcount/blocks-full", test_blocks_full);
    g_test_add_func("/qcow2/refcount/long-search", test_long_search);
    ret = g_test_run();
    test_block_end();
    return ret;
}
