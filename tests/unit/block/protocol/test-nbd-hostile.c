/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The NBD client against servers that speak nonsense, or do not speak.
 */
#include "block/image.h"

#include <libnbd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/lib/block.h"
#include "tests/lib/image.h"

typedef struct Liar {
    int listener;
    const void *text;
    size_t bytes;
    bool silent; /* when all is said */
} Liar;

static void *lie(void *opaque)
{
    Liar *liar = opaque;
    int fd = accept(liar->listener, NULL, NULL);
    char ignored[4096];

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, liar->text, liar->bytes), ==, liar->bytes);
    if (!liar->silent) {
        shutdown(fd, SHUT_WR);
    }
    while (read(fd, ignored, sizeof(ignored)) > 0) {
        /* until the client has had enough */
    }
    close(fd);
    return NULL;
}

/* An export of the old style: magic, size, flags. */
static GString *old_style(uint64_t bytes)
{
    GString *text = g_string_new("NBDMAGIC");
    uint64_t magic = GUINT64_TO_BE(0x00420281861253), size = GUINT64_TO_BE(bytes);
    char zeroes[128] = { 0 };

    g_string_append_len(text, (char *)&magic, 8);
    g_string_append_len(text, (char *)&size, 8);
    g_string_append_len(text, zeroes, 128);
    return text;
}

/* @text, and then the end, or with open-timeout=1 nothing for ever. Returns
 * the error, with "@" for the server. Consumes @text. */
static char *try_liar(GString *text, bool silent)
{
    g_autoptr(TestImage) dir = test_image_new(0);
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    g_autofree char *options = NULL;
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) parts = NULL;
    Liar liar = { .text = text->str, .bytes = text->len, .silent = silent };
    GThread *thread;

    snprintf(address.sun_path, sizeof(address.sun_path), "%s/liar",
             test_image_dir(dir));
    liar.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(liar.listener, (struct sockaddr *)&address,
                         sizeof(address)), ==, 0);
    g_assert_cmpint(listen(liar.listener, 1), ==, 0);
    thread = g_thread_new("liar", lie, &liar);
    options = g_strdup_printf("nbd,node-name=n,path=%s,open-timeout=%d",
                              address.sun_path, silent);
    g_assert_null(bdrv_open(options_parse(options, "--blockdev", "driver",
                                          NULL), &error));
    g_assert_nonnull(error);
    g_thread_join(thread);
    close(liar.listener);
    unlink(address.sun_path);
    g_string_free(text, TRUE);
    parts = g_strsplit(error->message, address.sun_path, 2);
    return g_strjoinv("@", parts);
}

static void expect_refused(GString *text)
{
    g_autofree char *message = try_liar(text, false);

    g_test_message("%s", message);
    g_assert_true(g_str_has_prefix(message, "blockdev 'n': "));
}

static void test_hostile(void)
{
    static char noise[4096];

    test_pattern(noise, sizeof(noise), 5);
    expect_refused(g_string_new(""));
    expect_refused(g_string_new("NBDMAGIC"));
    expect_refused(g_string_new_len(noise, sizeof(noise)));
    expect_refused(g_string_new_len("NBDMAGICIHAVEOPT\0\1\0\0\0", 21));
    expect_refused(old_style(UINT64_MAX));
    expect_refused(old_style(INT64_MAX + 1ULL));
}

/* One that accepts, or gets on for a while, and then says nothing any more. */
static void test_silent(void)
{
    static const char greeting[] = "NBDMAGICIHAVEOPT\0\3";
    static const char no_structured_reply[] =
        "\x00\x03\xe8\x89\x04\x55\x65\xa9" /* answers the option ... */
        "\0\0\0\x08\x80\0\0\x01\0\0\0\0";      /* ... by "unsupported" */
    GString *text = g_string_new_len(greeting, 18);
    g_autofree char *at_once = try_liar(g_string_new(""), true);
    g_autofree char *greeted = try_liar(g_string_new_len(greeting, 18), true);
    g_autofree char *later = NULL;

    g_string_append_len(text, no_structured_reply, 20);
    later = try_liar(text, true);
    g_assert_cmpstr(at_once, ==, "blockdev 'n': Failed to connect to '@': "
                    "Connection timed out");
    g_assert_cmpstr(greeted, ==, at_once);
    g_assert_cmpstr(later, ==, "blockdev 'n': Failed to open export '' of NBD "
                    "server '@': Connection timed out");
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/nbd/hostile", test_hostile);
    g_test_add_func("/nbd/silent", test_silent);
    ret = g_test_run();
    test_block_end();
    return ret;
}
