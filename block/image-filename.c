/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Turns what people type for an image into the options of a protocol node:
 *
 *     path                          file, or host_device for a device
 *     file:path, host_device:path   the same, said
 *     nbd://host:port/export        nbd, and four more ways to write it
 *     blkdebug:config:image         the file under blkdebug
 *     blkverify:raw:image           both images under blkverify
 *     null-co://, null-aio://
 *
 * Called by image-open.c. The words of errors are those that scripts know.
 */
#include "image-filename.h"

#include "block/error.h"

#include <string.h>
#include <sys/stat.h>

#define NAME_MAX_DEPTH 16 /* of blkdebug:...:blkdebug:... */

static bool name_options(const char *filename, unsigned depth, Options **opts,
                         GError **error);

bool image_filename_has_protocol(const char *filename)
{
    size_t len = strcspn(filename, ":/");

    return len > 0 && filename[len] == ':';
}

static bool is_device(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 &&
           (S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode));
}

void image_default_protocol(Options *opts)
{
    const char *path = options_peek_str(opts, "filename");

    options_set_str(opts, "driver",
                    path && is_device(path) ? "host_device" : "file");
}

/* --- nbd --- */

static bool nbd_server(Options *opts, const char *host, const char *port)
{
    options_set_str(opts, "server.type", "inet");
    options_set_str(opts, "server.host", host);
    options_set_str(opts, "server.port", port);
    return true;
}

/* nbd+unix:///export?socket=path */
static bool nbd_unix_uri(GUri *uri, Options *opts, GError **error)
{
    const char *host = g_uri_get_host(uri);
    const char *query = g_uri_get_query(uri);
    g_autofree char *path = NULL;

    if ((host && *host) || !query || !g_str_has_prefix(query, "socket=")) {
        return error_setg(error, "No valid URL specified");
    }
    path = g_uri_unescape_string(query + strlen("socket="), NULL);
    if (!path) {
        return error_setg(error, "No valid URL specified");
    }
    options_set_str(opts, "server.type", "unix");
    options_set_str(opts, "server.path", path);
    return true;
}

/* nbd://host:port/export */
static bool nbd_inet_uri(GUri *uri, Options *opts, GError **error)
{
    const char *host = g_uri_get_host(uri);
    int port = g_uri_get_port(uri);
    g_autofree char *port_text = NULL;

    if (!host || !*host || g_uri_get_query(uri)) {
        return error_setg(error, "No valid URL specified");
    }
    port_text = g_strdup_printf("%d", port > 0 ? port : 10809);
    return nbd_server(opts, host, port_text);
}

static bool nbd_uri(const char *filename, Options *opts, GError **error)
{
    g_autoptr(GUri) uri = g_uri_parse(filename, G_URI_FLAGS_ENCODED_QUERY,
                                      NULL);
    const char *export;
    bool ok;

    if (!uri) {
        return error_setg(error, "No valid URL specified");
    }
    ok = g_str_equal(g_uri_get_scheme(uri), "nbd+unix")
             ? nbd_unix_uri(uri, opts, error)
             : nbd_inet_uri(uri, opts, error);
    export = g_uri_get_path(uri);
    export += *export == '/';
    if (ok && *export) {
        options_set_str(opts, "export", export);
    }
    return ok;
}

/* "host:port" or "[v6]:port" */
static bool nbd_address(const char *address, Options *opts, GError **error)
{
    const char *colon = *address == '['
                            ? strstr(address, "]:")
                            : strchr(address, ':');
    bool v6 = *address == '[';
    g_autofree char *host = NULL;

    if (!colon) {
        return error_setg(error, "error parsing address '%s'", address);
    }
    host = g_strndup(address + v6, colon - address - v6);
    return nbd_server(opts, host, colon + 1 + v6);
}

/* nbd:host:port[:exportname=name], nbd:unix:path[:exportname=name] */
static bool nbd_legacy(const char *filename, Options *opts, GError **error)
{
    static const char key[] = ":exportname=";
    const char *text = filename + strlen("nbd:");
    const char *export = strstr(text, key);
    g_autofree char *address = NULL;

    if (*text == '\0' || (export && export[strlen(key)] == '\0')) {
        return error_setg(error, "NBD server address missing");
    }
    if (export) {
        options_set_str(opts, "export", export + strlen(key));
    }
    address = export ? g_strndup(text, export - text) : g_strdup(text);
    if (!g_str_has_prefix(address, "unix:")) {
        return nbd_address(address, opts, error);
    }
    options_set_str(opts, "server.type", "unix");
    options_set_str(opts, "server.path", address + strlen("unix:"));
    return true;
}

static bool parse_nbd(const char *filename, unsigned depth, Options *opts,
                      GError **error)
{
    options_set_str(opts, "driver", "nbd");
    return strstr(filename, "://") ? nbd_uri(filename, opts, error)
                                   : nbd_legacy(filename, opts, error);
}

/* --- the others --- */

/* What is behind the protocol is a path, and stays one when it is shown. */
static void set_path(Options *opts, const char *filename)
{
    const char *path = strchr(filename, ':') + 1;
    bool mistakable = image_filename_has_protocol(path);
    g_autofree char *shown = g_strconcat(mistakable ? "./" : "", path, NULL);

    options_set_str(opts, "filename", shown);
}

static bool parse_path(const char *filename, unsigned depth, Options *opts,
                       GError **error)
{
    set_path(opts, filename);
    image_default_protocol(opts);
    return true;
}

static bool parse_host_device(const char *filename, unsigned depth,
                              Options *opts, GError **error)
{
    options_set_str(opts, "driver", "host_device");
    set_path(opts, filename);
    return true;
}

static bool parse_null(const char *filename, unsigned depth, Options *opts,
                       GError **error)
{
    const char *colon = strchr(filename, ':');
    g_autofree char *driver = g_strndup(filename, colon - filename);

    options_set_str(opts, "driver", driver);
    if (!g_str_equal(colon, "://")) {
        return error_setg(error, "The only allowed filename for this driver "
                          "is '%s://'", driver);
    }
    return true;
}

/* Makes @filename's options opts's @key. */
static bool put_child(const char *filename, unsigned depth, const char *key,
                      Options *opts, GError **error)
{
    g_autoptr(Options) child = NULL;

    if (!name_options(filename, depth + 1, &child, error)) {
        return false;
    }
    options_set_child(opts, key, child);
    return true;
}

static bool parse_blkdebug(const char *filename, unsigned depth,
                           Options *opts, GError **error)
{
    const char *config = strchr(filename, ':') + 1;
    const char *image = strchr(config, ':');
    g_autofree char *config_name = NULL;

    if (!image) {
        return error_setg(error, "blkdebug requires both config file and "
                          "image path");
    }
    options_set_str(opts, "driver", "blkdebug");
    if (image > config) {
        config_name = g_strndup(config, image - config);
        options_set_str(opts, "config", config_name);
    }
    return put_child(image + 1, depth, "image", opts, error);
}

static bool parse_blkverify(const char *filename, unsigned depth,
                            Options *opts, GError **error)
{
    const char *raw = strchr(filename, ':') + 1;
    const char *image = strchr(raw, ':');
    g_autofree char *raw_name = NULL;

    if (!image) {
        return error_setg(error, "blkverify requires raw copy and original "
                          "image path");
    }
    raw_name = g_strndup(raw, image - raw);
    options_set_str(opts, "driver", "blkverify");
    return put_child(raw_name, depth, "raw", opts, error) &&
           put_child(image + 1, depth, "test.file", opts, error);
}

typedef struct Protocol {
    const char *name;
    bool (*parse)(const char *filename, unsigned depth, Options *opts,
                  GError **error);
} Protocol;

static const Protocol protocols[] = {
    { "blkdebug", parse_blkdebug },
    { "blkverify", parse_blkverify },
    { "file", parse_path },
    { "host_device", parse_host_device },
    { "nbd", parse_nbd },
    { "nbd+tcp", parse_nbd },
    { "nbd+unix", parse_nbd },
    { "null-aio", parse_null },
    { "null-co", parse_null },
};

static const Protocol *find_protocol(const char *filename, size_t len)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(protocols); i++) {
        if (strlen(protocols[i].name) == len &&
            memcmp(protocols[i].name, filename, len) == 0) {
            return &protocols[i];
        }
    }
    return NULL;
}

static bool name_options(const char *filename, unsigned depth, Options **opts,
                         GError **error)
{
    size_t len = strcspn(filename, ":");
    const Protocol *protocol = find_protocol(filename, len);
    g_autoptr(Options) made = options_new("");

    if (depth > NAME_MAX_DEPTH) {
        return error_setg(error, "the file name nests deeper than %d",
                          NAME_MAX_DEPTH);
    }
    if (!image_filename_has_protocol(filename)) {
        options_set_str(made, "filename", filename);
        image_default_protocol(made);
    } else if (!protocol) {
        return error_setg(error, "Unknown protocol '%.*s'", (int)len,
                          filename);
    } else if (!protocol->parse(filename, depth, made, error)) {
        return false;
    }
    *opts = g_steal_pointer(&made);
    return true;
}

Options *image_filename_options(const char *filename, GError **error)
{
    Options *opts = NULL;

    return name_options(filename, 0, &opts, error) ? opts : NULL;
}
