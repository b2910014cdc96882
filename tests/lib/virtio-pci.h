/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A virtio device on QEMU's PCI bus (virtio 1.2, 4.1, modern only), found and
 * mapped without firmware.
 */
#ifndef TESTS_LIB_VIRTIO_PCI_H
#define TESTS_LIB_VIRTIO_PCI_H

#include "qemu.h"

typedef struct VirtioPci {
    Qemu *qemu;
    unsigned slot;           /* on bus 0 */
    uint64_t common;         /* where the structures lie in memory */
    uint64_t notify, isr, device;
    uint32_t notify_multiplier;
} VirtioPci;

/* Where the parts of a queue are, guest physical. */
typedef struct VirtioPciQueue {
    uint16_t index;
    uint16_t size;
    uint64_t desc, driver, device;
} VirtioPciQueue;

/* Maps the device in @slot; asserts that it is a virtio device. */
void virtio_pci_init(VirtioPci *pci, Qemu *qemu, unsigned slot);

uint64_t virtio_pci_features(VirtioPci *pci);
unsigned virtio_pci_num_queues(VirtioPci *pci);

/* Status 0, and waits until the device says so. */
void virtio_pci_reset(VirtioPci *pci);

/* From reset to FEATURES_OK, which is asserted. */
void virtio_pci_negotiate(VirtioPci *pci, uint64_t features);
void virtio_pci_setup_queue(VirtioPci *pci, const VirtioPciQueue *queue);
void virtio_pci_driver_ok(VirtioPci *pci);

void virtio_pci_notify(VirtioPci *pci, uint16_t queue);

/* Reads and so clears the interrupt status: bit 0 queues, bit 1 config. */
uint8_t virtio_pci_isr(VirtioPci *pci);

/* One byte of the device's config space. */
uint8_t virtio_pci_config_read(VirtioPci *pci, uint32_t offset);
void virtio_pci_config_write(VirtioPci *pci, uint32_t offset, uint8_t value);

#endif
