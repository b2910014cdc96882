#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What vblk-io does that no other program has to agree with.

Usage: test-io.py VBLK-IO
"""

import os
import re
import resource
import signal
import subprocess
import sys

import peer

sys.path.insert(0, os.path.dirname(sys.path[0]))
from cases import case, main  # noqa: E402 pylint: disable=wrong-import-position

IO = os.path.abspath(sys.argv[1])
TIMEOUT = 60


def image(name="t.raw", contents=bytes(range(256)) * 256):
    with open(name, "wb") as file:
        file.write(contents)
    return name


def contents_of(name="t.raw"):
    with open(name, "rb") as file:
        return file.read()


def run(*args, stdin="", **kwargs):
    done = subprocess.run([IO, *args], input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=TIMEOUT,
                          check=False, **kwargs)
    done.stdout = peer.filtered(done.stdout)
    return done


def commands(*lines, options=("-f", "raw"), name="t.raw"):
    """Runs them and expects success; returns what they print."""
    args = [word for line in lines for word in ("-c", line)]
    done = run(*options, *args, name)
    assert done.returncode == 0 and not done.stderr, (lines, done)
    return done.stdout


@case
def numbers_are_printed_as_scripts_expect_them():
    image()
    done = subprocess.run([IO, "-f", "raw", "-c", "write -P 1 0 1536",
                           "-c", "read -C 0 1k", "t.raw"],
                          stdout=subprocess.PIPE, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == "wrote 1536/1536 bytes at offset 0", lines
    assert re.fullmatch(r"1.500 KiB, 1 ops; 00.\d\d sec \([0-9.]+ "
                        r"(bytes|KiB|MiB|GiB)/sec and \d+\.\d{4} ops/sec\)",
                        lines[1]), lines
    assert re.fullmatch(r"1024,1,0:00:00.\d\d,\d+\.\d{3},\d+\.\d{3}",
                        lines[2]), lines
    assert contents_of()[:1537] == b"\1" * 1536 + b"\0"


@case
def a_pattern_that_differs_is_a_failure():
    image()
    done = run("-f", "raw", "-c", "read -P 0 0 1", "-c", "read -P 0 0 2",
               "t.raw")
    assert done.returncode == 1, done
    assert "Pattern verification failed at offset 0, 2 bytes\n" in done.stdout


@case
def the_prompt_has_the_name_that_test_suites_wait_for():
    image()
    done = run("-f", "raw", "t.raw", stdin="length\nq\nlength\n")
    assert done.stdout == "qemu-io> 64 KiB\nqemu-io> ", done
    done = run(stdin="bogus\n")
    assert done.returncode == 1, done
    assert done.stderr == 'command "bogus" not found\n', done


@case
def errors_begin_with_the_name_it_was_called_by():
    done = run("nosuch")
    assert done.returncode == 1, done
    assert done.stderr == ("vblk-io: can't open device nosuch: Could not open "
                           "'nosuch': No such file or directory\n"), done


@case
def help_names_every_command():
    done = run("-c", "help")
    names = [line.split()[0] for line in done.stdout.split("\n\n")[0].split("\n")]
    assert names == sorted(names) and "aio_flush" in names, names
    for name in names:
        one = run("-c", f"help {name}")
        assert one.returncode == 0 and one.stdout.startswith(name), one
    for args in (["-h"], ["--help"]):
        done = run(*args)
        assert done.returncode == 0 and done.stdout.startswith("Usage: "), done
    done = run("-V")
    assert re.fullmatch(r"vblk-io version \S+\n", done.stdout), done


@case
def bad_options_end_it():
    for args in (["--bogus"], ["-Z"], ["-c"], ["a", "b"]):
        done = run(*args)
        assert done.returncode == 1, (args, done)
        assert done.stdout.startswith("Usage: "), (args, done)


@case
def an_empty_command_does_nothing():
    image()
    assert commands("", "   ", "length") == "64 KiB\n"


@case
def many_requests_at_once_are_all_reported():
    image(contents=bytes(1 << 20))
    lines = [f"aio_write -P {i % 255 + 1} {i * 4096} 4k" for i in range(256)]
    for engine in ("threads", "io_uring"):
        out = commands(*lines, "aio_flush", options=("-f", "raw", "-i", engine))
        assert out.count("wrote 4096/4096") == 256, out
        assert contents_of() == b"".join(bytes([i % 255 + 1]) * 4096
                                         for i in range(256))
    out = commands(*[line.replace("write", "read") for line in lines])
    assert out.count("read 4096/4096") == 256, out
    assert "Pattern" not in out, out


@case
def a_request_is_reported_when_a_command_waits():
    image()
    out = commands("aio_read -C 0 512", "length", "aio_flush", "length")
    assert out == "64 KiB\n512,1,TIME,RATE,RATE\n64 KiB\n", out


@case
def what_is_not_waited_for_is_done_at_the_end():
    image()
    for stdin in ("aio_write -P 9 0 4k\nq\n", "aio_write -P 9 0 4k\n"):
        image()
        done = run("-f", "raw", "t.raw", stdin=stdin)
        assert done.stdout.count("wrote 4096/4096") == 1, done
        assert contents_of()[:4097] == b"\x09" * 4096 + b"\0"


@case
def vectors_have_as_many_pieces_as_the_kernel_takes():
    image()
    assert "read 1024/1024" in commands("readv 0" + " 1" * 1024)
    done = run("-f", "raw", "-c", "readv 0" + " 1" * 1025, "t.raw")
    assert done.stdout == "readv failed: Invalid argument\n", done


@case
def the_largest_request_is_possible():
    size = 2147483136
    out = commands(f"write 0 {size}", "length",
                   options=("--image-opts",),
                   name="driver=null-co,size=8G")
    assert f"wrote {size}/{size} bytes at offset 0\n2 GiB, " in out, out


@case
def no_memory_is_an_error_of_one_command():
    image()
    limit = 1 << 30

    def limited():
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    if b"__asan_init" in contents_of(IO) or b"__tsan_init" in contents_of(IO):
        return  # these want all the address space there is
    done = run("-f", "raw", "-c", "read 0 2147483136", "-c", "length",
               "t.raw", preexec_fn=limited)
    assert done.returncode == 1 and done.stdout == "64 KiB\n", done
    assert "cannot allocate 2147483136 bytes" in done.stderr, done


@case
def an_image_that_shrinks_reads_as_zeroes():
    image()
    process = subprocess.Popen([IO, "-f", "raw", "t.raw"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True)
    assert process.stdout.read(9) == "qemu-io> "
    os.truncate("t.raw", 0)
    out, _ = process.communicate("read -P 0 1000 1000\n", timeout=TIMEOUT)
    assert "read 1000/1000" in out, out
    assert process.returncode == 0, out


@case
def input_may_come_piece_by_piece():
    image()
    process = subprocess.Popen([IO, "-f", "raw", "t.raw"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.read(9) == b"qemu-io> "
    process.stdin.write(b"len")
    process.stdin.flush()
    process.stdin.write(b"gth\naio_read -q 0 1\nle")
    process.stdin.flush()
    assert process.stdout.read(25) == b"64 KiB\nqemu-io> qemu-io> "
    out, _ = process.communicate(b"ngth", timeout=TIMEOUT)
    assert out == b"64 KiB\nqemu-io> ", out
    assert process.returncode == 0


@case
def a_reader_that_goes_away_does_not_kill_it():
    image()
    process = subprocess.Popen([IO, "-f", "raw", "t.raw"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.close()
    process.stdin.write(b"write -P 1 0 64k\nlength\n")
    process.stdin.close()
    assert process.wait(timeout=TIMEOUT) == 0
    assert contents_of() == b"\1" * 65536


@case
def a_limit_on_file_size_is_an_error_of_one_request():
    image()

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    done = run("-f", "raw", "-c", "write 8k 4k", "-c", "read -P 0 0 1",
               "t.raw", preexec_fn=limited)
    assert done.stdout.startswith("write failed: File too large\n"), done
    assert done.returncode == 1, done


@case
def abort_leaves_the_image_as_it_is():
    image()
    done = run("-f", "raw", "-c", "write -P 1 0 1k", "-c", "abort", "t.raw",
               preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE,
                                                     (0, 0)))
    assert done.returncode == -signal.SIGABRT, done
    assert contents_of()[:1024] == b"\1" * 1024


@case
def what_stands_at_a_breakpoint_goes_on_at_the_end():
    image()
    name = "blkdebug::t.raw"
    done = run("-f", "raw", "-c", "break pwritev A",
               "-c", "aio_write -P 7 0 512", "-c", "wait_break A", name)
    assert done.returncode == 0 and contents_of()[:512] == b"\7" * 512, done
    assert done.stdout.startswith("blkdebug: Suspended request 'A'\n"
                                  "blkdebug: Resuming request 'A'\n"
                                  "wrote 512/512 bytes"), done


if __name__ == "__main__":
    sys.exit(main())
