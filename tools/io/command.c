/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of commands: finds the one that a line names, checks how many
 * words it has and whether the image suits it, and runs it. The commands that
 * are about commands, help and quit, are here too.
 */
#include "command.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "args.h"
#include "image.h"
#include "tools/common/message.h"

static const IoCommand cmd_help;
static const IoCommand cmd_quit;

/* In the order in which help shows them. */
static const IoCommand *const commands[] = {
    &io_cmd_abort,
    &io_cmd_aio_flush,
    &io_cmd_aio_read,
    &io_cmd_aio_write,
    &io_cmd_alloc,
    &io_cmd_break,
    &io_cmd_close,
    &io_cmd_discard,
    &io_cmd_flush,
    &cmd_help,
    &io_cmd_info,
    &io_cmd_length,
    &io_cmd_map,
    &io_cmd_open,
    &cmd_quit,
    &io_cmd_read,
    &io_cmd_readv,
    &io_cmd_remove_break,
    &io_cmd_reopen,
    &io_cmd_resume,
    &io_cmd_sigraise,
    &io_cmd_sleep,
    &io_cmd_truncate,
    &io_cmd_wait_break,
    &io_cmd_write,
    &io_cmd_writev,
};

static const IoCommand *find(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (strcmp(name, commands[i]->name) == 0 ||
            g_strcmp0(name, commands[i]->alias) == 0) {
            return commands[i];
        }
    }
    return NULL;
}

static void show_oneline(const IoCommand *command, const char *name)
{
    printf("%s ", name);
    if (command->args) {
        printf("%s ", command->args);
    }
    printf("-- %s\n", command->oneline);
}

static bool run_help(Io *io, int argc, char **argv)
{
    const IoCommand *command;

    if (argc == 1) {
        for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
            show_oneline(commands[i], commands[i]->name);
        }
        printf("\nUse 'help commandname' for extended help.\n");
        return true;
    }
    command = find(argv[1]);
    if (!command) {
        printf("command %s not found\n", argv[1]);
        return false;
    }
    show_oneline(command, argv[1]);
    if (command->help) {
        fputs(command->help, stdout);
    }
    return true;
}

static bool run_quit(Io *io, int argc, char **argv)
{
    io->quit = true;
    return true;
}

static const IoCommand cmd_help = {
    .name = "help",
    .alias = "?",
    .args = "[command]",
    .oneline = "help for one or all commands",
    .max_args = 1,
    .flags = IO_NEEDS_NO_IMAGE,
    .run = run_help,
};

static const IoCommand cmd_quit = {
    .name = "quit",
    .alias = "q",
    .oneline = "exit the program",
    .max_args = -1,
    .flags = IO_NEEDS_NO_IMAGE,
    .run = run_quit,
};

static bool check_count(const IoCommand *command, int argc, char **argv)
{
    int min = command->min_args, max = command->max_args, count = argc - 1;

    if (count >= min && (max < 0 || count <= max)) {
        return true;
    }
    fprintf(stderr, "bad argument count %d to %s, expected ", count, argv[0]);
    if (max < 0) {
        fprintf(stderr, "at least %d arguments\n", min);
    } else if (min == max) {
        fprintf(stderr, "%d arguments\n", min);
    } else {
        fprintf(stderr, "between %d and %d arguments\n", min, max);
    }
    return false;
}

static bool check_image(const Io *io, const IoCommand *command)
{
    if (!io->image && !(command->flags & IO_NEEDS_NO_IMAGE)) {
        fprintf(stderr, "no file open, try 'help open'\n");
        return false;
    }
    return true;
}

static bool check_writable(const Io *io, const IoCommand *command)
{
    if ((command->flags & IO_NEEDS_WRITABLE) &&
        !blk_is_writable(io->image->blk)) {
        error_report("Block node is read-only");
        return false;
    }
    return true;
}

static bool run_words(Io *io, int argc, char **argv)
{
    const IoCommand *command = find(argv[0]);

    if (!command) {
        fprintf(stderr, "command \"%s\" not found\n", argv[0]);
        return false;
    }
    if (!check_image(io, command) || !check_count(command, argc, argv) ||
        !check_writable(io, command)) {
        return false;
    }
    optind = 0; /* getopt() starts anew */
    return command->run(io, argc, argv);
}

bool io_command_run(Io *io, const char *line)
{
    g_auto(GStrv) split = g_strsplit(line, " ", -1);
    g_autoptr(GPtrArray) words = g_ptr_array_new();

    for (char **word = split; *word; word++) {
        if (**word) {
            g_ptr_array_add(words, *word);
        }
    }
    if (words->len == 0) {
        return true;
    }
    g_ptr_array_add(words, NULL);
    return run_words(io, words->len - 1, (char **)words->pdata);
}
