/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The dirty log: which bits a range sets, where it ends, and that two markers
 * and a reader that clears do not lose each other's bits.
 */
#include "hw/virtio/guest-memory.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct Log {
    int fd;
    uint8_t *bits; /* the front end's view */
    DirtyLog *log;
} Log;

static void log_open(Log *l, uint64_t offset, size_t bytes)
{
    GError *error = NULL;

    l->fd = memfd_create("log", MFD_CLOEXEC);
    g_assert_cmpint(ftruncate(l->fd, 8192), ==, 0);
    l->bits = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, l->fd, 0);
    g_assert_true(l->bits != MAP_FAILED);
    l->log = dirty_log_new(l->fd, offset, bytes, &error);
    g_assert_no_error(error);
}

static void log_close(Log *l)
{
    dirty_log_unref(l->log);
    munmap(l->bits, 8192);
    close(l->fd);
}

static unsigned count_bits(const Log *l)
{
    unsigned n = 0;

    for (unsigned i = 0; i < 8192; i++) {
        n += __builtin_popcount(l->bits[i]);
    }
    return n;
}

static bool is_set(const Log *l, unsigned page)
{
    return l->bits[page / 8] >> (page % 8) & 1;
}

static void test_ranges(void)
{
    static const struct {
        uint64_t addr, bytes;
        unsigned first, n;
    } rows[] = {
        { 0, 1, 0, 1 },
        { 4095, 1, 0, 1 },
        { 4095, 2, 0, 2 },
        { 4096, 4096, 1, 1 },
        { 7 * 4096, 2 * 4096, 7, 2 },   /* crosses a byte of the log */
        { 5 * 4096 + 1, 20 * 4096, 5, 21 },
        { 100, 0, 0, 0 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        Log l;

        log_open(&l, 0, 4096);
        dirty_log_mark(l.log, rows[i].addr, rows[i].bytes);
        g_assert_cmpuint(count_bits(&l), ==, rows[i].n);
        for (unsigned page = 0; page < rows[i].n; page++) {
            g_assert_true(is_set(&l, rows[i].first + page));
        }
        log_close(&l);
    }
}

static void test_end_of_log(void)
{
    Log l;

    log_open(&l, 64, 16); /* 128 pages, not page aligned in the file */
    dirty_log_mark(l.log, 127 * 4096, 10 * 4096);
    g_assert_cmpuint(count_bits(&l), ==, 1);
    g_assert_cmphex(l.bits[64 + 15], ==, 0x80);
    dirty_log_mark(l.log, 128 * 4096, 1);
    dirty_log_mark(l.log, UINT64_MAX - 5, 100);
    g_assert_cmpuint(count_bits(&l), ==, 1);
    dirty_log_mark(l.log, 0, UINT64_MAX);
    g_assert_cmpuint(count_bits(&l), ==, 128);
    log_close(&l);
}

static void test_refused(void)
{
    int fd = memfd_create("log", MFD_CLOEXEC);
    GError *error = NULL;

    g_assert_cmpint(ftruncate(fd, 4096), ==, 0);
    g_assert_null(dirty_log_new(fd, 0, 0, &error));
    g_assert_nonnull(strstr(error->message, "dirty log: "));
    g_clear_error(&error);
    g_assert_null(dirty_log_new(fd, 4096, 1, &error));
    g_clear_error(&error);
    g_assert_null(dirty_log_new(fd, UINT64_MAX, 2, &error));
    g_clear_error(&error);
    close(fd);
}

/* The front end cuts the log short: bits are lost, the process is not. */
static void test_cut_short(void)
{
    Log l;

    log_open(&l, 0, 8192);
    g_assert_cmpint(ftruncate(l.fd, 0), ==, 0);
    dirty_log_mark(l.log, 0, 1);
    dirty_log_mark(l.log, 5000ull * 8 * 4096, 1);
    g_assert_cmpint(ftruncate(l.fd, 8192), ==, 0);
    g_assert_cmpuint(count_bits(&l), ==, 0);
    log_close(&l);
}

#define RACE_PAGES 64
#define RACE_ROUNDS 2000

typedef struct Race {
    DirtyLog *log;
    unsigned parity;
} Race;

static void *race_thread(void *opaque)
{
    Race *race = opaque;

    for (unsigned n = 0; n < RACE_ROUNDS; n++) {
        for (unsigned i = race->parity; i < RACE_PAGES; i += 2) {
            dirty_log_mark(race->log, i * 4096, 1);
        }
    }
    return NULL;
}

/* Neighbouring bits are set by two threads while a third takes bytes away:
 * after the last mark every bit was seen or is still there. */
static void test_concurrent(void)
{
    Log l;
    uint8_t seen[RACE_PAGES / 8] = { 0 };
    Race race[2];
    GThread *threads[2];

    log_open(&l, 0, 4096);
    for (unsigned i = 0; i < 2; i++) {
        race[i] = (Race){ l.log, i };
        threads[i] = g_thread_new("mark", race_thread, &race[i]);
    }
    for (unsigned n = 0; n < RACE_ROUNDS; n++) {
        for (unsigned i = 0; i < sizeof(seen); i++) {
            seen[i] |= __atomic_exchange_n(&l.bits[i], 0, __ATOMIC_SEQ_CST);
        }
    }
    g_thread_join(threads[0]);
    g_thread_join(threads[1]);
    for (unsigned i = 0; i < sizeof(seen); i++) {
        g_assert_cmphex(seen[i] | l.bits[i], ==, 0xff);
    }
    log_close(&l);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/dirty-log/ranges", test_ranges);
    g_test_add_func("/dirty-log/end-of-log", test_end_of_log);
    g_test_add_func("/dirty-log/refused", test_refused);
    g_test_add_func("/dirty-log/cut-short", test_cut_short);
    g_test_add_func("/dirty-log/concurrent", test_concurrent);
    return g_test_run();
}
