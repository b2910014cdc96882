/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One vhost-user message: read it without blocking, check it, send one back.
 * Nothing here has an effect on a device.
 */
#ifndef VHOST_USER_MESSAGE_H
#define VHOST_USER_MESSAGE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* From QEMU's docs/interop/vhost-user.rst. */
typedef enum VhostUserRequest {
    VHOST_USER_GET_FEATURES = 1,
    VHOST_USER_SET_FEATURES = 2,
    VHOST_USER_SET_OWNER = 3,
    VHOST_USER_RESET_OWNER = 4,
    VHOST_USER_SET_MEM_TABLE = 5,
    VHOST_USER_SET_LOG_BASE = 6,
    VHOST_USER_SET_LOG_FD = 7,
    VHOST_USER_SET_VRING_NUM = 8,
    VHOST_USER_SET_VRING_ADDR = 9,
    VHOST_USER_SET_VRING_BASE = 10,
    VHOST_USER_GET_VRING_BASE = 11,
    VHOST_USER_SET_VRING_KICK = 12,
    VHOST_USER_SET_VRING_CALL = 13,
    VHOST_USER_SET_VRING_ERR = 14,
    VHOST_USER_GET_PROTOCOL_FEATURES = 15,
    VHOST_USER_SET_PROTOCOL_FEATURES = 16,
    VHOST_USER_GET_QUEUE_NUM = 17,
    VHOST_USER_SET_VRING_ENABLE = 18,
    VHOST_USER_SET_BACKEND_REQ_FD = 21,
    VHOST_USER_GET_CONFIG = 24,
    VHOST_USER_SET_CONFIG = 25,
    VHOST_USER_GET_INFLIGHT_FD = 31,
    VHOST_USER_SET_INFLIGHT_FD = 32,
    VHOST_USER_RESET_DEVICE = 34,
    VHOST_USER_GET_MAX_MEM_SLOTS = 36,
    VHOST_USER_ADD_MEM_REG = 37,
    VHOST_USER_REM_MEM_REG = 38,
    VHOST_USER_SET_STATUS = 39,
    VHOST_USER_GET_STATUS = 40,
    VHOST_USER_REQUEST__COUNT
} VhostUserRequest;

/* What we send on the back-end channel. */
#define VHOST_USER_BACKEND_CONFIG_CHANGE_MSG 2

/* VHOST_USER_F_PROTOCOL_FEATURES and VHOST_F_LOG_ALL, among the virtio
 * feature bits. */
#define VHOST_USER_F_PROTOCOL_FEATURES_BIT (UINT64_C(1) << 30)
#define VHOST_F_LOG_ALL_BIT                (UINT64_C(1) << 26)

/* Protocol feature bits. */
#define VHOST_USER_PROTOCOL_F_MQ                  (UINT64_C(1) << 0)
#define VHOST_USER_PROTOCOL_F_LOG_SHMFD           (UINT64_C(1) << 1)
#define VHOST_USER_PROTOCOL_F_REPLY_ACK           (UINT64_C(1) << 3)
#define VHOST_USER_PROTOCOL_F_BACKEND_REQ         (UINT64_C(1) << 5)
#define VHOST_USER_PROTOCOL_F_CONFIG              (UINT64_C(1) << 9)
#define VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD      (UINT64_C(1) << 12)
#define VHOST_USER_PROTOCOL_F_RESET_DEVICE        (UINT64_C(1) << 13)
#define VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS (UINT64_C(1) << 15)
#define VHOST_USER_PROTOCOL_F_STATUS              (UINT64_C(1) << 16)

/* header.flags */
#define VHOST_USER_VERSION      0x1
#define VHOST_USER_VERSION_MASK 0x3
#define VHOST_USER_REPLY        0x4
#define VHOST_USER_NEED_REPLY   0x8

/* u64 of SET_VRING_KICK, CALL and ERR */
#define VHOST_USER_VRING_INDEX_MASK 0xff
#define VHOST_USER_VRING_NOFD       0x100

/* VhostUserVringAddr.flags */
#define VHOST_USER_VRING_F_LOG 0x1

/* VhostUserConfig.flags */
#define VHOST_USER_CONFIG_WRITABLE       0
#define VHOST_USER_CONFIG_LIVE_MIGRATION 1

#define VHOST_USER_MAX_TABLE_REGIONS 8
#define VHOST_USER_MAX_FDS           8
#define VHOST_USER_MAX_CONFIG        256

typedef struct VhostUserHeader {
    uint32_t request;
    uint32_t flags;
    uint32_t size; /* of the payload */
} VhostUserHeader;

typedef struct VhostUserVringState {
    uint32_t index;
    uint32_t num;
} VhostUserVringState;

typedef struct VhostUserVringAddr {
    uint32_t index;
    uint32_t flags;
    uint64_t desc;  /* these three are user addresses */
    uint64_t used;
    uint64_t avail;
    uint64_t log;   /* guest physical */
} VhostUserVringAddr;

typedef struct VhostUserRegion {
    uint64_t guest_addr;
    uint64_t size;
    uint64_t user_addr;
    uint64_t mmap_offset;
} VhostUserRegion;

typedef struct VhostUserMemTable {
    uint32_t n_regions;
    uint32_t padding;
    VhostUserRegion regions[VHOST_USER_MAX_TABLE_REGIONS];
} VhostUserMemTable;

typedef struct VhostUserMemReg {
    uint64_t padding;
    VhostUserRegion region;
} VhostUserMemReg;

typedef struct VhostUserLog {
    uint64_t mmap_size;
    uint64_t mmap_offset;
} VhostUserLog;

typedef struct VhostUserInflight {
    uint64_t mmap_size;
    uint64_t mmap_offset;
    uint16_t num_queues;
    uint16_t queue_size;
    uint32_t padding;
} VhostUserInflight;
#define VHOST_USER_INFLIGHT_BYTES 20 /* without padding, as front ends send */

typedef struct VhostUserConfig {
    uint32_t offset;
    uint32_t size;
    uint32_t flags;
    uint8_t data[VHOST_USER_MAX_CONFIG];
} VhostUserConfig;
#define VHOST_USER_CONFIG_HEADER 12

/* As on the wire; all little pieces are naturally aligned there. */
typedef union VhostUserPayload {
    uint64_t u64;
    VhostUserVringState state;
    VhostUserVringAddr addr;
    VhostUserMemTable table;
    VhostUserMemReg mem_reg;
    VhostUserLog log;
    VhostUserInflight inflight;
    VhostUserConfig config;
} VhostUserPayload;

typedef struct VhostUserMessage {
    VhostUserHeader header;
    VhostUserPayload payload;
    int fds[VHOST_USER_MAX_FDS]; /* owned; -1 once taken */
    unsigned n_fds;              /* that came */
    bool fds_lost;               /* more than fit, or EMFILE */
} VhostUserMessage;

/* A message on its way in: kept until the rest of it arrives. */
typedef struct VhostUserReceiver {
    VhostUserMessage msg;
    size_t have; /* bytes of header and payload so far */
} VhostUserReceiver;

void vhost_user_receiver_init(VhostUserReceiver *rx);
/* Closes descriptors of a message that never became complete. */
void vhost_user_receiver_clear(VhostUserReceiver *rx);

/*
 * Reads on. Returns 1 with a whole message in @msg, which the caller clears;
 * 0 when there is no more for now; -1 at the end: the peer closed between
 * messages (no @error), or the stream cannot be made sense of any more
 * (@error says why). Never blocks. Context: any
 */
int vhost_user_receive(VhostUserReceiver *rx, int sock, VhostUserMessage *msg,
                       GError **error);

/*
 * Whether @msg is a known request of the right size, with the right number
 * of descriptors, an index below @num_queues where it has one, and payload
 * fields that agree with each other. Context: any
 */
bool vhost_user_message_check(const VhostUserMessage *msg,
                              unsigned num_queues, GError **error);

/* Transfers descriptor @i to the caller. */
int vhost_user_message_take_fd(VhostUserMessage *msg, unsigned i);
/* Closes what was not taken. */
void vhost_user_message_clear(VhostUserMessage *msg);

/* "SET_FEATURES", or "request 77"; static storage or @buf. */
#define VHOST_USER_NAME_BYTES 32
const char *vhost_user_request_name(uint32_t request,
                                    char buf[VHOST_USER_NAME_BYTES]);

/* The ring a message is about, or -1: that of a checked message. */
int vhost_user_message_index(const VhostUserMessage *msg);

/*
 * Sends @bytes of @payload as the reply to @request (@flags has
 * VHOST_USER_REPLY), or as a message of ours on the back-end channel. False
 * with @error when it cannot be sent whole at once; never blocks.
 */
bool vhost_user_send(int sock, uint32_t request, uint32_t flags,
                     const void *payload, uint32_t bytes, GError **error);
/* The same with a descriptor, which stays the caller's; -1: none. */
bool vhost_user_send_fd(int sock, uint32_t request, uint32_t flags,
                        const void *payload, uint32_t bytes, int fd,
                        GError **error);

#endif
