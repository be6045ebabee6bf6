#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The NBD server and the clients that people use: nbdinfo, nbdcopy, libnbd, qemu-img, qemu-io, fio. One member behind it, without the daemon."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from host import BUILD, run, size  # noqa: E402

try:
    import nbd
except ImportError:
    print("no libnbd for Python")
    sys.exit(77)

LENGTH = size("64M")


class Served:
    """nbd_serve on a file of LENGTH (self.file), or on memory."""

    def __init__(self, memory=False):
        self.tmp = tempfile.TemporaryDirectory(prefix="ashlar-nbd.")
        self.file, self.socket, self.log = (os.path.join(self.tmp.name, n) for n in ("disk", "sock", "log"))
        self.uri = f"nbd+unix:///disk?socket={self.socket}"
        if not memory:
            with open(self.file, "wb") as f:
                f.truncate(LENGTH)
        what = str(LENGTH) if memory else self.file
        with open(self.log, "w") as log:
            self.process = subprocess.Popen([os.path.join(BUILD, "tests", "bench", "nbd_serve"), self.socket, what, "2"], stderr=log,
                                            stdin=subprocess.DEVNULL)
        for _ in range(200):
            if os.path.exists(self.socket):
                return
            time.sleep(0.05)
        raise AssertionError(self.log_text())

    def log_text(self):
        with open(self.log) as f:
            return f.read()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(20)
        if status:
            raise AssertionError(f"nbd_serve: exit {status}\n{self.log_text()}")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        try:
            if self.process.poll() is None:
                self.stop()
        finally:
            self.process.kill()
            self.tmp.cleanup()

    def connect(self, allocation=True):
        h = nbd.NBD()
        if allocation:
            h.add_meta_context("base:allocation")
        h.connect_uri(self.uri)
        return h

    def random_file(self):
        path = os.path.join(self.tmp.name, "random")
        with open(path, "wb") as f:
            for i in range(LENGTH >> 20):
                f.seek(i << 20)
                f.write(os.urandom(1 << 20) if i % 3 else b"")
            f.truncate(LENGTH)
        return path


class Nbdinfo(unittest.TestCase):
    def test_what_is_offered(self):
        with Served() as s:
            e = json.loads(run("nbdinfo", "--json", s.uri))["exports"][0]
            self.assertEqual((e["export-name"], e["export-size"], e["contexts"]), ("disk", LENGTH, ["base:allocation"]))
            for name in ("can_df", "can_fast_zero", "can_flush", "can_fua", "can_multi_conn", "can_trim", "can_zero"):
                self.assertTrue(e[name], name)
            self.assertFalse(e["is_read_only"])
            self.assertIn(e["block_size_minimum"], (1, 512, 4096))
            self.assertEqual(e["block_size_maximum"], 32 << 20)
            self.assertEqual(run("nbdinfo", "--size", f"nbd+unix:///?socket={s.socket}").strip(), str(LENGTH))
            exports = json.loads(run("nbdinfo", "--json", "--list", s.uri))["exports"]
            self.assertEqual([x["export-name"] for x in exports], ["disk"])
            with self.assertRaises(AssertionError):
                run("nbdinfo", f"nbd+unix:///none?socket={s.socket}")


class Copies(unittest.TestCase):
    def test_nbdcopy(self):
        for memory in (False, True):
            with self.subTest(memory=memory), Served(memory) as s:
                there, back = s.random_file(), os.path.join(s.tmp.name, "back")
                run("nbdcopy", "--flush", there, s.uri)
                run("nbdcopy", s.uri, back)
                run("cmp", there, back)
                if not memory:
                    run("cmp", there, s.file)

    def test_sparse_file(self):
        with Served() as s:
            run("nbdcopy", "--destination-is-zero", s.random_file(), s.uri)
            extents = json.loads(run("nbdinfo", "--map", "--json", s.uri))
            self.assertEqual(sum(e["length"] for e in extents), LENGTH)
            self.assertTrue(any(e["type"] == 3 for e in extents), extents)
            self.assertTrue(any(e["type"] == 0 for e in extents), extents)

    def test_qemu_img(self):
        with Served() as s:
            there, back = s.random_file(), os.path.join(s.tmp.name, "back.qcow2")
            run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", "-W", "-m", "8", there, s.uri)
            run("qemu-img", "compare", "-f", "raw", "-F", "raw", there, s.uri)
            run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", s.uri, back)
            run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", there, back)
            self.assertEqual(json.loads(run("qemu-img", "info", "--output=json", "-f", "raw", s.uri))["virtual-size"], LENGTH)


class QemuIo(unittest.TestCase):
    def test_commands(self):
        with Served() as s:
            commands = ("write -P 0x5a 0 8M", "write -f -P 0xa5 1M 64k", "read -P 0x5a 0 1M", "read -P 0xa5 1M 64k", "write -z 2M 1M",
                        "write -z -u 4M 1M", "write -z -n 5M 64k", "discard 6M 1M", "flush", "read -P 0 2M 1M", "read -P 0 4M 1M",
                        "read -P 0 5M 64k", "read -P 0x5a 7M 1M", "aio_write -P 1 16M 4M", "aio_write -P 2 20M 4M", "aio_flush",
                        "read -P 1 16M 4M", "read -P 2 20M 4M")
            out = run("qemu-io", "-f", "raw", *(x for c in commands for x in ("-c", c)), s.uri)
            self.assertNotIn("fail", out.lower())
            with self.assertRaises(AssertionError):
                run("qemu-io", "-f", "raw", "-c", f"read {LENGTH} 512", s.uri)


class Libnbd(unittest.TestCase):
    def test_errors(self):
        with Served() as s:
            h = s.connect(allocation=False)
            h.set_strict_mode(0)
            block = h.get_block_size(nbd.SIZE_MINIMUM)
            cases = [(lambda: h.pread(block, LENGTH), "EINVAL"), (lambda: h.pwrite(bytes(block), LENGTH), "ENOSPC"),
                     (lambda: h.pread(33 << 20, 0), "EINVAL"), (lambda: h.zero(block, LENGTH), "ENOSPC"),
                     (lambda: h.trim(block, LENGTH), "EINVAL"), (lambda: h.block_status(block, 0, lambda *a: 0), "EINVAL"),
                     (lambda: h.pwrite(bytes(33 << 20), 0), "EINVAL"), (lambda: h.cache(block, 0), "EINVAL"),
                     (lambda: h.flush(1 << 9), "EINVAL"), (lambda: h.pread(block, 0, 1 << 9), "EINVAL")]
            if block > 1:
                cases += [(lambda: h.pread(block, 1), "EINVAL"), (lambda: h.pwrite(bytes(block + 1), 0), "EINVAL")]
            for i, (call, name) in enumerate(cases):
                with self.subTest(i):
                    with self.assertRaises(nbd.Error) as e:
                        call()
                    self.assertEqual(e.exception.errno, name)
            h.flush()
            h.shutdown()

    def test_many_in_flight(self):
        with Served() as s:
            h, data = s.connect(), [os.urandom(64 << 10) for _ in range(16)]
            for base in range(0, LENGTH, 16 << 20):
                for i in range(256):
                    h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data[i % 16])), base + (i << 16))
                while h.aio_in_flight():
                    h.poll(-1)
            buffers = [nbd.Buffer(64 << 10) for _ in range(1024)]
            for i, b in enumerate(buffers):
                h.aio_pread(b, i << 16)
            while h.aio_in_flight():
                h.poll(-1)
            for i, b in enumerate(buffers):
                self.assertEqual(b.to_bytearray(), data[i % 16], i)
            h.shutdown()

    def test_connections_see_one_another(self):
        with Served() as s:
            a, b = s.connect(), s.connect()
            self.assertTrue(a.can_multi_conn())
            for i in range(100):
                a.pwrite(bytes([i]) * 4096, i << 12)
                self.assertEqual(b.pread(4096, i << 12), bytes([i]) * 4096)
            b.flush()
            a.pwrite(b"x" * 4096, 0, nbd.CMD_FLAG_FUA)
            a.zero(4096, 4096, nbd.CMD_FLAG_NO_HOLE)
            self.assertEqual(b.pread(4096, 4096), bytes(4096))
            b.shutdown()
            a.shutdown()

    def test_block_status(self):
        with Served() as s:
            h, found = s.connect(), []
            h.pwrite(b"x" * (1 << 20), 8 << 20)
            h.block_status(LENGTH, 0, lambda name, offset, entries, err: found.extend(entries) or 0)
            self.assertEqual(sum(found[::2]), LENGTH)
            self.assertEqual(found[:6], [8 << 20, 3, 1 << 20, 0, LENGTH - (9 << 20), 3])
            found.clear()
            h.block_status(LENGTH, 0, lambda name, offset, entries, err: found.extend(entries) or 0, nbd.CMD_FLAG_REQ_ONE)
            self.assertEqual(found, [8 << 20, 3])
            h.trim(1 << 20, 8 << 20)
            self.assertEqual(h.pread(1 << 20, 8 << 20), bytes(1 << 20))
            h.shutdown()


class Fio(unittest.TestCase):
    def words(self, s, *more):
        return ["fio", "--name=x", "--ioengine=nbd", f"--uri={s.uri}", "--size=32M", *more]

    def test_verify(self):
        for memory in (False, True):
            for bs, depth in (("4k", 1), ("4k", 64), ("64k", 32), ("1M", 8), ("512-64k", 16)):
                with self.subTest(memory=memory, bs=bs, depth=depth), Served(memory) as s:
                    run(*self.words(s, "--rw=randwrite", f"--bsrange={bs}" if "-" in bs else f"--bs={bs}", f"--iodepth={depth}",
                                    "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0", "--do_verify=1", "--bs_unaligned=0"))

    def test_a_client_that_is_killed(self):
        with Served() as s:
            for _ in range(5):
                p = subprocess.Popen(self.words(s, "--rw=randrw", "--bs=64k", "--iodepth=32", "--time_based=1", "--runtime=30"),
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(0.5)
                p.kill()
                p.wait()
            run("nbdinfo", s.uri)

    def test_a_server_that_stops(self):
        with Served() as s:
            p = subprocess.Popen(self.words(s, "--rw=randrw", "--bs=4k", "--iodepth=32", "--time_based=1", "--runtime=30"),
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.5)
            s.stop()
            self.assertNotEqual(p.wait(20), 0)


if __name__ == "__main__":
    unittest.main()
