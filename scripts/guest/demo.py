# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots a guest on a disk of each engine in turn and ends with a table.

Called by scripts/demo when the tree is built. Serving is daemon.py, booting is
machine.py, and what the guest does is tests/functional/guest/io.sh.
"""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
# pylint: disable=wrong-import-position
import daemon       # noqa: E402
import initramfs    # noqa: E402
import machine      # noqa: E402

ENGINES = ("threads", "native", "io_uring")
IMAGE_BYTES = 128 << 20
COLOURS = sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def colour(code, text):
    """@text in a colour, on a terminal."""
    return f"\033[{code}m{text}\033[0m" if COLOURS else text


def step(text):
    """The next thing to be done."""
    print(colour("1", f"==> {text}"), flush=True)


def note(text):
    """A detail of it."""
    print(f"    {text}", flush=True)


def die(cause):
    """Ends with an error that names the cause."""
    sys.exit(f"demo: {colour('31', 'error: ' + cause)}")


def show(kind, text):
    """Shows a report of the guest as it comes."""
    if kind == "PASS":
        note(f"{colour('32', 'ok')}    {text}")
    elif kind == "FAIL":
        note(f"{colour('31', 'FAIL')}  {text}")
    elif kind == "SKIP":
        note(f"{colour('33', 'skip')}  {text}")
    elif kind == "UP":
        note(f"the guest's kernel is up after {text} s")


class Demo:
    """What stays the same from engine to engine."""

    def __init__(self, options):
        self.options = options
        self.program = daemon.find_daemon(options.build_dir)
        self.guest_io = f"{options.build_dir}/tests/functional/guest/vblk-guest-io"
        if not self.program:
            die(f"no vblk-storage-daemon in {options.build_dir}/tools/storage-daemon: "
                "did the build go through?")
        if not os.access(self.guest_io, os.X_OK):
            die("vblk-guest-io was not built: it needs the static C library (libc6-dev)")
        self.folder = daemon.image_folder(options.build_dir)
        if not self.folder:
            die("neither the build directory nor /var/tmp is on a file system "
                "that can do direct I/O")
        self.run_dir = daemon.socket_folder()

    def prepare(self):
        """Kernel, initramfs, accelerator."""
        step("Making a guest: Debian's cloud kernel, busybox and our load program")
        self.machine = machine.Machine(self.options.build_dir, self.guest_io)
        note(f"kernel {self.machine.kernel}, accelerator {self.machine.accel}")

    def run_engine(self, engine):
        """Serves, boots, checks; one line of the table."""
        step(f"aio={engine}: serving a raw image and booting the guest on it")
        image = f"{self.folder}/demo-{os.getpid()}.raw"
        with open(image, "wb") as f:
            f.truncate(IMAGE_BYTES)
        run_dir = tempfile.mkdtemp(dir=self.run_dir)
        queues = self.options.queues
        server = daemon.Daemon(
            self.program, [daemon.Export("demo", image, engine, queues)], run_dir)
        try:
            with server:
                note(shlex.join(server.command()))
                disk = machine.Disk(server.sockets[0], queues, self.options.packed)
                result = self.machine.boot([disk], ["io"], f"{run_dir}/console.log",
                                           watch=show)
                figures = server.stop().get("demo", {})
            self.check_image(image, result)
        except daemon.DaemonError as err:
            return self.row(engine, {}, {}, str(err))
        finally:
            os.unlink(image)
        if daemon.is_vblk(self.program) and not figures:
            result.failed.append("the daemon printed no statistics")
        if not result.ok():
            print("The end of the guest's console:\n" + result.tail(), flush=True)
        return self.row(engine, figures, result.values,
                        "pass" if result.ok() else result.failed[0])

    def check_image(self, image, result):
        """The host reads the image itself: did the data arrive in the file?"""
        run = subprocess.run(
            [self.guest_io, image, "verify,bytes=16M,block=1M,seed=7",
             "verify,offset=32M,bytes=8M,block=1M,seed=9"], check=False, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if run.returncode != 0:
            result.failed.append("the image does not hold what the guest wrote: "
                                 + run.stdout.strip())
        show("PASS" if run.returncode == 0 else "FAIL",
             "the host finds the guest's data in the image")

    @staticmethod
    def row(engine, figures, values, outcome):
        """The cells of one engine; a server that does not count has dashes."""
        verified = int(values.get("verified_bytes", 0))
        counted = [str(figures.get(k, "-")) for k in ("requests", "submit_calls", "merged")]
        return [engine, *counted, f"{verified / (1 << 20):.1f} MiB", outcome]

    def remove(self):
        """Removes sockets and logs."""
        shutil.rmtree(self.run_dir, ignore_errors=True)


def print_table(rows):
    """The figures of all engines, right-aligned but for names."""
    head = ["engine", "requests", "host I/O calls", "requests merged",
            "verified", "guest"]
    widths = [max(len(r[i].splitlines()[0]) for r in [head, *rows])
              for i in range(len(head))]
    print()
    for cells in [head, ["-" * w for w in widths], *rows]:
        middle = [c.rjust(w) for c, w in zip(cells[1:-1], widths[1:-1])]
        print("  ".join([cells[0].ljust(widths[0]), *middle, cells[-1].splitlines()[0]]))


def parse():
    """The command line, as scripts/demo passes it on."""
    parser = argparse.ArgumentParser(prog="scripts/demo")
    parser.add_argument("--build-dir", required=True)
    parser.add_argument("--engine", action="append", choices=ENGINES)
    parser.add_argument("--queues", type=int, default=4, choices=range(1, 17),
                        metavar="1..16")
    parser.add_argument("--packed", action="store_true")
    return parser.parse_args()


def main():
    """All of it; the exit status is 0 when every guest passed."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    options = parse()
    demo = Demo(options)
    try:
        demo.prepare()
        rows = [demo.run_engine(engine) for engine in options.engine or ENGINES]
    except initramfs.Missing as err:
        die(str(err))
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        demo.remove()
    print_table(rows)
    return 0 if all(row[-1] == "pass" for row in rows) else 1


sys.exit(main())
