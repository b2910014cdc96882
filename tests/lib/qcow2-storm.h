/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random requests side by side on a qcow2 image, against a model of what it
 * contains; for tests that see what is left of it then. Failures assert.
 *
 * QCOW2_STORM_SEED and QCOW2_STORM_OPS make other runs, longer ones.
 */
#ifndef TESTS_LIB_QCOW2_STORM_H
#define TESTS_LIB_QCOW2_STORM_H

#include "tests/lib/block.h"
#include "tests/lib/disk-model.h"
#include "tests/lib/test-disk.h"

#define STORM_DEPTH 16

typedef struct StormConfig {
    const char *name;
    const char *create;   /* -o for qemu-img create */
    const char *options;  /* for the node; begins with a comma */
    const char *disk;     /* for the node below; likewise */
    int64_t bytes;        /* of the disk */
    int64_t backing;      /* of a backing file; 0: none */
    bool v2;
    bool lazy;
    bool data_raw;        /* and others may read it there */
    bool data_file;       /* the guest's data is in a file of its own */
    const char *engine;   /* a file of the host is below, with this aio */
    bool outlived;        /* by the guest: it means to go on when we die */
} StormConfig;

/* Ends with one without a name. */
extern const StormConfig storm_configs[];

typedef struct Storm Storm;

typedef struct StormOp {
    Storm *run;
    TestRequest test;
    bool busy;
    void *buf;
    ModelChange *change;
    uint64_t began;
    int64_t offset, bytes;
} StormOp;

struct Storm {
    const StormConfig *config;
    char *dir, *image, *raw, *backing, *data;
    TestDisk *disk, *data_disk;
    BlockDriverState *bs;
    DiskModel *model;
    GRand *rand;
    uint32_t next_tag;
    int64_t cluster;
    StormOp ops[STORM_DEPTH];
    unsigned done;
    bool may_fail;        /* requests may, as writes to the disk do */
    unsigned failed;
};

/* A new image. The seed is of @test and the configuration's name. */
Storm *storm_new(const StormConfig *config, const char *test);
void storm_free(Storm *storm);

/* How many requests the test should make, @def if nobody asks for more. */
unsigned storm_ops(unsigned def);

/* Opens, makes @ops requests on disks that answer after up to @delay rounds,
 * closes. */
void storm_run(Storm *storm, unsigned ops, unsigned delay);

/* What is in the image, by Debian's qemu-img, which calls it clean, and by us.
 * Leaks are forgiven where requests failed. */
void storm_check(Storm *storm);

/* What would be left of it had power failed when the log was @at long: clean
 * but for leaks, and nothing lost that had been flushed. */
void storm_check_cut(Storm *storm, unsigned at);

/* The same for a process that was killed, of a guest that outlives it: all
 * that had been answered is there. */
void storm_check_kill(Storm *storm, unsigned at);

/* The model takes what the image contains for granted, and so does the disk:
 * after requests that failed, and a check. */
void storm_settle(Storm *storm);

/*
 * main() of a test program: "/qcow2/KIND/NAME", which is @fn, for every
 * configuration that @suits. NULL: for all.
 */
typedef bool StormFilter(const StormConfig *config);
int storm_main(int argc, char **argv, const char *kind, GTestDataFunc fn,
               StormFilter *suits);

#endif
