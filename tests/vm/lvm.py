#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Volume groups go back and forth between us and LVM2 with the real device-mapper."""
import hashlib
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from host import Host, run, size, vm  # noqa: E402
from pattern import pattern  # noqa: E402


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def fill(h, target, seed):
    data = pattern(seed, next(v["size_bytes"] for v in h.ashlar("volume", "list")["volumes"] if f"{v['vg']}/{v['name']}" == target))
    with open(h.file("pattern", 0), "wb") as f:
        f.write(data)
    run("nbdcopy", "--flush", os.path.join(h.dir, "pattern"), h.uri(target))
    return data


def read(h, target):
    back = os.path.join(h.dir, "back")
    run("nbdcopy", h.uri(target), back)
    with open(back, "rb") as f:
        return f.read()


class Lvm(unittest.TestCase):
    def test_ours_to_lvm2(self):
        """A group over an array and a bare disk; volumes resized so that they have several segments."""
        with Host() as h:
            m = h.members(4, "40M")
            bare = h.file("bare", "48M")
            h.ashlar("array", "create", "a0", "--level", 10, "--chunk", "64K", *m)
            h.ashlar("vg", "create", "vg0", "a0")
            h.ashlar("volume", "create", "vg0/one", "--size", "20M")
            h.ashlar("volume", "create", "vg0/two", "--size", "16M")
            h.ashlar("vg", "extend", "vg0", bare)
            h.ashlar("volume", "resize", "vg0/one", "+52M")
            h.ashlar("volume", "resize", "vg0/two", "-8M")
            data = {"one": fill(h, "vg0/one", 1), "two": fill(h, "vg0/two", 2)}
            self.assertEqual((len(data["one"]), len(data["two"])), (size("72M"), size("8M")))
            h.stop()
            out = vm("""
                mdadm --assemble --run /dev/md0 /dev/d0 /dev/d1 /dev/d2 /dev/d3 || exit 1
                vgck vg0 || exit 1
                vgchange -ay vg0 || exit 1
                for v in one two; do echo "$v $(sha256sum < /dev/vg0/$v | cut -d' ' -f1)"; done
                lvcreate -an -y -L 4M -n three vg0 || exit 1
                lvextend -L +4M vg0/two || exit 1
                vgchange -an vg0; mdadm --stop /dev/md0""", m + [bare])
            for v in data:
                self.assertIn(f"{v} {sha256(data[v])}", out)
            # and back, with what LVM2 changed
            h.start()
            volumes = {v["name"]: v["size_bytes"] for v in h.ashlar("vg", "show", "vg0")["volumes"]}
            self.assertEqual(volumes, {"one": size("72M"), "two": size("12M"), "three": size("4M")})
            self.assertEqual(read(h, "vg0/one"), data["one"])
            self.assertEqual(read(h, "vg0/two")[:size("8M")], data["two"])

    def test_lvm2_to_ours(self):
        with Host() as h:
            disks = h.members(3, "40M")
            source = h.file("source", "64M")
            whole = pattern(3, size("64M"))
            with open(source, "r+b") as f:
                f.write(whole)
            vm("""
                vgcreate vg1 /dev/d0 /dev/d1 /dev/d2 || exit 1
                lvcreate -y -L 60M -n lin vg1 || exit 1
                lvcreate -y -i 2 -I 64k -L 16M -n str vg1 || exit 1
                for v in lin str; do dd if=/dev/d3 of=/dev/vg1/$v bs=64K oflag=direct 2>/dev/null; done
                sync; vgchange -an vg1""", disks + [source])
            h.ashlar("scan", *disks)
            self.assertEqual(read(h, "vg1/lin"), whole[:size("60M")])
            self.assertEqual(read(h, "vg1/str"), whole[:size("16M")])
            data = fill(h, "vg1/lin", 4)
            h.ashlar("volume", "create", "vg1/new", "--size", "4M")
            self.assertEqual(read(h, "vg1/new"), bytes(size("4M")))
            h.stop()
            out = vm("""
                vgck vg1 || exit 1
                vgchange -ay vg1 || exit 1
                for v in lin str new; do echo "$v $(sha256sum < /dev/vg1/$v | cut -d' ' -f1)"; done; vgchange -an vg1""", disks)
            for name, expected in (("lin", data), ("str", whole[:size("16M")]), ("new", bytes(size("4M")))):
                self.assertIn(f"{name} {sha256(expected)}", out)


if __name__ == "__main__":
    unittest.main()
