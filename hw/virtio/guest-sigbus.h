/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory of another process that may vanish under us: ranges registered here
 * survive a SIGBUS. Used by guest-mapping.c alone.
 */
#ifndef GUEST_SIGBUS_H
#define GUEST_SIGBUS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct SigbusRange SigbusRange;

/*
 * From now on a SIGBUS in [@base, @base + @bytes) puts a zero page of
 * @page_size bytes in place of the lost one and marks the range. The first
 * call installs the process's SIGBUS handler. Context: any
 */
SigbusRange *sigbus_range_register(void *base, size_t bytes, size_t page_size);

/* Before the range is unmapped; nobody touches it any more. Context: any */
void sigbus_range_unregister(SigbusRange *range);

/* Whether a page of the range was lost. Context: any */
bool sigbus_range_is_broken(const SigbusRange *range);

/* Whether any range was ever broken: one load, for the data path.
 * Context: any */
bool sigbus_any_broken(void);

#endif
