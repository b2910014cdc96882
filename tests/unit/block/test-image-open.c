/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opening images by name: every form of a name, formats given and guessed,
 * the words of errors, which are qemu-img's.
 */
#include "tests/lib/block.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block-co.h"
#include "block/control.h"
#include "block/image.h"
#include "tests/lib/faults.h"
#include "tests/lib/image.h"

#define RO BDRV_OPEN_READ_ONLY

static BlockDriverState *open_ok(const char *name, const char *format,
                                 const char *extra, unsigned flags)
{
    g_autoptr(GError) error = NULL;
    Options *opts = extra ? options_parse(extra, "x", NULL, NULL) : NULL;
    BlockDriverState *bs = bdrv_open_image(name, format, opts, flags, &error);

    g_assert_no_error(error);
    g_assert_nonnull(bs);
    return bs;
}

static void open_fails(const char *name, const char *format,
                       const char *extra, const char *message)
{
    g_autoptr(GError) error = NULL;
    Options *opts = extra ? options_parse(extra, "x", NULL, NULL) : NULL;

    g_assert_null(bdrv_open_image(name, format, opts, RO, &error));
    g_assert_nonnull(error);
    g_assert_cmpstr(error->message, ==, message);
}

/* Each case is run in the image's directory. */
static TestImage *image_here(int64_t bytes)
{
    TestImage *image = test_image_new(bytes);

    g_assert_cmpint(chdir(test_image_dir(image)), ==, 0);
    return image;
}

static const char *base_of(const TestImage *image)
{
    return strrchr(test_image_path(image), '/') + 1;
}

static void test_names(void)
{
    static const struct {
        const char *name, *format, *extra;
        const char *driver, *filename;
    } cases[] = {
        { "t", NULL, NULL, "raw", "t" },
        { "t", "raw", NULL, "raw", "t" },
        { "./t", "raw", NULL, "raw", "./t" },
        { "t", "file", NULL, "file", "t" },
        { "t", NULL, "driver=raw,file.driver=raw", "raw", "json:{\"driver\": "
          "\"raw\", \"file\": {\"driver\": \"raw\", \"file\": {\"driver\": "
          "\"file\", \"filename\": \"t\"}}}" },
        { "t", NULL, "driver=raw,file.driver=blkdebug", "raw",
          "blkdebug::t" },
        { "t", NULL, "driver=blkdebug", "blkdebug", "blkdebug::t" },
        { "t", "raw", "file.locking=off", "raw", "t" },
        { "file:t", NULL, NULL, "raw", "t" },
        { "file:t", "file", NULL, "file", "t" },
        { NULL, NULL, "file.filename=t", "raw", "t" },
        { NULL, NULL, "driver=raw,file.filename=t", "raw", "t" },
        { NULL, NULL, "driver=file,filename=t,locking=off", "file", "t" },
        { NULL, NULL, "driver=raw,size=512,file.filename=t", "raw",
          "json:{\"driver\": \"raw\", \"size\": \"512\", \"file\": "
          "{\"driver\": \"file\", \"filename\": \"t\"}}" },
        { "json:{\"driver\":\"raw\",\"file\":{\"filename\":\"t\"}}", NULL,
          NULL, "raw", "t" },
        { "json:{\"file.filename\":\"t\"}", NULL, NULL, "raw", "t" },
        { "json:{\"driver\":\"foo\",\"file\":{\"filename\":\"x\"}}", "raw",
          "file.filename=t", "raw", "t" },
        { "json:{\"driver\":\"raw\",\"size\":1024,\"offset\":512,\"file\":"
          "{\"driver\":\"file\",\"filename\":\"t\"}}", NULL, NULL, "raw",
          "json:{\"offset\": 512, \"driver\": \"raw\", \"size\": 1024, "
          "\"file\": {\"driver\": \"file\", \"filename\": \"t\"}}" },
        { NULL, NULL, "driver=raw,file.driver=raw,file.file.filename=t",
          "raw", "json:{\"driver\": \"raw\", \"file\": {\"driver\": \"raw\", "
          "\"file\": {\"driver\": \"file\", \"filename\": \"t\"}}}" },
        { "null-co://", NULL, NULL, "raw", "null-co://" },
        { "null-aio://", NULL, NULL, "raw", "null-aio://" },
        { NULL, NULL, "driver=null-co", "null-co", "null-co://" },
        { NULL, NULL, "driver=null-co,latency-ns=1,size=1M,read-zeroes=on",
          "null-co", "json:{\"read-zeroes\": \"on\", \"driver\": \"null-co\", "
          "\"size\": \"1M\"}" },
        { "/dev/null", NULL, NULL, "raw", "/dev/null" },
        { "host_device:/dev/null", "host_device", NULL, "host_device",
          "/dev/null" },
    };
    g_autoptr(TestImage) image = image_here(1 << 20);

    g_assert_cmpint(rename(base_of(image), "t"), ==, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(BlockDriverState) bs = open_ok(cases[i].name,
                                                 cases[i].format,
                                                 cases[i].extra, RO);

        g_test_message("%u: %s", i, cases[i].name);
        g_assert_cmpstr(bs->drv->name, ==, cases[i].driver);
        g_assert_cmpstr(bs->filename, ==, cases[i].filename);
        g_assert_true(bs->read_only);
    }
    g_assert_cmpint(rename("t", base_of(image)), ==, 0);
}

/* What a name says of the network is not looked at before it is opened. */
static void test_errors(void)
{
    static const struct {
        const char *name, *format, *extra, *message;
    } cases[] = {
        { "nope", NULL, NULL, "Could not open 'nope': No such file or "
          "directory" },
        { "file:nope", NULL, NULL, "Could not open 'nope': No such file or "
          "directory" },
        { "file:foo:bar", NULL, NULL, "Could not open './foo:bar': No such "
          "file or directory" },
        { "a/foo:bar", NULL, NULL, "Could not open 'a/foo:bar': No such file "
          "or directory" },
        { "", NULL, NULL, "The 'file' block driver requires a file name" },
        { "foo:bar", NULL, NULL, "Unknown protocol 'foo'" },
        { "raw:t", NULL, NULL, "Unknown protocol 'raw'" },
        { "t", "foo", NULL, "Unknown driver 'foo'" },
        { "json:{\"driver\":\"foo\"}", NULL, NULL, "Unknown driver 'foo'" },
        { "json:{}", NULL, NULL, "Must specify either driver or file" },
        { "json:{\"filename\":\"t\"}", NULL, NULL,
          "Must specify either driver or file" },
        { "json:[]", NULL, NULL, "Invalid JSON object given" },
        { "json:{\"driver\":\"raw\"}", NULL, NULL,
          "A block device must be specified for \"file\"" },
        { "json:{\"driver\":\"raw\",\"file\":\"t\"}", NULL, NULL,
          "Cannot find device='t' nor node-name='t'" },
        { "json:{\"file\":\"t\"}", NULL, NULL,
          "Cannot find device='t' nor node-name='t'" },
        { "json:{\"driver\":\"file\"}", NULL, NULL,
          "The 'file' block driver requires a file name" },
        { NULL, NULL, "driver=raw,node-name=n,filename=t",
          "A block device must be specified for \"file\"" },
        { NULL, NULL, "driver=raw,foo=1,file.filename=t",
          "Block format 'raw' does not support the option 'foo'" },
        { NULL, NULL, "driver=raw,file.filename=t,file.foo=1",
          "Block protocol 'file' doesn't support the option 'foo'" },
        { NULL, NULL, "driver=raw,file.filename=null-co://",
          "Could not open 'null-co://': No such file or directory" },
        { "null-co://a", NULL, NULL, "The only allowed filename for this "
          "driver is 'null-co://'" },
        { "/", NULL, NULL, "'file' driver requires '/' to be a regular file" },
        { "host_device:t", NULL, NULL, "'host_device' driver requires 't' to "
          "be either a character or block device" },
        { "blkdebug:x", NULL, NULL, "blkdebug requires both config file and "
          "image path" },
        { "blkverify:x", NULL, NULL, "blkverify requires raw copy and "
          "original image path" },
        { "nbd:", NULL, NULL, "NBD server address missing" },
        { "nbd:x", NULL, NULL, "error parsing address 'x'" },
        { "nbd:h:1:exportname=", NULL, NULL, "NBD server address missing" },
        { "nbd:///x", NULL, NULL, "No valid URL specified" },
        { "nbd://h:x/", NULL, NULL, "No valid URL specified" },
        { "nbd://h?socket=s", NULL, NULL, "No valid URL specified" },
        { "nbd+unix:///x", NULL, NULL, "No valid URL specified" },
        { "nbd+unix:///x?foo=s", NULL, NULL, "No valid URL specified" },
        { "nbd+unix://h/x?socket=s", NULL, NULL, "No valid URL specified" },
        { "t", NULL, "driver=raw,offset=2M",
          "Offset (2097152) cannot be greater than size of the containing "
          "file (1048576)" },
    };
    g_autoptr(TestImage) image = image_here(1 << 20);

    g_assert_cmpint(rename(base_of(image), "t"), ==, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%u: %s", i, cases[i].name);
        open_fails(cases[i].name, cases[i].format, cases[i].extra,
                   cases[i].message);
    }
    g_assert_cmpint(rename("t", base_of(image)), ==, 0);
}

/* The flags are defaults of options; what is said outright counts. */
static void test_flags(void)
{
    g_autoptr(TestImage) image = image_here(8192);
    const char *name = base_of(image);
    unsigned all = BDRV_OPEN_DIRECT | BDRV_OPEN_NO_FLUSH | BDRV_OPEN_DISCARD;
    BlockDriverState *bs;

    bs = open_ok(name, "raw", NULL, 0);
    g_assert_false(bs->read_only || bs->file->read_only || bs->cache_direct ||
                   bs->cache_no_flush || bs->discard_unmap || bs->probed);
    bdrv_unref(bs);
    bs = open_ok(name, "raw", NULL, all);
    g_assert_true(bs->file->cache_direct && bs->file->cache_no_flush &&
                  bs->discard_unmap);
    bdrv_unref(bs);
    bs = open_ok(name, NULL, NULL, all | RO);
    g_assert_true(bs->file->cache_direct && bs->file->cache_no_flush &&
                  bs->discard_unmap && bs->file->read_only && bs->probed);
    bdrv_unref(bs);
    bs = open_ok(name, "raw", "cache.direct=off,read-only=off", all | RO);
    g_assert_false(bs->file->cache_direct || bs->read_only);
    bdrv_unref(bs);
    bs = open_ok(name, NULL, "file.cache.direct=off", all);
    g_assert_true(bs->cache_direct && !bs->file->cache_direct);
    bdrv_unref(bs);
}

/* The engine of files that do not name one themselves, wherever they are. */
static void test_engine_flags(void)
{
    g_autoptr(TestImage) image = image_here(8192);
    const char *name = base_of(image);
    unsigned native = BDRV_OPEN_NATIVE_AIO;
    g_autoptr(GError) error = NULL;

    g_assert_null(bdrv_open_image(name, "raw", NULL, native, &error));
    g_assert_cmpstr(error->message, ==, "aio=native was specified, but it "
                    "requires cache.direct=on, which was not specified.");
    bdrv_unref(open_ok(name, "raw", NULL, native | BDRV_OPEN_DIRECT));
    bdrv_unref(open_ok(name, "raw", "file.aio=threads", native));
    bdrv_unref(open_ok(name, "file", NULL, BDRV_OPEN_IO_URING));
    bdrv_unref(open_ok("null-co://", NULL, NULL, native));
}

/* Whoever copies an image that others write to copies nothing that ever was:
 * open file descriptions have locks of their own, so this process will do. */
static void test_no_share(void)
{
    g_autoptr(TestImage) image = image_here(8192);
    const char *name = base_of(image);
    g_autofree char *message = g_strdup_printf(
        "Failed to get \"write\" lock\n"
        "Is another process using the image [%s]?", name);
    g_autoptr(BlockDriverState) bs = open_ok(name, "raw", NULL,
                                             RO | BDRV_OPEN_NO_SHARE);
    g_autoptr(GError) error = NULL;

    g_assert_null(bdrv_open_image(name, "raw", NULL, 0, &error));
    g_assert_cmpstr(error->message, ==, message);
    bdrv_unref(open_ok(name, "raw", NULL, RO | BDRV_OPEN_NO_SHARE));
    bdrv_unref(open_ok(name, "raw", NULL, RO | BDRV_OPEN_SHARE));
}

static void test_share_wins(void)
{
    g_autoptr(TestImage) image = image_here(8192);
    const char *name = base_of(image);
    g_autoptr(BlockDriverState) bs =
        open_ok(name, "raw", NULL,
                RO | BDRV_OPEN_NO_SHARE | BDRV_OPEN_SHARE);

    bdrv_unref(open_ok(name, "raw", NULL, 0));
}

/* --- a format: its file says "overlay BACKING [FORMAT]" --- */

typedef struct Header {
    BlockDriverState *file;
    char text[128];
    int ret;
} Header;

static void coroutine_fn header_entry(void *opaque)
{
    Header *header = opaque;

    header->ret = bdrv_co_pread(header->file, 0, sizeof(header->text) - 1,
                                header->text);
}

static bool overlay_open(BlockDriverState *bs, Options *opts, GError **error)
{
    Header header = { .file = bs->file };
    g_auto(GStrv) words = NULL;

    bdrv_run_co(bs->file, header_entry, &header);
    g_assert_cmpint(header.ret, ==, 0);
    words = g_strsplit(g_strchomp(header.text), " ", -1);
    bs->total_bytes = 4096;
    bs->backing_file = g_strdup(words[1]);
    bs->backing_format = words[1] ? g_strdup(words[2]) : NULL;
    return bdrv_open_backing(bs, opts, error);
}

static int overlay_probe(const uint8_t *buf, size_t bytes,
                         const char *filename)
{
    return bytes > 7 && memcmp(buf, "overlay", 7) == 0 ? 100 : 0;
}

static void overlay_submit(BlockDriverState *bs, BlockRequest *req)
{
    bdrv_submit(bs->file, req);
}

static const BlockImageOps overlay_image = { .probe = overlay_probe };

static const BlockDriver overlay_driver = {
    .name = "overlay",
    .image = &overlay_image,
    .open = overlay_open,
    .submit = overlay_submit,
};

static void write_overlay(const char *name, const char *words)
{
    g_autofree char *text = g_strdup_printf("overlay %s\n", words);

    g_assert_true(g_file_set_contents(name, text, -1, NULL));
}

static void test_backing(void)
{
    g_autoptr(TestImage) image = image_here(8192);
    BlockDriverState *bs;

    g_assert_cmpint(mkdir("d", 0700), ==, 0);
    write_overlay("d/top", "middle");
    write_overlay("d/middle", "../image raw");
    bs = open_ok("d/top", NULL, NULL, BDRV_OPEN_DIRECT);
    g_assert_cmpstr(bs->drv->name, ==, "overlay");
    g_assert_cmpstr(bs->backing->drv->name, ==, "overlay");
    g_assert_cmpstr(bs->backing->filename, ==, "d/middle");
    g_assert_cmpstr(bs->backing->backing->filename, ==, "d/../image");
    g_assert_false(bs->read_only || bs->backing->backing->probed);
    g_assert_true(bs->backing->read_only && bs->backing->file->read_only &&
                  bs->backing->file->cache_direct);
    bdrv_unref(bs);
    bs = open_ok("d/top", NULL, NULL, BDRV_OPEN_NO_BACKING | RO);
    g_assert_null(bs->backing);
    g_assert_cmpstr(bs->filename, ==, "d/top");
    bdrv_unref(bs);
    /* guessed below as well, without a warning: nobody writes there */
    write_overlay("d/middle", "../image");
    bs = open_ok("d/top", NULL, NULL, 0);
    g_assert_true(bs->backing->backing->probed);
    bdrv_unref(bs);
}

static void test_backing_options(void)
{
    static const struct {
        const char *extra, *filename, *backing;
    } cases[] = {
        { "backing.driver=raw,backing.file.filename=image",
          "json:{\"backing\": {\"driver\": \"raw\", \"file\": {\"driver\": "
          "\"file\", \"filename\": \"image\"}}, \"driver\": \"overlay\", "
          "\"file\": {\"driver\": \"file\", \"filename\": \"d/top\"}}",
          "image" },
        { "backing.file.filename=d/middle", "d/top", "d/middle" },
        { "backing.driver=raw", "d/top", "d/middle" },
        { "backing.file.locking=off", "d/top", "d/middle" },
        { "{\"backing\": null}",
          "json:{\"backing\": null, \"driver\": \"overlay\", \"file\": "
          "{\"driver\": \"file\", \"filename\": \"d/top\"}}", NULL },
        { "backing=middle", "d/top", "d/middle" },
        { "file.driver=raw,file.file.filename=d/top",
          "json:{\"driver\": \"overlay\", \"file\": {\"driver\": \"raw\", "
          "\"file\": {\"driver\": \"file\", \"filename\": \"d/top\"}}}",
          "d/middle" },
    };
    g_autoptr(TestImage) image = image_here(8192);
    g_autoptr(BlockDriverState) middle = NULL;

    g_assert_cmpint(mkdir("d", 0700), ==, 0);
    write_overlay("d/top", "middle");
    write_overlay("d/middle", "");
    middle = open_ok("d/middle", NULL, "node-name=middle", RO);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        bool is_file = strstr(cases[i].extra, "file.driver=raw");
        g_autoptr(BlockDriverState) bs = open_ok(is_file ? NULL : "d/top",
                                                 "overlay", cases[i].extra,
                                                 RO);

        g_assert_cmpstr(bs->filename, ==, cases[i].filename);
        g_assert_cmpstr(bs->backing ? bs->backing->filename : NULL, ==,
                        cases[i].backing);
    }
}

static void test_backing_errors(void)
{
    static const struct {
        const char *header, *extra, *message;
    } cases[] = {
        { "nope", NULL, "Could not open 'd/nope': No such file or directory" },
        { "foo:bar", NULL, "Unknown protocol 'foo'" },
        { "middle foo", NULL, "Unknown driver 'foo'" },
        { "middle", "backing=foo",
          "Cannot find device='foo' nor node-name='foo'" },
        { "middle", "backing.foo=1",
          "Block format 'overlay' does not support the option 'foo'" },
        { "middle", "backing.file.filename=nope",
          "Could not open 'nope': No such file or directory" },
        { "json:{}", NULL, "Must specify either driver or file" },
        { "top", NULL, "Backing file 'd/top' creates an infinite loop." },
        { "link", NULL, "Backing file 'd/link' creates an infinite loop." },
        { "json:{\"file.filename\":\"d/../d/top\"}", NULL,
          "Backing file 'd/../d/top' creates an infinite loop." },
        { "middle2", NULL, "Could not open backing file: Backing file 'd/top' "
          "creates an infinite loop." },
    };
    g_autoptr(TestImage) image = image_here(8192);

    g_assert_cmpint(mkdir("d", 0700), ==, 0);
    write_overlay("d/middle", "");
    write_overlay("d/middle2", "top");
    g_assert_cmpint(symlink("top", "d/link"), ==, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *message = g_strconcat("Could not open backing file: ",
                                               cases[i].message, NULL);

        write_overlay("d/top", cases[i].header);
        open_fails("d/top", NULL, cases[i].extra, message);
    }
}

/* Who is told by a name hears it once. */
static void test_backing_of_blockdev(void)
{
    g_autoptr(TestImage) image = image_here(8192);
    BlockDriverState *bs;

    write_overlay("top", "image raw");
    bs = test_open("overlay,node-name=n,file.driver=file,file.filename=top");
    g_assert_true(bs->backing->drv == &bdrv_raw && bs->backing->read_only);
    bdrv_unref(bs);
    write_overlay("top", "nope raw");
    test_open_fails("overlay,node-name=n,file.driver=file,file.filename=top",
                    "blockdev 'n': Could not open backing file: Could not "
                    "open 'nope': No such file or directory");
    test_open_fails("overlay,node-name=n,file.driver=file,file.filename=top,"
                    "backing=none", "blockdev 'n': Could not open backing "
                    "file: Cannot find device='none' nor node-name='none'");
    test_open_fails("overlay,node-name=n,file.driver=file,file.filename=top,"
                    "backing.driver=raw,backing.file.filename=x",
                    "blockdev 'n': Could not open backing file: Could not "
                    "open 'x': No such file or directory");
}

/* An image of which each opens the next does not exhaust anything. */
static void test_backing_depth(void)
{
    g_autoptr(TestImage) image = image_here(8192);
    g_autoptr(GError) error = NULL;
    struct rlimit limit, plenty = { 4096, 4096 };

    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    if (limit.rlim_max < plenty.rlim_max) {
        g_test_skip("few descriptors");
        return;
    }
    plenty.rlim_max = limit.rlim_max;
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &plenty), ==, 0);
    for (unsigned i = 0; i < 1100; i++) {
        g_autofree char *name = g_strdup_printf("i%u", i);
        g_autofree char *next = g_strdup_printf("i%u overlay", i + 1);

        write_overlay(name, next);
    }
    g_assert_null(bdrv_open_image("i0", NULL, NULL, RO, &error));
    g_assert_true(g_str_has_suffix(error->message, "file: more than 1000 "
                                   "images and files below each other"));
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
}

/* --- who else may use the file --- */

static void expect_lock_error(const char *name, unsigned flags,
                              const char *lock)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *message = g_strdup_printf(
        "Failed to get %s lock\nIs another process using the image [%s]?",
        lock, name);

    g_assert_null(bdrv_open_image(name, "raw", NULL, flags, &error));
    g_assert_cmpstr(error->message, ==, message);
}

static bool is_locked(const char *name, off_t byte)
{
    struct flock lock = { .l_type = F_WRLCK, .l_start = byte, .l_len = 1 };
    int fd = open(name, O_RDWR | O_CLOEXEC);

    g_assert_cmpint(fcntl(fd, F_OFD_GETLK, &lock), ==, 0);
    close(fd);
    return lock.l_type != F_UNLCK;
}

/* A format that was none leaves its file as it was: the next user's writes
 * do not make it longer. */
static void test_claimed_in_vain(void)
{
    g_autoptr(TestImage) image = image_here(8192);
    g_autoptr(BlockDriverState) bs = test_open("file,node-name=f0,filename=%s",
                                               base_of(image));

    for (unsigned i = 0; i < 2; i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(bdrv_open(options_parse("qcow2,file=f0", "--blockdev",
                                              "driver", NULL), &error));
        g_assert_nonnull(error);
        g_assert_cmpuint(bs->growers + bs->claims, ==, 0);
        g_assert_false(bs->grows);
        g_assert_true(is_locked(base_of(image), 101));  /* it writes */
        g_assert_false(is_locked(base_of(image), 103)); /* and nothing else */
    }
}

/* A disk that is served has one writer. */
static void test_served(void)
{
    g_autoptr(TestImage) image = image_here(8192);
    g_autoptr(BlockDriverState) served =
        test_open("file,filename=%s", base_of(image));
    g_autoptr(BlockDriverState) reader = open_ok(base_of(image), NULL, NULL,
                                                 RO);

    g_assert_false(served->read_only);
    expect_lock_error(base_of(image), 0, "\"write\"");
}

/* Raw data is anybody's, until there is a format in it. */
static void test_share(void)
{
    g_autoptr(TestImage) image = image_here(8192);
    g_autoptr(BlockDriverState) writer = open_ok(base_of(image), "raw", NULL,
                                                 0);
    BlockDriverState *other = open_ok(base_of(image), "raw", NULL, 0);
    BlockDriverState *file = other->file;
    g_autoptr(GError) error = NULL;

    g_assert_false(file->drv->claim(file, 0, &error));
    g_assert_true(g_str_has_prefix(error->message,
                                   "Failed to get shared \"write\" lock"));
    bdrv_unref(other);
    file = writer->file;
    g_assert_false(is_locked("image", 103) || is_locked("image", 201));
    g_assert_true(file->drv->claim(file, BDRV_CLAIM_RESIZE, NULL));
    g_assert_true(is_locked("image", 103) && is_locked("image", 201));
    expect_lock_error(base_of(image), 0, "\"write\"");
    other = open_ok(base_of(image), "raw", NULL, RO);
    g_assert_false(other->file->drv->claim(other->file, 0, NULL));
    bdrv_unref(other);
    other = open_ok(base_of(image), "raw", NULL, RO | BDRV_OPEN_SHARE);
    g_assert_true(other->force_share && other->file->force_share);
    g_assert_true(other->file->drv->claim(other->file, 0, NULL));
    bdrv_unref(other);
}

/* One request to the image as a tool sends it: in bytes. */
typedef struct Write {
    BlkChannel *channel;
    const uint8_t *buf;
    int64_t offset, bytes;
    int ret;
} Write;

static void coroutine_fn write_entry(void *opaque)
{
    Write *write = opaque;

    write->ret = blk_co_pwrite(write->channel, write->offset, write->bytes,
                               write->buf, 0);
}

static int write_bytes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                       const void *buf)
{
    BlockBackendOptions options = { .writable = true, .block_size = 1 };
    BlockBackend *blk = blk_new(bs, &options, NULL);
    Write write = { .buf = buf, .offset = offset, .bytes = bytes };

    write.channel = blk_channel_new(blk, control_context());
    control_run_co(write_entry, &write);
    blk_channel_free(write.channel);
    blk_free(blk);
    return write.ret;
}

/* A guess must not be made wrong by who writes to the image. */
static void test_probed_write(void)
{
    static const uint8_t qcow1[512] = "QFI\xfb\0\0\0\1";
    g_autoptr(TestImage) image = image_here(8192);
    g_autoptr(BlockDriverState) bs = open_ok(base_of(image), NULL, NULL, 0);
    uint8_t head[16] = { 0 };

    g_assert_true(bs->probed);
    g_assert_cmpint(write_bytes(bs, 0, 512, qcow1), ==, -EPERM);
    g_assert_cmpint(write_bytes(bs, 0, 8, qcow1), ==, -EPERM);
    /* in two steps, each of which looks harmless */
    g_assert_cmpint(write_bytes(bs, 4, 4, qcow1 + 4), ==, 0);
    g_assert_cmpint(write_bytes(bs, 0, 4, qcow1), ==, -EPERM);
    g_assert_cmpint(write_bytes(bs, 512, 512, qcow1), ==, 0);
    test_image_read(image, 0, head, sizeof(head));
    g_assert_cmpmem(head, 4, "\0\0\0\0", 4);
    g_assert_cmpmem(head + 4, 4, qcow1 + 4, 4);
}

static void test_said_raw_write(void)
{
    static const uint8_t qcow1[512] = "QFI\xfb\0\0\0\1";
    g_autoptr(TestImage) image = image_here(8192);
    g_autoptr(BlockDriverState) bs = open_ok(base_of(image), "raw", NULL, 0);

    g_assert_false(bs->probed);
    g_assert_cmpint(write_bytes(bs, 0, 512, qcow1), ==, 0);
    open_fails(base_of(image), NULL, "force-share=on",
               "Image looks like 'qcow', which is not supported; the format "
               "'raw' gives its bytes as they are");
}

static void test_backing_path(void)
{
    static const struct {
        const char *image, *backing, *path;
    } cases[] = {
        { "a", "b", "b" },
        { "d/a", "b", "d/b" },
        { "/d/e/a", "../b", "/d/e/../b" },
        { "d/a", "/b", "/b" },
        { "d/a", "nbd://h/x", "nbd://h/x" },
        { "d/a", "json:{}", "json:{}" },
        { "d/a", "e/f:g", "d/e/f:g" },
        { "file:a", "b", "file:b" },
        { "nbd://h/x", "b", "nbd://h/b" },
        { "json:{}", "/b", "/b" },
        { "json:{}", "b", NULL },
    };
    g_autoptr(GError) error = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = bdrv_backing_path(cases[i].image,
                                                  cases[i].backing, &error);

        g_assert_cmpstr(path, ==, cases[i].path);
    }
    g_assert_cmpstr(error->message, ==,
                    "Cannot use relative backing file names for 'json:{}'");
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/image-open/names", test_names);
    g_test_add_func("/image-open/errors", test_errors);
    g_test_add_func("/image-open/flags", test_flags);
    g_test_add_func("/image-open/engine-flags", test_engine_flags);
    bdrv_register(&overlay_driver);
    g_test_add_func("/image-open/backing", test_backing);
    g_test_add_func("/image-open/backing-options", test_backing_options);
    g_test_add_func("/image-open/backing-errors", test_backing_errors);
    g_test_add_func("/image-open/backing-of-blockdev",
                    test_backing_of_blockdev);
    g_test_add_func("/image-open/backing-depth", test_backing_depth);
    g_test_add_func("/image-open/served", test_served);
    g_test_add_func("/image-open/claimed-in-vain", test_claimed_in_vain);
    g_test_add_func("/image-open/share", test_share);
    g_test_add_func("/image-open/no-share", test_no_share);
    g_test_add_func("/image-open/share-wins", test_share_wins);
    g_test_add_func("/image-open/probed-write", test_probed_write);
    g_test_add_func("/image-open/said-raw-write", test_said_raw_write);
    g_test_add_func("/image-open/backing-path", test_backing_path);
    ret = g_test_run();
    control_stop();
    test_block_end();
    return ret;
}
