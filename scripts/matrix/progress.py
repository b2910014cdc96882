# SPDX-License-Identifier: GPL-2.0-or-later
"""How far the study is, and how long it will take yet."""

import sys
import time

OVERHEAD = 0.25  # seconds: a server's start and stop, until we know better


def in_words(seconds):
    """"2 h 05 min", "3 min", "20 s"."""
    minutes = int(seconds + 30) // 60
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min" if seconds >= 90 else f"{int(seconds)} s"


class Progress:
    """On standard error: a line that changes on a terminal, else one for each
    row."""

    def __init__(self, rounds, servers, guess):
        """@guess: seconds a sample takes at least."""
        self.total, self.left, self.servers = rounds, rounds, servers
        self.guess, self.start = guess + OVERHEAD, time.monotonic()
        self.terminal = sys.stderr.isatty()

    def time_left(self):
        """Seconds; of what the rounds so far have taken."""
        done = self.total - self.left
        if done == 0:
            return self.left * self.servers * self.guess
        return self.left * (time.monotonic() - self.start) / done

    def show(self, row, sample, samples, doing):
        """Before something is done."""
        text = (f"round {self.total - self.left + 1}/{self.total}, "
                f"{in_words(self.time_left())} left: {row.name}, "
                f"sample {sample}/{samples}, {doing}")
        if self.terminal:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        elif doing == "images" and sample == 1:
            print(text, file=sys.stderr, flush=True)

    def say(self, text):
        """A line that stays."""
        print(("\r\033[K" if self.terminal else "") + text, file=sys.stderr,
              flush=True)

    def round_done(self):
        """One less."""
        self.left -= 1

    def end(self):
        """Leaves no line behind."""
        if self.terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
