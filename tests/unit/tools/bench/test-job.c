/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The words of a job, and which sequence of requests comes of them.
 */
#include "tools/bench/pattern.h"

#include <string.h>

#define MIB (1024 * 1024)

static BenchJob *job_of(const char *text, GError **error)
{
    g_autoptr(Options) opts = options_parse(text, "job", NULL, NULL);
    g_autoptr(BenchJob) job = bench_job_new();

    g_assert_nonnull(opts);
    if (!bench_job_take(job, opts, error) || !options_finish(opts, error) ||
        !bench_job_check(job, error)) {
        return NULL;
    }
    return g_steal_pointer(&job);
}

static BenchJob *good_job(const char *text)
{
    g_autoptr(GError) error = NULL;
    BenchJob *job = job_of(text, &error);

    g_assert_no_error(error);
    return job;
}

static void expect_refused(const char *text, const char *word)
{
    g_autoptr(GError) error = NULL;
    BenchJob *job = job_of(text, &error);

    g_assert_null(job);
    g_assert_nonnull(error);
    g_assert_nonnull(strstr(error->message, word));
}

static void test_words(void)
{
    g_autoptr(BenchJob) job = good_job(
        "rw=randrw,bs=64k,iodepth=32,numjobs=4,rwmixread=70,runtime=500ms,"
        "ramp_time=0.1,size=1G,rate_iops=100,iodepth_batch=16,"
        "iodepth_batch_complete_min=8,verify=pattern,packed=on,poll=off,"
        "timeout=2m");

    g_assert_cmpint(job->rw, ==, BENCH_RANDRW);
    g_assert_cmpint(job->bs, ==, 65536);
    g_assert_cmpuint(job->iodepth, ==, 32);
    g_assert_cmpuint(job->numjobs, ==, 4);
    g_assert_cmpuint(job->rwmixread, ==, 70);
    g_assert_cmpint(job->runtime_ns, ==, BENCH_NS / 2);
    g_assert_cmpint(job->ramp_ns, ==, BENCH_NS / 10);
    g_assert_cmpint(job->size, ==, 1024 * MIB);
    g_assert_cmpuint(job->rate_iops, ==, 100);
    g_assert_cmpuint(job->iodepth_batch, ==, 16);
    g_assert_cmpuint(job->complete_min, ==, 8);
    g_assert_cmpint(job->verify, ==, BENCH_VERIFY_PATTERN);
    g_assert_cmpint(job->packed, ==, BENCH_ON);
    g_assert_cmpint(job->event_idx, ==, BENCH_AUTO);
    g_assert_false(job->poll);
    g_assert_cmpint(job->timeout_ns, ==, 120 * BENCH_NS);
}

static void test_end(void)
{
    g_autoptr(BenchJob) timed = good_job("rw=read");
    g_autoptr(BenchJob) sized = good_job("rw=read,size=1M");
    g_autoptr(BenchJob) counted = good_job("rw=read,number_ios=1");

    g_assert_cmpint(timed->runtime_ns, ==, 10 * BENCH_NS);
    g_assert_cmpint(sized->runtime_ns, ==, 0);
    g_assert_cmpint(counted->runtime_ns, ==, 0);
}

static void test_refused(void)
{
    expect_refused("rw=reed", "'rw'");
    expect_refused("bs=1000", "'bs'");
    expect_refused("bs=0", "'bs'");
    expect_refused("bs=32M", "'bs'");
    expect_refused("iodepth=0", "'iodepth'");
    expect_refused("iodepth=4097", "'iodepth'");
    expect_refused("numjobs=0", "'numjobs'");
    expect_refused("runtime=-1", "'runtime'");
    expect_refused("runtime=5h", "'runtime'");
    expect_refused("runtime=nan", "'runtime'");
    expect_refused("iodepth=4,iodepth_batch=5", "'iodepth_batch'");
    expect_refused("iodepth=4,iodepth_batch_complete_min=5",
                   "'iodepth_batch_complete_min'");
    expect_refused("queue_size=100", "'queue_size'");
    expect_refused("bs=1M,segment=512", "'segment'");
    expect_refused("size=512", "'size'");
    expect_refused("fixedbufs=on", "'fixedbufs'");
    expect_refused("rwmixread=101", "'rwmixread'");
    expect_refused("colour=red", "'colour'");
}

static void pattern_of(const BenchJob *job, unsigned worker, int64_t capacity,
                       BenchPattern *pattern)
{
    g_autoptr(GError) error = NULL;

    bench_pattern_init(pattern, job, worker, capacity, &error);
    g_assert_no_error(error);
}

static void test_sequential(void)
{
    g_autoptr(BenchJob) job = good_job("rw=read,offset=1M,size=16k");
    BenchPattern pattern;
    BenchIo io;

    pattern_of(job, 0, 2 * MIB, &pattern);
    for (unsigned i = 0; i < 9; i++) {
        bench_pattern_next(&pattern, &io);
        g_assert_cmpuint(io.offset, ==, MIB + i % 4 * 4096);
        g_assert_false(io.write);
    }
}

/* Workers of a sequential job have a part each. */
static void test_divided(void)
{
    g_autoptr(BenchJob) job = good_job("rw=write,numjobs=4");
    BenchPattern pattern;
    BenchIo io;

    for (unsigned i = 0; i < 4; i++) {
        pattern_of(job, i, MIB, &pattern);
        g_assert_cmpuint(pattern.n_blocks, ==, 64);
        bench_pattern_next(&pattern, &io);
        g_assert_cmpuint(io.offset, ==, i * 64 * 4096);
        g_assert_true(io.write);
    }
}

/* Every block comes up, none beyond the end, in the asked for mixture. */
static void test_random(void)
{
    g_autoptr(BenchJob) job = good_job("rw=randrw,rwmixread=70,size=1M");
    BenchPattern pattern;
    unsigned seen[256] = { 0 }, reads = 0;
    BenchIo io;

    pattern_of(job, 0, 4 * MIB, &pattern);
    for (unsigned i = 0; i < 100000; i++) {
        bench_pattern_next(&pattern, &io);
        g_assert_cmpuint(io.offset % 4096, ==, 0);
        g_assert_cmpuint(io.offset, <, MIB);
        seen[io.offset / 4096]++;
        reads += !io.write;
    }
    for (unsigned i = 0; i < 256; i++) {
        g_assert_cmpuint(seen[i], >, 300); /* 390 +- 20 */
        g_assert_cmpuint(seen[i], <, 500);
    }
    g_assert_cmpuint(reads, >, 69000);
    g_assert_cmpuint(reads, <, 71000);
}

/* The same seed gives the same sequence; another worker or seed does not. */
static void test_seed(void)
{
    g_autoptr(BenchJob) one = good_job("rw=randread,numjobs=2,randseed=7");
    g_autoptr(BenchJob) other = good_job("rw=randread,numjobs=2,randseed=8");
    BenchPattern a, b, worker, seed;
    unsigned same[2] = { 0 };
    BenchIo io[4];

    pattern_of(one, 0, 64 * MIB, &a);
    pattern_of(one, 0, 64 * MIB, &b);
    pattern_of(one, 1, 64 * MIB, &worker);
    pattern_of(other, 0, 64 * MIB, &seed);
    for (unsigned i = 0; i < 1000; i++) {
        bench_pattern_next(&a, &io[0]);
        bench_pattern_next(&b, &io[1]);
        bench_pattern_next(&worker, &io[2]);
        bench_pattern_next(&seed, &io[3]);
        g_assert_cmpuint(io[0].offset, ==, io[1].offset);
        same[0] += io[0].offset == io[2].offset;
        same[1] += io[0].offset == io[3].offset;
    }
    g_assert_cmpuint(same[0], <, 10);
    g_assert_cmpuint(same[1], <, 10);
}

static void expect_no_room(const char *text, int64_t capacity)
{
    g_autoptr(BenchJob) job = good_job(text);
    g_autoptr(GError) error = NULL;
    BenchPattern pattern;

    g_assert_false(bench_pattern_init(&pattern, job, 0, capacity, &error));
    g_assert_nonnull(error);
}

static void test_no_room(void)
{
    expect_no_room("offset=1M", MIB);
    expect_no_room("offset=512k,size=1M", MIB);
    expect_no_room("size=2M", MIB);
    expect_no_room("bs=1M", MIB - 512);
    expect_no_room("numjobs=64,bs=64k,size=1M", MIB);
    expect_no_room("verify=meta,iodepth=32,size=128k", MIB);
    expect_no_room("rw=read", 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/job/words", test_words);
    g_test_add_func("/job/end", test_end);
    g_test_add_func("/job/refused", test_refused);
    g_test_add_func("/pattern/sequential", test_sequential);
    g_test_add_func("/pattern/divided", test_divided);
    g_test_add_func("/pattern/random", test_random);
    g_test_add_func("/pattern/seed", test_seed);
    g_test_add_func("/pattern/no-room", test_no_room);
    return g_test_run();
}
