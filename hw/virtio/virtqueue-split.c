/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The split ring (virtio 1.2, 2.7): descriptor table, available ring, used
 * ring.
 *
 * Pairing of the atomics, each with the driver's counterpart:
 *   load avail->idx (acquire)   its store after ring[] and descriptors;
 *   store used->idx (seq_cst), then load used_event or avail->flags
 *                               the driver stores the event, then loads
 *                               used->idx: one of the two sees the other;
 *   store avail_event or used->flags (seq_cst), then load avail->idx
 *                               the driver stores avail->idx, then loads the
 *                               event: likewise.
 */
#include "virtqueue-internal.h"

static uint16_t *avail_flags(const VirtQueue *vq)
{
    return (uint16_t *)vq->avail;
}

static uint16_t *avail_idx(const VirtQueue *vq)
{
    return (uint16_t *)vq->avail + 1;
}

static uint16_t *avail_ring(const VirtQueue *vq, uint16_t i)
{
    return (uint16_t *)vq->avail + 2 + (i & (vq->size - 1));
}

static uint16_t *used_event(const VirtQueue *vq)
{
    return (uint16_t *)vq->avail + 2 + vq->size;
}

static uint16_t *used_flags(const VirtQueue *vq)
{
    return (uint16_t *)vq->used;
}

static uint16_t *used_idx(const VirtQueue *vq)
{
    return (uint16_t *)vq->used + 1;
}

static size_t avail_event_offset(const VirtQueue *vq)
{
    return 4 + sizeof(struct vring_used_elem) * vq->size;
}

bool split_restore(VirtQueue *vq, uint32_t base, GError **error)
{
    GError *err = NULL;

    vq->used_idx = __atomic_load_n(used_idx(vq), __ATOMIC_RELAXED);
    if (vq->inflight &&
        inflight_split_restore(vq->inflight, vq->used_idx, &err)) {
        /* whatever the front end believes: all that was taken is either used
         * or recorded */
        base = vq->used_idx + inflight_queue_left(vq->inflight);
    }
    if (err) {
        g_propagate_prefixed_error(error, err, "%s: ", vq->name);
        return false;
    }
    vq->last_avail = vq->shadow_avail = vq->fetched = base;
    return true;
}

uint32_t split_base(const VirtQueue *vq)
{
    return vq->last_avail;
}

bool split_has_work(const VirtQueue *vq)
{
    return vq->last_avail != vq->shadow_avail ||
           __atomic_load_n(avail_idx(vq), __ATOMIC_RELAXED) != vq->last_avail;
}

/* Reads the driver's index: what is there to pop now? */
static bool refresh_avail(VirtQueue *vq)
{
    uint16_t idx = __atomic_load_n(avail_idx(vq), __ATOMIC_ACQUIRE);
    uint16_t n = idx - vq->last_avail;

    if (!n) {
        return false;
    }
    /* what was used is the driver's again when the index says so, and not
     * when it finds a status byte before */
    if (G_UNLIKELY(n + vq->in_use + vq->unpublished > vq->size)) {
        virtqueue_set_broken(vq, "available index jumps from %u to %u",
                             vq->last_avail, idx);
        return false;
    }
    if (G_UNLIKELY(guest_memory_is_broken(vq->memory))) {
        virtqueue_set_broken(vq, "guest memory was taken away");
        return false;
    }
    vq->shadow_avail = idx;
    return true;
}

/* --- Looking ahead --- */

/* Chains whose memory is asked for together; fewer than that are not worth
 * it. */
#define AHEAD_MAX 32
#define AHEAD_MIN 4

/* Of these no more is known than that they look right. */
typedef struct Ahead {
    const GuestRange *range; /* of the last translation: a guess will do */
    unsigned n;              /* indirect tables: their first and last entries */
    const uint8_t *ends[2 * AHEAD_MAX];
} Ahead;

/* Asks for the first line of a buffer. Returns where it is, or NULL. */
static inline const uint8_t *fetch(const Ahead *ahead, uint64_t addr,
                                   uint32_t len)
{
    const GuestRange *range = ahead->range;
    const uint8_t *host;

    if (!guest_range_holds(range, addr, len)) {
        return NULL;
    }
    host = range->host + (addr - range->guest_addr);
    __builtin_prefetch(host);
    return host;
}

static inline void fetch_head(Ahead *ahead, const void *where)
{
    RingDesc desc = ring_desc_read(where);
    const uint8_t *host = fetch(ahead, desc.addr, desc.len);

    if (host && desc.third & VRING_DESC_F_INDIRECT &&
        desc.len >= sizeof(struct vring_desc)) {
        ahead->ends[ahead->n++] = host;
        ahead->ends[ahead->n++] = host + desc.len - sizeof(struct vring_desc);
    }
}

/*
 * What the driver has just written is in its processor's cache, and a chain is
 * three lines of it, each found by the one before it: taken one by one, a
 * burst waits three times for each chain. Here the lines of all its chains are
 * asked for side by side: descriptors, then tables, then header and status.
 * Nothing else depends on what is read here: the driver may change it, and it
 * is read anew, and checked, with the chain.
 */
static void fetch_ahead(const VirtQueue *vq, unsigned n)
{
    const struct vring_desc *heads[AHEAD_MAX];
    Ahead ahead;

    ahead.range = &vq->memory->ranges[vq->memory_hint];
    ahead.n = 0;
    for (unsigned i = 0; i < n; i++) {
        uint16_t head = __atomic_load_n(avail_ring(vq, vq->last_avail + i),
                                        __ATOMIC_RELAXED);

        heads[i] = (const struct vring_desc *)vq->desc +
                   (head & (vq->size - 1));
        __builtin_prefetch(heads[i]);
    }
    for (unsigned i = 0; i < n; i++) {
        fetch_head(&ahead, heads[i]);
    }
    for (unsigned i = 0; i < ahead.n; i++) {
        fetch(&ahead, ring_desc_addr(ahead.ends[i]), 1);
    }
}

/* Those that were looked at are all taken: the next ones. */
static inline void look_ahead(VirtQueue *vq)
{
    uint16_t left = vq->shadow_avail - vq->last_avail;
    unsigned n = MIN(left, AHEAD_MAX);

    vq->fetched = vq->last_avail + n;
    if (n >= AHEAD_MIN) {
        fetch_ahead(vq, n);
    }
}

/* --- Taking chains --- */

/*
 * Walks @table from @i on. An indirect descriptor, which ends its chain, is
 * handed back in @indirect; NULL there: we are inside a table already.
 * Returns false when the queue is broken now.
 */
static bool walk(VirtQueue *vq, Chain *chain, const void *table, unsigned n,
                 unsigned i, RingDesc *indirect)
{
    for (unsigned left = n; left; left--) {
        RingDesc desc = ring_desc_read((const struct vring_desc *)table + i);
        uint16_t flags = desc.third;

        if (flags & VRING_DESC_F_INDIRECT) {
            if (!indirect || flags & VRING_DESC_F_NEXT) {
                virtqueue_set_broken(vq, indirect
                                     ? "descriptor is both indirect and "
                                       "continued"
                                     : "indirect table within a table");
                return false;
            }
            *indirect = desc;
            return true;
        }
        if (!chain_add(vq, chain, &desc, flags & VRING_DESC_F_WRITE)) {
            return false;
        }
        if (!(flags & VRING_DESC_F_NEXT)) {
            return true;
        }
        i = desc.fourth;
        if (G_UNLIKELY(i >= n)) {
            virtqueue_set_broken(vq, "descriptor %u of %u", i, n);
            return false;
        }
    }
    virtqueue_set_broken(vq, "descriptor chain has a loop");
    return false;
}

static bool collect(VirtQueue *vq, VirtQueueElement *elem, unsigned head)
{
    Chain chain = { .elem = elem };
    RingDesc indirect = { 0 };

    if (!walk(vq, &chain, vq->desc, vq->size, head, &indirect)) {
        return false;
    }
    if (indirect.third & VRING_DESC_F_INDIRECT) {
        unsigned n;
        const void *table = virtqueue_indirect_table(vq, &indirect, &n);

        if (!table || !walk(vq, &chain, table, n, 0, NULL)) {
            return false;
        }
    }
    return virtqueue_chain_finish(vq, &chain);
}

/* While kicks are on, an empty ring moves the event along: a device that
 * never quiets its ring still gets one kick for each burst. */
static bool look_again(VirtQueue *vq)
{
    return vq->kick == KICK_ENABLED && vq->event_idx &&
           vq->avail_event != vq->last_avail && split_enable_kick(vq) &&
           refresh_avail(vq);
}

static int take(VirtQueue *vq, VirtQueueElement *elem, unsigned head)
{
    if (!in_flight_begin(vq, head) || !collect(vq, elem, head)) {
        return -1;
    }
    elem->index = head;
    elem->n_ring_descs = 1;
    vq->in_use++;
    return 1;
}

int split_pop(VirtQueue *vq, VirtQueueElement *elem)
{
    unsigned head;

    if (G_UNLIKELY(virtqueue_resubmits(vq))) {
        return take(vq, elem, inflight_queue_next(vq->inflight));
    }
    if (vq->last_avail == vq->shadow_avail && !refresh_avail(vq) &&
        (vq->broken || !look_again(vq))) {
        return vq->broken ? -1 : 0;
    }
    if (vq->last_avail == vq->fetched) {
        look_ahead(vq);
    }
    head = __atomic_load_n(avail_ring(vq, vq->last_avail), __ATOMIC_RELAXED);
    if (G_UNLIKELY(head >= vq->size)) {
        virtqueue_set_broken(vq, "head %u in a ring of %u", head, vq->size);
        return -1;
    }
    if (take(vq, elem, head) < 0) {
        return -1;
    }
    if (vq->inflight) {
        inflight_split_begin(vq->inflight, head);
    }
    vq->last_avail++;
    return 1;
}

void split_push(VirtQueue *vq, const VirtQueueElement *elem, uint32_t written)
{
    unsigned slot = vq->used_idx++ & (vq->size - 1);
    size_t offset = 4 + slot * sizeof(struct vring_used_elem);
    uint32_t *used = (uint32_t *)(vq->used + offset);

    /* ordered before the index by its store in split_publish() */
    __atomic_store_n(&used[0], elem->index, __ATOMIC_RELAXED);
    __atomic_store_n(&used[1], written, __ATOMIC_RELAXED);
    log_used(vq, offset, sizeof(struct vring_used_elem));
    in_flight_end(vq, elem->index);
    if (vq->inflight) {
        inflight_split_end(vq->inflight, elem->index);
    }
    vq->unpublished++;
}

bool split_publish(VirtQueue *vq)
{
    uint16_t new = vq->used_idx, old = new - vq->unpublished;
    bool first = !vq->signalled;

    __atomic_store_n(used_idx(vq), new, __ATOMIC_SEQ_CST);
    log_used(vq, 2, 2);
    if (vq->inflight) {
        inflight_split_commit(vq->inflight, new);
    }
    vq->unpublished = 0;
    vq->signalled = true;
    if (vq->event_idx) {
        uint16_t event = __atomic_load_n(used_event(vq), __ATOMIC_SEQ_CST);

        /* The first time the driver may wait for something that was used
         * before this queue was made. */
        return first || vring_need_event(event, new, old);
    }
    return !(__atomic_load_n(avail_flags(vq), __ATOMIC_SEQ_CST) &
             VRING_AVAIL_F_NO_INTERRUPT);
}

static void set_avail_event(VirtQueue *vq, uint16_t event)
{
    size_t offset = avail_event_offset(vq);

    vq->avail_event = event;
    __atomic_store_n((uint16_t *)(vq->used + offset), event,
                     __ATOMIC_SEQ_CST);
    log_used(vq, offset, sizeof(event));
}

static void set_used_flags(VirtQueue *vq, uint16_t flags)
{
    __atomic_store_n(used_flags(vq), flags, __ATOMIC_SEQ_CST);
    log_used(vq, 0, sizeof(flags));
}

/*
 * With the event index there is no off switch. An event the driver has passed
 * is as good as off for the next 2^16 buffers; one it has not passed yet is
 * moved behind it.
 */
void split_disable_kick(VirtQueue *vq)
{
    if (!vq->event_idx) {
        set_used_flags(vq, VRING_USED_F_NO_NOTIFY);
    } else if (__atomic_load_n(avail_idx(vq), __ATOMIC_RELAXED) ==
               vq->avail_event) {
        set_avail_event(vq, vq->avail_event - 1);
    }
}

bool split_enable_kick(VirtQueue *vq)
{
    if (vq->event_idx) {
        set_avail_event(vq, vq->last_avail);
    } else if (vq->kick != KICK_ENABLED) {
        set_used_flags(vq, 0);
    }
    return __atomic_load_n(avail_idx(vq), __ATOMIC_SEQ_CST) != vq->last_avail;
}
