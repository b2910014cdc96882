/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A qcow2 node over a test-disk. */
#include "tests/lib/qcow2-rig.h"

#include <string.h>

#define SEED 1

static void rig_open(Qcow2Rig *rig)
{
    bool own = strstr(rig->options, ",discard=") != NULL;

    rig->bs = test_open("qcow2,file.driver=test-disk,file.discard=unmap,"
                        "file.disk=rig%s%s", own ? "" : ",discard=unmap",
                        rig->options);
    g_assert_true(bdrv_set_block_size(rig->bs, 512, NULL));
    bdrv_attach_context(rig->bs, test_ctx());
    rig->s = rig->bs->opaque;
    test_disk_reset_counts(rig->disk);
}

static void rig_close(Qcow2Rig *rig)
{
    test_detach_unref(rig->bs);
    rig->bs = NULL;
    qcow2_rig_store(rig);
}

Qcow2Rig *qcow2_rig_new_with(TestImage *image, const char *options)
{
    Qcow2Rig *rig = g_new0(Qcow2Rig, 1);

    rig->image = image;
    rig->options = g_strdup(options);
    rig->disk = test_disk_new("rig", SEED);
    test_disk_load(rig->disk, test_image_path(image));
    rig_open(rig);
    return rig;
}

Qcow2Rig *qcow2_rig_new(const char *create, const char *size,
                        const char *options)
{
    return qcow2_rig_new_with(qcow2_image_new(create, size), options);
}

void qcow2_rig_free_broken(Qcow2Rig *rig)
{
    if (rig->bs) {
        rig_close(rig);
    }
    test_disk_free(rig->disk);
    test_image_free(rig->image);
    g_free(rig->options);
    g_free(rig);
}

void qcow2_rig_free(Qcow2Rig *rig)
{
    rig_close(rig);
    qcow2_image_check(rig->image);
    qcow2_rig_free_broken(rig);
}

void qcow2_rig_reopen(Qcow2Rig *rig)
{
    rig_close(rig);
    qcow2_image_check(rig->image);
    test_disk_load(rig->disk, test_image_path(rig->image));
    rig_open(rig);
}

void qcow2_rig_store(Qcow2Rig *rig)
{
    test_disk_store(rig->disk, test_image_path(rig->image));
}

int qcow2_rig_write(Qcow2Rig *rig, int64_t offset, int64_t bytes,
                    uint8_t byte)
{
    g_autofree char *buf = g_malloc(bytes);

    memset(buf, byte, bytes);
    return test_rw(rig->bs, BLOCK_WRITE, offset, buf, bytes);
}

int qcow2_rig_flush(Qcow2Rig *rig)
{
    return test_op(rig->bs, BLOCK_FLUSH, 0, 0, 0);
}

void qcow2_rig_expect(Qcow2Rig *rig, int64_t offset, int64_t bytes,
                      uint8_t byte)
{
    g_autofree char *buf = g_malloc(bytes);
    g_autofree char *wanted = g_malloc(bytes);

    memset(wanted, byte, bytes);
    g_assert_cmpint(test_rw(rig->bs, BLOCK_READ, offset, buf, bytes), ==, 0);
    g_assert_true(memcmp(buf, wanted, bytes) == 0);
}

/* --- bursts --- */

struct Qcow2Burst {
    Qcow2Rig *rig;
    GPtrArray *tests; /* of TestRequest */
};

Qcow2Burst *qcow2_burst_new(Qcow2Rig *rig)
{
    Qcow2Burst *burst = g_new(Qcow2Burst, 1);

    burst->rig = rig;
    burst->tests = g_ptr_array_new();
    return burst;
}

void qcow2_burst_write(Qcow2Burst *burst, int64_t offset, int64_t bytes,
                       uint8_t byte)
{
    TestRequest *test = g_new0(TestRequest, 1);

    test->iov.iov_base = g_malloc(bytes);
    test->iov.iov_len = bytes;
    memset(test->iov.iov_base, byte, bytes);
    test->req.op = BLOCK_WRITE;
    test->req.offset = offset;
    test->req.bytes = bytes;
    test->req.iov = &test->iov;
    test->req.niov = 1;
    g_ptr_array_add(burst->tests, test);
    test_submit(burst->rig->bs, test);
}

void qcow2_burst_end(Qcow2Burst *burst)
{
    for (unsigned i = 0; i < burst->tests->len; i++) {
        TestRequest *test = burst->tests->pdata[i];

        g_assert_cmpint(test_wait(test), ==, 0);
        g_free(test->iov.iov_base);
        g_free(test);
    }
    g_ptr_array_unref(burst->tests);
    g_free(burst);
}

/* --- tables --- */

typedef struct Lookup {
    Qcow2Rig *rig;
    uint64_t at;
    uint64_t found;
} Lookup;

static void coroutine_fn entry_entry(void *opaque)
{
    Lookup *lookup = opaque;
    Qcow2State *s = lookup->rig->s;
    unsigned index;
    void *slice;

    co_mutex_lock(&s->lock);
    if (qcow2_co_get_l2_slice(lookup->rig->bs, lookup->at, &slice,
                              &index) == 0) {
        lookup->found = qcow2_l2_entry(s, slice, index);
        qcow2_cache_put(s->l2_cache, &slice);
    }
    co_mutex_unlock(&s->lock);
}

uint64_t qcow2_rig_entry(Qcow2Rig *rig, int64_t offset)
{
    Lookup lookup = { rig, offset, 0 };

    test_run_co(entry_entry, &lookup);
    return lookup.found;
}

static void coroutine_fn refcount_entry(void *opaque)
{
    Lookup *lookup = opaque;
    Qcow2State *s = lookup->rig->s;

    co_mutex_lock(&s->lock);
    g_assert_cmpint(qcow2_co_get_refcount(lookup->rig->bs, lookup->at,
                                          &lookup->found), ==, 0);
    co_mutex_unlock(&s->lock);
}

uint64_t qcow2_rig_refcount(Qcow2Rig *rig, uint64_t cluster)
{
    Lookup lookup = { rig, cluster, 0 };

    test_run_co(refcount_entry, &lookup);
    return lookup.found;
}

unsigned qcow2_rig_count(Qcow2Rig *rig, BlockOp op)
{
    return test_disk_count(rig->disk, op);
}

void qcow2_rig_reset_counts(Qcow2Rig *rig)
{
    test_disk_reset_counts(rig->disk);
}
