/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Volumes under I/O: over segments and stripes, and while they are resized. */
#include "rig.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "block/fault.h"
#include "lvm/map.h"
#include "lvm/volume.h"

extern CU_TestInfo volume_tests[];

static struct rig rig;
static struct error err;

#define UNIT    (64u << 10)
#define EXTENTS 3

/* A volume of a linear, a striped and again a linear segment over three of the rig's devices. */
static struct blockdev *mixed_volume(struct vg_metadata **m)
{
    static struct vg_stripe stripes[][2] = {{{0, 1}}, {{1, 0}, {2, 2}}, {{2, 0}}};
    static struct vg_segment segments[] = {{0, 1, LVM_SEGMENT_STRIPED, 1, 0, stripes[0], NULL},
        {1, 2, LVM_SEGMENT_STRIPED, 2, 16, stripes[1], NULL},
        {3, 1, LVM_SEGMENT_STRIPED, 1, 0, stripes[2], NULL}};
    struct vg_lv lv = {.name = "mixed", .segment_count = 3, .segments = segments};
    struct blockdev *d = NULL;

    *m = vg_metadata_new("vg", "aaaaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaaa", UNIT / LVM_SECTOR_BYTES);
    for (unsigned i = 0; i < 3; i++)
        vg_metadata_add_pv(*m)->pe_start_sectors = 2048;
    struct volume_map *map = volume_map_build(*m, &lv, rig.pvs);
    CU_ASSERT_EQUAL(volume_create("vg/mixed", map, false, &d), 0);
    return d;
}

/* Reads, writes, zeroes and discards at random places and in random pieces, against a copy in
 * memory. */
static void random_io(void)
{
    static uint8_t copy[4 * UNIT], buf[4 * UNIT];
    struct vg_metadata *m;
    uint64_t random = 99;

    rig_begin(&rig, 512);
    struct blockdev *d = mixed_volume(&m);
    CU_ASSERT_EQUAL(d->size_bytes, sizeof copy);
    CU_ASSERT_EQUAL(blockdev_write_zeroes(d, 0, sizeof copy, 0), 0);
    for (unsigned n = 0; n < 3000; n++) {
        unsigned kind = random_below(&random, 8), start = random_below(&random, sizeof copy / 512);
        unsigned count = 1 + random_below(&random, sizeof copy / 512 - start);
        uint64_t offset = start * 512ull, length = count * 512ull;
        struct iovec iov[3];

        if (kind == 0) {
            CU_ASSERT_EQUAL(blockdev_write_zeroes(d, offset, length, BLOCK_MAY_UNMAP), 0);
            memset(copy + offset, 0, length);
        } else if (kind < 5) {
            uint64_t a = random_below(&random, (unsigned)length), b = (length - a) / 2;

            for (uint64_t i = 0; i < length; i++)
                buf[i] = (uint8_t)(n + i / 512);
            iov[0] = (struct iovec){buf, a};
            iov[1] = (struct iovec){buf + a, b};
            iov[2] = (struct iovec){buf + a + b, length - a - b};
            CU_ASSERT_EQUAL(blockdev_writev(d, iov, 3, offset, n % 3 ? 0 : BLOCK_FUA), 0);
            memcpy(copy + offset, buf, length);
        } else {
            CU_ASSERT_EQUAL(blockdev_read(d, buf, offset, length), 0);
            CU_ASSERT_EQUAL(memcmp(buf, copy + offset, length), 0);
        }
    }
    CU_ASSERT_EQUAL(blockdev_flush(d), 0);
    CU_ASSERT_EQUAL(blockdev_discard(d, 0, sizeof copy), 0);
    blockdev_unused(d, 0, sizeof copy);
    CU_ASSERT_EQUAL(blockdev_read(d, buf, 0, sizeof copy + 512), -EINVAL);
    blockdev_close(d);
    vg_metadata_free(m);
    rig_end(&rig);
}

/* A flush reaches every PV of the volume, and no other. */
static void flushes(void)
{
    struct vg_metadata *m;

    rig_begin(&rig, 512);
    struct blockdev *d = mixed_volume(&m);
    for (unsigned i = 0; i < 3; i++) {
        int id = fault_add(rig.pvs[i], &(struct fault_rule){.kind = BLOCK_FLUSH, .error = -EIO});

        CU_ASSERT_EQUAL(blockdev_flush(d), -EIO);
        fault_remove(rig.pvs[i], id);
    }
    fault_add(rig.pvs[3], &(struct fault_rule){.kind = BLOCK_FLUSH, .error = -EIO});
    CU_ASSERT_EQUAL(blockdev_flush(d), 0);
    fault_clear(rig.pvs[3]);
    blockdev_close(d);
    vg_metadata_free(m);
    rig_end(&rig);
}

static void extents(void)
{
    struct block_extent e = {0};

    rig_begin(&rig, 512);
    rig_create(&rig, 2);
    struct blockdev *d = lv_blockdev(rig_lv(&rig, "l", 14), &err);
    CU_ASSERT_EQUAL(blockdev_extents(d, 0, d->size_bytes, &e), 0);
    CU_ASSERT(e.length > 0 && e.length <= 12 * EXTENT);
    CU_ASSERT_EQUAL(blockdev_extents(d, 13 * EXTENT, EXTENT, &e), 0);
    CU_ASSERT(e.length > 0 && e.length <= EXTENT);
    rig_end(&rig);
}

struct writer {
    struct blockdev *dev;
    unsigned index;
    atomic_bool *stop;
    atomic_uint *bad, *rounds;
    struct wait_group *group;
};

/* Its own megabyte of the first extent, written and read back until told to stop. */
static void write_and_read(void *arg)
{
    struct writer *w = arg;
    static _Thread_local uint8_t out[UNIT], in[UNIT];
    uint64_t random = w->index + 1;

    for (unsigned n = 0; !atomic_load(w->stop); n++) {
        uint64_t offset = w->index * MIB + random_below(&random, MIB / UNIT) * UNIT;

        memset(out, (int)(n + w->index), UNIT);
        if (blockdev_write(w->dev, out, offset, UNIT, 0) ||
            blockdev_read(w->dev, in, offset, UNIT) || memcmp(in, out, UNIT) != 0)
            atomic_fetch_add(w->bad, 1);
        atomic_fetch_add(w->rounds, 1);
    }
    wait_group_done(w->group);
}

/* Three workers write while the volume grows and shrinks behind what they use. */
static void resize_under_io(void)
{
    struct writer writers[EXTENTS];
    struct wait_group group;
    struct crew crew;
    atomic_bool stop = false;
    atomic_uint bad = 0, rounds = 0;

    rig_begin(&rig, 512);
    rig_create(&rig, 3);
    struct lv *lv = rig_lv(&rig, "l", 1);
    struct blockdev *d = lv_blockdev(lv, &err);
    CU_ASSERT_EQUAL(blockdev_use(d, false), 0);
    crew_start(&crew, EXTENTS);
    wait_group_init(&group);
    wait_group_add(&group, EXTENTS);
    for (unsigned i = 0; i < EXTENTS; i++) {
        writers[i] = (struct writer){d, i, &stop, &bad, &rounds, &group};
        CU_ASSERT_EQUAL(worker_start(crew.workers[i], "writer", write_and_read, &writers[i]), 0);
    }
    for (unsigned n = 0; n < 25; n++) {
        uint64_t size = (1 + (n * 11) % 33) * EXTENT;
        unsigned before = atomic_load(&rounds);

        expect(lv_resize(lv, size, 0, &err), 0, &err, NULL);
        CU_ASSERT_EQUAL(d->size_bytes, size);
        while (atomic_load(&rounds) == before)
            co_yield ();
    }
    atomic_store(&stop, true);
    wait_group_wait(&group);
    CU_ASSERT_EQUAL(atomic_load(&bad), 0);
    crew_end(&crew);
    blockdev_unuse(d);
    rig_end(&rig);
}

struct held_write {
    struct blockdev *dev;
    uint64_t offset;
    int result;
    struct co_event done;
};

static void held_write(void *arg)
{
    struct held_write *w = arg;
    char buf[512] = "late";

    w->result = blockdev_write(w->dev, buf, w->offset, sizeof buf, 0);
    co_event_set(&w->done);
}

static bool resized;

static void shrink(void *arg)
{
    expect(lv_resize(arg, EXTENT, 0, &err), 0, &err, NULL);
    resized = true;
}

/* Extents are given back only when what is on its way to them has ended. */
static void drains(void)
{
    struct held_write w = {.offset = 2 * EXTENT, .result = 1};

    rig_begin(&rig, 512);
    rig_create(&rig, 1);
    struct lv *lv = rig_lv(&rig, "l", 3);
    w.dev = lv_blockdev(lv, &err);
    co_event_init(&w.done);
    fault_add(rig.pvs[0], &(struct fault_rule){.kind = BLOCK_WRITE,
                              .offset = MIB,
                              .length = RIG_BYTES - MIB,
                              .times = 1,
                              .hold = true});
    resized = false;
    CU_ASSERT_EQUAL(co_start("write", held_write, &w), 0);
    fault_wait_held(rig.pvs[0], 1);
    CU_ASSERT_EQUAL(co_start("shrink", shrink, lv), 0);
    for (unsigned i = 0; i < 50; i++)
        co_yield ();
    CU_ASSERT(!resized);
    fault_release(rig.pvs[0]);
    co_event_wait(&w.done);
    CU_ASSERT_EQUAL(w.result, 0);
    while (!resized)
        co_yield ();
    CU_ASSERT_EQUAL(w.dev->size_bytes, EXTENT);
    CU_ASSERT_EQUAL(blockdev_write_zeroes(w.dev, 2 * EXTENT, 512, 0), -EINVAL);
    rig_end(&rig);
}

#define IN_RT(fn)                                                                                  \
    static void test_##fn(void)                                                                    \
    {                                                                                              \
        run_in_rt(fn);                                                                             \
    }
IN_RT(random_io)
IN_RT(flushes)
IN_RT(extents)
IN_RT(resize_under_io)
IN_RT(drains)

CU_TestInfo volume_tests[] = {
    {"I/O over segments and stripes", test_random_io},
    {"a flush reaches every PV", test_flushes},
    {"extents", test_extents},
    {"resizing while three workers write", test_resize_under_io},
    {"a shrink waits for what is on its way", test_drains},
    CU_TEST_INFO_NULL,
};
