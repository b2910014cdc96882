/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The journal: what is written is read, whoever was killed meanwhile; what is
 * no journal, or damaged, is never taken for another text.
 */
#include "tools/storage-daemon/journal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILLS 60

static Journal *open_copy(const Journal *journal)
{
    g_autoptr(GError) error = NULL;
    Journal *copy = journal_open(dup(journal_fd(journal)), &error);

    g_assert_no_error(error);
    return copy;
}

static char *read_again(const Journal *journal)
{
    g_autoptr(Journal) copy = open_copy(journal);
    g_autoptr(GError) error = NULL;
    char *text = journal_read(copy, &error);

    g_assert_no_error(error);
    return text;
}

static Journal *journal_made(void)
{
    g_autoptr(GError) error = NULL;
    Journal *journal = journal_new(&error);

    g_assert_no_error(error);
    return journal;
}

static void expect_text(const Journal *journal, const char *text)
{
    g_autofree char *found = read_again(journal);

    g_assert_cmpstr(found, ==, text);
}

/* Text number @n: short and long ones, of many pages. */
static char *nth_text(unsigned n)
{
    unsigned words = n % 7 == 0 ? 0 : 1 + n * 7919 % 9000;
    GString *text = g_string_new(NULL);

    g_string_printf(text, "%u", n);
    for (unsigned i = 0; i < words; i++) {
        g_string_append_printf(text, " %u", n);
    }
    return g_string_free(text, FALSE);
}

static void test_write(void)
{
    g_autoptr(Journal) journal = journal_made();
    struct stat st;

    expect_text(journal, "");
    for (unsigned n = 0; n < 300; n++) {
        g_autofree char *text = nth_text(n);

        g_assert_true(journal_write(journal, text, NULL));
        expect_text(journal, text);
    }
    g_assert_cmpint(fstat(journal_fd(journal), &st), ==, 0);
    g_assert_cmpint(st.st_size, <, 300000); /* and does not grow */
}

/* One process after the other. */
static void test_again(void)
{
    g_autoptr(Journal) journal = journal_made();

    for (unsigned n = 1; n < 50; n++) {
        g_autoptr(Journal) next = open_copy(journal);
        g_autofree char *before = journal_read(next, NULL);
        g_autofree char *text = nth_text(n);

        g_assert_true(journal_write(next, text, NULL));
        expect_text(journal, text);
    }
}

static void G_GNUC_NORETURN write_for_ever(Journal *journal, unsigned first,
                                           volatile unsigned *done)
{
    g_autofree char *before = journal_read(journal, NULL);

    for (unsigned n = first;; n++) {
        char *text = nth_text(n);

        if (!before || !journal_write(journal, text, NULL)) {
            _exit(1);
        }
        *done = n;
        g_free(text);
    }
}

/* The moment is the seed's as far as the kernel lets it. */
static void kill_writer(Journal *journal, GRand *rand,
                        volatile unsigned *done)
{
    unsigned first = *done + 1, until = *done + g_rand_int_range(rand, 0, 9);
    pid_t child = fork();
    int status;

    if (child == 0) {
        write_for_ever(journal, first, done);
    }
    while (*done < until) {
        g_assert_cmpint(waitpid(child, &status, WNOHANG), ==, 0);
    }
    for (int i = g_rand_int_range(rand, 0, 20000); i > 0; i--) {
        __asm__ volatile("" ::: "memory");
    }
    kill(child, SIGKILL);
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_true(WIFSIGNALED(status));
}

static void test_kill(void)
{
    g_autoptr(Journal) journal = journal_made();
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);
    volatile unsigned *done = mmap(NULL, sizeof(*done),
                                   PROT_READ | PROT_WRITE,
                                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    unsigned unsaid = 0;

    g_assert_true(done != MAP_FAILED);
    g_assert_true(journal_write(journal, "0", NULL));
    for (unsigned i = 0; i < KILLS; i++) {
        g_autofree char *found = NULL, *said = NULL, *next = NULL;

        kill_writer(journal, rand, done);
        found = read_again(journal);
        said = nth_text(*done);
        next = nth_text(*done + 1);
        g_assert_true(strcmp(found, said) == 0 || strcmp(found, next) == 0);
        if (strcmp(found, said) != 0) {
            unsaid++;
            (*done)++;
        }
    }
    g_test_message("%u kills, %u of them between writing and saying so, %u "
                   "texts", KILLS, unsaid, *done);
    munmap((void *)done, sizeof(*done));
}

/* What is damaged is the text before, or none: never another. */
static void test_damage(void)
{
    g_autoptr(Journal) journal = journal_made();
    g_autoptr(GRand) rand = g_rand_new_with_seed(5);
    int fd = journal_fd(journal);
    unsigned last = 0, before = 0, none = 0;

    for (unsigned i = 0; i < 2000; i++) {
        off_t at = g_rand_int_range(rand, 0, i % 2 ? 100 : 12300);
        g_autoptr(Journal) copy = NULL;
        g_autofree char *text = NULL;
        uint8_t byte = g_rand_int(rand);

        g_assert_cmpint(ftruncate(fd, 0), ==, 0);
        g_assert_true(journal_write(journal, "one", NULL));
        g_assert_true(journal_write(journal, "two", NULL));
        g_assert_cmpint(pwrite(fd, &byte, 1, at), ==, 1);
        copy = open_copy(journal);
        text = journal_read(copy, NULL);
        none += !text;
        if (text) {
            last += strcmp(text, "two") == 0;
            before += strcmp(text, "one") == 0;
            g_assert_true(g_str_equal(text, "one") ||
                          g_str_equal(text, "two"));
        }
    }
    g_assert_cmpuint(last, >, 0);
    g_assert_cmpuint(before, >, 0);
    g_test_message("of 2000 damages %u were harmless, %u took the last text, "
                   "%u both", last, before, none);
}

static void test_hostile(void)
{
    static const char *const lines[] = {
        "vblk-journal 1 1 4096 67108864 x", "vblk-journal 1 1 4096 -1 x",
        ("vblk-journal 1 9223372036854775807 0 0 "
         "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        "vblk-journal 2 1 4096 0 x", "vblk-journal 1 1 4096 0", "", "\n",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autoptr(Journal) journal = journal_made();
        g_autofree char *text = NULL;

        g_assert_cmpint(pwrite(journal_fd(journal), lines[i],
                               strlen(lines[i]) + 1, 0), >, 0);
        text = journal_read(journal, NULL);
        g_assert_true(!text || !*text);
        g_assert_true(journal_write(journal, "mine", NULL));
    }
}

/* Of nothing, and of 64 bytes that are zero. */
#define SUM_0                                                                 \
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SUM_64                                                                \
    "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b"

/* A line that does not count, of a text that is not there, does not count when
 * the file has become long enough for it. */
static void test_stale(void)
{
    static const char *const lines[] = {
        "vblk-journal 1 2 1024 64 " SUM_64, "vblk-journal 1 2 4096 64 " SUM_64,
        "vblk-journal 1 8 4160 64 " SUM_64, "vblk-journal 1 7 4096 0 " SUM_0,
        "vblk-journal 1 9223372036854775806 4096 0 " SUM_0,
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autoptr(Journal) journal = journal_made();
        g_autofree char *text = NULL;

        g_assert_cmpint(pwrite(journal_fd(journal), lines[i],
                               strlen(lines[i]) + 1, 0), >, 0);
        text = journal_read(journal, NULL);
        g_assert_true(!text || !*text);
        for (unsigned n = 1; n < 4; n++) {
            g_autofree char *next = g_strdup_printf("text %u", n);

            g_assert_true(journal_write(journal, next, NULL));
            expect_text(journal, next);
        }
    }
}

static void expect_refused(int fd)
{
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(fd, >=, 0);
    g_assert_null(journal_open(fd, &error));
    g_assert_nonnull(error);
    g_assert_cmpint(fcntl(fd, F_GETFD), ==, -1);
}

static void test_others(void)
{
    int sealed = memfd_create("x", MFD_ALLOW_SEALING | MFD_CLOEXEC), fds[2];

    g_assert_cmpint(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE), ==, 0);
    expect_refused(sealed);
    g_assert_cmpint(pipe2(fds, O_CLOEXEC), ==, 0);
    expect_refused(fds[0]);
    close(fds[1]);
    expect_refused(open("/dev/null", O_RDWR | O_CLOEXEC));
    expect_refused(open("/dev/zero", O_RDWR | O_CLOEXEC));
}

static void test_too_long(void)
{
    g_autoptr(Journal) journal = journal_made();
    g_autofree char *text = g_malloc(JOURNAL_MAX_BYTES + 2);

    memset(text, 'x', JOURNAL_MAX_BYTES + 1);
    text[JOURNAL_MAX_BYTES + 1] = 0;
    g_assert_true(journal_write(journal, "before", NULL));
    g_assert_false(journal_write(journal, text, NULL));
    expect_text(journal, "before");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/journal/write", test_write);
    g_test_add_func("/journal/again", test_again);
    g_test_add_func("/journal/kill", test_kill);
    g_test_add_func("/journal/damage", test_damage);
    g_test_add_func("/journal/hostile", test_hostile);
    g_test_add_func("/journal/stale", test_stale);
    g_test_add_func("/journal/others", test_others);
    g_test_add_func("/journal/too-long", test_too_long);
    return g_test_run();
}
