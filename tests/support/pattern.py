# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bytes that tell where they belong: each 512-byte sector is its number and a seed, hashed. So misplaced data shows."""
import hashlib


def sectors(seed, first, count):
    out = bytearray()
    for n in range(first, first + count):
        out += hashlib.blake2b(b"%d:%d" % (seed, n), digest_size=64).digest() * 8
    return bytes(out)


def pattern(seed, length, offset=0):
    assert offset % 512 == 0 and length % 512 == 0
    return sectors(seed, offset // 512, length // 512)
