#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vblk-img's command line, create and info on raw images, beside qemu-img.

Usage: test-create-info.py VBLK_IMG
"""

import sys

import same

CASES = {
    "no subcommand": """
        img
        img -x
        img --foo
        img -T
        img creat
        img -- creat
    """,
    "options of a subcommand": """
        img create
        img create -x a
        img create --foo a
        img create -f
        img create a 1M 2M
        img create -1 a
        img info --format
        img info --o=json a
        img info -qf raw a
        img info -Uzf raw a
        img info -Uf
        img info --image-opts=foo a
        img info --output=foo a
        img info
        img info a b
    """,
    "sizes": """
        for s in 0 1k 1K 1b 1B 1.5k 0x10 1. 1.0 +5 ' 5' 007 08 0.7k; do img create a.raw "$s"; stat -c %s a.raw; done
        for s in 1kb 1e3 1.5 .5k '' k 0.1b 1,5k nan inf 1kk 0x 0xg 1.5e1k 1x; do img create a.raw "$s"; done
        for s in 18446744073709551615 18446744073709551616 9E 16E; do img create a.raw "$s"; done
        img create a.raw 0x10k
        img create -q a.raw 1M
    """,
    "create: options": """
        img create -o size=1M a.raw
        img create -o size=1M a.raw 2M
        img create -o size=1M,size=2M a.raw
        img create -o size=1M -o size=2M a.raw
        img create -o foo=bar a.raw 1M
        img create -o nofoo a.raw 1M
        img create -o nocow a.raw 1M
        img create -o size a.raw
        img create -o nosize a.raw
        img create -o size= a.raw
        img create -o size=-1 a.raw
        img create -o size=1.5 a.raw
        img create -o size=99999999999999999999 a.raw
        img create -o size=1M,,2 a.raw
        img create -o size=1M,preallocation=full a.raw
        img create -o size=1M,preallocation=falloc a.raw
        img create -o size=1M,preallocation=off,nocow=off a.raw
        img create -o size=1M,nocow=maybe a.raw
        img create -o preallocation=bad a.raw 1M
        img create -o preallocation=metadata a.raw 1M
        img create -o extent_size_hint=4M,nocow=off a.raw 1M
        img create a.raw
        img create -u a.raw
    """,
    "create: lists of options": """
        for o in size=1M, , ,size=1M ,, =, ,help '' size=1M,,,; do img create -o "$o" a.raw; done
    """,
    "create: help on options": """
        img create -o help
        img create -f raw -o help
        img create -f raw -o ?
        img create -f raw -o help a.raw
        img create -f raw -o size=1,help /nonexistent/a.raw
        img create -f file -o help
        img create -f file -o help a
        img create -o help null-co://
        img create -f foo -o help
    """,
    "create: what cannot be": """
        img create -f foo a 1M
        img create -f '' a 1M
        img create -f null-co a 1M
        img create foo:bar 1M
        img create null-co:// 1M
        img create json:{} 1M
        img create /nonexistent/a 1M
        mkdir folder && img create folder 1M
        img create '' 1M
        img create -b x a.raw 1M
        img create -F raw a.raw 1M
        img create -b x -F raw a.raw
        img create -b '' a.raw
        img create a.raw 1E
        touch ro && chmod 444 ro && chmod 777 . && setpriv --reuid=65534 "$IMG/qemu-img" create ro 1M
    """,
    "info": """
        img create a.raw 1M
        img info a.raw
        img info --output=json a.raw
        img info --outp=human a.raw
        img info -f raw a.raw
        img info --format=raw a.raw
        img info -U a.raw
        img info --force-share a.raw
        img info --backing-chain a.raw
        img info --backing-chain --output=json a.raw
        img info file:a.raw
        img info "$PWD/a.raw" | sed "s|$PWD|PWD|"
        truncate -s 1000 b && img info b
        img info 'json:{"driver":"raw","file.filename":"a.raw"}'
        img info --image-opts driver=raw,file.filename=a.raw
        img info --output=json --image-opts driver=raw,offset=512,file.filename=a.raw
        img info --image-opts driver=null-co,size=1M
        img info --output=json --image-opts driver=null-co,size=1M
        img info null-co://
        img info /dev/null
    """,
    "info: what cannot be": """
        img create -q a.raw 1M
        img info nonexistent
        img info ''
        mkdir folder && img info folder
        img info -f foo a.raw
        img info foo:bar
        img info json:{}
        img info --image-opts foo
        img info --image-opts foo=bar
        img info --image-opts ''
        img info --image-opts json:{}
        img info --image-opts file.filename=nonexistent
        img info --image-opts driver=raw,foo=bar,file.filename=a.raw
        img info --image-opts -f raw file.filename=a.raw
        img info -U --image-opts driver=raw,force-share=on,file.filename=a.raw
        img info -U --image-opts driver=raw,force-share=off,file.filename=a.raw
        chmod 0 a.raw && chmod 777 . && setpriv --reuid=65534 "$IMG/qemu-img" info a.raw
    """,
    "objects": """
        img create -q a.raw 1M
        img info --object secret,id=s,data=x a.raw
        img info --object secret,id=s,data=x,format=base64 a.raw
        img info --object '{"qom-type":"secret","id":"s","data":"x"}' a.raw
        img info --object secret,help a.raw
        img info --object foo a.raw
        img info --object id=1 a.raw
        img info --object '' a.raw
        img info --object secret a.raw
        img info --object secret,id=s a.raw
        img info --object secret,id=1s,data=x a.raw
        img info --object secret,id=s,data=x,file=y a.raw
        img info --object secret,id=s,foo=y a.raw
        img info --object secret,id=s,data=x,format=foo a.raw
        img info --object secret,id=s,data=x --object secret,id=s,data=x a.raw
    """,
    "names of files in JSON": r"""
        for f in é $'\xff' $'a\tb' 'a"b\c' 😀 $'\x7f'; do img create -q "$f" 512; img info "$f"; img info --output=json "$f"; done
    """,
}

same.run(sys.argv[1], CASES)
