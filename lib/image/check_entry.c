/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Entries that cannot be, and what a repair makes of them: pure. What was flipped beside an offset
 * that can be is put right; an offset that cannot be is given up, and zeros are read there.
 */
#include "image/check_private.h"

uint64_t check_mend_l1(const struct check *c, uint64_t word)
{
    word &= ~QCOW2_L1_RESERVED;
    return qcow2_l1_entry_fault(&c->g, word, c->file_bytes) ? 0 : word;
}

struct qcow2_entry check_lost_l2(const struct check *c)
{
    if (c->g.extended)
        return (struct qcow2_entry){.bitmap = UINT64_C(0xffffffff) << 32};
    return (struct qcow2_entry){.word = c->header.version == 2 ? 0 : QCOW2_ZERO};
}

static bool can_be(const struct check *c, struct qcow2_entry e)
{
    return !qcow2_l2_entry_fault(&c->g, c->header.version, e, c->file_bytes);
}

static struct qcow2_entry mend_packed(const struct check *c, struct qcow2_entry e)
{
    e.word &= ~QCOW2_COPIED;
    e.bitmap = 0;
    return can_be(c, e) ? e : check_lost_l2(c);
}

/* Of subclusters that are both, the data is kept. Those that are lost become zeros. */
static struct qcow2_entry mend_extended(const struct check *c, struct qcow2_entry e)
{
    uint64_t allocated = (uint32_t)e.bitmap, zero = e.bitmap >> 32;

    e.word &= ~QCOW2_ZERO;
    if ((e.word & QCOW2_OFFSET_MASK) &&
        can_be(c, (struct qcow2_entry){.word = e.word, .bitmap = 0})) {
        e.bitmap = allocated | (zero & ~allocated) << 32;
        return e;
    }
    return (struct qcow2_entry){.bitmap = (zero | allocated) << 32};
}

struct qcow2_entry check_mend_l2(const struct check *c, struct qcow2_entry e)
{
    if (e.word & QCOW2_COMPRESSED)
        return mend_packed(c, e);
    e.word &= ~QCOW2_L2_RESERVED;
    if (c->g.extended)
        return mend_extended(c, e);
    if (c->header.version == 2)
        e.word &= ~QCOW2_ZERO;
    if (!(e.word & QCOW2_OFFSET_MASK))
        e.word &= ~QCOW2_COPIED;
    return can_be(c, e) ? e : check_lost_l2(c);
}

bool check_extent(const struct check *c, struct qcow2_entry e, uint64_t *offset, uint64_t *length)
{
    if (e.word & QCOW2_COMPRESSED) {
        qcow2_entry_packed(&c->g, e, offset, length);
        return true;
    }
    *offset = qcow2_entry_offset(e);
    *length = c->cluster_bytes;
    return *offset != 0;
}
