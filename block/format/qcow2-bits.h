/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bits in memory that were set, sparse: only their neighbourhood takes room.
 * In the order of qcow2's bitmaps: bit n is bit n % 8 of byte n / 8.
 */
#ifndef BLOCK_FORMAT_QCOW2_BITS_H
#define BLOCK_FORMAT_QCOW2_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Qcow2Bits Qcow2Bits;

/* *total, which several may share and which outlives them, is kept at the
 * bytes of memory that they take. Context: any, like all here */
Qcow2Bits *qcow2_bits_new(int64_t *total);
void qcow2_bits_free(Qcow2Bits *bits);

/* Sets [first, first + count). Takes memory the first time only. */
void qcow2_bits_set(Qcow2Bits *bits, uint64_t first, uint64_t count);
/* Forgets all from @first on. */
void qcow2_bits_truncate(Qcow2Bits *bits, uint64_t first);
bool qcow2_bits_empty(const Qcow2Bits *bits);

/* The first byte from @byte on near which bits may be set, or UINT64_MAX. */
uint64_t qcow2_bits_next(Qcow2Bits *bits, uint64_t byte);
/* Sets in @buf, which is bytes [byte, byte + length), what is set. Whether
 * that changed it. */
bool qcow2_bits_or_into(Qcow2Bits *bits, uint64_t byte, size_t length,
                        uint8_t *buf);

#endif
