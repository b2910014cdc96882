/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The "nbd" driver: an export of an NBD server as a disk. Connecting is in
 * nbd-connect.c, requests are in nbd-request.c.
 */
#include "nbd.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "block/image.h"

static bool nbd_node_open(BlockDriverState *bs, Options *opts, GError **error)
{
    NbdState *s = bs->opaque;

    s->watched_fd = -1;
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (s->epoll_fd < 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno),
                    "%s: cannot watch an NBD connection: %s",
                    options_what(opts), g_strerror(errno));
        return false;
    }
    if (!nbd_node_connect(bs, opts, error)) {
        close(s->epoll_fd);
        return false;
    }
    return true;
}

static void nbd_node_close(BlockDriverState *bs)
{
    NbdState *s = bs->opaque;

    nbd_node_disconnect(bs);
    close(s->epoll_fd);
}

/*
 * A connection cannot go to another process, and a server may not want two:
 * it ends, and should the other process fail, there has to be a new one. A
 * sandbox would not let us have that.
 */
static bool nbd_node_hand_over(BlockDriverState *bs, Handover *handover,
                               GError **error)
{
    const NbdState *s = bs->opaque;
    int fd = socket(s->target.path ? AF_UNIX : AF_INET,
                    SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_autofree char *name = NULL;

    if (fd >= 0) {
        close(fd);
        return true;
    }
    name = nbd_target_name(&s->target);
    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno),
                "node '%s' could not be connected to %s again: %s",
                bs->node_name, name, g_strerror(errno));
    return false;
}

static bool nbd_node_reopen(BlockDriverState *bs, unsigned flags,
                            GError **error)
{
    NbdState *s = bs->opaque;

    if (!(flags & BDRV_OPEN_READ_ONLY) && nbd_is_read_only(s->nbd) > 0) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_ROFS,
                    "Export '%.64s' of the NBD server is read-only",
                    s->target.export);
        return false;
    }
    return true;
}

/* A protocol has all of its bytes: a hole is ours, and reads as zeroes. */
static int coroutine_fn nbd_node_co_block_status(BlockDriverState *bs,
                                            int64_t offset, int64_t bytes,
                                            BlockStatus *status)
{
    NbdState *s = bs->opaque;
    uint32_t flags = 0;
    int ret;

    status->bytes = bytes;
    if (s->can_status) {
        ret = nbd_node_co_extent(bs, offset, bytes, &status->bytes, &flags);
        if (ret < 0) {
            return ret;
        }
    }
    status->flags = BLOCK_STATUS_OFFSET | BLOCK_STATUS_ALLOCATED |
                    (flags & LIBNBD_STATE_HOLE ? 0 : BLOCK_STATUS_DATA) |
                    (flags & LIBNBD_STATE_ZERO ? BLOCK_STATUS_ZERO : 0);
    status->map = offset;
    status->file = bs;
    return 0;
}

static bool coroutine_fn nbd_node_co_truncate(BlockDriverState *bs,
                                         const BlockTruncate *to,
                                         GError **error)
{
    if (to->bytes > bs->total_bytes ||
        (to->exact && to->bytes != bs->total_bytes)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    to->exact ? "Cannot resize NBD nodes"
                              : "Cannot grow NBD nodes");
        return false;
    }
    return true;
}

static const BlockImageOps nbd_image = {
    .co_block_status = nbd_node_co_block_status,
    .co_truncate = nbd_node_co_truncate,
};

static const char *const nbd_strong_options[] = {
    "server.", "host", "port", "path", "export", NULL,
};

const BlockDriver bdrv_nbd = {
    .name = "nbd",
    .is_protocol = true,
    .one_home = true,
    .instance_size = sizeof(NbdState),
    .image = &nbd_image,
    .strong_options = nbd_strong_options,
    .exact_name = nbd_node_exact_name,
    .open = nbd_node_open,
    .close = nbd_node_close,
    .hand_over = nbd_node_hand_over,
    .reopen = nbd_node_reopen,
    .attach_context = nbd_node_attach_context,
    .detach_context = nbd_node_detach_context,
    .submit = nbd_node_submit,
};
