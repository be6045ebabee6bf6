/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Entries of L1 and L2 tables: what they refer to, whether they can be, their COPIED flags. */
#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"
#include "image/check_private.h"

/* --- L1 --- */

/* COPIED says that the refcount, as it stands, is 1. */
static void check_copied(
    struct check *c, uint64_t word, uint64_t cluster_offset, uint64_t at, const char *what)
{
    uint32_t stands = c->refcounts[cluster_offset >> c->g.cluster_bits];

    if ((stands == 1) != !!(word & QCOW2_COPIED))
        check_found(c, CHECK_COPIED, at, "%s has COPIED %s, but the refcount %u", what,
            word & QCOW2_COPIED ? "set" : "clear", stands);
}

static void count_l1_entry(struct check *c, const struct check_l1 *l1, uint32_t i, uint64_t word)
{
    const char *why = qcow2_l1_entry_fault(&c->g, word, c->file_bytes);
    uint64_t at = l1->offset + UINT64_C(8) * i, offset;

    if (why) {
        check_found(
            c, CHECK_ENTRY, at, "L1 entry %u of %s (0x%jx): %s", i, l1->name, (uintmax_t)word, why);
        word = check_mend_l1(c, word);
    }
    offset = word & QCOW2_OFFSET_MASK;
    if (!offset)
        return;
    check_use(c, offset, c->cluster_bytes, CHECK_USE_L2, 1);
    if (!l1->active)
        return;
    c->uses[offset >> c->g.cluster_bits] |= CHECK_ACTIVE_L2;
    if (!why)
        check_copied(c, word, offset, at, "an L1 entry");
}

static int count_l1(struct check *c, const struct check_l1 *l1)
{
    uint8_t *bytes;
    int rc = check_read_table(c, l1->offset, UINT64_C(8) * l1->entries, &bytes);

    if (rc == -ENOMEM)
        return rc;
    if (rc < 0) {
        check_found(c, CHECK_UNREADABLE, l1->offset, "the L1 of %s cannot be read", l1->name);
        c->incomplete = true;
        return 0;
    }
    for (uint32_t i = 0; i < l1->entries; i++)
        if (get_be64(bytes + UINT64_C(8) * i))
            count_l1_entry(c, l1, i, get_be64(bytes + UINT64_C(8) * i));
    free(bytes);
    return 0;
}

static int list_tables(struct check *c)
{
    size_t n = 0;

    for (uint64_t i = 0; i < c->clusters; i++)
        n += c->uses[i] != 0;
    c->tables = calloc(n ? n : 1, sizeof *c->tables);
    if (!c->tables)
        return -ENOMEM;
    for (uint64_t i = 0; i < c->clusters; i++)
        if (c->uses[i])
            c->tables[c->table_count++] = (struct check_table){.offset = i << c->g.cluster_bits,
                .references = c->references[i],
                .active = c->uses[i] & CHECK_ACTIVE_L2};
    return 0;
}

int check_count_l1s(struct check *c)
{
    int rc = 0;

    for (unsigned i = 0; !rc && i < c->l1_count; i++)
        rc = count_l1(c, &c->l1s[i]);
    return rc ? rc : list_tables(c);
}

/* --- L2 --- */

static void tell_entry(struct check *c, struct qcow2_entry e, uint64_t at, const char *why)
{
    check_found(c, CHECK_ENTRY, at, "L2 entry 0x%jx: %s", (uintmax_t)e.word, why);
}

static void count_l2_entry(
    struct check *c, const struct check_table *t, uint64_t at, struct qcow2_entry e)
{
    const char *why = qcow2_l2_entry_fault(&c->g, c->header.version, e, c->file_bytes);
    uint64_t offset, length;

    if (why) {
        tell_entry(c, e, at, why);
        e = check_mend_l2(c, e);
    }
    if (!check_extent(c, e, &offset, &length))
        return;
    check_use(c, offset, length, CHECK_USE_DATA, t->references);
    if (!t->active)
        return;
    c->result->clusters_allocated++;
    if (e.word & QCOW2_COMPRESSED)
        c->result->clusters_compressed++;
    else if (!why)
        check_copied(c, e.word, offset, at, "an L2 entry");
}

static void count_l2(struct check *c, const struct check_table *t, const uint8_t *bytes)
{
    for (unsigned i = 0; i < 1u << c->g.l2_bits; i++) {
        struct qcow2_entry e = qcow2_entry_get(&c->g, bytes, i);

        if (e.word | e.bitmap)
            count_l2_entry(c, t, t->offset + ((uint64_t)i << c->g.l2_entry_bits), e);
    }
}

static void count_batch(struct check *c, const struct check_table *t, unsigned count)
{
    struct check_reads reads = {.count = count};

    for (unsigned i = 0; i < count; i++)
        reads.offsets[i] = t[i].offset;
    check_read_batch(c, &reads);
    for (unsigned i = 0; i < count; i++) {
        if (!reads.results[i]) {
            count_l2(c, &t[i], c->batch + i * c->cluster_bytes);
            continue;
        }
        check_found(c, CHECK_UNREADABLE, t[i].offset, "an L2 table cannot be read");
        c->incomplete = true;
    }
}

int check_count_l2s(struct check *c)
{
    size_t n;

    c->result->clusters_allocated = c->result->clusters_compressed = 0;
    for (size_t i = 0; i < c->table_count; i += n) {
        n = MIN(c->table_count - i, (size_t)check_batch_count(c));
        if (c->progress && !c->progress(c->arg, i, c->table_count))
            return -ECANCELED;
        count_batch(c, &c->tables[i], (unsigned)n);
    }
    return 0;
}
