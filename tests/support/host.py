# SPDX-License-Identifier: LGPL-2.1-or-later
"""A host in a directory: a daemon of its own, the command line, member files, and the peers that end-to-end tests use.

    with Host() as h:
        m = h.members(4, "64M")
        h.ashlar("array", "create", "a0", "--level", "10", *m)
        uri = h.export("vg/v")
Tests are unittest files; each gets the build directory as its first argument (see build_dir).
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}


def build_dir():
    """The build directory from the command line (taken off it, as unittest reads the rest), else build/."""
    return os.path.abspath(sys.argv.pop(1) if len(sys.argv) > 1 and os.path.isdir(sys.argv[1]) else os.path.join(ROOT, "build"))


BUILD = build_dir()


def size(text):
    return int(text[:-1]) << UNITS[text[-1]] if text[-1] in UNITS else int(text)


def run(*words, check=True, timeout=120, **kwargs):
    """A peer program; its output as text. A failure is an AssertionError with all it said."""
    p = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=timeout, **kwargs)
    if check and p.returncode:
        raise AssertionError(f"{' '.join(map(str, words))}: exit {p.returncode}\n{p.stdout}{p.stderr}")
    return p.stdout


def vm(script, disks=(), throw_away=(), nbd=(), blocks_4k=(), timeout=240, check=True):
    """Runs a shell script in the virtual machine (tests/vm/vm); disks are /dev/d0 ... in order of the arguments. Those of the first that
    are also in blocks_4k have blocks of 4096 bytes."""
    words = [os.path.join(ROOT, "tests", "vm", "vm"), "-t", str(timeout)]
    for d in disks:
        words += ["-b" if d in blocks_4k else "-d", d]
    for d in throw_away:
        words += ["-s", d]
    for path, name in nbd:
        words += ["-n", path, name]
    p = subprocess.run(words + ["--", script], capture_output=True, text=True, timeout=timeout + 60)
    if check and p.returncode:
        raise AssertionError(f"virtual machine: exit {p.returncode}\n{p.stdout}{p.stderr}")
    return p.stdout


class Refused(AssertionError):
    """The command line exited 1 (or 2); .status and the reason."""

    def __init__(self, words, p):
        super().__init__(f"ashlar {' '.join(words)}: exit {p.returncode}: {p.stderr}")
        self.status, self.reason = p.returncode, p.stderr


class Host:
    def __init__(self, config="", start=True):
        self.dir = tempfile.mkdtemp(prefix="ashlar-test.")
        self.socket = os.path.join(self.dir, "run", "ashlard.sock")
        self.config = os.path.join(self.dir, "ashlard.conf")
        self.log = os.path.join(self.dir, "ashlard.log")
        self.daemon = None
        with open(self.config, "w") as f:
            f.write(config)
        if start:
            self.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        if kind:
            sys.stderr.write(f"--- log of ashlard:\n{self.log_text()}---\n")
        failed = None
        try:
            if self.daemon:
                self.stop()
        except AssertionError as e:
            failed = e
        shutil.rmtree(self.dir, ignore_errors=True)
        if failed and not kind:
            raise failed

    def log_text(self):
        try:
            with open(self.log) as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def start(self):
        with open(self.log, "a") as log:
            self.daemon = subprocess.Popen(
                [os.path.join(BUILD, "daemon", "ashlard"), "--config", self.config, "--socket", self.socket,
                 "--state-dir", os.path.join(self.dir, "state"), "--runtime-dir", os.path.join(self.dir, "run")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for _ in range(600):
            if self.daemon.poll() is not None:
                raise AssertionError(f"ashlard ended: {self.daemon.returncode}\n{self.log_text()}")
            if os.path.exists(self.socket) and subprocess.run(
                    [os.path.join(BUILD, "cli", "ashlar"), "--socket", self.socket, "--json", "status"],
                    capture_output=True).returncode == 0:
                return
            time.sleep(0.05)
        raise AssertionError(f"ashlard does not answer\n{self.log_text()}")

    def stop(self):
        """As systemd does; the daemon must end well."""
        self.daemon.send_signal(signal.SIGTERM)
        try:
            status = self.daemon.wait(60)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()
            status = "none: it did not end within 60 s"
        self.daemon = None
        if status != 0:
            raise AssertionError(f"ashlard's exit status: {status}\n{self.log_text()}")

    def kill(self):
        """kill -9: nothing in memory survives."""
        self.daemon.kill()
        self.daemon.wait()
        self.daemon = None

    def restart(self):
        self.stop()
        self.start()

    def ashlar(self, *words, timeout=120):
        """The answer as a document; Refused when the exit status is not 0."""
        words = [str(w) for w in words]
        p = subprocess.run([os.path.join(BUILD, "cli", "ashlar"), "--socket", self.socket, "--json", *words],
                           capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
        if p.returncode:
            raise Refused(words, p)
        return json.loads(p.stdout)

    def refusal(self, *words):
        """The reason of a command that must be refused, with exit status 1."""
        try:
            result = self.ashlar(*words)
        except Refused as e:
            assert e.status == 1, e
            return e.reason
        raise AssertionError(f"ashlar {' '.join(map(str, words))} was not refused: {result}")

    def file(self, name, length):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            f.truncate(size(length) if isinstance(length, str) else length)
        return path

    def members(self, count, length, prefix="m"):
        return [self.file(f"{prefix}{i}", length) for i in range(count)]

    def array(self, name):
        return self.ashlar("array", "show", name)

    def wait(self, what, test, seconds=60):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            result = test()
            if result:
                return result
            time.sleep(0.1)
        raise AssertionError(f"not within {seconds} s: {what}\n{json.dumps(self.ashlar('status'), indent=1)}")

    def wait_idle(self, name, seconds=120):
        """Waits until an array's background work has ended."""
        return self.wait(f"{name} idle", lambda: (a := self.array(name))["sync"]["action"] == "idle" and a, seconds)

    def nbd(self, target):
        """(socket, export name) of a target, exported when it is not yet."""
        exports = self.ashlar("export", "list")["exports"]
        e = next((e for e in exports if e["target"] == target), None) or self.ashlar("export", "add", target, "--nbd")
        return e["path"], e["name"]

    def uri(self, target):
        path, name = self.nbd(target)
        return f"nbd+unix:///{name}?socket={path}"
