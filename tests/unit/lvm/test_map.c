/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "golden.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "lvm/map.h"

extern CU_TestInfo map_tests[];

#define PVS 3

/* Only pointed to. */
static struct blockdev *dev(unsigned pv)
{
    return (struct blockdev *)(uintptr_t)(1000 + pv);
}

/* Where a sector is, from the metadata, step by step. */
static void slowly(const struct vg_metadata *m, const struct vg_lv *lv, uint64_t sector,
    struct blockdev **d, uint64_t *at)
{
    for (unsigned i = 0; i < lv->segment_count; i++) {
        const struct vg_segment *s = &lv->segments[i];
        uint64_t start = (uint64_t)s->start_extent * m->extent_size_sectors;
        uint64_t count = (uint64_t)s->extent_count * m->extent_size_sectors;

        if (sector < start || sector >= start + count)
            continue;
        uint64_t inside = sector - start,
                 unit = s->stripe_count == 1 ? count : s->stripe_size_sectors;
        uint64_t row = inside / (unit * s->stripe_count),
                 in_row = inside % (unit * s->stripe_count);
        const struct vg_stripe *stripe = &s->stripes[in_row / unit];

        *d = dev(stripe->pv);
        *at = m->pvs[stripe->pv].pe_start_sectors +
              (uint64_t)stripe->start_pe * m->extent_size_sectors + row * unit + in_row % unit;
    }
}

static void check_volume(const struct vg_metadata *m, const struct vg_lv *lv)
{
    struct blockdev *devs[PVS] = {dev(0), dev(1), dev(2)};
    struct volume_map *map = volume_map_build(m, lv, devs);
    struct map_piece piece;
    uint64_t pieces = 0;

    CU_ASSERT_EQUAL(
        map->size_bytes / LVM_SECTOR_BYTES, (uint64_t)vg_lv_extents(lv) * m->extent_size_sectors);
    for (uint64_t at = 0; at < map->size_bytes; at += piece.length_bytes, pieces++) {
        CU_ASSERT(volume_map_find(map, at, map->size_bytes - at, &piece));
        for (uint64_t k = 0; k < piece.length_bytes; k += LVM_SECTOR_BYTES) {
            struct blockdev *d = NULL;
            uint64_t sector = 0;
            struct map_piece one;

            slowly(m, lv, (at + k) / LVM_SECTOR_BYTES, &d, &sector);
            bool found = volume_map_find(map, at + k, LVM_SECTOR_BYTES, &one);
            if (!found || one.dev != d || one.offset_bytes != sector * LVM_SECTOR_BYTES ||
                piece.dev != d || piece.offset_bytes + k != one.offset_bytes ||
                one.length_bytes != LVM_SECTOR_BYTES) {
                CU_FAIL("a sector is elsewhere");
                break;
            }
        }
    }
    CU_ASSERT(pieces >= lv->segment_count);
    CU_ASSERT(!volume_map_find(map, map->size_bytes, 1, &piece));
    volume_map_free(map);
}

static void test_golden(void)
{
    for (unsigned i = 0; i < golden_count; i++) {
        size_t length;
        char *backup = golden_backup(&goldens[i], &length);
        struct vg_metadata *m = NULL;

        CU_ASSERT_EQUAL(vg_metadata_decode(&m, backup, length, NULL), 0);
        for (unsigned k = 0; k < m->lv_count; k++)
            if (vg_lv_known(&m->lvs[k]))
                check_volume(m, &m->lvs[k]);
        vg_metadata_free(m);
        free(backup);
    }
}

CU_TestInfo map_tests[] = {
    {"every sector of LVM2's volumes", test_golden},
    CU_TEST_INFO_NULL,
};
