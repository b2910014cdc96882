/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest on a disk whose system calls fail by chance, on every engine, raw
 * and qcow2, against a model of what it must find. A request may fail, but one
 * that succeeded has done what it said: reads give what was written last,
 * and, if it was flushed, when the image has been closed and opened again; a
 * qcow2 image is whole but for leaked clusters. Once a flush of a raw image
 * in the page cache has failed, none succeeds.
 *
 * With werror=enospc and no other faults the guest sees none: what finds no
 * space is held and tried again.
 *
 * A seed is one image, one plan of faults and some thousand requests. --seeds
 * N: that many for each engine and format.
 */
#include "blk-rig.h"
#include "fault-storm.h"
#include "guest-load.h"
#include "qcow2-image.h"
#include "seeds.h"
#include "block/log.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>

#define DISK_BYTES (1 << 20)
#define QUEUES     3
#define DEPTH      16
#define STEPS      60

typedef struct FaultCase {
    const char *engine;
    bool qcow2;
    bool held;    /* werror=enospc: the guest sees no error at all */
} FaultCase;

static struct {
    uint64_t runs, requests, failed, verified;
} totals;

/* --- what the linker sends here --- */

int __wrap_fallocate64(int fd, int mode, off_t offset, off_t bytes);
int __wrap_ftruncate64(int fd, off_t bytes);
ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int niov,
                         off_t offset);
int __real_fallocate64(int fd, int mode, off_t offset, off_t bytes);
int __real_ftruncate64(int fd, off_t bytes);
ssize_t __real_pwritev64(int fd, const struct iovec *iov, int niov,
                         off_t offset);

int __wrap_fallocate64(int fd, int mode, off_t offset, off_t bytes)
{
    errno = fault_storm_range();
    return errno ? -1 : __real_fallocate64(fd, mode, offset, bytes);
}

int __wrap_ftruncate64(int fd, off_t bytes)
{
    errno = fault_storm_range();
    return errno ? -1 : __real_ftruncate64(fd, bytes);
}

ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int niov,
                         off_t offset)
{
    errno = fault_storm_range();
    return errno ? -1 : __real_pwritev64(fd, iov, niov, offset);
}

/* --- one run --- */

typedef struct Run {
    const FaultCase *test;
    unsigned seed;
    TestImage *image;
    BlkRig *rig;
    GuestBlk *guest;
    GuestLoad *load;
} Run;

static bool is_direct(const Run *run)
{
    bool needs = strcmp(run->test->engine, "native") == 0 ||
                 strcmp(run->test->engine, "io_uring") == 0;

    return needs || run->seed % 2;
}

static bool is_writethrough(const Run *run)
{
    return run->seed % 3 == 0;
}

static char *blockdev_of(const Run *run)
{
    const char *file = run->test->qcow2 ? "file." : "";

    return g_strdup_printf("driver=%s%s,discard=unmap,%sfilename=%s,%saio=%s,"
                           "%scache.direct=%s",
                           run->test->qcow2 ? "qcow2" : "file",
                           run->test->qcow2 ? ",file.driver=file" : "",
                           file, test_image_path(run->image),
                           file, run->test->engine,
                           file, is_direct(run) ? "on" : "off");
}

/* New threads and thereby new engines: what the plan refuses is refused. */
static void plug_in(Run *run)
{
    g_autofree char *blockdev = blockdev_of(run);
    g_autoptr(GError) error = NULL;
    BlkRigConf conf = {
        .blockdev = blockdev, .num_queues = QUEUES,
        .n_iothreads = run->test->held ? 0 : 1 + run->seed % 2,
        .werror = run->test->held ? BLOCKDEV_ON_ERROR_ENOSPC
                                  : BLOCKDEV_ON_ERROR_REPORT,
        .writethrough = is_writethrough(run),
    };
    GuestBlkConf guest_conf = {
        .num_queues = QUEUES, .memory_bytes = 4 << 20,
        .queue_size = run->seed % 5 == 0 ? 16 : 64,
        .packed = run->seed % 4 < 2,
    };

    run->rig = blk_rig_new(&conf, &error);
    g_assert_no_error(error);
    run->guest = guest_blk_new_direct(blk_rig_device(run->rig),
                                      blk_rig_pump(run->rig), &guest_conf);
    guest_load_attach(run->load, run->guest);
    guest_blk_start(run->guest);
}

static void pull_out(Run *run)
{
    guest_blk_free(run->guest);
    blk_rig_free(run->rig);
}

static TestImage *make_image(const FaultCase *test, unsigned seed)
{
    static const char *const options[] = {
        "cluster_size=16k", "cluster_size=4k", "cluster_size=64k",
        "cluster_size=16k,extended_l2=on", "cluster_size=4k,compat=0.10",
        "cluster_size=16k,lazy_refcounts=on",
    };

    return test->qcow2 ? qcow2_image_new(options[seed % 6], "1M")
                       : test_image_new(DISK_BYTES);
}

/* Leaks are what is left of allocations that failed, no more. */
static void check_qcow2(const Run *run)
{
    const char *repair[] = { "qemu-img", "check", "-q", "-f", "qcow2", "-r",
                             "leaks", test_image_path(run->image), NULL };
    g_autofree char *output = NULL;

    if (!test_run(repair, &output)) {
        g_error("seed %u: %s", run->seed, output);
    }
}

/* A synchronous write through the page cache tells of what others lost. */
static bool writes_report_losses(const Run *run)
{
    return is_writethrough(run) && !is_direct(run);
}

/*
 * Faults are over. A flush succeeds, unless the kernel has said once that it
 * lost something: it forgets what it has reported, we do not.
 */
static bool flush_works(Run *run)
{
    const GuestLoadCounts *counts = guest_load_counts(run->load);
    GuestReq *req = guest_req_new(run->guest, VIRTIO_BLK_T_FLUSH, 0, 0);
    uint8_t status = guest_blk_run(run->guest, 0, req);

    if (!fault_storm_has(FAULT_FLUSH) && !writes_report_losses(run)) {
        g_assert_cmpuint(status, ==, VIRTIO_BLK_S_OK);
    }
    if (!run->test->qcow2 && !is_direct(run) && counts->flushes_failed) {
        g_assert_cmpuint(status, ==, VIRTIO_BLK_S_IOERR);
    }
    return status == VIRTIO_BLK_S_OK;
}

static void rage(Run *run)
{
    AioContext *pump = blk_rig_pump(run->rig);

    fault_storm_begin();
    for (unsigned i = 0; i < STEPS; i++) {
        guest_load_step(run->load);
        if (pump) {
            aio_poll(pump, false);
        }
        if (i % 16 == 0) {
            guest_load_wait(run->load);
        }
        sched_yield();
    }
    guest_load_wait(run->load);
    fault_storm_end();
}

/* Nothing fails but for want of space, and that passes: each time the device
 * rests for a tenth of a second. */
static void plan_full_disk(void)
{
    static const FaultKind others[] = {
        FAULT_EIO, FAULT_TORN, FAULT_RANGE, FAULT_FLUSH,
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(others); i++) {
        fault_storm_set_odds(others[i], 0);
    }
    fault_storm_set_odds(FAULT_ENOSPC, 6);
}

static void run_seed(const FaultCase *test, unsigned seed)
{
    GuestLoadConf conf = {
        .queues = QUEUES, .depth = DEPTH, .bytes = DISK_BYTES, .seed = seed,
        .may_fail = !test->held,
    };
    Run run = { .test = test, .seed = seed };
    const GuestLoadCounts *counts;
    bool flushed;

    fault_storm_plan(seed);
    if (test->held) {
        plan_full_disk();
    }
    run.image = make_image(test, seed);
    run.load = guest_load_new(&conf);
    plug_in(&run);
    rage(&run);
    flushed = flush_works(&run);
    guest_load_check(run.load);
    pull_out(&run);
    if (test->qcow2) {
        check_qcow2(&run);
    }
    if (flushed) { /* or the guest knows better than to believe in it */
        plug_in(&run);
        guest_load_check(run.load);
        pull_out(&run);
    }
    counts = guest_load_counts(run.load);
    totals.runs++;
    totals.requests += counts->completed;
    totals.failed += counts->failed;
    totals.verified += counts->verified;
    guest_load_free(run.load);
    test_image_free(run.image);
}

static void test_faults(gconstpointer data)
{
    const FaultCase *test = data;

    if (test->qcow2 && !test_program_present("qemu-img")) {
        g_test_skip("qemu-img is not installed");
        return;
    }
    for (unsigned i = 0; i < (test->held ? (seeds_count() + 4) / 5
                                         : seeds_count()); i++) {
        run_seed(test, seeds_first() + i);
    }
}

static void print_totals(void)
{
    uint64_t injected = 0;

    for (unsigned kind = 0; kind < FAULT__COUNT; kind++) {
        injected += fault_storm_injected(kind);
        printf("#   %8" PRIu64 " %s\n", fault_storm_injected(kind),
               fault_storm_name(kind));
    }
    printf("# %" PRIu64 " runs, %" PRIu64 " faults injected, %" PRIu64
           " requests, %" PRIu64 " of them failed, %" PRIu64
           " MiB verified\n", totals.runs, injected, totals.requests,
           totals.failed, totals.verified >> 20);
}

/* Engines that are refused are warned of. */
static void ignore_line(LogLevel level, const char *line, void *opaque)
{
}

int main(int argc, char **argv)
{
    static const FaultCase cases[] = {
        { "threads", false }, { "threads", true },
        { "native", false }, { "native", true },
        { "io_uring", false }, { "io_uring", true },
        { "auto", false }, { "auto", true },
        { "threads", false, true }, { "threads", true, true },
        { "native", false, true }, { "io_uring", true, true },
    };
    int ret;

    g_test_init(&argc, &argv, NULL);
    seeds_parse(argc, argv, 10);
    log_set_sink(ignore_line, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path =
            g_strdup_printf("/virtio-blk-faults/%s/%s%s", cases[i].engine,
                            cases[i].qcow2 ? "qcow2" : "raw",
                            cases[i].held ? "/held" : "");

        g_test_add_data_func(path, &cases[i], test_faults);
    }
    ret = g_test_run();
    print_totals();
    if (aio_context_current()) { /* of held cases */
        aio_context_free(aio_context_current());
    }
    return ret;
}
