#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Damaged qcow2 images, in the way of QEMU's image fuzzer: small valid ones with a few fields of their metadata changed, opened by qcow2_tool,
read, written and closed. Whatever they hold, it refuses or answers with errors: it never crashes, hangs or takes memory without bound. Best with
a build under AddressSanitizer.

    mutate.py [BUILD] [--seed N] [--time SECONDS] [--count N] [--keep]

A failure tells its seed, with which it is run again.
"""
import argparse
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time

from images import TOOL, create, pad, peer, trail

KIB, MIB = 1 << 10, 1 << 20
SECONDS_MAX, MEMORY_MAX = 60, 1 << 30
MUTANTS = 40  # of each valid image
OFFSETS = 0x00FFFFFFFFFFFE00


def valid(r, directory):
    """A valid image with a bit of everything; its bytes."""
    path, size = os.path.join(directory, "valid.qcow2"), r.choice([KIB * 192, MIB, 3 * MIB])
    o = {"compat": r.choice(["1.1", "1.1", "1.1", "0.10"]), "cluster_size": r.choice([512, 512, 4096, 65536])}
    if o["compat"] == "1.1":
        o["cluster_size"] = r.choice([512, 4096, 16384, 65536])
        o["refcount_bits"] = r.choice([4, 8, 16, 16, 64])
        o["compression_type"] = r.choice(["zlib", "zstd"])
        o["lazy_refcounts"] = r.choice(["on", "off"])
        if o["cluster_size"] >= 16384 and r.random() < 0.6:
            o["extended_l2"] = "on"
    raw = os.path.join(directory, "valid.raw")
    with open(raw, "wb") as f:
        for at in range(0, size, 32 * KIB):
            f.write(r.choice([bytes(32 * KIB), bytes([r.randrange(256)]) * (32 * KIB), r.randbytes(KIB) * 32]))
    if r.random() < 0.6:
        peer("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", ",".join(f"{k}={v}" for k, v in o.items()), raw, path)
    else:
        create(path, size, **o)
    for _ in range(r.randint(0, 2)):
        peer("qemu-io", "-f", "qcow2", "-c", f"write -P 7 {r.randrange(size - 65536)} 64k", "-c", f"write -z {r.randrange(size - 65536)} 64k", path)
        if r.random() < 0.7:  # refused where it needs refcounts that do not fit
            peer("qemu-img", "snapshot", "-c", f"s{r.randrange(100000)}", path, statuses=(0, 1))
    if o["compat"] == "1.1" and r.random() < 0.3:
        peer("qemu-img", "bitmap", "--add", path, "b")
    pad(path)
    with open(path, "rb") as f:
        return f.read()


def u32(b, at):
    return struct.unpack_from(">I", b, at)[0]


def u64(b, at):
    return struct.unpack_from(">Q", b, at)[0] if at + 8 <= len(b) else 0


def entries(b, offset, count):
    return [offset + 8 * i for i in range(count) if offset + 8 * i + 8 <= len(b)]


def fields(b):
    """Where metadata stands: {kind: [(offset, bytes)]}."""
    version, bits = u32(b, 4), u32(b, 20)
    cluster = 1 << bits
    found = {"header": [(at, 4) for at in (0, 4, 16, 20, 32, 36, 56, 60)] + [(at, 8) for at in (8, 24, 40, 48, 64)]}
    if version == 3:
        length = u32(b, 100)
        found["header"] += [(at, 8) for at in (72, 80, 88)] + [(96, 4), (100, 4), (104, 1)]
        found["extensions"] = [(at, 4) for at in range(length, min(length + 128, cluster), 4)]
        at = length  # of extensions
        while u32(b, at) and at + 8 < cluster:
            if u32(b, at) == 0x23852875:
                directory = u64(b, at + 24)
                found["bitmaps"] = [(directory + i, 4) for i in range(0, 32, 4)]
                found["bitmaps"] += [(e, 8) for e in entries(b, u64(b, directory), min(16, u32(b, directory + 8)))]
            at += 8 + -(-u32(b, at + 4) // 8) * 8
    l1 = entries(b, u64(b, 40), u32(b, 36))
    table, count = u64(b, 64), u32(b, 60)
    if count:
        found["snapshots"] = [(at, 4) for at in range(table, min(table + 64 * count, len(b) - 4), 4)]
        l1 += entries(b, u64(b, table), u32(b, table + 8))
    found["l1"] = [(at, 8) for at in l1]
    tables = {u64(b, at) & OFFSETS for at in l1} - {0}
    found["l2"] = [(at, 8) for t in sorted(tables) for at in entries(b, t, cluster // 8) if u64(b, at)]
    found["l2 empty"] = [(at, 8) for t in sorted(tables) for at in entries(b, t, min(64, cluster // 8))]
    found["packed"] = [(u64(b, at) & ((1 << (62 - (bits - 8))) - 1), 8) for at, _ in found["l2"] if u64(b, at) >> 62 & 1]
    reftable = entries(b, u64(b, 48), u32(b, 56) * cluster // 8)
    found["reftable"] = [(at, 8) for at in reftable[:64]]
    found["refcounts"] = [(u64(b, at) + i, 2) for at in reftable if u64(b, at) for i in range(0, min(cluster, 512), 2)]
    return {kind: [(at, n) for at, n in places if at + n <= len(b)] for kind, places in found.items()}


def damaged(r, value, nbytes, length, cluster):
    """A value in place of another, of the kinds that parsers trip over."""
    top = (1 << 8 * nbytes) - 1
    other = r.randrange(length // cluster + 2) * cluster
    return r.choice([
        0, 1, top, top >> 1, (top >> 1) + 1, value + 1, value - 1, value * 2, value ^ 1 << r.randrange(8 * nbytes), value ^ 1 << r.randrange(8 * nbytes),
        r.randrange(top + 1), r.randrange(1 << r.randint(1, 8 * nbytes)), other, other | 1 << 63, other | 1 << 62, other | 1, other + 512,
        length, length - cluster, r.randrange(length), value & ~OFFSETS | other, value & ~OFFSETS | other]) & top


def mutant(r, valid_bytes, places):
    """The image with a few fields changed, or cut off; and what was done."""
    b, told = bytearray(valid_bytes), []
    cluster = 1 << u32(b, 20)
    kinds = [k for k in places if places[k]]
    for _ in range(r.choice([1, 1, 1, 2, 3, 6])):
        kind = r.choice(kinds)
        at, n = r.choice(places[kind])
        old = int.from_bytes(b[at:at + n], "big")
        new = damaged(r, old, n, len(b), cluster)
        b[at:at + n] = new.to_bytes(n, "big")
        told.append(f"{kind}: {n} bytes at {at}: {old:#x} -> {new:#x}")
    if r.random() < 0.03:
        del b[r.randrange(4096, len(b) + 1) // 4096 * 4096:]
        told.append(f"cut at {len(b)}")
    return b, told


def commands(r, size):
    """What a guest and an administrator do with it."""
    def span():
        length = 512 * r.choice([1, 8, 128, 256])
        return max(0, r.randrange(max(1, min(size, 4 * MIB) - length + 1))) // 512 * 512, length

    out = [f"read {at} {256 * KIB}" for at in range(0, min(size, 4 * MIB) - 256 * KIB + 1, 256 * KIB)]
    out += [f"read {max(0, size - 65536) // 512 * 512} 65536", f"extents 0 {min(size, 4 * MIB) // 512 * 512}"]
    for _ in range(12):
        at, n = span()
        out.append(r.choice([f"write {at} {n} 9", f"write {at} {n} 9 fua", f"zero {at} {n} unmap", f"zero {at} {n}", f"discard {at} {n}", "flush"]))
    out += r.sample(["snapshot create n1", "snapshot create n1", "snapshot delete n1", "snapshot revert n1", f"resize {4 * MIB}",
                     f"resize {128 * KIB}", "snapshots", "compact", f"write {span()[0]} 65536 11", "flush"], 5)
    return out + [f"read 0 {min(size, MIB) // 512 * 512}", "status", "close"]


class Failure(Exception):
    pass


def run_tool(path, lines, options, env):
    """Feeds it the lines; Failure when it does anything but answer."""
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as answers:
        p = subprocess.Popen([TOOL, *options, path], stdin=subprocess.PIPE, stdout=answers, stderr=said, env=env)
        try:
            p.stdin.write("\n".join(lines).encode() + b"\n")
            p.stdin.close()
        except BrokenPipeError:
            pass  # it was refused
        deadline = time.monotonic() + SECONDS_MAX
        while True:
            pid, status, usage = os.wait4(p.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                p.send_signal(6)
                os.wait4(p.pid, 0)
                p.returncode = -6
                raise Failure(f"hangs; answers so far: {last(answers)}")
            time.sleep(0.003)
        p.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read().decode(errors="replace")
        if p.returncode not in (0, 1) or text:
            raise Failure(f"exit {p.returncode}\n{text[:6000]}\nanswers: {last(answers)}")
        if usage.ru_maxrss * 1024 > MEMORY_MAX:
            raise Failure(f"took {usage.ru_maxrss} KiB of memory")
        answers.seek(0)
        return answers.read().startswith(b"ok")


def last(f):
    f.seek(0)
    return f.read()[-600:].decode(errors="replace")


def one(seed, n, valid_bytes, places, directory, env):
    r = random.Random(f"mutant {seed} {n}")
    b, told = mutant(r, valid_bytes, places)
    path = os.path.join(directory, "mutant.qcow2")
    with open(path, "wb") as f:
        f.write(b)
    size = u64(valid_bytes, 24)
    options = r.choice([(), (), ("-d",), ("-r",), ("-m", "65536")])
    shutil.copy(path, os.path.join(directory, "as-it-was.qcow2"))
    lines = commands(r, size)
    try:
        return run_tool(path, lines, options, env)
    except Failure as e:
        print(*trail, *told, sep="\n")
        print(f"qcow2_tool {' '.join(options)} with:", *lines, sep="\n    ")
        print(e)
        print(f"FAIL seed {seed}, mutant {n}; again: tests/qcow2/mutate.py --seed {seed} --count {n + 1} --keep")
        return None


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--time", type=float, default=10, help="seconds")
    p.add_argument("--count", type=int, default=1 << 60, help="mutants; more than one seed has: goes on with the next")
    p.add_argument("--keep", action="store_true", help="the files of a failure stay")
    p.add_argument("--keep-going", action="store_true")
    a = p.parse_args()
    if not shutil.which("qemu-img"):
        print("no qemu-img")
        sys.exit(77)
    env = dict(os.environ, UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1:exitcode=99",
               ASAN_OPTIONS="exitcode=99:quarantine_size_mb=16:detect_leaks=1:allocator_may_return_null=1:hard_rss_limit_mb=2000")
    directory = tempfile.mkdtemp(prefix="ashlar-mutate.", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    begun, ran, opened, failed, seed = time.monotonic(), 0, 0, 0, a.seed - 1
    while ran < a.count and time.monotonic() - begun < a.time and not (failed and not a.keep_going):
        seed += 1
        del trail[:]
        valid_bytes = valid(random.Random(f"valid {seed}"), directory)
        places = fields(valid_bytes)
        for n in range(min(MUTANTS, a.count - ran)):
            if time.monotonic() - begun > a.time:
                break
            good = one(seed, n, valid_bytes, places, directory, env)
            ran, opened = ran + 1, opened + bool(good)
            if good is None:
                failed += 1
                if not a.keep_going:
                    break
                shutil.copy(os.path.join(directory, "as-it-was.qcow2"), os.path.join(directory, f"failed-{seed}-{n}.qcow2"))
    print(f"seeds {a.seed}..{seed}: {ran} mutants, {opened} of them opened, {failed} failed")
    if failed and a.keep:
        print(f"files: {directory}")
    else:
        shutil.rmtree(directory)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
