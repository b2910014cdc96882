/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The subcommands of vblk-img. Each gets its own words, argv[0] being its
 * name, reports its errors and returns what the program is to exit with.
 * All: Context: main.
 */
#ifndef TOOLS_IMG_IMG_H
#define TOOLS_IMG_IMG_H

/* Prints what --help prints. */
void img_help(void);

int img_amend(int argc, char **argv);
int img_bench(int argc, char **argv);
int img_bitmap(int argc, char **argv);
int img_check(int argc, char **argv);
int img_commit(int argc, char **argv);
int img_compare(int argc, char **argv);
int img_convert(int argc, char **argv);
int img_create(int argc, char **argv);
int img_dd(int argc, char **argv);
int img_info(int argc, char **argv);
int img_map(int argc, char **argv);
int img_measure(int argc, char **argv);
int img_rebase(int argc, char **argv);
int img_resize(int argc, char **argv);
int img_snapshot(int argc, char **argv);

#endif
