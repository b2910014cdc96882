/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options of a blkdebug node, in the command line and in its configuration
 * file, which has the form of QEMU's:
 *
 *     [inject-error]
 *     event = "l2_load"
 *     errno = "28"
 *
 * Each section becomes an Options and is read as an element of the list of
 * that name in the command line would be. Main thread only.
 */
#include "blkdebug.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "filter.h"

#define CONFIG_MAX_BYTES (64 * 1024)

static const char *const section_names[] = { "inject-error", "set-state",
                                             NULL };

/* --- one rule --- */

/* As options_take_enum(), with QEMU's words. *@value stays as it is without
 * the option. */
static bool take_name(Options *opts, const char *key,
                      const char *const *names, int *value, GError **error)
{
    g_autofree char *name = NULL;

    if (!options_take_str(opts, key, &name, error)) {
        return false;
    }
    for (int i = 0; name && names[i]; i++) {
        if (strcmp(names[i], name) == 0) {
            *value = i;
            return true;
        }
    }
    return !name || options_fail(opts, error, "invalid parameter value: %.64s",
                                 name);
}

static bool take_number(Options *opts, const char *key, unsigned *value,
                        GError **error)
{
    uint64_t wide = *value;

    if (!options_take_uint(opts, key, INT_MAX, &wide, error)) {
        return false;
    }
    *value = wide;
    return true;
}

static bool take_io(Options *opts, unsigned *io, GError **error)
{
    static const char *const names[] = {
        "read", "write", "write-zeroes", "discard", "flush", "block-status",
        NULL,
    };
    int value = -1;

    if (!take_name(opts, "iotype", names, &value, error)) {
        return false;
    }
    *io = value < 0 ? BLKDEBUG_IO_DEFAULT : 1u << value;
    return true;
}

/* "immediately" makes no difference here: no request ever fails before the
 * next round of the loop. */
static bool take_inject(Options *opts, BlkdebugRule *rule, GError **error)
{
    uint64_t sector = UINT64_MAX;
    unsigned number = EIO;
    bool immediately = false;

    if (!take_io(opts, &rule->io, error) ||
        !take_number(opts, "errno", &number, error) ||
        !options_take_uint(opts, "sector", INT64_MAX >> 9, &sector, error) ||
        !options_take_bool(opts, "once", &rule->once, error) ||
        !options_take_bool(opts, "immediately", &immediately, error)) {
        return false;
    }
    rule->error = number;
    rule->offset = sector == UINT64_MAX ? -1 : (int64_t)(sector << 9);
    return true;
}

static bool add_rule(BlkdebugState *s, BlkdebugAction action, Options *opts,
                     GError **error)
{
    BlkdebugRule *rule;
    int event = -1;

    if (!take_name(opts, "event", blkdebug_event_names, &event, error)) {
        return false;
    }
    if (event < 0) {
        return options_fail(opts, error, "Missing event name for rule");
    }
    rule = blkdebug_rule_new(action, event);
    g_ptr_array_add(s->rules, rule);
    return take_number(opts, "state", &rule->state, error) &&
           (action == BLKDEBUG_INJECT_ERROR
                ? take_inject(opts, rule, error)
                : take_number(opts, "new_state", &rule->new_state, error)) &&
           options_finish(opts, error);
}

static bool take_rules(BlkdebugState *s, BlkdebugAction action, Options *opts,
                       GError **error)
{
    GPtrArray *list;
    bool ok = true;

    if (!options_take_list(opts, section_names[action], &list, error)) {
        return false;
    }
    for (unsigned i = 0; list && ok && i < list->len; i++) {
        ok = add_rule(s, action, list->pdata[i], error);
    }
    g_clear_pointer(&list, g_ptr_array_unref);
    return ok;
}

/* --- the configuration file --- */

typedef struct ConfigReader {
    BlkdebugState *s;
    const char *what;
    Options *section;      /* the one that is being read, or NULL */
    BlkdebugAction action; /* what it is */
    unsigned line;
} ConfigReader;

static bool config_error(const ConfigReader *reader, GError **error,
                         const char *fmt, ...) G_GNUC_PRINTF(3, 4);

static bool config_error(const ConfigReader *reader, GError **error,
                         const char *fmt, ...)
{
    va_list args;
    g_autofree char *text = NULL;

    va_start(args, fmt);
    text = g_strdup_vprintf(fmt, args);
    va_end(args);
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                "%s: blkdebug config file, line %u: %s", reader->what,
                reader->line, text);
    return false;
}

static bool end_section(ConfigReader *reader, GError **error)
{
    g_autoptr(Options) section = g_steal_pointer(&reader->section);

    return !section ||
           add_rule(reader->s, reader->action, section, error);
}

/* "[name]", or "[name "id"]" as in QEMU's own configuration files. */
static bool begin_section(ConfigReader *reader, char *text, GError **error)
{
    g_autofree char *what = g_strdup_printf(
        "%s: blkdebug config file, section in line %u", reader->what,
        reader->line);
    char *end = strchr(text, ']');

    if (!end || end[1] != '\0') {
        return config_error(reader, error, "'[' without ']' at the end");
    }
    *end = '\0';
    text[strcspn(text, " \t")] = '\0';
    for (int i = 0; section_names[i]; i++) {
        if (strcmp(text + 1, section_names[i]) == 0) {
            reader->action = i;
            reader->section = options_new(what);
            return true;
        }
    }
    return config_error(reader, error, "There is no option group '%.64s'",
                        text + 1);
}

/* 'key = "value"' */
static bool read_pair(ConfigReader *reader, char *text, GError **error)
{
    char *equals = strchr(text, '=');
    char *value;
    size_t len;

    if (!reader->section) {
        return config_error(reader, error, "no group defined");
    }
    if (!equals || equals == text) {
        return config_error(reader, error, "needs: key = \"value\"");
    }
    *equals = '\0';
    value = g_strstrip(equals + 1);
    len = strlen(value);
    if (len < 2 || value[0] != '"' || strchr(value + 1, '"') != value + len - 1) {
        return config_error(reader, error, "the value needs to stand in "
                            "quotation marks");
    }
    value[len - 1] = '\0';
    options_set_str(reader->section, g_strchomp(text), value + 1);
    return true;
}

static bool read_line(ConfigReader *reader, char *line, GError **error)
{
    char *text = g_strstrip(line);

    reader->line++;
    if (*text == '\0' || *text == '#') {
        return true;
    }
    if (*text == '[') {
        return end_section(reader, error) &&
               begin_section(reader, text, error);
    }
    return read_pair(reader, text, error);
}

static bool read_text(ConfigReader *reader, const char *text, GError **error)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    bool ok = true;

    for (unsigned i = 0; ok && lines[i]; i++) {
        ok = read_line(reader, lines[i], error);
    }
    ok = ok && end_section(reader, error);
    g_clear_pointer(&reader->section, options_free);
    return ok;
}

/* The whole file, or NULL with errno. */
static char *read_file(const char *filename)
{
    g_autofree char *text = g_malloc(CONFIG_MAX_BYTES + 1);
    int fd = open(filename, O_RDONLY | O_CLOEXEC);
    ssize_t n, len = 0;

    if (fd < 0) {
        return NULL;
    }
    do {
        n = read(fd, text + len, CONFIG_MAX_BYTES + 1 - len);
        len += MAX(n, 0);
    } while ((n > 0 && len <= CONFIG_MAX_BYTES) || (n < 0 && errno == EINTR));
    close(fd);
    if (n < 0 || len > CONFIG_MAX_BYTES) {
        errno = n < 0 ? errno : EFBIG;
        return NULL;
    }
    text[len] = '\0';
    return g_steal_pointer(&text);
}

static bool take_config(BlkdebugState *s, Options *opts, GError **error)
{
    ConfigReader reader = { .s = s, .what = options_what(opts) };
    g_autofree char *text = NULL;

    if (!options_take_text(opts, "config", &s->config, error)) {
        return false;
    }
    if (!s->config || *s->config == '\0') {
        return true;
    }
    text = read_file(s->config);
    if (!text) {
        return options_fail(opts, error,
                            "Could not read blkdebug config file: %s",
                            g_strerror(errno));
    }
    return read_text(&reader, text, error);
}

/* --- limits --- */

/* 0, or a multiple of @unit that a request can have. */
static bool take_limit(Options *opts, const char *key, uint32_t unit,
                       uint32_t *limit, GError **error)
{
    int64_t wide = 0;

    if (!options_take_size(opts, key, &wide, error)) {
        return false;
    }
    if (wide > INT_MAX || wide % unit) {
        return options_fail(opts, error, "Cannot meet constraints with %s "
                            "%" G_GINT64_FORMAT, key, wide);
    }
    *limit = wide;
    return true;
}

static bool take_align(BlkdebugState *s, Options *opts, GError **error)
{
    int64_t align = 0;

    if (!options_take_size(opts, "align", &align, error)) {
        return false;
    }
    if (align > INT_MAX || (align & (align - 1))) {
        return options_fail(opts, error, "Cannot meet constraints with align "
                            "%" G_GINT64_FORMAT, align);
    }
    s->align = align;
    return true;
}

static bool take_limits(BlkdebugState *s, Options *opts, GError **error)
{
    uint32_t unit;

    if (!take_align(s, opts, error)) {
        return false;
    }
    unit = MAX(s->align, 1);
    return take_limit(opts, "max-transfer", unit, &s->max_transfer, error) &&
           take_limit(opts, "opt-write-zero", unit, &s->opt_write_zero,
                      error) &&
           take_limit(opts, "max-write-zero", MAX(s->opt_write_zero, unit),
                      &s->max_write_zero, error) &&
           take_limit(opts, "opt-discard", unit, &s->opt_discard, error) &&
           take_limit(opts, "max-discard", MAX(s->opt_discard, unit),
                      &s->max_discard, error);
}

/* Nodes have no permissions here; the words are still checked. */
static bool take_permissions(Options *opts, const char *key, GError **error)
{
    static const char *const known[] = { "consistent-read", "write",
                                         "write-unchanged", "resize", NULL };
    g_auto(GStrv) list = NULL;

    if (!options_take_strv(opts, key, &list, error)) {
        return false;
    }
    for (unsigned i = 0; list && list[i]; i++) {
        if (!g_strv_contains(known, list[i])) {
            return options_fail(opts, error, "Parameter '%s' does not accept "
                                "value '%.64s'", key, list[i]);
        }
    }
    return true;
}

bool blkdebug_take_options(BlkdebugState *s, Options *opts, GError **error)
{
    return take_config(s, opts, error) &&
           take_rules(s, BLKDEBUG_INJECT_ERROR, opts, error) &&
           take_rules(s, BLKDEBUG_SET_STATE, opts, error) &&
           take_limits(s, opts, error) &&
           take_permissions(opts, "take-child-perms", error) &&
           take_permissions(opts, "unshare-child-perms", error);
}
