/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Prints what is known of an image for people. The words, the columns and
 * the order of lines are those that scripts cut out with sed.
 */
#include "image-info-print.h"

#include "tools/common/size.h"
#include "tools/common/specific-info.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define NS_PER_S INT64_C(1000000000)

static char *date_text(int64_t date_s)
{
    g_autoptr(GDateTime) date = g_date_time_new_from_unix_local(date_s);

    return date ? g_date_time_format(date, "%Y-%m-%d %H:%M:%S")
                : g_strdup("");
}

static char *clock_text(int64_t clock_ns)
{
    int64_t s = clock_ns / NS_PER_S;

    return g_strdup_printf("%02d:%02d:%02d.%03d", (int)(s / 3600),
                           (int)(s / 60 % 60), (int)(s % 60),
                           (int)(clock_ns / 1000000 % 1000));
}

static void print_snapshot(const BlockSnapshot *snapshot)
{
    g_autofree char *bytes = size_to_str(snapshot->vm_state_bytes);
    g_autofree char *date = date_text(snapshot->date_s);
    g_autofree char *clock = clock_text(snapshot->vm_clock_ns);
    g_autofree char *icount = NULL;

    if (snapshot->icount == UINT64_MAX) {
        icount = g_strdup("");
    } else {
        icount = g_strdup_printf("%" G_GINT64_FORMAT,
                                 (int64_t)snapshot->icount);
    }
    printf("%-9s %-16s %8s%20s%13s%11s\n", snapshot->id, snapshot->name,
           bytes, date, clock, icount);
}

void snapshot_table_print(const GPtrArray *snapshots)
{
    printf("%-9s %-16s %8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE",
           "VM CLOCK", "ICOUNT");
    for (unsigned i = 0; i < snapshots->len; i++) {
        print_snapshot(snapshots->pdata[i]);
    }
}

static void print_sizes(const ImageInfo *info)
{
    g_autofree char *virtual = size_to_str(info->virtual_bytes);
    g_autofree char *actual = NULL;

    actual = info->actual_bytes < 0 ? g_strdup("unavailable")
                                    : size_to_str(info->actual_bytes);
    printf("virtual size: %s (%" G_GINT64_FORMAT " bytes)\n", virtual,
           info->virtual_bytes);
    printf("disk size: %s\n", actual);
}

static void print_backing(const ImageInfo *info)
{
    printf("backing file: %s", info->backing_file);
    if (!info->backing_path) {
        printf(" (cannot determine actual path)");
    } else if (strcmp(info->backing_path, info->backing_file) != 0) {
        printf(" (actual path: %s)", info->backing_path);
    }
    printf("\n");
    if (info->backing_format) {
        printf("backing file format: %s\n", info->backing_format);
    }
}

void image_info_print(const ImageInfo *info)
{
    const BlockImageInfo *driver = &info->driver;

    printf("image: %s\n", info->filename);
    printf("file format: %s\n", info->format);
    print_sizes(info);
    if (driver->cluster_bytes > 0) {
        printf("cluster_size: %" G_GINT64_FORMAT "\n", driver->cluster_bytes);
    }
    if (driver->dirty) {
        printf("cleanly shut down: no\n");
    }
    if (info->backing_file) {
        print_backing(info);
    }
    if (driver->snapshots && driver->snapshots->len > 0) {
        printf("Snapshot list:\n");
        snapshot_table_print(driver->snapshots);
    }
    if (driver->specific) {
        specific_info_print(driver->specific);
    }
}
