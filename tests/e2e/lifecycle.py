#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The main job as an administrator does it: array, group, volume, export; failures, growth, restarts."""
import hashlib
import os
import random
import re
import subprocess
import sys
import threading
import time
import unittest

import nbd

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from host import BUILD, Host, run, size  # noqa: E402
from pattern import pattern  # noqa: E402


def examine(path):
    """mdadm --examine as a dictionary."""
    out = run("/sbin/mdadm", "--examine", path)
    return {k.strip(): v.strip() for k, v in re.findall(r"^\s*([A-Za-z ]+?) : (.*)$", out, re.M)}


def states(array):
    return {m["path"]: m["state"] for m in array["members"]}


class Stack(Host):
    """RAID10 over four members and a spare, a group, a volume of 100M."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.create()
        self.ashlar("vg", "create", "vg", "a0")
        self.ashlar("volume", "create", "vg/v", "--size", "100M")

    def create(self):
        self.m = self.members(5, "128M")
        self.ashlar("array", "create", "a0", "--level", 10, "--chunk", "64K", "--spare", self.m[4], *self.m[:4])

    def write(self, data, target="vg/v"):
        path = self.file("source", 0)
        with open(path, "wb") as f:
            f.write(data)
        run("nbdcopy", "--flush", path, self.uri(target))

    def read(self, target="vg/v"):
        path = os.path.join(self.dir, "back")
        run("nbdcopy", self.uri(target), path)
        with open(path, "rb") as f:
            return f.read()


class Guest(threading.Thread):
    """Writes blocks, last at `last`, and reads others, until it is told to end or it fails; `disk` is what should stand there."""
    BLOCK = 12288

    def __init__(self, uri, disk):
        super().__init__()
        self.h = nbd.NBD()
        self.h.connect_uri(uri)
        self.disk, self.random = bytearray(disk), random.Random(1)
        self.wrong, self.rounds, self.last, self.done = [], 0, 0, False

    def run(self):
        try:
            while not self.done:
                at = self.random.randrange((len(self.disk) - self.BLOCK) // 512) * 512
                data = self.random.randbytes(self.BLOCK)
                self.last = at
                self.h.pwrite(data, at)
                self.disk[at:at + self.BLOCK] = data
                at = self.random.randrange((len(self.disk) - self.BLOCK) // 512) * 512
                if self.h.pread(self.BLOCK, at) != self.disk[at:at + self.BLOCK]:
                    self.wrong.append(at)
                self.rounds += 1
        except nbd.Error as e:
            self.wrong.append(str(e))

    def go_on(self):
        """Waits until it has done some more."""
        enough = self.rounds + 50
        while self.is_alive() and self.rounds < enough:
            time.sleep(0.01)

    def end(self):
        self.done = True
        self.join()
        self.h.shutdown()
        return bytes(self.disk)


class ParityStack(Stack):
    """RAID6 over five members and two spares."""

    def create(self):
        self.m = self.members(7, "64M")
        self.ashlar("array", "create", "a0", "--level", 6, "--layout", "right-asymmetric", "--chunk", "16K", "--spare", self.m[5],
                    "--spare", self.m[6], *self.m[:5])


class Members(unittest.TestCase):
    """Those of arrays: they fail, are replaced, come back, are checked."""

    def test_mdadm_agrees(self):
        with Stack() as h:
            h.write(pattern(1, size("100M")))
            a = h.array("a0")
            h.stop()
            for i, path in enumerate(h.m):
                e = examine(path)
                self.assertEqual(e["Raid Level"], "raid10")
                self.assertEqual(e["Raid Devices"], "4")
                self.assertEqual(e["Array UUID"], a["uuid"])
                self.assertEqual(e["Layout"], "near=2")
                self.assertEqual(e["Chunk Size"], "64K")
                self.assertIn("correct", e["Checksum"])
                self.assertEqual(e["Device Role"], f"Active device {i}" if i < 4 else "spare")
                self.assertEqual(int(re.match(r"\d+", e["Array Size"])[0]) * 1024, a["size_bytes"])

    def test_a_failed_member_is_replaced_by_the_spare(self):
        with Stack() as h:
            data = pattern(1, size("100M"))
            h.write(data)
            h.ashlar("array", "fail", "a0", h.m[1])
            h.wait("spare in place", lambda: states(h.array("a0"))[h.m[4]] == "in-sync")
            self.assertEqual(states(h.array("a0"))[h.m[1]], "faulty")
            kinds = [j["kind"] for j in h.ashlar("job", "list")["jobs"]]
            self.assertIn("recovery", kinds)
            # the spare has what it should: now its mirror may go
            h.ashlar("array", "fail", "a0", h.m[0])
            self.assertEqual(h.read(), data)
            self.assertIn("faulty", examine(h.m[2])["Device Role"] + str(states(h.array("a0"))))

    def test_the_last_copy_cannot_be_failed(self):
        with Stack() as h:
            h.ashlar("array", "remove", "a0", h.m[4])
            h.ashlar("array", "fail", "a0", h.m[0])
            self.assertIn(h.m[1], h.refusal("array", "fail", "a0", h.m[1]))
            self.assertEqual(h.array("a0")["state"], "degraded")

    def test_a_former_member_comes_back_by_bitmap(self):
        with Stack() as h:
            h.ashlar("array", "remove", "a0", h.m[4])
            h.write(pattern(1, size("100M")))
            h.wait_idle("a0")
            h.ashlar("array", "fail", "a0", h.m[0])
            data = pattern(2, size("100M"))
            h.write(data)
            h.ashlar("array", "remove", "a0", h.m[0])
            self.assertTrue(h.ashlar("array", "add", "a0", h.m[0])["readded"])
            h.wait("whole", lambda: h.array("a0")["state"] in ("clean", "active"))
            h.ashlar("array", "fail", "a0", h.m[1])
            self.assertEqual(h.read(), data)

    def test_replace(self):
        with Stack() as h:
            data = pattern(1, size("100M"))
            h.write(data)
            h.ashlar("array", "replace", "a0", h.m[2])
            after = states(h.array("a0"))
            self.assertEqual(after[h.m[4]], "in-sync")
            self.assertNotEqual(after.get(h.m[2]), "in-sync")
            h.ashlar("array", "fail", "a0", h.m[3])
            self.assertEqual(h.read(), data)

    def test_check_finds_and_repair_mends(self):
        with Stack() as h:
            data = pattern(1, size("100M"))
            h.write(data)
            h.wait_idle("a0")
            h.ashlar("array", "sync", "a0")
            h.ashlar("array", "check", "a0")
            self.assertEqual(h.array("a0")["sync"]["mismatch_bytes"], 0)
            h.stop()
            # behind everybody's back: some bytes of the second copy change
            with open(h.m[1], "r+b") as f:
                f.seek(int(re.match(r"\d+", examine(h.m[1])["Data Offset"])[0]) * 512 + size("4M"))
                f.write(b"\xff" * 4096)
            h.start()
            h.wait_idle("a0")
            h.ashlar("array", "check", "a0")
            self.assertGreater(h.array("a0")["sync"]["mismatch_bytes"], 0)
            h.ashlar("array", "check", "a0", "--repair")
            h.ashlar("array", "check", "a0")
            self.assertEqual(h.array("a0")["sync"]["mismatch_bytes"], 0)

    def test_two_members_of_raid6_fail_under_load(self):
        with ParityStack() as h:
            a = h.array("a0")
            self.assertEqual((a["level"], a["layout"]), (6, "right-asymmetric"))
            data = pattern(1, size("100M"))
            h.write(data)
            guest = Guest(h.uri("vg/v"), data)
            guest.start()
            for i in (1, 3):
                guest.go_on()
                h.ashlar("--no-wait", "array", "fail", "a0", h.m[i])
            guest.go_on()
            self.assertIn(states(h.array("a0"))[h.m[5]], ("recovering", "in-sync"))
            h.wait("spares in place", lambda: [states(h.array("a0"))[h.m[i]] for i in (5, 6)] == ["in-sync"] * 2)
            guest.go_on()
            data = guest.end()
            self.assertEqual(guest.wrong, [])
            self.assertEqual(h.read(), data)
            h.restart()
            self.assertEqual(h.read(), data)
            for i in (0, 2):
                h.ashlar("array", "fail", "a0", h.m[i])
            self.assertEqual(h.read(), data)
            self.assertIn("last copy", h.refusal("array", "fail", "a0", h.m[4]))

    def test_raid5_comes_up_after_kill_with_a_member_away(self):
        """Parts of stripes are written when it is killed: the parity log has what would not fit."""
        with Host() as h:
            m = h.members(4, "64M")
            h.ashlar("array", "create", "a0", "--level", 5, "--chunk", "64K", *m)
            h.ashlar("vg", "create", "vg", "a0")
            h.ashlar("volume", "create", "vg/v", "--size", "20M")
            guest = Guest(h.uri("vg/v"), bytes(size("20M")))
            guest.start()
            guest.go_on()
            h.kill()
            guest.join()
            os.rename(m[1], m[1] + ".away")
            h.start()
            self.assertEqual(h.array("a0")["state"], "degraded")
            back = os.path.join(h.dir, "back")
            run("nbdcopy", h.uri("vg/v"), back)
            with open(back, "rb") as f:
                data = f.read()
            # the last one may have been under way
            at, length = guest.last, Guest.BLOCK
            self.assertEqual(data[:at], guest.disk[:at])
            self.assertEqual(data[at + length:], guest.disk[at + length:])


class Volumes(unittest.TestCase):
    """What stands on arrays: made, grown, shrunk, kept over restarts, destroyed."""

    def test_new_volume_reads_as_zeros_on_dirty_disks(self):
        with Host() as h:
            m = h.members(2, "64M")
            for path in m:
                with open(path, "r+b") as f:
                    f.write(b"former owner".ljust(512, b"!") * (size("64M") // 512))
            h.ashlar("array", "create", "a0", "--level", 1, "--force", *m)
            h.ashlar("vg", "create", "vg", "a0")
            h.ashlar("volume", "create", "vg/v", "--size", "20M")
            back = os.path.join(h.dir, "back")
            run("nbdcopy", h.uri("vg/v"), back)
            with open(back, "rb") as f:
                self.assertEqual(f.read(), bytes(size("20M")))

    def test_restart_brings_everything_back(self):
        with Stack() as h:
            data = pattern(1, size("100M"))
            h.write(data)
            own = os.path.join(h.dir, "own.sock")
            h.ashlar("export", "add", "vg/v", "--nbd", own, "--read-only")
            before = h.ashlar("status")
            h.restart()
            after = h.ashlar("status")
            for key in ("exports", "vgs"):
                self.assertEqual(after[key], before[key])
            self.assertEqual(states(after["arrays"][0]), states(before["arrays"][0]))
            self.assertEqual(h.read(), data)
            info = run("nbdinfo", "--json", f"nbd+unix:///?socket={own}")
            self.assertIn('"is_read_only": true', info)

    def test_resize_under_load(self):
        with Stack() as h:
            data = pattern(1, size("100M"))
            h.write(data)
            path, name = h.nbd("vg/v")
            load = subprocess.Popen(
                ["fio", "--name=load", "--ioengine=nbd", f"--uri={h.uri('vg/v')}", "--rw=randwrite", "--bs=4k", "--iodepth=8", "--offset=50M",
                 "--size=20M", "--verify=crc32c", "--time_based=1", "--runtime=4", "--output=/dev/null"], cwd=h.dir)
            more = h.members(2, "128M", prefix="n")
            h.ashlar("array", "create", "a1", "--level", 1, *more)
            h.ashlar("vg", "extend", "vg", "a1")
            for change, expected in (("+60M", "160M"), ("+100M", "260M"), ("-100M", "160M"), ("100M", "100M")):
                time.sleep(0.3)
                v = h.ashlar("volume", "resize", "vg/v", change, "--force")
                self.assertEqual(v["size_bytes"], size(expected))
            self.assertEqual(load.wait(60), 0)
            self.assertEqual(h.read()[:size("50M")], data[:size("50M")])
            # what the shrink gave back is zeros when it comes again
            h.ashlar("volume", "resize", "vg/v", "160M")
            self.assertEqual(h.read()[size("100M"):], bytes(size("60M")))

    def test_shrink_below_a_file_system_is_refused(self):
        with Stack() as h:
            image = h.file("fs", "64M")
            run("/usr/sbin/mke2fs", "-q", "-t", "ext4", image)
            run("nbdcopy", "--flush", image, h.uri("vg/v"))
            reason = h.refusal("volume", "resize", "vg/v", "60M")
            self.assertIn("64", reason)
            self.assertIn("ext4", reason)
            self.assertEqual(h.ashlar("volume", "resize", "vg/v", "64M")["size_bytes"], size("64M"))
            self.assertEqual(h.ashlar("volume", "resize", "vg/v", "60M", "--force")["size_bytes"], size("60M"))

    def test_dry_run_changes_nothing(self):
        with Stack() as h:
            h.wait_idle("a0")
            h.wait("clean on disk", lambda: h.array("a0")["state"] == "clean")
            extra = h.file("extra", "128M")

            def sums():
                return {p: hashlib.sha256(open(p, "rb").read()).hexdigest() for p in h.m + [extra]}

            def settled():
                """Bits of the bitmap are cleared when the clean-up, every five seconds, has found them idle twice."""
                earlier = sums()
                time.sleep(11)
                return sums() == earlier
            h.wait("nothing written any more", settled)
            before, status = sums(), h.ashlar("status")
            for words in (("array", "create", "a1", "--level", "1", extra, "missing"), ("array", "fail", "a0", h.m[0]),
                          ("array", "remove", "a0", h.m[4]), ("array", "add", "a0", extra), ("vg", "create", "w", extra),
                          ("vg", "extend", "vg", extra), ("vg", "rename", "vg", "w"), ("volume", "create", "vg/w", "--size", "4M"),
                          ("volume", "resize", "vg/v", "+4M"), ("volume", "remove", "vg/v"), ("volume", "rename", "vg/v", "w"),
                          ("array", "check", "a0")):
                self.assertTrue(h.ashlar("--dry-run", *words)["would"], words)
            self.assertEqual(sums(), before)
            for key in ("vgs", "exports"):
                self.assertEqual(h.ashlar("status")[key], status[key])

    def test_events(self):
        with Stack() as h:
            p = subprocess.Popen([os.path.join(BUILD, "cli", "ashlar"), "--socket", h.socket, "events"], stdout=subprocess.PIPE, text=True)
            time.sleep(0.5)
            h.ashlar("array", "fail", "a0", h.m[0])
            h.wait_idle("a0")
            h.ashlar("volume", "remove", "vg/v")
            time.sleep(0.5)
            p.terminate()
            out = p.communicate()[0]
            for kind in ("member.state", "array.state", "job.started", "job.ended", "volume.removed"):
                self.assertIn(kind, out)

    def test_destroy_leaves_nothing(self):
        with Stack() as h:
            self.assertIn("vg", h.refusal("array", "destroy", "a0"))
            h.ashlar("volume", "remove", "vg/v")
            h.ashlar("vg", "remove", "vg")
            h.ashlar("array", "destroy", "a0")
            for path in h.m:
                p = subprocess.run(["/sbin/mdadm", "--examine", path], capture_output=True, text=True)
                self.assertIn("No md superblock", p.stderr)
            self.assertEqual(h.ashlar("array", "list")["arrays"], [])


if __name__ == "__main__":
    unittest.main()
