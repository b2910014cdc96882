/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vblk-img bench: sends reads or writes one after the other through an image,
 * so many at a time, and says how long that took.
 *
 * How it works: a coroutine for each request that may be under way. Where
 * writes are to be flushed every so often, nobody starts the next round until
 * this one's requests are back and the flush is; with --no-drain they go on
 * beside it.
 */
#include "args.h"
#include "disk.h"
#include "img.h"
#include "block/control.h"
#include "block/plug.h"
#include "tools/common/message.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_COUNT 75000
#define DEFAULT_DEPTH 64
#define DEFAULT_BYTES 4096
#define MAX_DEPTH 16384 /* each has a stack */

enum {
    OPT_FLUSH_INTERVAL = IMG_OPT_OWN,
    OPT_PATTERN,
    OPT_NO_DRAIN,
};

static const char letters[] = ":hc:d:f:ni:o:qs:S:t:wU";
static const struct option words[] = {
    IMG_WORD_HELP,
    { "flush-interval", required_argument, NULL, OPT_FLUSH_INTERVAL },
    { "pattern", required_argument, NULL, OPT_PATTERN },
    { "no-drain", no_argument, NULL, OPT_NO_DRAIN },
    IMG_WORD_IMAGE_OPTS,
    IMG_WORD_FORCE_SHARE,
    IMG_WORDS_END,
};

typedef struct Bench {
    /* the command line */
    int64_t count, depth;
    int64_t flush_interval;  /* requests; 0: never */
    int64_t pattern;
    int64_t bytes, step, start;
    bool write, no_drain;

    ImgDisk *disk;
    uint8_t *buf;            /* depth times bytes */
    int64_t offset;          /* of the next request */
    int64_t begun;           /* requests */
    int64_t in_flight, flushes_in_flight;
    bool draining;           /* for a flush: nobody begins */
    CoQueue drained;         /* who waits for the end of that */
    unsigned running;        /* workers */
    Coroutine *waiting;      /* for all that is under way at the end */
    int ret;
    double seconds;
} Bench;

typedef struct BenchWorker {
    Bench *bench;
    uint8_t *buf;
} BenchWorker;

static void bench_clear(Bench *bench)
{
    img_disk_free(bench->disk);
    img_buffer_free(bench->buf);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Bench, bench_clear)

static void end_if_idle(Bench *bench)
{
    if (!bench->running && !bench->flushes_in_flight && bench->waiting) {
        coroutine_enter(bench->waiting);
    }
}

static void note_result(Bench *bench, int ret)
{
    if (ret < 0 && bench->ret == 0) {
        bench->ret = ret;
    }
}

/* --- flushes --- */

static void coroutine_fn flush_entry(void *opaque)
{
    Bench *bench = opaque;

    note_result(bench, blk_co_flush(bench->disk->channel));
    bench->flushes_in_flight--;
    end_if_idle(bench);
}

static void coroutine_fn flush_drained(Bench *bench)
{
    note_result(bench, blk_co_flush(bench->disk->channel));
    bench->draining = false;
    while (co_queue_restart_next(&bench->drained)) {
        /* all of them */
    }
}

static bool round_is_full(const Bench *bench)
{
    return bench->flush_interval &&
           bench->begun % bench->flush_interval == 0;
}

/* The round's last request has been begun. */
static void end_round(Bench *bench)
{
    if (!bench->no_drain) {
        bench->draining = true;
        return;
    }
    bench->flushes_in_flight++;
    coroutine_enter(coroutine_new(flush_entry, bench));
}

/* --- requests --- */

static int coroutine_fn send_request(Bench *bench, uint8_t *buf)
{
    int64_t offset = bench->offset, length = img_disk_length(bench->disk);

    bench->offset += bench->step;
    if (length > 0) {
        bench->offset %= length;
    }
    if (bench->write) {
        return blk_co_pwrite(bench->disk->channel, offset, bench->bytes, buf,
                             0);
    }
    return blk_co_pread(bench->disk->channel, offset, bench->bytes, buf);
}

static bool coroutine_fn may_begin(Bench *bench)
{
    while (bench->draining) {
        co_queue_wait(&bench->drained);
    }
    return bench->begun < bench->count && bench->ret == 0;
}

static void coroutine_fn worker_entry(void *opaque)
{
    BenchWorker *worker = opaque;
    Bench *bench = worker->bench;

    while (may_begin(bench)) {
        int ret;

        bench->in_flight++;
        bench->begun++;
        if (round_is_full(bench)) {
            end_round(bench);
        }
        ret = send_request(bench, worker->buf);
        bench->in_flight--;
        note_result(bench, ret);
        if (bench->draining && bench->in_flight == 0) {
            flush_drained(bench);
        }
    }
    bench->running--;
    end_if_idle(bench);
}

static void start_workers(Bench *bench, BenchWorker *workers)
{
    AioContext *ctx = aio_context_current();

    bench->running = bench->depth;
    blk_io_plug(ctx);
    for (int64_t i = 0; i < bench->depth; i++) {
        workers[i].bench = bench;
        workers[i].buf = bench->buf + i * bench->bytes;
        coroutine_enter(coroutine_new(worker_entry, &workers[i]));
    }
    blk_io_unplug(ctx);
}

static void coroutine_fn bench_entry(void *opaque)
{
    Bench *bench = opaque;
    g_autofree BenchWorker *workers = g_new0(BenchWorker, bench->depth);
    int64_t start_ns = aio_clock_ns();

    start_workers(bench, workers);
    if (bench->running || bench->flushes_in_flight) {
        bench->waiting = coroutine_self();
        coroutine_yield();
    }
    bench->seconds = (aio_clock_ns() - start_ns) / 1e9;
}

/* --- the run --- */

static bool new_buffers(Bench *bench)
{
    size_t bytes;

    if (__builtin_mul_overflow(bench->depth, bench->bytes, &bytes)) {
        bytes = SIZE_MAX;
    }
    bench->buf = img_buffer_new(bytes);
    if (!bench->buf) {
        error_report("Cannot allocate %" PRId64 " buffers of %" PRId64
                     " bytes", bench->depth, bench->bytes);
        return false;
    }
    if (bench->write) {
        memset(bench->buf, bench->pattern, bytes);
    }
    return true;
}

static void announce(const Bench *bench)
{
    printf("Sending %" PRId64 " %s requests, %" PRId64 " bytes each, %" PRId64
           " in parallel (starting at offset %" PRId64 ", step size %" PRId64
           ")\n", bench->count, bench->write ? "write" : "read", bench->bytes,
           bench->depth, bench->start, bench->step);
    if (bench->flush_interval) {
        printf("Sending flush every %" PRId64 " requests\n",
               bench->flush_interval);
    }
}

static int run(Bench *bench)
{
    bench->step = bench->step ? bench->step : bench->bytes;
    bench->offset = bench->start;
    co_queue_init(&bench->drained);
    announce(bench);
    if (!new_buffers(bench)) {
        return EXIT_FAILURE;
    }
    control_run_co(bench_entry, bench);
    if (bench->ret < 0) {
        error_report("Failed request: %s", g_strerror(-bench->ret));
        return EXIT_FAILURE;
    }
    printf("Run completed in %3.3f seconds.\n", bench->seconds);
    return EXIT_SUCCESS;
}

static int open_and_run(Bench *bench, const ImgArgs *args,
                        const char *filename)
{
    bool writethrough;
    unsigned flags;

    if (!img_write_flags(args, &flags, &writethrough)) {
        return EXIT_FAILURE;
    }
    flags |= (bench->write ? 0 : BDRV_OPEN_READ_ONLY) |
             (args->force_share ? BDRV_OPEN_SHARE : 0);
    bench->disk = img_disk_new(img_open(args, filename, flags), filename,
                               writethrough);
    return bench->disk ? run(bench) : EXIT_FAILURE;
}

/* --- the command line --- */

static bool parse_number(const char *what, int64_t min, int64_t max,
                         int64_t *value)
{
    char *end;

    errno = 0;
    *value = strtoll(optarg, &end, 0);
    if (errno || end == optarg || *end || *value < min || *value > max) {
        error_report("Invalid %s specified", what);
        return false;
    }
    return true;
}

static bool take(Bench *bench, ImgArgs *args, int c)
{
    switch (c) {
    case 'c':
        return parse_number("request count", 0, INT_MAX, &bench->count);
    case 'd':
        return parse_number("queue depth", 1, MAX_DEPTH, &bench->depth);
    case 'n':
        return aio_mode_parse("native", &args->aio);
    case 'o':
        return img_parse_size("offset", optarg, &bench->start);
    case 's':
        return img_parse_range("buffer size", optarg, 0, INT_MAX,
                               &bench->bytes);
    case 'S':
        return img_parse_range("step_size", optarg, 0, INT_MAX, &bench->step);
    case 'w':
        bench->write = true;
        return true;
    case OPT_FLUSH_INTERVAL:
        return parse_number("flush interval", 0, INT_MAX,
                            &bench->flush_interval);
    case OPT_PATTERN:
        return parse_number("pattern byte", 0, UINT8_MAX, &bench->pattern);
    default:
        bench->no_drain = true;
        return true;
    }
}

static bool check_cache(const ImgArgs *args)
{
    unsigned flags = 0;
    bool writethrough;

    if (cache_mode_parse(args->cache, &flags, &writethrough)) {
        return true;
    }
    error_report("Invalid cache mode");
    return false;
}

static bool check_flushes(const Bench *bench)
{
    if (bench->flush_interval && !bench->write) {
        error_report("--flush-interval is only available in write tests");
        return false;
    }
    if (bench->flush_interval && bench->flush_interval < bench->depth) {
        error_report("Flush interval can't be smaller than depth");
        return false;
    }
    return true;
}

int img_bench(int argc, char **argv)
{
    ImgArgs args = IMG_ARGS_INIT;
    g_auto(Bench) bench = {
        .count = DEFAULT_COUNT,
        .depth = DEFAULT_DEPTH,
        .bytes = DEFAULT_BYTES,
    };
    int c;

    while ((c = img_getopt(argc, argv, letters, words, &args)) != -1) {
        if (c == IMG_ARGS_STOP) {
            return args.status;
        }
        if (!take(&bench, &args, c)) {
            return EXIT_FAILURE;
        }
    }
    if (!check_cache(&args)) {
        return EXIT_FAILURE;
    }
    if (optind != argc - 1) {
        return img_bad_usage("Expecting one image file name");
    }
    return check_flushes(&bench) ? open_and_run(&bench, &args, argv[optind])
                                 : EXIT_FAILURE;
}
