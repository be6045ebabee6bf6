#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Arrays go back and forth between us and the kernel's md: all levels in all layouts; clean, degraded, half recovered, after kill -9."""
import hashlib
import os
import re
import sys
import threading
import unittest

import nbd

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from host import Host, run, size, vm  # noqa: E402
from pattern import pattern  # noqa: E402

MEMBER = "20M"

# name, level, our layout, mdadm's, members, chunk
SHAPES = [
    ("r0", 0, None, None, 3, "64K"),
    ("r1", 1, None, None, 2, None),
    ("r1x3", 1, None, None, 3, None),
    ("n2", 10, "near2", "n2", 4, "64K"),
    ("n2odd", 10, "near2", "n2", 3, "32K"),
    ("n3", 10, "near3", "n3", 4, "64K"),
    ("f2", 10, "far2", "f2", 3, "64K"),
    ("f2even", 10, "far2", "f2", 2, "512K"),
    ("o2", 10, "offset2", "o2", 3, "64K"),
]

# The same of RAID5 and RAID6, each to be left in a state of its own: see OursToKernel.
PARITY_SHAPES = [
    ("5ls", 5, "left-symmetric", "left-symmetric", 4, "64K"),
    ("5la", 5, "left-asymmetric", "left-asymmetric", 3, "16K"),
    ("5rs", 5, "right-symmetric", "right-symmetric", 3, "64K"),
    ("5ra", 5, "right-asymmetric", "right-asymmetric", 4, "64K"),
    ("5pf", 5, "parity-first", "parity-first", 3, "4K"),
    ("5pl", 5, "parity-last", "parity-last", 3, "64K"),
    ("6ls", 6, "left-symmetric", "left-symmetric", 5, "64K"),
    ("6la", 6, "left-asymmetric", "left-asymmetric", 5, "64K"),
    ("6rs", 6, "right-symmetric", "right-symmetric", 4, "16K"),
    ("6ra", 6, "right-asymmetric", "right-asymmetric", 5, "64K"),
    ("6pf", 6, "parity-first", "parity-first", 4, "4K"),
    ("6pl", 6, "parity-last", "parity-last", 4, "64K"),
]
HALF = ("5half", 5, "left-symmetric", "left-symmetric", 3, "64K")  # members of HALF_MEMBER
HALF_MEMBER = "90M"

# Runs in the machine: assembles, waits until idle, checks, prints "NAME field value" lines.
LOOK = r"""
look() { # NAME MD DISK...
    name=$1 md=$2; shift 2
    mdadm --assemble --run /dev/$md "$@" || { echo "$name assembled no"; return; }
    s=/sys/block/$md/md
    for i in $(seq 1200); do [ "$(cat $s/sync_action 2>/dev/null || echo idle)" = idle ] && break; sleep 0.05; done
    if [ -e $s/sync_action ]; then
        echo check > $s/sync_action
        for i in $(seq 1200); do [ "$(cat $s/sync_action)" = idle ] && break; sleep 0.05; done
        echo "$name mismatch $(cat $s/mismatch_cnt)"
        echo "$name degraded $(cat $s/degraded)"
    fi
    echo "$name bytes $(blockdev --getsize64 /dev/$md)"
    echo "$name sha256 $(sha256sum < /dev/$md | cut -d' ' -f1)"
    mdadm --stop /dev/$md
}
"""


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def facts(output):
    """{name: {field: value}} of the lines that LOOK prints."""
    found = {}
    for line in output.splitlines():
        words = line.split()
        if len(words) == 3:
            found.setdefault(words[0], {})[words[1]] = words[2]
    return found


class Arrays:
    """The shapes as arrays of a Host, filled with a pattern through NBD."""

    def __init__(self, host, shapes, member=MEMBER):
        self.host, self.shapes, self.member = host, shapes, member
        self.members, self.data = {}, {}

    def make_members(self):
        for name, _, _, _, count, _ in self.shapes:
            self.members[name] = self.host.members(count, HALF_MEMBER if name == HALF[0] else self.member, prefix=f"{name}-")

    def create(self):
        self.make_members()
        for name, level, layout, _, _, chunk in self.shapes:
            options = (["--layout", layout] if layout else []) + (["--chunk", chunk] if chunk else [])
            self.host.ashlar("array", "create", name, "--level", level, *options, *self.members[name])
            self.write(name, seed=1)

    def write(self, name, seed):
        length = self.host.array(name)["size_bytes"]
        self.data[name] = pattern(seed, length)
        source = self.host.file("pattern", 0)
        with open(source, "wb") as f:
            f.write(self.data[name])
        run("nbdcopy", "--flush", source, self.host.uri(name))

    def read(self, name):
        target = os.path.join(self.host.dir, "back")
        run("nbdcopy", self.host.uri(name), target)
        with open(target, "rb") as f:
            return f.read()

    def write_parts(self, name):
        """Of stripes, in the first MiB: what the parity log is for."""
        data, guest = bytearray(self.data[name]), nbd.NBD()
        guest.connect_uri(self.host.uri(name))
        for at in range(4096, size("1M"), 20480):
            data[at:at + 4096] = pattern(6, 4096, at)
            guest.pwrite(bytes(data[at:at + 4096]), at)
        guest.shutdown()
        self.data[name] = bytes(data)

    def stop(self, name):
        self.host.ashlar("export", "remove", name)
        self.host.ashlar("array", "stop", name)

    def disks(self):
        """Every member in order, and the look commands that go with that order."""
        disks, commands = [], LOOK
        for i, (name, *_) in enumerate(self.shapes):
            commands += f"look {name} md{i} " + " ".join(f"/dev/d{len(disks) + k}" for k in range(len(self.members[name]))) + "\n"
            disks += self.members[name]
        return disks, commands


class Reader(threading.Thread):
    """A guest that reads all the time: recovery leaves it room, and so takes a while."""

    def __init__(self, uri):
        super().__init__()
        self.h = nbd.NBD()
        self.h.connect_uri(uri)
        self.done = False

    def run(self):
        while not self.done:
            self.h.pread(4096, 0)

    def end(self):
        self.done = True
        self.join()
        self.h.shutdown()


class OursToKernel(unittest.TestCase):
    def check(self, arrays, output, degraded=()):
        """`degraded`: names of arrays that lack a member, or {name: how many}."""
        degraded = degraded if isinstance(degraded, dict) else {name: 1 for name in degraded}
        found = facts(output)
        for name, level, *_ in arrays.shapes:
            with self.subTest(array=name):
                self.assertIn(name, found, output)
                self.assertEqual(int(found[name].get("bytes", 0)), len(arrays.data[name]), output)
                self.assertEqual(found[name].get("sha256"), sha256(arrays.data[name]), output)
                if level:
                    self.assertEqual(found[name]["mismatch"], "0", output)
                    self.assertEqual(found[name]["degraded"], str(degraded.get(name, 0)), output)

    def test_clean(self):
        for part in (SHAPES[:5], SHAPES[5:]):
            with Host() as h:
                arrays = Arrays(h, part)
                arrays.create()
                h.stop()
                disks, commands = arrays.disks()
                self.check(arrays, vm(commands, disks))

    def test_degraded(self):
        shapes = [s for s in SHAPES if s[0] in ("r1", "n2", "n2odd", "f2", "o2")]
        with Host() as h:
            arrays = Arrays(h, shapes)
            arrays.create()
            for name, *_ in shapes:
                h.ashlar("array", "fail", name, arrays.members[name][1])
                arrays.write(name, seed=2)
            h.stop()
            disks, commands = arrays.disks()
            self.check(arrays, vm(commands, disks), degraded=[s[0] for s in shapes])

    def test_after_kill(self):
        shapes = [s for s in SHAPES if s[0] in ("r1", "n2", "f2", "o2")]
        with Host() as h:
            arrays = Arrays(h, shapes)
            arrays.create()
            h.kill()
            disks, commands = arrays.disks()
            self.check(arrays, vm(commands, disks))

    def lose(self, arrays, name, count):
        """So many members, and then writes that they miss."""
        for member in arrays.members[name][1:1 + count]:
            arrays.host.ashlar("array", "fail", name, member)
        arrays.write(name, seed=2)

    def stop_half_recovered(self, arrays, name):
        h, members = arrays.host, arrays.members[name]
        h.ashlar("array", "fail", name, members[1])
        members[1] = h.file("half-new", HALF_MEMBER)
        guest = Reader(h.uri(name))
        guest.start()
        h.ashlar("--no-wait", "array", "add", name, members[1])
        h.wait("half of it recovered", lambda: h.array(name)["sync"]["done_bytes"] > size("130M"))
        guest.end()
        arrays.stop(name)
        examined = run("/sbin/mdadm", "--examine", members[1])
        reached = int(re.search(r"Recovery Offset : (\d+) sectors", examined)[1])
        self.assertTrue(size("65M") <= reached * 512 < size(HALF_MEMBER), examined)

    def parity(self, shapes, lacking, killed):
        """One machine for all: arrays that lack members, and clean ones, are stopped; the rest meets kill -9."""
        with Host() as h:
            arrays = Arrays(h, shapes, "8M")
            arrays.create()
            for name, *_ in shapes:
                h.ashlar("array", "sync", name)
                self.lose(arrays, name, lacking.get(name, 0))
            for name, *_ in shapes:
                if name == HALF[0]:
                    self.stop_half_recovered(arrays, name)
                elif name not in killed:
                    arrays.stop(name)
            for name in killed:
                arrays.write(name, seed=3)
                arrays.write_parts(name)
            h.kill()
            disks, commands = arrays.disks()
            self.check(arrays, vm(commands + self.write_and_cut(arrays, disks, killed), disks), degraded=lacking)
            self.back(arrays, killed)

    @staticmethod
    def write_and_cut(arrays, disks, names):
        """The kernel writes zeros where our parity log has something else, and is cut off."""
        commands = "touch /run/power-cut\n"
        for i, (name, *_) in enumerate(arrays.shapes):
            if name in names:
                devices = " ".join(f"/dev/d{disks.index(m)}" for m in arrays.members[name])
                commands += (f"mdadm --assemble --run /dev/md{i} {devices} || exit 1\n"
                             f"echo 60 > /sys/block/md{i}/md/safe_mode_delay\ndd if=/dev/zero of=/dev/md{i} bs=64K count=16 oflag=direct\n")
        return commands

    def back(self, arrays, written):
        """After the kernel had them: what it wrote is there."""
        arrays.host.start()
        running = [a["name"] for a in arrays.host.ashlar("array", "list")["arrays"]]
        self.assertEqual(sorted(running), sorted(written))
        for name, *_ in arrays.shapes:
            with self.subTest(back=name):
                if name in written:
                    arrays.data[name] = bytes(size("1M")) + arrays.data[name][size("1M"):]
                else:
                    arrays.host.ashlar("array", "assemble", name, *arrays.members[name])
                self.assertEqual(sha256(arrays.read(name)), sha256(arrays.data[name]))

    def test_raid5(self):
        self.parity(PARITY_SHAPES[:6] + [HALF], {"5ls": 1, "5ra": 1, "5pl": 1}, ["5la", "5pf"])

    def test_raid6(self):
        self.parity(PARITY_SHAPES[6:], {"6ls": 2, "6la": 1, "6pf": 2, "6pl": 1}, ["6rs"])


class KernelToOurs(unittest.TestCase):
    """Made and filled by the kernel; read, written, degraded and recovered by us; looked at by the kernel again."""

    def make(self, arrays, extra=""):
        """The kernel makes the arrays and fills them from a disk with a pattern."""
        h = arrays.host
        source = h.file("source", "96M")
        whole = pattern(3, size("96M"))
        with open(source, "r+b") as f:
            f.write(whole)
        disks, script = [], ""
        for i, (name, level, _, layout, count, chunk) in enumerate(arrays.shapes):
            options = (f"--layout={layout} " if layout else "") + (f"--chunk={chunk} " if chunk else "")
            options += "--bitmap=internal " if level else ""
            devices = " ".join(f"/dev/d{len(disks) + k}" for k in range(count))
            disks += arrays.members[name]
            script += (f"mdadm --create /dev/md{i} --run --level={level} --raid-devices={count} --metadata=1.2 --name={name} {options}{devices} || exit 1\n"
                       f"dd if=/dev/SOURCE of=/dev/md{i} bs=64K oflag=direct 2>/dev/null\n"
                       f"echo {name} bytes $(blockdev --getsize64 /dev/md{i})\n" + extra.format(md=f"md{i}") +
                       f"mdadm --wait /dev/md{i} >/dev/null; mdadm --stop /dev/md{i} || exit 1\n")
        output = vm(script.replace("SOURCE", f"d{len(disks)}"), disks + [source])
        for name, fields in facts(output).items():
            arrays.data[name] = whole[:int(fields["bytes"])]

    def test_read_write_recover(self):
        for part in (SHAPES[:5], SHAPES[5:]):
            with Host() as h:
                arrays = Arrays(h, part)
                arrays.make_members()
                self.make(arrays)
                for name, level, *_ in part:
                    with self.subTest(array=name):
                        self.exercise(h, arrays, name, level)
                h.stop()
                disks, commands = arrays.disks()
                OursToKernel.check(self, arrays, vm(commands, disks))

    def exercise(self, h, arrays, name, level):
        h.ashlar("array", "assemble", name, *arrays.members[name])
        self.assertEqual(sha256(arrays.read(name)), sha256(arrays.data[name]))
        arrays.write(name, seed=4)
        if not level:
            return
        member = arrays.members[name][0]
        h.ashlar("array", "fail", name, member)
        self.assertEqual(h.array(name)["state"], "degraded")
        arrays.write(name, seed=5)
        h.ashlar("array", "remove", name, member)
        h.ashlar("array", "add", name, member)
        h.wait(f"{name} whole", lambda: h.array(name)["state"] in ("clean", "active"))
        h.wait_idle(name)
        self.assertEqual(sha256(arrays.read(name)), sha256(arrays.data[name]))

    def test_dirty_and_degraded(self):
        """Arrays that the kernel left dirty (power cut) with a member failed."""
        shapes = [s for s in SHAPES if s[0] in ("r1x3", "n2", "o2")]
        with Host() as h:
            arrays = Arrays(h, shapes)
            arrays.make_members()
            self.make(arrays, extra="mdadm /dev/{md} --fail /dev/$(ls /sys/block/{md}/slaves | head -1) || exit 1\n"
                                    "dd if=/dev/SOURCE of=/dev/{md} bs=64K count=8 oflag=direct 2>/dev/null\n")
            for name, *_ in shapes:
                h.ashlar("array", "assemble", name, *arrays.members[name])
                self.assertEqual(h.array(name)["state"], "degraded")
                self.assertEqual(sha256(arrays.read(name)), sha256(arrays.data[name]))

    # What the kernel does with an array that is whole and filled; where it does not stop it, the power is cut.
    LOSE = "mdadm /dev/{md} --fail $(member {md} 1) --remove $(member {md} 1) || exit 1\n"
    LOSE_TWO = LOSE + "mdadm /dev/{md} --fail $(member {md} 2) || exit 1\n"
    WRITE = "dd if=/dev/SOURCE of=/dev/{md} bs=64K oflag=direct 2>/dev/null\n"
    STOP = "mdadm --stop /dev/{md} || exit 1\n"
    RECOVER_HALF = ("echo 500 > /sys/block/{md}/md/sync_speed_max; echo 500 > /sys/block/{md}/md/sync_speed_min\n"
                    "old=$(member {md} 1); mdadm /dev/{md} --fail $old --remove $old; mdadm --zero-superblock $old\n"
                    "mdadm /dev/{md} --add $old || exit 1; sleep 2\n")
    PARITY_STATES = {
        "5ls": RECOVER_HALF + STOP, "5la": LOSE + WRITE + STOP, "5rs": WRITE, "5ra": LOSE + WRITE,
        "6ls": LOSE_TWO + WRITE + STOP, "6la": LOSE + WRITE + STOP, "6pl": LOSE_TWO + WRITE,
    }

    def make_parity(self, arrays):
        h = arrays.host
        source = h.file("source", "24M")
        whole = pattern(3, size("24M"))
        with open(source, "r+b") as f:
            f.write(whole)
        disks = []
        make = ("member() { cat /sys/block/$1/md/rd$2/block/uevent | sed -n 's|^DEVNAME=|/dev/|p'; }\n")
        states = "for s in /sys/block/md*/md/safe_mode_delay; do echo 60 > $s; done\n"
        for i, (name, level, _, layout, count, chunk) in enumerate(arrays.shapes):
            devices = " ".join(f"/dev/d{len(disks) + k}" for k in range(count))
            disks += arrays.members[name]
            make += (f"mdadm --create /dev/md{i} --run --level={level} --raid-devices={count} --metadata=1.2 --name={name} --layout={layout} "
                     f"--chunk={chunk} --bitmap=internal {devices} || exit 1\n"
                     f"echo {name} bytes $(blockdev --getsize64 /dev/md{i})\n")
            states += f"mdadm --wait /dev/md{i}\n" + (self.WRITE + self.PARITY_STATES[name]).format(md=f"md{i}")
        output = vm((make + states + "touch /run/power-cut\n").replace("SOURCE", f"d{len(disks)}"), disks + [source])
        for name, fields in facts(output).items():
            arrays.data[name] = whole[:int(fields["bytes"])]

    def test_parity(self):
        """In all states; recovered and written by us; looked at by the kernel again."""
        shapes = [s for s in PARITY_SHAPES if s[0] in self.PARITY_STATES]
        shapes = [(*s[:4], 4 if s[1] == 6 else 3, s[5]) for s in shapes]
        with Host() as h:
            arrays = Arrays(h, shapes, "8M")
            arrays.make_members()
            self.make_parity(arrays)
            self.assertRegex(run("/sbin/mdadm", "--examine", arrays.members["5ls"][1]), r"Recovery Offset : [1-9]\d* sectors")
            for name, *_ in shapes:
                with self.subTest(array=name):
                    self.exercise_parity(h, arrays, name)
            h.stop()
            disks, commands = arrays.disks()
            OursToKernel.check(self, arrays, vm(commands, disks))

    def exercise_parity(self, h, arrays, name):
        state = self.PARITY_STATES[name]
        words = ["array", "assemble", name, *arrays.members[name]]
        if "--fail" in state and self.STOP not in state:
            self.assertIn("force", h.refusal(*words))
            words.insert(2, "--force")
        h.ashlar(*words)
        self.assertEqual(sha256(arrays.read(name)), sha256(arrays.data[name]))
        arrays.write(name, seed=4)
        for m in [m["path"] for m in h.array(name)["members"] if m["state"] in ("faulty", "stale")]:
            h.ashlar("array", "remove", name, m)
        there = [m["path"] for m in h.array(name)["members"]]
        for m in [m for m in arrays.members[name] if m not in there]:
            h.ashlar("array", "add", name, m,)
        h.wait(f"{name} whole", lambda: h.array(name)["state"] in ("clean", "active"))
        h.ashlar("array", "sync", name)
        self.assertEqual(sha256(arrays.read(name)), sha256(arrays.data[name]))


if __name__ == "__main__":
    unittest.main()
