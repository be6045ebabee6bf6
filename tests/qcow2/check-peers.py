#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Our check of qcow2 images beside QEMU's: images of all kinds made by qemu-img and qemu-io, damaged at chosen or random places of their
metadata. Both must find it, count the same leaks, and after our repair QEMU finds nothing, and what was not damaged reads as before.

    check-peers.py [BUILD] [--seed N] [--time SECONDS] [--more] [--failures N] [--keep]

--more: ten minutes. A failure tells the words for its one case. Where we say more than QEMU, on purpose:
* `overlap`: QEMU compares counts only; a cluster that is table and data at once, with a refcount of 2, it lets pass.
* `entry`: QEMU's check does not look at a zero flag in version 2 (to read it is an error), bit 0 of extended entries, or COPIED where there
  is no cluster.
* `table`: reserved bits of a bitmap's entry that QEMU reads past.
And an entry that is not aligned counts for QEMU as a reference to two clusters, for us to none: leaks are compared only where nothing else is
wrong. Refcounts of 1 or 2 bits cannot tell that damaged entries share a cluster: one of the two is given up.
"""
import argparse
import concurrent.futures
import itertools
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from host import BUILD, run  # noqa: E402

TOOL = os.path.join(BUILD, "tests", "qcow2", "qcow2_check_tool")
KIB, MIB = 1 << 10, 1 << 20
UNIT = 4096  # of the model of what a guest reads
OFFSETS, COPIED, PACKED = 0x00FFFFFFFFFFFE00, 1 << 63, 1 << 62
BITMAPS = 0x23852875

KINDS = {  # name: options of qemu-img create, what else
    "512": ({"cluster_size": 512}, {}),
    "512-v2": ({"cluster_size": 512, "compat": "0.10"}, {"snapshots": 1}),
    "4k-1bit": ({"cluster_size": 4096, "refcount_bits": 1}, {}),
    "4k-2bits": ({"cluster_size": 4096, "refcount_bits": 2}, {"snapshots": 1}),
    "16k-extended": ({"cluster_size": 16384, "extended_l2": "on"}, {"snapshots": 2}),
    "32k-4bits": ({"cluster_size": 32768, "refcount_bits": 4}, {"snapshots": 2}),
    "64k": ({"cluster_size": 65536}, {"snapshots": 2}),
    "64k-v2": ({"cluster_size": 65536, "compat": "0.10"}, {"packed": True}),
    "64k-zlib": ({"cluster_size": 65536}, {"packed": True, "snapshots": 1}),
    "64k-zstd": ({"cluster_size": 65536, "compression_type": "zstd"}, {"packed": True}),
    "64k-bitmaps": ({"cluster_size": 65536, "refcount_bits": 8}, {"bitmaps": 2, "snapshots": 1}),
    "64k-backing": ({"cluster_size": 65536}, {"backing": True, "snapshots": 1}),
    "128k-extended": ({"cluster_size": 131072, "extended_l2": "on", "lazy_refcounts": "on"}, {"snapshots": 1, "packed": True}),
    "1M-32bits": ({"cluster_size": 1 << 20, "refcount_bits": 32}, {}),
    "2M-64bits": ({"cluster_size": 2 << 20, "refcount_bits": 64}, {"snapshots": 1}),
}


class Image:
    """A damaged image in memory: where its metadata stands."""

    def __init__(self, b):
        self.b = b
        self.version, self.bits = self.u32(4), self.u32(20)
        self.cluster = 1 << self.bits
        self.extended = self.version == 3 and self.u64(72) >> 4 & 1
        self.order = self.u32(96) if self.version == 3 else 4
        self.entry_bytes = 16 if self.extended else 8
        self.l1 = [self.u64(40) + 8 * i for i in range(self.u32(36))]
        self.tables = {self.u64(at) & OFFSETS: i for i, at in enumerate(self.l1) if self.u64(at)}  # active: table to index
        self.entries = [at for t in self.tables for at in range(t, t + self.cluster, self.entry_bytes) if self.u64(at)]
        self.data = [at for at in self.entries if not self.u64(at) & PACKED and self.u64(at) & OFFSETS]
        self.packed = [at for at in self.entries if self.u64(at) & PACKED]
        self.reftable = [self.u64(48) + 8 * i for i in range(self.u32(56) * self.cluster // 8)]
        self.clusters = -(-len(b) // self.cluster)
        self.snapshot_l1 = None
        if self.u32(60):
            at = self.u64(64)
            self.snapshot_l1 = [self.u64(at) + 8 * i for i in range(self.u32(at + 8))]

    def u32(self, at):
        return struct.unpack_from(">I", self.b, at)[0]

    def u64(self, at):
        return struct.unpack_from(">Q", self.b, at)[0] if at + 8 <= len(self.b) else 0

    def put(self, at, value):
        struct.pack_into(">Q", self.b, at, value)

    def refcount_place(self, cluster):
        """Where the refcount stands: byte, bit, bits; None: there is no block."""
        bits = 1 << self.order
        per_block = self.cluster * 8 // bits
        block = self.u64(self.reftable[cluster // per_block])
        index = cluster % per_block
        return (block + index * bits // 8, index * bits % 8, bits) if block else None

    def refcount(self, cluster):
        at, shift, bits = self.refcount_place(cluster)
        return int.from_bytes(self.b[at:at + -(-bits // 8)], "big") >> shift & ((1 << bits) - 1)

    def set_refcount(self, cluster, value):
        at, shift, bits = self.refcount_place(cluster)
        n = -(-bits // 8)
        mask = ((1 << bits) - 1) << shift
        old = int.from_bytes(self.b[at:at + n], "big")
        self.b[at:at + n] = (old & ~mask | value << shift).to_bytes(n, "big")

    def used(self):
        return [i for i in range(self.clusters) if self.refcount_place(i) and self.refcount(i)]

    def guest(self, at):
        """The guest's range of an active L2 entry."""
        table = next(t for t in self.tables if t <= at < t + self.cluster)
        per_table = self.cluster // self.entry_bytes
        return (self.tables[table] * per_table + (at - table) // self.entry_bytes) * self.cluster, self.cluster

    def span(self, at):
        """The guest's range of an active L1 entry."""
        bytes_each = self.cluster // self.entry_bytes * self.cluster
        return self.l1.index(at) * bytes_each, bytes_each

    def metadata(self):
        """What data must not overlap: name to cluster offset."""
        places = {"l1": self.u64(40), "reftable": self.u64(48), "block": self.u64(self.reftable[0]), "l2": min(self.tables)}
        if self.snapshot_l1:
            places["snapshots"], places["snapshot l1"] = self.u64(64), self.snapshot_l1[0]
        return places


# --- damage: each returns the guest's ranges that may read otherwise now, or None where the image has no such thing ---

def refcount_lowered(image, r):
    cluster = r.choice(image.used())
    image.set_refcount(cluster, r.choice([0, image.refcount(cluster) - 1]))
    return []


def refcount_raised(image, r):
    cluster = r.choice(range(image.clusters))
    if not image.refcount_place(cluster) or image.refcount(cluster) == (1 << (1 << image.order)) - 1:
        return None
    image.set_refcount(cluster, image.refcount(cluster) + 1)
    return []


def refcounts_lost(image, r):
    """As after a crash with lazily written refcounts."""
    if image.version == 2:
        return None
    for cluster in r.sample(image.used(), min(20, len(image.used()))):
        image.set_refcount(cluster, r.choice([0, 1]))
    image.put(72, image.u64(72) | 1)
    return []


def block_lost(image, r):
    at = r.choice([at for at in image.reftable if image.u64(at)])
    image.put(at, 0)
    return []


def block_damaged(image, r):
    at = r.choice([at for at in image.reftable if image.u64(at)])
    if r.random() < 0.5:
        block = image.u64(at)
        image.b[block:block + image.cluster] = r.randbytes(image.cluster)
        return []
    image.put(at, r.choice([image.u64(at) + 512, image.u64(at) | 1, (image.clusters + r.randrange(9)) * image.cluster,
                            image.u64(40), image.u64(r.choice(image.data)) & OFFSETS]))
    return []


def copied_flipped(image, r):
    at = r.choice(image.data + [at for at in image.l1 if image.u64(at)])
    image.put(at, image.u64(at) ^ COPIED)
    return []


def beyond_end(image, r):
    at = r.choice(image.data)
    image.put(at, COPIED | (image.clusters + 1 + r.randrange(1000)) * image.cluster)
    return [image.guest(at)]


def unaligned(image, r):
    at = r.choice(image.data)
    if image.cluster == 512:
        return None
    image.put(at, image.u64(at) | 512 * r.randrange(1, image.cluster // 512))
    return [image.guest(at)]


def reserved(image, r):
    at = r.choice(image.data)
    image.put(at, image.u64(at) | 1 << r.choice([1, 5, 8, 56, 60, 61]))
    return []


def zero_flag(image, r):
    """In version 2 it cannot be; elsewhere it only zeroes what is there."""
    if image.extended:
        return None
    at = r.choice(image.data)
    image.put(at, image.u64(at) | 1)
    return [] if image.version == 2 else [image.guest(at)]


def both_bits(image, r):
    if not image.extended:
        return None
    at = r.choice(image.data)
    bitmap = image.u64(at + 8)
    if not bitmap & 0xFFFFFFFF:
        return None
    image.put(at + 8, bitmap | (bitmap & 0xFFFFFFFF) << 32)
    return []


def data_on_data(image, r):
    if len(image.data) < 2:
        return None
    a, b = r.sample(image.data, 2)
    image.put(a, image.u64(b))
    return [image.guest(a)] + ([image.guest(b)] if image.order < 2 else [])


def data_on_metadata(image, r):
    at = r.choice(image.data)
    places = image.metadata()
    image.put(at, COPIED | places[r.choice(sorted(places))])
    return [image.guest(at)]


def packed_anywhere(image, r):
    if not image.packed:
        return None
    at = r.choice(image.packed)
    image.put(at, image.u64(at) ^ 1 << r.randrange(64))
    return [image.guest(at)]


def table_on_metadata(image, r):
    at = r.choice([at for at in image.l1 if image.u64(at)])
    places = image.metadata()
    del places["l2"]
    image.put(at, COPIED | places[r.choice(sorted(places))])
    return [image.span(at)]


def table_on_data(image, r):
    at = r.choice([at for at in image.l1 if image.u64(at)])
    image.put(at, COPIED | image.u64(r.choice(image.data)) & OFFSETS)
    return [image.span(at)] + ([(0, 1 << 62)] if image.order < 2 else [])


def table_nowhere(image, r):
    at = r.choice([at for at in image.l1 if image.u64(at)])
    image.put(at, r.choice([image.u64(at) | 512 if image.cluster > 512 else 0, (image.clusters + 3) * image.cluster]))
    return [image.span(at)]


def snapshot_table(image, r):
    """An L1 entry of a snapshot: the disk reads the same."""
    if not image.snapshot_l1:
        return None
    at = r.choice([at for at in image.snapshot_l1 if image.u64(at)])
    image.put(at, r.choice([0, image.u64(at) ^ 1 << r.randrange(9, 40), image.u64(at) ^ COPIED]))
    return []


def bits_in_l2(image, r):
    out = []
    for _ in range(r.randint(1, 3)):
        at = r.choice(image.entries)
        image.put(at, image.u64(at) ^ 1 << r.randrange(64))
        out.append(image.guest(at))
        if image.extended and r.random() < 0.5:
            image.put(at + 8, image.u64(at + 8) ^ 1 << r.randrange(64))
    return [(0, 1 << 62)] if image.order < 2 else out


def bits_in_refcounts(image, r):
    for _ in range(r.randint(1, 5)):
        at, _, bits = image.refcount_place(r.choice(image.used()))
        image.b[at + r.randrange(-(-bits // 8))] ^= 1 << r.randrange(8)
    return []


def bits_in_reftable(image, r):
    at = r.choice(image.reftable[:4])
    image.put(at, image.u64(at) ^ 1 << r.randrange(64))
    return []


def bits_in_bitmaps(image, r):
    at = image.u32(100) if image.version == 3 else 0
    while at and image.u32(at) and image.u32(at) != BITMAPS:
        at += 8 + -(-image.u32(at + 4) // 8) * 8
    if not at or not image.u32(at):
        return None
    directory = image.u64(at + 24)
    at = r.choice([directory + 8 * r.randrange(3), image.u64(directory)])
    image.put(at, image.u64(at) ^ 1 << r.randrange(64))
    return []


DAMAGE = [refcount_lowered, refcount_raised, refcounts_lost, block_lost, block_damaged, copied_flipped, beyond_end, unaligned, reserved, zero_flag,
          both_bits, data_on_data, data_on_metadata, packed_anywhere, table_on_metadata, table_on_data, table_nowhere, snapshot_table, bits_in_l2,
          bits_in_refcounts, bits_in_reftable, bits_in_bitmaps]


# --- images ---

class Made:
    """A valid image, and what a guest reads from it: patterns of units."""

    def __init__(self, name, directory, seed):
        options, self.more = KINDS[name]
        self.path, self.name, self.model = os.path.join(directory, name), name, {}
        self.packed = set()
        self.r = random.Random(f"{seed} {name}")
        cluster = options["cluster_size"]
        self.size = max(2 * MIB, min(cluster * cluster // 8 * 5 // 2, 1200 * MIB) // (2 * MIB) * (2 * MIB))  # some L2 tables
        words = ["qemu-img", "create", "-q", "-f", "qcow2", "-o", ",".join(f"{k}={v}" for k, v in options.items())]
        if self.more.get("backing"):
            run("qemu-img", "create", "-q", "-f", "qcow2", self.path + ".backing", self.size)
            self.write(self.path + ".backing", cluster)
            words += ["-b", self.path + ".backing", "-F", "qcow2"]
        run(*words, self.path, self.size)
        self.write(self.path, cluster)
        for i in range(self.more.get("snapshots", 0)):
            run("qemu-img", "snapshot", "-c", f"s{i}", self.path)
            self.write(self.path, cluster)
        for i in range(self.more.get("bitmaps", 0)):
            run("qemu-img", "bitmap", "--add", self.path, f"b{i}")
        with open(self.path, "rb") as f:
            self.bytes = f.read()

    def write(self, path, cluster):
        commands = []
        for i in range(12):
            length = self.r.choice([UNIT, cluster, 2 * cluster])
            length = max(UNIT, min(length, 4 * MIB) // UNIT * UNIT)
            at = min(self.r.choice([0, self.size // 2, self.size - 40 * length]) + self.r.randrange(4) * length, self.size - length) // UNIT * UNIT
            pattern = self.r.randrange(1, 255)
            how = f"write -P {pattern}"
            behind = (at // cluster + 9) * cluster
            if self.more.get("packed") and i % 2 and behind + cluster <= self.size and behind not in self.packed:  # QEMU refuses to do it twice
                at, length, how = behind, cluster, f"write -c -P {pattern}"
                self.packed.add(at)
            elif i % 6 == 5:
                pattern, how = 0, "write -z"
            commands += ["-c", f"{how} {at} {length}"]
            for unit in range(at // UNIT, (at + length) // UNIT):
                self.model[unit] = pattern
        said = run("qemu-io", "-f", "qcow2", *commands, path)
        assert "rror" not in said and "ailed" not in said, said

    def reads(self, damaged):
        """Commands of qemu-io that read what was written, but for damaged ranges."""
        def whole(unit):
            return not any(at < (unit + 1) * UNIT and unit * UNIT < at + n for at, n in damaged)

        commands, units = [], sorted(u for u in self.model if whole(u))
        while units:
            n = 1
            while n < len(units) and units[n] == units[0] + n and self.model[units[n]] == self.model[units[0]]:
                n += 1
            commands += ["-c", f"read -q -P {self.model[units[0]]} {units[0] * UNIT} {n * UNIT}"]
            units = units[n:]
        return commands


class Failure(Exception):
    pass


def qemu_check(path):
    """corruptions, leaks; None: it cannot."""
    p = subprocess.run(["qemu-img", "check", "-f", "qcow2", "--output=json", path], capture_output=True, text=True, timeout=60)
    if p.returncode not in (0, 2, 3):
        return None
    said = json.loads(p.stdout)
    return said.get("corruptions", 0) + said["check-errors"], said.get("leaks", 0)


def ours(path, *words):
    """What the tool says; None: it refuses the image."""
    p = subprocess.run([TOOL, *words, path], capture_output=True, text=True, timeout=60)
    if p.returncode not in (0, 1):
        raise Failure(f"{words}: exit {p.returncode}\n{p.stderr}")
    return (json.loads(p.stdout) if not p.returncode else None), p.stderr


def corruptions(found):
    return sum(n for kind, n in found.items() if kind != "leak")


def compare(theirs, said, trace):
    found = said["found"]
    if theirs is None:
        if not corruptions(found):
            raise Failure(f"QEMU cannot check it, we find nothing\n{trace}")
        return
    if theirs[0] and not corruptions(found):
        raise Failure(f"QEMU finds {theirs[0]} corruptions, we find {found}")
    more = found["overlap"] + found["entry"] + found["table"]  # see above
    if not theirs[0] and corruptions(found) > more:
        raise Failure(f"QEMU finds nothing, we find {found}\n{trace}")
    if not theirs[0] and not corruptions(found) and theirs[1] != found["leak"]:
        raise Failure(f"QEMU counts {theirs[1]} leaks, we {found['leak']}\n{trace}")


def check_repaired(path, made, said, damaged, trace):
    left = {k: n - said["repaired"][k] for k, n in said["found"].items() if n != said["repaired"][k]}
    if left:
        raise Failure(f"not repaired: {left}\n{trace}")
    if qemu_check(path) != (0, 0):
        text = subprocess.run(["qemu-img", "check", "-f", "qcow2", path], capture_output=True, text=True, check=False)
        raise Failure(f"after the repair QEMU says\n{text.stdout[:2000]}{text.stderr[:2000]}\nbefore we said\n{trace}")
    again, more = ours(path)
    if not again or any(again["found"].values()):
        raise Failure(f"after the repair we find {again and again['found']}\n{more}")
    reads = made.reads(damaged)
    if reads:
        p = subprocess.run(["qemu-io", "-r", "-f", "qcow2", *reads, path], capture_output=True, text=True, timeout=60, check=False)
        if "ailed" in p.stdout + p.stderr or p.returncode:
            raise Failure(f"after the repair other data is read\n{p.stdout[:1000]}{p.stderr[:1000]}\nbefore we said\n{trace}")


def one_case(made, damage, turn, options, directory):
    """True: done; False: this image has no such thing to damage."""
    r = random.Random(f"{options.seed} {turn} {made.name} {damage.__name__}")
    image = Image(bytearray(made.bytes))
    damaged = damage(image, r)
    if damaged is None:
        return False
    path = os.path.join(directory, f"{made.name}.{damage.__name__}.{turn}")
    try:
        with open(path, "wb") as f:
            f.write(image.b)
        theirs = qemu_check(path)
        only_refcounts = damage in (refcounts_lost,)
        said, trace = ours(path, "--leaks" if only_refcounts else "--all")
        if said:
            compare(theirs, said, trace)
            check_repaired(path, made, said, damaged, trace)
        elif theirs == (0, 0):
            raise Failure(f"we refuse what QEMU finds whole\n{trace}")
        elif theirs is not None and damage is not bits_in_bitmaps:
            raise Failure(f"we cannot repair it\n{trace}")
    except (Failure, AssertionError, subprocess.TimeoutExpired) as e:
        raise Failure(f"--seed {options.seed} --only {made.name} {damage.__name__} {turn}: {e}") from None
    finally:
        if not options.keep and os.path.exists(path):
            os.unlink(path)
    return True


def cases(options, images):
    """All kinds of damage to all images, in any order, turn after turn."""
    if options.only:
        name, damage, turn = options.only
        yield next(m for m in images if m.name == name), next(d for d in DAMAGE if d.__name__ == damage), int(turn)
        return
    for turn in itertools.count():
        order = [(made, damage, turn) for made in images for damage in DAMAGE]
        random.Random(f"{options.seed} {turn}").shuffle(order)
        yield from order


def whole(images):
    for made in images:
        said, trace = ours(made.path)
        theirs = json.loads(run("qemu-img", "check", "-f", "qcow2", "--output=json", made.path))
        if any(said["found"].values()):
            raise Failure(f"{made.name}: whole, and we find {said['found']}\n{trace}")
        for mine, other in (("allocated", "allocated-clusters"), ("compressed", "compressed-clusters"), ("total", "total-clusters"),
                            ("end", "image-end-offset")):
            if said[mine] != theirs.get(other, 0):
                raise Failure(f"{made.name}: {mine}: we say {said[mine]}, QEMU {theirs.get(other, 0)}")


def campaign(options, directory):
    failures, done = [], 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        images = list(pool.map(lambda name: Made(name, directory, options.seed), KINDS))
        whole(images)
        until, running = time.monotonic() + options.time, set()
        for case in cases(options, images):
            running.add(pool.submit(one_case, *case, options, directory))
            if len(running) >= 4:
                ended, running = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                for f in ended:
                    if f.exception():
                        failures.append(f.exception())
                    else:
                        done += f.result()
            if time.monotonic() > until or len(failures) >= options.failures:
                break
        for f in running:
            if f.exception():
                failures.append(f.exception())
            else:
                done += f.result()
    return failures, done


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--time", type=float, default=15)
    parser.add_argument("--more", action="store_true")
    parser.add_argument("--only", nargs=3, metavar=("IMAGE", "DAMAGE", "TURN"), help="one case, as a failure tells it")
    parser.add_argument("--failures", type=int, default=1, help="how many end it")
    parser.add_argument("--keep", action="store_true", help="leaves images behind")
    options = parser.parse_args()
    if options.more:
        options.time = 600
    if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
        print("no qemu-img or qemu-io")
        return 77
    directory = tempfile.mkdtemp(prefix="ashlar-check.")
    try:
        failures, done = campaign(options, directory)
    finally:
        if options.keep:
            print(directory)
        else:
            shutil.rmtree(directory)
    for f in failures:
        print(f)
    print(f"{done} damaged images, {len(failures)} failures")
    return 1 if failures or not done else 0


if __name__ == "__main__":
    sys.exit(main())
