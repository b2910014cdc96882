/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What goes past the back end, to the format itself: the state of a virtual
 * machine and compressed clusters. Context: main
 */
#ifndef TOOLS_IO_SPECIAL_H
#define TOOLS_IO_SPECIAL_H

#include "request.h"

typedef enum IoSpecialOp {
    IO_LOAD_VMSTATE,
    IO_SAVE_VMSTATE,
    IO_WRITE_COMPRESSED,
} IoSpecialOp;

/* Sends a request and waits for it, as io_request() does; @buf is borrowed. */
IoResult io_request_special(Io *io, IoSpecialOp op, int64_t offset,
                            int64_t bytes, void *buf);

#endif
