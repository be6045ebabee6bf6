#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""RAID0, RAID1 and RAID10 go back and forth between us and the kernel's md; clean, degraded, after kill -9. RAID5 and RAID6: parity.py."""
import hashlib
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from host import Host, run, size, vm  # noqa: E402
from pattern import pattern  # noqa: E402

MEMBER = "4M"

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

    def __init__(self, host, shapes):
        self.host, self.shapes = host, shapes
        self.members, self.data = {}, {}

    def make_members(self):
        for name, _, _, _, count, _ in self.shapes:
            self.members[name] = self.host.members(count, MEMBER, prefix=f"{name}-")

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


def look_at(*several):
    """What the machine says of all those arrays."""
    disks, commands = [], LOOK
    for arrays in several:
        for name, *_ in arrays.shapes:
            members = arrays.members[name]
            commands += f"look {name} md{len(disks)} " + " ".join(f"/dev/d{len(disks) + k}" for k in range(len(members))) + "\n"
            disks += members
    return vm(commands, disks)


class OursToKernel(unittest.TestCase):
    def check(self, arrays, output, degraded=False):
        found = facts(output)
        for name, level, *_ in arrays.shapes:
            with self.subTest(array=name):
                self.assertIn(name, found, output)
                self.assertEqual(int(found[name].get("bytes", 0)), len(arrays.data[name]), output)
                self.assertEqual(found[name].get("sha256"), sha256(arrays.data[name]), output)
                if level:
                    self.assertEqual(found[name]["mismatch"], "0", output)
                    self.assertEqual(found[name]["degraded"], str(int(degraded)), output)

    def test_clean_degraded_killed(self):
        def some(suffix):
            return [(s[0] + suffix, *s[1:]) for s in SHAPES if s[0] in ("r1", "n2", "n2odd", "f2", "o2")]

        with Host() as stopped, Host() as killed:
            clean, degraded, dirty = Arrays(stopped, SHAPES), Arrays(stopped, some("-degraded")), Arrays(killed, some("-killed"))
            for arrays in (clean, degraded, dirty):
                arrays.create()
            for name, *_ in degraded.shapes:
                stopped.ashlar("array", "fail", name, degraded.members[name][1])
                degraded.write(name, seed=2)
            killed.kill()
            stopped.stop()
            output = look_at(clean, degraded, dirty)
            self.check(clean, output)
            self.check(degraded, output, degraded=True)
            self.check(dirty, output)


class KernelToOurs(unittest.TestCase):
    """Made and filled by the kernel; read, written, degraded and recovered by us; looked at by the kernel again."""

    # The kernel goes on without a member until the power is cut.
    DIRTY = ("echo 60 >/sys/block/{md}/md/safe_mode_delay; mdadm --wait /dev/{md}\n"
             "mdadm /dev/{md} --fail /dev/$(ls /sys/block/{md}/slaves | head -1) || exit 1\n"
             "dd if=/dev/SOURCE of=/dev/{md} bs=64K count=8 oflag=direct 2>/dev/null\n")
    STOP = "mdadm --wait /dev/{md} >/dev/null; mdadm --stop /dev/{md} || exit 1\n"

    def make(self, arrays, dirty):
        """The kernel makes the arrays and fills them from a disk with a pattern."""
        source = arrays.host.file("source", "24M")
        whole = pattern(3, size("24M"))
        with open(source, "r+b") as f:
            f.write(whole)
        disks, script = [], ""
        for name, level, _, layout, count, chunk in arrays.shapes:
            options = (f"--layout={layout} " if layout else "") + (f"--chunk={chunk} " if chunk else "")
            options += "--bitmap=internal " if level else ""
            devices, md = " ".join(f"/dev/d{len(disks) + k}" for k in range(count)), f"md{len(disks)}"
            disks += arrays.members[name]
            script += (f"mdadm --create /dev/{md} --run --level={level} --raid-devices={count} --metadata=1.2 --name={name} {options}{devices} || exit 1\n"
                       f"dd if=/dev/SOURCE of=/dev/{md} bs=64K oflag=direct 2>/dev/null\n"
                       f"echo {name} bytes $(blockdev --getsize64 /dev/{md})\n" + (self.DIRTY if name in dirty else self.STOP).format(md=md))
        output = vm(script.replace("SOURCE", f"d{len(disks)}") + "touch /run/power-cut\n", disks + [source])
        for name, fields in facts(output).items():
            arrays.data[name] = whole[:int(fields["bytes"])]

    def test_read_write_recover(self):
        dirty = [(s[0] + "-dirty", *s[1:]) for s in SHAPES if s[0] in ("r1x3", "n2", "o2")]
        with Host() as h:
            arrays = Arrays(h, SHAPES + dirty)
            arrays.make_members()
            self.make(arrays, [name for name, *_ in dirty])
            for name, level, *_ in arrays.shapes:
                with self.subTest(array=name):
                    h.ashlar("array", "assemble", name, *arrays.members[name])
                    if name.endswith("-dirty"):
                        self.assertEqual(h.array(name)["state"], "degraded")
                    self.assertEqual(sha256(arrays.read(name)), sha256(arrays.data[name]))
                    self.exercise(h, arrays, name, level)
            h.stop()
            OursToKernel.check(self, arrays, look_at(arrays))

    def exercise(self, h, arrays, name, level):
        arrays.write(name, seed=4)
        if not level:
            return
        gone = [m["path"] for m in h.array(name)["members"] if m["state"] == "faulty"]
        member = (gone or arrays.members[name])[0]
        h.ashlar("array", "fail", name, member)
        self.assertEqual(h.array(name)["state"], "degraded")
        arrays.write(name, seed=5)
        h.ashlar("array", "remove", name, member)
        h.ashlar("array", "add", name, member)
        h.wait(f"{name} whole", lambda: h.array(name)["state"] in ("clean", "active"))
        h.wait_idle(name)
        self.assertEqual(sha256(arrays.read(name)), sha256(arrays.data[name]))


if __name__ == "__main__":
    unittest.main()
