#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vblk-bench against real servers, good and bad ones.

Each bad server must end vblk-bench with status 1 and one line on standard
error that names the request it happened on; nothing may hang. Counts and
results are checked, never times.

Usage: test-bench.py VBLK_BENCH VBLK_STORAGE_DAEMON
"""

import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

BENCH, DAEMON = sys.argv[1:3]
QSD = shutil.which("qemu-storage-daemon")
TIMEOUT = 60
MIB = 1 << 20
CASES = []


class Skip(Exception):
    """This case cannot be run here."""


def case(function):
    CASES.append(function)
    return function


def bench(*args, **kwargs):
    return subprocess.run([BENCH, *args], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=TIMEOUT, check=False, **kwargs)


def good(*args):
    """Runs a job that must succeed; returns its object of the JSON report."""
    result = bench(*args, "--output-format=json")
    assert result.returncode == 0, (args, result.stderr)
    assert result.stderr == "", result.stderr
    return json.loads(result.stdout)["jobs"][0]


def bad(pattern, *args, program=None):
    """The run fails with one line that matches."""
    result = program or bench(*args)
    lines = result.stderr.splitlines()
    assert result.returncode == 1, (result.returncode, result.stderr)
    assert len(lines) == 1, lines
    assert re.search(pattern, lines[0]), (pattern, lines[0])
    assert lines[0].startswith("vblk-bench: error: "), lines[0]


def export(extra=""):
    return ("--export vhost-user-blk,id=e,node-name=d,addr.type=unix,"
            "addr.path={socket},writable=on" + extra)


def null_server(program=DAEMON, options=""):
    return (f"{program} --blockdev driver=null-co,node-name=d,"
            f"size={64 * MIB},read-zeroes=on{options} {export()}")


def file_server(path, program=DAEMON, options="", extra=""):
    return (f"{program} --blockdev driver=file,node-name=d,filename={path}"
            f"{options} {export(extra)}")


def servers():
    """Ours and, where it is installed, qemu-storage-daemon."""
    return [DAEMON] + ([QSD] if QSD else [])


class Folder:
    """A directory of its own, gone at the end."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="vblk-bench-test-")
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path)

    def image(self, name="image.raw", size=64 * MIB):
        path = f"{self.path}/{name}"
        with open(path, "wb") as f:
            f.truncate(size)
        return path


def find(pattern, what):
    """The first match in @what, as an integer."""
    match = re.search(pattern, what)
    assert match, (pattern, what)
    return int(match[1])


@case
def counts_are_exact():
    for program in servers():
        for rw in ("read", "randread", "write", "randwrite"):
            job = good("--server", null_server(program), f"--rw={rw}",
                       "--number_ios=5000", "--iodepth=32")
            done = job["write" if "write" in rw else "read"]
            other = job["read" if "write" in rw else "write"]
            assert done["total_ios"] == 5000, done
            assert done["io_bytes"] == 5000 * 4096, done
            assert other["total_ios"] == 0, other
            assert done["clat_ns"]["N"] == 5000, done
            assert job["server"]["cpu_us_per_request"] > 0
            assert job["server"]["peak_rss_bytes"] > 0


@case
def size_bounds_a_run():
    job = good("--server", null_server(), "--rw=read", "--bs=64k",
               "--size=16M", "--iodepth=4")
    assert job["read"]["total_ios"] == 256, job["read"]


@case
def time_bounds_a_run():
    job = good("--server", null_server(), "--rw=randrw", "--rwmixread=70",
               "--iodepth=8", "--runtime=500ms", "--ramp_time=100ms")
    total = job["read"]["total_ios"] + job["write"]["total_ios"]
    assert total > 0
    assert 0.5 < job["read"]["total_ios"] / total < 0.9, job


@case
def verify_reads_back_what_was_written():
    with Folder() as folder:
        for number, program in enumerate(servers()):
            path = folder.image(f"{number}.raw")
            job = good("--server", file_server(path, program), "--rw=randrw",
                       "--bs=8k", "--iodepth=16", "--number_ios=3000",
                       "--verify=pattern")
            assert job["verified_ios"] > 1000, job["verified_ios"]


@case
def a_later_run_finds_what_an_earlier_wrote():
    with Folder() as folder:
        path = folder.image()
        server = file_server(path)
        job = good("--server", server, "--rw=write", "--bs=64k",
                   "--size=8M", "--iodepth=4", "--verify=pattern")
        assert job["verified_ios"] == 128, job["verified_ios"]
        job = good("--server", server, "--rw=read", "--bs=4k", "--size=8M",
                   "--iodepth=4", "--verify=pattern")
        assert job["verified_ios"] == 2048, job["verified_ios"]
        job = good("--bare=libaio", f"--filename={path}", "--direct=off",
                   "--rw=randread", "--bs=4k", "--size=8M",
                   "--number_ios=500", "--verify=pattern")
        assert job["verified_ios"] == 500, job["verified_ios"]
        with open(path, "r+b") as f:
            f.seek(5 * MIB + 700)
            f.write(b"\xff")
        bad(r"queue 0: read of 4096 bytes at offset 5242880: wrong data: "
            r"the sector at offset 5243392 has a good mark and wrong data",
            "--server", server, "--rw=read", "--size=8M", "--verify=pattern")


@case
def every_kind_of_ring_and_wait():
    with Folder() as folder:
        server = file_server(folder.image(), extra=",num-queues=2")
        for packed in ("on", "off"):
            for event_idx in ("on", "off"):
                for poll in ("on", "off"):
                    job = good("--server", server, f"--packed={packed}",
                               f"--event-idx={event_idx}", f"--poll={poll}",
                               "--indirect=" + packed, "--numjobs=2",
                               "--rw=randrw", "--iodepth=20",
                               "--number_ios=1000", "--verify=meta")
                    total = (job["read"]["total_ios"] +
                             job["write"]["total_ios"])
                    assert total == 2000, job


@case
def segments_cut_a_request():
    with Folder() as folder:
        job = good("--server", file_server(folder.image()), "--rw=randrw",
                   "--bs=64k", "--segment=4k", "--iodepth=8",
                   "--number_ios=500", "--verify=pattern")
        assert job["verified_ios"] > 100


@case
def bursts_are_bursts():
    job = good("--server", null_server(), "--rw=read", "--iodepth=32",
               "--iodepth_batch=16", "--iodepth_batch_complete_min=16",
               "--number_ios=16000")
    assert job["guest"]["submits_per_request"] == 1 / 16, job["guest"]


@case
def a_rate_is_kept():
    # 300 requests at 1000 a second cannot be done before 0.299 s
    job = good("--server", null_server(), "--rw=read", "--iodepth=32",
               "--rate_iops=1000", "--number_ios=300")
    assert job["read"]["runtime"] >= 298, job["read"]


@case
def bare_engines_do_the_same():
    with Folder() as folder:
        path = folder.image()
        for engine in ("libaio", "io_uring"):
            result = bench(f"--bare={engine}", f"--filename={path}",
                           "--direct=off", "--rw=randrw", "--iodepth=16",
                           "--number_ios=1000", "--verify=pattern",
                           "--output-format=json")
            if engine == "io_uring" and result.returncode:
                assert "io_uring" in result.stderr, result.stderr
                continue
            assert result.returncode == 0, result.stderr
            job = json.loads(result.stdout)["jobs"][0]
            assert job["verified_ios"] > 300
            assert job["server"]["cpu_us_per_request"] > 0


@case
def the_table_says_it_in_words():
    result = bench("--server", null_server(), "--rw=randread",
                   "--number_ios=1000", "--iodepth=4", "--name=title")
    assert result.returncode == 0, result.stderr
    for word in ("title: rw=randread bs=4096 iodepth=4", "IOPS=", "BW=",
                 "1000 requests", "p99.99=", "CPU ", "memory: peak"):
        assert word in result.stdout, (word, result.stdout)


@case
def wrong_data_is_found():
    for program in servers():
        bad(r"queue 0: read of 4096 bytes at offset \d+: wrong data: the "
            r"sector at offset \d+ is all zeroes",
            "--server", null_server(program), "--rw=randread",
            "--verify=meta", "--number_ios=10")
        bad(r"wrong data: the sector at offset \d+ is all zeroes",
            "--server", null_server(program), "--rw=write", "--size=1M",
            "--verify=meta")


@case
def a_refused_feature_is_named():
    if not QSD:
        raise Skip("no qemu-storage-daemon, which has no packed rings")
    bad("refuses VIRTIO_F_RING_PACKED", "--server", null_server(QSD),
        "--packed=on", "--number_ios=1")
    bad("refuses an in-flight area", "--server", null_server(QSD),
        "--inflight=on", "--number_ios=1")


@case
def what_is_in_flight_is_kept_as_qemu_has_it():
    for packed in ("on", "off"):
        for inflight in ("on", "auto", "off"):
            job = good("--server", null_server(), f"--packed={packed}",
                       f"--inflight={inflight}", "--rw=read",
                       "--iodepth=8", "--number_ios=1000")
            kept = "in-flight area" in job["about"]
            assert kept == (inflight != "off"), job["about"]
            assert job["read"]["total_ios"] == 1000, job


@case
def too_many_queues_are_refused():
    with Folder() as folder:
        server = file_server(folder.image(), extra=",num-queues=2")
        bad("2 queues, numjobs=3", "--server", server, "--numjobs=3",
            "--number_ios=1")


@case
def a_read_only_disk_is_not_written():
    with Folder() as folder:
        server = file_server(folder.image()).replace("writable=on",
                                                     "writable=off")
        bad("read-only", "--server", server, "--rw=write", "--number_ios=1")


@case
def an_io_error_names_its_request():
    with Folder() as folder:
        path = folder.image()
        script = f"{folder.path}/shrink.sh"
        # a file that lost its second half: reads there are short, not wrong;
        # writes beyond the limit of a file's size fail
        with open(script, "w", encoding="utf-8") as f:
            f.write("#!/bin/bash\nulimit -f 32768\nexec \"$@\"\n")
        os.chmod(script, 0o755)
        with open(path, "wb") as f:
            f.truncate(64 * MIB)
        bad(r"queue 0: write of 4096 bytes at offset \d+: I/O error",
            "--server", f"{script} " + file_server(path), "--rw=write",
            "--offset=40M", "--number_ios=10")


@case
def a_server_that_does_not_start_says_why():
    bad("vblk-storage-daemon ended with status 1: .*/nonexistent",
        "--server", file_server("/nonexistent/image"), "--number_ios=1")
    bad("nonexistent-program", "--server", "/nonexistent-program {socket}")
    bad("/nonexistent/socket", "--socket=/nonexistent/socket",
        "--timeout=100ms")


class Running:
    """A server by hand and a long run against it."""

    def __init__(self, folder, program=DAEMON, *args):
        self.path = f"{folder.path}/socket"
        # slow, so that there is always something in flight
        command = null_server(program, ",latency-ns=20000000")
        command = command.replace("{socket}", self.path)
        self.server = subprocess.Popen(
            command.split(), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.bench = subprocess.Popen(
            [BENCH, f"--socket={self.path}", "--rw=randread", "--iodepth=8",
             "--runtime=50s", "--timeout=5s", "--eta=always", *args],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        self.wait_until_it_runs()

    def wait_until_it_runs(self):
        """Until the progress line shows a rate."""
        seen = ""
        while not re.search(r"r=[1-9]", seen):
            byte = self.bench.stderr.read(1)
            assert byte, seen
            seen += byte

    def end(self):
        """What the run came to; the last line is the error's."""
        out, err = self.bench.communicate(timeout=TIMEOUT)
        line = re.split(r"[\r\n]", err.rstrip("\n"))[-1]
        line = line.replace("\033[K", "")
        return subprocess.CompletedProcess([], self.bench.returncode, out,
                                           line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in (self.server, self.bench):
            process.kill()
            process.wait()


@case
def a_server_that_dies_is_noticed():
    for program in servers():
        with Folder() as folder, \
                Running(folder, program, "--timeout=20s") as run:
            # stopped first: what had just come back is then sent again, and
            # something is in flight for certain
            run.server.send_signal(signal.SIGSTOP)
            time.sleep(1)
            run.server.kill()
            bad(r"the server closed the connection, with queue 0: read of "
                r"4096 bytes at offset \d+ in flight", program=run.end())


@case
def a_server_that_dies_of_a_command_is_noticed():
    with Folder() as folder:
        script = f"{folder.path}/mortal.sh"
        pid = f"{folder.path}/pid"
        with open(script, "w", encoding="utf-8") as f:
            f.write(f"#!/bin/sh\necho $$ > {pid}.new\n"
                    f"mv {pid}.new {pid}\nexec \"$@\"\n")
        os.chmod(script, 0o755)
        server = null_server(DAEMON, ",latency-ns=20000000")
        run = subprocess.Popen(
            [BENCH, "--server", f"{script} {server}", "--rw=randread",
             "--runtime=50s", "--eta=always"], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        seen = ""
        while not re.search(r"r=[1-9]", seen):
            seen += run.stderr.read(1)
        with open(pid, encoding="ascii") as f:
            mortal = int(f.read())
        os.kill(mortal, signal.SIGSTOP) # as above
        time.sleep(1)
        os.kill(mortal, signal.SIGKILL)
        _, err = run.communicate(timeout=TIMEOUT)
        assert run.returncode == 1, err
        assert re.search(r"was killed by signal 9, with queue 0: read of",
                         err), err


def maker(path):
    """The process that made a listening socket, once it is there."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(path)
                return struct.unpack("3i", probe.getsockopt(
                    socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
            except OSError:
                time.sleep(0.02)
    raise AssertionError("nobody listens")


@case
def a_server_that_came_again_is_measured_without_its_process():
    with Folder() as folder:
        path = f"{folder.path}/sock"
        command = null_server(options=" --supervise").format(socket=path)
        with subprocess.Popen(command.split(), stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as supervisor:
            try:
                server = maker(path)
                # whoever serves has given its socket to the supervisor
                assert bench(f"--socket={path}", "--number_ios=1").returncode == 0
                os.kill(server, signal.SIGKILL)
                result = bench(f"--socket={path}", "--number_ios=100",
                               "--output-format=json")
            finally:
                supervisor.terminate()
        assert result.returncode == 0, result.stderr
        assert re.fullmatch(r"vblk-bench: warning: process \d+, which made "
                            r"the socket, has ended: .*--pid=N.*\n",
                            result.stderr), result.stderr
        assert "server" not in json.loads(result.stdout)["jobs"][0]


@case
def a_server_that_hangs_is_noticed():
    with Folder() as folder, Running(folder) as run:
        run.server.send_signal(signal.SIGSTOP)
        bad(r"queue 0: read of 4096 bytes at offset \d+: no answer for "
            r"\d+\.\d s, with 8 requests in flight", program=run.end())


@case
def a_server_that_hangs_while_sleeping_is_noticed():
    with Folder() as folder, Running(folder, DAEMON, "--poll=off") as run:
        run.server.send_signal(signal.SIGSTOP)
        bad("no answer for", program=run.end())


@case
def a_server_that_never_answers_is_noticed():
    with Folder() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = f"{folder.path}/socket"
        listener.bind(path)
        listener.listen()
        bad("GET_FEATURES: the server does not answer", f"--socket={path}",
            "--timeout=200ms")


def serve_nonsense(listener, answer):
    """Answers the first message that wants it with @answer."""
    connection, _ = listener.accept()
    with connection:
        header = connection.recv(12, socket.MSG_WAITALL)
        request = struct.unpack("=III", header)[0]
        while request != 1:  # GET_FEATURES
            header = connection.recv(12, socket.MSG_WAITALL)
            request = struct.unpack("=III", header)[0]
        connection.sendall(answer)
        try:
            connection.recv(1)
        except OSError:
            pass


@case
def a_server_that_talks_nonsense_is_noticed():
    answers = {
        b"": "closed the connection|does not answer",
        struct.pack("=III", 1, 0x5, 1 << 30): "makes no sense",
        struct.pack("=IIIQ", 2, 0x5, 8, 0): "makes no sense",
        struct.pack("=IIIQ", 1, 0x1, 8, 0): "makes no sense",
        struct.pack("=III", 1, 0x5, 0): "makes no sense",
        struct.pack("=IIIQ", 1, 0x5, 8, 0): "no protocol features",
    }
    for answer, pattern in answers.items():
        with Folder() as folder, socket.socket(socket.AF_UNIX) as listener:
            path = f"{folder.path}/socket"
            listener.bind(path)
            listener.listen()
            thread = threading.Thread(target=serve_nonsense,
                                      args=(listener, answer))
            thread.start()
            bad(pattern, f"--socket={path}",
                "--timeout=20s" if answer else "--timeout=300ms")
            thread.join()


@case
def bad_command_lines_are_refused():
    bad("one of --socket, --server and --bare", "--rw=read")
    bad("not several", "--socket=a", "--server=b")
    bad("'rw'", "--socket=a", "--rw=reed")
    bad("unknown option 'colour'", "--socket=a", "--colour=red")
    bad("'--rw' needs a value", "--socket=a", "--rw")
    bad("'word' is not known", "--socket=a", "word")
    bad("--filename", "--bare=libaio")
    bad("no-such-file", "--bare=libaio", "--filename=/no-such-file")
    bad("{colour}", "--server", "prog {colour}")
    bad("list of CPUs", "--server", null_server(), "--server-cpus=a",
        "--number_ios=1")
    bad("list of CPUs", "--server", null_server(), "--cpus_allowed=3-1",
        "--number_ios=1")
    bad("reach beyond the disk", "--server", null_server(), "--size=1G",
        "--number_ios=1")
    bad("does not hold iodepth=", "--server", null_server(),
        "--queue-size=16", "--iodepth=32", "--number_ios=1")


@case
def help_and_version():
    for flag in ("--help", "-h", "--version", "-V"):
        result = bench(flag)
        assert result.returncode == 0
        assert "vblk-bench" in result.stdout
        assert result.stderr == ""


SPEC = """
[compare]
rounds=3
number_ios=200
iodepth=4
[variables]
disk={folder}/disk.raw
[image disk]
kind=file
path={disk}
size=4M
[image none]
kind=null
[image given]
kind=given
path={folder}/given.raw
count=2
[server ours]
command={daemon} --blockdev driver=file,node-name=d,filename={image}
export={export}
images=disk
[server broken]
command=/bin/false {socket} {image}
images=disk
against=ours
[server two]
command={daemon}
export=--blockdev driver=file,node-name=d{n},filename={image} --export vhost-user-blk,id=e{n},node-name=d{n},addr.type=unix,addr.path={socket}
images=given
[server bare]
bare=libaio
direct=off
[server null]
command={daemon} --blockdev driver=null-co,node-name=d,size=67108864
export={export}
images=none
[row good]
image=disk
servers=ours;bare
rw=randread;write
goals=ours iops >= 0.000001 bare
[row missed]
image=disk
servers=ours
goals=ours iops >= 1000000000
[row failing]
image=disk
servers=broken;ours
[row given]
image=given
servers=two
rw=read
exports=2
[row many]
image=none
rw=randread
exports=3
"""


def spec(folder):
    path = f"{folder.path}/test.spec"
    text = SPEC.replace(
        "{export}", "--export vhost-user-blk,id=e{n},node-name=d,"
        "addr.type=unix,addr.path={socket},writable=on")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return [f"--set=folder={folder.path},daemon={DAEMON}", "compare", path]


def compare(folder, *args):
    options, word, path = spec(folder)
    return bench(word, path, options, "--eta=never", *args)


def without_warnings(text):
    """The machine that runs tests may well be busy."""
    return [line for line in text.splitlines() if ": warning: " not in line]


@case
def compare_runs_all_servers_in_all_rounds():
    with Folder() as folder:
        result = compare(folder, "--rows=good*,many",
                         "--output-format=json")
        assert result.returncode == 0, result.stderr
        rows = json.loads(result.stdout)["rows"]
        assert [r["row"] for r in rows] == ["good-randread", "good-write",
                                            "many"]
        for row in rows[:2]:
            assert [s["server"] for s in row["servers"]] == ["ours", "bare"]
            for server in row["servers"]:
                assert len(server["iops"]["rounds"]) == 3, server
                assert all(x > 0 for x in server["iops"]["rounds"])
                assert server["bare"] == (server["server"] == "bare")
            assert row["goals"][0]["verdict"] == "reached", row["goals"]
        last = rows[2]["servers"][0]["last_run"]
        assert last["read"]["total_ios"] == 3 * 200, last["read"]
        assert os.path.getsize(f"{folder.path}/disk.raw") == 4 * MIB


@case
def compare_takes_given_images_as_they_are():
    with Folder() as folder:
        result = compare(folder, "--rows=given", "--rounds=1")
        assert result.returncode == 1, "there are no images yet"
        paths = [folder.image("given.raw"), folder.image("given.raw.1")]
        result = compare(folder, "--rows=given", "--rounds=1",
                         "--syscalls=off", "--output-format=json")
        assert result.returncode == 0, result.stderr
        last = json.loads(result.stdout)["rows"][0]["servers"][0]["last_run"]
        assert last["read"]["total_ios"] == 2 * 200, last["read"]
        assert "syscalls_per_request" not in last["server"], last["server"]
        for path in paths:
            assert os.stat(path).st_blocks == 0, "it was written to"


@case
def compare_reports_what_failed_and_goes_on():
    with Folder() as folder:
        result = compare(folder, "--rows=failing,good-write")
        assert result.returncode == 1, result.stdout
        errors = without_warnings(result.stderr)
        assert len(errors) == 1, errors  # not once a round
        assert re.search("failing: broken: server false ended with status 1",
                         errors[0]), errors
        assert "FAILED" in result.stdout
        assert re.search(r"^  bare +\d", result.stdout, re.MULTILINE)


@case
def compare_says_which_goal_was_missed():
    with Folder() as folder:
        result = compare(folder, "--rows=missed", "--rounds=1")
        assert result.returncode == 2, result.stderr
        assert re.search(r"goal ours iops >= 1000000000: MISSED",
                         result.stdout), result.stdout


@case
def compare_refuses_mistakes():
    with Folder() as folder:
        result = compare(folder, "--rows=nobody")
        assert result.returncode == 1 and "nobody" in result.stderr
        result = compare(folder, "--list")
        assert result.returncode == 0
        assert result.stdout.split() == ["good-randread", "good-write",
                                         "missed", "failing", "given",
                                         "many"]
        with open(f"{folder.path}/bad.spec", "w", encoding="utf-8") as f:
            f.write("[row x]\ncolour=red\n")
        bad("bad.spec: ", "compare", f"{folder.path}/bad.spec")
        bad("no-such", "compare", "/no-such.spec")
        bad("one SPEC", "compare")


@case
def the_specs_of_the_tree_are_good():
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                          "..", "..", "bench")
    names = [n for n in os.listdir(folder) if n.endswith(".spec")]
    assert names
    for name in names:
        result = bench("compare", f"{folder}/{name}", "--list")
        assert result.returncode == 0, result.stderr
        assert result.stdout.strip()


def main():
    print(f"1..{len(CASES)}")
    failures = 0
    for number, function in enumerate(CASES, 1):
        name = function.__name__.replace("_", " ")
        started = time.monotonic()
        try:
            function()
            print(f"ok {number} - {name}", flush=True)
        except Skip as why:
            print(f"ok {number} - {name} # SKIP {why}", flush=True)
        except Exception as why:  # a case failed, whatever the way
            failures += 1
            print(f"not ok {number} - {name}", flush=True)
            for line in f"{type(why).__name__}: {why}".splitlines():
                print(f"# {line}", flush=True)
        print(f"# {time.monotonic() - started:.1f} s", flush=True)
    sys.exit(failures > 0)


main()
