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

/* The driver has what was written to the slot at @at: it is not marked as
 * available any more. */
static bool was_published(const VirtQueue *vq, InflightPosition at)
{
    uint16_t flags;

    if (at.idx >= vq->size) {
        return false;
    }
    flags = __atomic_load_n(&slot(vq, at.idx)->flags, __ATOMIC_RELAXED);
    return !!(flags & DESC_AVAIL) != at.wrap ||
           !!(flags & DESC_USED) == at.wrap;
}

/*
 * A batch that was not published may have left used flags behind its first
 * slot. The driver must not find them when that slot is used for real.
 */
static void make_available(VirtQueue *vq, InflightPosition at, unsigned slots)
{
    for (; slots > 0; slots--) {
        uint16_t *flags = &slot(vq, at.idx)->flags;
        uint16_t value = __atomic_load_n(flags, __ATOMIC_RELAXED) &
                         ~(DESC_AVAIL | DESC_USED);

        __atomic_store_n(flags, value | (at.wrap ? DESC_AVAIL : DESC_USED),
                         __ATOMIC_RELAXED);
        if (++at.idx == vq->size) {
            at.idx = 0;
            at.wrap = !at.wrap;
        }
    }
}

/* As it was when the process before us ended. False: nothing is known. */
static bool restore_inflight(VirtQueue *vq, GError **error)
{
    InflightPosition old, next, at;
    bool published = inflight_packed_positions(vq->inflight, &old, &next) &&
                     was_published(vq, old);
    unsigned slots;

    if (!inflight_packed_restore(vq->inflight, published, &at, &slots,
                                 error)) {
        return false;
    }
    make_available(vq, at, slots);
    vq->used_idx = vq->last_avail = at.idx;
    vq->used_wrap = vq->avail_wrap = at.wrap;
    vq->in_use_slots = slots;
    vq->last_avail += slots;
    if (vq->last_avail >= vq->size) {
        vq->last_avail -= vq->size;
        vq->avail_wrap = !vq->avail_wrap;
    }
    return true;
}

static bool restore_base(VirtQueue *vq, uint32_t base, GError **error)
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

bool packed_restore(VirtQueue *vq, uint32_t base, GError **error)
{
    GError *err = NULL;

    if (vq->inflight && restore_inflight(vq, &err)) {
        return true;
    }
    if (err) {
        g_propagate_prefixed_error(error, err, "%s: ", vq->name);
        return false;
    }
    if (!restore_base(vq, base, error)) {
        return false;
    }
    if (vq->inflight) {
        inflight_packed_init(vq->inflight, (InflightPosition){
                                 vq->used_idx, vq->used_wrap });
    }
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

/* Adds one slot. Returns 1 when the chain goes on, 0 when it ends, -1 when
 * the queue is broken now. */
static int collect_one(VirtQueue *vq, Chain *chain, const RingDesc *desc,
                       bool first)
{
    if (desc->fourth & VRING_DESC_F_INDIRECT) {
        if (!first || desc->fourth & VRING_DESC_F_NEXT) {
            virtqueue_set_broken(vq, "indirect descriptor within a chain");
            return -1;
        }
        return collect_table(vq, chain, desc) ? 0 : -1;
    }
    if (!chain_add(vq, chain, desc, desc->fourth & VRING_DESC_F_WRITE)) {
        return -1;
    }
    return desc->fourth & VRING_DESC_F_NEXT ? 1 : 0;
}

static bool record(VirtQueue *vq, const RingDesc *desc)
{
    InflightDesc kept = { desc->addr, desc->len, desc->third, desc->fourth };

    if (!inflight_packed_add(vq->inflight, &kept)) {
        virtqueue_set_broken(vq, "the in-flight region was overwritten");
        return false;
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
    /* a slot that was used is the driver's again once it is published */
    unsigned ours = vq->size - vq->in_use_slots - vq->unpublished;

    if (vq->inflight) {
        inflight_packed_begin(vq->inflight);
    }
    for (;;) {
        RingDesc desc = ring_desc_read(slot(vq, at->pos));
        int ret;

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
        if (vq->inflight && !record(vq, &desc)) {
            return false;
        }
        ret = collect_one(vq, chain, &desc, at->slots == 1);
        if (ret <= 0) {
            return ret == 0;
        }
    }
}

/* The same from what was recorded of it. */
static bool recollect(VirtQueue *vq, Chain *chain, unsigned entry,
                      uint16_t *id)
{
    unsigned n = inflight_packed_count(vq->inflight, entry);

    for (unsigned i = 0; i < n; i++) {
        InflightDesc kept;
        RingDesc desc;
        int ret;

        if (!inflight_packed_desc(vq->inflight, &entry, &kept)) {
            break;
        }
        desc = (RingDesc){ kept.addr, kept.len, kept.id, kept.flags };
        *id = desc.third;
        ret = collect_one(vq, chain, &desc, i == 0);
        if (ret <= 0) {
            return ret == 0;
        }
    }
    virtqueue_set_broken(vq, "a recorded chain has no end");
    return false;
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

/* The collected chain becomes an element; false: the queue is broken. */
static bool take(VirtQueue *vq, const Chain *chain, uint16_t id)
{
    if (!virtqueue_chain_finish(vq, chain)) {
        return false;
    }
    if (G_UNLIKELY(id >= vq->size)) {
        virtqueue_set_broken(vq, "buffer id %u in a ring of %u", id, vq->size);
        return false;
    }
    if (!in_flight_begin(vq, id)) {
        return false;
    }
    chain->elem->index = id;
    vq->in_use++;
    return true;
}

static int pop_recorded(VirtQueue *vq, VirtQueueElement *elem)
{
    Chain chain = { .elem = elem };
    unsigned entry = inflight_queue_next(vq->inflight);
    uint16_t id = 0;

    if (!recollect(vq, &chain, entry, &id) || !take(vq, &chain, id)) {
        return -1;
    }
    elem->n_ring_descs = inflight_packed_count(vq->inflight, entry);
    elem->inflight = entry;
    return 1;
}

int packed_pop(VirtQueue *vq, VirtQueueElement *elem)
{
    Chain chain = { .elem = elem };
    Cursor at = { vq->last_avail, vq->avail_wrap, 0 };
    uint16_t flags, id;

    if (G_UNLIKELY(virtqueue_resubmits(vq))) {
        return pop_recorded(vq, elem);
    }
    if (!next_available(vq, &flags)) {
        return 0;
    }
    if (G_UNLIKELY(guest_memory_is_broken(vq->memory))) {
        virtqueue_set_broken(vq, "guest memory was taken away");
        return -1;
    }
    if (!collect(vq, &chain, &at, flags, &id) || !take(vq, &chain, id)) {
        return -1;
    }
    if (vq->inflight) {
        elem->inflight = inflight_packed_taken(vq->inflight);
    }
    elem->n_ring_descs = at.slots;
    vq->last_avail = at.pos;
    vq->avail_wrap = at.wrap;
    vq->in_use_slots += at.slots;
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
    if (vq->inflight) {
        inflight_packed_end(vq->inflight, elem->inflight);
    }
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

    if (vq->inflight) {
        inflight_packed_prepare(vq->inflight, (InflightPosition){
                                    vq->used_idx, vq->used_wrap });
    }
    __atomic_store_n(&slot(vq, vq->first_pos)->flags, vq->first_flags,
                     __ATOMIC_SEQ_CST);
    log_desc(vq, vq->first_pos);
    if (vq->inflight) {
        inflight_packed_commit(vq->inflight);
    }
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
