#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Member files that are changed behind the daemon's back: what a check says of them, and what a repair does."""
import mmap
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from host import BUILD, Host, run, size  # noqa: E402
from pattern import pattern  # noqa: E402

BLOCK = 4096
AT = size("5M") + 7 * 512  # of the volume: here somebody changes a byte


class Stack(Host):
    """A volume of 12M behind another one, on an array whose members all are in sync where it lies."""

    def __init__(self, level, count, *options):
        super().__init__()
        self.m = self.members(count, "32M")
        self.ashlar("array", "create", "a0", "--level", level, *options, *self.m)
        self.ashlar("vg", "create", "vg", "a0")
        self.ashlar("volume", "create", "vg/first", "--size", "8M")
        self.ashlar("volume", "create", "vg/v", "--size", "12M")
        self.data = pattern(level, size("12M"))
        path = self.file("source", 0)
        with open(path, "wb") as f:
            f.write(self.data)
        run("nbdcopy", "--flush", path, self.uri("vg/v"))
        self.wait_idle("a0")

    def read(self):
        path = os.path.join(self.dir, "back")
        run("nbdcopy", self.uri("vg/v"), path)
        with open(path, "rb") as f:
            return f.read()

    def find(self, offset):
        """Members that hold that sector of the volume, and where."""
        sector, found = self.data[offset:offset + 512], []
        for path in self.m:
            with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as image:
                at = image.find(sector)
                if at >= 0:
                    found.append((path, at))
        return found

    def change(self, path, at):
        with open(path, "r+b") as f:
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ 0x10]))
            f.flush()
            os.fsync(f.fileno())

    def check(self, *words):
        return self.ashlar("array", "check", "a0", *words)["mismatches"]

    def say(self, *words):
        return run(os.path.join(BUILD, "cli", "ashlar"), "--socket", self.socket, *words)

    def expected(self):
        """The block of the volume that has been changed."""
        return {"use": "volume", "volume": "vg/v", "volume_offset_bytes": AT // BLOCK * BLOCK, "length_bytes": BLOCK}


def in_volume(place):
    return {k: v for k, v in place.items() if k != "offset_bytes"}


class Mismatch(unittest.TestCase):
    def test_nothing_is_found_where_nothing_is_wrong(self):
        with Stack(6, 5, "--chunk", "64K") as h:
            self.assertIn("no check", h.say("array", "mismatches", "a0"))
            self.assertEqual(h.ashlar("array", "check", "a0")["mismatch_bytes"], 0)
            self.assertEqual(h.ashlar("array", "mismatches", "a0"),
                             {"action": "check", "mismatch_bytes": 0, "more": False, "mismatches": []})
            self.assertIn("check found 0 bytes", h.say("array", "mismatches", "a0"))

    def test_raid6_names_the_member_and_gets_the_data_back(self):
        for layout in ("left-symmetric", "right-asymmetric"):
            with self.subTest(layout=layout), Stack(6, 5, "--chunk", "64K", "--layout", layout) as h:
                [(holder, at)] = h.find(AT)
                wrong = []
                for path in h.m:
                    h.change(path, at + 100)
                    [found] = h.check()
                    self.assertEqual(found["members"], [path])
                    wrong.append(found["wrong"])
                    if path == holder:
                        self.assertEqual([in_volume(p) for p in found["places"]], [h.expected()])
                        self.assertNotEqual(h.read(), h.data)
                    self.assertEqual(h.ashlar("array", "mismatches", "a0")["mismatches"], [found])
                    [repaired] = h.check("--repair")
                    self.assertEqual(repaired, found)
                    self.assertEqual(h.check(), [])
                    self.assertEqual(h.read(), h.data)
                self.assertEqual(sorted(wrong), ["data"] * 3 + ["parity"] * 2)

    def test_raid5_tells_where_and_not_who(self):
        with Stack(5, 4, "--chunk", "64K") as h:
            [(path, at)] = h.find(AT)
            h.change(path, at)
            [found] = h.check()
            self.assertEqual((found["wrong"], found["members"]), (None, []))
            self.assertEqual(len(found["places"]), 3)
            self.assertIn(h.expected(), [in_volume(p) for p in found["places"]])
            h.check("--repair")
            self.assertEqual(h.check(), [])

    def test_copies(self):
        with Stack(1, 3) as h:
            places = h.find(AT)
            self.assertEqual(len(places), 3)
            h.change(*places[0])
            [found] = h.check()
            self.assertEqual((found["wrong"], found["members"]), ("data", [places[0][0]]))
            self.assertEqual([in_volume(p) for p in found["places"]], [h.expected()])
            h.check("--repair")
            self.assertEqual(h.check(), [])
            self.assertEqual(h.read(), h.data)
            # of two, nobody knows
            h.ashlar("array", "fail", "a0", places[1][0])
            h.change(*places[2])
            [found] = h.check()
            self.assertEqual(found["wrong"], None)
            self.assertEqual(sorted(found["members"]), sorted([places[0][0], places[2][0]]))

    def test_what_people_see(self):
        with Stack(6, 4) as h:
            events = subprocess.Popen([os.path.join(BUILD, "cli", "ashlar"), "--socket", h.socket, "events"], stdout=subprocess.PIPE, text=True)
            self.addCleanup(events.stdout.close)
            [(path, at)] = h.find(AT)
            h.change(path, at)
            out = h.say("array", "check", "a0")
            self.assertEqual(out, h.say("array", "mismatches", "a0"))
            self.assertIn("check found 4096 bytes that do not fit", out)
            row = out.splitlines()[-1].split()
            self.assertEqual(row[:5], ["vg/v", str(AT // BLOCK * BLOCK), "4096", "data", path])
            self.assertRegex(h.say("array", "check", "a0", "--no-wait"), r"^job \d+\n$")
            h.wait_idle("a0")
            self.assertIn("would", h.say("array", "check", "a0", "--dry-run"))
            line = next(line for line in events.stdout if "array.mismatch" in line)
            self.assertIn(f"{AT // BLOCK * BLOCK} of vg/v: {path} disagrees", line)
            events.terminate()
            events.wait()

    def test_outside_volumes(self):
        with Host() as h:
            m = h.members(2, "32M")
            h.ashlar("array", "create", "a0", "--level", 1, *m)
            h.ashlar("array", "sync", "a0")
            with open(m[1], "r+b") as f:
                f.seek(size("14M"))
                f.write(b"x" * 8192)
            self.assertEqual(h.ashlar("array", "check", "a0")["mismatches"], [])  # nothing has been written there yet
            h.restart()  # and now nobody knows
            [found] = h.ashlar("array", "check", "a0")["mismatches"]
            [place] = found["places"]
            self.assertEqual((place["use"], place["volume"], place["length_bytes"]), ("array", None, 8192))
            h.ashlar("array", "check", "a0", "--repair")
            h.ashlar("vg", "create", "vg", "a0")
            with open(m[1], "r+b") as f:
                f.seek(size("14M"))
                f.write(b"x" * 8192)
            [found] = h.ashlar("array", "check", "a0")["mismatches"]
            self.assertEqual(found["places"][0]["use"], "free")


if __name__ == "__main__":
    unittest.main()
