/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options and configuration files of blkdebug, good and bad. */
#include "block/debug.h"

#include <errno.h>
#include <string.h>

#include "tests/lib/block.h"
#include "tests/lib/image.h"
#include "tests/lib/mem-node.h"

static TestImage *config;

static void write_config(const char *text)
{
    test_image_truncate(config, 0);
    test_image_write(config, 0, text, strlen(text));
}

static BlockDriverState *open_config(const char *text)
{
    write_config(text);
    return test_open_attached("raw,file.driver=blkdebug,file.config=%s,"
                              "file.image.driver=test-mem",
                              test_image_path(config));
}

static int do_read(BlockDriverState *bs)
{
    char buf[512];

    return test_rw(bs, BLOCK_READ, 0, buf, sizeof(buf));
}

static void test_file(void)
{
    BlockDriverState *bs = open_config(
        "# a comment\n"
        "\n"
        "[inject-error]\n"
        "  event = \"read_aio\"\n"
        "errno = \"28\"\n"
        "state = \"2\"\n"
        "once = \"on\"\n"
        "immediately = \"off\"\n"
        "sector = \"0\"\n"
        "iotype = \"read\"  \n"
        "[set-state \"id\"]\n"
        "state = \"1\"\n"
        "event=\"read_aio\"\n"
        "new_state = \"2\"");

    g_assert_cmpint(do_read(bs), ==, 0);
    g_assert_cmpint(do_read(bs), ==, -ENOSPC);
    g_assert_cmpint(do_read(bs), ==, 0);
    test_detach_unref(bs);
}

/* Rules of the file come first. */
static void test_file_and_options(void)
{
    BlockDriverState *bs;

    write_config("[inject-error]\nevent = \"none\"\nonce = \"on\"\n");
    bs = test_open_attached("{\"driver\": \"blkdebug\", \"config\": \"%s\", "
                            "\"inject-error\": [{\"event\": \"none\", "
                            "\"errno\": 28, \"once\": true}], "
                            "\"image\": {\"driver\": \"test-mem\"}}",
                            test_image_path(config));
    g_assert_cmpint(do_read(bs), ==, -EIO);
    g_assert_cmpint(do_read(bs), ==, -ENOSPC);
    g_assert_cmpint(do_read(bs), ==, 0);
    test_detach_unref(bs);
}

static void test_empty(void)
{
    BlockDriverState *bs = open_config("");

    g_assert_cmpint(do_read(bs), ==, 0);
    test_detach_unref(bs);
    bs = test_open_attached("blkdebug,config=,image.driver=test-mem");
    g_assert_cmpint(do_read(bs), ==, 0);
    test_detach_unref(bs);
}

static void test_bad_files(void)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "event = \"read_aio\"\n", ", line 1: no group defined" },
        { "[foo]\n", ", line 1: There is no option group 'foo'" },
        { "[set-state]\nevent = \"none\"\n[inject-error\n",
          ", line 3: '[' without ']' at the end" },
        { "[inject-error] x\n", ", line 1: '[' without ']' at the end" },
        { "[inject-error]\nevent\n", ", line 2: needs: key = \"value\"" },
        { "[inject-error]\n= \"a\"\n", ", line 2: needs: key = \"value\"" },
        { "[inject-error]\nevent = none\n",
          ", line 2: the value needs to stand in quotation marks" },
        { "[inject-error]\nevent = \"\n",
          ", line 2: the value needs to stand in quotation marks" },
        { "[inject-error]\nevent = \"a\"b\"\n",
          ", line 2: the value needs to stand in quotation marks" },
        { "\n[inject-error]\nevent = \"read_ai\"\n",
          ", section in line 2: invalid parameter value: read_ai" },
        { "[inject-error]\nerrno = \"5\"\n",
          ", section in line 1: Missing event name for rule" },
        { "[inject-error]\nevnt = \"5\"\nevent = \"none\"\n",
          ", section in line 1: unknown option 'evnt'" },
        { "[inject-error]\nnew_state = \"5\"\nevent = \"none\"\n",
          ", section in line 1: unknown option 'new_state'" },
        { "[inject-error]\nevent = \"none\"\nerrno = \"x\"\n[set-state]\n",
          ", section in line 1: option 'errno' needs a number from 0 to "
          "2147483647, not 'x'" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = g_strdup_printf(
            "blkdebug,node-name=d,config=%s,image.driver=test-mem",
            test_image_path(config));
        g_autofree char *message = g_strdup_printf(
            "blockdev 'd': blkdebug config file%s", cases[i].message);

        write_config(cases[i].text);
        test_open_fails(text, message);
    }
}

static void test_unreadable_files(void)
{
    g_autofree char *text = g_strdup_printf(
        "blkdebug,node-name=d,config=%s,image.driver=test-mem",
        test_image_path(config));

    test_open_fails("blkdebug,node-name=d,config=/nonexistent,"
                    "image.driver=test-mem",
                    "blockdev 'd': Could not read blkdebug config file: No "
                    "such file or directory");
    test_open_fails("blkdebug,node-name=d,config=/,image.driver=test-mem",
                    "blockdev 'd': Could not read blkdebug config file: Is a "
                    "directory");
    test_image_truncate(config, 64 * 1024 + 1);
    test_open_fails(text, "blockdev 'd': Could not read blkdebug config file: "
                          "File too large");
    test_open_fails("blkdebug,node-name=d,config=/dev/zero,"
                    "image.driver=test-mem",
                    "blockdev 'd': Could not read blkdebug config file: File "
                    "too large");
}

static void test_bad_options(void)
{
    static const struct {
        const char *options, *message;
    } cases[] = {
        { "inject-error.event=foo", "invalid parameter value: foo" },
        { "inject-error.0.errno=5", "Missing event name for rule" },
        { "inject-error.0.event=none,inject-error.0.iotype=x",
          "invalid parameter value: x" },
        { "inject-error.0.event=none,inject-error.0.sector=x",
          "option 'inject-error.0.sector' needs a number from 0 to "
          "18014398509481983, not 'x'" },
        { "inject-error.0.event=none,inject-error.0.once=maybe",
          "Parameter 'inject-error.0.once' expects 'on' or 'off'" },
        { "inject-error.0.event=none,inject-error.0.bar=1",
          "unknown option 'inject-error.0.bar'" },
        { "inject-error=1", "option 'inject-error' needs an object" },
        { "set-state.0.event=none,set-state.0.new_state=x",
          "option 'set-state.0.new_state' needs a number from 0 to "
          "2147483647, not 'x'" },
        { "set-state.0.event=none,set-state.0.errno=1",
          "unknown option 'set-state.0.errno'" },
        { "align=3", "Cannot meet constraints with align 3" },
        { "align=4G", "Cannot meet constraints with align 4294967296" },
        { "align=4k,max-transfer=6k",
          "Cannot meet constraints with max-transfer 6144" },
        { "align=4k,opt-write-zero=6k",
          "Cannot meet constraints with opt-write-zero 6144" },
        { "opt-write-zero=8k,max-write-zero=12k",
          "Cannot meet constraints with max-write-zero 12288" },
        { "align=4k,opt-discard=1k",
          "Cannot meet constraints with opt-discard 1024" },
        { "opt-discard=8k,max-discard=12k",
          "Cannot meet constraints with max-discard 12288" },
        { "max-discard=3G",
          "Cannot meet constraints with max-discard 3221225472" },
        { "take-child-perms.0=foo",
          "Parameter 'take-child-perms' does not accept value 'foo'" },
        { "unshare-child-perms.0=write,unshare-child-perms.1=foo",
          "Parameter 'unshare-child-perms' does not accept value 'foo'" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = g_strdup_printf(
            "blkdebug,node-name=d,%s,image.driver=test-mem",
            cases[i].options);
        g_autofree char *message = g_strdup_printf("blockdev 'd': %s",
                                                   cases[i].message);

        test_open_fails(text, message);
    }
}

static void test_good_options(void)
{
    g_autoptr(BlockDriverState) bs = test_open(
        "blkdebug,align=0,max-transfer=0,opt-write-zero=0,max-write-zero=0,"
        "opt-discard=0,max-discard=0,take-child-perms.0=write,"
        "take-child-perms.1=resize,unshare-child-perms.0=consistent-read,"
        "image.driver=test-mem");

    g_assert_cmpuint(bs->limits.request_alignment, ==, 1);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    test_mem_register();
    config = test_image_new(0);
    g_test_add_func("/blkdebug-config/file", test_file);
    g_test_add_func("/blkdebug-config/file-and-options",
                    test_file_and_options);
    g_test_add_func("/blkdebug-config/empty", test_empty);
    g_test_add_func("/blkdebug-config/bad-files", test_bad_files);
    g_test_add_func("/blkdebug-config/unreadable-files",
                    test_unreadable_files);
    g_test_add_func("/blkdebug-config/bad-options", test_bad_options);
    g_test_add_func("/blkdebug-config/good-options", test_good_options);
    ret = g_test_run();
    test_image_free(config);
    test_block_end();
    return ret;
}
