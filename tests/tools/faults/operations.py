# SPDX-License-Identifier: GPL-2.0-or-later
"""What is done to images while system calls fail, and what must be true of
them then.

Each operation is a class: prepare() makes images in the current folder with
Debian's tools, words() is the command line, check() looks at what is left.
Images that were there before must be whole but for leaked clusters, whatever
happened, and have their old contents or what the operation was to bring.
"""

import contextlib
import os
import random
import subprocess

MIB = 1 << 20
OPERATIONS = {}


class Broken(Exception):
    """Something is not as it must be."""


def tool(*words, fine=(0,)):
    """One of Debian's programs; its status."""
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False,
                          errors="backslashreplace")
    if done.returncode not in fine:
        raise Broken(f"{' '.join(words)}: status {done.returncode}: "
                     f"{done.stdout.strip()}")
    return done.returncode


def make_raw(name, seed, size=MIB):
    """Half data, half holes."""
    chance = random.Random(seed)
    with open(name, "wb") as file:
        for _ in range(size // 16384):
            if chance.random() < 0.5:
                file.write(chance.randbytes(16384))
            else:
                file.seek(16384, os.SEEK_CUR)
        file.truncate(size)


def make_qcow2(name, raw, *options):
    """With the contents of @raw."""
    tool("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=4k",
         *options, raw, name)


def write(name, pattern, *ranges):
    """Some ranges of a qcow2 image."""
    words = ["qemu-io", "-f", "qcow2"]
    for offset, size in ranges:
        words += ["-c", f"write -P {pattern} {offset} {size}"]
    tool(*words, name)


def flatten(name, raw):
    """What a guest sees of @name."""
    tool("qemu-img", "convert", "-f", "qcow2", "-O", "raw", name, raw)


def whole(name, fine=(0, 3)):
    """A qcow2 image has no errors but leaks."""
    tool("qemu-img", "check", "-f", "qcow2", name, fine=fine)


def same(name, form, raw):
    """A guest sees what is in @raw."""
    tool("qemu-img", "compare", "-f", form, "-F", "raw", name, raw)


def one_of(name, form, *raws):
    """A guest sees what is in one of these."""
    if not any(tool("qemu-img", "compare", "-f", form, "-F", "raw", name, raw,
                    fine=(0, 1)) == 0 for raw in raws):
        raise Broken(f"{name} is like none of {' '.join(raws)}")


def mixture(name, *raws, step=4096):
    """Each block of a raw file is what one of the others has there."""
    with open(name, "rb") as file:
        found = file.read()
    contents = []
    for raw in raws:
        with open(raw, "rb") as file:
            contents.append(file.read())
    for at in range(0, len(found), step):
        block = found[at:at + step]
        if not any(block == c[at:at + step] for c in contents):
            raise Broken(f"{name}: at {at} is what was never written there")


def untouched(name, like):
    """Not a byte has changed."""
    with open(name, "rb") as file, open(like, "rb") as other:
        if file.read() != other.read():
            raise Broken(f"{name} has been changed")


class Operation:
    """One command line, and how it ends if it fails."""
    program = "img"
    failed = (1,)
    thorough = False # each write and each flush has its turn in every run

    def prepare(self):
        """Images, and what is to be expected of them in files that end with
        .want, which the program never sees."""

    def serving(self, folder):
        """What has to be there while the program runs; it is entered."""
        return contextlib.nullcontext()

    def words(self, folder):
        """Behind the program's name."""
        raise NotImplementedError

    def check(self, done):
        """@done: the program said so."""


def operation(name):
    """Adds a class to the table."""
    def add(kind):
        OPERATIONS[name] = kind()
        return kind
    return add


# --- images that are made ---

class Create(Operation):
    """Nothing was there."""
    form = "qcow2"
    options = ()

    def words(self, folder):
        return ["create", "-q", "-f", self.form, *self.options, f"{folder}/new", "1M"]

    def check(self, done):
        if not done:
            return
        if self.form == "qcow2":
            whole("new", (0,))
        make_raw("zero.want", 0, 0)
        os.truncate("zero.want", MIB)
        same("new", self.form, "zero.want")


@operation("create-raw")
class CreateRaw(Create):
    """A sparse file."""
    form = "raw"


@operation("create-raw-full")
class CreateRawFull(Create):
    """All written."""
    form = "raw"
    options = ("-o", "preallocation=full")


@operation("create-raw-falloc")
class CreateRawFalloc(Create):
    """All reserved."""
    form = "raw"
    options = ("-o", "preallocation=falloc")


@operation("create-qcow2")
class CreateQcow2(Create):
    """The usual one."""


@operation("create-qcow2-metadata")
class CreateQcow2Metadata(Create):
    """With its tables."""
    options = ("-o", "preallocation=metadata,cluster_size=4k")


@operation("create-qcow2-full")
class CreateQcow2Full(Create):
    """With its clusters."""
    options = ("-o", "preallocation=full,cluster_size=4k")


@operation("create-overlay")
class CreateOverlay(Operation):
    """On another image."""

    def prepare(self):
        make_raw("base.want", 1)
        make_qcow2("base", "base.want")

    def words(self, folder):
        return ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", f"{folder}/base",
                f"{folder}/new"]

    def check(self, done):
        same("base", "qcow2", "base.want")
        if done:
            whole("new", (0,))
            same("new", "qcow2", "base.want")


# --- images that are read, and written elsewhere ---

class Convert(Operation):
    """Nothing happens to the source."""
    source = target = "qcow2"
    options = ()

    def prepare(self):
        make_raw("raw", 2)
        make_qcow2("base", "raw")
        tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base",
             "qcow2")
        write("qcow2", 7, (0, 8192), (300000, 70000))
        flatten("qcow2", "qcow2.want")
        for name in "raw", "base", "qcow2":
            tool("cp", name, name + ".copy.want")
        tool("cp", "raw", "raw.want")

    def words(self, folder):
        return ["convert", "-f", self.source, "-O", self.target, *self.options,
                f"{folder}/{self.source}", f"{folder}/new"]

    def check(self, done):
        for name in "raw", "base", "qcow2":
            untouched(name, name + ".copy.want")
        if done:
            same("new", self.target, self.source + ".want")
            if self.target == "qcow2":
                whole("new", (0,))


@operation("convert-raw-qcow2")
class ConvertRawQcow2(Convert):
    """Into clusters."""
    source = "raw"


@operation("convert-qcow2-raw")
class ConvertQcow2Raw(Convert):
    """Out of a chain."""
    target = "raw"


@operation("convert-compressed")
class ConvertCompressed(Convert):
    """Packed."""
    options = ("-c",)


@operation("convert-flushed")
class ConvertFlushed(Convert):
    """Written through."""
    options = ("-t", "writethrough", "-W", "-m", "4")


@operation("dd")
class Dd(Convert):
    """Block by block."""
    source = target = "raw"

    def words(self, folder):
        return ["dd", "-f", "raw", "-O", "raw", "bs=64k", f"if={folder}/raw",
                f"of={folder}/new"]


class Look(Convert):
    """Nothing is written at all."""
    command = ()

    def words(self, folder):
        return [w.replace("@", folder + "/") for w in self.command]

    def check(self, done):
        for name in "raw", "base", "qcow2":
            untouched(name, name + ".copy.want")


for look, text in {
        "info": "info --backing-chain @qcow2", "map": "map @qcow2",
        "check": "check @qcow2", "snapshot-list": "snapshot -l @qcow2",
        "measure": "measure -O qcow2 @qcow2"}.items():
    OPERATIONS[look] = type(look, (Look,), {"command": text.split()})()


@operation("compare")
class Compare(Look):
    """Says "identical" when that is so."""
    failed = (2, 3, 4)
    command = "compare -f raw -F qcow2 @raw @base".split()


# --- images that are changed ---

class Change(Operation):
    """base <- top, and what a guest sees of top; a second set of contents
    beside."""

    def prepare(self):
        make_raw("base.want", 3)
        make_raw("other.want", 4)
        make_qcow2("base", "base.want")
        make_qcow2("other", "other.want")
        tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base",
             "-o", "cluster_size=4k", "top")
        write("top", 9, (0, 20000), (200000, 100000), (900000, 4096))
        flatten("top", "top.want")

    def check(self, done):
        whole("base", (0,))
        whole("top")
        same("base", "qcow2", "base.want")
        same("top", "qcow2", "top.want")


@operation("resize-raw")
class ResizeRaw(Operation):
    """Longer."""
    options = ()
    start = MIB
    end = 2 * MIB

    def prepare(self):
        make_raw("image", 5, self.start)
        tool("cp", "image", "old.want")
        tool("cp", "image", "new.want")
        os.truncate("new.want", self.end)

    def words(self, folder):
        return ["resize", "-q", "-f", "raw", *self.options, f"{folder}/image",
                str(self.end)]

    def check(self, done):
        if done:
            untouched("image", "new.want")
        else:
            one_of("image", "raw", "old.want", "new.want")


@operation("resize-raw-full")
class ResizeRawFull(ResizeRaw):
    """Longer, and written."""
    options = ("--preallocation=full",)

    def check(self, done):
        # what failed leaves it as long as it was, or as it was asked to be
        super().check(done)


@operation("shrink-raw")
class ShrinkRaw(ResizeRaw):
    """Shorter."""
    options = ("--shrink",)
    end = MIB // 2


@operation("resize-qcow2")
class ResizeQcow2(ResizeRaw):
    """Longer."""
    start, end = MIB, 40 * MIB

    def prepare(self):
        super().prepare()
        make_qcow2("image", "old.want")

    def words(self, folder):
        return ["resize", "-q", "-f", "qcow2", *self.options, f"{folder}/image",
                str(self.end)]

    def check(self, done):
        whole("image")
        if done:
            same("image", "qcow2", "new.want")
        else:
            one_of("image", "qcow2", "old.want", "new.want")


@operation("shrink-qcow2")
class ShrinkQcow2(ResizeQcow2):
    """Shorter: what lies behind may be gone."""
    options = ("--shrink",)
    end = MIB // 2

    def check(self, done):
        whole("image")
        flatten("image", "found.want")
        if os.path.getsize("found.want") not in (self.start, self.end):
            raise Broken("the image has a length that nobody asked for")
        os.truncate("found.want", self.end)
        untouched("found.want", "new.want")


@operation("commit")
class Commit(Change):
    """What top has goes to base; top is empty then."""
    options = ()

    def words(self, folder):
        return ["commit", "-q", *self.options, "-f", "qcow2", f"{folder}/top"]

    def check(self, done):
        whole("base")
        whole("top")
        same("top", "qcow2", "top.want")
        flatten("base", "found.want")
        if done:
            untouched("found.want", "top.want")
        else:
            mixture("found.want", "base.want", "top.want")


@operation("commit-keep")
class CommitKeep(Commit):
    """Top stays as it is."""
    options = ("-d",)


@operation("rebase")
class Rebase(Change):
    """What a guest sees stays the same."""

    def words(self, folder):
        return ["rebase", "-f", "qcow2", "-F", "qcow2", "-b", f"{folder}/other",
                f"{folder}/top"]

    def check(self, done):
        super().check(done)
        same("other", "qcow2", "other.want")


@operation("rebase-none")
class RebaseNone(Change):
    """Top needs nobody any more."""

    def words(self, folder):
        return ["rebase", "-f", "qcow2", "-b", "", f"{folder}/top"]

    def check(self, done):
        if done:
            os.rename("base", "away")
            same("top", "qcow2", "top.want")
            os.rename("away", "base")
        super().check(done)


@operation("rebase-unsafe")
class RebaseUnsafe(Change):
    """Only the name changes."""

    def prepare(self):
        super().prepare()
        tool("cp", "base", "moved")

    def words(self, folder):
        return ["rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b",
                f"{folder}/moved", f"{folder}/top"]


@operation("amend")
class Amend(Change):
    """The tables, not the contents."""

    def words(self, folder):
        return ["amend", "-q", "-f", "qcow2", "-o", "compat=0.10", f"{folder}/top"]


@operation("bitmap")
class Bitmap(Change):
    """A bitmap more."""

    def words(self, folder):
        return ["bitmap", "--add", "-f", "qcow2", f"{folder}/top", "b0"]


@operation("bitmap-remove")
class BitmapRemove(Change):
    """A bitmap less."""

    def prepare(self):
        super().prepare()
        for name in "b0", "b1":
            tool("qemu-img", "bitmap", "--add", "-f", "qcow2", "top", name)
        write("top", 9, (0, 4096))

    def words(self, folder):
        return ["bitmap", "--remove", "-f", "qcow2", f"{folder}/top", "b0"]


class Snapshot(Change):
    """Two states."""
    thorough = True
    option = ""

    def prepare(self):
        super().prepare()
        tool("cp", "top.want", "s1.want")
        tool("qemu-img", "snapshot", "-c", "s1", "top")
        write("top", 11, (4096, 30000), (400000, 100000))
        flatten("top", "top.want")

    def words(self, folder):
        return ["snapshot", "-q", *self.option.split(), f"{folder}/top"]


@operation("snapshot-create")
class SnapshotCreate(Snapshot):
    """One more."""
    option = "-c s2"

    def check(self, done):
        super().check(done)
        if done:
            tool("qemu-img", "snapshot", "-a", "s2", "top")
            super().check(done)


@operation("snapshot-delete")
class SnapshotDelete(Snapshot):
    """One less."""
    option = "-d s1"


@operation("snapshot-apply")
class SnapshotApply(Snapshot):
    """Back to what it was: one state or the other."""
    option = "-a s1"

    def check(self, done):
        whole("top")
        if done:
            same("top", "qcow2", "s1.want")
        else:
            one_of("top", "qcow2", "s1.want", "top.want")


def refcounts(file):
    """Where the first block of a qcow2 image's refcounts is."""
    file.seek(48)
    table = int.from_bytes(file.read(8), "big")
    file.seek(table)
    return int.from_bytes(file.read(8), "big")


@operation("check-leaks")
class CheckLeaks(Change):
    """A cluster that nobody uses."""

    def prepare(self):
        super().prepare()
        with open("top", "r+b") as file:
            cluster = file.seek(0, os.SEEK_END) // 4096
            file.write(bytes(8192))
            file.seek(refcounts(file) + 2 * cluster)
            file.write(b"\0\1\0\1")

    def words(self, folder):
        return ["check", "-q", "-f", "qcow2", "-r", "leaks", f"{folder}/top"]

    def check(self, done):
        super().check(done)
        if done:
            whole("top", (0,))


@operation("check-all")
class CheckAll(CheckLeaks):
    """Refcounts that are too low."""

    def prepare(self):
        super().prepare()
        with open("top", "r+b") as file:
            file.seek(refcounts(file) + 2 * 6)
            file.write(bytes(8))

    def words(self, folder):
        return ["check", "-q", "-f", "qcow2", "-r", "all", f"{folder}/top"]

    def check(self, done):
        whole("base", (0,))
        whole("top", (0,) if done else (0, 2, 3))
        same("base", "qcow2", "base.want")
        same("top", "qcow2", "top.want")


# --- other programs ---

@operation("io-write")
class IoWrite(Change):
    """New clusters and old ones, and a flush."""
    program = "io"

    def words(self, folder):
        return ["-f", "qcow2", "-c", "write -P 5 4096 60000", "-c",
                "write -P 5 500000 60000", "-c", "flush", f"{folder}/top"]

    def check(self, done):
        whole("base", (0,))
        whole("top")
        same("base", "qcow2", "base.want")
        self.check_written(done)

    @staticmethod
    def check_written(done):
        """What a guest sees of top."""
        flatten("top", "found.want")
        tool("cp", "top.want", "new.want")
        tool("qemu-io", "-f", "raw", "-c", "write -P 5 4096 60000", "-c",
             "write -P 5 500000 60000", "new.want")
        if done:
            untouched("found.want", "new.want")
        else:
            mixture("found.want", "top.want", "new.want", step=32)


def export(node, folder):
    """The daemon's command line for a disk on a node with these options."""
    return ["--blockdev", "node-name=n," + node, "--export",
            "vhost-user-blk,id=e,node-name=n,writable=on,addr.type=unix,"
            f"addr.path={folder}/../socket"]


class Serve(Change):
    """The daemon opens a chain, or says why it cannot, and closes it."""
    program = "daemon"
    node = ""

    def words(self, folder):
        return export(self.node.replace("@", folder + "/"), folder)


@operation("serve-chain")
class ServeChain(Serve):
    """Through the page cache."""
    node = "driver=qcow2,file.driver=file,file.filename=@top"


@operation("serve-direct")
class ServeDirect(Serve):
    """Without."""
    node = ("driver=qcow2,file.driver=file,file.filename=@top,cache.direct=on,"
            "file.cache.direct=on,file.aio=native,backing.file.cache.direct=on")


@operation("serve-raw")
class ServeRaw(Serve):
    """A file alone."""
    node = "driver=raw,file.driver=file,file.filename=@base,file.cache.direct=on"
