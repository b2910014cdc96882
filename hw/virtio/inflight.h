/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What survives a crash: which buffers of each ring the device holds, in
 * memory that the front end keeps and hands to the next process
 * (VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD). Private to hw/virtio.
 *
 * The layout of a queue's region is that of QEMU's vhost-user document, "In-
 * flight I/O tracking". Nobody but a back end reads it; it is checked as
 * anything that another process could have written.
 */
#ifndef INFLIGHT_H
#define INFLIGHT_H

#include "block/handover.h"

typedef struct Inflight Inflight;           /* of a device */
typedef struct InflightQueue InflightQueue; /* of one running ring */

/* --- The area. Context: main --- */

/* Bytes for @num_queues rings of at most @queue_size. */
uint64_t inflight_bytes(unsigned num_queues, unsigned queue_size);

/* A new one, all zeroes, in a memory file: *fd is the caller's to close. */
Inflight *inflight_new(unsigned num_queues, unsigned queue_size, int *fd,
                       GError **error);
/* One that was made before, by us or by the process before us. */
Inflight *inflight_map(int fd, uint64_t offset, uint64_t bytes,
                       unsigned num_queues, unsigned queue_size,
                       GError **error);
void inflight_free(Inflight *inflight); /* no queue of it is left */

/* The area itself goes on in the process that takes over. */
bool inflight_hand_over(const Inflight *inflight, Handover *handover,
                        const char *id, GError **error);
/* No area: true and *inflight is NULL. */
bool inflight_take_over(Handover *handover, const char *id,
                        Inflight **inflight, GError **error);

/* A word for the device to keep what its next process has to know. */
uint64_t *inflight_device_word(Inflight *inflight);

/* Ring @index was given back with nothing in flight: what the front end says
 * of its position counts again. */
void inflight_forget_ring(Inflight *inflight, unsigned index);

/* --- A ring. Context: main to make and free, else home of the queue --- */

InflightQueue *inflight_queue_new(Inflight *inflight, unsigned index,
                                  unsigned size, GError **error);
void inflight_queue_free(InflightQueue *queue);

/* Buffers that the process before us had taken and not given back, in the
 * order it took them: how many are left; the next one. */
unsigned inflight_queue_left(const InflightQueue *queue);
unsigned inflight_queue_next(InflightQueue *queue);

/*
 * Split. Puts right what the crash left half done; the ring's used index is
 * @used_idx. False: the region was not in use, or, with @error, makes no
 * sense.
 */
bool inflight_split_restore(InflightQueue *queue, uint16_t used_idx,
                            GError **error);
void inflight_split_begin(InflightQueue *queue, unsigned head);
/* Used, not yet published; then all of these were, up to @used_idx. */
void inflight_split_end(InflightQueue *queue, unsigned head);
void inflight_split_commit(InflightQueue *queue, uint16_t used_idx);

/* Packed. A position in the ring as the region has it. */
typedef struct InflightPosition {
    uint16_t idx;
    bool wrap;
} InflightPosition;

/* A descriptor of a chain, kept because the ring's slot is overwritten. */
typedef struct InflightDesc {
    uint64_t addr;
    uint32_t len;
    uint16_t id, flags;
} InflightDesc;

/*
 * *old gets the position the last batch began at, *next the one after it.
 * True when the two differ: the caller looks into the ring whether the batch
 * was published, and says so to inflight_packed_restore().
 */
bool inflight_packed_positions(const InflightQueue *queue,
                               InflightPosition *old, InflightPosition *next);
/* As inflight_split_restore(). *at is where the device goes on using, *slots
 * how many slots from there on are taken. */
bool inflight_packed_restore(InflightQueue *queue, bool published,
                             InflightPosition *at, unsigned *slots,
                             GError **error);
/* The region starts at @at, with nothing in flight. */
void inflight_packed_init(InflightQueue *queue, InflightPosition at);

/*
 * A chain is collected: each descriptor in turn; with the last one it becomes
 * an entry, whose number is returned. One that is not finished is forgotten
 * by the next inflight_packed_begin(). False: somebody wrote to the region.
 */
void inflight_packed_begin(InflightQueue *queue);
bool inflight_packed_add(InflightQueue *queue, const InflightDesc *desc);
unsigned inflight_packed_taken(InflightQueue *queue);

/* The descriptors of @entry, one that was left: how many they are, as was
 * checked; *cursor starts with @entry and moves on. False: somebody wrote to
 * the region. */
unsigned inflight_packed_count(const InflightQueue *queue, unsigned entry);
bool inflight_packed_desc(const InflightQueue *queue, unsigned *cursor,
                          InflightDesc *desc);

/* Used; then, around the store that publishes them, all of these. */
void inflight_packed_end(InflightQueue *queue, unsigned entry);
void inflight_packed_prepare(InflightQueue *queue, InflightPosition next);
void inflight_packed_commit(InflightQueue *queue);

#endif
