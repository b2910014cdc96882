/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that a test in another language looks after: it loads a disk of
 * zeroes, compares what it reads, and comes back when the server dies, as
 * QEMU does with reconnect=1. Ends when its standard input does; then all of
 * the disk is read once more. An error of the disk is its end.
 *
 * It says "served N" when the N-th server has done requests for it, and at
 * the end "N requests, N bytes verified".
 */
#include "guest-load.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define QUEUES 2
#define DEPTH  16
#define SOME   50  /* requests that show that somebody serves */
#define REST_US 200 /* after a step: others want to work as well */

typedef struct SteadyGuest {
    const char *path;
    GuestBlk *guest;
    GuestLoad *load;
    unsigned servers;
    uint64_t completed; /* before this one */
    bool told;
} SteadyGuest;

static bool has_ended(int fd)
{
    struct pollfd pfd = { .fd = fd };

    return poll(&pfd, 1, 0) > 0;
}

static void note_server(SteadyGuest *steady)
{
    steady->servers++;
    steady->completed = guest_load_counts(steady->load)->completed;
    steady->told = false;
}

static void tell(SteadyGuest *steady)
{
    uint64_t now = guest_load_counts(steady->load)->completed;

    if (!steady->told && now >= steady->completed + SOME) {
        steady->told = true;
        printf("served %u\n", steady->servers);
    }
}

static void come_back(SteadyGuest *steady)
{
    guest_load_reap(steady->load);
    guest_blk_reconnect(steady->guest, steady->path);
    note_server(steady);
}

static void enter(SteadyGuest *steady, int64_t bytes)
{
    GuestBlkConf guest_conf = { .num_queues = QUEUES };
    GuestLoadConf load_conf = {
        .queues = QUEUES, .depth = DEPTH, .bytes = bytes, .seed = 1,
    };

    steady->guest = guest_blk_new_socket(steady->path, &guest_conf);
    guest_blk_keep_inflight(steady->guest);
    load_conf.no_ranges = !guest_blk_has(steady->guest, VIRTIO_BLK_F_DISCARD);
    steady->load = guest_load_new(&load_conf);
    guest_load_attach(steady->load, steady->guest);
    guest_blk_start(steady->guest);
    note_server(steady);
}

static void leave(SteadyGuest *steady)
{
    const GuestLoadCounts *counts = guest_load_counts(steady->load);

    guest_load_wait(steady->load);
    guest_load_check(steady->load);
    printf("%" PRIu64 " requests, %" PRIu64 " bytes verified\n",
           counts->completed, counts->verified);
    guest_blk_free(steady->guest);
    guest_load_free(steady->load);
}

int main(int argc, char **argv)
{
    SteadyGuest steady = { 0 };

    if (argc != 3) {
        fprintf(stderr, "usage: steady-guest SOCKET BYTES < PIPE\n");
        return EXIT_FAILURE;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    steady.path = argv[1];
    enter(&steady, g_ascii_strtoll(argv[2], NULL, 10));
    while (!has_ended(STDIN_FILENO)) {
        if (has_ended(guest_blk_socket(steady.guest))) {
            come_back(&steady);
        }
        guest_load_step(steady.load);
        tell(&steady);
        g_usleep(REST_US);
    }
    leave(&steady);
    return EXIT_SUCCESS;
}
