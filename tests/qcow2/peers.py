#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""qcow2 images in turns: ours (qcow2_tool) and QEMU's programs read and write the same image, held against a model after every turn.

    peers.py [BUILD] [--seed N] [--time SECONDS] [--case NAME] [--count N] [--keep]

Cases come one after the other, each with its own seed, from --seed on, until the time is over. A failure tells its case and seed, with which
it is run again. --keep leaves its files.
"""
import argparse
import errno
import itertools
import os
import random
import shutil
import sys
import tempfile
import time
import traceback

import images
from images import HOLE, SECTOR, TOOL, ZERO, Error, Model, Tool, check, crashed, crc, create, info, pad, peer, peer_fails, stamped

KIB, MIB = 1 << 10, 1 << 20


def choose_options(r, writable=True):
    """Of `qemu-img create`, each combination that it takes."""
    o = {"cluster_size": r.choice([512, 1024, 4096, 16384, 65536, 65536, 131072, 2 * MIB])}
    if not writable:
        o["compat"] = "0.10"
        return o
    o["compat"] = "1.1"
    if o["cluster_size"] >= 16384 and r.random() < 0.5:
        o["extended_l2"] = "on"
    if r.random() < 0.5:
        o["lazy_refcounts"] = "on"
    if r.random() < 0.6:
        o["refcount_bits"] = r.choice([1, 2, 4, 8, 16, 32, 64])
    o["compression_type"] = r.choice(["zlib", "zstd"])
    if r.random() < 0.3:
        o["preallocation"] = r.choice(["metadata", "falloc", "full"])
    return o


def choose_size(r, cluster):
    """A few L2 tables where that is not too much; not only whole clusters."""
    return SECTOR * r.randint(1, min(24 * MIB, max(64 * cluster, r.choice([2, 2, 10]) * MIB)) // SECTOR)


class Image:
    """An image, its backing chain, and the model of what a guest reads."""

    def __init__(self, r, directory, options=None, backing=True):
        self.r, self.dir = r, directory
        self.options = options or choose_options(r)
        self.path = os.path.join(directory, "image.qcow2")
        self.cluster = self.options["cluster_size"]
        size = choose_size(r, self.cluster)
        self.chain, below = [], b""
        if backing and r.random() < 0.4 and ("preallocation" not in self.options or "extended_l2" in self.options):
            below = self.make_chain(size)
        first = self.chain[0].split(":", 1) if self.chain else None
        create(self.path, size, first, **self.options)
        self.model = Model(os.path.join(directory, "model.raw"), size)
        self.model.put(0, below[:size])
        self.snapshots = {}
        self.stamp = r.randrange(1 << 40, 1 << 41)  # no operation of `parallel`'s

    def make_chain(self, size):
        """One to three images below, shorter and longer than the one above; returns what they show."""
        r, below = self.r, b""
        for i in range(r.randint(1, 3)):
            path = os.path.join(self.dir, f"base{i}")
            n = max(SECTOR, min(24 * MIB, int(size * r.choice([0.3, 0.9, 1, 1.4])) // SECTOR * SECTOR))
            fmt = "qcow2" if i else r.choice(["raw", "qcow2"])
            if fmt == "raw":
                below = b"".join(bytes([r.randrange(256)]) * (64 * KIB) for _ in range(n // (64 * KIB) + 1))[:n]
                with open(path, "wb") as f:
                    f.write(below)
            else:
                create(path, n, self.chain[0].split(":", 1) if self.chain else None, cluster_size=r.choice([4096, 65536]))
                shown = bytearray(below[:n].ljust(n, b"\0"))
                commands = []
                for _ in range(r.randint(1, 6)):
                    offset, length = self.span(n)
                    byte = r.randrange(1, 256)
                    commands += ["-c", f"write -P {byte} {offset} {length}"]
                    shown[offset:offset + length] = bytes([byte]) * length
                peer("qemu-io", "-f", "qcow2", *commands, path)
                below = bytes(shown)
            pad(path)
            self.chain.insert(0, f"{fmt}:{path}")
        return below

    def span(self, size=None):
        """Offset and length: small ones, whole clusters, many clusters, ends that meet others'."""
        r, size = self.r, size or self.model.size
        unit = r.choice([SECTOR, 4096, self.cluster, max(SECTOR, self.cluster // 32)])
        length = min(size, unit * r.choice([1, 1, 2, 3, r.randint(1, 40)]), 8 * MIB)
        offset = r.randrange(size - length + SECTOR) // unit * unit
        return offset, min(length, size - offset)

    # Turns.

    def ours(self, operations, options=()):
        r = self.r
        if not options:
            options = [w for w, p in (("-d", 0.5),) if r.random() < p]
            options += r.choice([(), ("-m", "1"), ("-a", "65536"), ("-a", str(16 * MIB))])
        pad(self.path)
        with Tool(self.path, self.chain, options) as t:
            for _ in range(operations):
                self.one_of_ours(t)
            if r.random() < 0.5:
                self.read_all(t)

    def one_of_ours(self, t):
        r, (offset, length) = self.r, self.span()
        kind = r.choices(["read", "write", "zero", "discard", "flush", "snapshot", "resize", "compact", "parallel"], [5, 8, 3, 3, 1, 0.7, 0.2, 0.2, 0.4])[0]
        if kind == "read":
            self.read(t, offset, length)
        elif kind == "write":
            self.stamp += 1
            t("write", offset, length, self.stamp, *r.choice([(), (), ("fua",)]))
            self.model.put(offset, stamped(self.stamp, offset, length))
        elif kind == "zero":
            t("zero", offset, length, *r.choice([(), ("unmap",)]))
            self.model.put(offset, bytes(length))
        elif kind == "discard":
            t("discard", offset, length)
            t("read", offset, length, self.file("left"))
            with open(self.file("left"), "rb") as f:
                self.model.adopt(offset, f.read())
        elif kind in ("flush", "compact"):
            t(kind)
        elif kind == "resize":
            self.resize(t)
        elif kind == "parallel":
            self.parallel(t)
        else:
            self.snapshot_of_ours(t)

    def parallel(self, t):
        r, before = self.r, self.model.data[:]
        some = ["compact"] if r.random() < 0.5 else []
        some += ["snapshots"] if self.shares_clusters() and r.random() < 0.5 else []
        t("parallel", r.choice([2, 16, 64]), r.randrange(1 << 30), r.choice([50, 300, 900]), self.model.path, self.file("state"), *some)
        if "snapshots" in some:
            self.snapshots_of_parallel(t, before)

    def snapshots_of_parallel(self, t, before):
        """Each holds what was acknowledged before it was made, or what had begun when it was there. The disk goes back to one of them."""
        for name in sorted({w.split(":")[1] for w in t("snapshots")[1:]} - set(self.snapshots)):
            t("snapshot", "revert", name)
            t("read", 0, self.model.size, self.file("found"))
            with open(self.file("found"), "rb") as f:
                found = f.read()
            crashed(before, self.file(f"state.{name}"), found, f"in snapshot {name}")
            t("snapshot", "delete", name)
            self.model.put(0, found)

    def shares_clusters(self):
        return self.options["compat"] == "1.1" and self.options.get("refcount_bits", 16) >= 8

    def one_without_space(self, t):
        """A write that may fail for want of space; then each sector is as before or as written. 1 if it did."""
        r, (offset, length) = self.r, self.span()
        kind, self.stamp = r.choice(["write", "write", "zero", "discard", "flush"]), self.stamp + 1
        words = {"write": [offset, length, self.stamp], "flush": []}.get(kind, [offset, length])
        data = stamped(self.stamp, offset, length) if kind == "write" else bytes(length)
        try:
            t(kind, *words)
        except Error as e:
            assert e.errno == errno.ENOSPC and kind != "flush", f"{kind}: {e}"
            failed = 1
        else:
            failed = 0
        if kind == "flush":
            return 0
        if failed or kind == "discard":
            t("read", offset, length, self.file("left"))
            with open(self.file("left"), "rb") as f:
                self.model.adopt(offset, f.read(), data)
        else:
            self.model.put(offset, data)
        return failed

    def file(self, name):
        return os.path.join(self.dir, name)

    def read(self, t, offset, length, data=None):
        data = self.model.data if data is None else data
        if t("read", offset, length)[0] == crc(data, offset, length):
            return
        for at in range(offset, offset + length, SECTOR):
            if t("read", at, SECTOR)[0] != crc(data, at, SECTOR):
                t("read", at, SECTOR, self.file("wrong"))
                with open(self.file("wrong"), "rb") as f:
                    raise AssertionError(f"sector {at // SECTOR}: read {f.read(16).hex()}..., not {data[at:at + 16].hex()}...")
        raise AssertionError(f"{length} bytes at {offset} are wrong when read at once, and right sector by sector")

    def read_all(self, t, data=None):
        data = self.model.data if data is None else data
        for at in range(0, len(data), 4 * MIB):
            self.read(t, at, min(4 * MIB, len(data) - at), data)

    def resize(self, t):
        size = choose_size(self.r, self.cluster)
        t("resize", size)
        self.model.resize(size)

    def can_snapshot(self):
        return self.options["compat"] == "1.1" and 1 << min(self.options.get("refcount_bits", 16), 6) > len(self.snapshots) + 2

    def snapshot_of_ours(self, t):
        r, names = self.r, list(self.snapshots)
        kind = r.choice(["create", "create", "delete", "revert"])
        if kind == "create" and self.can_snapshot():
            name = f"ours{r.randrange(1 << 30)}"
            t("snapshot", "create", name)
            self.snapshots[name] = self.model.data[:]
        elif kind == "delete" and names:
            t("snapshot", "delete", name := r.choice(names))
            del self.snapshots[name]
        elif kind == "revert" and names:
            t("snapshot", "revert", name := r.choice(names))
            self.model.set(self.snapshots[name])

    def theirs(self, operations):
        """A turn of qemu-io's."""
        r, commands, uncertain = self.r, [], []
        for _ in range(operations):
            offset, length = self.span()
            kind = r.choices(["write", "zero", "unmap", "discard", "flush", "read"], [6, 1.5, 1.5, 2, 1, 1])[0]
            if kind == "write":
                byte = r.randrange(1, 256)
                commands.append(f"write -P {byte} {r.choice(['', '-f '])}{offset} {length}")
                self.model.put(offset, bytes([byte]) * length)
            elif kind in ("zero", "unmap"):
                commands.append(f"write -z {'-u ' if kind == 'unmap' else ''}{offset} {length}")
                self.model.put(offset, bytes(length))
            elif kind == "discard":
                commands.append(f"discard {offset} {length}")
                uncertain.append((offset, length))
                break  # what the sectors hold now has to be looked at
            else:
                commands.append("flush" if kind == "flush" else f"read {offset} {length}")
        out = peer("qemu-io", "-f", "qcow2", "-d", "unmap", *(x for c in commands for x in ("-c", c)), self.path)
        assert "fail" not in out.lower(), out
        if uncertain:
            found = self.as_raw()
            for offset, length in uncertain:
                self.model.adopt(offset, found[offset:offset + length])

    def as_raw(self, *words):
        peer("qemu-img", "convert", "-f", "qcow2", "-O", "raw", *words, self.path, self.file("converted"))
        with open(self.file("converted"), "rb") as f:
            return f.read()

    def snapshot_of_theirs(self):
        r, names = self.r, list(self.snapshots)
        kind = r.choice(["create", "create", "delete", "apply"])
        if kind == "create" and self.can_snapshot():
            name = f"theirs{r.randrange(1 << 30)}"
            peer("qemu-img", "snapshot", "-c", name, self.path)
            self.snapshots[name] = self.model.data[:]
        elif kind == "delete" and names:
            peer("qemu-img", "snapshot", "-d", name := r.choice(names), self.path)
            del self.snapshots[name]
        elif kind == "apply" and names and len(self.snapshots[name := r.choice(names)]) == self.model.size:
            peer("qemu-img", "snapshot", "-a", name, self.path)
            self.model.set(self.snapshots[name])

    # What QEMU says afterwards.

    def hold(self, leaks=False):
        check(self.path, leaks)
        self.model.compare(self.path)
        there = {s["name"] for s in info(self.path).get("snapshots", [])}
        assert there == set(self.snapshots), f"snapshots {there}, not {set(self.snapshots)}"
        if self.snapshots and self.r.random() < 0.5:
            name = self.r.choice(list(self.snapshots))
            with Tool(self.path, self.chain, ("-r", "-S", name)) as t:
                self.read_all(t, self.snapshots[name])
            found, right = self.as_raw("-l", f"snapshot.name={name}"), self.snapshots[name]
            n = min(len(found), len(right))  # QEMU shows as much of it as the disk now has
            found, right = found[:n], right[:n]
            assert found == right, f"snapshot {name} reads otherwise, from sector " \
                f"{next((i for i in range(0, len(right), SECTOR) if found[i:i + SECTOR] != right[i:i + SECTOR]), -1) // SECTOR} on"

    def hold_map(self):
        """`qemu-img map` and our extents."""
        pad(self.path)
        with Tool(self.path, self.chain, ("-r",)) as t:
            found = t.extents(self.model.size)
            self.read_all(t)
        for offset, length, flags in found:
            assert not flags & ZERO or self.model.is_zero(offset, length), f"{length} bytes at {offset} are no zeros"
        for e in images.json.loads(peer("qemu-img", "map", "--output=json", "-f", "qcow2", self.path)):
            start, end = e["start"], e["start"] + e["length"]
            for offset, length, flags in found:
                if offset >= end or offset + length <= start:
                    continue
                where = f"{length} bytes at {offset}: flags {flags}, and qemu-img map has {e}"
                if e["zero"] and not e["data"] and "offset" not in e:
                    assert flags & ZERO, where
                if e["data"] and not e["zero"] and e["depth"] == 0:
                    assert not flags & ZERO, where
                if not e["present"] or e["depth"]:
                    assert flags & HOLE, where


# Cases.

def turns(r, directory):
    """Everything at random, in turns."""
    image = Image(r, directory)
    for _ in range(r.randint(2, 5)):
        if r.random() < 0.6:
            image.theirs(r.randint(1, 10))
            if r.random() < 0.5:
                image.hold()
        if r.random() < 0.3:
            image.snapshot_of_theirs()
        image.ours(r.randint(1, 40))
        image.hold()
        if r.random() < 0.4:
            image.hold_map()


def old_version(r, directory):
    """compat 0.10: read only."""
    image = Image(r, directory, choose_options(r, writable=False))
    for _ in range(2):
        image.theirs(r.randint(1, 10))
        image.hold_map()
    refused(errno.EROFS, image.path, image.chain, words=("version 2",))
    image.hold()


def snapshots(r, directory):
    """Many snapshots of both sides' on the same few clusters."""
    options = choose_options(r)
    options["refcount_bits"] = r.choice([8, 16, 32, 64])
    image = Image(r, directory, options)
    for _ in range(r.randint(2, 4)):
        image.theirs(r.randint(1, 5))
        image.snapshot_of_theirs()
        image.ours(r.randint(1, 10))
        pad(image.path)
        with Tool(image.path, image.chain) as t:
            for _ in range(r.randint(1, 4)):
                image.snapshot_of_ours(t)
                for _ in range(r.randint(0, 5)):
                    image.one_of_ours(t)
        image.snapshot_of_theirs()
        image.hold()


def no_room_for_a_snapshot(r, directory):
    """Refcounts of one bit: no cluster is ever shared."""
    image = Image(r, directory, {"cluster_size": 4096, "compat": "1.1", "refcount_bits": 1})
    image.ours(5)
    pad(image.path)
    with Tool(image.path, image.chain) as t:
        t("write", 0, SECTOR, 1)
        image.model.put(0, stamped(1, 0, SECTOR))
        try:
            t("snapshot", "create", "s")
        except Error:
            pass
        else:
            raise AssertionError("a snapshot where refcounts have one bit")
        image.one_of_ours(t)
    image.hold()


def compressed(r, directory):
    """qemu-img convert -c, then written by us."""
    options = choose_options(r)
    options["refcount_bits"] = r.choice([8, 16, 32, 64])  # several may be in a cluster, and in snapshots
    options.pop("preallocation", None)
    image = Image(r, directory, options, backing=False)
    source = image.file("source.raw")
    for at in range(0, image.model.size, 128 * KIB):
        n = min(128 * KIB, image.model.size - at)
        image.model.put(at, r.choice([bytes(n), stamped(at + 1, at, n), bytes([r.randrange(256)]) * n, r.randbytes(n)]))
    shutil.copy(image.model.path, source)
    peer("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", ",".join(f"{k}={v}" for k, v in image.options.items()), source,
         image.path)
    image.hold_map()
    for _ in range(2):
        if r.random() < 0.3:
            image.snapshot_of_theirs()
        image.ours(r.randint(1, 20))
        image.hold()
        image.theirs(r.randint(1, 5))
    image.hold()


def bitmaps(r, directory):
    """Kept while nobody writes, dropped with all their clusters when somebody does."""
    options = choose_options(r)
    options["cluster_size"] = r.choice([4096, 65536])
    options.pop("extended_l2", None)
    image = Image(r, directory, options)
    image.theirs(5)
    names = ["b0", "b1"][:r.randint(1, 2)]
    for name in names:
        peer("qemu-img", "bitmap", "--add", "-g", r.choice([4096, 65536]), image.path, name)
    image.theirs(3)

    def there():
        return info(image.path)["format-specific"]["data"].get("bitmaps", [])

    before = there()
    assert [b["name"] for b in before] == names and not any("in-use" in b["flags"] for b in before), before
    for options in (("-r",), ()):
        pad(image.path)
        with Tool(image.path, image.chain, options) as t:
            image.read_all(t)
        assert there() == before, (options, before, there())
        image.hold()
    pad(image.path)
    with Tool(image.path, image.chain) as t:
        t("write", 0, SECTOR, 7)
        image.model.put(0, stamped(7, 0, SECTOR))
        image.one_of_ours(t)
    assert there() == [], there()
    image.hold()
    image.theirs(3)
    image.hold()


def killed_while_it_opens(r, image):
    """Refcounts are being put right, or not yet, or were."""
    images.note(["qcow2_tool, killed while it opens"])
    p = images.subprocess.Popen([TOOL, image.path, *image.chain], stdin=images.subprocess.DEVNULL, stdout=images.subprocess.DEVNULL)
    time.sleep(r.random() * r.choice([0.005, 0.03]))
    p.kill()
    p.wait()
    images.released(image.path)
    check(image.path, leaks=True)
    image.model.compare(image.path)


def killed(r, directory):
    """kill -9 in the middle of many operations: what was flushed is there, nothing is corrupt, and nothing leaks once we have opened it."""
    image = Image(r, directory)
    if r.random() < 0.5:
        image.theirs(5)
    for _ in range(r.randint(1, 3)):
        some = ["compact"] if r.random() < 0.4 else []
        some += ["snapshots"] if image.shares_clusters() and r.random() < 0.4 else []
        pad(image.path)
        t = Tool(image.path, image.chain, r.choice([(), ("-d",), ("-m", "1", "-a", "65536")]))
        if os.path.exists(image.file("state")):
            os.remove(image.file("state"))  # an older one
        t.send("parallel", r.choice([1, 8, 32, 128]), r.randrange(1 << 30), 1 << 40, image.model.path, image.file("state"), *some)
        time.sleep(r.choice([0.01, 0.05, 0.2, 0.6]) * r.random())
        over = t.process.poll() is not None
        rest = images.select.select([t.process.stdout], [], [], 0)[0] and os.read(t.process.stdout.fileno(), 1000)
        t.kill()
        assert not over and not rest, f"it ended by itself: {rest}"
        if not os.path.exists(image.file("state")) or os.path.getsize(image.file("state")) < image.model.size // SECTOR * 32:
            continue  # it had not begun
        check(image.path, leaks=True)
        found = image.as_raw()
        crashed(image.model.data, image.file("state"), found, "after kill -9")
        image.model.put(0, found)
        if r.random() < 0.7:
            pad(image.path)
            if r.random() < 0.5:
                killed_while_it_opens(r, image)
            Tool(image.path, image.chain).close()
            check(image.path)
        else:
            image.theirs(2)  # QEMU repairs an image that is dirty
            peer("qemu-img", "check", "-q", "-r", "leaks", "-f", "qcow2", image.path, statuses=(0, 2, 3))
        for s in info(image.path).get("snapshots", []):
            peer("qemu-img", "snapshot", "-d", s["name"], image.path)
        image.hold()
        image.ours(r.randint(1, 10))
        for name in list(image.snapshots):
            peer("qemu-img", "snapshot", "-d", name, image.path)
            del image.snapshots[name]
        image.hold()


def full(r, directory):
    """A file that may not grow: writes fail by name, and only they; a flush never does. With space again all goes on."""
    image = Image(r, directory)
    image.theirs(r.randint(0, 5))
    for _ in range(r.randint(1, 3)):
        pad(image.path, image.cluster)
        space = os.path.getsize(image.path) + r.choice([0, 4096, 65536, 4 * image.cluster, MIB])
        failed = 0
        with Tool(image.path, image.chain, ("-a", "65536", "-s", space, *r.choice([(), ("-d",)]))) as t:
            for _ in range(r.randint(5, 40)):
                failed += image.one_without_space(t)
            image.read_all(t)
        assert os.path.getsize(image.path) <= space
        image.hold()
        image.ours(r.randint(1, 10))
        image.hold()


def refused(expected, path, chain=(), options=(), words=()):
    """It does not open, with this error, and the reason has these words."""
    with open(path, "rb") as f:
        before = f.read()
    try:
        Tool(path, chain, options).close()
    except Error as e:
        assert e.errno == expected, f"{path}: {e}, expected errno {expected}"
        assert all(w.lower() in e.reason.lower() for w in words), f"{path}: {e.reason!r} lacks one of {words}"
    else:
        raise AssertionError(f"{path} was opened, expected errno {expected}")
    with open(path, "rb") as f:
        assert f.read() == before, f"{path} was changed by who refused it"


def refusals(r, directory):
    """What is not ours to run, told by its name."""
    def image(name, **options):
        path = os.path.join(directory, name)
        create(path, 4 * MIB, **options)
        pad(path)
        return path

    def poke(path, offset, data):
        with open(path, "r+b") as f:
            f.seek(offset)
            f.write(data)

    path = image("corrupt")
    poke(path, 79, b"\2")
    refused(errno.EUCLEAN, path, words=("corrupt",))
    Tool(path, options=("-r",)).close()
    path = image("unknown")
    poke(path, 72, b"\x80")
    refused(errno.EOPNOTSUPP, path, words=("63",))
    refused(errno.EOPNOTSUPP, path, options=("-r",), words=("63",))
    path = image("data-file", data_file=os.path.join(directory, "data"))
    refused(errno.EOPNOTSUPP, path, words=("external data file",))
    path = os.path.join(directory, "luks")
    if not peer_fails("qemu-img", "create", "-q", "-f", "qcow2", "--object", "secret,id=s,data=abc", "-o",
                      "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", path, "4M"):
        pad(path)
        refused(errno.EOPNOTSUPP, path, words=("encrypt",))
    path = os.path.join(directory, "aes")
    if not peer_fails("qemu-img", "create", "-q", "-f", "qcow2", "--object", "secret,id=s,data=abc", "-o",
                      "encrypt.format=aes,encrypt.key-secret=s", path, "4M"):
        pad(path)
        refused(errno.EOPNOTSUPP, path, words=("encrypt",))
    path = os.path.join(directory, "zeros")
    with open(path, "wb") as f:
        f.truncate(MIB)
    refused(errno.ENOEXEC, path)
    path = image("bits", cluster_size=65536)
    poke(path, 20, b"\0\0\0\x16")
    refused(errno.EBADMSG, path, words=("cluster",))


CASES = {f.__name__: f for f in (refusals, turns, snapshots, killed, full, compressed, bitmaps, old_version, no_room_for_a_snapshot)}
ORDER = ("turns", "snapshots", "killed", "turns", "compressed", "turns", "bitmaps", "killed", "full")  # after each was run once


def run_case(name, seed, keep):
    directory = tempfile.mkdtemp(prefix=f"ashlar-qcow2-{name}-{seed}.", dir="/dev/shm" if seed % 3 and os.path.isdir("/dev/shm") else None)
    del images.trail[:]
    good = False
    try:
        CASES[name](random.Random(f"{name} {seed}"), directory)
        good = True
    except Exception:
        print("\n".join(images.trail))
        traceback.print_exc(file=sys.stdout)
        print(f"FAIL case {name}, seed {seed}; again: tests/qcow2/peers.py --case {name} --seed {seed} --count 1 --keep")
        if keep:
            print(f"files: {directory}")
    finally:
        if good or not keep:
            shutil.rmtree(directory)
    return good


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--time", type=float, default=25, help="seconds")
    p.add_argument("--case", choices=CASES)
    p.add_argument("--count", type=int, default=1 << 60)
    p.add_argument("--keep", action="store_true")
    p.add_argument("--keep-going", action="store_true")
    a = p.parse_args()
    if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
        print("no qemu-img, qemu-io")
        sys.exit(77)
    names = itertools.repeat(a.case) if a.case else itertools.chain(CASES, itertools.cycle(ORDER))
    begun, failed, ran = time.monotonic(), 0, {}
    for n, name in zip(range(a.count), names):
        if time.monotonic() - begun > a.time:
            break
        ran[name] = ran.get(name, 0) + 1
        failed += not run_case(name, a.seed + n, a.keep)
        if failed and not a.keep_going:
            break
    print(f"seeds {a.seed}..{a.seed + sum(ran.values()) - 1}: {', '.join(f'{n} {name}' for name, n in ran.items())}; {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
