/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images for a comparison: made before the first run, half-compressible as
 * people's data are, and fully written, so that no run has to allocate.
 */
#ifndef TOOLS_BENCH_IMAGE_H
#define TOOLS_BENCH_IMAGE_H

#include "spec.h"

/* What is in the way of an image, or NULL: no zram device, no permission.
 * Resets a zram device that a killed vblk-bench has left. Caller frees. Context: main, all of these. */
char *bench_image_obstacle(const BenchSpecImage *image);

bool bench_image_prepare(const BenchSpecImage *image, GError **error);

/* The path of one of image->count; caller frees. */
char *bench_image_path(const BenchSpecImage *image, unsigned index);

/* Before each run: the page cache holds the image, or nothing of it. */
bool bench_image_settle(const BenchSpecImage *image, GError **error);

/* Gives back memory; keeps files. */
void bench_image_release(const BenchSpecImage *image);

/* The same for what another process prepared, when that is gone. */
void bench_image_abandon(const BenchSpecImage *image);

#endif
