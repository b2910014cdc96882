/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes to qcow2 images: how many requests the file gets for them, where
 * they end up, what happens when they meet.
 */
#include "tests/lib/qcow2-rig.h"

#include <errno.h>
#include <string.h>

#define K 1024
#define M (1024 * K)

static void expect_counts(Qcow2Rig *rig, unsigned reads, unsigned writes,
                          unsigned flushes)
{
    g_assert_cmpuint(qcow2_rig_count(rig, BLOCK_READ), ==, reads);
    g_assert_cmpuint(qcow2_rig_count(rig, BLOCK_WRITE), ==, writes);
    g_assert_cmpuint(qcow2_rig_count(rig, BLOCK_FLUSH), ==, flushes);
    qcow2_rig_reset_counts(rig);
}

/* Makes the L2 table for the first 512 MiB. */
static Qcow2Rig *rig_with_table(const char *create, const char *options)
{
    Qcow2Rig *rig = qcow2_rig_new(create, "64M", options);

    g_assert_cmpint(qcow2_rig_write(rig, 63 * M, 512, 1), ==, 0);
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    qcow2_rig_reset_counts(rig);
    return rig;
}

/* New clusters cost their data and nothing else; the tables wait. */
static void test_first(void)
{
    Qcow2Rig *rig = rig_with_table("", "");

    g_assert_cmpint(qcow2_rig_write(rig, 4 * K, 4 * K, 7), ==, 0);
    expect_counts(rig, 0, 1, 0);
    g_assert_cmpint(qcow2_rig_write(rig, 8 * K, 4 * K, 8), ==, 0);
    expect_counts(rig, 0, 1, 0);
    qcow2_rig_expect(rig, 0, 4 * K, 0);
    qcow2_rig_expect(rig, 4 * K, 4 * K, 7);
    qcow2_rig_expect(rig, 8 * K, 4 * K, 8);
    qcow2_rig_expect(rig, 12 * K, 52 * K, 0);
    qcow2_rig_reset_counts(rig);
    /* refcounts, flush, the L2 slice, flush */
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    expect_counts(rig, 0, 2, 2);
    /* nothing is dirty */
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    expect_counts(rig, 0, 0, 1);
    qcow2_rig_free(rig);
}

/* A burst of neighbours is one write, whatever clusters it fills. */
static void test_sequential_burst(void)
{
    Qcow2Rig *rig = rig_with_table("", "");
    Qcow2Burst *burst = qcow2_burst_new(rig);

    for (unsigned i = 0; i < 32; i++) {
        qcow2_burst_write(burst, i * 4 * K, 4 * K, i + 1);
    }
    qcow2_burst_end(burst);
    expect_counts(rig, 0, 1, 0);
    for (unsigned i = 0; i < 32; i++) {
        qcow2_rig_expect(rig, i * 4 * K, 4 * K, i + 1);
    }
    qcow2_rig_free(rig);
}

/* Scattered ones get clusters that follow each other, all at once. */
static void test_random_burst(void)
{
    Qcow2Rig *rig = rig_with_table("", "");
    Qcow2Burst *burst = qcow2_burst_new(rig);
    uint64_t first;

    for (unsigned i = 0; i < 32; i++) {
        qcow2_burst_write(burst, ((i * 7) % 32) * 128 * K + 4 * K, 4 * K,
                          i + 1);
    }
    qcow2_burst_end(burst);
    expect_counts(rig, 0, 32, 0);
    first = qcow2_rig_entry(rig, 0);
    for (unsigned i = 0; i < 32; i++) {
        g_assert_cmphex(qcow2_rig_entry(rig, i * 128 * K), ==,
                        first + i * 64 * K);
        qcow2_rig_expect(rig, ((i * 7) % 32) * 128 * K + 4 * K, 4 * K, i + 1);
    }
    qcow2_rig_reset_counts(rig);
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    expect_counts(rig, 0, 2, 2);
    qcow2_rig_free(rig);
}

/* New L2 tables are waited for no more than new entries are: they, the counts
 * and L1 are written by the flush, one after the other. */
static void test_new_tables(void)
{
    Qcow2Rig *rig = qcow2_rig_new("cluster_size=4k", "64M", "");
    Qcow2Burst *burst = qcow2_burst_new(rig);

    for (unsigned i = 0; i < 16; i++) {
        qcow2_burst_write(burst, i * 2 * M + 4 * K, 4 * K, i + 1);
    }
    qcow2_burst_end(burst);
    expect_counts(rig, 1, 16, 0); /* the refcount block had to be read */
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    expect_counts(rig, 0, 3, 4);
    qcow2_rig_reopen(rig);
    for (unsigned i = 0; i < 16; i++) {
        qcow2_rig_expect(rig, i * 2 * M, 4 * K, 0);
        qcow2_rig_expect(rig, i * 2 * M + 4 * K, 4 * K, i + 1);
        qcow2_rig_expect(rig, i * 2 * M + 8 * K, 4 * K, 0);
    }
    qcow2_rig_free(rig);
}

/* Those that overlap take effect in the order in which they came. */
static void test_overlapping_burst(void)
{
    Qcow2Rig *rig = rig_with_table("", "");

    for (unsigned round = 0; round < 2; round++) {
        Qcow2Burst *burst = qcow2_burst_new(rig);

        qcow2_burst_write(burst, 4 * K, 128 * K, 1);
        qcow2_burst_write(burst, 0, 8 * K, 2);
        qcow2_burst_write(burst, 100 * K, 100 * K, 3);
        qcow2_burst_write(burst, 4 * K, 512, 4);
        qcow2_burst_end(burst);
        qcow2_rig_expect(rig, 0, 4 * K, 2);
        qcow2_rig_expect(rig, 4 * K, 512, 4);
        qcow2_rig_expect(rig, 4 * K + 512, 4 * K - 512, 2);
        qcow2_rig_expect(rig, 8 * K, 92 * K, 1);
        qcow2_rig_expect(rig, 100 * K, 100 * K, 3);
    }
    qcow2_rig_free(rig);
}

/* What is there is written to in place, several extents in parts. */
static void test_in_place(void)
{
    Qcow2Rig *rig = rig_with_table("", "");

    g_assert_cmpint(qcow2_rig_write(rig, 64 * K, 64 * K, 1), ==, 0);
    g_assert_cmpint(qcow2_rig_write(rig, 0, 64 * K, 1), ==, 0);
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    qcow2_rig_reset_counts(rig);
    g_assert_cmpint(qcow2_rig_write(rig, 4 * K, 4 * K, 2), ==, 0);
    expect_counts(rig, 0, 1, 0);
    /* the second cluster lies before the first one */
    g_assert_cmpint(qcow2_rig_write(rig, 60 * K, 8 * K, 3), ==, 0);
    expect_counts(rig, 0, 2, 0);
    /* one in place, one new */
    g_assert_cmpint(qcow2_rig_write(rig, 124 * K, 8 * K, 4), ==, 0);
    expect_counts(rig, 0, 2, 0);
    qcow2_rig_expect(rig, 4 * K, 4 * K, 2);
    qcow2_rig_expect(rig, 60 * K, 8 * K, 3);
    qcow2_rig_expect(rig, 124 * K, 8 * K, 4);
    qcow2_rig_free(rig);
}

/* A zero cluster that has a host cluster gets it back, zeroes around. */
static void test_zero_alloc(void)
{
    Qcow2Rig *rig = rig_with_table("", "");
    uint64_t entry;

    g_assert_cmpint(qcow2_rig_write(rig, 0, 64 * K, 9), ==, 0);
    entry = qcow2_rig_entry(rig, 0);
    g_assert_cmpint(test_op(rig->bs, BLOCK_WRITE_ZEROES, 0, 0, 64 * K), ==,
                    0);
    g_assert_cmphex(qcow2_rig_entry(rig, 0), ==, entry | QCOW2_ZERO);
    qcow2_rig_reset_counts(rig);
    g_assert_cmpint(qcow2_rig_write(rig, 4 * K, 4 * K, 7), ==, 0);
    expect_counts(rig, 0, 1, 0);
    g_assert_cmphex(qcow2_rig_entry(rig, 0), ==, entry);
    qcow2_rig_expect(rig, 0, 4 * K, 0);
    qcow2_rig_expect(rig, 4 * K, 4 * K, 7);
    qcow2_rig_expect(rig, 8 * K, 56 * K, 0);
    qcow2_rig_free(rig);
}

/* A cluster that is used anew is not known to be empty. */
static void test_used_anew(void)
{
    Qcow2Rig *rig = rig_with_table("", "");
    uint64_t entry;

    g_assert_cmpint(qcow2_rig_write(rig, 0, 64 * K, 9), ==, 0);
    entry = qcow2_rig_entry(rig, 0);
    g_assert_cmpint(test_op(rig->bs, BLOCK_DISCARD, 0, 0, 64 * K), ==, 0);
    g_assert_cmphex(qcow2_rig_entry(rig, 0), ==, QCOW2_ZERO);
    /* not before a flush: the disk still says that it is in use */
    g_assert_cmpint(qcow2_rig_write(rig, 128 * K, 4 * K, 6), ==, 0);
    g_assert_cmphex(qcow2_rig_entry(rig, 128 * K), !=, entry);
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    g_assert_cmpint(qcow2_rig_write(rig, 256 * K, 4 * K, 7), ==, 0);
    g_assert_cmphex(qcow2_rig_entry(rig, 256 * K), ==, entry);
    qcow2_rig_expect(rig, 256 * K, 4 * K, 7);
    qcow2_rig_expect(rig, 260 * K, 60 * K, 0);
    qcow2_rig_free(rig);
}

/* What a read that began before may still look at is not given away, flushed
 * or not. */
static void test_late_read(void)
{
    Qcow2Rig *rig = rig_with_table("", ",file.delay=0");
    TestRequest read = { .req.op = BLOCK_READ, .req.bytes = 64 * K };
    g_autofree char *buf = g_malloc(64 * K);
    uint64_t entry;

    g_assert_cmpint(qcow2_rig_write(rig, 0, 64 * K, 9), ==, 0);
    entry = qcow2_rig_entry(rig, 0);
    read.iov = (struct iovec){ buf, 64 * K };
    read.req.iov = &read.iov;
    read.req.niov = 1;
    test_disk_hold(rig->disk, BLOCK_READ);
    test_submit(rig->bs, &read);
    g_assert_cmpint(test_op(rig->bs, BLOCK_DISCARD, 0, 0, 64 * K), ==, 0);
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    g_assert_cmpint(qcow2_rig_write(rig, 256 * K, 64 * K, 7), ==, 0);
    g_assert_cmphex(qcow2_rig_entry(rig, 256 * K), !=, entry);
    test_disk_release(rig->disk);
    g_assert_cmpint(test_wait(&read), ==, 0);
    g_assert_cmpint(buf[5000], !=, 7);
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    g_assert_cmpint(qcow2_rig_write(rig, 512 * K, 64 * K, 7), ==, 0);
    g_assert_cmphex(qcow2_rig_entry(rig, 512 * K), ==, entry);
    qcow2_rig_free(rig);
}

/* Data is stable when a write with FUA completes, and so is the way to it. */
static void test_fua(void)
{
    Qcow2Rig *rig = rig_with_table("", "");
    TestDisk *cut = test_disk_new("cut", 1);
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    g_autofree char *buf = g_malloc(4 * K), *back = g_malloc(4 * K);
    BlockDriverState *bs;
    TestRequest write = {
        .req.op = BLOCK_WRITE, .req.flags = BLOCK_REQ_FUA,
        .req.offset = 4 * K, .req.bytes = 4 * K,
    };

    memset(buf, 5, 4 * K);
    write.iov = (struct iovec){ buf, 4 * K };
    write.req.iov = &write.iov;
    write.req.niov = 1;
    test_disk_start_log(rig->disk);
    test_submit(rig->bs, &write);
    g_assert_cmpint(test_wait(&write), ==, 0);
    test_disk_cut(rig->disk, test_disk_log_length(rig->disk), rand, cut);
    bs = test_open_attached("qcow2,file.driver=test-disk,file.disk=cut");
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 4 * K, back, 4 * K), ==, 0);
    g_assert_cmpmem(buf, 4 * K, back, 4 * K);
    test_detach_unref(bs);
    /* in place, and nothing to be flushed: it goes down as it is */
    qcow2_rig_reset_counts(rig);
    write.req.offset = 4 * K;
    write.req.flags = BLOCK_REQ_FUA;
    test_submit(rig->bs, &write);
    g_assert_cmpint(test_wait(&write), ==, 0);
    expect_counts(rig, 0, 1, 0);
    test_disk_free(cut);
    qcow2_rig_free(rig);
}

/* What a snapshot has stays, for it and for us. */
static void test_shared(void)
{
    TestImage *image = qcow2_image_new("", "64M");
    g_autofree char *output = NULL;
    Qcow2Rig *rig;

    qcow2_image_io(image, "write -P 1 0 1M", NULL);
    g_free(qcow2_image_run(image, "snapshot", "-c", "s", "@", NULL));
    rig = qcow2_rig_new_with(image, "");
    g_assert_cmpint(qcow2_rig_write(rig, 68 * K, 4 * K, 2), ==, 0);
    g_assert_cmpint(qcow2_rig_write(rig, 256 * K, 64 * K, 3), ==, 0);
    qcow2_rig_expect(rig, 0, 68 * K, 1);
    qcow2_rig_expect(rig, 68 * K, 4 * K, 2);
    qcow2_rig_expect(rig, 72 * K, 184 * K, 1);
    qcow2_rig_expect(rig, 256 * K, 64 * K, 3);
    qcow2_rig_reopen(rig);
    output = qcow2_image_run(image, "snapshot", "-a", "s", "@", NULL);
    qcow2_image_io(image, "read -P 1 0 1M", NULL);
    qcow2_image_check(image);
    test_disk_load(rig->disk, test_image_path(image));
    qcow2_rig_free_broken(rig);
}

/* Compressed clusters are replaced as a whole. */
static void test_compressed(void)
{
    TestImage *image = qcow2_image_new("", "64M");
    Qcow2Rig *rig;

    qcow2_image_io(image, "write -c -P 1 0 64k", "write -c -P 2 64k 64k",
                   "write -c -P 3 128k 64k", NULL);
    rig = qcow2_rig_new_with(image, "");
    g_assert_cmpint(qcow2_rig_write(rig, 68 * K, 4 * K, 9), ==, 0);
    g_assert_cmphex(qcow2_rig_entry(rig, 64 * K) & QCOW2_COMPRESSED, ==, 0);
    qcow2_rig_expect(rig, 0, 64 * K, 1);
    qcow2_rig_expect(rig, 64 * K, 4 * K, 2);
    qcow2_rig_expect(rig, 68 * K, 4 * K, 9);
    qcow2_rig_expect(rig, 72 * K, 56 * K, 2);
    qcow2_rig_expect(rig, 128 * K, 64 * K, 3);
    qcow2_rig_free(rig);
}

/* A data file ends in a new cluster of one write of a burst; another one
 * begins behind that end, in the same cluster, and may go on into the next. */
static void test_data_file_ends(void)
{
    static const int64_t lengths[] = { 4 * K, 64 * K, 256 * K };

    for (unsigned i = 0; i < G_N_ELEMENTS(lengths); i++) {
        g_autoptr(TestImage) data = test_image_new(0);
        g_autofree char *create = g_strdup_printf("data_file=%s",
                                                  test_image_path(data));
        TestImage *image = qcow2_image_new(create, "1M");
        int64_t end = 136 * K + lengths[i];
        Qcow2Burst *burst;
        Qcow2Rig *rig;

        test_image_truncate(data, 100 * K);
        rig = qcow2_rig_new_with(image, "");
        burst = qcow2_burst_new(rig);
        qcow2_burst_write(burst, 100 * K, 32 * K, 1);
        qcow2_burst_write(burst, 136 * K, lengths[i], 2);
        qcow2_burst_end(burst);
        qcow2_rig_reopen(rig);
        qcow2_rig_expect(rig, 0, 100 * K, 0);
        qcow2_rig_expect(rig, 100 * K, 32 * K, 1);
        qcow2_rig_expect(rig, 132 * K, 4 * K, 0);
        qcow2_rig_expect(rig, 136 * K, lengths[i], 2);
        qcow2_rig_expect(rig, end, M - end, 0);
        qcow2_rig_free(rig);
    }
}

/* --- lazy refcounts --- */

#define AT_INCOMPATIBLE 72 /* in the header */

/* A write and a write-zeroes are the first ones, of which one makes the image
 * dirty: its header is held. */
typedef struct First {
    Qcow2Rig *rig;
    TestRequest write, zeroes;
    char buf[512];
} First;

static void first_begin(First *first)
{
    *first = (First){ .rig = qcow2_rig_new("lazy_refcounts=on", "64M", "") };
    first->write.iov = (struct iovec){ first->buf, sizeof(first->buf) };
    first->write.req.op = BLOCK_WRITE;
    first->write.req.bytes = sizeof(first->buf);
    first->write.req.iov = &first->write.iov;
    first->write.req.niov = 1;
    first->zeroes.req.op = BLOCK_WRITE_ZEROES;
    first->zeroes.req.offset = M;
    first->zeroes.req.bytes = 64 * K;
    test_disk_hold(first->rig->disk, BLOCK_WRITE);
    test_submit(first->rig->bs, &first->write);
    while (!(first->rig->s->incompatible & QCOW2_INCOMPAT_DIRTY)) {
        aio_poll(test_ctx(), true);
    }
    test_submit(first->rig->bs, &first->zeroes);
}

static void first_end(First *first)
{
    g_assert_cmpint(qcow2_rig_flush(first->rig), ==, 0);
    g_assert_cmphex(test_disk_data(first->rig->disk)[AT_INCOMPATIBLE + 7], ==,
                    QCOW2_INCOMPAT_DIRTY);
    qcow2_rig_free(first->rig);
}

/* Until the disk has the dirty bit nobody relies on it. */
static void test_lazy_first(void)
{
    First first;

    first_begin(&first);
    for (unsigned i = 0; i < 100; i++) {
        aio_poll(test_ctx(), false);
    }
    g_assert_false(first.zeroes.done);
    test_disk_release(first.rig->disk);
    g_assert_cmpint(test_wait(&first.write), ==, 0);
    g_assert_cmpint(test_wait(&first.zeroes), ==, 0);
    first_end(&first);
}

/* Where it does not get it, the others try again. */
static void test_lazy_first_fails(void)
{
    First first;

    first_begin(&first);
    test_disk_fail(first.rig->disk, BLOCK_WRITE, 0, 1);
    test_disk_release(first.rig->disk);
    g_assert_cmpint(test_wait(&first.write), ==, -EIO);
    g_assert_cmpint(test_wait(&first.zeroes), ==, 0);
    first_end(&first);
}

/* The write fails, nothing else is the worse for it, and later there is
 * room. */
static void test_no_space(void)
{
    Qcow2Rig *rig = rig_with_table("cluster_size=4k", "");
    int64_t limit = rig->bs->file->total_bytes;
    Qcow2Burst *burst;

    g_assert_cmpint(qcow2_rig_write(rig, 0, 64 * K, 1), ==, 0);
    test_disk_set_limit(rig->disk, limit);
    g_assert_cmpint(qcow2_rig_write(rig, 64 * K, 4 * M, 2), ==, -ENOSPC);
    g_assert_cmpint(qcow2_rig_write(rig, 8 * M, 4 * M, 2), ==, -ENOSPC);
    qcow2_rig_expect(rig, 0, 64 * K, 1);
    qcow2_rig_expect(rig, 64 * K, 4 * M, 0);
    test_disk_set_limit(rig->disk, 0);
    burst = qcow2_burst_new(rig);
    qcow2_burst_write(burst, 64 * K, 4 * M, 3);
    qcow2_burst_write(burst, 8 * M, 4 * M, 4);
    qcow2_burst_end(burst);
    qcow2_rig_expect(rig, 64 * K, 4 * M, 3);
    qcow2_rig_expect(rig, 8 * M, 4 * M, 4);
    qcow2_rig_free(rig);
}

/* The file is longer than it has to be only while it is open. */
static void test_file_length(void)
{
    Qcow2Rig *rig = rig_with_table("", "");
    int64_t used = (qcow2_rig_entry(rig, 63 * M) & QCOW2_L2_OFFSET) + 64 * K;

    g_assert_cmpint(test_disk_bytes(rig->disk), >=, used + M / 2);
    qcow2_rig_reopen(rig);
    g_assert_cmpint(test_disk_bytes(rig->disk), ==, used);
    qcow2_rig_free(rig);
}

/* What refuses memory to us is to say so and not to end the program. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

/* Copies that wait for memory, and then there is none: each of the requests
 * fails once, and what was there is there. The alignment is one that no
 * allocator has. */
static void test_no_memory(void)
{
    enum { N = 16 };
    TestImage *image = qcow2_image_new("cluster_size=2M", "64M");
    TestRequest tests[N] = { 0 };
    static char data[4 * K + 1];
    BlockLimits *limits;
    Qcow2Rig *rig;

    qcow2_image_io(image, "write -P 1 0 64M", NULL);
    g_free(qcow2_image_run(image, "snapshot", "-c", "a", "@", NULL));
    rig = qcow2_rig_new_with(image, "");
    limits = &rig->s->data_file->limits;
    g_assert_cmpint(qcow2_rig_write(rig, 62 * M, 4 * K, 9), ==, 0);
    test_disk_hold(rig->disk, BLOCK_READ);
    for (unsigned i = 0; i < N; i++) {
        tests[i].iov = (struct iovec){ data + 1, 4 * K };
        tests[i].req.op = BLOCK_WRITE;
        tests[i].req.offset = i * 2 * M + 4 * K;
        tests[i].req.bytes = 4 * K;
        tests[i].req.iov = &tests[i].iov;
        tests[i].req.niov = 1;
        test_submit(rig->bs, &tests[i]);
    }
    while (!rig->s->write->cow_queue.head) {
        aio_poll(test_ctx(), true);
    }
    limits->memory_alignment = 3 * 4096;
    test_disk_release(rig->disk);
    for (unsigned i = 0; i < N; i++) {
        g_assert_cmpint(test_wait(&tests[i]), ==, -ENOMEM);
    }
    limits->memory_alignment = 1;
    g_assert_cmpint(rig->s->write->cow_bytes, ==, 0);
    qcow2_rig_expect(rig, 0, N * 2 * M, 1);
    for (unsigned i = 0; i < N; i++) {
        g_assert_cmpint(qcow2_rig_write(rig, i * 2 * M + 4 * K, 4 * K, 5),
                        ==, 0);
        qcow2_rig_expect(rig, i * 2 * M, 4 * K, 1);
        qcow2_rig_expect(rig, i * 2 * M + 4 * K, 4 * K, 5);
    }
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
    g_test_add_func("/qcow2/write/first", test_first);
    g_test_add_func("/qcow2/write/sequential-burst", test_sequential_burst);
    g_test_add_func("/qcow2/write/random-burst", test_random_burst);
    g_test_add_func("/qcow2/write/new-tables", test_new_tables);
    g_test_add_func("/qcow2/write/overlapping-burst",
                    test_overlapping_burst);
    g_test_add_func("/qcow2/write/in-place", test_in_place);
    g_test_add_func("/qcow2/write/zero-alloc", test_zero_alloc);
    g_test_add_func("/qcow2/write/used-anew", test_used_anew);
    g_test_add_func("/qcow2/write/late-read", test_late_read);
    g_test_add_func("/qcow2/write/fua", test_fua);
    g_test_add_func("/qcow2/write/shared", test_shared);
    g_test_add_func("/qcow2/write/compressed", test_compressed);
    g_test_add_func("/qcow2/write/data-file-ends", test_data_file_ends);
    g_test_add_func("/qcow2/write/lazy-first", test_lazy_first);
    g_test_add_func("/qcow2/write/lazy-first-fails", test_lazy_first_fails);
    g_test_add_func("/qcow2/write/no-space", test_no_space);
    g_test_add_func("/qcow2/write/file-length", test_file_length);
    g_test_add_func("/qcow2/write/no-memory", test_no_memory);
    ret = g_test_run();
    test_block_end();
    return ret;
}
