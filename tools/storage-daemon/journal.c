/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See the header. Called by settings.c.
 *
 * How it works: two slots of one line at the start of the file, texts behind
 * them. A line has a number, says where its text lies, and has a checksum of
 * it. A new text goes where the last one is not, then a line with the next
 * number goes into the slot that the last one's does not use: whatever is
 * half-written does not count, and the last one does.
 *
 *     0     "vblk-journal 1 6 4096 310 <sha256>"
 *     256   "vblk-journal 1 7 8192 415 <sha256>"      <- this one
 *     4096  text 6
 *     8192  text 7
 */
#include "journal.h"

#include "block/log.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC      "vblk-journal"
#define VERSION    1
#define SLOTS      2
#define SLOT_BYTES 256
#define ALIGNMENT  UINT64_C(4096)
#define NUMBER_MAX G_MAXINT64
#define CHECKSUM   G_CHECKSUM_SHA256

/* What a slot says. */
typedef struct Entry {
    uint64_t number; /* 0: nothing */
    uint64_t offset, bytes;
    char *checksum;
} Entry;

struct Journal {
    int fd;
    Entry last;
};

static void entry_clear(Entry *entry)
{
    g_free(entry->checksum);
    *entry = (Entry){ 0 };
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Entry, entry_clear)

static bool fail(GError **error, const char *what, int err)
{
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(err),
                "journal: %s: %s", what, g_strerror(err));
    return false;
}

static bool write_all(int fd, const char *data, size_t bytes, off_t offset,
                      GError **error)
{
    while (bytes > 0) {
        ssize_t put = pwrite(fd, data, bytes, offset);

        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            return fail(error, "cannot write", put < 0 ? errno : ENOSPC);
        }
        data += put;
        offset += put;
        bytes -= put;
    }
    return true;
}

/* Returns how much there was. */
static ssize_t read_all(int fd, char *data, size_t bytes, off_t offset)
{
    size_t at = 0;

    while (at < bytes) {
        ssize_t got = pread(fd, data + at, bytes - at, offset + at);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got < 0 ? -1 : (ssize_t)at;
        }
        at += got;
    }
    return at;
}

/* --- Reading --- */

static bool parse_number(const char *word, uint64_t max, uint64_t *value)
{
    guint64 number;

    if (!g_ascii_string_to_unsigned(word, 10, 0, max, &number, NULL)) {
        return false;
    }
    *value = number;
    return true;
}

static bool parse_slot(const char *line, Entry *entry)
{
    g_auto(GStrv) words = g_strsplit(line, " ", 7);
    uint64_t version;

    if (g_strv_length(words) != 6 || strcmp(words[0], MAGIC) != 0 ||
        !parse_number(words[1], VERSION, &version) || version != VERSION ||
        !parse_number(words[2], NUMBER_MAX, &entry->number) ||
        !parse_number(words[3], G_MAXINT64 / 2, &entry->offset) ||
        entry->offset < ALIGNMENT ||
        !parse_number(words[4], JOURNAL_MAX_BYTES, &entry->bytes)) {
        return false;
    }
    entry->checksum = g_strdup(words[5]);
    return true;
}

/* Its text, or NULL when that is not there as it was written. */
static char *read_text(int fd, const Entry *entry)
{
    g_autofree char *text = g_try_malloc(entry->bytes + 1), *sum = NULL;

    if (!text || read_all(fd, text, entry->bytes, entry->offset) !=
                     (ssize_t)entry->bytes) {
        return NULL;
    }
    text[entry->bytes] = 0;
    sum = g_compute_checksum_for_data(CHECKSUM, (const guchar *)text,
                                      entry->bytes);
    return strcmp(sum, entry->checksum) == 0 ? g_steal_pointer(&text) : NULL;
}

/* The newest that is whole; its text in *text. */
static void look_at_slot(int fd, unsigned i, Entry *newest, char **text)
{
    char line[SLOT_BYTES + 1] = { 0 };
    g_auto(Entry) entry = { 0 };
    char *found;

    if (read_all(fd, line, SLOT_BYTES, i * SLOT_BYTES) <= 0 ||
        !parse_slot(line, &entry) || entry.number % SLOTS != i ||
        entry.number <= newest->number) {
        return;
    }
    found = read_text(fd, &entry);
    if (found) {
        g_free(*text);
        *text = found;
        entry_clear(newest);
        *newest = entry;
        entry = (Entry){ 0 };
    }
}

char *journal_read(Journal *journal, GError **error)
{
    char *text = NULL;
    struct stat st;

    entry_clear(&journal->last);
    for (unsigned i = 0; i < SLOTS; i++) {
        look_at_slot(journal->fd, i, &journal->last, &text);
    }
    if (text) {
        return text;
    }
    if (fstat(journal->fd, &st) < 0 || st.st_size > 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    "journal: nothing in it can be read");
        return NULL;
    }
    return g_strdup("");
}

/* --- Writing --- */

/* Where it does not touch the last one. */
static uint64_t place_for(const Entry *last, size_t bytes)
{
    uint64_t end = last->offset + last->bytes;

    if (last->number == 0 || last->offset - ALIGNMENT >= bytes) {
        return ALIGNMENT;
    }
    return (end + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static bool write_slot(int fd, const Entry *entry, GError **error)
{
    char line[SLOT_BYTES] = { 0 };

    g_snprintf(line, sizeof(line), MAGIC " %d %" PRIu64 " %" PRIu64 " %" PRIu64
               " %s", VERSION, entry->number, entry->offset, entry->bytes,
               entry->checksum);
    return write_all(fd, line, sizeof(line),
                     entry->number % SLOTS * SLOT_BYTES, error);
}

/* Memory that nothing leads to any more. */
static void trim(const Journal *journal)
{
    const Entry *last = &journal->last;

    if (ftruncate(journal->fd, last->offset + last->bytes) < 0) {
        log_warn("journal: cannot shorten: %s", g_strerror(errno));
    }
}

/* Nothing in it counts, and nothing may count later, when there is something
 * where an old line points to. */
static bool start_over(Journal *journal, GError **error)
{
    entry_clear(&journal->last);
    return ftruncate(journal->fd, 0) == 0 ||
           fail(error, "cannot empty it", errno);
}

static bool append(Journal *journal, const char *text, GError **error)
{
    size_t bytes = strlen(text);
    g_auto(Entry) entry = {
        .number = journal->last.number + 1,
        .offset = place_for(&journal->last, bytes),
        .bytes = bytes,
        .checksum = g_compute_checksum_for_string(CHECKSUM, text, bytes),
    };

    if (!write_all(journal->fd, text, bytes, entry.offset, error) ||
        !write_slot(journal->fd, &entry, error)) {
        return false;
    }
    entry_clear(&journal->last);
    journal->last = entry;
    entry = (Entry){ 0 };
    trim(journal);
    return true;
}

bool journal_write(Journal *journal, const char *text, GError **error)
{
    uint64_t number = journal->last.number;

    if (strlen(text) > JOURNAL_MAX_BYTES) {
        return fail(error, "cannot write", EFBIG);
    }
    return ((number > 0 && number < NUMBER_MAX) ||
            start_over(journal, error)) &&
           append(journal, text, error);
}

/* --- Coming and going --- */

static Journal *new_on(int fd)
{
    Journal *journal = g_new0(Journal, 1);

    journal->fd = fd;
    return journal;
}

Journal *journal_new(GError **error)
{
    int fd = memfd_create("vblk-config", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0) {
        fail(error, "cannot make one", errno);
        return NULL;
    }
    return new_on(fd);
}

/* A read of anything else might wait; and it has to be written. */
Journal *journal_open(int fd, GError **error)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
        fcntl(fd, F_GET_SEALS) != 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    "journal: the descriptor is no memfd that can be written");
        close(fd);
        return NULL;
    }
    return new_on(fd);
}

void journal_free(Journal *journal)
{
    if (journal) {
        entry_clear(&journal->last);
        close(journal->fd);
        g_free(journal);
    }
}

int journal_fd(const Journal *journal)
{
    return journal->fd;
}
