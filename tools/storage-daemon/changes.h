/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What monitors have made of the command line: a list of QMP commands that
 * leads from the one to what there is. What was added and deleted again is
 * not in it; what the command line had and was deleted is, as deleted. No
 * I/O: settings.c keeps it. All functions: Context: main.
 */
#ifndef TOOLS_STORAGE_DAEMON_CHANGES_H
#define TOOLS_STORAGE_DAEMON_CHANGES_H

#include "block/options.h"

typedef enum ChangeKind {
    CHANGE_NODE,    /* blockdev-add, blockdev-del */
    CHANGE_OBJECT,  /* object-add, object-del */
    CHANGE_EXPORT,  /* block-export-add, block-export-del */
    CHANGE_LIMITS,  /* qom-set of a throttle group's limits */
    CHANGE_ACTIVE,  /* blockdev-set-active of a node; of all of them: id "" */
} ChangeKind;

typedef struct Change {
    ChangeKind kind;
    bool deleted;   /* an object of the command line that is not to be */
    bool waiting;   /* was there once and is to be again: replay.c's */
    char *id;
    char *args;     /* the command's, in JSON */
} Change;

/* Fails with what could not be read again: too long or too deep a tree. @args
 * stay the caller's; "" is the id of those that have none. */
Change *change_new(ChangeKind kind, const Options *args, GError **error);
void change_free(Change *change);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Change, change_free)

const char *change_kind_name(ChangeKind kind); /* "node" */

/* The arguments, as the command has them. Caller frees. */
Options *change_args(const Change *change);

typedef struct Changes {
    GPtrArray *list; /* of Change, in an order in which they can be made */
} Changes;

void changes_init(Changes *changes);
void changes_clear(Changes *changes);

/* The command has succeeded; takes @change. It replaces one that waits, and
 * what is no thing but the state of one replaces what the state was before. */
void changes_add(Changes *changes, Change *change);
void changes_delete(Changes *changes, ChangeKind kind, const char *id);
/* It is not there after all. */
void changes_forget(Changes *changes, Change *change);

/* NULL: none is in the list, or it is there as deleted only. */
Change *changes_find(const Changes *changes, ChangeKind kind, const char *id);
bool changes_is_deleted(const Changes *changes, ChangeKind kind,
                        const char *id);

/* One command a line. Caller frees. */
char *changes_to_text(const Changes *changes);
/* Appends what another process has written, or fails and appends nothing. */
bool changes_from_text(Changes *changes, const char *text, GError **error);

#endif
