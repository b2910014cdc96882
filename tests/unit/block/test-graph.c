/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nodes: names, generic options, children and what they inherit, lifetime. */
#include "tests/lib/block.h"
#include "tests/lib/mem-node.h"

#include <string.h>

static void test_bad_options(void)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "node-name=n0", "blockdev 'n0': option 'driver' is missing" },
        { "nonesuch,node-name=n0",
          "blockdev 'n0': Unknown driver 'nonesuch'" },
        { "test-mem,node-name=1x",
          "--blockdev: Invalid node-name: '1x'" },
        { "test-mem,node-name=#block000",
          "--blockdev: Invalid node-name: '#block000'" },
        { "test-mem,node-name=abcdefghijklmnopqrstuvwxyz012345",
          "--blockdev: Invalid node-name: 'abcdefghijklmnopqrstuvwxyz012345'" },
        { "test-mem,node-name=n0,fo.o=1",
          "blockdev 'n0': Block protocol 'test-mem' doesn't support the "
          "option 'fo.o'" },
        { "test-mem,node-name=n0,file=x",
          "blockdev 'n0': Block protocol 'test-mem' doesn't support the "
          "option 'file'" },
        { "test-mem,node-name=n0,read-only=maybe",
          "blockdev 'n0': Parameter 'read-only' expects 'on' or 'off'" },
        { "test-mem,node-name=n0,discard=yes",
          "blockdev 'n0': option 'discard' needs 'ignore' or 'unmap', not "
          "'yes'" },
        { "test-mem,node-name=n0,detect-zeroes=unmap",
          "blockdev 'n0': setting detect-zeroes to unmap is not allowed "
          "without setting discard operation to unmap" },
        { "test-mem,node-name=n0,force-share=on",
          "blockdev 'n0': force-share=on can only be used with read-only "
          "images" },
        { "raw,node-name=r0",
          "blockdev 'r0': A block device must be specified for \"file\"" },
        { "raw,node-name=r0,file=r0",
          "blockdev 'r0': Cannot find device='r0' nor node-name='r0'" },
        { "{\"driver\":\"raw\",\"node-name\":\"r0\",\"file\":7}",
          "blockdev 'r0': option 'file' needs an object or a name" },
        { "raw,node-name=r0,file.driver=test-mem,file.size=x",
          "blockdev 'r0': Parameter 'file.size' expects a non-negative number "
          "below 2^64" },
        { "raw,node-name=r0,file.driver=test-mem,file.bar=1",
          "blockdev 'r0': Block protocol 'test-mem' doesn't support the "
          "option 'bar'" },
        { "raw,node-name=r0,file.driver=test-mem,file.node-name=r0",
          "blockdev 'r0': Duplicate nodes with node-name='r0'" },
        { "raw,node-name=r0,file.driver=test-mem,bar=1",
          "blockdev 'r0': Block format 'raw' does not support the option "
          "'bar'" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        test_open_fails(cases[i].text, cases[i].message);
        g_assert_null(bdrv_find_node("n0"));
        g_assert_null(bdrv_find_node("r0"));
    }
}

static void test_names(void)
{
    g_autoptr(BlockDriverState) bs = test_open("test-mem,node-name=n0");
    g_autoptr(BlockDriverState) inline1 = test_open("test-mem");
    g_autoptr(BlockDriverState) inline2 = test_open("test-mem");

    g_assert_true(bdrv_find_node("n0") == bs);
    g_assert_null(bdrv_find_node("n1"));
    g_assert_true(g_str_has_prefix(inline1->node_name, "#block"));
    g_assert_cmpstr(inline1->node_name, !=, inline2->node_name);
    g_assert_true(bdrv_find_node(inline1->node_name) == inline1);
    test_open_fails("test-mem,node-name=n0",
                    "blockdev 'n0': Duplicate nodes with node-name='n0'");
}

static void test_references(void)
{
    BlockDriverState *file = test_open("test-mem,node-name=f");
    BlockDriverState *raw = test_open("raw,node-name=r,file=f");

    g_assert_true(raw->file == file);
    bdrv_unref(file);
    g_assert_true(bdrv_find_node("f") == file); /* raw holds it */
    bdrv_unref(bdrv_ref(raw));
    g_assert_true(bdrv_find_node("r") == raw);
    bdrv_unref(raw);
    g_assert_null(bdrv_find_node("r"));
    g_assert_null(bdrv_find_node("f"));
}

static bool open_blockdev(const char *text, GError **error)
{
    return bdrv_open_blockdev(options_parse(text, "--blockdev", "driver",
                                            NULL), error);
}

static void test_blockdev(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(open_blockdev("test-mem", &error));
    g_assert_cmpstr(error->message, ==,
                    "--blockdev: 'node-name' must be specified for the root "
                    "node");
    g_assert_true(open_blockdev("test-mem,node-name=f", NULL));
    g_assert_true(open_blockdev("raw,node-name=r,file=f", NULL));
    g_assert_false(open_blockdev("raw,node-name=r,file=f", NULL));
    g_assert_nonnull(bdrv_find_node("r"));
    bdrv_close_all();
    g_assert_null(bdrv_find_node("r"));
    g_assert_null(bdrv_find_node("f"));
}

static void test_inherits(void)
{
    g_autoptr(BlockDriverState) raw = test_open(
        "raw,read-only=on,auto-read-only=on,cache.direct=on,cache.no-flush=on,"
        "force-share=on,detect-zeroes=on,file.driver=test-mem");
    g_autoptr(BlockDriverState) own = test_open(
        "raw,cache.direct=on,cache.no-flush=on,file.driver=test-mem,"
        "file.cache.direct=off,file.discard=ignore");

    g_assert_true(raw->file->read_only && raw->file->auto_read_only &&
                  raw->file->cache_direct && raw->file->cache_no_flush &&
                  raw->file->force_share);
    g_assert_cmpint(raw->file->detect_zeroes, ==, DETECT_ZEROES_OFF);
    g_assert_false(raw->discard_unmap);
    g_assert_true(raw->file->discard_unmap);
    g_assert_false(own->file->cache_direct);
    g_assert_true(own->file->cache_no_flush);
    g_assert_false(own->file->discard_unmap);
}

/* A named node is what it was made. */
static void test_reference_inherits_nothing(void)
{
    g_autoptr(BlockDriverState) file = test_open("test-mem,node-name=f");
    g_autoptr(BlockDriverState) raw = test_open(
        "raw,file=f,cache.direct=on,read-only=on");

    g_assert_true(raw->file == file);
    g_assert_false(file->cache_direct);
    g_assert_false(file->read_only);
    g_assert_false(file->discard_unmap);
}

static void test_read_only_file(void)
{
    g_autoptr(BlockDriverState) file =
        test_open("test-mem,node-name=f,read-only=on");
    g_autoptr(BlockDriverState) plain = test_open("raw,file=f");
    g_autoptr(BlockDriverState) automatic =
        test_open("raw,file=f,read-only=off,auto-read-only=on");

    g_assert_true(plain->file == file && plain->read_only);
    g_assert_true(automatic->file == file && automatic->read_only);
    test_open_fails("raw,node-name=r,file=f,read-only=off",
                    "blockdev 'r': read-only=off was specified, but node 'f' "
                    "is read-only");
}

static void test_attach(void)
{
    g_autoptr(BlockDriverState) raw = test_open("raw,file.driver=test-mem");

    bdrv_attach_context(raw, test_ctx());
    bdrv_attach_context(raw, test_ctx());
    g_assert_cmpuint(raw->attached, ==, 2);
    g_assert_cmpuint(test_mem(raw->file)->attached, ==, 2);
    bdrv_detach_context(raw, test_ctx());
    bdrv_detach_context(raw, test_ctx());
    g_assert_cmpuint(raw->file->attached, ==, 0);
    g_assert_cmpuint(test_mem(raw->file)->detached, ==, 2);
}

/* --- several children --- */

static GString *closed; /* what was closed, in order; or NULL */

static bool pair_open(BlockDriverState *bs, Options *opts, GError **error)
{
    BlockDriverState *left, *right;

    if (!bdrv_open_child(bs, opts, "left", BDRV_CHILD_OPTIONAL, &left,
                         error) ||
        !bdrv_open_child(bs, opts, "right", BDRV_CHILD_GROWS, &right,
                         error) ||
        !bdrv_open_child(bs, opts, "below",
                         BDRV_CHILD_BACKING | BDRV_CHILD_OPTIONAL,
                         &bs->backing, error)) {
        return false;
    }
    g_assert_true(!left == (bs->children->len < 2 + !!bs->backing));
    bs->total_bytes = right->total_bytes;
    return true;
}

static void pair_close(BlockDriverState *bs)
{
    if (closed) {
        g_string_append_printf(closed, "%s ", bs->node_name);
    }
}

static void pair_submit(BlockDriverState *bs, BlockRequest *req)
{
    bdrv_submit(bs->children->pdata[0], req);
}

static const BlockDriver pair_driver = {
    .name = "test-pair",
    .is_protocol = true,
    .open = pair_open,
    .close = pair_close,
    .submit = pair_submit,
};

static const BlockDriver leaf_driver = {
    .name = "test-leaf",
    .open = pair_open,
    .close = pair_close,
    .is_protocol = true,
    .submit = pair_submit,
};

#define MEM(name) name ".driver=test-mem," name ".node-name=" name

static void test_children(void)
{
    g_autoptr(BlockDriverState) right = test_open("test-mem,node-name=r");
    BlockDriverState *bs = test_open(
        "test-pair,cache.direct=on," MEM("left") ",right=r," MEM("below"));
    BlockDriverState *left = bdrv_find_node("left");

    g_assert_cmpuint(bs->children->len, ==, 3);
    g_assert_true(bs->children->pdata[0] == left &&
                  bs->children->pdata[1] == right &&
                  bs->children->pdata[2] == bs->backing);
    g_assert_cmpstr(bs->child_keys->pdata[1], ==, "right");
    g_assert_true(right->grows && !left->grows);
    g_assert_true(left->cache_direct && bs->backing->cache_direct &&
                  !right->cache_direct);
    g_assert_true(bs->backing->read_only && !left->read_only);
    g_assert_true(left->discard_unmap && !bs->backing->discard_unmap);
    bdrv_attach_context(bs, test_ctx());
    g_assert_cmpuint(left->attached + right->attached +
                         bs->backing->attached, ==, 3);
    bdrv_detach_context(bs, test_ctx());
    g_assert_cmpuint(left->attached + right->attached +
                         bs->backing->attached, ==, 0);
    bdrv_unref(bs);
    g_assert_false(right->grows); /* nobody makes it longer any more */
}

/* Blocks that are smaller than a child's: the others do not mind. */
static void test_children_blocks(void)
{
    g_autoptr(BlockDriverState) bs = test_open(
        "test-pair," MEM("left") ",left.request-alignment=4096,"
        MEM("right") "," MEM("below") ",below.request-alignment=4096");

    g_assert_true(bdrv_set_block_size(bs, 512, NULL));
    g_assert_nonnull(bdrv_find_node("left")->range_lock);
    g_assert_null(bdrv_find_node("right")->range_lock);
    g_assert_null(bs->backing->range_lock); /* nobody writes there */
}

/* Parents close before children, the last child first. */
static void test_children_closed(void)
{
    BlockDriverState *bs;

    closed = g_string_new(NULL);
    bs = test_open(
        "test-pair,node-name=top,left.driver=test-leaf,left.node-name=l,"
        "left.right.driver=test-mem,right.driver=test-leaf,"
        "right.node-name=r,right.right.driver=test-mem");
    bdrv_unref(bs);
    g_assert_cmpstr(closed->str, ==, "top r l ");
    g_string_free(g_steal_pointer(&closed), TRUE);
}

/* What was opened before the one that fails is closed. */
static void test_children_fail(void)
{
    closed = g_string_new(NULL);
    test_open_fails("test-pair,node-name=top,left.driver=test-leaf,"
                    "left.node-name=l,left.right.driver=test-mem,right=none",
                    "blockdev 'top': Cannot find device='none' nor "
                    "node-name='none'");
    g_assert_cmpstr(closed->str, ==, "l ");
    g_assert_null(bdrv_find_node("l"));
    test_open_fails("test-pair,node-name=top," MEM("left"),
                    "blockdev 'top': A block device must be specified for "
                    "\"right\"");
    g_assert_null(bdrv_find_node("left"));
    test_open_fails("test-pair,node-name=top," MEM("right") ",right.bad=1",
                    "blockdev 'right': Block protocol 'test-mem' doesn't "
                    "support the option 'bad'");
    g_string_free(g_steal_pointer(&closed), TRUE);
}

static void add_name(BlockDriverState *bs, void *opaque)
{
    g_string_append_printf(opaque, "%s ", bs->node_name);
}

static void expect_nodes(const char *want)
{
    g_autoptr(GString) names = g_string_new(NULL);

    bdrv_foreach_node(add_name, names);
    g_assert_cmpstr(names->str, ==, want);
}

static void add_blockdev(const char *text)
{
    GError *error = NULL;

    bdrv_open_blockdev(options_parse(text, "--blockdev", "driver", NULL),
                       &error);
    g_assert_no_error(error);
}

static void del_fails(const char *name, const char *why)
{
    GError *error = NULL;

    g_assert_false(bdrv_del_blockdev(name, &error));
    g_assert_cmpstr(error->message, ==, why);
    g_error_free(error);
}

static void test_delete(void)
{
    expect_nodes("");
    add_blockdev("raw,node-name=r0,file.driver=test-mem,file.node-name=f0");
    add_blockdev("test-mem,node-name=n0");
    add_blockdev("raw,node-name=r1,file=n0");
    expect_nodes("r1 n0 r0 f0 ");
    del_fails("none", "Failed to find node with node-name='none'");
    del_fails("f0", "Node f0 is not owned by the monitor");
    del_fails("n0", "Node n0 is in use");
    g_assert_true(bdrv_del_blockdev("r0", NULL));
    expect_nodes("r1 n0 ");
    g_assert_true(bdrv_del_blockdev("r1", NULL));
    g_assert_true(bdrv_del_blockdev("n0", NULL));
    expect_nodes("");
    add_blockdev("test-mem,node-name=n0");
    bdrv_close_all();
    expect_nodes("");
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    test_mem_register();
    g_test_add_func("/graph/bad-options", test_bad_options);
    g_test_add_func("/graph/names", test_names);
    g_test_add_func("/graph/references", test_references);
    g_test_add_func("/graph/blockdev", test_blockdev);
    g_test_add_func("/graph/delete", test_delete);
    g_test_add_func("/graph/inherits", test_inherits);
    g_test_add_func("/graph/reference-inherits-nothing",
                    test_reference_inherits_nothing);
    g_test_add_func("/graph/read-only-file", test_read_only_file);
    g_test_add_func("/graph/attach", test_attach);
    bdrv_register(&pair_driver);
    bdrv_register(&leaf_driver);
    g_test_add_func("/graph/children", test_children);
    g_test_add_func("/graph/children-blocks", test_children_blocks);
    g_test_add_func("/graph/children-closed", test_children_closed);
    g_test_add_func("/graph/children-fail", test_children_fail);
    ret = g_test_run();
    test_block_end();
    return ret;
}
