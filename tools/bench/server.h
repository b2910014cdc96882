/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A server that vblk-bench starts and stops itself, from a command template
 * such as "vblk-storage-daemon --drive file={image},socket={socket}".
 */
#ifndef TOOLS_BENCH_SERVER_H
#define TOOLS_BENCH_SERVER_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct BenchServer BenchServer;

typedef struct BenchServerConfig {
    const char *command;
    const char *export;    /* appended for each export; may be NULL */
    unsigned n_exports;    /* 0: 1 */
    char **images;         /* {image} of each export; may be NULL */
    const char *cpus;      /* a list as in cpus_allowed; may be NULL */
} BenchServerConfig;

/*
 * Starts "command export export ...". {socket}, {image} and {n} are the
 * path of a socket made here, the image and the number of the export, those
 * of export 0 in the command. Returns without waiting for the sockets.
 * Context: main, all of these.
 */
BenchServer *bench_server_start(const BenchServerConfig *config,
                                GError **error);
const char *bench_server_socket(const BenchServer *server, unsigned index);

/* Until all sockets are there. False: it ended, or it takes too long. */
bool bench_server_wait(BenchServer *server, int64_t timeout_ms,
                       GError **error);
pid_t bench_server_pid(const BenchServer *server);

/* Whether it has ended by itself; its last words come with the error. */
bool bench_server_is_dead(BenchServer *server, GError **error);

/* Once nobody is connected: SIGTERM and, in bench_server_free(), SIGKILL.
 * NULL, or how it failed to end with status 0; caller frees. */
char *bench_server_stop(BenchServer *server);
void bench_server_free(BenchServer *server); /* kills it if need be */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BenchServer, bench_server_free)

/*
 * Splits @command as a shell does and replaces {name} in each word. Fails for
 * a name that is not in @words. Caller frees.
 */
char **bench_command_expand(const char *command, GHashTable *words,
                            GError **error);

#endif
