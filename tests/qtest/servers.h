/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the socket tests run over: a server in this process, in one thread and
 * with iothreads, and the storage daemon when there is one.
 */
#ifndef TESTS_QTEST_SERVERS_H
#define TESTS_QTEST_SERVERS_H

#include "blk-server.h"
#include "guest-blk.h"

typedef struct ServerKind {
    bool program;
    unsigned n_iothreads;
} ServerKind;

/* "/PREFIX/NAME/thread", ".../iothread" and ".../daemon". */
void servers_add(const char *prefix, const char *name,
                 void (*fn)(const ServerKind *kind));

/* An image on a server. */
typedef struct Service {
    TestImage *image;
    BlkServer *server;
} Service;

/* @conf may be NULL; blockdev and the kind are filled in. */
void service_start(Service *service, const ServerKind *kind, int64_t bytes,
                   const BlkServerConf *conf);
void service_stop(Service *service);

/* A guest with all its queues running; @conf may be NULL. */
GuestBlk *service_connect(Service *service, const GuestBlkConf *conf);

/* Reads a few sectors and compares. */
void expect_guest_works(GuestBlk *guest, unsigned queue);

/* The same over a connection of its own. */
void expect_service_works(Service *service);

/* Open descriptors of the server's process while a front end is connected and
 * has said nothing: by then the one before is gone for good. */
unsigned service_n_fds(const Service *service);

#endif
