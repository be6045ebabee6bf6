# SPDX-License-Identifier: LGPL-2.1-or-later
"""qcow2 images as we and QEMU's programs see them: our tool at the end of a pipe, what QEMU says, and a model of what a guest reads."""
import fcntl
import json
import mmap
import os
import select
import struct
import subprocess
import sys
import time
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from host import BUILD  # noqa: E402

TOOL = os.path.join(BUILD, "tests", "qcow2", "qcow2_tool")
SECTOR = 512
ZERO, HOLE = 1, 2  # flags of extents
ANSWER_SECONDS = 120
F_OFD_SETLK = 37
trail = []  # what was run, for a failure's report


def note(words):
    trail.append(" ".join(str(w) for w in words))
    del trail[:-60]


def stamped(stamp, offset, length):
    """What `write OFFSET LENGTH STAMP` writes."""
    return b"".join(struct.pack("<QQ", stamp, n) * 32 for n in range(offset // SECTOR, (offset + length) // SECTOR))


class Error(Exception):
    """Our tool answered "error ERRNO REASON"."""

    def __init__(self, line):
        super().__init__(line)
        self.errno, self.reason = int(line.split()[1]), line.split(" ", 2)[2]


class Tool:
    """Our tool with an image open. chain: "raw:PATH" or "qcow2:PATH" of what is below. Error when it does not open."""

    def __init__(self, path, chain=(), options=(), env=None):
        words = [str(w) for w in (TOOL, *options, path, *chain)]
        note(words)
        self.path = path
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
        self.rest = b""
        try:
            self.answer()
        except Error:
            self.process.wait()
            raise

    def send(self, *words):
        note(words)
        self.process.stdin.write(" ".join(str(w) for w in words).encode() + b"\n")
        self.process.stdin.flush()

    def died(self, why):
        self.process.kill()
        _, said = self.process.communicate()
        return AssertionError(f"qcow2_tool {why}: exit {self.process.returncode}\n{said.decode(errors='replace')}")

    def answer(self):
        """The words after "ok"."""
        while b"\n" not in self.rest:
            if not select.select([self.process.stdout], [], [], ANSWER_SECONDS)[0]:
                raise self.died(f"does not answer to: {trail[-1]}")
            more = os.read(self.process.stdout.fileno(), 1 << 20)
            if not more:
                self.process.wait()
                raise self.died(f"ended at: {trail[-1]}")
            self.rest += more
        line, self.rest = self.rest.split(b"\n", 1)
        line = line.decode()
        note(["   ", line[:200]])
        if line.startswith("error"):
            raise Error(line)
        assert line.split()[:1] == ["ok"], line
        return line.split()[1:]

    def __call__(self, *words):
        try:
            self.send(*words)
        except BrokenPipeError:
            raise self.died(f"ended before: {trail[-1]}") from None
        return self.answer()

    def status(self):
        return {k: int(v) for k, v in (w.split("=") for w in self("status"))}

    def extents(self, length):
        """[(offset, length, flags)], neighbours that are alike joined."""
        found, at = [], 0
        for word in self("extents", 0, length):
            n, flags = (int(x) for x in word.split(":"))
            if found and found[-1][2] == flags:
                found[-1] = (found[-1][0], found[-1][1] + n, flags)
            else:
                found.append((at, n, flags))
            at += n
        assert at == length, (at, length)
        return found

    def close(self):
        """It must close without an error, and say nothing on standard error (a sanitizer would)."""
        self("close")
        _, said = self.process.communicate(timeout=ANSWER_SECONDS)
        assert self.process.returncode == 0 and not said, f"qcow2_tool: exit {self.process.returncode}\n{said.decode(errors='replace')}"

    def kill(self):
        self.process.kill()
        _, said = self.process.communicate()
        released(self.path)
        assert not said, f"qcow2_tool said before it was killed:\n{said.decode(errors='replace')}"

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        if kind:
            self.process.kill()
            self.process.communicate()
        else:
            self.close()


def released(path):
    """Waits until nobody holds the file: io_uring's operations in flight outlive a process that was killed."""
    whole = struct.pack("hhlliI", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0, 0)
    deadline = time.monotonic() + ANSWER_SECONDS
    with open(path, "r+b") as f:
        while True:
            try:
                fcntl.fcntl(f, F_OFD_SETLK, whole)
                return
            except BlockingIOError:
                assert time.monotonic() < deadline, f"{path} stays locked"
                time.sleep(0.001)


def peer(*words, statuses=(0,)):
    """Runs one of QEMU's programs; its standard output."""
    words = [str(w) for w in words]
    note(words)
    p = subprocess.run(words, capture_output=True, text=True, timeout=ANSWER_SECONDS, stdin=subprocess.DEVNULL)
    if p.returncode not in statuses:
        raise AssertionError(f"{' '.join(words)}: exit {p.returncode}\n{p.stdout}{p.stderr}")
    return p.stdout


def peer_fails(*words):
    note(words)
    return subprocess.run([str(w) for w in words], capture_output=True, timeout=ANSWER_SECONDS, stdin=subprocess.DEVNULL).returncode != 0


def create(path, size=None, backing=None, **options):
    words = ["qemu-img", "create", "-q", "-f", "qcow2"]
    if backing:
        words += ["-b", backing[1], "-F", backing[0]]
    if options:
        words += ["-o", ",".join(f"{k}={v}" for k, v in options.items())]
    peer(*words, path, *([size] if size is not None else []))


def pad(path, unit=4096):
    """QEMU's image files may end anywhere; a device has whole blocks."""
    unit = max(unit, 4096)
    os.truncate(path, -(-os.path.getsize(path) // unit) * unit)


def check(path, leaks=False):
    """`qemu-img check` finds nothing, or (leaks) nothing but leaks; returns how many of these."""
    out = json.loads(peer("qemu-img", "check", "-f", "qcow2", "--output=json", path, statuses=(0, 2, 3)))
    bad = {k: out[k] for k in ("corruptions", "check-errors") if out.get(k)}
    if out.get("leaks") and not leaks:
        bad["leaks"] = out["leaks"]
    if bad:
        text = subprocess.run(["qemu-img", "check", "-f", "qcow2", path], capture_output=True, text=True)
        raise AssertionError(f"qemu-img check {path}: {bad}\n{(text.stdout + text.stderr)[:3000]}")
    return out.get("leaks", 0)


def info(path):
    return json.loads(peer("qemu-img", "info", "-f", "qcow2", "--output=json", path))


def crc(data, offset, length):
    return f"{zlib.crc32(data[offset:offset + length]):08x}"


class Model:
    """What a guest reads, in a raw file that is mapped: others (qemu-img compare, our tool) may look at it and write it."""

    def __init__(self, path, size):
        self.path = path
        with open(path, "wb") as f:
            f.truncate(size)
        self.map()

    def map(self):
        with open(self.path, "r+b") as f:
            self.data = mmap.mmap(f.fileno(), 0)

    @property
    def size(self):
        return len(self.data)

    def resize(self, size):
        old = self.size
        self.data.close()
        os.truncate(self.path, size)
        self.map()
        if size > old:
            self.data[old:] = bytes(size - old)

    def set(self, data):
        """Another disk, of another size perhaps."""
        self.resize(len(data))
        self.data[:] = data

    def put(self, offset, data):
        self.data[offset:offset + len(data)] = data

    def adopt(self, offset, found, new=None):
        """A discard, or a write that failed, leaves what was there or what was to be (zeros, or `new`), sector by sector."""
        for at in range(0, len(found), SECTOR):
            now, was = found[at:at + SECTOR], self.data[offset + at:offset + at + SECTOR]
            wanted = new[at:at + SECTOR] if new else bytes(SECTOR)
            assert now in (was, wanted), f"sector {(offset + at) // SECTOR} holds neither what it had nor what was to be there"
        self.put(offset, found)

    def is_zero(self, offset, length):
        return not self.data[offset:offset + length].strip(b"\0")

    def compare(self, path):
        p = subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "qcow2", self.path, path], capture_output=True, text=True)
        assert p.returncode == 0, f"qemu-img compare of the model with {path}: {p.stdout}{p.stderr}"


def crashed(before, state_path, found, where):
    """Holds `found` against what was there before `parallel` and the state that it left (tests/qcow2/parallel.c)."""
    n = len(before) // SECTOR
    with open(state_path, "rb") as f:
        numbers = struct.unpack(f"<{4 * n}Q", f.read(32 * n))
    begun, durable, zeroed = numbers[:n], numbers[2 * n:3 * n], numbers[3 * n:]
    zeros = bytes(SECTOR)
    for i in range(n):
        now = found[i * SECTOR:(i + 1) * SECTOR]
        if not begun[i] or (not durable[i] and now == before[i * SECTOR:(i + 1) * SECTOR]):
            good = now == before[i * SECTOR:(i + 1) * SECTOR]
        elif now == zeros:
            good = zeroed[i] and zeroed[i] >= durable[i]
        else:
            stamp, sector = struct.unpack_from("<QQ", now)
            good = now == struct.pack("<QQ", stamp, sector) * 32 and sector == i and durable[i] <= 2 * stamp <= begun[i]
        if not good:
            what = "zeros" if now == zeros else "as before the run" if now == before[i * SECTOR:(i + 1) * SECTOR] \
                else "stamp %d of sector %d" % struct.unpack_from("<QQ", now)
            raise AssertionError(f"{where}, sector {i} holds {what}; durable {durable[i] / 2}, begun {begun[i] / 2}, "
                                 f"zeroed {zeroed[i] / 2} (halves: zeros)")
