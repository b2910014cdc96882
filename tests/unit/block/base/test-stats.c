/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sums, buckets and the line that --stats prints. */
#include "block/stats.h"

#include <string.h>

static void test_latency_buckets(void)
{
    BlockStats stats = { 0 };

    block_stats_latency(&stats, -5);
    block_stats_latency(&stats, 0);
    block_stats_latency(&stats, 1999);
    g_assert_cmpuint(stats.latency[0], ==, 3);
    block_stats_latency(&stats, 2000);
    block_stats_latency(&stats, 3999);
    g_assert_cmpuint(stats.latency[1], ==, 2);
    block_stats_latency(&stats, 4000);
    g_assert_cmpuint(stats.latency[2], ==, 1);
    block_stats_latency(&stats, INT64_MAX);
    g_assert_cmpuint(stats.latency[BLOCK_LATENCY_BUCKETS - 1], ==, 1);
}

/* Every counter counts: each word of a struct full of ones adds one. */
static void test_accumulate(void)
{
    BlockStats sum = { 0 }, one;
    uint64_t *word = (uint64_t *)&one;

    for (unsigned i = 0; i < sizeof(one) / sizeof(*word); i++) {
        word[i] = 1;
    }
    one.engine.burst_id = 0; /* private state, not a counter */
    one.engine.burst_requests = 0;
    block_stats_accumulate(&sum, &one);
    g_assert_cmpmem(&sum.requests, G_STRUCT_OFFSET(BlockStats, engine),
                    &one.requests, G_STRUCT_OFFSET(BlockStats, engine));
    g_assert_cmpmem(&sum.engine, G_STRUCT_OFFSET(EngineStats, burst_id),
                    &one.engine, G_STRUCT_OFFSET(EngineStats, burst_id));
    block_stats_accumulate(&sum, &one);
    g_assert_cmpuint(sum.kicks, ==, 2);
    g_assert_cmpuint(sum.engine.batch[ENGINE_BATCH_BUCKETS - 1], ==, 2);
}

static void test_line(void)
{
    BlockStats stats = { 0 };

    stats.requests[BLOCK_READ] = 3;
    stats.requests[BLOCK_FLUSH] = 4;
    stats.bytes[BLOCK_READ] = 12288;
    stats.merged = 2;
    stats.engine.submit_calls = 1;

    g_autofree char *line = block_stats_line(&stats);

    g_assert_cmpstr(line, ==,
                    "requests=7 reads=3 writes=0 flushes=4 discards=0 "
                    "write_zeroes=0 read_bytes=12288 write_bytes=0 "
                    "discard_bytes=0 write_zeroes_bytes=0 merged=2 "
                    "host_requests=0 submit_calls=1 bursts=0 threads=0 "
                    "native=0 io_uring=0 inline=0 fixed=0 tried=0 moved=0 "
                    "would_block=0 "
                    "detours=0 kicks=0 notifications=0 errors=0 "
                    "invalid=0");
}

static void test_histograms(void)
{
    BlockStats stats = { 0 };

    stats.latency[0] = 1;
    stats.latency[4] = 3;
    stats.engine.batch[5] = 9;

    g_autofree char *text = block_stats_histograms(&stats);

    g_assert_nonnull(strstr(text, "17-32            9 ####"));
    g_assert_nonnull(strstr(text, "0-1            1 ##########\n"));
    g_assert_nonnull(strstr(text, "16-31            3 ####"));
    g_assert_null(strstr(text, "2-3"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/stats/latency-buckets", test_latency_buckets);
    g_test_add_func("/stats/accumulate", test_accumulate);
    g_test_add_func("/stats/line", test_line);
    g_test_add_func("/stats/histograms", test_histograms);
    return g_test_run();
}
