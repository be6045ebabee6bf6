/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/copy.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/arith.h"

/* Zeros among data are looked for, and left out, in units of this: less is written faster. */
#define ZERO_UNIT_BYTES (64u << 10)

static int write_failed(const struct copy_plan *plan, uint64_t offset, int rc, struct error *err)
{
    return error_set(
        err, -rc, "cannot write to %s at %" PRIu64 ": %s", plan->to->name, offset, strerror(-rc));
}

/* Where it does not say that it reads as zeros anyway. */
static int write_zeros(
    const struct copy_plan *plan, uint64_t offset, uint64_t length, struct error *err)
{
    struct block_extent extent;
    int rc;

    for (uint64_t end = offset + length; offset < end; offset += extent.length) {
        rc = blockdev_extents(plan->to, offset, end - offset, &extent);
        if (!rc && !(extent.flags & EXTENT_ZERO))
            rc = blockdev_write_zeroes(plan->to, offset, extent.length, BLOCK_MAY_UNMAP);
        if (rc)
            return write_failed(plan, offset, rc, err);
    }
    return 0;
}

static int add_digest(void *arg, struct piece *p, struct error *err)
{
    const struct copy_plan *plan = arg;

    if (plan->digest)
        digest_piece(plan->digest, p);
    return 0;
}

/* Bytes from `at` on that are of its kind. */
static uint64_t run_length(const uint8_t *bytes, uint64_t at, uint64_t end, bool *zero)
{
    uint64_t n = MIN(ZERO_UNIT_BYTES, end - at), run = n;

    *zero = bytes_are_zero(bytes + at, n);
    while (at + run < end) {
        n = MIN(ZERO_UNIT_BYTES, end - at - run);
        if (bytes_are_zero(bytes + at + run, n) != *zero)
            break;
        run += n;
    }
    return run;
}

static int write_piece(void *arg, struct piece *p, struct error *err)
{
    const struct copy_plan *plan = arg;
    /* The source may end inside a block of the target. */
    uint64_t end = round_up(p->length, plan->to->logical_block_bytes);
    int rc = 0;

    if (p->zero)
        return write_zeros(plan, p->offset, end, err);
    for (uint64_t at = 0, n; rc == 0 && at < end; at += n) {
        bool zero;

        n = run_length(p->bytes, at, end, &zero);
        if (zero) {
            rc = write_zeros(plan, p->offset + at, n, err);
            continue;
        }
        rc = blockdev_write(plan->to, p->bytes + at, p->offset + at, n, BLOCK_STABLE);
        if (rc)
            rc = write_failed(plan, p->offset + at, rc, err);
    }
    return rc;
}

/* What is behind the source's end. */
static int write_rest(const struct copy_plan *plan, uint64_t offset, struct error *err)
{
    uint64_t size = plan->from->size_bytes, n;
    int rc = 0;

    for (; rc == 0 && offset < plan->to->size_bytes; offset += n) {
        n = MIN(PIECE_ZERO_BYTES, plan->to->size_bytes - offset);
        if (plan->progress && !plan->progress(plan->progress_arg, size, size))
            return error_set(err, ECANCELED, "cancelled");
        rc = write_zeros(plan, offset, n, err);
    }
    return rc;
}

int copy_disk(const struct copy_plan *plan, struct error *err)
{
    struct blockdev *from = plan->from, *to = plan->to;
    uint64_t end = round_up(from->size_bytes, to->logical_block_bytes);
    struct pieces_plan pieces = {.from = from,
        .align_bytes = MAX(from->logical_block_bytes, to->logical_block_bytes),
        .piece_bytes = PIECE_BYTES,
        .in_turn = add_digest,
        .finish = write_piece,
        .arg = (void *)plan,
        .progress = plan->progress,
        .progress_arg = plan->progress_arg};
    int rc;

    if (end > to->size_bytes)
        return error_set(err, EFBIG, "%s has %" PRIu64 " bytes, %s only %" PRIu64, from->name,
            (uint64_t)from->size_bytes, to->name, (uint64_t)to->size_bytes);
    rc = pieces_run(&pieces, err);
    if (rc == 0)
        rc = write_rest(plan, end, err);
    if (rc)
        return rc;
    rc = blockdev_flush(to);
    return rc ? error_set(err, -rc, "cannot make %s durable: %s", to->name, strerror(-rc)) : 0;
}
