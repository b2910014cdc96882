/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lists of records with descriptors; see the header. Used by hw/virtio and
 * block/protocol to leave and find things, by the program to send them.
 *
 * A record's text is key=value,... as on a command line, and read by the same
 * parser. A descriptor is a value, too: its place among the record's.
 */
#include "block/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

struct HandoverRecord {
    char *kind, *id;
    GString *text;    /* as sent */
    Options *options; /* once it is read */
    int fds[HANDOVER_MAX_FDS]; /* -1: taken */
    unsigned n_fds;
};

struct Handover {
    GPtrArray *records; /* owned */
};

Handover *handover_new(void)
{
    Handover *handover = g_new0(Handover, 1);

    handover->records = g_ptr_array_new_with_free_func(
        (GDestroyNotify)handover_record_free);
    return handover;
}

void handover_free(Handover *handover)
{
    if (handover) {
        g_ptr_array_unref(handover->records);
        g_free(handover);
    }
}

void handover_record_free(HandoverRecord *record)
{
    if (!record) {
        return;
    }
    for (unsigned i = 0; i < record->n_fds; i++) {
        if (record->fds[i] >= 0) {
            close(record->fds[i]);
        }
    }
    options_free(record->options);
    g_string_free(record->text, TRUE);
    g_free(record->kind);
    g_free(record->id);
    g_free(record);
}

/* --- Writing --- */

void handover_put_str(HandoverRecord *record, const char *key,
                      const char *value)
{
    if (record->text->len) {
        g_string_append_c(record->text, ',');
    }
    g_string_append_printf(record->text, "%s=", key);
    for (; *value; value++) {
        g_string_append_c(record->text, *value);
        if (*value == ',') {
            g_string_append_c(record->text, ',');
        }
    }
}

void handover_put_uint(HandoverRecord *record, const char *key, uint64_t value)
{
    char text[24];

    g_snprintf(text, sizeof(text), "0x%" PRIx64, value);
    handover_put_str(record, key, text);
}

bool handover_put_fd(HandoverRecord *record, const char *key, int fd,
                     GError **error)
{
    int copy;

    if (fd < 0) {
        return true;
    }
    g_assert(record->n_fds < HANDOVER_MAX_FDS);
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "cannot duplicate a file descriptor: %s",
                    g_strerror(errno));
        return false;
    }
    handover_put_uint(record, key, record->n_fds);
    record->fds[record->n_fds++] = copy;
    return true;
}

static HandoverRecord *record_new(const char *kind, const char *id)
{
    HandoverRecord *record = g_new0(HandoverRecord, 1);

    record->kind = g_strdup(kind);
    record->id = g_strdup(id);
    record->text = g_string_new(NULL);
    return record;
}

HandoverRecord *handover_add(Handover *handover, const char *kind,
                             const char *id)
{
    HandoverRecord *record = record_new(kind, id);

    handover_put_str(record, "record", kind);
    handover_put_str(record, "id", id);
    g_ptr_array_add(handover->records, record);
    return record;
}

void handover_drop(Handover *handover, const char *id)
{
    for (unsigned i = handover->records->len; i > 0; i--) {
        const HandoverRecord *record = handover->records->pdata[i - 1];

        if (strcmp(record->id, id) == 0) {
            g_ptr_array_remove_index(handover->records, i - 1);
        }
    }
}

/* --- Reading --- */

static bool is_wanted(const HandoverRecord *record, const char *kind,
                      const char *id)
{
    return strcmp(record->kind, kind) == 0 &&
           (!id || strcmp(record->id, id) == 0);
}

HandoverRecord *handover_take(Handover *handover, const char *kind,
                              const char *id)
{
    for (unsigned i = 0; i < handover->records->len; i++) {
        if (is_wanted(handover->records->pdata[i], kind, id)) {
            return g_ptr_array_steal_index(handover->records, i);
        }
    }
    return NULL;
}

HandoverRecord *handover_take_last(Handover *handover, const char *kind)
{
    unsigned len = handover->records->len;

    if (len == 0 || !is_wanted(handover->records->pdata[len - 1], kind,
                               NULL)) {
        return NULL;
    }
    return g_ptr_array_steal_index(handover->records, len - 1);
}

bool handover_has(const Handover *handover, const char *kind, const char *id)
{
    for (unsigned i = 0; i < handover->records->len; i++) {
        if (is_wanted(handover->records->pdata[i], kind, id)) {
            return true;
        }
    }
    return false;
}

const char *handover_left(const Handover *handover)
{
    const HandoverRecord *record;

    if (handover->records->len == 0) {
        return NULL;
    }
    record = handover->records->pdata[0];
    return record->kind;
}

const char *handover_record_id(const HandoverRecord *record)
{
    return record->id;
}

/* Of our own text: a record that was written here may be read here. */
Options *handover_record_options(HandoverRecord *record)
{
    if (!record->options) {
        g_autofree char *word = NULL;

        record->options = options_parse(record->text->str, record->kind, NULL,
                                        NULL);
        g_assert(record->options);
        options_take_str(record->options, "record", &word, NULL);
        g_clear_pointer(&word, g_free);
        options_take_str(record->options, "id", &word, NULL);
    }
    return record->options;
}

bool handover_need_uint(HandoverRecord *record, const char *key, uint64_t max,
                        uint64_t *value, GError **error)
{
    Options *options = handover_record_options(record);

    if (!options_has(options, key)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    "%s '%s': '%s' is missing", record->kind, record->id, key);
        return false;
    }
    return options_take_uint(options, key, max, value, error);
}

int handover_take_fd(HandoverRecord *record, const char *key)
{
    uint64_t index = HANDOVER_MAX_FDS;
    int fd;

    if (!options_take_uint(handover_record_options(record), key,
                           HANDOVER_MAX_FDS, &index, NULL) ||
        index >= record->n_fds) {
        return -1;
    }
    fd = record->fds[index];
    record->fds[index] = -1;
    return fd;
}

bool handover_record_finish(HandoverRecord *record, GError **error)
{
    return options_finish(handover_record_options(record), error);
}

/* --- On the way --- */

const char *handover_text(const Handover *handover, unsigned index,
                          const int **fds, unsigned *n_fds)
{
    const HandoverRecord *record;

    if (index >= handover->records->len) {
        return NULL;
    }
    record = handover->records->pdata[index];
    *fds = record->fds;
    *n_fds = record->n_fds;
    return record->text->str;
}

bool handover_add_text(Handover *handover, const char *text, const int *fds,
                       unsigned n_fds, GError **error)
{
    g_autoptr(HandoverRecord) record = record_new(NULL, NULL);
    Options *options;

    g_string_append(record->text, text);
    for (unsigned i = 0; i < n_fds; i++) {
        if (record->n_fds < HANDOVER_MAX_FDS) {
            record->fds[record->n_fds++] = fds[i];
        } else {
            close(fds[i]);
        }
    }
    options = record->options = options_parse(text, "record", NULL, error);
    if (!options ||
        !options_need_str(options, "record", &record->kind, error) ||
        !options_need_str(options, "id", &record->id, error)) {
        return false;
    }
    g_ptr_array_add(handover->records, g_steal_pointer(&record));
    return true;
}
