/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A context whose home is the thread that runs the tests. */
#ifndef TESTS_LIB_CTX_H
#define TESTS_LIB_CTX_H

#include "block/aio.h"

/* Made on first use. */
AioContext *test_ctx(void);

/* Frees it, if it was made: before the program ends. */
void test_ctx_end(void);

#endif
