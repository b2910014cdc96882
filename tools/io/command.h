/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lines of commands. Context: main */
#ifndef TOOLS_IO_COMMAND_H
#define TOOLS_IO_COMMAND_H

#include "io.h"

/* Runs one line; an empty one does nothing. Returns whether all went well.
 * io->quit says that there shall be no other. */
bool io_command_run(Io *io, const char *line);

#endif
