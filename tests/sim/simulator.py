# SPDX-License-Identifier: LGPL-2.1-or-later
"""One run of the program `sim` over some seeds, and what it says about them."""
import json
import os
import re
import subprocess


def options_of(options):
    """{"machines": 3, "keep-going": True} as words; what is None or False is left out."""
    words = []
    for name, value in options.items():
        if value not in (None, False):
            words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return words


class Simulator:
    def __init__(self, build, scenario, mutant=None):
        self.build = build
        self.binary = os.path.join(".", os.path.relpath(build), "tests", "sim", "sim")
        self.scenario = scenario
        self.mutant = mutant

    def words(self, first, last, **options):
        seeds = ["--seed", str(first)] if first == last else ["--seeds", f"{first}..{last}"]
        options = {name.replace("_", "-"): value for name, value in options.items()}
        return [self.binary, "--scenario", self.scenario] + seeds + options_of({"mutant": self.mutant, **options})

    def start(self, first, last, **options):
        return subprocess.Popen(self.words(first, last, json=True, **options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                errors="replace")

    def run(self, first, last, timeout=180, **options):
        """What it said as JSON; how it ended instead, when the program itself died or hung: {"died": REASON}."""
        return finish(self.start(first, last, **options), timeout)

    def trace(self, seed, path, lines, timeout=180, **options):
        """Writes the last lines of the history to a file."""
        words = self.words(seed, seed, trace=True, **options)
        with open(path, "w") as f:
            tail = subprocess.Popen(["tail", "-n", str(lines)], stdin=subprocess.PIPE, stdout=f)
            try:
                subprocess.run(words, stdout=tail.stdin, stderr=subprocess.STDOUT, timeout=timeout)
            except subprocess.TimeoutExpired:
                pass
            tail.stdin.close()
            tail.wait()


def finish(child, timeout):
    try:
        out, err = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return {"died": f"no answer for {timeout:.0f} s"}
    if child.returncode not in (0, 1):
        return {"died": f"exit status {child.returncode} {last_lines(err)}".rstrip()}
    try:
        return json.loads(out.rstrip().rsplit("\n", 1)[-1])
    except ValueError:
        return {"died": f"no summary {last_lines(err)}".rstrip()}


def last_lines(text):
    lines = text.strip().splitlines()
    return " / ".join(lines[-3:])


def same_reason(reason):
    """Two failures are the same when they differ in numbers, or in what a sector holds; crashes, when they do not in the first addresses."""
    reason = re.sub(r": sector \d+ of device .*", "", reason)
    reason = re.sub(r"((?: 0x[0-9a-f]+){3})(?: 0x[0-9a-f]+)+", r"\1", reason)
    return re.sub(r"0x[0-9a-f]+|\d+", lambda m: m.group() if m.group().startswith("0x") else "N", reason)


def failure_of(result):
    """The reason of the first failure, None: all passed."""
    if "died" in result:
        return "the program itself: " + result["died"]
    return result["failures"][0]["reason"] if result["failures"] else None
