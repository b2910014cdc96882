/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2 on a disk whose writes fail now and then, those of tables among them:
 * requests fail, and what they did not touch is as it was.
 */
#include "tests/lib/qcow2-image.h"
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

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    test_disk_register();
    for (const StormConfig *c = storm_configs; c->name; c++) {
        if (!c->engine) {
            storm_add_test("write-errors", c, test_errors);
        }
    }
    ret = g_test_run();
    test_block_end();
    return ret;
}
