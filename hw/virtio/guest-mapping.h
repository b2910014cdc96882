/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One piece of a file that another process sent, mapped into this one: what
 * guest memory regions and the dirty log are made of.
 */
#ifndef GUEST_MAPPING_H
#define GUEST_MAPPING_H

#include "block/handover.h"

typedef struct GuestMapping GuestMapping;

/*
 * Maps @size bytes from @offset on, which need not be page aligned. NULL with
 * @error when the size is 0, the end wraps around or lies behind the end of
 * the file, or mmap() refuses. @fd stays the caller's. Context: main
 */
GuestMapping *guest_mapping_new(int fd, uint64_t offset, uint64_t size,
                                GError **error);

/* Memory that belongs to the caller: nothing is mapped or guarded. */
GuestMapping *guest_mapping_new_borrowed(void *base);

GuestMapping *guest_mapping_ref(GuestMapping *mapping); /* Context: any */
void guest_mapping_unref(GuestMapping *mapping);        /* Context: any */

/* Puts what another process needs to map the same into @record: "fd",
 * "offset", "bytes". False with @error. Context: main */
bool guest_mapping_hand_over(const GuestMapping *mapping,
                             HandoverRecord *record, GError **error);

/* The byte at @offset. Context: any */
void *guest_mapping_data(const GuestMapping *mapping);

/* A page of it was lost (the file was cut short). Context: any */
bool guest_mapping_is_broken(const GuestMapping *mapping);

#endif
