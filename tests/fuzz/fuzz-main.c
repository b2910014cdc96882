/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs a fuzz target over files, and over copies of them of which a few words
 * were changed. Which ones is decided by the seed alone.
 *
 *     TARGET [-n COPIES] [-s SEED] [-k KEEP] FILE...
 *
 * What is run last is kept in the file KEEP: what a target has died of.
 */
#include "fuzz.h"

#include <glib.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Where the tables of a small image begin and end. */
#define HEAD_BYTES 4096

static int copies = 50;
static int seed = 1;
static char *keep;
static char **files;

static const GOptionEntry entries[] = {
    { "copies", 'n', 0, G_OPTION_ARG_INT, &copies, "changed copies of each",
      "N" },
    { "seed", 's', 0, G_OPTION_ARG_INT, &seed, "what to change", "SEED" },
    { "keep", 'k', 0, G_OPTION_ARG_FILENAME, &keep, "where to put what is run",
      "FILE" },
    { G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &files, NULL,
      NULL },
    { NULL }
};

/* Numbers at which somebody may have counted wrong. */
static uint64_t odd_number(GRand *rand)
{
    switch (g_rand_int_range(rand, 0, 6)) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX;
    case 2:
        return UINT64_C(1) << g_rand_int_range(rand, 0, 64);
    case 3:
        return (UINT64_C(1) << g_rand_int_range(rand, 0, 64)) - 1;
    case 4:
        return (uint64_t)g_rand_int_range(rand, 0, 64) * 512;
    default:
        return (uint64_t)g_rand_int(rand) << 32 | g_rand_int(rand);
    }
}

/* Big-endian, of 1, 4 or 8 bytes, mostly near the beginning. */
static void change(uint8_t *data, size_t bytes, GRand *rand)
{
    static const size_t widths[] = { 1, 4, 8 };
    size_t width = widths[g_rand_int_range(rand, 0, 3)];
    size_t area = g_rand_boolean(rand) ? MIN(bytes, HEAD_BYTES) : bytes;
    uint64_t number = GUINT64_TO_BE(odd_number(rand) << (64 - 8 * width));
    size_t at;

    if (area < width) {
        return;
    }
    at = g_rand_int_range(rand, 0, area - width + 1);
    if (g_rand_boolean(rand)) {
        at -= at % width;
    }
    memcpy(data + at, &number, width);
}

static void run(const uint8_t *data, size_t bytes)
{
    if (keep && !g_file_set_contents(keep, (const char *)data, bytes, NULL)) {
        fprintf(stderr, "%s cannot be written\n", keep);
    }
    LLVMFuzzerTestOneInput(data, bytes);
}

static void run_copy(const char *contents, gsize bytes, GRand *rand)
{
    g_autofree uint8_t *copy = g_memdup2(contents, bytes);
    int changes = g_rand_int_range(rand, 1, 5);

    for (int i = 0; i < changes; i++) {
        change(copy, bytes, rand);
    }
    /* at times the end is missing */
    if (g_rand_int_range(rand, 0, 8) == 0 && bytes) {
        bytes = g_rand_int_range(rand, 0, bytes);
    }
    run(copy, bytes);
}

static bool run_file(const char *path, GRand *rand)
{
    g_autofree char *contents = NULL;
    g_autoptr(GError) error = NULL;
    gsize bytes;

    if (!g_file_get_contents(path, &contents, &bytes, &error)) {
        fprintf(stderr, "%s\n", error->message);
        return false;
    }
    run((uint8_t *)contents, bytes);
    for (int i = 0; i < copies; i++) {
        run_copy(contents, bytes, rand);
    }
    return true;
}

int main(int argc, char **argv)
{
    g_autoptr(GOptionContext) context = g_option_context_new("FILE...");
    g_autoptr(GError) error = NULL;
    g_autoptr(GRand) rand = NULL;
    bool good = true;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        fprintf(stderr, "%s\n", error->message);
        return 1;
    }
    rand = g_rand_new_with_seed(seed);
    LLVMFuzzerInitialize(&argc, &argv);
    for (char **file = files; file && *file && good; file++) {
        good = run_file(*file, rand);
    }
    g_strfreev(files);
    g_free(keep);
    return good ? 0 : 1;
}
