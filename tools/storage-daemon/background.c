/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Going to the background, and the pid file. Called by main.c, settle.c and
 * succession.c.
 */
#include "background.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int ready_fd = -1;
static char *pidfile_path;
static int pidfile_fd = -1;
static bool inherited; /* it is another process's until pidfile_take() */

static bool fail_errno(GError **error, const char *what, const char *path)
{
    int err = errno;

    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(err), "%s%s%s%s: %s",
                what, path ? " '" : "", path ? path : "", path ? "'" : "",
                g_strerror(err));
    return false;
}

/* The parent's whole life after the fork. */
static void G_GNUC_NORETURN wait_for_server(int fd, pid_t between)
{
    char byte;
    ssize_t got;

    while (waitpid(between, NULL, 0) < 0 && errno == EINTR) {
    }
    do {
        got = read(fd, &byte, 1);
    } while (got < 0 && errno == EINTR);
    _exit(got == 1 ? EXIT_SUCCESS : EXIT_FAILURE); /* it has said why */
}

/*
 * By way of a process that ends at once: the server is a child of init, or of
 * whoever else looks after orphans, from the start. To systemd, a main process
 * that is not its child is one to be killed without a wait.
 */
static bool fork_twice(int ready_pipe[2], GError **error)
{
    pid_t child = fork();

    if (child > 0) {
        close(ready_pipe[1]);
        wait_for_server(ready_pipe[0], child);
    }
    if (child == 0) {
        setsid();
        child = fork();
        if (child > 0) {
            _exit(EXIT_SUCCESS);
        }
    }
    return child == 0 || fail_errno(error, "--daemonize: cannot fork", NULL);
}

bool background_start(GError **error)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0) {
        return fail_errno(error, "--daemonize: cannot make a pipe", NULL);
    }
    if (!fork_twice(fds, error)) {
        return false;
    }
    close(fds[0]);
    ready_fd = fds[1];
    return true;
}

bool background_detach(GError **error)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    bool ok;

    if (fd < 0) {
        return fail_errno(error, "--daemonize: cannot open", "/dev/null");
    }
    ok = dup2(fd, STDIN_FILENO) >= 0 && dup2(fd, STDOUT_FILENO) >= 0;
    /* Where the administrator sent stderr to a file, lines keep going there. */
    if (isatty(STDERR_FILENO)) {
        ok = dup2(fd, STDERR_FILENO) >= 0 && ok;
    }
    if (!ok) {
        fail_errno(error, "--daemonize: cannot redirect output", NULL);
    }
    if (fd > STDERR_FILENO) {
        close(fd);
    }
    return ok;
}

bool background_leave(GError **error)
{
    if (ready_fd < 0) {
        return true;
    }
    if (chdir("/") < 0) {
        return fail_errno(error, "--daemonize: cannot change to", "/");
    }
    return background_detach(error);
}

/* A parent that was killed meanwhile needs no answer. */
void background_ready(void)
{
    ssize_t put;

    if (ready_fd < 0) {
        return;
    }
    do {
        put = write(ready_fd, "", 1);
    } while (put < 0 && errno == EINTR);
    close(ready_fd);
    ready_fd = -1;
}

static int open_locked(const char *path, GError **error)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

    if (fd < 0) {
        fail_errno(error, "--pidfile: cannot create", path);
        return -1;
    }
    if (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_BUSY,
                    "--pidfile: '%s' is held by a process that is running",
                    path);
        close(fd);
        return -1;
    }
    return fd;
}

/* At no moment is there no number in it. */
static bool write_pid(const char *path, GError **error)
{
    g_autofree char *text = g_strdup_printf("%ld\n", (long)getpid());
    size_t length = strlen(text);

    if (pwrite(pidfile_fd, text, length, 0) != (ssize_t)length ||
        ftruncate(pidfile_fd, length) < 0) {
        return fail_errno(error, "--pidfile: cannot write", path);
    }
    return true;
}

bool pidfile_write(const char *path, GError **error)
{
    pidfile_fd = open_locked(path, error);
    if (pidfile_fd < 0) {
        return false;
    }
    /* From here on it is ours to remove. */
    pidfile_path = g_canonicalize_filename(path, NULL);
    return write_pid(path, error);
}

bool pidfile_replace(const char *path, GError **error)
{
    g_autofree char *other = g_strconcat(path, ".new", NULL);

    if (!pidfile_write(other, error)) {
        return false;
    }
    if (rename(other, path) < 0) {
        return fail_errno(error, "--pidfile: cannot replace", path);
    }
    g_free(pidfile_path);
    pidfile_path = g_canonicalize_filename(path, NULL);
    return true;
}

static bool is_at(int fd, const char *path)
{
    struct stat there, ours;

    return lstat(path, &there) == 0 && fstat(fd, &ours) == 0 &&
           there.st_dev == ours.st_dev && there.st_ino == ours.st_ino;
}

int pidfile_fd_to_give(void)
{
    return pidfile_fd;
}

bool pidfile_inherit(const char *path, int fd)
{
    if (!path || !is_at(fd, path)) {
        close(fd);
        return false;
    }
    pidfile_fd = fd;
    pidfile_path = g_canonicalize_filename(path, NULL);
    inherited = true;
    return true;
}

bool pidfile_is_inherited(void)
{
    return inherited;
}

bool pidfile_take(GError **error)
{
    if (!inherited) {
        return true;
    }
    inherited = false;
    return write_pid(pidfile_path, error);
}

void pidfile_given(void)
{
    inherited = true;
}

void pidfile_remove(void)
{
    if (pidfile_path) {
        if (!inherited && is_at(pidfile_fd, pidfile_path)) {
            unlink(pidfile_path);
        }
        g_clear_pointer(&pidfile_path, g_free);
    }
    if (pidfile_fd >= 0) {
        close(pidfile_fd);
        pidfile_fd = -1;
    }
}
