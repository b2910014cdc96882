/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads and writes sizes the way QEMU's tools do, so that whatever they take
 * and print is taken and printed here. The numbers on the command lines of
 * vblk-img and vblk-io come through here.
 */
#include "size.h"

#include <errno.h>
#include <glib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char suffixes[] = "bkmgtpe";

/* The power of two of a suffix; -1 for what is none. */
static int suffix_shift(char c)
{
    const char *found = c ? strchr(suffixes, g_ascii_tolower(c)) : NULL;

    return found ? 10 * (found - suffixes) : -1;
}

static bool is_hex(const char *text)
{
    return text[0] == '0' && g_ascii_tolower(text[1]) == 'x';
}

/* Reads the digits behind a point, as a part of one; moves past them. */
static double read_fraction(const char **pos)
{
    g_autofree char *number = NULL;
    const char *start = *pos;

    while (g_ascii_isdigit(**pos)) {
        (*pos)++;
    }
    number = g_strdup_printf("0.%.*s", (int)MIN(*pos - start, 100), start);
    return g_ascii_strtod(number, NULL);
}

static int scale(uint64_t whole, double fraction, const char *suffix,
                 uint64_t *value)
{
    int shift = *suffix ? suffix_shift(*suffix) : 0;
    uint64_t part;

    if (shift < 0 || (*suffix && suffix[1]) || (fraction > 0 && shift == 0)) {
        return -EINVAL;
    }
    part = (uint64_t)(fraction * (UINT64_C(1) << shift) + 0.5);
    if (whole > UINT64_MAX >> shift || (whole << shift) > UINT64_MAX - part) {
        return -ERANGE;
    }
    *value = (whole << shift) + part;
    return 0;
}

int size_from_text(const char *text, uint64_t *value)
{
    double fraction = 0;
    char *end;
    const char *pos;
    uint64_t whole;

    while (g_ascii_isspace(*text)) {
        text++;
    }
    if (*text == '+') {
        text++;
    }
    if (!g_ascii_isdigit(*text) || (is_hex(text) &&
                                    !g_ascii_isxdigit(text[2]))) {
        return -EINVAL;
    }
    errno = 0;
    whole = strtoull(text, &end, is_hex(text) ? 16 : 10);
    if (errno) {
        return -ERANGE;
    }
    pos = end;
    if (*pos == '.' && !is_hex(text)) {
        pos++;
        fraction = read_fraction(&pos);
    }
    return scale(whole, fraction, pos, value);
}

bool size_has_hex_suffix(const char *text)
{
    uint64_t value;

    while (g_ascii_isspace(*text) || *text == '+') {
        text++;
    }
    return is_hex(text) && size_from_text(text, &value) == 0 &&
           !g_ascii_isxdigit(text[strlen(text) - 1]);
}

char *size_to_str(uint64_t value)
{
    static const char *const units[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi",
                                         "Ei" };
    unsigned i = 0;
    double shown = value;

    /* 1000 has four digits already */
    while (shown >= 1000 && i + 1 < G_N_ELEMENTS(units)) {
        shown /= 1024;
        i++;
    }
    return g_strdup_printf("%0.3g %sB", shown, units[i]);
}
