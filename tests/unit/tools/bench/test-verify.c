/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a server may do wrong with data, and that each of it is found.
 */
#include "tools/bench/verify.h"

#include <string.h>

#define BLOCK 4096
#define BLOCKS 64

typedef struct Fixture {
    BenchJob *job;
    BenchPattern pattern;
    BenchVerifier *verifier;
    uint8_t buf[BLOCK];
    BenchIo io;
    uint8_t disk[BLOCKS * BLOCK];
} Fixture;

static Fixture *fixture_new(int rw, int verify)
{
    Fixture *f = g_new0(Fixture, 1);
    g_autoptr(GError) error = NULL;

    f->job = bench_job_new();
    f->job->rw = rw;
    f->job->verify = verify;
    bench_pattern_init(&f->pattern, f->job, 0, sizeof(f->disk), &error);
    g_assert_no_error(error);
    f->verifier = bench_verifier_new(f->job, &f->pattern, &error);
    g_assert_no_error(error);
    f->io.data = f->buf;
    f->io.bytes = BLOCK;
    return f;
}

static void fixture_free(Fixture *f)
{
    bench_verifier_free(f->verifier);
    bench_job_free(f->job);
    g_free(f);
}

static void write_block(Fixture *f, unsigned block)
{
    f->io.offset = block * BLOCK;
    f->io.write = true;
    bench_verifier_begin(f->verifier, &f->io);
    memcpy(f->disk + f->io.offset, f->buf, BLOCK);
    g_assert_true(bench_verifier_is_busy(f->verifier, &f->io));
    g_assert_null(bench_verifier_end(f->verifier, &f->io));
    g_assert_false(bench_verifier_is_busy(f->verifier, &f->io));
}

/* NULL, or what was found. */
static char *read_block(Fixture *f, unsigned block)
{
    f->io.offset = block * BLOCK;
    f->io.write = false;
    bench_verifier_begin(f->verifier, &f->io);
    memcpy(f->buf, f->disk + f->io.offset, BLOCK);
    return bench_verifier_end(f->verifier, &f->io);
}

static void expect_wrong(Fixture *f, unsigned block, const char *what)
{
    g_autofree char *wrong = read_block(f, block);

    g_assert_nonnull(wrong);
    if (!strstr(wrong, what)) {
        g_error("'%s' does not say '%s'", wrong, what);
    }
}

static void test_good(void)
{
    Fixture *f = fixture_new(BENCH_RANDRW, BENCH_VERIFY_PATTERN);

    g_assert_null(read_block(f, 5)); /* nobody knows what is there */
    for (unsigned i = 0; i < 3; i++) {
        write_block(f, 5);
        g_assert_null(read_block(f, 5));
    }
    fixture_free(f);
}

static void test_lost(void)
{
    Fixture *f = fixture_new(BENCH_RANDRW, BENCH_VERIFY_META);

    write_block(f, 5);
    memset(f->disk, 0, sizeof(f->disk));
    expect_wrong(f, 5, "is all zeroes");
    fixture_free(f);
}

static void test_older(void)
{
    Fixture *f = fixture_new(BENCH_RANDRW, BENCH_VERIFY_META);
    uint8_t old[512];

    write_block(f, 5);
    memcpy(old, f->disk + 5 * BLOCK + 512, sizeof(old));
    write_block(f, 5);
    memcpy(f->disk + 5 * BLOCK + 512, old, sizeof(old));
    expect_wrong(f, 5, "offset 20992 is of write 1 of this block");
    fixture_free(f);
}

static void test_elsewhere(void)
{
    Fixture *f = fixture_new(BENCH_RANDRW, BENCH_VERIFY_META);

    write_block(f, 5);
    write_block(f, 6);
    memcpy(f->disk + 5 * BLOCK, f->disk + 6 * BLOCK, BLOCK);
    expect_wrong(f, 5, "is that of offset 24576");
    fixture_free(f);
}

static void test_strange(void)
{
    Fixture *f = fixture_new(BENCH_RANDRW, BENCH_VERIFY_META);

    write_block(f, 5);
    memset(f->disk + 5 * BLOCK + 7 * 512, 0x5a, 512);
    expect_wrong(f, 5, "bears no mark");
    fixture_free(f);
}

/* One bit in the middle: the marks do not show it, the pattern does. */
static void test_flipped(void)
{
    Fixture *meta = fixture_new(BENCH_RANDRW, BENCH_VERIFY_META);
    Fixture *whole = fixture_new(BENCH_RANDRW, BENCH_VERIFY_PATTERN);

    write_block(meta, 5);
    write_block(whole, 5);
    meta->disk[5 * BLOCK + 1000] ^= 1;
    whole->disk[5 * BLOCK + 1000] ^= 1;
    g_assert_null(read_block(meta, 5));
    expect_wrong(whole, 5, "from its byte 488 on");
    fixture_free(meta);
    fixture_free(whole);
}

/* A job that only reads finds what an earlier one wrote. */
static void test_later_run(void)
{
    Fixture *writer = fixture_new(BENCH_WRITE, BENCH_VERIFY_PATTERN);
    Fixture *reader = fixture_new(BENCH_READ, BENCH_VERIFY_PATTERN);

    write_block(writer, 5);
    memcpy(reader->disk, writer->disk, sizeof(reader->disk));
    g_assert_null(read_block(reader, 5));
    expect_wrong(reader, 6, "is all zeroes");
    writer->job->randseed = 2;
    bench_verifier_free(writer->verifier);
    writer->verifier = bench_verifier_new(writer->job, &writer->pattern,
                                          NULL);
    write_block(writer, 5);
    memcpy(reader->disk, writer->disk, sizeof(reader->disk));
    expect_wrong(reader, 5, "randseed=2");
    fixture_free(writer);
    fixture_free(reader);
}

static void test_next_written(void)
{
    Fixture *f = fixture_new(BENCH_RANDWRITE, BENCH_VERIFY_META);
    uint64_t block = 0;
    BenchIo io = { 0 };

    write_block(f, 3);
    write_block(f, 63);
    g_assert_true(bench_verifier_next_written(f->verifier, &block, &io));
    g_assert_cmpuint(io.offset, ==, 3 * BLOCK);
    g_assert_true(bench_verifier_next_written(f->verifier, &block, &io));
    g_assert_cmpuint(io.offset, ==, 63 * BLOCK);
    g_assert_false(bench_verifier_next_written(f->verifier, &block, &io));
    fixture_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/verify/good", test_good);
    g_test_add_func("/verify/lost", test_lost);
    g_test_add_func("/verify/older", test_older);
    g_test_add_func("/verify/elsewhere", test_elsewhere);
    g_test_add_func("/verify/strange", test_strange);
    g_test_add_func("/verify/flipped", test_flipped);
    g_test_add_func("/verify/later-run", test_later_run);
    g_test_add_func("/verify/next-written", test_next_written);
    return g_test_run();
}
