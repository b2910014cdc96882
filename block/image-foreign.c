/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Knows the first bytes of image formats that there is no driver for: such
 * an image is not raw, whatever writes that would end in, and a guest must
 * not make one that the next program opens as what it is not.
 */
#include "block/image.h"

#include <string.h>

typedef struct Signature {
    const char *format;
    size_t offset;
    const char *bytes;
    size_t len;
} Signature;

#define SIGNATURE(format, offset, bytes) \
    { format, offset, bytes, sizeof(bytes) - 1 }

static const Signature signatures[] = {
    SIGNATURE("bochs", 0, "Bochs Virtual HD Image"),
    SIGNATURE("cloop", 0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop"),
    SIGNATURE("luks", 0, "LUKS\xba\xbe"),
    SIGNATURE("parallels", 0, "WithoutFreeSpace"),
    SIGNATURE("parallels", 0, "WithouFreSpacExt"),
    SIGNATURE("qcow", 0, "QFI\xfb\0\0\0\x01"),
    SIGNATURE("qed", 0, "QED\0"),
    SIGNATURE("vdi", 64, "\x7f\x10\xda\xbe"),
    SIGNATURE("vhdx", 0, "vhdxfile"),
    SIGNATURE("vmdk", 0, "# Disk DescriptorFile"),
    SIGNATURE("vmdk", 0, "COWD"),
    SIGNATURE("vmdk", 0, "KDMV"),
    SIGNATURE("vpc", 0, "conectix"),
};

const char *bdrv_probe_foreign(const uint8_t *buf, size_t bytes)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(signatures); i++) {
        const Signature *s = &signatures[i];

        if (s->offset + s->len <= bytes &&
            memcmp(buf + s->offset, s->bytes, s->len) == 0) {
            return s->format;
        }
    }
    return NULL;
}
