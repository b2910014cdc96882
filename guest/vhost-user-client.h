/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The front end's end of a vhost-user socket: messages out, replies in.
 * Nothing here checks what a test may want to send wrong.
 *
 * vu_open(), vu_send() and vu_read() report what went wrong; the others are
 * for tests, wait for their answers, and abort when there is none.
 */
#ifndef GUEST_VHOST_USER_CLIENT_H
#define GUEST_VHOST_USER_CLIENT_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Names and numbers of QEMU's docs/interop/vhost-user.rst. */
enum {
    VU_GET_FEATURES = 1,
    VU_SET_FEATURES = 2,
    VU_SET_OWNER = 3,
    VU_RESET_OWNER = 4,
    VU_SET_MEM_TABLE = 5,
    VU_SET_LOG_BASE = 6,
    VU_SET_LOG_FD = 7,
    VU_SET_VRING_NUM = 8,
    VU_SET_VRING_ADDR = 9,
    VU_SET_VRING_BASE = 10,
    VU_GET_VRING_BASE = 11,
    VU_SET_VRING_KICK = 12,
    VU_SET_VRING_CALL = 13,
    VU_SET_VRING_ERR = 14,
    VU_GET_PROTOCOL_FEATURES = 15,
    VU_SET_PROTOCOL_FEATURES = 16,
    VU_GET_QUEUE_NUM = 17,
    VU_SET_VRING_ENABLE = 18,
    VU_GET_CONFIG = 24,
    VU_SET_CONFIG = 25,
    VU_GET_INFLIGHT_FD = 31,
    VU_SET_INFLIGHT_FD = 32,
    VU_RESET_DEVICE = 34,
    VU_GET_MAX_MEM_SLOTS = 36,
    VU_ADD_MEM_REG = 37,
    VU_REM_MEM_REG = 38,
    VU_SET_STATUS = 39,
    VU_GET_STATUS = 40,
};

#define VU_F_PROTOCOL_FEATURES 30 /* a virtio feature bit */
#define VU_F_LOG_ALL           26

#define VU_PROTOCOL_MQ                  (1u << 0)
#define VU_PROTOCOL_LOG_SHMFD           (1u << 1)
#define VU_PROTOCOL_REPLY_ACK           (1u << 3)
#define VU_PROTOCOL_CONFIG              (1u << 9)
#define VU_PROTOCOL_INFLIGHT_SHMFD      (1u << 12)
#define VU_PROTOCOL_RESET_DEVICE        (1u << 13)
#define VU_PROTOCOL_CONFIGURE_MEM_SLOTS (1u << 15)
#define VU_PROTOCOL_STATUS              (1u << 16)

#define VU_VERSION    0x1u
#define VU_REPLY      0x4u
#define VU_NEED_REPLY 0x8u

#define VU_VRING_LOG  0x1u   /* mark what is written to the used ring */
#define VU_VRING_NOFD 0x100u /* no descriptor comes with the message */

#define VU_MAX_FDS     8
#define VU_MAX_PAYLOAD 1024

typedef struct VuHeader {
    uint32_t request;
    uint32_t flags;
    uint32_t size;   /* of what follows */
} VuHeader;

typedef struct VuMessage {
    VuHeader header;
    union {
        uint64_t u64;
        struct {
            uint32_t index;
            uint32_t num;
        } state;
        struct {
            uint32_t index;
            uint32_t flags;
            uint64_t desc, used, avail; /* user addresses */
            uint64_t log;
        } addr;
        struct {
            uint32_t n_regions;
            uint32_t padding;
            struct {
                uint64_t guest_addr, size, user_addr, mmap_offset;
            } regions[8];
        } memory;
        struct {
            uint64_t padding;
            uint64_t guest_addr, size, user_addr, mmap_offset;
        } region;
        struct {
            uint64_t mmap_size, mmap_offset;
            uint16_t num_queues, queue_size;
            uint32_t padding;
        } inflight;
        struct {
            uint32_t offset, size, flags;
            uint8_t bytes[256];
        } config;
        uint8_t raw[VU_MAX_PAYLOAD];
    } payload;
} __attribute__((packed)) VuMessage;

/* Waits until somebody listens on @path. Returns the socket or -errno: that
 * of the last attempt when @timeout_ms are over. */
int vu_open(const char *path, int timeout_ms);

/* The same; aborts after half a minute. */
int vu_connect(const char *path);

/* Sends header.size bytes of payload. False: the other side is gone. */
bool vu_send(int sock, const VuMessage *msg, const int *fds, unsigned n_fds);

/* 0, or -ETIMEDOUT (@timeout_ms went by without a byte), -EPIPE (the other
 * side closed the connection), -EPROTO (not a reply, or too long). */
int vu_read(int sock, VuMessage *msg, int timeout_ms);

/* The same; a descriptor that comes with it is put to *fd, -1: none. */
int vu_read_fd(int sock, VuMessage *msg, int timeout_ms, int *fd);

/* The same. False: the other side closed the connection. */
bool vu_recv(int sock, VuMessage *msg);

/* Sends @request and waits for its reply; aborts when there is none. */
void vu_call(int sock, uint32_t request, VuMessage *msg, uint32_t size);

/* Messages of one number: what is sent back, or nothing. */
uint64_t vu_get_u64(int sock, uint32_t request);
void vu_set_u64(int sock, uint32_t request, uint64_t value);
void vu_set_state(int sock, uint32_t request, uint32_t index, uint32_t num);
uint32_t vu_get_base(int sock, uint32_t index);
/* @fd < 0: none goes along. */
void vu_set_fd(int sock, uint32_t request, uint32_t index, int fd);

#endif
