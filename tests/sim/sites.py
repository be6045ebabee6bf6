# SPDX-License-Identifier: LGPL-2.1-or-later
"""Coverage of fault points: which write sites of the code were reached, and in which phases a machine was cut off there.

A site is the innermost call outside lib/rt and lib/block on the way to a write, discard, zeroing or flush. The simulator notes chains of
return addresses, addr2line makes lines of them. Sites that were never reached are found by reading the sources.
"""
import collections
import os
import re
import subprocess

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
BELOW = ("lib/rt/", "lib/block/")
CODE = ("lib/raid", "lib/lvm", "lib/image", "daemon")
CALL = re.compile(r"\b(blockdev_(?:run|write|writev|write_bytes|write_zeroes|flush|discard)|member_flush|fs_replace|fs_remove)\s*\(")
PHASES = ("before", "during", "after")


def read_sites(path):
    """A file of `sim --sites`: (kind, chain of addresses) -> [seen, before, during, after]."""
    chains = {}
    with open(path) as f:
        for line in f:
            kind, *rest = line.split()
            chains[kind, tuple(int(a, 16) for a in rest[4:])] = [int(n) for n in rest[:4]]
    return chains


def add(sums, chains):
    for site, counts in chains.items():
        sums[site] = [a + b for a, b in zip(sums.get(site, [0] * 4), counts)]


def source_name(build, path):
    """As it stands in the tree."""
    return os.path.relpath(os.path.realpath(os.path.join(build, path)), ROOT)


def symbolize(binary, build, addresses):
    """address -> [(function, file, line)], inlined ones first. A return address stands behind its call."""
    asked = "".join(f"0x{a - 1:x}\n" for a in addresses)
    out = subprocess.run(["addr2line", "-a", "-f", "-i", "-e", binary], input=asked, capture_output=True, text=True, check=True).stdout
    found, frames, function = {}, None, None
    for line in out.splitlines():
        if line.startswith("0x"):
            frames, function = found.setdefault(int(line, 16) + 1, []), None
        elif function is None:
            function = line
        else:
            path, _, number = line.partition(" ")[0].rpartition(":")
            frames.append((function, source_name(build, path), int(number) if number.isdigit() else 0))
            function = None
    return found


def where(binary, build, text):
    """The lines that the addresses in a text stand for."""
    addresses = [int(word, 16) for word in re.findall(r"\b0x[0-9a-f]+", text)]
    known = symbolize(binary, build, sorted(set(addresses))) if addresses else {}
    return [f"{function} ({path}:{line})" for a in addresses for function, path, line in known.get(a, []) if line]


class Coverage:
    def __init__(self, binary, build, chains):
        """chains: see read_sites."""
        self.sites = collections.defaultdict(lambda: [0, 0, 0, 0])  # (kind, file, line, function)
        self.lines = collections.defaultdict(set)  # file -> lines on the way to a write
        known = symbolize(binary, build, sorted({a for _, chain in chains for a in chain}))
        for (kind, chain), counts in chains.items():
            self.add(kind, [frame for a in chain for frame in known[a]], counts)

    def add(self, kind, frames, counts):
        for _, path, line in frames:
            self.lines[path].add(line)
        where = next((f for f in frames if f[1].startswith(CODE) and not f[1].startswith(BELOW)), None)
        if where:
            function, path, line = where
            sums = self.sites[kind, path, line, function]
            for i, n in enumerate(counts):
                sums[i] += n

    def partly_cut(self):
        """Sites that were reached, but not cut in every phase."""
        return [site for site, counts in self.sites.items() if 0 in counts[1:]]

    def never_reached(self):
        """[(file, line, call)] of calls in the sources."""
        missing = []
        for path in sources():
            for first, last, call in calls(path):
                if not any(first <= line <= last for line in self.lines[path]):
                    missing.append((path, first, call))
        return missing

    def text(self):
        rows = [f"{'write site':52} {'kind':8} {'seen':>9} " + " ".join(f"{p:>7}" for p in PHASES)]
        for (kind, path, line, function), counts in sorted(self.sites.items(), key=lambda s: (s[0][1:3], s[0][0])):
            rows.append(f"{f'{path}:{line} {function}':52} {kind:8} {counts[0]:9} " + " ".join(f"{n:7}" for n in counts[1:]))
        partly, missing = self.partly_cut(), self.never_reached()
        rows.append(f"{len(self.sites)} sites reached, {len(self.sites) - len(partly)} of them cut before, during and after; "
                    f"{len(missing)} calls never reached")
        rows += [f"  never reached: {path}:{line} {call}" for path, line, call in missing]
        return "\n".join(rows)


def sources():
    for top in CODE:
        for folder, _, names in sorted(os.walk(os.path.join(ROOT, top))):
            for name in sorted(names):
                if name.endswith(".c"):
                    yield os.path.relpath(os.path.join(folder, name), ROOT)


def calls(path):
    """(first line, last line, name) of each call that writes. A call ends with its statement."""
    with open(os.path.join(ROOT, path)) as f:
        text = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m.group()), f.read(), flags=re.S)
    for m in CALL.finditer(text):
        end = re.compile(r"[;{]").search(text, m.end())
        first = text.count("\n", 0, m.start()) + 1
        yield first, text.count("\n", 0, end.start() if end else len(text)) + 1, m.group(1)
