/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Drivers that live in one thread: requests of others come there and their
 * results go back, whoever is first, last or alone.
 */
#include "tests/lib/block.h"
#include "tests/lib/mem-node.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "block/block-co.h"
#include "block/control.h"
#include "block/image.h"
#include "block/iothread.h"

#define BLOCK    4096
#define BLOCKS   64
#define ROUNDS   200

/* --- a driver that has no lock --- */

typedef struct Homely {
    unsigned requests;  /* plain: a second thread would be seen */
    unsigned attached, detached;
} Homely;

static bool homely_open(BlockDriverState *bs, Options *opts, GError **error)
{
    bs->total_bytes = bs->file->total_bytes;
    return true;
}

static void homely_attach(BlockDriverState *bs, AioContext *ctx)
{
    Homely *homely = bs->opaque;

    assert_home(ctx);
    g_assert_true(bs->home == ctx);
    homely->attached++;
}

static void homely_detach(BlockDriverState *bs, AioContext *ctx)
{
    Homely *homely = bs->opaque;

    assert_home(ctx);
    g_assert_true(bs->home == ctx);
    homely->detached++;
}

static void homely_submit(BlockDriverState *bs, BlockRequest *req)
{
    Homely *homely = bs->opaque;

    assert_home(bs->home);
    g_assert_true(req->ctx == bs->home);
    homely->requests++;
    bdrv_submit(bs->file, req);
}

static int coroutine_fn homely_status(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, BlockStatus *status)
{
    assert_home(bs->home);
    status->flags = BLOCK_STATUS_OFFSET | BLOCK_STATUS_DATA;
    status->bytes = bytes;
    status->map = offset;
    status->file = bs->file;
    return 0;
}

static bool coroutine_fn homely_truncate(BlockDriverState *bs,
                                         const BlockTruncate *to,
                                         GError **error)
{
    assert_home(bs->home);
    if (to->bytes > bs->file->total_bytes) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOSPC, "no room");
        return false;
    }
    bs->total_bytes = to->bytes;
    return true;
}

static int coroutine_fn homely_vmstate(BlockDriverState *bs, BlockOp op,
                                       int64_t offset, int64_t bytes,
                                       void *buf)
{
    assert_home(bs->home);
    memset(buf, 7, bytes);
    return 0;
}

static const BlockImageOps homely_image = {
    .co_block_status = homely_status,
    .co_truncate = homely_truncate,
    .co_vmstate = homely_vmstate,
};

static const BlockDriver homely_driver = {
    .name = "test-homely",
    .one_home = true,
    .image = &homely_image,
    .instance_size = sizeof(Homely),
    .open = homely_open,
    .attach_context = homely_attach,
    .detach_context = homely_detach,
    .submit = homely_submit,
};

static BlockDriverState *open_homely(void)
{
    return test_open("raw,file.driver=test-homely,file.file.driver=test-mem,"
                     "file.file.size=1M");
}

static Homely *homely_of(BlockDriverState *bs)
{
    return bs->file->opaque;
}

/* --- one user in a thread of its own --- */

typedef struct User {
    IOThread *thread;
    BlkChannel *channel;
    unsigned number;
    unsigned rounds;
    int ret;
    bool same;
    /* not a GMutex: ThreadSanitizer knows this one */
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;           /* GUARDED_BY lock */
} User;

static int coroutine_fn use_block(User *user, unsigned i)
{
    uint8_t out[BLOCK], in[BLOCK];
    /* every second block is the other's */
    int64_t offset = (int64_t)(2 * (i % BLOCKS) + user->number % 2) * BLOCK;
    int ret;

    memset(out, i + user->number, BLOCK);
    ret = blk_co_pwrite(user->channel, offset, BLOCK, out,
                        i % 3 ? 0 : BLOCK_REQ_FUA);
    if (ret == 0) {
        ret = blk_co_pread(user->channel, offset, BLOCK, in);
    }
    user->same &= memcmp(in, out, BLOCK) == 0;
    return ret < 0 || i % 8 ? ret : blk_co_flush(user->channel);
}

/* From the loop: the channel has counted the last completion by now. */
static void done_bh(void *opaque)
{
    User *user = opaque;

    pthread_mutex_lock(&user->lock);
    user->done = true;
    pthread_cond_signal(&user->cond);
    pthread_mutex_unlock(&user->lock);
}

static void coroutine_fn use_entry(void *opaque)
{
    User *user = opaque;

    for (unsigned i = 0; i < user->rounds && user->ret == 0; i++) {
        user->ret = use_block(user, i);
    }
    aio_bh_once(aio_context_current(), done_bh, user);
}

static void use_bh(void *opaque)
{
    coroutine_enter(coroutine_new(use_entry, opaque));
}

static void user_start(User *user, BlockBackend *blk, unsigned number)
{
    *user = (User){ .number = number, .rounds = ROUNDS, .same = true };
    pthread_mutex_init(&user->lock, NULL);
    pthread_cond_init(&user->cond, NULL);
    user->thread = iothread_new("user", NULL, NULL);
    g_assert_nonnull(user->thread);
    user->channel = blk_channel_new(blk, iothread_context(user->thread));
}

static void user_go(User *user)
{
    user->done = false;
    aio_bh_once(iothread_context(user->thread), use_bh, user);
}

static void user_wait(User *user)
{
    pthread_mutex_lock(&user->lock);
    while (!user->done) {
        pthread_cond_wait(&user->cond, &user->lock);
    }
    pthread_mutex_unlock(&user->lock);
    g_assert_cmpint(user->ret, ==, 0);
    g_assert_true(user->same);
}

static void user_leave(User *user)
{
    g_clear_pointer(&user->channel, blk_channel_free);
}

/* Its thread may be the home of others: they have left. */
static void user_end(User *user)
{
    user_leave(user);
    iothread_free(user->thread);
    pthread_mutex_destroy(&user->lock);
    pthread_cond_destroy(&user->cond);
}

static BlockBackend *new_blk(BlockDriverState *bs)
{
    BlockBackendOptions options = { .writable = true, .block_size = 512 };
    BlockBackend *blk = blk_new(bs, &options, NULL);

    g_assert_nonnull(blk);
    return blk;
}

/* --- the tests --- */

static void test_two_threads(void)
{
    g_autoptr(BlockDriverState) bs = open_homely();
    BlockBackend *blk = new_blk(bs);
    User users[2];
    BlockStats stats;

    user_start(&users[0], blk, 0);
    user_start(&users[1], blk, 1);
    g_assert_true(bs->file->home == iothread_context(users[0].thread));
    user_go(&users[0]);
    user_go(&users[1]);
    user_wait(&users[0]);
    user_wait(&users[1]);
    blk_get_stats(blk, &stats);
    g_assert_cmpuint(stats.requests[BLOCK_WRITE], ==, 2 * ROUNDS);
    g_assert_cmpuint(homely_of(bs)->requests, ==,
                     2 * (2 * ROUNDS + ROUNDS / 8));
    g_assert_cmpuint(test_mem_count(bs->file->file, BLOCK_WRITE), ==,
                     2 * ROUNDS);
    user_leave(&users[0]);
    user_end(&users[1]);
    user_end(&users[0]);
    blk_free(blk);
}

/* The home stays for as long as anybody needs it, and goes then. */
static void check_order(unsigned first_to_go)
{
    g_autoptr(BlockDriverState) bs = open_homely();
    BlockBackend *blk = new_blk(bs);
    User users[2], *stays = &users[!first_to_go];

    user_start(&users[0], blk, 0);
    user_start(&users[1], blk, 1);
    user_leave(&users[first_to_go]);
    g_assert_true(bs->file->home == iothread_context(users[0].thread));
    g_assert_cmpuint(homely_of(bs)->detached, ==, 0);
    user_go(stays);
    user_wait(stays);
    user_leave(stays);
    g_assert_null(bs->file->home);
    g_assert_cmpuint(homely_of(bs)->attached, ==, 1);
    g_assert_cmpuint(homely_of(bs)->detached, ==, 1);
    g_assert_cmpuint(bs->file->file->attached, ==, 0);
    for (unsigned i = 0; i < 2; i++) {
        users[i].channel = blk_channel_new(
            blk, iothread_context(users[i].thread));
    }
    user_go(&users[1]);
    user_wait(&users[1]);
    user_end(&users[1]);
    user_end(&users[0]);
    blk_free(blk);
}

static void test_order(void)
{
    check_order(0);
    check_order(1);
}

/* The main thread is home, and has to let go while another detaches. */
static void test_main_is_home(void)
{
    g_autoptr(BlockDriverState) bs = open_homely();
    BlockBackend *blk = new_blk(bs);
    BlkChannel *channel = blk_channel_new(blk, test_ctx());
    User user;

    user_start(&user, blk, 0);
    g_assert_true(bs->file->home == test_ctx());
    blk_channel_free(channel);
    g_assert_true(bs->file->home == test_ctx());
    user_end(&user);
    g_assert_null(bs->file->home);
    blk_free(blk);
}

typedef struct Visit {
    BlockDriverState *bs;
    AioContext *ctx;
    int ret;
} Visit;

static void coroutine_fn visit_entry(void *opaque)
{
    Visit *visit = opaque;
    char buf[512];

    visit->ctx = aio_context_current();
    visit->ret = bdrv_co_pread(visit->bs, 0, sizeof(buf), buf);
}

/* bdrv_run_co() goes where the node is, and leaves it there. */
static void test_visits(void)
{
    g_autoptr(BlockDriverState) bs = open_homely();
    BlockBackend *blk = new_blk(bs);
    Visit visit = { .bs = bs->file, .ret = -1 };
    User user;

    user_start(&user, blk, 0);
    user_go(&user);
    bdrv_run_co(bs->file, visit_entry, &visit);
    g_assert_cmpint(visit.ret, ==, 0);
    g_assert_true(visit.ctx == iothread_context(user.thread));
    user_wait(&user);
    /* above it there is no home: it is reached from the control thread */
    visit.bs = bs;
    user_go(&user);
    bdrv_run_co(bs, visit_entry, &visit);
    g_assert_cmpint(visit.ret, ==, 0);
    g_assert_true(visit.ctx == control_context());
    user_wait(&user);
    g_assert_true(bs->file->home == iothread_context(user.thread));
    user_end(&user);
    blk_free(blk);
}

typedef struct Questions {
    BlockDriverState *bs;
    AioContext *ctx;
} Questions;

static void coroutine_fn ask_entry(void *opaque)
{
    Questions *q = opaque;
    BlockTruncate to = { .bytes = BLOCK };
    g_autoptr(GError) error = NULL;
    BlockStatus status;
    unsigned depth;
    char byte = 0;

    q->ctx = aio_context_current();
    g_assert_cmpint(bdrv_co_block_status(q->bs, BLOCK, BLOCK, &status), ==, 0);
    g_assert_cmpint(status.bytes, ==, BLOCK);
    g_assert_true(status.file == q->bs->file->file);
    g_assert_cmpint(bdrv_co_block_status_above(q->bs->file, NULL, BLOCK, BLOCK,
                                               &status, &depth), ==, 0);
    g_assert_cmpuint(status.flags, ==, BLOCK_STATUS_OFFSET |
                     BLOCK_STATUS_DATA | BLOCK_STATUS_ALLOCATED);
    g_assert_cmpint(bdrv_co_load_vmstate(q->bs, 0, 1, &byte), ==, 0);
    g_assert_cmpint(byte, ==, 7);
    g_assert_true(bdrv_co_truncate(q->bs, &to, NULL));
    g_assert_cmpint(q->bs->total_bytes, ==, BLOCK);
    to.bytes = 1 << 30;
    g_assert_false(bdrv_co_truncate(q->bs, &to, &error));
    g_assert_cmpstr(error->message, ==, "no room");
    g_assert_true(aio_context_current() == q->ctx);
}

/* What is asked without a request comes home as well. */
static void test_questions(void)
{
    g_autoptr(BlockDriverState) bs = open_homely();
    BlockBackend *blk = new_blk(bs);
    Questions questions = { .bs = bs };
    User user;

    user_start(&user, blk, 0);
    bdrv_run_co(bs, ask_entry, &questions);
    g_assert_true(questions.ctx == control_context());
    g_assert_true(bs->file->home == iothread_context(user.thread));
    user_end(&user);
    blk_free(blk);
}

/* What fails at home fails where it came from. */
static void test_error(void)
{
    g_autoptr(BlockDriverState) bs = open_homely();
    BlockBackend *blk = new_blk(bs);
    BlkChannel *channel = blk_channel_new(blk, test_ctx());
    User user;

    user_start(&user, blk, 0);
    test_mem(bs->file->file)->fail_after = 5;
    user_go(&user);
    /* the home is here and has to run */
    pthread_mutex_lock(&user.lock);
    while (!user.done) {
        pthread_mutex_unlock(&user.lock);
        aio_poll(test_ctx(), false);
        pthread_mutex_lock(&user.lock);
    }
    pthread_mutex_unlock(&user.lock);
    g_assert_cmpint(user.ret, ==, -EIO);
    user_end(&user);
    blk_channel_free(channel);
    blk_free(blk);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    test_mem_register();
    bdrv_register(&homely_driver);
    g_test_add_func("/node-home/two-threads", test_two_threads);
    g_test_add_func("/node-home/order", test_order);
    g_test_add_func("/node-home/main-is-home", test_main_is_home);
    g_test_add_func("/node-home/visits", test_visits);
    g_test_add_func("/node-home/questions", test_questions);
    g_test_add_func("/node-home/error", test_error);
    ret = g_test_run();
    control_stop();
    test_block_end();
    return ret;
}
