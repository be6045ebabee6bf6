#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The NBD server alone against its peers, by fio, in one run: tests/bench/nbd.py [BUILD] [--dir DIR] [--rounds N] [--seconds S] [--only TEXT]

nbd_serve (one file member, one worker), nbdkit's file plug-in and qemu-nbd, each on a file of its own in DIR. As compare.py, which measures
the whole stack.
"""
import argparse
import os
import statistics
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from compare import WORKLOADS, direct_works, filled, process  # noqa: E402
from host import BUILD  # noqa: E402


def start_all(directory):
    files = [filled(os.path.join(directory, f"disk{i}")) for i in range(3)]
    sockets = [os.path.join(directory, f"s{i}") for i in range(3)]
    cache = ["--cache=none", "--aio=native"] if direct_works(files[2]) else ["--cache=writeback"]
    commands = [("ashlar", [os.path.join(BUILD, "tests", "bench", "nbd_serve"), sockets[0], files[0]]),
                ("nbdkit", ["nbdkit", "-f", "-U", sockets[1], "file", files[1]]),
                ("qemu-nbd", ["qemu-nbd", "-t", "-e", "8", "-f", "raw", "-k", sockets[2], *cache, files[2]])]
    return [process(name, words, socket, path) for (name, words), socket, path in zip(commands, sockets, files)]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--dir", default="/dev/shm")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=int, default=2)
    p.add_argument("--only", default="", help="workloads whose name contains this")
    args = p.parse_args()
    with tempfile.TemporaryDirectory(dir=args.dir) as directory:
        servers = start_all(directory)
        try:
            print(f"{'':20}" + "".join(f"{s.name:>26}" for s in servers) + "   ashlar/best peer")
            for name, rw, bs, depth in WORKLOADS:
                if args.only not in name:
                    continue
                rounds = [[s.measure(rw, bs, depth, args.seconds) for s in servers] for _ in range(args.rounds)]
                iops, rate, cpu = ([statistics.median(r[i][k] for r in rounds) for i in range(3)] for k in range(3))
                cells = [f"{i / 1e3:7.1f}k {r / 1e6:6.0f}MB/s {c * 1e6:6.1f}us" for i, r, c in zip(iops, rate, cpu)]
                print(f"{name:20}" + "".join(f"{c:>26}" for c in cells) + f"{iops[0] / max(iops[1:]):12.2f}x", flush=True)
        finally:
            for s in servers:
                s.stop()


if __name__ == "__main__":
    main()
