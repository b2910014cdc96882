/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VMM's part in vhost-user: connects to a server, negotiates, gives it
 * memory and rings, takes the rings back. Every wait has an end, and every
 * error says which message it was about.
 *
 * For programs; tests that want to send what is wrong use
 * vhost-user-client.h.
 */
#ifndef GUEST_VMM_H
#define GUEST_VMM_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Vmm {
    char *path;
    int sock;
    int timeout_ms;
    uint64_t protocol_features; /* negotiated */
    uint64_t offered;           /* virtio features */
    unsigned max_queues;
    int inflight_fd;            /* -1: nobody keeps what is in flight */
} Vmm;

typedef struct VmmRing {
    unsigned index, size;
    uint32_t base;
    uint64_t desc, avail, used; /* user addresses */
    int kick_fd, call_fd;
} VmmRing;

/*
 * Connects, waiting up to @timeout_ms for somebody to listen, and asks what
 * the server can do. The same time then bounds each answer.
 * Context: any, like the rest: one thread drives a Vmm.
 */
Vmm *vmm_new(const char *path, int timeout_ms, GError **error);
/* Closes the connection; the server drops its rings. */
void vmm_free(Vmm *vmm);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Vmm, vmm_free)

/* The process that listens, or -1. */
int vmm_peer(const Vmm *vmm);

/* The first @bytes, at most 256, of the device's configuration. */
bool vmm_get_config(Vmm *vmm, void *buf, uint32_t bytes, GError **error);
bool vmm_set_features(Vmm *vmm, uint64_t features, GError **error);

/* One region: @fd from its start, at these guest and user addresses. */
bool vmm_set_memory(Vmm *vmm, int fd, size_t bytes, uint64_t guest_addr,
                    uint64_t user_addr, GError **error);

/*
 * Has the server note in a shared area what is in flight, for the server that
 * comes after it; before the rings are started, and for rings of @queue_size.
 * vmm_keeps_inflight(): whether the server can do that.
 */
bool vmm_keeps_inflight(const Vmm *vmm);
bool vmm_keep_inflight(Vmm *vmm, unsigned queues, unsigned queue_size,
                       GError **error);

bool vmm_start_ring(Vmm *vmm, const VmmRing *ring, GError **error);
/* The server finishes what it has of the ring first. */
bool vmm_stop_ring(Vmm *vmm, unsigned index, uint32_t *base, GError **error);

#endif
