/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Used by the virtio-blk-*-test programs; joins tests/lib to engines.
 */
#include "engines.h"

static const char *const engine_names[] = {
    "threads", "native", "io_uring", "auto",
};

typedef struct WorldTest {
    World world;
    void (*fn)(const World *world);
} WorldTest;

static void run_world(gconstpointer data)
{
    const WorldTest *test = data;

    test->fn(&test->world);
}

void worlds_add(const char *prefix, const char *name,
                void (*fn)(const World *world))
{
    for (unsigned i = 0; i < G_N_ELEMENTS(engine_names) * 4; i++) {
        WorldTest *test = g_new0(WorldTest, 1);
        g_autofree char *path = NULL;

        test->world.engine = engine_names[i / 4];
        test->world.n_iothreads = i / 2 % 2;
        test->world.packed = i % 2;
        test->fn = fn;
        path = g_strdup_printf("/%s/%s/%s/%s/%s", prefix, name,
                               test->world.engine,
                               test->world.n_iothreads ? "iothread" : "main",
                               test->world.packed ? "packed" : "split");
        g_test_add_data_func_full(path, test, run_world, g_free);
    }
}

char *engine_blockdev(const char *engine, const char *image,
                      const char *node_opts)
{
    return g_strdup_printf("driver=file,node-name=n0,filename=%s,aio=%s,"
                           "cache.direct=on%s", image, engine,
                           node_opts ? node_opts : "");
}

bool disk_open(Disk *disk, const World *world, int64_t bytes,
               const char *node_opts, const BlkRigConf *conf,
               const GuestBlkConf *guest_conf)
{
    BlkRigConf rig_conf = conf ? *conf : (BlkRigConf) { 0 };
    GuestBlkConf gconf = guest_conf ? *guest_conf : (GuestBlkConf) { 0 };
    g_autofree char *blockdev = NULL;
    g_autoptr(GError) error = NULL;

    disk->image = blk_image_new(bytes);
    blockdev = engine_blockdev(world->engine, test_image_path(disk->image),
                               node_opts);
    rig_conf.blockdev = blockdev;
    rig_conf.n_iothreads = world->n_iothreads;
    gconf.packed = world->packed;
    disk->rig = blk_rig_new(&rig_conf, &error);
    if (!disk->rig) {
        g_test_skip(error->message);
        test_image_free(disk->image);
        return false;
    }
    disk->guest = guest_blk_new_direct(blk_rig_device(disk->rig),
                                       blk_rig_pump(disk->rig), &gconf);
    guest_blk_start(disk->guest);
    return true;
}

void disk_close(Disk *disk)
{
    guest_blk_free(disk->guest);
    blk_rig_free(disk->rig);
    test_image_free(disk->image);
}
