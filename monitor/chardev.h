/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the bytes of a monitor come from. Private to monitor/. Context: main
 */
#ifndef MONITOR_CHARDEV_H
#define MONITOR_CHARDEV_H

#include <glib.h>
#include <stdbool.h>

typedef struct Chardev Chardev;

/* Both descriptors, which may be the same, stay the chardev's; they do not
 * block. */
typedef void ChardevOpenedFn(void *opaque, int in_fd, int out_fd);

/* Borrowed, or NULL. */
Chardev *chardev_find(const char *id);
bool chardev_in_use(const Chardev *chr);

/* Whoever comes after chardev_accept() is handed to @opened, from the loop or
 * inside. */
void chardev_use(Chardev *chr, ChardevOpenedFn *opened, void *opaque);
/* Nobody new comes until chardev_accept(); as it is at first. */
void chardev_hold(Chardev *chr);
void chardev_accept(Chardev *chr);

const char *chardev_id(const Chardev *chr);
/* What it listens on, borrowed, or -1. */
int chardev_listen_fd(const Chardev *chr);
/* Somebody who was connected to a process before us; takes @fd. @opened is not
 * called. */
void chardev_adopt(Chardev *chr, int fd);

/* The other end has gone, or shall: the next one may come. */
void chardev_hang_up(Chardev *chr);

/* Calls @fn for each, with what query-chardev shows of it. */
typedef void ChardevFn(void *opaque, const char *id, const char *filename,
                       bool frontend_open);
void chardev_foreach(ChardevFn *fn, void *opaque);

/* The socket files are another process's. */
void chardev_give_all(void);

void chardev_close_all(void);

#endif
