/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What disks cost that nobody uses: sixteen exports of one daemon, a guest on
 * each, and not one wake-up, not forty MiB.
 */
#include "guest-blk.h"
#include "image.h"

#include "guest/vhost-user-client.h"

#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXPORTS 16
#define QUEUES  2
#define RSS_MAX_KIB (40 * 1024)

#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

typedef struct World {
    char *folder;
    TestImage *image;
    GPid pid;
    GuestBlk *guests[EXPORTS];
} World;

static char *socket_path(const World *world, unsigned i)
{
    return g_strdup_printf("%s/%u", world->folder, i);
}

static void spawn(World *world, const char *aio)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;

    g_ptr_array_add(argv, g_strdup(g_getenv("VBLK_STORAGE_DAEMON")));
    g_ptr_array_add(argv, g_strdup("--blockdev"));
    g_ptr_array_add(argv, g_strdup_printf(
        "driver=file,node-name=n0,filename=%s,read-only=on,"
        "cache.direct=on,aio=%s", test_image_path(world->image), aio));
    for (unsigned i = 0; i < EXPORTS; i++) {
        g_autofree char *path = socket_path(world, i);

        g_ptr_array_add(argv, g_strdup("--export"));
        g_ptr_array_add(argv, g_strdup_printf(
            "vhost-user-blk,id=e%u,node-name=n0,addr.type=unix,addr.path=%s",
            i, path));
    }
    g_ptr_array_add(argv, NULL);
    g_spawn_async(NULL, (char **)argv->pdata, NULL,
                  G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &world->pid, &error);
    g_assert_no_error(error);
}

static World *world_new(const char *aio)
{
    World *world = g_new0(World, 1);
    GuestBlkConf conf = { .num_queues = QUEUES, .memory_bytes = 4 << 20 };
    char buf[512];

    world->folder = g_dir_make_tmp("vblk-idle-XXXXXX", NULL);
    world->image = test_image_new(1 << 20);
    spawn(world, aio);
    for (unsigned i = 0; i < EXPORTS; i++) {
        g_autofree char *path = socket_path(world, i);

        close(vu_connect(path)); /* waits until it is there */
        world->guests[i] = guest_blk_new_socket(path, &conf);
        guest_blk_start(world->guests[i]);
        g_assert_cmpuint(guest_blk_read(world->guests[i], 0, buf, 512), ==,
                         VIRTIO_BLK_S_OK);
    }
    return world;
}

static void world_free(World *world)
{
    int status;

    for (unsigned i = 0; i < EXPORTS; i++) {
        guest_blk_free(world->guests[i]);
    }
    kill(world->pid, SIGTERM);
    g_assert_cmpint(waitpid(world->pid, &status, 0), ==, world->pid);
    g_assert_cmpint(status, ==, 0);
    g_assert_cmpint(g_rmdir(world->folder), ==, 0);
    test_image_free(world->image);
    g_free(world->folder);
    g_free(world);
}

/* The number behind @key in a status file of /proc. */
static guint64 read_status(const char *path, const char *key)
{
    g_autofree char *text = NULL;
    const char *line;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    line = strstr(text, key);
    g_assert_nonnull(line);
    return g_ascii_strtoull(line + strlen(key), NULL, 10);
}

/* How often the threads of the process have gone to sleep so far. */
static guint64 count_sleeps(const World *world)
{
    g_autofree char *folder = g_strdup_printf("/proc/%d/task", world->pid);
    GDir *dir = g_dir_open(folder, 0, NULL);
    guint64 sum = 0;
    const char *name;

    g_assert_nonnull(dir);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_strdup_printf("%s/%s/status", folder, name);

        sum += read_status(path, "\nvoluntary_ctxt_switches:");
    }
    g_dir_close(dir);
    return sum;
}

/*
 * A quarter of a second without one sleep is a quarter of a second without a
 * wake-up: who never wakes has no need to go to sleep again. Polling may go on
 * for a moment after the last request, so a few quarters may be restless.
 */
static void test_no_wakeups(gconstpointer aio)
{
    World *world = world_new(aio);
    unsigned quarter;

    for (quarter = 0; quarter < 40; quarter++) {
        guint64 before = count_sleeps(world);

        g_usleep(G_USEC_PER_SEC / 4);
        if (count_sleeps(world) == before) {
            break;
        }
    }
    g_assert_cmpuint(quarter, <, 40);
    world_free(world);
}

static void test_memory(gconstpointer aio)
{
    World *world;
    g_autofree char *path = NULL;

    if (SANITIZED) {
        g_test_skip("sanitizers need memory of their own");
        return;
    }
    world = world_new(aio);
    path = g_strdup_printf("/proc/%d/status", world->pid);
    g_test_message("%" G_GUINT64_FORMAT " KiB resident",
                   read_status(path, "\nVmRSS:"));
    g_assert_cmpuint(read_status(path, "\nVmRSS:"), <, RSS_MAX_KIB);
    world_free(world);
}

int main(int argc, char **argv)
{
    static const char *const engines[] = { "threads", "native", "io_uring",
                                          "auto" };

    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(engines); i++) {
        g_autofree char *wakeups =
            g_strdup_printf("/vhost-user-blk-idle/wake-ups/%s", engines[i]);
        g_autofree char *memory =
            g_strdup_printf("/vhost-user-blk-idle/memory/%s", engines[i]);

        g_test_add_data_func(wakeups, engines[i], test_no_wakeups);
        g_test_add_data_func(memory, engines[i], test_memory);
    }
    return g_test_run();
}
