/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2 under random requests side by side, opened and closed in between:
 * what is read, and what is left.
 */
#include "tests/lib/qcow2-storm.h"

static void test_random(gconstpointer opaque)
{
    Storm *storm = storm_new(opaque, "random");
    unsigned ops = storm_ops(1500);

    for (unsigned i = 0; i < 3; i++) {
        storm_run(storm, ops / 3, i * 3);
        storm_check(storm);
    }
    storm_free(storm);
}

int main(int argc, char **argv)
{
    return storm_main(argc, argv, "random", test_random, NULL);
}
