#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""kill -9 of the daemon under load: after the restart nothing that was acknowledged is lost."""
import os
import random
import subprocess
import sys
import threading
import time
import unittest

import nbd

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from host import Host, run, size  # noqa: E402

BLOCK = 4096


class Writer:
    """Writes numbered blocks at random places, several at a time, until the connection breaks; knows what each block may hold."""

    def __init__(self, uri, seed, blocks):
        self.h = nbd.NBD()
        self.h.connect_uri(uri)
        self.random = random.Random(seed)
        self.blocks = blocks
        self.number = 0
        self.acknowledged = {}  # block -> number
        self.in_flight = {}  # block -> numbers that may have arrived

    @staticmethod
    def content(block, number):
        return (b"%012d:%012d;" % (block, number)).ljust(32, b".") * (BLOCK // 32)

    def run(self):
        try:
            while True:
                self.step()
        except nbd.Error:
            pass

    def step(self):
        pending = []
        for block in self.random.sample(range(self.blocks), 8):
            self.number += 1
            buf = nbd.Buffer.from_bytearray(bytearray(self.content(block, self.number)))
            self.in_flight.setdefault(block, []).append(self.number)
            flags = nbd.CMD_FLAG_FUA if self.random.random() < 0.1 else 0
            pending.append((self.h.aio_pwrite(buf, block * BLOCK, flags=flags), block, self.number))
        for cookie, block, number in pending:
            while not self.h.aio_command_completed(cookie):
                self.h.poll(-1)
            self.acknowledged[block] = number
            self.in_flight.pop(block, None)

    def verify(self, data):
        """A host that survives keeps its page cache, so acknowledged is enough."""
        wrong = []
        for block in range(self.blocks):
            allowed = [self.content(block, n) for n in self.in_flight.get(block, [])]
            if block in self.acknowledged:
                allowed.append(self.content(block, self.acknowledged[block]))
            else:
                allowed.append(bytes(BLOCK))
            if data[block * BLOCK:(block + 1) * BLOCK] not in allowed:
                wrong.append((block, data[block * BLOCK:block * BLOCK + 32]))
        return wrong


class Crash(unittest.TestCase):
    def test_nothing_acknowledged_is_lost(self):
        with Host() as h:
            m = h.members(5, "64M")
            h.ashlar("array", "create", "a0", "--level", 10, "--chunk", "64K", "--spare", m[4], *m[:4])
            h.ashlar("vg", "create", "vg", "a0")
            for seed in range(4):
                with self.subTest(seed=seed):
                    self.once(h, m, seed)

    def once(self, h, m, seed):
        target = f"vg/v{seed}"
        h.ashlar("volume", "create", target, "--size", "16M")
        w = Writer(h.uri(target), seed, size("16M") // BLOCK)
        t = threading.Thread(target=w.run)
        t.start()
        time.sleep(0.5 + 0.3 * seed)
        if seed == 2:  # and with a member that fails, so that recovery is under way
            h.ashlar("array", "fail", "a0", m[0])
        h.kill()
        t.join()
        self.assertGreater(len(w.acknowledged), 20)
        h.start()
        back = os.path.join(h.dir, "back")
        run("nbdcopy", h.uri(target), back)
        with open(back, "rb") as f:
            self.assertEqual(w.verify(f.read())[:4], [])
        h.wait_idle("a0")
        h.ashlar("array", "check", "a0")
        self.assertEqual(h.array("a0")["sync"]["mismatch_bytes"], 0)

    def test_fio_verify(self):
        """fio's own word: what a first job wrote and synced is whole after a second job was cut off."""
        with Host() as h:
            m = h.members(2, "128M")
            h.ashlar("array", "create", "a0", "--level", 1, *m)
            h.ashlar("vg", "create", "vg", "a0")
            h.ashlar("volume", "create", "vg/v", "--size", "64M")
            common = ["fio", "--ioengine=nbd", f"--uri={h.uri('vg/v')}", "--bs=4k", "--iodepth=16", "--verify=crc32c", "--output=/dev/null"]
            first = ["--name=first", "--rw=randwrite", "--offset=0", "--size=16M"]
            run(*common, *first, "--do_verify=0", "--end_fsync=1", cwd=h.dir)
            second = subprocess.Popen([*common, "--name=second", "--rw=randwrite", "--offset=16M", "--size=32M", "--do_verify=0", "--time_based=1",
                                       "--runtime=20"], cwd=h.dir, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(1)
            h.kill()
            self.assertNotEqual(second.wait(60), 0)
            h.start()
            run(*common, *first, "--verify_only=1", cwd=h.dir)


if __name__ == "__main__":
    unittest.main()
