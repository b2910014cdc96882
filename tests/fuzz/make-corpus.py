#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the fuzz targets other than those of qcow2 begin with: inputs that a
well-behaved guest, front end or user would give.

Usage: make-corpus.py DIRECTORY

Makes DIRECTORY/TARGET/NAME. Called by people; the result, grown and reduced by
libFuzzer, is checked in as corpus/TARGET.zip.
"""

import hashlib
import os
import struct
import sys

GUEST = 0x1000          # of fuzz-ring.c
F_NEXT, F_WRITE, F_INDIRECT, F_AVAIL, F_USED = 1, 2, 4, 1 << 7, 1 << 15


def split_desc(addr, length, flags, following=0):
    """A descriptor of a split ring."""
    return struct.pack("<QIHH", addr, length, flags, following)


def packed_desc(addr, length, ident, flags):
    """A descriptor of a packed ring."""
    return struct.pack("<QIHH", addr, length, ident, flags)


def place(parts, size=0x800):
    """Memory with each part where it belongs."""
    memory = bytearray(size)
    for at, part in parts.items():
        memory[at:at + len(part)] = part
    return bytes(memory).rstrip(b"\0")


def steps(*words):
    """Steps of fuzz-ring.c: what, which, a number."""
    return b"".join(struct.pack("<BBH", *word) for word in words)


TAKE_AND_GIVE = steps((0, 0, 0), (2, 0x40, 5), (0, 0, 0), (2, 1, 9),
                      (3, 0, 0), (6, 0, 0), (0, 0, 0), (7, 0, 0))


def ring_input(features, size, more, memory):
    """For fuzz-ring.c."""
    return bytes([features, size, 0, len(more) // 4]) + more + memory


def ring_split():
    """Chains of one, of three, and with a table."""
    avail = struct.pack("<HHHHH", 0, 2, 0, 3, 0)
    table = split_desc(0x1600, 16, F_NEXT, 1) + split_desc(0x1700, 32, F_WRITE)
    memory = place({
        0: split_desc(0x1800, 16, F_NEXT, 1) +
           split_desc(0x1900, 0x900, F_NEXT | F_WRITE, 2) +
           split_desc(0x1a00, 1, F_WRITE) +
           split_desc(0x1700, len(table), F_INDIRECT),
        0x400: avail, 0x700: table})
    return {f"features-{f}": ring_input(f, 3, TAKE_AND_GIVE, memory)
            for f in (0, 1, 2, 3, 7)}


def ring_packed():
    """The same in a packed ring."""
    table = packed_desc(0x1600, 16, 0, 0) + packed_desc(0x1700, 9, 0, F_WRITE)
    memory = place({
        0: packed_desc(0x1800, 16, 0, F_AVAIL | F_NEXT) +
           packed_desc(0x1900, 0x900, 1, F_AVAIL | F_WRITE) +
           packed_desc(0x1700, len(table), 3, F_AVAIL | F_INDIRECT),
        0x700: table})
    return {f"features-{f}": ring_input(f | 8, 7, TAKE_AND_GIVE, memory)
            for f in (0, 1, 2, 3, 7)}


def request(flags, out, in_lengths, cuts):
    """For fuzz-virtio-blk-request.c: @cuts are the readable pieces."""
    lengths = b"".join(struct.pack("<H", n) for n in [*cuts, *in_lengths])
    return bytes([flags, len(cuts), len(in_lengths), 0, 0]) + lengths + out


def virtio_blk_request():
    """Each type, in one piece and in several."""
    inputs = {}
    for kind in (0, 1, 4, 8, 11, 13, 99):
        header = struct.pack("<IIQ", kind, 0, 8)
        segments = struct.pack("<QII", 8, 8, 0) + struct.pack("<QII", 64, 1, 0)
        data = {1: b"x" * 4096, 11: segments, 13: segments}.get(kind, b"")
        answer = [4096, 1] if kind == 0 else [20, 1] if kind == 8 else [1]
        out = header + data
        inputs[f"type-{kind}"] = request(0, out, answer,
                                         [n for n in (16, len(data)) if n])
        inputs[f"type-{kind}-cut"] = request(
            0, out, [sum(answer)], [3, 13, len(data)])
    return inputs


def message(kind, flags, payload):
    """A step of fuzz-vhost-user.c."""
    return bytes([0, kind, flags, len(payload)]) + payload


def store(at, contents):
    """Into the guest's memory; @at is a multiple of 16."""
    return bytes([4, at >> 4 & 0xff, at >> 12, len(contents)]) + contents


def vhost_user():
    """Connections of good front ends, with a request or two."""
    guest = 0x100000
    header = struct.pack("<IIQ", 0, 0, 0)
    inputs = {}
    for name, features in (("split", 2 + 4), ("packed", 2 + 4 + 8),
                           ("plain", 4), ("old", 0)):
        start = bytes([6, features | 32, 0, 0]) + bytes([2, 0, features >> 3, 0])
        data = store(0x3000, header)
        if features & 8:
            ring = (packed_desc(guest + 0x3000, 16, 0, F_AVAIL | F_NEXT) +
                    packed_desc(guest + 0x4000, 512, 0,
                                F_AVAIL | F_NEXT | F_WRITE) +
                    packed_desc(guest + 0x5000, 1, 0, F_AVAIL | F_WRITE))
            data += store(0, ring)
        else:
            ring = (split_desc(guest + 0x3000, 16, F_NEXT, 1) +
                    split_desc(guest + 0x4000, 512, F_NEXT | F_WRITE, 2) +
                    split_desc(guest + 0x5000, 1, F_WRITE))
            data += store(0, ring) + store(0x400, struct.pack("<HHH", 0, 1, 0))
        kick = bytes([3, 0, 0, 0])
        stop = message(11, 0, struct.pack("<II", 0, 0))
        inputs[name] = start + data + kick + stop
    inputs["questions"] = b"".join(message(kind, 0, b"")
                                   for kind in (1, 3, 15, 17, 36, 40, 34))
    inputs["config"] = (message(24, 0, struct.pack("<III", 0, 60, 0) + bytes(60)) +
                        message(25, 8, struct.pack("<III", 32, 1, 0) + b"\1"))
    region = struct.pack("<QQQQ", guest, 0x10000, 0x7f0000000000, 0)
    inputs["regions"] = (message(37, 0x10, bytes(8) + region) +
                         message(38, 0, bytes(8) + region))
    inputs["inflight"] = message(31, 0, struct.pack("<QQHH", 0, 0, 2, 16))
    inputs["log"] = message(6, 0x10, struct.pack("<QQ", 0x1000, 0))
    return inputs


def options():
    """What people write."""
    texts = [
        "driver=file,node-name=f,filename=a,,b,cache.direct=on,aio=native",
        "file,a=1k,a.b=2,n=0x10", "a.0=x,a.1=y,iothread.0=t,iothread.1=u",
        '{"driver":"qcow2","file":{"driver":"file","filename":"a"},'
        '"backing":null,"n":7,"s":-1,"a":[1,"b",{"c":true}],"x":1.5}',
        '{"file.driver":"nbd","file.server.0.host":"h","inject-error":[{}]}',
        '{"a":"\\u00e4\\ud83d\\ude00\\n","b":{"c":{"d":1}}}',
    ]
    return {f"text-{i}": bytes([i]) + text.encode()
            for i, text in enumerate(texts)}


def qmp():
    """What clients send, well and badly."""
    texts = [
        '{"execute":"qmp_capabilities","arguments":{"enable":["oob"]},"id":1}',
        '{"execute":"query-block"} {"execute":"query-block","id":[{"a":null}]}',
        '{"execute":"blockdev-add","arguments":{"driver":"qcow2","file":'
        '{"driver":"file","filename":"\\u00e4\\ud83d\\ude00\\n/\\""},'
        '"n":-0.5e-3,"t":true,"f":false}}',
        '5 "x" nonsense [] {} , : } {"a":[}{"b":1}',
        "[" * 31 + "{}" + "]" * 31 + "[" * 33,
        '{"a":9223372036854775808,"b":-9223372036854775808,"c":1e308}',
    ]
    inputs = {f"text-{i}": text.encode() for i, text in enumerate(texts)}
    inputs["afresh"] = b'{"a":"\xff{"execute":"quit"}'
    return inputs


def handover():
    """What processes leave: with rings that run, that stand, and nobody."""
    guest, user = 0x100000, 0x7f0000000000
    version_1 = 1 << 32
    region = (f"m|record=region,id=e0,guest-addr={guest:#x},"
              f"user-addr={user:#x},offset=0x0,bytes=0x10000,fd=0x0")
    session = ("s|record=session,id=e0,features={:#x},features-set=0x1,"
               "protocol-features={:#x},status=0xf,socket=0x0")
    server = "l|record=server,id=e0,device=0x0,path=/tmp/x,listen=0x0"
    inflight = ("i|record=inflight,id=e0,queues=0x2,queue-size=0x10,"
                "offset=0x0,bytes=0x{:x},fd=0x0")
    groups = ("|record=throttle,id=g,leaked-ns=0x1,iops-write=0x3a98,"
              "iops-write-burst=0x0")
    image = "f|record=file,id=IMAGE,locking=0x2,held=0x3,shared=0x5,fd=0x0"
    own = "l|record=takeover,id=,began-us=0x1,pid=0x2,listen=0x0"
    inputs = {}

    def ring(index, base, kick="ke"):
        at = user + 0x1000 * index
        fds = ",kick=0x0,call=0x1" if kick else ""
        return (f"{kick}|record=ring,id=e0,index={index:#x},num=0x10,"
                f"base={base:#x},enabled=0x1,broken=0x0,desc={at:#x},"
                f"used={at + 0x800:#x},avail={at + 0x400:#x},log=0x0,"
                f"flags=0x0{fds}")

    split = (b"@0:" + split_desc(guest + 0x3000, 16, F_NEXT, 1) +
             split_desc(guest + 0x4000, 512, F_NEXT | F_WRITE, 2) +
             split_desc(guest + 0x5000, 1, F_WRITE) +
             b"\n@40:" + struct.pack("<HHH", 0, 1, 0))
    packed = (b"@0:" +
              packed_desc(guest + 0x3000, 16, 0, F_AVAIL | F_NEXT) +
              packed_desc(guest + 0x4000, 512, 0, F_AVAIL | F_NEXT | F_WRITE) +
              packed_desc(guest + 0x5000, 1, 0, F_AVAIL | F_WRITE))
    # one head marked: a request that was left
    area = b"#0:" + struct.pack("<QHHHH", 0, 1, 16, 0, 0) + \
        struct.pack("<BxxxxxHQ", 1, 0, 0)
    size = 2 * 576 + 64
    for name, features, memory, base, marks in (
            ("split", version_1, split, 0, area + b"\n"),
            ("packed", version_1 | 1 << 34, packed, 0x80008000, b"")):
        texts = [region, ring(0, base), ring(1, base), server,
                 session.format(features | 1 << 30, 0x1029)]
        inputs[name] = memory + b"\n" + "\n".join(texts).encode()
        texts.insert(0, inflight.format(size))
        inputs[name + "-inflight"] = (memory + b"\n" + marks +
                                      "\n".join(texts).encode())
    inputs["nobody"] = "\n".join([server, groups, own]).encode()
    inputs["no-kick"] = "\n".join([region, ring(0, 0, ""), server,
                                   session.format(version_1, 0)]).encode()
    inputs["file"] = "\n".join([image, groups, server]).encode()
    inputs["log"] = ("m|record=log,id=e0,offset=0x0,bytes=0x1000,fd=0x0\n" +
                     server + "\n" +
                     session.format(version_1 | 1 << 26, 0xb)).encode()
    inputs["monitor"] = (b"ls|record=monitor,id=m,negotiated=0x1,listen=0x0,"
                         b"client=0x1\nl|record=monitor,id=n,negotiated=0x0,"
                         b"listen=0x0\n" + server.encode())
    inputs["refused"] = b"|record=refused,id=the running process ends"
    return inputs


def journal():
    """What a server with monitors leaves, whole and half-written."""
    texts = [
        '{"execute": "blockdev-add", "arguments": {"driver": "qcow2", '
        '"node-name": "n", "file": {"driver": "file", "filename": "a"}}}\n'
        '{"execute": "block-export-add", "arguments": {"id": "e", "type": '
        '"vhost-user-blk", "node-name": "n"}, "waiting": true}\n',
        '{"execute": "blockdev-del", "arguments": {"node-name": "c"}}\n'
        '{"execute": "blockdev-add", "arguments": {"node-name": "c", "x": 1.5}}\n',
        '{"execute": "object-add", "arguments": {"qom-type": "throttle-group", '
        '"id": "g"}}\n{"execute": "qom-set", "arguments": {"path": "g", '
        '"property": "limits", "value": {"iops-total": 5}}}\n',
        '{"execute": "object-del", "arguments": {"id": "\\u00e4"}}',
        '{"execute": "quit", "arguments": {}}',
    ]
    inputs = {f"text-{i}": b"\1" + text.encode() for i, text in enumerate(texts)}

    def slot(number, offset, text):
        line = (f"vblk-journal 1 {number} {offset} {len(text)} "
                f"{hashlib.sha256(text).hexdigest()}")
        return line.encode().ljust(256, b"\0")

    first, last = texts[0].encode(), texts[1].encode()
    two = (slot(2, 1024, first) + slot(3, 512, last) + last.ljust(512, b"\0") +
           first)
    inputs["file"] = b"\0" + two
    inputs["half"] = b"\0" + two.replace(last, b"half")
    inputs["empty"] = b"\0"
    return inputs


def main():
    """See above."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 1
    for make in (ring_split, ring_packed, virtio_blk_request, vhost_user,
                 options, qmp, handover, journal):
        target = "fuzz-" + make.__name__.replace("_", "-")
        folder = os.path.join(sys.argv[1], target)
        os.makedirs(folder, exist_ok=True)
        for name, contents in make().items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(contents)
    return 0


if __name__ == "__main__":
    sys.exit(main())
