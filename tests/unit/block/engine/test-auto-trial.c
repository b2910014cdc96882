/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Trials of ways, with made-up costs. */
#include "block/engine/auto-trial.h"

#include <glib.h>

/* What the ways cost now. */
static uint64_t costs[4];
static unsigned epochs[4]; /* that went each way */

static AutoVerdict run(AutoTrial *trial, unsigned n)
{
    AutoVerdict last = AUTO_GOING_ON;

    for (unsigned i = 0; i < n; i++) {
        unsigned way = auto_trial_way(trial);
        AutoVerdict verdict;

        g_assert_cmpuint(way, <, trial->n_ways);
        epochs[way]++;
        verdict = auto_trial_epoch(trial, costs[way]);
        last = verdict != AUTO_GOING_ON ? verdict : last;
    }
    return last;
}

static void set_costs(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t all[] = { a, b, c };

    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
        costs[i] = all[i];
        epochs[i] = 0;
    }
}

static void test_one_way(void)
{
    AutoTrial trial;

    auto_trial_init(&trial, 1);
    set_costs(10, 0, 0);
    g_assert_cmpint(run(&trial, 10000), ==, AUTO_GOING_ON);
    g_assert_cmpuint(epochs[0], ==, 10000);
}

/* Seven in a row are enough. */
static void test_better(void)
{
    AutoTrial trial;

    auto_trial_init(&trial, 2);
    set_costs(1000, 900, 0);
    g_assert_cmpint(run(&trial, 9), ==, AUTO_GOING_ON);
    g_assert_cmpuint(epochs[1], ==, 0);
    g_assert_cmpint(run(&trial, 12), ==, AUTO_GOING_ON);
    g_assert_cmpint(run(&trial, 1), ==, AUTO_MOVED);
    g_assert_cmpuint(epochs[1], ==, 7);
    g_assert_cmpuint(trial.best, ==, 1);
    g_assert_cmpint(trial.gain, ==, 10);
    /* and it stays */
    run(&trial, 1000);
    g_assert_cmpuint(trial.best, ==, 1);
    g_assert_cmpuint(epochs[0], <, 40);
}

/* Always a bit better is not enough: moving has no merit of its own. */
static void test_as_good(void)
{
    AutoTrial trial;

    auto_trial_init(&trial, 2);
    set_costs(1000, 960, 0);
    g_assert_cmpint(run(&trial, 9 + 2 * 16), ==, AUTO_KEPT);
    run(&trial, 1000);
    g_assert_cmpuint(trial.best, ==, 0);
}

/* A third more or less from one epoch to the next. */
static unsigned moves_in_noise(uint64_t a, uint64_t b, unsigned n)
{
    AutoTrial trial;
    unsigned moves = 0;

    auto_trial_init(&trial, 2);
    for (unsigned i = 0; i < n; i++) {
        double noise = g_test_rand_double_range(0.67, 1.33);

        set_costs(a * noise, b * noise, 0);
        moves += run(&trial, 1) == AUTO_MOVED;
    }
    return trial.best == (b < a) ? moves : UINT_MAX;
}

/* Chance does not move it often, nor does it hide what is there for long. */
static void test_noise(void)
{
    unsigned moves = 0;

    for (unsigned i = 0; i < 20; i++) {
        unsigned n = moves_in_noise(1000, 1000, 1000);

        moves += n == UINT_MAX ? 1 : n;
        g_assert_cmpuint(moves_in_noise(1000, 600, 4000), <=, 3);
    }
    g_assert_cmpuint(moves, <=, 10);
}

/* A way that is much worse costs one epoch each time it is tried, and is tried
 * less and less often. */
static void test_rout(void)
{
    AutoTrial trial;

    auto_trial_init(&trial, 2);
    set_costs(1000, 10000, 0);
    g_assert_cmpint(run(&trial, 10), ==, AUTO_KEPT);
    g_assert_cmpuint(epochs[1], ==, 1);
    /* Nine epochs were lost: 64 times as many go by. */
    g_assert_cmpint(run(&trial, 9 * 64 + 1), ==, AUTO_GOING_ON);
    g_assert_cmpuint(epochs[1], ==, 1);
    g_assert_cmpint(run(&trial, 1), ==, AUTO_KEPT);
    g_assert_cmpuint(epochs[1], ==, 2);
    run(&trial, 10000);
    g_assert_cmpuint(epochs[1], <=, 10);
}

/* Each has its turn; the best wins, whatever its number. */
static void test_three(void)
{
    AutoTrial trial;

    auto_trial_init(&trial, 3);
    set_costs(1000, 1200, 500);
    run(&trial, 80);
    g_assert_cmpuint(epochs[1], ==, 2);
    g_assert_cmpuint(trial.best, ==, 2);
    set_costs(1000, 300, 500);
    run(&trial, 400);
    g_assert_cmpuint(trial.best, ==, 1);
}

/* What else the machine does hits one epoch in ten, hard. */
static void test_stalls(void)
{
    AutoTrial trial;
    unsigned moves = 0;

    auto_trial_init(&trial, 2);
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t stall = g_test_rand_int_range(0, 10) ? 1 : 10;

        set_costs(1000 * stall, 1050 * stall, 0);
        moves += run(&trial, 1) == AUTO_MOVED;
    }
    g_assert_cmpuint(moves, <=, 2);
    g_assert_cmpuint(trial.best, ==, 0);
}

/* Moods that last for several epochs meet both. */
static void test_moods(void)
{
    AutoTrial trial;

    auto_trial_init(&trial, 2);
    for (unsigned i = 0; i < 3000; i++) {
        uint64_t mood = i / 10 % 2 ? 1000 : 4000;

        set_costs(mood, mood, 0);
        run(&trial, 1);
    }
    g_assert_cmpuint(trial.best, ==, 0);
}

/* Half a trial is none. */
static void test_interrupt(void)
{
    AutoTrial trial;

    auto_trial_init(&trial, 2);
    set_costs(1000, 100, 0);
    for (unsigned i = 0; i < 50; i++) {
        run(&trial, 5);
        auto_trial_interrupt(&trial);
        g_assert_cmpuint(auto_trial_way(&trial), ==, 0);
    }
    g_assert_cmpuint(trial.best, ==, 0);
    g_assert_cmpint(run(&trial, 16), ==, AUTO_MOVED);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/auto-trial/one-way", test_one_way);
    g_test_add_func("/auto-trial/better", test_better);
    g_test_add_func("/auto-trial/as-good", test_as_good);
    g_test_add_func("/auto-trial/noise", test_noise);
    g_test_add_func("/auto-trial/rout", test_rout);
    g_test_add_func("/auto-trial/three", test_three);
    g_test_add_func("/auto-trial/stalls", test_stalls);
    g_test_add_func("/auto-trial/moods", test_moods);
    g_test_add_func("/auto-trial/interrupt", test_interrupt);
    return g_test_run();
}
