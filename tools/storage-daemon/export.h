/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * --export: joins a node, a device and a socket. All functions: Context: main.
 */
#ifndef TOOLS_STORAGE_DAEMON_EXPORT_H
#define TOOLS_STORAGE_DAEMON_EXPORT_H

#include "block/aio.h"
#include "block/handover.h"
#include "block/options.h"
#include "hw/block/virtio-blk.h"

typedef struct Export Export;

/* Starts serving. @opts is consumed. */
bool export_add(Options *opts, AioContext *main_ctx, GError **error);

/* Borrowed, or NULL; also one that is being deleted. */
Export *export_find(const char *id);
typedef void ExportFn(Export *export, void *opaque);
void export_foreach(ExportFn *fn, void *opaque); /* the newest first */

const char *export_id(const Export *export);
const char *export_node_name(const Export *export);
const char *const *export_iothreads(const Export *export); /* NULL: none */
uint32_t export_block_size(const Export *export); /* logical */
bool export_is_deleted(const Export *export);
bool export_is_connected(const Export *export);
VirtIOBlock *export_device(const Export *export);

/* Drains and closes it; its id is free again when it is gone. */
void export_del(Export *export);
/* Before that: nobody is to find its socket after a crash either. */
void export_forget_socket(const Export *export);
/* The same of one that a process before this one had, and that is not to be
 * here either: its socket goes. */
void export_drop_kept_socket(const char *id);

/* Who wants to know what becomes of exports; borrowed for good. */
typedef struct ExportEvents {
    void (*deleted)(const char *id); /* it is gone */
    void (*io_error)(Export *export, const VirtIOBlockError *error);
    void (*resumed)(Export *export); /* after an error that stopped it */
} ExportEvents;
void export_set_events(const ExportEvents *events);

/* Print each export's statistics when its last request is done. */
#define EXPORT_STOP_STATS 0x1

/* Drains and closes them all; @done runs from the main loop when the last is
 * gone, at once when there are none. */
void export_stop_all(unsigned flags, AioFn *done, void *opaque);

/* Calls @fn with the path of each socket file that will be removed. */
void export_each_socket(void (*fn)(const char *path, void *opaque),
                        void *opaque);
/*
 * Has all exports come to a stand and stay there until export_resume_all().
 * The first of those that have not yet, NULL: none; one that is being deleted
 * counts as well. That changes in the main loop's rounds.
 */
void export_pause_all(void);
const Export *export_first_moving(void);
/*
 * From one process to the next: puts all exports, which stand still, into
 * @handover; @done as above. On the other side exports that are added after
 * export_take_over() go on with what is there of their id, but stand still
 * until export_resume_all(). @handover stays the caller's until then; @back:
 * it was ours.
 */
void export_hand_over_all(unsigned flags, Handover *handover, AioFn *done,
                          void *opaque);
void export_take_over(Handover *handover, bool back);
/* Who has not come to a stand yet goes on as soon as it has. Returns how many
 * requests were in flight and are submitted again. */
unsigned export_resume_all(void);

/* One "stats: export=..." line each, and histograms, on stderr. */
void export_print_stats(void);

#endif
