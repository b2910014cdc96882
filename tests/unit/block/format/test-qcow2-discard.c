/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Discard and write-zeroes: what becomes of entries and host clusters, and
 * what the file is told.
 */
#include "tests/lib/qcow2-rig.h"

#include <errno.h>
#include <string.h>

#define K 1024
#define M (1024 * K)
#define CLUSTER (64 * K)

static int discard(Qcow2Rig *rig, int64_t offset, int64_t bytes)
{
    return test_op(rig->bs, BLOCK_DISCARD, 0, offset, bytes);
}

static int zero(Qcow2Rig *rig, int64_t offset, int64_t bytes, bool unmap)
{
    return test_op(rig->bs, BLOCK_WRITE_ZEROES,
                   unmap ? BLOCK_REQ_MAY_UNMAP : 0, offset, bytes);
}

static uint64_t cluster_of(uint64_t entry)
{
    return (entry & QCOW2_L2_OFFSET) / CLUSTER;
}

/* A new image, the first MiB of it full of ones. */
static Qcow2Rig *full_rig(const char *create, const char *options)
{
    Qcow2Rig *rig = qcow2_rig_new(create, "64M", options);

    g_assert_cmpint(qcow2_rig_write(rig, 0, M, 1), ==, 0);
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    qcow2_rig_reset_counts(rig);
    return rig;
}

/* Neighbours on the host are told to it in one go; what is not a whole
 * cluster stays. */
static void test_merged(void)
{
    Qcow2Rig *rig = full_rig("", "");
    uint64_t first = cluster_of(qcow2_rig_entry(rig, CLUSTER));

    g_assert_cmpint(discard(rig, 512, 4 * CLUSTER), ==, 0);
    g_assert_cmpuint(qcow2_rig_count(rig, BLOCK_DISCARD), ==, 1);
    qcow2_rig_expect(rig, 0, CLUSTER, 1);
    qcow2_rig_expect(rig, CLUSTER, 3 * CLUSTER, 0);
    qcow2_rig_expect(rig, 4 * CLUSTER, CLUSTER, 1);
    /* in use until the disk knows */
    g_assert_cmpuint(qcow2_rig_refcount(rig, first), ==, 1);
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    g_assert_cmpuint(qcow2_rig_refcount(rig, first), ==, 0);
    g_assert_cmpuint(qcow2_rig_refcount(rig, first - 1), ==, 1);
    /* once more: there is nothing left to do */
    qcow2_rig_reset_counts(rig);
    g_assert_cmpint(discard(rig, CLUSTER, 3 * CLUSTER), ==, 0);
    g_assert_cmpuint(qcow2_rig_count(rig, BLOCK_DISCARD), ==, 0);
    qcow2_rig_free(rig);
}

/* What was never allocated makes no tables. */
static void test_nothing_there(void)
{
    Qcow2Rig *rig = qcow2_rig_new("", "1T", "");

    g_assert_cmpint(discard(rig, 0, rig->bs->total_bytes), ==, 0);
    g_assert_cmpint(discard(rig, 512, 100), ==, 0);
    g_assert_cmpuint(qcow2_rig_count(rig, BLOCK_WRITE), ==, 0);
    qcow2_rig_free(rig);
}

static void test_not_passed(void)
{
    Qcow2Rig *rig = full_rig("", ",pass-discard-request=off");

    g_assert_cmpint(discard(rig, 0, 4 * CLUSTER), ==, 0);
    g_assert_cmpuint(qcow2_rig_count(rig, BLOCK_DISCARD), ==, 0);
    g_assert_cmphex(qcow2_rig_entry(rig, 0), ==, QCOW2_ZERO);
    qcow2_rig_free(rig);
}

/* Behind the end that the file had when it was opened there are clusters in
 * use: given up with data in them they are not taken for zeroes. */
static void test_behind_end(void)
{
    TestImage *image = qcow2_image_new("preallocation=metadata", "8M");
    Qcow2Rig *rig;

    test_image_truncate(image, M);
    rig = qcow2_rig_new_with(image, ",pass-discard-request=off");
    g_assert_cmpint(qcow2_rig_write(rig, 7 * M, CLUSTER, 0x55), ==, 0);
    g_assert_cmpint(qcow2_rig_write(rig, 8 * M - CLUSTER, CLUSTER, 1), ==, 0);
    g_assert_cmpint(discard(rig, 7 * M, CLUSTER), ==, 0);
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    g_assert_cmpint(qcow2_rig_write(rig, 7 * M, 512, 2), ==, 0);
    qcow2_rig_expect(rig, 7 * M, 512, 2);
    qcow2_rig_expect(rig, 7 * M + 512, CLUSTER - 512, 0);
    qcow2_rig_free(rig);
}

/* Without it nothing at all happens. */
static void test_ignored(void)
{
    Qcow2Rig *rig = full_rig("", ",discard=ignore");
    uint64_t entry = qcow2_rig_entry(rig, 0);

    g_assert_cmpint(discard(rig, 0, CLUSTER), ==, 0);
    g_assert_cmphex(qcow2_rig_entry(rig, 0), ==, entry);
    qcow2_rig_free(rig);
}

/* The host cluster stays, without its contents, and is used again. */
static void test_no_unref(void)
{
    Qcow2Rig *rig = full_rig("", ",discard-no-unref=on");
    uint64_t entry = qcow2_rig_entry(rig, CLUSTER);

    g_assert_cmpint(discard(rig, CLUSTER, CLUSTER), ==, 0);
    g_assert_cmphex(qcow2_rig_entry(rig, CLUSTER), ==, entry | QCOW2_ZERO);
    g_assert_cmpuint(qcow2_rig_count(rig, BLOCK_DISCARD), ==, 1);
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    g_assert_cmpuint(qcow2_rig_refcount(rig, cluster_of(entry)), ==, 1);
    g_assert_cmpint(qcow2_rig_write(rig, CLUSTER, 4 * K, 7), ==, 0);
    g_assert_cmphex(qcow2_rig_entry(rig, CLUSTER), ==, entry);
    qcow2_rig_expect(rig, CLUSTER, 4 * K, 7);
    qcow2_rig_expect(rig, CLUSTER + 4 * K, 60 * K, 0);
    qcow2_rig_free(rig);
}

/* A write that comes while the file is being told waits: else its data would
 * go with what was there before. */
static void test_write_meanwhile(void)
{
    Qcow2Rig *rig = full_rig("", ",discard-no-unref=on");
    TestRequest request = { .req.op = BLOCK_DISCARD, .req.bytes = CLUSTER };
    Qcow2Burst *burst = qcow2_burst_new(rig);

    test_disk_hold(rig->disk, BLOCK_DISCARD);
    test_submit(rig->bs, &request);
    qcow2_burst_write(burst, 4 * K, 4 * K, 7);
    /* others do not wait */
    g_assert_cmpint(qcow2_rig_write(rig, 16 * CLUSTER, 4 * K, 8), ==, 0);
    g_assert_cmpint(qcow2_rig_write(rig, CLUSTER, 4 * K, 8), ==, 0);
    qcow2_rig_reset_counts(rig);
    while (aio_poll(test_ctx(), false)) {
    }
    g_assert_cmpuint(qcow2_rig_count(rig, BLOCK_WRITE), ==, 0);
    test_disk_release(rig->disk);
    g_assert_cmpint(test_wait(&request), ==, 0);
    qcow2_burst_end(burst);
    qcow2_rig_expect(rig, 4 * K, 4 * K, 7);
    qcow2_rig_expect(rig, 8 * K, 56 * K, 0);
    qcow2_rig_free(rig);
}

/* A host cluster that a snapshot has as well is not told of. */
static void test_shared(void)
{
    TestImage *image = qcow2_image_new("", "64M");
    Qcow2Rig *rig;
    uint64_t first;

    qcow2_image_io(image, "write -P 1 0 1M", NULL);
    g_free(qcow2_image_run(image, "snapshot", "-c", "s", "@", NULL));
    rig = qcow2_rig_new_with(image, "");
    first = cluster_of(qcow2_rig_entry(rig, 0));
    g_assert_cmpuint(qcow2_rig_refcount(rig, first), ==, 2);
    g_assert_cmpint(discard(rig, 0, 4 * CLUSTER), ==, 0);
    g_assert_cmpuint(qcow2_rig_count(rig, BLOCK_DISCARD), ==, 0);
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    g_assert_cmpuint(qcow2_rig_refcount(rig, first), ==, 1);
    qcow2_rig_expect(rig, 0, 4 * CLUSTER, 0);
    qcow2_rig_reopen(rig);
    g_free(qcow2_image_run(image, "snapshot", "-a", "s", "@", NULL));
    qcow2_image_io(image, "read -P 1 0 1M", NULL);
    qcow2_rig_free_broken(rig);
}

/* The last one of several in a host cluster gives it back. */
static void test_compressed(void)
{
    TestImage *image = qcow2_image_new("", "64M");
    Qcow2Rig *rig;
    uint64_t host, cluster;

    qcow2_image_io(image, "write -c -P 1 0 64k", "write -c -P 2 64k 64k",
                   NULL);
    rig = qcow2_rig_new_with(image, "");
    host = qcow2_rig_entry(rig, 0) & ((1ULL << 54) - 1);
    cluster = host / CLUSTER;
    g_assert_cmpuint(qcow2_rig_refcount(rig, cluster), ==, 2);
    g_assert_cmpint(discard(rig, 0, CLUSTER), ==, 0);
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    g_assert_cmpuint(qcow2_rig_refcount(rig, cluster), ==, 1);
    qcow2_rig_expect(rig, 0, CLUSTER, 0);
    qcow2_rig_expect(rig, CLUSTER, CLUSTER, 2);
    g_assert_cmpint(zero(rig, CLUSTER, CLUSTER, true), ==, 0);
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    g_assert_cmpuint(qcow2_rig_refcount(rig, cluster), ==, 0);
    qcow2_rig_free(rig);
}

/* --- zeroes --- */

/* Host clusters stay unless they may go. */
static void test_zero(void)
{
    Qcow2Rig *rig = full_rig("", "");
    uint64_t entry = qcow2_rig_entry(rig, 0);

    g_assert_cmpint(zero(rig, 0, 2 * CLUSTER, false), ==, 0);
    g_assert_cmphex(qcow2_rig_entry(rig, 0), ==, entry | QCOW2_ZERO);
    g_assert_cmpuint(qcow2_rig_count(rig, BLOCK_DISCARD), ==, 0);
    g_assert_cmpint(zero(rig, 0, CLUSTER, true), ==, 0);
    g_assert_cmphex(qcow2_rig_entry(rig, 0), ==, QCOW2_ZERO);
    g_assert_cmpuint(qcow2_rig_count(rig, BLOCK_DISCARD), ==, 1);
    g_assert_cmpuint(qcow2_rig_count(rig, BLOCK_WRITE), ==, 0);
    qcow2_rig_expect(rig, 0, 2 * CLUSTER, 0);
    qcow2_rig_expect(rig, 2 * CLUSTER, CLUSTER, 1);
    qcow2_rig_free(rig);
}

/* Parts are written where there is data; where there is none, the cluster
 * becomes one of zeroes. */
static void test_zero_parts(void)
{
    Qcow2Rig *rig = full_rig("", "");

    g_assert_cmpint(zero(rig, 512, CLUSTER, false), ==, 0);
    g_assert_cmpuint(qcow2_rig_count(rig, BLOCK_WRITE), ==, 2);
    qcow2_rig_expect(rig, 0, 512, 1);
    qcow2_rig_expect(rig, 512, CLUSTER, 0);
    qcow2_rig_expect(rig, CLUSTER + 512, 512, 1);
    qcow2_rig_reset_counts(rig);
    g_assert_cmpint(zero(rig, 2 * M + 512, 1024, false), ==, 0);
    g_assert_cmphex(qcow2_rig_entry(rig, 2 * M), ==, QCOW2_ZERO);
    g_assert_cmpuint(qcow2_rig_count(rig, BLOCK_WRITE), ==, 0);
    qcow2_rig_free(rig);
}

/* The end of the disk is the end of its last cluster. */
static void test_odd_end(void)
{
    Qcow2Rig *rig = qcow2_rig_new("", "1000000", "");

    g_assert_cmpint(qcow2_rig_write(rig, 0, 999936, 1), ==, 0);
    g_assert_cmpint(zero(rig, 15 * CLUSTER, 999936 - 15 * CLUSTER, true), ==,
                    0);
    qcow2_rig_expect(rig, 15 * CLUSTER, 999936 - 15 * CLUSTER, 0);
    g_assert_cmpint(discard(rig, 14 * CLUSTER, 999936 - 14 * CLUSTER), ==,
                    0);
    g_assert_cmphex(qcow2_rig_entry(rig, 14 * CLUSTER), ==, QCOW2_ZERO);
    qcow2_rig_free(rig);
}

/* Version 2 has no zero clusters: what has nothing below it is dropped. */
static void test_version_2(void)
{
    Qcow2Rig *rig = full_rig("compat=0.10", "");

    g_assert_cmpint(zero(rig, 0, CLUSTER, false), ==, 0);
    g_assert_cmphex(qcow2_rig_entry(rig, 0), ==, 0);
    g_assert_cmpint(discard(rig, CLUSTER, CLUSTER), ==, 0);
    g_assert_cmphex(qcow2_rig_entry(rig, CLUSTER), ==, 0);
    qcow2_rig_expect(rig, 0, 2 * CLUSTER, 0);
    g_assert_cmpuint(qcow2_rig_count(rig, BLOCK_WRITE), ==, 0);
    qcow2_rig_free(rig);
}

/* The zeroes are stable when it completes. */
static void test_zero_fua(void)
{
    Qcow2Rig *rig = full_rig("", "");

    g_assert_cmpint(test_op(rig->bs, BLOCK_WRITE_ZEROES, BLOCK_REQ_FUA, 0,
                            CLUSTER), ==, 0);
    g_assert_cmpuint(qcow2_rig_count(rig, BLOCK_FLUSH), >=, 1);
    g_assert_false(qcow2_cache_is_dirty(rig->s->l2_cache));
    qcow2_rig_free(rig);
}

/* Who never flushes does not fill the disk: it is flushed for him. */
static void test_pressing(void)
{
    Qcow2Rig *rig = qcow2_rig_new("cluster_size=4k", "64M", "");
    int64_t used;

    for (unsigned round = 0; round < 8; round++) {
        for (unsigned i = 0; i < 1200; i++) {
            g_assert_cmpint(qcow2_rig_write(rig, (int64_t)i * 8192, 4096, 1),
                            ==, 0);
        }
        for (unsigned i = 0; i < 1200; i++) {
            /* neighbours would wait as one */
            g_assert_cmpint(discard(rig, i * 7 % 1200 * 8192LL, 4096), ==,
                            0);
        }
    }
    used = rig->s->write->used_end;
    /* 8 rounds of 4.7 MiB: at most some 4096 clusters wait */
    g_assert_cmpint(used, <, 24 * M);
    qcow2_rig_free(rig);
}

/* Zeroes up to the end of a disk that ends within a cluster: who reads the data
 * file without us finds them, and a file that is as long as before. */
static void test_zero_short_end(void)
{
    g_autoptr(TestImage) data = test_image_new(0);
    g_autofree char *create = g_strdup_printf("data_file=%s,data_file_raw=on",
                                              test_image_path(data));
    TestImage *image = qcow2_image_new(create, "100K");
    char buf[30 * K] = { 0 }, back[sizeof(buf)];
    Qcow2Rig *rig;

    test_image_truncate(data, 100 * K); /* qemu-img makes it longer */
    rig = qcow2_rig_new_with(image, "");
    g_assert_cmpint(qcow2_rig_write(rig, 0, 100 * K, 1), ==, 0);
    g_assert_cmpint(zero(rig, 80 * K, 20 * K, false), ==, 0);
    g_assert_cmpint(zero(rig, 70 * K, 30 * K, true), ==, 0);
    qcow2_rig_expect(rig, 0, 70 * K, 1);
    qcow2_rig_expect(rig, 70 * K, 30 * K, 0);
    g_assert_cmpint(test_image_length(data), ==, 100 * K);
    test_image_read(data, 70 * K, back, sizeof(back));
    g_assert_cmpmem(back, sizeof(back), buf, sizeof(buf));
    qcow2_rig_free(rig);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    test_disk_register();
    g_test_add_func("/qcow2/discard/merged", test_merged);
    g_test_add_func("/qcow2/discard/nothing-there", test_nothing_there);
    g_test_add_func("/qcow2/discard/not-passed", test_not_passed);
    g_test_add_func("/qcow2/discard/behind-end", test_behind_end);
    g_test_add_func("/qcow2/discard/ignored", test_ignored);
    g_test_add_func("/qcow2/discard/no-unref", test_no_unref);
    g_test_add_func("/qcow2/discard/write-meanwhile", test_write_meanwhile);
    g_test_add_func("/qcow2/discard/shared", test_shared);
    g_test_add_func("/qcow2/discard/compressed", test_compressed);
    g_test_add_func("/qcow2/zeroes/whole", test_zero);
    g_test_add_func("/qcow2/zeroes/parts", test_zero_parts);
    g_test_add_func("/qcow2/zeroes/odd-end", test_odd_end);
    g_test_add_func("/qcow2/zeroes/version-2", test_version_2);
    g_test_add_func("/qcow2/zeroes/fua", test_zero_fua);
    g_test_add_func("/qcow2/discard/pressing", test_pressing);
    g_test_add_func("/qcow2/zeroes/short-end", test_zero_short_end);
    ret = g_test_run();
    test_block_end();
    return ret;
}
