#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots of raw volumes: overlays that come and go under guests, by NBD; and kill -9 in between."""
import os
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from crash import BLOCK  # noqa: E402
from host import run, size  # noqa: E402
from pattern import pattern  # noqa: E402
from sparse import Flusher, Group  # noqa: E402


class Overlaid(Group):
    def raw(self, length, data=b""):
        self.ashlar("volume", "create", "vg/v", "--size", length)
        if data:
            run("nbdcopy", "--flush", self.content("first", data), self.uri("vg/v"))

    def overlay(self):
        return self.show("v").get("overlay")

    def at_snapshot(self, name="saved"):
        """The raw volume below, while guests go on above it."""
        path = os.path.join(self.dir, name)
        self.ashlar("volume", "save", "vg/v@s", path)
        with open(path, "rb") as f:
            data = f.read()
        os.unlink(path)
        return data

    def disk(self):
        """As guests see it."""
        path = os.path.join(self.dir, "seen")
        run("nbdcopy", self.uri("vg/v"), path)
        with open(path, "rb") as f:
            return f.read()

    def volumes(self):
        return [v["name"] for v in self.ashlar("volume", "list")["volumes"]]

    def jobs(self, kind):
        return [j for j in self.ashlar("job", "list")["jobs"] if j["kind"] == kind]

    def begin_commit(self):
        self.ashlar("--no-wait", "volume", "commit", "vg/v")

    def wait_committed(self):
        self.wait("the overlay's end", lambda: not self.overlay())


class History(Flusher):
    """Also knows what each block could hold at any one time."""

    def begin(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def end(self):
        self.thread.join()

    def now(self):
        return dict(self.acknowledged), self.number

    def wrong_between(self, data, before, after):
        """Blocks that are older than what was acknowledged before, or newer than what was sent after."""
        wrong = []
        for block in range(self.blocks):
            got = data[block * BLOCK:(block + 1) * BLOCK]
            oldest, newest = before[0].get(block, 0), after[1]
            number = int(got[13:25]) if any(got) else 0
            if not oldest <= number <= newest or (number and got != self.content(block, number)):
                wrong.append((block, oldest, number, newest))
        return wrong


class Life(unittest.TestCase):
    def test_from_snapshot_to_commit(self):
        with Overlaid() as h:
            old, new = pattern(1, size("32M")), pattern(2, size("8M"))
            h.raw("32M", old)
            h.ashlar("snapshot", "create", "vg/v@s")
            v = h.show("v")
            self.assertEqual((v["format"], v["state"], v["overlay"]["snapshot"], v["overlay"]["committing"]), ("raw", "ok", "s", False))
            self.assertEqual(h.volumes(), ["v"])
            self.assertIn("no volume", h.refusal("volume", "show", "vg/v.overlay"))
            listed = h.ashlar("snapshot", "list", "vg/v")["snapshots"]
            self.assertEqual([(s["name"], s["size_bytes"]) for s in listed], [("s", size("32M"))])
            self.assertLess(abs(listed[0]["time"] - time.time()), 600)
            run("nbdcopy", "--flush", h.content("second", new), h.uri("vg/v"))
            self.assertEqual(h.disk(), new + old[len(new):])
            self.assertEqual(h.at_snapshot(), old)
            self.assertGreater(h.overlay()["used_bytes"], len(new))
            h.restart()
            self.assertEqual(h.disk(), new + old[len(new):])
            self.assertEqual(h.at_snapshot(), old)
            self.assertTrue(h.ashlar("volume", "check", "vg/v")["clean"])
            h.ashlar("volume", "commit", "vg/v")
            self.assertIsNone(h.overlay())
            self.assertEqual(h.ashlar("snapshot", "list", "vg/v")["snapshots"], [])
            self.assertEqual(h.disk(), new + old[len(new):])
            h.restart()
            self.assertEqual(h.disk(), new + old[len(new):])
            vg = h.ashlar("vg", "show", "vg")
            self.assertEqual(vg["size_bytes"] - vg["free_bytes"], size("32M"))

    def test_revert(self):
        with Overlaid() as h:
            old = pattern(1, size("16M"))
            h.raw("16M", old)
            h.ashlar("snapshot", "create", "vg/v@s")
            for seed in range(2, 4):
                run("nbdcopy", "--flush", h.content("second", pattern(seed, size("12M"))), h.uri("vg/v"))
                self.assertIn("exported", h.refusal("snapshot", "revert", "vg/v@s"))
                h.ashlar("export", "remove", "vg/v")
                self.assertTrue(h.ashlar("--dry-run", "snapshot", "revert", "vg/v@s")["would"])
                h.ashlar("snapshot", "revert", "vg/v@s")
                self.assertEqual(h.disk(), old)
                self.assertEqual(h.overlay()["snapshot"], "s")
            h.restart()
            self.assertEqual(h.disk(), old)
            h.ashlar("snapshot", "delete", "vg/v@s")
            self.assertEqual(h.disk(), old)
            self.assertEqual(h.jobs("commit")[0]["state"], "done")

    def test_refusals(self):
        with Overlaid() as h:
            h.raw("16M")
            self.assertIn("no snapshot", h.refusal("snapshot", "delete", "vg/v@s"))
            self.assertIn("not a raw one with a snapshot", h.refusal("volume", "commit", "vg/v"))
            self.assertIn("is not 1 to", h.refusal("snapshot", "create", "vg/v@a b"))
            self.assertTrue(h.ashlar("--dry-run", "snapshot", "create", "vg/v@s")["would"])
            self.assertIsNone(h.overlay())
            h.ashlar("snapshot", "create", "vg/v@s")
            path = h.content("file", bytes(4096))
            for words in (["snapshot", "create", "vg/v@t"], ["volume", "resize", "vg/v", "32M"], ["volume", "rename", "vg/v", "w"],
                          ["volume", "remove", "vg/v"], ["volume", "load", "vg/v", path], ["volume", "create", "vg/c", "--from", "vg/v"]):
                self.assertIn("snapshot s", h.refusal(*words), words)
            self.assertIn("no snapshot t", h.refusal("snapshot", "revert", "vg/v@t"))
            self.assertIn("no snapshot t", h.refusal("snapshot", "delete", "vg/v@t"))
            self.assertIn("exists", h.refusal("volume", "create", "vg/v.overlay", "--size", "4M"))
            self.assertTrue(h.ashlar("--dry-run", "volume", "commit", "vg/v")["would"])
            self.assertFalse(h.overlay()["committing"])
            h.ashlar("volume", "commit", "vg/v")
            h.ashlar("volume", "create", "vg/c", "--from", "vg/v")
            self.assertIn("cloned", h.refusal("snapshot", "create", "vg/v@s"))

    def test_no_room(self):
        """Nothing has changed then."""
        with Overlaid("64M") as h:
            h.raw("60M", pattern(1, size("60M")))
            self.assertIn("free", h.refusal("snapshot", "create", "vg/v@s"))
            self.assertIsNone(h.overlay())
            self.assertEqual(h.disk(), pattern(1, size("60M")))


class Online(unittest.TestCase):
    def once(self, h, w, seconds):
        time.sleep(seconds)
        before = w.now()
        h.ashlar("snapshot", "create", "vg/v@s")
        after = w.now()
        time.sleep(seconds)
        kept = h.at_snapshot()
        self.assertEqual(w.wrong_between(kept, before, after)[:4], [])
        self.assertTrue(w.thread.is_alive())
        time.sleep(seconds)
        self.assertEqual(kept, h.at_snapshot())
        h.ashlar("volume", "commit", "vg/v")
        self.assertIsNone(h.overlay())

    def test_under_guests(self):
        """Two exports of one volume change together; what the snapshot keeps is of one moment."""
        with Overlaid() as h:
            h.raw("16M")
            other = os.path.join(h.dir, "other.sock")
            h.ashlar("export", "add", "vg/v", "--nbd")
            h.ashlar("export", "add", "vg/v", "--nbd", other)
            w = History(h.uri("vg/v"), 1, size("16M") // BLOCK).begin()
            for seconds in (0.1, 0.5):
                self.once(h, w, seconds)
            before = w.now()
            run("nbdcopy", f"nbd+unix:///vg/v?socket={other}", os.path.join(h.dir, "seen"))
            with open(os.path.join(h.dir, "seen"), "rb") as f:
                self.assertEqual(w.wrong_between(f.read(), before, w.now())[:4], [])
            h.kill()
            w.end()
            h.start()
            self.assertEqual(w.verify(h.disk())[:4], [])

    def killed(self, h, seed, kill_after):
        w = History(h.uri("vg/v"), seed, size("16M") // BLOCK).begin()
        time.sleep(0.2)
        h.begin_commit()
        time.sleep(kill_after)
        h.kill()
        w.end()
        self.assertGreater(len(w.flushed), 20)
        h.start()
        self.assertEqual([b for b in w.verify(h.disk()) if b[0] in w.flushed][:4], [])
        return w

    def test_killed_while_committing(self):
        """What is above and what is below make one disk, and the commit goes on by itself."""
        with Overlaid("512M") as h:
            h.raw("128M")
            for seed, kill_after in enumerate((0, 0.02, 0.1, 0.3)):
                with self.subTest(kill_after=kill_after):
                    h.ashlar("snapshot", "create", "vg/v@s")
                    # Beyond the writer's part, so that the commit takes a while.
                    h.io("v", *[f"write -P {seed + 1} {k * 4 + 32}M 4M" for k in range(16)])
                    w = self.killed(h, seed, kill_after)
                    h.wait_committed()
                    data = h.disk()
                    self.assertEqual([b for b in w.verify(data) if b[0] in w.flushed][:4], [])
                    self.assertEqual(data[size("32M"):size("96M")], bytes([seed + 1]) * size("64M"))
                    h.restart()
                    self.assertEqual(data, h.disk())

    def test_killed_around_the_snapshot(self):
        with Overlaid() as h:
            h.raw("16M")
            for seed, kill_after in enumerate((0, 0.01, 0.02, 0.05)):
                with self.subTest(kill_after=kill_after):
                    w = History(h.uri("vg/v"), seed, size("16M") // BLOCK).begin()
                    time.sleep(0.2)
                    t = threading.Thread(target=self.snapshot, args=[h])
                    t.start()
                    time.sleep(kill_after)
                    h.kill()
                    t.join()
                    w.end()
                    h.start()
                    self.assertEqual([b for b in w.verify(h.disk()) if b[0] in w.flushed][:4], [])
                    if h.overlay():
                        h.ashlar("volume", "commit", "vg/v")
                    self.assertEqual([b for b in w.verify(h.disk()) if b[0] in w.flushed][:4], [])
                    self.assertEqual(h.volumes(), ["v"])

    @staticmethod
    def snapshot(h):
        try:
            h.ashlar("snapshot", "create", "vg/v@s")
        except AssertionError:
            pass


if __name__ == "__main__":
    unittest.main()
