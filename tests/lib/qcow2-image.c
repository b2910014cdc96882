/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images for tests, by Debian's tools and by hand. */
#include "tests/lib/qcow2-image.h"

#include <stdio.h>
#include <string.h>

#define AT_CLUSTER_BITS 20
#define AT_L1_OFFSET    40
#define L2_OFFSET       0x00fffffffffffe00ULL

bool qcow2_tools_present(void)
{
    if (test_program_present("qemu-img") && test_program_present("qemu-io")) {
        return true;
    }
    puts("1..0 # SKIP qemu-img and qemu-io are not installed");
    return false;
}

static void run(GPtrArray *argv)
{
    g_autofree char *output = NULL;

    g_ptr_array_add(argv, NULL);
    if (!test_run((const char *const *)argv->pdata, &output)) {
        g_test_message("%s", output);
        g_assert_not_reached();
    }
}

TestImage *qcow2_image_new(const char *options, const char *size)
{
    TestImage *image = test_image_new(0);
    g_autoptr(GPtrArray) argv = g_ptr_array_new();

    g_ptr_array_add(argv, (char *)"qemu-img");
    g_ptr_array_add(argv, (char *)"create");
    g_ptr_array_add(argv, (char *)"-q");
    g_ptr_array_add(argv, (char *)"-f");
    g_ptr_array_add(argv, (char *)"qcow2");
    if (*options) {
        g_ptr_array_add(argv, (char *)"-o");
        g_ptr_array_add(argv, (char *)options);
    }
    g_ptr_array_add(argv, (char *)test_image_path(image));
    g_ptr_array_add(argv, (char *)size);
    run(argv);
    return image;
}

void qcow2_image_io(const TestImage *image, const char *command, ...)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    va_list args;

    g_ptr_array_add(argv, (char *)"qemu-io");
    g_ptr_array_add(argv, (char *)"-f");
    g_ptr_array_add(argv, (char *)"qcow2");
    va_start(args, command);
    for (; command; command = va_arg(args, const char *)) {
        g_ptr_array_add(argv, (char *)"-c");
        g_ptr_array_add(argv, (char *)command);
    }
    va_end(args);
    g_ptr_array_add(argv, (char *)test_image_path(image));
    run(argv);
}

char *qcow2_image_run(const TestImage *image, const char *arg, ...)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    char *output;
    va_list args;

    g_ptr_array_add(argv, (char *)"qemu-img");
    va_start(args, arg);
    for (; arg; arg = va_arg(args, const char *)) {
        g_ptr_array_add(argv, (char *)(strcmp(arg, "@") == 0
                                           ? test_image_path(image)
                                           : arg));
    }
    va_end(args);
    g_ptr_array_add(argv, NULL);
    if (!test_run((const char *const *)argv->pdata, &output)) {
        g_test_message("%s", output);
        g_assert_not_reached();
    }
    return output;
}

void qcow2_image_check(const TestImage *image)
{
    g_free(qcow2_image_run(image, "check", "-q", "-f", "qcow2", "@", NULL));
}

void qcow2_image_set32(const TestImage *image, int64_t offset,
                       uint32_t value)
{
    value = GUINT32_TO_BE(value);
    test_image_write(image, offset, &value, sizeof(value));
}

void qcow2_image_set64(const TestImage *image, int64_t offset,
                       uint64_t value)
{
    value = GUINT64_TO_BE(value);
    test_image_write(image, offset, &value, sizeof(value));
}

uint64_t qcow2_image_get64(const TestImage *image, int64_t offset)
{
    uint64_t value;

    test_image_read(image, offset, &value, sizeof(value));
    return GUINT64_FROM_BE(value);
}

int64_t qcow2_image_l2_entry(const TestImage *image, int64_t guest,
                             unsigned entry_bytes)
{
    unsigned cluster_bits = qcow2_image_get64(image, AT_CLUSTER_BITS) >> 32;
    int64_t entries = (1 << cluster_bits) / entry_bytes;
    int64_t index = guest >> cluster_bits;
    uint64_t l1 = qcow2_image_get64(image, AT_L1_OFFSET);
    uint64_t l2 = qcow2_image_get64(image, l1 + index / entries * 8);

    g_assert_cmpuint(l2 & L2_OFFSET, !=, 0);
    return (l2 & L2_OFFSET) + index % entries * entry_bytes;
}
