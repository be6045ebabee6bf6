#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# What mdadm and the kernel choose for new arrays, on sizes that matter. To be run as root in a virtual machine whose disks /dev/a0 ... are
# sparse files: a0 to a5 1G, b0 b1 9G, c0 to c2 300G, d0 to d3 10T, e0 1027M, e1 2G, e2 3G, f0 40M, f2 41000K, g0 100M. Its output
# is what make-golden wants as CREATED: the command, then for each device its size and, base64 of gzip, superblock and bitmap header.
try() {
    name=$1
    shift
    echo "CASE $name: $*"
    mdadm --create /dev/md0 --run --metadata=1.2 --assume-clean --name="$name" --homehost=kp "$@" >/dev/null 2>&1
    mdadm --stop /dev/md0 >/dev/null 2>&1
    for a in "$@"; do
        case $a in
        missing) echo "DEV missing 0" ;;
        /dev/*)
            echo "DEV ${a#/dev/} $(blockdev --getsize64 "$a")"
            dd if="$a" bs=4096 skip=1 count=2 2>/dev/null | gzip -9 | base64 -w0
            echo
            mdadm --zero-superblock "$a"
            ;;
        esac
    done
}
bitmap=--bitmap=internal
try r1-1g --level=1 --raid-devices=2 $bitmap /dev/a0 /dev/a1
try r1-9g --level=1 --raid-devices=2 $bitmap /dev/b0 /dev/b1
try r1-300g --level=1 --raid-devices=3 $bitmap /dev/c0 /dev/c1 /dev/c2
try r1-10t --level=1 --raid-devices=2 $bitmap /dev/d0 /dev/d1
try r1-uneven --level=1 --raid-devices=2 $bitmap /dev/e1 /dev/e0
try r1-40m --level=1 --raid-devices=3 $bitmap /dev/f2 missing /dev/f0
try r1-spares --level=1 --raid-devices=2 --spare-devices=2 $bitmap /dev/e2 /dev/e1 /dev/a0 /dev/e0
try r1-size --level=1 --raid-devices=2 --size=100001 $bitmap /dev/a0 /dev/a1
try r10-n2 --level=10 --layout=n2 --raid-devices=4 $bitmap /dev/a0 /dev/a1 /dev/a2 /dev/a3
try r10-n2-5 --level=10 --layout=n2 --raid-devices=5 --spare-devices=1 $bitmap /dev/a0 /dev/a1 /dev/a2 /dev/a3 /dev/a4 /dev/a5
try r10-n3-64k --level=10 --layout=n3 --chunk=64 --raid-devices=4 $bitmap /dev/a0 /dev/a1 /dev/a2 /dev/a3
try r10-f2-300g --level=10 --layout=f2 --raid-devices=3 $bitmap /dev/c0 /dev/c1 /dev/c2
try r10-o2-10t --level=10 --layout=o2 --chunk=1024 --raid-devices=4 $bitmap /dev/d0 /dev/d1 /dev/d2 /dev/d3
try r10-n2-mix --level=10 --layout=n2 --chunk=4096 --raid-devices=3 $bitmap /dev/g0 /dev/e0 /dev/e1
try r10-size --level=10 --raid-devices=2 --size=102401 $bitmap /dev/a0 /dev/a1
try r0 --level=0 --raid-devices=3 /dev/a0 /dev/a1 /dev/a2
try r0-uneven --level=0 --layout=original --chunk=64 --raid-devices=3 /dev/e1 /dev/e0 /dev/e2
try r0-10t --level=0 --raid-devices=2 /dev/d0 /dev/d1
try r5-1g --level=5 --raid-devices=3 $bitmap /dev/a0 /dev/a1 /dev/a2
try r5-2 --level=5 --layout=ra --raid-devices=2 $bitmap /dev/a0 /dev/a1
try r5-64k --level=5 --layout=la --chunk=64 --raid-devices=4 --spare-devices=1 $bitmap /dev/a0 /dev/a1 /dev/a2 /dev/a3 /dev/a4
try r5-9g --level=5 --layout=parity-first --chunk=4 --raid-devices=3 $bitmap /dev/b0 missing /dev/b1
try r5-300g --level=5 --layout=rs --raid-devices=3 $bitmap /dev/c0 /dev/c1 /dev/c2
try r5-10t --level=5 --layout=parity-last --chunk=65536 --raid-devices=4 $bitmap /dev/d0 /dev/d1 /dev/d2 /dev/d3
try r5-mix --level=5 --chunk=4096 --raid-devices=3 $bitmap /dev/g0 /dev/e0 /dev/e1
try r5-size --level=5 --size=102401 --raid-devices=3 $bitmap /dev/a0 /dev/a1 /dev/a2
try r6-1g --level=6 --raid-devices=4 $bitmap /dev/a0 /dev/a1 /dev/a2 /dev/a3
try r6-64k --level=6 --layout=ra --chunk=64 --raid-devices=5 --spare-devices=1 $bitmap /dev/a0 /dev/a1 /dev/a2 /dev/a3 /dev/a4 /dev/a5
try r6-10t --level=6 --layout=left-symmetric-6 --chunk=128 --raid-devices=4 $bitmap /dev/d0 missing /dev/d2 missing
