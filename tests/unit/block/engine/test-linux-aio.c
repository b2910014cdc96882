/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is peculiar to Linux AIO: a host that is short of events, kernels
 * without IOCB_CMD_FDSYNC or RWF_ flags, the completion ring.
 * What all engines have in common is in test-engine.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/engine/engine-internal.h"
#include "block/plug.h"
#include "tests/lib/engine-rig.h"
#include "tests/lib/faults.h"
#include "tests/lib/image.h"

#define FILE_BYTES (8 * 1024 * 1024)

static AioContext *context_new(void)
{
    AioContext *ctx = aio_context_new(NULL, NULL);

    g_assert_nonnull(ctx);
    aio_context_adopt(ctx);
    return ctx;
}

static void test_fewer_events(void)
{
    EngineRig *rig;

    faults_reset();
    faults_capture_log();
    faults.setup_events_left = 200;
    rig = eng_new(ENGINE_NATIVE, FILE_BYTES, O_DIRECT);
    if (!rig) {
        return;
    }
    g_assert_cmpuint(faults.setup_calls, ==, 4); /* 1024 512 256 128 */
    g_assert_cmpuint(rig->engine->queue.capacity, ==, 128);
    g_assert_cmpuint(faults_log_lines(), ==, 0);
    eng_free(rig);
}

/* More requests than events: the rest waits for completions. */
static void test_more_than_capacity(void)
{
    EngineRig *rig;

    faults_reset();
    rig = eng_new(ENGINE_NATIVE, FILE_BYTES, O_DIRECT);
    if (!rig) {
        return;
    }
    rig->engine->queue.capacity = 10;
    eng_burst(rig, 100, ENGINE_WRITE, 4096);
    g_assert_cmpuint(rig->stats.host_requests, ==, 10);
    eng_wait(rig);
    for (unsigned i = 0; i < 100; i++) {
        g_assert_cmpint(rig->requests[i].ret, ==, 0);
    }
    g_assert_cmpuint(rig->stats.host_requests, ==, 100);
    eng_free(rig);
}

static void test_fall_back(void)
{
    AioContext *ctx;
    Engine *engine;

    faults_reset();
    faults_capture_log();
    faults.setup_events_left = 100;
    ctx = context_new();
    engine = engine_get(ctx, ENGINE_NATIVE);
    g_assert_cmpint(engine_type(engine), ==, ENGINE_THREADS);
    g_assert_true(engine_get(ctx, ENGINE_NATIVE) == engine);
    g_assert_true(engine_get(ctx, ENGINE_THREADS) == engine);
    faults.setup_events_left = 2000; /* once and for all */
    g_assert_true(engine_get(ctx, ENGINE_NATIVE) == engine);
    g_assert_cmpuint(faults_log_lines(), ==, 1);
    g_assert_nonnull(strstr(faults_log_line(0), "aio=native"));
    g_assert_nonnull(strstr(faults_log_line(0), "sysctl fs.aio-max-nr="));
    aio_context_free(ctx);
}

/* The engine the fallback leads to works. */
static void test_fallen_back_io(void)
{
    EngineRig *rig;

    faults_reset();
    faults_capture_log();
    rig = eng_new(ENGINE_THREADS, FILE_BYTES, O_DIRECT);
    if (!rig) {
        return;
    }
    faults.setup_events_left = 0;
    rig->engine = engine_get(rig->ctx, ENGINE_NATIVE);
    eng_burst(rig, 8, ENGINE_WRITE, 4096);
    eng_wait(rig);
    g_assert_cmpuint(faults_read(&faults.pwrites), ==, 8);
    eng_free(rig);
}

/* The first flush finds out; it and all later ones go to a worker. */
static void test_no_fdsync(void)
{
    EngineRig *rig;

    faults_reset();
    faults.refuse_aio_fdsync = true;
    rig = eng_new(ENGINE_NATIVE, FILE_BYTES, O_DIRECT);
    if (!rig) {
        return;
    }
    for (unsigned i = 0; i < 3; i++) {
        eng_burst(rig, 4, ENGINE_WRITE, 4096);
        eng_submit(eng_prepare(rig, 4, ENGINE_FDSYNC, 0, 0));
        eng_wait(rig);
        g_assert_cmpint(rig->requests[4].ret, ==, 0);
        g_assert_cmpuint(faults_read(&faults.fdatasyncs), ==, i + 1);
        /* one call for the writes, and one to be refused, once */
        g_assert_cmpuint(faults.submit_calls, ==, i + 2);
    }
    eng_free(rig);
}

/* A flush among writes does not keep them from going out in one section. */
static void test_no_fdsync_in_burst(void)
{
    EngineRig *rig;

    faults_reset();
    faults.refuse_aio_fdsync = true;
    rig = eng_new(ENGINE_NATIVE, FILE_BYTES, O_DIRECT);
    if (!rig) {
        return;
    }
    blk_io_plug(rig->ctx);
    for (unsigned i = 0; i < 9; i++) {
        eng_submit(eng_prepare(rig, i, i % 3 ? ENGINE_WRITE : ENGINE_FDSYNC,
                               i * 4096, i % 3 ? 4096 : 0));
    }
    blk_io_unplug(rig->ctx);
    eng_wait(rig);
    for (unsigned i = 0; i < 9; i++) {
        g_assert_cmpint(rig->requests[i].ret, ==, 0);
    }
    g_assert_cmpuint(faults_read(&faults.fdatasyncs), ==, 3);
    eng_free(rig);
}

static void test_no_rw_flags(void)
{
    EngineRig *rig;
    RigRequest *r;

    faults_reset();
    faults.refuse_aio_flags = true;
    rig = eng_new(ENGINE_NATIVE, FILE_BYTES, O_DIRECT);
    if (!rig) {
        return;
    }
    r = eng_prepare(rig, 0, ENGINE_WRITE, 0, 4096);
    r->req.flags = ENGINE_FUA;
    eng_submit(r);
    eng_wait(rig);
    g_assert_cmpint(r->ret, ==, 0);
    g_assert_cmpuint(rig->stats.host_requests, ==, 2); /* write, fdatasync */
    eng_free(rig);
}

/* Neither flags nor fdatasync: the write is native, its end a worker's. */
static void test_no_rw_flags_no_fdsync(void)
{
    EngineRig *rig;
    RigRequest *r;

    faults_reset();
    faults.refuse_aio_flags = faults.refuse_aio_fdsync = true;
    rig = eng_new(ENGINE_NATIVE, FILE_BYTES, O_DIRECT);
    if (!rig) {
        return;
    }
    r = eng_prepare(rig, 0, ENGINE_WRITE, 0, 4096);
    r->req.flags = ENGINE_FUA;
    eng_submit(r);
    eng_wait(rig);
    g_assert_cmpint(r->ret, ==, 0);
    g_assert_cmpuint(faults_read(&faults.pwrites), ==, 0);
    g_assert_cmpuint(faults_read(&faults.fdatasyncs), ==, 1);
    eng_free(rig);
}

/* More completions than the ring has events, so that its head wraps. */
static void test_ring_wraps(void)
{
    EngineRig *rig;

    faults_reset();
    rig = eng_new(ENGINE_NATIVE, FILE_BYTES, O_DIRECT);
    if (!rig) {
        return;
    }
    for (unsigned i = 0; i < 50; i++) {
        eng_burst(rig, 100, i % 2 ? ENGINE_READ : ENGINE_WRITE, 512);
        eng_wait(rig);
        for (unsigned k = 0; k < 100; k++) {
            g_assert_cmpint(rig->requests[k].ret, ==, 0);
        }
    }
    g_assert_cmpuint(rig->completed, ==, 5000);
    eng_free(rig);
}

/* A kernel whose ring has another layout: io_getevents() does it. The magic
 * is overwritten between io_setup() and the engine's look at it. */
static int setup_other_layout(int events, io_context_t *id)
{
    int err = engine_syscalls_linux.io_setup(events, id);

    if (!err) {
        ((uint32_t *)*id)[4] = 0;
    }
    return err;
}

static void test_unknown_ring(void)
{
    EngineSyscalls other = engine_syscalls_linux;
    EngineRig *rig;

    other.io_setup = setup_other_layout;
    engine_syscalls = &other;
    rig = eng_new(ENGINE_NATIVE, FILE_BYTES, O_DIRECT);
    if (!rig) {
        return;
    }
    for (unsigned i = 0; i < 20; i++) {
        eng_burst(rig, 100, i % 2 ? ENGINE_READ : ENGINE_WRITE, 512);
        eng_wait(rig);
    }
    g_assert_cmpuint(rig->completed, ==, 2000);
    g_assert_true(eng_is_filled(rig->requests[99].buf, 99 * 512, 512));
    eng_free(rig);
}

/* --- io_submit() does not wait --- */

static void burst_nowait(EngineRig *rig, NowaitMap *map, unsigned n)
{
    blk_io_plug(rig->ctx);
    for (unsigned i = 0; i < n; i++) {
        RigRequest *r = eng_prepare(rig, i, ENGINE_WRITE, i * 4096, 4096);

        r->req.nowait = map;
        eng_submit(r);
    }
    blk_io_unplug(rig->ctx);
    eng_wait(rig);
    eng_expect(rig, 0, n, 0);
}

/* Says -EAGAIN for each write that io_submit() has. */
static void test_holes(void)
{
    NowaitMap *map = nowait_map_new();
    uint64_t refused, detours;
    EngineRig *rig;

    faults_reset();
    rig = eng_new(ENGINE_NATIVE, FILE_BYTES, O_DIRECT);
    if (!rig) {
        nowait_map_free(map);
        return;
    }
    burst_nowait(rig, map, 32);
    refused = rig->stats.would_block;
    if (refused == 0) {
        g_test_skip("this file system does not mind writes to holes");
    } else {
        g_assert_cmpuint(rig->stats.detours, ==, 32);
        /* by one worker's io_submit(), which shares it among many */
        g_assert_cmpuint(faults_read(&faults.pwrites), ==, 0);
        g_assert_cmpuint(faults.threads_made, ==, 1);
        g_assert_cmpuint(faults_read(&faults.submit_calls), <=, 8);
        /* and from then on hardly anyone tries in vain */
        eng_fill_file(rig, FILE_BYTES);
        g_assert_cmpint(fsync(rig->fd), ==, 0);
        for (unsigned i = 0; i < 8; i++) {
            burst_nowait(rig, map, 32);
        }
        detours = rig->stats.detours;
        burst_nowait(rig, map, 32);
        g_assert_cmpuint(rig->stats.detours, ==, detours);
        g_assert_cmpuint(rig->stats.would_block, <, 2 * refused);
    }
    nowait_map_free(map);
    eng_free(rig);
}

/* What is on its way already is waited for once, before a worker is. */
static void test_many_in_flight(void)
{
    NowaitMap *map = nowait_map_new();
    EngineRig *rig;

    faults_reset();
    rig = eng_new(ENGINE_NATIVE, FILE_BYTES, O_DIRECT);
    if (!rig) {
        nowait_map_free(map);
        return;
    }
    burst_nowait(rig, map, 128);
    if (rig->stats.would_block == 0) {
        g_test_skip("this file system does not mind writes to holes");
    } else {
        g_assert_cmpuint(rig->stats.would_block, >, rig->stats.detours);
        g_assert_cmpuint(rig->stats.detours, ==, 128);
    }
    nowait_map_free(map);
    eng_free(rig);
}

/* As many requests of another file hang: those of this one do not wait for
 * them. */
static void test_others_hang(void)
{
    NowaitMap *map = nowait_map_new();
    EngineRig *rig;

    faults_reset();
    rig = eng_new(ENGINE_NATIVE, FILE_BYTES, O_DIRECT);
    if (!rig) {
        nowait_map_free(map);
        return;
    }
    rig->engine->queue.in_flight += 64;
    burst_nowait(rig, map, 8);
    if (rig->stats.would_block == 0) {
        g_test_skip("this file system does not mind writes to holes");
    } else {
        g_assert_cmpuint(rig->stats.would_block, ==, 16);
        g_assert_cmpuint(rig->stats.detours, ==, 8);
    }
    rig->engine->queue.in_flight -= 64;
    nowait_map_free(map);
    eng_free(rig);
}

static void test_nowait_unknown(void)
{
    NowaitMap *map = nowait_map_new();
    EngineRig *rig;

    faults_reset();
    faults.refuse_aio_flags = true;
    rig = eng_new(ENGINE_NATIVE, FILE_BYTES, O_DIRECT);
    if (rig) {
        burst_nowait(rig, map, 8);
        g_assert_cmpuint(rig->stats.would_block, ==, 0);
        g_assert_cmpuint(rig->stats.detours, ==, 0);
        eng_free(rig);
    }
    nowait_map_free(map);
}

/* --- a file system that takes RWF_NOWAIT until it sees a write --- */

/* In a mount namespace of our own: it goes with the process, and the loop
 * device with it. */
static char *mount_journalled(const TestImage *image)
{
    g_autofree char *dir = g_build_filename(test_image_dir(image), "mnt",
                                            NULL);
    const char *mkfs[] = { "mkfs.ext4", "-q", "-F", test_image_path(image),
                           NULL };
    const char *mount_it[] = { "mount", "-o", "loop,data=journal",
                               test_image_path(image), dir, NULL };
    g_autofree char *output = NULL, *why = NULL;

    if (!test_program_present("mkfs.ext4") || !test_run(mkfs, &output) ||
        unshare(CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        return NULL;
    }
    g_assert_cmpint(mkdir(dir, 0700), ==, 0);
    if (!test_run(mount_it, &why)) {
        rmdir(dir);
        return NULL;
    }
    return g_steal_pointer(&dir);
}

static void unmount(char *dir)
{
    g_assert_cmpint(umount(dir), ==, 0);
    g_assert_cmpint(rmdir(dir), ==, 0);
    g_free(dir);
}

/* The rig's file is one of that folder's from here on. */
static void move_file(EngineRig *rig, const char *dir)
{
    g_autofree char *path = g_build_filename(dir, "file", NULL);
    uint8_t *buf = rig->requests[0].buf;
    int fd = open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);

    g_assert_cmpint(fd, >=, 0);
    eng_fill(buf, 0, RIG_SLOT);
    g_assert_cmpint(pwrite(fd, buf, RIG_SLOT, 0), ==, RIG_SLOT);
    g_assert_cmpint(dup2(fd, rig->fd), ==, rig->fd);
    close(fd);
}

/* All transfers end well; writes are tried natively in the first burst only. */
static void check_refused_writes(EngineRig *rig, unsigned flags)
{
    NowaitMap *map = nowait_map_new();
    unsigned submit_calls = 0;

    for (unsigned burst = 0; burst < 3; burst++) {
        blk_io_plug(rig->ctx);
        for (unsigned i = 0; i < 16; i++) {
            RigRequest *r = eng_prepare(rig, i, i % 2 ? ENGINE_READ
                                                      : ENGINE_WRITE,
                                        i * 4096, 4096);

            r->req.nowait = map;
            r->req.flags |= i % 2 ? 0 : flags;
            eng_submit(r);
        }
        blk_io_unplug(rig->ctx);
        eng_wait(rig);
        eng_expect(rig, 0, 16, 0);
        eng_expect_data(rig, 0, 16);
        g_assert_cmpuint(rig->stats.detours, ==, 8 * (burst + 1));
        submit_calls = faults.submit_calls;
    }
    g_assert_cmpuint(submit_calls, >, 0);
    g_assert_true(flags || nowait_map_refuses_writes(map));
    nowait_map_free(map);
}

static void test_journalled(void)
{
    g_autoptr(TestImage) image = test_image_new(64 * 1024 * 1024);
    char *dir = mount_journalled(image);
    EngineRig *rig;

    if (!dir) {
        g_test_skip("no file system with data=journal can be mounted here");
        return;
    }
    for (unsigned fua = 0; fua < 2; fua++) {
        faults_reset();
        rig = eng_new(ENGINE_NATIVE, FILE_BYTES, O_DIRECT);
        if (rig) {
            move_file(rig, dir);
            check_refused_writes(rig, fua ? ENGINE_FUA : 0);
            eng_free(rig);
        }
    }
    unmount(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/linux-aio/fewer-events", test_fewer_events);
    g_test_add_func("/linux-aio/more-than-capacity", test_more_than_capacity);
    g_test_add_func("/linux-aio/fall-back", test_fall_back);
    g_test_add_func("/linux-aio/fallen-back-io", test_fallen_back_io);
    g_test_add_func("/linux-aio/no-fdsync", test_no_fdsync);
    g_test_add_func("/linux-aio/no-fdsync-in-burst", test_no_fdsync_in_burst);
    g_test_add_func("/linux-aio/no-rw-flags", test_no_rw_flags);
    g_test_add_func("/linux-aio/no-rw-flags-no-fdsync",
                    test_no_rw_flags_no_fdsync);
    g_test_add_func("/linux-aio/holes", test_holes);
    g_test_add_func("/linux-aio/many-in-flight", test_many_in_flight);
    g_test_add_func("/linux-aio/others-hang", test_others_hang);
    g_test_add_func("/linux-aio/nowait-unknown", test_nowait_unknown);
    g_test_add_func("/linux-aio/ring-wraps", test_ring_wraps);
    g_test_add_func("/linux-aio/unknown-ring", test_unknown_ring);
    g_test_add_func("/linux-aio/journalled", test_journalled);
    return g_test_run();
}
