# SPDX-License-Identifier: LGPL-2.1-or-later
"""Looks into failures: is it the same every time, what is the least that shows it, what happened then?"""
import collections
import os
import shlex

import sites
from shrink import Shrinker
from simulator import failure_of, same_reason

EXAMINED_MAX = 10  # of different kinds
TRACE_LINES = 3000
HANG_SECONDS = 180


class Examiner:
    """`seconds`: how long at most to look for a smaller failure."""

    def __init__(self, simulator, report, seconds):
        self.simulator = simulator
        self.report = report
        self.seconds = seconds
        self.folder = os.path.join(simulator.build, "sim-failures")

    def examine_all(self, failures):
        """The first of each kind; of the others, how many there are."""
        kinds = collections.defaultdict(list)
        for failure in sorted(failures, key=lambda f: f.seed):
            kinds[same_reason(failure.reason)].append(failure)
        for number, alike in enumerate(kinds.values()):
            self.report.say(f"FAIL scenario={self.simulator.scenario} seed={alike[0].seed}: {alike[0].reason}")
            if number < EXAMINED_MAX:
                self.examine(alike[0])
            if len(alike) > 1:
                seeds = " ".join(str(f.seed) for f in alike[1:9])
                self.report.say(f"  so do {len(alike) - 1} more: seeds {seeds}{' ...' if len(alike) > 9 else ''}")

    def examine(self, failure):
        for line in sites.where(self.simulator.binary, self.simulator.build, failure.reason):
            self.report.say(f"  at {line}")
        first, second = (self.simulator.run(failure.seed, failure.seed, timeout=HANG_SECONDS) for _ in range(2))
        reason = failure_of(first)
        if first.get("hash") != second.get("hash") or reason != failure_of(second):
            self.report.say("  two runs of the seed differ")
        elif reason is None:
            self.report.say("  the seed passes by itself")
        else:
            self.shrink(failure.seed, reason, first)

    def shrink(self, seed, reason, result):
        shrinker = Shrinker(self.simulator, seed, reason, self.seconds)
        options = shrinker.run(result.get("machines", 1), result.get("faults", {}))
        os.makedirs(self.folder, exist_ok=True)
        path = os.path.join(self.folder, f"{self.simulator.scenario}-{seed}.trace")
        self.simulator.trace(seed, path, TRACE_LINES, **options)
        self.report.say(f"  replay: {shlex.join(self.simulator.words(seed, seed, **options, trace=True))}")
        self.report.say(f"  the end of that: {os.path.relpath(path)}")
