/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A front end, a server and an echo device in one process. The front end and
 * the main loop share a thread: whatever waits for an answer runs the loop
 * meanwhile. The device lives in the main loop or in an IOThread.
 */
#ifndef TESTS_LIB_VHOST_USER_FRONT_H
#define TESTS_LIB_VHOST_USER_FRONT_H

#include "../../hw/virtio/vhost-user-message.h"
#include "block/iothread.h"
#include "echo-device.h"
#include "hw/virtio/vhost-user.h"
#include "guest/virtio-ring.h"

#define FRONT_RING_SIZE 16
#define FRONT_PLAIN_FEATURES (UINT64_C(1) << 32) /* VERSION_1 */

#define FRONT_MEM_BYTES (1u << 20)
#define FRONT_GUEST_BASE 0x40000000u
#define FRONT_USER_BASE 0x7f0000000000u

typedef struct Front {
    Echo *echo;
    VhostUserServer *server;
    IOThread *iothread; /* NULL: the device runs in the main loop */
    char *dir, *path;
    int sock;

    int mem_fd;
    uint8_t *mem;
    VirtioRing *rings[ECHO_QUEUES];
    int kick[ECHO_QUEUES], call[ECHO_QUEUES];
} Front;

extern AioContext *front_main_ctx;

/* --- Running tests --- */

typedef struct FrontCase {
    const char *name;
    GTestDataFunc fn; /* its argument: not NULL to use an IOThread */
    bool both;        /* once with, once without */
} FrontCase;

/* main() of a test program: makes the main loop, collects log lines. */
int front_main(int argc, char **argv, const char *suite,
               const FrontCase *cases, unsigned n_cases);

/* The log says @what somewhere; or nothing. It is empty afterwards. */
void front_expect_log(const char *what);
void front_expect_no_log(void);
bool front_log_is_empty(void);
void front_clear_log(void);

void front_run_main(void);      /* the main loop, until it finds nothing */
void front_wait_readable(int fd);
void front_set_true(void *opaque); /* an AioFn for a bool */

/* --- Life --- */

/* A server on a socket in a directory of its own, and a connection to it. */
Front *front_new(bool iothread);
/* The same with ring 0 running. */
Front *front_running(bool iothread, uint64_t features);
/* Checks that all rings were stopped and the socket file is gone. */
void front_free(Front *f);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Front, front_free)

void front_connect(Front *f); /* f->sock; the old one is the caller's */
void front_wait_disconnected(Front *f);
void front_stop_server(Front *f);

/* --- Messages --- */

void front_send(Front *f, uint32_t request, uint32_t flags,
                const void *payload, uint32_t bytes, const int *fds,
                unsigned n_fds);
/* One reply, which must answer @request. Returns the payload's size. */
uint32_t front_get_reply(Front *f, uint32_t request, void *payload,
                         uint32_t room);
/* The same with a descriptor, or -1 in *fd. */
uint32_t front_get_reply_fd(Front *f, uint32_t request, void *payload,
                            uint32_t room, int *fd);
uint64_t front_get_u64(Front *f, uint32_t request);
/* Nothing was sent to us; or the connection was closed. */
void front_expect_silence(Front *f);
void front_expect_closed(Front *f);

/* Send with NEED_REPLY and return the answer: 0 is good. */
uint64_t front_call_fds(Front *f, uint32_t request, const void *payload,
                        uint32_t bytes, const int *fds, unsigned n_fds);
uint64_t front_call(Front *f, uint32_t request, const void *payload,
                    uint32_t bytes);
uint64_t front_call_u64(Front *f, uint32_t request, uint64_t value);
uint64_t front_call_state(Front *f, uint32_t request, unsigned index,
                          unsigned num);
uint64_t front_call_ring_fd(Front *f, uint32_t request, unsigned index,
                            int fd);

/* What a front end does before the first ring; all protocol features. */
void front_negotiate(Front *f, uint64_t features);
uint64_t front_set_mem_table(Front *f);

/* --- Rings --- */

void front_make_ring(Front *f, unsigned i, uint64_t features);
VhostUserVringAddr front_ring_addr(Front *f, unsigned i, uint32_t flags);
/* All but SET_VRING_ENABLE. */
void front_set_up_ring(Front *f, unsigned i, uint64_t features);
void front_enable(Front *f, unsigned i, unsigned on);
uint32_t front_get_base(Front *f, unsigned i);

/* Puts a request in the ring and kicks if the device wants it. */
void front_submit(Front *f, unsigned i, uint8_t value);
/* Waits for the interrupt and takes one answer. */
void front_expect_answer(Front *f, unsigned i, uint8_t value);
void front_roundtrip(Front *f, unsigned i, uint8_t value);
/* A request that the device keeps, and has when this returns; and its end. */
void front_submit_held(Front *f, unsigned i, uint8_t value);
void front_release(Front *f, unsigned i);

#endif
