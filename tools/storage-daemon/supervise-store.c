/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The supervisor's side of notify.h. The server is served by guests and may
 * have become theirs: what it sends is bounded, and is never waited for.
 */
#include "supervise-store.h"

#include "notify.h"

#include <string.h>
#include <unistd.h>

#define MAX_KEPT 4096

struct SuperviseStore {
    GHashTable *fds; /* name -> descriptor + 1 */
};

static void close_fd(gpointer value)
{
    close(GPOINTER_TO_INT(value) - 1);
}

SuperviseStore *supervise_store_new(void)
{
    SuperviseStore *store = g_new0(SuperviseStore, 1);

    store->fds = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                       close_fd);
    return store;
}

void supervise_store_free(SuperviseStore *store)
{
    g_hash_table_unref(store->fds);
    g_free(store);
}

/* As many as fit, then the end. */
static void give(SuperviseStore *store, int sock)
{
    g_autoptr(GString) names = g_string_new(NULL);
    int fds[NOTIFY_MAX_FDS];
    unsigned n = 0;
    GHashTableIter iter;
    gpointer name, value;

    g_hash_table_iter_init(&iter, store->fds);
    while (g_hash_table_iter_next(&iter, &name, &value)) {
        g_string_append_printf(names, "%s%s", n ? "\n" : "",
                               (const char *)name);
        fds[n++] = GPOINTER_TO_INT(value) - 1;
        if (n == NOTIFY_MAX_FDS) {
            notify_send(sock, names->str, fds, n);
            g_string_truncate(names, 0);
            n = 0;
        }
    }
    if (n) {
        notify_send(sock, names->str, fds, n);
    }
    notify_send(sock, NOTIFY_END, NULL, 0);
}

static const char *value_of(char **lines, const char *key)
{
    size_t len = strlen(key);

    for (; *lines; lines++) {
        if (strncmp(*lines, key, len) == 0 && (*lines)[len] == '=') {
            return *lines + len + 1;
        }
    }
    return NULL;
}

/* Takes @fd. */
static void keep(SuperviseStore *store, const char *name, int fd)
{
    if (*name && strlen(name) <= NOTIFY_MAX_NAME &&
        g_hash_table_size(store->fds) < MAX_KEPT) {
        g_hash_table_replace(store->fds, g_strdup(name),
                             GINT_TO_POINTER(fd + 1));
    } else {
        close(fd);
    }
}

static SuperviseEvent act(SuperviseStore *store, int sock, char **lines,
                          const int *fds, unsigned n_fds)
{
    const char *name = value_of(lines, "FDNAME");

    if (name && value_of(lines, "FDSTORE") && n_fds == 1) {
        keep(store, name, fds[0]);
        return SUPERVISE_NOTHING;
    }
    while (n_fds > 0) {
        close(fds[--n_fds]);
    }
    if (name && value_of(lines, "FDSTOREREMOVE")) {
        g_hash_table_remove(store->fds, name);
        return SUPERVISE_NOTHING;
    }
    if (value_of(lines, "VBLK_FDSTORE")) {
        give(store, sock);
        return SUPERVISE_NOTHING;
    }
    if (value_of(lines, "READY")) {
        return value_of(lines, NOTIFY_TAKEN_OVER) ? SUPERVISE_TAKEN_OVER
                                                  : SUPERVISE_READY;
    }
    return value_of(lines, "STOPPING") ? SUPERVISE_STOPPING
                                       : SUPERVISE_NOTHING;
}

SuperviseEvent supervise_store_message(SuperviseStore *store, int sock)
{
    g_autofree char *text = g_malloc(NOTIFY_MAX_BYTES + 1);
    g_auto(GStrv) lines = NULL;
    int fds[NOTIFY_MAX_FDS];
    unsigned n_fds;

    if (notify_receive(sock, text, fds, &n_fds) <= 0) {
        return SUPERVISE_GONE;
    }
    lines = g_strsplit(text, "\n", 16);
    return act(store, sock, lines, fds, n_fds);
}
