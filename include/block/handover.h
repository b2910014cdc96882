/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a process leaves to the one that takes over from it: a list of records,
 * each of some values and open files. Layers add theirs and take theirs; the
 * program sends the list. All functions: Context: main.
 *
 * A record has a kind ("ring"), the id of what it is about ("e0"), and values
 * by key, as options have them. The reader takes values like options, and
 * what nobody took is an error: both sides know all of it, or the version is
 * another one.
 */
#ifndef BLOCK_HANDOVER_H
#define BLOCK_HANDOVER_H

#include "block/options.h"

typedef struct Handover Handover;
typedef struct HandoverRecord HandoverRecord;

#define HANDOVER_MAX_FDS 8 /* of a record */

Handover *handover_new(void);
void handover_free(Handover *handover); /* closes all that was not taken */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Handover, handover_free)

/* --- Writing --- */

/* Borrowed: the list's. */
HandoverRecord *handover_add(Handover *handover, const char *kind,
                             const char *id);
void handover_put_str(HandoverRecord *record, const char *key,
                      const char *value);
void handover_put_uint(HandoverRecord *record, const char *key,
                       uint64_t value);
/* A duplicate of @fd; -1: nothing is put. False with @error when there are no
 * more descriptors. */
bool handover_put_fd(HandoverRecord *record, const char *key, int fd,
                     GError **error);

/* All records about @id go again. */
void handover_drop(Handover *handover, const char *id);

/* --- Reading --- */

/* The next record of @kind about @id (NULL: any); out of the list and the
 * caller's, or NULL. */
HandoverRecord *handover_take(Handover *handover, const char *kind,
                              const char *id);
bool handover_has(const Handover *handover, const char *kind, const char *id);
/* The last one, if it is of that kind; the caller's. */
HandoverRecord *handover_take_last(Handover *handover, const char *kind);
/* The kind of a record that nobody took, or NULL. */
const char *handover_left(const Handover *handover);

void handover_record_free(HandoverRecord *record);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HandoverRecord, handover_record_free)

const char *handover_record_id(const HandoverRecord *record);
/* Its values, borrowed. */
Options *handover_record_options(HandoverRecord *record);
/* Takes a value that has to be there; at most @max. */
bool handover_need_uint(HandoverRecord *record, const char *key, uint64_t max,
                        uint64_t *value, GError **error);
/* The caller's; -1 when there is none under @key. */
int handover_take_fd(HandoverRecord *record, const char *key);
/* Fails when there is something that was not taken. */
bool handover_record_finish(HandoverRecord *record, GError **error);

/* --- On the way --- */

/* The records, in order: text and descriptors, both borrowed. NULL: no more. */
const char *handover_text(const Handover *handover, unsigned index,
                          const int **fds, unsigned *n_fds);
/* Appends a record that came; takes @fds. */
bool handover_add_text(Handover *handover, const char *text, const int *fds,
                       unsigned n_fds, GError **error);

#endif
