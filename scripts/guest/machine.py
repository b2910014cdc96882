# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots a Linux guest under stock QEMU, on disks that come over vhost-user.

Used by the demonstration and the functional tests: builds the initramfs once
per build directory, finds out by booting whether KVM runs an ordinary kernel,
reads what the guest reports on its serial console.
"""

import dataclasses
import os
import re
import shutil
import subprocess
import threading
import time

import initramfs

QEMU = os.environ.get("VBLK_QEMU", "qemu-system-x86_64")
ROOT = os.path.dirname(os.path.dirname(initramfs.HERE))
WORKLOADS = f"{ROOT}/tests/functional/guest"
MARK = re.compile(r"VBLK-GUEST: ([A-Z]+)(?: (.*))?$")
KERNEL_COMPLAINT = re.compile(
    r"I/O error|EXT4-fs (error|warning)|hung task|blocked for more than|"
    r"Kernel panic|Oops|BUG:|WARNING: CPU|virtio_blk.*(failed|not a head)")

# A kernel that says little starts sooner: each character costs an exit.
QUIET = ("console=ttyS0 quiet loglevel=4 panic=-1 nokaslr mitigations=off "
         "no_timer_check tsc=nowatchdog random.trust_cpu=on "
         "rcupdate.rcu_expedited=1 8250.nr_uarts=1 audit=0")
CPU = {"kvm": "host", "tcg": "Nehalem,+rdrand"}
ACCEL = {"kvm": "kvm", "tcg": "tcg,thread=multi"}
KVM_PROBE_LIMIT = 10
MEMORY_MIB = 256


@dataclasses.dataclass
class Disk:
    """A socket a daemon listens on, and how the guest's device is set up."""
    socket: str
    queues: int = 1
    packed: bool = False
    reconnect: int = 0 # seconds; 0: never

    def arguments(self, index):
        """What QEMU is told of it."""
        return ["-chardev", f"socket,id=c{index},path={self.socket}"
                + (f",reconnect={self.reconnect}" if self.reconnect else ""),
                "-device", f"vhost-user-blk-pci,chardev=c{index},"
                f"num-queues={self.queues},packed={'on' if self.packed else 'off'}"]


@dataclasses.dataclass
class Result:
    """What became of one boot."""
    passed: list = dataclasses.field(default_factory=list)
    failed: list = dataclasses.field(default_factory=list)
    skipped: list = dataclasses.field(default_factory=list)
    values: dict = dataclasses.field(default_factory=dict)
    up_seconds: float = 0.0
    seconds: float = 0.0
    done: bool = False
    console: str = ""

    def ok(self):
        """True when the guest came to its end and everything passed."""
        return self.done and not self.failed

    def tail(self, lines=25):
        """What matters of the console: up to the first failure, or its end."""
        with open(self.console, encoding="utf-8", errors="replace") as f:
            text = f.readlines()
        first = next((i + 1 for i, line in enumerate(text)
                      if "VBLK-GUEST: FAIL" in line), len(text))
        return "".join(text[max(0, first - lines):first])

    def take(self, kind, text):
        """Notes one report of the guest."""
        lists = {"PASS": self.passed, "FAIL": self.failed, "SKIP": self.skipped}
        if kind in lists:
            lists[kind].append(text)
        elif kind == "UP":
            self.up_seconds = float(text)
        elif kind == "VALUE":
            key, _, value = text.partition("=")
            self.values[key] = value
        elif kind == "DONE":
            self.done = True


class Machine:
    """Boots guests; keeps kernel, initramfs and accelerator between boots."""

    def __init__(self, build_dir, guest_io):
        if not shutil.which(QEMU):
            raise initramfs.Missing(f"{QEMU} is missing (scripts/setup installs it)")
        self.huge_pages = False # of 2 MiB, for the guest's memory
        self.guest_dir = f"{build_dir}/guest"
        os.makedirs(self.guest_dir, exist_ok=True)
        self.kernel, self.release = initramfs.find_kernel()
        self.initrd = f"{self.guest_dir}/initramfs-{self.release}.cpio"
        initramfs.build(self.initrd, self.release, guest_io, WORKLOADS)
        self.accel = self.choose_accel()

    def choose_accel(self):
        """kvm if a guest has come up under it, else tcg; found out once.

        /dev/kvm may be there and yet run no ordinary kernel (nested under a
        hypervisor that was built for something else), so only a boot tells.
        """
        named = os.environ.get("VBLK_ACCEL")
        if named:
            return named
        note = f"{self.guest_dir}/accel-{self.release}"
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as f:
            this_host = f.read().strip()
        if os.path.exists(note):
            with open(note, encoding="ascii") as f:
                known, host = f.read().split()
            if host == this_host:
                return known
        answer = "tcg"
        if os.access("/dev/kvm", os.R_OK | os.W_OK):
            probe = self.boot([], [], f"{self.guest_dir}/kvm-probe.log",
                              accel="kvm", limit=KVM_PROBE_LIMIT)
            answer = "kvm" if probe.ok() else "tcg"
        with open(note, "w", encoding="ascii") as f:
            f.write(f"{answer} {this_host}\n")
        return answer

    def memory(self):
        """The guest's, shared with the daemon."""
        huge = ",hugetlb=on,hugetlbsize=2M" if self.huge_pages else ""
        return f"memory-backend-memfd,id=mem,size={MEMORY_MIB}M,share=on{huge}"

    def command(self, disks, workloads, cpus, accel, settings):
        """QEMU's command line."""
        append = f"{QUIET} vblk.run={','.join(workloads)}"
        append += "".join(f" vblk.{k}={v}" for k, v in settings.items())
        words = [QEMU, "-nodefaults", "-no-user-config", "-nographic", "-no-reboot",
                 "-machine", "q35,memory-backend=mem,usb=off,vmport=off",
                 "-accel", ACCEL[accel], "-cpu", CPU[accel],
                 "-smp", str(cpus), "-m", f"{MEMORY_MIB}M",
                 "-object", self.memory(),
                 "-serial", "stdio", "-kernel", self.kernel,
                 "-initrd", self.initrd, "-append", append]
        for index, disk in enumerate(disks):
            words += disk.arguments(index)
        return words

    def boot(self, disks, workloads, console, accel=None, limit=120, watch=None,
             settings=None):
        """Runs a guest to its end, @limit seconds at most.

        @watch is called with each report (kind, text); when it returns True
        the machine loses power at once.
        """
        cpus = max([d.queues for d in disks], default=1)
        words = self.command(disks, workloads, cpus, accel or self.accel, settings or {})
        result = Result(console=console)
        started = time.monotonic()
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT) as qemu:
            timer = threading.Timer(limit, qemu.kill)
            timer.start()
            try:
                cut = self.follow(qemu, result, watch)
            finally:
                timer.cancel()
                qemu.kill()
        result.seconds = time.monotonic() - started
        if not result.done and not cut:
            late = result.seconds >= limit
            result.failed.append(f"the guest did not finish within {limit} s" if late
                                 else f"the guest stopped half way (QEMU's status "
                                      f"{qemu.returncode})")
        return result

    @staticmethod
    def follow(qemu, result, watch):
        """Reads the console to its end; True when @watch had the power cut."""
        with open(result.console, "w", encoding="utf-8") as console:
            for raw in qemu.stdout:
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                console.write(line + "\n")
                console.flush()
                mark = MARK.search(line)
                if mark:
                    result.take(mark[1], mark[2] or "")
                    if watch and watch(mark[1], mark[2] or ""):
                        qemu.kill()
                        return True
                elif KERNEL_COMPLAINT.search(line):
                    result.failed.append(f"guest kernel: {line.strip()}")
        qemu.wait()
        return False
