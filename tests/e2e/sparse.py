#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sparse volumes through the daemon and NBD; qemu-img looks at the images themselves, cut out of the group's PVs."""
import json
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
from crash import BLOCK, Writer  # noqa: E402
from host import BUILD, Host, run, size  # noqa: E402
from pattern import pattern  # noqa: E402

MIB = 1 << 20


def parse_metadata(text):
    """LVM2's text as nested dictionaries."""
    words = re.findall(r'"(?:[^"\\]|\\.)*"|#[^\n]*|[{}=\[\],]|[^\s{}=\[\],#]+', text)
    words = [w for w in words if not w.startswith("#")]

    def value():
        word = words.pop(0)
        if word != "[":
            return word.strip('"') if word.startswith('"') else int(word)
        items = []
        while words[0] != "]":
            items.append(value())
            if words[0] == ",":
                words.pop(0)
        words.pop(0)
        return items

    def section():
        result = {}
        while words and words[0] != "}":
            key = words.pop(0)
            if words.pop(0) == "=":
                result[key] = value()
            else:
                result[key] = section()
                words.pop(0)
        return result
    return section()


class Group(Host):
    """A group on files; extents of 1 MiB, so that little is much."""

    def __init__(self, length="256M", **kwargs):
        super().__init__(**kwargs)
        self.pvs = [self.file("pv0", length)]
        self.ashlar("vg", "create", "vg", "--extent-size", "1M", self.pvs[0])

    def extend(self, length):
        self.pvs.append(self.file(f"pv{len(self.pvs)}", length))
        self.ashlar("vg", "extend", "vg", self.pvs[-1])

    def sparse(self, name, length, *options):
        return self.ashlar("volume", "create", f"vg/{name}", "--size", length, "--format", "sparse", *options)

    def show(self, name):
        return self.ashlar("volume", "show", f"vg/{name}")

    def image(self, name):
        """The LV's bytes as a file, found by the metadata alone."""
        with open(os.path.join(self.dir, "state", "backup", "vg")) as f:
            vg = parse_metadata(f.read())["vg"]
        extent, path = vg["extent_size"] * 512, os.path.join(self.dir, f"{name}.qcow2")
        with open(path, "wb") as out:
            for key, s in vg["logical_volumes"][name].items():
                if not key.startswith("segment") or key == "segment_count":
                    continue
                pv = vg["physical_volumes"][s["stripes"][0]]
                with open(pv["device"], "rb") as f:
                    f.seek(pv["pe_start"] * 512 + s["stripes"][1] * extent)
                    out.seek(s["start_extent"] * extent)
                    out.write(f.read(s["extent_count"] * extent))
        return path

    def check(self, name, leaks=0):
        """qemu-img's word on it; the daemon has closed it."""
        p = subprocess.run(["qemu-img", "check", "--output=json", "-f", "qcow2", self.image(name)], capture_output=True, text=True)
        found = json.loads(p.stdout)
        wrong = {k: v for k, v in found.items() if k in ("corruptions", "check-errors") and v}
        if wrong or found.get("leaks", 0) > leaks:
            raise AssertionError(f"qemu-img check: {p.stdout}{p.stderr}")

    def holds(self, name, path):
        """The guest's disk is the file's content, as our daemon and as QEMU read it."""
        run("qemu-img", "compare", "-f", "raw", "-F", "raw", path, self.uri(f"vg/{name}"))
        self.stop()
        self.check(name)
        run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", path, self.image(name))
        self.start()

    def io(self, name, *commands):
        words = ["qemu-io", "-f", "raw", self.uri(f"vg/{name}")]
        for c in commands:
            words += ["-c", c]
        out = run(*words)
        if "failed" in out.lower():
            raise AssertionError(out)
        return out

    def content(self, name, data):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            f.write(data)
        return path


class Life(unittest.TestCase):
    def test_from_birth_to_death(self):
        with Group() as h:
            v = h.sparse("v", "1G")
            self.assertEqual((v["format"], v["size_bytes"], v["state"]), ("sparse", size("1G"), "ok"))
            self.assertLess(v["allocated_bytes"], size("100M"))
            data = pattern(1, size("20M"))
            path = h.content("data", data + bytes(size("1G") - len(data)))
            run("nbdcopy", "--flush", h.content("head", data), h.uri("vg/v"))
            h.holds("v", path)
            self.assertIn("exported", h.refusal("volume", "remove", "vg/v"))
            h.ashlar("export", "remove", "vg/v")
            h.ashlar("volume", "rename", "vg/v", "w")
            h.restart()
            self.assertEqual(h.show("w")["size_bytes"], size("1G"))
            h.holds("w", path)
            h.ashlar("export", "remove", "vg/w")
            h.ashlar("volume", "remove", "vg/w")
            vg = h.ashlar("vg", "show", "vg")
            self.assertEqual((vg["volumes"], vg["free_bytes"]), ([], vg["size_bytes"]))

    def test_every_size(self):
        with Group() as h:
            for i, (length, *options) in enumerate([("512",), ("64T",), ("1G", "--cluster", "64K"), ("1G", "--cluster", "4K"), ("1G", "--cluster", "2M")]):
                h.sparse(f"v{i}", length, *options)
                if size(length) > MIB:
                    h.io(f"v{i}", f"write -P 7 {size(length) - 65536} 64k", f"read -P 7 {size(length) - 65536} 64k", "read -P 0 0 64k")
                h.stop()
                h.check(f"v{i}")
                h.start()
                if size(length) > MIB:
                    h.ashlar("export", "remove", f"vg/v{i}")
                h.ashlar("volume", "remove", f"vg/v{i}")
            self.assertIn("64 TiB", h.refusal("volume", "create", "vg/x", "--size", "65T", "--format", "sparse"))
            self.assertIn("cluster", h.refusal("volume", "create", "vg/x", "--size", "1G", "--format", "sparse", "--cluster", "3K"))
            self.assertIn("format", h.refusal("volume", "create", "vg/x", "--size", "1G", "--format", "qed"))
            self.assertNotIn("x", [v["name"] for v in h.ashlar("volume", "list")["volumes"]])

    def test_dry_run(self):
        with Group() as h:
            self.assertIn("create", h.ashlar("--dry-run", "volume", "create", "vg/v", "--size", "1G", "--format", "sparse")["would"][0])
            self.assertEqual(h.ashlar("volume", "list")["volumes"], [])
            h.sparse("v", "1G")
            for words in (("remove", "vg/v"), ("resize", "vg/v", "2G"), ("rename", "vg/v", "w"), ("create", "vg/c", "--from", "vg/v")):
                self.assertTrue(h.ashlar("--dry-run", "volume", *words)["would"], words)
            self.assertEqual([v["size_bytes"] for v in h.ashlar("volume", "list")["volumes"]], [size("1G")])

    def test_resize(self):
        with Group() as h:
            h.sparse("v", "64M")
            fs = h.file("fs", "64M")
            run("/sbin/mkfs.ext4", "-q", fs)
            run("nbdcopy", "--flush", fs, h.uri("vg/v"))
            self.assertEqual(h.ashlar("volume", "resize", "vg/v", "+64M")["size_bytes"], size("128M"))
            h.io("v", "write -P 3 127m 1m")
            h.ashlar("volume", "resize", "vg/v", "64M")
            self.assertIn("ext4", h.refusal("volume", "resize", "vg/v", "32M"))
            h.ashlar("volume", "resize", "vg/v", "128M")
            h.io("v", "read -P 0 127m 1m")
            os.truncate(fs, size("128M"))
            h.holds("v", fs)


class Flusher(Writer):
    """Flushes now and then: what was not flushed may be lost with the map."""

    def run(self):
        self.flushed, self.since = {}, {}  # block -> number, block -> numbers
        try:
            while True:
                for _ in range(10):
                    self.step()
                    for block, number in self.acknowledged.items():
                        if self.flushed.get(block) != number:
                            self.since.setdefault(block, set()).add(number)
                self.h.flush()
                self.flushed, self.since = dict(self.acknowledged), {}
        except nbd.Error:
            pass

    def verify(self, data):
        wrong = []
        for block in range(self.blocks):
            numbers = self.since.get(block, set()) | set(self.in_flight.get(block, []))
            numbers |= {d[block] for d in (self.flushed, self.acknowledged) if block in d}
            allowed = [self.content(block, n) for n in numbers] + ([] if block in self.flushed else [bytes(BLOCK)])
            if data[block * BLOCK:(block + 1) * BLOCK] not in allowed:
                wrong.append((block, sorted(numbers), data[block * BLOCK:block * BLOCK + 32]))
        return wrong


class Crash(unittest.TestCase):
    def test_killed_while_it_is_written(self):
        with Group("512M") as h:
            for seed in range(3):
                h.sparse(f"v{seed}", "64M", "--cluster", ("128K", "64K", "4K")[seed])
                w = Flusher(h.uri(f"vg/v{seed}"), seed, size("64M") // BLOCK)
                t = threading.Thread(target=w.run)
                t.start()
                time.sleep(1 + seed / 2)
                h.kill()
                t.join()
                self.assertGreater(len(w.flushed), 20)
                h.start()
                back = os.path.join(h.dir, "back")
                run("nbdcopy", h.uri(f"vg/v{seed}"), back)
                with open(back, "rb") as f:
                    self.assertEqual(w.verify(f.read())[:4], [])
                h.stop()
                h.check(f"v{seed}")
                h.start()
                h.ashlar("export", "remove", f"vg/v{seed}")

    def test_nothing_is_left_of_what_was_not_made(self):
        """Killed while volumes are made: each is whole, or not there."""
        with Group() as h:
            for i in range(8):
                p = subprocess.Popen([os.path.join(BUILD, "cli", "ashlar"), "--socket", h.socket, "volume", "create", f"vg/v{i}", "--size", "1G",
                                      "--format", "sparse"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(0.005 * i)
                h.kill()
                p.wait()
                h.start()
            volumes = h.ashlar("volume", "list")["volumes"]
            self.assertEqual({v["state"] for v in volumes} - {"ok"}, set())
            h.stop()
            for v in volumes:
                h.check(v["name"])
            h.start()


class Events(threading.Thread):
    def __init__(self, h):
        super().__init__(daemon=True)
        self.p = subprocess.Popen([os.path.join(BUILD, "cli", "ashlar"), "--socket", h.socket, "--json", "events"], stdout=subprocess.PIPE, text=True)
        self.text = ""
        self.start()
        time.sleep(0.3)

    def run(self):
        for line in self.p.stdout:
            self.text += line

    def end(self):
        self.p.terminate()
        self.join()
        self.p.wait()
        self.p.stdout.close()


class Space(unittest.TestCase):
    def test_growth(self):
        with Group("512M") as h:
            before = h.sparse("v", "1G")["allocated_bytes"]
            data = pattern(2, size("200M"))
            run("nbdcopy", "--flush", h.content("data", data), h.uri("vg/v"))
            after = h.show("v")
            self.assertGreater(after["allocated_bytes"], before)
            self.assertGreaterEqual(after["allocated_bytes"], after["used_bytes"])
            self.assertGreaterEqual(after["used_bytes"], len(data))
            path = h.content("data", data + bytes(size("1G") - len(data)))
            h.holds("v", path)
            h.kill()
            h.start()
            h.holds("v", path)

    def fill(self, h, free):
        """A writer of all of the volume, which the group cannot take; returns when it waits."""
        h.sparse("v", "200M")
        uri, path = h.uri("vg/v"), h.content("data", pattern(3, size("200M")))
        p = subprocess.Popen(["nbdcopy", "--flush", path, uri], stderr=subprocess.PIPE, text=True)
        h.wait("it starves", lambda: h.show("v")["state"] == "starving")
        self.assertLess(h.ashlar("vg", "show", "vg")["free_bytes"], free)
        return p, path

    def test_running_out_is_a_state(self):
        with Group("128M") as h:
            events = Events(h)
            p, path = self.fill(h, 3 * MIB)
            self.assertTrue(h.ashlar("vg", "show", "vg")["space_low"])
            # all else goes on: reads, and writes of what has its place
            h.io("v", "read 0 1m", "write -P 9 0 64k", "read -P 9 0 64k")
            time.sleep(2)
            self.assertIsNone(p.poll())
            h.extend("256M")
            self.assertEqual(p.wait(60), 0, p.stderr.read())
            p.stderr.close()
            h.wait("it has what it needs", lambda: h.show("v")["state"] == "ok")
            events.end()
            for word in ("vg.space", "volume.space", "wait for space", "no longer wait"):
                self.assertIn(word, events.text)
            with open(path, "r+b") as f:
                f.write(bytes([9]) * 65536)
            h.holds("v", path)

    def test_the_reserve(self):
        with Group("256M") as h:
            vg = h.ashlar("vg", "set", "vg", "--warn", "50", "--reserve", "128M")
            self.assertEqual((vg["warn_percent"], vg["reserve_bytes"]), (50, size("128M")))
            self.assertIn("100", h.refusal("vg", "set", "vg", "--warn", "101"))
            p, path = self.fill(h, 129 * MIB)
            h.ashlar("vg", "set", "vg", "--reserve", "0")
            self.assertEqual(p.wait(60), 0, p.stderr.read())
            p.stderr.close()
            h.holds("v", path)
            self.assertEqual((h.ashlar("vg", "show", "vg")["warn_percent"], h.ashlar("vg", "show", "vg")["reserve_bytes"]), (50, 0))

    def test_who_waits_too_long_fails_cleanly(self):
        with Group("128M") as h:
            p, path = self.fill(h, 3 * MIB)
            self.assertNotEqual(p.wait(90), 0)
            p.stderr.close()
            h.io("v", "read 0 1m")
            h.stop()
            h.check("v")
            h.start()
            h.extend("256M")
            run("nbdcopy", "--flush", path, h.uri("vg/v"))
            h.holds("v", path)

    def test_killed_while_it_starves(self):
        with Group("128M") as h:
            p, path = self.fill(h, 3 * MIB)
            h.kill()
            self.assertNotEqual(p.wait(60), 0)
            p.stderr.close()
            h.start()
            self.assertEqual(h.show("v")["state"], "ok")
            h.stop()
            h.check("v")
            h.start()
            h.extend("256M")
            run("nbdcopy", "--flush", path, h.uri("vg/v"))
            h.holds("v", path)


    @staticmethod
    def write_on(uri, stop):
        """Behind what the test looks at."""
        n = nbd.NBD()
        n.connect_uri(uri)
        while not stop.is_set():
            n.pwrite(bytes([7]) * 65536, size("160M") + random.randrange(1000) * 65536)
        n.shutdown()

    def test_compact(self):
        with Group() as h:
            h.sparse("v", "256M")
            data = bytearray(pattern(9, size("160M")))
            path = h.content("data", data)
            run("nbdcopy", "--flush", path, h.uri("vg/v"))
            full = h.show("v")["allocated_bytes"]
            self.assertGreater(full, size("160M"))
            # Its beginning goes: what stays is at the end of the file.
            h.io("v", "discard 0 128m", "flush")
            self.assertIn("give back", h.ashlar("--dry-run", "volume", "compact", "vg/v")["would"][0])
            stop = threading.Event()
            guest = threading.Thread(target=self.write_on, args=(h.uri("vg/v"), stop))
            guest.start()
            h.ashlar("volume", "compact", "vg/v")
            stop.set()
            guest.join()
            self.assertLess(h.show("v")["allocated_bytes"], full - size("64M"))
            data[:size("128M")] = bytes(size("128M"))
            with open(path, "wb") as f:
                f.write(data)
            os.truncate(path, size("256M"))
            h.io("v", "write -z 160m 96m", "flush")
            h.holds("v", path)
            h.holds("v", path)
            h.ashlar("volume", "create", "vg/raw", "--size", "4M")
            self.assertIn("raw", h.refusal("volume", "compact", "vg/raw"))


class Clones(unittest.TestCase):
    def test_a_clone_needs_what_it_was_cloned_from(self):
        with Group() as h:
            data = bytearray(pattern(4, size("16M")))
            h.sparse("base", "16M")
            run("nbdcopy", "--flush", h.content("data", data), h.uri("vg/base"))
            self.assertIn("writing", h.refusal("volume", "create", "vg/c", "--from", "vg/base"))
            h.ashlar("export", "remove", "vg/base")
            c = h.ashlar("volume", "create", "vg/c", "--from", "vg/base")
            self.assertEqual((c["backing"], c["size_bytes"]), ("vg/base", size("16M")))
            d = h.ashlar("volume", "create", "vg/d", "--from", "vg/c", "--size", "32M")
            self.assertEqual((d["backing"], d["size_bytes"]), ("vg/c", size("32M")))
            for words in (("volume", "remove", "vg/base"), ("volume", "resize", "vg/base", "32M"), ("volume", "rename", "vg/base", "x"),
                          ("export", "add", "vg/base", "--nbd")):
                self.assertIn("vg/c was cloned from vg/base", h.refusal(*words))
            h.io("d", "write -P 5 1m 64k", "write -P 6 31m 4k")
            h.restart()
            h.ashlar("export", "add", "vg/base", "--nbd", "--read-only")
            path = h.content("data", data)
            run("qemu-img", "compare", "-f", "raw", "-F", "raw", path, h.uri("vg/base"))
            data[MIB:MIB + 65536] = bytes([5]) * 65536
            full = data + bytes(15 * MIB) + bytes([6]) * 4096 + bytes(MIB - 4096)
            run("qemu-img", "compare", "-f", "raw", "-F", "raw", h.content("full", full), h.uri("vg/d"))

    def test_flatten(self):
        with Group() as h:
            data = bytearray(pattern(5, size("16M")))
            h.ashlar("volume", "create", "vg/base", "--size", "16M")
            run("nbdcopy", "--flush", h.content("data", data), h.uri("vg/base"))
            h.ashlar("export", "remove", "vg/base")
            h.ashlar("volume", "create", "vg/c", "--from", "vg/base")
            h.io("c", "write -P 5 1m 64k", "write -z 3m 1m")
            h.ashlar("volume", "flatten", "vg/c")
            self.assertIsNone(h.show("c")["backing"])
            h.ashlar("volume", "remove", "vg/base")
            data[MIB:MIB + 65536] = bytes([5]) * 65536
            data[3 * MIB:4 * MIB] = bytes(MIB)
            path = h.content("data", data)
            h.holds("c", path)
            h.holds("c", path)
            self.assertIn("build upon", h.refusal("volume", "flatten", "vg/c"))

    def test_flatten_is_killed(self):
        """At any time: the clone reads the same, and can be flattened again."""
        with Group("512M") as h:
            data = pattern(10, size("64M"))
            h.ashlar("volume", "create", "vg/base", "--size", "64M")
            run("nbdcopy", "--flush", h.content("data", data), h.uri("vg/base"))
            h.ashlar("export", "remove", "vg/base")
            h.ashlar("volume", "create", "vg/c", "--from", "vg/base")
            for i in range(4):
                h.ashlar("--no-wait", "volume", "flatten", "vg/c")
                time.sleep(0.02 * i)
                h.kill()
                h.start()
                run("qemu-img", "compare", "-f", "raw", "-F", "raw", h.content("data", data), h.uri("vg/c"))
                if h.show("c")["backing"] is None:
                    break
            if h.show("c")["backing"]:
                h.ashlar("volume", "flatten", "vg/c")
            h.ashlar("volume", "remove", "vg/base")
            h.holds("c", h.content("data", data))

    def test_of_a_snapshot(self):
        """The volume goes on changing; the snapshot stays as long as clones read from it."""
        with Group() as h:
            data = pattern(8, size("16M"))
            h.sparse("v", "16M")
            run("nbdcopy", "--flush", h.content("data", data), h.uri("vg/v"))
            h.ashlar("snapshot", "create", "vg/v@s")
            c = h.ashlar("volume", "create", "vg/c", "--from", "vg/v@s")
            self.assertEqual((c["backing"], c["size_bytes"]), ("vg/v@s", size("16M")))
            h.ashlar("volume", "resize", "vg/v", "32M")
            run("nbdcopy", "--flush", h.content("other", pattern(9, size("32M"))), h.uri("vg/v"))
            d = h.ashlar("volume", "create", "vg/d", "--from", "vg/c")
            self.assertEqual(d["backing"], "vg/c")
            run("qemu-img", "compare", "-f", "raw", "-F", "raw", h.content("data", data), h.uri("vg/d"))
            h.restart()
            run("qemu-img", "compare", "-f", "raw", "-F", "raw", h.content("data", data), h.uri("vg/d"))
            run("qemu-img", "compare", "-f", "raw", "-F", "raw", os.path.join(h.dir, "other"), h.uri("vg/v"))
            h.ashlar("snapshot", "create", "vg/v@t")
            h.ashlar("snapshot", "delete", "vg/v@t")
            self.assertIn("vg/c was cloned from vg/v@s", h.refusal("snapshot", "delete", "vg/v@s"))
            h.ashlar("export", "remove", "vg/v")
            self.assertIn("vg/c was cloned from vg/v@s", h.refusal("volume", "remove", "vg/v"))
            h.ashlar("export", "remove", "vg/d")
            h.ashlar("volume", "remove", "vg/d")
            h.ashlar("volume", "flatten", "vg/c")
            self.assertIsNone(h.show("c")["backing"])
            h.ashlar("snapshot", "delete", "vg/v@s")
            h.ashlar("volume", "remove", "vg/v")
            h.holds("c", h.content("data", data))

    def test_refusals(self):
        with Group() as h:
            h.ashlar("volume", "create", "vg/raw", "--size", "4M")
            self.assertIn("no snapshots", h.refusal("volume", "create", "vg/c", "--from", "vg/raw@s"))
            h.sparse("v", "4M")
            self.assertIn("no snapshot s", h.refusal("volume", "create", "vg/c", "--from", "vg/v@s"))
            self.assertIn("VG/NAME", h.refusal("volume", "create", "vg/c", "--from", "vg/v@"))
            self.assertIn("no volume", h.refusal("volume", "create", "vg/c", "--from", "vg/nothing"))
            self.assertIn("group", h.refusal("volume", "create", "vg/c", "--from", "other/raw"))
            self.assertIn("sparse", h.refusal("volume", "create", "vg/c", "--from", "vg/raw", "--format", "raw"))
            self.assertIn("raw", h.refusal("volume", "flatten", "vg/raw"))


class Snapshots(unittest.TestCase):
    def names(self, h):
        return [s["name"] for s in h.ashlar("snapshot", "list", "vg/v")["snapshots"]]

    def test_under_a_guest(self):
        """Taken while blocks are written; what was flushed before is there after a revert."""
        with Group("512M") as h:
            h.sparse("v", "64M")
            first = pattern(6, size("64M"))
            run("nbdcopy", "--flush", h.content("first", first), h.uri("vg/v"))
            w = Flusher(h.uri("vg/v"), 1, size("64M") // BLOCK)
            t = threading.Thread(target=w.run)
            h.ashlar("snapshot", "create", "vg/v@before")
            t.start()
            for i in range(4):
                time.sleep(0.3)
                h.ashlar("snapshot", "create", f"vg/v@s{i}")
            h.ashlar("snapshot", "delete", "vg/v@s1")
            h.ashlar("snapshot", "delete", "vg/v@s2")
            self.assertEqual(self.names(h), ["before", "s0", "s3"])
            h.kill()
            t.join()
            h.start()
            self.assertEqual(self.names(h), ["before", "s0", "s3"])
            self.assertIn("exported", h.refusal("snapshot", "revert", "vg/v@before"))
            h.ashlar("export", "remove", "vg/v")
            h.ashlar("snapshot", "revert", "vg/v@before")
            h.holds("v", os.path.join(h.dir, "first"))
            out = run("qemu-img", "snapshot", "-l", h.image("v"))
            for name in ("before", "s0", "s3"):
                self.assertIn(name, out)
            for name in ("before", "s0", "s3"):
                h.ashlar("snapshot", "delete", f"vg/v@{name}")
            self.assertEqual(h.show("v")["snapshots"], 0)
            h.holds("v", os.path.join(h.dir, "first"))

    def test_refusals(self):
        with Group() as h:
            h.sparse("v", "16M")
            h.ashlar("snapshot", "create", "vg/v@s")
            self.assertIn("s", h.refusal("snapshot", "create", "vg/v@s"))
            self.assertIn("no snapshot", h.refusal("snapshot", "delete", "vg/v@t"))
            self.assertIn("t", h.refusal("snapshot", "revert", "vg/v@t"))
            self.assertIn("255", h.refusal("snapshot", "create", "vg/v@" + "x" * 256))
            self.assertTrue(h.ashlar("--dry-run", "snapshot", "delete", "vg/v@s")["would"])
            h.ashlar("volume", "create", "vg/c", "--from", "vg/v")
            self.assertIn("cloned", h.refusal("snapshot", "revert", "vg/v@s"))
            h.ashlar("snapshot", "create", "vg/c@t")
            self.assertIn("snapshots", h.refusal("volume", "flatten", "vg/c"))
            self.assertEqual(self.names(h), ["s"])

    def test_space(self):
        """Each keeps what is overwritten; deleted, the clusters are used again."""
        with Group("256M") as h:
            h.sparse("v", "32M")
            for i in range(4):
                path = h.content("data", pattern(i, size("32M")))
                run("nbdcopy", "--flush", path, h.uri("vg/v"))
                h.ashlar("snapshot", "create", f"vg/v@s{i}")
            used = h.show("v")["used_bytes"]
            self.assertGreater(used, size("128M"))
            for i in range(3):
                h.ashlar("snapshot", "delete", f"vg/v@s{i}")
            h.io("v", "flush")
            h.wait("it is freed", lambda: h.show("v")["used_bytes"] < size("40M"))
            h.holds("v", path)


class Check(unittest.TestCase):
    def damage(self, h, name):
        """Lowers the refcounts of the last clusters in use, and makes another too high; returns what qemu-img says of it."""
        path = h.image(name)
        with open(path, "r+b") as f:
            head = f.read(104)
            bits, table = int.from_bytes(head[20:24], "big"), int.from_bytes(head[48:56], "big")
            f.seek(table)
            block = int.from_bytes(f.read(8), "big")
            f.seek(block)
            counts = bytearray(f.read(1 << bits))
            used = [i for i in range(0, len(counts), 2) if counts[i + 1]]
            counts[used[-1] + 1] = 0
            counts[used[-1] + 3] = 1
            f.seek(block)
            f.write(counts)
        return path

    def test_while_it_is_written(self):
        with Group() as h:
            h.sparse("v", "64M")
            w = Flusher(h.uri("vg/v"), 1, size("64M") // BLOCK)
            t = threading.Thread(target=w.run)
            t.start()
            for _ in range(5):
                time.sleep(0.2)
                found = h.ashlar("volume", "check", "vg/v")
                self.assertTrue(found["clean"], found)
            w.h.shutdown()
            t.join()
            self.assertGreater(len(w.flushed), 20)
            self.assertIn("exported", h.refusal("volume", "check", "vg/v", "--repair"))
            h.ashlar("export", "remove", "vg/v")
            self.assertTrue(h.ashlar("volume", "check", "vg/v", "--repair")["clean"])
            self.assertEqual(h.show("v")["state"], "ok")
            self.assertEqual([j["state"] for j in h.ashlar("job", "list")["jobs"]], ["done"] * 6)
            h.stop()
            h.check("v")
            h.start()

    def test_files(self):
        with Group() as h:
            h.sparse("v", "64M")
            path = h.content("data", pattern(7, size("8M")) + bytes(size("56M")))
            run("nbdcopy", "--flush", path, h.uri("vg/v"))
            h.stop()
            image = self.damage(h, "v")
            h.start()
            found = h.ashlar("volume", "check", "--file", image)
            self.assertFalse(found["clean"])
            self.assertEqual((found["found"]["leak"], found["found"]["refcount"]), (1, 1))
            self.assertIn("leak", [f["fault"] for f in found["findings"]])
            found = h.ashlar("volume", "check", "--file", image, "--repair")
            self.assertTrue(found["clean"])
            run("qemu-img", "check", "-f", "qcow2", image)
            run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", path, image)
            self.assertTrue(h.ashlar("volume", "check", "--file", image)["clean"])
            self.assertIn("PV", h.refusal("volume", "check", "--file", h.pvs[0]))
            self.assertIn("absolute", h.refusal("volume", "check", "--file", "nothing"))
            self.assertIn("qcow2", h.refusal("volume", "check", "--file", path))
            h.ashlar("volume", "create", "vg/raw", "--size", "4M")
            self.assertIn("raw", h.refusal("volume", "check", "vg/raw"))


if __name__ == "__main__":
    unittest.main()
