/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * --drive: translates QEMU's -drive words into the options of a protocol
 * node, a format node and an export, and hands those to setup.c. It knows no
 * more of either than their options.
 */
#include "drive.h"

#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* -drive's cache modes, as QEMU's documentation tabulates them. */
typedef struct CacheMode {
    const char *name;
    const char *direct, *no_flush, *writethrough;
} CacheMode;

static const CacheMode cache_modes[] = {
    { "writeback", "off", "off", "off" },
    { "none", "on", "off", "off" },
    { "writethrough", "off", "off", "on" },
    { "directsync", "on", "off", "on" },
    { "unsafe", "off", "on", "off" },
};

static const char *const cache_names[] = {
    "writeback", "none", "writethrough", "directsync", "unsafe", "off", NULL,
};
G_STATIC_ASSERT(G_N_ELEMENTS(cache_names) ==
                G_N_ELEMENTS(cache_modes) + 2); /* "off" is "none" */

static const char *const if_names[] = { "none", "virtio", NULL };
static const char *const media_names[] = { "disk", NULL };

typedef struct Drive {
    char *id, *file, *format, *socket;
    int cache;
    bool read_only, active;
} Drive;

static void drive_clear(Drive *drive)
{
    g_free(drive->id);
    g_free(drive->file);
    g_free(drive->format);
    g_free(drive->socket);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Drive, drive_clear)

static unsigned n_drives;

void drive_reset(void)
{
    n_drives = 0;
}

static Options *empty_options(const char *what)
{
    Options *opts = options_parse("{}", what, NULL, NULL);

    g_assert(opts);
    return opts;
}

/* Moves a key that means the same below, if it is there. */
static bool pass_on(Options *from, const char *key, Options *to,
                    GError **error)
{
    g_autofree char *value = NULL;

    if (!options_take_str(from, key, &value, error)) {
        return false;
    }
    if (value) {
        options_set_str(to, key, value);
    }
    return true;
}

static bool take_drive(Options *opts, Drive *drive, GError **error)
{
    int ignored = 0;
    g_autofree char *what = NULL;

    if (!options_take_str(opts, "id", &drive->id, error)) {
        return false;
    }
    if (!drive->id) {
        drive->id = g_strdup_printf("drive%u", n_drives);
    }
    what = g_strdup_printf("drive '%s'", drive->id);
    options_set_what(opts, what);
    return options_need_str(opts, "file", &drive->file, error) &&
           options_take_str(opts, "format", &drive->format, error) &&
           options_take_str(opts, "socket", &drive->socket, error) &&
           options_take_enum(opts, "cache", cache_names, &drive->cache,
                             error) &&
           options_take_bool(opts, "readonly", &drive->read_only, error) &&
           options_take_bool(opts, "read-only", &drive->read_only, error) &&
           options_take_bool(opts, "active", &drive->active, error) &&
           options_take_enum(opts, "if", if_names, &ignored, error) &&
           options_take_enum(opts, "media", media_names, &ignored, error);
}

static const CacheMode *cache_mode(const Drive *drive)
{
    const char *name = cache_names[drive->cache];

    for (unsigned i = 0; i < G_N_ELEMENTS(cache_modes); i++) {
        if (strcmp(cache_modes[i].name, name) == 0) {
            return &cache_modes[i];
        }
    }
    return &cache_modes[1]; /* "off", the old word for "none" */
}

/*
 * Without format= the image is raw. An image that says otherwise in its first
 * bytes is not served by guess: a guest of a raw disk may write any header.
 */
static bool check_not_qcow2(const Drive *drive, GError **error)
{
    static const char magic[4] = { 'Q', 'F', 'I', '\xfb' };
    char head[4] = { 0 };
    ssize_t got;
    int fd = open(drive->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        return true; /* opening it for real will say why */
    }
    got = pread(fd, head, sizeof(head), 0);
    close(fd);
    if (got == sizeof(head) && memcmp(head, magic, sizeof(head)) == 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    "drive '%s': image '%s' looks like qcow2 and no format= "
                    "was given; format=raw serves its bytes as they are",
                    drive->id, drive->file);
        return false;
    }
    return true;
}

static const char *protocol_driver(const char *file)
{
    struct stat st;

    return stat(file, &st) == 0 && S_ISBLK(st.st_mode) ? "host_device"
                                                       : "file";
}

static bool open_protocol(Options *opts, const Drive *drive,
                          const char *node_name, GError **error)
{
    const CacheMode *cache = cache_mode(drive);
    g_autoptr(Options) node = empty_options("--drive");

    options_set_str(node, "driver", protocol_driver(drive->file));
    options_set_str(node, "node-name", node_name);
    options_set_str(node, "filename", drive->file);
    options_set_str(node, "read-only", drive->read_only ? "on" : "off");
    options_set_str(node, "active", drive->active ? "on" : "off");
    options_set_str(node, "cache.direct", cache->direct);
    options_set_str(node, "cache.no-flush", cache->no_flush);
    return pass_on(opts, "aio", node, error) &&
           pass_on(opts, "aio-max-batch", node, error) &&
           pass_on(opts, "locking", node, error) &&
           pass_on(opts, "discard", node, error) &&
           setup_node(g_steal_pointer(&node), error);
}

static bool open_format(Options *opts, const Drive *drive,
                        const char *file_node, GError **error)
{
    g_autoptr(Options) node = empty_options("--drive");

    options_set_str(node, "driver", drive->format ? drive->format : "raw");
    options_set_str(node, "node-name", drive->id);
    options_set_str(node, "read-only", drive->read_only ? "on" : "off");
    options_set_str(node, "active", drive->active ? "on" : "off");
    options_set_str(node, "file", file_node);
    options_set_str(node, "discard", "unmap"); /* the protocol node decides */
    return pass_on(opts, "detect-zeroes", node, error) &&
           pass_on(opts, "offset", node, error) &&
           pass_on(opts, "size", node, error) &&
           setup_node(g_steal_pointer(&node), error);
}

static Options *export_options(Options *opts, const Drive *drive,
                               GError **error)
{
    static const char *const keys[] = {
        "serial", "num-queues", "iothread", "logical-block-size",
        "request-merging", "rerror", "werror", "allow-inactive",
        "auto-active",
    };
    g_autoptr(Options) export = empty_options("--drive");
    g_autofree char *socket = NULL;

    socket = drive->socket ? g_strdup(drive->socket)
                           : g_strconcat(drive->file, ".sock", NULL);
    options_set_str(export, "type", "vhost-user-blk");
    options_set_str(export, "id", drive->id);
    options_set_str(export, "node-name", drive->id);
    options_set_str(export, "addr.type", "unix");
    options_set_str(export, "addr.path", socket);
    options_set_str(export, "writable", drive->read_only ? "off" : "on");
    options_set_str(export, "writethrough", cache_mode(drive)->writethrough);
    for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (!pass_on(opts, keys[i], export, error)) {
            return NULL;
        }
    }
    return g_steal_pointer(&export);
}

bool drive_add(const char *text, AioContext *main_ctx, GError **error)
{
    g_autoptr(Options) opts = options_parse(text, "--drive", "file", error);
    g_autoptr(Options) export = NULL;
    g_auto(Drive) drive = { .active = true };
    g_autofree char *file_node = NULL;

    if (!opts || !take_drive(opts, &drive, error) ||
        (!drive.format && !check_not_qcow2(&drive, error))) {
        return false;
    }
    n_drives++;
    file_node = g_strconcat(drive.id, "-file", NULL);
    export = export_options(opts, &drive, error);
    return export && open_protocol(opts, &drive, file_node, error) &&
           open_format(opts, &drive, file_node, error) &&
           options_finish(opts, error) &&
           setup_export(g_steal_pointer(&export), main_ctx, error);
}
