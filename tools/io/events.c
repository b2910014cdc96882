/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A queue from the control thread to the main thread, with an eventfd that
 * counts what is in it, so that waiting for an event and waiting for a line of
 * input can be one poll().
 */
#include "events.h"

#include <errno.h>
#include <gio/gio.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

typedef struct Event {
    EventFn *fn;
    void *opaque;
} Event;

static int fd = -1;
static GMutex lock;
static GQueue queue = G_QUEUE_INIT; /* of Event; under the lock */

bool events_init(GError **error)
{
    fd = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
    if (fd < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "cannot make an eventfd: %s", g_strerror(errno));
        return false;
    }
    return true;
}

void events_free(void)
{
    close(fd);
    fd = -1;
}

int events_fd(void)
{
    return fd;
}

void events_push(EventFn *fn, void *opaque)
{
    Event *event = g_new(Event, 1);

    event->fn = fn;
    event->opaque = opaque;
    g_mutex_lock(&lock);
    g_queue_push_tail(&queue, event);
    g_mutex_unlock(&lock);
    if (eventfd_write(fd, 1) < 0) {
        g_assert_not_reached();
    }
}

static void count_one_less(void)
{
    eventfd_t one;

    while (eventfd_read(fd, &one) < 0) {
        g_assert(errno == EINTR);
    }
}

static void show_line(void *opaque)
{
    g_autofree char *line = opaque;

    puts(line);
}

void events_push_line(const char *line)
{
    events_push(show_line, g_strdup(line));
}

GPtrArray *events_take_lines(void)
{
    GPtrArray *lines = g_ptr_array_new_with_free_func(g_free);

    g_mutex_lock(&lock);
    for (GList *l = queue.head, *next; l; l = next) {
        Event *event = l->data;

        next = l->next;
        if (event->fn == show_line) {
            g_ptr_array_add(lines, event->opaque);
            g_queue_delete_link(&queue, l);
            g_free(event);
        }
    }
    g_mutex_unlock(&lock);
    for (unsigned i = 0; i < lines->len; i++) {
        count_one_less();
    }
    return lines;
}

void events_show_lines(GPtrArray *lines)
{
    for (unsigned i = 0; i < lines->len; i++) {
        puts(lines->pdata[i]);
    }
    g_ptr_array_unref(lines);
}

void events_wait_one(void)
{
    Event *event;

    count_one_less();
    g_mutex_lock(&lock);
    event = g_queue_pop_head(&queue);
    g_mutex_unlock(&lock);
    event->fn(event->opaque);
    g_free(event);
}

void events_wait(const bool *done)
{
    while (!*done) {
        events_wait_one();
    }
}

void events_run(void)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };

    while (poll(&pfd, 1, 0) > 0) {
        events_wait_one();
    }
}
