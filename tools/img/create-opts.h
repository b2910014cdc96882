/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What -o says: options of an image to be made or amended, checked against
 * the tables of the drivers that will get them. All functions: Context: main.
 */
#ifndef TOOLS_IMG_CREATE_OPTS_H
#define TOOLS_IMG_CREATE_OPTS_H

#include "block/image.h"

typedef struct CreateOpts CreateOpts;

/* Knows the options of @format and, behind them, those of @protocol that the
 * first does not have. Either may be NULL. */
CreateOpts *create_opts_new(const BlockOptionHelp *format,
                            const BlockOptionHelp *protocol);
/* Knows what can be amended; what else there is in the table can only be
 * given at creation, and an error says so. */
CreateOpts *create_opts_new_amend(const BlockOptionHelp *format);
void create_opts_free(CreateOpts *opts);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CreateOpts, create_opts_free)

/* "a=b,c,nod": the last of a name counts. NULL is nothing. */
bool create_opts_parse(CreateOpts *opts, const char *text, GError **error);
bool create_opts_set(CreateOpts *opts, const char *name, const char *value,
                     GError **error);
bool create_opts_knows(const CreateOpts *opts, const char *name);

/* What was given, sizes as plain numbers; or NULL. */
const char *create_opts_get(const CreateOpts *opts, const char *name);

/* " size=1048576 cluster_size=65536": what was given, and defaults of what was
 * not, in the tables' order. Caller frees. */
char *create_opts_to_text(const CreateOpts *opts);

/* What was given, for a driver. Caller frees. */
Options *create_opts_to_options(const CreateOpts *opts, const char *what);

/* One line for each option, by name. */
void create_opts_print_help(const CreateOpts *opts);

/* A size as the value of @name. */
bool create_opts_parse_size(const char *name, const char *text,
                            uint64_t *value, GError **error);

/*
 * -o may be given several times: appends @text to *list, which is NULL at
 * first. Reports what is no list.
 */
bool create_opts_append(char **list, const char *text);

/* Whether the list has the word "help" or "?". */
bool create_opts_wants_help(const char *list);

#endif
