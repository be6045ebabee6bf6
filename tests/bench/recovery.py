#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What guests see of a recovery, by fio over NBD: tests/bench/recovery.py [BUILD] [--dir DIR] [--size SIZE] [--rounds N] [--seconds S]

Members are files of SIZE in DIR (default /var/tmp; all on one disk, so what one member has to do delays the others). Each round measures
random 4 KiB requests, 70% reads, on the whole array (before), then fails a member, adds an empty one, and measures again while that is filled
(during), and the rate of the recovery, then and once guests are idle. Prints medians: the 99th percentile of the latency of reads and of writes, and
the ratio of the rounds.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from host import Host, run, size  # noqa: E402

ARRAYS = [("raid1", ["--level", 1], 2, 1), ("raid5", ["--level", 5], 4, 3)]
SETTLE = 2  # seconds until measuring begins: the rate is found


def fio(uri, depth, seconds, meanwhile=None):
    """meanwhile runs beside it, and has SETTLE seconds until measuring begins."""
    words = ["fio", "--name=x", "--ioengine=nbd", f"--uri={uri}", "--rw=randrw", "--rwmixread=70", "--bs=4k", f"--iodepth={depth}", "--time_based=1",
             f"--ramp_time={SETTLE}", f"--runtime={seconds}", "--output-format=json", "--randrepeat=0", "--norandommap=1"]
    p = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        if meanwhile:
            meanwhile()
    finally:
        out = p.communicate()[0]
    job = json.loads(out[out.index("{"):])["jobs"][0]
    return {k: job[k]["clat_ns"]["percentile"]["99.000000"] / 1e3 for k in ("read", "write")} | {
        "iops": job["read"]["iops"] + job["write"]["iops"]}


def done_mib(host):
    """Of the member; None: no recovery runs."""
    a = host.array("a")
    return a["sync"]["done_bytes"] / 2**20 * a["member_bytes"] / a["size_bytes"] if a["sync"]["action"] == "recovery" else None


def start_recovery(host, member):
    host.ashlar("array", "fail", "a", member)
    host.wait("the member is out of its role", lambda: remove(host, member))
    with open(member, "r+b") as f:
        f.write(bytes(1 << 20))
        os.fsync(f.fileno())
    host.ashlar("array", "add", "a", member)
    host.wait("recovery", lambda: done_mib(host) is not None)


def remove(host, member):
    try:
        host.ashlar("array", "remove", "a", member)
        return True
    except AssertionError:
        return False


def rate(host, seconds):
    """MiB/s."""
    before, since = done_mib(host), time.monotonic()
    time.sleep(seconds)
    after = done_mib(host)
    if after is None:
        raise SystemExit("the recovery ended too early: larger members, or fewer seconds")
    return (after - before) / (time.monotonic() - since)


def measure_round(host, uri, member, depth, seconds):
    result = {"before": fio(uri, depth, seconds)}

    def recover():
        start_recovery(host, member)
        time.sleep(SETTLE)
        result["beside"] = rate(host, seconds - 1)

    result["during"] = fio(uri, depth, seconds, recover)
    begun = time.monotonic()
    done = done_mib(host)
    result["idle"] = (host.wait_idle("a", 600)["member_bytes"] / 2**20 - done) / (time.monotonic() - begun)
    return result


def measure(args, name, options, count, data):
    tempfile.tempdir = args.dir
    with Host() as host:
        members = host.members(count, args.size)
        host.ashlar("array", "create", "a", *options, "--assume-clean", *members)
        host.ashlar("vg", "create", "vg", "a")
        host.ashlar("volume", "create", "vg/v", "--size", (size(args.size) - size("64M")) * data)
        uri = host.uri("vg/v")
        run("fio", "--name=fill", "--ioengine=nbd", f"--uri={uri}", "--rw=write", "--bs=1M", "--iodepth=8", timeout=900)
        for depth in args.depths:
            rounds = [measure_round(host, uri, members[1], depth, args.seconds) for _ in range(args.rounds)]
            report(name, depth, rounds)


def report(name, depth, rounds):
    cells = []
    for kind in ("read", "write"):
        before, during = (statistics.median(r[when][kind] for r in rounds) for when in ("before", "during"))
        ratio = statistics.median(r["during"][kind] / r["before"][kind] for r in rounds)
        cells.append(f"{before:10.0f} {during:10.0f} {ratio:6.2f}")
    iops, beside, idle = (statistics.median(values) for values in (
        [r["during"]["iops"] / r["before"]["iops"] for r in rounds], [r["beside"] for r in rounds], [r["idle"] for r in rounds]))
    print(f"{name:6} {depth:5}" + "".join(cells) + f"{iops:8.2f} {beside:8.0f} {idle:8.0f}", flush=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--dir", default="/var/tmp")
    p.add_argument("--size", default="4G")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=int, default=5)
    p.add_argument("--depths", type=int, nargs="+", default=[1, 8, 32])
    p.add_argument("--only")
    args = p.parse_args()
    print("              read p99 us: before, during, ratio; write p99; requests/s ratio; recovery MiB/s beside guests, idle")
    for name, options, count, data in ARRAYS:
        if not args.only or args.only == name:
            measure(args, name, options, count, data)


if __name__ == "__main__":
    main()
