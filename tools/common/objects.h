/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tools' --object. */
#ifndef TOOLS_COMMON_OBJECTS_H
#define TOOLS_COMMON_OBJECTS_H

#include <glib.h>
#include <stdbool.h>

/*
 * Makes the object that @text describes, "secret,id=s,data=x" or JSON.
 * "help" and "secret,help" are for object_help(). Context: main
 */
bool object_add(const char *text, GError **error);

/* Prints the help that @text asks for, and whether it did. Context: main */
bool object_help(const char *text);

void object_free_all(void); /* Context: main */

#endif
