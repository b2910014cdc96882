/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is shown of a long job, and when. */
#include "tools/common/progress.h"

#include <glib.h>
#include <signal.h>
#include <stdio.h>

static void run_steps(void)
{
    progress_set(0);
    progress_set(0.5);
    progress_set(1.25);
    progress_set(2);
    progress_set(100);
    progress_end();
    fflush(stdout);
}

/* Steps of less than one percent are not shown. */
static void test_shown(void)
{
    if (g_test_subprocess()) {
        progress_init(true, 1);
        run_steps();
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stdout("*    (0.00/100%)\r    (1.25/100%)\r"
                              "    (100.00/100%)\r\n*");
}

static void test_hidden(void)
{
    if (g_test_subprocess()) {
        progress_init(false, 1);
        run_steps();
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stdout_unmatched("*%*");
    g_test_trap_assert_stderr_unmatched("*%*");
}

/* A signal is answered at the next step, once. */
static void test_signal(void)
{
    if (g_test_subprocess()) {
        progress_init(false, 1);
        progress_set(1);
        raise(SIGUSR1);
        run_steps();
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr("*    (0.00/100%)\n*");
    g_test_trap_assert_stderr_unmatched("*0.50*");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/progress/shown", test_shown);
    g_test_add_func("/progress/hidden", test_hidden);
    g_test_add_func("/progress/signal", test_signal);
    return g_test_run();
}
