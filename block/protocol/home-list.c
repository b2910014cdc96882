/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Attaches AioContexts to protocol nodes; see home-list.h for the rules. */
#include "home-list.h"

void *home_list_attach(HomeList *list, AioContext *ctx, size_t size,
                       bool *first)
{
    HomeEntry *entry = home_list_find(list, ctx);

    *first = false;
    if (!entry) {
        *first = true;
        entry = home_list_find(list, NULL); /* one that is free again */
        if (!entry) {
            entry = g_malloc0(size);
            entry->next = list->head;
            __atomic_store_n(&list->head, entry, __ATOMIC_RELEASE);
        }
        __atomic_store_n(&entry->ctx, ctx, __ATOMIC_RELAXED);
    }
    entry->refs++;
    return entry;
}

void *home_list_detach(HomeList *list, AioContext *ctx)
{
    HomeEntry *entry = home_list_find(list, ctx);

    g_assert(entry && entry->refs > 0);
    if (--entry->refs > 0) {
        return NULL;
    }
    __atomic_store_n(&entry->ctx, NULL, __ATOMIC_RELAXED);
    return entry;
}

void home_list_free(HomeList *list)
{
    HomeEntry *entry = list->head;

    while (entry) {
        HomeEntry *next = entry->next;

        g_assert(!entry->refs);
        g_free(entry);
        entry = next;
    }
    list->head = NULL;
}
