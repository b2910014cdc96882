/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System calls that a confined process must not make.
 */
#ifndef TESTS_UNIT_SANDBOX_ATTEMPTS_H
#define TESTS_UNIT_SANDBOX_ATTEMPTS_H

#include <stdbool.h>

/* 0, or the errno it came to. */
typedef int Attempt(void);

typedef struct SandboxAttempt {
    const char *name;   /* of the system call */
    Attempt *fn;
    int err;            /* how it is refused; 0: it is the end */
    bool for_debugging; /* a sanitizer needs it itself */
} SandboxAttempt;

/* The last one has no name. */
extern const SandboxAttempt sandbox_attempts[];

/* That of the call @name. */
const SandboxAttempt *sandbox_attempt(const char *name);

#endif
