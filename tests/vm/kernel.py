# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the kernel's md does to arrays in a turn of parity.py: a script for the virtual machine, written phase by phase for all arrays at
once, so that what md waits for is waited for once; and what the script prints: lines of a name, a field and a value."""

FUNCTIONS = r"""
member() { sed -n 's|^DEVNAME=|/dev/|p' /sys/block/$1/md/rd$2/block/uevent; }
is() { local v; read -r v </sys/block/$1/md/$2 && [ "$v" = $3 ]; }
set_speed() { echo $1 >/proc/sys/dev/raid/speed_limit_max; echo $2 >/proc/sys/dev/raid/speed_limit_min; }
bitmap() { # NAME DISK: its bits, and how many are set
    mdadm --examine-bitmap $2 2>/dev/null | sed -n "s/^ *Bitmap : \([0-9]*\) bits (chunks), \([0-9]*\) dirty.*/$1 bitmap \1 \2/p"
}
take() { # NAME MD DISK...
    local name=$1 md=$2
    shift 2
    mdadm --assemble --run /dev/$md "$@" || echo "$name assembled no"
}
take_by_force() { # NAME MD DISK...: first without
    local name=$1 md=$2
    shift 2
    mdadm --assemble --run /dev/$md "$@" && echo "$name refused no" || echo "$name refused yes"
    mdadm --stop /dev/$md
    mdadm --assemble --run --force /dev/$md "$@" || echo "$name assembled no"
}
settle() { # NAME MD LACKING: nothing is under way, and only so many are missing
    local i
    for i in $(seq 600); do
        is $2 sync_action idle && is $2 resync_start none && is $2 degraded $3 && return
        sleep 0.05
    done
    echo "$1 settled no"
    cat /proc/mdstat >&2
}
check() { [ "$(cat /sys/block/$2/md/degraded)" != 0 ] || echo check >/sys/block/$2/md/sync_action; }
look() { # NAME MD
    echo "$1 bytes $(blockdev --getsize64 /dev/$2)"
    echo "$1 mismatch $(cat /sys/block/$2/md/mismatch_cnt)"
    echo "$1 degraded $(cat /sys/block/$2/md/degraded)"
    mdadm --detail /dev/$2 | sed -n "s/^ *Raid Level : /$1 level /p; s/^ *Layout : /$1 layout /p; s/^ *Chunk Size : /$1 chunk /p; s/^ *State : /$1 state /p"
}
read_back() { # NAME MD OFFSET LENGTH...: in MiB
    local name=$1 md=$2
    shift 2
    echo "$name sha256 $(while [ $# -gt 0 ]; do dd if=/dev/$md bs=1M skip=$1 count=$2 2>/dev/null; shift 2; done | sha256sum | cut -d' ' -f1)"
}
make_whole() { # MD DISK...: adds those that are not part of it
    local md=$1 disk
    shift
    for disk; do
        [ -e /sys/block/$md/slaves/$(basename $(readlink -f $disk)) ] && continue
        mdadm /dev/$md --add $disk && continue
        mdadm --zero-superblock $disk && mdadm /dev/$md --add $disk || exit 1
    done
}
lose() { # MD COUNT: the first is taken out, the second stays as faulty
    local old
    old=$(member $1 1)
    mdadm /dev/$1 --fail $old --remove $old || exit 1
    [ $2 = 1 ] || mdadm /dev/$1 --fail $(member $1 2) || exit 1
}
part_way() { # MD: what is being filled or synced, is so in the first MiB of each member
    local i done rest
    echo frozen >/sys/block/$1/md/sync_action
    echo 2048 >/sys/block/$1/md/sync_max
    set_speed 200000 1000
    echo idle >/sys/block/$1/md/sync_action
    for i in $(seq 600); do
        read -r done rest </sys/block/$1/md/sync_completed
        [ "$done" = 2048 ] && return
        sleep 0.05
    done
    echo "$1 does not get part of the way" >&2
    exit 1
}
refill() { # MD NUMBER...: these members, at the same time
    local md=$1 old= number
    shift
    for number; do old="$old $(member $md $number)"; done
    mdadm /dev/$md --fail $old --remove $old && mdadm --zero-superblock $old || exit 1
    echo frozen >/sys/block/$md/md/sync_action
    mdadm /dev/$md --add $old || exit 1
    part_way $md
}
fill() { # MD SOURCE BLOCK: from so many blocks of 64 KiB on; then parts of stripes
    dd if=$2 of=/dev/$1 bs=64K skip=$3 oflag=direct 2>/dev/null
    dd if=$2 of=/dev/$1 bs=4K count=3 seek=5 oflag=direct conv=notrunc 2>/dev/null
    dd if=$2 of=/dev/$1 bs=4K count=9 seek=30 skip=7 oflag=direct conv=notrunc 2>/dev/null
}
"""

SOURCE_BLOCK = 64 << 10


def filled(source, block, length):
    """What `fill` leaves in an array."""
    data = bytearray(source[block * SOURCE_BLOCK:block * SOURCE_BLOCK + length])
    data[5 * 4096:8 * 4096] = source[:3 * 4096]
    data[30 * 4096:39 * 4096] = source[7 * 4096:16 * 4096]
    return bytes(data)


def facts(output):
    """{name: {field: value}} of what a script prints."""
    found = {}
    for line in output.splitlines():
        words = line.split(maxsplit=2)
        if len(words) == 3:
            found.setdefault(words[0], {})[words[1]] = words[2].strip()
    return found


def found_as_left(test, a, found, output):
    """Asserts that the kernel, by the facts of its output, has found an array as we have left it."""
    f = found.get(a.name, {})
    test.assertEqual(f.get("refused", "no"), "yes" if a.found.unsure else "no", output)
    test.assertEqual((f.get("level"), f.get("layout"), f.get("chunk")), (f"raid{a.level}", a.layout, a.chunk), output)
    test.assertEqual((f["degraded"], f["mismatch"], f["sha256"]), (str(a.found.lacking), "0", a.sha256()), output)
    test.assertEqual("degraded" in f["state"], a.found.lacking > 0, output)
    if a.bitmap == "internal":
        bits, dirty = map(int, f["bitmap"].split())
        test.assertEqual(dirty > 0, a.found.name != "clean", output)
        test.assertLessEqual(dirty, bits, output)


class Script:
    """For arrays with .name, .ours (as we call it), .level, .layout, .chunk, .count, .members, .bitmap, .stretches; .found, .left: the State in which each is, and in which it
    is to be left (None: that was all); .anew: whether it is created again between; .block: what it is then filled from."""

    def __init__(self, arrays):
        self.disks = [m for a in arrays for m in a.members]
        self.text = FUNCTIONS
        self.md = {a.name: f"md{i}" for i, a in enumerate(arrays)}
        self.take(arrays)
        if arrays[0].left:
            self.make_whole([a for a in arrays if a.found.lacking and not a.anew])
            self.renew([a for a in arrays if a.anew and not a.left.new])
            self.leave(arrays)

    def each(self, arrays, line):
        """A line for each array; {md}, {devices} and {a.ATTRIBUTE} are filled in."""
        for a in arrays:
            first = self.disks.index(a.members[0])
            devices = " ".join(f"/dev/d{first + i}" for i in range(len(a.members)))
            self.text += line.format(a=a, md=self.md[a.name], devices=devices) + "\n"

    def take(self, arrays):
        for a in arrays:
            self.text += f"bitmap {a.name} /dev/d{self.disks.index(a.members[0])}\n"
        self.each([a for a in arrays if not a.found.unsure], "take {a.name} {md} {devices}")
        self.each([a for a in arrays if a.found.unsure], "take_by_force {a.name} {md} {devices}")
        self.each(arrays, "settle {a.name} {md} {a.found.lacking}")
        self.each(arrays, "check {a.name} {md}")
        self.each(arrays, "settle {a.name} {md} {a.found.lacking}")
        self.each(arrays, "look {a.name} {md}")
        for a in arrays:
            self.each([a], "read_back {a.name} {md} " + " ".join(f"{at >> 20} {len(data) >> 20}" for at, data in a.stretches))

    def make_whole(self, arrays):
        self.each(arrays, "make_whole {md} {devices}")
        self.each(arrays, "settle {a.name} {md} 0")

    def renew(self, arrays):
        self.each(arrays, "mdadm --stop /dev/{md} || exit 1")
        self.each(arrays, "mdadm --create /dev/{md} --run --level={a.level} --layout={a.layout} --chunk={a.chunk} --raid-devices={a.count} "
                  "--metadata=1.2 --name={a.ours} --bitmap={a.bitmap} {devices} || exit 1")
        self.each([a for a in arrays if not a.left.new], "settle {a.name} {md} 0")
        self.each(arrays, "echo {a.name} bytes $(blockdev --getsize64 /dev/{md})")

    def leave(self, arrays):
        """Each in its state; at the end of the script the power is cut."""
        for a in arrays:
            if a.left.new:
                self.text += "set_speed 100 100\n"
                self.renew([a])
                self.each([a], "part_way {md}")
        self.each(arrays, "echo 60 >/sys/block/{md}/md/safe_mode_delay")
        self.each([a for a in arrays if a.left.lacking], "lose {md} {a.left.lacking}")
        for a in arrays:
            if a.left.filling and not a.left.new:
                self.each([a], "refill {md} " + " ".join(map(str, a.left.filling)))
        self.each(arrays, f"fill {{md}} /dev/d{len(self.disks)} {{a.block}}")
        self.each([a for a in arrays if a.left.stopped], "mdadm --stop /dev/{md} || exit 1")
        self.text += "touch /run/power-cut\n"
