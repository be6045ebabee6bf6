#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Volumes loaded from files and saved to files, compared by qemu-img."""
import hashlib
import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from host import BUILD, Host, run  # noqa: E402
from pattern import pattern  # noqa: E402

MiB = 1 << 20


class Stack(Host):
    """A group over one file, which as a PV needs no array; and files to load."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.ashlar("vg", "create", "vg", self.file("pv", "1G"))

    def volume(self, name, *options):
        self.ashlar("volume", "create", f"vg/{name}", *options)
        return f"vg/{name}"

    def path(self, name):
        return os.path.join(self.dir, name)

    def cloud_image(self):
        """As Debian publishes them: GPT, a file system in its partition, compressed. The disk as it is in cloud.raw."""
        tree = self.path("tree")
        os.makedirs(os.path.join(tree, "etc"))
        with open(os.path.join(tree, "etc", "os-release"), "w") as f:
            f.write("ID=debian\n" * 1000)
        with open(os.path.join(tree, "vmlinuz"), "wb") as f:
            f.write(pattern(1, 5 * MiB))
        part, disk, image = self.file("part", "62M"), self.file("cloud.raw", "64M"), self.path("cloud.qcow2")
        run("mkfs.ext4", "-q", "-d", tree, part)
        run("sfdisk", "-q", disk, input="label: gpt\nstart=2048, size=126976\n")
        run("dd", f"if={part}", f"of={disk}", "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none")
        run("qemu-img", "convert", "-c", "-O", "qcow2", "-f", "raw", disk, image)
        return image

    def patterned(self, name, length):
        path = self.path(name)
        with open(path, "wb") as f:
            f.write(pattern(2, length))
        return path

    def compare(self, target, path, form="qcow2"):
        """With what a guest reads, then without the export again."""
        run("qemu-img", "compare", "-f", "raw", "-F", form, self.uri(target), path)
        self.ashlar("export", "remove", target)

    def jobs(self, kind):
        return [j for j in self.ashlar("job", "list")["jobs"] if j["kind"] == kind]


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


class Raw(unittest.TestCase):
    """Volumes that are raw; subclasses do the same with others."""
    options = []

    def test_there_and_back(self):
        with Stack() as h:
            image, v = h.cloud_image(), h.volume("v", "--size", "100M", *self.options)
            h.ashlar("volume", "load", v, h.patterned("before", 100 * MiB))
            h.ashlar("volume", "load", v, image, "--format", "qcow2", "--verify", "--sha256", sha256(h.path("cloud.raw")))
            h.compare(v, image)
            for form, *options in (("raw",), ("qcow2",), ("qcow2", "--compress"), ("qcow2", "--compress", "--compression", "zstd")):
                saved = h.path("saved" + "".join(options))
                h.ashlar("volume", "save", v, saved, "--format", form, *options)
                if form == "qcow2":
                    run("qemu-img", "check", saved)
                    self.assertEqual(json.loads(run("qemu-img", "info", "--output=json", saved))["virtual-size"], 100 * MiB)
                run("qemu-img", "compare", "-f", form, "-F", "qcow2", saved, image)
                self.assertLess(os.stat(saved).st_blocks * 512, 20 * MiB)  # holes are holes
                os.unlink(saved)
            self.assertEqual([j["state"] for j in h.jobs("load") + h.jobs("save")], ["done"] * 6)

    def test_checksums(self):
        with Stack() as h:
            v, source = h.volume("v", "--size", "20M", *self.options), h.patterned("source", 10 * MiB)
            h.ashlar("volume", "load", v, source, "--sha256", sha256(source).upper())
            self.assertIn("another SHA-256: " + sha256(source), h.refusal("volume", "load", v, source, "--sha256", "0" * 64))
            self.assertIn("is no SHA-256", h.refusal("volume", "load", v, source, "--sha256", "0" * 63))
            h.compare(v, source, "raw")

    def test_refusals(self):
        with Stack() as h:
            v, image = h.volume("v", "--size", "40M", *self.options), h.cloud_image()
            self.assertIn(f"has {64 * MiB} bytes, volume vg/v only {40 * MiB}", h.refusal("volume", "load", v, image, "--format", "qcow2"))
            self.assertIn("begins like a qcow2 image", h.refusal("volume", "load", v, image))
            h.ashlar("volume", "load", v, image, "--format", "raw")
            self.assertIn("not a qcow2", h.refusal("volume", "load", v, h.path("cloud.raw"), "--format", "qcow2"))
            run("qemu-img", "create", "-f", "qcow2", "-b", image, "-F", "qcow2", h.path("over"))
            self.assertIn("lies over another image", h.refusal("volume", "load", v, h.path("over"), "--format", "qcow2"))
            self.assertIn("No such file", h.refusal("volume", "load", v, h.path("none")))
            self.assertIn("there already", h.refusal("volume", "save", v, image))
            self.assertIn("only qcow2 is compressed", h.refusal("volume", "save", v, h.path("new"), "--compress"))
            self.assertIn('no format "vmdk"', h.refusal("volume", "save", v, h.path("new"), "--format", "vmdk"))
            h.ashlar("export", "add", v, "--nbd")
            self.assertIn("is exported", h.refusal("volume", "load", v, h.path("cloud.raw")))
            self.assertIn("is exported", h.refusal("volume", "save", v, h.path("new")))
            self.assertFalse(os.path.exists(h.path("new")))

    def test_dry_run(self):
        with Stack() as h:
            v, source = h.volume("v", "--size", "20M", *self.options), h.patterned("source", 10 * MiB)
            self.assertEqual(h.ashlar("volume", "load", v, source, "--dry-run")["would"], [f"overwrite volume vg/v with the disk in {source}"])
            self.assertEqual(h.ashlar("volume", "save", v, h.path("new"), "--dry-run")["would"], [f"write volume vg/v to {h.path('new')}"])
            self.assertFalse(os.path.exists(h.path("new")))
            self.assertIn("there already", h.refusal("volume", "save", v, source, "--dry-run"))
            h.compare(v, h.file("zeros", "20M"), "raw")

    def test_cancelled(self):
        """The volume is free again, and of the file nothing is left; what is under way ends with the daemon."""
        with Stack() as h:
            v, source = h.volume("v", "--size", "400M", *self.options), h.patterned("source", 8 * MiB)
            with open(source, "r+b") as f:
                part = f.read()
                for _ in range(40):
                    f.write(part)
            save = ("save", v, h.path("new"), "--format", "qcow2", "--compress")
            for start in (("load", v, source), save):
                job = h.ashlar("volume", *start, "--no-wait")["job"]
                h.ashlar("job", "pause", job)
                for refused in (("remove", v), ("load", v, source)):
                    self.assertRegex(h.refusal("volume", *refused), "in use|a job is at work on")
                h.ashlar("job", "cancel", job)
                self.assertEqual(h.wait("cancelled", lambda: (j := h.ashlar("job", "show", job))["state"] == "cancelled" and j)["error"], None)
                h.ashlar("volume", "load", v, source)
            self.assertFalse(os.path.exists(h.path("new")))
            h.ashlar("job", "pause", h.ashlar("volume", *save, "--no-wait")["job"])
            h.restart()
            self.assertFalse(os.path.exists(h.path("new")))

    def test_relative_path(self):
        with Stack() as h:
            v = h.volume("v", "--size", "8M", *self.options)
            subprocess.run([os.path.join(BUILD, "cli", "ashlar"), "--socket", h.socket, "volume", "save", v, "here"], cwd=h.dir, check=True)
            self.assertEqual(os.path.getsize(h.path("here")), 8 * MiB)


class Sparse(Raw):
    options = ["--format", "sparse"]

    def test_compressed(self):
        """A whole new image in the place of the old one; what is written later is not compressed."""
        with Stack() as h:
            image, v = h.cloud_image(), h.volume("v", "--size", "100M", *self.options)
            h.ashlar("volume", "load", v, h.patterned("before", 50 * MiB))
            for options in ((), ("--compression", "zstd")):
                h.ashlar("volume", "load", v, image, "--format", "qcow2", "--compress", "--verify", "--sha256", sha256(h.path("cloud.raw")), *options)
                h.compare(v, image)
            self.assertIn("another SHA-256", h.refusal("volume", "load", v, image, "--format", "qcow2", "--compress", "--sha256", "0" * 64))
            run("nbdcopy", "--flush", h.path("cloud.raw"), h.uri(v))
            h.compare(v, image)
            h.restart()
            h.compare(v, image)
            self.assertEqual(set(h.ashlar("volume", "check", v)["found"].values()), {0})

    def test_compressed_is_small(self):
        with Stack() as h:
            v, w, text = h.volume("v", "--size", "300M", *self.options), h.volume("w", "--size", "300M", *self.options), h.path("text")
            with open(text, "w") as f:
                f.writelines(f"line {i} of many\n" for i in range(10 << 20))
            h.ashlar("volume", "load", v, text)
            h.ashlar("volume", "load", w, text, "--compress", "--compression", "zstd")
            used = [h.ashlar("volume", "show", x)["used_bytes"] for x in (v, w)]
            self.assertLess(used[1] * 2, used[0])

    def test_compressed_not_finished(self):
        """Cancelled, or cut off by kill -9: what was there before is there."""
        with Stack() as h:
            v, before, source = h.volume("v", "--size", "200M", *self.options), h.patterned("before", 4 * MiB), h.path("source")
            with open(before, "rb") as f, open(source, "wb") as g:
                g.write(f.read() * 40)
            h.ashlar("volume", "load", v, before)
            job = h.ashlar("volume", "load", v, source, "--compress", "--no-wait")["job"]
            h.ashlar("job", "pause", job)
            self.assertEqual(h.ashlar("volume", "show", v)["unusable_reason"], "it is being loaded")
            for refused in (("volume", "remove", v), ("volume", "resize", v, "+8M"), ("export", "add", v, "--nbd")):
                self.assertRegex(h.refusal(*refused), "a job is at work on|it is being loaded")
            h.ashlar("job", "cancel", job)
            h.wait("cancelled", lambda: h.ashlar("job", "show", job)["state"] == "cancelled")
            h.compare(v, before, "raw")
            for end in (h.kill, h.stop):
                h.ashlar("job", "pause", h.ashlar("volume", "load", v, source, "--compress", "--no-wait")["job"])
                end()
                h.start()
                h.compare(v, before, "raw")

    def test_clones(self):
        with Stack() as h:
            v, source = h.volume("v", "--size", "40M", *self.options), h.patterned("source", 20 * MiB)
            h.ashlar("volume", "load", v, source)
            h.ashlar("volume", "create", "vg/c", "--from", v)
            self.assertIn("was cloned from", h.refusal("volume", "load", v, source))
            self.assertIn("is a clone", h.refusal("volume", "load", "vg/c", source, "--compress"))
            for name in (v, "vg/c"):
                h.ashlar("volume", "save", name, h.path("saved"), "--format", "qcow2")
                run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", h.path("saved"), source)
                os.unlink(h.path("saved"))

    def test_snapshot(self):
        """Saved while a guest overwrites the volume."""
        with Stack() as h:
            v, source = h.volume("v", "--size", "64M", *self.options), h.patterned("source", 64 * MiB)
            h.ashlar("volume", "load", v, source)
            h.ashlar("snapshot", "create", v + "@then")
            uri = h.uri(v)
            guest = subprocess.Popen(["nbdcopy", "--flush", h.cloud_image()[:-len("qcow2")] + "raw", uri])
            h.ashlar("volume", "save", v + "@then", h.path("saved"), "--format", "qcow2")
            self.assertEqual(guest.wait(60), 0)
            run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", h.path("saved"), source)
            h.compare(v, h.path("cloud.raw"), "raw")
            self.assertIn("there is no snapshot before", h.refusal("volume", "save", v + "@before", h.path("new")))
            self.assertIn("has snapshots", h.refusal("volume", "load", v, source, "--compress"))


if __name__ == "__main__":
    unittest.main()
