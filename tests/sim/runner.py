# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many seeds of one scenario on several processors."""
import collections
import resource
import tempfile
import threading
import time

import sites
from simulator import failure_of, finish

CHUNK_SECONDS = 10
HANG_SECONDS = 180


def cpu_seconds():
    """What the children that have ended have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Failure:
    def __init__(self, seed, reason):
        self.seed = seed
        self.reason = reason


class Runner:
    """Seeds are dealt out in chunks, each to a run of the program."""

    def __init__(self, simulator, seeds, seconds, jobs, keep_going):
        self.simulator = simulator
        self.next, self.last = seeds
        self.end = time.monotonic() + seconds
        self.jobs = jobs
        self.keep_going = keep_going
        self.lock = threading.Lock()
        self.chunk = 4
        self.totals = collections.Counter()
        self.faults = collections.Counter()
        self.failures = []
        self.compared = []  # seeds that were run twice
        self.chains = {}  # see sites.read_sites
        self.seconds = self.cpu_seconds = 0

    def left(self):
        return self.end - time.monotonic()

    def take(self):
        """The next chunk, None: that was all."""
        with self.lock:
            if self.next > self.last or self.left() <= 0 or (self.failures and not self.keep_going):
                return None
            first, last = self.next, min(self.last, self.next + self.chunk - 1)
            self.next = last + 1
            return first, last

    def run(self):
        start, cpu_start = time.monotonic(), cpu_seconds()
        threads = [threading.Thread(target=self.work) for _ in range(self.jobs)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.seconds = time.monotonic() - start
        self.cpu_seconds = cpu_seconds() - cpu_start

    def work(self):
        while True:
            chunk = self.take()
            if not chunk:
                return
            with tempfile.NamedTemporaryFile() as f:
                start = time.monotonic()
                seconds = max(1, round(self.left()))
                child = self.simulator.start(*chunk, time=seconds, keep_going=self.keep_going, sites=f.name)
                result = finish(child, min(seconds, 6 * CHUNK_SECONDS) + HANG_SECONDS)
                self.add(chunk, result, time.monotonic() - start, f.name)
            self.compare(chunk, result)

    def add(self, chunk, result, seconds, sites_path):
        if "died" in result:
            result = self.find_death(*chunk)
        with self.lock:
            for name in ("seeds", "machines", "power_cuts", "kills", "stops", "ios", "events"):
                self.totals[name] += result.get(name, 0)
            self.faults.update(result.get("faults", {}))
            self.failures += [Failure(f["seed"], f["reason"]) for f in result["failures"]]
            sites.add(self.chains, sites.read_sites(sites_path))
            if seconds < CHUNK_SECONDS / 2 and result.get("seeds", 0) == chunk[1] - chunk[0] + 1:
                self.chunk = max(self.chunk, min(2 * (chunk[1] - chunk[0] + 1), 100000))

    def find_death(self, first, last):
        """The program died somewhere in a chunk: halves it."""
        while first < last:
            middle = (first + last) // 2
            if "died" in self.simulator.run(first, middle, timeout=HANG_SECONDS, keep_going=True):
                last = middle
            else:
                first = middle + 1
        reason = failure_of(self.simulator.run(first, first, timeout=HANG_SECONDS))
        return {"failures": [{"seed": first, "reason": reason or "the program died, but not with this seed alone"}]}

    def compare(self, chunk, result):
        """A seed gives the same history by itself, traced, as it gave after others."""
        if "died" in result:
            return
        seed = result["last_seed"]
        again = self.simulator.run(seed, seed, timeout=HANG_SECONDS, trace=True)
        with self.lock:
            self.compared.append(seed)
            if again.get("hash") != result["hash"]:
                self.failures.append(Failure(seed, "two runs of the seed differ"))
