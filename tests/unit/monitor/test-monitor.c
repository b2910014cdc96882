/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Monitors over real sockets: the test is client and server in one thread,
 * which runs the loop while it waits for an answer.
 */
#include "monitor/monitor.h"
#include "monitor/qmp.h"

#include "block/log.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define GREETING "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, " \
    "\"minor\": 2, \"major\": 7}, \"package\": "

typedef struct Fixture {
    AioContext *ctx;
    char *dir;
    char *path;
} Fixture;

static QmpCall *parked; /* of test-park */
static unsigned echoes; /* calls of test-echo */

static void test_echo(QmpCall *call, Options *args)
{
    GError *error = NULL;
    g_autofree char *text = NULL;
    JsonNode *node;

    echoes++;
    if (!qmp_need_str(args, "text", &text, &error) ||
        !qmp_args_done(args, &error)) {
        qmp_fail(call, error);
        return;
    }
    node = json_node_new(JSON_NODE_VALUE);
    json_node_set_string(node, text);
    qmp_return(call, node);
}

static void test_park(QmpCall *call, Options *args)
{
    parked = call;
}

static void test_not_there(QmpCall *call, Options *args)
{
    qmp_fail(call, g_error_new(QMP_ERROR, QMP_ERROR_DEVICE_NOT_FOUND,
                               "Device 'x' not found"));
}

static const QmpCommand commands[] = {
    { "test-echo", test_echo },
    { "test-park", test_park },
    { "test-not-there", test_not_there },
    { NULL, NULL },
};

static void add_monitor(Fixture *f, const char *id, const char *path,
                        const char *options)
{
    g_autofree char *chardev = g_strdup_printf(
        "socket,id=%s,path=%s,server=on,wait=off", id, path);
    g_autofree char *monitor = g_strdup_printf("chardev=%s%s", id, options);
    GError *error = NULL;

    chardev_add(chardev, f->ctx, &error);
    g_assert_no_error(error);
    monitor_add(monitor, &error);
    g_assert_no_error(error);
}

static void setup(Fixture *f, gconstpointer data)
{
    f->ctx = aio_context_new(NULL, NULL);
    aio_context_adopt(f->ctx);
    f->dir = g_dir_make_tmp("vblk-monitor-XXXXXX", NULL);
    f->path = g_build_filename(f->dir, "q", NULL);
    add_monitor(f, "m", f->path, "");
}

static void teardown(Fixture *f, gconstpointer data)
{
    monitor_close_all();
    aio_context_free(f->ctx);
    g_assert_cmpint(g_access(f->path, F_OK), <, 0);
    g_rmdir(f->dir);
    g_free(f->path);
    g_free(f->dir);
}

static int connect_to(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    g_assert_cmpint(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), ==,
                    0);
    g_assert_cmpint(fcntl(fd, F_SETFL, O_NONBLOCK), ==, 0);
    return fd;
}

/* The next message, without its end; "" when the monitor has closed. */
static char *next_line(Fixture *f, int fd)
{
    GString *line = g_string_new(NULL);

    for (;;) {
        char c;
        ssize_t n = read(fd, &c, 1);

        if (n == 1) {
            g_string_append_c(line, c);
            if (g_str_has_suffix(line->str, "\r\n")) {
                g_string_truncate(line, line->len - 2);
                return g_string_free(line, FALSE);
            }
        } else if (n == 0 || errno == ECONNRESET) {
            return g_string_free(line, FALSE);
        } else {
            g_assert_cmpint(errno, ==, EAGAIN);
            aio_poll(f->ctx, true);
        }
    }
}

static void expect_line(Fixture *f, int fd, const char *want)
{
    g_autofree char *line = next_line(f, fd);

    g_assert_cmpstr(line, ==, want);
}

static void put(int fd, const char *text)
{
    g_assert_cmpint(write(fd, text, strlen(text)), ==, strlen(text));
}

static void ask(Fixture *f, int fd, const char *text, const char *want)
{
    put(fd, text);
    expect_line(f, fd, want);
}

static int connect_greeted(Fixture *f)
{
    int fd = connect_to(f->path);
    g_autofree char *line = next_line(f, fd);

    g_assert_true(g_str_has_prefix(line, GREETING));
    g_assert_true(g_str_has_suffix(line, "}, \"capabilities\": []}}"));
    return fd;
}

static int connect_ready(Fixture *f)
{
    int fd = connect_greeted(f);

    ask(f, fd, "{\"execute\":\"qmp_capabilities\"}", "{\"return\": {}}");
    return fd;
}

#define ERROR(class, desc) \
    "{\"error\": {\"class\": \"" class "\", \"desc\": \"" desc "\"}}"
#define ERROR_ID(id, class, desc) "{\"id\": " id ", \"error\": {\"class\": " \
    "\"" class "\", \"desc\": \"" desc "\"}}"

static void test_negotiation(Fixture *f, gconstpointer data)
{
    int fd = connect_greeted(f);

    ask(f, fd, "{\"execute\":\"query-version\"}",
        ERROR("CommandNotFound", "Expecting capabilities negotiation with "
              "'qmp_capabilities'"));
    ask(f, fd, "{\"execute\":\"nope\"}",
        ERROR("CommandNotFound", "Expecting capabilities negotiation with "
              "'qmp_capabilities'"));
    ask(f, fd, "{\"execute\":\"qmp_capabilities\",\"arguments\":"
        "{\"enable\":[\"oob\"]}}",
        ERROR("GenericError", "Capability 'oob' is not available"));
    ask(f, fd, "{\"execute\":\"qmp_capabilities\",\"arguments\":"
        "{\"enable\":[]},\"id\":1}", "{\"return\": {}, \"id\": 1}");
    ask(f, fd, "{\"execute\":\"qmp_capabilities\",\"id\":\"x\"}",
        ERROR_ID("\"x\"", "CommandNotFound", "Capabilities negotiation is "
                 "already complete, command ignored"));
    close(fd);
}

static void test_commands(Fixture *f, gconstpointer data)
{
    int fd = connect_ready(f);

    ask(f, fd, "{\"execute\":\"test-echo\",\"arguments\":{\"text\":\"a\"}}",
        "{\"return\": \"a\"}");
    ask(f, fd, "{\"execute\":\"test-echo\",\"id\":{\"n\":[1]},"
        "\"arguments\":{\"text\":\"b\"}}",
        "{\"return\": \"b\", \"id\": {\"n\": [1]}}");
    ask(f, fd, "{\"execute\":\"test-echo\",\"arguments\":{\"text\":\"b\","
        "\"more\":{\"x\":1}}}",
        ERROR("GenericError", "Parameter 'more.x' is unexpected"));
    ask(f, fd, "{\"execute\":\"test-echo\"}",
        ERROR("GenericError", "Parameter 'text' is missing"));
    ask(f, fd, "{\"execute\":\"test-not-there\"}",
        ERROR("DeviceNotFound", "Device 'x' not found"));
    ask(f, fd, "{\"execute\":\"nope\",\"id\":5}",
        ERROR_ID("5", "CommandNotFound",
                 "The command nope has not been found"));
    close(fd);
}

static void test_bad_input(Fixture *f, gconstpointer data)
{
    static const struct {
        const char *input, *desc;
    } cases[] = {
        { "{}", "QMP input lacks member 'execute'" },
        { "[]", "QMP input must be a JSON object" },
        { "5 ", "QMP input must be a JSON object" },
        { "\"x\"", "QMP input must be a JSON object" },
        { "{\"execute\":5}", "QMP input member 'execute' must be a string" },
        { "{\"execute\":\"a\",\"foo\":1}",
          "QMP input member 'foo' is unexpected" },
        { "{\"exec-oob\":\"a\"}", "QMP input member 'exec-oob' is unexpected" },
        { "{\"execute\":\"a\",\"arguments\":[]}",
          "QMP input member 'arguments' must be an object" },
        { "{\"execute\":\"a\",}",
          "JSON parse error, key is not a string in object" },
        { "nonsense\n", "JSON parse error, invalid keyword 'nonsense'" },
        { "{\"a\":[}", "JSON parse error, expecting value" },
    };
    int fd = connect_ready(f);

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *want = g_strdup_printf(
            ERROR("GenericError", "%s"), cases[i].desc);

        ask(f, fd, cases[i].input, want);
    }
    ask(f, fd, "{\"execute\":[[\xff{\"execute\":\"test-echo\","
        "\"arguments\":{\"text\":\"afresh\"}}",
        ERROR("GenericError", "JSON parse error, expecting value"));
    expect_line(f, fd, "{\"return\": \"afresh\"}");
    close(fd);
}

/* Many commands in one write, one command in many. */
static void test_pieces(Fixture *f, gconstpointer data)
{
    static const char one[] =
        "{\"execute\":\"test-echo\",\"arguments\":{\"text\":\"a\"}}";
    g_autoptr(GString) many = g_string_new(NULL);
    int fd = connect_ready(f);

    for (unsigned i = 0; i < 1000; i++) {
        g_string_append(many, one);
    }
    put(fd, many->str);
    for (unsigned i = 0; i < 1000; i++) {
        expect_line(f, fd, "{\"return\": \"a\"}");
    }
    for (unsigned i = 0; i < strlen(one); i++) {
        g_assert_cmpint(write(fd, one + i, 1), ==, 1);
        aio_poll(f->ctx, false);
    }
    expect_line(f, fd, "{\"return\": \"a\"}");
    close(fd);
}

/* The next command is not read before the answer; nor is it lost. */
static void test_answered_later(Fixture *f, gconstpointer data)
{
    unsigned before;
    int fd = connect_ready(f);

    put(fd, "{\"execute\":\"test-park\",\"id\":1}{\"execute\":\"test-echo\","
        "\"arguments\":{\"text\":\"a\"}}");
    before = echoes;
    parked = NULL;
    while (!parked) {
        aio_poll(f->ctx, true);
    }
    for (unsigned i = 0; i < 10; i++) {
        aio_poll(f->ctx, false);
    }
    g_assert_cmpuint(echoes, ==, before);
    qmp_return(parked, NULL);
    expect_line(f, fd, "{\"return\": {}, \"id\": 1}");
    expect_line(f, fd, "{\"return\": \"a\"}");
    close(fd);
}

/* The client goes, the answer comes: to nobody. */
static void test_answer_to_nobody(Fixture *f, gconstpointer data)
{
    int fd = connect_ready(f), other;

    parked = NULL;
    put(fd, "{\"execute\":\"test-park\",\"id\":1}");
    while (!parked) {
        aio_poll(f->ctx, true);
    }
    close(fd);
    /* nobody reads while a command is unanswered: the end is seen then */
    qmp_return(parked, NULL);
    other = connect_ready(f);
    ask(f, other, "{\"execute\":\"test-echo\",\"arguments\":{\"text\":\"a\"}}",
        "{\"return\": \"a\"}");
    close(other);
}

static void test_close_with_call(Fixture *f, gconstpointer data)
{
    int fd = connect_ready(f);

    parked = NULL;
    put(fd, "{\"execute\":\"test-park\",\"id\":1}");
    while (!parked) {
        aio_poll(f->ctx, true);
    }
    monitor_close_all();
    qmp_fail(parked, g_error_new(QMP_ERROR, 0, "too late"));
    close(fd);
}

static void test_events(Fixture *f, gconstpointer data)
{
    static const char start[] = "{\"timestamp\": {\"seconds\": ";
    static const char end[] = "}, \"event\": \"TEST\", \"data\": {\"n\": 1}}";
    g_autofree char *path = g_build_filename(f->dir, "r", NULL);
    g_autofree char *line = NULL, *line2 = NULL;
    JsonObject *event = json_object_new();
    int a, b, c;

    add_monitor(f, "m2", path, "");
    a = connect_ready(f);
    b = connect_to(path);
    g_free(next_line(f, b));
    ask(f, b, "{\"execute\":\"qmp_capabilities\"}", "{\"return\": {}}");
    json_object_set_int_member(event, "n", 1);
    qmp_event("TEST", event);
    line = next_line(f, a);
    line2 = next_line(f, b);
    g_assert_true(g_str_has_prefix(line, start));
    g_assert_true(g_str_has_suffix(line, end));
    g_assert_cmpstr(line, ==, line2);

    /* who has not negotiated gets none */
    close(a);
    c = connect_greeted(f);
    qmp_event("TEST", NULL);
    g_free(next_line(f, b));
    ask(f, c, "{\"execute\":\"qmp_capabilities\"}", "{\"return\": {}}");
    close(b);
    close(c);
}

static void test_pretty(Fixture *f, gconstpointer data)
{
    g_autofree char *path = g_build_filename(f->dir, "p", NULL);
    int fd;

    add_monitor(f, "m3", path, ",mode=control,pretty=on");
    fd = connect_to(path);
    g_free(next_line(f, fd));
    ask(f, fd, "{\"execute\":\"qmp_capabilities\"}",
        "{\n    \"return\": {\n    }\n}");
    close(fd);
}

static void test_query_chardev(Fixture *f, gconstpointer data)
{
    g_autofree char *idle = g_strdup_printf("socket,id=i,path=%s.i,server=on",
                                            f->path);
    g_autofree char *want = g_strdup_printf(
        "{\"return\": [{\"frontend-open\": true, \"filename\": "
        "\"unix:%s,server=on\", \"label\": \"m\"}, {\"frontend-open\": "
        "false, \"filename\": \"disconnected:unix:%s.i,server=on\", "
        "\"label\": \"i\"}]}", f->path, f->path);
    int fd = connect_ready(f);

    g_assert_true(chardev_add(idle, f->ctx, NULL));
    ask(f, fd, "{\"execute\":\"query-chardev\"}", want);
    close(fd);
}

/* One client after the other; who comes early waits. */
static void test_clients_in_turn(Fixture *f, gconstpointer data)
{
    int first = connect_ready(f), second = connect_to(f->path);

    for (unsigned i = 0; i < 10; i++) {
        aio_poll(f->ctx, false);
    }
    g_assert_cmpint(read(second, &(char){ 0 }, 1), <, 0);
    close(first);
    g_free(next_line(f, second));
    ask(f, second, "{\"execute\":\"qmp_capabilities\"}", "{\"return\": {}}");
    close(second);
}

static void test_too_much(Fixture *f, gconstpointer data)
{
    g_autofree char *deep = g_strnfill(100, '[');
    int fd = connect_ready(f);

    ask(f, fd, deep, ERROR("GenericError", "JSON nesting limit exceeded"));
    expect_line(f, fd, ""); /* and the connection is closed */
    close(fd);
    close(connect_ready(f));
}

/* A message without end: closed at the limit, not kept. */
static void test_endless(Fixture *f, gconstpointer data)
{
    g_autofree char *some = g_strnfill(4096, 'x');
    int fd = connect_ready(f);
    size_t sent = 0;

    put(fd, "{\"");
    while (sent < 16 << 20) {
        ssize_t n = send(fd, some, 4096, MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN) {
            break;
        }
        sent += MAX(n, 0);
        aio_poll(f->ctx, false);
    }
    g_assert_cmpuint(sent, <, 4 << 20);
    close(fd);
    close(connect_ready(f));
}

static void count_line(LogLevel level, const char *line, void *opaque)
{
    unsigned *n = opaque;

    (*n)++;
}

/* A client that asks and never reads is not read from any more, gets events
 * up to a limit, and keeps nobody from anything. */
static void test_never_reads(Fixture *f, gconstpointer data)
{
    static const char one[] =
        "{\"execute\":\"test-echo\",\"arguments\":{\"text\":\"a\"}}";
    unsigned lines = 0, before = echoes;
    size_t sent = 0;
    int fd = connect_ready(f);
    g_autofree char *filler = g_strnfill(1024, 'x');

    for (unsigned idle = 0; idle < 100; idle++) {
        ssize_t n = send(fd, one, strlen(one), MSG_NOSIGNAL);

        if (n > 0) {
            sent += n;
            idle = 0;
        }
        aio_poll(f->ctx, false);
        g_assert_cmpuint(sent, <, 64 << 20);
    }
    g_assert_cmpuint(echoes, >, before);
    before = echoes;
    for (unsigned i = 0; i < 4096; i++) {
        JsonObject *event = json_object_new();

        json_object_set_string_member(event, "filler", filler);
        qmp_event("TEST", event);
    }
    g_assert_cmpuint(echoes, ==, before);
    log_set_sink(count_line, &lines);
    close(fd);
    close(connect_ready(f));
    log_set_sink(NULL, NULL);
    g_assert_cmpuint(lines, ==, 1); /* events were not sent */
}

static void test_hold(Fixture *f, gconstpointer data)
{
    int fd = connect_ready(f);
    unsigned before = echoes;

    monitor_hold();
    put(fd, "{\"execute\":\"test-echo\",\"arguments\":{\"text\":\"a\"}}");
    for (unsigned i = 0; i < 10; i++) {
        aio_poll(f->ctx, false);
    }
    g_assert_cmpuint(echoes, ==, before);
    qmp_event("LAST", NULL);
    g_free(next_line(f, fd));
    close(fd);
}

/* --- From process to process --- */

static Handover *handed_over(void)
{
    g_autoptr(Handover) handover = handover_new();
    Handover *arrived = handover_new();
    const char *text;
    const int *fds;
    unsigned n;

    g_assert_true(monitor_hand_over(handover, NULL));
    for (unsigned i = 0; (text = handover_text(handover, i, &fds, &n)); i++) {
        int copies[HANDOVER_MAX_FDS];

        for (unsigned k = 0; k < n; k++) {
            copies[k] = fcntl(fds[k], F_DUPFD_CLOEXEC, 0);
        }
        g_assert_true(handover_add_text(arrived, text, copies, n, NULL));
    }
    return arrived;
}

/* This process plays both. */
static void become_successor(Fixture *f)
{
    g_autoptr(Handover) handover = handed_over();
    GError *error = NULL;

    monitor_given();
    monitor_close_all();
    monitor_hold();
    monitor_take_over(handover, &error);
    g_assert_no_error(error);
    g_assert_null(handover_left(handover));
    add_monitor(f, "m", f->path, "");
    monitor_go_on();
    monitor_take_over_end();
}

#define ECHO(text) \
    "{\"execute\":\"test-echo\",\"arguments\":{\"text\":\"" text "\"}}"

/* What is said meanwhile is heard by the next one. */
static void test_takeover(Fixture *f, gconstpointer data)
{
    int fd = connect_ready(f), next;
    struct stat before, after;
    unsigned done = echoes;

    g_assert_cmpint(stat(f->path, &before), ==, 0);
    ask(f, fd, ECHO("a"), "{\"return\": \"a\"}");
    monitor_hold();
    put(fd, ECHO("b"));
    for (unsigned i = 0; i < 10; i++) {
        aio_poll(f->ctx, false);
    }
    g_assert_cmpuint(echoes, ==, done + 1);
    become_successor(f);
    ask(f, fd, ECHO("c"), "{\"return\": \"b\"}");
    ask(f, fd, "", "{\"return\": \"c\"}");
    qmp_event("E", NULL); /* it has negotiated */
    g_free(next_line(f, fd));
    next = connect_to(f->path); /* waits for its turn */
    close(fd);
    g_free(next_line(f, next));
    close(next);
    g_assert_cmpint(stat(f->path, &after), ==, 0);
    g_assert_cmpuint(before.st_ino, ==, after.st_ino);
}

/* Whose message is with the old one is cut off. */
static void test_takeover_of_half(Fixture *f, gconstpointer data)
{
    g_autofree char *line = NULL;
    int fd = connect_ready(f);

    put(fd, "{\"execute\":\"test-e");
    for (unsigned i = 0; i < 10; i++) {
        aio_poll(f->ctx, false);
    }
    monitor_hold();
    become_successor(f);
    line = next_line(f, fd);
    g_assert_cmpstr(line, ==, "");
    close(fd);
    close(connect_ready(f));
}

/* Before it was greeted, and before it has negotiated. */
static void test_takeover_of_new(Fixture *f, gconstpointer data)
{
    int fd;

    monitor_hold();
    fd = connect_to(f->path);
    become_successor(f);
    g_free(next_line(f, fd));
    monitor_hold();
    become_successor(f);
    ask(f, fd, ECHO("x"), "{\"error\": {\"class\": \"CommandNotFound\", "
        "\"desc\": \"Expecting capabilities negotiation with "
        "'qmp_capabilities'\"}}");
    ask(f, fd, "{\"execute\":\"qmp_capabilities\"}", "{\"return\": {}}");
    close(fd);
}

static void test_takeover_fails(Fixture *f, gconstpointer data)
{
    int fd = connect_ready(f);

    monitor_hold();
    put(fd, ECHO("a"));
    handover_free(handed_over());
    monitor_go_on();
    ask(f, fd, "", "{\"return\": \"a\"}");
    close(fd);
    close(connect_ready(f));
}

static void test_socket_file(Fixture *f, gconstpointer data)
{
    g_autofree char *again = g_strdup_printf(
        "socket,id=x,path=%s,server=on", f->path);
    GError *error = NULL;
    struct stat st;

    g_assert_cmpint(stat(f->path, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 0777, ==, 0600);
    g_assert_false(chardev_add(again, f->ctx, &error));
    g_assert_true(strstr(error->message, "Address already in use"));
    g_clear_error(&error);
    g_assert_false(monitor_add("chardev=m", &error));
    g_assert_true(strstr(error->message, "in use by another monitor"));
    g_clear_error(&error);
}

/* As when we end in its middle: the file is there, nobody listens. */
static void test_stale_socket(Fixture *f, gconstpointer data)
{
    g_autofree char *path = g_build_filename(f->dir, "stale", NULL);
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    close(fd);
    add_monitor(f, "stale", path, "");
    fd = connect_to(path);
    g_free(next_line(f, fd));
    close(fd);
}

static void refuse_chardev(Fixture *f, const char *text, const char *why)
{
    GError *error = NULL;

    g_assert_false(chardev_add(text, f->ctx, &error));
    if (!strstr(error->message, why)) {
        g_test_message("%s: %s", text, error->message);
        g_test_fail();
    }
    g_error_free(error);
}

static void test_bad_options(Fixture *f, gconstpointer data)
{
    GError *error = NULL;

    refuse_chardev(f, "pty,id=a", "'pty' is not a valid char driver name");
    refuse_chardev(f, "socket,path=a", "option 'id'");
    refuse_chardev(f, "socket,id=a", "one of path= and fd= is needed");
    refuse_chardev(f, "socket,id=a,path=x,foo=1", "unknown option 'foo'");
    refuse_chardev(f, "socket,id=a,host=h,port=1", "TCP is not supported");
    refuse_chardev(f, "socket,id=m,path=x", "already a chardev 'm'");
    refuse_chardev(f, "socket,id=a,path=/nonexistent/x", "No such file");
    refuse_chardev(f, "socket,id=a,fd=9999,server=on", "Bad file descriptor");
    g_assert_false(monitor_add("chardev=zz", &error));
    g_assert_true(strstr(error->message, "there is no chardev 'zz'"));
    g_clear_error(&error);
    g_assert_false(monitor_add("chardev=m,mode=readline", &error));
    g_assert_true(strstr(error->message, "must be 'control'"));
    g_clear_error(&error);
}

/* Not server=on: we are the ones who connect. */
static void test_client(Fixture *f, gconstpointer data)
{
    g_autofree char *path = g_build_filename(f->dir, "listen", NULL);
    g_autofree char *chardev = g_strdup_printf("socket,id=c,path=%s", path);
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;
    GError *error = NULL;

    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    g_assert_cmpint(bind(listener, (struct sockaddr *)&addr, sizeof(addr)),
                    ==, 0);
    g_assert_cmpint(listen(listener, 1), ==, 0);
    chardev_add(chardev, f->ctx, &error);
    g_assert_no_error(error);
    monitor_add("c", &error);
    g_assert_no_error(error);
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    g_free(next_line(f, fd));
    ask(f, fd, "{\"execute\":\"qmp_capabilities\"}", "{\"return\": {}}");
    close(fd);
    for (unsigned i = 0; i < 10; i++) {
        aio_poll(f->ctx, false);
    }
    close(listener);
    g_unlink(path);
}

#define ADD(name, fn) \
    g_test_add("/monitor/" name, Fixture, NULL, setup, fn, teardown)

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    g_test_init(&argc, &argv, NULL);
    qmp_register(commands);
    ADD("negotiation", test_negotiation);
    ADD("commands", test_commands);
    ADD("bad-input", test_bad_input);
    ADD("pieces", test_pieces);
    ADD("answered-later", test_answered_later);
    ADD("answer-to-nobody", test_answer_to_nobody);
    ADD("close-with-call", test_close_with_call);
    ADD("events", test_events);
    ADD("pretty", test_pretty);
    ADD("query-chardev", test_query_chardev);
    ADD("clients-in-turn", test_clients_in_turn);
    ADD("too-much", test_too_much);
    ADD("endless", test_endless);
    ADD("never-reads", test_never_reads);
    ADD("hold", test_hold);
    ADD("takeover", test_takeover);
    ADD("takeover-of-half", test_takeover_of_half);
    ADD("takeover-of-new", test_takeover_of_new);
    ADD("takeover-fails", test_takeover_fails);
    ADD("socket-file", test_socket_file);
    ADD("stale-socket", test_stale_socket);
    ADD("bad-options", test_bad_options);
    ADD("client", test_client);
    return g_test_run();
}
