#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# lib/lvm beside the real LVM2 on loop devices, without device-mapper: LVM2 reads, checks and changes
# the groups that we make, we those that it makes. Usage: lvm-host.sh BUILD-DIR; 77 where it cannot run.
set -u
build=$1
here=$(cd "$(dirname "$0")" && pwd)
data=$here/../data/lvm
tool=$build/tests/unit/lvm/vg_tool
failed=0

skip() { echo "SKIP: $*"; exit 77; }
[ "$(id -u)" = 0 ] || skip "loop devices need root"
command -v lvm >/dev/null || skip "lvm is not installed"

dir=$(mktemp -d "${TMPDIR:-/var/tmp}/ashlar-lvm-XXXXXX")
loops=()
cleanup() {
    for l in "${loops[@]}"; do losetup -d "$l"; done
    rm -rf "$dir"
}
trap cleanup EXIT

filter=
for i in 0 1 2; do
    truncate -s 64M "$dir/$i.img"
    l=$(losetup -f --show "$dir/$i.img") || skip "loop devices cannot be attached here"
    loops+=("$l")
    filter+="\"a|^$l\$|\", "
done
a=${loops[0]} b=${loops[1]} c=${loops[2]}

# A configuration of its own: LVM2 sees these three devices and nothing else of the machine.
export LVM_SYSTEM_DIR=$dir/lvm LVM_SUPPRESS_FD_WARNINGS=1
mkdir "$LVM_SYSTEM_DIR"
cat >"$LVM_SYSTEM_DIR/lvm.conf" <<CONF
devices { filter = [ $filter "r|.*|" ] use_devicesfile = 0 scan_lvs = 0 obtain_device_list_from_udev = 0
    external_device_info_source = "none" }
global { locking_dir = "$dir/lvm/lock" use_lvmpolld = 0 notify_dbus = 0 }
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }
backup { backup_dir = "$dir/lvm/backup" archive_dir = "$dir/lvm/archive" }
CONF
l() {
    local verb=$1
    shift
    lvm "$verb" --driverloaded n "$@" 2>"$dir/err" || { cat "$dir/err" >&2; return 1; }
    ! grep -iE 'inconsistent|incorrect|mismatch|bad|invalid|repair|fail' "$dir/err"
}
lvs_quiet() { l lvs --noheadings --units b --nosuffix "$@" | awk '{$1=$1; print}'; }
t() { "$tool" -s "$dir/state" "$@"; }

# is WHAT EXPECTED GOT
is() {
    if [ "$2" = "$3" ]; then
        echo "ok: $1"
    else
        echo "FAILED: $1: expected \"$2\", got \"$3\""
        failed=1
    fi
}
# ok WHAT COMMAND...
ok() {
    local what=$1
    shift
    if "$@" >"$dir/out" 2>&1; then
        echo "ok: $what"
    else
        echo "FAILED: $what: $(cat "$dir/out")"
        failed=1
    fi
}
# no WHAT PART-OF-THE-REASON COMMAND...
no() {
    local what=$1 part=$2
    shift 2
    if "$@" >"$dir/out" 2>&1; then
        echo "FAILED: $what was not refused"
        failed=1
    elif grep -q -- "$part" "$dir/out"; then
        echo "ok: $what is refused: $(tail -1 "$dir/out")"
    else
        echo "FAILED: $what: no \"$part\" in: $(cat "$dir/out")"
        failed=1
    fi
}
# What LVM2 thinks of a group on the given devices: consistent, and every copy the same.
checked() {
    local what=$1
    shift
    ok "$what: vgck" l vgck
    for d in "$@"; do
        ok "$what: pvck --dump headers $d" l pvck --dump headers "$d"
        is "$what: pvck finds nothing on $d" 0 "$(lvm pvck --dump headers "$d" 2>&1 | grep -ciwE 'errors?|bad|wrong|should be|invalid|mismatch')"
    done
}

ours() {
    ok "we make a group" t create vg1 -- "$a" "$b"
    is "LVM2 lists it" "vg1 2 0 4194304" "$(l vgs --noheadings --units b --nosuffix -o vg_name,pv_count,lv_count,vg_extent_size | awk '{$1=$1; print}')"
    checked "a new group" "$a" "$b"
    ok "we make a volume" t lv-create one 12 -- "$a" "$b"
    ok "and another" t lv-create two 80 -- "$a" "$b"
    ok "we lengthen the first" t lv-resize one 30 -- "$a" "$b"
    ok "we tag it" t lv-tag one ashlar:format=raw -- "$a" "$b"
    is "LVM2 lists the volumes" "one 33554432 ashlar:format=raw two 83886080 " "$(l lvs --noheadings --units b --nosuffix -o lv_name,lv_size,lv_tags --separator ' ' | sed 's/^ *//' | tr '\n' ' ' | sed 's/  */ /g')"
    checked "a used group" "$a" "$b"
    ok "vgcfgbackup" l vgcfgbackup -f "$dir/backup" vg1
    ok "we extend the group" t extend -- "$a" "$b" "$c"
    ok "we shorten a volume" t lv-resize two 8 -- "$a" "$b" "$c"
    ok "we rename a volume" t lv-rename two three -- "$a" "$b" "$c"
    ok "we rename the group" t rename vg2 -- "$a" "$b" "$c"
    is "LVM2 follows" "three 8388608" "$(lvs_quiet -o lv_name,lv_size vg2/three)"
    checked "a changed group" "$a" "$b" "$c"
    is "the segments are LVM2's" "$(l lvs --noheadings --segments -o lv_name,seg_start_pe,seg_size_pe,seg_pe_ranges | awk '{$1=$1; print}')" \
        "$(segments_of_backup)"
    ok "LVM2 changes our group" l lvextend -l +2 vg2/three
    ok "LVM2 adds to it" l lvcreate -an -Zn -Wn -y -l 3 -n four vg2
    ok "we read what it made" t show -- "$a" "$b" "$c"
    is "all volumes are there" "four:12582912 one:33554432 three:16777216 " "$(awk '/^lv/ {print $2 ":" $4}' "$dir/out" | sort | tr '\n' ' ')"
    ok "and change it again" t lv-remove four -- "$a" "$b" "$c"
    checked "a group changed in turns" "$a" "$b" "$c"
    # Commands that only look repair nothing; this one writes metadata.
    ok "LVM2 writes it once more" l vgchange --addtag x vg2
    no "a PV that is used" "hold volumes" t reduce "$a" -- "$a" "$b" "$c"
    ok "an empty one can" t reduce "$c" -- "$a" "$b" "$c"
    is "LVM2 sees two" "2" "$(l vgs --noheadings -o pv_count vg2 | tr -d ' ')"
    is "the archive keeps the newest" "3" "$(find "$dir/state/archive" -name 'vg1_*.vg' | wc -l)"
    ok "LVM2 restores our backup file" lvm vgcfgrestore --driverloaded n -f "$dir/state/backup/vg2" vg2
    ok "we read it after that" t show -- "$a" "$b"
    no "removing a group with volumes" "has 2 volumes" t remove -- "$a" "$b"
    ok "volumes go" t lv-remove one -- "$a" "$b"
    ok "all of them" t lv-remove three -- "$a" "$b"
    ok "then the group" t remove -- "$a" "$b"
    is "nothing is left for LVM2" "" "$(l pvs --noheadings -o pv_name | tr -d ' ')"
}

# name, first extent, extents, PV ranges, from our backup file as LVM2 prints them
segments_of_backup() {
    python3 - "$dir/state/backup/vg2" <<'P'
import re, sys
text = open(sys.argv[1]).read()
pvs = dict(re.findall(r'(pv\d+) \{\s+id = "[^"]+"\s+device = "([^"]+)"', text))
name = None
rows = []
for m in re.finditer(r'^\t\t(\S+) \{|start_extent = (\d+)\s+extent_count = (\d+).*?stripes = \[\s+"(pv\d+)", (\d+)', text, re.M | re.S):
    if m.group(1):
        name = m.group(1)
    else:
        start, count, first = int(m.group(2)), int(m.group(3)), int(m.group(5))
        rows.append((name, start, f"{name} {start} {count} {pvs[m.group(4)]}:{first}-{first + count - 1}"))
print("\n".join(r[2] for r in sorted(rows)))
P
}

theirs() {
    ok "LVM2 makes PVs" l pvcreate "$a" "$b" "$c"
    ok "LVM2 makes a group" l vgcreate -s 4m vg3 "$a" "$b"
    ok "and a linear volume" l lvcreate -an -Zn -Wn -y -l 5 -n lin vg3
    ok "and a striped one" l lvcreate -an -Zn -Wn -y -i 2 -I 64k -l 4 -n str vg3
    ok "it renames" l lvrename vg3/lin vg3/line
    ok "it extends" l vgextend vg3 "$c"
    ok "we read it" t show -- "$a" "$b" "$c"
    is "the volumes" "line:20971520 str:16777216 " "$(awk '/^lv/ {print $2 ":" $4}' "$dir/out" | sort | tr '\n' ' ')"
    is "the group's free space" "$(l vgs --noheadings --units b --nosuffix -o vg_free | tr -d ' ')" "$(awk '/^vg/ {print $9}' "$dir/out")"
    ok "we lengthen the striped volume" t lv-resize str 24 -- "$a" "$b" "$c"
    ok "and cut into its stripes" t lv-resize str 12 -- "$a" "$b" "$c"
    is "at whole stripes" "str 16777216" "$(lvs_quiet -o lv_name,lv_size vg3/str)"
    checked "LVM2's group" "$a" "$b" "$c"
    ok "LVM2 adds a volume of another type" l lvcreate -an -y --type error -Zn -Wn -l 1 -n odd vg3
    ok "we show it" t show -- "$a" "$b" "$c"
    is "as unusable" "1" "$(grep -c '^lv odd .* unusable' "$dir/out")"
    no "changing the group" "never modified.*type error" t lv-create new 4 -- "$a" "$b" "$c"
    ok "that goes" l lvremove -y vg3/odd
    ok "now we may" t lv-create new 4 -- "$a" "$b" "$c"
    ok "LVM2 leaves a PV out of date" l vgchange --addtag y vg3
    ok "with one PV gone we show it" t show -- "$a" "$b"
    is "as partial" "1" "$(grep -c '^reason .*missing' "$dir/out")"
    no "changing it" "is missing" t lv-remove new -- "$a" "$b"
}

# A copy that is older than the others is caught up when we open the group.
stale() {
    dd if="$a" of="$dir/old" bs=1M count=1 status=none iflag=direct
    ok "the group moves on" t lv-tag new stale:test -- "$a" "$b" "$c"
    dd if="$dir/old" of="$a" bs=1M count=1 status=none oflag=direct
    ok "we open it with one old copy" t show -- "$a" "$b" "$c"
    is "and repair that" "none" "$(awk '/^warning/ {print $2}' "$dir/out")"
    checked "a repaired group" "$a" "$b" "$c"
    is "all copies agree" "1" "$(for d in "$a" "$b" "$c"; do lvm pvck --dump metadata "$d" 2>/dev/null | grep '^seqno = '; done | sort -u | wc -l)"
}

# What the real device-mapper read from a volume of linear and striped segments.
golden() {
    mkdir "$dir/golden"
    tar --zstd -xSf "$data/pe4-extended-mixed-types.tar.zst" -C "$dir/golden"
    is "a volume of mixed segments has the bytes that Linux saw" \
        "cecca02ed599ada8f54fe54c23a89734263209e8c1fad7982e6d0d7112d2b9cd" \
        "$(t cat m -- "$dir"/golden/d?.img | sha256sum | cut -d' ' -f1)"
}

ours
theirs
stale
golden
exit $failed
