/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sizes as people write and read them. All functions: Context: any. */
#ifndef TOOLS_COMMON_SIZE_H
#define TOOLS_COMMON_SIZE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Bytes: a decimal number, perhaps with a fraction, or a hexadecimal one, and
 * perhaps one of the letters b k M G T P E. Returns 0, -EINVAL, or -ERANGE
 * when it is 2^64 or more.
 */
int size_from_text(const char *text, uint64_t *value);

/* Whether @text is the deprecated "0x10k". */
bool size_has_hex_suffix(const char *text);

/* "1.5 MiB": three digits. Caller frees. */
char *size_to_str(uint64_t value);

#endif
