/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The drivers there are, by the name that driver= gives. */
#include "block/driver.h"

#include <string.h>

#include "block/image.h"

static const BlockDriver *const drivers[] = {
    &bdrv_blkdebug,
    &bdrv_blkverify,
    &bdrv_copy_on_read,
    &bdrv_file,
    &bdrv_host_device,
    &bdrv_nbd,
    &bdrv_null_aio,
    &bdrv_null_co,
    &bdrv_qcow2,
    &bdrv_raw,
    &bdrv_throttle,
};

static GSList *registered;

typedef struct ProbeBest {
    const BlockDriver *driver;
    int sure;
} ProbeBest;

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

/* Takes the place of the best so far where it is surer. */
static void ask(const BlockDriver *driver, const uint8_t *buf, size_t bytes,
                const char *filename, ProbeBest *best)
{
    const BlockImageOps *image = driver->image;
    int sure = image && image->probe ? image->probe(buf, bytes, filename) : 0;

    if (sure > best->sure) {
        best->sure = sure;
        best->driver = driver;
    }
}

const BlockDriver *bdrv_probe(const uint8_t *buf, size_t bytes,
                              const char *filename)
{
    ProbeBest best = { .driver = &bdrv_raw };

    for (unsigned i = 0; i < G_N_ELEMENTS(drivers); i++) {
        ask(drivers[i], buf, bytes, filename, &best);
    }
    for (GSList *l = registered; l; l = l->next) {
        ask(l->data, buf, bytes, filename, &best);
    }
    return best.driver;
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
