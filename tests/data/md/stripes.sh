#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# RAID5 and RAID6 as the kernel lays them out, in all their layouts. To be run as root in a virtual machine with files as disks: /dev/d0
# to /dev/d4 of 2M, /dev/content (what `make-golden content` writes) and /dev/out of 16M. Afterwards the latter holds, one after
# the other, 48K of each member of each array, from data_offset on. Its output and that file are what make-golden wants as STRIPES.
place=0
try() {
    level=$1 layout=$2 disks=$3
    devices=$(seq 0 $((disks - 1)) | sed 's,^,/dev/d,')
    mdadm --create /dev/md0 --run --metadata=1.2 --assume-clean --level="$level" --layout="$layout" --raid-devices="$disks" --chunk=4 \
        --data-offset=1M --size=48K --bitmap=none $devices >/dev/null 2>&1 || exit 1
    size=$(blockdev --getsize64 /dev/md0)
    dd if=/dev/content of=/dev/md0 bs="$size" count=1 conv=fsync 2>/dev/null
    mdadm --stop /dev/md0 >/dev/null 2>&1
    echo "STRIPES $level $layout $disks $size"
    for device in $devices; do
        dd if="$device" of=/dev/out bs=4096 skip=256 seek=$place count=12 conv=notrunc,fsync 2>/dev/null
        place=$((place + 12))
        mdadm --zero-superblock "$device"
    done
}
for layout in left-asymmetric right-asymmetric left-symmetric right-symmetric parity-first parity-last; do
    try 5 $layout 5
    try 6 $layout 5
done
for layout in left-asymmetric right-asymmetric left-symmetric right-symmetric parity-first; do
    try 6 $layout-6 5
done
try 5 left-symmetric 2
try 5 left-asymmetric 3
try 6 left-symmetric 4
try 6 right-asymmetric 4
