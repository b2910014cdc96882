/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the device tests run over: each engine, device in the calling thread
 * or in one of its own, split and packed rings.
 */
#ifndef TESTS_QTEST_ENGINES_H
#define TESTS_QTEST_ENGINES_H

#include "blk-rig.h"
#include "guest-blk.h"

typedef struct World {
    const char *engine;
    unsigned n_iothreads;
    bool packed;
} World;

/* "/PREFIX/NAME/threads/iothread/packed" and so on: adds @fn for each. */
void worlds_add(const char *prefix, const char *name,
                void (*fn)(const World *world));

/* A disk in a world: image, device, guest with its queues running. */
typedef struct Disk {
    TestImage *image;
    BlkRig *rig;
    GuestBlk *guest;
} Disk;

/*
 * @conf and @guest_conf may be NULL; blockdev, n_iothreads and packed are
 * filled in. @node_opts goes behind the blockdev, with its comma. False, and
 * the test is skipped, when the file system has no O_DIRECT.
 */
bool disk_open(Disk *disk, const World *world, int64_t bytes,
               const char *node_opts, const BlkRigConf *conf,
               const GuestBlkConf *guest_conf);
void disk_close(Disk *disk);

/* The --blockdev of @image on @engine. */
char *engine_blockdev(const char *engine, const char *image,
                      const char *node_opts);

#endif
