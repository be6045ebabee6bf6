#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An image as Debian publishes them, made here: loaded into sparse volumes it boots, and what is saved boots too."""
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from host import ROOT, Host, run  # noqa: E402


def cloud_image(h):
    """GPT, an ext4 root in its partition, compressed."""
    cache = os.path.join(ROOT, ".cache", "vm")
    run(os.path.join(ROOT, "tests", "vm", "make-initramfs"), cache)
    tree, disk, image = os.path.join(h.dir, "tree"), h.file("disk", "98M"), os.path.join(h.dir, "cloud.qcow2")
    os.mkdir(tree)
    with open(os.path.join(cache, "initramfs.cpio")) as cpio:
        subprocess.run(["cpio", "-idm", "--quiet"], cwd=tree, stdin=cpio, check=True)
    run("/usr/sbin/sfdisk", "-q", disk, input="label: gpt\nstart=2048, size=196608\n")
    run("/usr/sbin/mke2fs", "-q", "-t", "ext4", "-E", "offset=1048576", "-d", tree, disk, "96M")
    run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", disk, image)
    return image


def boot(disk, script):
    return run(os.path.join(ROOT, "tests", "vm", "vm"), "-r", "-t", "240", *disk, "--",
               "set -e\ngrep -q '^/dev/vda1 / ext4 rw' /proc/mounts\n" + script, timeout=400)


class Cloud(unittest.TestCase):
    def test_loads_and_boots(self):
        with Host() as h:
            h.ashlar("vg", "create", "vg", h.file("pv", "1G"))
            image, saved = cloud_image(h), os.path.join(h.dir, "saved")
            for name, options in (("plain", []), ("packed", ["--compress", "--compression", "zstd"])):
                v = f"vg/{name}"
                h.ashlar("volume", "create", v, "--size", "200M", "--format", "sparse")
                h.ashlar("volume", "load", v, image, "--format", "qcow2", "--verify", *options)
                self.assertIn("written", boot(["-n", *h.nbd(v)], "cp /usr/bin/bash /copy; sync; cmp /usr/bin/bash /copy; echo written"))
                h.ashlar("export", "remove", v)
                self.assertTrue(h.ashlar("volume", "check", v)["clean"])
            h.ashlar("volume", "save", "vg/packed", saved, "--format", "qcow2", "--compress")
            run("qemu-img", "check", saved)
            self.assertIn("there", boot(["-q", saved], "cmp /usr/bin/bash /copy; echo there"))


if __name__ == "__main__":
    unittest.main()
