/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What becomes of requests that fail: report, ignore, or hold them and rest.
 *
 * Called by the queues, from their threads, only when something failed; calls
 * the program (its conf's io_error and resumed) and wakes queues, both from
 * the main thread. What both sides share is under a mutex, but for the one
 * word that says that the device rests, which each pass over a ring looks at.
 *
 * How it works. A queue that holds a request counts it here, which sets
 * "halted": no queue of the device takes chains any more, what is in flight
 * goes on and is held, too, if it fails. The main thread hears of it by a
 * bottom half:
 *
 *     RUNNING   -> an error is held      -> HALTED    io_error()
 *     HALTED    -> resume, or the timer  -> RETRYING  queues retry
 *     RETRYING  -> one of them succeeds  -> RUNNING   resumed()
 *     RETRYING  -> held again            -> HALTED    io_error(), if somebody
 *                                                     asked for the attempt;
 *                                                     else wait longer
 *     HALTED    -> nothing is held       -> RUNNING   resumed(): the front end
 *                                                     has taken its rings back
 *
 * The timer runs with werror=enospc: space may have come back.
 */
#include "virtio-blk-error.h"

#include <errno.h>
#include <pthread.h>

#define MS INT64_C(1000000)
#define RETRY_FIRST_NS (100 * MS)
#define RETRY_LAST_NS  (5000 * MS)
/* Errors that hold nothing are told no more often than this. */
#define REPORT_EVERY_NS (1000 * MS)

typedef enum HoldState {
    RUNNING,
    HALTED,
    RETRYING,
} HoldState;

/* What the queues found, under the mutex. */
typedef struct ErrorNews {
    bool halted;              /* written under the mutex, read without */
    unsigned n_held;          /* also those that are being tried again */
    bool nospace;             /* all that halted us was that */
    bool recovered;           /* since the main thread last looked */
    bool over;                /* a rest; queues may have dropped kicks in it */
    bool report_is_news;
    VirtIOBlockError halt, report;
} ErrorNews;

struct VirtIOBlockErrors {
    /* constant */
    const char *name;
    BlockdevOnError on_read, on_write;
    VirtIOBlockErrorFn *io_error;
    AioFn *resumed;
    void *opaque;
    AioFn *wake;
    void *wake_opaque;
    AioContext *ctx;          /* of the main thread; NULL: nobody is told */
    AioBH *bh;

    pthread_mutex_t mutex;
    ErrorNews news;

    /* main thread */
    HoldState state;
    bool asked;               /* for an attempt: will want to know */
    int64_t retry_ns;         /* the next wait */
    AioTimer retry;
    AioTimer report_timer;    /* armed: a report was just made */
};

static void schedule(VirtIOBlockErrors *errors)
{
    if (errors->bh) {
        aio_bh_schedule(errors->bh);
    }
}

/* --- Any thread --- */

bool virtio_blk_errors_halted(const VirtIOBlockErrors *errors)
{
    return __atomic_load_n(&errors->news.halted, __ATOMIC_RELAXED);
}

static void set_halted(VirtIOBlockErrors *errors, bool halted)
{
    __atomic_store_n(&errors->news.halted, halted, __ATOMIC_RELAXED);
}

BlockErrorAction virtio_blk_errors_action(const VirtIOBlockErrors *errors,
                                          BlockOp op, int ret)
{
    switch (op == BLOCK_READ ? errors->on_read : errors->on_write) {
    case BLOCKDEV_ON_ERROR_IGNORE:
        return BLOCK_ERROR_ACTION_IGNORE;
    case BLOCKDEV_ON_ERROR_ENOSPC:
        return ret == -ENOSPC ? BLOCK_ERROR_ACTION_STOP
                              : BLOCK_ERROR_ACTION_REPORT;
    case BLOCKDEV_ON_ERROR_STOP:
        /* the host cannot do it: trying again would not change that */
        return ret == -ENOTSUP ? BLOCK_ERROR_ACTION_REPORT
                               : BLOCK_ERROR_ACTION_STOP;
    default:
        return BLOCK_ERROR_ACTION_REPORT;
    }
}

void virtio_blk_errors_report(VirtIOBlockErrors *errors,
                              const VirtIOBlockError *error)
{
    pthread_mutex_lock(&errors->mutex);
    errors->news.report = *error;
    errors->news.report_is_news = true;
    pthread_mutex_unlock(&errors->mutex);
    schedule(errors);
}

void virtio_blk_errors_hold(VirtIOBlockErrors *errors,
                            const VirtIOBlockError *error)
{
    pthread_mutex_lock(&errors->mutex);
    if (!errors->news.halted) {
        errors->news.halt = *error;
        errors->news.nospace = true;
        set_halted(errors, true);
    }
    errors->news.nospace &= error->nospace;
    errors->news.n_held++;
    pthread_mutex_unlock(&errors->mutex);
    schedule(errors);
}

void virtio_blk_errors_unhold(VirtIOBlockErrors *errors, bool recovered)
{
    pthread_mutex_lock(&errors->mutex);
    g_assert(errors->news.n_held > 0);
    errors->news.recovered |= recovered;
    if (--errors->news.n_held == 0) {
        errors->news.over |= errors->news.halted;
        set_halted(errors, false);
    }
    pthread_mutex_unlock(&errors->mutex);
    schedule(errors);
}

/* --- Main thread --- */

static bool retries_by_itself(const VirtIOBlockErrors *errors,
                              const ErrorNews *news)
{
    return news->nospace && errors->on_write == BLOCKDEV_ON_ERROR_ENOSPC;
}

static void tell(VirtIOBlockErrors *errors, const VirtIOBlockError *error)
{
    if (errors->io_error) {
        errors->io_error(errors->opaque, error);
    }
}

static void log_halt(const VirtIOBlockErrors *errors, const ErrorNews *news)
{
    log_warn("%s: a %s failed, requests are held %s: %s", errors->name,
             news->halt.op == BLOCK_READ ? "read" : "write",
             retries_by_itself(errors, news) ? "until there is space"
                                             : "until QMP says 'cont'",
             g_strerror(news->halt.error));
}

static void go_on(VirtIOBlockErrors *errors)
{
    errors->state = RUNNING;
    errors->asked = false;
    aio_timer_disarm(&errors->retry);
    log_info("%s: requests are not held any more", errors->name);
    if (errors->resumed) {
        errors->resumed(errors->opaque);
    }
}

static void enter_halt(VirtIOBlockErrors *errors, const ErrorNews *news)
{
    if (errors->state == RUNNING || errors->asked) {
        errors->asked = false;
        errors->retry_ns = RETRY_FIRST_NS;
        log_halt(errors, news);
        tell(errors, &news->halt);
    } else {
        errors->retry_ns = MIN(2 * errors->retry_ns, RETRY_LAST_NS);
    }
    errors->state = HALTED;
    if (retries_by_itself(errors, news)) {
        aio_timer_arm(&errors->retry, aio_clock_ns() + errors->retry_ns);
    }
}

/* What there is to know, once. A report has to wait for its time. */
static ErrorNews take_news(VirtIOBlockErrors *errors)
{
    ErrorNews news;

    pthread_mutex_lock(&errors->mutex);
    news = errors->news;
    errors->news.recovered = false;
    errors->news.over = false;
    if (errors->report_timer.armed) {
        news.report_is_news = false;
    } else {
        errors->news.report_is_news = false;
    }
    pthread_mutex_unlock(&errors->mutex);
    return news;
}

static void look_bh(void *opaque)
{
    VirtIOBlockErrors *errors = opaque;
    ErrorNews news = take_news(errors);

    if (errors->state == RETRYING && (news.recovered || news.n_held == 0)) {
        go_on(errors);
    }
    if (news.halted && errors->state != HALTED) {
        enter_halt(errors, &news);
    } else if (!news.halted && errors->state == HALTED) {
        go_on(errors);
    }
    /* also of a rest that nobody here has seen */
    if (news.over && !news.halted) {
        errors->wake(errors->wake_opaque);
    }
    if (news.report_is_news) {
        tell(errors, &news.report);
        aio_timer_arm(&errors->report_timer,
                      aio_clock_ns() + REPORT_EVERY_NS);
    }
}

static void try_again(VirtIOBlockErrors *errors)
{
    pthread_mutex_lock(&errors->mutex);
    set_halted(errors, false);
    pthread_mutex_unlock(&errors->mutex);
    if (errors->state == HALTED) {
        errors->state = RETRYING;
        aio_timer_disarm(&errors->retry);
    }
    errors->wake(errors->wake_opaque);
}

void virtio_blk_errors_resume(VirtIOBlockErrors *errors)
{
    errors->asked = errors->state != RUNNING;
    try_again(errors);
}

static void retry_timer(void *opaque)
{
    try_again(opaque);
}

VirtIOBlockHold virtio_blk_errors_get(VirtIOBlockErrors *errors)
{
    VirtIOBlockHold hold = { 0 };

    pthread_mutex_lock(&errors->mutex);
    hold.n_held = errors->news.n_held;
    if (errors->state != RUNNING || errors->news.halted) {
        hold.io_status = errors->news.nospace ? BLOCK_DEVICE_IO_STATUS_NOSPACE
                                         : BLOCK_DEVICE_IO_STATUS_FAILED;
    }
    pthread_mutex_unlock(&errors->mutex);
    return hold;
}

VirtIOBlockErrors *virtio_blk_errors_new(const VirtIOBlockConf *conf,
                                         AioFn *wake, void *opaque)
{
    VirtIOBlockErrors *errors = g_new0(VirtIOBlockErrors, 1);

    errors->name = conf->name;
    errors->on_read = conf->rerror;
    errors->on_write = conf->werror;
    errors->io_error = conf->io_error;
    errors->resumed = conf->resumed;
    errors->opaque = conf->opaque;
    errors->wake = wake;
    errors->wake_opaque = opaque;
    pthread_mutex_init(&errors->mutex, NULL);
    errors->ctx = aio_context_current();
    if (errors->ctx) {
        errors->bh = aio_bh_new(errors->ctx, look_bh, errors);
    }
    aio_timer_init(&errors->retry, errors->ctx, retry_timer, errors);
    aio_timer_init(&errors->report_timer, errors->ctx, look_bh, errors);
    return errors;
}

void virtio_blk_errors_free(VirtIOBlockErrors *errors)
{
    g_assert(errors->news.n_held == 0);
    aio_timer_disarm(&errors->retry);
    aio_timer_disarm(&errors->report_timer);
    if (errors->bh) {
        aio_bh_free(errors->bh);
    }
    pthread_mutex_destroy(&errors->mutex);
    g_free(errors);
}
