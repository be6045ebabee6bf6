#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The whole stack against its peers, by fio over NBD, in one run: tests/bench/compare.py [BUILD] [--dir DIR] [--rounds N] [--seconds S]

Servers, each on files of the same kind in DIR (default /dev/shm; O_DIRECT works on a disk's file system, not on every tmpfs):
  member   ashlard: a volume on one bare member          nbdkit     nbdkit's file plug-in
  raid10   ashlard: a volume on RAID10 over four files   qemu-nbd   qemu-nbd, raw, cache=none where the file system allows it
Rounds alternate between the servers, so that a slow minute of the machine hits all alike. Prints medians: rate, the server's CPU time per
request, and each rate as a ratio to the faster peer.
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
from host import Host, run, size  # noqa: E402

WORKLOADS = [
    ("4k randread qd1", "randread", "4k", 1), ("4k randwrite qd1", "randwrite", "4k", 1),
    ("4k randread qd32", "randread", "4k", 32), ("4k randwrite qd32", "randwrite", "4k", 32),
    ("64k randread qd32", "randread", "64k", 32), ("64k randwrite qd32", "randwrite", "64k", 32),
    ("1M read qd8", "read", "1M", 8), ("1M write qd8", "write", "1M", 8),
]
LENGTH = "512M"


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Server:
    def __init__(self, name, uri, pid, stop):
        self.name, self.uri, self.pid, self.stop = name, uri, pid, stop

    def measure(self, rw, bs, depth, seconds):
        before = cpu_seconds(self.pid)
        out = run("fio", "--name=x", "--ioengine=nbd", f"--uri={self.uri}", f"--rw={rw}", f"--bs={bs}", f"--iodepth={depth}", f"--size={LENGTH}",
                  "--time_based=1", f"--runtime={seconds}", "--output-format=json", "--randrepeat=0", "--norandommap=1", timeout=120)
        job = json.loads(out[out.index("{"):])["jobs"][0]
        side = job["write" if "write" in rw else "read"]
        return side["iops"], side["bw_bytes"], (cpu_seconds(self.pid) - before) / max(side["total_ios"], 1)


def filled(path):
    with open(path, "wb") as f:
        block = os.urandom(1 << 20)
        for _ in range(size(LENGTH) >> 20):
            f.write(block)
    return path


def process(name, words, socket, path):
    p = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        if os.path.exists(socket):
            return Server(name, f"nbd+unix:///?socket={socket}", p.pid, lambda: (p.send_signal(signal.SIGTERM), p.wait()))
        time.sleep(0.05)
    raise SystemExit(f"{name} does not start")


def direct_works(path):
    try:
        os.close(os.open(path, os.O_RDWR | os.O_DIRECT))
        return True
    except OSError:
        return False


def start_all(directory):
    tempfile.tempdir = directory
    host = Host()
    bare = host.file("bare", size(LENGTH) + size("8M"))
    members = host.members(4, size(LENGTH) // 2 + size("16M"))
    host.ashlar("vg", "create", "one", bare)
    host.ashlar("array", "create", "a0", "--level", 10, "--assume-clean", *members)
    host.ashlar("vg", "create", "ten", "a0")
    servers = []
    for name, target in (("member", "one/v"), ("raid10", "ten/v")):
        host.ashlar("volume", "create", target, "--size", LENGTH)
        servers.append(Server(name, host.uri(target), host.daemon.pid, lambda: None))
        run("nbdcopy", filled(os.path.join(host.dir, "fill")), host.uri(target))
    os.unlink(os.path.join(host.dir, "fill"))
    a, b = filled(os.path.join(host.dir, "nbdkit.raw")), filled(os.path.join(host.dir, "qemu.raw"))
    sock = [os.path.join(host.dir, n) for n in ("nbdkit.sock", "qemu.sock")]
    servers.append(process("nbdkit", ["nbdkit", "-f", "-U", sock[0], "file", a], *[sock[0], a]))
    cache = ["--cache=none", "--aio=native"] if direct_works(b) else ["--cache=writeback"]
    servers.append(process("qemu-nbd", ["qemu-nbd", "-t", "-e", "8", "-f", "raw", "-k", sock[1], *cache, b], sock[1], b))
    return host, servers


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--dir", default="/dev/shm")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=int, default=3)
    p.add_argument("--only", help="workloads whose name contains this")
    args = p.parse_args()
    host, servers = start_all(args.dir)
    try:
        print(f"{'':20}" + "".join(f"{s.name:>24}" for s in servers) + "   member/best peer  raid10/member")
        for name, rw, bs, depth in WORKLOADS:
            if args.only and args.only not in name:
                continue
            rounds = [[s.measure(rw, bs, depth, args.seconds) for s in servers] for _ in range(args.rounds)]
            iops = [statistics.median(r[i][0] for r in rounds) for i in range(len(servers))]
            rate = [statistics.median(r[i][1] for r in rounds) for i in range(len(servers))]
            cpu = [statistics.median(r[i][2] for r in rounds) * 1e6 for i in range(len(servers))]
            cells = [f"{x / 1e3:7.1f}k {r / 1e6:6.0f}MB/s {c:5.1f}us" for x, r, c in zip(iops, rate, cpu)]
            print(f"{name:20}" + "".join(f"{c:>24}" for c in cells) + f"{iops[0] / max(iops[2:]):17.2f}x {iops[1] / iops[0]:13.2f}x", flush=True)
    finally:
        for s in servers:
            s.stop()
        with host:
            pass


if __name__ == "__main__":
    main()
