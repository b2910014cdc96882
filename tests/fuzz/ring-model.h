/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a device has to make of a virtqueue, written from virtio 1.2 (2.7 split,
 * 2.8 packed) without a look at hw/virtio: slow, plain, and in terms of guest
 * addresses. fuzz-ring.c compares the two.
 *
 * The specification leaves to a device what it does about a driver that
 * breaks the rules; here, as in hw/virtio, the queue then rests until reset.
 */
#ifndef TESTS_FUZZ_RING_MODEL_H
#define TESTS_FUZZ_RING_MODEL_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define MODEL_MAX_SIZE   64
#define MODEL_MAX_PIECES 2048
#define MODEL_TABLE_MAX  1024 /* entries of an indirect table: ours to choose */

typedef struct ModelMemory {
    const uint8_t *bytes;
    uint64_t guest_addr;
    uint64_t size;
} ModelMemory;

/* Neighbours in guest memory are one piece. */
typedef struct ModelPiece {
    uint64_t addr;
    uint64_t len;
} ModelPiece;

typedef struct ModelChain {
    unsigned id;    /* head, or buffer id */
    unsigned slots; /* of the ring */
    ModelPiece out[MODEL_MAX_PIECES], in[MODEL_MAX_PIECES];
    unsigned n_out, n_in;
} ModelChain;

typedef struct RingModel {
    ModelMemory memory;
    bool packed, indirect, event_idx;
    unsigned size;
    uint64_t desc, driver, device; /* guest addresses of the three parts */
    /* where the device is */
    uint16_t next_avail, known_avail, next_used;
    bool avail_wrap, used_wrap;
    unsigned slots_held;
    bool held[MODEL_MAX_SIZE];
    bool broken;
} RingModel;

typedef enum ModelResult { MODEL_EMPTY, MODEL_CHAIN, MODEL_BROKEN } ModelResult;

/* Looks at memory as it is now, and moves on. */
ModelResult ring_model_pop(RingModel *model, ModelChain *chain);

/* Whether there is something to pop, as memory is now. */
bool ring_model_has_work(const RingModel *model);

/* Gives a chain back. */
void ring_model_push(RingModel *model, const ModelChain *chain);

/* What the used entry of the last push has to be, in memory as it is now;
 * @position is model->next_used (and used_wrap) before that push. */
bool ring_model_was_used(const RingModel *model, uint16_t position, bool wrap,
                         unsigned id, uint32_t written);

/* Whether the driver has to be notified of used entries from @old (exclusive
 * of what was published before) to model->next_used. */
bool ring_model_must_notify(const RingModel *model, uint16_t old,
                            bool old_wrap);

#endif
