/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * --object: makes the threads that queues run in and finds them by name, and
 * the throttle groups that nodes join. Called by setup.c and export.c.
 */
#include "object.h"

#include "cmdline.h"
#include "block/options.h"
#include "block/throttle.h"

#include <gio/gio.h>
#include <string.h>

static GHashTable *iothreads; /* id -> IOThread, owned */

static GHashTable *table(void)
{
    if (!iothreads) {
        iothreads = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                          (GDestroyNotify)iothread_free);
    }
    return iothreads;
}

static bool take_u32(Options *opts, const char *key, unsigned max,
                     unsigned *value, GError **error)
{
    uint64_t wide = *value;

    if (!options_take_uint(opts, key, max, &wide, error)) {
        return false;
    }
    *value = wide;
    return true;
}

static bool take_poll(Options *opts, AioParams *params, GError **error)
{
    uint64_t max_ns = 32768, grow = 0, shrink = 0;

    if (!options_take_uint(opts, "poll-max-ns", G_MAXINT64, &max_ns, error) ||
        !options_take_uint(opts, "poll-grow", G_MAXINT64, &grow, error) ||
        !options_take_uint(opts, "poll-shrink", G_MAXINT64, &shrink, error)) {
        return false;
    }
    params->poll_max_ns = max_ns ? (int64_t)max_ns : -1;
    params->poll_grow = grow;
    params->poll_shrink = shrink;
    return true;
}

static bool take_params(Options *opts, AioParams *params, GError **error)
{
    if (!take_poll(opts, params, error) ||
        !take_u32(opts, "aio-max-batch", 1024, &params->aio_max_batch,
                  error) ||
        !take_u32(opts, "thread-pool-min", 4096, &params->thread_pool_min,
                  error) ||
        !take_u32(opts, "thread-pool-max", 4096, &params->thread_pool_max,
                  error)) {
        return false;
    }
    if (params->thread_pool_max &&
        params->thread_pool_min > params->thread_pool_max) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "%s: thread-pool-min (%u) must not be larger than "
                    "thread-pool-max (%u)", options_what(opts),
                    params->thread_pool_min, params->thread_pool_max);
        return false;
    }
    return true;
}

static bool add_iothread(const char *id, const AioParams *params,
                         GError **error)
{
    IOThread *iothread = iothread_new(id, params, error);

    if (!iothread) {
        return false;
    }
    g_hash_table_insert(table(), g_strdup(id), iothread);
    return true;
}

static bool check_new_id(const char *id, GError **error)
{
    bool is_iothread = g_hash_table_contains(table(), id);

    if (is_iothread || throttle_group_find(id)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_EXISTS,
                    "--object: there is already %s '%s'",
                    is_iothread ? "an iothread" : "a throttle-group", id);
        return false;
    }
    return true;
}

static bool make_iothread(const char *id, Options *opts, GError **error)
{
    AioParams params = { 0 };

    return take_params(opts, &params, error) && options_finish(opts, error) &&
           add_iothread(id, &params, error);
}

static const struct {
    const char *name;
    bool (*make)(const char *id, Options *opts, GError **error);
} types[] = {
    { "iothread", make_iothread },
    { "throttle-group", throttle_group_add },
};

static bool make_object(const char *type, const char *id, Options *opts,
                        GError **error)
{
    g_autofree char *what = g_strdup_printf("object '%s'", id);

    if (*options_what(opts)) {
        options_set_what(opts, what);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(types); i++) {
        if (strcmp(types[i].name, type) == 0) {
            return types[i].make(id, opts, error);
        }
    }
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                "--object: unknown type '%s': there are 'iothread' and "
                "'throttle-group'", type);
    return false;
}

bool object_type_exists(const char *type)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(types); i++) {
        if (strcmp(types[i].name, type) == 0) {
            return true;
        }
    }
    return false;
}

bool object_add(Options *opts, GError **error)
{
    g_autofree char *type = NULL, *id = NULL;

    return options_need_str(opts, "qom-type", &type, error) &&
           options_need_str(opts, "id", &id, error) &&
           check_new_id(id, error) && make_object(type, id, opts, error);
}

bool object_help(const char *text)
{
    if (strcmp(text, "help") == 0 || strcmp(text, "?") == 0) {
        help_print_objects();
        return true;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(types); i++) {
        const char *name = types[i].name;
        size_t len = strlen(name);

        if (strncmp(text, name, len) == 0 &&
            (strcmp(text + len, ",help") == 0 ||
             strcmp(text + len, ",?") == 0)) {
            help_print_object(name);
            return true;
        }
    }
    return false;
}

IOThread *object_find_iothread(const char *id, GError **error)
{
    IOThread *iothread = g_hash_table_lookup(table(), id);

    if (!iothread) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                    "there is no iothread '%s': give "
                    "'--object iothread,id=%s' before it is used", id, id);
    }
    return iothread;
}

void object_foreach(ObjectFn *fn, void *opaque)
{
    g_autoptr(GList) ids = g_hash_table_get_keys(table());

    ids = g_list_sort(ids, (GCompareFunc)strcmp);
    for (GList *l = ids; l; l = l->next) {
        fn(opaque, l->data);
    }
    throttle_group_foreach(fn, opaque);
}

IOThread *object_lookup_iothread(const char *id)
{
    return g_hash_table_lookup(table(), id);
}

void object_del_iothread(const char *id)
{
    g_hash_table_remove(table(), id);
}

IOThread *object_default_iothread(GError **error)
{
    if (!g_hash_table_contains(table(), OBJECT_DEFAULT_IOTHREAD) &&
        !add_iothread(OBJECT_DEFAULT_IOTHREAD, NULL, error)) {
        return NULL;
    }
    return g_hash_table_lookup(table(), OBJECT_DEFAULT_IOTHREAD);
}

void object_free_all(void)
{
    g_clear_pointer(&iothreads, g_hash_table_unref);
    throttle_group_free_all();
}
