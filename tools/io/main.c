/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vblk-io: reads, writes and examines an image, command by command.
 *
 * Reads the options, opens the image and runs the commands of -c or of
 * standard input. Words and output are qemu-io's, so that scripts and test
 * suites run with only the program's name changed.
 */
#include "command.h"
#include "events.h"
#include "image.h"
#include "input.h"
#include "block/auto.h"
#include "block/control.h"
#include "block/debug.h"
#include "block/graph.h"
#include "config.h"
#include "tools/common/message.h"
#include "tools/common/objects.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_OBJECT = 256, OPT_IMAGE_OPTS };

static const struct option long_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, 'V' },
    { "cmd", required_argument, NULL, 'c' },
    { "format", required_argument, NULL, 'f' },
    { "read-only", no_argument, NULL, 'r' },
    { "snapshot", no_argument, NULL, 's' },
    { "nocache", no_argument, NULL, 'n' },
    { "copy-on-read", no_argument, NULL, 'C' },
    { "misalign", no_argument, NULL, 'm' },
    { "native-aio", no_argument, NULL, 'k' },
    { "aio", required_argument, NULL, 'i' },
    { "discard", required_argument, NULL, 'd' },
    { "cache", required_argument, NULL, 't' },
    { "trace", required_argument, NULL, 'T' },
    { "force-share", no_argument, NULL, 'U' },
    { "object", required_argument, NULL, OPT_OBJECT },
    { "image-opts", no_argument, NULL, OPT_IMAGE_OPTS },
    { NULL, 0, NULL, 0 },
};

static const char usage[] =
"Reads, writes and examines a disk image, command by command.\n"
"\n"
"  -c, --cmd STRING     run this command; may be given several times. Without\n"
"                       it commands are read from standard input\n"
"  -f, --format FMT     the format of the image; without it the contents\n"
"                       decide\n"
"  --image-opts         file is options: driver=qcow2,file.filename=a.qcow2\n"
"  --object OBJECTDEF   make an object, such as a secret\n"
"  -r, --read-only      open the image for reading only\n"
"  -s, --snapshot       what is written goes to a temporary file\n"
"  -n, --nocache        the same as -t none\n"
"  -t, --cache=MODE     none, writeback, writethrough (the default),\n"
"                       directsync or unsafe\n"
"  -d, --discard=MODE   ignore or unmap (the default)\n"
"  -C, --copy-on-read   copy to the image what is read from its backing file\n"
"  -m, --misalign       use buffers that do not suit O_DIRECT\n"
"  -i, --aio=MODE       auto (the default), threads, native or io_uring\n"
"  -k, --native-aio     the same as -i native\n"
"  -T, --trace auto     say what aio=auto decides\n"
"  -U, --force-share    open the image even if somebody writes to it\n"
"  -h, --help           show this help and exit\n"
"  -V, --version        show the version and exit\n"
"\n"
"'vblk-io -c help' lists the commands.\n";

typedef struct Main {
    Io io;
    IoImageSpec spec;
    const char *format;
    GPtrArray *commands; /* of const char * */
} Main;

static void show_usage(void)
{
    printf("Usage: %s [OPTIONS]... [-c STRING]... [file]\n%s",
           g_get_prgname(), usage);
}

/* -1 to go on, else the status to exit with. */
static int add_object(const char *text)
{
    GError *error = NULL;

    if (object_help(text)) {
        return EXIT_SUCCESS;
    }
    if (!object_add(text, &error)) {
        error_report_err(error);
        return EXIT_FAILURE;
    }
    return -1;
}

/* [enable=]PATTERN or file=, events=; help lists what there is: "auto". */
static int take_trace(const char *text)
{
    if (g_str_has_prefix(text, "file=") || g_str_has_prefix(text, "events=")) {
        return -1;
    }
    if (auto_trace_enable(text)) {
        return -1;
    }
    if (g_str_equal(text, "help") || g_str_equal(text, "?")) {
        printf("auto\n");
        return EXIT_SUCCESS;
    }
    if (g_str_has_prefix(text, "enable=")) {
        text += strlen("enable=");
    }
    warn_report("trace event '%s' does not exist", text);
    return -1;
}

static int status_of(bool ok)
{
    return ok ? -1 : EXIT_FAILURE;
}

static int take_image_option(Main *m, int c)
{
    switch (c) {
    case 'r':
        m->spec.flags |= BDRV_OPEN_READ_ONLY;
        return -1;
    case 's':
        m->spec.snapshot = true;
        return -1;
    case 'C':
        m->spec.flags |= BDRV_OPEN_COPY_ON_READ;
        return -1;
    case 'U':
        m->spec.flags |= BDRV_OPEN_SHARE;
        return -1;
    case 'n':
        return status_of(io_image_spec_set_cache(&m->spec, "none"));
    case 't':
        return status_of(io_image_spec_set_cache(&m->spec, optarg));
    case 'd':
        return status_of(io_image_spec_set_discard(&m->spec, optarg));
    case 'k':
        return status_of(io_image_spec_set_aio(&m->spec, "native"));
    case 'i':
        return status_of(io_image_spec_set_aio(&m->spec, optarg));
    default:
        show_usage();
        return EXIT_FAILURE;
    }
}

static int take_option(Main *m, int c)
{
    switch (c) {
    case 'c':
        g_ptr_array_add(m->commands, optarg);
        return -1;
    case 'f':
        m->format = optarg;
        return -1;
    case 'm':
        m->io.misalign = true;
        return -1;
    case 'T':
        return take_trace(optarg);
    case OPT_OBJECT:
        return add_object(optarg);
    case OPT_IMAGE_OPTS:
        m->io.image_opts = true;
        return -1;
    case 'h':
        show_usage();
        return EXIT_SUCCESS;
    case 'V':
        printf("%s version " VBLK_VERSION "\n", g_get_prgname());
        return EXIT_SUCCESS;
    default:
        return take_image_option(m, c);
    }
}

static int take_options(Main *m, int argc, char **argv)
{
    int c, status;

    while ((c = getopt_long(argc, argv, "hVc:d:f:rsnCmki:t:T:U", long_options,
                            NULL)) != -1) {
        status = take_option(m, c);
        if (status >= 0) {
            return status;
        }
    }
    if (optind < argc - 1) {
        show_usage();
        return EXIT_FAILURE;
    }
    if (m->format && m->io.image_opts) {
        error_report("--image-opts and -f are mutually exclusive");
        return EXIT_FAILURE;
    }
    return -1;
}

static bool set_name(Main *m, const char *name)
{
    if (m->io.image_opts) {
        return io_image_spec_add_options(&m->spec, "--image-opts", name);
    }
    m->spec.opts = options_new("");
    if (m->format) {
        options_set_str(m->spec.opts, "driver", m->format);
    }
    m->spec.filename = g_strdup(name);
    return true;
}

static bool run_given(Main *m)
{
    bool ok = true;

    for (unsigned i = 0; i < m->commands->len && !m->io.quit; i++) {
        ok &= io_command_run(&m->io, m->commands->pdata[i]);
    }
    return ok;
}

static bool run_input(Main *m)
{
    bool ok = true;

    while (!m->io.quit) {
        g_autofree char *line = input_line();

        if (!line) {
            break;
        }
        ok &= io_command_run(&m->io, line);
    }
    return ok;
}

static int run(Main *m, int argc, char **argv)
{
    GError *error = NULL;
    int status = take_options(m, argc, argv);
    bool ok;

    if (status >= 0) {
        return status;
    }
    if (!events_init(&error)) {
        error_report_err(error);
        return EXIT_FAILURE;
    }
    bdrv_debug_set_report(events_push_line);
    if (optind < argc &&
        (!set_name(m, argv[optind]) || !io_open(&m->io, &m->spec))) {
        return EXIT_FAILURE;
    }
    ok = m->commands->len > 0 ? run_given(m) : run_input(m);
    io_close(&m->io);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    Main m = { .spec = IO_IMAGE_SPEC_INIT, .commands = g_ptr_array_new() };
    int status;

    message_init(argv[0]);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    status = run(&m, argc, argv);
    control_stop();
    events_free();
    object_free_all();
    io_image_spec_clear(&m.spec);
    g_ptr_array_unref(m.commands);
    return status;
}
