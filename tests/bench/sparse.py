#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sparse volumes against raw ones and against QEMU's qcow2, by fio over NBD, in one run: tests/bench/sparse.py [BUILD] [--dir DIR] [--rounds N]

Servers, each on files of the same kind in DIR (default /dev/shm), all new for every round:
  raw       nbd_serve: a bare file of the disk's size      qemu      qemu-storage-daemon: qcow2 as qemu-img makes it
  image     nbd_serve: a qcow2 image of ours               qemu-ext  the same with our cluster size and subclusters
What is written first is all over the disk, in an order that rewrites and reads repeat. Prints medians of rates, and of the rounds' own ratios.
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
from host import BUILD, run  # noqa: E402

DISK = "2G"
REQUESTS = {1: 8192, 32: 49152}  # by depth
SEQUENTIAL = "512M"


class Server:
    """One disk, new and empty (or over a full backing), until the end of the block."""
    name = None

    def __init__(self, directory, backed=False):
        self.path = os.path.join(directory, f"{self.name}.{self.suffix}")
        self.backing = os.path.join(directory, "backing.raw") if backed else None
        self.socket = os.path.join(directory, f"{self.name}.sock")

    def __enter__(self):
        self.create()
        self.process = subprocess.Popen([str(w) for w in self.command()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not os.path.exists(self.socket):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{self.name} does not start")
            time.sleep(0.02)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        os.unlink(self.path)
        if os.path.exists(self.socket):
            os.unlink(self.socket)

    def fio(self, rw, bs, depth, **limits):
        words = [f"--{k}={v}" for k, v in limits.items()]
        out = run("fio", "--name=x", "--ioengine=nbd", f"--uri=nbd+unix:///disk?socket={self.socket}", f"--rw={rw}", f"--bs={bs}",
                  f"--iodepth={depth}", "--output-format=json", "--randseed=42", *words, timeout=300)
        job = json.loads(out[out.index("{"):])["jobs"][0]
        return job["read" if "read" in rw else "write"]["iops"]


class Raw(Server):
    name, suffix = "raw", "raw"

    def create(self):
        if self.backing:  # what is written over a full one: rewrites
            run("cp", "--sparse=never", self.backing, self.path)
        else:
            run("truncate", "-s", DISK, self.path)

    def command(self):
        return [os.path.join(BUILD, "tests", "bench", "nbd_serve"), self.socket, self.path]


class Image(Server):
    name, suffix, options = "image", "qcow2", "extended_l2=on,cluster_size=128k,lazy_refcounts=on"

    def create(self):
        over = ["-b", self.backing, "-F", "raw"] if self.backing else []
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", self.options, *over, self.path, DISK)
        run("truncate", "-s", "%128K", self.path)  # its end is not a block's

    def command(self):
        return [os.path.join(BUILD, "tests", "bench", "nbd_serve"), self.socket, self.path, 1, *([self.backing] if self.backing else [])]


class Qemu(Image):
    name, options = "qemu", "lazy_refcounts=off"

    def command(self):
        return ["qemu-storage-daemon", "--blockdev", f"driver=file,node-name=file,filename={self.path}",
                "--blockdev", "driver=qcow2,node-name=disk,file=file", "--nbd-server", f"addr.type=unix,addr.path={self.socket}",
                "--export", "type=nbd,id=e,node-name=disk,name=disk,writable=on"]


class QemuExtended(Qemu):
    name, options = "qemu-ext", Image.options


SERVERS = [Raw, Image, Qemu, QemuExtended]


def measure(kind, directory, depth):
    """Rates of one server by workload."""
    rates = {}
    new = {"size": DISK, "io_size": REQUESTS[depth] * 4096}
    with kind(directory) as s:
        rates["4k first write"] = s.fio("randwrite", "4k", depth, **new)
        rates["4k rewrite"] = s.fio("randwrite", "4k", depth, **new)
        rates["4k read"] = s.fio("randread", "4k", depth, **new)
    for bs in ("4k", "64k", "1M"):
        with kind(directory) as s:
            rates[f"{bs} first, in sequence"] = s.fio("write", bs, depth, size="64M" if bs == "4k" else SEQUENTIAL)
    with kind(directory) as s:
        rates["4k first, flush/32"] = s.fio("randwrite", "4k", depth, size=DISK, io_size=8 << 20, fsync=32)
    with kind(directory, backed=True) as s:
        rates["4k over a backing"] = s.fio("randwrite", "4k", depth, **new)
        rates["  its rewrites"] = s.fio("randwrite", "4k", depth, **new)
    return rates


def report(depth, rounds):
    print(f"depth {depth:<18}" + "".join(f"{s.name:>12}" for s in SERVERS) + "   image/raw  image/qemu  image/qemu-ext")
    for load in rounds[0][0]:
        cells = "".join(f"{statistics.median(r[i][load] for r in rounds):12.0f}" for i in range(len(SERVERS)))
        ratios = [statistics.median(r[1][load] / r[i][load] for r in rounds) for i in (0, 2, 3)]
        print(f"{load:24}{cells}" + "".join(f"{x:12.2f}" for x in ratios), flush=True)
    for i, s in enumerate(SERVERS):
        kept = {what: statistics.median(r[i][what] / r[i][of] for r in rounds)
                for what, of in (("4k first write", "4k rewrite"), ("4k over a backing", "  its rewrites"))}
        print(f"  {s.name}: of its rewrites " + ", ".join(f"{what} {x:.2f}" for what, x in kept.items()))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--dir", default="/dev/shm")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--depths", type=int, nargs="+", default=[1, 32])
    args = p.parse_args()
    with tempfile.TemporaryDirectory(dir=args.dir) as directory:
        run("dd", "if=/dev/urandom", f"of={directory}/backing.raw", "bs=1M", f"count={int(DISK[:-1]) << 10}")
        for depth in args.depths:
            report(depth, [[measure(s, directory, depth) for s in SERVERS] for _ in range(args.rounds)])


if __name__ == "__main__":
    main()
