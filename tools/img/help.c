/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What --help says: what vblk-img does, each subcommand with its options in
 * qemu-img's order, and the meaning of the words in them.
 */
#include "img.h"

#include "block/driver.h"
#include "config.h"

#include <stdio.h>
#include <string.h>

static const char usage[] =
"usage: %s [standard options] command [command options]\n"
"Makes, inspects, checks and changes disk images.\n"
"\n"
"    '-h', '--help'       show this help and exit\n"
"    '-V', '--version'    show the version and exit\n"
"\n"
"Command syntax:\n"
"  amend [--object objectdef] [--image-opts] [-p] [-q] [-f fmt] [-t cache] [--force] -o options filename\n"
"  bitmap (--merge SOURCE | --add | --remove | --clear | --enable | --disable)... [-b source_file [-F source_fmt]] [-g granularity] [--object objectdef] [--image-opts | -f fmt] filename bitmap\n"
"  check [--object objectdef] [--image-opts] [-q] [-f fmt] [--output=ofmt] [-r [leaks | all]] [-T src_cache] [-U] filename\n"
"  create [--object objectdef] [-q] [-f fmt] [-b backing_file [-F backing_fmt]] [-u] [-o options] filename [size]\n"
"  info [--object objectdef] [--image-opts] [-f fmt] [--output=ofmt] [--backing-chain] [-U] filename\n"
"  map [--object objectdef] [--image-opts] [-f fmt] [--start-offset=offset] [--max-length=len] [--output=ofmt] [-U] filename\n"
"  measure [--output=ofmt] [-O output_fmt] [-o options] [--size N | [--object objectdef] [--image-opts] [-f fmt] [-l snapshot_param] filename]\n"
"  snapshot [--object objectdef] [--image-opts] [-U] [-q] [-l | -a snapshot | -c snapshot | -d snapshot] filename\n"
"  resize [--object objectdef] [--image-opts] [-f fmt] [--preallocation=prealloc] [-q] [--shrink] filename [+ | -]size\n"
"\n"
"Command parameters:\n"
"  'filename' names an image: a path, 'json:{...}', or with --image-opts the\n"
"    options of a node, 'driver=qcow2,file.filename=disk.qcow2'\n"
"  'fmt' is the image's format. Without it the format is guessed from the\n"
"    contents; say 'raw' for an image whose contents a guest has written\n"
"  'size' is a number of bytes, with 'k', 'M', 'G', 'T', 'P' or 'E' behind it\n"
"    one of kilo- to exabytes (powers of 1024)\n"
"  'objectdef' is an object: 'secret,id=sec0,data=...'\n"
"  'options' is 'name=value,...'; '-o help' lists those of the format\n"
"  'cache' is how a file is written: 'none' and 'directsync' around the page\n"
"    cache, 'writethrough' and 'directsync' stable at once, 'unsafe' without\n"
"    flushes, 'writeback' (default); 'src_cache' is how one is read\n"
"  'ofmt' is 'human' (default) or 'json'\n"
"  'prealloc' is 'off', 'metadata', 'falloc' or 'full'\n"
"  'snapshot_param' is a snapshot's id or name, or\n"
"    'snapshot.id=...,snapshot.name=...'\n"
"  '-U' opens an image that another program has open for writing\n"
"  '-p' shows how far the work is, '-q' prints errors only\n"
"  '-u' does not look at the backing file\n"
"  '-r leaks' gives leaked clusters back, '-r all' also mends what may be\n"
"    mended wrongly: look at the image and make a copy of it first\n"
"\n"
"Examples:\n"
"  %s create -f qcow2 -b base.qcow2 -F qcow2 overlay.qcow2\n"
"  %s info --output=json --backing-chain overlay.qcow2\n"
"  %s resize overlay.qcow2 +10G\n"
"  %s snapshot -c before-upgrade overlay.qcow2\n"
"  %s check overlay.qcow2\n"
"\n";

void img_help(void)
{
    const char *name = g_get_prgname();
    g_autofree char *formats = bdrv_driver_names();
    g_auto(GStrv) words = g_strsplit(formats, ", ", -1);
    g_autofree char *list = g_strjoinv(" ", words);

    printf("%s version " VBLK_VERSION "\n", name);
    printf(usage, name, name, name, name, name, name);
    printf("Supported formats: %s\n", list);
}
