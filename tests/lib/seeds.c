/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --seeds and --first. */
#include "seeds.h"

#include <stdlib.h>

static int count, first = 1;

void seeds_parse(int argc, char **argv, unsigned def)
{
    const GOptionEntry entries[] = {
        { "seeds", 0, 0, G_OPTION_ARG_INT, &count, "How many runs", "N" },
        { "first", 0, 0, G_OPTION_ARG_INT, &first, "The first one's seed",
          "SEED" },
        { NULL }
    };
    GOptionContext *context = g_option_context_new(NULL);
    g_autoptr(GError) error = NULL;

    count = def;
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        g_printerr("%s\n", error->message);
        exit(2);
    }
    g_option_context_free(context);
}

unsigned seeds_count(void)
{
    return count;
}

unsigned seeds_first(void)
{
    return first;
}
