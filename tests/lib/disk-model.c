/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a disk may contain. */
#include "tests/lib/disk-model.h"

#include <string.h>

#define NEVER UINT64_MAX

struct ModelChange {
    int64_t offset, bytes;
    uint32_t tag;
    unsigned at;
    uint64_t began, ended; /* NEVER: not yet */
    bool failed;
    unsigned kept;         /* from this place in the log on; 0: not */
};

typedef struct ModelFlush {
    uint64_t began;
    unsigned at;
} ModelFlush;

struct DiskModel {
    int64_t sectors;
    GPtrArray **history;  /* of each sector: changes, oldest first, or NULL */
    GPtrArray *changes;   /* owned */
    GArray *flushes;      /* of ModelFlush */
    GArray *answered;     /* likewise: what the next process has to find */
    uint64_t now;
};

DiskModel *disk_model_new(int64_t bytes)
{
    DiskModel *model = g_new0(DiskModel, 1);

    g_assert_cmpint(bytes % MODEL_SECTOR, ==, 0);
    model->sectors = bytes / MODEL_SECTOR;
    model->history = g_new0(GPtrArray *, model->sectors);
    model->changes = g_ptr_array_new_with_free_func(g_free);
    model->flushes = g_array_new(false, false, sizeof(ModelFlush));
    model->answered = g_array_new(false, false, sizeof(ModelFlush));
    return model;
}

static void drop_history(DiskModel *model)
{
    for (int64_t i = 0; i < model->sectors; i++) {
        g_clear_pointer(&model->history[i], g_ptr_array_unref);
    }
    g_ptr_array_set_size(model->changes, 0);
    g_array_set_size(model->flushes, 0);
    g_array_set_size(model->answered, 0);
}

void disk_model_free(DiskModel *model)
{
    drop_history(model);
    g_free(model->history);
    g_ptr_array_unref(model->changes);
    g_array_unref(model->flushes);
    g_array_unref(model->answered);
    g_free(model);
}

/* Tag and sector in the first word, a mixture of both in all others. */
static void fill_sector(uint64_t *words, int64_t sector, uint32_t tag)
{
    uint64_t word = (uint64_t)tag << 32 | (uint32_t)sector;

    if (tag == 0) {
        memset(words, 0, MODEL_SECTOR);
        return;
    }
    for (unsigned i = 0; i < MODEL_SECTOR / sizeof(*words); i++) {
        words[i] = word;
        word = word * 0x9e3779b97f4a7c15ULL + 1;
    }
}

void disk_model_fill(void *buf, int64_t offset, int64_t bytes, uint32_t tag)
{
    for (int64_t at = 0; at < bytes; at += MODEL_SECTOR) {
        uint64_t words[MODEL_SECTOR / sizeof(uint64_t)];

        fill_sector(words, (offset + at) / MODEL_SECTOR, tag);
        memcpy((char *)buf + at, words, MODEL_SECTOR);
    }
}

static void sector_range(int64_t offset, int64_t bytes, int64_t *first,
                         int64_t *end)
{
    g_assert_cmpint(offset % MODEL_SECTOR, ==, 0);
    g_assert_cmpint(bytes % MODEL_SECTOR, ==, 0);
    *first = offset / MODEL_SECTOR;
    *end = (offset + bytes) / MODEL_SECTOR;
}

ModelChange *disk_model_begin(DiskModel *model, int64_t offset, int64_t bytes,
                              uint32_t tag, unsigned at)
{
    ModelChange *change = g_new0(ModelChange, 1);
    int64_t first, end;

    *change = (ModelChange){ offset, bytes, tag, at, model->now++, NEVER };
    g_ptr_array_add(model->changes, change);
    sector_range(offset, bytes, &first, &end);
    g_assert_cmpint(end, <=, model->sectors);
    for (int64_t i = first; i < end; i++) {
        if (!model->history[i]) {
            model->history[i] = g_ptr_array_new();
        }
        g_ptr_array_add(model->history[i], change);
    }
    return change;
}

void disk_model_end(DiskModel *model, ModelChange *change)
{
    change->ended = model->now++;
}

void disk_model_fail(DiskModel *model, ModelChange *change)
{
    change->failed = true;
}

void disk_model_keep(ModelChange *change, unsigned at)
{
    change->kept = at;
}

bool disk_model_is_busy(const DiskModel *model, int64_t offset, int64_t bytes)
{
    int64_t first, end;

    sector_range(offset, bytes, &first, &end);
    for (int64_t i = first; i < end; i++) {
        const GPtrArray *history = model->history[i];
        const ModelChange *last =
            history ? history->pdata[history->len - 1] : NULL;

        if (last && last->ended == NEVER && !last->failed) {
            return true;
        }
    }
    return false;
}

uint64_t disk_model_now(DiskModel *model)
{
    return model->now++;
}

void disk_model_flushed(DiskModel *model, uint64_t began, unsigned at)
{
    ModelFlush flush = { began, at };

    g_array_append_val(model->flushes, flush);
}

void disk_model_answered(DiskModel *model, unsigned at)
{
    ModelFlush answered = { model->now++, at };

    g_array_append_val(model->answered, answered);
}

/* --- checking --- */

static uint32_t tag_of(const void *buf)
{
    uint64_t word;

    memcpy(&word, buf, sizeof(word));
    return word >> 32;
}

static bool has_tag(const void *buf, int64_t sector, uint32_t tag)
{
    uint64_t words[MODEL_SECTOR / sizeof(uint64_t)];

    fill_sector(words, sector, tag);
    return memcmp(buf, words, MODEL_SECTOR) == 0;
}

/* Nothing older can be there after a cut at @at. */
static bool is_promised(const ModelChange *change, uint64_t since, unsigned at)
{
    return change->ended < since || (change->kept && change->kept <= at);
}

/* Whether @buf is the last change before @since, or one after that, begun
 * when the log was at @at at most. */
static bool may_be(const DiskModel *model, const void *buf, int64_t sector,
                   uint64_t since, unsigned at)
{
    const GPtrArray *history = model->history[sector];
    unsigned n = history ? history->len : 0;

    for (unsigned i = n; i > 0; i--) {
        const ModelChange *change = history->pdata[i - 1];

        if (change->at <= at && has_tag(buf, sector, change->tag)) {
            return true;
        }
        if (is_promised(change, since, at)) {
            return false;
        }
    }
    return has_tag(buf, sector, 0);
}

/* One bit for each word of @buf that the tag would have there. */
static uint64_t words_of(const void *buf, int64_t sector, uint32_t tag)
{
    uint64_t words[MODEL_SECTOR / sizeof(uint64_t)];
    uint64_t same = 0;

    G_STATIC_ASSERT(G_N_ELEMENTS(words) == 64);
    fill_sector(words, sector, tag);
    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++) {
        uint64_t there = ((const uint64_t *)buf)[i];

        same |= (uint64_t)(there == words[i]) << i;
    }
    return same;
}

/* Whether @buf is of several that may be there: the kernel copies to and from
 * its cache without keeping a sector together, so that a read beside a write
 * may have parts of both. */
static bool may_be_torn(const DiskModel *model, const void *buf,
                        int64_t sector, uint64_t since)
{
    const GPtrArray *history = model->history[sector];
    unsigned n = history ? history->len : 0;
    uint64_t known = 0;

    for (unsigned i = n; i > 0; i--) {
        const ModelChange *change = history->pdata[i - 1];

        known |= words_of(buf, sector, change->tag);
        if (is_promised(change, since, UINT_MAX)) {
            return known == UINT64_MAX;
        }
    }
    return (known | words_of(buf, sector, 0)) == UINT64_MAX;
}

static void describe(const DiskModel *model, const void *buf, int64_t sector,
                     uint64_t since, unsigned at)
{
    const GPtrArray *history = model->history[sector];

    g_test_message("sector %" G_GINT64_FORMAT " has tag %u, sector %u; "
                   "since %" G_GUINT64_FORMAT ", log %u", sector, tag_of(buf),
                   *(const uint32_t *)buf, since, at);
    for (unsigned i = 0; history && i < history->len; i++) {
        const ModelChange *change = history->pdata[i];

        g_test_message("  tag %u: [%" G_GINT64_FORMAT ", +%" G_GINT64_FORMAT
                       ") began %" G_GUINT64_FORMAT " at %u, ended %"
                       G_GUINT64_FORMAT "%s", change->tag, change->offset,
                       change->bytes, change->began, change->at,
                       change->ended, change->failed ? ", failed" : "");
    }
}

static void check(const DiskModel *model, const char *buf, int64_t offset,
                  int64_t bytes, uint64_t since, unsigned at)
{
    int64_t first, end;

    sector_range(offset, bytes, &first, &end);
    for (int64_t i = first; i < end; i++) {
        const char *sector = buf + (i - first) * MODEL_SECTOR;

        if (!may_be(model, sector, i, since, at) &&
            !(at == UINT_MAX && may_be_torn(model, sector, i, since))) {
            describe(model, sector, i, since, at);
            g_error("sector %" G_GINT64_FORMAT " has what it cannot have", i);
        }
    }
}

void disk_model_check(DiskModel *model, const void *buf, int64_t offset,
                      int64_t bytes, uint64_t began)
{
    check(model, buf, offset, bytes, began, UINT_MAX);
}

static unsigned count_promised(const DiskModel *model, uint64_t since,
                               unsigned at)
{
    unsigned promised = 0;

    for (int64_t i = 0; i < model->sectors; i++) {
        const GPtrArray *history = model->history[i];
        bool found = false;

        for (unsigned k = 0; history && k < history->len && !found; k++) {
            found = is_promised(history->pdata[k], since, at);
        }
        promised += found;
    }
    return promised;
}

/* Up to when everything is there that was so far when the log was @at. */
static uint64_t last_before(const GArray *flushes, unsigned at)
{
    uint64_t since = 0;

    for (unsigned i = 0; i < flushes->len; i++) {
        ModelFlush flush = g_array_index(flushes, ModelFlush, i);

        if (flush.at <= at) {
            since = MAX(since, flush.began);
        }
    }
    return since;
}

unsigned disk_model_check_cut(DiskModel *model, const void *buf, unsigned at)
{
    uint64_t since = last_before(model->flushes, at);

    check(model, buf, 0, model->sectors * MODEL_SECTOR, since, at);
    return count_promised(model, since, at);
}

void disk_model_check_kill(DiskModel *model, const void *buf, unsigned at)
{
    check(model, buf, 0, model->sectors * MODEL_SECTOR,
          last_before(model->answered, at), at);
}

void disk_model_settle(DiskModel *model, const void *buf)
{
    drop_history(model);
    for (int64_t i = 0; i < model->sectors; i++) {
        uint32_t tag = tag_of((const char *)buf + i * MODEL_SECTOR);

        if (tag != 0) {
            disk_model_end(model, disk_model_begin(model, i * MODEL_SECTOR,
                                                   MODEL_SECTOR, tag, 0));
        }
    }
}
