/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See fuzz-qcow2-model.h. */
#include "fuzz-qcow2-model.h"

#include "block/block-co.h"

#include <string.h>

void fuzz_model_clear(FuzzModel *model)
{
    g_clear_pointer(&model->bytes, g_byte_array_unref);
}

void fuzz_model_copy(FuzzModel *model, const FuzzModel *from)
{
    fuzz_model_clear(model);
    if (from->bytes) {
        model->bytes = g_byte_array_new();
    }
    if (from->bytes && from->bytes->len) {
        g_byte_array_append(model->bytes, from->bytes->data,
                            from->bytes->len);
    }
}

void coroutine_fn fuzz_model_load(FuzzModel *model, BlockDriverState *bs)
{
    fuzz_model_clear(model);
    if (bs->total_bytes > FUZZ_MODEL_MAX) {
        return;
    }
    model->bytes = g_byte_array_new();
    g_byte_array_set_size(model->bytes, bs->total_bytes);
    fuzz_model_adopt(model, bs, 0, bs->total_bytes);
}

void coroutine_fn fuzz_model_adopt(FuzzModel *model, BlockDriverState *bs,
                                   int64_t offset, int64_t bytes)
{
    if (model->bytes && bytes &&
        bdrv_co_pread(bs, offset, bytes, model->bytes->data + offset) < 0) {
        fuzz_model_clear(model);
    }
}

void fuzz_model_set(FuzzModel *model, int64_t offset, int64_t bytes,
                    uint8_t byte)
{
    if (model->bytes && bytes) {
        memset(model->bytes->data + offset, byte, bytes);
    }
}

void fuzz_model_resize(FuzzModel *model, int64_t bytes)
{
    int64_t before = model->bytes ? model->bytes->len : 0;

    if (bytes > FUZZ_MODEL_MAX) {
        fuzz_model_clear(model);
    }
    if (model->bytes) {
        g_byte_array_set_size(model->bytes, bytes);
    }
    if (bytes > before) {
        fuzz_model_set(model, before, bytes - before, 0);
    }
}

void coroutine_fn fuzz_model_compare(const FuzzModel *model,
                                     BlockDriverState *bs)
{
    g_autofree uint8_t *found = NULL;
    unsigned length;

    if (!model->bytes) {
        return;
    }
    length = model->bytes->len;
    g_assert_cmpint(bs->total_bytes, ==, length);
    if (length == 0) {
        return;
    }
    found = g_malloc(length);
    g_assert_cmpint(bdrv_co_pread(bs, 0, length, found), ==, 0);
    for (unsigned i = 0; i < length; i++) {
        if (found[i] != model->bytes->data[i]) {
            g_error("byte %u is %#x, not %#x", i, found[i],
                    model->bytes->data[i]);
        }
    }
}
