/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What --help says. It teaches: every option with its values and defaults,
 * then commands that can be copied.
 */
#include "cmdline.h"

#include <stdio.h>
#include <string.h>

static const char usage[] =
"Usage: vblk-storage-daemon [options]\n"
"Serves disk images to virtual machines over vhost-user-blk.\n"
"\n"
"  -h, --help             show this help and exit\n"
"  -V, --version          show the version and exit\n"
"\n"
"In short:\n"
"  --drive file=<image>[,format=raw][,cache=<mode>][,aio=<engine>]\n"
"          [,id=<id>][,readonly=on|off][,discard=ignore|unmap]\n"
"          [,detect-zeroes=off|on|unmap][,socket=<path>]\n"
"          [,num-queues=<n>][,serial=<text>][,iothread=<id>]\n"
"                         one image, one socket: the same as a --blockdev and\n"
"                         an --export. The socket is <image>.sock unless given.\n"
"                         cache: writeback (default), none, writethrough,\n"
"                         directsync, unsafe, as in QEMU's -drive\n"
"\n"
"In full; options are acted upon in the order given:\n"
"  --object iothread,id=<id>[,poll-max-ns=<ns>][,poll-grow=<n>]\n"
"           [,poll-shrink=<n>][,aio-max-batch=<n>]\n"
"           [,thread-pool-min=<n>][,thread-pool-max=<n>]\n"
"                         a thread that runs queues; exports without one share\n"
"                         a thread made for them. '--object iothread,help'\n"
"                         explains the properties\n"
"  --object throttle-group,id=<id>[,limits.iops-total=<n>]\n"
"           [,limits.bps-total=<n>][,...]\n"
"                         limits that nodes share; '--object\n"
"                         throttle-group,help' explains them\n"
"\n"
"  --blockdev [driver=]<driver>,node-name=<name>[,read-only=on|off]\n"
"             [,auto-read-only=on|off][,cache.direct=on|off]\n"
"             [,cache.no-flush=on|off][,discard=ignore|unmap]\n"
"             [,detect-zeroes=off|on|unmap][,force-share=on|off]\n"
"             [,driver's own options]\n"
"                         opens an image. Drivers and their options:\n"
"      file               filename=<path>: a regular file\n"
"                         aio=auto|threads|native|io_uring (leave it out: auto\n"
"                         takes what suits each request; native needs\n"
"                         cache.direct=on), aio-max-batch=<n>,\n"
"                         locking=on|off|auto\n"
"      host_device        the same for a block device\n"
"      raw                file=<node-name>[,offset=<bytes>][,size=<bytes>]\n"
"      nbd                server.type=unix,server.path=<socket>  or\n"
"                         server.type=inet,server.host=<h>,server.port=<p>\n"
"                         [,export=<name>]: an export of an NBD server\n"
"      throttle           file=<node-name>,throttle-group=<id>: no faster than\n"
"                         its group allows\n"
"      copy-on-read       file=<node-name>[,bottom=<node-name>]: keeps what it\n"
"                         reads from backing files\n"
"      blkdebug           image=<node-name>[,inject-error.0.event=<event>]...\n"
"      blkverify          raw=<node-name>,test=<node-name>\n"
"                         errors on purpose, and two images that have to be\n"
"                         the same: for tests\n"
"      null-co, null-aio  size=<bytes>[,latency-ns=<ns>][,read-zeroes=on|off]:\n"
"                         no disk at all, for measuring\n"
"\n"
"  --export [type=]vhost-user-blk,id=<id>,node-name=<name>,\n"
"           addr.type=unix,addr.path=<socket>  or  addr.type=fd,addr.str=<n>\n"
"           [,writable=on|off][,writethrough=on|off]\n"
"           [,logical-block-size=<bytes>][,num-queues=<n>][,serial=<text>]\n"
"           [,iothread=<id>][,request-merging=on|off][,config-wce=on|off]\n"
"           [,packed=on|off][,rerror=report|ignore|stop]\n"
"           [,werror=report|ignore|enospc|stop]\n"
"                         serves a node. writable is off by default;\n"
"                         writethrough=on makes every write stable before it\n"
"                         is acknowledged; num-queues is the most a front end\n"
"                         may use (default 256); serial is what the guest sees\n"
"                         in /dev/disk/by-id, 20 bytes at most; iothread takes\n"
"                         one id or a list (iothread.0=a,iothread.1=b, or JSON),\n"
"                         over which the queues are spread; addr.str is the\n"
"                         number of an inherited listening or connected socket;\n"
"                         rerror and werror say what becomes of requests that\n"
"                         fail (defaults report and enospc: writes wait until\n"
"                         the host has space)\n"
"\n"
"  --supervise[=max-crashes=<n>]\n"
"                         a parent process starts the server again when it\n"
"                         crashes, and keeps its sockets meanwhile; it gives up\n"
"                         after <n> crashes in a row (default 10; 0: never)\n"
"  --pidfile <path>       write the process id there once everything is ready\n"
"  --daemonize            go to the background once everything is ready\n"
"  --sandbox on|off       give up, once everything is open, what serving it\n"
"                         does not need: system calls, paths, capabilities.\n"
"                         Without the option: as much as the host can do, but\n"
"                         nothing with a monitor and no --allow-path; on\n"
"                         fails where it cannot do all. obsolete=,\n"
"                         elevateprivileges=, spawn= and resourcecontrol=deny\n"
"                         are accepted and always so\n"
"  --allow-path <path>    in the sandbox, let images and sockets below this\n"
"                         folder be opened later on; may be given again\n"
"  --run-with user=<name>|<uid>:<gid>\n"
"                         become this user once everything is open\n"
"  --stats                print each export's statistics at exit; SIGUSR1\n"
"                         prints them at any time\n"
"\n"
"  --chardev socket,id=<id>,path=<socket>,server=on[,wait=off]\n"
"  --chardev stdio,id=<id>\n"
"                         where a monitor's client comes from\n"
"  --monitor [chardev=]<id>[,pretty=on|off]\n"
"                         QMP, as qemu-storage-daemon speaks it: exports, nodes\n"
"                         and objects are added, shown and removed at run time\n"
"\n"
"Options are written key=value,key.sub=value (a comma in a value is ',,') or as\n"
"a JSON object: --blockdev '{\"driver\":\"file\",\"filename\":\"a.img\",...}'.\n"
"SIGTERM and SIGINT finish the requests in flight and exit with status 0.\n"
"\n"
"Examples:\n"
"  vblk-storage-daemon --drive file=disk.img,cache=none\n"
"\n"
"  vblk-storage-daemon \\\n"
"    --object iothread,id=t0 \\\n"
"    --blockdev driver=file,node-name=f0,filename=disk.img,cache.direct=on,\\\n"
"discard=unmap \\\n"
"    --export vhost-user-blk,id=e0,node-name=f0,writable=on,iothread=t0,\\\n"
"addr.type=unix,addr.path=/run/disk.sock\n"
"\n"
"  qemu-system-x86_64 -m 1G \\\n"
"    -object memory-backend-memfd,id=mem,size=1G,share=on -machine memory-backend=mem \\\n"
"    -chardev socket,id=c0,path=/run/disk.sock,reconnect=1 \\\n"
"    -device vhost-user-blk-pci,chardev=c0 ...\n";

static const char objects[] =
"List of object types:\n"
"  iothread\n"
"  throttle-group\n";

static const char iothread[] =
"iothread options:\n"
"  aio-max-batch=<int>    - requests collected before they are submitted early\n"
"                           (0: chosen by the engine)\n"
"  id=<str>               - name, for iothread= of --export; mandatory\n"
"  poll-grow=<int>        - factor by which a paying busy-poll grows (0: 2)\n"
"  poll-max-ns=<int>      - longest busy-poll before sleeping, in nanoseconds\n"
"                           (0: never poll; default 32768)\n"
"  poll-shrink=<int>      - divisor by which a futile one shrinks (0: to nothing)\n"
"  thread-pool-max=<int>  - most worker threads (default 64)\n"
"  thread-pool-min=<int>  - workers kept while idle (default 0)\n";

static const char throttle_group[] =
"throttle-group options; each limit may also be written x-<limit> in place of\n"
"limits.<limit>:\n"
"  id=<str>               - name, for throttle-group= of driver=throttle;\n"
"                           mandatory\n"
"  limits.bps-read=<int>, limits.bps-total=<int>, limits.bps-write=<int>\n"
"                         - bytes a second (0: no limit)\n"
"  limits.iops-read=<int>, limits.iops-total=<int>, limits.iops-write=<int>\n"
"                         - requests a second (0: no limit)\n"
"  limits.<any of these>-max=<int>\n"
"                         - the same in a burst (0: none)\n"
"  limits.<any of these>-max-length=<int>\n"
"                         - how long a burst may last, in seconds (default 1)\n"
"  limits.iops-size=<int> - a request of more bytes counts as several\n";

void help_print(void)
{
    fputs(usage, stdout);
}

void help_print_objects(void)
{
    fputs(objects, stdout);
}

void help_print_object(const char *type)
{
    fputs(strcmp(type, "iothread") == 0 ? iothread : throttle_group, stdout);
}
