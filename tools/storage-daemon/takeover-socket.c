/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See the header. One record is one packet, its descriptors with it. Whoever
 * may be one of the two is root or the same user: both get at the images
 * anyway, and neither believes the other's records unchecked.
 */
#include "takeover-socket.h"

#include "notify.h"
#include "block/log.h"

#include <errno.h>
#include <gio/gio.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define VERSION_TEXT    G_STRINGIFY(TAKEOVER_VERSION)
#define SEND_TIMEOUT_MS 10000
#define MAX_RECORDS     200000

static bool fail(GError **error, int err, const char *path, const char *what)
{
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(err),
                "--takeover '%s': %s: %s", path, what, g_strerror(err));
    return false;
}

/* --- Listening and connecting --- */

static int new_socket(const char *path, struct sockaddr_un *addr,
                      GError **error)
{
    int fd;

    *addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (!*path || strlen(path) >= sizeof(addr->sun_path)) {
        fail(error, ENAMETOOLONG, path, "cannot use the path");
        return -1;
    }
    g_strlcpy(addr->sun_path, path, sizeof(addr->sun_path));
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        fail(error, errno, path, "cannot make a socket");
    }
    return fd;
}

/* Nobody listens on what is there: takeover_socket_connect() has looked. */
static bool bind_at(int fd, const struct sockaddr_un *addr)
{
    struct stat st;

    if (lstat(addr->sun_path, &st) == 0 && S_ISSOCK(st.st_mode)) {
        unlink(addr->sun_path);
    }
    return bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 &&
           chmod(addr->sun_path, 0600) == 0 && listen(fd, 1) == 0;
}

int takeover_socket_listen(const char *path, GError **error)
{
    struct sockaddr_un addr;
    int fd = new_socket(path, &addr, error);

    if (fd >= 0 && !bind_at(fd, &addr)) {
        fail(error, errno, path, "cannot listen");
        close(fd);
        fd = -1;
    }
    return fd;
}

static bool is_trusted(int sock, pid_t *pid)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0) {
        return false;
    }
    *pid = peer.pid;
    return peer.uid == 0 || peer.uid == geteuid();
}

int takeover_socket_accept(int listen_fd, pid_t *pid)
{
    int sock = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

    if (sock < 0) {
        return -1;
    }
    if (!is_trusted(sock, pid)) {
        log_warn("--takeover: refused process %ld of another user",
                 (long)*pid);
        close(sock);
        return -1;
    }
    return sock;
}

int takeover_socket_connect(const char *path, GError **error)
{
    struct sockaddr_un addr;
    int fd = new_socket(path, &addr, error);
    pid_t first; /* that made the socket, and may have handed it on */

    if (fd < 0) {
        return -1;
    }
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        if (errno != ENOENT && errno != ECONNREFUSED) {
            fail(error, errno, path, "cannot connect");
        }
        close(fd);
        return -1;
    }
    if (!is_trusted(fd, &first)) {
        fail(error, EPERM, path, "another user listens there");
        close(fd);
        return -1;
    }
    return fd;
}

/* --- Packets --- */

static bool broken(GError **error, int err)
{
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(err),
                "--takeover: %s", err == EPIPE ? "the other process has ended"
                                               : g_strerror(err));
    return false;
}

static bool wait_for(int sock, short events, int timeout_ms, GError **error)
{
    struct pollfd pfd = { sock, events, 0 };
    int ret;

    do {
        ret = poll(&pfd, 1, timeout_ms);
    } while (ret < 0 && errno == EINTR);
    return ret > 0 || broken(error, ret < 0 ? errno : ETIMEDOUT);
}

static bool send_packet(int sock, const char *text, const int *fds,
                        unsigned n_fds, GError **error)
{
    if (strlen(text) > NOTIFY_MAX_BYTES) {
        return broken(error, EMSGSIZE);
    }
    while (!notify_send(sock, text, fds, n_fds)) {
        if (errno != EAGAIN) {
            return broken(error, errno);
        }
        if (!wait_for(sock, POLLOUT, SEND_TIMEOUT_MS, error)) {
            return false;
        }
    }
    return true;
}

static bool receive_packet(int sock, int timeout_ms, Handover *handover,
                           GError **error)
{
    g_autofree char *text = g_malloc(NOTIFY_MAX_BYTES + 1);
    int fds[NOTIFY_MAX_FDS];
    unsigned n_fds;
    gssize got;

    if (!wait_for(sock, POLLIN, timeout_ms, error)) {
        return false;
    }
    got = notify_receive(sock, text, fds, &n_fds);
    if (got <= 0) {
        return broken(error, got < 0 && errno != ECONNRESET ? errno : EPIPE);
    }
    return handover_add_text(handover, text, fds, n_fds, error);
}

/* --- Words --- */

static bool say(int sock, const Handover *one, GError **error)
{
    const int *fds;
    unsigned n_fds;

    return send_packet(sock, handover_text(one, 0, &fds, &n_fds), NULL, 0,
                       error);
}

bool takeover_say(int sock, const char *word, const char *value,
                  GError **error)
{
    g_autoptr(Handover) one = handover_new();

    handover_add(one, word, value);
    return say(sock, one, error);
}

bool takeover_say_hello(int sock, uint64_t drain_ms, GError **error)
{
    g_autoptr(Handover) one = handover_new();

    handover_put_uint(handover_add(one, "hello", VERSION_TEXT), "drain-ms",
                      drain_ms);
    return say(sock, one, error);
}

/* The caller's; NULL with @error. */
static HandoverRecord *hear(int sock, const char *word, int timeout_ms,
                            GError **error)
{
    g_autoptr(Handover) one = handover_new();
    g_autoptr(HandoverRecord) refused = NULL;
    HandoverRecord *record;

    if (!receive_packet(sock, timeout_ms, one, error)) {
        return NULL;
    }
    record = handover_take(one, word, NULL);
    if (record) {
        return record;
    }
    refused = handover_take(one, "refused", NULL);
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "--takeover: %s",
                refused ? handover_record_id(refused)
                        : "the other process speaks another language");
    return NULL;
}

bool takeover_hear(int sock, const char *word, int timeout_ms, char **value,
                   GError **error)
{
    g_autoptr(HandoverRecord) record = hear(sock, word, timeout_ms, error);

    if (record) {
        *value = g_strdup(handover_record_id(record));
    }
    return record;
}

bool takeover_hear_hello(int sock, int timeout_ms, uint64_t *drain_ms,
                         GError **error)
{
    g_autoptr(HandoverRecord) record = hear(sock, "hello", timeout_ms, error);

    if (!record) {
        return false;
    }
    if (!g_str_equal(handover_record_id(record), VERSION_TEXT)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "it hands over in version " VERSION_TEXT ", not %s",
                    handover_record_id(record));
        return false;
    }
    return !options_has(handover_record_options(record), "drain-ms") ||
           handover_need_uint(record, "drain-ms", G_MAXINT32, drain_ms, error);
}

/* --- Lists --- */

bool takeover_send_all(int sock, const Handover *handover, GError **error)
{
    const int *fds;
    const char *text;
    unsigned n_fds;

    for (unsigned i = 0;
         (text = handover_text(handover, i, &fds, &n_fds)) != NULL; i++) {
        if (!send_packet(sock, text, fds, n_fds, error)) {
            return false;
        }
    }
    return takeover_say(sock, "end", "", error);
}

Handover *takeover_receive_all(int sock, int timeout_ms, GError **error)
{
    g_autoptr(Handover) handover = handover_new();
    HandoverRecord *end, *refused;

    for (unsigned i = 0; i < MAX_RECORDS; i++) {
        if (!receive_packet(sock, timeout_ms, handover, error)) {
            return NULL;
        }
        end = handover_take_last(handover, "end");
        if (end) {
            handover_record_free(end);
            return g_steal_pointer(&handover);
        }
        refused = handover_take_last(handover, "refused");
        if (refused) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                        "--takeover: the running process refuses: %s",
                        handover_record_id(refused));
            handover_record_free(refused);
            return NULL;
        }
    }
    broken(error, E2BIG);
    return NULL;
}
