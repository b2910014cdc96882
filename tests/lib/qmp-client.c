/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads lines and looks for words in them: what a test wants to know needs no
 * parser. Aborts after half a minute of silence.
 */
#include "qmp-client.h"

#include "guest/vhost-user-client.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

struct QmpClient {
    FILE *in;
    int fd;
    char *line;
    size_t line_bytes;
    GQueue *events; /* lines that came while something else was waited for */
};

static const char *read_line(QmpClient *client)
{
    ssize_t n = getline(&client->line, &client->line_bytes, client->in);

    if (n <= 0) {
        g_error("the monitor does not answer");
    }
    return client->line;
}

static void put(QmpClient *client, const char *name, const char *arguments)
{
    g_autofree char *text = g_strdup_printf(
        "{\"execute\": \"%s\", \"arguments\": %s}", name, arguments);

    g_assert_cmpint(send(client->fd, text, strlen(text), MSG_NOSIGNAL), ==,
                    strlen(text));
}

QmpClient *qmp_client_new(const char *path)
{
    struct timeval limit = { .tv_sec = 30 };
    QmpClient *client = g_new0(QmpClient, 1);

    client->fd = vu_connect(path);
    g_assert_cmpint(setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &limit,
                               sizeof(limit)), ==, 0);
    client->in = fdopen(dup(client->fd), "r");
    client->events = g_queue_new();
    g_assert_nonnull(strstr(read_line(client), "\"QMP\""));
    qmp_client_run(client, "qmp_capabilities");
    return client;
}

void qmp_client_free(QmpClient *client)
{
    fclose(client->in);
    close(client->fd);
    free(client->line);
    g_queue_free_full(client->events, g_free);
    g_free(client);
}

const char *qmp_client_run(QmpClient *client, const char *name)
{
    return qmp_client_run_with(client, name, "{}");
}

bool qmp_client_try(QmpClient *client, const char *name,
                    const char *arguments)
{
    put(client, name, arguments);
    while (strstr(read_line(client), "\"event\"")) {
        g_queue_push_tail(client->events, g_strdup(client->line));
    }
    return strstr(client->line, "\"return\"");
}

const char *qmp_client_run_with(QmpClient *client, const char *name,
                                const char *arguments)
{
    if (!qmp_client_try(client, name, arguments)) {
        g_error("%s: %s", name, client->line);
    }
    return client->line;
}

const char *qmp_client_event(QmpClient *client, const char *name)
{
    g_autofree char *word = g_strdup_printf("\"event\": \"%s\"", name);

    for (GList *l = client->events->head; l; l = l->next) {
        if (strstr(l->data, word)) {
            g_free(client->line);
            client->line = l->data;
            client->line_bytes = strlen(client->line) + 1;
            g_queue_delete_link(client->events, l);
            return client->line;
        }
    }
    while (!strstr(read_line(client), word)) {
        g_queue_push_tail(client->events, g_strdup(client->line));
    }
    return client->line;
}
