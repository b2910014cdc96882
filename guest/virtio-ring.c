/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Layout of a ring's memory: descriptors, avail, used (each on its own 64
 * bytes), then one indirect table for each descriptor.
 *
 * Split: descriptors form a free list; a chain is named by its head. Packed:
 * slots are taken in order, a chain is named by a buffer id from a free stack,
 * so that ids and slots differ as soon as chains complete out of order.
 */
#include "virtio-ring.h"

#include <linux/virtio_ring.h>
#include <string.h>

#define DESC_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define DESC_USED  (1u << VRING_PACKED_DESC_F_USED)

struct VirtioRing {
    VirtioRingConfig config;
    uint8_t *desc, *avail, *used, *tables;

    void **tokens;      /* by head or id */
    uint16_t *n_slots;  /* by head or id: descriptors of the ring taken */
    unsigned n_free;
    unsigned in_flight;
    char *error;        /* what the device did wrong */

    /* split */
    uint16_t free_head;
    uint16_t *next;     /* by descriptor: free list, and within a chain */
    uint16_t avail_idx, published_idx;
    uint16_t last_used;

    /* packed */
    uint16_t *free_ids; /* stack of in_flight's complement */
    unsigned n_free_ids;
    uint16_t next_avail, used_pos;
    bool avail_wrap, used_wrap;
    uint16_t added;     /* slots since the last publish */
    uint16_t first_pos, first_flags; /* held back until then */
};

static size_t align64(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

static size_t avail_offset(const VirtioRingConfig *c)
{
    return align64(16 * (size_t)c->size);
}

static size_t used_offset(const VirtioRingConfig *c)
{
    return avail_offset(c) + align64(c->packed ? 4 : 6 + 2 * c->size);
}

static size_t tables_offset(const VirtioRingConfig *c)
{
    return used_offset(c) + align64(c->packed ? 4 : 6 + 8 * c->size);
}

size_t virtio_ring_bytes(const VirtioRingConfig *c)
{
    return tables_offset(c) + 16 * (size_t)c->size * c->indirect_max;
}

VirtioRing *virtio_ring_new(const VirtioRingConfig *config)
{
    VirtioRing *ring = g_new0(VirtioRing, 1);
    uint8_t *mem = config->mem;

    memset(mem, 0, virtio_ring_bytes(config));
    ring->config = *config;
    ring->desc = mem;
    ring->avail = mem + avail_offset(config);
    ring->used = mem + used_offset(config);
    ring->tables = mem + tables_offset(config);
    ring->tokens = g_new0(void *, config->size);
    ring->n_slots = g_new0(uint16_t, config->size);
    ring->next = g_new0(uint16_t, config->size);
    ring->free_ids = g_new0(uint16_t, config->size);
    ring->n_free = ring->n_free_ids = config->size;
    ring->avail_wrap = ring->used_wrap = true;
    for (unsigned i = 0; i < config->size; i++) {
        ring->next[i] = i + 1;
        ring->free_ids[i] = config->size - 1 - i;
    }
    return ring;
}

void virtio_ring_free(VirtioRing *ring)
{
    if (ring) {
        g_free(ring->tokens);
        g_free(ring->n_slots);
        g_free(ring->next);
        g_free(ring->free_ids);
        g_free(ring->error);
        g_free(ring);
    }
}

void *virtio_ring_desc(const VirtioRing *ring)
{
    return ring->desc;
}

void *virtio_ring_avail(const VirtioRing *ring)
{
    return ring->avail;
}

void *virtio_ring_used(const VirtioRing *ring)
{
    return ring->used;
}

uint32_t virtio_ring_initial_base(const VirtioRing *ring)
{
    return ring->config.packed ? 0x80008000 : 0;
}

void virtio_ring_fill_config(const VirtioRing *ring, VirtQueueConfig *config)
{
    config->size = ring->config.size;
    config->packed = ring->config.packed;
    config->event_idx = ring->config.event_idx;
    config->indirect = ring->config.indirect_max > 0;
    config->desc = ring->desc;
    config->avail = ring->avail;
    config->used = ring->used;
    config->used_guest_addr = ring->config.guest_addr +
                              used_offset(&ring->config);
    config->base = virtio_ring_initial_base(ring);
}

static uint64_t to_guest(const VirtioRing *ring, const void *ptr)
{
    return (uintptr_t)ptr - (uintptr_t)ring->config.mem +
           ring->config.guest_addr;
}

static uint16_t *split_avail_word(const VirtioRing *ring, unsigned i)
{
    return (uint16_t *)ring->avail + i; /* flags, idx, ring[], used_event */
}

static uint16_t *split_used_idx(const VirtioRing *ring)
{
    return (uint16_t *)ring->used + 1;
}

static uint16_t *split_avail_event(const VirtioRing *ring)
{
    return (uint16_t *)(ring->used + 4 + 8 * ring->config.size);
}

static const struct iovec *chain_iov(const VirtioChain *chain, unsigned i)
{
    return i < chain->n_out ? &chain->out[i] : &chain->in[i - chain->n_out];
}

static uint16_t write_flag(const VirtioChain *chain, unsigned i)
{
    return i < chain->n_out ? 0 : VRING_DESC_F_WRITE;
}

/* Fills table @slot; both formats agree but for the last two fields. */
static struct iovec fill_table(VirtioRing *ring, const VirtioChain *chain,
                               unsigned slot)
{
    unsigned n = chain->n_out + chain->n_in;
    struct vring_desc *table = (struct vring_desc *)ring->tables +
                               slot * ring->config.indirect_max;

    g_assert_cmpuint(n, <=, ring->config.indirect_max);
    for (unsigned i = 0; i < n; i++) {
        const struct iovec *iov = chain_iov(chain, i);

        if (ring->config.packed) {
            ((struct vring_packed_desc *)table)[i] =
                (struct vring_packed_desc){
                    .addr = to_guest(ring, iov->iov_base),
                    .len = iov->iov_len,
                    .flags = write_flag(chain, i),
                };
        } else {
            table[i] = (struct vring_desc){
                .addr = to_guest(ring, iov->iov_base),
                .len = iov->iov_len,
                .flags = write_flag(chain, i) |
                         (i + 1 < n ? VRING_DESC_F_NEXT : 0),
                .next = i + 1 < n ? i + 1 : 0,
            };
        }
    }
    return (struct iovec){ table, n * sizeof(*table) };
}

static void split_add(VirtioRing *ring, const VirtioChain *chain,
                      unsigned slots)
{
    struct vring_desc *desc = (struct vring_desc *)ring->desc;
    uint16_t head = ring->free_head;
    uint16_t i = head;

    for (unsigned n = 0; n < slots; n++) {
        struct iovec table;
        const struct iovec *iov;
        uint16_t flags;

        if (chain->indirect) {
            table = fill_table(ring, chain, head);
            iov = &table;
            flags = VRING_DESC_F_INDIRECT;
        } else {
            iov = chain_iov(chain, n);
            flags = write_flag(chain, n) |
                    (n + 1 < slots ? VRING_DESC_F_NEXT : 0);
        }
        desc[i] = (struct vring_desc){
            .addr = to_guest(ring, iov->iov_base),
            .len = iov->iov_len,
            .flags = flags,
            .next = n + 1 < slots ? ring->next[i] : 0,
        };
        i = ring->next[i];
    }
    ring->free_head = i;
    ring->tokens[head] = chain->token;
    ring->n_slots[head] = slots;
    *split_avail_word(ring, 2 + ring->avail_idx % ring->config.size) = head;
    ring->avail_idx++;
}

static void packed_add(VirtioRing *ring, const VirtioChain *chain,
                       unsigned slots)
{
    struct vring_packed_desc *desc = (struct vring_packed_desc *)ring->desc;
    uint16_t id = ring->free_ids[--ring->n_free_ids];

    for (unsigned n = 0; n < slots; n++) {
        struct vring_packed_desc *d = &desc[ring->next_avail];
        uint16_t flags = ring->avail_wrap ? DESC_AVAIL : DESC_USED;
        struct iovec table;
        const struct iovec *iov;

        if (chain->indirect) {
            table = fill_table(ring, chain, id);
            iov = &table;
            flags |= VRING_DESC_F_INDIRECT;
        } else {
            iov = chain_iov(chain, n);
            flags |= write_flag(chain, n) |
                     (n + 1 < slots ? VRING_DESC_F_NEXT : 0);
        }
        d->addr = to_guest(ring, iov->iov_base);
        d->len = iov->iov_len;
        d->id = n + 1 == slots ? id : 0xdead; /* only the last one counts */
        if (!ring->added) {
            ring->first_pos = ring->next_avail;
            ring->first_flags = flags;
        } else {
            __atomic_store_n(&d->flags, flags, __ATOMIC_RELEASE);
        }
        ring->added++;
        if (++ring->next_avail == ring->config.size) {
            ring->next_avail = 0;
            ring->avail_wrap = !ring->avail_wrap;
        }
    }
    ring->tokens[id] = chain->token;
    ring->n_slots[id] = slots;
}

bool virtio_ring_add(VirtioRing *ring, const VirtioChain *chain)
{
    unsigned slots = chain->indirect ? 1 : chain->n_out + chain->n_in;

    g_assert_nonnull(chain->token);
    g_assert_cmpuint(slots, >, 0);
    if (slots > ring->n_free) {
        return false;
    }
    if (ring->config.packed) {
        packed_add(ring, chain, slots);
    } else {
        split_add(ring, chain, slots);
    }
    ring->n_free -= slots;
    ring->in_flight++;
    return true;
}

/* seq_cst on both sides: pairs with the device's enable_kick, which stores
 * the event and then loads the index (or flags) stored here. */
static bool split_publish(VirtioRing *ring)
{
    uint16_t old = ring->published_idx, new = ring->avail_idx;

    if (old == new) {
        return false;
    }
    __atomic_store_n(split_avail_word(ring, 1), new, __ATOMIC_SEQ_CST);
    ring->published_idx = new;
    if (ring->config.event_idx) {
        uint16_t event = __atomic_load_n(split_avail_event(ring),
                                         __ATOMIC_SEQ_CST);

        return vring_need_event(event, new, old);
    }
    return !(__atomic_load_n((uint16_t *)ring->used, __ATOMIC_SEQ_CST) &
             VRING_USED_F_NO_NOTIFY);
}

static bool packed_publish(VirtioRing *ring)
{
    struct vring_packed_desc *desc = (struct vring_packed_desc *)ring->desc;
    uint16_t new = ring->next_avail, old = new - ring->added;
    uint32_t event;
    uint16_t off;

    if (!ring->added) {
        return false;
    }
    __atomic_store_n(&desc[ring->first_pos].flags, ring->first_flags,
                     __ATOMIC_SEQ_CST);
    ring->added = 0;
    event = __atomic_load_n((uint32_t *)ring->used, __ATOMIC_SEQ_CST);
    if (event >> 16 != VRING_PACKED_EVENT_FLAG_DESC) {
        return event >> 16 == VRING_PACKED_EVENT_FLAG_ENABLE;
    }
    off = event & 0x7fff;
    if (!!(event & 0x8000) != ring->avail_wrap) {
        off -= ring->config.size;
    }
    return vring_need_event(off, new, old);
}

bool virtio_ring_publish(VirtioRing *ring)
{
    return ring->config.packed ? packed_publish(ring) : split_publish(ring);
}

static bool packed_has_used(VirtioRing *ring)
{
    struct vring_packed_desc *desc = (struct vring_packed_desc *)ring->desc;
    uint16_t flags = __atomic_load_n(&desc[ring->used_pos].flags,
                                     __ATOMIC_SEQ_CST);
    bool avail = flags & DESC_AVAIL, used = flags & DESC_USED;

    return ring->in_flight && avail == used && used == ring->used_wrap;
}

bool virtio_ring_has_used(VirtioRing *ring)
{
    if (ring->config.packed) {
        return packed_has_used(ring);
    }
    return __atomic_load_n(split_used_idx(ring), __ATOMIC_SEQ_CST) !=
           ring->last_used;
}

/* Whether the device has the chain that it returns under this name. */
static bool check_used(VirtioRing *ring, uint32_t id)
{
    if (id < ring->config.size && ring->tokens[id]) {
        return true;
    }
    ring->error = g_strdup_printf("returned chain %u, which it did not have",
                                  id);
    if (!ring->config.tolerant) {
        g_error("the device %s", ring->error);
    }
    return false;
}

static uint32_t next_used_id(const VirtioRing *ring)
{
    if (ring->config.packed) {
        return ((struct vring_packed_desc *)ring->desc)[ring->used_pos].id;
    }
    return ((struct vring_used_elem *)(ring->used + 4))
        [ring->last_used % ring->config.size].id;
}

static void split_take_used(VirtioRing *ring, unsigned head, uint32_t *len)
{
    struct vring_used_elem *elem = (struct vring_used_elem *)(ring->used + 4) +
                                   ring->last_used++ % ring->config.size;
    uint16_t last = head;

    for (unsigned n = 1; n < ring->n_slots[head]; n++) {
        last = ring->next[last];
    }
    ring->next[last] = ring->free_head;
    ring->free_head = head;
    *len = elem->len;
}

static void packed_take_used(VirtioRing *ring, unsigned id, uint32_t *len)
{
    struct vring_packed_desc *desc = (struct vring_packed_desc *)ring->desc +
                                     ring->used_pos;

    *len = desc->flags & VRING_DESC_F_WRITE ? desc->len : 0;
    ring->used_pos += ring->n_slots[id];
    if (ring->used_pos >= ring->config.size) {
        ring->used_pos -= ring->config.size;
        ring->used_wrap = !ring->used_wrap;
    }
    ring->free_ids[ring->n_free_ids++] = id;
}

void *virtio_ring_get_used(VirtioRing *ring, uint32_t *len)
{
    uint32_t written, id;
    void *token;

    if (ring->error || !virtio_ring_has_used(ring)) {
        return NULL;
    }
    id = next_used_id(ring);
    if (!check_used(ring, id)) {
        return NULL;
    }
    if (ring->config.packed) {
        packed_take_used(ring, id, &written);
    } else {
        split_take_used(ring, id, &written);
    }
    token = ring->tokens[id];
    ring->tokens[id] = NULL;
    ring->n_free += ring->n_slots[id];
    ring->in_flight--;
    if (len) {
        *len = written;
    }
    return token;
}

const char *virtio_ring_error(const VirtioRing *ring)
{
    return ring->error;
}

static void packed_set_event(VirtioRing *ring, unsigned flags, unsigned skip)
{
    unsigned off = ring->used_pos + skip;
    bool wrap = ring->used_wrap;

    if (off >= ring->config.size) {
        off -= ring->config.size;
        wrap = !wrap;
    }
    __atomic_store_n((uint32_t *)ring->avail,
                     flags << 16 | (uint32_t)wrap << 15 | off,
                     __ATOMIC_SEQ_CST);
}

bool virtio_ring_enable_call_after(VirtioRing *ring, unsigned n)
{
    const VirtioRingConfig *c = &ring->config;

    g_assert_cmpuint(n, >=, 1);
    g_assert_true(n == 1 || c->event_idx);
    if (c->packed) {
        packed_set_event(ring,
                         c->event_idx ? VRING_PACKED_EVENT_FLAG_DESC
                                      : VRING_PACKED_EVENT_FLAG_ENABLE, n - 1);
    } else if (c->event_idx) {
        __atomic_store_n(split_avail_word(ring, 2 + c->size),
                         ring->last_used + n - 1, __ATOMIC_SEQ_CST);
    } else {
        __atomic_store_n(split_avail_word(ring, 0), 0, __ATOMIC_SEQ_CST);
    }
    return virtio_ring_has_used(ring);
}

bool virtio_ring_enable_call(VirtioRing *ring)
{
    return virtio_ring_enable_call_after(ring, 1);
}

void virtio_ring_disable_call(VirtioRing *ring)
{
    const VirtioRingConfig *c = &ring->config;

    if (c->packed) {
        packed_set_event(ring, VRING_PACKED_EVENT_FLAG_DISABLE, 0);
    } else if (c->event_idx) {
        /* one that was passed just now will not come again for 2^16 */
        __atomic_store_n(split_avail_word(ring, 2 + c->size),
                         ring->last_used - 1, __ATOMIC_SEQ_CST);
    } else {
        __atomic_store_n(split_avail_word(ring, 0),
                         VRING_AVAIL_F_NO_INTERRUPT, __ATOMIC_SEQ_CST);
    }
}

unsigned virtio_ring_in_flight(const VirtioRing *ring)
{
    return ring->in_flight;
}

unsigned virtio_ring_free_descs(const VirtioRing *ring)
{
    return ring->n_free;
}
