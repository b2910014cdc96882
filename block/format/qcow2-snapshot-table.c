/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bytes of the snapshot table ("Snapshots" in the specification): taken
 * apart and put together. Nothing here reads or writes a file.
 */
#include "qcow2-snapshot.h"

#include <string.h>

#define ALIGNMENT 8

uint64_t qcow2_snapshot_entry_bytes(const Qcow2SnapshotHeader *header)
{
    uint64_t bytes = sizeof(*header);

    bytes += GUINT32_FROM_BE(header->extra_data_size);
    bytes += GUINT16_FROM_BE(header->id_str_size);
    bytes += GUINT16_FROM_BE(header->name_size);
    return (bytes + ALIGNMENT - 1) & ~(uint64_t)(ALIGNMENT - 1);
}

/* What is missing stays as it is. */
static void parse_extra(const uint8_t *data, uint32_t bytes,
                        Qcow2Snapshot *sn)
{
    Qcow2SnapshotExtra extra = { 0 };

    memcpy(&extra, data, MIN(bytes, sizeof(extra)));
    if (bytes >= offsetof(Qcow2SnapshotExtra, disk_size)) {
        sn->vm_state_bytes = GUINT64_FROM_BE(extra.vm_state_size_large);
    }
    if (bytes >= offsetof(Qcow2SnapshotExtra, icount)) {
        sn->disk_bytes = GUINT64_FROM_BE(extra.disk_size);
    }
    if (bytes >= sizeof(extra)) {
        sn->icount = GUINT64_FROM_BE(extra.icount);
    }
    if (bytes > sizeof(extra)) {
        sn->unknown_extra_bytes = bytes - sizeof(extra);
        sn->unknown_extra = g_memdup2(data + sizeof(extra),
                                      sn->unknown_extra_bytes);
    }
}

void qcow2_snapshot_parse(const uint8_t *entry, int64_t disk_bytes,
                          Qcow2Snapshot *sn)
{
    Qcow2SnapshotHeader header;
    const uint8_t *at = entry + sizeof(header);

    memcpy(&header, entry, sizeof(header));
    *sn = (Qcow2Snapshot){
        .l1_offset = GUINT64_FROM_BE(header.l1_table_offset),
        .l1_entries = GUINT32_FROM_BE(header.l1_size),
        .disk_bytes = disk_bytes,
        .vm_state_bytes = GUINT32_FROM_BE(header.vm_state_size),
        .date_s = GUINT32_FROM_BE(header.date_sec),
        .date_ns = GUINT32_FROM_BE(header.date_nsec),
        .vm_clock_ns = GUINT64_FROM_BE(header.vm_clock_nsec),
        .icount = UINT64_MAX,
        .extra_bytes = MIN(GUINT32_FROM_BE(header.extra_data_size),
                           QCOW2_MAX_SNAPSHOT_EXTRA_BYTES),
    };
    parse_extra(at, sn->extra_bytes, sn);
    at += sn->extra_bytes;
    sn->id = g_strndup((const char *)at, GUINT16_FROM_BE(header.id_str_size));
    at += GUINT16_FROM_BE(header.id_str_size);
    sn->name = g_strndup((const char *)at, GUINT16_FROM_BE(header.name_size));
}

static void append(GByteArray *table, const Qcow2Snapshot *sn)
{
    static const uint8_t zeroes[ALIGNMENT];
    unsigned id_bytes = strlen(sn->id), name_bytes = strlen(sn->name);
    Qcow2SnapshotExtra extra = {
        .vm_state_size_large = GUINT64_TO_BE(sn->vm_state_bytes),
        .disk_size = GUINT64_TO_BE(sn->disk_bytes),
        .icount = GUINT64_TO_BE(sn->icount),
    };
    Qcow2SnapshotHeader header = {
        .l1_table_offset = GUINT64_TO_BE(sn->l1_offset),
        .l1_size = GUINT32_TO_BE(sn->l1_entries),
        .id_str_size = GUINT16_TO_BE(id_bytes),
        .name_size = GUINT16_TO_BE(name_bytes),
        .date_sec = GUINT32_TO_BE(sn->date_s),
        .date_nsec = GUINT32_TO_BE(sn->date_ns),
        .vm_clock_nsec = GUINT64_TO_BE(sn->vm_clock_ns),
        .vm_state_size = GUINT32_TO_BE(sn->vm_state_bytes <= UINT32_MAX
                                           ? sn->vm_state_bytes
                                           : 0),
        .extra_data_size = GUINT32_TO_BE(sizeof(extra) +
                                         sn->unknown_extra_bytes),
    };

    g_byte_array_append(table, (const uint8_t *)&header, sizeof(header));
    g_byte_array_append(table, (const uint8_t *)&extra, sizeof(extra));
    if (sn->unknown_extra_bytes) {
        g_byte_array_append(table, sn->unknown_extra,
                            sn->unknown_extra_bytes);
    }
    g_byte_array_append(table, (const uint8_t *)sn->id, id_bytes);
    g_byte_array_append(table, (const uint8_t *)sn->name, name_bytes);
    if (table->len % ALIGNMENT) {
        g_byte_array_append(table, zeroes,
                            ALIGNMENT - table->len % ALIGNMENT);
    }
}

GByteArray *qcow2_snapshot_table(const Qcow2Snapshot *snapshots,
                                 unsigned count)
{
    GByteArray *table = g_byte_array_new();

    for (unsigned i = 0; i < count; i++) {
        append(table, &snapshots[i]);
    }
    return table;
}

void qcow2_snapshot_clear(Qcow2Snapshot *sn)
{
    g_free(sn->id);
    g_free(sn->name);
    g_free(sn->unknown_extra);
    *sn = (Qcow2Snapshot){ 0 };
}
