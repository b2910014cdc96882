/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What monitor.c, which has the bytes, and qmp.c, which has their meaning,
 * know of each other. Private to monitor/. Context: main
 */
#ifndef MONITOR_MONITOR_INTERNAL_H
#define MONITOR_MONITOR_INTERNAL_H

#include "monitor/qmp.h"

#include <json-glib/json-glib.h>

/* One client's conversation: who it is to qmp.c. */
typedef struct QmpSession {
    void *opaque;      /* monitor.c's */
    bool negotiated;   /* commands are taken, events are sent */
    QmpCall *call;     /* a command that is not answered yet, or NULL */
} QmpSession;

/* qmp.c: what a client gets first. */
JsonNode *qmp_greeting(void);
/* A message came; sets session->call when it is not answered at once. */
void qmp_dispatch(QmpSession *session, JsonNode *message);
/* What came was no JSON. */
void qmp_dispatch_error(QmpSession *session, GError *error);
/* The client is gone. */
void qmp_session_end(QmpSession *session);

/* qmp-chardev.c */
void qmp_query_chardev(QmpCall *call, Options *args);

/* monitor.c: sends @message, taken, to the client. */
void monitor_send(QmpSession *session, JsonNode *message);
/* session->call has been answered from somewhere else: read on. */
void monitor_resume(QmpSession *session);
/* @fn for each session there is. */
typedef void MonitorSessionFn(QmpSession *session, void *opaque);
void monitor_foreach(MonitorSessionFn *fn, void *opaque);

#endif
