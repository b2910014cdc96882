/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Raw images that lose power at any moment of a guest's random requests, on
 * every engine, with O_DIRECT and without, the write cache on, off, and
 * switched under load. Nothing is lost that a flush covered when it came back,
 * or that was written while the cache was off; no sector has anything else
 * than its guest wrote there.
 *
 * Between engine and kernel there is a log; what it holds must be what the
 * file contains at the end. Requests of several guest blocks are merged,
 * transfers are cut short, and half of the direct images are on a medium whose
 * blocks are larger than the guest's, so that blocks are read, changed and
 * written back; then the last one is a part of a block. In one of four runs
 * some requests are of more than 1 MiB.
 *
 * A seed is one image and some hundred requests. --seeds N: that many for each
 * engine and kind of cache.
 */
#include "blk-rig.h"
#include "guest-load.h"
#include "seeds.h"
#include "write-log.h"
#include "block/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define DISK_BYTES (512 * 1024)
#define LARGE_DISK (4 * 1024 * 1024)
#define TAIL_BYTES 1536
#define WIDE_BLOCK 4096
#define QUEUES     3
#define DEPTH      8
#define STEPS      30
#define CUTS       24

typedef struct CutCase {
    const char *engine;
    bool direct;
} CutCase;

typedef struct Run {
    const CutCase *test;
    unsigned seed;
    GRand *rand;
    TestImage *image;
    BlkRig *rig;
    GuestBlk *guest;
    GuestLoad *load;
} Run;

static struct {
    unsigned runs, cuts;
    uint64_t requests, merged, promised, verified;
} totals;

/* --- a medium with large blocks --- */

static bool wide, large;

int __wrap_statx(int fd, const char *path, int flags, unsigned mask,
                 struct statx *st);
int __real_statx(int fd, const char *path, int flags, unsigned mask,
                 struct statx *st);

int __wrap_statx(int fd, const char *path, int flags, unsigned mask,
                 struct statx *st)
{
    int ret = __real_statx(fd, path, flags, mask, st);

    if (ret == 0 && wide && (st->stx_mask & STATX_DIOALIGN)) {
        st->stx_dio_offset_align = WIDE_BLOCK;
        st->stx_dio_mem_align = WIDE_BLOCK;
    }
    return ret;
}

/* --- one run --- */

typedef enum CacheMode {
    CACHE_ON,
    CACHE_OFF,
    CACHE_SWITCHED,
    CACHE__COUNT
} CacheMode;

static CacheMode cache_mode(const Run *run)
{
    return run->seed % CACHE__COUNT;
}

static int64_t disk_bytes(void)
{
    return (large ? LARGE_DISK : DISK_BYTES) + (wide ? TAIL_BYTES : 0);
}

static void open_disk(Run *run)
{
    const CutCase *test = run->test;
    g_autofree char *blockdev =
        g_strdup_printf("driver=file,discard=unmap,filename=%s,aio=%s,"
                        "cache.direct=%s", test_image_path(run->image),
                        test->engine, test->direct ? "on" : "off");
    BlkRigConf conf = {
        .blockdev = blockdev, .num_queues = QUEUES,
        .n_iothreads = 1 + run->seed % 2,
        .writethrough = cache_mode(run) == CACHE_OFF,
    };
    GuestBlkConf guest_conf = {
        .num_queues = QUEUES, .memory_bytes = large ? 12 << 20 : 4 << 20,
        .queue_size = 64,
        .packed = run->seed % 8 < 4,
    };
    g_autoptr(GError) error = NULL;

    run->rig = blk_rig_new(&conf, &error);
    g_assert_no_error(error);
    run->guest = guest_blk_new_direct(blk_rig_device(run->rig), NULL,
                                      &guest_conf);
    guest_load_attach(run->load, run->guest);
    guest_load_set_writethrough(run->load, conf.writethrough);
    guest_blk_start(run->guest);
}

static void close_disk(Run *run)
{
    guest_blk_free(run->guest);
    blk_rig_free(run->rig);
}

/* Under load. What is on its way belongs to the time before. */
static void switch_cache(Run *run, bool on)
{
    uint8_t wce = on;

    if (on) {
        guest_load_set_writethrough(run->load, false);
    }
    g_assert_true(guest_blk_set_config(
        run->guest, G_STRUCT_OFFSET(struct virtio_blk_config, wce), &wce, 1));
    guest_load_set_writethrough(run->load, !on);
}

static void make_requests(Run *run)
{
    for (unsigned i = 0; i < STEPS; i++) {
        if (cache_mode(run) == CACHE_SWITCHED && i % 5 == 4) {
            switch_cache(run, i % 2);
        }
        guest_load_step(run->load);
        if (g_rand_int_range(run->rand, 0, 4) == 0) {
            guest_load_wait(run->load);
        }
        sched_yield();
    }
    guest_load_wait(run->load);
}

/* The log knows of everything that was written. */
static void check_log(const Run *run)
{
    g_autoptr(GByteArray) expected = write_log_replay();
    g_autofree char *found = g_malloc(disk_bytes());

    g_assert_cmpuint(expected->len, ==, disk_bytes());
    g_assert_cmpint(test_image_length(run->image), ==, disk_bytes());
    test_image_read(run->image, 0, found, disk_bytes());
    if (memcmp(expected->data, found, disk_bytes()) != 0) {
        g_error("seed %u: the file is not what was written to it", run->seed);
    }
}

/* Half of the cuts come when something has just been promised. */
static unsigned choose_cut(const Run *run, unsigned i)
{
    const GArray *promises = guest_load_promises(run->load);

    if (i % 2 && promises->len > 0) {
        return g_array_index(promises, unsigned,
                             g_rand_int_range(run->rand, 0, promises->len));
    }
    return g_rand_int_range(run->rand, 0, write_log_length() + 1);
}

static void check_cuts(Run *run)
{
    for (unsigned i = 0; i < CUTS; i++) {
        unsigned at = choose_cut(run, i);
        g_autoptr(GByteArray) left = write_log_cut(at, run->rand);

        g_assert_cmpuint(left->len, >=, disk_bytes());
        totals.promised += guest_load_check_cut(run->load, left->data, at);
        totals.cuts++;
    }
}

static void add_up(const Run *run)
{
    const GuestLoadCounts *counts = guest_load_counts(run->load);
    BlockStats stats;

    blk_rig_stats(run->rig, &stats);
    totals.runs++;
    totals.requests += counts->completed;
    totals.verified += counts->verified;
    totals.merged += stats.merged;
}

static void run_seed(const CutCase *test, unsigned seed)
{
    Run run = { .test = test, .seed = seed };
    WriteLogConf log_conf = { .seed = seed, .short_odds = seed % 5 * 20,
                              .no_dsync_odds = seed % 7 < 3 ? 100 : 0 };
    GuestLoadConf conf = { .queues = QUEUES, .depth = DEPTH, .seed = seed,
                           .neighbours = true, .log_at = write_log_length };

    conf.large = large = seed % 4 == 1;
    wide = test->direct && seed / 2 % 2;
    log_conf.bytes = conf.bytes = disk_bytes();
    run.rand = g_rand_new_with_seed(seed);
    run.image = test_image_new(disk_bytes());
    log_conf.path = test_image_path(run.image);
    run.load = guest_load_new(&conf);
    write_log_start(&log_conf);
    open_disk(&run);
    make_requests(&run);
    write_log_stop();
    check_log(&run);
    check_cuts(&run);
    guest_load_check(run.load);
    add_up(&run);
    close_disk(&run);
    write_log_free();
    guest_load_free(run.load);
    test_image_free(run.image);
    g_rand_free(run.rand);
}

static bool can_be_direct(void)
{
    g_autoptr(TestImage) image = test_image_new(4096);
    int fd = open(test_image_path(image), O_RDONLY | O_DIRECT | O_CLOEXEC);

    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

static void test_cuts(gconstpointer data)
{
    const CutCase *test = data;

    if (test->direct && !can_be_direct()) {
        g_test_skip("the file system has no O_DIRECT");
        return;
    }
    for (unsigned i = 0; i < seeds_count(); i++) {
        run_seed(test, seeds_first() + i);
    }
}

/* A kind of write that does not come up is not tested. */
static void test_kinds(void)
{
    const WriteLogCounts *counts = write_log_counts();

    if (seeds_count() < 10) {
        g_test_skip("too few seeds to say");
        return;
    }
    g_assert_cmpuint(counts->dsync_writes, >, 1000);
    g_assert_cmpuint(counts->writes - counts->dsync_writes, >, 1000);
    g_assert_cmpuint(counts->flushes, >, 1000);
    g_assert_cmpuint(counts->ranges, >, 1000);
    g_assert_cmpuint(counts->shortened, >, 50);
    g_assert_cmpuint(counts->refused, >, 50);
    g_assert_cmpuint(totals.merged, >, 100);
    if (can_be_direct()) {
        g_assert_cmpuint(counts->lengths, >, 10);
    }
}

static void print_totals(void)
{
    const WriteLogCounts *counts = write_log_counts();

    printf("# %u runs, %" PRIu64 " requests, %" PRIu64 " of them merged; %"
           PRIu64 " writes, %" PRIu64 " of them RWF_DSYNC, %" PRIu64
           " cut short, %" PRIu64 " refused; %" PRIu64 " ranges, %" PRIu64
           " tails, %" PRIu64 " flushes\n", totals.runs, totals.requests,
           totals.merged, counts->writes, counts->dsync_writes,
           counts->shortened, counts->refused, counts->ranges,
           counts->lengths, counts->flushes);
    printf("# %u cuts, %" PRIu64 " MiB promised and found, %" PRIu64
           " MiB verified\n", totals.cuts, totals.promised >> 11,
           totals.verified >> 20);
}

/* Engines that are refused are warned of. */
static void ignore_line(LogLevel level, const char *line, void *opaque)
{
}

int main(int argc, char **argv)
{
    static const CutCase cases[] = {
        { "threads", true }, { "native", true }, { "io_uring", true },
        { "auto", true },
        { "threads", false }, { "io_uring", false }, { "auto", false },
    };
    int ret;

    g_test_init(&argc, &argv, NULL);
    seeds_parse(argc, argv, 12);
    log_set_sink(ignore_line, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path =
            g_strdup_printf("/virtio-blk-power-cut/%s/%s", cases[i].engine,
                            cases[i].direct ? "direct" : "cached");

        g_test_add_data_func(path, &cases[i], test_cuts);
    }
    g_test_add_func("/virtio-blk-power-cut-kinds/all", test_kinds);
    ret = g_test_run();
    print_totals();
    return ret;
}
