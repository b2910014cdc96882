# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the guest's initramfs out of what Debian installs on the host.

Called by machine.py before the first boot. A kernel of the package
linux-image-cloud-amd64, the modules a virtio disk needs of it, busybox,
mkfs.ext4 and e2fsck with their libraries, the /init beside this file and the
workloads go into one uncompressed cpio archive: uncompressed, because copying
a few MiB is quicker than having an emulated CPU decompress them.
"""

import glob
import os
import re
import shutil
import stat
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = ("virtio_pci", "virtio_blk", "ext4")
TOOLS = ("mkfs.ext4", "e2fsck")


class Missing(Exception):
    """Something the guest is made of is not on this machine."""


def find_kernel():
    """(image, release) of the newest cloud kernel; VBLK_KERNEL names another."""
    named = os.environ.get("VBLK_KERNEL")
    found = [named] if named else glob.glob("/boot/vmlinuz-*-cloud-amd64")
    if not found:
        raise Missing("no /boot/vmlinuz-*-cloud-amd64: "
                      "install linux-image-cloud-amd64 (scripts/setup does)")

    def version(path):
        return [int(n) for n in re.findall(r"\d+", os.path.basename(path))]
    image = max(found, key=version)
    if not os.access(image, os.R_OK):
        raise Missing(f"{image} is not readable: run as root or chmod it")
    return image, os.path.basename(image).split("-", 1)[1]


def module_files(release):
    """Paths of the modules, each after those it needs; built-in ones left out."""
    base = f"/lib/modules/{release}"
    try:
        with open(f"{base}/modules.dep", encoding="ascii") as f:
            needs = dict(line.rstrip("\n").split(":", 1) for line in f)
        with open(f"{base}/modules.builtin", encoding="ascii") as f:
            builtin = {module_name(line.strip()) for line in f}
    except OSError as err:
        raise Missing(f"modules of kernel {release}: {err}") from err
    paths = {module_name(path): path for path in needs}
    order = []

    def add(path):
        # modules.dep lists the most basic module last.
        for needed in reversed(needs[path].split()):
            if needed not in order:
                add(needed)
        if path not in order:
            order.append(path)
    for name in MODULES:
        if name in paths:
            add(paths[name])
        elif name not in builtin:
            raise Missing(f"kernel {release} has no {name}, built in or not")
    return [f"{base}/{path}" for path in order]


def module_name(path):
    """virtio_blk for kernel/drivers/block/virtio_blk.ko.xz"""
    return os.path.basename(path).split(".ko")[0].replace("-", "_")


def module_content(path):
    """A module as insmod wants it: later kernels compress them."""
    unpack = {".xz": "xz", ".zst": "zstd", ".gz": "gzip"}.get(os.path.splitext(path)[1])
    if unpack:
        return subprocess.run([unpack, "-dc", path], check=True,
                              stdout=subprocess.PIPE).stdout
    with open(path, "rb") as f:
        return f.read()


def find_tool(name):
    """The path of a program, also of one that only root has in its PATH."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not path:
        raise Missing(f"{name} is missing (scripts/setup installs it)")
    return path


def libraries(program):
    """The shared libraries of a program, the loader included."""
    text = subprocess.run(["ldd", program], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    return re.findall(r"(/\S+) \(0x", text)


class Archive:
    """A cpio archive in the "newc" form the kernel unpacks."""

    def __init__(self):
        self.parts = []
        self.names = set()

    def add(self, name, content=b"", mode=stat.S_IFREG | 0o755):
        """Adds one file, and the directories it lies in."""
        name = name.lstrip("/")
        if name in self.names:
            return
        parent = os.path.dirname(name)
        if parent:
            self.add(parent, mode=stat.S_IFDIR | 0o755)
        self.names.add(name)
        self.entry(name, content, mode)

    def entry(self, name, content, mode):
        """One record: header, name and content, each padded to four bytes."""
        fields = (len(self.names), mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0,
                  len(name) + 1, 0)
        head = b"070701" + "".join(f"{n:08x}" for n in fields).encode("ascii")
        head += name.encode("ascii") + b"\0"
        self.parts += [head, b"\0" * (-len(head) % 4),
                       content, b"\0" * (-len(content) % 4)]

    def add_file(self, path, name=None):
        """Adds a file of the host, by default where the host has it."""
        with open(path, "rb") as f:
            self.add(name or path, f.read())

    def finish(self):
        """The whole archive; nothing can be added afterwards."""
        self.entry("TRAILER!!!", b"", 0)
        return b"".join(self.parts)


def add_tools(archive, guest_io):
    """busybox, the file system tools and our own program."""
    archive.add_file(find_tool("busybox"), "bin/busybox")
    for name in TOOLS:
        path = find_tool(name)
        archive.add_file(path, f"tools/{name}")
        for library in libraries(path):
            archive.add_file(library)
    if guest_io:
        archive.add_file(guest_io, "tools/vblk-guest-io")


def build(target, release, guest_io, workloads):
    """Writes the archive to @target; @workloads is a folder of shell scripts."""
    archive = Archive()
    archive.add_file(f"{HERE}/init", "init")
    add_tools(archive, guest_io)
    order = []
    for path in module_files(release):
        order.append(module_name(path) + ".ko")
        archive.add(f"modules/{order[-1]}", module_content(path))
    archive.add("modules/order", "".join(f"{name}\n" for name in order).encode("ascii"))
    for path in sorted(glob.glob(f"{workloads}/*.sh")):
        archive.add_file(path, f"work/{os.path.basename(path)}")
    partial = f"{target}.{os.getpid()}"
    with open(partial, "wb") as f:
        f.write(archive.finish())
    os.replace(partial, target)
