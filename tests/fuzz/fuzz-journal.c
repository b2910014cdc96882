/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a server left that was no longer its own master: a journal of what
 * monitors had changed. The first byte says what the others are: the file, or
 * the text in it. What can be read is written and read again and stays what it
 * is, and what is written over anything is there.
 */
#include "fuzz.h"

#include "block/log.h"
#include "tests/lib/fds.h"
#include "tools/storage-daemon/changes.h"
#include "tools/storage-daemon/journal.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void ignore_line(LogLevel level, const char *line, void *opaque)
{
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    log_set_sink(ignore_line, NULL);
    return 0;
}

static char *again(const char *text)
{
    g_autoptr(GError) error = NULL;
    Changes changes;
    char *written;

    changes_init(&changes);
    changes_from_text(&changes, text, &error);
    g_assert_no_error(error);
    written = changes_to_text(&changes);
    changes_clear(&changes);
    return written;
}

/* Everything that the commands do to a list. */
static void use(Changes *changes)
{
    for (unsigned i = 0; i < changes->list->len; i++) {
        const Change *change = changes->list->pdata[i];
        g_autoptr(Options) args = change_args(change);
        g_autofree char *key = options_first_key(args);

        changes_find(changes, change->kind, change->id);
        changes_is_deleted(changes, CHANGE_NODE, change->id);
    }
    while (changes->list->len > 0 && changes->list->len < 100) {
        const Change *change = changes->list->pdata[0];
        g_autofree char *id = g_strdup(change->id);
        ChangeKind kind = change->kind;

        if (change->deleted || kind == CHANGE_LIMITS) {
            changes_forget(changes, changes->list->pdata[0]);
        } else {
            changes_delete(changes, kind, id);
            g_assert(!changes_find(changes, kind, id) ||
                     changes->list->len > 0);
        }
    }
}

/* A number may be written otherwise the first time. Members whose names share a
 * chain change places each time: twice is once. */
static void read_text(const char *text)
{
    Changes changes;

    changes_init(&changes);
    if (changes_from_text(&changes, text, NULL)) {
        g_autofree char *first = changes_to_text(&changes);
        g_autofree char *second = again(first);
        g_autofree char *third = again(second);
        g_autofree char *fourth = again(third);

        g_assert(strlen(second) == strlen(third));
        g_assert(strcmp(second, fourth) == 0);
        use(&changes);
    } else {
        g_assert(changes.list->len == 0);
    }
    changes_clear(&changes);
}

static void read_file(const uint8_t *data, size_t bytes)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    g_autoptr(Journal) journal = NULL;
    g_autofree char *text = NULL, *found = NULL;

    g_assert(write(fd, data, bytes) == (ssize_t)bytes);
    journal = journal_open(fd, NULL);
    g_assert(journal);
    text = journal_read(journal, NULL);
    if (text) {
        read_text(text);
    }
    g_assert(journal_write(journal, "what is written", NULL));
    found = journal_read(journal, NULL);
    g_assert(g_strcmp0(found, "what is written") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    unsigned n_fds = count_fds();
    g_autofree char *text = NULL;

    if (bytes == 0) {
        return 0;
    }
    if (*data % 2) {
        text = g_strndup((const char *)data + 1, bytes - 1);
        read_text(text);
    } else {
        read_file(data + 1, bytes - 1);
    }
    g_assert_cmpuint(count_fds(), ==, n_fds);
    return 0;
}
