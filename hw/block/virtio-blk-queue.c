/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One queue: a pass takes what the guest made available and submits it as one
 * burst; completions are published and signalled as one burst, too.
 *
 * Called by the loop (kick, polling, bottom half), by the device to start and
 * stop, and by the layers below to complete. Calls virtqueue, request, merge
 * and the block back end. The one rule: all of it happens in the home thread,
 * and nothing in it allocates, locks or waits once the pools are warm.
 *
 * A pass: silence the guest's kicks, pop until the ring is empty, unplug (one
 * submit call), ask for kicks again, look once more because a request may
 * have slipped in between. While the loop polls the ring, kicks stay off.
 */
#include "virtio-blk-queue.h"

#include "block/plug.h"

#include <errno.h>
#include <sys/uio.h>

/* Chains taken before others in the same thread have their turn. */
#define PASS_BUDGET 256

struct VirtIOBlockQueue {
    VirtIOBlockQueueConf conf;
    BlkChannel *channel;

    /* home thread, while started */
    VirtQueue *vq;           /* NULL: stopped */
    AioHandler *kick;        /* NULL: no kick descriptor */
    AioBH *bh;               /* what a pass left behind */
    BlkPlugCall publish;
    MultiReqBuffer mrb;
    bool polling;            /* the loop calls poll; kicks stay off */
    bool warned;             /* of chains without room for a status */

    /* pool */
    VirtIOBlockReq *free_reqs;
    unsigned in_use;         /* taken from the pool */

    /* failed, to be tried again; in the order they were taken */
    VirtIOBlockReq *held;
    uint32_t next_number;
    AioBH *wake;

    AioFn *stop_done;        /* set: stopping */
    void *stop_opaque;
    bool leaves;             /* stopping: what comes back undone stays in
                                flight */
    bool paused;
    AioFn *pause_done;       /* set: about to be at rest */
    void *pause_opaque;
    bool draining;           /* for either */
};

static VirtIOBlockReq *request_get(VirtIOBlockQueue *queue)
{
    VirtIOBlockReq *req = queue->free_reqs;

    if (req) {
        queue->free_reqs = req->next;
    } else {
        req = virtio_blk_request_new(queue);
    }
    queue->in_use++;
    req->number = queue->next_number++;
    return req;
}

static void request_put(VirtIOBlockQueue *queue, VirtIOBlockReq *req)
{
    virtio_blk_request_trim(req);
    req->next = queue->free_reqs;
    queue->free_reqs = req;
    queue->in_use--;
}

/* End of a plugged section: what was pushed in it becomes visible. */
static void publish_cb(void *opaque)
{
    VirtIOBlockQueue *queue = opaque;

    if (virtqueue_publish(queue->vq)) {
        stats_add(&blk_channel_stats(queue->channel)->notifications, 1);
        virtqueue_notify(queue->vq);
    }
}

static void complete(VirtIOBlockReq *req, int ret)
{
    VirtIOBlockQueue *queue = req->queue;
    uint32_t written = virtio_blk_request_finish(req, ret);

    if (written == 0 && !queue->warned) {
        queue->warned = true;
        virtqueue_warn(queue->vq,
                       "the guest sent a request without room for a status");
    }
    virtqueue_push(queue->vq, &req->elem, written);
    request_put(queue, req);
    blk_io_plug_call(queue->conf.ctx, &queue->publish);
}

static void submit(VirtIOBlockReq *req, BlockCompletionFunc *cb)
{
    VirtIOBlockQueue *queue = req->queue;

    block_request_push(&req->block, cb, req);
    blk_submit(queue->channel, &req->block);
}

/* --- Requests that failed --- */

/* As if it had not been sent yet, in the statistics as well. */
static void rewind_failed(VirtIOBlockReq *req)
{
    VirtIOBlockQueue *queue = req->queue;
    BlockStats *stats = blk_channel_stats(queue->channel);
    int64_t bytes = virtio_blk_request_rewind(req);

    stats_add(&stats->requests[req->op], -1);
    stats_add(&stats->bytes[req->op], -bytes);
    stats_add(&stats->errors, -1);
}

static void hold(VirtIOBlockReq *req)
{
    VirtIOBlockQueue *queue = req->queue;
    VirtIOBlockReq **at = &queue->held;

    rewind_failed(req);
    while (*at && (int32_t)((*at)->number - req->number) < 0) {
        at = &(*at)->next;
    }
    req->next = *at;
    *at = req;
}

/* It stays recorded as in flight, for whoever works on the ring next. */
static void abandon(VirtIOBlockReq *req)
{
    VirtIOBlockQueue *queue = req->queue;

    virtqueue_abandon(queue->vq, &req->elem);
    request_put(queue, req);
}

/* Nothing of it was done: blk_channel_cancel(). At other times the kernel may
 * say so, of a request for which io_uring finds no worker. */
static bool is_left(const VirtIOBlockQueue *queue, int ret)
{
    return ret == -ECANCELED && queue->stop_done && queue->leaves;
}

static void settle_failed(VirtIOBlockReq *req, int ret)
{
    VirtIOBlockQueue *queue = req->queue;
    VirtIOBlockErrors *errors = queue->conf.errors;
    VirtIOBlockError error = {
        .op = req->op,
        .error = -ret,
        .action = virtio_blk_errors_action(errors, req->op, ret),
        .nospace = ret == -ENOSPC && req->op != BLOCK_READ,
    };

    if (is_left(queue, ret)) {
        rewind_failed(req);
        abandon(req);
        return;
    }
    if (error.action == BLOCK_ERROR_ACTION_STOP && queue->stop_done) {
        if (queue->leaves) {
            abandon(req);
            return;
        }
        error.action = BLOCK_ERROR_ACTION_REPORT; /* nobody would come back */
    }
    if (error.action == BLOCK_ERROR_ACTION_STOP) {
        hold(req);
        virtio_blk_errors_hold(errors, &error);
        return;
    }
    virtio_blk_errors_report(errors, &error);
    complete(req, error.action == BLOCK_ERROR_ACTION_IGNORE ? 0 : ret);
}

/* The request is over, unless it has to be held. */
static void settle(VirtIOBlockReq *req, int ret)
{
    if (G_UNLIKELY(ret < 0)) {
        settle_failed(req, ret);
    } else {
        complete(req, ret);
    }
}

/* Of a request that was sent alone. */
static void single_cb(BlockRequest *block, void *opaque, int ret)
{
    settle(opaque, ret);
}

static void segment_cb(BlockRequest *block, void *opaque, int ret)
{
    VirtIOBlockReq *req = opaque;

    if (ret == 0 && virtio_blk_request_next_segment(req)) {
        VirtIOBlockQueue *queue = req->queue;

        /* the back end counts each segment, the guest sent one request */
        stats_add(&blk_channel_stats(queue->channel)->requests[req->op], -1);
        submit(req, segment_cb);
        return;
    }
    settle(req, ret);
}

/* Of a request that had been held. */
static void retry_cb(BlockRequest *block, void *opaque, int ret)
{
    VirtIOBlockReq *req = opaque;
    VirtIOBlockQueue *queue = req->queue;

    if (req->op == BLOCK_DISCARD || req->op == BLOCK_WRITE_ZEROES) {
        segment_cb(block, req, ret);
    } else {
        settle(req, ret);
    }
    virtio_blk_errors_unhold(queue->conf.errors, ret == 0);
}

static void retry_held(VirtIOBlockQueue *queue)
{
    VirtIOBlockReq *held = queue->held;

    queue->held = NULL;
    blk_io_plug(queue->conf.ctx);
    while (held) {
        VirtIOBlockReq *req = held;

        held = req->next;
        submit(req, retry_cb);
    }
    blk_io_unplug(queue->conf.ctx);
}

/* The ring is taken away: one more attempt, or not even that where others can
 * make it. They get what waits for its turn as well. */
static void give_up_waiting(VirtIOBlockQueue *queue)
{
    if (!queue->leaves) {
        retry_held(queue);
        return;
    }
    blk_channel_cancel(queue->channel);
    while (queue->held) {
        VirtIOBlockReq *req = queue->held;

        queue->held = req->next;
        abandon(req);
        virtio_blk_errors_unhold(queue->conf.errors, false);
    }
}

/*
 * The statistics count what the guest sent. The back end saw one request where
 * there were @n_reqs; when it failed, it saw one where there was none, because
 * every member is going to be sent on its own.
 */
static void count_merged(VirtIOBlockQueue *queue, const VirtIOBlockReq *req,
                         int ret, unsigned n_reqs, int64_t bytes)
{
    BlockStats *stats = blk_channel_stats(queue->channel);

    if (ret == 0) {
        stats_add(&stats->requests[req->op], n_reqs - 1);
        stats_add(&stats->merged, n_reqs - 1);
        return;
    }
    stats_add(&stats->requests[req->op], -1);
    stats_add(&stats->bytes[req->op], -bytes);
    stats_add(&stats->errors, -1);
}

/* One bad sector shall fail one request: members go down one by one. */
static void complete_merged(VirtIOBlockQueue *queue, VirtIOBlockReq *first,
                            int ret)
{
    unsigned n_reqs = 0;
    int64_t bytes = 0;

    for (VirtIOBlockReq *req = first; req; req = req->mr_next) {
        n_reqs++;
        bytes += req->bytes;
    }
    count_merged(queue, first, ret, n_reqs, bytes);

    blk_io_plug(queue->conf.ctx);
    for (VirtIOBlockReq *req = first, *next; req; req = next) {
        next = req->mr_next;
        if (ret == 0) {
            complete(req, 0);
        } else if (is_left(queue, ret)) {
            abandon(req);
        } else {
            virtio_blk_request_reload(req);
            submit(req, single_cb);
        }
    }
    blk_io_unplug(queue->conf.ctx);
}

static void transfer_cb(BlockRequest *block, void *opaque, int ret)
{
    VirtIOBlockReq *req = opaque;
    VirtIOBlockQueue *queue = req->queue;

    if (!req->mr_next) {
        settle(req, ret);
        return;
    }
    virtio_blk_merge_done(&queue->mrb, req);
    complete_merged(queue, req, ret);
}

static void submit_transfer(VirtIOBlockReq *req, void *opaque)
{
    submit(req, transfer_cb);
}

/* Refused or answered before any I/O. */
static void complete_early(VirtIOBlockQueue *queue, VirtIOBlockReq *req,
                           int ret)
{
    if (ret < 0) {
        BlockStats *stats = blk_channel_stats(queue->channel);

        stats_add(&stats->errors, 1);
        stats_add(&stats->invalid, 1);
    }
    complete(req, ret);
}

static void handle_request(VirtIOBlockQueue *queue, VirtIOBlockReq *req)
{
    int ret = virtio_blk_request_parse(req, queue->conf.rules);

    if (ret != VIRTIO_BLK_SUBMIT) {
        complete_early(queue, req, ret);
        return;
    }
    switch (req->op) {
    case BLOCK_READ:
    case BLOCK_WRITE:
        if (queue->conf.request_merging) {
            virtio_blk_merge_add(&queue->mrb, req);
        } else {
            submit(req, single_cb);
        }
        break;
    case BLOCK_FLUSH:
        virtio_blk_merge_submit(&queue->mrb);
        submit(req, single_cb);
        break;
    default:
        virtio_blk_merge_submit(&queue->mrb);
        submit(req, segment_cb);
        break;
    }
}

/* Returns how many chains there were, at most @budget. */
static unsigned take_chains(VirtIOBlockQueue *queue, unsigned budget)
{
    unsigned n;

    for (n = 0; n < budget; n++) {
        VirtIOBlockReq *req = request_get(queue);

        if (virtqueue_pop(queue->vq, &req->elem) <= 0) {
            request_put(queue, req);
            break;
        }
        handle_request(queue, req);
    }
    return n;
}

/*
 * Returns whether there was work. When the budget ends the pass, kicks stay
 * off and the bottom half comes back for the rest. While the loop polls, kicks
 * are off already and stay so until it stops.
 */
static bool run_pass(VirtIOBlockQueue *queue)
{
    unsigned taken = 0, budget;
    bool more;

    if (queue->stop_done || virtqueue_is_broken(queue->vq) ||
        queue->paused || virtio_blk_errors_halted(queue->conf.errors)) {
        return false; /* wake_bh() and unpause_bh() come back */
    }
    /* what a crash left in flight comes first, and all of it */
    budget = PASS_BUDGET + virtqueue_resubmits(queue->vq);
    blk_io_plug(queue->conf.ctx);
    do {
        if (!queue->polling) {
            virtqueue_disable_kick(queue->vq);
        }
        taken += take_chains(queue, budget - taken);
        if (taken == budget) {
            aio_bh_schedule(queue->bh);
            break;
        }
        more = !queue->polling && virtqueue_enable_kick(queue->vq);
    } while (more && !virtqueue_is_broken(queue->vq));
    virtio_blk_merge_submit(&queue->mrb);
    blk_io_unplug(queue->conf.ctx);
    return taken > 0;
}

/*
 * The front end listens itself once we have stopped, and must not take what we
 * left unread for a new kick: QEMU would start a device that its guest is
 * resetting. Never sleeps, whatever the descriptor is and its flags are.
 */
static void clear_kick(int fd)
{
    uint64_t count;
    struct iovec iov = { .iov_base = &count, .iov_len = sizeof(count) };
    ssize_t ret G_GNUC_UNUSED = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);
}

static void remove_kick(VirtIOBlockQueue *queue)
{
    if (queue->kick) {
        clear_kick(virtqueue_kick_fd(queue->vq));
        aio_handler_remove(queue->kick);
        queue->kick = NULL;
    }
}

/* The eventfd is not read: that would be a system call for every wake-up. */
static void kick_ready(void *opaque)
{
    VirtIOBlockQueue *queue = opaque;

    stats_add(&blk_channel_stats(queue->channel)->kicks, 1);
    run_pass(queue);
}

static bool kick_poll(void *opaque)
{
    VirtIOBlockQueue *queue = opaque;

    return virtqueue_has_work(queue->vq) && run_pass(queue);
}

static void kick_poll_begin(void *opaque)
{
    VirtIOBlockQueue *queue = opaque;

    queue->polling = true;
    virtqueue_disable_kick(queue->vq);
}

/* Work that slipped in is found by the loop's last poll. */
static void kick_poll_end(void *opaque)
{
    VirtIOBlockQueue *queue = opaque;

    queue->polling = false;
    virtqueue_enable_kick(queue->vq);
}

static const AioHandlerOps kick_ops = {
    .ready = kick_ready,
    .edge = true, /* a pass ends when the ring is empty, or comes back */
    .poll = kick_poll,
    .poll_begin = kick_poll_begin,
    .poll_end = kick_poll_end,
};

static void add_kick(VirtIOBlockQueue *queue)
{
    int fd = virtqueue_kick_fd(queue->vq);

    if (fd < 0) {
        return;
    }
    queue->kick = aio_handler_add(queue->conf.ctx, fd, &kick_ops, queue);
    if (!queue->kick) {
        virtqueue_set_broken(queue->vq,
                             "cannot watch the kick descriptor: %s",
                             g_strerror(errno));
    }
}

/* Calls @fn for each region of the guest's memory. A change of memory stops
 * the queue, and starts it with another one. */
static void for_memory(VirtIOBlockQueue *queue,
                       void (*fn)(BlkChannel *, void *, size_t))
{
    const GuestMemory *memory = virtqueue_memory(queue->vq);

    if (!queue->conf.register_buffers) {
        return;
    }
    for (unsigned i = 0; i < guest_memory_n_regions(memory); i++) {
        uint64_t bytes;
        void *host = guest_memory_region(memory, i, &bytes);

        fn(queue->channel, host, bytes);
    }
}

static void finish_stop(VirtIOBlockQueue *queue)
{
    AioFn *done = queue->stop_done;
    void *opaque = queue->stop_opaque;

    blk_io_plug_cancel(queue->conf.ctx, &queue->publish);
    publish_cb(queue);
    for_memory(queue, blk_channel_unregister_buf);
    aio_bh_free(queue->bh);
    queue->bh = NULL;
    queue->vq = NULL;
    queue->stop_done = NULL;
    done(opaque);
}

static void finish_pause(VirtIOBlockQueue *queue)
{
    AioFn *done = queue->pause_done;

    queue->pause_done = NULL;
    done(queue->pause_opaque);
}

static void drained_cb(void *opaque)
{
    VirtIOBlockQueue *queue = opaque;

    queue->draining = false;
    if (queue->stop_done) {
        g_assert(queue->in_use == 0);
        finish_stop(queue);
    }
    if (queue->pause_done) {
        finish_pause(queue);
    }
}

/* One drain is for all who want one. */
static void drain(VirtIOBlockQueue *queue)
{
    if (!queue->draining) {
        queue->draining = true;
        blk_channel_drain(queue->channel, drained_cb, queue);
    }
}

static void queue_bh(void *opaque)
{
    run_pass(opaque);
}

static void wake_bh(void *opaque)
{
    VirtIOBlockQueue *queue = opaque;

    if (queue->vq && !queue->stop_done && !queue->paused) {
        retry_held(queue);
        run_pass(queue);
    }
}

void virtio_blk_queue_wake(VirtIOBlockQueue *queue)
{
    aio_bh_schedule(queue->wake);
}

typedef struct PauseCall {
    VirtIOBlockQueue *queue;
    AioFn *done;
    void *opaque;
} PauseCall;

static void pause_bh(void *opaque)
{
    g_autofree PauseCall *call = opaque;
    VirtIOBlockQueue *queue = call->queue;

    g_assert(!queue->paused);
    queue->paused = true;
    queue->pause_done = call->done;
    queue->pause_opaque = call->opaque;
    drain(queue);
}

void virtio_blk_queue_pause(VirtIOBlockQueue *queue, AioFn *done,
                            void *opaque)
{
    PauseCall *call = g_new(PauseCall, 1);

    *call = (PauseCall){ queue, done, opaque };
    aio_bh_once(queue->conf.ctx, pause_bh, call);
}

/* Somebody may have resumed it meanwhile. */
static void unpause_bh(void *opaque)
{
    VirtIOBlockQueue *queue = opaque;

    queue->paused = false;
    if (queue->vq && !queue->stop_done &&
        !virtio_blk_errors_halted(queue->conf.errors)) {
        retry_held(queue);
        run_pass(queue);
    }
}

void virtio_blk_queue_unpause(VirtIOBlockQueue *queue)
{
    aio_bh_run_sync(queue->conf.ctx, unpause_bh, queue);
}

void virtio_blk_queue_start(VirtIOBlockQueue *queue, VirtQueue *vq)
{
    assert_home(queue->conf.ctx);
    g_assert(!queue->vq);
    queue->vq = vq;
    queue->leaves = false;
    queue->polling = false;
    queue->warned = false;
    queue->bh = aio_bh_new(queue->conf.ctx, queue_bh, queue);
    for_memory(queue, blk_channel_register_buf);
    add_kick(queue);
    run_pass(queue);
}

void virtio_blk_queue_stop(VirtIOBlockQueue *queue, AioFn *done, void *opaque)
{
    assert_home(queue->conf.ctx);
    g_assert(!queue->stop_done);
    if (!queue->vq) {
        done(opaque);
        return;
    }
    queue->stop_done = done;
    queue->stop_opaque = opaque;
    remove_kick(queue);
    aio_bh_cancel(queue->bh);
    queue->leaves = virtqueue_may_abandon(queue->vq);
    give_up_waiting(queue);
    drain(queue);
}

VirtIOBlockQueue *virtio_blk_queue_new(const VirtIOBlockQueueConf *conf)
{
    VirtIOBlockQueue *queue = g_new0(VirtIOBlockQueue, 1);

    queue->conf = *conf;
    queue->publish.fn = publish_cb;
    queue->publish.opaque = queue;
    queue->channel = blk_channel_new(conf->blk, conf->ctx);
    queue->wake = aio_bh_new(conf->ctx, wake_bh, queue);
    virtio_blk_merge_init(&queue->mrb, blk_max_iov(conf->blk),
                          blk_max_transfer(conf->blk), submit_transfer,
                          queue);
    return queue;
}

static void free_wake(void *opaque)
{
    VirtIOBlockQueue *queue = opaque;

    aio_bh_free(queue->wake);
}

void virtio_blk_queue_free(VirtIOBlockQueue *queue)
{
    g_assert(!queue->vq && queue->in_use == 0);
    aio_bh_run_sync(queue->conf.ctx, free_wake, queue);
    while (queue->free_reqs) {
        VirtIOBlockReq *req = queue->free_reqs;

        queue->free_reqs = req->next;
        virtio_blk_request_free(req);
    }
    virtio_blk_merge_cleanup(&queue->mrb);
    blk_channel_free(queue->channel);
    g_free(queue);
}

AioContext *virtio_blk_queue_context(const VirtIOBlockQueue *queue)
{
    return queue->conf.ctx;
}
