/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An export: a node served as a virtio-blk device on a vhost-user socket.
 *
 * Everything that can be wrong with the options is found before anything is
 * made; from then on failure takes down what was made in reverse order.
 */
#include "export.h"

#include "activation.h"
#include "notify.h"
#include "object.h"
#include "socket-access.h"
#include "block/graph.h"
#include "block/listener.h"
#include "hw/block/virtio-blk.h"
#include "hw/virtio/vhost-user.h"

#include <gio/gio.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_NUM_QUEUES VIRTIO_BLK_MAX_QUEUES
#define SERIAL_MAX 20 /* virtio 1.2, 5.2.6.1: GET_ID */

struct Export {
    char *id;
    char *name; /* "export 'ID'" */
    char *node_name;
    char **iothreads; /* their ids */
    char *path; /* of the socket file that is ours to remove, or NULL */
    uint32_t block_size;
    VirtIOBlock *vblk;
    Activation *activation; /* NULL: the node has to be active */
    VhostUserServer *server;
    bool deleted;     /* stopping; goes by itself */
    bool handed_over; /* to go on somewhere else */
    bool stands;      /* until it is resumed */
    struct Export *next;
};

/* What the options said. */
typedef struct ExportConf {
    char *type, *id, *node_name, *serial;
    char *addr_type, *addr_path, *addr_str;
    char **iothreads;
    bool writable, writethrough, request_merging, config_wce, packed;
    bool fixed_iothread, register_buffers, allow_inactive, auto_active;
    uint64_t num_queues;
    int64_t logical_block_size;
    int rerror, werror; /* BlockdevOnError */
    SocketAccess access;
} ExportConf;

static Export *exports; /* newest first */
static const ExportEvents *events;
static Handover *inherited; /* borrowed; NULL: nothing */
static bool taking_back;

/* export_stop_all() under way */
static struct {
    AioFn *done;
    void *opaque;
    bool print_stats;
} stop;

static void export_conf_clear(ExportConf *conf)
{
    g_free(conf->type);
    g_free(conf->id);
    g_free(conf->node_name);
    g_free(conf->serial);
    g_free(conf->addr_type);
    g_free(conf->addr_path);
    g_free(conf->addr_str);
    g_strfreev(conf->iothreads);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ExportConf, export_conf_clear)

static bool fail(GError **error, const char *id, const char *fmt, ...)
    G_GNUC_PRINTF(3, 4);

/* Always false: return fail(...). */
static bool fail(GError **error, const char *id, const char *fmt, ...)
{
    va_list ap;
    g_autofree char *cause = NULL;

    va_start(ap, fmt);
    cause = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                "export '%s': %s", id, cause);
    return false;
}

Export *export_find(const char *id)
{
    for (Export *export = exports; export; export = export->next) {
        if (strcmp(export->id, id) == 0) {
            return export;
        }
    }
    return NULL;
}

static bool take_identity(Options *opts, ExportConf *conf, GError **error)
{
    g_autofree char *what = NULL;

    if (!options_need_str(opts, "type", &conf->type, error)) {
        return false;
    }
    if (strcmp(conf->type, "vhost-user-blk") != 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "--export: unknown type '%s': vblk serves "
                    "'vhost-user-blk'", conf->type);
        return false;
    }
    if (!options_need_str(opts, "id", &conf->id, error)) {
        return false;
    }
    if (*options_what(opts)) {
        what = g_strdup_printf("export '%s'", conf->id);
        options_set_what(opts, what);
    }
    if (export_find(conf->id)) {
        return fail(error, conf->id, "id is in use by another export");
    }
    return options_need_str(opts, "node-name", &conf->node_name, error);
}

static bool take_address(Options *opts, ExportConf *conf, GError **error)
{
    if (!options_need_str(opts, "addr.type", &conf->addr_type, error)) {
        return false;
    }
    if (strcmp(conf->addr_type, "unix") == 0) {
        return options_need_str(opts, "addr.path", &conf->addr_path, error) &&
               socket_access_take(&conf->access, opts, error);
    }
    if (strcmp(conf->addr_type, "fd") == 0) {
        return options_need_str(opts, "addr.str", &conf->addr_str, error);
    }
    return fail(error, conf->id, "addr.type '%s' must be 'unix' or 'fd'",
                conf->addr_type);
}

/* As QEMU's: what is not a read may run out of space. */
static bool take_policies(Options *opts, ExportConf *conf, GError **error)
{
    static const char *const names[] = { "report", "ignore", "enospc", "stop",
                                         NULL };

    if (!options_take_enum(opts, "rerror", names, &conf->rerror, error) ||
        !options_take_enum(opts, "werror", names, &conf->werror, error)) {
        return false;
    }
    return conf->rerror != BLOCKDEV_ON_ERROR_ENOSPC ||
           fail(error, conf->id, "rerror must be 'report', 'ignore' or "
                "'stop': reads do not run out of space");
}

static bool take_inactive(Options *opts, ExportConf *conf, GError **error)
{
    if (!options_take_bool(opts, "auto-active", &conf->auto_active, error)) {
        return false;
    }
    conf->allow_inactive = conf->auto_active;
    return options_take_bool(opts, "allow-inactive", &conf->allow_inactive,
                             error) &&
           (conf->allow_inactive || !conf->auto_active ||
            fail(error, conf->id, "auto-active=on needs allow-inactive=on"));
}

static bool take_device(Options *opts, ExportConf *conf, GError **error)
{
    return take_policies(opts, conf, error) &&
           options_take_bool(opts, "writable", &conf->writable, error) &&
           options_take_bool(opts, "writethrough", &conf->writethrough,
                             error) &&
           options_take_bool(opts, "request-merging", &conf->request_merging,
                             error) &&
           options_take_bool(opts, "register-buffers",
                             &conf->register_buffers, error) &&
           options_take_bool(opts, "config-wce", &conf->config_wce, error) &&
           options_take_bool(opts, "packed", &conf->packed, error) &&
           options_take_bool(opts, "fixed-iothread", &conf->fixed_iothread,
                             error) &&
           take_inactive(opts, conf, error) &&
           options_take_size(opts, "logical-block-size",
                             &conf->logical_block_size, error) &&
           options_take_uint(opts, "num-queues", G_MAXUINT32,
                             &conf->num_queues, error) &&
           options_take_str(opts, "serial", &conf->serial, error) &&
           options_take_strv(opts, "iothread", &conf->iothreads, error);
}

static bool check_device(const ExportConf *conf, GError **error)
{
    int64_t size = conf->logical_block_size;

    if (conf->num_queues < 1 || conf->num_queues > VIRTIO_BLK_MAX_QUEUES) {
        return fail(error, conf->id,
                    "num-queues must be from 1 to %u, not %" G_GUINT64_FORMAT,
                    VIRTIO_BLK_MAX_QUEUES, conf->num_queues);
    }
    if (size < 512 || size > 64 * 1024 || (size & (size - 1))) {
        return fail(error, conf->id,
                    "logical-block-size must be a power of 2 from 512 to "
                    "65536, not %" G_GINT64_FORMAT, size);
    }
    if (conf->serial && strlen(conf->serial) > SERIAL_MAX) {
        return fail(error, conf->id,
                    "serial '%s' is longer than %u bytes", conf->serial,
                    SERIAL_MAX);
    }
    return true;
}

/* The threads the queues are spread over; a new array of borrowed pointers,
 * NULL with @error. */
static GPtrArray *find_contexts(const ExportConf *conf, GError **error)
{
    g_autoptr(GPtrArray) contexts = g_ptr_array_new();
    IOThread *iothread;

    for (char **id = conf->iothreads; id && *id; id++) {
        iothread = object_find_iothread(*id, error);
        if (!iothread) {
            g_prefix_error(error, "export '%s': iothread: ", conf->id);
            return NULL;
        }
        g_ptr_array_add(contexts, iothread_context(iothread));
    }
    if (contexts->len == 0) {
        iothread = object_default_iothread(error);
        if (!iothread) {
            return NULL;
        }
        g_ptr_array_add(contexts, iothread_context(iothread));
    }
    return g_steal_pointer(&contexts);
}

static BlockBackend *open_backend(const ExportConf *conf, GError **error)
{
    BlockBackendOptions options = {
        .writable = conf->writable,
        .writethrough = conf->writethrough,
        .block_size = conf->logical_block_size,
        .allow_inactive = conf->allow_inactive,
    };
    BlockDriverState *bs = bdrv_find_node(conf->node_name);
    BlockBackend *blk;

    if (!bs) {
        fail(error, conf->id,
             "there is no node '%s': give '--blockdev ...,node-name=%s' "
             "before the export", conf->node_name, conf->node_name);
        return NULL;
    }
    if (!conf->allow_inactive && !activation_set(bs, true, error)) {
        g_prefix_error(error, "export '%s': ", conf->id);
        return NULL;
    }
    blk = blk_new(bs, &options, error);
    if (!blk) {
        g_prefix_error(error, "export '%s': ", conf->id);
    }
    return blk;
}

static void io_error(void *opaque, const VirtIOBlockError *error)
{
    if (events) {
        events->io_error(opaque, error);
    }
}

static void resumed(void *opaque)
{
    if (events) {
        events->resumed(opaque);
    }
}

static void set_running(void *opaque, bool running)
{
    Export *export = opaque;

    if (export->activation) {
        activation_set_running(export->activation, running);
    }
}

static VirtIOBlock *make_device(const ExportConf *conf, Export *export,
                                GError **error)
{
    g_autoptr(GPtrArray) contexts = find_contexts(conf, error);
    BlockBackend *blk = contexts ? open_backend(conf, error) : NULL;
    VirtIOBlockConf vconf;
    VirtIOBlock *vblk;

    if (!blk) {
        return NULL;
    }
    vconf = (VirtIOBlockConf){
        .name = export->name,
        .num_queues = conf->num_queues,
        .logical_block_size = conf->logical_block_size,
        .serial = conf->serial,
        .request_merging = conf->request_merging,
        .register_buffers = conf->register_buffers,
        .config_wce = conf->config_wce,
        .packed = conf->packed,
        .contexts = (AioContext *const *)contexts->pdata,
        .n_contexts = contexts->len,
        .rerror = conf->rerror,
        .werror = conf->werror,
        .io_error = io_error,
        .resumed = resumed,
        .set_running = set_running,
        .opaque = export,
    };
    vblk = virtio_blk_new(blk, &vconf, error);
    if (!vblk) {
        blk_free(blk);
        g_prefix_error(error, "export '%s': ", conf->id);
    }
    return vblk;
}

static VhostUserServer *listen_fd(const ExportConf *conf, VirtIODevice *dev,
                                  AioContext *main_ctx, GError **error)
{
    guint64 fd;

    if (!g_ascii_string_to_unsigned(conf->addr_str, 10, 0, G_MAXINT32, &fd,
                                    NULL)) {
        fail(error, conf->id,
             "addr.str '%s' is not the number of a file descriptor",
             conf->addr_str);
        return NULL;
    }
    return vhost_user_server_new_fd(dev, main_ctx, (int)fd, error);
}

/* The socket of the process before us, if somebody kept it; NULL: not. */
static VhostUserServer *listen_kept(const ExportConf *conf, VirtIODevice *dev,
                                    AioContext *main_ctx, const char *name)
{
    int fd = notify_take_fd(name);
    VhostUserServer *server;

    if (fd < 0) {
        return NULL;
    }
    server = vhost_user_server_new_kept(dev, main_ctx, conf->addr_path, fd);
    if (!server) {
        notify_forget_fd(name);
    }
    return server;
}

/* Front ends shall meet this very socket again if we die. */
static VhostUserServer *listen_path(const ExportConf *conf, VirtIODevice *dev,
                                    AioContext *main_ctx, GError **error)
{
    g_autofree char *name = notify_fd_name("listen", conf->id);
    VhostUserServer *server = listen_kept(conf, dev, main_ctx, name);

    if (server) {
        return server;
    }
    server = vhost_user_server_new_path(dev, main_ctx, conf->addr_path, error);
    if (server) {
        notify_store_fd(name, vhost_user_server_listen_fd(server));
    }
    return server;
}

static VhostUserServer *take_server(const ExportConf *conf, VirtIODevice *dev,
                                    AioContext *main_ctx, GError **error)
{
    g_autofree char *name = notify_fd_name("listen", conf->id);
    /* a relative path may mean another place by now */
    const char *path = taking_back ? NULL : conf->addr_path;
    VhostUserServer *server = vhost_user_server_take_over(
        dev, main_ctx, path, inherited, conf->id, error);

    if (!server) {
        g_prefix_error(error, "export '%s': ", conf->id);
    } else if (vhost_user_server_listen_fd(server) >= 0) {
        notify_store_fd(name, vhost_user_server_listen_fd(server));
    }
    return server;
}

static VhostUserServer *make_server(const ExportConf *conf, VirtIODevice *dev,
                                    AioContext *main_ctx, GError **error)
{
    if (vhost_user_server_in_handover(inherited, conf->id)) {
        return take_server(conf, dev, main_ctx, error);
    }
    return conf->addr_path ? listen_path(conf, dev, main_ctx, error)
                           : listen_fd(conf, dev, main_ctx, error);
}

static void export_free(Export *export)
{
    activation_free(export->activation);
    g_clear_pointer(&export->vblk, virtio_blk_free);
    g_strfreev(export->iothreads);
    g_free(export->node_name);
    g_free(export->id);
    g_free(export->name);
    g_free(export->path);
    g_free(export);
}

static bool export_start(const ExportConf *conf, AioContext *main_ctx,
                         GError **error)
{
    Export *export = g_new0(Export, 1);

    export->id = g_strdup(conf->id);
    export->name = g_strdup_printf("export '%s'", conf->id);
    export->stands = vhost_user_server_in_handover(inherited, conf->id);
    export->node_name = g_strdup(conf->node_name);
    export->iothreads = g_strdupv(conf->iothreads);
    export->path = g_strdup(conf->addr_path);
    export->block_size = conf->logical_block_size;
    export->vblk = make_device(conf, export, error);
    if (!export->vblk) {
        export_free(export);
        return false;
    }
    if (conf->allow_inactive) {
        export->activation = activation_new(&(ActivationConf){
            .name = export->name,
            .bs = bdrv_find_node(conf->node_name),
            .vblk = export->vblk,
            .ctx = main_ctx,
            .automatic = conf->auto_active,
        });
    }
    export->server = make_server(conf, virtio_blk_device(export->vblk),
                                 main_ctx, error);
    if (!export->server) {
        export_free(export);
        return false;
    }
    export->next = exports;
    exports = export;
    if (export->activation && !export->stands) {
        activation_follow(export->activation);
    }
    if (export->path &&
        !socket_access_apply(&conf->access, export->path, error)) {
        export_forget_socket(export);
        export_del(export);
        return false;
    }
    return true;
}

bool export_add(Options *opts, AioContext *main_ctx, GError **error)
{
    g_autoptr(Options) owned G_GNUC_UNUSED = opts;
    g_auto(ExportConf) conf = {
        .request_merging = true,
        .config_wce = true,
        .packed = true,
        .num_queues = DEFAULT_NUM_QUEUES,
        .logical_block_size = 512,
        .rerror = BLOCKDEV_ON_ERROR_REPORT,
        .werror = BLOCKDEV_ON_ERROR_ENOSPC,
    };

    return take_identity(opts, &conf, error) &&
           take_address(opts, &conf, error) &&
           take_device(opts, &conf, error) &&
           check_device(&conf, error) &&
           options_finish(opts, error) &&
           export_start(&conf, main_ctx, error);
}

void export_each_socket(void (*fn)(const char *path, void *opaque),
                        void *opaque)
{
    for (Export *export = exports; export; export = export->next) {
        if (export->path) {
            fn(export->path, opaque);
        }
    }
}

static void print_stats(Export *export)
{
    BlockStats stats = { 0 };
    g_autofree char *line = NULL, *histograms = NULL;

    virtio_blk_get_stats(export->vblk, &stats);
    line = block_stats_line(&stats);
    histograms = block_stats_histograms(&stats);
    fprintf(stderr, "stats: export=%s %s\n%s", export->id, line, histograms);
}

void export_print_stats(void)
{
    for (Export *export = exports; export; export = export->next) {
        print_stats(export);
    }
}

void export_foreach(ExportFn *fn, void *opaque)
{
    for (Export *export = exports; export; export = export->next) {
        fn(export, opaque);
    }
}

const char *export_id(const Export *export)
{
    return export->id;
}

const char *export_node_name(const Export *export)
{
    return export->node_name;
}

const char *const *export_iothreads(const Export *export)
{
    return (const char *const *)export->iothreads;
}

uint32_t export_block_size(const Export *export)
{
    return export->block_size;
}

bool export_is_deleted(const Export *export)
{
    return export->deleted;
}

bool export_is_connected(const Export *export)
{
    return !export->deleted && vhost_user_server_connected(export->server);
}

VirtIOBlock *export_device(const Export *export)
{
    return export->vblk;
}

static void forget(Export *export)
{
    Export **at = &exports;

    while (*at != export) {
        at = &(*at)->next;
    }
    *at = export->next;
}

static void export_stopped(void *opaque)
{
    Export *export = opaque;

    if (stop.print_stats) {
        print_stats(export);
    }
    forget(export);
    if (events && !export->handed_over) {
        events->deleted(export->id);
    }
    export_free(export);
    if (!exports && stop.done) {
        AioFn *done = stop.done;

        stop.done = NULL; /* there may be others when it was a handover */
        done(stop.opaque);
    }
}

void export_del(Export *export)
{
    g_assert(!export->deleted);
    export->deleted = true;
    vhost_user_server_stop(export->server, export_stopped, export);
}

void export_forget_socket(const Export *export)
{
    g_autofree char *name = notify_fd_name("listen", export->id);

    if (export->path) {
        notify_forget_fd(name);
    }
}

void export_drop_kept_socket(const char *id)
{
    g_autofree char *name = notify_fd_name("listen", id);
    int fd = notify_take_fd(name);

    if (fd >= 0) {
        notify_forget_fd(name);
        listener_close(fd);
    }
}

void export_set_events(const ExportEvents *to)
{
    events = to;
}

void export_stop_all(unsigned flags, AioFn *done, void *opaque)
{
    stop.done = done;
    stop.opaque = opaque;
    stop.print_stats = flags & EXPORT_STOP_STATS;
    if (!exports) {
        done(opaque);
        return;
    }
    for (Export *export = exports; export; export = export->next) {
        if (!export->deleted) {
            export_del(export); /* finished from the loop, not from inside */
        }
    }
}

void export_pause_all(void)
{
    for (Export *export = exports; export; export = export->next) {
        if (!export->deleted) {
            export->stands = true;
            vhost_user_server_pause(export->server);
        }
    }
}

const Export *export_first_moving(void)
{
    for (Export *export = exports; export; export = export->next) {
        if (export->deleted || !vhost_user_server_is_paused(export->server)) {
            return export;
        }
    }
    return NULL;
}

void export_hand_over_all(unsigned flags, Handover *handover, AioFn *done,
                          void *opaque)
{
    stop.done = done;
    stop.opaque = opaque;
    stop.print_stats = flags & EXPORT_STOP_STATS;
    if (!exports) {
        stop.done = NULL;
        done(opaque);
        return;
    }
    for (Export *export = exports; export; export = export->next) {
        if (!export->deleted) {
            export->deleted = export->handed_over = true;
            vhost_user_server_hand_over(export->server, handover, export->id,
                                        export_stopped, export);
        }
    }
}

void export_take_over(Handover *handover, bool back)
{
    inherited = handover;
    taking_back = back;
}

unsigned export_resume_all(void)
{
    unsigned requests = 0;

    inherited = NULL;
    for (Export *export = exports; export; export = export->next) {
        if (export->stands) {
            export->stands = false;
            requests += vhost_user_server_resume(export->server);
        }
    }
    for (Export *export = exports; export; export = export->next) {
        if (export->activation) {
            activation_follow(export->activation);
        }
    }
    return requests;
}
