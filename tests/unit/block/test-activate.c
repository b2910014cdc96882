/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An image that goes from node to node: who has its locks, what the next one
 * knows of it, which nodes come along, and that a refusal changes nothing.
 */
#include "tests/lib/block.h"

#include <errno.h>
#include <string.h>

#include "block/block-backend.h"
#include "block/control.h"
#include "block/image.h"
#include "tests/lib/image.h"

#define MIB (1024 * 1024)

static BlockDriverState *open_raw(TestImage *image, const char *options)
{
    return test_open("raw,file.driver=file,file.filename=%s%s",
                     test_image_path(image), options);
}

/* Whether Debian's program, another process, may write. */
static bool others_may_write(TestImage *image)
{
    const char *const argv[] = {
        "qemu-io", "-f", "raw", "-c", "write 0 512", test_image_path(image),
        NULL,
    };
    g_autofree char *output = NULL;

    return test_run(argv, &output);
}

static void activate(BlockDriverState *bs)
{
    g_autoptr(GError) error = NULL;

    bdrv_activate(bs, &error);
    g_assert_no_error(error);
    g_assert_false(bdrv_is_inactive(bs));
}

static void inactivate(BlockDriverState *bs)
{
    g_autoptr(GError) error = NULL;

    bdrv_inactivate(bs, &error);
    g_assert_no_error(error);
    g_assert_true(bdrv_is_inactive(bs));
}

static void activate_fails(BlockDriverState *bs, const char *part)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(bdrv_activate(bs, &error));
    g_assert_nonnull(strstr(error->message, part));
    g_assert_true(bdrv_is_inactive(bs));
}

static void inactivate_fails(BlockDriverState *bs, const char *message)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(bdrv_inactivate(bs, &error));
    g_assert_cmpstr(error->message, ==, message);
    g_assert_false(bdrv_is_inactive(bs));
}

/* --- a format that may refuse --- */

static bool refuse_activate, refuse_inactivate;
static bool had_file; /* the last time that either was asked */

static bool told_open(BlockDriverState *bs, Options *opts, GError **error)
{
    bs->total_bytes = bs->file->total_bytes;
    return true;
}

static bool tell(BlockDriverState *bs, bool refuse, GError **error)
{
    had_file = !bs->file->inactive;
    if (refuse) {
        g_set_error_literal(error, G_FILE_ERROR, G_FILE_ERROR_IO, "no");
    }
    return !refuse;
}

static bool told_activate(BlockDriverState *bs, GError **error)
{
    return tell(bs, refuse_activate, error);
}

static bool told_inactivate(BlockDriverState *bs, GError **error)
{
    return tell(bs, refuse_inactivate, error);
}

static void told_submit(BlockDriverState *bs, BlockRequest *req)
{
    bdrv_submit(bs->file, req);
}

static const BlockDriver told_driver = {
    .name = "test-told",
    .open = told_open,
    .activate = told_activate,
    .inactivate = told_inactivate,
    .submit = told_submit,
};

static BlockDriverState *open_told(TestImage *image, const char *options)
{
    return test_open("test-told,file.driver=file,file.filename=%s%s",
                     test_image_path(image), options);
}

/* --- locks --- */

static void test_locks(void)
{
    g_autoptr(TestImage) image = test_image_new(MIB);
    g_autoptr(BlockDriverState) a = open_raw(image, "");
    g_autoptr(BlockDriverState) b = open_raw(image, ",active=off");

    g_assert_true(bdrv_is_inactive(b) && bdrv_is_inactive(b->file));
    g_assert_false(b->read_only);
    activate_fails(b, "Failed to get \"write\" lock");
    activate(a); /* is it already */
    for (unsigned i = 0; i < 3; i++) {
        inactivate(a);
        g_assert_true(bdrv_is_inactive(a->file));
        inactivate(a);
        activate(b);
        activate_fails(a, "lock");
        inactivate(b);
        activate(a);
        activate_fails(b, "lock");
    }
}

/* An active node keeps other programs away, and none keeps nobody away. */
static void test_programs(void)
{
    g_autoptr(TestImage) image = test_image_new(MIB);
    g_autoptr(BlockDriverState) bs = NULL;

    if (!test_program_present("qemu-io")) {
        g_test_skip("there is no qemu-io");
        return;
    }
    bs = open_raw(image, ",active=off");
    g_assert_true(others_may_write(image));
    activate(bs);
    g_assert_false(others_may_write(image));
    activate_fails(open_raw(image, ",active=off,node-name=other"), "lock");
    bdrv_unref(bdrv_find_node("other"));
    g_assert_false(others_may_write(image));
    inactivate(bs);
    g_assert_true(others_may_write(image));
}

static void test_no_locks(void)
{
    g_autoptr(TestImage) image = test_image_new(MIB);
    g_autoptr(BlockDriverState) a = open_raw(image, ",file.locking=off");
    g_autoptr(BlockDriverState) b = open_raw(image, ",active=off,"
                                                    "file.locking=off");

    activate(b); /* the user has promised */
    inactivate(a);
    inactivate(b);
}

static void test_read_only(void)
{
    g_autoptr(TestImage) image = test_image_new(MIB);
    g_autoptr(BlockDriverState) a = open_raw(image, ",read-only=on");
    g_autoptr(BlockDriverState) b = open_raw(image, ",read-only=on,"
                                                    "active=off");

    activate(b); /* readers do not mind each other */
    inactivate(a);
    inactivate(b);
}

/* --- what the next one knows --- */

static void test_length(void)
{
    g_autoptr(TestImage) image = test_image_new(MIB);
    g_autoptr(BlockDriverState) bs = test_open(
        "copy-on-read,active=off,file.driver=raw,file.file.driver=file,"
        "file.file.filename=%s", test_image_path(image));
    g_autoptr(BlockDriverState) window = open_raw(
        image, ",active=off,read-only=on,offset=512k,size=512k");

    g_assert_cmpint(bs->total_bytes, ==, MIB);
    test_image_truncate(image, 3 * MIB);
    activate(bs);
    g_assert_cmpint(bs->total_bytes, ==, 3 * MIB);
    inactivate(bs);
    activate(window);
    g_assert_cmpint(window->total_bytes, ==, MIB / 2);
    inactivate(window);
    test_image_truncate(image, MIB / 4);
    activate_fails(window, "has become too short");
    activate(bs);
    g_assert_cmpint(bs->total_bytes, ==, MIB / 4);
}

/* --- which nodes --- */

static void test_order(void)
{
    g_autoptr(TestImage) image = test_image_new(MIB);
    g_autoptr(BlockDriverState) a = open_told(image, ",active=off");

    activate(a);
    g_assert_true(had_file);
    had_file = false;
    inactivate(a);
    g_assert_true(had_file);
    g_assert_true(bdrv_is_inactive(a->file));
}

static void test_refused(void)
{
    g_autoptr(TestImage) image = test_image_new(MIB);
    g_autoptr(BlockDriverState) a = open_told(image, ",active=off");
    g_autoptr(BlockDriverState) b = open_told(image, ",active=off");

    refuse_activate = true;
    activate_fails(a, "no");
    refuse_activate = false;
    g_assert_true(bdrv_is_inactive(a->file));
    activate(b); /* nothing of the attempt is left */
    refuse_inactivate = true;
    inactivate_fails(b, "Failed to inactivate node: no");
    refuse_inactivate = false;
    activate_fails(a, "lock");
    inactivate(b);
    activate(a);
}

/* The filter has changed when its file refuses. */
static void test_refused_below(void)
{
    g_autoptr(TestImage) image = test_image_new(MIB);
    g_autoptr(BlockDriverState) bs = test_open(
        "copy-on-read,active=off,file.driver=test-told,"
        "file.file.driver=file,file.file.filename=%s",
        test_image_path(image));

    activate(bs);
    refuse_inactivate = true;
    inactivate_fails(bs, "Failed to inactivate node: no");
    refuse_inactivate = false;
    g_assert_false(bs->file->inactive || bs->file->file->inactive);
    inactivate(bs);
    refuse_activate = true;
    activate_fails(bs, "no");
    refuse_activate = false;
    g_assert_true(bs->file->inactive && bs->file->file->inactive);
}

static void test_family(void)
{
    g_autoptr(BlockDriverState) file = test_open("null-co,node-name=f");
    g_autoptr(BlockDriverState) a = test_open("raw,node-name=a,file=f");
    g_autoptr(BlockDriverState) b = test_open("raw,node-name=b,file=f");

    inactivate_fails(file, "Node has active parent node");
    inactivate(a);
    g_assert_false(bdrv_is_inactive(file)); /* b uses it */
    inactivate(b);
    g_assert_true(bdrv_is_inactive(file));
    test_open_fails("raw,node-name=c,file=f",
                    "Inactive 'f' can't be a file child of active 'c'");
    test_open_fails("raw,node-name=c,file.driver=null-co,file.node-name=d,"
                    "file.active=off",
                    "Inactive 'd' can't be a file child of active 'c'");
    activate(file);
    g_assert_true(bdrv_is_inactive(a) && bdrv_is_inactive(b));
    inactivate(file);
    activate(a);
    g_assert_false(bdrv_is_inactive(file));
    g_assert_true(bdrv_is_inactive(b));
    g_assert_true(bdrv_is_made_of(a, a) && bdrv_is_made_of(a, file));
    g_assert_false(bdrv_is_made_of(file, a) || bdrv_is_made_of(a, b));
}

/* --- users --- */

static BlockBackend *use(BlockDriverState *bs, bool allow_inactive,
                         GError **error)
{
    BlockBackendOptions options = {
        .writable = true,
        .block_size = 512,
        .allow_inactive = allow_inactive,
    };

    return blk_new(bs, &options, error);
}

static void test_users(void)
{
    g_autoptr(BlockDriverState) file = test_open("null-co,node-name=f");
    g_autoptr(BlockDriverState) bs = test_open("raw,file=f");
    g_autoptr(GError) error = NULL;
    BlockBackend *blk = use(bs, false, &error);
    BlockBackend *of_file;

    inactivate_fails(bs, "Failed to inactivate node: Operation not permitted");
    blk_free(blk);
    of_file = use(file, false, &error);
    inactivate(bs);
    g_assert_false(bdrv_is_inactive(file));
    blk_free(of_file);
    g_assert_null(use(bs, false, &error));
    g_assert_nonnull(strstr(error->message, "is inactive"));
    blk = use(bs, true, NULL);
    activate(bs);
    inactivate(bs);
    blk_free(blk);
}

typedef struct Probe {
    BlockRequest req;
    struct iovec iov;
    bool done;
    int ret;
} Probe;

static void probe_cb(BlockRequest *req, void *opaque, int ret)
{
    Probe *probe = opaque;

    probe->done = true;
    probe->ret = ret;
}

static int send_read(BlkChannel *channel)
{
    char buf[512];
    Probe probe = { .iov = { buf, sizeof(buf) } };

    block_request_init(&probe.req);
    probe.req.op = BLOCK_READ;
    probe.req.bytes = sizeof(buf);
    probe.req.iov = &probe.iov;
    probe.req.niov = 1;
    block_request_push(&probe.req, probe_cb, &probe);
    blk_submit(channel, &probe.req);
    while (!probe.done) {
        aio_poll(test_ctx(), true);
    }
    return probe.ret;
}

/* The device sends nothing then. If it did, the image would not notice. */
static void test_requests(void)
{
    g_autoptr(TestImage) image = test_image_new(MIB);
    g_autoptr(BlockDriverState) bs = open_raw(image, ",active=off");
    BlockBackend *blk = use(bs, true, NULL);
    BlkChannel *channel = blk_channel_new(blk, test_ctx());

    g_assert_cmpint(send_read(channel), ==, -EPERM);
    activate(bs);
    g_assert_cmpint(send_read(channel), ==, 0);
    inactivate(bs);
    g_assert_cmpint(send_read(channel), ==, -EPERM);
    blk_channel_free(channel);
    blk_free(blk);
}

/* --- tools, and from process to process --- */

static void test_tools(void)
{
    g_autoptr(TestImage) image = test_image_new(MIB);
    g_autoptr(GError) error = NULL;
    Options *extra = options_parse("active=off", "", NULL, NULL);

    g_assert_null(bdrv_open_image(test_image_path(image), "raw", extra, 0,
                                  &error));
    g_assert_nonnull(strstr(error->message, "active=off"));
}

/* The node that follows is what the one before was, not what its options say,
 * and there is no moment at which a third may have the image. */
static void pass_over(bool was_off)
{
    g_autoptr(TestImage) image = test_image_new(MIB);
    const char *options = was_off ? ",node-name=n,active=off"
                                  : ",node-name=n";
    BlockDriverState *bs = open_raw(image, options);
    g_autoptr(BlockDriverState) other = open_raw(image, ",active=off");
    g_autoptr(Handover) handover = handover_new();
    g_autoptr(GError) error = NULL;

    if (was_off) {
        activate(bs);
    } else {
        inactivate(bs);
    }
    bdrv_hand_over_all(handover, &error);
    g_assert_no_error(error);
    bdrv_unref(bs);
    if (was_off) {
        activate_fails(other, "lock");
    }
    bdrv_take_over(handover, 0);
    bs = open_raw(image, options);
    bdrv_take_over_end();
    g_assert_cmpint(bdrv_is_inactive(bs), ==, !was_off);
    g_assert_cmpint(bdrv_is_inactive(bs->file), ==, !was_off);
    if (was_off) {
        activate_fails(other, "lock");
        inactivate(bs);
    }
    activate(other);
    bdrv_unref(bs);
}

static void test_handover(void)
{
    pass_over(true);
    pass_over(false);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    bdrv_register(&told_driver);
    g_test_add_func("/activate/locks", test_locks);
    g_test_add_func("/activate/programs", test_programs);
    g_test_add_func("/activate/no-locks", test_no_locks);
    g_test_add_func("/activate/read-only", test_read_only);
    g_test_add_func("/activate/length", test_length);
    g_test_add_func("/activate/order", test_order);
    g_test_add_func("/activate/refused", test_refused);
    g_test_add_func("/activate/refused-below", test_refused_below);
    g_test_add_func("/activate/family", test_family);
    g_test_add_func("/activate/users", test_users);
    g_test_add_func("/activate/requests", test_requests);
    g_test_add_func("/activate/tools", test_tools);
    g_test_add_func("/activate/handover", test_handover);
    ret = g_test_run();
    control_stop();
    test_block_end();
    return ret;
}
