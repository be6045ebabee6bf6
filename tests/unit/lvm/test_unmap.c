/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Against the map, in groups that LVM2 has made. */
#include "golden.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "lvm/map.h"
#include "lvm/unmap.h"

extern CU_TestInfo unmap_tests[];

#define PVS 3

/* Only pointed to. */
static struct blockdev *dev(unsigned pv)
{
    return (struct blockdev *)(uintptr_t)(1000 + pv);
}

static unsigned pv_of(const struct blockdev *d)
{
    return (unsigned)((uintptr_t)d - 1000);
}

/* Every piece of the volume leads back to it, from its first byte and from its last sector. */
static void check_volume(const struct vg_metadata *m, const struct vg_lv *lv, uint64_t *mapped)
{
    struct blockdev *devs[PVS] = {dev(0), dev(1), dev(2)};
    struct volume_map *map = volume_map_build(m, lv, devs);
    struct map_piece forth;
    struct pv_piece back;

    for (uint64_t at = 0; at < map->size_bytes; at += forth.length_bytes) {
        uint64_t last;
        CU_ASSERT(volume_map_find(map, at, map->size_bytes - at, &forth));
        pv_unmap(m, pv_of(forth.dev), forth.offset_bytes, UINT64_MAX, &back);
        CU_ASSERT_EQUAL(back.use, VG_USE_VOLUME);
        CU_ASSERT_PTR_EQUAL(back.lv, lv);
        CU_ASSERT_EQUAL(back.offset_bytes, at);
        CU_ASSERT_EQUAL(back.length_bytes, forth.length_bytes);
        last = forth.length_bytes - LVM_SECTOR_BYTES;
        pv_unmap(m, pv_of(forth.dev), forth.offset_bytes + last, UINT64_MAX, &back);
        CU_ASSERT_PTR_EQUAL(back.lv, lv);
        CU_ASSERT_EQUAL(back.offset_bytes, at + last);
        CU_ASSERT_EQUAL(back.length_bytes, LVM_SECTOR_BYTES);
        *mapped += forth.length_bytes;
    }
    volume_map_free(map);
}

/* What a PV's extents hold, extent by extent, in bytes; around them is metadata. */
static uint64_t count_used(const struct vg_metadata *m, unsigned pv)
{
    uint64_t extent = (uint64_t)m->extent_size_sectors * LVM_SECTOR_BYTES, used = 0;
    uint64_t start = m->pvs[pv].pe_start_sectors * LVM_SECTOR_BYTES;
    struct pv_piece piece;

    for (uint64_t at = 0, end = m->pvs[pv].pe_count * extent; at < end; at += piece.length_bytes) {
        pv_unmap(m, pv, start + at, end - at, &piece);
        CU_ASSERT_NOT_EQUAL(piece.use, VG_USE_METADATA);
        CU_ASSERT_FATAL(piece.length_bytes > 0 && piece.length_bytes <= end - at);
        used += piece.use == VG_USE_VOLUME ? piece.length_bytes : 0;
    }
    pv_unmap(m, pv, start - 1, 10, &piece);
    CU_ASSERT_EQUAL(piece.use, VG_USE_METADATA);
    CU_ASSERT_EQUAL(piece.length_bytes, 1);
    pv_unmap(m, pv, start + m->pvs[pv].pe_count * extent, 10, &piece);
    CU_ASSERT_EQUAL(piece.use, VG_USE_METADATA);
    CU_ASSERT_EQUAL(piece.length_bytes, 10);
    return used;
}

static bool all_known(const struct vg_metadata *m)
{
    for (unsigned i = 0; i < m->lv_count; i++)
        if (!vg_lv_known(&m->lvs[i]))
            return false;
    return true;
}

static void check_group(const struct vg_metadata *m)
{
    uint64_t mapped = 0, used = 0;

    for (unsigned k = 0; k < m->lv_count; k++)
        if (vg_lv_known(&m->lvs[k]))
            check_volume(m, &m->lvs[k], &mapped);
    for (unsigned pv = 0; pv < m->pv_count; pv++)
        used += count_used(m, pv);
    if (all_known(m))
        CU_ASSERT_EQUAL(mapped, used);
}

static void test_golden(void)
{
    for (unsigned i = 0; i < golden_count; i++) {
        size_t length;
        char *backup = golden_backup(&goldens[i], &length);
        struct vg_metadata *m = NULL;

        CU_ASSERT_EQUAL(vg_metadata_decode(&m, backup, length, NULL), 0);
        check_group(m);
        vg_metadata_free(m);
        free(backup);
    }
}

CU_TestInfo unmap_tests[] = {
    {"from LVM2's volumes to PVs and back", test_golden},
    CU_TEST_INFO_NULL,
};
