/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SPECs: what they mean, and that a mistake is found before anything runs.
 */
#include "tools/bench/spec.h"

#include <glib/gstdio.h>
#include <string.h>

static const char *const plain =
    "[compare]\nrounds=7\nruntime=2\n"
    "[variables]\nwhere=/images\nnode=file={image},aio={aio}\n"
    "[image a]\nkind=file\npath={where}/a.raw\nsize=64M\n"
    "qcow2=cluster_size=4k,lazy_refcounts=on\nqcow2-size=1G\n"
    "qcow2-fresh=on\n"
    "[image none]\nkind=null\n"
    "[server one]\ncommand=prog {node} {socket}\nvar.aio=native\n"
    "[server two]\ncommand=prog {node} {socket}\nvar.aio=threads\n"
    "against=one; thr*\niodepth=2\n"
    "[server raw]\nbare=libaio\n"
    "[row r]\nimage=a\nrw=randread\niodepth=32\n";

static char *write_file(const char *text)
{
    char *path = NULL;
    int fd = g_file_open_tmp("spec-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    g_close(fd, NULL);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    return path;
}

static BenchSpec *load(const char *text, const char *more, char **set,
                       GError **error)
{
    g_autofree char *all = g_strconcat(text, more, NULL);
    g_autofree char *path = write_file(all);
    BenchSpec *spec = bench_spec_load(path, set, error);

    g_unlink(path);
    return spec;
}

static BenchSpec *load_good(const char *more)
{
    g_autoptr(GError) error = NULL;
    BenchSpec *spec = load(plain, more, NULL, &error);

    g_assert_no_error(error);
    return spec;
}

static const BenchSpecRow *row(const BenchSpec *spec, unsigned i)
{
    return spec->rows->pdata[i];
}

static void test_plain(void)
{
    g_autoptr(BenchSpec) spec = load_good("");
    const BenchSpecServer *two = spec->servers->pdata[1];

    g_assert_cmpuint(spec->rounds, ==, 7);
    g_assert_cmpuint(spec->servers->len, ==, 3);
    g_assert_cmpuint(spec->rows->len, ==, 1);
    g_assert_cmpstr(row(spec, 0)->name, ==, "r");
    g_assert_cmpstr(row(spec, 0)->image->path, ==, "/images/a.raw");
    g_assert_cmpint(row(spec, 0)->image->size, ==, 64 << 20);
    g_assert_cmpstr(row(spec, 0)->image->qcow2, ==,
                    "cluster_size=4k,lazy_refcounts=on");
    g_assert_cmpint(row(spec, 0)->image->qcow2_size, ==, 1 << 30);
    g_assert_true(row(spec, 0)->image->qcow2_fresh);
    g_assert_cmpuint(g_strv_length(two->against), ==, 2);
    g_assert_cmpstr(two->against[1], ==, "thr*");
}

/* Words of compare, row and server; the later is stronger. */
static void test_job(void)
{
    g_autoptr(BenchSpec) spec = load_good("");
    g_autoptr(BenchJob) one = bench_spec_job(spec, row(spec, 0),
                                             spec->servers->pdata[0], NULL);
    g_autoptr(BenchJob) two = bench_spec_job(spec, row(spec, 0),
                                             spec->servers->pdata[1], NULL);
    g_autoptr(BenchJob) raw = bench_spec_job(spec, row(spec, 0),
                                             spec->servers->pdata[2], NULL);

    g_assert_cmpint(one->runtime_ns, ==, 2 * BENCH_NS);
    g_assert_cmpint(one->rw, ==, BENCH_RANDREAD);
    g_assert_cmpuint(one->iodepth, ==, 32);
    g_assert_cmpuint(two->iodepth, ==, 2);
    g_assert_cmpint(one->bare, ==, BENCH_BARE_NO);
    g_assert_cmpint(raw->bare, ==, BENCH_BARE_LIBAIO);
}

/* Variables: of the row, then the server, then all; {socket} stays. */
static void test_expand(void)
{
    g_autoptr(BenchSpec) spec = load_good(
        "[row s]\nimage=a\nvar.aio=auto\n");
    const BenchSpecServer *one = spec->servers->pdata[0];
    g_autofree char *of_server =
        bench_spec_expand(spec, row(spec, 0), one, one->command, NULL);
    g_autofree char *of_row =
        bench_spec_expand(spec, row(spec, 1), one, one->command, NULL);

    g_assert_cmpstr(of_server, ==, "prog file={image},aio=native {socket}");
    g_assert_cmpstr(of_row, ==, "prog file={image},aio=auto {socket}");
}

static void test_set(void)
{
    char *set[] = { (char *)"where=/elsewhere", NULL };
    char *bad[] = { (char *)"where", NULL };
    g_autoptr(BenchSpec) spec = load(plain, "", set, NULL);
    g_autoptr(GError) error = NULL;

    g_assert_cmpstr(row(spec, 0)->image->path, ==, "/elsewhere/a.raw");
    g_assert_null(load(plain, "", bad, &error));
    g_assert_nonnull(strstr(error->message, "--set"));
}

static void test_endless_variable(void)
{
    g_autoptr(BenchSpec) spec = load_good("[row s]\nimage=a\nvar.aio=x{aio}\n");
    const BenchSpecServer *one = spec->servers->pdata[0];
    g_autoptr(GError) error = NULL;

    g_assert_null(bench_spec_expand(spec, row(spec, 1), one, one->command,
                                    &error));
    g_assert_nonnull(error);
}

/* Lists make rows of all combinations. */
static void test_lists(void)
{
    static const char *const names[] = {
        "r", "m-read-4k-qd1-exports1", "m-read-4k-qd1-exports16",
        "m-read-4k-qd32-exports1", "m-read-4k-qd32-exports16",
        "m-write-4k-qd1-exports1", "m-write-4k-qd1-exports16",
        "m-write-4k-qd32-exports1", "m-write-4k-qd32-exports16",
    };
    g_autoptr(BenchSpec) spec = load_good(
        "[row m]\nimage=none\nrw=read; write\nbs=4k;\niodepth=1;32\n"
        "exports=1;16\ngoals=one iops >= 1 two; one cpu <= 2\n");

    g_assert_cmpuint(spec->rows->len, ==, G_N_ELEMENTS(names));
    for (unsigned i = 1; i < spec->rows->len; i++) {
        g_assert_cmpstr(row(spec, i)->name, ==, names[i]);
        g_assert_cmpuint(row(spec, i)->exports, ==, i % 2 ? 1 : 16);
        g_assert_cmpuint(g_strv_length(row(spec, i)->goals), ==, 2);
    }
}

static void test_include(void)
{
    g_autofree char *base = write_file(plain);
    g_autofree char *name = g_path_get_basename(base);
    g_autofree char *more = g_strdup_printf(
        "[compare]\ninclude=%s\nruntime=9\n"
        "[server one]\nvar.aio=io_uring\n", name);
    g_autoptr(GError) error = NULL;
    g_autoptr(BenchSpec) spec = load("", more, NULL, &error);
    const BenchSpecServer *one;
    g_autoptr(BenchJob) job = NULL;

    g_assert_no_error(error);
    one = spec->servers->pdata[0];
    job = bench_spec_job(spec, row(spec, 0), one, NULL);
    g_assert_cmpuint(spec->rounds, ==, 7);
    g_assert_cmpint(job->runtime_ns, ==, 9 * BENCH_NS);
    g_assert_cmpstr(g_hash_table_lookup(one->vars, "aio"), ==, "io_uring");
    g_assert_nonnull(one->command);
    g_unlink(base);
}

static void expect_refused(const char *more, const char *word)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(load(plain, more, NULL, &error));
    if (!strstr(error->message, word)) {
        g_error("'%s' does not name %s", error->message, word);
    }
}

static void test_refused(void)
{
    g_autoptr(GError) error = NULL;

    expect_refused("[rows x]\nimage=a\n", "[rows x]");
    expect_refused("[row x]\nrw=read\n", "'image'");
    expect_refused("[row x]\nimage=b\n", "[image b]");
    expect_refused("[row x]\nimage=a\nrw=reed\n", "'rw'");
    expect_refused("[row x]\nimage=a\ncolour=red\n", "'colour'");
    expect_refused("[row x]\nimage=a\nexports=0\n", "'exports'");
    expect_refused("[row x]\nimage=a\nbs=4k;5\n", "'bs'");
    expect_refused("[server x]\niodepth=1\n", "[server x]");
    expect_refused("[server x]\ncommand=x\nbare=libaio\n", "[server x]");
    expect_refused("[server x]\ncommand=x\ncolour=red\n", "'colour'");
    expect_refused("[image x]\nkind=file\nsize=1M\n", "'path'");
    expect_refused("[image x]\nkind=file\npath=/x\n", "'size'");
    expect_refused("[image x]\nkind=floppy\n", "'kind'");
    expect_refused("[compare]\nrounds=1000\n", "'rounds'");
    g_assert_null(load("", "no ini file", NULL, &error));
    g_clear_error(&error);
    g_assert_null(load("[compare]\n", "", NULL, &error));
    g_clear_error(&error);
    g_assert_null(bench_spec_load("/nonexistent", NULL, &error));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/spec/plain", test_plain);
    g_test_add_func("/spec/job", test_job);
    g_test_add_func("/spec/expand", test_expand);
    g_test_add_func("/spec/set", test_set);
    g_test_add_func("/spec/endless-variable", test_endless_variable);
    g_test_add_func("/spec/lists", test_lists);
    g_test_add_func("/spec/include", test_include);
    g_test_add_func("/spec/refused", test_refused);
    return g_test_run();
}
