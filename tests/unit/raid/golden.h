/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The arrays of tests/data/md, unpacked by the build. A test that cannot read one fails at once. */
#ifndef ASHLAR_TESTS_RAID_GOLDEN_H
#define ASHLAR_TESTS_RAID_GOLDEN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "raid/assembly.h"
#include "raid/bitmap.h"
#include "raid/superblock.h"

#define GOLDEN_MEMBERS_MAX  6
#define GOLDEN_HEAD_BYTES   (16u << 10)
#define GOLDEN_TAIL_BYTES   (132u << 10)
#define GOLDEN_BITMAP_BYTES 8192u /* where every array here has it */

struct golden_member {
    const char *name; /* "d0.img" */
    const json_t *json;
    uint64_t bytes;
    uint8_t head[GOLDEN_HEAD_BYTES];
};

struct golden {
    const char *name;
    json_t *manifest;
    unsigned count;
    struct golden_member members[GOLDEN_MEMBERS_MAX];
};

/* The arrays that we take; NULL ends the list. */
extern const char *const golden_ours[];

struct golden *golden_load(const char *name);
void golden_free(struct golden *g);

int64_t golden_number(const json_t *object, const char *key);
/* NULL: there is none. To be closed. */
FILE *golden_file(const struct golden *g, unsigned member, const char *suffix);

/* Superblocks and bitmaps of all members, decoded: what raid_assembly_decide takes. */
struct golden_candidates {
    unsigned count;
    struct raid_candidate candidates[GOLDEN_MEMBERS_MAX];
    struct md_superblock superblocks[GOLDEN_MEMBERS_MAX];
    struct md_bitmap_header bitmaps[GOLDEN_MEMBERS_MAX];
};
struct golden_candidates *golden_decode(const struct golden *g);

#endif
