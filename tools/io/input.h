/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lines from standard input. Context: main */
#ifndef TOOLS_IO_INPUT_H
#define TOOLS_IO_INPUT_H

/*
 * Shows the prompt and reads a line; meanwhile reports what completes. NULL
 * at the end. Caller frees. A line of more than 1023 bytes is several, as for
 * qemu-io.
 */
char *input_line(void);

#endif
