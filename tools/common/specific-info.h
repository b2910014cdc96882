/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an image's format has to say of it, for people. */
#ifndef TOOLS_COMMON_SPECIFIC_INFO_H
#define TOOLS_COMMON_SPECIFIC_INFO_H

#include <json-glib/json-glib.h>

/* Prints "Format specific information:" and the "data" of @specific, see
 * BlockImageInfo. Context: main */
void specific_info_print(JsonObject *specific);

#endif
