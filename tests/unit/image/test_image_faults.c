/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The file fails at its n-th read, write or flush, once or for some time, for every n of a life.
 * Guests are told; what was acknowledged is there; the image goes on, and is whole after it was
 * closed, or opened again where closing failed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "rig.h"

extern CU_TestInfo image_faults_tests[];

#define SECTOR   512u
#define SECTORS  512u
#define FILE_MAX (2u << 20)

struct scene {
    struct rig rig;
    bool opened;
    uint64_t may[SECTORS];   /* values that each may have, a bit each; 0: zeros */
    uint64_t since[SECTORS]; /* and those that it has had since the last flush */
    unsigned value, failed, wrong;
    bool closing;
    struct co_event kicker_ended;
};

/* Growth that failed is tried again after a second, or when there is news. */
static void kick(void *arg)
{
    struct scene *s = arg;

    while (!s->closing) {
        co_sleep_ns(1000000);
        qcow2_space_changed(s->rig.q);
    }
    co_event_set(&s->kicker_ended);
}

static int open_image(struct scene *s)
{
    int rc = rig_open(&s->rig);

    s->closing = rc;
    co_event_init(&s->kicker_ended);
    if (!rc)
        co_start("kicker", kick, s);
    return rc;
}

/* What was not flushed may be gone if it fails. */
static int close_image(struct scene *s)
{
    int rc;

    s->closing = true;
    co_event_wait(&s->kicker_ended);
    rc = rig_close(&s->rig);
    if (rc)
        memcpy(s->may, s->since, sizeof s->may);
    return rc;
}

static void note(struct scene *s, int rc)
{
    s->failed += rc != 0;
    s->wrong += rc && rc != -EIO && rc != -ENOSPC;
}

static void change(struct scene *s, unsigned sector, uint64_t values, bool surely)
{
    s->may[sector] = (surely ? 0 : s->may[sector]) | values;
    s->since[sector] |= values;
}

static void write_some(struct scene *s, unsigned first, unsigned count)
{
    unsigned value = 1 + s->value++ % 63;
    int rc = rig_write(&s->rig, first * SECTOR, count * SECTOR, (int)value);

    note(s, rc);
    for (unsigned i = first; i < first + count; i++)
        change(s, i, UINT64_C(1) << value, !rc);
}

static void zero_some(struct scene *s, unsigned first, unsigned count, bool discard)
{
    struct blockdev *d = s->rig.disk;
    int rc = discard ? blockdev_discard(d, first * SECTOR, count * SECTOR)
                     : blockdev_write_zeroes(d, first * SECTOR, count * SECTOR, BLOCK_MAY_UNMAP);

    note(s, rc);
    for (unsigned i = first; i < first + count; i++)
        change(s, i, 1, !rc && !discard);
}

static void read_some(struct scene *s, unsigned first, unsigned count)
{
    uint8_t *buf = malloc(count * SECTOR);
    int rc = blockdev_read(s->rig.disk, buf, first * SECTOR, count * SECTOR);

    note(s, rc);
    for (unsigned i = 0; !rc && i < count; i++) {
        uint8_t value = buf[i * SECTOR];
        bool whole = !memcmp(buf + i * SECTOR, buf + i * SECTOR + 1, SECTOR - 1);

        s->wrong += !whole || value > 63 || !(s->may[first + i] >> value & 1);
        s->may[first + i] = UINT64_C(1) << value % 64;
    }
    free(buf);
}

static void flush(struct scene *s)
{
    int rc = blockdev_flush(s->rig.disk);

    note(s, rc);
    if (!rc)
        memcpy(s->since, s->may, sizeof s->may);
}

/* Something of each kind, with tables that are evicted and loaded again in between. */
static void live(struct scene *s)
{
    write_some(s, 0, 3);
    write_some(s, 200, 40);
    flush(s);
    for (unsigned i = 5; i < SECTORS - 16; i += 67)
        write_some(s, i, 9);
    read_some(s, 0, 64);
    zero_some(s, 201, 30, true);
    flush(s);
    write_some(s, 100, 64);
    zero_some(s, 90, 20, false);
    write_some(s, 201, 2);
    flush(s);
    zero_some(s, 0, SECTORS / 2, true);
    write_some(s, 300, 80);
    flush(s);
    read_some(s, 0, SECTORS);
    write_some(s, 10, 5);
}

static int grow(void *arg, uint64_t size_bytes)
{
    struct scene *s = arg;

    if (size_bytes > FILE_MAX)
        return -ENOSPC;
    s->rig.file->size_bytes = MAX(round_up(size_bytes, 4096), s->rig.file->size_bytes);
    return 0;
}

static const struct qcow2_file_ops file_ops = {.grow = grow};

static void make(struct scene *s, const struct qcow2_plan *plan)
{
    struct error err = {0};
    uint64_t bytes = 0;

    rig_make(&s->rig, plan, FILE_MAX);
    CU_ASSERT_EQUAL(qcow2_plan_bytes(plan, &bytes, &err), 0);
    s->rig.file->size_bytes = round_up(bytes, 4096);
    s->rig.options.file_ops = &file_ops;
    s->rig.options.file_arg = s;
    s->rig.options.ahead_bytes = 32 << 10;
    s->rig.options.space_wait_ns = 20000000;
    for (unsigned i = 0; i < SECTORS; i++)
        s->may[i] = s->since[i] = 1;
}

/* Without faults. */
static void live_well(struct scene *s)
{
    struct qcow2_status status;

    s->failed = 0;
    read_some(s, 0, SECTORS);
    live(s);
    CU_ASSERT_EQUAL(s->failed, 0);
    qcow2_status(s->rig.q, &status);
    CU_ASSERT_FALSE(status.corrupt);
}

static int open_and_live(struct scene *s)
{
    int rc = open_image(s);

    s->opened = !rc;
    if (s->opened)
        live(s);
    s->wrong += rc && rc != -EIO;
    return rc;
}

/* Was there an n-th operation of the kind? */
static bool fail_at(
    const struct qcow2_plan *plan, enum block_kind kind, unsigned n, unsigned times, bool in_close)
{
    struct fault_rule rule = {.kind = kind, .skip = n, .times = times, .error = -EIO};
    struct scene *s = calloc(1, sizeof *s);
    int rc;

    make(s, plan);
    fault_add(s->rig.file, &rule);
    rc = open_and_live(s);
    bool failed = rc || s->failed;
    if (!in_close)
        fault_clear(s->rig.file);
    if (s->opened && !in_close)
        live_well(s);
    if (s->opened) {
        rc = close_image(s);
        failed |= rc != 0;
        CU_ASSERT(!rc || in_close);
        if (!rc && !in_close)
            rig_expect_whole(&s->rig);
    }
    fault_clear(s->rig.file);
    CU_ASSERT_EQUAL(open_image(s), 0);
    live_well(s);
    CU_ASSERT_EQUAL(close_image(s), 0);
    rig_expect_whole(&s->rig);
    CU_ASSERT_EQUAL(s->wrong, 0);
    if (s->wrong)
        printf("clusters of %u bits, kind %u, at %u for %u%s\n", plan->cluster_bits, kind, n, times,
            in_close ? ", also closing" : "");
    rig_end(&s->rig);
    free(s);
    return failed;
}

static const struct qcow2_plan plans[] = {
    {.cluster_bits = 9, .refcount_order = 6, .standard_l2 = true, .size_bytes = SECTORS * SECTOR},
    {.cluster_bits = 12, .standard_l2 = true, .size_bytes = SECTORS * SECTOR},
    {.cluster_bits = 14, .size_bytes = SECTORS * SECTOR},
};

/* Some operations fail without a harm to anybody: the life ends where many in a row did. */
#define QUIET 40

static void fail_everywhere(enum block_kind kind)
{
    for (unsigned i = 0; i < ARRAY_LEN(plans); i++)
        for (unsigned n = 0, quiet = 0; quiet < QUIET; n++) {
            bool failed = fail_at(&plans[i], kind, n, 1, false);

            if (n % 3 == 0)
                failed |= fail_at(&plans[i], kind, n, 5, true);
            if (n % 6 == 0)
                failed |= fail_at(&plans[i], kind, n, 0, n % 12 == 0);
            quiet = failed ? 0 : quiet + 1;
        }
}

static void reads(void)
{
    fail_everywhere(BLOCK_READ);
}

static void writes(void)
{
    fail_everywhere(BLOCK_WRITE);
}

static void flushes(void)
{
    fail_everywhere(BLOCK_FLUSH);
}

static void test_reads(void)
{
    run_in_rt(reads);
}

static void test_writes(void)
{
    run_in_rt(writes);
}

static void test_flushes(void)
{
    run_in_rt(flushes);
}

CU_TestInfo image_faults_tests[] = {{"every read fails", test_reads},
    {"every write fails", test_writes}, {"every flush fails", test_flushes}, CU_TEST_INFO_NULL};
