# SPDX-License-Identifier: GPL-2.0-or-later
"""What the functional tests share: TAP lines, images, one daemon, one guest.

A test calls main() with a function that gets a Bench; each check() is one TAP
line. meson passes the build directory and the program vblk-guest-io in the
environment; by hand: tests/functional/NAME.py works after `ninja -C build`.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/scripts/guest")
# pylint: disable=wrong-import-position
import daemon       # noqa: E402
import initramfs    # noqa: E402
import machine      # noqa: E402

MIB = 1 << 20


class Skip(Exception):
    """The test cannot be run here; the text says why."""


class Bench:
    """One test's surroundings: directories, programs and the count of checks."""

    def __init__(self):
        self.build_dir = os.environ.get("VBLK_BUILD_DIR", f"{ROOT}/build")
        self.guest_io = os.environ.get(
            "VBLK_GUEST_IO", f"{self.build_dir}/tests/functional/guest/vblk-guest-io")
        self.program = daemon.find_daemon(self.build_dir)
        if not self.program:
            raise Skip("vblk-storage-daemon has not been built")
        if not os.access(self.guest_io, os.X_OK):
            raise Skip("vblk-guest-io has not been built: no static C library")
        self.is_vblk = daemon.is_vblk(self.program)
        self.count = self.failures = 0
        folder = daemon.image_folder(self.build_dir)
        if not folder:
            raise Skip("neither the build directory nor /var/tmp can do direct I/O")
        self.images = tempfile.mkdtemp(dir=folder, prefix="images-")
        self.run_dir = daemon.socket_folder()
        try:
            self.machine = machine.Machine(self.build_dir, self.guest_io)
        except initramfs.Missing as err:
            self.remove()
            raise Skip(str(err)) from err
        self.note(f"daemon {self.program}, kernel {self.machine.release}, "
                  f"accelerator {self.machine.accel}")

    def note(self, text):
        """A diagnostic, each line a TAP comment."""
        for line in text.splitlines():
            print(f"# {line}", flush=True)

    def check(self, what, good, why=""):
        """One TAP line; @why is shown when it failed."""
        self.count += 1
        self.failures += not good
        what = what.replace("#", "no. ")
        print(f"{'ok' if good else 'not ok'} {self.count} - {what}", flush=True)
        if not good and why:
            self.note(str(why))
        return good

    def expect(self, what, wanted, found):
        """A check of a value."""
        return self.check(what, wanted == found,
                          f"expected {wanted!r}, found {found!r}")

    def skip(self, what, reason):
        """A check that cannot be made here."""
        self.count += 1
        print(f"ok {self.count} - {what} # SKIP {reason}", flush=True)

    def image(self, name, size=128 * MIB):
        """A new sparse image; returns its path."""
        path = f"{self.images}/{name}.raw"
        with open(path, "wb") as f:
            f.truncate(size)
        return path

    def on_image(self, what, path, *operations):
        """vblk-guest-io on the host, on the image itself, as one check."""
        self.command(what, [self.guest_io, path, *operations])

    def command(self, what, words):
        """A program that must end with status 0, as one check."""
        run = subprocess.run(words, check=False, text=True, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.check(what, run.returncode == 0,
                   f"{' '.join(words)}: status {run.returncode}\n{run.stdout}")

    def fsck(self, path):
        """e2fsck on an image after the guest is gone."""
        self.command("host: e2fsck finds nothing to mend in the image",
                     [initramfs.find_tool("e2fsck"), "-fn", path])

    def daemon(self, exports):
        """A daemon to be used with `with`."""
        run_dir = tempfile.mkdtemp(dir=self.run_dir)
        return daemon.Daemon(self.program, exports, run_dir)

    def boot(self, disks, workloads, **more):
        """Runs a guest; each of its reports becomes a check."""
        def report(kind, text):
            if kind == "PASS":
                self.check(f"guest: {text}", True)
            elif kind == "SKIP":
                self.skip(f"guest: {text}", "not offered")
            elif kind in ("UP", "RUN"):
                self.note(f"guest: {kind.lower()} {text}")
            return bool(watch and watch(kind, text))
        watch = more.pop("watch", None)
        console = f"{self.run_dir}/console.log"
        result = self.machine.boot(disks, workloads, console, watch=report, **more)
        for failure in result.failed:
            self.check(f"guest: {failure.split(':')[0]}", False, failure)
        if result.failed:
            self.note("the end of the guest's console:\n" + result.tail())
        self.note(f"boot {result.up_seconds:.1f} s, all {result.seconds:.1f} s")
        return result

    def stop(self, server):
        """Ends the daemon, which must go well; returns its statistics."""
        try:
            stats = server.stop()
        except daemon.DaemonError as err:
            self.check("the daemon ends with status 0", False, err)
            return {}
        self.check("the daemon ends with status 0", True)
        return stats

    def remove(self):
        """Removes what the test made."""
        shutil.rmtree(self.images, ignore_errors=True)
        shutil.rmtree(self.run_dir, ignore_errors=True)


def interrupted(number, _frame):
    """Turns a signal into an exit that passes through every clean-up."""
    sys.exit(128 + number)


def main(body):
    """Runs body(bench) and ends the process."""
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGINT, interrupted)
    try:
        bench = Bench()
    except Skip as err:
        print(f"1..0 # SKIP {err}")
        sys.exit(0)
    try:
        body(bench)
    except daemon.DaemonError as err:
        bench.check("the daemon starts", False, err)
    finally:
        bench.remove()
    print(f"1..{bench.count}", flush=True)
    sys.exit(1 if bench.failures else 0)
