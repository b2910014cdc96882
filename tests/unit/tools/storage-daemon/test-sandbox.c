/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The sandbox from inside: a child enters it and tries what somebody would
 * who has taken it over. Each attempt is made in three threads: the one that
 * entered, one that was there before and one that was made afterwards.
 */
#include "tools/storage-daemon/sandbox.h"

#include "sandbox-attempts.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNDER_SANITIZER true
#else
#define UNDER_SANITIZER false
#endif

/* --- A child in the sandbox --- */

typedef enum Where { WHERE_CALLER, WHERE_OLDER, WHERE_NEWER, WHERE__COUNT } Where;

static Sandbox sandbox;    /* what the child enters */
static char *folder;       /* of the test */
static Attempt *attempt;
static int result;
static sem_t go;

static void *attempt_thread(void *opaque)
{
    while (opaque && sem_wait(&go) < 0) {
        g_assert(errno == EINTR);
    }
    result = attempt();
    return NULL;
}

static int attempt_in(Where where, pthread_t older)
{
    pthread_t newer;

    switch (where) {
    case WHERE_CALLER:
        return attempt();
    case WHERE_OLDER:
        sem_post(&go);
        pthread_join(older, NULL);
        return result;
    default:
        if (pthread_create(&newer, NULL, attempt_thread, NULL) != 0) {
            return 255;
        }
        pthread_join(newer, NULL);
        return result;
    }
}

static void G_GNUC_NORETURN child(Where where, int err_fd)
{
    g_autoptr(GError) error = NULL;
    pthread_t older;

    dup2(err_fd, STDERR_FILENO);
    sem_init(&go, 0, 0);
    g_assert(pthread_create(&older, NULL, attempt_thread, &go) == 0);
    if (!sandbox_enter(&sandbox, &error)) {
        fprintf(stderr, "%s\n", error->message);
        _exit(254);
    }
    _exit(attempt_in(where, older));
}

/* The child's wait status; *line is what it wrote. */
static int run_child(Attempt *fn, Where where, char **line)
{
    char buf[512] = "";
    size_t have = 0;
    ssize_t n;
    int fds[2], status;
    pid_t pid;

    g_assert_cmpint(pipe2(fds, O_CLOEXEC), ==, 0);
    attempt = fn;
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        child(where, fds[1]);
    }
    close(fds[1]);
    while ((n = read(fds[0], buf + have, sizeof(buf) - 1 - have)) > 0) {
        have += n;
    }
    close(fds[0]);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    *line = g_strndup(buf, have);
    return status;
}

static void enter_with(SandboxMode mode)
{
    g_autoptr(GError) error = NULL;

    sandbox_clear(&sandbox);
    sandbox_init(&sandbox);
    sandbox.mode = mode;
    g_clear_pointer(&folder, g_free);
    folder = g_dir_make_tmp("vblk-test-XXXXXX", &error);
    g_assert_no_error(error);
}

static void remove_folder(void)
{
    g_assert_cmpint(g_rmdir(folder), ==, 0);
}

/* Comes to @err, in each thread. */
static void expect(Attempt *fn, int err)
{
    for (Where where = 0; where < WHERE__COUNT; where++) {
        g_autofree char *line = NULL;
        int status = run_child(fn, where, &line);

        g_assert_cmpstr(line, ==, "");
        g_assert_true(WIFEXITED(status));
        g_assert_cmpint(WEXITSTATUS(status), ==, err);
    }
}

/* --- What is refused --- */

/* The line names the call. */
static void expect_end(const SandboxAttempt *tried)
{
    g_autofree char *in_brackets = g_strdup_printf("(%s)", tried->name);

    for (Where where = 0; where < WHERE__COUNT; where++) {
        g_autofree char *line = NULL;
        int status = run_child(tried->fn, where, &line);

        g_assert_true(WIFSIGNALED(status));
        g_assert_cmpint(WTERMSIG(status), ==, SIGSYS);
        g_assert_nonnull(strstr(line, "the sandbox refused system call"));
        g_assert_nonnull(strstr(line, in_brackets));
    }
}

static void test_refused(gconstpointer opaque)
{
    const SandboxAttempt *tried = opaque;

    if (UNDER_SANITIZER && tried->for_debugging) {
        g_test_skip("left to the sanitizer");
        return;
    }
    enter_with(SANDBOX_ON);
    if (tried->err) {
        expect(tried->fn, tried->err);
    } else {
        expect_end(tried);
    }
    remove_folder();
}

/* None of it is refused for another reason. */
static void test_off(void)
{
    enter_with(SANDBOX_OFF);
    expect(sandbox_attempt("open")->fn, 0);
    expect(sandbox_attempt("socket")->fn, 0);
    expect(sandbox_attempt("io_uring_setup")->fn, 0);
    expect(sandbox_attempt("rename")->fn, ENOENT);
    remove_folder();
}

/* --- What is not --- */

static int failed(long ret)
{
    return ret < 0 ? errno : 0;
}

static int use_guest_memory(void)
{
    int fd = memfd_create("guest", MFD_CLOEXEC);
    void *at;
    int err;

    if (fd < 0 || ftruncate(fd, 1 << 20) < 0) {
        return errno;
    }
    at = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        return errno;
    }
    memset(at, 1, 1 << 20);
    err = failed(madvise(at, 1 << 20, MADV_DONTDUMP)) ||
          failed(munmap(at, 1 << 20));
    close(fd);
    return err;
}

static void *nothing(void *opaque)
{
    return opaque;
}

static int use_threads(void)
{
    pthread_t threads[20];
    int err = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(threads) && !err; i++) {
        err = pthread_create(&threads[i], NULL, nothing, NULL);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(threads) && !err; i++) {
        err = pthread_join(threads[i], NULL);
    }
    return err;
}

static int use_loop(void)
{
    struct epoll_event event = { .events = EPOLLIN };
    int epfd = epoll_create1(EPOLL_CLOEXEC);
    int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);

    if (epfd < 0 || fd < 0 ||
        epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event) < 0) {
        return errno;
    }
    return epoll_wait(epfd, &event, 1, 0) == 1 ? 0 : 1;
}

static void test_allowed(void)
{
    enter_with(SANDBOX_ON);
    expect(use_guest_memory, 0);
    expect(use_threads, 0);
    expect(use_loop, 0);
    remove_folder();
}

static int remove_at_exit(void)
{
    return failed(unlink(sandbox.removable->pdata[0]));
}

/* A file that is there: another would not be refused but missed. */
static int remove_elsewhere(void)
{
    return failed(unlink("/proc/self/exe"));
}

/* From the folders it may remove from, and no others. */
static void test_removable(void)
{
    g_autofree char *path = NULL;

    enter_with(SANDBOX_ON);
    path = g_build_filename(folder, "socket", NULL);
    sandbox_may_remove(&sandbox, path);
    for (Where where = 0; where < WHERE__COUNT; where++) {
        g_autofree char *line = NULL;

        g_assert_true(g_file_set_contents(path, "", 0, NULL));
        g_assert_cmpint(run_child(remove_at_exit, where, &line), ==, 0);
        g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    }
    expect(sandbox_attempt("open")->fn, EACCES);
    expect(remove_elsewhere, EACCES);
    remove_folder();
}

static char *in_folder(const char *name)
{
    return g_build_filename(folder, name, NULL);
}

static int open_allowed(void)
{
    g_autofree char *path = in_folder("image");
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    return fd < 0 ? errno : failed(unlink(path));
}

static int listen_allowed(void)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    g_autofree char *path = in_folder("socket");
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        chmod(path, 0600) < 0 || listen(fd, 1) < 0) {
        return errno;
    }
    return failed(unlink(path));
}

static int listen_elsewhere(void)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX,
                                .sun_path = "/tmp/vblk-not-allowed" };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    return failed(bind(fd, (struct sockaddr *)&addr, sizeof(addr)));
}

static void test_allow_path(void)
{
    g_autoptr(GError) error = NULL;

    enter_with(SANDBOX_ON);
    g_assert_true(sandbox_allow_path(&sandbox, folder, &error));
    expect(open_allowed, 0);
    expect(listen_allowed, 0);
    expect(sandbox_attempt("open")->fn, EACCES);
    expect(sandbox_attempt("open-self")->fn, EACCES);
    expect(listen_elsewhere, EACCES);
    expect(sandbox_attempt("inet")->fn, EACCES);
    expect(sandbox_attempt("io_uring_setup")->fn, EPERM);
    expect_end(sandbox_attempt("execve"));
    remove_folder();
}

/* --- Seen from outside --- */

static int wait_for_parent(void)
{
    while (poll(NULL, 0, -1) < 0) {
    }
    return 0;
}

static char *status_word(const char *status, const char *name)
{
    g_autofree char *key = g_strdup_printf("\n%s:\t", name);
    const char *at = strstr(status, key);

    g_assert_nonnull(at);
    at += strlen(key);
    return g_strndup(at, strcspn(at, "\n"));
}

static void expect_word(const char *status, const char *name,
                        const char *value)
{
    g_autofree char *word = status_word(status, name);

    g_assert_cmpstr(word, ==, value);
}

static void expect_confined(const char *status)
{
    expect_word(status, "NoNewPrivs", "1");
    expect_word(status, "Seccomp", "2");
    expect_word(status, "CapInh", "0000000000000000");
    expect_word(status, "CapPrm", "0000000000000000");
    expect_word(status, "CapEff", "0000000000000000");
    expect_word(status, "CapAmb", "0000000000000000");
}

typedef struct Outside {
    pid_t pid;
    int ready;
} Outside;

/* A child that has entered, with @n threads besides, and waits. */
static Outside start_child(unsigned n)
{
    Outside outside;
    int fds[2];
    char byte;

    g_assert_cmpint(pipe2(fds, O_CLOEXEC), ==, 0);
    outside.pid = fork();
    if (outside.pid == 0) {
        g_autoptr(GError) error = NULL;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (unsigned i = 0; i < n; i++) {
            pthread_t thread;

            attempt = wait_for_parent;
            pthread_create(&thread, NULL, attempt_thread, NULL);
        }
        if (!sandbox_enter(&sandbox, &error)) {
            fprintf(stderr, "%s\n", error->message);
            _exit(1);
        }
        if (write(fds[1], "", 1) == 1) {
            wait_for_parent();
        }
        _exit(1);
    }
    close(fds[1]);
    g_assert_cmpint(read(fds[0], &byte, 1), ==, 1);
    outside.ready = fds[0];
    return outside;
}

static void end_child(Outside *outside)
{
    kill(outside->pid, SIGKILL);
    waitpid(outside->pid, NULL, 0);
    close(outside->ready);
}

static void test_every_thread(void)
{
    g_autofree char *path = NULL;
    Outside outside;
    const char *tid;
    unsigned n = 0;
    GDir *dir;

    enter_with(SANDBOX_ON);
    outside = start_child(40);
    path = g_strdup_printf("/proc/%d/task", outside.pid);
    dir = g_dir_open(path, 0, NULL);
    g_assert_nonnull(dir);
    while ((tid = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(path, tid, "status", NULL);
        g_autofree char *status = NULL;

        g_assert_true(g_file_get_contents(file, &status, NULL, NULL));
        expect_confined(status);
        n++;
    }
    g_dir_close(dir);
    g_assert_cmpuint(n, >=, 41);
    end_child(&outside);
    remove_folder();
}

static void test_user(void)
{
    g_autofree char *path = NULL;
    g_autofree char *status = NULL;
    Outside outside;

    if (geteuid() != 0) {
        g_test_skip("only root can become another user");
        return;
    }
    enter_with(SANDBOX_ON);
    sandbox.user = g_strdup("65534:65533");
    outside = start_child(3);
    path = g_strdup_printf("/proc/%d/status", outside.pid);
    g_assert_true(g_file_get_contents(path, &status, NULL, NULL));
    expect_word(status, "Uid", "65534\t65534\t65534\t65534");
    expect_word(status, "Gid", "65533\t65533\t65533\t65533");
    expect_word(status, "Groups", "65533 ");
    expect_confined(status);
    end_child(&outside);
    remove_folder();
}

/* What somebody left open for us is closed, what is ours stays. */
static void test_inherited(void)
{
    int inherited = dup(STDIN_FILENO);
    int ours = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    g_autofree char *closed = NULL, *open = NULL;
    Outside outside;

    enter_with(SANDBOX_ON);
    outside = start_child(0);
    closed = g_strdup_printf("/proc/%d/fdinfo/%d", outside.pid, inherited);
    open = g_strdup_printf("/proc/%d/fdinfo/%d", outside.pid, ours);
    g_assert_false(g_file_test(closed, G_FILE_TEST_EXISTS));
    g_assert_true(g_file_test(open, G_FILE_TEST_EXISTS));
    end_child(&outside);
    close(inherited);
    close(ours);
    remove_folder();
}

/* --- Words --- */

static void expect_refusal(bool (*parse)(Sandbox *, const char *, GError **),
                           const char *text, const char *words)
{
    GError *error = NULL;

    enter_with(SANDBOX_AUTO);
    g_assert_false(parse(&sandbox, text, &error));
    g_assert_nonnull(strstr(error->message, words));
    g_error_free(error);
    remove_folder();
}

static void test_words(void)
{
    enter_with(SANDBOX_AUTO);
    g_assert_true(sandbox_parse(&sandbox, "on,obsolete=deny,spawn=deny,"
                                "elevateprivileges=deny,"
                                "resourcecontrol=deny", NULL));
    g_assert_cmpint(sandbox.mode, ==, SANDBOX_ON);
    g_assert_true(sandbox_parse(&sandbox, "enable=off", NULL));
    g_assert_cmpint(sandbox.mode, ==, SANDBOX_OFF);
    g_assert_true(sandbox_parse_run_with(&sandbox, "user=nobody", NULL));
    g_assert_cmpstr(sandbox.user, ==, "nobody");
    remove_folder();
    expect_refusal(sandbox_parse, "maybe", "expects 'on' or 'off'");
    expect_refusal(sandbox_parse, "on,spawn=allow", "spawn=allow");
    expect_refusal(sandbox_parse, "on,spawn=children", "spawn");
    expect_refusal(sandbox_parse, "on,fast=yes", "fast");
    expect_refusal(sandbox_parse_run_with, "chroot=/", "chroot");
    expect_refusal(sandbox_parse_run_with, "group=x", "user");
    expect_refusal(sandbox_allow_path, "/not/there", "/not/there");
}

static void test_no_such_user(void)
{
    static const char *const users[] = {
        "no-such-user", "1:", ":1", "1:2:3", "-1:0", "4294967295:0", "",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(users); i++) {
        GError *error = NULL;

        enter_with(SANDBOX_OFF);
        sandbox.user = g_strdup(users[i]);
        g_assert_false(sandbox_enter(&sandbox, &error));
        g_assert_nonnull(strstr(error->message, "doesn't exist"));
        g_error_free(error);
        remove_folder();
    }
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    for (const SandboxAttempt *tried = sandbox_attempts; tried->name;
         tried++) {
        g_autofree char *path = g_strdup_printf("/sandbox/refused/%s",
                                                tried->name);

        g_test_add_data_func(path, tried, test_refused);
    }
    g_test_add_func("/sandbox/off", test_off);
    g_test_add_func("/sandbox/allowed", test_allowed);
    g_test_add_func("/sandbox/removable", test_removable);
    g_test_add_func("/sandbox/allow-path", test_allow_path);
    g_test_add_func("/sandbox/every-thread", test_every_thread);
    g_test_add_func("/sandbox/user", test_user);
    g_test_add_func("/sandbox/inherited", test_inherited);
    g_test_add_func("/sandbox/words", test_words);
    g_test_add_func("/sandbox/no-such-user", test_no_such_user);
    ret = g_test_run();
    sandbox_clear(&sandbox);
    g_free(folder);
    return ret;
}
