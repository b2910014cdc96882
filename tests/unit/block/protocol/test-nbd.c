/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The NBD client against Debian's qemu-nbd and nbdkit.
 */
#include "block/image.h"

#include <errno.h>
#include <libnbd.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "block/log.h"
#include "tests/lib/block.h"
#include "tests/lib/image.h"
#include "tests/lib/nbd-server.h"

#define MIB (1024 * 1024)

static char buf[4 * MIB] __attribute__((aligned(4096)));
static char back[4 * MIB] __attribute__((aligned(4096)));

/* qemu-nbd over @image, which it keeps serving. */
static NbdServer *serve_image(const TestImage *image, const char *options)
{
    return nbd_server_start("qemu-nbd -t -f raw -x exp %s -k @ %s", options,
                            test_image_path(image));
}

static BlockDriverState *open_server(const NbdServer *server,
                                     const char *options)
{
    return test_open_attached("nbd,discard=unmap,open-timeout=20,"
                              "server.type=unix,server.path=%s%s",
                              nbd_server_socket(server), options);
}

static void test_requests(void)
{
    g_autoptr(TestImage) image = test_image_new(16 * MIB);
    g_autoptr(NbdServer) server = serve_image(image, "--discard=unmap");
    BlockDriverState *bs = open_server(server, ",export=exp");

    g_assert_cmpint(bs->total_bytes, ==, 16 * MIB);
    g_assert_cmpint(bs->limits.max_transfer, ==, 32 * MIB);
    g_assert_true(bs->limits.can_discard);
    g_assert_true(bs->limits.can_write_zeroes);
    test_pattern(buf, sizeof(buf), 1);
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, MIB + 512, buf, sizeof(buf)), ==,
                    0);
    g_assert_cmpint(test_op(bs, BLOCK_FLUSH, 0, 0, 0), ==, 0);
    test_image_read(image, MIB + 512, back, sizeof(back));
    g_assert_cmpmem(buf, sizeof(buf), back, sizeof(back));
    memset(back, 0, sizeof(back));
    g_assert_cmpint(test_rw(bs, BLOCK_READ, MIB + 512, back, sizeof(back)),
                    ==, 0);
    g_assert_cmpmem(buf, sizeof(buf), back, sizeof(back));
    g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, BLOCK_REQ_FUA, 2 * MIB,
                            MIB), ==, 0);
    test_image_read(image, 2 * MIB, back, MIB);
    g_assert_cmpint(back[0] | back[MIB - 1], ==, 0);
    g_assert_cmpint(test_image_allocated(image), >=, 4 * MIB);
    g_assert_cmpint(test_op(bs, BLOCK_DISCARD, 0, 0, 16 * MIB), ==, 0);
    g_assert_cmpint(test_image_allocated(image), <, MIB);
    test_detach_unref(bs);
}

/* Many at once, of several buffers each, overtaking each other. */
static void test_many(void)
{
    g_autoptr(NbdServer) server =
        nbd_server_start("nbdkit -f -U @ --filter=delay memory 16M "
                         "rdelay=3ms");
    BlockDriverState *bs = open_server(server, "");
    TestRequest tests[64];
    struct iovec iov[64][4];

    test_pattern(buf, sizeof(buf), 2);
    for (unsigned pass = 0; pass < 2; pass++) {
        char *data = pass == 0 ? buf : back;

        memset(back, 0, sizeof(back));
        memset(tests, 0, sizeof(tests));
        for (unsigned i = 0; i < 64; i++) {
            char *p = data + i * 65536;

            iov[i][0] = (struct iovec){ p, 512 };
            iov[i][1] = (struct iovec){ p + 512, 20000 };
            iov[i][2] = (struct iovec){ p + 20512, 1 };
            iov[i][3] = (struct iovec){ p + 20513, 65536 - 20513 };
            tests[i].req.op = pass == 0 ? BLOCK_WRITE : BLOCK_READ;
            tests[i].req.offset = (63 - i) * 65536;
            tests[i].req.bytes = 65536;
            tests[i].req.iov = i % 2 ? iov[i] : &tests[i].iov;
            tests[i].req.niov = i % 2 ? 4 : 1;
            tests[i].iov = (struct iovec){ p, 65536 };
            test_submit(bs, &tests[i]);
        }
        for (unsigned i = 0; i < 64; i++) {
            g_assert_cmpint(test_wait(&tests[i]), ==, 0);
        }
    }
    g_assert_cmpmem(buf, sizeof(buf), back, sizeof(back));
    test_detach_unref(bs);
}

/* A socket whose buffer is full in both directions at once. */
static void test_both_ways(void)
{
    g_autoptr(NbdServer) server = nbd_server_start("nbdkit -f -U @ memory 64M");
    BlockDriverState *bs = open_server(server, "");
    g_autofree char *data = g_malloc(16 * MIB);
    TestRequest tests[16];

    memset(tests, 0, sizeof(tests));
    for (unsigned i = 0; i < 16; i++) {
        tests[i].req.op = i % 2 ? BLOCK_WRITE : BLOCK_READ;
        tests[i].iov = (struct iovec){ data + i * MIB, MIB };
        tests[i].req.iov = &tests[i].iov;
        tests[i].req.niov = 1;
        tests[i].req.offset = i * MIB;
        tests[i].req.bytes = MIB;
        test_submit(bs, &tests[i]);
    }
    for (unsigned i = 0; i < 16; i++) {
        g_assert_cmpint(test_wait(&tests[i]), ==, 0);
    }
    test_detach_unref(bs);
}

static unsigned count_words(const char *path, const char *word)
{
    g_autofree char *text = NULL;
    unsigned count = 0;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    for (char *p = text; (p = strstr(p, word)); p++) {
        count++;
    }
    return count;
}

/* Zeroes and FUA of a server that knows neither: data, and a flush. */
static void test_poor_server(void)
{
    g_autoptr(TestImage) log = test_image_new(0);
    g_autoptr(NbdServer) server = nbd_server_start(
        "nbdkit -f -U @ --filter=log --filter=nozero --filter=fua "
        "memory 16M logfile=%s", test_image_path(log));
    BlockDriverState *bs = open_server(server, "");

    g_assert_false(bs->limits.can_write_zeroes);
    memset(buf, 7, sizeof(buf));
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 0, buf, sizeof(buf)), ==, 0);
    g_assert_cmpuint(count_words(test_image_path(log), " Write "), ==, 1);
    g_assert_cmpuint(count_words(test_image_path(log), " Flush "), ==, 0);
    g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, BLOCK_REQ_FUA, 512,
                            3 * MIB), ==, 0);
    g_assert_cmpuint(count_words(test_image_path(log), " Write "), ==, 4);
    g_assert_cmpuint(count_words(test_image_path(log), " Flush "), ==, 1);
    g_assert_cmpint(test_op(bs, BLOCK_FLUSH, 0, 0, 0), ==, 0);
    g_assert_cmpuint(count_words(test_image_path(log), " Flush "), ==, 2);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, back, sizeof(back)), ==, 0);
    g_assert_cmpint(back[511], ==, 7);
    g_assert_cmpint(back[512] | back[MIB] | back[3 * MIB + 511], ==, 0);
    g_assert_cmpint(back[3 * MIB + 512], ==, 7);
    test_detach_unref(bs);
}

/* Blocks of 4 KiB and no request of more than 64 KiB. */
static void test_block_sizes(void)
{
    g_autoptr(NbdServer) server = nbd_server_start(
        "nbdkit -f -U @ --filter=blocksize-policy memory 16M "
        "blocksize-minimum=4096 blocksize-preferred=8192 "
        "blocksize-maximum=65536 blocksize-error-policy=error");
    g_autoptr(GError) error = NULL;
    g_autoptr(BlockDriverState) bs = test_open(
        "nbd,open-timeout=20,server.type=unix,server.path=%s",
        nbd_server_socket(server));

    g_assert_cmpuint(bs->limits.request_alignment, ==, 4096);
    g_assert_cmpuint(bs->limits.opt_transfer, ==, 8192);
    g_assert_cmpint(bs->limits.max_transfer, ==, 65536);
    bdrv_set_block_size(bs, 512, &error);
    g_assert_no_error(error);
    bdrv_attach_context(bs, test_ctx());
    test_pattern(buf, sizeof(buf), 4);
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 512, buf, MIB), ==, 0);
    g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, 0, MIB, MIB), ==, 0);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 512, back, MIB - 512), ==, 0);
    g_assert_cmpmem(buf, MIB - 512, back, MIB - 512);
    bdrv_detach_context(bs, test_ctx());
}

/* Errors of the server come through, and the connection lives. */
static void test_server_errors(void)
{
    g_autoptr(NbdServer) server = nbd_server_start(
        "nbdkit -f -U @ --filter=error memory 16M error-pwrite=ENOSPC "
        "error-pwrite-rate=100%% error-zero=EPERM error-zero-rate=100%%");
    BlockDriverState *bs = open_server(server, "");

    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 0, buf, 4096), ==, -ENOSPC);
    g_assert_cmpint(test_op(bs, BLOCK_WRITE_ZEROES, 0, 0, 4096), ==, -EPERM);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, buf, 4096), ==, 0);
    test_detach_unref(bs);
}

/* --- what is where --- */

typedef struct StatusCall {
    BlockDriverState *bs;
    int64_t offset;
    BlockStatus status;
    int ret;
    bool done;
} StatusCall;

static void coroutine_fn status_entry(void *opaque)
{
    StatusCall *call = opaque;

    call->ret = bdrv_co_block_status(call->bs, call->offset, INT64_MAX / 2,
                                     &call->status);
    call->done = true;
}

static int try_status(StatusCall *call)
{
    coroutine_enter(coroutine_new(status_entry, call));
    while (!call->done) {
        aio_poll(test_ctx(), true);
    }
    return call->ret;
}

static BlockStatus block_status(BlockDriverState *bs, int64_t offset)
{
    StatusCall call = { .bs = bs, .offset = offset };

    g_assert_cmpint(try_status(&call), ==, 0);
    g_assert_cmpint(call.status.map, ==, offset);
    g_assert_true(call.status.file == bs);
    return call.status;
}

static void test_status(void)
{
    g_autoptr(TestImage) image = test_image_new(16 * MIB);
    g_autoptr(NbdServer) server = serve_image(image, "");
    BlockDriverState *bs;
    BlockStatus status;

    memset(buf, 1, MIB);
    test_image_write(image, 4 * MIB, buf, MIB);
    bs = open_server(server, ",export=exp");
    status = block_status(bs, 0);
    g_assert_cmpint(status.bytes, ==, 4 * MIB);
    g_assert_cmpuint(status.flags, ==, BLOCK_STATUS_ZERO |
                                       BLOCK_STATUS_OFFSET |
                                       BLOCK_STATUS_ALLOCATED);
    status = block_status(bs, 4 * MIB + 512);
    g_assert_cmpint(status.bytes, ==, MIB - 512);
    g_assert_cmpuint(status.flags, ==, BLOCK_STATUS_DATA |
                                       BLOCK_STATUS_OFFSET |
                                       BLOCK_STATUS_ALLOCATED);
    status = block_status(bs, 5 * MIB);
    g_assert_cmpint(status.bytes, ==, 11 * MIB);
    g_assert_true(status.flags & BLOCK_STATUS_ZERO);
    g_assert_true(status.flags & BLOCK_STATUS_EOF);
    test_detach_unref(bs);
}

static void test_no_status(void)
{
    g_autoptr(NbdServer) server = nbd_server_start(
        "nbdkit -f -U @ --no-sr memory 1M");
    BlockDriverState *bs = open_server(server, "");
    BlockStatus status = block_status(bs, 4096);

    g_assert_cmpint(status.bytes, ==, MIB - 4096);
    g_assert_true(status.flags & BLOCK_STATUS_DATA);
    g_assert_false(status.flags & BLOCK_STATUS_ZERO);
    test_detach_unref(bs);
}

/* --- opening --- */

static void open_fails(const NbdServer *server, const char *options,
                       const char *message)
{
    g_autofree char *text = g_strdup_printf(
        "nbd,node-name=n,open-timeout=20,server.type=unix,server.path=%s%s",
        nbd_server_socket(server), options);
    g_autofree char *expected = g_strdup_printf(
        message, nbd_server_socket(server));

    test_open_fails(text, expected);
}

static void test_read_only(void)
{
    g_autoptr(TestImage) image = test_image_new(MIB);
    g_autoptr(NbdServer) server = serve_image(image, "-r");
    g_autoptr(GError) error = NULL;
    BlockDriverState *bs;

    open_fails(server, ",export=exp",
               "blockdev 'n': Export 'exp' of NBD server '%s' is read-only");
    bs = open_server(server, ",export=exp,auto-read-only=on");
    g_assert_true(bs->read_only);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, back, 4096), ==, 0);
    test_detach_unref(bs);
    bs = open_server(server, ",export=exp,read-only=on");
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, back, 4096), ==, 0);
    bdrv_detach_context(bs, test_ctx());
    g_assert_false(bdrv_reopen(bs, 0, &error));
    g_assert_nonnull(error);
    g_assert_cmpstr(error->message, ==,
                    "Export 'exp' of the NBD server is read-only");
    bdrv_unref(bs);
}

static void test_wrong_export(void)
{
    g_autoptr(TestImage) image = test_image_new(MIB);
    g_autoptr(NbdServer) server = serve_image(image, "");

    open_fails(server, ",export=foo",
               "blockdev 'n': Requested export not available: NBD server '%s' "
               "has no 'foo'");
    open_fails(server, "",
               "blockdev 'n': Requested export not available: NBD server '%s' "
               "has no ''");
}

static void test_old_style(void)
{
    g_autoptr(NbdServer) server = nbd_server_start(
        "nbdkit -f -o -U @ memory 1M");
    BlockDriverState *bs = open_server(server, "");

    g_assert_cmpint(bs->total_bytes, ==, MIB);
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, 0, buf, 4096), ==, 0);
    test_detach_unref(bs);
    open_fails(server, ",export=exp",
               "blockdev 'n': NBD server '%s' does not have named exports");
}

/* A port that a server of ours has, as the kernel chose it. */
static void test_tcp(void)
{
    g_autoptr(NbdServer) server = NULL;
    g_autofree char *name = NULL;
    BlockDriverState *bs = NULL;

    for (unsigned port = 20000 + getpid() % 20000; !bs; port++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *text = g_strdup_printf(
            "nbd,open-timeout=5,server.type=inet,server.host=127.0.0.1,"
            "server.port=%u,export=a%%b", port);

        g_clear_pointer(&server, nbd_server_free);
        server = nbd_server_start("nbdkit -f -i 127.0.0.1 -p %u memory 1M",
                                  port);
        bs = bdrv_open(options_parse(text, "--blockdev", "driver", NULL),
                       &error);
        name = g_strdup_printf("nbd://127.0.0.1:%u/a%%b", port);
        g_assert_cmpuint(port, <, 50000);
    }
    g_assert_cmpstr(bs->filename, ==, name);
    bdrv_attach_context(bs, test_ctx());
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, buf, 4096), ==, 0);
    test_detach_unref(bs);
}

static void test_names(void)
{
    g_autoptr(NbdServer) server = nbd_server_start("nbdkit -f -U @ memory 1M");
    g_autofree char *text = g_strdup_printf("path=%s,open-timeout=20",
                                            nbd_server_socket(server));
    g_autoptr(BlockDriverState) plain = test_open("nbd,%s", text);
    g_autoptr(BlockDriverState) named = test_open("nbd,%s,export=x", text);
    g_autofree char *plain_name = g_strdup_printf(
        "nbd+unix://?socket=%s", nbd_server_socket(server));
    g_autofree char *named_name = g_strdup_printf(
        "nbd+unix:///x?socket=%s", nbd_server_socket(server));

    g_assert_cmpstr(plain->filename, ==, plain_name);
    g_assert_cmpstr(named->filename, ==, named_name);
}

static void test_bad_options(void)
{
    static const struct {
        const char *options, *message;
    } cases[] = {
        { "", "NBD server address missing" },
        { ",host=x,path=y",
          "path and host may not be used at the same time" },
        { ",path=y,port=3", "port may not be used without host" },
        { ",server.type=foo", "Parameter 'type' does not accept value 'foo'" },
        { ",server.path=foo", "Parameter 'type' is missing" },
        { ",server.type=inet,server.host=x", "Parameter 'port' is missing" },
        { ",server.type=unix", "Parameter 'path' is missing" },
        { ",path=/nonexistent/s",
          "Failed to connect to '/nonexistent/s': No such file or directory" },
        { ",host=127.0.0.1,port=1",
          "Failed to connect to '127.0.0.1:1': Connection refused" },
        { ",host=127.0.0.1,port=x",
          "address resolution failed for 127.0.0.1:x: Servname not supported "
          "for ai_socktype" },
        { ",path=x,reconnect-delay=x",
          "option 'reconnect-delay' needs a number from 0 to 4294967295, not "
          "'x'" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = g_strdup_printf("nbd,node-name=n%s",
                                                cases[i].options);
        g_autofree char *message = g_strdup_printf("blockdev 'n': %s",
                                                   cases[i].message);

        test_open_fails(text, message);
    }
}

/* --- a connection that goes away --- */

static char *line;

static void keep_line(LogLevel level, const char *text, void *opaque)
{
    g_free(line);
    line = g_strdup(text);
}

static void test_lost(void)
{
    g_autoptr(NbdServer) server = nbd_server_start(
        "nbdkit -f -U @ --filter=delay memory 16M rdelay=60");
    BlockDriverState *bs = open_server(server, ",node-name=n,export=e");
    g_autofree char *expected = g_strdup_printf(
        "node 'n': connection to NBD server '%s', export 'e' is lost",
        nbd_server_socket(server));
    TestRequest tests[8];

    memset(tests, 0, sizeof(tests));
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        tests[i].req.op = BLOCK_READ;
        tests[i].iov = (struct iovec){ buf + i * 4096, 4096 };
        tests[i].req.iov = &tests[i].iov;
        tests[i].req.niov = 1;
        tests[i].req.offset = i * 4096;
        tests[i].req.bytes = 4096;
        test_submit(bs, &tests[i]);
    }
    g_assert_cmpint(test_rw(bs, BLOCK_WRITE, MIB, buf, 4096), ==, 0);
    log_set_sink(keep_line, NULL);
    nbd_server_kill(server);
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_assert_cmpint(test_wait(&tests[i]), ==, -EIO);
    }
    g_assert_cmpstr(line, ==, expected);
    g_clear_pointer(&line, g_free);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, buf, 4096), ==, -EIO);
    g_assert_cmpint(test_op(bs, BLOCK_FLUSH, 0, 0, 0), ==, -EIO);
    g_assert_null(line); /* it was said once */
    log_set_sink(NULL, NULL);
    test_detach_unref(bs);
}

/* Between requests, while nobody is attached, and then with somebody. */
static void test_lost_while_idle(void)
{
    g_autoptr(NbdServer) server = nbd_server_start("nbdkit -f -U @ memory 1M");
    BlockDriverState *bs = open_server(server, ",node-name=n");

    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, buf, 4096), ==, 0);
    bdrv_detach_context(bs, test_ctx());
    nbd_server_kill(server);
    log_set_sink(keep_line, NULL);
    bdrv_attach_context(bs, test_ctx());
    while (!line) {
        aio_poll(test_ctx(), true);
    }
    g_clear_pointer(&line, g_free);
    log_set_sink(NULL, NULL);
    g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, buf, 4096), ==, -EIO);
    test_detach_unref(bs);
}

/* --- a connection that cannot be watched --- */

static unsigned watch_fails; /* the how manieth next call; 0: none */

/* Of epoll_ctl(): the linker puts one before the other. */
int __real_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);

int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event)
{
    if (op != EPOLL_CTL_DEL && watch_fails > 0 && --watch_fails == 0) {
        errno = ENOMEM;
        return -1;
    }
    return __real_epoll_ctl(epoll_fd, op, fd, event);
}

static void expect_unwatched(const NbdServer *server)
{
    g_autofree char *expected = g_strdup_printf(
        "node 'n': connection to NBD server '%s', export '' is lost: "
        "epoll_ctl: Cannot allocate memory", nbd_server_socket(server));

    g_assert_cmpuint(watch_fails, ==, 0);
    g_assert_cmpstr(line, ==, expected);
    g_clear_pointer(&line, g_free);
    log_set_sink(NULL, NULL);
}

/* First the node's descriptor in the loop, then the socket in that. */
static void test_not_watched(void)
{
    for (unsigned n = 1; n <= 2; n++) {
        g_autoptr(NbdServer) server =
            nbd_server_start("nbdkit -f -U @ memory 1M");
        BlockDriverState *bs;

        log_set_sink(keep_line, NULL);
        watch_fails = n;
        bs = open_server(server, ",node-name=n");
        g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, buf, 4096), ==, -EIO);
        g_assert_cmpint(test_op(bs, BLOCK_FLUSH, 0, 0, 0), ==, -EIO);
        expect_unwatched(server);
        bdrv_detach_context(bs, test_ctx()); /* nor by the next one */
        bdrv_attach_context(bs, test_ctx());
        g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, buf, 4096), ==, -EIO);
        test_detach_unref(bs);
    }
}

static bool cut_off; /* by the next command, which says that it failed */

static void before_sending(struct nbd_handle *nbd)
{
    if (cut_off) {
        shutdown(nbd_aio_get_fd(nbd), SHUT_RDWR);
    }
}

static int64_t after_sending(int64_t cookie)
{
    return cut_off ? -1 : cookie;
}

int64_t __real_nbd_aio_pread(struct nbd_handle *nbd, void *data, size_t bytes,
                             uint64_t offset, nbd_completion_callback cb,
                             uint32_t flags);
int64_t __wrap_nbd_aio_pread(struct nbd_handle *nbd, void *data, size_t bytes,
                             uint64_t offset, nbd_completion_callback cb,
                             uint32_t flags);

int64_t __wrap_nbd_aio_pread(struct nbd_handle *nbd, void *data, size_t bytes,
                             uint64_t offset, nbd_completion_callback cb,
                             uint32_t flags)
{
    before_sending(nbd);
    return after_sending(__real_nbd_aio_pread(nbd, data, bytes, offset, cb,
                                              flags));
}

int64_t __real_nbd_aio_block_status(struct nbd_handle *nbd, uint64_t bytes,
                                    uint64_t offset, nbd_extent_callback ext,
                                    nbd_completion_callback cb,
                                    uint32_t flags);
int64_t __wrap_nbd_aio_block_status(struct nbd_handle *nbd, uint64_t bytes,
                                    uint64_t offset, nbd_extent_callback ext,
                                    nbd_completion_callback cb,
                                    uint32_t flags);

int64_t __wrap_nbd_aio_block_status(struct nbd_handle *nbd, uint64_t bytes,
                                    uint64_t offset, nbd_extent_callback ext,
                                    nbd_completion_callback cb,
                                    uint32_t flags)
{
    before_sending(nbd);
    return after_sending(__real_nbd_aio_block_status(nbd, bytes, offset, ext,
                                                     cb, flags));
}

/* libnbd has called back, and what its call returns says nothing any more. */
static void test_lost_while_sending(void)
{
    for (unsigned status = 0; status < 2; status++) {
        g_autoptr(NbdServer) server =
            nbd_server_start("nbdkit -f -U @ memory 1M");
        BlockDriverState *bs = open_server(server, ",node-name=n");

        log_set_sink(keep_line, NULL);
        cut_off = true;
        if (status) {
            StatusCall call = { .bs = bs };

            g_assert_cmpint(try_status(&call), ==, -EIO);
        } else {
            g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, buf, 4096), ==, -EIO);
        }
        cut_off = false;
        g_assert_cmpint(test_rw(bs, BLOCK_READ, 0, buf, 4096), ==, -EIO);
        g_assert_nonnull(line);
        g_clear_pointer(&line, g_free);
        log_set_sink(NULL, NULL);
        test_detach_unref(bs);
    }
}

/* A server that stands still, so that the socket is full: it cannot be asked
 * for room, or when there is some, for no more than answers. All that is in
 * flight comes back. */
static void test_watch_is_lost(void)
{
    for (unsigned n = 1; n <= 2; n++) {
        g_autoptr(NbdServer) server =
            nbd_server_start("nbdkit -f -U @ memory 64M");
        BlockDriverState *bs = open_server(server, ",node-name=n");
        TestRequest tests[16];
        unsigned failed = 0;

        memset(tests, 0, sizeof(tests));
        log_set_sink(keep_line, NULL);
        watch_fails = n;
        nbd_server_hold(server);
        for (unsigned i = 0; i < 16; i++) {
            tests[i].req.op = BLOCK_WRITE;
            tests[i].iov = (struct iovec){ buf, MIB };
            tests[i].req.iov = &tests[i].iov;
            tests[i].req.niov = 1;
            tests[i].req.offset = i * MIB;
            tests[i].req.bytes = MIB;
            test_submit(bs, &tests[i]);
        }
        nbd_server_go_on(server);
        for (unsigned i = 0; i < 16; i++) {
            int ret = test_wait(&tests[i]);

            g_assert_true(ret == 0 || ret == -EIO);
            failed += ret < 0;
        }
        /* the last answer may just have come */
        g_assert_true(failed > 0 || n > 1);
        expect_unwatched(server);
        test_detach_unref(bs);
    }
}

static void test_reconnect_delay(void)
{
    g_autoptr(NbdServer) server = nbd_server_start("nbdkit -f -U @ memory 1M");
    BlockDriverState *bs;

    log_set_sink(keep_line, NULL);
    bs = open_server(server, ",node-name=n,reconnect-delay=10");
    log_set_sink(NULL, NULL);
    g_assert_cmpstr(line, ==, "node 'n': reconnect-delay has no effect: "
                    "requests fail once the NBD connection is lost");
    g_clear_pointer(&line, g_free);
    test_detach_unref(bs);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!test_program_present("qemu-nbd") || !test_program_present("nbdkit")) {
        printf("1..0 # SKIP no qemu-nbd and nbdkit in the PATH\n");
        return 0;
    }
    g_test_add_func("/nbd/requests", test_requests);
    g_test_add_func("/nbd/many", test_many);
    g_test_add_func("/nbd/both-ways", test_both_ways);
    g_test_add_func("/nbd/poor-server", test_poor_server);
    g_test_add_func("/nbd/block-sizes", test_block_sizes);
    g_test_add_func("/nbd/server-errors", test_server_errors);
    g_test_add_func("/nbd/status", test_status);
    g_test_add_func("/nbd/no-status", test_no_status);
    g_test_add_func("/nbd/read-only", test_read_only);
    g_test_add_func("/nbd/wrong-export", test_wrong_export);
    g_test_add_func("/nbd/old-style", test_old_style);
    g_test_add_func("/nbd/tcp", test_tcp);
    g_test_add_func("/nbd/names", test_names);
    g_test_add_func("/nbd/bad-options", test_bad_options);
    g_test_add_func("/nbd/lost", test_lost);
    g_test_add_func("/nbd/lost-while-idle", test_lost_while_idle);
    g_test_add_func("/nbd/not-watched", test_not_watched);
    g_test_add_func("/nbd/lost-while-sending", test_lost_while_sending);
    g_test_add_func("/nbd/watch-is-lost", test_watch_is_lost);
    g_test_add_func("/nbd/reconnect-delay", test_reconnect_delay);
    ret = g_test_run();
    test_block_end();
    return ret;
}
