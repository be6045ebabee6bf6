/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/fault.h"
#include "image/qcow2.h"

#include "made.h"
#include "rt/run.h"

extern CU_TestInfo check_tests[];

/* Guest clusters that the images of most tests have: in two tables. */
#define FAR(m) (UINT64_C(1) << (m)->g.l2_bits)
static const struct made_plan small = {
    .cluster_bits = 12, .refcount_order = 4, .file_clusters = 64};
static const struct made_plan subclusters = {
    .cluster_bits = 14, .refcount_order = 4, .extended = true, .file_clusters = 64};

static struct check_result result;
static struct error error;

static int check(struct made *m, unsigned flags)
{
    error = (struct error){0};
    return qcow2_check(m->file, flags, NULL, NULL, &result, &error);
}

static uint64_t found_all(void)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < CHECK_FAULTS; i++)
        n += result.found[i];
    return n;
}

/* So many of one kind, and nothing else. */
static bool finds_only(struct made *m, enum check_fault fault, uint64_t n)
{
    return check(m, 0) == 0 && result.found[fault] == n && found_all() == n &&
           result.finding_count == n && result.findings[0].fault == fault &&
           check_is_clean(&result) == (fault == CHECK_LEAK);
}

static bool finds_nothing(struct made *m)
{
    return check(m, 0) == 0 && !found_all() && check_is_clean(&result);
}

/* Repairs everything, after which there is nothing. */
static bool repairs(struct made *m, unsigned flags)
{
    if (check(m, flags) < 0 || memcmp(result.found, result.repaired, sizeof result.found) != 0)
        return false;
    return finds_nothing(m);
}

static void begin(struct made *m, const struct made_plan *plan, uint64_t *near, uint64_t *far)
{
    made_begin(m, plan);
    *near = made_data(m, 1);
    made_data(m, 2);
    *far = made_data(m, FAR(m));
}

static bool reads_right(struct made *m, uint64_t guest_cluster)
{
    return made_read(m, guest_cluster) == made_byte(guest_cluster);
}

/* --- whole images --- */

static void whole(unsigned version, unsigned cluster_bits, unsigned order, bool extended)
{
    struct made_plan plan = {.version = version,
        .cluster_bits = cluster_bits,
        .refcount_order = order,
        .extended = extended,
        .file_clusters = 600};
    uint64_t near, far;
    struct made m;

    begin(&m, &plan, &near, &far);
    CU_ASSERT(finds_nothing(&m));
    CU_ASSERT_EQUAL(result.clusters_allocated, 3);
    CU_ASSERT_EQUAL(result.clusters_total, m.h.size_bytes >> cluster_bits);
    CU_ASSERT_EQUAL(result.image_end_bytes, m.next << cluster_bits);
    if (order > 0)
        made_snapshot(&m, "s");
    if (version == 3)
        made_bitmap(&m);
    CU_ASSERT(finds_nothing(&m));
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    made_end(&m);
}

static void whole_images(void)
{
    for (unsigned order = 0; order <= 6; order++)
        whole(3, 12, order, false);
    whole(2, 9, 4, false);
    whole(2, 16, 4, false);
    whole(3, 9, 4, false);
    whole(3, 14, 4, true);
    whole(3, 17, 1, true);
    whole(3, 21, 6, false);
}

static void packed_clusters(void)
{
    uint64_t near, far, packs, at;
    struct made m;

    begin(&m, &small, &near, &far);
    packs = made_take(&m, 2);
    made_packed(&m, 10, packs + 100, 1000);
    made_packed(&m, 11, packs + 1100, 4000);
    at = made_packed(&m, 12, packs + 5100, 1000);
    made_set_refcount(&m, packs, 2);
    made_set_refcount(&m, packs + m.cluster_bytes, 2);
    CU_ASSERT(finds_nothing(&m));
    CU_ASSERT_EQUAL(result.clusters_allocated, 6);
    CU_ASSERT_EQUAL(result.clusters_compressed, 3);
    made_put(&m, at, made_get(&m, at) | QCOW2_COPIED);
    CU_ASSERT(finds_only(&m, CHECK_ENTRY, 1));
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    CU_ASSERT_EQUAL(result.clusters_compressed, 3);
    made_put(&m, at, qcow2_packed_word(&m.g, UINT64_C(64) << 12, 1000));
    CU_ASSERT_EQUAL(check(&m, 0), 0);
    CU_ASSERT_EQUAL(result.found[CHECK_ENTRY], 1);
    CU_ASSERT_EQUAL(result.found[CHECK_LEAK], 1);
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    CU_ASSERT_EQUAL(made_get(&m, at), QCOW2_ZERO);
    made_end(&m);
}

/* --- refcounts --- */

static void leaks(void)
{
    uint64_t near, far, lost;
    struct made m;

    begin(&m, &small, &near, &far);
    lost = made_take(&m, 3);
    CU_ASSERT(finds_only(&m, CHECK_LEAK, 3));
    CU_ASSERT_EQUAL(result.findings[0].offset, lost);
    CU_ASSERT_EQUAL(result.image_end_bytes, m.next << 12);
    CU_ASSERT(repairs(&m, CHECK_REPAIR_LEAKS));
    CU_ASSERT_EQUAL(result.image_end_bytes, lost);
    made_end(&m);
}

/* A refcount that falls to 1 takes its COPIED flag with it. */
static void leak_in_use(void)
{
    uint64_t near, far;
    struct made m;

    begin(&m, &small, &near, &far);
    made_put(&m, near, made_get(&m, near) & ~QCOW2_COPIED);
    made_set_refcount(&m, made_get(&m, near), 2);
    CU_ASSERT(finds_only(&m, CHECK_LEAK, 1));
    CU_ASSERT(repairs(&m, CHECK_REPAIR_LEAKS));
    CU_ASSERT_NOT_EQUAL(made_get(&m, near) & QCOW2_COPIED, 0);
    made_end(&m);
}

static void too_low(void)
{
    uint64_t near, far, cluster;
    struct made m;

    begin(&m, &small, &near, &far);
    made_snapshot(&m, "s");
    cluster = made_get(&m, near) & QCOW2_OFFSET_MASK;
    made_set_refcount(&m, cluster, 0);
    CU_ASSERT(finds_only(&m, CHECK_REFCOUNT, 1));
    CU_ASSERT_EQUAL(check(&m, CHECK_REPAIR_LEAKS), 0);
    CU_ASSERT_EQUAL(result.repaired[CHECK_REFCOUNT], 0);
    CU_ASSERT_EQUAL(made_refcount(&m, cluster), 0);
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    CU_ASSERT_EQUAL(made_refcount(&m, cluster), 2);
    made_end(&m);
}

/* Lazily counted: the dirty bit says so. */
static void dirty(void)
{
    uint64_t near, far, leak;
    struct made m;

    begin(&m, &small, &near, &far);
    leak = made_take(&m, 1);
    m.h.incompatible |= QCOW2_DIRTY;
    made_write_header(&m);
    made_set_refcount(&m, made_get(&m, near) & QCOW2_OFFSET_MASK, 0);
    made_set_refcount(&m, made_get(&m, made_l1_at(&m, 0)) & QCOW2_OFFSET_MASK, 0);
    CU_ASSERT_EQUAL(check(&m, 0), 0);
    CU_ASSERT_EQUAL(result.found[CHECK_REFCOUNT], 2);
    CU_ASSERT_EQUAL(made_get(&m, 72) & QCOW2_DIRTY, QCOW2_DIRTY);
    CU_ASSERT(repairs(&m, CHECK_REPAIR_LEAKS));
    CU_ASSERT_EQUAL(made_get(&m, 72), 0);
    CU_ASSERT_EQUAL(made_refcount(&m, leak), 0);
    /* With a block that never reached the disk. */
    made_put(&m, 72, QCOW2_DIRTY);
    made_put(&m, m.h.reftable_offset, 0);
    CU_ASSERT(repairs(&m, CHECK_REPAIR_LEAKS));
    CU_ASSERT_EQUAL(made_get(&m, 72), 0);
    CU_ASSERT_NOT_EQUAL(made_get(&m, 48), m.h.reftable_offset);
    /* With nothing wrong. */
    made_put(&m, 72, QCOW2_DIRTY);
    CU_ASSERT(repairs(&m, CHECK_REPAIR_LEAKS));
    CU_ASSERT_EQUAL(made_get(&m, 72), 0);
    made_end(&m);
}

/* What a damaged entry referred to is not freed behind its back. */
static void dirty_and_damaged(void)
{
    uint64_t near, far, cluster;
    struct made m;

    begin(&m, &small, &near, &far);
    m.h.incompatible |= QCOW2_DIRTY;
    made_write_header(&m);
    cluster = made_get(&m, near) & QCOW2_OFFSET_MASK;
    made_put(&m, near, made_get(&m, near) + 512);
    CU_ASSERT_EQUAL(check(&m, CHECK_REPAIR_LEAKS), 0);
    CU_ASSERT_FALSE(check_is_clean(&result));
    CU_ASSERT_EQUAL(result.repaired[CHECK_LEAK], 0);
    CU_ASSERT_EQUAL(made_refcount(&m, cluster), 1);
    CU_ASSERT_EQUAL(made_get(&m, 72), QCOW2_DIRTY);
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    CU_ASSERT_EQUAL(made_refcount(&m, cluster), 0);
    CU_ASSERT_EQUAL(made_get(&m, 72), 0);
    made_end(&m);
}

static void corrupt_bit(void)
{
    uint64_t near, far;
    struct made m;

    begin(&m, &small, &near, &far);
    m.h.incompatible |= QCOW2_CORRUPT;
    made_write_header(&m);
    made_set_refcount(&m, made_get(&m, near) & QCOW2_OFFSET_MASK, 2);
    CU_ASSERT_EQUAL(check(&m, CHECK_REPAIR_LEAKS), 0);
    CU_ASSERT_EQUAL(made_get(&m, 72), QCOW2_CORRUPT);
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    CU_ASSERT_EQUAL(made_get(&m, 72), 0);
    made_end(&m);
}

static void copied(void)
{
    uint64_t near, far, table;
    struct made m;

    begin(&m, &small, &near, &far);
    made_put(&m, near, made_get(&m, near) & ~QCOW2_COPIED);
    made_put(&m, made_l1_at(&m, 1), made_get(&m, made_l1_at(&m, 1)) & ~QCOW2_COPIED);
    CU_ASSERT(finds_only(&m, CHECK_COPIED, 2));
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    made_snapshot(&m, "s");
    made_put(&m, near, made_get(&m, near) | QCOW2_COPIED);
    CU_ASSERT(finds_only(&m, CHECK_COPIED, 1));
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    /* A snapshot's own flags tell nothing. */
    table = made_get(&m, m.snapshot_l1s[0]);
    made_put(&m, m.snapshot_l1s[0], table | QCOW2_COPIED);
    CU_ASSERT(finds_nothing(&m));
    made_end(&m);
}

/* --- refcount table and blocks --- */

static void reftable_entries(void)
{
    static const uint64_t bad[] = {
        0, 1, 512, UINT64_C(64) << 12, UINT64_C(1) << 60, 3 << 12, 0x7000};

    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct made m;
        uint64_t near, far;

        begin(&m, &small, &near, &far);
        made_put(&m, m.h.reftable_offset, bad[i]);
        CU_ASSERT_EQUAL(check(&m, 0), 0);
        CU_ASSERT_FALSE(check_is_clean(&result));
        CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
        CU_ASSERT(reads_right(&m, 1) && reads_right(&m, 2) && reads_right(&m, FAR(&m)));
        CU_ASSERT_NOT_EQUAL(made_get(&m, 48), m.h.reftable_offset);
        made_end(&m);
    }
}

/* New tables go into free clusters; a file without any has to become longer. */
static void no_room(void)
{
    struct made_plan plan = small;
    uint64_t near, far;
    struct made m;

    plan.file_clusters = 9; /* header, table, block, L1, two L2 tables, three of data */
    begin(&m, &plan, &near, &far);
    CU_ASSERT_EQUAL(m.next, 9);
    made_put(&m, m.h.reftable_offset, 1);
    CU_ASSERT_EQUAL(check(&m, CHECK_REPAIR_ALL), -ENOSPC);
    CU_ASSERT(result.room_needed_bytes >= m.cluster_bytes);
    CU_ASSERT_EQUAL(made_get(&m, 48), m.h.reftable_offset);
    made_end(&m);
    plan.file_clusters = 10;
    begin(&m, &plan, &near, &far);
    made_put(&m, m.h.reftable_offset, 1);
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    made_end(&m);
}

static int grow(void *arg, uint64_t size_bytes)
{
    struct blockdev *file = arg;

    if (size_bytes > small.file_clusters << small.cluster_bits)
        return -ENOSPC;
    atomic_store(&file->size_bytes, size_bytes);
    return 0;
}

/* An image that was not closed gets the room when it is opened. */
static void room_when_opened(void)
{
    static const struct qcow2_file_ops ops = {.grow = grow};
    struct qcow2_options options = {.ahead_bytes = 1};
    uint64_t near, far;
    struct qcow2 *q;
    struct made m;

    begin(&m, &small, &near, &far);
    m.h.incompatible |= QCOW2_DIRTY;
    made_write_header(&m);
    made_put(&m, m.h.reftable_offset, 0);
    atomic_store(&m.memory->size_bytes, m.next << m.g.cluster_bits);
    CU_ASSERT_EQUAL(qcow2_open(&q, m.memory, "image", &options, NULL), -ENOSPC);
    options.file_ops = &ops;
    options.file_arg = m.memory;
    CU_ASSERT_EQUAL(qcow2_open(&q, m.memory, "image", &options, NULL), 0);
    CU_ASSERT_EQUAL(qcow2_close(q), 0);
    CU_ASSERT(finds_nothing(&m) && reads_right(&m, 1) && reads_right(&m, FAR(&m)));
    made_end(&m);
}

/* --- entries --- */

static void l2_entries(void)
{
    uint64_t near, far, good, lost;
    struct made m;

    begin(&m, &small, &near, &far);
    good = made_get(&m, near);
    made_put(&m, near, good | UINT64_C(1) << 58 | 2);
    CU_ASSERT(finds_only(&m, CHECK_ENTRY, 1));
    CU_ASSERT_EQUAL(result.findings[0].offset, near);
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    CU_ASSERT_EQUAL(made_get(&m, near), good);
    for (unsigned i = 0; i < 2; i++) {
        lost = made_get(&m, near) & QCOW2_OFFSET_MASK;
        made_put(&m, near, i ? UINT64_C(64) << 12 : lost + 512);
        CU_ASSERT_EQUAL(check(&m, 0), 0);
        CU_ASSERT_EQUAL(result.found[CHECK_ENTRY], 1);
        CU_ASSERT_EQUAL(result.found[CHECK_LEAK], 1);
        CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
        CU_ASSERT_EQUAL(made_get(&m, near), QCOW2_ZERO);
        near = made_data(&m, 5);
    }
    CU_ASSERT(reads_right(&m, 2) && reads_right(&m, 5) && reads_right(&m, FAR(&m)));
    made_end(&m);
}

static void version_2(void)
{
    struct made_plan plan = small;
    uint64_t near, far, good;
    struct made m;

    plan.version = 2;
    begin(&m, &plan, &near, &far);
    good = made_get(&m, near);
    made_put(&m, near, good | QCOW2_ZERO);
    CU_ASSERT(finds_only(&m, CHECK_ENTRY, 1));
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    CU_ASSERT_EQUAL(made_get(&m, near), good);
    made_put(&m, near, good + 512);
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    CU_ASSERT_EQUAL(made_get(&m, near), 0);
    made_end(&m);
}

static void extended_entries(void)
{
    uint64_t near, far, good;
    struct made m;

    begin(&m, &subclusters, &near, &far);
    good = made_get(&m, near);
    made_put(&m, near + 8, UINT64_C(0xffff0000ff) << 8);
    CU_ASSERT(finds_only(&m, CHECK_ENTRY, 1));
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    CU_ASSERT_EQUAL(made_get(&m, near), good);
    CU_ASSERT_EQUAL(made_get(&m, near + 8), UINT64_C(0xff0000ff00));
    made_put(&m, near, good | QCOW2_ZERO);
    CU_ASSERT(finds_only(&m, CHECK_ENTRY, 1));
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    CU_ASSERT_EQUAL(made_get(&m, near), good);
    made_put(&m, near, 0);
    made_put(&m, near + 8, 0xf);
    CU_ASSERT_EQUAL(check(&m, 0), 0);
    CU_ASSERT_EQUAL(result.found[CHECK_ENTRY], 1);
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    CU_ASSERT_EQUAL(made_get(&m, near + 8), UINT64_C(0xf) << 32);
    made_end(&m);
}

static void l1_entries(void)
{
    uint64_t near, far, good;
    struct made m;

    begin(&m, &small, &near, &far);
    good = made_get(&m, made_l1_at(&m, 0));
    made_put(&m, made_l1_at(&m, 0), good | UINT64_C(1) << 56 | 1);
    CU_ASSERT(finds_only(&m, CHECK_ENTRY, 1));
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    CU_ASSERT_EQUAL(made_get(&m, made_l1_at(&m, 0)), good);
    made_put(&m, made_l1_at(&m, 0), UINT64_C(64) << 12 | QCOW2_COPIED);
    CU_ASSERT_EQUAL(check(&m, 0), 0);
    CU_ASSERT_EQUAL(result.found[CHECK_ENTRY], 1);
    CU_ASSERT_EQUAL(result.found[CHECK_LEAK], 3);
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    CU_ASSERT_EQUAL(made_get(&m, made_l1_at(&m, 0)), 0);
    CU_ASSERT(reads_right(&m, FAR(&m)));
    made_end(&m);
}

/* --- overlaps --- */

/* A table that is data too gets a place of its own. */
static void table_on_data(void)
{
    uint64_t near, far, cluster;
    struct made m;

    begin(&m, &small, &near, &far);
    cluster = made_get(&m, far) & QCOW2_OFFSET_MASK;
    made_put(&m, made_l1_at(&m, 0), cluster | QCOW2_COPIED);
    CU_ASSERT_EQUAL(check(&m, 0), 0);
    CU_ASSERT_EQUAL(result.found[CHECK_OVERLAP], 1);
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    CU_ASSERT_NOT_EQUAL(made_get(&m, made_l1_at(&m, 0)) & QCOW2_OFFSET_MASK, cluster);
    CU_ASSERT(reads_right(&m, FAR(&m)));
    made_end(&m);
}

static void data_on_table(void)
{
    uint64_t near, far;
    struct made m;

    begin(&m, &small, &near, &far);
    made_put(&m, far, made_get(&m, made_l1_at(&m, 0)));
    CU_ASSERT_EQUAL(check(&m, 0), 0);
    CU_ASSERT_EQUAL(result.found[CHECK_OVERLAP], 1);
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    CU_ASSERT(reads_right(&m, 1) && reads_right(&m, 2));
    made_end(&m);
}

/* What lies on L1, header and the like goes; refcounts give way instead. */
static void data_on_metadata(void)
{
    uint64_t near, far;
    struct made m;

    begin(&m, &small, &near, &far);
    made_snapshot(&m, "s");
    made_data(&m, 7);
    for (unsigned i = 0; i < 4; i++) {
        uint64_t on[] = {
            m.h.l1_offset, m.h.snapshots_offset, m.snapshot_l1s[0], made_get(&m, 48) + 0x1000};

        near = made_data(&m, 6 + 0x10 * i);
        made_put(&m, near, on[i] | QCOW2_COPIED);
        CU_ASSERT_EQUAL(check(&m, 0), 0);
        CU_ASSERT_EQUAL(result.found[CHECK_OVERLAP], 1);
        CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
        /* Two L1s share the table, so nothing is COPIED. */
        CU_ASSERT_EQUAL(made_get(&m, near), i < 3 ? QCOW2_ZERO : on[i]);
        CU_ASSERT(reads_right(&m, 1) && reads_right(&m, 7) && reads_right(&m, FAR(&m)));
    }
    made_end(&m);
}

/* Not seen by counting: the refcounts fit. */
static void counted_overlap(void)
{
    uint64_t near, far, cluster;
    struct made m;

    begin(&m, &small, &near, &far);
    cluster = made_get(&m, near) & QCOW2_OFFSET_MASK;
    made_set_refcount(&m, cluster, 0);
    made_put(&m, near, m.h.l1_offset);
    made_set_refcount(&m, m.h.l1_offset, 2);
    CU_ASSERT(finds_only(&m, CHECK_OVERLAP, 1));
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    made_end(&m);
}

/* A refcount of one bit cannot tell that two share a cluster. */
static void shared_without_room(void)
{
    struct made_plan plan = small;
    uint64_t near, far;
    struct made m;

    plan.refcount_order = 0;
    begin(&m, &plan, &near, &far);
    made_put(&m, near, made_get(&m, far));
    CU_ASSERT_EQUAL(check(&m, 0), 0);
    CU_ASSERT_EQUAL(result.found[CHECK_REFCOUNT], 1);
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    CU_ASSERT(reads_right(&m, 2) && (made_read(&m, 1) < 0) != (made_read(&m, FAR(&m)) < 0));
    made_put(&m, made_l1_at(&m, 2), made_get(&m, made_l1_at(&m, 0)));
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    CU_ASSERT(reads_right(&m, 2) != (made_read(&m, 2 * FAR(&m) + 2) >= 0));
    made_end(&m);
}

/* Nor need it: refcounts are made anew elsewhere, and the data stays. */
static void refcounts_on_data(void)
{
    struct made_plan plan = small;
    uint64_t near, far;
    struct made m;

    plan.refcount_order = 0;
    begin(&m, &plan, &near, &far);
    made_put(&m, m.h.reftable_offset, made_get(&m, far) & QCOW2_OFFSET_MASK);
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    CU_ASSERT(reads_right(&m, 1) && reads_right(&m, 2) && reads_right(&m, FAR(&m)));
    made_end(&m);
}

/* --- snapshots and bitmaps --- */

static void snapshot_damaged(void)
{
    uint64_t near, far;
    struct made m;

    begin(&m, &small, &near, &far);
    made_snapshot(&m, "s");
    made_put(&m, m.h.snapshots_offset, 512);
    CU_ASSERT_EQUAL(check(&m, CHECK_REPAIR_ALL), 0);
    CU_ASSERT_EQUAL(result.found[CHECK_TABLE], 1);
    CU_ASSERT(result.found[CHECK_LEAK] > 0);
    CU_ASSERT_EQUAL(result.repaired[CHECK_LEAK], 0);
    CU_ASSERT_FALSE(check_is_clean(&result));
    made_put(&m, m.h.snapshots_offset, m.snapshot_l1s[0]);
    CU_ASSERT(finds_nothing(&m));
    made_put(&m, m.h.snapshots_offset + 8, UINT64_MAX);
    CU_ASSERT_EQUAL(check(&m, CHECK_REPAIR_ALL), 0);
    CU_ASSERT_EQUAL(result.found[CHECK_TABLE], 1);
    CU_ASSERT_EQUAL(result.repaired[CHECK_LEAK], 0);
    made_end(&m);
}

static void bitmap_damaged(void)
{
    uint64_t near, far, at;
    struct made m;

    begin(&m, &small, &near, &far);
    at = made_bitmap(&m);
    CU_ASSERT(finds_nothing(&m));
    made_put(&m, at, made_get(&m, at) + 512);
    CU_ASSERT_EQUAL(check(&m, CHECK_REPAIR_LEAKS), 0);
    CU_ASSERT_EQUAL(result.found[CHECK_TABLE], 1);
    CU_ASSERT_EQUAL(result.repaired[CHECK_LEAK], 0);
    CU_ASSERT_EQUAL(made_get(&m, 88), QCOW2_BITMAPS_VALID);
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    CU_ASSERT_EQUAL(made_get(&m, 88), 0);
    CU_ASSERT_EQUAL(made_refcount(&m, at), 0);
    made_end(&m);
}

/* --- I/O --- */

static void unreadable(void)
{
    uint64_t near, far, table;
    struct made m;

    begin(&m, &small, &near, &far);
    table = made_get(&m, made_l1_at(&m, 0)) & QCOW2_OFFSET_MASK;
    fault_add(m.file,
        &(struct fault_rule){.kind = BLOCK_READ, .offset = table, .length = 1, .error = -EIO});
    CU_ASSERT_EQUAL(check(&m, CHECK_REPAIR_ALL), 0);
    CU_ASSERT_EQUAL(result.found[CHECK_UNREADABLE], 1);
    CU_ASSERT_EQUAL(result.found[CHECK_LEAK], 2);
    CU_ASSERT_EQUAL(result.repaired[CHECK_LEAK], 0);
    fault_clear(m.file);
    CU_ASSERT(finds_nothing(&m));
    /* A block of refcounts is made anew. */
    fault_add(m.file,
        &(struct fault_rule){
            .kind = BLOCK_READ, .offset = made_get(&m, 0x1000), .length = 1, .error = -EIO});
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    CU_ASSERT(reads_right(&m, 1) && reads_right(&m, FAR(&m)));
    made_end(&m);
}

static void refused(void)
{
    uint64_t near, far;
    struct made m;

    begin(&m, &small, &near, &far);
    made_put(&m, 0, 0);
    CU_ASSERT_EQUAL(check(&m, CHECK_REPAIR_ALL), -ENOEXEC);
    CU_ASSERT_NOT_EQUAL(error.code, 0);
    fault_add(m.file, &(struct fault_rule){.kind = BLOCK_READ, .error = -EIO});
    CU_ASSERT_EQUAL(check(&m, 0), -EIO);
    made_end(&m);
}

static bool stop(void *arg, uint64_t done, uint64_t total)
{
    *(uint64_t *)arg = total;
    return false;
}

static void cancelled(void)
{
    uint64_t near, far, total = 0;
    struct made m;

    begin(&m, &small, &near, &far);
    made_take(&m, 1);
    CU_ASSERT_EQUAL(qcow2_check(m.file, CHECK_REPAIR_ALL, stop, &total, &result, NULL), -ECANCELED);
    CU_ASSERT_EQUAL(total, 2);
    CU_ASSERT(finds_only(&m, CHECK_LEAK, 1));
    made_end(&m);
}

/* Clusters smaller than the file's blocks. */
static void small_clusters(void)
{
    struct made_plan plan = {
        .cluster_bits = 9, .refcount_order = 4, .file_clusters = 64, .block_bytes = 4096};
    uint64_t near, far;
    struct made m;

    begin(&m, &plan, &near, &far);
    CU_ASSERT(finds_nothing(&m));
    made_set_refcount(&m, made_get(&m, near) & QCOW2_OFFSET_MASK, 7);
    made_put(&m, far, made_get(&m, far) | 2);
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    CU_ASSERT(reads_right(&m, 1) && reads_right(&m, 2) && reads_right(&m, FAR(&m)));
    made_end(&m);
}

/* --- a repair that is cut off --- */

enum { DAMAGE_BLOCK, DAMAGE_MOVE, DAMAGE_ENTRIES, DAMAGE_BITMAPS, DAMAGE_KINDS };

/* Guest clusters 1 and FAR are whole afterwards. */
static void damage(struct made *m, unsigned kind)
{
    uint64_t at = made_data(m, 20), bitmap = made_bitmap(m);

    made_set_refcount(m, made_get(m, at) & QCOW2_OFFSET_MASK, 0);
    made_set_refcount(m, m->h.l1_offset, 5);
    switch (kind) {
    case DAMAGE_BLOCK:
        made_put(m, m->h.reftable_offset, made_get(m, made_l1_at(m, 0)) & QCOW2_OFFSET_MASK);
        break;
    case DAMAGE_MOVE:
        made_put(m, at, made_get(m, made_l1_at(m, 0)));
        break;
    case DAMAGE_ENTRIES:
        made_put(m, at, m->h.l1_offset);
        made_put(m, made_l1_at(m, 3), 0x300);
        break;
    default:
        made_put(m, bitmap, 0x123400);
    }
}

static void cut_off_at(unsigned kind, unsigned writes, bool *ended)
{
    uint64_t near, far;
    struct made m;

    begin(&m, &small, &near, &far);
    damage(&m, kind);
    fault_add(m.file, &(struct fault_rule){.kind = BLOCK_WRITE, .skip = writes, .error = -EIO});
    *ended = check(&m, CHECK_REPAIR_ALL) == 0;
    fault_clear(m.file);
    CU_ASSERT(reads_right(&m, 1) && reads_right(&m, FAR(&m)));
    CU_ASSERT(repairs(&m, CHECK_REPAIR_ALL));
    CU_ASSERT(reads_right(&m, 1) && reads_right(&m, FAR(&m)));
    made_end(&m);
}

static void cut_off(void)
{
    for (unsigned kind = 0; kind < DAMAGE_KINDS; kind++) {
        bool ended = false;
        unsigned n;

        for (n = 0; n < 100 && !ended; n++)
            cut_off_at(kind, n, &ended);
        CU_ASSERT(ended && n > 3);
    }
}

/* New refcounts are durable before the header says where they are, and before what relies on them;
 * the header comes last. */
static void order_of_writes(void)
{
    struct fault_record log[64];
    unsigned n, header = 0, flushed = 0;
    uint64_t near, far;
    struct made m;

    begin(&m, &small, &near, &far);
    made_put(&m, m.h.reftable_offset, 1);
    m.h.incompatible |= QCOW2_CORRUPT;
    made_write_header(&m);
    fault_log_clear(m.file);
    CU_ASSERT_EQUAL(check(&m, CHECK_REPAIR_ALL), 0);
    n = fault_log(m.file, log, 64);
    CU_ASSERT(n < 64);
    for (unsigned i = 0; i < n; i++) {
        if (log[i].kind == BLOCK_FLUSH)
            flushed = i;
        if (log[i].kind != BLOCK_WRITE)
            continue;
        if (!log[i].offset && header++ == 0)
            CU_ASSERT(flushed > 0 && log[flushed].kind == BLOCK_FLUSH);
    }
    CU_ASSERT_EQUAL(header, 2);
    CU_ASSERT_EQUAL(flushed, n - 1);
    made_end(&m);
}

#define TEST(name)                                                                                 \
    static void test_##name(void)                                                                  \
    {                                                                                              \
        run_in_rt(name);                                                                           \
    }
TEST(whole_images)
TEST(packed_clusters)
TEST(leaks)
TEST(leak_in_use)
TEST(too_low)
TEST(dirty)
TEST(dirty_and_damaged)
TEST(corrupt_bit)
TEST(copied)
TEST(reftable_entries)
TEST(no_room)
TEST(room_when_opened)
TEST(l2_entries)
TEST(version_2)
TEST(extended_entries)
TEST(l1_entries)
TEST(table_on_data)
TEST(data_on_table)
TEST(data_on_metadata)
TEST(counted_overlap)
TEST(shared_without_room)
TEST(refcounts_on_data)
TEST(snapshot_damaged)
TEST(bitmap_damaged)
TEST(unreadable)
TEST(refused)
TEST(cancelled)
TEST(small_clusters)
TEST(cut_off)
TEST(order_of_writes)

CU_TestInfo check_tests[] = {{"images without a fault", test_whole_images},
    {"compressed clusters", test_packed_clusters}, {"leaks", test_leaks},
    {"a leak in a cluster in use", test_leak_in_use}, {"refcounts too low", test_too_low},
    {"a dirty image", test_dirty}, {"a dirty image with damage", test_dirty_and_damaged},
    {"the corrupt bit", test_corrupt_bit}, {"COPIED flags", test_copied},
    {"entries of the refcount table", test_reftable_entries},
    {"no room for refcounts", test_no_room}, {"room when it is opened", test_room_when_opened},
    {"L2 entries", test_l2_entries}, {"version 2", test_version_2},
    {"extended L2 entries", test_extended_entries}, {"L1 entries", test_l1_entries},
    {"an L2 table on data", test_table_on_data}, {"data on an L2 table", test_data_on_table},
    {"data on metadata", test_data_on_metadata},
    {"an overlap that is counted", test_counted_overlap},
    {"sharing that refcounts cannot tell", test_shared_without_room},
    {"refcounts on data", test_refcounts_on_data},
    {"a damaged snapshot table", test_snapshot_damaged}, {"damaged bitmaps", test_bitmap_damaged},
    {"what cannot be read", test_unreadable}, {"no image", test_refused},
    {"cancelled", test_cancelled}, {"clusters smaller than blocks", test_small_clusters},
    {"a repair cut off anywhere", test_cut_off}, {"the order of writes", test_order_of_writes},
    CU_TEST_INFO_NULL};
