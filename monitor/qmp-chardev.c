/* SPDX-License-Identifier: GPL-2.0-or-later */
/* query-chardev: who is connected where. Called by qmp.c's table. */
#include "chardev.h"
#include "monitor-internal.h"

static void add_chardev(void *opaque, const char *id, const char *filename,
                        bool frontend_open)
{
    JsonObject *object = json_object_new();

    json_object_set_string_member(object, "label", id);
    json_object_set_string_member(object, "filename", filename);
    json_object_set_boolean_member(object, "frontend-open", frontend_open);
    json_array_add_object_element(opaque, object);
}

void qmp_query_chardev(QmpCall *call, Options *args)
{
    JsonArray *array;

    if (!qmp_no_args(call, args)) {
        return;
    }
    array = json_array_new();
    chardev_foreach(add_chardev, array);
    qmp_return_array(call, array);
}
