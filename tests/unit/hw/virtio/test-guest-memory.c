/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The region table: what it refuses, what it translates, and that memory
 * which vanishes breaks the table and not the process.
 */
#include "hw/virtio/guest-memory.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define KiB 1024ull
#define MiB (1024 * KiB)

static int make_file(uint64_t bytes)
{
    int fd = memfd_create("guest", MFD_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, bytes), ==, 0);
    return fd;
}

static void fill(int fd, uint64_t offset, char c, size_t bytes)
{
    g_autofree char *buf = g_malloc(bytes);

    memset(buf, c, bytes);
    g_assert_cmpint(pwrite(fd, buf, bytes, offset), ==, bytes);
}

/* Expects a refusal whose text contains @why. */
static void expect_refused(const GuestMemoryRegion *regions, unsigned n,
                           const char *why)
{
    GError *error = NULL;
    GuestMemory *mem = guest_memory_new(regions, n, &error);

    g_assert_null(mem);
    g_assert_nonnull(error);
    if (!strstr(error->message, why)) {
        g_error("'%s' does not say '%s'", error->message, why);
    }
    g_error_free(error);
}

/* Two adjacent regions and one further up; given out of order. */
static GuestMemory *three_regions(int fd)
{
    GuestMemoryRegion regions[] = {
        { 8 * MiB, 0x30000000, 64 * KiB, 128 * KiB, fd },
        { 64 * KiB, 0x20000000, 64 * KiB, 0, fd },
        { 128 * KiB, 0x10000000, 64 * KiB, 64 * KiB, fd },
    };
    GError *error = NULL;
    GuestMemory *mem = guest_memory_new(regions, 3, &error);

    g_assert_no_error(error);
    return mem;
}

static void test_translate(void)
{
    int fd = make_file(192 * KiB);
    g_autoptr(GuestMemory) mem = three_regions(fd);
    struct iovec iov[4];
    char c;

    close(fd); /* the mapping does not need it */
    g_assert_cmpuint(guest_memory_n_regions(mem), ==, 3);
    g_assert_cmpint(guest_memory_map(mem, 64 * KiB, 64 * KiB, iov, 4), ==, 1);
    g_assert_cmpuint(iov[0].iov_len, ==, 64 * KiB);
    memset(iov[0].iov_base, 'a', 64 * KiB);

    g_assert_cmpint(guest_memory_map(mem, 127 * KiB, 2 * KiB, iov, 4), ==, 2);
    g_assert_cmpuint(iov[0].iov_len, ==, KiB);
    g_assert_cmpuint(iov[1].iov_len, ==, KiB);
    g_assert_cmpint(*(char *)iov[0].iov_base, ==, 'a');
    g_assert_cmpint(*(char *)iov[1].iov_base, ==, 0);

    g_assert_cmpint(guest_memory_map(mem, 127 * KiB, 2 * KiB, iov, 1), ==, -1);
    g_assert_cmpint(guest_memory_map(mem, 191 * KiB, 2 * KiB, iov, 4), ==, -1);
    g_assert_cmpint(guest_memory_map(mem, 0, 1, iov, 4), ==, -1);
    g_assert_cmpint(guest_memory_map(mem, 8 * MiB + 64 * KiB, 1, iov, 4), ==,
                    -1);
    g_assert_cmpint(guest_memory_map(mem, 64 * KiB, UINT64_MAX, iov, 4), ==,
                    -1);
    g_assert_cmpint(guest_memory_map(mem, 8 * MiB, UINT64_MAX - MiB, iov, 4),
                    ==, -1);
    g_assert_cmpint(guest_memory_map(mem, 64 * KiB, 0, iov, 4), ==, 0);

    g_assert_true(guest_memory_read(mem, 64 * KiB + 5, &c, 1));
    g_assert_cmpint(c, ==, 'a');
    g_assert_false(guest_memory_read(mem, 63 * KiB, &c, 1));
}

static void test_contiguous_and_user(void)
{
    int fd = make_file(192 * KiB);
    g_autoptr(GuestMemory) mem = three_regions(fd);
    uint64_t guest;
    char *p, *q;

    close(fd);
    p = guest_memory_map_contiguous(mem, 128 * KiB, 64 * KiB);
    g_assert_nonnull(p);
    g_assert_null(guest_memory_map_contiguous(mem, 127 * KiB, 2 * KiB));
    g_assert_null(guest_memory_map_contiguous(mem, 128 * KiB, 64 * KiB + 1));
    g_assert_null(guest_memory_map_contiguous(mem, 128 * KiB, UINT64_MAX));

    /* user addresses are another map: same memory, other numbers */
    q = guest_memory_map_user(mem, 0x10000000 + 16, 32);
    g_assert_true(q == p + 16);
    g_assert_null(guest_memory_map_user(mem, 128 * KiB, 1));
    g_assert_null(guest_memory_map_user(mem, 0x10000000, 64 * KiB + 1));
    g_assert_null(guest_memory_map_user(mem, 0x10000000 - 1, 2));

    g_assert_true(guest_memory_to_guest(mem, q, &guest));
    g_assert_cmphex(guest, ==, 128 * KiB + 16);
    g_assert_false(guest_memory_to_guest(mem, &guest, &guest));
}

static void test_copy_crosses_regions(void)
{
    int fd = make_file(192 * KiB);
    g_autoptr(GuestMemory) mem = NULL;
    char buf[6];

    fill(fd, 64 * KiB - 3, 'x', 3);
    fill(fd, 64 * KiB, 'y', 3);
    mem = three_regions(fd);
    close(fd);
    g_assert_true(guest_memory_read(mem, 128 * KiB - 3, buf, 6));
    g_assert_cmpmem(buf, 6, "xxxyyy", 6);
    g_assert_false(guest_memory_read(mem, 192 * KiB - 3, buf, 6));
}

static void test_unaligned_offset(void)
{
    int fd = make_file(64 * KiB);
    GuestMemoryRegion region = { 0x1000, 0x1000, 8 * KiB, 4096 + 512, fd };
    g_autoptr(GuestMemory) mem = NULL;
    char *p;

    fill(fd, 4096 + 512, 'z', 1);
    fill(fd, 4096 + 512 + 8 * KiB - 1, 'e', 1);
    mem = guest_memory_new(&region, 1, NULL);
    close(fd);
    g_assert_nonnull(mem);
    p = guest_memory_map_contiguous(mem, 0x1000, 8 * KiB);
    g_assert_cmpint(p[0], ==, 'z');
    g_assert_cmpint(p[8 * KiB - 1], ==, 'e');
}

static void test_refused(void)
{
    int fd = make_file(64 * KiB);
    GuestMemoryRegion empty = { 0, 0, 0, 0, fd };
    GuestMemoryRegion beyond = { 0, 0, 64 * KiB, 1, fd };
    GuestMemoryRegion far = { 0, 0, 4096, UINT64_MAX - 4095, fd };
    GuestMemoryRegion huge = { 0, 0, INT64_MAX, 0, fd };
    GuestMemoryRegion wraps = { UINT64_MAX - 4095, 0, 8192, 0, fd };
    GuestMemoryRegion user_wraps = { 0, UINT64_MAX - 4095, 8192, 0, fd };
    GuestMemoryRegion bad_fd = { 0, 0, 4096, 0, -1 };
    GuestMemoryRegion overlap[] = {
        { 0x2000, 0, 0x2000, 0, fd }, { 0x1000, 0x8000, 0x1001, 0, fd },
    };
    GuestMemoryRegion same[] = {
        { 0x2000, 0, 0x2000, 0, fd }, { 0x2000, 0x8000, 0x1000, 0, fd },
    };
    g_autofree GuestMemoryRegion *many =
        g_new0(GuestMemoryRegion, GUEST_MEMORY_MAX_REGIONS + 1);

    expect_refused(&empty, 1, "no valid range");
    expect_refused(&beyond, 1, "behind the end of the file");
    expect_refused(&far, 1, "no valid range");
    expect_refused(&huge, 1, "no valid range");
    expect_refused(&wraps, 1, "wraps around");
    expect_refused(&user_wraps, 1, "wraps around");
    expect_refused(&bad_fd, 1, "Bad file descriptor");
    expect_refused(overlap, 2, "overlaps");
    expect_refused(same, 2, "overlaps");
    expect_refused(many, GUEST_MEMORY_MAX_REGIONS + 1, "more than 509");
    close(fd);
}

static void test_509_regions(void)
{
    g_autofree GuestMemoryRegion *regions =
        g_new0(GuestMemoryRegion, GUEST_MEMORY_MAX_REGIONS);
    int fd = make_file(4096);
    g_autoptr(GuestMemory) mem = NULL;

    for (unsigned i = 0; i < GUEST_MEMORY_MAX_REGIONS; i++) {
        /* a hole after each */
        regions[i] = (GuestMemoryRegion){ i * 8192, i * 8192, 4096, 0, fd };
    }
    mem = guest_memory_new(regions, GUEST_MEMORY_MAX_REGIONS, NULL);
    close(fd);
    g_assert_nonnull(mem);
    for (unsigned i = 0; i < GUEST_MEMORY_MAX_REGIONS; i++) {
        uint64_t at = i * 8192;

        g_assert_nonnull(guest_memory_map_contiguous(mem, at, 4096));
        g_assert_null(guest_memory_map_contiguous(mem, at + 4096, 1));
    }
}

static void test_add_and_remove(void)
{
    int fd = make_file(192 * KiB);
    GuestMemoryRegion a = { 0, 0x1000000, 64 * KiB, 0, fd };
    GuestMemoryRegion b = { MiB, 0x2000000, 64 * KiB, 64 * KiB, fd };
    GuestMemoryRegion wrong = b;
    g_autoptr(GuestMemory) one = guest_memory_with_region(NULL, &a, NULL);
    g_autoptr(GuestMemory) two = guest_memory_with_region(one, &b, NULL);
    g_autoptr(GuestMemory) only_b = NULL;
    GError *error = NULL;

    g_assert_cmpuint(guest_memory_n_regions(one), ==, 1);
    g_assert_cmpuint(guest_memory_n_regions(two), ==, 2);
    g_assert_null(guest_memory_map_contiguous(one, MiB, 1));
    /* what stays keeps its place */
    g_assert_true(guest_memory_map_contiguous(one, 0, 1) ==
                  guest_memory_map_contiguous(two, 0, 1));

    g_assert_null(guest_memory_with_region(two, &a, &error));
    g_assert_nonnull(strstr(error->message, "overlaps"));
    g_clear_error(&error);
    wrong.user_addr++;
    g_assert_null(guest_memory_without_region(two, &wrong, &error));
    g_assert_nonnull(strstr(error->message, "no memory region"));
    g_clear_error(&error);
    g_assert_null(guest_memory_without_region(NULL, &a, &error));
    g_clear_error(&error);

    a.mmap_offset = 77; /* not part of the identity */
    only_b = guest_memory_without_region(two, &a, NULL);
    g_assert_nonnull(only_b);
    g_assert_null(guest_memory_map_contiguous(only_b, 0, 1));
    g_clear_pointer(&two, guest_memory_unref);
    memset(guest_memory_map_contiguous(only_b, MiB, 64 * KiB), 1, 64 * KiB);
    memset(guest_memory_map_contiguous(one, 0, 64 * KiB), 1, 64 * KiB);
    close(fd);
}

static void test_empty_table(void)
{
    g_autoptr(GuestMemory) mem = guest_memory_new(NULL, 0, NULL);
    struct iovec iov;

    g_assert_nonnull(mem);
    g_assert_cmpint(guest_memory_map(mem, 0, 1, &iov, 1), ==, -1);
    g_assert_null(guest_memory_map_contiguous(mem, 0, 1));
    g_assert_false(guest_memory_is_broken(mem));
}

static void test_file_cut_short(void)
{
    int fd = make_file(192 * KiB);
    int other_fd = make_file(4096);
    GuestMemoryRegion other_region = { 0, 0, 4096, 0, other_fd };
    g_autoptr(GuestMemory) mem = three_regions(fd);
    g_autoptr(GuestMemory) other = guest_memory_new(&other_region, 1, NULL);
    g_autoptr(GuestMemory) fresh = NULL;
    volatile char *p = guest_memory_map_contiguous(mem, 64 * KiB, 64 * KiB);

    fill(fd, 0, 'k', 4096);
    g_assert_cmpint(ftruncate(fd, 4096), ==, 0);
    g_assert_cmpint(p[0], ==, 'k');
    g_assert_false(guest_memory_is_broken(mem));

    g_assert_cmpint(p[5000], ==, 0); /* SIGBUS, caught */
    p[40000] = 1;
    g_assert_cmpint(p[40000], ==, 1);
    g_assert_cmpint(p[0], ==, 'k'); /* what is there stays */
    g_assert_true(guest_memory_is_broken(mem));
    g_assert_false(guest_memory_is_broken(other));

    /* a slot that is used again starts whole */
    g_clear_pointer(&mem, guest_memory_unref);
    g_assert_cmpint(ftruncate(fd, 192 * KiB), ==, 0);
    fresh = three_regions(fd);
    g_assert_false(guest_memory_is_broken(fresh));
    close(fd);
    close(other_fd);
}

/* A fault that is not ours still kills, and so does a signal sent. */
static void test_foreign_sigbus_kills(void)
{
    int fd = make_file(4096);
    GuestMemoryRegion region = { 0, 0, 4096, 0, fd };
    g_autoptr(GuestMemory) mem = guest_memory_new(&region, 1, NULL);
    volatile char *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

    g_assert_nonnull(mem); /* from here on our handler is in place */
    g_assert_true(p != MAP_FAILED);
    for (int by_signal = 0; by_signal < 2; by_signal++) {
        int status;
        pid_t pid;

        pid = fork();
        if (pid == 0) {
            if (by_signal) {
                raise(SIGBUS);
            } else if (ftruncate(fd, 0) == 0) {
                (void)p[0];
            }
            _exit(0);
        }
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        g_assert_true(WIFSIGNALED(status));
        g_assert_cmpint(WTERMSIG(status), ==, SIGBUS);
    }
    munmap((void *)p, 4096);
    close(fd);
}

int main(int argc, char **argv)
{
    /* before our handler is installed, so that it is what ours falls back to:
     * a sanitizer would turn the death into a report and an exit */
    signal(SIGBUS, SIG_DFL);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/guest-memory/translate", test_translate);
    g_test_add_func("/guest-memory/contiguous-and-user",
                    test_contiguous_and_user);
    g_test_add_func("/guest-memory/copy-crosses-regions",
                    test_copy_crosses_regions);
    g_test_add_func("/guest-memory/unaligned-offset", test_unaligned_offset);
    g_test_add_func("/guest-memory/refused", test_refused);
    g_test_add_func("/guest-memory/509-regions", test_509_regions);
    g_test_add_func("/guest-memory/add-and-remove", test_add_and_remove);
    g_test_add_func("/guest-memory/empty-table", test_empty_table);
    g_test_add_func("/guest-memory/file-cut-short", test_file_cut_short);
    g_test_add_func("/guest-memory/foreign-sigbus-kills",
                    test_foreign_sigbus_kills);
    return g_test_run();
}
