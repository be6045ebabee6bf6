/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whole qcow2 images, whatever stands in them: checked, read, written, checked again, repaired. The
 * input: what to do, the file's blocks of 512 bytes (16 bits), three places where a guest reads and
 * writes (16 bits each, in blocks), then pieces of the file: block, length (16 bits each), bytes.
 * What no piece covers is zeros.
 *
 * An image that a check finds right stays right under a guest's requests, snapshots and changes of
 * its size, and gives what was written, or what a snapshot has; one whose faults have all been
 * repaired is right.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "block/member.h"
#include "image/check.h"
#include "image/qcow2.h"
#include "runtime.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define BLOCK      512u
#define BLOCKS_MAX 2048u
#define PLACES     3
#define HEAD_BYTES (3 + 2 * PLACES)
#define GUEST_MAX  (40u << 10) /* bytes of a request */
#define SNAPSHOT   "fuzz"

static struct {
    const uint8_t *data;
    size_t size;
    unsigned steps;
    struct blockdev *file;
    struct check_result check, again;
    uint8_t written[GUEST_MAX], read[GUEST_MAX], kept[GUEST_MAX];
} fuzz;

static void make_file(void)
{
    uint64_t blocks = MAX(get_be16(fuzz.data + 1) % (BLOCKS_MAX + 1), 8u), bytes = blocks * BLOCK;
    const uint8_t *p = fuzz.data + HEAD_BYTES, *end = fuzz.data + fuzz.size;

    assert(!member_memory("image", bytes, BLOCK, &fuzz.file));
    while (end - p >= 4) {
        uint64_t at = get_be16(p) % blocks * BLOCK;
        uint64_t length = MIN(get_be16(p + 2), (uint64_t)(end - p - 4));

        length = MIN(length, bytes - at);
        assert(!blockdev_write_bytes(fuzz.file, p + 4, at, length, 0));
        p += 4 + length;
    }
}

static struct qcow2 *open_image(bool read_only)
{
    struct qcow2_options options = {.read_only = read_only,
        .space_wait_ns = 1,
        .map_bytes_max = 1 << 20,
        .ahead_bytes = BLOCK,
        .discard = fuzz.steps & 1};
    struct error err = {0};
    struct qcow2 *q;

    if (!qcow2_open(&q, fuzz.file, "fuzz", &options, &err))
        return q;
    assert(err.text[0]);
    return NULL;
}

/* Part of the disk for the guest's request number i; its length, 0: none. */
static uint64_t place(const struct qcow2 *q, unsigned i, uint64_t *offset)
{
    struct blockdev *d = qcow2_blockdev((struct qcow2 *)q);
    uint64_t from = get_be16(fuzz.data + 3 + 2 * i), disk = d->size_bytes / BLOCK;

    if (!disk)
        return 0;
    *offset = from % disk * BLOCK;
    return MIN(GUEST_MAX, disk * BLOCK - *offset);
}

static void look(struct qcow2 *q)
{
    struct blockdev *d = qcow2_blockdev(q);
    struct block_extent extent;
    uint64_t offset, length;

    for (unsigned i = 0; i < PLACES; i++) {
        length = place(q, i, &offset);
        if (!length)
            continue;
        blockdev_read(d, fuzz.read, offset, length);
        if (!blockdev_extents(d, offset, d->size_bytes - offset, &extent))
            assert(extent.length && extent.length <= d->size_bytes - offset);
    }
}

/* Writes somewhere, zeroes or discards part of that, and reads. */
static void change(struct qcow2 *q, unsigned i, bool was_right)
{
    struct blockdev *d = qcow2_blockdev(q);
    uint64_t offset, length = place(q, i, &offset), half = length / 2 / BLOCK * BLOCK;

    if (!length)
        return;
    memset(fuzz.written, (int)i + 1, length);
    if (blockdev_write(d, fuzz.written, offset, length, 0))
        return;
    if (half && !(fuzz.steps & 2) && !blockdev_write_zeroes(d, offset, half, BLOCK_MAY_UNMAP))
        memset(fuzz.written, 0, half);
    if (fuzz.steps & 4)
        blockdev_flush(d);
    if (!blockdev_read(d, fuzz.read, offset, length) && was_right)
        assert(!memcmp(fuzz.read, fuzz.written, length));
    if (half && fuzz.steps & 8)
        blockdev_discard(d, offset + half, length - half);
}

/* Back to the snapshot, which has what was read before it was made. */
static void revert(struct qcow2 *q, uint64_t offset, uint64_t length, bool was_right)
{
    if (qcow2_snapshot_revert(q, SNAPSHOT, NULL))
        return;
    if (!blockdev_read(qcow2_blockdev(q), fuzz.read, offset, length) && was_right)
        assert(!memcmp(fuzz.read, fuzz.kept, length));
}

/* Changes the image, with a snapshot made before and gone back to where the input says so. */
static void try_changes(struct qcow2 *q, bool was_right)
{
    uint64_t offset, length = place(q, 0, &offset);
    bool kept = fuzz.steps & 16 && length &&
                !blockdev_read(qcow2_blockdev(q), fuzz.kept, offset, length) &&
                !qcow2_snapshot_create(q, SNAPSHOT, NULL);

    for (unsigned i = 0; i < PLACES; i++)
        change(q, i, was_right);
    if (fuzz.steps & 128)
        qcow2_resize(q, get_be16(fuzz.data + 3) * (uint64_t)BLOCK, NULL);
    if (kept && fuzz.steps & 32)
        revert(q, offset, length, was_right);
    if (fuzz.steps & 64)
        qcow2_snapshot_delete(q, SNAPSHOT, NULL);
}

static void try_image(bool was_right)
{
    struct qcow2 *q = open_image(true);

    if (q) {
        look(q);
        qcow2_close(q);
    }
    q = open_image(false);
    if (!q)
        return;
    try_changes(q, was_right);
    look(q);
    qcow2_close(q);
}

static uint64_t left(const struct check_result *r)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < CHECK_FAULTS; i++)
        n += r->found[i] - r->repaired[i];
    return n;
}

static void try_all(void)
{
    bool was_right;

    make_file();
    was_right =
        !qcow2_check(fuzz.file, 0, NULL, NULL, &fuzz.check, NULL) && check_is_clean(&fuzz.check);
    try_image(was_right);
    if (was_right) {
        assert(!qcow2_check(fuzz.file, 0, NULL, NULL, &fuzz.check, NULL));
        assert(check_is_clean(&fuzz.check));
    }
    if (!qcow2_check(fuzz.file, CHECK_REPAIR_ALL, NULL, NULL, &fuzz.check, NULL) &&
        !left(&fuzz.check)) {
        assert(!qcow2_check(fuzz.file, 0, NULL, NULL, &fuzz.again, NULL));
        assert(check_is_clean(&fuzz.again));
        try_image(true);
    }
    blockdev_close(fuzz.file);
}

static void prepare(void)
{
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_runtime_start(prepare);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD_BYTES)
        return 0;
    fuzz.data = data;
    fuzz.size = size;
    fuzz.steps = data[0];
    fuzz_runtime_run(try_all);
    return 0;
}
