/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clusters that are counted ahead, for guests that outlive the server: how
 * seldom they wait, what is in the file when a write is done, that nothing is
 * left over at the end, and what is when there is no end.
 */
#include "tests/lib/qcow2-rig.h"

#include <string.h>

#define K 1024
#define M (1024 * K)

#define STEP_BYTES_MAX (64 * M) /* what may be counted and not used */

static Qcow2Rig *rig_outlived(const char *create, const char *size)
{
    Qcow2Rig *rig = qcow2_rig_new(create, size, "");

    bdrv_add_outlived(rig->bs, 1);
    return rig;
}

static const Qcow2Ahead *ahead(const Qcow2Rig *rig)
{
    return &rig->s->write->ahead;
}

static uint64_t clusters_ahead(const Qcow2Rig *rig)
{
    return ahead(rig)->ready.clusters + ahead(rig)->next.clusters;
}

/* New clusters, one by one, scattered over the first @bytes of the disk. */
static void write_scattered(Qcow2Rig *rig, unsigned count, int64_t bytes)
{
    int64_t size = rig->s->cluster_size;

    for (unsigned i = 0; i < count; i++) {
        g_assert_cmpint(qcow2_rig_write(rig, (i * 7 * size) % bytes, 512,
                                        i + 1), ==, 0);
    }
}

/* Flushes for many writes are few; without counting ahead each would take
 * one. */
static void test_few_flushes(void)
{
    Qcow2Rig *rig = rig_outlived("", "512M");

    write_scattered(rig, 500, 512 * M);
    g_assert_cmpuint(qcow2_rig_count(rig, BLOCK_FLUSH), <, 25);
    /* data and a part of the L2 table each */
    g_assert_cmpuint(qcow2_rig_count(rig, BLOCK_WRITE), <, 1050);
    g_assert_cmpuint(clusters_ahead(rig), >, 0);
    g_assert_true(ahead(rig)->ready.clusters == 0 ||
                  qcow2_rig_refcount(rig, ahead(rig)->ready.first) == 1);
    qcow2_rig_free(rig);
}

/* Whoever is not outlived, an image whose counts may be wrong and one on a
 * device need none of this. */
static void test_not_wanted(void)
{
    Qcow2Rig *rig = qcow2_rig_new("", "512M", "");

    write_scattered(rig, 20, 512 * M);
    g_assert_cmpuint(clusters_ahead(rig), ==, 0);
    qcow2_rig_free(rig);
    rig = rig_outlived("lazy_refcounts=on", "512M");
    write_scattered(rig, 20, 512 * M);
    g_assert_cmpuint(clusters_ahead(rig), ==, 0);
    qcow2_rig_free(rig);
    rig = rig_outlived("", "512M");
    rig->bs->file->grows = false;
    write_scattered(rig, 20, 512 * M);
    g_assert_cmpuint(clusters_ahead(rig), ==, 0);
    qcow2_rig_free(rig);
}

/* A write that is done is found in what the file has then. */
static void test_tables_are_there(void)
{
    Qcow2Rig *rig = rig_outlived("cluster_size=4k", "64M");

    for (unsigned i = 0; i < 60; i++) {
        int64_t offset = (int64_t)i * M + 4 * K;
        g_autofree char *buf = NULL;
        uint64_t host;

        g_assert_cmpint(qcow2_rig_write(rig, offset, 4 * K, i + 1), ==, 0);
        qcow2_rig_store(rig);
        host = qcow2_image_get64(rig->image,
                                 qcow2_image_l2_entry(rig->image, offset, 8)) &
               QCOW2_L2_OFFSET;
        g_assert_cmphex(host, !=, 0);
        buf = g_malloc(4 * K);
        test_image_read(rig->image, host, buf, 4 * K);
        g_assert_cmpuint(buf[0], ==, i + 1);
    }
    qcow2_rig_free(rig);
}

/* Closing leaves an image as short as its contents, and no leaks (which the
 * rig looks for); so does a guest's flush when nobody outlives us any more. */
static void test_nothing_is_left(void)
{
    Qcow2Rig *rig = rig_outlived("", "512M");
    int64_t clusters;

    write_scattered(rig, 100, 512 * M);
    g_assert_cmpuint(clusters_ahead(rig), >, 0);
    bdrv_add_outlived(rig->bs, -1);
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    g_assert_cmpuint(clusters_ahead(rig), ==, 0);
    bdrv_add_outlived(rig->bs, 1);
    write_scattered(rig, 200, 512 * M);
    g_assert_cmpuint(clusters_ahead(rig), >, 0);
    qcow2_rig_reopen(rig);
    /* header, L1, refcounts (table and block), an L2 table, data */
    clusters = 5 + 200;
    g_assert_cmpint(test_disk_bytes(rig->disk), ==, clusters * 64 * K);
    qcow2_rig_free(rig);
}

/* A row that begins on clusters with old data in them, which the host was not
 * told to drop, and ends behind all that was ever used: nobody takes what is
 * given back of it for zeroes, neither a write of a part of a cluster nor a
 * new L2 table. */
static void test_given_back_is_not_fresh(void)
{
    Qcow2Rig *rig = qcow2_rig_new("", "2G", ",pass-discard-request=off");

    g_assert_cmpint(qcow2_rig_write(rig, 0, 40 * 64 * K, 0x55), ==, 0);
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    g_assert_cmpint(test_op(rig->bs, BLOCK_DISCARD, 0, 30 * 64 * K,
                            10 * 64 * K), ==, 0);
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    bdrv_add_outlived(rig->bs, 1);
    g_assert_cmpint(qcow2_rig_write(rig, 256 * M, 512, 1), ==, 0);
    g_assert_cmpuint(ahead(rig)->next.clusters, >, 10);
    g_assert_false(ahead(rig)->next.fresh);
    bdrv_add_outlived(rig->bs, -1);
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    g_assert_cmpuint(clusters_ahead(rig), ==, 0);
    g_assert_cmpint(qcow2_rig_write(rig, 128 * M, 512, 2), ==, 0);
    qcow2_rig_expect(rig, 128 * M + 512, 64 * K - 512, 0);
    g_assert_cmpint(qcow2_rig_write(rig, 1024 * M, 512, 3), ==, 0);
    qcow2_rig_reopen(rig);
    qcow2_rig_expect(rig, 1024 * M + 512, M - 512, 0);
    qcow2_rig_free(rig);
}

/* A process that is killed leaves leaks, a bounded number, and nothing is
 * wrong else. */
static void test_killed(void)
{
    Qcow2Rig *rig = rig_outlived("", "1G");
    g_autofree char *report = NULL;
    uint64_t leaks;

    write_scattered(rig, 1500, G_GINT64_CONSTANT(1024) * M);
    leaks = clusters_ahead(rig);
    g_assert_cmpuint(leaks, >, 0);
    g_assert_cmpuint(leaks, <=, 2 * STEP_BYTES_MAX / (64 * K));
    qcow2_rig_store(rig);
    report = qcow2_image_run(rig->image, "check", "-r", "leaks", "@", NULL);
    g_assert_nonnull(strstr(report, "No errors were found on the image"));
    qcow2_image_check(rig->image);
    qcow2_rig_free(rig);
}

/* Power fails between guest's flushes, of which there are none: what counts a
 * cluster is always there when an entry is that leads to it. */
static void test_power_cut(void)
{
    Qcow2Rig *rig = rig_outlived("", "512M");
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    unsigned length;

    test_disk_start_log(rig->disk);
    write_scattered(rig, 200, 512 * M);
    length = test_disk_log_length(rig->disk);
    for (unsigned i = 0; i < 80; i++) {
        g_autoptr(TestDisk) cut = test_disk_new("cut", 1);

        test_disk_cut(rig->disk, g_rand_int_range(rand, length / 8, length),
                      rand, cut);
        test_disk_store(cut, test_image_path(rig->image));
        g_free(qcow2_image_run(rig->image, "check", "-q", "-r", "leaks", "@",
                               NULL));
    }
    qcow2_rig_free(rig);
}

static void submit_write(Qcow2Rig *rig, TestRequest *test, int64_t offset)
{
    static char buf[512] = { 1 };

    *test = (TestRequest){ .iov = { buf, sizeof(buf) } };
    test->req.op = BLOCK_WRITE;
    test->req.offset = offset;
    test->req.bytes = sizeof(buf);
    test->req.iov = &test->iov;
    test->req.niov = 1;
    test_submit(rig->bs, test);
}

/* The flush that fills up keeps one write waiting; others go on. */
static void test_others_go_on(void)
{
    Qcow2Rig *rig = rig_outlived("", "512M");
    TestRequest waits;
    int64_t at = 0;

    write_scattered(rig, 1, 512 * M); /* the L2 table, and some are ready */
    test_disk_hold(rig->disk, BLOCK_FLUSH);
    do {
        at += 64 * K;
        submit_write(rig, &waits, at);
        while (!waits.done && !ahead(rig)->filling) {
            aio_poll(test_ctx(), true);
        }
    } while (waits.done);
    g_assert_cmpuint(ahead(rig)->ready.clusters, >, 4);
    for (unsigned i = 1; i <= 4; i++) {
        g_assert_cmpint(qcow2_rig_write(rig, 256 * M + i * 64 * K, 512, i),
                        ==, 0);
    }
    g_assert_false(waits.done);
    test_disk_release(rig->disk);
    g_assert_cmpint(test_wait(&waits), ==, 0);
    g_assert_false(ahead(rig)->filling);
    g_assert_cmpuint(ahead(rig)->next.clusters, >, 0);
    qcow2_rig_free(rig);
}

/* What counts the first cluster of @row is in the file. There is one refcount
 * block. */
static void expect_in_file(const Qcow2Rig *rig, const Qcow2Row *row)
{
    uint64_t block = rig->s->reftable[0] & QCOW2_REFTABLE_OFFSET;
    const uint8_t *count = test_disk_data(rig->disk) + block + 2 * row->first;

    g_assert_cmpuint(count[0] << 8 | count[1], ==, 1);
}

/* Until it is done; whatever is called stable meanwhile is so. */
static void wait_looking(Qcow2Rig *rig, TestRequest *test)
{
    while (!test->done) {
        aio_poll(test_ctx(), true);
        if (ahead(rig)->ready.clusters > 0) {
            expect_in_file(rig, &ahead(rig)->ready);
        }
        if (ahead(rig)->next.clusters > 0 && ahead(rig)->next_stable) {
            expect_in_file(rig, &ahead(rig)->next);
        }
    }
    g_assert_cmpint(test_wait(test), ==, 0);
}

/* Free clusters are few and far between, so that rows are short: writes that
 * are planned while the tables of another one are written begin a next row that
 * nobody has written the counts of when it is looked after. */
static void test_stable_is_in_the_file(void)
{
    Qcow2Rig *rig = qcow2_rig_new("", "512M", "");
    unsigned met = 0;
    int64_t at = 64 * M;

    g_assert_cmpint(qcow2_rig_write(rig, 0, 900 * 64 * K, 1), ==, 0);
    for (unsigned i = 0; i < 900; i += 3) {
        g_assert_cmpint(test_op(rig->bs, BLOCK_DISCARD, 0, i * 64 * K,
                                2 * 64 * K), ==, 0);
    }
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    bdrv_add_outlived(rig->bs, 1);
    for (unsigned i = 0; i < 100; i++) {
        TestRequest tests[8];
        unsigned count = 2 + i % 7;

        submit_write(rig, &tests[0], at);
        while (!rig->s->write->flushing && !tests[0].done) {
            aio_poll(test_ctx(), true);
        }
        met += !tests[0].done;
        for (unsigned j = 1; j < count; j++) {
            submit_write(rig, &tests[j], at + j * 64 * K);
        }
        for (unsigned j = 0; j < count; j++) {
            wait_looking(rig, &tests[j]);
        }
        at += count * 64 * K;
    }
    g_assert_cmpuint(met, >, 50);
    qcow2_rig_free(rig);
}

/* Neither a count nor a flush that fails in advance fails a write. */
static void test_errors(void)
{
    Qcow2Rig *rig = rig_outlived("", "512M");

    for (unsigned i = 0; i < 40; i++) {
        write_scattered(rig, 1, 64 * K);
        test_disk_fail(rig->disk, BLOCK_FLUSH, 0, 1);
        qcow2_rig_write(rig, (int64_t)(i + 1) * M, 512, 1);
        test_disk_fail(rig->disk, BLOCK_FLUSH, 0, 0);
    }
    for (unsigned i = 0; i < 40; i++) {
        g_assert_cmpint(qcow2_rig_write(rig, (int64_t)(i + 1) * M, 512, i + 1),
                        ==, 0);
        qcow2_rig_expect(rig, (int64_t)(i + 1) * M, 512, i + 1);
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
    g_test_add_func("/qcow2/ahead/few-flushes", test_few_flushes);
    g_test_add_func("/qcow2/ahead/not-wanted", test_not_wanted);
    g_test_add_func("/qcow2/ahead/tables-are-there", test_tables_are_there);
    g_test_add_func("/qcow2/ahead/nothing-is-left", test_nothing_is_left);
    g_test_add_func("/qcow2/ahead/given-back-is-not-fresh",
                    test_given_back_is_not_fresh);
    g_test_add_func("/qcow2/ahead/killed", test_killed);
    g_test_add_func("/qcow2/ahead/power-cut", test_power_cut);
    g_test_add_func("/qcow2/ahead/others-go-on", test_others_go_on);
    g_test_add_func("/qcow2/ahead/stable-is-in-the-file",
                    test_stable_is_in_the_file);
    g_test_add_func("/qcow2/ahead/errors", test_errors);
    ret = g_test_run();
    test_block_end();
    return ret;
}
