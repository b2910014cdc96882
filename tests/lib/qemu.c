/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The process and the line protocol: one command, one line of answer.
 */
#include "qemu.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM "qemu-system-x86_64"
#define PATIENCE_MS 60000
#define BIOS_BYTES 65536
#define RESET_VECTOR 0xfff0
#define LINE_BYTES 256

struct Qemu {
    char *dir;
    GPid pid;
    int sock;
};

bool qemu_available(void)
{
    g_autofree char *path = g_find_program_in_path(PROGRAM);

    return path != NULL;
}

void qemu_child_setup(gpointer opaque)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* vhost runs only while the machine does, so it needs firmware: cli; hlt;
 * and again, should anything wake it. */
static char *make_bios(const char *dir)
{
    static const char halt[] = { '\xfa', '\xf4', '\xeb', '\xfc' };
    g_autofree char *bios = g_malloc0(BIOS_BYTES);
    char *path = g_build_filename(dir, "bios", NULL);

    memcpy(bios + RESET_VECTOR, halt, sizeof(halt));
    g_assert_true(g_file_set_contents(path, bios, BIOS_BYTES, NULL));
    return path;
}

static int listen_on(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpuint(strlen(path), <, sizeof(addr.sun_path));
    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);
    return fd;
}

static void start(Qemu *qemu, int ram_fd, size_t ram_bytes, const char *path,
                  const char *const *args)
{
    g_autofree char *bios = make_bios(qemu->dir);
    g_autofree char *ram = g_strdup_printf(
        "memory-backend-file,id=ram,size=%zu,share=on,mem-path=/proc/%d/fd/%d",
        ram_bytes, getpid(), ram_fd);
    g_autofree char *megabytes = g_strdup_printf("%zu", ram_bytes >> 20);
    g_autofree char *qtest = g_strdup_printf("unix:%s", path);
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autoptr(GError) error = NULL;
    const char *const fixed[] = {
        PROGRAM, "-accel", "tcg", "-machine", "pc,memory-backend=ram",
        "-nodefaults", "-no-user-config", "-display", "none",
        "-m", megabytes, "-object", ram, "-bios", bios,
        "-qtest", qtest, "-qtest-log", "none", NULL,
    };

    for (unsigned i = 0; fixed[i]; i++) {
        g_ptr_array_add(argv, (char *)fixed[i]);
    }
    for (unsigned i = 0; args[i]; i++) {
        g_ptr_array_add(argv, (char *)args[i]);
    }
    g_ptr_array_add(argv, NULL);
    g_spawn_async(NULL, (char **)argv->pdata, NULL,
                  G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD,
                  qemu_child_setup, NULL, &qemu->pid, &error);
    g_assert_no_error(error);
}

static void wait_readable(Qemu *qemu, int fd)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };
    gint64 give_up = g_get_monotonic_time() + PATIENCE_MS * 1000;

    while (poll(&pfd, 1, 1000) != 1) {
        if (waitpid(qemu->pid, NULL, WNOHANG) == qemu->pid) {
            g_error(PROGRAM " ended");
        }
        if (g_get_monotonic_time() > give_up) {
            g_error(PROGRAM " does not answer");
        }
    }
}

Qemu *qemu_new(int ram_fd, size_t ram_bytes, const char *const *args)
{
    Qemu *qemu = g_new0(Qemu, 1);
    g_autofree char *path = NULL;
    int listener;

    qemu->dir = g_dir_make_tmp("vblk-qemu-XXXXXX", NULL);
    g_assert_nonnull(qemu->dir);
    path = g_build_filename(qemu->dir, "qtest", NULL);
    listener = listen_on(path);
    start(qemu, ram_fd, ram_bytes, path, args);
    wait_readable(qemu, listener);
    qemu->sock = accept(listener, NULL, NULL);
    g_assert_cmpint(qemu->sock, >=, 0);
    close(listener);
    return qemu;
}

static void remove_file(const Qemu *qemu, const char *name)
{
    g_autofree char *path = g_build_filename(qemu->dir, name, NULL);

    g_unlink(path);
}

void qemu_free(Qemu *qemu)
{
    int status;

    kill(qemu->pid, SIGTERM);
    g_assert_cmpint(waitpid(qemu->pid, &status, 0), ==, qemu->pid);
    g_assert_cmpint(status, ==, 0);
    close(qemu->sock);
    remove_file(qemu, "bios");
    remove_file(qemu, "qtest");
    g_assert_cmpint(g_rmdir(qemu->dir), ==, 0);
    g_free(qemu->dir);
    g_free(qemu);
}

/* Reads one line, without its end. */
static void read_line(Qemu *qemu, char line[LINE_BYTES])
{
    for (unsigned n = 0; n < LINE_BYTES; n++) {
        wait_readable(qemu, qemu->sock);
        if (recv(qemu->sock, line + n, 1, 0) != 1) {
            g_error(PROGRAM " ended");
        }
        if (line[n] == '\n') {
            line[n] = '\0';
            return;
        }
    }
    g_error(PROGRAM " talks too much");
}

/* Sends a command; the number that comes back with OK, or 0. */
static G_GNUC_PRINTF(2, 3) uint64_t command(Qemu *qemu, const char *fmt, ...)
{
    char buf[LINE_BYTES];
    va_list ap;
    int len;

    va_start(ap, fmt);
    len = g_vsnprintf(buf, sizeof(buf), fmt, ap);
    va_end(ap);
    g_assert_cmpint(send(qemu->sock, buf, len, MSG_NOSIGNAL), ==, len);
    read_line(qemu, buf);
    if (!g_str_has_prefix(buf, "OK")) {
        g_error(PROGRAM " answers: %s", buf);
    }
    return buf[2] == ' ' ? strtoull(buf + 3, NULL, 0) : 0;
}

uint32_t qemu_inl(Qemu *qemu, uint16_t port)
{
    return command(qemu, "inl 0x%x\n", port);
}

void qemu_outl(Qemu *qemu, uint16_t port, uint32_t value)
{
    command(qemu, "outl 0x%x 0x%x\n", port, value);
}

static char suffix(unsigned bytes)
{
    return bytes == 1 ? 'b' : bytes == 2 ? 'w' : bytes == 4 ? 'l' : 'q';
}

uint64_t qemu_read(Qemu *qemu, uint64_t addr, unsigned bytes)
{
    return command(qemu, "read%c 0x%" PRIx64 "\n", suffix(bytes), addr);
}

void qemu_write(Qemu *qemu, uint64_t addr, unsigned bytes, uint64_t value)
{
    command(qemu, "write%c 0x%" PRIx64 " 0x%" PRIx64 "\n", suffix(bytes),
            addr, value);
}
