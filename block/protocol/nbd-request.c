/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests to an NBD server: several commands in flight over one connection.
 *
 * libnbd speaks the protocol. It has to be told when its socket is ready, and
 * while it calls us back it must not be called: what it has finished is put
 * on a list, and looked at when it has returned.
 *
 * The loop watches descriptors for reading only, and a socket with a full
 * buffer has to be watched for writing. An epoll descriptor of our own lies
 * between: it is readable when the socket is ready either way.
 *
 * A request is one command; of several buffers, more than the server takes at
 * a time, or something that the server does not have, it is one after the
 * other. libnbd allocates for each command, and so do we.
 */
#include "nbd.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "block/iov.h"
#include "block/log.h"
#include "block/plug.h"

/* Of data that has to be copied, and of zeroes that have to be sent. */
#define COPY_MAX   (1024 * 1024)
/* Of ranges that are only named; a multiple of every block size. */
#define RANGE_MAX  (1024 * 1024 * 1024)

struct NbdTask {
    BlockDriverState *bs;
    NbdTask *next;          /* in s->done */
    int ret;                /* of the command that is done */
    bool done;              /* it is, and on the list or taken from it */

    BlockRequest *req;      /* or NULL: for block status */
    int64_t finished;       /* bytes of it, by earlier commands */
    int64_t piece;          /* bytes of the command in flight */
    char *buf;              /* its data, or NULL: in the request's buffer */
    bool flushing;          /* stands for FUA: the last command */

    Coroutine *co;          /* block status: waits in nbd_node_co_extent() */
    int64_t length;
    uint32_t flags;
};

/* --- the socket --- */

static void unwatch(NbdState *s)
{
    /* libnbd has closed it by itself if the connection is lost */
    epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, s->watched_fd, NULL);
    s->watched_fd = -1;
    s->watched_events = 0;
}

static uint32_t wanted_events(NbdState *s)
{
    unsigned direction = nbd_aio_get_direction(s->nbd);

    return (direction & LIBNBD_AIO_DIRECTION_READ ? EPOLLIN : 0) |
           (direction & LIBNBD_AIO_DIRECTION_WRITE ? EPOLLOUT : 0);
}

/* @why: what was the matter, if it was not the server. */
static void report_loss(BlockDriverState *bs, const char *why)
{
    NbdState *s = bs->opaque;
    g_autofree char *server = nbd_target_name(&s->target);

    if (!s->lost) {
        s->lost = true;
        log_error("node '%s': connection to NBD server '%s', export '%s' is "
                  "lost%s%s", bs->node_name, server, s->target.export,
                  why ? ": " : "", why ? why : "");
    }
}

static bool is_lost(NbdState *s)
{
    return nbd_aio_is_dead(s->nbd) > 0 || nbd_aio_is_closed(s->nbd) > 0;
}

static void notify_libnbd(NbdState *s, uint32_t events)
{
    unsigned direction = nbd_aio_get_direction(s->nbd);

    if ((direction & LIBNBD_AIO_DIRECTION_READ) &&
        (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
        nbd_aio_notify_read(s->nbd);
    }
    direction = nbd_aio_get_direction(s->nbd);
    if ((direction & LIBNBD_AIO_DIRECTION_WRITE) &&
        (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))) {
        nbd_aio_notify_write(s->nbd);
    }
}

/*
 * The kernel cannot tell us of the socket, so nobody would come back for what
 * is in flight: libnbd is shown the connection's end, and has done with all
 * commands when it has seen it.
 */
static void give_up(BlockDriverState *bs, int err)
{
    NbdState *s = bs->opaque;
    g_autofree char *why = g_strdup_printf("epoll_ctl: %s", g_strerror(err));

    report_loss(bs, why);
    if (!is_lost(s)) {
        shutdown(nbd_aio_get_fd(s->nbd), SHUT_RDWR);
    }
    while (!is_lost(s) && nbd_aio_get_direction(s->nbd)) {
        notify_libnbd(s, EPOLLHUP);
    }
    unwatch(s);
}

/* After every call that may have made libnbd send or receive. What is done
 * then is on the list. */
static void update_watch(BlockDriverState *bs)
{
    NbdState *s = bs->opaque;
    int fd = is_lost(s) ? -1 : nbd_aio_get_fd(s->nbd);
    struct epoll_event event = { 0 };

    if (fd < 0) {
        unwatch(s);
        report_loss(bs, NULL);
        return;
    }
    event.events = wanted_events(s);
    if (fd == s->watched_fd && event.events == s->watched_events) {
        return;
    }
    if (epoll_ctl(s->epoll_fd,
                  fd == s->watched_fd ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd,
                  &event) < 0) {
        give_up(bs, errno);
        return;
    }
    s->watched_fd = fd;
    s->watched_events = event.events;
}

/* --- commands --- */

static void put_done(NbdTask *task, int ret)
{
    NbdState *s = task->bs->opaque;

    task->ret = ret;
    task->done = true;
    task->next = NULL;
    *s->done_tail = task;
    s->done_tail = &task->next;
}

/*
 * Called by libnbd, for each command once. When the connection ends in the call
 * that sends it, that is before the call returns, and what this returns is read
 * from a command that is forgotten: it may look like an error.
 */
static int command_cb(void *opaque, int *error)
{
    put_done(opaque, *error > 0 ? -*error : 0);
    return 1; /* it may forget the command */
}

static uint32_t command_flags(const NbdTask *task)
{
    NbdState *s = task->bs->opaque;
    const BlockRequest *req = task->req;
    uint32_t flags = 0;

    if ((req->flags & BLOCK_REQ_FUA) && s->can_fua) {
        flags |= LIBNBD_CMD_FLAG_FUA;
    }
    if (req->op == BLOCK_WRITE_ZEROES && s->can_zero &&
        !(req->flags & BLOCK_REQ_MAY_UNMAP)) {
        flags |= LIBNBD_CMD_FLAG_NO_HOLE;
    }
    return flags;
}

/* The data of the piece: where it is, or a copy. */
static char *piece_data(NbdTask *task)
{
    return task->buf ? task->buf
                     : (char *)task->req->iov->iov_base + task->finished;
}

static int64_t send_write(NbdTask *task, int64_t offset,
                          nbd_completion_callback callback)
{
    NbdState *s = task->bs->opaque;
    const BlockRequest *req = task->req;

    if (req->op == BLOCK_WRITE && task->buf) {
        iov_to_buf(req->iov, req->niov, task->finished, task->buf,
                   task->piece);
    }
    return nbd_aio_pwrite(s->nbd, piece_data(task), task->piece, offset,
                          callback, command_flags(task));
}

static int64_t send_command(NbdTask *task)
{
    NbdState *s = task->bs->opaque;
    const BlockRequest *req = task->req;
    int64_t offset = req->offset + task->finished;
    nbd_completion_callback callback = {
        .callback = command_cb,
        .user_data = task,
    };

    if (task->flushing || req->op == BLOCK_FLUSH) {
        return nbd_aio_flush(s->nbd, callback, 0);
    }
    switch (req->op) {
    case BLOCK_READ:
        return nbd_aio_pread(s->nbd, piece_data(task), task->piece, offset,
                             callback, 0);
    case BLOCK_DISCARD:
        return nbd_aio_trim(s->nbd, task->piece, offset, callback, 0);
    case BLOCK_WRITE_ZEROES:
        if (s->can_zero) {
            return nbd_aio_zero(s->nbd, task->piece, offset, callback,
                                command_flags(task));
        }
        return send_write(task, offset, callback);
    default:
        return send_write(task, offset, callback);
    }
}

/* A server's maximum is for zeroes, too, and for trim it is not. */
static int64_t most_bytes(const NbdTask *task)
{
    int64_t max = task->bs->limits.max_transfer;

    if (task->req->op == BLOCK_DISCARD) {
        return RANGE_MAX;
    }
    return task->buf ? MIN(COPY_MAX, max) : max;
}

static void start_command(NbdTask *task)
{
    NbdState *s = task->bs->opaque;

    task->piece = MIN(task->req->bytes - task->finished, most_bytes(task));
    task->done = false;
    if (is_lost(s)) {
        put_done(task, -EIO);
    } else if (send_command(task) < 0 && !task->done) {
        put_done(task, nbd_get_errno() > 0 && !is_lost(s) ? -nbd_get_errno()
                                                          : -EIO);
    }
    update_watch(task->bs);
}

/* --- what is done --- */

static void task_end(NbdTask *task, int ret)
{
    BlockRequest *req = task->req;

    g_free(task->buf);
    g_free(task);
    block_request_complete(req, ret);
}

/* The server cannot do FUA: the flush comes behind. */
static bool needs_flush(const NbdTask *task)
{
    const NbdState *s = task->bs->opaque;

    return (task->req->flags & BLOCK_REQ_FUA) && !s->can_fua &&
           s->can_flush && !task->flushing &&
           (task->req->op == BLOCK_WRITE ||
            task->req->op == BLOCK_WRITE_ZEROES);
}

static void task_go_on(NbdTask *task)
{
    const BlockRequest *req = task->req;

    if (task->ret < 0) {
        task_end(task, is_lost(task->bs->opaque) ? -EIO : task->ret);
        return;
    }
    if (req->op == BLOCK_READ && task->buf) {
        iov_from_buf(req->iov, req->niov, task->finished, task->buf,
                     task->piece);
    }
    task->finished += task->piece;
    if (task->finished < req->bytes) {
        start_command(task);
    } else if (needs_flush(task)) {
        task->flushing = true;
        start_command(task);
    } else {
        task_end(task, 0);
    }
}

/* What comes on the list meanwhile waits for the next round, so that a device
 * that resubmits from its completion cannot keep the loop here. */
static void finish_done(BlockDriverState *bs, AioContext *ctx)
{
    NbdState *s = bs->opaque;
    NbdTask *task = s->done;

    s->done = NULL;
    s->done_tail = &s->done;
    blk_io_plug(ctx);
    while (task) {
        NbdTask *next = task->next;

        if (task->co) {
            coroutine_enter(task->co);
        } else {
            task_go_on(task);
        }
        task = next;
    }
    blk_io_unplug(ctx);
    if (s->done) {
        aio_bh_schedule(s->bh);
    }
}

static void finish_bh(void *opaque)
{
    BlockDriverState *bs = opaque;

    finish_done(bs, bs->home);
}

static void socket_ready(void *opaque)
{
    BlockDriverState *bs = opaque;
    NbdState *s = bs->opaque;
    struct epoll_event event;

    if (epoll_wait(s->epoll_fd, &event, 1, 0) <= 0) {
        return;
    }
    notify_libnbd(s, event.events);
    update_watch(bs);
    finish_done(bs, bs->home);
}

/* --- requests --- */

static bool needs_copy(const NbdState *s, const BlockRequest *req)
{
    return ((req->op == BLOCK_READ || req->op == BLOCK_WRITE) &&
            req->niov > 1) ||
           (req->op == BLOCK_WRITE_ZEROES && !s->can_zero);
}

/* It would change nothing, and the server may not know it. */
static bool is_needless(const NbdState *s, const BlockRequest *req)
{
    return (req->op == BLOCK_FLUSH && !s->can_flush) ||
           (req->op == BLOCK_DISCARD && !s->can_trim);
}

void nbd_node_submit(BlockDriverState *bs, BlockRequest *req)
{
    NbdState *s = bs->opaque;
    NbdTask *task;

    if (is_needless(s, req)) {
        block_request_complete_later(req, 0);
        return;
    }
    task = g_new0(NbdTask, 1);
    task->bs = bs;
    task->req = req;
    if (needs_copy(s, req)) {
        task->buf = g_malloc0(MIN(req->bytes, COPY_MAX));
    }
    start_command(task);
    if (s->done) {
        aio_bh_schedule(s->bh);
    }
}

/* Called by libnbd, before command_cb(). Of several the first counts. */
static int extent_cb(void *opaque, const char *context, uint64_t offset,
                     uint32_t *entries, size_t n_entries, int *error)
{
    NbdTask *task = opaque;

    if (n_entries >= 2 && task->length == 0) {
        task->length = entries[0];
        task->flags = entries[1];
    }
    return 0;
}

int coroutine_fn nbd_node_co_extent(BlockDriverState *bs, int64_t offset,
                               int64_t bytes, int64_t *length,
                               uint32_t *flags)
{
    NbdState *s = bs->opaque;
    NbdTask task = { .bs = bs, .co = coroutine_self() };
    nbd_extent_callback extent = { .callback = extent_cb, .user_data = &task };
    nbd_completion_callback callback = {
        .callback = command_cb,
        .user_data = &task,
    };

    if (is_lost(s) ||
        (nbd_aio_block_status(s->nbd, MIN(bytes, RANGE_MAX), offset, extent,
                              callback, LIBNBD_CMD_FLAG_REQ_ONE) < 0 &&
         !task.done)) {
        update_watch(bs);
        return -EIO;
    }
    update_watch(bs);
    if (s->done) {
        aio_bh_schedule(s->bh);
    }
    coroutine_yield();
    *length = task.length;
    *flags = task.flags;
    if (task.ret < 0) {
        return is_lost(s) ? -EIO : task.ret;
    }
    return task.length > 0 ? 0 : -EIO;
}

/* --- attaching --- */

static const AioHandlerOps socket_ops = { .ready = socket_ready };

void nbd_node_attach_context(BlockDriverState *bs, AioContext *ctx)
{
    NbdState *s = bs->opaque;

    s->bh = aio_bh_new(ctx, finish_bh, bs);
    s->done_tail = &s->done;
    s->handler = aio_handler_add(ctx, s->epoll_fd, &socket_ops, bs);
    if (!s->handler) {
        give_up(bs, errno);
        return;
    }
    update_watch(bs);
}

void nbd_node_detach_context(BlockDriverState *bs, AioContext *ctx)
{
    NbdState *s = bs->opaque;

    g_assert(!s->done);
    aio_handler_remove(s->handler);
    aio_bh_free(s->bh);
}
