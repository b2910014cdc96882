/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes and checks the content of test sectors.
 *
 * A sector starts with its own offset and the seed, in clear, so that a sector
 * that ended up elsewhere names the place it came from; the rest is a sequence
 * that follows from both, so that no two sectors are alike.
 */
#include "guest-io-pattern.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define WORDS (PATTERN_SECTOR / sizeof(uint64_t))

/* Spreads neighbouring offsets over all 64 bits (MurmurHash3's finisher). */
static uint64_t mix(uint64_t value)
{
    value ^= value >> 33;
    value *= UINT64_C(0xff51afd7ed558ccd);
    value ^= value >> 33;
    value *= UINT64_C(0xc4ceb9fe1a85ec53);
    return value ^ (value >> 33);
}

static void fill_sector(uint64_t *words, uint64_t offset, uint64_t seed)
{
    uint64_t value = mix(offset ^ mix(seed));

    words[0] = offset;
    words[1] = seed;
    for (size_t i = 2; i < WORDS; i++) {
        value += UINT64_C(0x9e3779b97f4a7c15);
        words[i] = value;
    }
}

void pattern_fill(void *buffer, uint64_t offset, size_t bytes, uint64_t seed)
{
    for (size_t done = 0; done < bytes; done += PATTERN_SECTOR) {
        uint64_t words[WORDS];

        fill_sector(words, offset + done, seed);
        memcpy((char *)buffer + done, words, sizeof(words));
    }
}

size_t pattern_check(const void *buffer, uint64_t offset, size_t bytes,
                     uint64_t seed, char *why, size_t why_size)
{
    for (size_t done = 0; done < bytes; done += PATTERN_SECTOR) {
        const char *sector = (const char *)buffer + done;
        uint64_t want[WORDS], found[2];

        fill_sector(want, offset + done, seed);
        if (memcmp(sector, want, sizeof(want)) == 0) {
            continue;
        }
        memcpy(found, sector, sizeof(found));
        snprintf(why, why_size,
                 "sector at %" PRIu64 " (seed %" PRIu64 ") is wrong: "
                 "it says offset %" PRIu64 ", seed %" PRIu64,
                 offset + done, seed, found[0], found[1]);
        return done;
    }
    return bytes;
}

size_t pattern_check_zero(const void *buffer, size_t bytes,
                          char *why, size_t why_size)
{
    static const char zeros[PATTERN_SECTOR];

    for (size_t done = 0; done < bytes; done += PATTERN_SECTOR) {
        const char *sector = (const char *)buffer + done;
        uint64_t found[2];

        if (memcmp(sector, zeros, PATTERN_SECTOR) == 0) {
            continue;
        }
        memcpy(found, sector, sizeof(found));
        snprintf(why, why_size,
                 "not zero: holds offset %" PRIu64 ", seed %" PRIu64,
                 found[0], found[1]);
        return done;
    }
    return bytes;
}
