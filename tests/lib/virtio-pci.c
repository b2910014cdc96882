/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Registers of a modern virtio-pci device. Called by guest-blk-qemu.c, calls
 * qemu.c. Firmware would have given the BARs addresses; here it is done by
 * hand, in the hole below 4 GiB that the pc machine leaves for PCI.
 */
#include "virtio-pci.h"

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stddef.h>

#define VENDOR_VIRTIO 0x1af4
#define PCI_HOLE UINT32_C(0xe0000000)
#define BAR_SPACE UINT32_C(0x00100000) /* each BAR gets that much */

static uint32_t config_address(const VirtioPci *pci, unsigned reg)
{
    return 0x80000000 | pci->slot << 11 | (reg & ~3u);
}

static uint32_t pci_readl(VirtioPci *pci, unsigned reg)
{
    qemu_outl(pci->qemu, 0xcf8, config_address(pci, reg));
    return qemu_inl(pci->qemu, 0xcfc);
}

static uint8_t pci_readb(VirtioPci *pci, unsigned reg)
{
    return pci_readl(pci, reg) >> reg % 4 * 8;
}

static void pci_writel(VirtioPci *pci, unsigned reg, uint32_t value)
{
    qemu_outl(pci->qemu, 0xcf8, config_address(pci, reg));
    qemu_outl(pci->qemu, 0xcfc, value);
}

static uint64_t bar_address(unsigned bar)
{
    return PCI_HOLE + bar * BAR_SPACE;
}

static void place_bars(VirtioPci *pci)
{
    for (unsigned bar = 0; bar < PCI_STD_NUM_BARS; bar++) {
        unsigned reg = PCI_BASE_ADDRESS_0 + 4 * bar;
        uint32_t kind = pci_readl(pci, reg);

        if (kind & PCI_BASE_ADDRESS_SPACE_IO) {
            continue;
        }
        pci_writel(pci, reg, bar_address(bar));
        if (kind & PCI_BASE_ADDRESS_MEM_TYPE_64) {
            pci_writel(pci, reg + 4, 0);
            bar++;
        }
    }
    pci_writel(pci, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void take_capability(VirtioPci *pci, unsigned cap)
{
    uint8_t type = pci_readb(
        pci, cap + offsetof(struct virtio_pci_cap, cfg_type));
    uint64_t where =
        bar_address(pci_readb(pci, cap + offsetof(struct virtio_pci_cap,
                                                  bar))) +
        pci_readl(pci, cap + offsetof(struct virtio_pci_cap, offset));

    switch (type) {
    case VIRTIO_PCI_CAP_COMMON_CFG:
        pci->common = where;
        break;
    case VIRTIO_PCI_CAP_NOTIFY_CFG:
        pci->notify = where;
        pci->notify_multiplier =
            pci_readl(pci, cap + sizeof(struct virtio_pci_cap));
        break;
    case VIRTIO_PCI_CAP_ISR_CFG:
        pci->isr = where;
        break;
    case VIRTIO_PCI_CAP_DEVICE_CFG:
        pci->device = where;
        break;
    }
}

void virtio_pci_init(VirtioPci *pci, Qemu *qemu, unsigned slot)
{
    unsigned cap;

    *pci = (VirtioPci) { .qemu = qemu, .slot = slot };
    g_assert_cmphex(pci_readl(pci, PCI_VENDOR_ID) & 0xffff, ==,
                    VENDOR_VIRTIO);
    place_bars(pci);
    cap = pci_readb(pci, PCI_CAPABILITY_LIST);
    while (cap != 0) {
        if (pci_readb(pci, cap) == PCI_CAP_ID_VNDR) {
            take_capability(pci, cap);
        }
        cap = pci_readb(pci, cap + PCI_CAP_LIST_NEXT);
    }
    g_assert_cmphex(pci->common, !=, 0);
    g_assert_cmphex(pci->notify, !=, 0);
    g_assert_cmphex(pci->isr, !=, 0);
    g_assert_cmphex(pci->device, !=, 0);
}

#define COMMON(field) offsetof(struct virtio_pci_common_cfg, field)

static uint64_t common_read(VirtioPci *pci, unsigned offset, unsigned bytes)
{
    return qemu_read(pci->qemu, pci->common + offset, bytes);
}

static void common_write(VirtioPci *pci, unsigned offset, unsigned bytes,
                         uint64_t value)
{
    qemu_write(pci->qemu, pci->common + offset, bytes, value);
}

uint64_t virtio_pci_features(VirtioPci *pci)
{
    uint64_t low;

    common_write(pci, COMMON(device_feature_select), 4, 0);
    low = common_read(pci, COMMON(device_feature), 4);
    common_write(pci, COMMON(device_feature_select), 4, 1);
    return common_read(pci, COMMON(device_feature), 4) << 32 | low;
}

unsigned virtio_pci_num_queues(VirtioPci *pci)
{
    return common_read(pci, COMMON(num_queues), 2);
}

void virtio_pci_reset(VirtioPci *pci)
{
    common_write(pci, COMMON(device_status), 1, 0);
    while (common_read(pci, COMMON(device_status), 1) != 0) {
    }
}

static void add_status(VirtioPci *pci, uint8_t bit)
{
    uint8_t status = common_read(pci, COMMON(device_status), 1);

    common_write(pci, COMMON(device_status), 1, status | bit);
    g_assert_cmphex(common_read(pci, COMMON(device_status), 1) & bit, ==,
                    bit);
}

void virtio_pci_negotiate(VirtioPci *pci, uint64_t features)
{
    virtio_pci_reset(pci);
    add_status(pci, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    add_status(pci, VIRTIO_CONFIG_S_DRIVER);
    common_write(pci, COMMON(guest_feature_select), 4, 0);
    common_write(pci, COMMON(guest_feature), 4, (uint32_t)features);
    common_write(pci, COMMON(guest_feature_select), 4, 1);
    common_write(pci, COMMON(guest_feature), 4, features >> 32);
    add_status(pci, VIRTIO_CONFIG_S_FEATURES_OK);
}

static void write_address(VirtioPci *pci, unsigned low, uint64_t addr)
{
    common_write(pci, low, 4, (uint32_t)addr);
    common_write(pci, low + 4, 4, addr >> 32);
}

void virtio_pci_setup_queue(VirtioPci *pci, const VirtioPciQueue *queue)
{
    common_write(pci, COMMON(queue_select), 2, queue->index);
    g_assert_cmpuint(common_read(pci, COMMON(queue_size), 2), >=,
                     queue->size);
    common_write(pci, COMMON(queue_size), 2, queue->size);
    common_write(pci, COMMON(queue_msix_vector), 2, VIRTIO_MSI_NO_VECTOR);
    write_address(pci, COMMON(queue_desc_lo), queue->desc);
    write_address(pci, COMMON(queue_avail_lo), queue->driver);
    write_address(pci, COMMON(queue_used_lo), queue->device);
    common_write(pci, COMMON(queue_enable), 2, 1);
}

void virtio_pci_driver_ok(VirtioPci *pci)
{
    add_status(pci, VIRTIO_CONFIG_S_DRIVER_OK);
}

void virtio_pci_notify(VirtioPci *pci, uint16_t queue)
{
    uint16_t offset;

    common_write(pci, COMMON(queue_select), 2, queue);
    offset = common_read(pci, COMMON(queue_notify_off), 2);
    qemu_write(pci->qemu, pci->notify + offset * pci->notify_multiplier, 2,
               queue);
}

uint8_t virtio_pci_isr(VirtioPci *pci)
{
    return qemu_read(pci->qemu, pci->isr, 1);
}

uint8_t virtio_pci_config_read(VirtioPci *pci, uint32_t offset)
{
    return qemu_read(pci->qemu, pci->device + offset, 1);
}

void virtio_pci_config_write(VirtioPci *pci, uint32_t offset, uint8_t value)
{
    qemu_write(pci->qemu, pci->device + offset, 1, value);
}
