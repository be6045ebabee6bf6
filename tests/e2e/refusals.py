#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bad input: each gets a clear reason and loses nothing."""
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from host import Host, run, size  # noqa: E402


def patch(path, offset, data):
    with open(path, "r+b") as f:
        f.seek(offset)
        f.write(data)


def patch_superblock(path, offset, data):
    """Changes a field and makes the checksum right again, so that the field itself is what is refused."""
    with open(path, "r+b") as f:
        f.seek(4096)
        sb = bytearray(f.read(4096))
        sb[offset:offset + len(data)] = data
        sb[216:220] = bytes(4)
        length = 256 + 2 * struct.unpack_from("<I", sb, 220)[0]
        total = sum(struct.unpack_from(f"<{length // 4}I", sb)) + (struct.unpack_from("<H", sb, length - 2)[0] if length % 4 else 0)
        struct.pack_into("<I", sb, 216, ((total & 0xffffffff) + (total >> 32)) & 0xffffffff)
        f.seek(4096)
        f.write(sb)


class Members(unittest.TestCase):
    def test_members_that_must_not_be_taken(self):
        with Host() as h:
            m = h.members(3, "64M")
            small = h.file("small", "1M")
            self.assertIn(small, h.refusal("array", "create", "a", "--level", 1, m[0], small))
            self.assertIn("No such file", h.refusal("array", "create", "a", "--level", 1, m[0], os.path.join(h.dir, "none")))
            self.assertIn("regular file", h.refusal("array", "create", "a", "--level", 1, m[0], h.dir))
            run("/usr/sbin/mke2fs", "-q", "-t", "ext4", m[1])
            reason = h.refusal("array", "create", "a", "--level", 1, m[0], m[1])
            self.assertIn("ext4", reason)
            self.assertIn("--force", reason)
            h.ashlar("array", "create", "a", "--level", 1, "--force", m[0], m[1])
            # in use by an array of ours; the force that overrides signatures does not override that
            self.assertIn(m[0], h.refusal("array", "create", "b", "--level", 1, "--force", m[0], m[2]))
            self.assertIn(m[0], h.refusal("vg", "create", "vg", "--force", m[0]))
            self.assertEqual([a["name"] for a in h.ashlar("array", "list")["arrays"]], ["a"])

    def test_a_member_twice(self):
        with Host() as h:
            m = h.members(1, "64M")
            h.refusal("array", "create", "a", "--level", 1, m[0], m[0])

    @unittest.skipIf(os.geteuid() != 0, "mounting and loop devices need root")
    def test_mounted_and_held(self):
        with Host() as h:
            image = h.file("fs", "32M")
            other = h.file("other", "64M")
            run("/usr/sbin/mke2fs", "-q", "-t", "ext4", image)
            loop = run("/sbin/losetup", "-f", "--show", image).strip()
            try:
                reason = h.refusal("array", "create", "a", "--level", 1, "--force", image, other)
                self.assertIn(os.path.basename(loop), reason)
                mnt = os.path.join(h.dir, "mnt")
                os.mkdir(mnt)
                run("mount", loop, mnt)
                try:
                    self.assertIn(mnt, h.refusal("array", "create", "a", "--level", 1, "--force", loop, other))
                finally:
                    run("umount", mnt)
            finally:
                run("/sbin/losetup", "-d", loop)

    def test_two_arrays_of_one_name(self):
        with Host() as h:
            m = h.members(4, "64M")
            h.ashlar("array", "create", "a", "--level", 1, *m[:2])
            self.assertIn("a", h.refusal("array", "create", "a", "--level", 1, *m[2:]))

    def test_a_member_of_another_array(self):
        with Host() as h:
            m = h.members(4, "64M")
            h.ashlar("array", "create", "a", "--level", 1, *m[:2])
            h.ashlar("array", "create", "b", "--level", 1, *m[2:])
            h.ashlar("array", "stop", "a")
            h.ashlar("array", "stop", "b")
            h.refusal("array", "assemble", "a", m[0], m[2])
            h.ashlar("array", "assemble", "a", *m[:2])
            self.assertIn(m[2], h.refusal("array", "add", "a", m[2]))

    def test_bad_parameters(self):
        with Host() as h:
            m = h.members(3, "64M")
            for words in (("--level", 4, *m), ("--level", 99, *m), ("--level", 10, "--layout", "near9", *m), ("--level", 10, "--layout", "x", *m),
                          ("--level", 10, "--chunk", "3K", *m), ("--level", 10, m[0]), ("--level", 1, "--layout", "far2", *m),
                          ("--level", 10, "--chunk", "1T", *m), ("--level", 0, "missing", m[0])):
                h.refusal("array", "create", "a", *words)
            for name in ("", "a/b", "x" * 64, "a b", ".."):
                h.refusal("array", "create", name, "--level", 1, *m)


class Superblocks(unittest.TestCase):
    def test_parity_dirty_and_degraded(self):
        """As the kernel leaves it in a power cut: with a member away it stays down until it is forced."""
        with Host() as h:
            m = h.members(4, "64M")
            h.ashlar("array", "create", "a", "--level", 6, *m)
            h.ashlar("array", "sync", "a")
            h.stop()
            for path in m:
                patch_superblock(path, 208, bytes(8))  # resync_offset
                patch_superblock(path, 192, struct.pack("<Q", 1700000000))  # utime
            os.rename(m[3], m[3] + ".away")
            h.start()
            missing = {x["name"]: x["reason"] for x in h.ashlar("status")["missing"]}
            self.assertIn("not stopped cleanly", missing["a"])
            self.assertIn("not stopped cleanly", h.refusal("array", "show", "a"))
            self.assertEqual(h.ashlar("scan", "--force", *m[:3])["arrays"], [])
            self.assertIn("force", h.refusal("array", "assemble", "a", *m[:3]))
            self.assertEqual(h.ashlar("array", "assemble", "--force", "a", *m[:3])["state"], "degraded")

    def test_damaged_and_foreign(self):
        with Host() as h:
            m = h.members(2, "64M")
            h.ashlar("array", "create", "a", "--level", 1, *m)
            h.ashlar("array", "stop", "a")
            fields = [("checksum", None, 4096 + 100, b"\x01\x02\x03\x04"), ("feature", "feature", 8, struct.pack("<I", 1 << 31)),
                      ("major version", None, 4, struct.pack("<I", 3)), ("level", None, 72, struct.pack("<i", 77)),
                      ("raid disks", None, 92, struct.pack("<I", 1 << 20)), ("size", None, 80, struct.pack("<Q", 1 << 62)),
                      ("data offset", None, 128, struct.pack("<Q", 3)), ("reshape", "reshape", 8, struct.pack("<I", 4 | 1)),
                      ("dev number", None, 160, struct.pack("<I", 5000))]
            for what, word, offset, data in fields:
                with self.subTest(what):
                    copies = []
                    for path in m:
                        copy = h.file(os.path.basename(path) + ".copy", 0)
                        shutil.copyfile(path, copy)
                        if offset >= 4096:
                            patch(copy, offset, data)
                        else:
                            patch_superblock(copy, offset, data)
                        copies.append(copy)
                    before = [open(c, "rb").read() for c in copies]
                    reason = h.refusal("array", "assemble", "a", *copies)
                    self.assertIn(word or copies[0], reason)
                    self.assertEqual([open(c, "rb").read() for c in copies], before)
            h.ashlar("array", "assemble", "a", *m)

    def test_stale_member(self):
        with Host() as h:
            m = h.members(2, "64M")
            h.ashlar("array", "create", "a", "--level", 1, *m)
            h.wait_idle("a")
            h.ashlar("array", "stop", "a")
            stale = h.file("stale", 0)
            shutil.copyfile(m[1], stale)
            h.ashlar("array", "assemble", "a", *m)
            h.ashlar("array", "fail", "a", m[1])
            h.ashlar("array", "remove", "a", m[1])
            run("qemu-io", "-f", "raw", "-c", "write -P 0x5a 0 8M", "-c", "flush", h.uri("a"))
            h.ashlar("export", "remove", "a")
            h.ashlar("array", "stop", "a")
            h.ashlar("array", "assemble", "a", m[0], stale)
            run("qemu-io", "-f", "raw", "-c", "read -P 0x5a 0 8M", h.uri("a"))
            h.wait_idle("a")
            h.ashlar("export", "remove", "a")


class Groups(unittest.TestCase):
    def test_groups_and_volumes(self):
        with Host() as h:
            pv = h.members(3, "64M", prefix="pv")
            h.ashlar("vg", "create", "vg", pv[0], pv[1])
            self.assertIn("free", h.refusal("volume", "create", "vg/big", "--size", "10G"))
            h.ashlar("volume", "create", "vg/v", "--size", "8M")
            self.assertIn("v", h.refusal("volume", "create", "vg/v", "--size", "8M"))
            self.assertIn("vg", h.refusal("vg", "create", "vg", pv[2]))
            self.assertIn("v", h.refusal("vg", "remove", "vg"))
            h.refusal("volume", "resize", "vg/v", "+10G")
            h.refusal("volume", "resize", "vg/v", "-8M", "--force")
            h.refusal("volume", "show", "vg/none")
            h.refusal("vg", "show", "none")
            h.refusal("volume", "create", "none/v", "--size", "8M")
            h.refusal("volume", "create", "vg/w", "--size", "0")
            h.refusal("volume", "create", "vg/w", "--size", "8M", "--format", "qcow3")
            for name in ("a b", "x" * 200, ".", "-x"):
                h.refusal("volume", "create", f"vg/{name}", "--size", "8M")
            h.ashlar("export", "add", "vg/v", "--nbd")
            self.assertIn("export", h.refusal("volume", "remove", "vg/v"))
            self.assertEqual(h.ashlar("volume", "show", "vg/v")["size_bytes"], size("8M"))

    def test_a_damaged_copy_is_repaired_and_a_damaged_group_refused(self):
        with Host() as h:
            pv = h.members(2, "64M", prefix="pv")
            h.ashlar("vg", "create", "vg", *pv)
            h.ashlar("volume", "create", "vg/v", "--size", "8M")
            h.stop()
            patch(pv[0], 4096 + 100, b"\xff" * 400)  # the metadata area's header fails its CRC
            h.start()
            self.assertEqual(h.ashlar("volume", "show", "vg/v")["size_bytes"], size("8M"))
            h.stop()
            with open(pv[0], "rb") as f:
                f.seek(4096 + 4)
                self.assertEqual(f.read(4), b" LVM")
            for path in pv:
                patch(path, 4096 + 512, b"\xff" * (64 << 10))  # every text, everywhere
            before = [open(p, "rb").read() for p in pv]
            h.start()
            self.assertEqual(h.ashlar("vg", "list")["vgs"], [])
            h.refusal("vg", "create", "vg", *pv)
            self.assertEqual([open(p, "rb").read() for p in pv], before)

    def test_a_missing_pv(self):
        with Host() as h:
            pv = h.members(2, "64M", prefix="pv")
            h.ashlar("vg", "create", "vg", *pv)
            h.ashlar("volume", "create", "vg/one", "--size", "40M")
            h.ashlar("volume", "create", "vg/two", "--size", "40M")
            h.stop()
            os.rename(pv[1], pv[1] + ".away")
            h.start()
            vg = h.ashlar("vg", "show", "vg")
            self.assertTrue(vg["partial"])
            h.refusal("volume", "create", "vg/w", "--size", "4M")
            h.refusal("volume", "resize", "vg/one", "+4M")
            run("nbdinfo", h.uri("vg/one"))
            h.refusal("export", "add", "vg/two", "--nbd")
            h.stop()
            os.rename(pv[1] + ".away", pv[1])
            h.start()
            self.assertFalse(h.ashlar("vg", "show", "vg")["partial"])


class Rpc(unittest.TestCase):
    def talk(self, h, data):
        """What the daemon answers to raw bytes until it closes or has answered a line."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(h.socket)
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
            except BrokenPipeError:
                pass
            out = b""
            try:
                while chunk := s.recv(65536):
                    out += chunk
            except ConnectionResetError:
                pass
            return [json.loads(line) for line in out.splitlines()]

    def test_malformed(self):
        with Host() as h:
            def code(data):
                answers = self.talk(h, data)
                return answers[0]["error"]["code"] if answers else None
            self.assertEqual(code(b"{\n"), -32700)
            self.assertEqual(code(b"\xff\xfe\n"), -32700)
            self.assertEqual(code(b"[]\n"), -32600)
            self.assertEqual(code(b'{"jsonrpc":"2.0","id":1}\n'), -32600)
            self.assertEqual(code(b'{"jsonrpc":"2.0","id":1,"method":"no.such"}\n'), -32601)
            self.assertEqual(code(b'{"jsonrpc":"2.0","id":1,"method":"array.show","params":{}}\n'), -32602)
            self.assertEqual(code(b'{"jsonrpc":"2.0","id":1,"method":"array.show","params":{"name":7}}\n'), -32602)
            self.assertEqual(code(b'{"jsonrpc":"2.0","id":1,"method":"array.show","params":{"name":"a","more":1}}\n'), -32602)
            self.assertEqual(code(b"[" * 100000 + b"\n"), -32700)
            huge = b'{"jsonrpc":"2.0","id":1,"method":"status","params":{"x":"' + b"a" * (3 << 20) + b'"}}\n'
            self.assertIn(code(huge), (-32700, -32600, None))
            self.assertEqual(self.talk(h, b'{"jsonrpc":"2.0","id":1,"method":"sta'), [])
            h.ashlar("status")

    def test_describe_lists_what_works(self):
        with Host() as h:
            methods = self.talk(h, b'{"jsonrpc":"2.0","id":1,"method":"rpc.describe"}\n')[0]["result"]["methods"]
            names = {m["name"] for m in methods}
            for name in ("array.create", "vg.extend", "volume.resize", "export.add", "job.wait", "status", "events.subscribe"):
                self.assertIn(name, names)
            self.assertTrue(all(m["help"] for m in methods))


class Daemon(unittest.TestCase):
    def test_bad_configuration(self):
        with Host(start=False) as h:
            for text in ("[daemon]\nnonsense = 1\n", "[daemon]\nworkers = many\n", "[nosuch]\nx = 1\n", "[daemon\n"):
                with open(h.config, "w") as f:
                    f.write(text)
                with self.assertRaises(AssertionError) as e:
                    h.start()
                self.assertIn("ashlard.conf", str(e.exception))
                h.daemon = None

    def test_one_daemon_a_state_directory(self):
        with Host() as h:
            p = subprocess.run([h.daemon.args[0], *h.daemon.args[1:3], "--socket", h.socket + "2", *h.daemon.args[5:]], capture_output=True,
                               text=True, timeout=30)
            self.assertNotEqual(p.returncode, 0)
            self.assertIn("state", p.stderr)
            h.ashlar("status")


if __name__ == "__main__":
    unittest.main()
