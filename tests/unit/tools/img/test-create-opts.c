/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lists behind -o. */
#include "tools/img/create-opts.h"

static const BlockOptionHelp format[] = {
    { .name = "cluster_size", .type = BLOCK_OPTION_SIZE, .help = "Clusters",
      .def = "65536" },
    { .name = "lazy", .type = BLOCK_OPTION_BOOL, .help = "Laziness",
      .amendable = true },
    { .name = "bits", .type = BLOCK_OPTION_NUMBER, .help = "Bits",
      .amendable = true },
    { .name = "enc.key", .type = BLOCK_OPTION_STRING, .help = "Key" },
    { .name = "size", .type = BLOCK_OPTION_SIZE, .help = "Size" },
    { .name = NULL },
};

static const BlockOptionHelp protocol[] = {
    { .name = "size", .type = BLOCK_OPTION_SIZE, .help = "Size of the file" },
    { .name = "nocow", .type = BLOCK_OPTION_BOOL, .help = "No copies" },
    { .name = NULL },
};

static CreateOpts *parse(const char *text)
{
    CreateOpts *opts = create_opts_new(format, protocol);
    g_autoptr(GError) error = NULL;

    create_opts_parse(opts, text, &error);
    g_assert_no_error(error);
    return opts;
}

static void expect_text(const char *list, const char *expected)
{
    g_autoptr(CreateOpts) opts = parse(list);
    g_autofree char *text = create_opts_to_text(opts);

    g_assert_cmpstr(text, ==, expected);
}

static void test_text(void)
{
    expect_text(NULL, " cluster_size=65536");
    expect_text("size=1M", " cluster_size=65536 size=1048576");
    expect_text("nocow=on,size=1k,cluster_size=2k",
                " cluster_size=2048 size=1024 nocow=on");
    expect_text("size=1k,size=2k", " cluster_size=65536 size=2048");
    expect_text("enc.key=a,,b=c", " cluster_size=65536 enc.key=a,,b=c");
    expect_text("enc.key=", " cluster_size=65536 enc.key=");
    expect_text("bits=0x10", " cluster_size=65536 bits=16");
    expect_text("bits=-1", " cluster_size=65536 bits=-1");
}

/* A word alone, or with "no" before it. */
static void test_switches(void)
{
    expect_text("lazy", " cluster_size=65536 lazy=on");
    expect_text("nolazy", " cluster_size=65536 lazy=off");
    expect_text("lazy=yes", " cluster_size=65536 lazy=yes");
    expect_text("nonocow", " cluster_size=65536 nocow=off");
}

static void expect_error(const char *list, const char *expected)
{
    g_autoptr(CreateOpts) opts = create_opts_new(format, protocol);
    g_autoptr(GError) error = NULL;

    g_assert_false(create_opts_parse(opts, list, &error));
    g_assert_nonnull(error);
    g_assert_cmpstr(error->message, ==, expected);
}

static void test_errors(void)
{
    static const char size_error[] =
        "Parameter 'size' expects a non-negative number below 2^64\n"
        "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, "
        "tera-, peta-\n"
        "and exabytes, respectively.";

    expect_error("foo=1", "Invalid parameter 'foo'");
    expect_error("nocow", "Invalid parameter 'cow'");
    expect_error("size", size_error);
    expect_error("size=-1", size_error);
    expect_error("size=9E", "Value '9E' is out of range for parameter 'size'");
    expect_error("size=99999999999999999999",
                 "Value '99999999999999999999' is out of range for parameter "
                 "'size'");
    expect_error("lazy=maybe", "Parameter 'lazy' expects 'on' or 'off'");
    expect_error("bits=1k", "Parameter 'bits' expects a number");
    expect_error("bits=", "Parameter 'bits' expects a number");
    expect_error("bits=99999999999999999999",
                 "Parameter 'bits' expects a number");
}

static void test_options(void)
{
    g_autoptr(CreateOpts) opts = parse("enc.key=k,size=1M,lazy,bits=-1");
    g_autoptr(Options) options = create_opts_to_options(opts, "");

    g_assert_cmpstr(options_peek_str(options, "enc.key"), ==, "k");
    g_assert_cmpstr(options_peek_str(options, "size"), ==, "1048576");
    g_assert_cmpstr(options_peek_str(options, "lazy"), ==, "on");
    g_assert_cmpstr(options_peek_str(options, "bits"), ==,
                    "18446744073709551615");
    g_assert_false(options_has(options, "cluster_size"));
}

static void test_amend(void)
{
    g_autoptr(CreateOpts) opts = create_opts_new_amend(format);
    g_autoptr(GError) error = NULL;

    g_assert_true(create_opts_knows(opts, "lazy"));
    g_assert_false(create_opts_knows(opts, "size"));
    g_assert_true(create_opts_set(opts, "bits", "3", NULL));
    g_assert_cmpstr(create_opts_get(opts, "bits"), ==, "3");
    g_assert_false(create_opts_set(opts, "size", "1M", &error));
    g_assert_cmpstr(error->message, ==, "Invalid parameter 'size'\n"
                    "This option is only supported for image creation");
    g_clear_error(&error);
    g_assert_false(create_opts_set(opts, "foo", "1M", &error));
    g_assert_cmpstr(error->message, ==, "Invalid parameter 'foo'");
}

static void test_help_wanted(void)
{
    g_assert_true(create_opts_wants_help("help"));
    g_assert_true(create_opts_wants_help("a=b,?"));
    g_assert_true(create_opts_wants_help("help,a=b"));
    g_assert_false(create_opts_wants_help("a=help"));
    g_assert_false(create_opts_wants_help("a=b,,help"));
    g_assert_false(create_opts_wants_help(NULL));
}

static void test_append(void)
{
    g_autofree char *list = NULL;

    g_assert_true(create_opts_append(&list, "a=b"));
    g_assert_true(create_opts_append(&list, "c=d,,"));
    g_assert_cmpstr(list, ==, "a=b,c=d,,");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/create-opts/text", test_text);
    g_test_add_func("/create-opts/switches", test_switches);
    g_test_add_func("/create-opts/errors", test_errors);
    g_test_add_func("/create-opts/options", test_options);
    g_test_add_func("/create-opts/amend", test_amend);
    g_test_add_func("/create-opts/help-wanted", test_help_wanted);
    g_test_add_func("/create-opts/append", test_append);
    return g_test_run();
}
