/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PATH.qcow2 beside an image of a comparison. Context: main, all of these. */
#ifndef TOOLS_BENCH_IMAGE_QCOW2_H
#define TOOLS_BENCH_IMAGE_QCOW2_H

#include "spec.h"

/* What is in the way, or NULL. Caller frees. */
char *bench_qcow2_obstacle(const BenchSpecImage *image);

/* Before the first run, and before each run. */
bool bench_qcow2_prepare(const BenchSpecImage *image, GError **error);
bool bench_qcow2_settle(const BenchSpecImage *image, GError **error);

/* Removes it: it is soon made. */
void bench_qcow2_release(const BenchSpecImage *image);

#endif
