/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Joins the list of changes (changes.c) and the file that outlives us
 * (journal.c): that is with the supervisor or systemd (notify.h) from the
 * start, so that saving is a write and needs nobody, and goes to a successor
 * as it is. Called by succession.c and the QMP commands.
 */
#include "settings.h"

#include "journal.h"
#include "notify.h"
#include "block/error.h"
#include "block/log.h"

#include <unistd.h>

#define STORE_NAME "config"

static Changes changes; /* list NULL: off */
static Journal *journal;
static bool kept;       /* it is ours to write */
static bool stale;      /* and could not be written */

/* Takes @fd. */
static bool load(int fd, GError **error)
{
    g_autoptr(Journal) found = journal_open(fd, error);
    g_autofree char *text = found ? journal_read(found, error) : NULL;

    if (!text || !changes_from_text(&changes, text, error)) {
        return false;
    }
    journal_free(journal);
    journal = g_steal_pointer(&found);
    return true;
}

static void load_kept(void)
{
    int fd = notify_take_fd(STORE_NAME);
    g_autoptr(GError) error = NULL;

    if (fd >= 0 && !load(fd, &error)) {
        log_warn("what monitors had configured is lost: %s", error->message);
    }
}

void settings_start(bool wanted)
{
    if (wanted) {
        changes_init(&changes);
        load_kept();
    }
}

bool settings_take_over(Handover *handover, GError **error)
{
    g_autoptr(HandoverRecord) record = handover_take(handover, "config", NULL);
    int fd;

    if (changes.list) {
        g_ptr_array_set_size(changes.list, 0); /* of before that process */
    }
    if (!record) {
        return true;
    }
    fd = handover_take_fd(record, "journal");
    if (!handover_record_finish(record, error)) {
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    if (!changes.list) {
        changes_init(&changes);
    }
    if (!load(fd, error)) {
        return false;
    }
    /* before it is ours: from the moment at which it is we may be killed */
    notify_store_fd(STORE_NAME, journal_fd(journal));
    return true;
}

/* Of two of that name the next process could get either. */
static bool make_journal(void)
{
    g_autoptr(GError) error = NULL;

    notify_forget_fd(STORE_NAME);
    journal = journal_new(&error);
    if (!journal) {
        log_warn("what monitors configure will not outlive this process: %s",
                 error->message);
    }
    return journal;
}

void settings_keep(void)
{
    if (!changes.list || (!journal && !make_journal())) {
        return;
    }
    kept = true;
    settings_save();
    notify_store_fd(STORE_NAME, journal_fd(journal));
}

Changes *settings_changes(void)
{
    return changes.list ? &changes : NULL;
}

bool settings_is_deleted(ChangeKind kind, const char *id)
{
    return changes_is_deleted(&changes, kind, id);
}

/* --- Changes --- */

void settings_save(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;

    if (!kept) {
        return;
    }
    text = changes_to_text(&changes);
    if (journal_write(journal, text, &error)) {
        stale = false;
    } else if (!stale) {
        stale = true;
        log_warn("what monitors configure from now on may not outlive this "
                 "process: %s", error->message);
    }
}

bool settings_prepare(ChangeKind kind, const Options *args, Change **change,
                      GError **error)
{
    *change = NULL;
    if (!changes.list) {
        return true;
    }
    *change = change_new(kind, args, error);
    return *change;
}

void settings_added(Change *change)
{
    if (change) {
        changes_add(&changes, change);
        settings_save();
    }
}

void settings_deleted(ChangeKind kind, const char *id)
{
    if (changes.list) {
        changes_delete(&changes, kind, id);
        settings_save();
    }
}

bool settings_give_up(ChangeKind kind, const char *id)
{
    Change *change = changes.list ? changes_find(&changes, kind, id) : NULL;

    if (!change || !change->waiting) {
        return false;
    }
    changes_forget(&changes, change);
    settings_save();
    return true;
}

/* --- At the end --- */

bool settings_hand_over(Handover *handover, GError **error)
{
    HandoverRecord *record;

    if (!changes.list) {
        return true;
    }
    if (!journal || stale) {
        return error_setg(error, "there is no journal of what monitors have "
                          "configured");
    }
    record = handover_add(handover, "config", "");
    return handover_put_fd(record, "journal", journal_fd(journal), error);
}

void settings_drop(void)
{
    if (kept) {
        notify_forget_fd(STORE_NAME);
    }
}

void settings_stop(void)
{
    g_clear_pointer(&journal, journal_free);
    changes_clear(&changes);
}
