/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PVs in memory below fault devices, for tests of groups. Runs inside a runtime (rt/run.h). */
#ifndef ASHLAR_TESTS_LVM_RIG_H
#define ASHLAR_TESTS_LVM_RIG_H

#include "rt/run.h"

#include "block/blockdev.h"
#include "lvm/vg.h"

#define RIG_PVS   4
#define MIB       (UINT64_C(1) << 20)
#define RIG_BYTES (49 * MIB) /* 12 extents of 4 MiB */
#define EXTENT    (4 * MIB)

struct rig {
    struct blockdev *pvs[RIG_PVS]; /* "pv-0" and so on */
    struct vg *vg;
};

extern const struct vg_settings no_settings;

/* Fresh devices of logical_block_bytes. */
void rig_begin(struct rig *r, uint32_t logical_block_bytes);
/* A group "vg" over the first `count`. */
void rig_create(struct rig *r, unsigned count);
/* Closes the group and opens it again from `count` devices, beginning with `first`. */
void rig_reopen(struct rig *r, unsigned first, unsigned count);
/* Closes all. */
void rig_end(struct rig *r);

/* A volume of so many extents. */
struct lv *rig_lv(struct rig *r, const char *name, unsigned extents);
/* Fills [offset, offset + length) with `byte`; whether it holds nothing else. */
void fill(struct blockdev *d, uint64_t offset, uint64_t length, char byte);
bool holds(struct blockdev *d, uint64_t offset, uint64_t length, char byte);
/* rc is -code, and the text (if any is given) has the part. */
void expect(int rc, int code, struct error *err, const char *part);

#endif
