#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command line alone, against a stand-in for the daemon that records each request and answers what the test prepared."""
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

ASHLAR = os.path.abspath(os.path.join(sys.argv.pop(1) if len(sys.argv) > 1 else "build", "cli", "ashlar"))

ARRAY = {
    "name": "a0", "uuid": "11:22", "level": 10, "layout": "near2", "chunk_bytes": 524288, "size_bytes": 5 << 29, "member_bytes": 1 << 30,
    "state": "degraded", "raid_disks": 2, "max_read_errors": 2, "events": 3, "unsynced_bytes": 0,
    "members": [{"path": "/m0", "role": 0, "state": "in-sync", "errors": 0, "errors_corrected": 4, "errors_recent": 3, "worn": True},
                {"path": None, "role": 1, "state": "missing", "errors": 0, "errors_corrected": 0, "errors_recent": 0, "worn": False}],
    "sync": {"action": "recovery", "paused": False, "done_bytes": 25, "total_bytes": 100, "mismatch_bytes": 0},
}
VG = {"name": "vg", "size_bytes": 1 << 30, "free_bytes": 1 << 29, "extent_size_bytes": 4 << 20, "pvs": ["a0"], "partial": False,
      "volumes": [{"vg": "vg", "name": "root", "format": "raw", "size_bytes": 1 << 28, "exports": []}]}
EXPORT = {"target": "vg/root", "type": "nbd", "path": "/run/n.sock", "name": "vg/root", "read_only": False, "clients": 2}


class Daemon:
    """One connection at a time; answers[method] is a list of results (or errors) used up in turn."""

    def __init__(self, answers):
        self.dir = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.dir.name, "s")
        self.requests, self.answers = [], answers
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            conn, _ = self.listener.accept()
            with conn, conn.makefile("rw") as f:
                for line in f:
                    request = json.loads(line)
                    self.requests.append((request["method"], request["params"]))
                    answer = self.answers[request["method"]].pop(0)
                    if isinstance(answer, str):  # raw bytes, then hang up
                        f.write(answer)
                        f.flush()
                        break
                    for event in answer.pop("events", []):
                        f.write(json.dumps({"jsonrpc": "2.0", "method": "event", "params": event}) + "\n")
                    f.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], **answer}) + "\n")
                    f.flush()

    def run(self, *words, **kwargs):
        return subprocess.run([ASHLAR, "--socket", self.path, *words], capture_output=True, text=True, timeout=20,
                              stdin=subprocess.DEVNULL, **kwargs)


def ok(result, **more):
    return {"result": result, **more}


class Requests(unittest.TestCase):
    """What the words become."""

    def sent(self, *words, cwd=None):
        class Any(dict):
            def __missing__(self, key):
                return [ok({})]
        d = Daemon(Any())
        p = d.run("--quiet", *words, cwd=cwd)
        self.assertEqual((p.returncode, p.stderr, p.stdout), (0, "", ""))
        self.assertEqual(len(d.requests), 1)
        return d.requests[0]

    def test_array_create(self):
        self.assertEqual(
            self.sent("array", "create", "a0", "--level", "raid10", "--layout", "far2", "--chunk", "64K", "/x/1", "/x/2", "missing",
                      "--spare", "/x/4", "--spare", "/x/5", "--force"),
            ("array.create", {"name": "a0", "level": 10, "layout": "far2", "chunk_bytes": 65536, "members": ["/x/1", "/x/2", "missing"],
                              "spares": ["/x/4", "/x/5"], "force": True}))

    def test_array_set(self):
        self.assertEqual(self.sent("array", "set", "a0", "--max-read-errors", "5"), ("array.set", {"name": "a0", "max_read_errors": 5}))

    def test_relative_paths_become_absolute(self):
        with tempfile.TemporaryDirectory() as d:
            open(os.path.join(d, "m"), "w").close()
            real = os.path.realpath(d)
            self.assertEqual(self.sent("vg", "create", "vg", "m", "array-name", cwd=d)[1]["pvs"], [f"{real}/m", "array-name"])
            self.assertEqual(self.sent("export", "add", "vg/v", "--nbd", "./new.sock", cwd=d),
                             ("export.add", {"target": "vg/v", "type": "nbd", "path": f"{real}/new.sock"}))

    def test_sizes(self):
        self.assertEqual(self.sent("volume", "create", "vg/v", "--size", "1.5G"),
                         ("volume.create", {"vg": "vg", "name": "v", "size_bytes": 3 << 29}))
        self.assertEqual(self.sent("volume", "load", "vg/v", "/d/image", "--format", "qcow2", "--verify", "--sha256", "ab"),
                         ("volume.load", {"vg": "vg", "name": "v", "path": "/d/image", "format": "qcow2", "verify": True, "sha256": "ab"}))
        here = os.path.realpath(tempfile.gettempdir())
        self.assertEqual(self.sent("volume", "save", "vg/v", "new", "--compress", "--compression", "zstd", cwd=here),
                         ("volume.save", {"vg": "vg", "name": "v", "path": here + "/new", "compress": True, "compression": "zstd"}))
        for word, param in (("8M", "size_bytes"), ("+8M", "grow_bytes"), ("-8M", "shrink_bytes")):
            self.assertEqual(self.sent("volume", "resize", "vg/v", word), ("volume.resize", {"vg": "vg", "name": "v", param: 8 << 20}))
        self.assertEqual(self.sent("volume", "resize", "-8M", "vg/v", "--force")[1],
                         {"vg": "vg", "name": "v", "shrink_bytes": 8 << 20, "force": True})

    def test_snapshots_and_clones(self):
        self.assertEqual(self.sent("snapshot", "create", "vg/v@a@b"),
                         ("snapshot.create", {"vg": "vg", "name": "v", "snapshot": "a@b"}))
        self.assertEqual(self.sent("volume", "create", "vg/c", "--from", "vg/v"), ("volume.create", {"vg": "vg", "name": "c", "from": "vg/v"}))

    def test_dry_run_stands_anywhere(self):
        for words in (("--dry-run", "array", "stop", "a"), ("array", "stop", "a", "--dry-run")):
            self.assertEqual(self.sent(*words), ("array.stop", {"name": "a", "dry_run": True}))

    def test_scan(self):
        self.assertEqual(self.sent("scan"), ("scan", {}))
        self.assertEqual(self.sent("scan", "/a", "/b"), ("scan", {"paths": ["/a", "/b"]}))


class Answers(unittest.TestCase):
    def test_usage_is_2(self):
        d = Daemon({})
        for words in ((), ("nonsense",), ("array",), ("array", "nonsense"), ("array", "create", "a"), ("array", "show"),
                      ("array", "show", "a", "b"), ("array", "show", "a", "--nonsense"), ("volume", "show", "no-slash"),
                      ("volume", "show", "a/b/c"), ("volume", "create", "vg/v"), ("volume", "create", "vg/v", "--size", "big"),
                      ("array", "create", "a", "--level", "x", "/m"), ("export", "add", "vg/v"), ("job", "show", "x"),
                      ("array", "list", "--dry-run"), ("snapshot", "create", "vg/v"), ("snapshot", "delete", "vg/v@"),
                      ("volume", "check"), ("volume", "check", "vg/v", "--file", "/f")):
            p = d.run(*words)
            self.assertEqual((p.returncode, p.stdout), (2, ""), words)
            self.assertIn("ashlar:", p.stderr)
        self.assertEqual(d.requests, [])

    def test_refusal_is_1_with_the_reason(self):
        d = Daemon({"array.stop": [{"error": {"code": -32000, "message": "a0 carries vg", "data": {"errno": "EBUSY"}}}]})
        p = d.run("array", "stop", "a0")
        self.assertEqual((p.returncode, p.stdout, p.stderr), (1, "", "ashlar: a0 carries vg\n"))

    def test_broken_daemon_is_1(self):
        for answer in ("", "not json\n", "[1]\n", '{"id": 1'):
            p = Daemon({"array.list": [answer]}).run("array", "list")
            self.assertEqual(p.returncode, 1)
            self.assertIn("connection to ashlard lost", p.stderr)

    def test_no_daemon_is_1(self):
        p = subprocess.run([ASHLAR, "--socket", "/nonexistent/s", "status"], capture_output=True, text=True)
        self.assertEqual(p.returncode, 1)
        self.assertIn("is ashlard running?", p.stderr)

    def test_json_is_one_document(self):
        d = Daemon({"array.show": [ok(ARRAY)]})
        self.assertEqual(json.loads(d.run("--json", "array", "show", "a0").stdout), ARRAY)

    def test_array_show(self):
        out = Daemon({"array.show": [ok(ARRAY)]}).run("array", "show", "a0").stdout
        self.assertIn("a0: raid10 near2, 2.5G, chunk 512K, degraded, sync recovery 25.0%", out)
        self.assertRegex(out, r"0 +/m0 +in-sync +0 +4")
        self.assertRegex(out, r"1 +- +missing")
        self.assertIn("/m0 wears out: more than 2 read errors lately", out)

    def test_status_tree(self):
        out = Daemon({"status": [ok({"arrays": [ARRAY], "vgs": [VG], "exports": [EXPORT], "jobs": []})]}).run("status").stdout
        depth = {word: next(line.index(word) for line in out.splitlines() if word in line)
                 for word in ("a0", "/m0", "vg ", "vg/root", "nbd /run/n.sock")}
        self.assertEqual(sorted(depth, key=depth.get), ["a0", "/m0", "vg ", "vg/root", "nbd /run/n.sock"])
        self.assertIn("2 client(s)", out)

    def test_status_tells_what_is_missing(self):
        missing = [{"kind": "array", "name": "a9", "reason": "no member was found"}]
        out = Daemon({"status": [ok({"arrays": [], "vgs": [], "exports": [], "jobs": [], "missing": missing})]}).run("status").stdout
        self.assertRegex(out, r"a9 +array +no member was found")

    def test_would(self):
        out = Daemon({"array.destroy": [ok({"would": ["wipe /m0"]})]}).run("array", "destroy", "a0", "--dry-run").stdout
        self.assertEqual(out, "would wipe /m0\n")

    def test_job_is_waited_for(self):
        job = {"id": 7, "kind": "check", "target": "a0", "done_bytes": 1, "total_bytes": 2, "error": None}
        answers = {"array.sync": [ok({"job": 7})], "job.wait": [ok({**job, "state": "running"}), ok({**job, "state": "done"})]}
        d = Daemon(answers)
        self.assertEqual(d.run("array", "sync", "a0").returncode, 0)
        self.assertEqual([m for m, _ in d.requests], ["array.sync", "job.wait", "job.wait"])
        d = Daemon({"array.sync": [ok({"job": 7})]})
        self.assertEqual(d.run("array", "sync", "a0", "--no-wait").stdout, "job 7\n")
        d = Daemon({"array.sync": [ok({"job": 7})], "job.wait": [ok({**job, "state": "failed", "error": "no luck"})]})
        p = d.run("array", "sync", "a0")
        self.assertEqual(p.returncode, 1)
        self.assertIn("no luck", p.stderr)

    def test_check_shows_what_it_has_found(self):
        job = {"id": 7, "kind": "check", "target": "a0", "done_bytes": 1, "total_bytes": 2, "error": None, "state": "done"}
        found = {"action": "check", "mismatch_bytes": 8192, "more": True, "mismatches": [
            {"wrong": "data", "members": ["/m1"], "places": [
                {"offset_bytes": 1 << 30, "length_bytes": 4096, "use": "volume", "volume": "vg/v", "volume_offset_bytes": 12288}]},
            {"wrong": None, "members": ["/m0", "/m1"], "places": [
                {"offset_bytes": 8192, "length_bytes": 4096, "use": "free", "volume": None, "volume_offset_bytes": None}]}]}
        answers = {"array.check": [ok({"job": 7})], "job.wait": [ok(job)], "array.mismatches": [ok(found)]}
        d = Daemon(answers)
        out = d.run("array", "check", "a0").stdout.splitlines()
        self.assertEqual([m for m, _ in d.requests], ["array.check", "job.wait", "array.mismatches"])
        self.assertEqual(out[0], "check found 8192 bytes that do not fit")
        self.assertEqual(out[2].split(), ["vg/v", "12288", "4096", "data", "/m1", "1073741824"])
        self.assertEqual(out[3].split(), ["(free)", "-", "4096", "-", "/m0", "or", "/m1", "8192"])
        self.assertIn("more", out[4])
        d = Daemon({"array.check": [ok({"job": 7})], "job.wait": [ok(job)], "array.mismatches": [ok(found)]})
        self.assertEqual(json.loads(d.run("--json", "array", "check", "a0").stdout), {**found, "job": 7})
        d = Daemon({"array.check": [ok({"job": 7})], "job.wait": [ok({**job, "state": "failed", "error": "no luck"})]})
        p = d.run("array", "check", "a0")
        self.assertEqual((p.returncode, p.stdout), (1, ""))
        self.assertIn("no luck", p.stderr)

    def test_events(self):
        event = {"seq": 1, "time": "2026-01-01T00:00:00Z", "kind": "member.state", "target": "a0", "text": "/m0 faulty"}
        d = Daemon({"events.subscribe": [ok({}, events=[event])]})
        p = subprocess.Popen([ASHLAR, "--socket", d.path, "events"], stdout=subprocess.PIPE, text=True)
        self.assertEqual(p.stdout.readline(), "2026-01-01T00:00:00Z member.state a0: /m0 faulty\n")
        p.terminate()
        p.communicate()

    def test_destroying_asks_on_a_terminal(self):
        import pty
        for typed, calls in ((b"n\n", 0), (b"y\n", 1)):
            d = Daemon({"volume.remove": [ok({})]})
            master, slave = pty.openpty()
            os.write(master, typed)
            p = subprocess.run([ASHLAR, "--socket", d.path, "volume", "remove", "vg/v"], stdin=slave, capture_output=True, text=True, timeout=20)
            self.assertIn("Really remove the volume vg/v", p.stderr)
            self.assertEqual((len(d.requests), p.returncode), (calls, 1 - calls))
            os.close(master)
            os.close(slave)


if __name__ == "__main__":
    unittest.main()
