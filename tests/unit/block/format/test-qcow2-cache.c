/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The cache of tables: what is read and written when, and in which order.
 * Each test runs as a coroutine over a file in memory.
 */
#include "tests/lib/block.h"
#include "tests/lib/mem-node.h"

#include <string.h>

#include "block/format/qcow2.h"

#define TABLES 4
#define BYTES  4096

typedef struct Fixture {
    BlockDriverState bs;    /* as far as the cache looks at it */
    Qcow2State state;
    Qcow2Cache *a, *b;
} Fixture;

typedef void coroutine_fn FixtureFn(Fixture *f);

static TestMem *mem(Fixture *f)
{
    return test_mem(f->bs.file);
}

static uint64_t table_at(unsigned n)
{
    return (uint64_t)(n + 1) * BYTES;
}

typedef struct FixtureCall {
    FixtureFn *fn;
    Fixture *f;
} FixtureCall;

static void coroutine_fn call_entry(void *opaque)
{
    FixtureCall *call = opaque;

    call->fn(call->f);
}

static void run_fixture(gconstpointer fn)
{
    Fixture f = { 0 };
    FixtureCall call = { (FixtureFn *)fn, &f };

    f.bs.file = test_open_attached("test-mem,request-alignment=512,"
                                   "size=%d", 100 * BYTES);
    f.bs.opaque = &f.state;
    f.state.data_file = f.bs.file;
    f.a = qcow2_cache_new(&f.bs, TABLES, BYTES);
    f.b = qcow2_cache_new(&f.bs, TABLES, BYTES);
    test_run_co(call_entry, &call);
    qcow2_cache_free(f.a);
    qcow2_cache_free(f.b);
    test_detach_unref(f.bs.file);
}

/* Pins, unpins. */
static void coroutine_fn touch(Qcow2Cache *cache, unsigned n)
{
    void *table;

    g_assert_cmpint(qcow2_cache_get(cache, table_at(n), &table), ==, 0);
    qcow2_cache_put(cache, &table);
    g_assert_null(table);
}

static void coroutine_fn change(Qcow2Cache *cache, unsigned n, uint8_t byte)
{
    void *table;

    g_assert_cmpint(qcow2_cache_get(cache, table_at(n), &table), ==, 0);
    memset(table, byte, BYTES);
    qcow2_cache_mark_dirty(cache, table);
    qcow2_cache_put(cache, &table);
}

static void expect_on_disk(Fixture *f, unsigned n, uint8_t byte)
{
    char wanted[BYTES];

    memset(wanted, byte, BYTES);
    g_assert_cmpmem(mem(f)->data + table_at(n), BYTES, wanted, BYTES);
}

/* --- reading --- */

static void coroutine_fn test_get(Fixture *f)
{
    void *table, *again;

    memset(mem(f)->data + table_at(1), 7, BYTES);
    g_assert_false(qcow2_cache_in_use(f->a));
    g_assert_null(qcow2_cache_peek(f->a, table_at(1)));
    g_assert_cmpint(qcow2_cache_get(f->a, table_at(1), &table), ==, 0);
    g_assert_cmpmem(table, BYTES, mem(f)->data + table_at(1), BYTES);
    g_assert_cmpuint((uintptr_t)table % BYTES, ==, 0);
    g_assert_cmpint(qcow2_cache_get(f->a, table_at(1), &again), ==, 0);
    g_assert_true(again == table);
    g_assert_true(qcow2_cache_peek(f->a, table_at(1)) == table);
    g_assert_null(qcow2_cache_peek(f->b, table_at(1)));
    g_assert_cmpuint(mem(f)->counts[BLOCK_READ], ==, 1);
    g_assert_true(qcow2_cache_in_use(f->a));
    qcow2_cache_put(f->a, &table);
    qcow2_cache_put(f->a, &again);
}

static void coroutine_fn test_get_empty(Fixture *f)
{
    void *table;

    g_assert_cmpint(qcow2_cache_get_empty(f->a, table_at(1), &table), ==, 0);
    qcow2_cache_put(f->a, &table);
    touch(f->a, 1);
    g_assert_cmpuint(mem(f)->counts[BLOCK_READ], ==, 0);
}

/* What the file does not have any more reads as zeroes. */
static void coroutine_fn test_behind_end(Fixture *f)
{
    char zeroes[BYTES] = { 0 };
    void *table;

    memset(mem(f)->data, 7, 100 * BYTES);
    f->bs.file->total_bytes = table_at(1) + 512;
    g_assert_cmpint(qcow2_cache_get(f->a, table_at(1), &table), ==, 0);
    g_assert_cmpmem(table, 512, mem(f)->data, 512);
    g_assert_cmpmem((char *)table + 512, BYTES - 512, zeroes, BYTES - 512);
    qcow2_cache_put(f->a, &table);
    g_assert_cmpint(qcow2_cache_get(f->a, table_at(5), &table), ==, 0);
    g_assert_cmpmem(table, BYTES, zeroes, BYTES);
    qcow2_cache_put(f->a, &table);
    g_assert_cmpuint(mem(f)->counts[BLOCK_READ], ==, 1);
}

static void coroutine_fn test_read_error(Fixture *f)
{
    void *table;

    mem(f)->fail_after = 1;
    g_assert_cmpint(qcow2_cache_get(f->a, table_at(1), &table), ==, -EIO);
    g_assert_null(qcow2_cache_peek(f->a, table_at(1)));
    g_assert_false(qcow2_cache_in_use(f->a));
    for (unsigned i = 0; i < TABLES; i++) { /* the slot is not lost */
        touch(f->a, i);
    }
    g_assert_cmpuint(mem(f)->counts[BLOCK_READ], ==, 1 + TABLES);
    for (unsigned i = 0; i < TABLES; i++) {
        g_assert_nonnull(qcow2_cache_peek(f->a, table_at(i)));
    }
}

/* --- replacing --- */

/* What is used between misses stays. */
static void coroutine_fn test_used_stays(Fixture *f)
{
    void *hot;

    touch(f->a, 0);
    hot = qcow2_cache_peek(f->a, table_at(0));
    for (unsigned i = 1; i < 50; i++) {
        g_assert_true(qcow2_cache_peek(f->a, table_at(0)) == hot);
        touch(f->a, i);
    }
    g_assert_cmpuint(mem(f)->counts[BLOCK_READ], ==, 50);
    g_assert_null(qcow2_cache_peek(f->a, table_at(20)));
}

static void coroutine_fn test_pinned_stays(Fixture *f)
{
    void *tables[TABLES - 1];

    for (unsigned i = 0; i < TABLES - 1; i++) {
        g_assert_cmpint(qcow2_cache_get(f->a, table_at(i), &tables[i]), ==,
                        0);
    }
    for (unsigned i = 10; i < 30; i++) {
        touch(f->a, i);
    }
    for (unsigned i = 0; i < TABLES - 1; i++) {
        g_assert_true(qcow2_cache_peek(f->a, table_at(i)) == tables[i]);
        qcow2_cache_put(f->a, &tables[i]);
    }
}

static void coroutine_fn test_victim_is_written(Fixture *f)
{
    for (unsigned i = 0; i < TABLES; i++) {
        change(f->a, 2 * i, i + 1);
    }
    g_assert_cmpuint(mem(f)->counts[BLOCK_WRITE], ==, 0);
    touch(f->a, 20);
    /* all that is dirty goes, once one has to */
    g_assert_cmpuint(mem(f)->counts[BLOCK_WRITE], ==, TABLES);
    g_assert_false(qcow2_cache_is_dirty(f->a));
    for (unsigned i = 0; i < TABLES; i++) {
        expect_on_disk(f, 2 * i, i + 1);
    }
}

static void coroutine_fn test_victim_cannot_be_written(Fixture *f)
{
    void *table;

    for (unsigned i = 0; i < TABLES; i++) {
        change(f->a, i, i + 1);
    }
    mem(f)->fail_after = 1;
    g_assert_cmpint(qcow2_cache_get(f->a, table_at(20), &table), ==, -EIO);
    g_assert_cmpint(qcow2_cache_write(f->a), ==, 0);
    for (unsigned i = 0; i < TABLES; i++) {
        expect_on_disk(f, i, i + 1);
    }
}

/* --- writing --- */

/* Neighbours in the file go in one request. */
static void coroutine_fn test_runs(Fixture *f)
{
    change(f->a, 6, 6);
    change(f->a, 2, 2);
    change(f->a, 1, 1);
    change(f->a, 3, 3);
    g_assert_true(qcow2_cache_is_dirty(f->a));
    g_assert_cmpint(qcow2_cache_write(f->a), ==, 0);
    g_assert_cmpuint(mem(f)->counts[BLOCK_WRITE], ==, 2);
    g_assert_cmpuint(mem(f)->counts[BLOCK_FLUSH], ==, 0);
    expect_on_disk(f, 1, 1);
    expect_on_disk(f, 2, 2);
    expect_on_disk(f, 3, 3);
    expect_on_disk(f, 6, 6);
    g_assert_false(qcow2_cache_is_dirty(f->a));
    g_assert_cmpint(qcow2_cache_flush(f->a), ==, 0);
    g_assert_cmpuint(mem(f)->counts[BLOCK_WRITE], ==, 2);
    g_assert_cmpuint(mem(f)->counts[BLOCK_FLUSH], ==, 1);
}

static void coroutine_fn test_write_error(Fixture *f)
{
    change(f->a, 1, 1);
    change(f->a, 5, 5);
    mem(f)->fail_after = 2;
    g_assert_cmpint(qcow2_cache_flush(f->a), ==, -EIO);
    g_assert_true(qcow2_cache_is_dirty(f->a));
    expect_on_disk(f, 1, 1);
    expect_on_disk(f, 5, 0);
    g_assert_cmpint(qcow2_cache_flush(f->a), ==, 0);
    expect_on_disk(f, 5, 5);
    g_assert_cmpuint(mem(f)->counts[BLOCK_WRITE], ==, 4); /* both again */
}

#define LARGE (64 * 1024)

/* Bytes of the large table @n are on the disk, from @at up to @end; none of
 * the others, which a part with changes has to itself. */
static void expect_parts(Fixture *f, unsigned n, size_t at, size_t end)
{
    const uint8_t *disk = mem(f)->data + n * LARGE;

    for (size_t i = 0; i < LARGE; i++) {
        g_assert_cmpuint(disk[i], ==, i >= at && i < end ? 7 : 0);
    }
}

/* Only what was changed goes to the file; in rows, over the ends of tables. */
static void coroutine_fn test_parts(Fixture *f)
{
    Qcow2Cache *cache = qcow2_cache_new(&f->bs, TABLES, LARGE);
    void *first, *second;

    g_assert_cmpint(qcow2_cache_get(cache, LARGE, &first), ==, 0);
    g_assert_cmpint(qcow2_cache_get(cache, 2 * LARGE, &second), ==, 0);
    memset(first, 7, LARGE);
    memset(second, 7, LARGE);
    qcow2_cache_mark_part(cache, first, 5000, 8);
    g_assert_cmpint(qcow2_cache_write(cache), ==, 0);
    g_assert_cmpuint(mem(f)->counts[BLOCK_WRITE], ==, 1);
    expect_parts(f, 1, 4096, 8192);
    expect_parts(f, 2, 0, 0);
    qcow2_cache_mark_part(cache, second, 8192, 4096);
    qcow2_cache_mark_part(cache, first, LARGE - 1, 1);
    qcow2_cache_mark_part(cache, second, 4095, 2);
    g_assert_cmpint(qcow2_cache_write(cache), ==, 0);
    g_assert_cmpuint(mem(f)->counts[BLOCK_WRITE], ==, 2);
    g_assert_false(qcow2_cache_is_dirty(cache));
    expect_parts(f, 2, 0, 12288);
    g_assert_cmpuint(mem(f)->data[2 * LARGE - 4096], ==, 7);
    g_assert_cmpuint(mem(f)->data[2 * LARGE - 4097], ==, 0);
    qcow2_cache_put(cache, &first);
    qcow2_cache_put(cache, &second);
    qcow2_cache_free(cache);
}

/* More than are sent side by side. */
static void coroutine_fn test_many_parts(Fixture *f)
{
    Qcow2Cache *cache = qcow2_cache_new(&f->bs, 96, 512);

    for (unsigned i = 0; i < 96; i++) {
        void *table;

        g_assert_cmpint(qcow2_cache_get(cache, (2 * i + 1) * 512, &table), ==,
                        0);
        memset(table, i + 1, 512);
        qcow2_cache_mark_dirty(cache, table);
        qcow2_cache_put(cache, &table);
    }
    mem(f)->fail_after = 80;
    g_assert_cmpint(qcow2_cache_write(cache), ==, -EIO);
    g_assert_true(qcow2_cache_is_dirty(cache));
    g_assert_cmpint(qcow2_cache_write(cache), ==, 0);
    g_assert_cmpuint(mem(f)->counts[BLOCK_WRITE], ==, 2 * 96);
    for (unsigned i = 0; i < 96; i++) {
        g_assert_cmpuint(mem(f)->data[(2 * i + 1) * 512], ==, i + 1);
        g_assert_cmpuint(mem(f)->data[2 * i * 512], ==, 0);
    }
    qcow2_cache_free(cache);
}

/* --- order --- */

static void coroutine_fn test_dependency(Fixture *f)
{
    change(f->b, 9, 9);
    change(f->a, 1, 1);
    g_assert_cmpint(qcow2_cache_set_dependency(f->a, f->b), ==, 0);
    mem(f)->fail_after = 1; /* the dependency's write */
    g_assert_cmpint(qcow2_cache_write(f->a), ==, -EIO);
    expect_on_disk(f, 1, 0);
    mem(f)->fail_after = 2; /* the flush that makes it stable */
    g_assert_cmpint(qcow2_cache_write(f->a), ==, -EIO);
    expect_on_disk(f, 9, 9);
    expect_on_disk(f, 1, 0);
    g_assert_cmpint(qcow2_cache_write(f->a), ==, 0);
    expect_on_disk(f, 1, 1);
    /* and then it is over */
    test_mem_reset_counts(f->bs.file);
    change(f->b, 9, 8);
    change(f->a, 1, 2);
    g_assert_cmpint(qcow2_cache_write(f->a), ==, 0);
    g_assert_cmpuint(mem(f)->counts[BLOCK_WRITE], ==, 1);
    g_assert_cmpuint(mem(f)->counts[BLOCK_FLUSH], ==, 0);
}

/* Nothing of ours to write: what we depend on may wait, too. */
static void coroutine_fn test_dependency_idle(Fixture *f)
{
    change(f->b, 9, 9);
    g_assert_cmpint(qcow2_cache_set_dependency(f->a, f->b), ==, 0);
    g_assert_cmpint(qcow2_cache_write(f->a), ==, 0);
    expect_on_disk(f, 9, 0);
}

/* Each before the other: the first order is carried out, then turned. */
static void coroutine_fn test_dependency_turned(Fixture *f)
{
    change(f->b, 9, 9);
    change(f->a, 1, 1);
    g_assert_cmpint(qcow2_cache_set_dependency(f->a, f->b), ==, 0);
    g_assert_cmpint(qcow2_cache_set_dependency(f->b, f->a), ==, 0);
    expect_on_disk(f, 9, 9);
    expect_on_disk(f, 1, 0);
    g_assert_cmpuint(mem(f)->counts[BLOCK_FLUSH], ==, 1);
    change(f->b, 9, 8);
    g_assert_cmpint(qcow2_cache_write(f->b), ==, 0);
    expect_on_disk(f, 1, 1);
    expect_on_disk(f, 9, 8);
    g_assert_cmpuint(mem(f)->counts[BLOCK_FLUSH], ==, 2);
}

static void coroutine_fn test_depends_on_flush(Fixture *f)
{
    change(f->a, 1, 1);
    qcow2_cache_depends_on_flush(f->a);
    mem(f)->fail_after = 1;
    g_assert_cmpint(qcow2_cache_write(f->a), ==, -EIO);
    g_assert_cmpuint(mem(f)->counts[BLOCK_FLUSH], ==, 1);
    expect_on_disk(f, 1, 0);
    g_assert_cmpint(qcow2_cache_write(f->a), ==, 0);
    expect_on_disk(f, 1, 1);
    g_assert_cmpuint(mem(f)->counts[BLOCK_FLUSH], ==, 2);
    change(f->a, 1, 2);
    g_assert_cmpint(qcow2_cache_write(f->a), ==, 0);
    g_assert_cmpuint(mem(f)->counts[BLOCK_FLUSH], ==, 2);
}

/* --- dropping --- */

static void coroutine_fn test_forget(Fixture *f)
{
    void *table;

    change(f->a, 1, 1);
    change(f->a, 2, 2);
    change(f->a, 3, 3);
    qcow2_cache_forget(f->a, table_at(1), 2 * BYTES);
    g_assert_null(qcow2_cache_peek(f->a, table_at(1)));
    g_assert_cmpint(qcow2_cache_write(f->a), ==, 0);
    expect_on_disk(f, 1, 0);
    expect_on_disk(f, 2, 0);
    expect_on_disk(f, 3, 3);
    /* one that is in use stays where it is */
    g_assert_cmpint(qcow2_cache_get(f->a, table_at(5), &table), ==, 0);
    memset(table, 5, BYTES);
    qcow2_cache_mark_dirty(f->a, table);
    qcow2_cache_forget(f->a, table_at(5), BYTES);
    g_assert_cmpint(qcow2_cache_write(f->a), ==, 0);
    expect_on_disk(f, 5, 0);
    qcow2_cache_put(f->a, &table);
}

static void coroutine_fn test_empty(Fixture *f)
{
    change(f->a, 1, 1);
    touch(f->a, 2);
    g_assert_cmpint(qcow2_cache_empty(f->a), ==, 0);
    expect_on_disk(f, 1, 1);
    g_assert_false(qcow2_cache_in_use(f->a));
    memset(mem(f)->data + table_at(1), 3, BYTES);
    touch(f->a, 1);
    g_assert_cmpint(*(char *)qcow2_cache_peek(f->a, table_at(1)), ==, 3);
}

static void coroutine_fn test_clean_unused(Fixture *f)
{
    void *pinned;

    touch(f->a, 1);
    touch(f->a, 2);
    change(f->a, 3, 3);
    g_assert_cmpint(qcow2_cache_get(f->a, table_at(4), &pinned), ==, 0);
    qcow2_cache_clean_unused(f->a); /* all were used */
    g_assert_nonnull(qcow2_cache_peek(f->a, table_at(2)));
    qcow2_cache_clean_unused(f->a);
    g_assert_null(qcow2_cache_peek(f->a, table_at(1)));
    g_assert_nonnull(qcow2_cache_peek(f->a, table_at(2)));
    g_assert_nonnull(qcow2_cache_peek(f->a, table_at(3)));
    g_assert_true(qcow2_cache_peek(f->a, table_at(4)) == pinned);
    qcow2_cache_put(f->a, &pinned);
    g_assert_cmpint(qcow2_cache_write(f->a), ==, 0);
    qcow2_cache_clean_unused(f->a);
    qcow2_cache_clean_unused(f->a);
    g_assert_false(qcow2_cache_in_use(f->a));
    expect_on_disk(f, 3, 3);
    touch(f->a, 3);
    g_assert_cmpint(*(char *)qcow2_cache_peek(f->a, table_at(3)), ==, 3);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        FixtureFn *fn;
    } tests[] = {
        { "get", test_get },
        { "get-empty", test_get_empty },
        { "behind-end", test_behind_end },
        { "read-error", test_read_error },
        { "used-stays", test_used_stays },
        { "pinned-stays", test_pinned_stays },
        { "victim-is-written", test_victim_is_written },
        { "victim-cannot-be-written", test_victim_cannot_be_written },
        { "runs", test_runs },
        { "write-error", test_write_error },
        { "parts", test_parts },
        { "many-parts", test_many_parts },
        { "dependency", test_dependency },
        { "dependency-idle", test_dependency_idle },
        { "dependency-turned", test_dependency_turned },
        { "depends-on-flush", test_depends_on_flush },
        { "forget", test_forget },
        { "empty", test_empty },
        { "clean-unused", test_clean_unused },
    };
    int ret;

    g_test_init(&argc, &argv, NULL);
    test_mem_register();
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *path = g_strconcat("/qcow2-cache/", tests[i].name,
                                            NULL);

        g_test_add_data_func(path, tests[i].fn, run_fixture);
    }
    ret = g_test_run();
    test_block_end();
    return ret;
}
