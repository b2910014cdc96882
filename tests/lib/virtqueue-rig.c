/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See virtqueue-rig.h. */
#include "virtqueue-rig.h"
#include "block/log.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RIG_BYTES (2u << 20)

static void collect_line(LogLevel level, const char *line, void *opaque)
{
    g_string_append_printf(opaque, "%s\n", line);
}

static GuestMemory *make_memory(const Rig *rig, int fd)
{
    size_t first = rig->border - rig->mem;
    const GuestMemoryRegion regions[] = {
        { RIG_GUEST_ADDR, 0x1000, first, 0, fd },
        { RIG_GUEST_ADDR + first, 0x70000000, rig->bytes - first, first, fd },
    };
    GError *error = NULL;
    GuestMemory *mem;

    /* One address for both sides, so that ThreadSanitizer sees them meet. */
    if (!rig->config.two_regions) {
        return guest_memory_new_borrowed(rig->mem, RIG_GUEST_ADDR, rig->bytes);
    }
    mem = guest_memory_new(regions, 2, &error);
    g_assert_no_error(error);
    return mem;
}

/* Where the driver's pointer lies for the device. */
static void *to_device(const Rig *rig, const void *ptr)
{
    return guest_memory_map_contiguous(rig->memory, rig_guest(rig, ptr), 1);
}

void rig_fill_config(Rig *rig, VirtQueueConfig *config)
{
    *config = (VirtQueueConfig){ .memory = rig->memory, .name = "test queue" };
    virtio_ring_fill_config(rig->ring, config);
    config->desc = to_device(rig, config->desc);
    config->avail = to_device(rig, config->avail);
    config->used = to_device(rig, config->used);
}

Rig *rig_new(const RigConfig *config)
{
    Rig *rig = g_new0(Rig, 1);
    VirtioRingConfig ring_config = {
        .guest_addr = RIG_GUEST_ADDR,
        .size = config->size,
        .packed = config->packed,
        .event_idx = config->event_idx,
        .indirect_max = config->indirect ? RIG_INDIRECT_MAX : 0,
    };
    VirtQueueConfig vq_config;
    GError *error = NULL;
    int fd = memfd_create("rig", MFD_CLOEXEC);
    size_t ring_bytes;

    rig->config = *config;
    rig->bytes = RIG_BYTES;
    g_assert_cmpint(ftruncate(fd, rig->bytes), ==, 0);
    rig->mem = mmap(NULL, rig->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                    0);
    g_assert_true(rig->mem != MAP_FAILED);
    ring_config.mem = rig->mem;
    ring_bytes = (virtio_ring_bytes(&ring_config) + 4095) & ~4095ul;
    g_assert_cmpuint(ring_bytes + 64 * 1024, <=, rig->bytes);
    rig->buffers = rig->mem + ring_bytes;
    rig->buffer_bytes = rig->bytes - ring_bytes;
    rig->border = rig->buffers + rig->buffer_bytes / 2;
    rig->memory = make_memory(rig, fd);
    close(fd);

    rig->ring = virtio_ring_new(&ring_config);
    rig_fill_config(rig, &vq_config);
    rig->vq = virtqueue_new(&vq_config, &error);
    g_assert_no_error(error);
    virtqueue_element_init(&rig->elem);
    rig->log = g_string_new(NULL);
    log_set_sink(collect_line, rig->log);
    return rig;
}

void rig_free(Rig *rig)
{
    log_set_sink(NULL, NULL);
    virtqueue_element_clear(&rig->elem);
    virtqueue_free(rig->vq);
    virtio_ring_free(rig->ring);
    guest_memory_unref(rig->memory);
    munmap(rig->mem, rig->bytes);
    g_string_free(rig->log, true);
    g_free(rig);
}

void rig_restart_device(Rig *rig)
{
    VirtQueueConfig config;
    GError *error = NULL;

    rig_fill_config(rig, &config);
    config.base = virtqueue_base(rig->vq);
    virtqueue_free(rig->vq);
    rig->vq = virtqueue_new(&config, &error);
    g_assert_no_error(error);
}

uint64_t rig_guest(const Rig *rig, const void *driver_ptr)
{
    return (uintptr_t)driver_ptr - (uintptr_t)rig->mem + RIG_GUEST_ADDR;
}

uint64_t rig_guest_of_device(const Rig *rig, const void *device_ptr)
{
    uint64_t addr;

    g_assert_true(guest_memory_to_guest(rig->memory, device_ptr, &addr));
    return addr;
}

void rig_expect_broken(Rig *rig, const char *why)
{
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, -1);
    g_assert_true(virtqueue_is_broken(rig->vq));
    if (!strstr(rig->log->str, why)) {
        g_error("log '%s' does not say '%s'", rig->log->str, why);
    }
    g_assert_true(g_str_has_prefix(rig->log->str, "test queue: "));
    g_string_truncate(rig->log, 0);
    g_assert_cmpint(virtqueue_pop(rig->vq, &rig->elem), ==, -1);
    g_assert_false(virtqueue_has_work(rig->vq));
    g_assert_false(virtqueue_enable_kick(rig->vq));
    g_assert_cmpstr(rig->log->str, ==, "");
}

static void add_tests(const char *suite, const RigConfig *config,
                      const RigTest *tests, unsigned n_tests)
{
    for (unsigned i = 0; i < n_tests; i++) {
        g_autofree char *path = g_strdup_printf(
            "/%s/%s%s%s%s/%s", suite, config->packed ? "packed" : "split",
            config->event_idx ? "-event" : "",
            config->indirect ? "-indirect" : "",
            config->two_regions ? "-two" : "", tests[i].name);

        g_test_add_data_func(path, config, tests[i].fn);
    }
}

void rig_add_tests(const char *suite, const RigTest *tests, unsigned n_tests)
{
    static RigConfig configs[16];

    for (unsigned i = 0; i < G_N_ELEMENTS(configs); i++) {
        configs[i] = (RigConfig){
            .size = 16,
            .packed = i & 1,
            .event_idx = i & 2,
            .indirect = i & 4,
            .two_regions = i & 8,
        };
        add_tests(suite, &configs[i], tests, n_tests);
    }
}
