/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The check as a whole: scan; where a repair is asked for, repair and scan again, until nothing is
 * left or nothing changes; then the header's dirty and corrupt bits. What was repaired is what the
 * last scan no longer finds.
 */
#include "image/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/arith.h"
#include "image/check_private.h"
#include "image/header_layout.h"
#include "image/refcount.h"

#define ROUNDS_MAX 8u /* of a repair, which may bring to light what a damaged entry hid */

const char *check_fault_name(enum check_fault fault)
{
    static const char *const names[CHECK_FAULTS] = {[CHECK_LEAK] = "leak",
        [CHECK_REFCOUNT] = "refcount",
        [CHECK_COPIED] = "copied",
        [CHECK_ENTRY] = "entry",
        [CHECK_OVERLAP] = "overlap",
        [CHECK_TABLE] = "table",
        [CHECK_UNREADABLE] = "unreadable"};

    return names[fault];
}

bool check_is_clean(const struct check_result *result)
{
    for (unsigned i = 0; i < CHECK_FAULTS; i++)
        if (i != CHECK_LEAK && result->found[i] != result->repaired[i])
            return false;
    return true;
}

void check_found(struct check *c, enum check_fault fault, uint64_t offset, const char *fmt, ...)
{
    struct check_result *r = c->result;
    struct check_finding *f = &r->findings[r->finding_count];
    va_list args;

    c->found[fault]++;
    if (c->quiet || r->finding_count == CHECK_FINDINGS_MAX)
        return;
    r->finding_count++;
    f->fault = fault;
    f->offset = offset;
    va_start(args, fmt);
    vsnprintf(f->text, sizeof f->text, fmt, args);
    va_end(args);
}

static bool any(const uint64_t *found)
{
    for (unsigned i = 0; i < CHECK_FAULTS; i++)
        if (found[i])
            return true;
    return false;
}

/* Rounds, as long as they change something: what goes up first, then what goes down. */
static int repair_rounds(struct check *c, unsigned flags)
{
    uint64_t before[CHECK_FAULTS];
    unsigned vain = 0;
    int rc = 0;

    for (unsigned i = 0; i < ROUNDS_MAX && vain < 2 && !c->incomplete && any(c->found); i++) {
        memcpy(before, c->found, sizeof before);
        rc = check_repair(c, flags, vain > 0);
        if (!rc)
            rc = check_scan(c);
        if (rc < 0)
            return rc;
        vain = memcmp(before, c->found, sizeof before) ? 0 : vain + 1;
    }
    return 0;
}

static int repair(struct check *c, unsigned flags)
{
    int rc;

    c->quiet = true;
    c->progress = NULL;
    rc = repair_rounds(c, flags);
    for (unsigned i = 0; !rc && i < CHECK_FAULTS; i++) {
        c->result->found[i] = MAX(c->result->found[i], c->found[i]);
        c->result->repaired[i] = c->result->found[i] - c->found[i];
    }
    return rc;
}

static int clear_bits(struct check *c, unsigned flags)
{
    uint64_t bits = c->header.incompatible;
    uint8_t bytes[8];
    int rc;

    if (!c->found[CHECK_LEAK] && !c->found[CHECK_REFCOUNT] && !c->incomplete && !c->bad_bitmaps)
        bits &= ~QCOW2_DIRTY;
    if (flags & CHECK_REPAIR_ALL && !any(c->found))
        bits &= ~QCOW2_CORRUPT;
    if (bits == c->header.incompatible)
        return 0;
    put_be64(bytes, bits);
    rc = blockdev_write_bytes(c->file, bytes, AT_INCOMPATIBLE, sizeof bytes, 0);
    return rc ? rc : blockdev_flush(c->file);
}

/* Repairs go by what is durable: what a kill has left in the disk's cache only may still be lost.
 */
static int run(struct check *c, unsigned flags)
{
    int rc = flags ? blockdev_flush(c->file) : 0;

    if (!rc)
        rc = check_scan(c);

    if (rc < 0)
        return rc;
    memcpy(c->result->found, c->found, sizeof c->found);
    if (flags)
        rc = repair(c, flags);
    return rc || !flags ? rc : clear_bits(c, flags);
}

/* No more than it takes: what is behind the first cluster may not be readable. */
static int read_first_cluster(struct check *c, uint64_t *length)
{
    uint8_t *bytes = c->batch;
    unsigned bits;
    int rc;

    *length = MIN(c->file_bytes, UINT64_C(1) << QCOW2_CLUSTER_BITS_MIN);
    rc = blockdev_read_bytes(c->file, bytes, 0, *length);
    bits = rc ? 0 : get_be32(bytes + AT_CLUSTER_BITS);
    if (bits > QCOW2_CLUSTER_BITS_MIN && bits <= QCOW2_CLUSTER_BITS_MAX) {
        *length = MIN(c->file_bytes, UINT64_C(1) << bits);
        rc = blockdev_read_bytes(c->file, bytes, 0, *length);
    }
    return rc;
}

static int read_header(struct check *c)
{
    uint64_t length;
    int rc = read_first_cluster(c, &length);

    if (rc < 0)
        return error_set(c->err, -rc, "the header cannot be read");
    rc = qcow2_header_read(&c->header, c->batch, length, c->file_bytes, c->err);
    if (rc < 0)
        return rc;
    qcow2_geometry_init(&c->g, &c->header);
    c->cluster_bytes = UINT64_C(1) << c->g.cluster_bits;
    c->refcount_max = refcount_max(c->g.refcount_order);
    c->result->clusters_total = div_round_up(c->header.size_bytes, c->cluster_bytes);
    return 0;
}

int qcow2_check(struct blockdev *file, unsigned flags, check_progress *progress, void *arg,
    struct check_result *result, struct error *err)
{
    struct check c = {.file = file,
        .result = result,
        .err = err,
        .progress = progress,
        .arg = arg,
        .file_bytes = file->size_bytes};
    int rc;

    *result = (struct check_result){0};
    c.batch = io_buffer_get(CHECK_BATCH_BYTES);
    if (!c.batch)
        return -ENOMEM;
    rc = read_header(&c);
    if (!rc) {
        rc = run(&c, flags);
        check_scan_free(&c);
        qcow2_header_free(&c.header);
    }
    io_buffer_put(c.batch, CHECK_BATCH_BYTES);
    return rc;
}
