# SPDX-License-Identifier: LGPL-2.1-or-later
"""The smallest options with which a seed still fails in the same way: what to look at first."""
import time

from simulator import failure_of, same_reason


class Shrinker:
    def __init__(self, simulator, seed, reason, seconds):
        self.simulator = simulator
        self.seed = seed
        self.wanted = same_reason(reason)
        self.end = time.monotonic() + seconds
        self.options = {}
        self.runs = 0

    def fails(self, **more):
        """Keeps the options with which it fails. When there is no time left nothing fails any more."""
        left = self.end - time.monotonic()
        if left <= 0:
            return False
        options = {**self.options, **more}
        self.runs += 1
        reason = failure_of(self.simulator.run(self.seed, self.seed, timeout=left, **options))
        if reason is None or same_reason(reason) != self.wanted:
            return False
        self.options = options
        return True

    def least(self, name, most):
        """The smallest value of an option below `most` with which it fails, found by halving."""
        low = 1
        while low < most:
            middle = (low + most) // 2
            if self.fails(**{name: middle}):
                most = middle
            else:
                low = middle + 1

    def leave_out(self, faults):
        """One kind of fault after the other."""
        for fault in faults:
            without = self.options.get("without")
            self.fails(without=f"{without},{fault}" if without else fault)

    def run(self, machines, faults):
        """`machines`: how many the failing run had; `faults`: its counts by kind. Returns the options."""
        self.least("machines", machines + 1)
        self.leave_out([fault for fault, count in faults.items() if count])
        self.least("workers", 5)
        self.least("ops", 1 << 12)
        self.least("machines", self.options.get("machines", machines + 1))
        return self.options
