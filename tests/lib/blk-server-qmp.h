/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A server that is told by its monitor what to serve. Used by blk-server.c. */
#ifndef TESTS_LIB_BLK_SERVER_QMP_H
#define TESTS_LIB_BLK_SERVER_QMP_H

#include "blk-server.h"
#include "qmp-client.h"

/* What would be on its command line: @export is the value of that option. An
 * image that a process has held until now may be locked for a moment. */
void blk_server_configure(QmpClient *client, const BlkServerConf *conf,
                          const char *export);

#endif
