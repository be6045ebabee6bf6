#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""RAID5 and RAID6 in all layouts go to and fro between us and the kernel's md. In each turn a side finds each array in another of the states
in which the other side may leave one, sees that all is there, makes it whole, writes, and leaves it in a state of its own.

    parity.py [BUILD] [TEST]...         each layout in one state each way
    parity.py [BUILD] --all [TEST]...   in all states each way, and says what was run
"""
import os
import re
import sys
import unittest

ALL = "--all" in sys.argv
sys.argv = [word for word in sys.argv if word != "--all"]
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from host import Host, run, size, vm  # noqa: E402
from kernel import Script, facts, filled, found_as_left  # noqa: E402
from ours import LARGE, Array, Ours, State  # noqa: E402
from pattern import pattern  # noqa: E402


# Many of the odd ones are those after a crash, so that the kernel often writes, and is cut off, where our parity log has something.
OURS = {5: [State("clean"), State("killed", stopped=False), State("lacks 1", 1), State("killed, lacks 1", 1, stopped=False)]}
OURS[6] = OURS[5] + [State("lacks 2", 2), State("killed, lacks 2", 2, stopped=False)]
OURS_LARGE = {5: [State("half", filling=(1,)), State("new", new=True, synced=False)]}
OURS_LARGE[6] = [State("two half", filling=(1, 2)), *OURS_LARGE[5]]
KERNEL = [State("clean"), State("cut", stopped=False), State("half", filling=(1,)), State("cut, lacks 1", 1, stopped=False), State("lacks 1", 1)]
KERNEL = {5: KERNEL + [State("new", new=True, filling=(-1,))],
          6: KERNEL + [State("cut, lacks 2", 2, stopped=False), State("new", new=True, synced=False), State("lacks 2", 2),
                       State("two half", filling=(1, 2))]}

LAYOUTS = ["left-symmetric", "left-asymmetric", "right-symmetric", "right-asymmetric", "parity-first", "parity-last"]
LAYOUTS_6 = [f"{layout}-6" for layout in LAYOUTS[:5]]  # with Q on the last member


def arrays_of(level):
    layouts, chunks = LAYOUTS if level == 5 else LAYOUTS + LAYOUTS_6, ["64K", "16K", "4K"]
    return [Array(f"{level}-{layout}", level, layout, level - 2 + i % 2, chunks[i % 3], "none" if i % 4 == 1 else "internal")
            for i, layout in enumerate(layouts)]


class Parity(unittest.TestCase):
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
        turns = 2 * len(kernel) if ALL else 1
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
                found_as_left(self, a, found, output)
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
