/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The test thread's context. */
#include "tests/lib/ctx.h"

static AioContext *the_ctx;

AioContext *test_ctx(void)
{
    if (!the_ctx) {
        the_ctx = aio_context_new(NULL, NULL);
        g_assert_nonnull(the_ctx);
        aio_context_adopt(the_ctx);
    }
    return the_ctx;
}

void test_ctx_end(void)
{
    g_clear_pointer(&the_ctx, aio_context_free);
}
