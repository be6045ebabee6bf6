#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon itself: what it remembers, what it finds, what it refuses to forget."""
import glob
import hashlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from host import BUILD, Host, run, size  # noqa: E402
from pattern import pattern  # noqa: E402


def missing(h):
    return {(m["kind"], os.path.basename(m["name"])): m["reason"] for m in h.ashlar("status")["missing"]}


def states(array):
    return {m["path"]: m["state"] for m in array["members"]}


class Stack(Host):
    """RAID1 over two members, a group on it and on a bare path, a volume on either, three exports."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.m = self.members(2, "64M")
        self.pv = self.file("pv", "64M")
        self.ashlar("array", "create", "a0", "--level", 1, *self.m)
        self.ashlar("vg", "create", "vg", "a0")
        self.ashlar("vg", "create", "bare", self.pv)
        self.ashlar("volume", "create", "vg/v", "--size", "40M")
        self.ashlar("volume", "create", "bare/v", "--size", "40M")
        self.own = os.path.join(self.dir, "own.sock")
        self.ashlar("export", "add", "vg/v", "--nbd")
        self.ashlar("export", "add", "bare/v", "--nbd")
        self.ashlar("export", "add", "bare/v", "--nbd", self.own, "--read-only")
        self.data = {}
        for i, target in enumerate(("vg/v", "bare/v")):
            self.data[target] = pattern(i, size("40M"))
            source = self.file("source", 0)
            with open(source, "wb") as f:
                f.write(self.data[target])
            run("nbdcopy", "--flush", source, self.uri(target))

    def verify(self):
        for target, data in self.data.items():
            back = os.path.join(self.dir, "back")
            run("nbdcopy", self.uri(target), back)
            with open(back, "rb") as f:
                assert f.read() == data, target

    def as_known(self):
        """What must be the same after a restart."""
        s = self.ashlar("status")
        return {"exports": [{k: v for k, v in e.items() if k != "clients"} for e in s["exports"]], "vgs": s["vgs"],
                "arrays": [(a["name"], a["uuid"], states(a)) for a in s["arrays"]], "missing": s["missing"]}


class Restart(unittest.TestCase):
    def test_orderly(self):
        with Stack() as h:
            before = h.as_known()
            h.restart()
            self.assertEqual(h.as_known(), before)
            h.verify()
            self.assertEqual(h.ashlar("job", "list")["jobs"], [])

    def test_kill(self):
        with Stack() as h:
            before = h.as_known()
            h.kill()
            self.assertTrue(os.path.exists(h.socket))  # a dead daemon's socket does not keep the next one out
            h.start()
            self.assertEqual(h.as_known(), before)
            h.verify()

    def test_orderly_under_load(self):
        """What is in flight is answered; the array is clean, so nothing is synced after the start."""
        with Stack() as h:
            h.ashlar("array", "sync", "a0")
            load = subprocess.Popen(["fio", "--name=load", "--ioengine=nbd", f"--uri={h.uri('vg/v')}", "--rw=randwrite", "--bs=4k", "--iodepth=16",
                                     "--size=40M", "--time_based=1", "--runtime=30", "--output=/dev/null"], cwd=h.dir, stderr=subprocess.DEVNULL)
            h.wait("a client", lambda: any(e["clients"] for e in h.ashlar("export", "list")["exports"]))
            time.sleep(0.5)
            h.stop()
            self.assertNotEqual(load.wait(60), 0)
            h.start()
            self.assertEqual(h.array("a0")["unsynced_bytes"], 0)
            self.assertEqual(h.ashlar("job", "list")["jobs"], [])
            h.ashlar("array", "check", "a0")
            self.assertEqual(h.array("a0")["sync"]["mismatch_bytes"], 0)

    def test_recovery_goes_on_after_a_restart(self):
        with Host() as h:
            m = h.members(3, "512M")
            h.ashlar("array", "create", "a0", "--level", 1, *m[:2])
            h.uri("a0")
            h.ashlar("array", "sync", "a0")
            h.ashlar("array", "fail", "a0", m[0])
            h.ashlar("array", "add", "a0", m[2])
            h.restart()
            h.wait_idle("a0")
            a = h.array("a0")
            self.assertEqual((a["state"] in ("clean", "active"), states(a)[m[2]]), (True, "in-sync"))

    def test_removed_things_stay_away(self):
        with Stack() as h:
            h.ashlar("export", "remove", "bare/v")
            h.ashlar("export", "add", "bare/v", "--nbd")
            h.ashlar("export", "remove", "vg/v")
            h.ashlar("volume", "remove", "vg/v")
            h.ashlar("vg", "remove", "vg")
            h.ashlar("array", "stop", "a0")
            self.assertFalse(os.path.exists(h.own))
            h.restart()
            s = h.ashlar("status")
            self.assertEqual((s["arrays"], [v["name"] for v in s["vgs"]], [e["target"] for e in s["exports"]]), ([], ["bare"], ["bare/v"]))

    def test_settings_are_remembered(self):
        with Host() as h:
            h.ashlar("array", "create", "a0", *h.members(2, "32M"), "--level", 1)
            self.assertEqual(h.array("a0")["max_read_errors"], 20)
            self.assertIn("at most", h.refusal("array", "set", "a0", "--max-read-errors", "1000001"))
            self.assertEqual(h.ashlar("array", "set", "a0", "--max-read-errors", "5")["max_read_errors"], 5)
            h.kill()
            h.start()
            self.assertEqual(h.array("a0")["max_read_errors"], 5)

    def test_job_numbers_go_on(self):
        with Stack() as h:
            h.ashlar("array", "check", "a0")
            last = max(j["id"] for j in h.ashlar("job", "list")["jobs"])
            h.restart()
            h.ashlar("array", "check", "a0")
            self.assertGreater(min(j["id"] for j in h.ashlar("job", "list")["jobs"]), last)

    def test_damaged_state_is_kept_aside(self):
        with Stack() as h:
            h.stop()
            state = os.path.join(h.dir, "state", "state.json")
            with open(state, "r+") as f:
                f.truncate(100)
            torn = open(state).read()
            h.start()
            self.assertEqual(h.ashlar("status")["arrays"], [])
            aside = glob.glob(state + ".damaged-*")
            self.assertEqual(len(aside), 1)
            self.assertEqual(open(aside[0]).read(), torn)
            self.assertIn("damaged", h.log_text())
            found = h.ashlar("scan", *h.m, h.pv)
            self.assertEqual((found["arrays"], sorted(found["vgs"])), (["a0"], ["bare", "vg"]))
            h.ashlar("export", "add", "bare/v", "--nbd")
            h.verify()


class Missing(unittest.TestCase):
    def test_degraded_start(self):
        with Stack() as h:
            h.stop()
            os.rename(h.m[0], h.m[0] + ".away")
            h.start()
            self.assertEqual(h.array("a0")["state"], "degraded")
            h.verify()
            h.restart()
            self.assertEqual(h.array("a0")["state"], "degraded")
            h.stop()
            os.rename(h.m[0] + ".away", h.m[0])
            h.start()  # where it was is not forgotten, and the bitmap knows what it has missed
            self.assertIn(h.m[0], states(h.array("a0")))
            h.wait("whole", lambda: h.array("a0")["state"] in ("clean", "active"))
            h.verify()

    def test_everything_away_stays_known(self):
        with Stack() as h:
            before = h.as_known()
            h.stop()
            for path in h.m + [h.pv]:
                os.rename(path, path + ".away")
            h.start()
            self.assertEqual(h.ashlar("status")["arrays"], [])
            self.assertEqual(set(missing(h)), {("array", "a0"), ("pv", "pv"), ("export", "v")})
            self.assertIn("not assembled", h.refusal("array", "show", "a0"))
            h.restart()  # and are not forgotten
            for path in h.m + [h.pv]:
                os.rename(path + ".away", path)
            found = h.ashlar("scan")
            self.assertEqual((found["arrays"], sorted(found["vgs"]), sorted(found["exports"])), (["a0"], ["bare", "vg"], ["bare/v", "vg/v"]))
            self.assertEqual(h.as_known(), before)
            h.verify()

    def test_assembling_by_hand_brings_back_what_stood_on_it(self):
        with Stack() as h:
            before = h.as_known()
            h.stop()
            for path in h.m:
                os.rename(path, path + ".moved")
            h.start()
            h.ashlar("array", "assemble", "a0", *[p + ".moved" for p in h.m])
            after = h.as_known()
            self.assertEqual((after["exports"], after["missing"]), (before["exports"], []))
            h.verify()

    def test_a_missing_array_can_be_forgotten(self):
        with Stack() as h:
            h.stop()
            for path in h.m:
                os.unlink(path)
            h.start()
            h.ashlar("array", "stop", "a0")
            h.ashlar("export", "remove", "vg/v")
            self.assertEqual(missing(h), {})

    def test_one_failure_stops_nothing_else(self):
        with Stack() as h:
            h.stop()
            for path in h.m:
                with open(path, "r+b") as f:
                    f.seek(4096 + 100)
                    f.write(b"damaged")
            h.start()
            self.assertIn("a0", str(missing(h)))
            self.assertEqual([e["target"] for e in h.ashlar("export", "list")["exports"]], ["bare/v", "bare/v"])


    def test_emptied_disks_are_told_apart(self):
        with Stack() as h:
            h.stop()
            for path in h.m + [h.pv]:
                with open(path, "r+b") as f:
                    f.write(bytes(1 << 20))
            h.start()
            self.assertIn("LVM2 label", missing(h)["pv", "pv"])
            self.assertEqual(h.ashlar("status")["arrays"], [])
            # what has been emptied may be used for something else
            h.ashlar("array", "stop", "a0")
            h.ashlar("export", "remove", "vg/v")
            h.ashlar("vg", "create", "new", h.pv)
            h.ashlar("array", "create", "a0", "--level", 1, *h.m)
            h.restart()
            self.assertEqual([v["name"] for v in h.ashlar("vg", "list")["vgs"]], ["new"])


class Scan(unittest.TestCase):
    def test_configured_paths(self):
        with Stack() as h:
            h.stop()
            os.unlink(os.path.join(h.dir, "state", "state.json"))
            with open(h.config, "w") as f:
                f.write(f"[scan]\npaths = {h.dir}/m*\n   {h.pv}\n")
            h.start()
            s = h.ashlar("status")
            self.assertEqual(([a["name"] for a in s["arrays"]], sorted(v["name"] for v in s["vgs"])), (["a0"], ["bare", "vg"]))
            h.stop()
            os.unlink(os.path.join(h.dir, "state", "state.json"))
            with open(h.config, "a") as f:
                f.write("auto_assemble = no\n")
            h.start()
            self.assertEqual(h.ashlar("status")["arrays"], [])
            would = h.ashlar("--dry-run", "scan")["would"]
            self.assertEqual(len([w for w in would if "a0" in w]), 2)
            self.assertEqual(h.ashlar("status")["arrays"], [])
            self.assertEqual(h.ashlar("scan")["arrays"], ["a0"])

    def test_moved_members_are_found_by_uuid(self):
        with Stack() as h:
            h.stop()
            disks = os.path.join(h.dir, "disks")
            os.mkdir(disks)
            for i, path in enumerate(h.m):
                shutil.move(path, os.path.join(disks, f"moved{i}"))
            with open(h.config, "w") as f:
                f.write(f"[scan]\npaths = {disks}\n")
            h.start()
            self.assertEqual(sorted(states(h.array("a0"))), [os.path.join(disks, f"moved{i}") for i in (0, 1)])
            h.verify()

    def test_incomplete_is_left_alone(self):
        with Host() as h:
            m = h.members(2, "64M")
            h.ashlar("array", "create", "a0", "--level", 1, *m)
            h.ashlar("array", "stop", "a0")
            found = h.ashlar("scan", m[0])
            self.assertEqual((found["arrays"], found["found"][0]["taken"]), ([], False))
            self.assertTrue(found["found"][0]["reason"])
            self.assertEqual(h.ashlar("scan", "--force", m[0])["arrays"], ["a0"])
            self.assertEqual(h.array("a0")["state"], "degraded")

    def test_other_things_are_not_opened(self):
        with Host() as h:
            run("/usr/sbin/mke2fs", "-q", "-t", "ext4", h.file("fs", "32M"))
            found = h.ashlar("scan", h.dir)["found"]
            self.assertEqual([(os.path.basename(f["path"]), f["what"], f["taken"]) for f in found if "ext4" in f["what"]],
                             [("fs", found[0]["what"], False)])


    def test_odd_paths(self):
        """Too long to be a device's name, or not text: told, not taken, and nothing else suffers."""
        with Host() as h:
            m = h.members(2, "64M")
            h.ashlar("array", "create", "a0", "--level", 1, *m)
            h.ashlar("array", "stop", "a0")
            odd = os.path.join(h.dir, "odd")
            os.mkdir(odd)
            long = shutil.copy(m[0], os.path.join(odd, "x" * 120))
            os.rename(shutil.copy(m[0], os.path.join(odd, "n")), os.path.join(odd.encode(), b"\xff\xfe"))
            self.assertIn("too long", h.refusal("array", "assemble", "a0", long, m[1]))
            self.assertIn("too long", h.refusal("vg", "create", "vg", long))
            self.assertEqual(h.ashlar("scan", odd)["arrays"], [])
            self.assertEqual(h.ashlar("scan", odd, *m)["arrays"], ["a0"])


class Names(unittest.TestCase):
    def two(self, h):
        """Two arrays of one name; the first is up."""
        m = h.members(4, "64M")
        for pair in (m[2:], m[:2]):
            h.ashlar("array", "create", "twin", "--level", 1, *pair)
            uuid = h.array("twin")["uuid"]
            h.ashlar("array", "stop", "twin")
        h.ashlar("array", "assemble", "twin", *m[:2])
        return m, uuid

    def test_the_second_is_refused_with_both_uuids(self):
        with Host() as h:
            m, uuid = self.two(h)
            reason = h.refusal("array", "assemble", "twin", *m[2:])
            self.assertIn(uuid, reason)
            self.assertIn(h.array("twin")["uuid"], reason)
            found = h.ashlar("scan", *m[2:])
            self.assertEqual(found["arrays"], [])
            self.assertIn(uuid, found["found"][0]["reason"])

    def test_another_name_is_remembered(self):
        with Host() as h:
            m, uuid = self.two(h)
            self.assertEqual(h.ashlar("array", "assemble", "other", *m[2:])["name"], "other")
            h.ashlar("vg", "create", "vg", "other")
            self.assertEqual(h.ashlar("pv", "list")["pvs"][0]["name"], "other")
            h.restart()
            self.assertEqual(sorted(a["name"] for a in h.ashlar("array", "list")["arrays"]), ["other", "twin"])
            self.assertEqual(h.ashlar("vg", "show", "vg")["pvs"], ["other"])

    def test_assembled_twice(self):
        with Host() as h:
            m, _ = self.two(h)
            self.assertIn(m[0], h.refusal("array", "assemble", "again", *m[:2]))


    def test_two_groups_of_one_name(self):
        with Host() as h:
            pv = h.members(2, "32M", prefix="pv")
            uuids = []
            for path in pv:
                h.ashlar("vg", "create", "twin", path)
                uuids.append(h.ashlar("vg", "show", "twin")["uuid"])
                h.stop()
                os.unlink(os.path.join(h.dir, "state", "state.json"))
                h.start()
            self.assertEqual(h.ashlar("scan", pv[0])["vgs"], ["twin"])
            found = h.ashlar("scan", *pv)
            self.assertEqual(found["vgs"], [])
            for uuid in uuids:
                self.assertIn(uuid, found["found"][0]["reason"])
            self.assertEqual(h.ashlar("vg", "show", "twin")["uuid"], uuids[0])

    def test_a_copy_of_a_member(self):
        """Bytes for bytes the same, in a configured path: the array starts from the paths it had."""
        with Stack() as h:
            h.stop()
            copies = os.path.join(h.dir, "copies")
            os.mkdir(copies)
            copy = shutil.copy(h.m[0], copies)
            pv = shutil.copy(h.pv, copies)
            with open(h.config, "w") as f:
                f.write(f"[scan]\npaths = {copies}\n")
            before = [open(p, "rb").read() for p in (copy, pv)]
            h.start()
            self.assertEqual(sorted(states(h.array("a0"))), h.m)
            h.wait("nothing left to do", lambda: h.array("a0")["state"] == "clean")
            self.assertEqual([v["partial"] for v in h.ashlar("vg", "list")["vgs"]], [False, False])
            h.verify()
            found = {f["path"]: f for f in h.ashlar("scan")["found"]}
            self.assertFalse(found[copy]["taken"] or found[pv]["taken"])
            self.assertTrue(found[copy]["reason"] and found[pv]["reason"])
            self.assertEqual([open(p, "rb").read() for p in (copy, pv)], before)


class DryRun(unittest.TestCase):
    def test_every_method_that_changes_disks(self):
        """Nothing changes, neither on the disks nor in the state file."""
        with Stack() as h:
            h.wait_idle("a0")
            h.ashlar("array", "create", "a1", "--level", 1, *h.members(2, "64M", prefix="n"))
            h.ashlar("array", "stop", "a1")
            extra = h.file("extra", "64M")
            h.wait("clean on disk", lambda: h.array("a0")["state"] == "clean")

            def sums():
                files = h.m + [h.pv, extra, os.path.join(h.dir, "state", "state.json")] + glob.glob(os.path.join(h.dir, "n?"))
                return {p: hashlib.sha256(open(p, "rb").read()).hexdigest() for p in files}
            before = sums()
            h.refusal("--dry-run", "array", "stop", "a0")
            h.refusal("--dry-run", "array", "destroy", "a0")
            h.refusal("--dry-run", "array", "create", "a0", "--level", 1, extra, "missing")
            h.refusal("--dry-run", "array", "create", "a2", "--level", 1, h.m[0], "missing")
            h.refusal("--dry-run", "array", "remove", "a0", h.m[0])
            h.refusal("--dry-run", "array", "fail", "a0", extra)
            h.refusal("--dry-run", "vg", "remove", "vg")
            h.refusal("--dry-run", "volume", "create", "vg/w", "--size", "1G")
            for words in (("array", "assemble", "a1", *[os.path.join(h.dir, f"n{i}") for i in (0, 1)]),
                          ("array", "replace", "a0", h.m[0], "--with", extra), ("array", "add", "a0", extra), ("vg", "extend", "vg", extra),
                          ("volume", "resize", "vg/v", "+4M"), ("scan", h.dir)):
                self.assertTrue(h.ashlar("--dry-run", *words)["would"], words)
            self.assertEqual(sums(), before)


    def test_the_last_copy(self):
        with Host() as h:
            m = h.members(2, "64M")
            h.ashlar("array", "create", "a0", "--level", 1, *m)
            self.assertTrue(h.ashlar("--dry-run", "array", "fail", "a0", m[0])["would"])
            h.ashlar("array", "fail", "a0", m[1])
            self.assertIn("last copy", h.refusal("--dry-run", "array", "fail", "a0", m[0]))


class Systemd(unittest.TestCase):
    def listen(self, h):
        """What the daemon would tell systemd."""
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        s.settimeout(20)
        s.bind(os.path.join(h.dir, "notify"))
        os.environ["NOTIFY_SOCKET"] = s.getsockname()
        return s

    def test_ready_watchdog_stopping(self):
        with Host(start=False) as h, self.listen(h) as s:
            os.environ["WATCHDOG_USEC"] = "300000"
            try:
                h.start()
                self.assertEqual(s.recv(100), b"READY=1")
                for _ in range(3):
                    self.assertEqual(s.recv(100), b"WATCHDOG=1")
                h.stop()
                told = [s.recv(100)]
                while told[-1] == b"WATCHDOG=1":
                    told.append(s.recv(100))
                self.assertEqual(told[-1], b"STOPPING=1")
            finally:
                del os.environ["NOTIFY_SOCKET"], os.environ["WATCHDOG_USEC"]

    def test_socket_activation(self):
        with Host(start=False) as h:
            with socket.socket(socket.AF_UNIX) as s:
                path = os.path.join(h.dir, "activated")
                s.bind(path)
                s.listen()
                with open(h.log, "a") as log:
                    h.daemon = subprocess.Popen(
                        ["sh", "-c", 'exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"', "sh",
                         os.path.join(BUILD, "daemon", "ashlard"), "--config", h.config, "--state-dir", os.path.join(h.dir, "state"),
                         "--runtime-dir", os.path.join(h.dir, "run")], stdin=s.fileno(), stdout=log, stderr=log)
                h.socket = path
                h.ashlar("status")
                h.stop()
                self.assertTrue(os.path.exists(path))  # it is systemd's to remove

    def test_signals(self):
        with Host() as h:
            h.daemon.send_signal(signal.SIGUSR1)
            h.wait("coroutines in the log", lambda: "rpc accept" in h.log_text())
            with open(h.config, "w") as f:
                f.write("[daemon]\nlog_level = debug\n")
            h.daemon.send_signal(signal.SIGHUP)
            h.wait("reloaded", lambda: "reloaded" in h.log_text())
            h.ashlar("status")
            self.assertIn("rpc: connection from", h.log_text())
            with open(h.config, "w") as f:
                f.write("nonsense\n")
            h.daemon.send_signal(signal.SIGHUP)
            h.wait("refused", lambda: "not reloaded" in h.log_text())
            h.daemon.send_signal(signal.SIGINT)
            self.assertEqual(h.daemon.wait(20), 0)
            h.daemon = None


class Rpc(unittest.TestCase):
    def connect(self, h):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(20)
        s.connect(h.socket)
        return s

    def test_a_client_that_does_not_read(self):
        """Loses its connection, and holds up nobody."""
        with Host() as h:
            with self.connect(h) as s:
                s.settimeout(1)
                line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "rpc.describe"}).encode() + b"\n"
                try:
                    for _ in range(100000):
                        s.sendall(line)
                except OSError:
                    pass
                for _ in range(5):
                    h.ashlar("status")

    def test_many_connections(self):
        with Host() as h:
            held = [self.connect(h) for _ in range(200)]
            for s in held:
                s.close()
            h.wait("room again", lambda: subprocess.run([os.path.join(BUILD, "cli", "ashlar"), "--socket", h.socket, "status"],
                                                        capture_output=True).returncode == 0)

    def test_bytes_at_random(self):
        """Whatever comes, the daemon goes on."""
        with Host() as h:
            good = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "array.create",
                               "params": {"name": "a", "level": 1, "members": ["/x", "/y"], "dry_run": True}}).encode()
            noise = pattern(7, 1 << 16)
            for i in range(300):
                broken = bytearray(good)
                for k in range(1 + i % 7):
                    broken[noise[7 * i + k] % len(broken)] = noise[20000 + 7 * i + k]
                with self.connect(h) as s:
                    s.sendall(bytes(broken) + b"\n")
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(65536):
                        pass
            h.ashlar("status")


@unittest.skipIf(os.geteuid() != 0, "is another user already")
class AnotherUser(unittest.TestCase):
    def test_files_and_sockets_need_no_privilege(self):
        nobody = pwd.getpwnam("nobody")
        with Host(start=False) as h:
            m = h.members(3, "64M")
            for path in [h.dir, h.config] + m:
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
            build = shutil.copytree(os.path.join(BUILD, "daemon"), os.path.join(h.dir, "bin"),
                                    ignore=lambda d, names: [n for n in names if n != "ashlard"])
            os.chmod(h.dir, 0o755)
            os.chmod(build, 0o755)
            log = open(h.log, "a")
            h.daemon = subprocess.Popen([os.path.join(build, "ashlard"), "--config", h.config, "--socket", h.socket, "--state-dir",
                                         os.path.join(h.dir, "state"), "--runtime-dir", os.path.join(h.dir, "run")],
                                        stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=nobody.pw_uid, group=nobody.pw_gid,
                                        extra_groups=[], cwd=h.dir)
            log.close()
            h.wait("an answer", lambda: os.path.exists(h.socket))
            h.ashlar("array", "create", "a0", "--level", 10, *m)
            h.ashlar("vg", "create", "vg", "a0")
            h.ashlar("volume", "create", "vg/v", "--size", "40M")
            run("qemu-io", "-f", "raw", "-c", "write -P 0x5a 0 8M", "-c", "read -P 0x5a 0 8M", "-c", "flush", h.uri("vg/v"))
            self.assertEqual(os.stat(os.path.join(h.dir, "run", "nbd.sock")).st_mode & 0o777, 0o600)


if __name__ == "__main__":
    unittest.main()
