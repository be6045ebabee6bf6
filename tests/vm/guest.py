#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest whose root file system is a volume of ours, served by NBD; a member fails while the guest writes."""
import os
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from host import ROOT, Host, run  # noqa: E402


def root_image(h):
    """An ext4 image of the test machine's own tools, with a free half."""
    cache = os.path.join(ROOT, ".cache", "vm")
    run(os.path.join(ROOT, "tests", "vm", "make-initramfs"), cache)
    tree = os.path.join(h.dir, "tree")
    os.mkdir(tree)
    with open(os.path.join(cache, "initramfs.cpio")) as cpio:
        subprocess.run(["cpio", "-idm", "--quiet"], cwd=tree, stdin=cpio, check=True)
    image = h.file("root.img", "96M")
    run("/usr/sbin/mke2fs", "-q", "-t", "ext4", "-d", tree, image)
    return image


class Guest(unittest.TestCase):
    def test_root_on_a_volume_while_a_member_fails(self):
        with Host() as h:
            m = h.members(5, "100M")
            h.ashlar("array", "create", "a0", "--level", 10, "--spare", m[4], *m[:4])
            h.ashlar("vg", "create", "vg0", "a0")
            h.ashlar("volume", "create", "vg0/root", "--size", "100M")
            run("nbdcopy", root_image(h), h.uri("vg0/root"))
            path, name = h.nbd("vg0/root")
            fail = threading.Thread(target=self.fail_when_connected, args=(h, m[0]))
            fail.start()
            out = run(os.path.join(ROOT, "tests", "vm", "vm"), "-r", "-t", "240", "-n", path, name, "--", """
                set -e
                grep -q ' / ext4 rw' /proc/mounts
                mkdir /work
                for i in $(seq 40); do dd if=/usr/bin/bash of=/work/$i bs=64k 2>/dev/null; [ $((i % 10)) = 0 ] && sync; done
                cd /work; sync; for i in $(seq 40); do cmp /usr/bin/bash $i; done
                echo written""", timeout=400)
            fail.join()
            self.assertIn("written", out)
            h.wait_idle("a0")
            states = {x["path"]: x["state"] for x in h.array("a0")["members"]}
            self.assertEqual((states[m[0]], states[m[4]]), ("faulty", "in-sync"))
            back = os.path.join(h.dir, "back")
            run("nbdcopy", h.uri("vg0/root"), back)
            run("/usr/sbin/e2fsck", "-fn", back)
            listing = run("/usr/sbin/debugfs", "-R", "ls -p /work", back)
            self.assertEqual(sum(line.split("/")[5].isdigit() for line in listing.splitlines() if line.count("/") > 5), 40)

    def fail_when_connected(self, h, member):
        """Once the guest has written for a while."""
        h.wait("the guest's connection", lambda: any(e["clients"] for e in h.ashlar("export", "list")["exports"]))
        time.sleep(8)
        h.ashlar("array", "fail", "a0", member)


if __name__ == "__main__":
    unittest.main()
