/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads the numbers on a command's line, for all commands. */
#include "args.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/common/message.h"
#include "tools/common/size.h"

bool io_parse_size(const char *text, int64_t *value)
{
    uint64_t bytes = 0;
    int ret = size_from_text(text, &bytes);

    if (ret == 0 && bytes > INT64_MAX) {
        ret = -ERANGE;
    }
    if (ret < 0) {
        printf("Parsing error: %s -- %s\n",
               ret == -ERANGE ? "argument too large"
                              : "non-numeric argument, or extraneous/"
                                "unrecognized suffix", text);
        return false;
    }
    if (size_has_hex_suffix(text)) {
        warn_report("Using a multiplier suffix on hex numbers is deprecated: "
                    "%s", text);
    }
    *value = bytes;
    return true;
}

bool io_parse_length(const char *text, int64_t *value)
{
    if (!io_parse_size(text, value)) {
        return false;
    }
    if (*value > IO_MAX_BYTES) {
        printf("length cannot exceed %" G_GINT64_FORMAT ", given %s\n",
               IO_MAX_BYTES, text);
        return false;
    }
    return true;
}

bool io_parse_pattern(const char *text, int *value)
{
    char *end;
    long number;

    errno = 0;
    number = strtol(text, &end, 0);
    if (end == text || *end || errno || number < 0 || number > UINT8_MAX) {
        printf("%s is not a valid pattern byte\n", text);
        return false;
    }
    *value = number;
    return true;
}

bool io_check_sector_aligned(const char *name, int64_t value)
{
    if (value % 512 == 0) {
        return true;
    }
    printf("%" G_GINT64_FORMAT " is not a sector-aligned value for '%s'\n",
           value, name);
    return false;
}

bool io_usage(const IoCommand *command)
{
    printf("%s ", command->name);
    if (command->args) {
        printf("%s ", command->args);
    }
    printf("-- %s\n", command->oneline);
    return false;
}
