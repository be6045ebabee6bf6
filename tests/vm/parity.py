#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""RAID5 and RAID6 in all layouts go to and fro between us and the kernel's md. In each turn a side finds each array in another of the states
in which the other side may leave one, sees that all is there, makes it whole, writes, and leaves it in a state of its own.

    parity.py [BUILD] [TEST]...         each layout in two states each way
    parity.py [BUILD] --all [TEST]...   in all states each way, and says what was run
"""
import hashlib
import os
import re
import sys
import threading
import unittest
from dataclasses import dataclass, field

import nbd

ALL = "--all" in sys.argv
sys.argv = [word for word in sys.argv if word != "--all"]
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from host import Host, run, size, vm  # noqa: E402
from kernel import Script, facts, filled  # noqa: E402
from pattern import pattern  # noqa: E402


@dataclass(frozen=True)
class State:
    """In which a side leaves an array."""
    name: str
    lacking: int = 0      # members that had failed before the last writes
    stopped: bool = True  # else the daemon was killed, or the power cut
    new: bool = False     # just created
    filling: tuple = ()   # numbers of members that are being filled
    synced: bool = True   # as its superblocks say

    @property
    def unsure(self):
        """Not stopped cleanly, with members missing."""
        return self.lacking > 0 and not self.stopped


# Many of the odd ones are those after a crash, so that the kernel often writes, and is cut off, where our parity log has something.
OURS = {5: [State("clean"), State("killed", stopped=False), State("lacks 1", 1), State("killed, lacks 1", 1, stopped=False)]}
OURS[6] = OURS[5] + [State("lacks 2", 2), State("killed, lacks 2", 2, stopped=False)]
OURS_LARGE = {5: [State("half", filling=(1,)), State("new", new=True, synced=False)]}
OURS_LARGE[6] = [State("two half", filling=(1, 2)), *OURS_LARGE[5]]
KERNEL = [State("clean"), State("cut", stopped=False), State("half", filling=(1,)), State("cut, lacks 1", 1, stopped=False), State("lacks 1", 1)]
KERNEL = {5: KERNEL + [State("new", new=True, filling=(-1,))],
          6: KERNEL + [State("cut, lacks 2", 2, stopped=False), State("new", new=True, synced=False), State("lacks 2", 2),
                       State("two half", filling=(1, 2))]}

LARGE = "80M"  # members for OURS_LARGE
LAYOUTS = ["left-symmetric", "left-asymmetric", "right-symmetric", "right-asymmetric", "parity-first", "parity-last"]
LAYOUTS_6 = [f"{layout}-6" for layout in LAYOUTS[:5]]  # with Q on the last member


@dataclass
class Array:
    name: str
    level: int
    layout: str
    count: int
    chunk: str
    bitmap: str = "internal"  # where the kernel creates it
    members: list = field(default_factory=list)
    stretches: list = field(default_factory=list)  # (offset, data): what is compared, in whole MiB
    found: State = None  # as the other side has left it; None: not created yet
    left: State = None   # as this side is to leave it; None: it is not to go on
    anew: bool = False   # to be created again by the kernel before
    block: int = 0       # where in the source the kernel takes data from
    created: int = 0     # so often by the kernel

    @property
    def ours(self):
        """What we call it: a new array cannot have the name of one that we know."""
        return f"{self.name}.{self.created}"

    def sha256(self):
        return hashlib.sha256(b"".join(data for _, data in self.stretches)).hexdigest()


def arrays_of(level):
    layouts, chunks = LAYOUTS if level == 5 else LAYOUTS + LAYOUTS_6, ["64K", "16K", "4K"]
    return [Array(f"{level}-{layout}", level, layout, level - 2 + i % 2 * (level == 6), chunks[i % 3], "none" if i % 4 == 1 else "internal")
            for i, layout in enumerate(layouts)]


class Reader(threading.Thread):
    """A guest that reads all the time: recovery leaves it room, and so takes a while."""

    def __init__(self, guest):
        super().__init__()
        self.guest, self.done = guest, False

    def run(self):
        while not self.done:
            self.guest.pread(4096, 0)

    def end(self):
        self.done = True
        self.join()
        self.guest.shutdown()


class Ours:
    """What we do to arrays in a turn."""

    def __init__(self, test, host):
        self.test, self.h = test, host

    def guest(self, a):
        guest = nbd.NBD()
        guest.connect_uri(self.h.uri(a.ours))
        return guest

    def read(self, a):
        guest, step, parts = self.guest(a), size("4M"), []
        for offset, data in a.stretches:
            parts += [guest.pread(min(step, offset + len(data) - at), at) for at in range(offset, offset + len(data), step)]
        guest.shutdown()
        return hashlib.sha256(b"".join(parts)).hexdigest()

    def size_bytes(self, a):
        return self.h.array(a.ours)["size_bytes"]

    def create(self, a):
        self.h.ashlar("array", "create", a.ours, "--level", a.level, "--layout", a.layout, "--chunk", a.chunk, *a.members)

    def sync(self, a):
        self.h.wait_idle(a.ours)
        self.h.ashlar("array", "sync", a.ours)

    def write(self, a, seed, stretches=None):
        """All of it, or what stands in (offset, length) pairs."""
        guest, step = self.guest(a), size("1M")
        a.stretches = [(at, bytearray(pattern(seed, length, at))) for at, length in stretches or [(0, self.size_bytes(a))]]
        for offset, data in a.stretches:
            for at in range(0, len(data), step):
                guest.pwrite(data[at:at + step], offset + at)
        guest.flush()
        return guest

    def write_parts(self, a, guest, seed):
        """Of stripes, in the first MiB: what the parity log is for."""
        data = a.stretches[0][1]
        for at in range(4096, size("1M"), 20480):
            data[at:at + 4096] = pattern(seed, 4096, at)
            guest.pwrite(data[at:at + 4096], at)

    def write_until_killed(self, a, guest):
        """The same again, until the daemon is gone; so it is killed in the midst of that."""
        data = bytes(a.stretches[0][1][4096:8192])
        try:
            while True:
                guest.pwrite(data, 4096)
        except nbd.Error:
            pass

    def take(self, a, running):
        """The array as the kernel has left it: what it held is there; then all members are."""
        words = ["array", "assemble", a.ours, *a.members]
        if a.found.unsure:
            self.test.assertIn("force", self.h.refusal(*words))
            words.insert(2, "--force")
        if a.found.unsure or a.ours not in running:
            self.h.ashlar(*words)
        self.test.assertEqual(self.read(a), a.sha256())
        for m in [m["path"] for m in self.h.array(a.ours)["members"] if m["state"] in ("faulty", "stale")]:
            self.h.ashlar("array", "remove", a.ours, m)
        there = [m["path"] for m in self.h.array(a.ours)["members"]]
        for m in [m for m in a.members if m not in there]:
            self.h.ashlar("array", "add", a.ours, m)
        self.h.wait(f"{a.ours} whole", lambda: self.h.array(a.ours)["state"] in ("clean", "active"))
        self.sync(a)
        self.h.ashlar("array", "check", a.ours)
        self.test.assertEqual(self.h.array(a.ours)["sync"]["mismatch_bytes"], 0)
        self.test.assertEqual(self.read(a), a.sha256())

    def stop(self, a):
        self.h.ashlar("export", "remove", a.ours)
        self.h.ashlar("array", "stop", a.ours)

    def leave(self, arrays, seed):
        writers = []
        for a in arrays:
            if not a.found:
                self.create(a)
                self.sync(a)
            for m in a.members[1:1 + a.left.lacking]:
                self.h.ashlar("array", "fail", a.ours, m)
            guest = self.write(a, seed)
            self.write_parts(a, guest, seed + 1)
            if a.left.stopped:
                guest.shutdown()
                self.stop(a)
            else:
                writers.append(threading.Thread(target=self.write_until_killed, args=(a, guest)))
                writers[-1].start()
        self.h.kill()
        for w in writers:
            w.join()

    def recovery_paused(self, a):
        """Once some of it is done."""
        for job in self.h.ashlar("job", "list")["jobs"]:
            if (job["target"], job["kind"], job["state"]) == (a.ours, "recovery", "running") and job["done_bytes"] > size("16M"):
                return self.h.ashlar("job", "pause", job["id"])
        return None

    def leave_half(self, a):
        """With new members, filled so far."""
        for number in a.left.filling:
            self.h.ashlar("array", "fail", a.ours, a.members[number])
            a.members[number] = self.h.file(os.path.basename(a.members[number]) + ".new", LARGE)
        guest = Reader(self.guest(a))
        guest.start()
        for number in a.left.filling:
            self.h.ashlar("--no-wait", "array", "add", a.ours, a.members[number])
        self.h.wait("half of it recovered", lambda: self.recovery_paused(a))
        guest.end()
        self.stop(a)

    def leave_large(self, a, seed):
        """Half recovered, or new and used in the first MiB only: the bitmap says that the rest was never synced."""
        self.create(a)
        step, part = size("8M"), size("1M")
        offsets = [0] if a.left.new else range(0, self.size_bytes(a) - part, step)
        self.write(a, seed, [(offset, part) for offset in offsets]).shutdown()
        if a.left.new:
            self.stop(a)
        else:
            self.sync(a)
            self.leave_half(a)


class Parity(unittest.TestCase):
    def found_by_kernel(self, a, found, output):
        f = found.get(a.name, {})
        self.assertEqual(f.get("refused", "no"), "yes" if a.found.unsure else "no", output)
        self.assertEqual((f.get("level"), f.get("layout"), f.get("chunk")), (f"raid{a.level}", a.layout, a.chunk), output)
        self.assertEqual((f["degraded"], f["mismatch"], f["sha256"]), (str(a.found.lacking), "0", a.sha256()), output)
        self.assertEqual("degraded" in f["state"], a.found.lacking > 0, output)

    def examined(self, a):
        """What mdadm says of the superblocks of one that has been left."""
        text = run("/sbin/mdadm", "--examine", a.members[0])
        clean = a.left.stopped and a.left.synced
        for what, value in (("Raid Level", f"raid{a.level}"), ("Layout", a.layout), ("Chunk Size", a.chunk), ("Raid Devices", a.count),
                            ("State", "clean" if clean else "active")):
            self.assertRegex(text, rf"(?m)^ *{what} : {value}$")
        there = re.search(r"Array State : ([A.]+) ", text)[1]
        self.assertEqual((len(there), there.count(".")), (a.count, a.left.lacking), text)
        filled = [m for m in a.members if re.search(r"Recovery Offset : [1-9]\d* sectors", run("/sbin/mdadm", "--examine", m))]
        self.assertEqual(len(filled), len(a.left.filling))

    def to_and_fro(self, level):
        ours, kernel, arrays = OURS[level], KERNEL[level], arrays_of(level)
        turns = 2 * len(kernel) if ALL else 2
        with Host() as h:
            side = Ours(self, h)
            for a in arrays:
                a.members = h.members(a.count, "4M", prefix=a.name + ".")
            for turn in range(turns):
                for i, a in enumerate(arrays):
                    a.found, a.left = a.left, ours[(i + turn) % len(ours)]
                self.our_turn(side, arrays, turn)
                for i, a in enumerate(arrays):
                    a.found, a.left, a.block = a.left, kernel[(i + turn) % len(kernel)], 16 * turn + i
                    a.anew = a.left.new or (i + turn + turn // len(kernel)) % 2 == 0
                    a.created += a.anew
                self.kernels_turn(h, arrays)
            for a in arrays:
                a.found, a.left = a.left, None
            self.our_turn(side, arrays, turns)

    def our_turn(self, side, arrays, turn):
        if turn:
            side.h.start()
            running = [a["name"] for a in side.h.ashlar("array", "list")["arrays"]]
        for a in arrays if turn else []:
            with self.subTest(array=a.name, kernel=a.found.name, turn=turn):
                side.take(a, running)
                RAN.add((a.name, "the kernel", a.found.name))
        if arrays[0].left:
            side.leave(arrays, 10 * turn)
            self.examine(arrays)

    def kernels_turn(self, h, arrays):
        source, whole = h.file("source", 0), pattern(0, size("24M"))
        with open(source, "wb") as f:
            f.write(whole)
        script = Script(arrays)
        output = vm(script.text, script.disks + [source], timeout=600)
        found = facts(output)
        for a in arrays:
            with self.subTest(array=a.name, ours=a.found.name):
                self.found_by_kernel(a, found, output)
                RAN.add((a.name, "us", a.found.name))
            if a.left:
                a.stretches = [(0, filled(whole, a.block, int(found[a.name]["bytes"])))]
        self.examine([a for a in arrays if a.left])

    def examine(self, arrays):
        for a in arrays:
            with self.subTest(examined=a.name, left=a.left.name):
                self.examined(a)

    def test_raid5(self):
        self.to_and_fro(5)

    def test_raid6(self):
        self.to_and_fro(6)

    def large(self, arrays, shift):
        with Host() as h:
            side = Ours(self, h)
            for i, a in enumerate(arrays):
                states = OURS_LARGE[a.level]
                a.members, a.left = h.members(a.count, LARGE, prefix=a.name + "."), states[(i + shift) % len(states)]
                side.leave_large(a, i)
            h.stop()
            self.examine(arrays)
            for a in arrays:
                a.found, a.left = a.left, None
            self.kernels_turn(h, arrays)

    def test_large(self):
        """With members that take a while to fill, and more than one bit in the bitmap, for what was never synced."""
        if ALL:
            for level in (5, 6):
                for shift in range(len(OURS_LARGE[level])):
                    self.large(arrays_of(level), shift)
        else:
            self.large(arrays_of(5)[:2] + arrays_of(6)[1:4], 0)


RAN = set()  # (array, who has left it so, state)


def print_ran():
    for side in ("us", "the kernel"):
        states = sorted({state for _, by, state in RAN if by == side})
        print(f"left by {side}: {'; '.join(states)}")
        for array in sorted({array for array, by, _ in RAN if by == side}):
            print(f"  {array:22} " + " ".join("ok" if (array, side, state) in RAN else "--" for state in states))


if __name__ == "__main__":
    result = unittest.main(exit=False).result
    if ALL:
        print_ran()
    sys.exit(not result.wasSuccessful())
