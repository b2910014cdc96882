/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A client of a daemon's monitor, which waits for what it wants to see. */
#ifndef TESTS_LIB_QMP_CLIENT_H
#define TESTS_LIB_QMP_CLIENT_H

#include <stdbool.h>

typedef struct QmpClient QmpClient;

/* Connects, when somebody listens there, and negotiates. */
QmpClient *qmp_client_new(const char *path);
void qmp_client_free(QmpClient *client);

/* Runs a command without arguments, which succeeds; its line, valid until the
 * next call. */
const char *qmp_client_run(QmpClient *client, const char *name);

/* The same with arguments, an object in JSON. */
const char *qmp_client_run_with(QmpClient *client, const char *name,
                                const char *arguments);

/* The same for one that may fail: whether it succeeded. */
bool qmp_client_try(QmpClient *client, const char *name,
                    const char *arguments);

/* Waits for the next event of that name that was not waited for yet; its
 * line, valid until the next call. */
const char *qmp_client_event(QmpClient *client, const char *name);

#endif
