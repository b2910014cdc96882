/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options of an nbd node, connecting, and what the server says of its export,
 * none of which is believed without a look. Main thread only.
 */
#include "nbd.h"

#include <errno.h>
#include <string.h>

#include "block/log.h"

#define DEFAULT_PORT "10809"

/* A server that does not name a limit has to take this much: NBD protocol,
 * "Block size constraints". */
#define DEFAULT_MAX_BLOCK (32 * 1024 * 1024)
#define LARGEST_MIN_BLOCK (64 * 1024)

#define RETRY_US (200 * 1000)

/* Without open-timeout: one attempt, but a server that accepts and keeps
 * silent does not keep the main thread, and all that waits for it. */
#define DEFAULT_TIMEOUT_S 10

/* --- names --- */

char *nbd_target_name(const NbdTarget *target)
{
    return target->path ? g_strdup(target->path)
                        : g_strdup_printf("%s:%s", target->host, target->port);
}

char *nbd_node_exact_name(BlockDriverState *bs)
{
    const NbdTarget *target = &((NbdState *)bs->opaque)->target;
    bool v6 = target->host && strchr(target->host, ':');
    const char *slash = *target->export ? "/" : "";

    if (target->path) {
        return g_strdup_printf("nbd+unix://%s%s?socket=%s", slash,
                               target->export, target->path);
    }
    return g_strdup_printf("nbd://%s%s%s:%s%s%s", v6 ? "[" : "", target->host,
                           v6 ? "]" : "", target->port, slash,
                           target->export);
}

/* --- options --- */

static bool need(Options *opts, const char *key, char **value, GError **error)
{
    g_autofree char *name = g_strconcat("server.", key, NULL);

    if (!options_has(opts, name)) {
        return options_fail(opts, error, "Parameter '%s' is missing", key);
    }
    return options_take_text(opts, name, value, error);
}

static bool take_server(NbdTarget *target, Options *opts, GError **error)
{
    g_autofree char *type = NULL;

    if (!need(opts, "type", &type, error)) {
        return false;
    }
    if (strcmp(type, "inet") == 0) {
        return need(opts, "host", &target->host, error) &&
               need(opts, "port", &target->port, error);
    }
    if (strcmp(type, "unix") == 0) {
        return need(opts, "path", &target->path, error);
    }
    return options_fail(opts, error, "Parameter 'type' does not accept value "
                        "'%.64s'", type);
}

/* "host", "port" and "path" without "server." are the older way. */
static bool take_legacy(NbdTarget *target, Options *opts, GError **error)
{
    if (!options_take_text(opts, "host", &target->host, error) ||
        !options_take_text(opts, "port", &target->port, error) ||
        !options_take_text(opts, "path", &target->path, error)) {
        return false;
    }
    if (target->host && target->path) {
        return options_fail(opts, error,
                            "path and host may not be used at the same time");
    }
    if (target->port && !target->host) {
        return options_fail(opts, error, "port may not be used without host");
    }
    if (!target->host && !target->path) {
        return options_fail(opts, error, "NBD server address missing");
    }
    if (target->host && !target->port) {
        target->port = g_strdup(DEFAULT_PORT);
    }
    return true;
}

static bool take_options(NbdTarget *target, Options *opts, GError **error)
{
    bool has_server = options_has(opts, "server");

    target->export = g_strdup("");
    return (has_server ? take_server(target, opts, error)
                       : take_legacy(target, opts, error)) &&
           options_take_text(opts, "export", &target->export, error) &&
           options_take_uint(opts, "reconnect-delay", UINT32_MAX,
                             &target->reconnect_delay_s, error) &&
           options_take_uint(opts, "open-timeout", UINT32_MAX,
                             &target->open_timeout_s, error);
}

/* --- connecting --- */

/* libnbd's last error, without the function that had it. Caller frees. */
static char *last_error(void)
{
    const char *text = nbd_get_error() ? nbd_get_error() : "unknown error";
    const char *after = strstr(text, ": ");

    if (nbd_get_errno()) {
        return g_strdup(g_strerror(nbd_get_errno()));
    }
    return g_strdup(after ? after + 2 : text);
}

/* Negotiation stops before the export is chosen, so that what fails can be
 * told apart; a server of the old style has only one export. */
static struct nbd_handle *new_handle(const NbdTarget *target)
{
    struct nbd_handle *nbd = nbd_create();

    if (nbd && (nbd_set_export_name(nbd, target->export) < 0 ||
                nbd_add_meta_context(nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0 ||
                nbd_set_pread_initialize(nbd, false) < 0 ||
                nbd_set_opt_mode(nbd, true) < 0)) {
        nbd_close(nbd);
        return NULL;
    }
    return nbd;
}

/* Waits for whatever was begun. NULL: it is over; else why it will not be, and
 * the caller frees that. */
static char *wait_for_server(struct nbd_handle *nbd, const NbdTarget *target)
{
    while (nbd_aio_is_connecting(nbd) > 0) {
        int64_t left_us = target->open_end_us - g_get_monotonic_time();

        if (left_us <= 0) {
            return g_strdup(g_strerror(ETIMEDOUT));
        }
        if (nbd_poll(nbd, MIN(left_us / 1000 + 1, INT_MAX)) < 0) {
            return last_error();
        }
    }
    return NULL;
}

/* NULL, or why it failed, which the caller frees. */
static char *connect_once(struct nbd_handle *nbd, const NbdTarget *target)
{
    int ret = target->path
                  ? nbd_aio_connect_unix(nbd, target->path)
                  : nbd_aio_connect_tcp(nbd, target->host, target->port);
    char *why = ret < 0 ? last_error() : wait_for_server(nbd, target);

    if (!why && nbd_aio_is_negotiating(nbd) <= 0 &&
        nbd_aio_is_ready(nbd) <= 0) {
        why = g_strdup(g_strerror(ECONNRESET));
    }
    return why;
}

/* Why it could not be connected. Caller frees. */
static char *connect_error(const NbdTarget *target, const char *why)
{
    g_autofree char *server = nbd_target_name(target);

    if (g_str_has_prefix(why, "getaddrinfo")) { /* it repeats the name */
        return g_strdup_printf("address resolution failed for %s%s", server,
                               strrchr(why, ':'));
    }
    return g_strdup_printf("Failed to connect to '%s': %s", server, why);
}

/* Tries again until open-timeout has passed. *@problem, if it fails, is the
 * caller's to free. */
static struct nbd_handle *connect_server(const NbdTarget *target,
                                         char **problem)
{
    for (;;) {
        struct nbd_handle *nbd = new_handle(target);
        g_autofree char *why = nbd ? connect_once(nbd, target) : last_error();

        if (!why) {
            return nbd;
        }
        g_free(*problem);
        *problem = connect_error(target, why);
        g_clear_pointer(&nbd, nbd_close);
        if (target->open_timeout_s == 0 ||
            g_get_monotonic_time() >= target->open_end_us) {
            return NULL;
        }
        g_usleep(RETRY_US);
    }
}

static int go_cb(void *opaque, int *error)
{
    *(int *)opaque = *error;
    return 1;
}

/* NULL, or why not, which the caller frees. */
static char *go(struct nbd_handle *nbd, NbdTarget *target)
{
    nbd_completion_callback cb = {
        .callback = go_cb,
        .user_data = &target->open_error,
    };
    char *why;

    if (nbd_aio_opt_go(nbd, cb) < 0) {
        return last_error();
    }
    why = wait_for_server(nbd, target);
    if (why || nbd_aio_is_ready(nbd) > 0) {
        return why;
    }
    return g_strdup(g_strerror(target->open_error ? target->open_error
                                                  : ECONNRESET));
}

static bool choose_export(struct nbd_handle *nbd, NbdTarget *target,
                          Options *opts, GError **error)
{
    g_autofree char *server = nbd_target_name(target);
    g_autofree char *why = NULL;

    if (!nbd_aio_is_negotiating(nbd)) { /* the old style has one only */
        return *target->export == '\0' ||
               options_fail(opts, error, "NBD server '%s' does not have named "
                            "exports", server);
    }
    why = go(nbd, target);
    if (!why) {
        return true;
    }
    if (target->open_error == ENOENT) {
        return options_fail(opts, error, "Requested export not available: NBD "
                            "server '%s' has no '%.64s'", server,
                            target->export);
    }
    return options_fail(opts, error, "Failed to open export '%.64s' of NBD "
                        "server '%s': %s", target->export, server, why);
}

/* --- what the server says --- */

static bool take_block_sizes(BlockDriverState *bs, Options *opts,
                             GError **error)
{
    NbdState *s = bs->opaque;
    int64_t min = nbd_get_block_size(s->nbd, LIBNBD_SIZE_MINIMUM);
    int64_t preferred = nbd_get_block_size(s->nbd, LIBNBD_SIZE_PREFERRED);
    int64_t max = nbd_get_block_size(s->nbd, LIBNBD_SIZE_MAXIMUM);
    BlockLimits *limits = &bs->limits;

    min = min > 0 ? min : 1;
    max = max > 0 ? MIN(max, DEFAULT_MAX_BLOCK) : DEFAULT_MAX_BLOCK;
    if (min > LARGEST_MIN_BLOCK || (min & (min - 1)) || max < min ||
        bs->total_bytes % min) {
        return options_fail(opts, error, "NBD server cannot be used: its "
                            "export '%.64s' of %" G_GINT64_FORMAT " bytes has "
                            "blocks of %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT
                            " bytes", s->target.export, bs->total_bytes, min,
                            max);
    }
    limits->request_alignment = min;
    limits->max_transfer = max;
    limits->opt_transfer =
        preferred > 0 && preferred <= DEFAULT_MAX_BLOCK ? preferred : 0;
    return true;
}

static bool take_access(BlockDriverState *bs, Options *opts, GError **error)
{
    NbdState *s = bs->opaque;
    g_autofree char *server = nbd_target_name(&s->target);

    if (bs->read_only || nbd_is_read_only(s->nbd) <= 0) {
        return true;
    }
    if (!bs->auto_read_only) {
        return options_fail(opts, error, "Export '%.64s' of NBD server '%s' is "
                            "read-only", s->target.export, server);
    }
    bs->read_only = true;
    return true;
}

static bool take_export(BlockDriverState *bs, Options *opts, GError **error)
{
    NbdState *s = bs->opaque;

    bs->total_bytes = nbd_get_size(s->nbd);
    if (bs->total_bytes < 0) {
        g_autofree char *why = last_error();

        return options_fail(opts, error, "NBD server does not say how large "
                            "its export '%.64s' is: %s", s->target.export, why);
    }
    s->can_flush = nbd_can_flush(s->nbd) > 0;
    s->can_fua = nbd_can_fua(s->nbd) > 0;
    s->can_trim = nbd_can_trim(s->nbd) > 0;
    s->can_zero = nbd_can_zero(s->nbd) > 0;
    s->can_status =
        nbd_can_meta_context(s->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0;
    bs->limits.can_discard = s->can_trim;
    bs->limits.can_write_zeroes = s->can_zero;
    return take_block_sizes(bs, opts, error) && take_access(bs, opts, error);
}

static bool open_connection(BlockDriverState *bs, Options *opts,
                            GError **error)
{
    NbdState *s = bs->opaque;
    g_autofree char *problem = NULL;
    uint64_t timeout_s = s->target.open_timeout_s ? s->target.open_timeout_s
                                                  : DEFAULT_TIMEOUT_S;

    s->target.open_end_us = g_get_monotonic_time() +
                            (int64_t)timeout_s * G_USEC_PER_SEC;
    s->nbd = connect_server(&s->target, &problem);
    if (!s->nbd) {
        return options_fail(opts, error, "%s", problem);
    }
    return choose_export(s->nbd, &s->target, opts, error) &&
           take_export(bs, opts, error);
}

bool nbd_node_connect(BlockDriverState *bs, Options *opts, GError **error)
{
    NbdState *s = bs->opaque;

    if (!take_options(&s->target, opts, error) ||
        !open_connection(bs, opts, error)) {
        nbd_node_disconnect(bs);
        return false;
    }
    if (s->target.reconnect_delay_s) {
        log_warn("node '%s': reconnect-delay has no effect: requests fail "
                 "once the NBD connection is lost", bs->node_name);
    }
    return true;
}

void nbd_node_disconnect(BlockDriverState *bs)
{
    NbdState *s = bs->opaque;

    if (s->nbd && nbd_aio_is_negotiating(s->nbd) > 0) {
        nbd_aio_opt_abort(s->nbd);
    } else if (s->nbd && nbd_aio_is_ready(s->nbd) > 0) {
        nbd_aio_disconnect(s->nbd, 0);
    }
    g_clear_pointer(&s->nbd, nbd_close);
    g_free(s->target.host);
    g_free(s->target.port);
    g_free(s->target.path);
    g_free(s->target.export);
}
