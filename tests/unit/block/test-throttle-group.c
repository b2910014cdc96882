/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who goes when: turns of members, directions apart, several threads. Of time
 * only that nothing comes earlier than the limits allow is asserted.
 */
#include "block/throttle.h"

#include <semaphore.h>
#include <string.h>

#include "block/iothread.h"
#include "tests/lib/ctx.h"

static ThrottleGroup *make_group(const char *id, const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Options) opts = options_parse(text, "object", NULL, &error);

    throttle_group_add(id, opts, &error);
    g_assert_no_error(error);
    return throttle_group_find(id);
}

/* What has passed, in order: the name of the member. */
typedef struct Log {
    GString *names;
    int64_t start_ns, last_ns; /* of its first source */
} Log;

typedef struct Source {
    char name;
    Log *log;
    ThrottleMember *member;
    BlockRequest *reqs;
} Source;

static void log_pass(void *opaque, BlockRequest *req)
{
    Source *source = opaque;
    Log *log = source->log;
    char name = source->name;

    log->last_ns = aio_clock_ns();
    g_string_append_c(log->names, req->op == BLOCK_READ
                                      ? g_ascii_tolower(name) : name);
}

static void source_init(Source *source, char name, Log *log,
                        ThrottleGroup *group, unsigned requests)
{
    source->name = name;
    source->log = log;
    source->member = throttle_member_new(group, test_ctx(), log_pass, source);
    source->reqs = g_new0(BlockRequest, requests);
    log->start_ns = log->start_ns ? log->start_ns : aio_clock_ns();
}

static void source_clear(Source *source)
{
    throttle_member_free(source->member);
    g_free(source->reqs);
}

static void submit(Source *source, unsigned i, BlockOp op)
{
    BlockRequest *req = &source->reqs[i];

    block_request_init(req);
    req->op = op;
    req->bytes = op == BLOCK_FLUSH ? 0 : 4096;
    req->ctx = test_ctx();
    throttle_member_submit(source->member, req);
}

static void wait_for(const Log *log, unsigned count)
{
    while (log->names->len < count) {
        aio_poll(test_ctx(), true);
    }
    g_assert_cmpuint(log->names->len, ==, count);
}

/* So many had to go at once, and by now some more may have, at @rate a second:
 * the machine may have had something else to do. */
static void expect_at_once(const Log *log, unsigned n, unsigned rate)
{
    double more = rate * (aio_clock_ns() - log->start_ns) / 1e9;

    g_assert_cmpuint(log->names->len, >=, n);
    g_assert_cmpfloat(log->names->len, <=, n + more);
}

static void expect_lasted(const Log *log, unsigned ms)
{
    g_assert_cmpint(log->last_ns - log->start_ns, >=,
                    ms * INT64_C(1000000));
}

static void test_unlimited(void)
{
    Log log = { g_string_new(NULL) };
    Source a;

    source_init(&a, 'A', &log, make_group("unlimited", ""), 3);
    submit(&a, 0, BLOCK_WRITE);
    submit(&a, 1, BLOCK_READ);
    submit(&a, 2, BLOCK_DISCARD);
    g_assert_cmpstr(log.names->str, ==, "AaA");
    source_clear(&a);
    g_string_free(log.names, TRUE);
}

/* 10 at 100 a second may go at once, and one more until it overflows. */
static void test_rate(void)
{
    Log log = { g_string_new(NULL) };
    Source a;

    source_init(&a, 'A', &log, make_group("rate", "x-iops-total=100"), 31);
    for (unsigned i = 0; i < 31; i++) {
        submit(&a, i, BLOCK_WRITE);
    }
    expect_at_once(&log, 11, 100);
    wait_for(&log, 31);
    expect_lasted(&log, 200);
    source_clear(&a);
    g_string_free(log.names, TRUE);
}

static void set_limit(ThrottleGroup *group, uint64_t iops)
{
    ThrottleConfig config;

    throttle_group_get_config(group, &config);
    config.rates[THROTTLE_IOPS_TOTAL].avg = iops;
    throttle_group_set_config(group, &config);
}

/* Who would have to wait for an hour looks again when limits change. */
static void test_new_limits(void)
{
    Log log = { g_string_new(NULL) };
    ThrottleGroup *group = make_group("new", "limits.bps-total=1,"
                                             "limits.iops-total=10000");
    Source a, b;
    ThrottleConfig config;
    int64_t new_ns;

    source_init(&a, 'A', &log, group, 20);
    source_init(&b, 'B', &log, group, 20);
    for (unsigned i = 0; i < 10; i++) {
        submit(&a, i, BLOCK_WRITE);
        submit(&b, i, BLOCK_READ);
    }
    g_assert_cmpuint(log.names->len, ==, 1);
    throttle_group_get_config(group, &config);
    g_assert_cmpuint(config.rates[THROTTLE_BPS_TOTAL].avg, ==, 1);
    config.rates[THROTTLE_BPS_TOTAL].avg = 0;
    throttle_group_set_config(group, &config);
    wait_for(&log, 20);

    set_limit(group, 0);
    submit(&a, 10, BLOCK_WRITE);
    g_assert_cmpuint(log.names->len, ==, 21);
    new_ns = aio_clock_ns();
    set_limit(group, 10);
    for (unsigned i = 11; i < 15; i++) {
        submit(&a, i, BLOCK_WRITE);
    }
    log.start_ns = new_ns;
    expect_at_once(&log, 23, 10);
    wait_for(&log, 25);
    source_clear(&a);
    source_clear(&b);
    g_string_free(log.names, TRUE);
}

static void list_group(void *opaque, const char *id)
{
    g_string_append_printf(opaque, "%s ", id);
}

static void test_delete(void)
{
    g_autoptr(GString) ids = g_string_new(NULL);
    ThrottleGroup *group;
    GError *error = NULL;

    throttle_group_free_all();
    make_group("b", "");
    group = throttle_group_ref(make_group("a", ""));
    throttle_group_foreach(list_group, ids);
    g_assert_cmpstr(ids->str, ==, "a b ");
    g_assert_false(throttle_group_del("a", &error));
    g_assert_cmpstr(error->message, ==,
                    "object 'a' is in use, can not be deleted");
    g_error_free(error);
    throttle_group_unref(group);
    g_assert_true(throttle_group_del("a", NULL));
    g_assert_null(throttle_group_find("a"));
    g_assert_true(throttle_group_del("b", NULL));
}

/* All wait for an hour at first, so that they begin together. */
static void test_turns(void)
{
    Log log = { g_string_new(NULL) };
    ThrottleGroup *group = make_group("turns", "limits.bps-write=1");
    Source sources[3];
    ThrottleConfig config;

    for (unsigned s = 0; s < 3; s++) {
        source_init(&sources[s], 'A' + s, &log, group, 41);
        for (unsigned i = 0; i < 40 + (s == 0); i++) {
            submit(&sources[s], i, BLOCK_WRITE);
        }
    }
    g_assert_cmpuint(log.names->len, ==, 1);
    throttle_config_init(&config);
    config.rates[THROTTLE_IOPS_WRITE].avg = 500;
    throttle_group_set_config(group, &config);
    wait_for(&log, 121);
    /* a member that was late to wake up may send more than one at a time,
     * but nobody is left behind: in any 48 each has its share of 16 */
    for (unsigned i = 1; i + 48 <= 121; i++) {
        g_autofree char *part = g_strndup(log.names->str + i, 48);

        for (const char *name = "ABC"; *name; name++) {
            g_assert_nonnull(strchr(part, *name));
        }
    }
    for (unsigned s = 0; s < 3; s++) {
        source_clear(&sources[s]);
    }
    g_string_free(log.names, TRUE);
}

/* Reads do not wait for writes that do; flushes wait for nobody. */
static void test_directions(void)
{
    Log log = { g_string_new(NULL) };
    Source a;

    source_init(&a, 'A', &log,
                make_group("directions", "limits.iops-write=10"), 8);
    for (unsigned i = 0; i < 4; i++) {
        submit(&a, i, BLOCK_WRITE_ZEROES);
    }
    g_assert_cmpstr(log.names->str, ==, "AA");
    submit(&a, 4, BLOCK_READ);
    submit(&a, 5, BLOCK_READ);
    submit(&a, 6, BLOCK_FLUSH);
    g_assert_cmpstr(log.names->str, ==, "AAaaA");
    wait_for(&log, 7);
    expect_lasted(&log, 200);
    source_clear(&a);
    g_string_free(log.names, TRUE);
}

/* A limit on both together lets both go on. */
static void test_shared_limit(void)
{
    Log log = { g_string_new(NULL) };
    unsigned reads = 0;
    Source a;

    source_init(&a, 'A', &log, make_group("shared", "x-iops-total=1000"),
                400);
    for (unsigned i = 0; i < 400; i++) {
        submit(&a, i, i % 2 ? BLOCK_READ : BLOCK_WRITE);
    }
    wait_for(&log, 400);
    /* of those that waited; after a pause of the machine a bucket's worth, 100
     * of them, may go at once, in turns of 16 */
    for (unsigned i = 150; i < 350; i++) {
        reads += log.names->str[i] == 'a';
    }
    g_assert_cmpuint(reads, >=, 30);
    g_assert_cmpuint(reads, <=, 170);
    expect_lasted(&log, 297); /* each way, one may have been early */
    source_clear(&a);
    g_string_free(log.names, TRUE);
}

/* --- several threads --- */

#define IN_FLIGHT 8

typedef struct Thread {
    IOThread *iothread;
    AioContext *ctx;
    ThrottleGroup *group;
    ThrottleMember *member;
    BlockRequest reqs[IN_FLIGHT];
    unsigned to_submit, passed;
    sem_t *done;
} Thread;

static void thread_submit(Thread *thread, BlockRequest *req)
{
    if (thread->to_submit == 0) {
        return;
    }
    thread->to_submit--;
    block_request_init(req);
    req->op = thread->to_submit % 3 ? BLOCK_READ : BLOCK_WRITE;
    req->bytes = 512;
    req->ctx = thread->ctx;
    throttle_member_submit(thread->member, req);
}

typedef struct Again {
    Thread *thread;
    BlockRequest *req;
} Again;

static void again_bh(void *opaque)
{
    Again *again = opaque;

    thread_submit(again->thread, again->req);
    g_free(again);
}

static void thread_pass(void *opaque, BlockRequest *req)
{
    Thread *thread = opaque;
    Again *again = g_new(Again, 1);

    *again = (Again){ thread, req };
    thread->passed++;
    if (thread->to_submit == 0 && thread->passed == 2000) {
        sem_post(thread->done);
    }
    aio_bh_once(thread->ctx, again_bh, again);
}

static void thread_start(void *opaque)
{
    Thread *thread = opaque;

    thread->member = throttle_member_new(thread->group, thread->ctx,
                                         thread_pass, thread);
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        thread_submit(thread, &thread->reqs[i]);
    }
}

static void thread_stop(void *opaque)
{
    Thread *thread = opaque;

    throttle_member_free(thread->member);
}

static void test_threads(void)
{
    Thread threads[3] = { 0 };
    sem_t done;

    sem_init(&done, 0, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++) {
        threads[i].iothread = iothread_new("t", NULL, NULL);
        threads[i].ctx = iothread_context(threads[i].iothread);
        threads[i].group = i == 0 ? make_group("threads",
                                               "x-iops-total=20000")
                                  : threads[0].group;
        threads[i].to_submit = 2000;
        threads[i].done = &done;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++) {
        aio_bh_once(threads[i].ctx, thread_start, &threads[i]);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++) {
        g_assert_cmpint(sem_wait(&done), ==, 0);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++) {
        aio_bh_run_sync(threads[i].ctx, thread_stop, &threads[i]);
        iothread_free(threads[i].iothread);
        g_assert_cmpuint(threads[i].passed, ==, 2000);
    }
    sem_destroy(&done);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/throttle-group/unlimited", test_unlimited);
    g_test_add_func("/throttle-group/rate", test_rate);
    g_test_add_func("/throttle-group/new-limits", test_new_limits);
    g_test_add_func("/throttle-group/delete", test_delete);
    g_test_add_func("/throttle-group/turns", test_turns);
    g_test_add_func("/throttle-group/directions", test_directions);
    g_test_add_func("/throttle-group/shared-limit", test_shared_limit);
    g_test_add_func("/throttle-group/threads", test_threads);
    ret = g_test_run();
    throttle_group_free_all();
    test_ctx_end();
    return ret;
}
