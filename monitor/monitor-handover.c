/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sockets of monitors on their way from one process to the next, and those
 * that a service manager has kept. Called by the program, and by chardev.c and
 * monitor.c, which look here before they make anything anew.
 *
 * A record for each socket that listens, by its chardev's id: the socket, and
 * the client that is connected if nothing is half-said between it and us.
 * What it says meanwhile waits in its socket: it need not know.
 */
#include "monitor-handover.h"

#include "monitor/monitor.h"

#include <unistd.h>

typedef struct Inherited {
    int listen_fd, client_fd; /* -1: none, or taken */
    bool negotiated;
} Inherited;

static GHashTable *inherited; /* id -> Inherited; NULL: none */
static const MonitorKeeper *keeper;

static void close_fd(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

static void inherited_free(gpointer opaque)
{
    Inherited *from = opaque;

    close_fd(from->listen_fd);
    close_fd(from->client_fd);
    g_free(from);
}

static bool take_record(HandoverRecord *record, GError **error)
{
    Inherited *from = g_new0(Inherited, 1);
    uint64_t negotiated;

    from->listen_fd = handover_take_fd(record, "listen");
    from->client_fd = handover_take_fd(record, "client");
    g_hash_table_replace(inherited, g_strdup(handover_record_id(record)),
                         from);
    if (!handover_need_uint(record, "negotiated", 1, &negotiated, error) ||
        !handover_record_finish(record, error)) {
        return false;
    }
    from->negotiated = negotiated;
    return true;
}

bool monitor_take_over(Handover *handover, GError **error)
{
    HandoverRecord *record;
    bool ok = true;

    inherited = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                      inherited_free);
    while (ok && (record = handover_take(handover, "monitor", NULL))) {
        ok = take_record(record, error);
        handover_record_free(record);
    }
    return ok;
}

void monitor_take_over_end(void)
{
    g_clear_pointer(&inherited, g_hash_table_unref);
}

void monitor_set_keeper(const MonitorKeeper *to)
{
    keeper = to;
}

static Inherited *find(const char *id)
{
    return inherited ? g_hash_table_lookup(inherited, id) : NULL;
}

static int take(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

int monitor_inherited_listener(const char *id)
{
    Inherited *from = find(id);
    int fd = from ? take(&from->listen_fd) : -1;

    return fd < 0 && keeper ? keeper->take(id) : fd;
}

int monitor_inherited_client(const char *id, bool *negotiated)
{
    Inherited *from = find(id);

    if (!from) {
        return -1;
    }
    *negotiated = from->negotiated;
    return take(&from->client_fd);
}

void monitor_forget_listener(const char *id)
{
    if (keeper) {
        keeper->forget(id);
    }
}

void monitor_keep_listener(const char *id, int listen_fd)
{
    if (keeper) {
        keeper->keep(id, listen_fd);
    }
}
