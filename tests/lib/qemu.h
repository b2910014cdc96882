/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stock qemu-system-x86_64 whose processor only halts, driven from outside
 * through its qtest socket: port and memory accesses that a guest would make.
 * Its RAM is a file that the caller maps as well.
 */
#ifndef TESTS_LIB_QEMU_H
#define TESTS_LIB_QEMU_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Qemu Qemu;

/* Whether there is one in the PATH. */
bool qemu_available(void);

/*
 * Starts it with @ram_bytes of RAM in @ram_fd and @args (NULL-terminated) on
 * its command line. Returns once it answers.
 */
Qemu *qemu_new(int ram_fd, size_t ram_bytes, const char *const *args);

/* Asks it to end and waits until it has. */
void qemu_free(Qemu *qemu);

/* Ports. */
uint32_t qemu_inl(Qemu *qemu, uint16_t port);
void qemu_outl(Qemu *qemu, uint16_t port, uint32_t value);

/* Memory-mapped registers; @bytes is 1, 2, 4 or 8. */
uint64_t qemu_read(Qemu *qemu, uint64_t addr, unsigned bytes);
void qemu_write(Qemu *qemu, uint64_t addr, unsigned bytes, uint64_t value);

/* A child gets this as its setup: it ends when the test does. */
void qemu_child_setup(gpointer opaque);

#endif
