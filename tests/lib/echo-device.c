/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See echo-device.h. */
#include "echo-device.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static uint64_t echo_get_features(VirtIODevice *dev)
{
    return ECHO_FEATURES;
}

static void echo_set_features(VirtIODevice *dev, uint64_t features)
{
    Echo *echo = (Echo *)dev;

    for (unsigned i = 0; i < ECHO_QUEUES; i++) {
        g_assert_null(echo->queues[i].vq);
    }
    echo->features = features;
    echo->set_features_calls++;
}

static void echo_get_config(VirtIODevice *dev, uint32_t offset, void *buf,
                            uint32_t bytes)
{
    Echo *echo = (Echo *)dev;

    memset(buf, 0, bytes);
    if (offset < ECHO_CONFIG_BYTES) {
        memcpy(buf, echo->config + offset,
               MIN(bytes, ECHO_CONFIG_BYTES - offset));
    }
}

static int echo_set_config(VirtIODevice *dev, uint32_t offset,
                           const void *buf, uint32_t bytes)
{
    Echo *echo = (Echo *)dev;

    if (offset != 32 || bytes != 1) {
        return -EACCES;
    }
    echo->config[32] = *(const uint8_t *)buf;
    return 0;
}

static void echo_reset(VirtIODevice *dev)
{
    Echo *echo = (Echo *)dev;

    for (unsigned i = 0; i < ECHO_QUEUES; i++) {
        g_assert_null(echo->queues[i].vq);
    }
    echo->resets++;
}

static AioContext *echo_queue_context(VirtIODevice *dev, unsigned index)
{
    return ((Echo *)dev)->ctx;
}

static void echo_complete(EchoQueue *q, VirtQueueElement *elem)
{
    if (elem->out_num && elem->in_num) {
        *(uint8_t *)elem->iov[elem->out_num].iov_base =
            *(uint8_t *)elem->iov[0].iov_base + 1;
    }
    virtqueue_push(q->vq, elem, 1);
    if (virtqueue_publish(q->vq)) {
        virtqueue_notify(q->vq);
    }
    virtqueue_element_clear(elem);
}

static void echo_look(EchoQueue *q)
{
    if (q->echo->idle) {
        return;
    }
    do {
        VirtQueueElement elem = { 0 };

        virtqueue_disable_kick(q->vq);
        while (virtqueue_pop(q->vq, &elem) == 1) {
            if (q->echo->hold) {
                q->echo->hold = false;
                q->held = elem;
                q->holding = true;
            } else {
                echo_complete(q, &elem);
            }
            elem = (VirtQueueElement){ 0 };
        }
        virtqueue_element_clear(&elem);
    } while (virtqueue_enable_kick(q->vq));
}

static void echo_kicked(void *opaque)
{
    EchoQueue *q = opaque;
    uint64_t value;

    if (read(virtqueue_kick_fd(q->vq), &value, sizeof(value)) > 0) {
        echo_look(q);
    }
}

static void echo_queue_start(VirtIODevice *dev, unsigned index, VirtQueue *vq)
{
    static const AioHandlerOps ops = { .ready = echo_kicked };
    Echo *echo = (Echo *)dev;
    EchoQueue *q = &echo->queues[index];

    assert_home(echo->ctx);
    g_assert_true(echo->running);
    g_assert_null(q->vq);
    q->vq = vq;
    q->starts++;
    q->handler = aio_handler_add(echo->ctx, virtqueue_kick_fd(vq), &ops, q);
    echo_look(q);
}

static void echo_finish_stop(EchoQueue *q)
{
    q->vq = NULL;
    q->stops++;
    q->done(q->done_opaque);
}

static void echo_queue_stop(VirtIODevice *dev, unsigned index, AioFn *done,
                            void *opaque)
{
    EchoQueue *q = &((Echo *)dev)->queues[index];

    assert_home(q->echo->ctx);
    q->done = done;
    q->done_opaque = opaque;
    g_clear_pointer(&q->handler, aio_handler_remove);
    if (!q->holding) {
        echo_finish_stop(q);
    }
}

/* Nobody has been told that it is over. */
static void check_no_answer(int fd)
{
    char byte;

    g_assert_cmpint(recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT), <=, 0);
}

static void echo_set_running(VirtIODevice *dev, bool running)
{
    Echo *echo = (Echo *)dev;

    g_assert_true(running || echo->running); /* another process may begin */
    for (unsigned i = 0; i < ECHO_QUEUES; i++) {
        g_assert_null(echo->queues[i].vq);
    }
    if (!running && echo->front_fd) {
        check_no_answer(echo->front_fd);
    }
    echo->running = running;
    echo->runs += running;
}

void echo_release_bh(void *opaque)
{
    EchoQueue *q = opaque;

    if (q->holding) {
        q->holding = false;
        echo_complete(q, &q->held);
        if (!q->handler) {
            echo_finish_stop(q); /* somebody waited for it */
        }
    }
}

void echo_init(Echo *echo, AioContext *ctx)
{
    static const VirtIODeviceOps ops = {
        .get_features = echo_get_features,
        .set_features = echo_set_features,
        .get_config = echo_get_config,
        .set_config = echo_set_config,
        .reset = echo_reset,
        .set_running = echo_set_running,
        .queue_context = echo_queue_context,
        .queue_start = echo_queue_start,
        .queue_stop = echo_queue_stop,
    };

    *echo = (Echo){
        .dev = {
            .ops = &ops, .name = "export 'e0'", .num_queues = ECHO_QUEUES,
            .config_size = ECHO_CONFIG_BYTES,
        },
        .ctx = ctx,
    };
    for (unsigned i = 0; i < ECHO_QUEUES; i++) {
        echo->queues[i].echo = echo;
    }
    for (unsigned i = 0; i < ECHO_CONFIG_BYTES; i++) {
        echo->config[i] = i + 1;
    }
}
