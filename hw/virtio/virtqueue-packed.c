/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The packed ring (virtio 1.2, 2.8): one ring of descriptors that both sides
 * write, told apart by two flag bits that change meaning every lap.
 *
 * How it works: chains are popped at last_avail and given back at used_idx,
 * in whatever order they complete, each skipping as many slots as it took:
 *
 *     slot     0    1    2    3    4    5      A takes 0-1, B takes 2, C 3-5
 *     popped   A    A    B    C    C    C
 *     B done   B    -                          written at 0, next at 1
 *     A done        A    -    -                written at 1, next at 3
 *
 * The driver keeps each buffer id's length and skips alike. Slots between
 * used_idx and last_avail are ours; in_use_slots counts them, so that a
 * driver which marks slots it does not own cannot make us run in circles.
 *
 * A batch is published by the flags of its first descriptor, stored last: the
 * driver looks at that slot only and finds the others complete.
 *
 * Pairing of the atomics: a descriptor's flags (acquire here, release there,
 * and the other way round); flags against the event words as with the split
 * ring's index, seq_cst on both sides.
 */
#include "virtqueue-internal.h"

#include <gio/gio.h>

#define DESC_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define DESC_USED  (1u << VRING_PACKED_DESC_F_USED)
#define WRAP_BIT   (1u << VRING_PACKED_EVENT_F_WRAP_CTR)

static struct vring_packed_desc *slot(const VirtQueue *vq, unsigned pos)
{
    return (struct vring_packed_desc *)vq->desc + pos;
}

static bool is_available(const VirtQueue *vq, uint16_t flags)
{
    bool avail = flags & DESC_AVAIL, used = flags & DESC_USED;

    return avail == vq->avail_wrap && used != vq->avail_wrap;
}

/* The next position to pop as an event word has it. */
static uint16_t next_off_wrap(const VirtQueue *vq)
{
    return vq->last_avail | (vq->avail_wrap ? WRAP_BIT : 0);
}

/* Slots from the used to the avail position, or out of range. */
static unsigned slots_between(const VirtQueue *vq)
{
    return vq->last_avail - vq->used_idx +
           (vq->avail_wrap != vq->used_wrap ? vq->size : 0);
}

bool packed_restore(VirtQueue *vq, uint32_t base, GError **error)
{
    vq->last_avail = base & (WRAP_BIT - 1);
    vq->avail_wrap = base & WRAP_BIT;
    vq->used_idx = base >> 16 & (WRAP_BIT - 1);
    vq->used_wrap = base >> 16 & WRAP_BIT;
    if (!(base >> 16) && vq->avail_wrap) {
        /* A front end that knows of one position only; nothing in flight. */
        vq->used_idx = vq->last_avail;
        vq->used_wrap = vq->avail_wrap;
    }
    if (vq->last_avail >= vq->size || vq->used_idx >= vq->size ||
        slots_between(vq) > vq->size) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "%s: base 0x%x is no position in a ring of %u", vq->name,
                    base, vq->size);
        return false;
    }
    vq->in_use_slots = slots_between(vq);
    return true;
}

uint32_t packed_base(const VirtQueue *vq)
{
    uint32_t used = vq->used_idx | (vq->used_wrap ? WRAP_BIT : 0);

    return next_off_wrap(vq) | used << 16;
}

bool packed_has_work(const VirtQueue *vq)
{
    return is_available(vq, __atomic_load_n(&slot(vq, vq->last_avail)->flags,
                                            __ATOMIC_RELAXED));
}

/* Where a chain that is being collected stands. */
typedef struct Cursor {
    uint16_t pos;
    bool wrap;
    uint16_t slots;
} Cursor;

static void cursor_step(const VirtQueue *vq, Cursor *at)
{
    at->slots++;
    if (++at->pos == vq->size) {
        at->pos = 0;
        at->wrap = !at->wrap;
    }
}

/* A table's entries follow each other; WRITE is the only flag (2.8.7). */
static bool collect_table(VirtQueue *vq, Chain *chain, const RingDesc *desc)
{
    unsigned n;
    const struct vring_packed_desc *table =
        virtqueue_indirect_table(vq, desc, &n);

    if (!table) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        RingDesc entry = ring_desc_read(&table[i]);

        if (!chain_add(vq, chain, &entry,
                       entry.fourth & VRING_DESC_F_WRITE)) {
            return false;
        }
    }
    return true;
}

/*
 * Collects the chain at @at, whose first flags, @flags, were loaded already.
 * The buffer id is the last descriptor's.
 */
static bool collect(VirtQueue *vq, Chain *chain, Cursor *at, uint16_t flags,
                    uint16_t *id)
{
    unsigned ours = vq->size - vq->in_use_slots;

    for (;;) {
        RingDesc desc = ring_desc_read(slot(vq, at->pos));

        if (at->slots == 0) {
            desc.fourth = flags;
        }
        if (G_UNLIKELY(at->slots == ours)) {
            virtqueue_set_broken(vq, "chains take more than the %u slots of "
                                 "the ring", vq->size);
            return false;
        }
        cursor_step(vq, at);
        *id = desc.third;
        if (desc.fourth & VRING_DESC_F_INDIRECT) {
            if (at->slots > 1 || desc.fourth & VRING_DESC_F_NEXT) {
                virtqueue_set_broken(vq, "indirect descriptor within a "
                                     "chain");
                return false;
            }
            return collect_table(vq, chain, &desc);
        }
        if (!chain_add(vq, chain, &desc,
                       desc.fourth & VRING_DESC_F_WRITE)) {
            return false;
        }
        if (!(desc.fourth & VRING_DESC_F_NEXT)) {
            return true;
        }
    }
}

/* The flags of the next descriptor to pop, or false when it is not ours. */
static bool next_available(VirtQueue *vq, uint16_t *flags)
{
    *flags = __atomic_load_n(&slot(vq, vq->last_avail)->flags,
                             __ATOMIC_ACQUIRE);
    if (is_available(vq, *flags)) {
        return true;
    }
    /* As in the split ring: with kicks on, move the event along. */
    if (vq->kick == KICK_ENABLED && vq->event_idx &&
        vq->avail_event != next_off_wrap(vq) && packed_enable_kick(vq)) {
        *flags = __atomic_load_n(&slot(vq, vq->last_avail)->flags,
                                 __ATOMIC_ACQUIRE);
        return true;
    }
    return false;
}

int packed_pop(VirtQueue *vq, VirtQueueElement *elem)
{
    Chain chain = { .elem = elem };
    Cursor at = { vq->last_avail, vq->avail_wrap, 0 };
    uint16_t flags, id;

    if (!next_available(vq, &flags)) {
        return 0;
    }
    if (G_UNLIKELY(guest_memory_is_broken(vq->memory))) {
        virtqueue_set_broken(vq, "guest memory was taken away");
        return -1;
    }
    if (!collect(vq, &chain, &at, flags, &id) ||
        !virtqueue_chain_finish(vq, &chain)) {
        return -1;
    }
    if (G_UNLIKELY(id >= vq->size)) {
        virtqueue_set_broken(vq, "buffer id %u in a ring of %u", id, vq->size);
        return -1;
    }
    if (!in_flight_begin(vq, id)) {
        return -1;
    }
    elem->index = id;
    elem->n_ring_descs = at.slots;
    vq->last_avail = at.pos;
    vq->avail_wrap = at.wrap;
    vq->in_use_slots += at.slots;
    vq->in_use++;
    return 1;
}

/* Descriptors the device writes are no part of the area VHOST_VRING_F_LOG
 * gives an address for: their guest address comes from the memory table. */
static void log_desc(VirtQueue *vq, unsigned pos)
{
    uint64_t addr;

    if (G_UNLIKELY(vq->log && vq->log_used_ring) &&
        guest_memory_to_guest(vq->memory, slot(vq, pos), &addr)) {
        dirty_log_mark(vq->log, addr, sizeof(struct vring_packed_desc));
    }
}

void packed_push(VirtQueue *vq, const VirtQueueElement *elem, uint32_t written)
{
    struct vring_packed_desc *desc = slot(vq, vq->used_idx);
    uint16_t flags = (vq->used_wrap ? DESC_AVAIL | DESC_USED : 0) |
                     (written ? VRING_DESC_F_WRITE : 0);

    __atomic_store_n(&desc->id, elem->index, __ATOMIC_RELAXED);
    __atomic_store_n(&desc->len, written, __ATOMIC_RELAXED);
    if (vq->unpublished) {
        __atomic_store_n(&desc->flags, flags, __ATOMIC_RELEASE);
        log_desc(vq, vq->used_idx);
    } else {
        vq->first_pos = vq->used_idx;
        vq->first_flags = flags;
    }
    in_flight_end(vq, elem->index);
    vq->in_use_slots -= elem->n_ring_descs;
    vq->unpublished += elem->n_ring_descs;
    vq->used_idx += elem->n_ring_descs;
    if (vq->used_idx >= vq->size) {
        vq->used_idx -= vq->size;
        vq->used_wrap = !vq->used_wrap;
    }
}

bool packed_publish(VirtQueue *vq)
{
    uint16_t new = vq->used_idx, old = new - vq->unpublished;
    bool first = !vq->signalled;
    uint32_t event;
    uint16_t event_flags, off;

    __atomic_store_n(&slot(vq, vq->first_pos)->flags, vq->first_flags,
                     __ATOMIC_SEQ_CST);
    log_desc(vq, vq->first_pos);
    vq->unpublished = 0;
    vq->signalled = true;

    /* both halves in one load: they belong together */
    event = __atomic_load_n((uint32_t *)vq->avail, __ATOMIC_SEQ_CST);
    event_flags = event >> 16 & 3;
    if (event_flags != VRING_PACKED_EVENT_FLAG_DESC || !vq->event_idx) {
        return event_flags != VRING_PACKED_EVENT_FLAG_DISABLE;
    }
    off = event & (WRAP_BIT - 1);
    if (!!(event & WRAP_BIT) != vq->used_wrap) {
        off -= vq->size; /* in the lap before */
    }
    return first || vring_need_event(off, new, old);
}

static void set_device_event(VirtQueue *vq, uint32_t flags)
{
    vq->avail_event = next_off_wrap(vq);
    __atomic_store_n((uint32_t *)vq->used, flags << 16 | vq->avail_event,
                     __ATOMIC_SEQ_CST);
    log_used(vq, 0, sizeof(uint32_t));
}

void packed_disable_kick(VirtQueue *vq)
{
    set_device_event(vq, VRING_PACKED_EVENT_FLAG_DISABLE);
}

bool packed_enable_kick(VirtQueue *vq)
{
    set_device_event(vq, vq->event_idx ? VRING_PACKED_EVENT_FLAG_DESC
                                       : VRING_PACKED_EVENT_FLAG_ENABLE);
    return is_available(vq, __atomic_load_n(&slot(vq, vq->last_avail)->flags,
                                            __ATOMIC_SEQ_CST));
}
