/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest inside a stock QEMU with a vhost-user-blk-pci device: registers are
 * reached through qtest, rings and buffers lie in its RAM, which is our
 * memory as well.
 */
#include "guest-blk-transport.h"
#include "virtio-pci.h"

#include <string.h>

#define SLOT 4
/* Real mode's 1 MiB, with its holes, is left alone. */
#define FIRST_BYTE (2 << 20)

typedef struct QemuGuest {
    Qemu *qemu;
    VirtioPci pci;
} QemuGuest;

static VirtioPci *pci_of(GuestBlk *guest)
{
    QemuGuest *state = guest->transport_state;

    return &state->pci;
}

static uint64_t pci_get_features(GuestBlk *guest)
{
    return virtio_pci_features(pci_of(guest));
}

static void pci_set_features(GuestBlk *guest, uint64_t features)
{
    virtio_pci_negotiate(pci_of(guest), features);
}

static void pci_get_config(GuestBlk *guest, uint32_t offset, void *buf,
                           uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++) {
        ((uint8_t *)buf)[i] = virtio_pci_config_read(pci_of(guest),
                                                     offset + i);
    }
}

/* A guest is not told; whether it was taken shows in what it reads back. */
static bool pci_set_config(GuestBlk *guest, uint32_t offset, const void *buf,
                           uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++) {
        uint8_t value = ((const uint8_t *)buf)[i];

        virtio_pci_config_write(pci_of(guest), offset + i, value);
        if (virtio_pci_config_read(pci_of(guest), offset + i) != value) {
            return false;
        }
    }
    return true;
}

static void pci_reset(GuestBlk *guest)
{
    virtio_pci_reset(pci_of(guest));
}

/* A driver sets up all its queues before it says that it is ready. */
static void pci_start_queue(GuestBlk *guest, unsigned index, uint32_t base)
{
    VirtioRing *ring = guest->queues[index].ring;
    VirtioPciQueue queue = {
        .index = index,
        .size = guest->conf.queue_size,
        .desc = guest_blk_addr(guest, virtio_ring_desc(ring)),
        .driver = guest_blk_addr(guest, virtio_ring_avail(ring)),
        .device = guest_blk_addr(guest, virtio_ring_used(ring)),
    };

    virtio_pci_setup_queue(pci_of(guest), &queue);
    if (index == guest->conf.num_queues - 1) {
        virtio_pci_driver_ok(pci_of(guest));
    }
}

/* Only all together, by a reset. */
static uint32_t pci_stop_queue(GuestBlk *guest, unsigned index)
{
    virtio_pci_reset(pci_of(guest));
    return 0;
}

static void pci_kick(GuestBlk *guest, unsigned queue)
{
    virtio_pci_notify(pci_of(guest), queue);
}

/* The device's line is shared by its queues. */
static void pci_wait(GuestBlk *guest, unsigned queue)
{
    gint64 give_up = g_get_monotonic_time() + GUEST_BLK_PATIENCE_MS * 1000;

    while (virtio_pci_isr(pci_of(guest)) == 0 &&
           !virtio_ring_has_used(guest->queues[queue].ring)) {
        if (g_get_monotonic_time() > give_up) {
            g_error("queue %u: no interrupt", queue);
        }
    }
}

static void pci_close(GuestBlk *guest)
{
    QemuGuest *state = guest->transport_state;

    qemu_free(state->qemu);
    g_free(state);
}

static const GuestTransport pci_transport = {
    .get_features = pci_get_features,
    .set_features = pci_set_features,
    .get_config = pci_get_config,
    .set_config = pci_set_config,
    .reset = pci_reset,
    .start_queue = pci_start_queue,
    .stop_queue = pci_stop_queue,
    .kick = pci_kick,
    .wait = pci_wait,
    .close = pci_close,
};

GuestBlk *guest_blk_new_qemu(const char *path, const GuestBlkConf *conf)
{
    GuestBlk *guest = guest_blk_new(&pci_transport, conf, 0, FIRST_BYTE);
    QemuGuest *state = g_new0(QemuGuest, 1);
    g_autofree char *chardev =
        g_strdup_printf("socket,id=vhost,path=%s", path);
    g_autofree char *device = g_strdup_printf(
        "vhost-user-blk-pci,chardev=vhost,addr=%#x,disable-legacy=on,"
        "num-queues=%u,queue-size=%u,packed=%s", SLOT,
        guest->conf.num_queues, guest->conf.queue_size,
        guest->conf.packed ? "on" : "off");
    const char *const args[] = {
        "-chardev", chardev, "-device", device, NULL,
    };

    guest->transport_state = state;
    state->qemu = qemu_new(guest->memfd, guest->conf.memory_bytes, args);
    virtio_pci_init(&state->pci, state->qemu, SLOT);
    guest->max_queues = virtio_pci_num_queues(&state->pci);
    guest_blk_negotiate(guest);
    return guest;
}
