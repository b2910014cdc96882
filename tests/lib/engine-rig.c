/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A context, a file and an engine for tests: see engine-rig.h.
 */
#include "tests/lib/engine-rig.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "block/engine/auto-file.h"
#include "block/plug.h"

static bool open_file(EngineRig *rig, int64_t bytes, int open_flags)
{
    rig->dir = g_dir_make_tmp("vblk-engine-XXXXXX", NULL);
    g_assert_nonnull(rig->dir);
    rig->path = g_build_filename(rig->dir, "file", NULL);
    rig->fd = open(rig->path, O_RDWR | O_CREAT | O_CLOEXEC | open_flags, 0600);
    if (rig->fd < 0 && errno == EINVAL && (open_flags & O_DIRECT)) {
        g_test_skip("the file system of $TMPDIR has no O_DIRECT");
        return false;
    }
    g_assert_cmpint(rig->fd, >=, 0);
    g_assert_cmpint(ftruncate(rig->fd, bytes), ==, 0);
    return true;
}

/* As if it had been asked whether it knows RWF_NOWAIT: native, if direct. */
static void make_auto_file(EngineRig *rig)
{
    AutoFacts facts = {
        .name = rig->path,
        .direct = fcntl(rig->fd, F_GETFL) & O_DIRECT,
    };

    facts.nowait = facts.direct;
    rig->auto_file = auto_file_new(rig->ctx, &facts);
}

void eng_set_facts(EngineRig *rig, const AutoFacts *facts)
{
    AutoFacts named = *facts;

    if (rig->auto_file) {
        named.name = rig->path;
        auto_file_free(rig->auto_file);
        rig->auto_file = auto_file_new(rig->ctx, &named);
    }
}

static bool make_engine(EngineRig *rig, const AioParams *params,
                        EngineType type)
{
    rig->ctx = aio_context_new(params, NULL);
    g_assert_nonnull(rig->ctx);
    aio_context_adopt(rig->ctx);
    rig->engine = engine_get(rig->ctx, type);
    if (engine_type(rig->engine) != type) {
        g_test_skip("the kernel here refuses this engine");
        return false;
    }
    if (type == ENGINE_AUTO) {
        make_auto_file(rig);
    }
    return true;
}

EngineRig *eng_new_with(const AioParams *params, EngineType type,
                        int64_t bytes, int open_flags)
{
    EngineRig *rig = g_new0(EngineRig, 1);

    rig->memory = g_aligned_alloc(RIG_REQUESTS, RIG_SLOT, 4096);
    for (unsigned i = 0; i < RIG_REQUESTS; i++) {
        rig->requests[i].rig = rig;
        rig->requests[i].buf = rig->memory + i * RIG_SLOT;
    }
    if (!open_file(rig, bytes, open_flags) ||
        !make_engine(rig, params, type)) {
        eng_free(rig);
        return NULL;
    }
    return rig;
}

EngineRig *eng_new(EngineType type, int64_t bytes, int open_flags)
{
    return eng_new_with(NULL, type, bytes, open_flags);
}

void eng_free(EngineRig *rig)
{
    g_assert_cmpuint(rig->pending, ==, 0);
    g_clear_pointer(&rig->auto_file, auto_file_free);
    aio_context_free(rig->ctx);
    if (rig->fd >= 0) {
        close(rig->fd);
    }
    unlink(rig->path);
    rmdir(rig->dir);
    g_free(rig->path);
    g_free(rig->dir);
    g_aligned_free(rig->memory);
    g_free(rig);
}

static void request_done(EngineRequest *req, int ret)
{
    RigRequest *r = (RigRequest *)req; /* its first member */

    g_assert_true(r->pending);
    g_assert_false(r->rig->submitting);
    g_assert_true(aio_context_current() == r->rig->ctx);
    r->pending = false;
    r->ret = ret;
    r->order = ++r->rig->completed;
    r->rig->pending--;
    if (r->then) {
        r->then(r);
    }
}

RigRequest *eng_prepare(EngineRig *rig, unsigned i, EngineOp op,
                        int64_t offset, size_t bytes)
{
    RigRequest *r = &rig->requests[i];

    g_assert_cmpuint(i, <, RIG_REQUESTS);
    g_assert_cmpuint(bytes, <=, RIG_SLOT);
    g_assert_false(r->pending);
    r->iov[0] = (struct iovec){ r->buf, bytes };
    r->then = NULL;
    r->ret = 1;
    r->req.fd = rig->fd;
    r->req.op = op;
    r->req.flags = 0;
    r->req.iov = r->iov;
    r->req.niov = 1;
    r->req.offset = offset;
    r->req.bytes = bytes;
    r->req.max_batch = 0;
    r->req.auto_file = rig->auto_file;
    r->req.cb = request_done;
    r->req.stats = &rig->stats;
    if (op == ENGINE_WRITE) {
        eng_fill(r->buf, offset, bytes);
    } else if (op == ENGINE_READ) {
        memset(r->buf, 0xaa, bytes);
    }
    return r;
}

void eng_scatter(RigRequest *r, unsigned niov)
{
    size_t left = r->req.bytes;
    uint8_t *p = r->buf;
    unsigned n = 0;

    g_assert_cmpuint(niov, <=, G_N_ELEMENTS(r->iov));
    while (left) {
        bool last = n + 1 == niov || left <= 512 * (n + 1);
        size_t len = last ? left : 512 * (n + 1);

        r->iov[n++] = (struct iovec){ p, len };
        p += len;
        left -= len;
    }
    r->req.niov = n;
}

void eng_submit(RigRequest *r)
{
    EngineRig *rig = r->rig;
    bool outer = rig->submitting;

    r->pending = true;
    rig->pending++;
    rig->submitting = true;
    engine_submit(rig->engine, &r->req);
    rig->submitting = outer;
}

void eng_hold_back(EngineRig *rig)
{
    Engine *engine = rig->auto_file ? rig->auto_file->meters[0].ways[0].engine
                                    : rig->engine;

    engine->queue.batch = engine->queue.max_batch;
}

void eng_burst(EngineRig *rig, unsigned n, EngineOp op, size_t bytes)
{
    blk_io_plug(rig->ctx);
    eng_hold_back(rig);
    for (unsigned i = 0; i < n; i++) {
        eng_submit(eng_prepare(rig, i, op, (int64_t)i * bytes, bytes));
    }
    rig->submitting = true;
    blk_io_unplug(rig->ctx);
    rig->submitting = false;
}

void eng_wait(EngineRig *rig)
{
    while (rig->pending) {
        aio_poll(rig->ctx, true);
    }
}

bool eng_is_threads(const EngineRig *rig)
{
    return engine_type(rig->engine) == ENGINE_THREADS;
}

void eng_expect(EngineRig *rig, unsigned from, unsigned to, int ret)
{
    for (unsigned i = from; i < to; i++) {
        g_assert_cmpint(rig->requests[i].ret, ==, ret);
    }
}

void eng_expect_data(EngineRig *rig, unsigned from, unsigned to)
{
    eng_expect(rig, from, to, 0);
    for (unsigned i = from; i < to; i++) {
        EngineRequest *req = &rig->requests[i].req;

        g_assert_true(eng_is_filled(rig->requests[i].buf, req->offset,
                                           req->bytes));
    }
}

/* Each 8-byte word tells its place in the file. */
void eng_fill(void *buf, int64_t offset, size_t bytes)
{
    uint8_t *p = buf;

    for (size_t i = 0; i < bytes; i++) {
        uint64_t word = ((uint64_t)offset + i) / 8 * 0x9e3779b97f4a7c15u + 1;

        p[i] = word >> (8 * ((offset + i) % 8));
    }
}

bool eng_is_filled(const void *buf, int64_t offset, size_t bytes)
{
    g_autofree void *expected = g_malloc(bytes + 1); /* never NULL */

    eng_fill(expected, offset, bytes);
    return !memcmp(buf, expected, bytes);
}

void eng_fill_file(EngineRig *rig, int64_t bytes)
{
    g_autofree uint8_t *buf = g_malloc(bytes);
    int fd = open(rig->path, O_WRONLY | O_CLOEXEC);

    eng_fill(buf, 0, bytes);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(pwrite(fd, buf, bytes, 0), ==, bytes);
    g_assert_cmpint(fsync(fd), ==, 0); /* NOWAIT and direct I/O see it */
    close(fd);
}

void eng_add_cases(const char *prefix, const EngineRigCase *cases,
                          unsigned n)
{
    for (unsigned type = 0; type < ENGINE__COUNT; type++) {
        for (unsigned i = 0; i < n; i++) {
            g_autofree char *path =
                g_strdup_printf("/%s/%s/%s", prefix, engine_type_name(type),
                                cases[i].name);

            g_test_add_data_func(path, GINT_TO_POINTER(type), cases[i].fn);
        }
    }
}
