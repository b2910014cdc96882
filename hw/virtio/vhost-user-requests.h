/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state of a connection and the table of what each request does to it:
 * shared by vhost-user-session.c, which reads messages and waits for rings,
 * and vhost-user-requests.c, which acts. Context: main, all of it.
 */
#ifndef VHOST_USER_REQUESTS_H
#define VHOST_USER_REQUESTS_H

#include "vhost-user-ring.h"
#include "vhost-user-session.h"

typedef enum SessionState {
    SESSION_READING,
    SESSION_DRAINING,
    SESSION_PAUSED,
    SESSION_CLOSING,
} SessionState;

struct VhostUserSession {
    VirtIODevice *dev;
    AioContext *main_ctx;
    int fd;
    AioHandler *handler; /* while READING */
    SessionState state;
    VhostUserReceiver rx;
    VhostUserMessage msg; /* the one being handled */
    unsigned stopping;    /* rings we wait for */
    bool pause;           /* is to be, or stay, PAUSED */

    VhostUserRingEnv env; /* features, memory, log */
    bool features_set;    /* by this front end: the device knows them */
    uint64_t protocol_features;
    uint8_t status;
    bool running;         /* the device was told so */
    int backend_fd;       /* -1: no back-end channel */

    VhostUserRing *rings; /* dev->num_queues */

    Handover *handover;   /* not NULL: where it goes once it has drained */
    char *handover_id;

    AioFn *closed;
    void *closed_opaque;
};

typedef enum RingScope {
    SCOPE_NONE,
    SCOPE_ONE, /* that of the message */
    SCOPE_ALL,
} RingScope;

typedef struct VhostUserRequestOps {
    /* Does it. On failure the message is refused. */
    bool (*handle)(VhostUserSession *s, VhostUserMessage *msg,
                   GError **error);
    /* Which rings have to stand still for it; NULL: none. */
    RingScope (*scope)(const VhostUserSession *s,
                       const VhostUserMessage *msg);
    /* Has a reply of its own, sent by handle(): never acknowledged. */
    bool replies;
    /* The rings go on afterwards with the same record of what is in flight:
     * a request that the device holds back need not end before. */
    bool resumes;
    /* The rings of its scope are the front end's afterwards. */
    bool gives_back;
} VhostUserRequestOps;

/* By request number; handle is NULL where there is none. */
extern const VhostUserRequestOps
    vhost_user_requests[VHOST_USER_REQUEST__COUNT];

/* Replies to the message at hand. A front end that does not read its replies
 * is not waited for: the session closes. */
void vhost_user_session_reply(VhostUserSession *session, const void *payload,
                              uint32_t bytes);
/* The same with a descriptor, which stays the caller's. */
void vhost_user_session_reply_fd(VhostUserSession *session,
                                 const void *payload, uint32_t bytes, int fd);
void vhost_user_session_reply_u64(VhostUserSession *session, uint64_t value);

static inline bool has_protocol(const VhostUserSession *session,
                                           uint64_t feature)
{
    return session->protocol_features & feature;
}

/* vhost-user-handover.c: what makes a session, all rings stopped. A session
 * that was made new for the other direction is to be freed when that fails. */
bool vhost_user_session_save(VhostUserSession *session, Handover *handover,
                             const char *id, GError **error);
bool vhost_user_session_load(VhostUserSession *session, Handover *handover,
                             HandoverRecord *record, GError **error);

/* The memory of what is in flight, or none any more; taken. No ring runs. */
void vhost_user_session_use_inflight(VhostUserSession *session,
                                     Inflight *inflight);

/* The ring a checked message is about. */
static inline VhostUserRing *ring_of(VhostUserSession *session,
                                                const VhostUserMessage *msg)
{
    return &session->rings[vhost_user_message_index(msg)];
}

#endif
