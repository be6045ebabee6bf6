# SPDX-License-Identifier: LGPL-2.1-or-later
"""What we do to arrays that come from the kernel's md and go back to it."""
import hashlib
import os
import sys
import threading
from dataclasses import dataclass, field

import nbd

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from host import size  # noqa: E402
from pattern import pattern  # noqa: E402

LARGE = "80M"  # members for leave_large


@dataclass(frozen=True)
class State:
    """In which a side leaves an array."""
    name: str
    lacking: int = 0      # members that had failed before the last writes
    stopped: bool = True  # else the daemon was killed, or the power cut
    new: bool = False     # just created
    filling: tuple = ()   # numbers of members that are being filled
    synced: bool = True   # as its superblocks say

    @property
    def unsure(self):
        """Not stopped cleanly, with members missing."""
        return self.lacking > 0 and not self.stopped


@dataclass
class Array:
    name: str
    level: int
    layout: str
    count: int
    chunk: str
    bitmap: str = "internal"  # where the kernel creates it
    members: list = field(default_factory=list)
    stretches: list = field(default_factory=list)  # (offset, data): what is compared, in whole MiB
    found: State = None  # as the other side has left it; None: not created yet
    left: State = None   # as this side is to leave it; None: it is not to go on
    anew: bool = False   # to be created again by the kernel before
    block: int = 0       # where in the source the kernel takes data from
    created: int = 0     # so often by the kernel

    @property
    def ours(self):
        """What we call it: a new array cannot have the name of one that we know."""
        return f"{self.name}.{self.created}"

    def sha256(self):
        return hashlib.sha256(b"".join(data for _, data in self.stretches)).hexdigest()


class Reader(threading.Thread):
    """A guest that reads all the time: recovery leaves it room, and so takes a while."""

    def __init__(self, guest):
        super().__init__()
        self.guest, self.done = guest, False

    def run(self):
        while not self.done:
            self.guest.pread(4096, 0)

    def end(self):
        self.done = True
        self.join()
        self.guest.shutdown()


class Ours:
    """What we do to arrays in a turn."""

    def __init__(self, test, host):
        self.test, self.h = test, host

    def guest(self, a):
        guest = nbd.NBD()
        guest.connect_uri(self.h.uri(a.ours))
        return guest

    def read(self, a):
        guest, step, parts = self.guest(a), size("4M"), []
        for offset, data in a.stretches:
            parts += [guest.pread(min(step, offset + len(data) - at), at) for at in range(offset, offset + len(data), step)]
        guest.shutdown()
        return hashlib.sha256(b"".join(parts)).hexdigest()

    def size_bytes(self, a):
        return self.h.array(a.ours)["size_bytes"]

    def create(self, a):
        self.h.ashlar("array", "create", a.ours, "--level", a.level, "--layout", a.layout, "--chunk", a.chunk, *a.members)

    def sync(self, a):
        self.h.wait_idle(a.ours)
        self.h.ashlar("array", "sync", a.ours)

    def write(self, a, seed, stretches=None):
        """All of it, or what stands in (offset, length) pairs."""
        guest, step = self.guest(a), size("1M")
        a.stretches = [(at, bytearray(pattern(seed, length, at))) for at, length in stretches or [(0, self.size_bytes(a))]]
        for offset, data in a.stretches:
            for at in range(0, len(data), step):
                guest.pwrite(data[at:at + step], offset + at)
        guest.flush()
        return guest

    def write_parts(self, a, guest, seed):
        """Of stripes, in the first MiB: what the parity log is for."""
        data = a.stretches[0][1]
        for at in range(4096, size("1M"), 20480):
            data[at:at + 4096] = pattern(seed, 4096, at)
            guest.pwrite(data[at:at + 4096], at)

    def write_until_killed(self, a, guest):
        """The same again, until the daemon is gone; so it is killed in the midst of that."""
        data = bytes(a.stretches[0][1][4096:8192])
        try:
            while True:
                guest.pwrite(data, 4096)
        except nbd.Error:
            pass

    def take(self, a, running):
        """The array as the kernel has left it: what it held is there; then all members are."""
        words = ["array", "assemble", a.ours, *a.members]
        if a.found.unsure:
            self.test.assertIn("force", self.h.refusal(*words))
            words.insert(2, "--force")
        if a.found.unsure or a.ours not in running:
            self.h.ashlar(*words)
        self.test.assertEqual(self.read(a), a.sha256())
        self.make_whole(a)
        self.sync(a)
        self.h.ashlar("array", "check", a.ours)
        self.test.assertEqual(self.h.array(a.ours)["sync"]["mismatch_bytes"], 0)
        self.test.assertEqual(self.read(a), a.sha256())

    def make_whole(self, a):
        """All members are part of it; a spare may have taken the place of one that failed."""
        for m in [m["path"] for m in self.h.array(a.ours)["members"] if m["state"] in ("faulty", "stale")]:
            self.h.ashlar("array", "remove", a.ours, m)
        there = [m["path"] for m in self.h.array(a.ours)["members"]]
        for m in [m for m in a.members if m not in there]:
            self.h.ashlar("array", "add", a.ours, m)
        self.h.wait(f"{a.ours} whole", lambda: self.h.array(a.ours)["state"] in ("clean", "active"))

    def stop(self, a):
        self.h.ashlar("export", "remove", a.ours)
        self.h.ashlar("array", "stop", a.ours)

    def leave(self, arrays, seed):
        writers = []
        for a in arrays:
            if not a.found:
                self.create(a)
                self.sync(a)
            for m in a.members[1:1 + a.left.lacking]:
                self.h.ashlar("array", "fail", a.ours, m)
            guest = self.write(a, seed)
            self.write_parts(a, guest, seed + 1)
            if a.left.stopped:
                guest.shutdown()
                self.stop(a)
            else:
                writers.append(threading.Thread(target=self.write_until_killed, args=(a, guest)))
                writers[-1].start()
        self.h.kill()
        for w in writers:
            w.join()

    def recovery_paused(self, a):
        """Once some of it is done."""
        for job in self.h.ashlar("job", "list")["jobs"]:
            if (job["target"], job["kind"], job["state"]) == (a.ours, "recovery", "running") and job["done_bytes"] > size("16M"):
                return self.h.ashlar("job", "pause", job["id"])
        return None

    def leave_half(self, a):
        """With new members, filled so far."""
        for number in a.left.filling:
            self.h.ashlar("array", "fail", a.ours, a.members[number])
            a.members[number] = self.h.file(os.path.basename(a.members[number]) + ".new", LARGE)
        guest = Reader(self.guest(a))
        guest.start()
        for number in a.left.filling:
            self.h.ashlar("--no-wait", "array", "add", a.ours, a.members[number])
        self.h.wait("half of it recovered", lambda: self.recovery_paused(a))
        guest.end()
        self.stop(a)

    def leave_large(self, a, seed):
        """Half recovered, or new and used in the first MiB only: the bitmap says that the rest was never synced."""
        self.create(a)
        step, part = size("8M"), size("1M")
        offsets = [0] if a.left.new else range(0, self.size_bytes(a) - part, step)
        self.write(a, seed, [(offset, part) for offset in offsets]).shutdown()
        if a.left.new:
            self.stop(a)
        else:
            self.sync(a)
            self.leave_half(a)
