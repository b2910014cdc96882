/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * In-process: a thread plays the server's main thread, so that the test's own
 * thread can wait for answers as a front end does.
 */
#include "blk-server.h"

#include "blk-server-qmp.h"
#include "hw/virtio/vhost-user.h"
#include "guest/vhost-user-client.h"
#include "qemu.h"

#include <glib/gstdio.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 30000

struct BlkServer {
    BlkServerConf conf;
    char *dir, *path, *monitor;
    /* in this process */
    pthread_t thread;
    AioContext *ctx;       /* set once, by lock */
    BlkRig *rig;
    VhostUserServer *server;
    bool stopped;          /* server thread */
    pthread_mutex_t lock;  /* of pthread, which TSan knows */
    pthread_cond_t changed;
    bool released;         /* ctx is not ours to notify any more; by lock */
    /* a program */
    GPid pid;
    GPid successor;        /* 0: none */
    int successor_err;     /* its standard error */
    const char *extra;     /* arguments */
    QmpClient *client;     /* who has configured it; NULL: nobody has */
    bool left;             /* the old one has ended */
};

bool blk_server_have_program(void)
{
    return g_getenv("VBLK_STORAGE_DAEMON") != NULL;
}

static void server_stopped(void *opaque)
{
    BlkServer *server = opaque;

    server->stopped = true;
}

static void stop_server(void *opaque)
{
    BlkServer *server = opaque;

    vhost_user_server_stop(server->server, server_stopped, server);
}

static void start_server(BlkServer *server)
{
    g_autoptr(GError) error = NULL;
    BlkRigConf conf = {
        .blockdev = server->conf.blockdev,
        .num_queues = server->conf.num_queues,
        .n_iothreads = server->conf.n_iothreads,
        .serial = server->conf.serial,
        .read_only = server->conf.read_only,
        .register_buffers = server->conf.register_buffers,
    };

    server->rig = blk_rig_new(&conf, &error);
    g_assert_no_error(error);
    server->server = vhost_user_server_new_path(
        blk_rig_device(server->rig), blk_rig_main_context(server->rig),
        server->path, &error);
    g_assert_no_error(error);
}

static void *server_thread(void *opaque)
{
    BlkServer *server = opaque;
    AioContext *ctx;

    start_server(server);
    ctx = blk_rig_main_context(server->rig);
    pthread_mutex_lock(&server->lock);
    server->ctx = ctx;
    pthread_cond_signal(&server->changed);
    pthread_mutex_unlock(&server->lock);
    while (!server->stopped) {
        aio_poll(ctx, true);
    }
    blk_rig_free(server->rig);
    pthread_mutex_lock(&server->lock);
    while (!server->released) {
        pthread_cond_wait(&server->changed, &server->lock);
    }
    pthread_mutex_unlock(&server->lock);
    aio_context_free(ctx);
    return NULL;
}

static void start_thread(BlkServer *server)
{
    g_assert_cmpint(pthread_create(&server->thread, NULL, server_thread,
                                   server), ==, 0);
    pthread_mutex_lock(&server->lock);
    while (!server->ctx) {
        pthread_cond_wait(&server->changed, &server->lock);
    }
    pthread_mutex_unlock(&server->lock);
}

static void add_word(GPtrArray *argv, const char *word)
{
    g_ptr_array_add(argv, g_strdup(word));
}

static char *export_of(const BlkServer *server)
{
    unsigned n = server->conf.n_iothreads;
    GString *export = g_string_new(NULL);

    g_string_printf(export, "type=vhost-user-blk,id=e0,node-name=n0,"
                    "addr.type=unix,addr.path=%s,writable=%s,num-queues=%u",
                    server->path, server->conf.read_only ? "off" : "on",
                    MAX(server->conf.num_queues, 1));
    if (server->conf.serial) {
        g_string_append_printf(export, ",serial=%s", server->conf.serial);
    }
    if (server->conf.register_buffers) {
        g_string_append(export, ",register-buffers=on");
    }
    if (server->conf.export) {
        g_string_append(export, server->conf.export);
    }
    for (unsigned i = 0; i < n && n > 1; i++) {
        g_string_append_printf(export, ",iothread.%u=io%u", i, i);
    }
    return g_string_free(g_string_append(export, n == 1 ? ",iothread=io0"
                                                        : ""), FALSE);
}

static void add_monitor(const BlkServer *server, GPtrArray *argv)
{
    add_word(argv, "--chardev");
    g_ptr_array_add(argv, g_strdup_printf(
        "socket,id=m,path=%s,server=on,wait=off", server->monitor));
    add_word(argv, "--monitor");
    add_word(argv, "m");
    if (server->conf.confined) {
        add_word(argv, "--allow-path");
        add_word(argv, g_get_tmp_dir());
    }
}

static void add_disk(const BlkServer *server, GPtrArray *argv)
{
    if (server->conf.object) {
        add_word(argv, "--object");
        add_word(argv, server->conf.object);
    }
    add_word(argv, "--blockdev");
    add_word(argv, server->conf.blockdev);
    for (unsigned i = 0; i < server->conf.n_iothreads; i++) {
        add_word(argv, "--object");
        g_ptr_array_add(argv, g_strdup_printf("iothread,id=io%u", i));
    }
    add_word(argv, "--export");
    g_ptr_array_add(argv, export_of(server));
}

static void add_takeover(const BlkServer *server, GPtrArray *argv)
{
    if (server->conf.takeover) {
        g_ptr_array_add(argv, g_strdup("--takeover"));
        g_ptr_array_add(argv, g_strdup_printf(
            "%s/takeover%s", server->dir,
            server->conf.takeover_options ? server->conf.takeover_options
                                          : ""));
    }
    if (server->extra) {
        g_ptr_array_add(argv, g_strdup(server->extra));
    }
}

/* @err: where to put a pipe from its standard error, or NULL. */
static GPid spawn_program(BlkServer *server, int *err)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    GPid pid;

    g_ptr_array_add(argv, g_strdup(g_getenv("VBLK_STORAGE_DAEMON")));
    if (server->conf.supervise) {
        g_ptr_array_add(argv, g_strdup("--supervise=max-crashes=0"));
    }
    if (server->conf.monitor || server->conf.qmp) {
        add_monitor(server, argv);
    }
    if (!server->conf.qmp) {
        add_disk(server, argv);
    }
    add_takeover(server, argv);
    g_ptr_array_add(argv, NULL);
    g_spawn_async_with_pipes(NULL, (char **)argv->pdata, NULL,
                             G_SPAWN_DO_NOT_REAP_CHILD, qemu_child_setup,
                             NULL, &pid, NULL, NULL, err, &error);
    g_assert_no_error(error);
    return pid;
}

static void configure(BlkServer *server)
{
    g_autofree char *export = export_of(server);

    server->client = qmp_client_new(server->monitor);
    blk_server_configure(server->client, &server->conf, export);
}

static void start_program(BlkServer *server)
{
    server->pid = spawn_program(server, NULL);
    if (server->conf.qmp) {
        configure(server);
    }
    close(vu_connect(server->path)); /* not every front end tries twice */
}

/* aio_notify() may touch the context after what it announced was done. */
static void stop_thread(BlkServer *server)
{
    aio_bh_once(server->ctx, stop_server, server);
    pthread_mutex_lock(&server->lock);
    server->released = true;
    pthread_cond_signal(&server->changed);
    pthread_mutex_unlock(&server->lock);
    pthread_join(server->thread, NULL);
}

BlkServer *blk_server_new(const BlkServerConf *conf)
{
    BlkServer *server = g_new0(BlkServer, 1);

    server->conf = *conf;
    server->dir = g_dir_make_tmp("vblk-server-XXXXXX", NULL);
    g_assert_nonnull(server->dir);
    server->path = g_build_filename(server->dir, "sock", NULL);
    server->monitor = g_build_filename(server->dir, "qmp", NULL);
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->changed, NULL);
    if (conf->program) {
        start_program(server);
    } else {
        start_thread(server);
    }
    return server;
}

void blk_server_stop(BlkServer *server)
{
    int status = 0;

    g_assert_true(server->conf.program);
    kill(server->pid, SIGTERM);
    g_assert_cmpint(waitpid(server->pid, &status, 0), ==, server->pid);
    g_assert_cmpint(status, ==, 0);
    g_clear_pointer(&server->client, qmp_client_free);
}

void blk_server_free(BlkServer *server)
{
    if (server->conf.program) {
        blk_server_stop(server);
    } else {
        stop_thread(server);
    }
    blk_server_forget(server);
}

void blk_server_forget(BlkServer *server)
{
    g_assert_false(g_file_test(server->path, G_FILE_TEST_EXISTS));
    pthread_mutex_destroy(&server->lock);
    pthread_cond_destroy(&server->changed);
    g_assert_cmpint(g_rmdir(server->dir), ==, 0);
    g_free(server->dir);
    g_free(server->monitor);
    g_free(server->path);
    g_free(server);
}

/* Somebody else's child. */
static void kill_and_watch(GPid pid)
{
    int fd = syscall(SYS_pidfd_open, pid, 0);
    struct pollfd end = { fd, POLLIN, 0 };

    g_assert_cmpint(fd, >=, 0);
    kill(pid, SIGKILL);
    g_assert_cmpint(poll(&end, 1, PATIENCE_MS), ==, 1);
    close(fd);
}

void blk_server_kill(BlkServer *server)
{
    g_assert_true(server->conf.program);
    if (server->conf.supervise) {
        kill_and_watch(blk_server_pid(server));
        return;
    }
    kill(server->pid, SIGKILL);
    g_assert_cmpint(waitpid(server->pid, NULL, 0), ==, server->pid);
}

/*
 * As a supervisor does it: again, when it does not come up. The kernel keeps
 * the files of a killed io_uring user open, and locked, until the requests on
 * their way have ended.
 */
void blk_server_restart(BlkServer *server)
{
    int sock;

    if (server->conf.supervise) {
        return;
    }
    server->pid = spawn_program(server, NULL);
    if (server->conf.qmp) {
        g_clear_pointer(&server->client, qmp_client_free);
        configure(server);
    }
    while ((sock = vu_open(server->path, 20)) < 0) {
        if (waitpid(server->pid, NULL, WNOHANG) == server->pid) {
            server->pid = spawn_program(server, NULL);
        }
    }
    close(sock);
}

/* --- One takes over from the other --- */

void blk_server_take_over_begin(BlkServer *server, const char *extra)
{
    g_assert_true(server->conf.takeover && !server->successor);
    server->extra = extra;
    server->successor = spawn_program(server, &server->successor_err);
    server->extra = NULL;
    server->left = false;
}

bool blk_server_has_left(BlkServer *server)
{
    int status;

    if (!server->left &&
        waitpid(server->pid, &status, WNOHANG) == server->pid) {
        g_assert_cmpint(status, ==, 0);
        server->left = true;
    }
    return server->left;
}

static bool successor_is_dead(const BlkServer *server)
{
    siginfo_t info = { 0 };

    g_assert_cmpint(waitid(P_PID, server->successor, &info,
                           WEXITED | WNOHANG | WNOWAIT), ==, 0);
    return info.si_pid != 0;
}

bool blk_server_taking_over(BlkServer *server)
{
    return !blk_server_has_left(server) && !successor_is_dead(server);
}

void blk_server_kill_successor(BlkServer *server)
{
    siginfo_t info;

    kill(server->successor, SIGKILL);
    g_assert_cmpint(waitid(P_PID, server->successor, &info,
                           WEXITED | WNOWAIT), ==, 0);
}

char *blk_server_successor_said(BlkServer *server)
{
    GString *text = g_string_new(NULL);
    char byte;

    while (read(server->successor_err, &byte, 1) == 1) {
        g_string_append_c(text, byte);
    }
    return g_string_free(text, FALSE);
}

/* Its line says so; it comes before the process is of use to anybody. */
static void read_takeover(int fd, BlkTakeover *takeover)
{
    static const char with[] = " with ", still[] = "stood still for ";
    g_autoptr(GString) text = g_string_new(NULL);
    const char *from, *at = NULL;
    char byte;

    while (!at && read(fd, &byte, 1) == 1) {
        g_string_append_c(text, byte);
        at = byte == '\n' ? strstr(text->str, still) : NULL;
    }
    if (at) {
        from = strstr(strstr(text->str, "took over"), with);
        takeover->waited = g_ascii_strtoull(from + strlen(with), NULL, 10);
        takeover->us = g_ascii_strtod(at + strlen(still), NULL) * 1000;
    }
}

bool blk_server_take_over_end(BlkServer *server, BlkTakeover *takeover)
{
    bool dead = successor_is_dead(server);

    *takeover = (BlkTakeover){ .us = -1 };
    if (server->left) {
        read_takeover(server->successor_err, takeover);
    }
    close(server->successor_err);
    if (dead) {
        waitpid(server->successor, NULL, 0);
    }
    if (server->left) {
        server->pid = server->successor;
    }
    if (server->client && !(server->left && dead)) {
        qmp_client_run(server->client, "query-version"); /* it is the same */
    }
    server->successor = 0;
    return !(server->left && dead);
}

const char *blk_server_path(const BlkServer *server)
{
    return server->path;
}

/* The only child; there may be none for a moment. */
static GPid child_of(GPid parent)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task/%d/children",
                                            parent, parent);
    gint64 end = g_get_monotonic_time() + PATIENCE_MS * 1000;
    gint64 pid = 0;

    while (pid == 0 && g_get_monotonic_time() < end) {
        g_autofree char *text = NULL;

        g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
        pid = g_ascii_strtoll(text, NULL, 10);
    }
    g_assert_cmpint(pid, !=, 0);
    return pid;
}

const char *blk_server_monitor(const BlkServer *server)
{
    return server->monitor;
}

GPid blk_server_pid(const BlkServer *server)
{
    if (!server->conf.program) {
        return getpid();
    }
    return server->conf.supervise ? child_of(server->pid) : server->pid;
}
