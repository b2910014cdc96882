/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What engines cost without a device above them: 4 KiB random reads, each
 * completion submits the next. "meson test --benchmark", or
 * engine-bench [DIRECTORY [REQUESTS]]; the file is made in DIRECTORY ($TMPDIR).
 *
 * System calls: strace -f -c engine-bench DIRECTORY REQUESTS ENGINE DEPTH.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "block/plug.h"
#include "tests/lib/engine-rig.h"

#define FILE_BYTES (256 * 1024 * 1024)
#define BLOCK      4096

static unsigned left; /* requests still to be submitted */
static unsigned flags;
static uint32_t seed;

static void submit_next(RigRequest *r)
{
    EngineRig *rig = r->rig;
    unsigned i = r - rig->requests;
    int64_t offset;

    g_assert_cmpint(r->ret, >=, 0);
    if (!left) {
        return;
    }
    left--;
    seed = seed * 1103515245 + 12345;
    offset = (int64_t)((seed >> 8) % (FILE_BYTES / BLOCK)) * BLOCK;
    r = eng_prepare(rig, i, ENGINE_READ, offset, BLOCK);
    r->req.flags = flags;
    r->then = submit_next;
    eng_submit(r);
}

static double cpu_us(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
           usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

static void report(EngineRig *rig, const char *what, unsigned depth,
                   int64_t ns, double cpu)
{
    AioStats loop = aio_context_stats(rig->ctx);
    double n = rig->completed;

    printf("%-9s %-8s %4u %8.0f IOPS %6.2f us CPU; a request: %5.3f submit "
           "calls, %5.3f rounds, %5.3f sleeps, %5.3f eventfd writes\n",
           engine_type_name(engine_type(rig->engine)), what, depth,
           n * 1e9 / ns, cpu / n, rig->stats.submit_calls / n,
           loop.rounds / n, loop.sleeps / n, loop.notifies / n);
    fflush(stdout);
}

/* A whole file, so that reads reach the disk and not a hole. */
static void write_file(EngineRig *rig)
{
    for (int64_t done = 0; done < FILE_BYTES;) {
        unsigned n = 0;

        for (; n < RIG_REQUESTS && done < FILE_BYTES; n++, done += RIG_SLOT) {
            eng_submit(eng_prepare(rig, n, ENGINE_WRITE, done, RIG_SLOT));
        }
        eng_wait(rig);
    }
    eng_submit(eng_prepare(rig, 0, ENGINE_FDSYNC, 0, 0));
    eng_wait(rig);
    rig->completed = 0;
    memset(&rig->stats, 0, sizeof(rig->stats));
}

static void measure(EngineType type, unsigned depth, unsigned requests,
                    bool buffered)
{
    EngineRig *rig = eng_new(type, FILE_BYTES, buffered ? 0 : O_DIRECT);
    int64_t start_ns;
    double cpu;

    if (!rig) {
        return;
    }
    write_file(rig);
    left = requests;
    seed = 1;
    flags = buffered ? ENGINE_NOWAIT_READ : 0;
    for (unsigned i = 0; i < depth; i++) {
        rig->requests[i].ret = 0;
    }
    start_ns = aio_clock_ns();
    cpu = cpu_us();
    blk_io_plug(rig->ctx);
    for (unsigned i = 0; i < depth; i++) {
        submit_next(&rig->requests[i]);
    }
    blk_io_unplug(rig->ctx);
    eng_wait(rig);
    report(rig, buffered ? "cached" : "direct", depth,
           aio_clock_ns() - start_ns, cpu_us() - cpu);
    eng_free(rig);
}

static unsigned parse(const char *text, unsigned max)
{
    g_autoptr(GError) error = NULL;
    guint64 value = 0;

    if (!g_ascii_string_to_unsigned(text, 10, 1, max, &value, &error)) {
        g_error("%s", error->message);
    }
    return value;
}

static void measure_all(unsigned requests)
{
    for (unsigned type = 0; type < ENGINE__COUNT; type++) {
        measure(type, 32, requests, false);
        measure(type, 1, requests / 10, false);
    }
    measure(ENGINE_THREADS, 32, requests, true);
}

int main(int argc, char **argv)
{
    unsigned requests = argc > 2 ? parse(argv[2], INT_MAX) : 100000;
    EngineType type;

    if (argc > 1) {
        g_setenv("TMPDIR", argv[1], TRUE);
    }
    if (argc > 4 && engine_type_parse(argv[3], &type)) {
        measure(type, parse(argv[4], RIG_REQUESTS), requests, false);
    } else {
        measure_all(requests);
    }
    return 0;
}
