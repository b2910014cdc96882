/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Overlays in different threads over one backing file: what they ask it, and
 * what lies below it, is asked in the thread where it lives.
 */
#include "tests/lib/block.h"
#include "tests/lib/qcow2-image.h"

#include <semaphore.h>
#include <string.h>

#include "block/block-backend.h"
#include "block/block-co.h"
#include "block/control.h"
#include "block/iothread.h"

#define CLUSTER  65536
#define CLUSTERS 24
#define BYTES    ((int64_t)CLUSTERS * CLUSTER)
#define PIECE    4096 /* at this offset of each cluster, and so long */

/* --- bottom, a raw file; base, which has every second cluster; two overlays */

typedef struct Chain {
    TestImage *images[4];
    BlockDriverState *base, *overlays[2];
} Chain;

static void chain_open(Chain *chain)
{
    g_autofree char *data = g_malloc(BYTES);

    memset(data, 1, BYTES);
    chain->images[0] = test_image_new(BYTES);
    test_image_write(chain->images[0], 0, data, BYTES);
    for (unsigned i = 1; i < 4; i++) {
        chain->images[i] = qcow2_image_new("", "1536k");
    }
    for (unsigned i = 0; i < CLUSTERS; i += 2) {
        g_autofree char *command = g_strdup_printf("write -P 2 %uk 64k",
                                                   i * 64);

        qcow2_image_io(chain->images[1], command, NULL);
    }
    chain->base = test_open(
        "qcow2,node-name=base,read-only=on,file.driver=file,file.filename=%s,"
        "backing.driver=raw,backing.file.driver=file,backing.file.filename=%s",
        test_image_path(chain->images[1]), test_image_path(chain->images[0]));
    for (unsigned i = 0; i < 2; i++) {
        chain->overlays[i] = test_open(
            "qcow2,file.driver=file,file.filename=%s,backing=base",
            test_image_path(chain->images[2 + i]));
    }
}

static void chain_close(Chain *chain)
{
    for (unsigned i = 0; i < 2; i++) {
        bdrv_unref(chain->overlays[i]);
        qcow2_image_check(chain->images[2 + i]);
    }
    bdrv_unref(chain->base);
    for (unsigned i = 0; i < 4; i++) {
        test_image_free(chain->images[i]);
    }
}

/* --- a guest in a thread of its own --- */

typedef int coroutine_fn UseFn(BlkChannel *channel, unsigned cluster);

typedef struct User {
    IOThread *thread;
    BlockBackend *blk;
    BlkChannel *channel;
    UseFn *use;
    int ret;
    sem_t done;
} User;

static void user_start(User *user, BlockDriverState *bs, UseFn *use)
{
    BlockBackendOptions options = { .writable = true, .block_size = 512 };

    *user = (User){ .use = use };
    sem_init(&user->done, 0, 0);
    user->thread = iothread_new("user", NULL, NULL);
    user->blk = blk_new(bs, &options, NULL);
    g_assert_nonnull(user->blk);
    user->channel = blk_channel_new(user->blk,
                                    iothread_context(user->thread));
}

static void done_bh(void *opaque)
{
    User *user = opaque;

    sem_post(&user->done);
}

static void coroutine_fn use_entry(void *opaque)
{
    User *user = opaque;

    for (unsigned i = 0; i < CLUSTERS && user->ret == 0; i++) {
        user->ret = user->use(user->channel, i);
    }
    aio_bh_once(aio_context_current(), done_bh, user);
}

static void use_bh(void *opaque)
{
    coroutine_enter(coroutine_new(use_entry, opaque));
}

static void user_go(User *user)
{
    aio_bh_once(iothread_context(user->thread), use_bh, user);
}

static void user_wait(User *user)
{
    sem_wait(&user->done);
    g_assert_cmpint(user->ret, ==, 0);
}

static void user_end(User *user)
{
    blk_channel_free(user->channel);
    blk_free(user->blk);
    sem_destroy(&user->done);
}

static uint8_t byte_of(unsigned cluster)
{
    return cluster % 2 ? 1 : 2;
}

/* What a file system that is made does, and a disk with detect-zeroes. */
static int coroutine_fn zero_piece(BlkChannel *channel, unsigned cluster)
{
    int64_t start = (int64_t)cluster * CLUSTER;
    g_autofree uint8_t *buf = g_malloc(CLUSTER);
    int ret = blk_co_pwrite_zeroes(channel, start + PIECE, PIECE, 0);

    if (ret == 0) {
        ret = blk_co_pread(channel, start, CLUSTER, buf);
    }
    for (unsigned i = 0; i < CLUSTER && ret == 0; i++) {
        bool zero = i >= PIECE && i < 2 * PIECE;

        g_assert_cmpuint(buf[i], ==, zero ? 0 : byte_of(cluster));
    }
    return ret;
}

static int coroutine_fn read_piece(BlkChannel *channel, unsigned cluster)
{
    uint8_t buf[PIECE], expected[PIECE];
    int ret = blk_co_pread(channel, (int64_t)cluster * CLUSTER + PIECE, PIECE,
                           buf);

    memset(expected, byte_of(cluster), PIECE);
    g_assert_cmpmem(buf, PIECE, expected, PIECE);
    return ret;
}

/* The first is in the base's thread, the second is not. */
static void use_both(BlockDriverState *first, BlockDriverState *second,
                     UseFn *use)
{
    BlockDriverState *base = bdrv_find_node("base");
    User users[2];

    user_start(&users[0], first, use);
    user_start(&users[1], second, use);
    g_assert_true(base->home == iothread_context(users[0].thread));
    for (unsigned i = 0; i < 2; i++) {
        user_go(&users[i]);
    }
    for (unsigned i = 0; i < 2; i++) {
        user_wait(&users[i]);
    }
    user_end(&users[1]);
    user_end(&users[0]);
    g_assert_null(base->home);
    iothread_free(users[1].thread);
    iothread_free(users[0].thread);
}

static void test_zeroes(void)
{
    Chain chain;

    chain_open(&chain);
    use_both(chain.overlays[0], chain.overlays[1], zero_piece);
    chain_close(&chain);
}

static void test_copy_on_read(void)
{
    BlockDriverState *copiers[2];
    Chain chain;

    chain_open(&chain);
    for (unsigned i = 0; i < 2; i++) {
        copiers[i] = test_open("copy-on-read,file=%s",
                               chain.overlays[i]->node_name);
    }
    use_both(copiers[0], copiers[1], read_piece);
    for (unsigned i = 0; i < 2; i++) {
        g_assert_cmpint(test_image_allocated(chain.images[2 + i]), >, BYTES);
        bdrv_unref(copiers[i]);
    }
    chain_close(&chain);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!qcow2_tools_present()) {
        return 0;
    }
    g_test_add_func("/qcow2-shared/zeroes", test_zeroes);
    g_test_add_func("/qcow2-shared/copy-on-read", test_copy_on_read);
    ret = g_test_run();
    control_stop();
    test_block_end();
    return ret;
}
