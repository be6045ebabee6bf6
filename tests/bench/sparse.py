#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sparse volumes against raw ones and QEMU's qcow2, by fio over NBD, in one run: tests/bench/sparse.py [BUILD] [--dir DIR] [--rounds N] [--only TEXT]

Disks, all in files of the same kind in DIR (default /dev/shm) and new for each series of loads:
  raw      ashlard: a raw volume         qemu       qemu-storage-daemon: qcow2 as qemu-img makes it
  sparse   ashlard: a sparse volume      qemu-ext   the same with our cluster size and subclusters
Series alternate between them, so that a slow minute of the machine hits all alike. What is written first is all over the disk; rewrites and
reads repeat its order. Prints medians of rates and of the server's CPU time per request, and medians of the rounds' own ratios: of rates, and
(in brackets) of requests per CPU time, which a busy machine changes less.
"""
import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from compare import cpu_seconds, direct_works  # noqa: E402
from host import Host, run, size  # noqa: E402

DISK, SMALL_DISK = "2G", "256M"
REQUESTS = {1: 8192, 32: 32768}  # of 4 KiB, by depth


class Disk:
    """New and empty, or over a full one (`backed`), until the end of the block."""

    def __init__(self, host, backed, length):
        self.host, self.backed, self.length = host, backed, length

    def __enter__(self):
        self.create()
        self.serve()
        return self

    def fio(self, rw, bs, depth, **limits):
        """(Requests a second, CPU seconds of the server for each.)"""
        before = cpu_seconds(self.pid)
        out = run("fio", "--name=x", "--ioengine=nbd", f"--uri={self.uri}", f"--rw={rw}", f"--bs={bs}", f"--iodepth={depth}",
                  "--output-format=json", "--randseed=42", *[f"--{k}={v}" for k, v in limits.items()], timeout=600)
        job = json.loads(out[out.index("{"):])["jobs"][0]
        side = job["read" if "read" in rw else "write"]
        return side["iops"], (cpu_seconds(self.pid) - before) / max(side["total_ios"], 1)


class Raw(Disk):
    name, create_options = "raw", []

    def create(self):
        self.host.ashlar("volume", "create", f"vg/{self.name}", "--size", self.length, *self.create_options)

    def serve(self):
        self.uri, self.pid = self.host.uri(f"vg/{self.name}"), self.host.daemon.pid

    def snapshot(self):
        pass

    def __exit__(self, *_):
        self.host.ashlar("export", "remove", f"vg/{self.name}")
        self.host.ashlar("volume", "remove", f"vg/{self.name}")


class Sparse(Raw):
    name = "sparse"

    @property
    def create_options(self):
        return ["--from", "vg/full"] if self.backed else ["--format", "sparse"]

    def snapshot(self):
        self.host.ashlar("snapshot", "create", f"vg/{self.name}@before")


class Qemu(Disk):
    name, options = "qemu", "lazy_refcounts=off"

    def create(self):
        self.path = os.path.join(self.host.dir, f"{self.name}.qcow2")
        over = ["-b", os.path.join(self.host.dir, "full.raw"), "-F", "raw"] if self.backed else []
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", self.options, *over, self.path, self.length)

    def serve(self):
        socket = os.path.join(self.host.dir, f"{self.name}.sock")
        cache = "cache.direct=on,aio=native" if direct_works(self.path) else "aio=threads"
        self.process = subprocess.Popen(
            ["qemu-storage-daemon", "--blockdev", f"driver=file,node-name=file,filename={self.path},{cache}",
             "--blockdev", "driver=qcow2,node-name=disk,file=file", "--nbd-server", f"addr.type=unix,addr.path={socket}",
             "--export", "type=nbd,id=e,node-name=disk,name=disk,writable=on"])
        for _ in range(500):
            if os.path.exists(socket):
                break
            time.sleep(0.02)
        self.uri, self.pid = f"nbd+unix:///disk?socket={socket}", self.process.pid

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def snapshot(self):
        self.end()
        run("qemu-img", "snapshot", "-c", "before", self.path)
        self.serve()

    def __exit__(self, *_):
        self.end()
        os.unlink(self.path)


class QemuExtended(Qemu):
    name, options = "qemu-ext", "extended_l2=on,cluster_size=128k,lazy_refcounts=on"


DISKS = [Raw, Sparse, Qemu, QemuExtended]


def scattered(new, depth):
    with new(False, DISK) as d:
        limits = {"size": DISK, "io_size": REQUESTS[depth] * 4096}
        return {"4k first write": d.fio("randwrite", "4k", depth, **limits), "4k rewrite": d.fio("randwrite", "4k", depth, **limits),
                "4k read": d.fio("randread", "4k", depth, **limits)}


def sequences(new, depth):
    rates = {}
    for bs, length in (("4k", "64M"), ("64k", SMALL_DISK), ("1M", SMALL_DISK)):
        with new(False, DISK) as d:
            rates[f"{bs} first, in sequence"] = d.fio("write", bs, depth, size=length)
    return rates


def flushed(new, depth):
    with new(False, DISK) as d:
        return {"4k first, flush every 32": d.fio("randwrite", "4k", depth, size=DISK, io_size="32M" if depth > 1 else "8M", fsync=32)}


def backed(new, depth):
    with new(True, DISK) as d:
        limits = {"size": DISK, "io_size": REQUESTS[depth] * 4096}
        return {"4k over another": d.fio("randwrite", "4k", depth, **limits), "4k over another, again": d.fio("randwrite", "4k", depth, **limits)}


def after_snapshot(new, depth):
    with new(False, DISK) as d:
        d.fio("write", "1M", 4, size=SMALL_DISK)
        d.snapshot()
        limits = {"size": SMALL_DISK, "io_size": "8M"}
        return {"4k after a snapshot": d.fio("randwrite", "4k", depth, **limits),
                "4k after a snapshot, again": d.fio("randwrite", "4k", depth, **limits)}


SERIES = [scattered, sequences, flushed, backed, after_snapshot]
KEPT = [("4k first write", "4k rewrite"), ("4k over another", "4k over another, again"), ("4k after a snapshot", "4k after a snapshot, again")]


def ratio(rounds, one, other):
    """By rate and by CPU time; one, other: (disk, load)."""
    pairs = [(r[one[0]][one[1]], r[other[0]][other[1]]) for r in rounds]
    return f"{statistics.median(a[0] / b[0] for a, b in pairs):.2f} ({statistics.median(b[1] / max(a[1], 1e-9) for a, b in pairs):.2f})"


def report(rounds):
    for load in rounds[0][0]:
        cells = []
        for i in range(len(DISKS)):
            rate, cpu = (statistics.median(r[i][load][k] for r in rounds) for k in (0, 1))
            cells.append(f"{rate:10.0f} {cpu * 1e6:6.1f}us")
        ratios = "".join(f"{ratio(rounds, (1, load), (i, load)):>14}" for i in (0, 2, 3))
        print(f"{load:28}" + "".join(f"{c:>20}" for c in cells) + ratios, flush=True)
    for what, of in KEPT:
        if what in rounds[0][0]:
            kept = ", ".join(f"{d.name} {ratio(rounds, (i, what), (i, of))}" for i, d in enumerate(DISKS))
            print(f"  of the rate of rewrites {what} keeps: {kept}", flush=True)


def prepare(host):
    """A group, and a full disk for others to build upon: as a volume and as a file."""
    host.ashlar("vg", "create", "vg", host.file("pv", "24G"))
    path = os.path.join(host.dir, "full.raw")
    run("dd", "if=/dev/urandom", f"of={path}", "bs=1M", f"count={size(DISK) >> 20}")
    host.ashlar("volume", "create", "vg/full", "--size", DISK)
    run("nbdcopy", path, host.uri("vg/full"))
    host.ashlar("export", "remove", "vg/full")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--dir", default="/dev/shm")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--depths", type=int, nargs="+", default=[1, 32])
    p.add_argument("--only", default="", help="series whose name contains this: " + ", ".join(s.__name__ for s in SERIES))
    args = p.parse_args()
    tempfile.tempdir = args.dir
    with Host() as host:
        prepare(host)
        for depth in args.depths:
            print(f"depth {depth:<22}" + "".join(f"{d.name:>20}" for d in DISKS) + "    sparse/raw         /qemu     /qemu-ext")
            for series in SERIES:
                if args.only in series.__name__:
                    report([[series(lambda *a, d=d: d(host, *a), depth) for d in DISKS] for _ in range(args.rounds)])


if __name__ == "__main__":
    main()
