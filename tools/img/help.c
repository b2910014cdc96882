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
"  bench [-c count] [-d depth] [-f fmt] [--flush-interval=flush_interval] [-i aio] [-n] [--no-drain] [-o offset] [--pattern=pattern] [-q] [-s buffer_size] [-S step_size] [-t cache] [-w] [-U] filename\n"
"  bitmap (--merge SOURCE | --add | --remove | --clear | --enable | --disable)... [-b source_file [-F source_fmt]] [-g granularity] [--object objectdef] [--image-opts | -f fmt] filename bitmap\n"
"  check [--object objectdef] [--image-opts] [-q] [-f fmt] [--output=ofmt] [-r [leaks | all]] [-T src_cache] [-U] filename\n"
"  commit [--object objectdef] [--image-opts] [-q] [-f fmt] [-t cache] [-i aio] [-b base] [-r rate_limit] [-d] [-p] filename\n"
"  compare [--object objectdef] [--image-opts] [-f fmt] [-F fmt] [-T src_cache] [-i aio] [-p] [-q] [-s] [-U] filename1 filename2\n"
"  convert [--object objectdef] [--image-opts] [--target-image-opts] [--target-is-zero] [--bitmaps [--skip-broken-bitmaps]] [-U] [-C] [-c] [-p] [-q] [-n] [-f fmt] [-t cache] [-T src_cache] [-i aio] [-O output_fmt] [-B backing_file [-F backing_fmt]] [-o options] [-l snapshot_param] [-S sparse_size] [-r rate_limit] [-m num_coroutines] [-W] [--salvage] filename [filename2 [...]] output_filename\n"
"  create [--object objectdef] [-q] [-f fmt] [-b backing_file [-F backing_fmt]] [-u] [-o options] filename [size]\n"
"  dd [--object objectdef] [--image-opts] [-U] [-f fmt] [-O output_fmt] [-i aio] [bs=block_size] [count=blocks] [skip=blocks] if=input of=output\n"
"  info [--object objectdef] [--image-opts] [-f fmt] [--output=ofmt] [--backing-chain] [-U] filename\n"
"  map [--object objectdef] [--image-opts] [-f fmt] [--start-offset=offset] [--max-length=len] [--output=ofmt] [-U] filename\n"
"  measure [--output=ofmt] [-O output_fmt] [-o options] [--size N | [--object objectdef] [--image-opts] [-f fmt] [-l snapshot_param] filename]\n"
"  snapshot [--object objectdef] [--image-opts] [-U] [-q] [-l | -a snapshot | -c snapshot | -d snapshot] filename\n"
"  rebase [--object objectdef] [--image-opts] [-U] [-q] [-f fmt] [-t cache] [-T src_cache] [-i aio] [-p] [-u] -b backing_file [-F backing_fmt] filename\n"
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
"  'aio' is how files are read and written: 'auto' (default: what suits each\n"
"    request; leave it out), 'threads', 'io_uring', or 'native' with a cache\n"
"    mode that goes around the page cache\n"
"  'output_fmt' is the format of a new image, 'raw' unless given\n"
"  'sparse_size' is how many bytes of zeroes become a hole, 4k unless given;\n"
"    with 0 all is written\n"
"  'rate_limit' is how many bytes a second are written at most\n"
"  'num_coroutines' is how many requests are under way, 1 to 16\n"
"  'ofmt' is 'human' (default) or 'json'\n"
"  'prealloc' is 'off', 'metadata', 'falloc' or 'full'\n"
"  'snapshot_param' is a snapshot's id or name, or\n"
"    'snapshot.id=...,snapshot.name=...'\n"
"  '-U' opens an image that another program has open for writing\n"
"  '-p' shows how far the work is, '-q' prints errors only\n"
"  '-u' does not look at the backing file, of rebase: at neither of them\n"
"  '-c' compresses, '-n' writes to an image that is there, '-W' in any order\n"
"  '-d' leaves the image as it is after a commit\n"
"  '-s' wants the same length and the same parts allocated\n"
"  '-r leaks' gives leaked clusters back, '-r all' also mends what may be\n"
"    mended wrongly: look at the image and make a copy of it first\n"
"\n"
"Examples:\n"
"  %s create -f qcow2 -b base.qcow2 -F qcow2 overlay.qcow2\n"
"  %s info --output=json --backing-chain overlay.qcow2\n"
"  %s resize overlay.qcow2 +10G\n"
"  %s snapshot -c before-upgrade overlay.qcow2\n"
"  %s check overlay.qcow2\n"
"  %s convert -p -O qcow2 disk.raw disk.qcow2\n"
"  %s compare disk.raw disk.qcow2\n"
"  %s rebase -b other.qcow2 -F qcow2 overlay.qcow2\n"
"\n";

void img_help(void)
{
    const char *name = g_get_prgname();
    g_autofree char *formats = bdrv_driver_names();
    g_auto(GStrv) words = g_strsplit(formats, ", ", -1);
    g_autofree char *list = g_strjoinv(" ", words);

    printf("%s version " VBLK_VERSION "\n", name);
    printf(usage, name, name, name, name, name, name, name, name, name);
    printf("Supported formats: %s\n", list);
}
