/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See ring-model.h. Numbers in comments are sections of virtio 1.2. */
#include "ring-model.h"

/* 2.7.5 and 2.8.13 */
#define F_NEXT     1
#define F_WRITE    2
#define F_INDIRECT 4
#define F_AVAIL    (1 << 7)
#define F_USED     (1 << 15)

/* 2.8.14 */
#define EVENT_ENABLE  0
#define EVENT_DISABLE 1
#define EVENT_DESC    2

#define DESC_BYTES 16

typedef struct Desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next; /* split */
    uint16_t id;   /* packed */
} Desc;

static bool is_inside(const RingModel *model, uint64_t addr, uint64_t len)
{
    const ModelMemory *mem = &model->memory;

    return addr >= mem->guest_addr && len <= mem->size &&
           addr - mem->guest_addr <= mem->size - len;
}

static uint64_t load(const RingModel *model, uint64_t addr, unsigned bytes)
{
    uint64_t value = 0;

    g_assert(is_inside(model, addr, bytes));
    for (unsigned i = bytes; i > 0; i--) {
        value = value << 8 |
                model->memory.bytes[addr - model->memory.guest_addr + i - 1];
    }
    return value;
}

static Desc load_desc(const RingModel *model, uint64_t table, unsigned i)
{
    uint64_t at = table + (uint64_t)i * DESC_BYTES;
    Desc desc = { .addr = load(model, at, 8), .len = load(model, at + 8, 4) };

    if (model->packed) {
        desc.id = load(model, at + 12, 2);
        desc.flags = load(model, at + 14, 2);
    } else {
        desc.flags = load(model, at + 12, 2);
        desc.next = load(model, at + 14, 2);
    }
    return desc;
}

/* --- A chain --- */

static void add_piece(ModelPiece *pieces, unsigned *n, const Desc *desc)
{
    if (*n > 0 &&
        pieces[*n - 1].addr + pieces[*n - 1].len == desc->addr) {
        pieces[*n - 1].len += desc->len;
        return;
    }
    g_assert(*n < MODEL_MAX_PIECES);
    pieces[(*n)++] = (ModelPiece){ desc->addr, desc->len };
}

/* 2.7.4.2: readable ones come first. Empty ones hold nothing. */
static bool add(const RingModel *model, ModelChain *chain, bool *writable,
                const Desc *desc)
{
    bool is_writable = desc->flags & F_WRITE;

    if (*writable && !is_writable) {
        return false;
    }
    *writable = is_writable;
    if (desc->len == 0) {
        return true;
    }
    if (!is_inside(model, desc->addr, desc->len)) {
        return false;
    }
    if (is_writable) {
        add_piece(chain->in, &chain->n_in, desc);
    } else {
        add_piece(chain->out, &chain->n_out, desc);
    }
    return true;
}

/* 2.7.5.3.1, 2.8.5: a table of whole descriptors, without a table in it. */
static bool table_is_good(const RingModel *model, const Desc *desc)
{
    return model->indirect && desc->len > 0 && desc->len % DESC_BYTES == 0 &&
           desc->len / DESC_BYTES <= MODEL_TABLE_MAX &&
           is_inside(model, desc->addr, desc->len);
}

/* Follows "next" through a table of @n; @indirect gets the one that ends the
 * chain in the ring, NULL within a table. */
static bool follow(const RingModel *model, ModelChain *chain, bool *writable,
                   uint64_t table, unsigned n, unsigned i, Desc *indirect)
{
    for (unsigned seen = 0; seen < n; seen++) {
        Desc desc;

        if (i >= n) {
            return false;
        }
        desc = load_desc(model, table, i);
        if (desc.flags & F_INDIRECT) {
            if (!indirect || (desc.flags & F_NEXT)) {
                return false;
            }
            *indirect = desc;
            return true;
        }
        if (!add(model, chain, writable, &desc)) {
            return false;
        }
        if (!(desc.flags & F_NEXT)) {
            return true;
        }
        i = desc.next;
    }
    return false; /* 2.7.5.1: no loops */
}

static bool split_chain(const RingModel *model, ModelChain *chain,
                        unsigned head)
{
    Desc indirect = { 0 };
    bool writable = false;

    if (!follow(model, chain, &writable, model->desc, model->size, head,
                &indirect)) {
        return false;
    }
    if (!(indirect.flags & F_INDIRECT)) {
        return true;
    }
    return table_is_good(model, &indirect) &&
           follow(model, chain, &writable, indirect.addr,
                  indirect.len / DESC_BYTES, 0, NULL);
}

/* 2.8.7: all of a table's descriptors, in order. */
static bool packed_table(const RingModel *model, ModelChain *chain,
                         const Desc *indirect)
{
    bool writable = false;

    if (!table_is_good(model, indirect)) {
        return false;
    }
    for (unsigned i = 0; i < indirect->len / DESC_BYTES; i++) {
        Desc desc = load_desc(model, indirect->addr, i);

        if (!add(model, chain, &writable, &desc)) {
            return false;
        }
    }
    return true;
}

/* 2.8.6: slots in a row; the id is that of the last. */
static bool packed_chain(const RingModel *model, ModelChain *chain)
{
    unsigned i = model->next_avail;
    bool writable = false;

    while (chain->slots < model->size - model->slots_held) {
        Desc desc = load_desc(model, model->desc, i);

        chain->slots++;
        chain->id = desc.id;
        if (desc.flags & F_INDIRECT) {
            return chain->slots == 1 && !(desc.flags & F_NEXT) &&
                   packed_table(model, chain, &desc);
        }
        if (!add(model, chain, &writable, &desc)) {
            return false;
        }
        if (!(desc.flags & F_NEXT)) {
            return true;
        }
        i = (i + 1) % model->size;
    }
    return false;
}

/* --- The rings --- */

static uint16_t split_avail_idx(const RingModel *model)
{
    return load(model, model->driver + 2, 2);
}

static ModelResult broken(RingModel *model)
{
    model->broken = true;
    return MODEL_BROKEN;
}

static ModelResult split_pop(RingModel *model, ModelChain *chain)
{
    unsigned head;

    if (model->next_avail == model->known_avail) {
        uint16_t idx = split_avail_idx(model);

        if (idx == model->next_avail) {
            return MODEL_EMPTY;
        }
        if ((uint16_t)(idx - model->next_avail) > model->size) {
            return broken(model);
        }
        model->known_avail = idx;
    }
    head = load(model, model->driver + 4 +
                           2 * (model->next_avail % model->size), 2);
    if (head >= model->size || model->held[head] ||
        !split_chain(model, chain, head)) {
        return broken(model);
    }
    model->next_avail++;
    chain->id = head;
    chain->slots = 1;
    return MODEL_CHAIN;
}

/* 2.8.1 */
static bool packed_is_available(const RingModel *model)
{
    uint16_t flags = load_desc(model, model->desc, model->next_avail).flags;

    return !!(flags & F_AVAIL) == model->avail_wrap &&
           !!(flags & F_USED) != model->avail_wrap;
}

static ModelResult packed_pop(RingModel *model, ModelChain *chain)
{
    unsigned next;

    if (!packed_is_available(model)) {
        return MODEL_EMPTY;
    }
    if (!packed_chain(model, chain) || chain->id >= model->size ||
        model->held[chain->id]) {
        return broken(model);
    }
    next = model->next_avail + chain->slots;
    if (next >= model->size) {
        next -= model->size;
        model->avail_wrap = !model->avail_wrap;
    }
    model->next_avail = next;
    model->slots_held += chain->slots;
    return MODEL_CHAIN;
}

ModelResult ring_model_pop(RingModel *model, ModelChain *chain)
{
    ModelResult result;

    chain->n_out = chain->n_in = chain->slots = 0;
    if (model->broken) {
        return MODEL_BROKEN;
    }
    result = model->packed ? packed_pop(model, chain)
                           : split_pop(model, chain);
    if (result == MODEL_CHAIN) {
        model->held[chain->id] = true;
    }
    return result;
}

bool ring_model_has_work(const RingModel *model)
{
    if (model->broken) {
        return false;
    }
    if (model->packed) {
        return packed_is_available(model);
    }
    return model->next_avail != model->known_avail ||
           split_avail_idx(model) != model->next_avail;
}

void ring_model_push(RingModel *model, const ModelChain *chain)
{
    model->held[chain->id] = false;
    if (!model->packed) {
        model->next_used++;
        return;
    }
    model->slots_held -= chain->slots;
    model->next_used += chain->slots;
    if (model->next_used >= model->size) {
        model->next_used -= model->size;
        model->used_wrap = !model->used_wrap;
    }
}

/* 2.7.8, 2.8.8 */
bool ring_model_was_used(const RingModel *model, uint16_t position, bool wrap,
                         unsigned id, uint32_t written)
{
    uint64_t at;
    uint16_t flags;

    if (!model->packed) {
        at = model->device + 4 + 8 * (position % model->size);
        return load(model, at, 4) == id && load(model, at + 4, 4) == written;
    }
    at = model->desc + (uint64_t)position * DESC_BYTES;
    flags = load(model, at + 14, 2);
    return load(model, at + 12, 2) == id && load(model, at + 8, 4) == written &&
           !!(flags & F_AVAIL) == wrap && !!(flags & F_USED) == wrap &&
           !!(flags & F_WRITE) == (written > 0);
}

/* 2.7.7, 2.8.10: was the event passed? */
static bool packed_passed(const RingModel *model, uint16_t event, uint16_t old,
                          bool old_wrap)
{
    unsigned at = event & 0x7fff;
    bool wrap = event >> 15;

    /* one slot after the other, as the driver sees them used */
    while (old != model->next_used || old_wrap != model->used_wrap) {
        if (old == at && old_wrap == wrap) {
            return true;
        }
        if (++old == model->size) {
            old = 0;
            old_wrap = !old_wrap;
        }
    }
    return false;
}

bool ring_model_must_notify(const RingModel *model, uint16_t old,
                            bool old_wrap)
{
    if (!model->packed) {
        uint64_t used_event = model->driver + 4 + 2 * model->size;

        if (!model->event_idx) {
            return !(load(model, model->driver, 2) & 1);
        }
        for (; old != model->next_used; old++) {
            if (old == load(model, used_event, 2)) {
                return true;
            }
        }
        return false;
    }
    switch (load(model, model->driver + 2, 2) & 3) {
    case EVENT_ENABLE:
        return true;
    case EVENT_DESC:
        return model->event_idx &&
               packed_passed(model, load(model, model->driver, 2), old,
                             old_wrap);
    default:
        return false; /* EVENT_DISABLE, and what is reserved */
    }
}
