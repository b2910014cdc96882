# SPDX-License-Identifier: GPL-2.0-or-later
"""What the study of 2016 says ("QEMU disk I/O: which performs better, native or
threads?", devconf.cz), row by row, and whether it holds for what was measured.

A claim is text for people and, for each pattern and size, who may win: T for
threads, N for native, E for neither. The first part that fits a row counts;
"N" alone fits the rest.
"""

from collections import namedtuple

from summary import chance

# Nearer to each other than this, or than chance may bring them (twice the
# standard error of their difference), neither has won.
MARGIN = 0.03

Claim = namedtuple("Claim", "disk fs image prealloc nfs vms text parts")
ALL = "read randread write randwrite randrw"


def table(nfs, lines):
    """Claims out of lines "place | 1 VM | parts | 16 VMs | parts"."""
    for line in lines.strip().splitlines():
        place, *rest = [part.strip() for part in line.split("|")]
        disk, fs, image, prealloc = place.split()
        for vms, text, parts in ((1, *rest[:2]), (16, *rest[2:])):
            yield Claim(disk, fs, image, prealloc, nfs, vms, text, parts)


LOCAL = """
ssd none raw yes | T: 4k read and randread 10-15 %, 4k write 26 % | T read,randread,write 4 | equal mostly, N in few | EN
ssd ext4 raw yes | N: randwrite, write, randrw; T: 4k read 10-15 %, 4k randread 8 % | N randwrite,write,randrw; T read,randread 4 | similar; 4k sequential read T 1 % | TE read 4; E
ssd xfs raw yes | T | T | equal mostly, N in few; T sequential write | T write; EN
ssd ext4 qcow2 no | N all; T under 10 % for read, randread | T read,randread; N | N mostly; sequential read N 10-15 % | N
ssd xfs qcow2 no | N all but sequential read (T 6 %) | T read; N | N all but sequential write (T 8 %) | T write; N
ssd ext4 qcow2 falloc | N almost all; T under 10 % sequential read | T read; N | N randwrite, write, randrw; T slightly read, randread | N randwrite,write,randrw; T read,randread
ssd xfs qcow2 falloc | N write, randrw; T under 10 % read, randread | N write,randrw; T read,randread | N all; T sequential write | T write; N
ssd ext4 qcow2 fallocate | N randwrite, write, randrw; T read, randread (4k/16k 12 %) | N randwrite,write,randrw; T read,randread | N | N
ssd xfs qcow2 fallocate | N randwrite, write, randread; T under 10 % read | N randwrite,write,randread; T read | N all; T randread and 4k sequential write | T randread; T write 4; N
hdd none raw yes | N all | N | N all | N
hdd ext4 raw yes | N all | N | N all | N
hdd xfs raw yes | N all | N | N or equal, all | NE
hdd ext4 qcow2 no | N or equal but randread (T 30 %) | T randread; NE | N but 4k sequential read | TE read 4; N
hdd xfs qcow2 no | N but sequential write (T 30 %) | T write; N | N but 4k sequential read | TE read 4; N
hdd ext4 qcow2 falloc | N or equal but randread (T 30 %) | T randread; NE | N or equal but 4k read | T read 4; NE
hdd xfs qcow2 falloc | N or equal but sequential write (T 30 %) | T write; NE | N or equal but 4k randread | T randread 4; NE
hdd ext4 qcow2 fallocate | N or equal, all | NE | N or equal but 4k randread (T 15 %) | T randread 4; NE
hdd xfs qcow2 fallocate | N all but sequential write (T 30 %) | T write; N | N; T 3-4 % in few, randread 30 % | T randread; NTE
"""
OVER_NFS = """
ssd ext4 raw yes | N: randwrite, write, randrw; T: 4k/16k read, randread 12 % | N randwrite,write,randrw; T read,randread | equal mostly, N in few | EN
ssd xfs raw yes | N all but read and randread (T) | T read,randread; N | N all | N
"""
CLAIMS = [*table(False, LOCAL), *table(True, OVER_NFS)]
# The study's word -> ours. What it calls "fallocate" is an image that had all
# of its blocks; "full" is the nearest that qemu-img makes today.
PREALLOCATION = {"yes": "full", "no": "off", "falloc": "falloc",
                 "fallocate": "full"}


def claim_for(row):
    """What the study says about a row's image, or None: it had none such."""
    for claim in CLAIMS:
        if not claim.nfs and row.vms == claim.vms and \
                (row.disk, row.fs, row.image, row.prealloc) == \
                (claim.disk, claim.fs, claim.image,
                 PREALLOCATION[claim.prealloc]):
            return claim
    return None


def expected(claim, rw, size):
    """Who may win there, as a string of T, N and E, or ""."""
    for part in claim.parts.split(";"):
        winners, *limits = part.split()
        patterns = limits[0].split(",") if limits else ALL.split()
        sizes = limits[1].split(",") if limits[1:] else [str(size)]
        if rw in patterns and str(size) in sizes:
            return winners
    return ""


def outcome(threads, native):
    """(T, N or E; by how much threads are ahead), of two series."""
    ahead = threads.mean() / native.mean() - 1
    if abs(ahead) < max(MARGIN, chance(threads, native)):
        return "E", ahead
    return ("T" if ahead > 0 else "N"), ahead


def in_words(winner, ahead):
    """"threads +12 %"."""
    return {"T": f"threads +{ahead:.0%}", "E": f"equal ({ahead:+.0%})",
            "N": f"native +{1 / (1 + ahead) - 1:.0%}"}[winner].replace("%",
                                                                      " %")


def verdict(result, program):
    """("holds" | "no longer" | "no claim" | "not measured", what is)."""
    row = result.row
    if not result.mean(f"{program}-threads") or \
            not result.mean(f"{program}-native"):
        return "not measured", "-"
    winner, ahead = outcome(result.servers[f"{program}-threads"],
                            result.servers[f"{program}-native"])
    claim = claim_for(row)
    allowed = expected(claim, row.rw, row.size) if claim else ""
    if not allowed:
        return "no claim", in_words(winner, ahead)
    return ("holds" if winner in allowed else "no longer",
            in_words(winner, ahead))
