/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A server that vblk-bench starts and stops itself, from a command template
 * such as "vblk-storage-daemon --drive file={image},socket={socket}".
 */
#ifndef TOOLS_BENCH_SERVER_H
#define TOOLS_BENCH_SERVER_H

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

typedef struct BenchServer BenchServer;

/*
 * @words maps placeholder names to texts; {socket} is made here. @cpus is a
 * list as in cpus_allowed, or NULL. Returns without waiting for the socket.
 * Context: main, all of these.
 */
BenchServer *bench_server_start(const char *command, GHashTable *words,
                                const char *cpus, GError **error);
const char *bench_server_socket(const BenchServer *server);
pid_t bench_server_pid(const BenchServer *server);

/* Whether it has ended by itself; its last words come with the error. */
bool bench_server_is_dead(BenchServer *server, GError **error);

/* SIGTERM and, after a while, SIGKILL. False when it did not end with 0. */
bool bench_server_stop(BenchServer *server, GError **error);
void bench_server_free(BenchServer *server); /* kills it if need be */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BenchServer, bench_server_free)

/*
 * Replaces {name} in each word of @command. Fails for a name that is not in
 * @words. Caller frees.
 */
char **bench_command_expand(const char *command, GHashTable *words,
                            GError **error);

#endif
