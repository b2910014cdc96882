/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compressed clusters, written by several coroutines at once: what we read,
 * and what Debian's qemu-img reads. Preallocation of metadata, as well.
 */
#include "tests/lib/qcow2-rig.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

#define K 1024
#define M (1024 * K)
#define WRITERS 8

typedef struct Case {
    const char *name;
    const char *create;
    const char *options;
    int64_t bytes;
} Case;

static const Case cases[] = {
    { "zlib", "cluster_size=64k", "", 4 * M },
    { "zstd", "cluster_size=64k,compression_type=zstd", "", 4 * M },
    { "blocks", "cluster_size=4k",
      ",file.request-alignment=4096,file.memory-alignment=512", 1 * M },
    { "blocks-above-clusters", "cluster_size=1k",
      ",file.request-alignment=4096,file.memory-alignment=512", 256 * K },
    { "small-clusters", "cluster_size=512", "", 256 * K },
    { "large-clusters", "cluster_size=2M", "", 24 * M },
    { "subclusters", "cluster_size=16k,extended_l2=on", "", 2 * M },
    { "no-sharing", "cluster_size=4k,refcount_bits=1", "", 1 * M },
    { "odd-end", "cluster_size=16k", "", M + 512 * 3 },
};

typedef struct Job {
    Qcow2Rig *rig;
    const char *data;
    int64_t bytes, next;
    unsigned running;
    int ret;
} Job;

/* Every other block of text; sometimes nothing that can be compressed. */
static char *make_data(int64_t bytes, int64_t cluster)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(5);
    char *data = g_malloc(bytes);

    for (int64_t at = 0; at < bytes; at++) {
        bool random = at / cluster % 7 == 3;

        data[at] = random ? g_rand_int(rand) : (at / 100) % 50 + at / cluster;
    }
    return data;
}

static void coroutine_fn writer_entry(void *opaque)
{
    Job *job = opaque;
    int64_t cluster = job->rig->s->cluster_size;

    while (job->next < job->bytes && job->ret == 0) {
        int64_t at = job->next;
        int ret;

        job->next += cluster;
        ret = qcow2_co_pwrite_compressed(job->rig->bs, at,
                                         MIN(cluster, job->bytes - at),
                                         job->data + at);
        job->ret = MIN(job->ret, ret);
    }
    job->running--;
}

static int write_all(Qcow2Rig *rig, const char *data, int64_t bytes)
{
    Job job = { rig, data, bytes, .running = WRITERS };

    for (unsigned i = 0; i < WRITERS; i++) {
        coroutine_enter(coroutine_new(writer_entry, &job));
    }
    while (job.running > 0) {
        aio_poll(test_ctx(), true);
    }
    return job.ret;
}

static void expect_file(const TestImage *image, const char *data,
                        int64_t bytes)
{
    g_autofree char *raw = g_strconcat(test_image_path(image), ".raw", NULL);
    g_autofree char *contents = NULL;
    gsize length;

    g_free(qcow2_image_run(image, "convert", "-O", "raw", "@", raw, NULL));
    g_assert_true(g_file_get_contents(raw, &contents, &length, NULL));
    g_assert_cmpint(length, ==, bytes);
    g_assert_true(memcmp(contents, data, bytes) == 0);
    g_unlink(raw);
}

static void test_parallel(gconstpointer opaque)
{
    const Case *c = opaque;
    g_autofree char *size = g_strdup_printf("%" G_GINT64_FORMAT, c->bytes);
    Qcow2Rig *rig = qcow2_rig_new(c->create, size, c->options);
    g_autofree char *data = make_data(c->bytes, rig->s->cluster_size);
    g_autofree char *back = g_malloc(c->bytes);

    g_assert_cmpint(write_all(rig, data, c->bytes), ==, 0);
    g_assert_cmphex(qcow2_rig_entry(rig, 0) & QCOW2_COMPRESSED, !=, 0);
    g_assert_cmphex(qcow2_rig_entry(rig, 3 * rig->s->cluster_size) &
                        QCOW2_COMPRESSED, ==, 0);
    g_assert_cmpint(test_rw(rig->bs, BLOCK_READ, 0, back, c->bytes), ==, 0);
    g_assert_true(memcmp(back, data, c->bytes) == 0);
    qcow2_rig_reopen(rig);
    expect_file(rig->image, data, c->bytes);
    /* and as if they had never been */
    g_assert_cmpint(test_rw(rig->bs, BLOCK_WRITE, 0, data, c->bytes), ==, 0);
    qcow2_rig_reopen(rig);
    expect_file(rig->image, data, c->bytes);
    qcow2_rig_free(rig);
}

/* Several take a host cluster; it is less than they would by themselves. */
static void test_shares(void)
{
    Qcow2Rig *rig = qcow2_rig_new("", "4M", "");
    g_autofree char *data = g_malloc0(4 * M);
    int64_t used = rig->s->write->used_end;

    memset(data, 'x', 4 * M);
    g_assert_cmpint(write_all(rig, data, 4 * M), ==, 0);
    g_assert_cmpint(rig->s->write->used_end - used, <, 3 * 64 * K);
    qcow2_rig_free(rig);
}

typedef struct OneWrite {
    Qcow2Rig *rig;
    const char *data;
    int64_t offset, bytes;
    int ret;
} OneWrite;

static void coroutine_fn one_write_entry(void *opaque)
{
    OneWrite *one = opaque;

    one->ret = qcow2_co_pwrite_compressed(one->rig->bs, one->offset,
                                          one->bytes, one->data);
}

static int write_one(Qcow2Rig *rig, const char *data, int64_t offset,
                     int64_t bytes)
{
    OneWrite one = { rig, data, offset, bytes, 1 };

    test_run_co(one_write_entry, &one);
    return one.ret;
}

static void test_refused(void)
{
    Qcow2Rig *rig = qcow2_rig_new("", "4M", "");
    g_autofree char *data = g_malloc0(128 * K);

    g_assert_cmpint(write_one(rig, data, 512, 64 * K), ==, -EINVAL);
    g_assert_cmpint(write_one(rig, data, 0, 512), ==, -EINVAL);
    g_assert_cmpint(write_one(rig, data, 0, 0), ==, 0);
    /* what is there as it is stays */
    g_assert_cmpint(qcow2_rig_write(rig, 0, 64 * K, 1), ==, 0);
    g_assert_cmpint(write_one(rig, data, 0, 64 * K), ==, -EIO);
    qcow2_rig_expect(rig, 0, 64 * K, 1);
    memset(data, 2, 64 * K);
    g_assert_cmpint(write_one(rig, data, 64 * K, 64 * K), ==, 0);
    memset(data, 3, 64 * K);
    g_assert_cmpint(write_one(rig, data, 64 * K, 64 * K), ==, -EIO);
    qcow2_rig_expect(rig, 64 * K, 64 * K, 2);
    qcow2_rig_free(rig);
}

/* A cluster that is decompressed and remembered, given up, and there is another
 * one just as long in its place. */
static void test_used_anew(void)
{
    Qcow2Rig *rig = qcow2_rig_new("", "4M", "");
    g_autofree char *data = g_malloc(64 * K);
    uint64_t entry;

    memset(data, 1, 64 * K);
    g_assert_cmpint(write_one(rig, data, 0, 64 * K), ==, 0);
    entry = qcow2_rig_entry(rig, 0);
    qcow2_rig_expect(rig, 0, 4 * K, 1);
    g_assert_cmpint(test_op(rig->bs, BLOCK_DISCARD, 0, 0, 64 * K), ==, 0);
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    memset(data, 2, 64 * K);
    g_assert_cmpint(write_one(rig, data, 64 * K, 64 * K), ==, 0);
    g_assert_cmphex(qcow2_rig_entry(rig, 64 * K), ==, entry);
    qcow2_rig_expect(rig, 64 * K, 4 * K, 2);
    /* copy on write reads it as well */
    g_assert_cmpint(qcow2_rig_write(rig, 64 * K, 4 * K, 3), ==, 0);
    qcow2_rig_expect(rig, 68 * K, 60 * K, 2);
    qcow2_rig_free(rig);
}

/* A write that fails takes nothing with it. */
static void test_error(void)
{
    Qcow2Rig *rig = qcow2_rig_new("", "4M", "");
    g_autofree char *data = g_malloc0(64 * K);

    memset(data, 3, 64 * K);
    g_assert_cmpint(write_one(rig, data, 0, 64 * K), ==, 0);
    test_disk_fail(rig->disk, BLOCK_WRITE, 0, 1);
    g_assert_cmpint(write_one(rig, data, 64 * K, 64 * K), ==, -EIO);
    g_assert_cmpint(write_one(rig, data, 128 * K, 64 * K), ==, 0);
    qcow2_rig_expect(rig, 0, 64 * K, 3);
    qcow2_rig_expect(rig, 64 * K, 64 * K, 0);
    qcow2_rig_expect(rig, 128 * K, 64 * K, 3);
    qcow2_rig_free(rig);
}

/* --- preallocation --- */

typedef struct Preallocate {
    Qcow2Rig *rig;
    int64_t offset, bytes;
    int ret;
} Preallocate;

static void coroutine_fn preallocate_entry(void *opaque)
{
    Preallocate *p = opaque;

    p->ret = qcow2_co_preallocate(p->rig->bs, p->offset, p->bytes, NULL);
}

/* Clusters in a row, but for those that were there; in a file that is long
 * enough, and which a write does not make longer. */
static void test_preallocate(void)
{
    static const char *const creates[] = {
        "", "cluster_size=512", "cluster_size=16k,extended_l2=on",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(creates); i++) {
        Qcow2Rig *rig = qcow2_rig_new(creates[i], "8M", "");
        Preallocate all = { rig, 0, 8 * M, 1 };
        int64_t used;

        g_assert_cmpint(qcow2_rig_write(rig, M + 4 * K, 4 * K, 1), ==, 0);
        test_run_co(preallocate_entry, &all);
        g_assert_cmpint(all.ret, ==, 0);
        used = rig->s->write->used_end;
        g_assert_cmpint(test_disk_bytes(rig->disk), >=, used);
        qcow2_rig_expect(rig, 0, M + 4 * K, 0);
        qcow2_rig_expect(rig, M + 4 * K, 4 * K, 1);
        qcow2_rig_expect(rig, M + 8 * K, 7 * M - 8 * K, 0);
        g_assert_cmpint(qcow2_rig_write(rig, 0, 8 * M, 7), ==, 0);
        g_assert_cmpint(rig->s->write->used_end, ==, used);
        qcow2_rig_expect(rig, 0, 8 * M, 7);
        qcow2_rig_free(rig);
    }
}

/* What was left in clusters that are used anew. */
static void test_preallocate_stale(void)
{
    Qcow2Rig *rig = qcow2_rig_new("", "8M", "");
    Preallocate some = { rig, 4 * M, M, 1 };

    g_assert_cmpint(qcow2_rig_write(rig, 0, M, 9), ==, 0);
    g_assert_cmpint(test_op(rig->bs, BLOCK_WRITE_ZEROES, BLOCK_REQ_MAY_UNMAP,
                            0, M), ==, 0);
    g_assert_cmpint(qcow2_rig_flush(rig), ==, 0);
    memset(test_disk_data(rig->disk) + rig->s->write->used_end - M, 8, M);
    test_run_co(preallocate_entry, &some);
    g_assert_cmpint(some.ret, ==, 0);
    qcow2_rig_expect(rig, 4 * M, M, 0);
    qcow2_rig_free(rig);
}

static void test_preallocate_no_space(void)
{
    Qcow2Rig *rig = qcow2_rig_new("cluster_size=4k", "8M", "");
    Preallocate all = { rig, 0, 8 * M, 1 };

    test_disk_set_limit(rig->disk, rig->bs->file->total_bytes + 64 * K);
    test_run_co(preallocate_entry, &all);
    g_assert_cmpint(all.ret, <, 0);
    test_disk_set_limit(rig->disk, 0);
    g_assert_cmpint(qcow2_rig_write(rig, 0, M, 7), ==, 0);
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
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strconcat("/qcow2/compressed-write/",
                                            cases[i].name, NULL);

        g_test_add_data_func(path, &cases[i], test_parallel);
    }
    g_test_add_func("/qcow2/compressed-write/shares", test_shares);
    g_test_add_func("/qcow2/compressed-write/refused", test_refused);
    g_test_add_func("/qcow2/compressed-write/used-anew", test_used_anew);
    g_test_add_func("/qcow2/compressed-write/error", test_error);
    g_test_add_func("/qcow2/preallocate/all", test_preallocate);
    g_test_add_func("/qcow2/preallocate/stale", test_preallocate_stale);
    g_test_add_func("/qcow2/preallocate/no-space", test_preallocate_no_space);
    ret = g_test_run();
    test_block_end();
    return ret;
}
