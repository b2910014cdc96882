/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Trials of ways: see auto-trial.h.
 *
 * How it works: time is cut into epochs of some dozens of requests, each with
 * one cost. Every so often a trial lets the candidate have every other epoch
 * and compares it with the best way's epoch just before:
 *
 *     epoch      best  cand  best  cand  best  cand  ...  best  cand
 *     cost        100    80   110    95   100    83         98    80
 *     gain, %           20          14          17               18   it has won
 *
 * Neighbours are compared because disks and the host's other guests have moods
 * that last longer than two epochs. The candidate wins when what it gains on
 * average is enough to care about, and too much to be chance: three times the
 * standard error. A trial ends as soon as it is won, when the candidate is
 * clearly worse, or when MAX_PAIRS have not decided it: a draw changes nothing.
 *
 * The wait for the next trial doubles with each round of candidates that have
 * lost, so that in the long run next to nothing is lost on trying; a move makes
 * it short again. And it is FRUGAL times as long as the time that the trial has
 * lost: a way that takes ten times as long would be dear even at first.
 */
#include "auto-trial.h"

#include <glib.h>

#define MIN_PAIRS   7
#define MAX_PAIRS   16
#define GAIN_ENOUGH 5 /* percent */
#define SIGMAS      3

/* One that lost its processor for a while costs many times the usual: no
 * single pair says more than this. */
#define MOST        30

/* So much worse the candidate is given up after two epochs, after one if that
 * was as bad as can be. */
#define CLEAR_LOSS  (-10)

#define WAIT_EPOCHS  8u
#define MAX_PATIENCE 8 /* 2048 epochs */
#define FRUGAL       64

void auto_trial_init(AutoTrial *trial, unsigned n_ways)
{
    *trial = (AutoTrial){
        .n_ways = n_ways,
        .candidate = 1,
        .wait = WAIT_EPOCHS,
    };
}

static void forget_scores(AutoTrial *trial)
{
    trial->trying = false;
    trial->pairs = 0;
    trial->sum = 0;
    trial->squares = 0;
    trial->lost = 0;
}

/* The next in turn that is not the best; a turn that is over costs patience. */
static void next_candidate(AutoTrial *trial)
{
    do {
        if (++trial->candidate >= trial->n_ways) {
            trial->candidate = 0;
            trial->patience = MIN(trial->patience + 1, MAX_PATIENCE);
        }
    } while (trial->candidate == trial->best);
}

/* In epochs. */
static unsigned next_wait(const AutoTrial *trial)
{
    unsigned frugal = MIN(trial->lost * FRUGAL / 100,
                          WAIT_EPOCHS << MAX_PATIENCE);

    return MAX(frugal, WAIT_EPOCHS << trial->patience);
}

static AutoVerdict trial_over(AutoTrial *trial, AutoVerdict verdict)
{
    trial->gain = trial->sum / (int)trial->pairs;
    if (verdict == AUTO_MOVED) {
        unsigned before = trial->best;

        trial->best = trial->candidate;
        trial->candidate = before;
        trial->patience = 0;
        trial->lost = 0;
    } else {
        next_candidate(trial);
    }
    trial->wait = next_wait(trial);
    forget_scores(trial);
    return verdict;
}

/*
 * With n gains of mean m the standard error squared is what they differ from m,
 * squared and added up, over n (n - 1); n times that sum is n squares - sum^2.
 */
static bool has_won(const AutoTrial *trial)
{
    int64_t n = trial->pairs;
    int64_t spread = n * trial->squares - trial->sum * trial->sum;

    return n >= MIN_PAIRS && trial->sum >= GAIN_ENOUGH * n &&
           trial->sum * trial->sum * (n - 1) >= SIGMAS * SIGMAS * spread;
}

static bool has_lost(const AutoTrial *trial)
{
    int mean = trial->sum / (int)trial->pairs;

    return mean <= -MOST || (trial->pairs >= 2 && mean <= CLEAR_LOSS) ||
           (trial->pairs >= MIN_PAIRS && mean <= 0) ||
           trial->pairs >= MAX_PAIRS;
}

/* The candidate's epoch cost @cost. */
static AutoVerdict compare(AutoTrial *trial, uint64_t cost)
{
    uint64_t best = MAX(trial->last_cost, 1);
    int64_t gain = 100 - (int64_t)(MIN(cost, best * 64) * 100 / best);

    trial->lost += MAX(-gain, 0);
    gain = CLAMP(gain, -MOST, MOST);
    trial->trying = false;
    trial->pairs++;
    trial->sum += gain;
    trial->squares += gain * gain;
    if (has_won(trial)) {
        return trial_over(trial, AUTO_MOVED);
    }
    return has_lost(trial) ? trial_over(trial, AUTO_KEPT) : AUTO_GOING_ON;
}

AutoVerdict auto_trial_epoch(AutoTrial *trial, uint64_t cost)
{
    if (trial->trying) {
        return compare(trial, cost);
    }
    trial->last_cost = cost;
    if (trial->wait) {
        trial->wait--;
    } else {
        trial->trying = trial->n_ways > 1;
    }
    return AUTO_GOING_ON;
}

void auto_trial_interrupt(AutoTrial *trial)
{
    forget_scores(trial);
    trial->wait = MAX(trial->wait, 1);
}
