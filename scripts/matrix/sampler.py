# SPDX-License-Identifier: GPL-2.0-or-later
"""One sample: a server is started on a row's images, loaded for a while by
vblk-bench in the guest's place, and stopped. Comes back with figures or with
the error, never with an exception.
"""

import json
import os
import shutil
import subprocess

# What is started when nobody says otherwise: {aio}, and for each machine {n},
# {image}, {socket}. One I/O thread each, as separate QEMUs would have.
NODES = {
    "file": "driver=file,node-name=d{n},filename={image},aio=AIO,"
            "cache.direct=on",
    "device": "driver=host_device,node-name=d{n},filename={image},aio=AIO,"
              "cache.direct=on",
    "qcow2": "driver=qcow2,node-name=d{n},file.driver=file,"
             "file.filename={image},file.aio=AIO,cache.direct=on,"
             "file.cache.direct=on",
}
EXPORT = ("--object iothread,id=t{n} --blockdev NODE --export "
          "vhost-user-blk,id=e{n},node-name=d{n},writable=on,"
          "addr.type=unix,addr.path={socket},IOTHREAD=t{n}")
SPEC = """\
[compare]
rounds=1
runtime={runtime}
ramp_time={ramp}
{cpus}
[image given]
kind=given
path={path}
count={vms}
[server {server}]
command={command}
export={export}
[row {row}]
image=given
exports={vms}
rw={rw}
bs={size}k
iodepth={depth}
rwmixread=50
poll=off
"""
TIMEOUT = 120


class Programs:
    """Where the programs are."""

    def __init__(self, build):
        self.bench = os.path.join(build, "tools/bench/vblk-bench")
        self.rotating = os.path.join(build, "tests/bench/rotating-disk")
        self.servers = {
            "vblk": os.path.join(build,
                                 "tools/storage-daemon/vblk-storage-daemon"),
            "qsd": shutil.which("qemu-storage-daemon"),
        }


def export_words(row, aio):
    """One machine's part of a server's command line."""
    kind = "qcow2" if row.image == "qcow2" else \
        "device" if row.fs == "none" else "file"
    return EXPORT.replace("NODE", NODES[kind].replace("AIO", aio)).replace(
        "IOTHREAD", "iothread")


def describe(programs, row, server, paths, settings):
    """The SPEC of one sample."""
    program, _, aio = server.partition("-")
    cpus = "server-cpus=0\ncpus_allowed=1" if os.cpu_count() > 1 else ""
    return SPEC.format(
        runtime=settings["runtime"], ramp=settings["ramp"], cpus=cpus,
        path=paths[0], vms=row.vms, server=server, row=row.name, rw=row.rw,
        command=programs.servers[program], size=row.size,
        export=export_words(row, aio), depth=row.depth)


def per_second(direction):
    """Of a direction that may not have been used."""
    return direction["iops"] if direction["total_ios"] else 0


def worst(last, percentile):
    """Of both directions, in us."""
    return max(last[d]["clat_ns"]["percentile"][percentile]
               for d in ("read", "write")) / 1000


def disk_figures(disk):
    """What iostat would tell: KiB of a request, merges a request."""
    ios = disk["read_ios"] + disk["write_ios"]
    merges = disk["read_merges"] + disk["write_merges"]
    if not ios:
        return {}
    sectors = disk["read_sectors"] + disk["write_sectors"]
    return {"host_kib": round(sectors / 2 / ios, 2),
            "merged": round(merges / (ios + merges), 3)}


def take_figures(report):
    """The figures of a sample out of vblk-bench's report."""
    server = report["rows"][0]["servers"][0]
    last = server["last_run"]
    figures = {
        "iops": round(per_second(last["read"]) + per_second(last["write"])),
        "p99": round(worst(last, "99.000000"), 1),
        "cpu": round(last["server"]["cpu_us_per_request"], 3),
        "interrupts": round(last["guest"]["interrupts_per_request"], 3),
        "kicks": round(last["guest"]["kicks_per_request"], 3),
        "switches": round(last["server"]["switches_per_request"], 3),
    }
    if "syscalls_per_request" in last["server"]:
        figures["syscalls"] = round(last["server"]["syscalls_per_request"], 3)
    figures.update(disk_figures(last.get("disk") or
                                {"read_ios": 0, "write_ios": 0,
                                 "read_merges": 0, "write_merges": 0}))
    return figures


def reason(stderr, status):
    """The line that tells most."""
    lines = [line for line in stderr.splitlines()
             if line.strip() and ": warning: " not in line]
    return lines[-1].strip() if lines else f"vblk-bench: status {status}"


class Sampler:
    """Takes samples; the one at hand can be ended from outside (undo.py)."""

    def __init__(self, programs, work, settings):
        self.programs, self.work, self.settings = programs, work, settings
        self.spec = os.path.join(work, "sample.spec")

    def take(self, row, server, paths, count_syscalls):
        """Figures, or {"error": why}."""
        with open(self.spec, "w", encoding="utf-8") as f:
            f.write(describe(self.programs, row, server, paths,
                             self.settings))
        command = [self.programs.bench, "compare", self.spec, "--eta=never",
                   "--output-format=json",
                   f"--syscalls={'auto' if count_syscalls else 'off'}"]
        environment = dict(os.environ, VBLK_STUDY=self.work)
        try:
            done = subprocess.run(
                command, check=False, capture_output=True, text=True,
                stdin=subprocess.DEVNULL, timeout=TIMEOUT, env=environment,
                start_new_session=True)
            if done.returncode:
                return {"error": reason(done.stderr, done.returncode)}
            return take_figures(json.loads(done.stdout))
        except subprocess.TimeoutExpired:
            return {"error": f"not finished after {TIMEOUT} s"}
        except (OSError, ValueError, KeyError, IndexError) as err:
            return {"error": f"{type(err).__name__}: {err}"}
