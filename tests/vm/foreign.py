#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""RAID5 and RAID6 of the kernel's that are not like those we make: refused by name and left alone, or run and handed back."""
import hashlib
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from host import Host, run, size, vm  # noqa: E402
from kernel import FUNCTIONS, Script, facts, filled, found_as_left  # noqa: E402
from ours import Array, Ours, State  # noqa: E402
from pattern import pattern  # noqa: E402

# name, disks, how it is made ({md}, and {d[0]} ... the disks), what the refusal says
REFUSED = [
    ("ppl", 3, "create /dev/{md} --level=5 --raid-devices=3 --consistency-policy=ppl {d[0]} {d[1]} {d[2]}", "partial parity log"),
    ("journal", 4, "create /dev/{md} --level=5 --raid-devices=3 --write-journal {d[3]} {d[0]} {d[1]} {d[2]}", "journal"),
    ("reshape", 4, "create /dev/{md} --level=5 --raid-devices=3 --chunk=64K --bitmap=none {d[0]} {d[1]} {d[2]}; reshape {md} {d[3]}", "reshape"),
    ("bad-blocks", 4, "create /dev/{md} --level=6 --raid-devices=4 {d[0]} {d[1]} {d[2]} {d[3]}\n"
     "echo 1000 8 >/sys/block/{md}/md/rd1/bad_blocks; fill {md} /dev/SOURCE 0", "bad blocks"),
    ("raid4", 3, "create /dev/{md} --level=4 --raid-devices=3 {d[0]} {d[1]} {d[2]}", "raid4"),
    ("ddf", 4, "create /dev/{md} --level=6 --layout=ddf-N-restart --raid-devices=4 {d[0]} {d[1]} {d[2]} {d[3]}", "ddf-N-restart"),
    ("0.90", 3, "create /dev/{md} --metadata=0.90 --level=5 --raid-devices=3 {d[0]} {d[1]} {d[2]}", "0.90"),
]
# the array, how long its disks are, how it is made
RUN = [
    (Array("spare", 6, "left-symmetric", 4, "64K"), ["4M"] * 5, "--spare-devices=1 {d[0]} {d[1]} {d[2]} {d[3]} {d[4]}"),
    (Array("large-chunk", 5, "left-asymmetric", 3, "4096K"), ["24M"] * 3, "{d[0]} {d[1]} {d[2]}"),
    (Array("missing", 6, "right-symmetric", 4, "64K"), ["4M"] * 3, "{d[0]} missing {d[1]} {d[2]}"),
    (Array("blocks-5", 5, "left-symmetric", 3, "4K"), ["4M"] * 3, "{d[0]} {d[1]} {d[2]}"),
    (Array("blocks-6", 6, "left-symmetric", 4, "64K"), ["4M"] * 4, "{d[0]} {d[1]} {d[2]} {d[3]}"),
]
CREATE = r"""
create() { mdadm --create "$@" --run --assume-clean --name=${1#/dev/} >/dev/null || exit 1; }
reshape() { # MD DISK: gets another member, slowly
    mdadm /dev/$1 --add $2 && set_speed 100 100 && mdadm --grow /dev/$1 --raid-devices=4 --backup-file=/run/backup || exit 1
    sleep 1
}
"""


class Foreign(unittest.TestCase):
    def make(self, h):
        """Returns the members of those to be refused."""
        refused, disks, script = {}, [], FUNCTIONS + CREATE
        source, whole = h.file("source", 0), pattern(0, size("24M"))
        with open(source, "wb") as f:
            f.write(whole)

        def add(name, files, line):
            nonlocal script
            words = [f"/dev/d{len(disks) + i}" for i in range(len(files))]
            disks.extend(files)
            script += line.format(md=f"md{len(disks)}", d=words, name=name) + "\n"

        for a, lengths, words in RUN:
            a.members = [h.file(f"{a.name}.{i}", length) for i, length in enumerate(lengths)]
            add(a.name, a.members, f"create /dev/{{md}} --level={a.level} --layout={a.layout} --chunk={a.chunk} --raid-devices={a.count} "
                f"--bitmap=internal {words}\nfill {{md}} /dev/SOURCE 0\necho {{name}} bytes $(blockdev --getsize64 /dev/{{md}})")
        for name, count, line, _ in REFUSED:
            refused[name] = h.members(count, "4M", prefix=f"{name}.")
            add(name, refused[name], line)
        script += "for md in /dev/md[0-9]*; do mdadm --stop $md || exit 1; done\n"
        found = facts(vm(script.replace("SOURCE", f"d{len(disks)}"), disks + [source], blocks_4k=self.blocks_4k()))
        for a, *_ in RUN:
            a.stretches = [(0, filled(whole, 0, int(found[a.name]["bytes"])))]
            a.found = State("clean")
        return refused

    @staticmethod
    def blocks_4k():
        return [m for a, *_ in RUN if a.name.startswith("blocks") for m in a.members]

    def test_foreign(self):
        with Host() as h:
            refused = self.make(h)
            for name, _, _, reason in REFUSED:
                with self.subTest(refused=name):
                    self.refuse(h, name, refused[name], reason)
            for a, *_ in RUN:
                with self.subTest(array=a.name):
                    self.run_it(h, Ours(self, h), a)
            h.stop()
            arrays = [a for a, *_ in RUN]
            script = Script(arrays)
            output = vm(script.text, script.disks, blocks_4k=self.blocks_4k())
            for a in arrays:
                with self.subTest(handed_back=a.name):
                    found_as_left(self, a, facts(output), output)

    def refuse(self, h, name, members, reason):
        def content():
            return [hashlib.sha256(open(m, "rb").read()).hexdigest() for m in members]

        before = content()
        self.assertIn(reason, h.refusal("array", "assemble", name, *members))
        self.assertEqual(h.ashlar("scan", "--force", *members)["arrays"], [])
        self.assertEqual(content(), before)

    def run_it(self, h, ours, a):
        """On loop devices where the kernel had disks with blocks of 4096 bytes."""
        files, loops = a.members, []
        try:
            if a.name.startswith("blocks"):
                loops = [run("/sbin/losetup", "-f", "--show", "--sector-size", "4096", m).strip() for m in files]
                a.members = loops
            self.exercise(h, ours, a)
        finally:
            for loop in loops:
                run("/sbin/losetup", "-d", loop)
            if loops:
                a.members = files

    def exercise(self, h, ours, a):
        if a.name == "missing":
            h.ashlar("array", "assemble", a.ours, *a.members)
            self.assertEqual(ours.read(a), a.sha256())
            a.members.append(h.file("missing.new", "4M"))
        ours.take(a, [a["name"] for a in h.ashlar("array", "list")["arrays"]])
        h.ashlar("array", "fail", a.ours, a.members[1])
        if a.name != "spare":
            ours.write(a, 1).shutdown()
        ours.make_whole(a)
        guest = ours.write(a, 2)
        ours.write_parts(a, guest, 3)
        guest.shutdown()
        self.assertEqual(ours.read(a), a.sha256())
        ours.stop(a)


if __name__ == "__main__":
    unittest.main()
