/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A strict look at LVM2 metadata on PVs (disks, or arrays: check_array): labels, metadata areas,
 * the text and what it says; then the copies of each group against one another. The rules are those
 * of LVM2 2.03 (lib/format_text/layout.h, format-text.c, import_vsn1.c; lib/metadata/merge.c).
 *
 * The result is one allocation and what it points to (check_lvm_free).
 */
#ifndef ASHLAR_TESTS_SIM_CHECK_LVM_H
#define ASHLAR_TESTS_SIM_CHECK_LVM_H

#include "check.h"

#define CHECK_LVM_PVS_MAX      16u
#define CHECK_LVM_VGS_MAX      8u
#define CHECK_LVM_LVS_MAX      256u /* of all groups together; the same below */
#define CHECK_LVM_SEGMENTS_MAX 1024u
#define CHECK_LVM_STRIPES_MAX  2048u
#define CHECK_LVM_NAME_BYTES   128u
#define CHECK_LVM_UUID_BYTES   33u /* 32 characters without dashes */

enum check_pv_state {
    CHECK_PV_NEWEST,  /* holds the newest text of its group */
    CHECK_PV_BEHIND,  /* an older one, or (named by the newest) none at all */
    CHECK_PV_BARE,    /* its group's text names it, and it has no metadata area in use */
    CHECK_PV_ORPHAN,  /* of no group */
    CHECK_PV_OUT,     /* holds an older text of a group whose newest does not name it */
    CHECK_PV_DAMAGED, /* a label or area that is not valid: `damage` says why */
    CHECK_PV_NONE     /* no label */
};
extern const char *const check_pv_state_names[];

struct check_pv {
    struct check_disk disk;
    enum check_pv_state state;
    char damage[128];
    char uuid[CHECK_LVM_UUID_BYTES];
    uint64_t size_bytes; /* as the label says */
    uint64_t data_offset_bytes;
    uint64_t area_offset_bytes, area_bytes; /* of the metadata area; 0: none */
    bool area_ignored, precommitted;
    uint32_t seqno; /* of its text; 0: it has none */
    int vg;         /* -1: none */
};

struct check_lvm_stripe {
    int pv; /* in check_lvm.pvs; -1: it is not here */
    uint64_t first_pe, pe_count;
};

struct check_lvm_segment {
    uint64_t first_extent, extent_count;
    uint64_t stripe_bytes;               /* 0: one stripe */
    unsigned first_stripe, stripe_count; /* in check_lvm.stripes; 0: of a type without */
};

struct check_lvm_lv {
    char name[CHECK_LVM_NAME_BYTES], uuid[CHECK_LVM_UUID_BYTES];
    int vg;
    uint64_t extent_count;
    bool unfinished;                       /* a tag of ours says so: nobody has been told of it */
    unsigned first_segment, segment_count; /* in check_lvm.segments */
};

struct check_lvm_vg {
    char name[CHECK_LVM_NAME_BYTES], uuid[CHECK_LVM_UUID_BYTES];
    uint32_t seqno; /* the newest */
    uint64_t extent_bytes;
    unsigned pv_count;           /* as the text says */
    unsigned missing;            /* of them not here */
    unsigned first_lv, lv_count; /* in check_lvm.lvs */
};

struct check_lvm {
    unsigned pv_count, vg_count, lv_count, segment_count, stripe_count;
    struct check_pv pvs[CHECK_LVM_PVS_MAX];                                  /* as given */
    uint64_t pe_start_bytes[CHECK_LVM_PVS_MAX], pe_count[CHECK_LVM_PVS_MAX]; /* of each */
    struct check_lvm_vg vgs[CHECK_LVM_VGS_MAX];
    struct check_lvm_lv lvs[CHECK_LVM_LVS_MAX];
    struct check_lvm_segment segments[CHECK_LVM_SEGMENTS_MAX];
    struct check_lvm_stripe stripes[CHECK_LVM_STRIPES_MAX];
    struct check_problems problems;
};

/*
 * behind_max: by how many commits the text of a PV may lag behind the newest: 1 after a power cut
 * in a commit, more where PVs have failed. Damaged PVs and those without a label are no problems
 * by themselves; everything wrong with what is valid is, groups that miss a PV are not. NULL: out
 * of memory.
 */
struct check_lvm *check_lvm(const struct check_disk *pvs, unsigned count, uint32_t behind_max);
void check_lvm_free(struct check_lvm *c);

/* -1: there is none. */
int check_lvm_find(const struct check_lvm *c, const char *vg, const char *lv);

/* Where the LV's byte at offset (inside it) is: the PV and the byte on it, and how far that goes on
 * in one piece. False: nowhere (a segment without stripes, a PV that is not here). */
bool check_lvm_place(const struct check_lvm *c, int lv, uint64_t offset, unsigned *pv,
    uint64_t *pv_offset, uint64_t *run_bytes);

#endif
