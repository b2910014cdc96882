/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2 images in memory for fuzz targets. The image may grow to 8 MiB; an
 * external data file is there and empty; no name in the image is followed.
 */
#ifndef TESTS_FUZZ_FUZZ_IMAGE_H
#define TESTS_FUZZ_FUZZ_IMAGE_H

#include "block/driver.h"

#include <stddef.h>
#include <stdint.h>

#define FUZZ_IMAGE_MAX (1 << 20)

/* Once; logging is off from then on. */
void fuzz_image_init(void);

void fuzz_image_set(const uint8_t *data, size_t bytes);

/* @more: further options as JSON, each with a comma behind it. NULL when it
 * does not open. */
BlockDriverState *fuzz_image_open(const char *more);

#endif
