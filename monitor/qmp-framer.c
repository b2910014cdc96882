/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cuts a client's stream into messages. Called by monitor.c; what a message
 * says is for qmp-json.c. It counts brackets and quotes and keeps no more
 * than QMP_MAX_MESSAGE bytes.
 */
#include "qmp-json.h"

#include <string.h>

#define RESYNC '\xff'

void qmp_framer_init(QmpFramer *framer)
{
    *framer = (QmpFramer){ .text = g_string_new(NULL) };
}

void qmp_framer_clear(QmpFramer *framer)
{
    g_string_free(framer->text, TRUE);
    framer->text = NULL;
}

void qmp_framer_reset(QmpFramer *framer)
{
    g_string_truncate(framer->text, 0);
    framer->depth = 0;
    framer->quoted = framer->escaped = false;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static QmpFrame limit(GError **error, const char *what)
{
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                "JSON %s limit exceeded", what);
    return QMP_FRAME_LIMIT;
}

static void take_quoted(QmpFramer *framer, char c)
{
    if (framer->escaped) {
        framer->escaped = false;
    } else if (c == '\\') {
        framer->escaped = true;
    } else if (c == '"') {
        framer->quoted = false;
    }
}

/* A word or number outside of brackets ends where something else begins. */
static bool ends_word(const QmpFramer *framer, char c)
{
    return framer->depth == 0 && framer->text->len > 0 &&
           (is_space(c) || strchr("{}[],:\"", c));
}

static QmpFrame take_bracket(QmpFramer *framer, char c, GError **error)
{
    if (c == '{' || c == '[') {
        if (framer->depth == QMP_MAX_DEPTH) {
            return limit(error, "nesting");
        }
        framer->open[framer->depth++] = c;
        return QMP_FRAME_MORE;
    }
    if (framer->depth == 0 ||
        framer->open[framer->depth - 1] != (c == '}' ? '{' : '[')) {
        return QMP_FRAME_MESSAGE;
    }
    return --framer->depth == 0 ? QMP_FRAME_MESSAGE : QMP_FRAME_MORE;
}

static QmpFrame take_byte(QmpFramer *framer, char c, GError **error)
{
    if (framer->text->len >= QMP_MAX_MESSAGE) {
        return limit(error, "token size");
    }
    g_string_append_c(framer->text, c);
    if (c == RESYNC) {
        return QMP_FRAME_MESSAGE;
    }
    if (framer->quoted) {
        take_quoted(framer, c);
        return framer->quoted || framer->depth ? QMP_FRAME_MORE
                                               : QMP_FRAME_MESSAGE;
    }
    if (c == '"') {
        framer->quoted = true;
        return QMP_FRAME_MORE;
    }
    if (c && strchr("{}[]", c)) {
        return take_bracket(framer, c, error);
    }
    return framer->depth == 0 && (c == ',' || c == ':') ? QMP_FRAME_MESSAGE
                                                        : QMP_FRAME_MORE;
}

QmpFrame qmp_framer_feed(QmpFramer *framer, const char *data, size_t length,
                         size_t *used, GError **error)
{
    for (*used = 0; *used < length; (*used)++) {
        char c = data[*used];
        QmpFrame frame;

        if (!framer->quoted && framer->text->len == 0 && is_space(c)) {
            continue;
        }
        if (!framer->quoted && c && ends_word(framer, c)) {
            return QMP_FRAME_MESSAGE;
        }
        frame = take_byte(framer, c, error);
        if (frame != QMP_FRAME_MORE) {
            (*used)++;
            return frame;
        }
    }
    return QMP_FRAME_MORE;
}
