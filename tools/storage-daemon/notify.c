/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Used by main.c, settle.c, succession.c, export.c and takeover*.c in the
 * process that serves, and by supervise*.c for the messages.
 *
 * systemd hands kept descriptors to a new process from number 3 on and names
 * them in LISTEN_FDNAMES; the supervisor is asked for them. From then on both
 * are the same: a socket that takes lines of text, with descriptors.
 */
#include "notify.h"

#include "block/log.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTEN_FDS_START 3
#define PATIENCE_MS 5000

static int notify_fd = -1;
static int barrier[2] = { -1, -1 }; /* a pipe; the sandbox allows no new one */
static GHashTable *kept; /* name -> descriptor + 1 */

bool notify_is_supervised(void)
{
    return g_getenv(NOTIFY_SUPERVISOR_ENV) != NULL;
}

/* --- Messages --- */

typedef union FdSpace {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(NOTIFY_MAX_FDS * sizeof(int))];
} FdSpace;

bool notify_send(int sock, const char *text, const int *fds, unsigned n_fds)
{
    FdSpace space = { 0 };
    struct iovec iov = { (void *)text, strlen(text) };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t sent;

    g_assert(n_fds <= NOTIFY_MAX_FDS);
    if (n_fds) {
        struct cmsghdr *c = &space.align;

        msg.msg_control = &space;
        msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
    }
    do {
        sent = sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent >= 0;
}

static unsigned take_fds(struct msghdr *msg, int *fds)
{
    unsigned n = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            size_t bytes = c->cmsg_len - CMSG_LEN(0);

            memcpy(fds + n, CMSG_DATA(c), bytes);
            n += bytes / sizeof(int);
        }
    }
    return n;
}

gssize notify_receive(int sock, char text[NOTIFY_MAX_BYTES + 1], int *fds,
                      unsigned *n_fds)
{
    FdSpace space;
    struct iovec iov = { text, NOTIFY_MAX_BYTES };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1,
        .msg_control = &space, .msg_controllen = sizeof(space),
    };
    ssize_t got;

    *n_fds = 0;
    do {
        got = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got >= 0) {
        text[got] = 0;
        *n_fds = take_fds(&msg, fds);
    }
    while (got == 0 && *n_fds > 0) {
        close(fds[--*n_fds]); /* an empty message is the end all the same */
    }
    return got;
}

/* --- Where messages go --- */

static int take_supervisor(void)
{
    const char *text = g_getenv(NOTIFY_SUPERVISOR_ENV);
    guint64 fd;

    if (!text || !g_ascii_string_to_unsigned(text, 10, 3, G_MAXINT32, &fd,
                                             NULL) ||
        fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0) {
        return -1;
    }
    return (int)fd;
}

/* "@name" is in the abstract name space. */
static int connect_systemd(void)
{
    const char *path = g_getenv("NOTIFY_SOCKET");
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    socklen_t bytes;
    int fd;

    if (!path || (*path != '/' && *path != '@') ||
        strlen(path) >= sizeof(addr.sun_path)) {
        return -1;
    }
    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    bytes = G_STRUCT_OFFSET(struct sockaddr_un, sun_path) + strlen(path) +
            (*path == '/');
    if (*path == '@') {
        addr.sun_path[0] = 0;
    }
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, bytes) < 0) {
        log_warn("cannot reach NOTIFY_SOCKET '%s': %s", path,
                 g_strerror(errno));
        close(fd);
        fd = -1;
    }
    return fd;
}

static void tell(const char *text)
{
    if (notify_fd >= 0 && !notify_send(notify_fd, text, NULL, 0)) {
        log_warn("cannot tell the service manager \"%s\": %s", text,
                 g_strerror(errno));
    }
}

void notify_ready(bool taken_over)
{
    g_autofree char *text = g_strdup_printf(
        "READY=1\nMAINPID=%ld%s", (long)getpid(),
        taken_over ? "\n" NOTIFY_TAKEN_OVER "=1" : "");

    tell(text);
}

void notify_stopping(void)
{
    tell("STOPPING=1");
}

static void close_barrier(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(barrier); i++) {
        if (barrier[i] >= 0) {
            close(barrier[i]);
            barrier[i] = -1;
        }
    }
}

/* sd_notify_barrier(3): its copy of the pipe's end is closed in its turn. */
void notify_wait_until_heard(void)
{
    struct pollfd pfd = { .fd = barrier[0] };

    if (notify_fd >= 0 && barrier[0] >= 0 &&
        notify_send(notify_fd, "BARRIER=1", &barrier[1], 1)) {
        close(barrier[1]);
        barrier[1] = -1;
        while (poll(&pfd, 1, PATIENCE_MS) < 0 && errno == EINTR) {
        }
    }
    close_barrier();
}

/* --- The store --- */

char *notify_fd_name(const char *kind, const char *id)
{
    g_autofree char *plain = g_uri_escape_string(id, NULL, FALSE);

    return g_strdup_printf("%s-%s", kind, plain);
}

static void keep(const char *name, int fd)
{
    int old = notify_take_fd(name);

    if (old >= 0) {
        close(old);
    }
    g_hash_table_insert(kept, g_strdup(name), GINT_TO_POINTER(fd + 1));
}

static bool is_ours(const char *name)
{
    static const char *const prefixes[] = { "listen-", "takeover-",
                                            "monitor-" };

    for (unsigned i = 0; i < G_N_ELEMENTS(prefixes); i++) {
        if (g_str_has_prefix(name, prefixes[i])) {
            return true;
        }
    }
    return g_str_equal(name, "config");
}

/* Only ours: others are given on the command line, by number. */
static void take_from_systemd(void)
{
    const char *pid = g_getenv("LISTEN_PID");
    g_auto(GStrv) names = NULL;
    guint64 number;

    if (!pid || !g_getenv("LISTEN_FDNAMES") ||
        !g_ascii_string_to_unsigned(pid, 10, 1, G_MAXINT32, &number, NULL) ||
        (pid_t)number != getpid()) {
        return;
    }
    names = g_strsplit(g_getenv("LISTEN_FDNAMES"), ":", -1);
    for (int i = 0; names[i]; i++) {
        if (is_ours(names[i])) {
            fcntl(LISTEN_FDS_START + i, F_SETFD, FD_CLOEXEC);
            keep(names[i], LISTEN_FDS_START + i);
        }
    }
    g_unsetenv("LISTEN_PID");
    g_unsetenv("LISTEN_FDS");
    g_unsetenv("LISTEN_FDNAMES");
}

static void keep_all(char *text, const int *fds, unsigned n_fds)
{
    g_auto(GStrv) names = g_strsplit(text, "\n", -1);

    for (unsigned i = 0; i < n_fds; i++) {
        if (i < g_strv_length(names)) {
            keep(names[i], fds[i]);
        } else {
            close(fds[i]);
        }
    }
}

static void take_from_supervisor(void)
{
    struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
    g_autofree char *text = g_malloc(NOTIFY_MAX_BYTES + 1);
    int fds[NOTIFY_MAX_FDS];
    unsigned n_fds;

    setsockopt(notify_fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
               sizeof(patience));
    if (!notify_send(notify_fd, NOTIFY_GIVE, NULL, 0)) {
        return;
    }
    while (notify_receive(notify_fd, text, fds, &n_fds) > 0 &&
           !g_str_equal(text, NOTIFY_END)) {
        keep_all(text, fds, n_fds);
    }
}

void notify_open(void)
{
    kept = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    notify_fd = take_supervisor();
    if (notify_fd >= 0) {
        take_from_supervisor();
    } else {
        notify_fd = connect_systemd();
        if (notify_fd >= 0 && pipe2(barrier, O_CLOEXEC) < 0) {
            log_warn("cannot make a pipe: %s", g_strerror(errno));
        }
        take_from_systemd();
    }
    g_unsetenv(NOTIFY_SUPERVISOR_ENV);
    g_unsetenv("NOTIFY_SOCKET");
}

bool notify_is_open(void)
{
    return notify_fd >= 0;
}

void notify_close(void)
{
    GHashTableIter iter;
    gpointer value;

    if (!kept) {
        return;
    }
    g_hash_table_iter_init(&iter, kept);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        close(GPOINTER_TO_INT(value) - 1);
    }
    g_clear_pointer(&kept, g_hash_table_unref);
    close_barrier();
    if (notify_fd >= 0) {
        close(notify_fd);
        notify_fd = -1;
    }
}

int notify_take_fd(const char *name)
{
    gpointer value = kept ? g_hash_table_lookup(kept, name) : NULL;

    if (!value) {
        return -1;
    }
    g_hash_table_remove(kept, name);
    return GPOINTER_TO_INT(value) - 1;
}

void notify_store_fd(const char *name, int fd)
{
    g_autofree char *text = g_strdup_printf("FDSTORE=1\nFDNAME=%s", name);

    if (notify_fd >= 0 && strlen(name) <= NOTIFY_MAX_NAME &&
        !notify_send(notify_fd, text, &fd, 1)) {
        log_warn("the service manager does not keep '%s': %s", name,
                 g_strerror(errno));
    }
}

void notify_forget_fd(const char *name)
{
    g_autofree char *text = g_strdup_printf("FDSTOREREMOVE=1\nFDNAME=%s",
                                            name);

    if (strlen(name) <= NOTIFY_MAX_NAME) {
        tell(text);
    }
}

void notify_forget_rest(bool (*needed)(const char *name))
{
    GHashTableIter iter;
    gpointer name, value;

    g_hash_table_iter_init(&iter, kept);
    while (g_hash_table_iter_next(&iter, &name, &value)) {
        if (!needed(name)) {
            notify_forget_fd(name);
            close(GPOINTER_TO_INT(value) - 1);
            g_hash_table_iter_remove(&iter);
        }
    }
}
