/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log between engines and the kernel: see write-log.h.
 *
 * How it works: an entry has the places in the log at which it began and ended.
 * A cut gives each entry a moment between the two, sorts by that, and does
 * what was promised, and some of the rest, in that order.
 */
#include "write-log.h"

#include "block/engine/engine-internal.h"
#include "block/engine/syscalls.h"
#include "block/iov.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#define SECTOR 512
#define CHUNK  4096     /* direct I/O can be cut there, whatever the disk */
#define NEVER  UINT_MAX

typedef enum EntryKind {
    ENTRY_DATA,
    ENTRY_ZEROES,
    ENTRY_LENGTH,   /* the file is offset bytes long */
    ENTRY_FLUSH,
} EntryKind;

typedef struct Entry {
    EntryKind kind;
    int64_t offset, bytes;
    uint8_t *data;
    unsigned began, ended;  /* places in the log, or NEVER */
    int64_t done;           /* bytes that are known to be written */
    bool dsync;             /* and need no flush */
    bool ok;
    bool grows;             /* makes the file longer, if it goes so far */
} Entry;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static struct {
    WriteLogConf conf;
    struct stat identity;   /* of the file */
    bool noting;
    GPtrArray *entries;     /* owned */
    GHashTable *active;     /* EngineRequest to Entry */
    unsigned length;
    uint64_t draws;
    WriteLogCounts counts;
} wlog;                     /* GUARDED_BY mutex, from noting on */

/* --- chance --- */

static unsigned draw(unsigned n)
{
    uint64_t x = ((uint64_t)wlog.conf.seed << 32) + wlog.draws++;

    x = (x ^ x >> 33) * 0xff51afd7ed558ccdULL;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53ULL;
    return (x ^ x >> 33) % n;
}

static bool strikes(unsigned odds, uint64_t *count)
{
    if (!wlog.noting || draw(1000) >= odds) {
        return false;
    }
    (*count)++;
    return true;
}

/* --- entries; the caller holds the mutex --- */

static void entry_free(void *opaque)
{
    Entry *entry = opaque;

    g_free(entry->data);
    g_free(entry);
}

static Entry *entry_begin(EntryKind kind, int64_t offset, int64_t bytes)
{
    Entry *entry;

    if (!wlog.noting) {
        return NULL;
    }
    entry = g_new0(Entry, 1);
    entry->kind = kind;
    entry->offset = offset;
    entry->bytes = bytes;
    entry->grows = kind == ENTRY_DATA;
    entry->began = wlog.length++;
    entry->ended = NEVER;
    g_ptr_array_add(wlog.entries, entry);
    return entry;
}

static Entry *data_begin(int64_t offset, const struct iovec *iov,
                         unsigned niov, bool dsync)
{
    Entry *entry = entry_begin(ENTRY_DATA, offset, iov_size(iov, niov));

    if (entry) {
        entry->data = g_malloc(entry->bytes);
        iov_to_buf(iov, niov, 0, entry->data, entry->bytes);
        entry->dsync = dsync;
        wlog.counts.writes++;
        wlog.counts.dsync_writes += dsync;
    }
    return entry;
}

static Entry *flush_begin(void)
{
    Entry *entry = entry_begin(ENTRY_FLUSH, 0, 0);

    wlog.counts.flushes += entry != NULL;
    return entry;
}

static void entry_end(Entry *entry, ssize_t res)
{
    if (!entry) {
        return;
    }
    entry->ended = wlog.length++;
    entry->ok = res >= 0;
    entry->done = entry->kind == ENTRY_DATA ? MAX(res, 0) : entry->bytes;
}

/* The kernel did not take it: nothing was done. */
static void entry_cancel(Entry *entry)
{
    if (entry) {
        entry->ended = wlog.length++;
        entry->ok = false;
        entry->bytes = 0;
    }
}

/* --- requests, for engines that hand them over --- */

static void request_begin(EngineRequest *req)
{
    Entry *entry = NULL, *left;
    unsigned niov;
    const struct iovec *iov;

    switch (engine_request_step(req)) {
    case ENGINE_STEP_READ:
        return;
    case ENGINE_STEP_WRITE:
        iov = engine_request_iov(req, &niov);
        entry = data_begin(engine_request_offset(req), iov, niov,
                           engine_request_dsync(req));
        break;
    case ENGINE_STEP_SYNC:
        entry = flush_begin();
        break;
    }
    /* one that would have blocked came back without a word, and comes again */
    left = g_hash_table_lookup(wlog.active, req);
    entry_end(left, -EAGAIN);
    if (entry) {
        g_hash_table_insert(wlog.active, req, entry);
    }
}

static void request_cancel(EngineRequest *req)
{
    entry_cancel(g_hash_table_lookup(wlog.active, req));
    g_hash_table_remove(wlog.active, req);
}

/* --- what engines call --- */

static int log_io_submit(io_context_t id, long n, struct iocb **iocbs)
{
    long ret;

    pthread_mutex_lock(&mutex);
    for (long i = 0; i < n; i++) {
        request_begin(container_of(iocbs[i], EngineRequest, iocb));
    }
    pthread_mutex_unlock(&mutex);
    ret = engine_syscalls_linux.io_submit(id, n, iocbs);
    pthread_mutex_lock(&mutex);
    for (long i = MAX(ret, 0); i < n; i++) {
        request_cancel(container_of(iocbs[i], EngineRequest, iocb));
    }
    pthread_mutex_unlock(&mutex);
    return ret;
}

static EngineRequest *request_of_sqe(struct io_uring *ring, unsigned i)
{
    return (EngineRequest *)(uintptr_t)
               ring->sq.sqes[i & ring->sq.ring_mask].user_data;
}

static int log_uring_submit(struct io_uring *ring)
{
    unsigned head = ring->sq.sqe_head;
    unsigned tail = ring->sq.sqe_tail;
    int ret;

    pthread_mutex_lock(&mutex);
    for (unsigned i = head; i != tail; i++) {
        request_begin(request_of_sqe(ring, i));
    }
    pthread_mutex_unlock(&mutex);
    ret = engine_syscalls_linux.uring_submit(ring);
    pthread_mutex_lock(&mutex);
    for (unsigned i = head + MAX(ret, 0); i != tail; i++) {
        request_cancel(request_of_sqe(ring, i));
    }
    pthread_mutex_unlock(&mutex);
    return ret;
}

/* What came of an attempt; of workers' attempts nothing is active. Of what was
 * transferred the last part may be kept back. */
static ssize_t log_result(const EngineRequest *req, ssize_t res)
{
    Entry *entry;

    pthread_mutex_lock(&mutex);
    entry = g_hash_table_lookup(wlog.active, req);
    if (entry && entry->kind == ENTRY_DATA && res >= 2 * CHUNK &&
        strikes(wlog.conf.short_odds, &wlog.counts.shortened)) {
        res = (ssize_t)(1 + draw(res / CHUNK - 1)) * CHUNK;
    }
    if (entry && entry->dsync &&
        strikes(wlog.conf.no_dsync_odds, &wlog.counts.refused)) {
        res = -EOPNOTSUPP;
    }
    entry_end(entry, res);
    g_hash_table_remove(wlog.active, req);
    pthread_mutex_unlock(&mutex);
    return res;
}

/* Copies the head of @iov, as many bytes as a cut leaves. */
static int cut(struct iovec *part, const struct iovec *iov, int niov)
{
    size_t keep = (1 + draw(iov_size(iov, niov) / CHUNK - 1)) * CHUNK;

    return iov_slice(part, iov, niov, 0, keep);
}

static ssize_t log_pwritev2(int fd, const struct iovec *iov, int niov,
                            off_t offset, int flags)
{
    bool dsync = flags & RWF_DSYNC;
    struct iovec part[64];
    Entry *entry;
    ssize_t ret;

    pthread_mutex_lock(&mutex);
    if (dsync && strikes(wlog.conf.no_dsync_odds, &wlog.counts.refused)) {
        pthread_mutex_unlock(&mutex);
        errno = EOPNOTSUPP;
        return -1;
    }
    if (niov <= 64 && iov_size(iov, niov) >= 2 * CHUNK &&
        strikes(wlog.conf.short_odds, &wlog.counts.shortened)) {
        niov = cut(part, iov, niov);
        iov = part;
    }
    entry = data_begin(offset, iov, niov, dsync);
    pthread_mutex_unlock(&mutex);
    ret = engine_syscalls_linux.pwritev2(fd, iov, niov, offset, flags);
    pthread_mutex_lock(&mutex);
    entry_end(entry, ret);
    pthread_mutex_unlock(&mutex);
    return ret;
}

/* --- what the linker sends here --- */

int __wrap_fallocate64(int fd, int mode, off_t offset, off_t bytes);
int __wrap_ftruncate64(int fd, off_t bytes);
ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int niov,
                         off_t offset);
int __wrap_fdatasync(int fd);

int __real_fallocate64(int fd, int mode, off_t offset, off_t bytes);
int __real_ftruncate64(int fd, off_t bytes);
ssize_t __real_pwritev64(int fd, const struct iovec *iov, int niov,
                         off_t offset);
int __real_fdatasync(int fd);

/* The linker sends all files' calls. */
static bool is_ours(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_dev == wlog.identity.st_dev &&
           st.st_ino == wlog.identity.st_ino;
}

static int end_call(Entry *entry, int ret)
{
    int err = errno;

    pthread_mutex_lock(&mutex);
    entry_end(entry, ret);
    pthread_mutex_unlock(&mutex);
    errno = err;
    return ret;
}

int __wrap_fallocate64(int fd, int mode, off_t offset, off_t bytes)
{
    bool zeroes = mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);
    Entry *entry = NULL;

    pthread_mutex_lock(&mutex);
    if (zeroes && is_ours(fd)) {
        entry = entry_begin(ENTRY_ZEROES, offset, bytes);
        wlog.counts.ranges += entry != NULL;
    }
    if (entry) {
        entry->grows = !(mode & FALLOC_FL_KEEP_SIZE);
    }
    pthread_mutex_unlock(&mutex);
    return end_call(entry, __real_fallocate64(fd, mode, offset, bytes));
}

int __wrap_ftruncate64(int fd, off_t bytes)
{
    Entry *entry;

    pthread_mutex_lock(&mutex);
    entry = is_ours(fd) ? entry_begin(ENTRY_LENGTH, bytes, 0) : NULL;
    wlog.counts.lengths += entry != NULL;
    pthread_mutex_unlock(&mutex);
    return end_call(entry, __real_ftruncate64(fd, bytes));
}

ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int niov,
                         off_t offset)
{
    Entry *entry;

    pthread_mutex_lock(&mutex);
    entry = is_ours(fd) ? data_begin(offset, iov, niov, false) : NULL;
    pthread_mutex_unlock(&mutex);
    return end_call(entry, __real_pwritev64(fd, iov, niov, offset));
}

int __wrap_fdatasync(int fd)
{
    Entry *entry;

    pthread_mutex_lock(&mutex);
    entry = is_ours(fd) ? flush_begin() : NULL;
    pthread_mutex_unlock(&mutex);
    return end_call(entry, __real_fdatasync(fd));
}

/* --- replay --- */

static void set_length(GByteArray *file, int64_t bytes)
{
    int64_t before = file->len;

    g_byte_array_set_size(file, bytes);
    if (bytes > before) {
        memset(file->data + before, 0, bytes - before);
    }
}

static void put(GByteArray *file, const Entry *entry, int64_t at,
                int64_t bytes)
{
    int64_t start = entry->offset + at;

    if (entry->grows && start + bytes > file->len) {
        set_length(file, start + bytes);
    }
    bytes = CLAMP((int64_t)file->len - start, 0, bytes);
    if (bytes == 0) {
        return;
    }
    if (entry->data) {
        memcpy(file->data + start, entry->data + at, bytes);
    } else {
        memset(file->data + start, 0, bytes);
    }
}

static void replay_all(GByteArray *file, const Entry *entry)
{
    if (entry->kind == ENTRY_LENGTH) {
        set_length(file, entry->offset);
    } else {
        put(file, entry, 0, entry->bytes);
    }
}

/* What is not promised: all of it, nothing, or some sectors. */
static void replay_some(GByteArray *file, const Entry *entry, GRand *rand)
{
    int fate = g_rand_int_range(rand, 0, 3);

    if (fate == 0) {
        return;
    }
    if (fate == 1 || entry->kind == ENTRY_LENGTH) {
        replay_all(file, entry);
        return;
    }
    for (int64_t at = 0; at < entry->bytes; at += SECTOR) {
        if (g_rand_boolean(rand)) {
            put(file, entry, at, MIN(SECTOR, entry->bytes - at));
        }
    }
}

/* What had ended before this place in the log is on the disk. */
static unsigned find_stable(unsigned length)
{
    unsigned stable = 0;

    for (unsigned i = 0; i < wlog.entries->len; i++) {
        const Entry *entry = wlog.entries->pdata[i];

        if (entry->kind == ENTRY_FLUSH && entry->ok && entry->ended < length) {
            stable = MAX(stable, entry->began);
        }
    }
    return stable;
}

static bool is_promised(const Entry *entry, unsigned stable, unsigned length)
{
    return entry->ok && (entry->ended < stable ||
                         (entry->dsync && entry->ended < length));
}

typedef struct Moment {
    unsigned when;
    const Entry *entry;
} Moment;

static int compare_moments(const void *a, const void *b)
{
    unsigned first = ((const Moment *)a)->when;
    unsigned second = ((const Moment *)b)->when;

    return (first > second) - (first < second);
}

/* Each entry that had begun, and when it happened. */
static GArray *choose_moments(unsigned length, GRand *rand)
{
    GArray *moments = g_array_new(false, false, sizeof(Moment));

    for (unsigned i = 0; i < wlog.entries->len; i++) {
        const Entry *entry = wlog.entries->pdata[i];
        Moment moment = { entry->began, entry };

        if (entry->began >= length) {
            break;
        }
        if (rand) {
            moment.when = g_rand_int_range(rand, entry->began,
                                           MIN(entry->ended, length) + 1);
        }
        g_array_append_val(moments, moment);
    }
    g_array_sort(moments, compare_moments);
    return moments;
}

GByteArray *write_log_cut(unsigned length, GRand *rand)
{
    g_autoptr(GArray) moments = choose_moments(length, rand);
    GByteArray *file = g_byte_array_new();
    unsigned stable = find_stable(length);

    set_length(file, wlog.conf.bytes);
    for (unsigned i = 0; i < moments->len; i++) {
        const Entry *entry = g_array_index(moments, Moment, i).entry;

        if (entry->kind == ENTRY_FLUSH) {
            continue;
        }
        replay_some(file, entry, rand);
        if (!is_promised(entry, stable, length)) {
            continue;
        }
        if (entry->kind == ENTRY_LENGTH) {
            replay_all(file, entry);
        } else {
            put(file, entry, 0, entry->done);
        }
    }
    return file;
}

GByteArray *write_log_replay(void)
{
    g_autoptr(GArray) moments = choose_moments(NEVER, NULL);
    GByteArray *file = g_byte_array_new();

    set_length(file, wlog.conf.bytes);
    for (unsigned i = 0; i < moments->len; i++) {
        const Entry *entry = g_array_index(moments, Moment, i).entry;

        if (entry->kind != ENTRY_FLUSH) {
            replay_all(file, entry);
        }
    }
    return file;
}

/* --- the log --- */

void write_log_start(const WriteLogConf *conf)
{
    static EngineSyscalls table;

    write_log_free();
    wlog.conf = *conf;
    g_assert_cmpint(stat(conf->path, &wlog.identity), ==, 0);
    wlog.entries = g_ptr_array_new_with_free_func(entry_free);
    wlog.active = g_hash_table_new(NULL, NULL);
    wlog.length = 1; /* 0 is before everything */
    wlog.draws = 0;
    wlog.noting = true;
    table = engine_syscalls_linux;
    table.io_submit = log_io_submit;
    table.uring_submit = log_uring_submit;
    table.pwritev2 = log_pwritev2;
    table.result = log_result;
    engine_syscalls = &table;
}

void write_log_stop(void)
{
    pthread_mutex_lock(&mutex);
    wlog.noting = false;
    pthread_mutex_unlock(&mutex);
}

void write_log_free(void)
{
    g_clear_pointer(&wlog.entries, g_ptr_array_unref);
    g_clear_pointer(&wlog.active, g_hash_table_unref);
}

unsigned write_log_length(void)
{
    unsigned length;

    pthread_mutex_lock(&mutex);
    length = wlog.length;
    pthread_mutex_unlock(&mutex);
    return length;
}

const WriteLogCounts *write_log_counts(void)
{
    return &wlog.counts;
}
