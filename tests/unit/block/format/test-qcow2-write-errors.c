/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2 on a disk whose writes fail now and then, those of tables among them:
 * requests fail, and what they did not touch is as it was.
 */
#include "tests/lib/qcow2-storm.h"

static void test_errors(gconstpointer opaque)
{
    Storm *storm = storm_new(opaque, "errors");
    int ops = storm_ops(400);

    storm->may_fail = true;
    for (unsigned i = 0; i < 4; i++) {
        test_disk_fail(storm->disk, BLOCK_WRITE,
                       g_rand_int_range(storm->rand, 0, ops / 4),
                       g_rand_int_range(storm->rand, 1, 6));
        storm_run(storm, ops / 4, 2);
        storm_check(storm);
        storm_settle(storm);
    }
    storm_free(storm);
}

/* Files of the host do not fail. */
static bool is_in_memory(const StormConfig *config)
{
    return !config->engine;
}

int main(int argc, char **argv)
{
    return storm_main(argc, argv, "write-errors", test_errors, is_in_memory);
}
