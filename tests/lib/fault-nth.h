/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a test and tests/lib/fault-nth.c share: a file that both have mapped.
 * The test names it in VBLK_FAULT_NTH and the folder of its images, with a
 * slash at the end, in VBLK_FAULT_DIR. tests/tools/faults/nth.py has the same
 * layout.
 */
#ifndef TESTS_LIB_FAULT_NTH_H
#define TESTS_LIB_FAULT_NTH_H

#include <stdint.h>

#define FAULT_NTH_SHORT   0x10000 /* in place of an errno: half of a transfer */

/* Errors that a call can have, beside those that all can. */
#define FAULT_NTH_CAN_WAIT  0x1 /* EINTR */
#define FAULT_NTH_CAN_FILL  0x2 /* ENOSPC */
#define FAULT_NTH_CAN_SHORT 0x4

typedef struct FaultNth {
    uint32_t nth;      /* the call that fails, from 1; 0: none */
    uint32_t error;    /* errno, or FAULT_NTH_SHORT */
    uint32_t last;     /* ... and all up to this one */
    uint32_t calls;    /* written by the program: calls so far */
    uint32_t struck;   /* likewise: how many failed */
    char name[36];     /* likewise: the first of them */
    uint8_t can[4096]; /* likewise: of each call, FAULT_NTH_CAN_ bits */
} FaultNth;

#endif
