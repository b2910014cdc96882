/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Marks in sectors. Blocks that this run did not write may hold anything in a
 * job that writes; in one that only reads they were written before.
 */
#include "verify.h"

#include <gio/gio.h>
#include <string.h>

#define SECTOR      512
#define WORDS       (SECTOR / 8)
#define MARK_WORDS  4
#define MAGIC       UINT64_C(0x6b72616d6b6c6276)
#define MAX_BLOCKS  (UINT64_C(1) << 28)

struct BenchVerifier {
    uint64_t start, block_bytes, n_blocks;
    uint64_t seed;
    bool whole;            /* every byte, not the marks alone */
    bool written_before;   /* blocks that this run did not write count, too */
    uint32_t *generations; /* by block: writes of this run */
    uint8_t *busy;
};

BenchVerifier *bench_verifier_new(const BenchJob *job,
                                  const BenchPattern *pattern, GError **error)
{
    BenchVerifier *v;

    if (pattern->n_blocks > MAX_BLOCKS) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "verify remembers at most %" G_GUINT64_FORMAT
                    " blocks a job: make 'size' smaller", MAX_BLOCKS);
        return NULL;
    }
    v = g_new0(BenchVerifier, 1);
    v->start = pattern->start;
    v->block_bytes = pattern->block_bytes;
    v->n_blocks = pattern->n_blocks;
    v->seed = job->randseed;
    v->whole = job->verify == BENCH_VERIFY_PATTERN;
    v->written_before = !bench_job_writes(job);
    v->generations = g_new0(uint32_t, v->n_blocks);
    v->busy = g_new0(uint8_t, v->n_blocks);
    return v;
}

void bench_verifier_free(BenchVerifier *v)
{
    if (v) {
        g_free(v->generations);
        g_free(v->busy);
        g_free(v);
    }
}

static uint64_t block_of(const BenchVerifier *v, const BenchIo *io)
{
    return (io->offset - v->start) / v->block_bytes;
}

bool bench_verifier_is_busy(const BenchVerifier *v, const BenchIo *io)
{
    return v->busy[block_of(v, io)];
}

/* Half of it random and half of it not, as people's data are. */
static uint64_t filler(const uint64_t *mark, unsigned word)
{
    uint64_t x = (mark[2] ^ mark[3] << 40) + word;

    return word % 2 ? mark[1]
                    : x * UINT64_C(0x9e3779b97f4a7c15) ^ x >> 29;
}

static void mark_sector(uint64_t *words, uint64_t seed, uint64_t offset,
                        uint32_t generation)
{
    words[0] = MAGIC;
    words[1] = seed;
    words[2] = offset;
    words[3] = generation;
    for (unsigned i = MARK_WORDS; i < WORDS; i++) {
        words[i] = filler(words, i);
    }
}

void bench_verifier_begin(BenchVerifier *v, BenchIo *io)
{
    uint64_t block = block_of(v, io);

    v->busy[block] = 1;
    if (!io->write) {
        io->generation = v->generations[block];
        return;
    }
    io->generation = ++v->generations[block];
    for (uint32_t at = 0; at < io->bytes; at += SECTOR) {
        mark_sector((uint64_t *)(io->data + at), v->seed, io->offset + at,
                    io->generation);
    }
}

static bool is_all_zero(const uint64_t *words)
{
    for (unsigned i = 0; i < WORDS; i++) {
        if (words[i]) {
            return false;
        }
    }
    return true;
}

static char *check_mark(const BenchVerifier *v, const BenchIo *io,
                        const uint64_t *words, uint64_t offset)
{
    if (words[0] != MAGIC) {
        return g_strdup(is_all_zero(words) ? "is all zeroes"
                                           : "bears no mark of this program");
    }
    if (words[1] != v->seed) {
        return g_strdup_printf("was written with randseed=%" G_GUINT64_FORMAT,
                               words[1]);
    }
    if (words[2] != offset) {
        return g_strdup_printf("is that of offset %" G_GUINT64_FORMAT,
                               words[2]);
    }
    if (io->generation && words[3] != io->generation) {
        return g_strdup_printf("is of write %" G_GUINT64_FORMAT
                               " of this block, the last was write %u",
                               words[3], io->generation);
    }
    return NULL;
}

static char *check_filler(const uint64_t *words)
{
    for (unsigned i = MARK_WORDS; i < WORDS; i++) {
        if (words[i] != filler(words, i)) {
            return g_strdup_printf("has a good mark and wrong data from its "
                                   "byte %u on", i * 8);
        }
    }
    return NULL;
}

char *bench_verifier_end(BenchVerifier *v, const BenchIo *io)
{
    v->busy[block_of(v, io)] = 0;
    if (io->write || (!io->generation && !v->written_before)) {
        return NULL;
    }
    for (uint32_t at = 0; at < io->bytes; at += SECTOR) {
        const uint64_t *words = (const uint64_t *)(io->data + at);
        g_autofree char *wrong = check_mark(v, io, words, io->offset + at);

        if (!wrong && v->whole) {
            wrong = check_filler(words);
        }
        if (wrong) {
            return g_strdup_printf("the sector at offset %" G_GUINT64_FORMAT
                                   " %s", io->offset + at, wrong);
        }
    }
    return NULL;
}

bool bench_verifier_next_written(const BenchVerifier *v, uint64_t *block,
                                 BenchIo *io)
{
    for (; *block < v->n_blocks; ++*block) {
        if (v->generations[*block]) {
            io->offset = v->start + *block * v->block_bytes;
            io->write = false;
            ++*block;
            return true;
        }
    }
    return false;
}
