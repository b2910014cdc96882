/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2 images that lose power at any moment of random requests: nothing that
 * was flushed is lost, no cluster belongs to two, what was not flushed is old
 * or new, sector by sector, and never somebody else's. And images whose server
 * is killed, where the guest goes on: there all that was answered is left.
 */
#include "tests/lib/qcow2-storm.h"

#define CUTS 25
#define KILLS 10

typedef void CheckFn(Storm *storm, unsigned at);

static void check_often(Storm *storm, unsigned times, CheckFn *check)
{
    unsigned length = test_disk_log_length(storm->disk);

    for (unsigned i = 0; i < times; i++) {
        check(storm, g_rand_int_range(storm->rand, 0, length + 1));
    }
}

static void test_cut(gconstpointer opaque)
{
    Storm *storm = storm_new(opaque, "cut");

    test_disk_start_log(storm->disk);
    storm_run(storm, storm_ops(300), 4);
    check_often(storm, CUTS, storm_check_cut);
    if (storm->config->outlived) {
        check_often(storm, KILLS, storm_check_kill);
    }
    storm_free(storm);
}

/* Two disks would have two logs. */
static bool has_one_log(const StormConfig *config)
{
    return !config->engine && !config->data_file;
}

int main(int argc, char **argv)
{
    return storm_main(argc, argv, "power-cut", test_cut, has_one_log);
}
