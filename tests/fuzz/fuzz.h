/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A fuzz target is a function that takes bytes from anybody and must neither
 * crash nor hang, whatever they are. With -Dfuzz=true and clang libFuzzer
 * calls it; otherwise main() of fuzz-main.c does, with files and with changed
 * copies of them, as a test.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#endif
