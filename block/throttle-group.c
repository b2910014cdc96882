/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Throttle groups: who is next, and when.
 *
 * Tools make groups in the main thread; the throttle driver makes a member
 * for each node in the node's home. The group is what members in several
 * threads share: a mutex, held for a few instructions, protects it.
 *
 * How it works: of each direction, one member of the group has the turn. It
 * is the only one that lets waiting requests of that direction go: it asks
 * the buckets, waits with a timer in its own thread, sends what may go, and
 * hands the turn to the next member that has requests waiting, by a bottom
 * half in that one's thread. While anybody waits, new requests queue up
 * behind. A request that has been waited for goes when the timer fires, even
 * if the other direction was faster to fill a bucket that both share: what
 * was poured in too early makes the next wait longer.
 */
#include "block/throttle.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "block/block-backend.h"
#include "block/plug.h"

/* Requests that a member sends before it is the next one's turn. */
#define TURN_MAX 16

typedef struct ThrottleQueue {
    EngineRequest *head; /* in order of arrival; the mutex protects all */
    EngineRequest **tail;
} ThrottleQueue;

struct ThrottleMember {
    ThrottleGroup *group;
    AioContext *ctx;
    ThrottlePassFn *pass;
    void *opaque;
    AioBH *bh;                              /* it has got a turn */
    AioTimer timers[THROTTLE_DIRECTIONS];   /* home; armed during a wait */
    ThrottleQueue queues[THROTTLE_DIRECTIONS];
    struct ThrottleMember *next;            /* ring of the group's; mutex */
    unsigned limits;                        /* home: group->limits it waits by */
};

struct ThrottleGroup {
    char *id;
    unsigned refcount;                      /* main */
    bool unlimited;                         /* relaxed atomic; main writes */
    pthread_mutex_t mutex;                  /* for all below */
    ThrottleConfig config;                  /* main writes */
    unsigned limits;                        /* how often config was changed */
    ThrottleState state;
    ThrottleMember *members;                /* any of the ring, or NULL */
    ThrottleMember *turn[THROTTLE_DIRECTIONS]; /* NULL: nobody waits */
};

/* --- the registry --- */

static GHashTable *groups; /* id -> group, a reference each; main thread */

static bool is_unlimited(const ThrottleConfig *config)
{
    for (unsigned i = 0; i < THROTTLE__COUNT; i++) {
        if (config->rates[i].avg != 0) {
            return false;
        }
    }
    return true;
}

static ThrottleGroup *group_new(const char *id, const ThrottleConfig *config)
{
    ThrottleGroup *group = g_new0(ThrottleGroup, 1);

    group->id = g_strdup(id);
    group->refcount = 1;
    group->config = *config;
    group->unlimited = is_unlimited(config);
    pthread_mutex_init(&group->mutex, NULL);
    return group;
}

ThrottleGroup *throttle_group_ref(ThrottleGroup *group)
{
    group->refcount++;
    return group;
}

void throttle_group_unref(ThrottleGroup *group)
{
    if (--group->refcount > 0) {
        return;
    }
    g_assert(!group->members);
    pthread_mutex_destroy(&group->mutex);
    g_free(group->id);
    g_free(group);
}

ThrottleGroup *throttle_group_find(const char *id)
{
    return groups ? g_hash_table_lookup(groups, id) : NULL;
}

void throttle_group_free_all(void)
{
    g_clear_pointer(&groups, g_hash_table_unref);
}

bool throttle_group_add(const char *id, Options *opts, GError **error)
{
    ThrottleConfig config;
    ThrottleGroup *group;

    throttle_config_init(&config);
    if (!throttle_config_take(&config, opts, error) ||
        !options_finish(opts, error)) {
        return false;
    }
    if (!throttle_config_check(&config, error)) {
        g_prefix_error(error, "%s: ", options_what(opts));
        return false;
    }
    if (throttle_group_find(id)) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "%s: attempt to add duplicate property '%s' to object "
                    "(type 'container')", options_what(opts), id);
        return false;
    }
    if (!groups) {
        groups = g_hash_table_new_full(g_str_hash, g_str_equal, NULL,
                                       (GDestroyNotify)throttle_group_unref);
    }
    group = group_new(id, &config);
    g_hash_table_insert(groups, group->id, group);
    return true;
}

bool throttle_group_del(const char *id, GError **error)
{
    ThrottleGroup *group = throttle_group_find(id);

    g_assert(group);
    if (group->refcount > 1) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "object '%s' is in use, can not be deleted", id);
        return false;
    }
    g_hash_table_remove(groups, id);
    return true;
}

void throttle_group_foreach(ThrottleGroupFn *fn, void *opaque)
{
    g_autoptr(GList) ids = groups ? g_hash_table_get_keys(groups) : NULL;

    ids = g_list_sort(ids, (GCompareFunc)strcmp);
    for (GList *l = ids; l; l = l->next) {
        fn(opaque, l->data);
    }
}

void throttle_group_get_config(const ThrottleGroup *group,
                               ThrottleConfig *config)
{
    *config = group->config;
}

/* Buckets start empty, as in QEMU. Who waits, waits for a time that the old
 * limits gave: everybody looks again. */
void throttle_group_set_config(ThrottleGroup *group,
                               const ThrottleConfig *config)
{
    ThrottleMember *m;

    pthread_mutex_lock(&group->mutex);
    group->config = *config;
    group->state = (ThrottleState){ .leaked_ns = group->state.leaked_ns };
    group->limits++;
    __atomic_store_n(&group->unlimited, is_unlimited(config),
                     __ATOMIC_RELAXED);
    m = group->members;
    do {
        if (m) {
            aio_bh_schedule(m->bh);
            m = m->next;
        }
    } while (m != group->members);
    pthread_mutex_unlock(&group->mutex);
}

void throttle_group_get_state(ThrottleGroup *group, ThrottleState *state)
{
    pthread_mutex_lock(&group->mutex);
    *state = group->state;
    pthread_mutex_unlock(&group->mutex);
}

void throttle_group_set_state(ThrottleGroup *group, const ThrottleState *state)
{
    pthread_mutex_lock(&group->mutex);
    group->state = *state;
    throttle_clamp(&group->config, &group->state, aio_clock_ns());
    pthread_mutex_unlock(&group->mutex);
}

/* --- queues and turns; the mutex is held --- */

static void queue_push(ThrottleQueue *queue, BlockRequest *req)
{
    req->engine.next = NULL;
    *queue->tail = &req->engine;
    queue->tail = &req->engine.next;
}

static EngineRequest *queue_pop(ThrottleQueue *queue)
{
    EngineRequest *first = queue->head;

    queue->head = first->next;
    if (!queue->head) {
        queue->tail = &queue->head;
    }
    return first;
}

/* The next one after @member, at last itself, that has requests waiting. */
static ThrottleMember *next_turn(ThrottleMember *member,
                                 ThrottleDirection direction)
{
    ThrottleMember *m = member;

    do {
        m = m->next;
        if (m->queues[direction].head) {
            return m;
        }
    } while (m != member);
    return NULL;
}

static int64_t group_wait_ns(ThrottleGroup *group,
                             ThrottleDirection direction, int64_t now_ns)
{
    return throttle_wait_ns(&group->config, &group->state, direction, now_ns);
}

/* What a member that has the turn is going to do without the mutex. */
typedef struct ThrottleTurn {
    EngineRequest *head, **tail; /* requests to send */
    unsigned count;
    int64_t deadline_ns;         /* to wait until then; 0: no wait */
} ThrottleTurn;

/* Takes what may go out of the queue. With @served the first has waited. */
static void take_ready(ThrottleMember *m, ThrottleDirection direction,
                       bool served, ThrottleTurn *turn)
{
    ThrottleGroup *group = m->group;
    ThrottleQueue *queue = &m->queues[direction];

    while (queue->head && turn->count < TURN_MAX) {
        int64_t now_ns = aio_clock_ns();
        int64_t wait_ns =
            served ? 0 : group_wait_ns(group, direction, now_ns);
        EngineRequest *ready;

        if (wait_ns > 0) {
            turn->deadline_ns = now_ns + wait_ns;
            return;
        }
        served = false;
        ready = queue_pop(queue);
        ready->next = NULL;
        *turn->tail = ready;
        turn->tail = &ready->next;
        turn->count++;
        throttle_account(&group->config, &group->state, direction,
                         block_request_of_engine(ready)->bytes);
    }
}

/* The turn moves on when something went; who keeps it, waits. */
static void pass_turn(ThrottleMember *m, ThrottleDirection direction,
                      ThrottleTurn *turn)
{
    ThrottleMember *next = turn->count ? next_turn(m, direction) : m;

    m->group->turn[direction] = next;
    if (next != m) {
        turn->deadline_ns = 0;
    }
    if (next && turn->deadline_ns == 0) {
        aio_bh_schedule(next->bh);
    }
}

/* --- members --- */

static void send_ready(ThrottleMember *m, EngineRequest *ready)
{
    while (ready) {
        EngineRequest *next = ready->next;

        m->pass(m->opaque, block_request_of_engine(ready));
        ready = next;
    }
}

static void take_turn(ThrottleMember *m, ThrottleDirection direction,
                      bool served)
{
    ThrottleGroup *group = m->group;
    ThrottleTurn turn = { .tail = &turn.head };

    pthread_mutex_lock(&group->mutex);
    if (group->turn[direction] == m) {
        take_ready(m, direction, served, &turn);
        pass_turn(m, direction, &turn);
    }
    pthread_mutex_unlock(&group->mutex);
    if (turn.deadline_ns) {
        aio_timer_arm(&m->timers[direction], turn.deadline_ns);
    }
    if (turn.head) {
        blk_io_plug(m->ctx);
        send_ready(m, turn.head);
        blk_io_unplug(m->ctx);
    }
}

static void read_timer_fn(void *opaque)
{
    take_turn(opaque, THROTTLE_READ, true);
}

static void write_timer_fn(void *opaque)
{
    take_turn(opaque, THROTTLE_WRITE, true);
}

/* Whether what it waits by has changed since it last looked. */
static bool limits_changed(ThrottleMember *m)
{
    bool changed;

    pthread_mutex_lock(&m->group->mutex);
    changed = m->limits != m->group->limits;
    m->limits = m->group->limits;
    pthread_mutex_unlock(&m->group->mutex);
    return changed;
}

/* A turn whose wait has begun goes on waiting, unless for something else. */
static void turn_bh(void *opaque)
{
    ThrottleMember *m = opaque;

    if (limits_changed(m)) {
        aio_timer_disarm(&m->timers[THROTTLE_READ]);
        aio_timer_disarm(&m->timers[THROTTLE_WRITE]);
    }
    for (unsigned i = 0; i < THROTTLE_DIRECTIONS; i++) {
        if (!m->timers[i].armed) {
            take_turn(m, i, false);
        }
    }
}

ThrottleMember *throttle_member_new(ThrottleGroup *group, AioContext *ctx,
                                    ThrottlePassFn *pass, void *opaque)
{
    ThrottleMember *m = g_new0(ThrottleMember, 1);

    assert_home(ctx);
    m->group = group;
    m->ctx = ctx;
    m->pass = pass;
    m->opaque = opaque;
    m->bh = aio_bh_new(ctx, turn_bh, m);
    aio_timer_init(&m->timers[THROTTLE_READ], ctx, read_timer_fn, m);
    aio_timer_init(&m->timers[THROTTLE_WRITE], ctx, write_timer_fn, m);
    for (unsigned i = 0; i < THROTTLE_DIRECTIONS; i++) {
        m->queues[i].tail = &m->queues[i].head;
    }
    pthread_mutex_lock(&group->mutex);
    if (group->members) {
        m->next = group->members->next;
        group->members->next = m;
    } else {
        m->next = m;
    }
    group->members = m;
    pthread_mutex_unlock(&group->mutex);
    return m;
}

void throttle_member_free(ThrottleMember *m)
{
    ThrottleGroup *group = m->group;
    ThrottleMember *before = m;

    assert_home(m->ctx);
    pthread_mutex_lock(&group->mutex);
    while (before->next != m) {
        before = before->next;
    }
    before->next = m->next;
    group->members = before != m ? before : NULL;
    for (unsigned i = 0; i < THROTTLE_DIRECTIONS; i++) {
        g_assert(!m->queues[i].head && group->turn[i] != m);
    }
    pthread_mutex_unlock(&group->mutex);
    aio_bh_free(m->bh);
    g_free(m);
}

static bool is_cancelled(const BlockRequest *req)
{
    return req->channel && blk_channel_is_cancelled(req->channel);
}

/* Moves what is cancelled to the end of a list, in order. Mutex held. */
static EngineRequest **take_cancelled(ThrottleQueue *queue,
                                      EngineRequest **tail)
{
    EngineRequest **at = &queue->head;

    while (*at) {
        if (is_cancelled(block_request_of_engine(*at))) {
            *tail = *at;
            *at = (*at)->next;
            tail = &(*tail)->next;
        } else {
            at = &(*at)->next;
        }
    }
    queue->tail = at;
    return tail;
}

/* Who has nothing to send any more must not have the turn. Mutex held. */
static void leave_turn(ThrottleMember *m, ThrottleDirection direction)
{
    ThrottleMember *next;

    if (m->group->turn[direction] != m || m->queues[direction].head) {
        return;
    }
    aio_timer_disarm(&m->timers[direction]);
    next = next_turn(m, direction);
    m->group->turn[direction] = next;
    if (next) {
        aio_bh_schedule(next->bh);
    }
}

void throttle_member_cancel(ThrottleMember *m)
{
    EngineRequest *cancelled = NULL, **tail = &cancelled;

    assert_home(m->ctx);
    pthread_mutex_lock(&m->group->mutex);
    for (unsigned i = 0; i < THROTTLE_DIRECTIONS; i++) {
        tail = take_cancelled(&m->queues[i], tail);
        leave_turn(m, i);
    }
    *tail = NULL;
    pthread_mutex_unlock(&m->group->mutex);
    while (cancelled) {
        EngineRequest *next = cancelled->next;

        block_request_complete_later(block_request_of_engine(cancelled),
                                     -ECANCELED);
        cancelled = next;
    }
}

/* Whether @req may go at once; else it has been queued, and @*first says
 * that nobody has the turn to let it go but this member now. */
static bool may_pass(ThrottleMember *m, ThrottleDirection direction,
                     BlockRequest *req, bool *first)
{
    ThrottleGroup *group = m->group;

    *first = !group->turn[direction];
    if (*first && group_wait_ns(group, direction, aio_clock_ns()) == 0) {
        throttle_account(&group->config, &group->state, direction,
                         req->bytes);
        return true;
    }
    queue_push(&m->queues[direction], req);
    if (*first) {
        group->turn[direction] = m;
    }
    return false;
}

void throttle_member_submit(ThrottleMember *m, BlockRequest *req)
{
    ThrottleGroup *group = m->group;
    ThrottleDirection direction = req->op == BLOCK_READ ? THROTTLE_READ
                                                        : THROTTLE_WRITE;
    bool pass, first;

    if (__atomic_load_n(&group->unlimited, __ATOMIC_RELAXED) ||
        req->op == BLOCK_FLUSH) {
        m->pass(m->opaque, req);
        return;
    }
    if (is_cancelled(req)) {
        block_request_complete_later(req, -ECANCELED);
        return;
    }
    pthread_mutex_lock(&group->mutex);
    pass = may_pass(m, direction, req, &first);
    pthread_mutex_unlock(&group->mutex);
    if (pass) {
        m->pass(m->opaque, req);
    } else if (first) {
        take_turn(m, direction, false);
    }
}
