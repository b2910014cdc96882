/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * JSON from a QMP client, who may be anybody: cut into messages, then read
 * strictly. Private to monitor/. Context: any
 */
#ifndef MONITOR_QMP_JSON_H
#define MONITOR_QMP_JSON_H

#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stddef.h>

#define QMP_MAX_MESSAGE (1024 * 1024) /* bytes */
#define QMP_MAX_DEPTH   32

/*
 * Reads one JSON text (RFC 8259) of @length bytes, not nested deeper than
 * QMP_MAX_DEPTH: comments, trailing commas, names that come twice, NUL in a
 * string and the like are errors. Integers are those of 64 bits, others
 * become doubles. The message of an error is worded as QEMU's.
 */
JsonNode *qmp_json_parse(const char *text, size_t length, GError **error);

/* Where one message ends and the next begins. */
typedef struct QmpFramer {
    GString *text;             /* of the message so far */
    char open[QMP_MAX_DEPTH];  /* brackets that have not been closed */
    unsigned depth;
    bool quoted, escaped;
} QmpFramer;

typedef enum QmpFrame {
    QMP_FRAME_MORE,    /* all bytes are taken, the message is not complete */
    QMP_FRAME_MESSAGE, /* framer->text is one; or can never become one */
    QMP_FRAME_LIMIT,   /* too long or too deep: the connection is to end */
} QmpFrame;

void qmp_framer_init(QmpFramer *framer);
void qmp_framer_clear(QmpFramer *framer);

/* For the next message. */
void qmp_framer_reset(QmpFramer *framer);

/*
 * Takes up to @length bytes, *used of them. Messages end with the bracket
 * that closes them and need nothing between them; what does not match ends
 * one as well, and so does the byte 0xff, which a client sends to be sure
 * that its next message starts afresh.
 */
QmpFrame qmp_framer_feed(QmpFramer *framer, const char *data, size_t length,
                         size_t *used, GError **error);

#endif
