/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which of several ways costs least: found by trying, seldom, and for short.
 * Knows numbers only; auto-meter.c measures and acts. Private to block/engine.
 */
#ifndef BLOCK_ENGINE_AUTO_TRIAL_H
#define BLOCK_ENGINE_AUTO_TRIAL_H

#include <stdbool.h>
#include <stdint.h>

typedef enum AutoVerdict {
    AUTO_GOING_ON, /* nothing was decided */
    AUTO_KEPT,     /* a trial is over: the best way stays */
    AUTO_MOVED,    /* a trial is over: what was tried is the best way now */
} AutoVerdict;

typedef struct AutoTrial {
    unsigned n_ways;
    unsigned best;
    unsigned candidate;  /* the next to be tried, or the one that is */
    bool trying;         /* this epoch goes the candidate's way */
    unsigned wait;       /* epochs until the next trial */
    unsigned patience;   /* the wait after next trial, as a power of two */
    uint64_t last_cost;  /* of the best way's last epoch */
    unsigned pairs;      /* of this trial: epochs compared, */
    int64_t sum;         /* of the candidate's gains in percent, */
    int64_t squares;     /* and of their squares */
    unsigned lost;       /* by this trial, in percent of an epoch of the best */
    int gain;            /* of the last trial, on average; negative: a loss */
} AutoTrial;

/* The first of @n_ways is the best until shown otherwise. With one there is
 * nothing to try. */
void auto_trial_init(AutoTrial *trial, unsigned n_ways);

/* The way of the current epoch. */
static inline unsigned auto_trial_way(const AutoTrial *trial)
{
    return trial->trying ? trial->candidate : trial->best;
}

/* The current epoch is over and has cost this much. */
AutoVerdict auto_trial_epoch(AutoTrial *trial, uint64_t cost);

/* Nothing is known of the epoch before the next one: a trial begins anew. */
void auto_trial_interrupt(AutoTrial *trial);

#endif
