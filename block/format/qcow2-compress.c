/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compresses and decompresses clusters in the thread pool's workers, and
 * remembers the last few that were decompressed, since guests read them in
 * parts.
 *
 * What is compressed comes from the image, that is, from anybody: it cannot
 * make us write behind a cluster, nor take more memory than WINDOW_BITS_MAX
 * says. Few clusters are decompressed at a time, so that a deep queue does not
 * cost a deep queue's buffers.
 */
#include "qcow2.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "block/debug.h"
#include "block/iov.h"
#include "block/thread-pool.h"

#define AT_A_TIME 8   /* clusters in workers, for each image */
#define REMEMBERED 4
/* qcow2 has no zlib header, and a window of 4 KiB. */
#define DEFLATE_WINDOW (-12)
#define DEFLATE_MEMORY 9
/* The largest that zstd's levels up to 19 use: 8 MiB. */
#define WINDOW_BITS_MAX 23

typedef struct Remembered {
    uint64_t entry;    /* 0: nothing */
    char *buf;
    uint64_t used;     /* when */
    unsigned readers;  /* it stays theirs until they have copied it */
    bool loading;
    CoQueue loaded;    /* waits for that to end */
    int ret;           /* of the load */
} Remembered;

struct Qcow2Decompressed {
    unsigned running;
    CoQueue waiting;   /* for running to fall */
    Remembered last[REMEMBERED];
    uint64_t clock;
    uint64_t writes;   /* of compressed data so far */
};

/* --- in a worker --- */

typedef struct CodecWork {
    ThreadPoolWork work;
    Coroutine *co;
    Qcow2Compression compression;
    const void *from;
    size_t from_bytes;
    void *to;
    size_t to_bytes;
    int ret;
} CodecWork;

/* A whole cluster, or nothing; what follows in the stream is no concern. */
static int inflate_cluster(CodecWork *codec)
{
    z_stream stream = {
        .next_in = (Bytef *)codec->from,
        .avail_in = codec->from_bytes,
        .next_out = codec->to,
        .avail_out = codec->to_bytes,
    };
    int ret;

    if (inflateInit2(&stream, DEFLATE_WINDOW) != Z_OK) {
        return -ENOMEM;
    }
    ret = inflate(&stream, Z_FINISH);
    inflateEnd(&stream);
    return (ret == Z_STREAM_END || ret == Z_BUF_ERROR || ret == Z_OK) &&
                   stream.avail_out == 0
               ? 0
               : -EIO;
}

static int deflate_cluster(CodecWork *codec)
{
    z_stream stream = {
        .next_in = (Bytef *)codec->from,
        .avail_in = codec->from_bytes,
        .next_out = codec->to,
        .avail_out = codec->to_bytes,
    };
    int ret;

    if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED,
                     DEFLATE_WINDOW, DEFLATE_MEMORY,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        return -EIO;
    }
    ret = deflate(&stream, Z_FINISH);
    deflateEnd(&stream);
    if (ret != Z_STREAM_END) {
        return ret == Z_OK ? -ENOMEM : -EIO;
    }
    return codec->to_bytes - stream.avail_out;
}

/* As a stream: a frame need not say how long it is, and the last sector's
 * rest follows it. */
static int zstd_expand(ZSTD_DCtx *context, CodecWork *codec)
{
    ZSTD_inBuffer in = { codec->from, codec->from_bytes, 0 };
    ZSTD_outBuffer out = { codec->to, codec->to_bytes, 0 };

    while (out.pos < out.size) {
        size_t in_before = in.pos, out_before = out.pos;
        size_t ret = ZSTD_decompressStream(context, &out, &in);

        if (ZSTD_isError(ret) ||
            (in.pos == in_before && out.pos == out_before)) {
            return -EIO;
        }
    }
    return 0;
}

static int zstd_expand_cluster(CodecWork *codec)
{
    ZSTD_DCtx *context = ZSTD_createDCtx();
    int ret;

    if (!context) {
        return -ENOMEM;
    }
    ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, WINDOW_BITS_MAX);
    ret = zstd_expand(context, codec);
    ZSTD_freeDCtx(context);
    return ret;
}

static int zstd_compress_cluster(CodecWork *codec)
{
    ZSTD_CCtx *context = ZSTD_createCCtx();
    size_t ret;

    if (!context) {
        return -EIO;
    }
    ret = ZSTD_compress2(context, codec->to, codec->to_bytes, codec->from,
                         codec->from_bytes);
    ZSTD_freeCCtx(context);
    if (!ZSTD_isError(ret)) {
        return ret;
    }
    return ZSTD_getErrorCode(ret) == ZSTD_error_dstSize_tooSmall ? -ENOMEM
                                                                 : -EIO;
}

static int expand_fn(ThreadPoolWork *work)
{
    CodecWork *codec = (CodecWork *)work;

    return codec->compression == QCOW2_COMPRESSION_ZSTD
               ? zstd_expand_cluster(codec)
               : inflate_cluster(codec);
}

static int compress_fn(ThreadPoolWork *work)
{
    CodecWork *codec = (CodecWork *)work;

    return codec->compression == QCOW2_COMPRESSION_ZSTD
               ? zstd_compress_cluster(codec)
               : deflate_cluster(codec);
}

/* --- at home --- */

static void codec_cb(ThreadPoolWork *work, int ret)
{
    CodecWork *codec = (CodecWork *)work;

    codec->ret = ret;
    coroutine_enter(codec->co);
}

static int coroutine_fn run_codec(CodecWork *codec)
{
    ThreadPool *pool = thread_pool_get(aio_context_current());

    codec->co = coroutine_self();
    codec->work.cb = codec_cb;
    thread_pool_submit(pool, &codec->work);
    coroutine_yield();
    return codec->ret;
}

static void coroutine_fn begin(Qcow2Decompressed *cache)
{
    while (cache->running == AT_A_TIME) {
        co_queue_wait(&cache->waiting);
    }
    cache->running++;
}

static void end(Qcow2Decompressed *cache)
{
    cache->running--;
    co_queue_restart_next(&cache->waiting);
}

static int coroutine_fn read_and_expand(BlockDriverState *bs, uint64_t entry,
                                        void *buf)
{
    const Qcow2State *s = bs->opaque;
    g_autofree void *packed = NULL;
    CodecWork codec = { .work.fn = expand_fn, .compression = s->compression };
    unsigned bytes;
    uint64_t host;
    int ret;

    qcow2_parse_compressed(s, entry, &host, &bytes);
    packed = g_try_malloc(bytes);
    if (!packed) {
        return -ENOMEM;
    }
    bdrv_co_debug_event(bs->file, BLKDBG_READ_COMPRESSED);
    ret = qcow2_co_read_file(bs->file, host, bytes, packed);
    if (ret < 0) {
        return ret;
    }
    codec.from = packed;
    codec.from_bytes = bytes;
    codec.to = buf;
    codec.to_bytes = s->cluster_size;
    return run_codec(&codec);
}

int coroutine_fn qcow2_co_decompress(BlockDriverState *bs, uint64_t entry,
                                     void *buf)
{
    const Qcow2State *s = bs->opaque;
    int ret;

    begin(s->decompressed);
    ret = read_and_expand(bs, entry, buf);
    end(s->decompressed);
    return ret;
}

ssize_t coroutine_fn qcow2_co_compress(BlockDriverState *bs, const void *data,
                                       void *buf)
{
    const Qcow2State *s = bs->opaque;
    CodecWork codec = {
        .work.fn = compress_fn,
        .compression = s->compression,
        .from = data,
        .from_bytes = s->cluster_size,
        .to = buf,
        .to_bytes = s->cluster_size - 1,
    };

    return run_codec(&codec);
}

/* --- the last ones --- */

Qcow2Decompressed *qcow2_decompressed_new(BlockDriverState *bs)
{
    Qcow2Decompressed *cache = g_new0(Qcow2Decompressed, 1);

    co_queue_init(&cache->waiting);
    for (unsigned i = 0; i < REMEMBERED; i++) {
        co_queue_init(&cache->last[i].loaded);
    }
    return cache;
}

void qcow2_decompressed_free(Qcow2Decompressed *cache)
{
    if (!cache) {
        return;
    }
    for (unsigned i = 0; i < REMEMBERED; i++) {
        g_free(cache->last[i].buf);
    }
    g_free(cache);
}

void qcow2_decompressed_forget(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;

    s->decompressed->writes++;
    for (unsigned i = 0; i < REMEMBERED; i++) {
        s->decompressed->last[i].entry = 0;
    }
}

static Remembered *recall(Qcow2Decompressed *cache, uint64_t entry)
{
    for (unsigned i = 0; i < REMEMBERED; i++) {
        if (cache->last[i].entry == entry) {
            return &cache->last[i];
        }
    }
    return NULL;
}

static Remembered *least_recent(Qcow2Decompressed *cache)
{
    Remembered *oldest = NULL;

    for (unsigned i = 0; i < REMEMBERED; i++) {
        Remembered *item = &cache->last[i];

        if (!item->readers &&
            (!oldest || item->used < oldest->used)) {
            oldest = item;
        }
    }
    return oldest;
}

/* For the readers that came meanwhile, too: all of them began before the
 * cluster could be used anew, whatever is written by now. */
static void coroutine_fn load(BlockDriverState *bs, Remembered *item,
                              uint64_t entry)
{
    const Qcow2State *s = bs->opaque;
    Qcow2Decompressed *cache = s->decompressed;
    uint64_t writes = cache->writes;

    if (!item->buf) {
        item->buf = g_try_malloc(s->cluster_size);
    }
    item->entry = entry;
    item->loading = true;
    item->ret = item->buf ? qcow2_co_decompress(bs, entry, item->buf)
                          : -ENOMEM;
    item->loading = false;
    if (item->ret < 0 || cache->writes != writes) {
        item->entry = 0;
    }
    while (co_queue_restart_next(&item->loaded)) {
        /* each goes on until it yields */
    }
}

/* For one that is read as a whole, or while all others are in use. */
static int coroutine_fn read_aside(BlockDriverState *bs, uint64_t entry,
                                   int64_t from, const struct iovec *iov,
                                   unsigned niov)
{
    const Qcow2State *s = bs->opaque;
    g_autofree char *bounce = NULL;
    int ret;

    if (niov == 1 && iov->iov_len == (size_t)s->cluster_size) {
        return qcow2_co_decompress(bs, entry, iov->iov_base);
    }
    bounce = g_try_malloc(s->cluster_size);
    if (!bounce) {
        return -ENOMEM;
    }
    ret = qcow2_co_decompress(bs, entry, bounce);
    if (ret == 0) {
        iov_from_buf(iov, niov, 0, bounce + from, iov_size(iov, niov));
    }
    return ret;
}

static int coroutine_fn read_through(BlockDriverState *bs, Remembered *item,
                                     int64_t from, const struct iovec *iov,
                                     unsigned niov)
{
    const Qcow2State *s = bs->opaque;

    while (item->loading) {
        co_queue_wait(&item->loaded);
    }
    item->used = ++s->decompressed->clock;
    if (item->ret == 0) {
        iov_from_buf(iov, niov, 0, item->buf + from, iov_size(iov, niov));
    }
    return item->ret;
}

int coroutine_fn qcow2_co_read_compressed(BlockDriverState *bs,
                                          uint64_t entry, int64_t from,
                                          const struct iovec *iov,
                                          unsigned niov)
{
    const Qcow2State *s = bs->opaque;
    Remembered *item = recall(s->decompressed, entry);
    bool load_it = !item;
    int ret;

    if (!item && iov_size(iov, niov) < (size_t)s->cluster_size) {
        item = least_recent(s->decompressed);
    }
    if (!item) {
        return read_aside(bs, entry, from, iov, niov);
    }
    item->readers++;
    if (load_it) {
        load(bs, item, entry);
    }
    ret = read_through(bs, item, from, iov, niov);
    item->readers--;
    return ret;
}
