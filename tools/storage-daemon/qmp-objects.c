/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP commands about objects: object-add, object-del, their properties,
 * query-iothreads. Called by clients through monitor/qmp.h; calls object.c,
 * which has the iothreads, and throttle groups.
 */
#include "qmp-commands.h"

#include "export.h"
#include "object.h"
#include "settings.h"
#include "block/driver.h"
#include "block/error.h"
#include "block/graph.h"
#include "block/throttle.h"

#include <gio/gio.h>
#include <string.h>
#include <unistd.h>

#define OBJECTS "/objects"

static bool object_exists(const char *id)
{
    return object_lookup_iothread(id) || throttle_group_find(id);
}

/* --- object-add, object-del --- */

static bool is_identifier(const char *id)
{
    return g_ascii_isalpha(*id) &&
           !id[strspn(id, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "-._")];
}

/* What QEMU says before it looks at anything else. */
static bool check_object(Options *args, GError **error)
{
    const char *type = options_peek_str(args, "qom-type");
    const char *id = options_peek_str(args, "id");

    if (!type) {
        error_setg(error, "Parameter 'qom-type' is missing");
    } else if (!object_type_exists(type)) {
        error_setg(error, "Parameter 'qom-type' does not accept value '%.64s'",
                   type);
    } else if (!id) {
        error_setg(error, "Parameter 'id' is missing");
    } else if (!is_identifier(id)) {
        error_setg(error, "Parameter 'id' expects an identifier");
    } else if (object_exists(id)) {
        error_setg(error, "attempt to add duplicate property '%s' to object "
                   "(type 'container')", id);
    } else {
        return true;
    }
    return false;
}

static void qmp_object_add(QmpCall *call, Options *args)
{
    g_autoptr(Change) change = NULL;
    GError *error = NULL;

    if (check_object(args, &error) &&
        settings_prepare(CHANGE_OBJECT, args, &change, &error) &&
        object_add(args, &error)) {
        settings_added(g_steal_pointer(&change));
    }
    qmp_finish(call, error);
}

typedef struct Search {
    const char *iothread;
    bool found;
} Search;

static void look_for_user(Export *export, void *opaque)
{
    Search *search = opaque;
    const char *const *ids = export_iothreads(export);
    static const char *const by_default[] = { OBJECT_DEFAULT_IOTHREAD, NULL };

    ids = ids && ids[0] ? ids : by_default;
    search->found |= g_strv_contains(ids, search->iothread);
}

/* A node stays where its first user brought it until the last one goes. */
static void look_for_home(BlockDriverState *bs, void *opaque)
{
    Search *search = opaque;

    search->found |=
        bs->home == iothread_context(object_lookup_iothread(search->iothread));
}

static bool delete_iothread(const char *id, GError **error)
{
    Search search = { .iothread = id };

    export_foreach(look_for_user, &search);
    bdrv_foreach_node(look_for_home, &search);
    if (search.found) {
        return error_setg(error, "object '%s' is in use, can not be deleted",
                          id);
    }
    object_del_iothread(id);
    return true;
}

static bool delete_object(const char *id, GError **error)
{
    if (object_lookup_iothread(id)) {
        return delete_iothread(id, error);
    }
    if (throttle_group_find(id)) {
        return throttle_group_del(id, error);
    }
    return error_setg(error, "object '%.64s' not found", id);
}

static void qmp_object_del(QmpCall *call, Options *args)
{
    GError *error = NULL;
    g_autofree char *id = NULL;

    if (qmp_need_str(args, "id", &id, &error) &&
        qmp_args_done(args, &error) && !settings_give_up(CHANGE_OBJECT, id) &&
        delete_object(id, &error)) {
        settings_deleted(CHANGE_OBJECT, id);
    }
    qmp_finish(call, error);
}

/* --- Properties --- */

/* "limits.iops-total" of a group is also its "x-iops-total". */
static JsonObject *throttle_properties(const char *id)
{
    ThrottleConfig config;
    g_autoptr(JsonObject) limits = NULL;
    JsonObject *object = json_object_new();
    g_autoptr(GList) names = NULL;

    throttle_group_get_config(throttle_group_find(id), &config);
    limits = throttle_config_to_json(&config);
    names = json_object_get_members(limits);
    json_object_set_string_member(object, "type", "throttle-group");
    json_object_set_object_member(object, "limits", json_object_ref(limits));
    for (GList *l = names; l; l = l->next) {
        g_autofree char *name = g_strconcat("x-", l->data, NULL);

        json_object_set_int_member(
            object, name, json_object_get_int_member(limits, l->data));
    }
    return object;
}

static int64_t poll_max_ns(const AioParams *params)
{
    return MAX(params->poll_max_ns, 0); /* negative: never */
}

static JsonObject *iothread_properties(const char *id)
{
    IOThread *iothread = object_lookup_iothread(id);
    const AioParams *params = aio_context_params(iothread_context(iothread));
    JsonObject *object = json_object_new();

    json_object_set_string_member(object, "type", "iothread");
    json_object_set_int_member(object, "poll-max-ns", poll_max_ns(params));
    json_object_set_int_member(object, "poll-grow", params->poll_grow);
    json_object_set_int_member(object, "poll-shrink", params->poll_shrink);
    json_object_set_int_member(object, "aio-max-batch",
                               params->aio_max_batch);
    json_object_set_int_member(object, "thread-pool-min",
                               params->thread_pool_min);
    json_object_set_int_member(object, "thread-pool-max",
                               params->thread_pool_max
                                   ? params->thread_pool_max : 64);
    return object;
}

/* The id in "/objects/ID" or "ID"; NULL when there is no such object. */
static const char *id_of(const char *path, GError **error)
{
    const char *id = path;

    if (g_str_has_prefix(path, OBJECTS "/")) {
        id = path + strlen(OBJECTS "/");
    }
    if (object_exists(id)) {
        return id;
    }
    g_set_error(error, QMP_ERROR, QMP_ERROR_DEVICE_NOT_FOUND,
                "Device '%.64s' not found", path);
    return NULL;
}

static JsonObject *properties_of(const char *id)
{
    return object_lookup_iothread(id) ? iothread_properties(id)
                                      : throttle_properties(id);
}

/* The properties of the object at "path", which has "property"; or NULL. */
static JsonObject *take_property(Options *args, char **id, char **property,
                                 GError **error)
{
    g_autofree char *path = NULL;
    g_autoptr(JsonObject) object = NULL;
    const char *found;

    if (!qmp_need_str(args, "path", &path, error) ||
        !qmp_need_str(args, "property", property, error)) {
        return NULL;
    }
    found = id_of(path, error);
    if (!found) {
        return NULL;
    }
    *id = g_strdup(found);
    object = properties_of(found);
    if (!json_object_has_member(object, *property)) {
        error_setg(error, "Property '%s.%.64s' not found",
                   json_object_get_string_member(object, "type"), *property);
        return NULL;
    }
    return g_steal_pointer(&object);
}

static void qom_get(QmpCall *call, Options *args)
{
    GError *error = NULL;
    g_autofree char *id = NULL, *property = NULL;
    g_autoptr(JsonObject) object = take_property(args, &id, &property,
                                                 &error);

    if (!object || !qmp_args_done(args, &error)) {
        qmp_fail(call, error);
        return;
    }
    qmp_return(call, json_object_dup_member(object, property));
}

/* Limits that "value" does not have stay as they are. */
static bool take_limits(Options *args, ThrottleConfig *config, GError **error)
{
    g_autoptr(Options) limits = options_new("");
    Options *value = NULL;

    if (!options_take_child(args, "value", &value, error) ||
        !qmp_args_done(args, error)) {
        options_free(value);
        return false;
    }
    if (!value) {
        return error_setg(error, "Invalid parameter type for 'limits', "
                          "expected: object");
    }
    options_set_child(limits, "limits", value);
    options_free(value);
    return throttle_config_take(config, limits, error) &&
           qmp_args_done(limits, error) &&
           throttle_config_check(config, error);
}

/* All of them as they are to be, that is. */
static bool prepare_limits(const char *id, const ThrottleConfig *config,
                           Change **change, GError **error)
{
    g_autoptr(JsonObject) object = json_object_new();
    g_autoptr(Options) args = NULL;

    json_object_set_string_member(object, "path", id);
    json_object_set_string_member(object, "property", "limits");
    json_object_set_object_member(object, "value",
                                  throttle_config_to_json(config));
    args = options_from_json(object, "", error);
    return args && settings_prepare(CHANGE_LIMITS, args, change, error);
}

static void set_limits(const char *id, Options *args, GError **error)
{
    ThrottleGroup *group = throttle_group_find(id);
    g_autoptr(Change) change = NULL;
    ThrottleConfig config;

    throttle_group_get_config(group, &config);
    if (take_limits(args, &config, error) &&
        prepare_limits(id, &config, &change, error)) {
        throttle_group_set_config(group, &config);
        settings_added(g_steal_pointer(&change));
    }
}

bool qmp_set_limits_again(const char *id, Options *args, GError **error)
{
    ThrottleGroup *group = throttle_group_find(id);
    g_autofree char *word = NULL;
    ThrottleConfig config;

    if (!group) {
        return error_setg(error, "there is no throttle group '%s'", id);
    }
    if (!options_take_str(args, "path", &word, error)) {
        return false;
    }
    g_clear_pointer(&word, g_free);
    throttle_group_get_config(group, &config);
    if (!options_take_str(args, "property", &word, error) ||
        !take_limits(args, &config, error)) {
        return false;
    }
    throttle_group_set_config(group, &config);
    return true;
}

static void qom_set(QmpCall *call, Options *args)
{
    GError *error = NULL;
    g_autofree char *id = NULL, *property = NULL;
    g_autoptr(JsonObject) object = take_property(args, &id, &property,
                                                 &error);

    if (!object) {
        qmp_fail(call, error);
        return;
    }
    if (!options_has(args, "value")) {
        error_setg(&error, "Parameter 'value' is missing");
    } else if (strcmp(property, "limits") == 0) {
        set_limits(id, args, &error);
    } else {
        error_setg(&error, "Property cannot be set after initialization");
    }
    qmp_finish(call, error);
}

static void add_property(JsonArray *array, const char *name, const char *type)
{
    JsonObject *object = json_object_new();

    json_object_set_string_member(object, "name", name);
    json_object_set_string_member(object, "type", type);
    json_array_add_object_element(array, object);
}

static void list_object(void *opaque, const char *id)
{
    g_autofree char *type = g_strdup_printf(
        "child<%s>", object_lookup_iothread(id) ? "iothread"
                                                : "throttle-group");

    add_property(opaque, id, type);
}

static void list_properties(JsonArray *array, const char *id)
{
    g_autoptr(JsonObject) object = properties_of(id);
    g_autoptr(GList) names = json_object_get_members(object);

    for (GList *l = names; l; l = l->next) {
        const char *name = l->data;

        add_property(array, name, strcmp(name, "type") == 0 ? "string"
                                  : strcmp(name, "limits") == 0
                                      ? "ThrottleLimits" : "int");
    }
}

static void qom_list(QmpCall *call, Options *args)
{
    GError *error = NULL;
    g_autofree char *path = NULL;
    const char *id = NULL;
    bool root;
    JsonArray *array;

    if (!qmp_need_str(args, "path", &path, &error) ||
        !qmp_args_done(args, &error)) {
        qmp_fail(call, error);
        return;
    }
    root = strcmp(path, OBJECTS) == 0;
    id = root ? NULL : id_of(path, &error);
    if (error) {
        qmp_fail(call, error);
        return;
    }
    array = json_array_new();
    if (root) {
        add_property(array, "type", "string");
        object_foreach(list_object, array);
    } else {
        list_properties(array, id);
    }
    qmp_return_array(call, array);
}

/* --- query-iothreads --- */

static void get_thread_id(void *opaque)
{
    *(pid_t *)opaque = gettid();
}

static void add_iothread(void *opaque, const char *id)
{
    IOThread *iothread = object_lookup_iothread(id);
    JsonObject *object;
    pid_t thread_id;

    if (!iothread) {
        return; /* a throttle group */
    }
    aio_bh_run_sync(iothread_context(iothread), get_thread_id, &thread_id);
    object = iothread_properties(id);
    json_object_remove_member(object, "type");
    json_object_remove_member(object, "thread-pool-min");
    json_object_remove_member(object, "thread-pool-max");
    json_object_set_string_member(object, "id", id);
    json_object_set_int_member(object, "thread-id", thread_id);
    json_array_add_object_element(opaque, object);
}

static void query_iothreads(QmpCall *call, Options *args)
{
    JsonArray *array;

    if (!qmp_no_args(call, args)) {
        return;
    }
    array = json_array_new();
    object_foreach(add_iothread, array);
    qmp_return_array(call, array);
}

const QmpCommand qmp_object_commands[] = {
    { "object-add", qmp_object_add },
    { "object-del", qmp_object_del },
    { "qom-get", qom_get },
    { "qom-set", qom_set },
    { "qom-list", qom_list },
    { "query-iothreads", query_iothreads },
    { NULL, NULL },
};
