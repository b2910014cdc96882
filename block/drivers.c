/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The drivers there are, by the name that driver= gives. */
#include "block/driver.h"

#include <string.h>

#include "block/image.h"

static const BlockDriver *const drivers[] = {
    &bdrv_file, &bdrv_host_device, &bdrv_null_aio, &bdrv_null_co, &bdrv_raw,
};

static GSList *registered;

void bdrv_register(const BlockDriver *driver)
{
    registered = g_slist_prepend(registered, (void *)driver);
}

const BlockDriver *bdrv_find_driver(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(drivers); i++) {
        if (strcmp(drivers[i]->name, name) == 0) {
            return drivers[i];
        }
    }
    for (GSList *l = registered; l; l = l->next) {
        const BlockDriver *driver = l->data;

        if (strcmp(driver->name, name) == 0) {
            return driver;
        }
    }
    return NULL;
}

const BlockDriver *bdrv_probe(const uint8_t *buf, size_t bytes,
                              const char *filename)
{
    const BlockDriver *best = &bdrv_raw;
    int most = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(drivers); i++) {
        const BlockImageOps *image = drivers[i]->image;
        int sure = image && image->probe ? image->probe(buf, bytes, filename)
                                         : 0;

        if (sure > most) {
            most = sure;
            best = drivers[i];
        }
    }
    return best;
}

char *bdrv_driver_names(void)
{
    GString *names = g_string_new(NULL);

    for (unsigned i = 0; i < G_N_ELEMENTS(drivers); i++) {
        g_string_append_printf(names, "%s%s", i ? ", " : "",
                               drivers[i]->name);
    }
    return g_string_free(names, FALSE);
}
