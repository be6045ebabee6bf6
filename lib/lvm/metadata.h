/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a volume group is, as LVM2's text says it, and the text. Pure.
 *
 * A vg_metadata and everything it points to live in one arena: changes allocate from it,
 * vg_metadata_free gives all back, vg_metadata_clone (through the text) leaves the garbage behind.
 * A change is made on a clone, so that a failure has nothing to undo.
 *
 * What we do not know is kept, and written back as it was: keys and sections in `extra`, segments
 * of other types whole. A group with anything in it that LVM2 would not let an older program change
 * (a status flag, a segment type, a section it does not know), or that is not for us to change (of
 * another system, shared, exported), says so in read_only_reason and is never modified.
 *
 * Sizes are in sectors of 512 bytes or in extents, as in the text. Source: LVM2
 * lib/format_text/{import_vsn1,export,flags}.c.
 */
#ifndef ASHLAR_LVM_METADATA_H
#define ASHLAR_LVM_METADATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "lvm/arena.h"
#include "lvm/config.h"
#include "lvm/uuid.h"

#define LVM_SECTOR_BYTES    512u
#define LVM_NAME_CHARS      127u /* of a group or a volume */
#define LVM_TAG_CHARS       1024u
#define LVM_EXTENTS_MAX     UINT32_MAX
#define LVM_PVS_MAX         1024u
#define LVM_LVS_MAX         65536u
#define LVM_TEXT_MAX_BYTES  (64u << 20)
#define LVM_STRIPES_MAX     128u
#define LVM_SEGMENT_STRIPED "striped" /* linear is one stripe */

struct text_list {
    unsigned count;
    const char **items;
};

struct vg_stripe {
    unsigned pv; /* index into vg_metadata.pvs */
    uint32_t start_pe;
};

struct vg_segment {
    uint32_t start_extent, extent_count; /* of the volume, all stripes together */
    const char *type;
    unsigned stripe_count;        /* 0: of a type that we do not know, all of it is in extra */
    uint32_t stripe_size_sectors; /* 0 with one stripe */
    struct vg_stripe *stripes;
    struct config_node *extra;
};

struct vg_lv {
    const char *name;
    char id[LVM_UUID_TEXT_CHARS + 1];
    struct text_list status, flags, tags;
    const char *creation_host; /* NULL: none */
    uint64_t creation_time;    /* 0: none */
    unsigned segment_count;
    struct vg_segment *segments; /* without gaps, from extent 0 */
    struct config_node *extra;
};

struct vg_pv {
    const char *key; /* its name in the text: "pv0" */
    char id[LVM_UUID_TEXT_CHARS + 1];
    const char *device; /* hint only */
    struct text_list status, flags, tags;
    uint64_t dev_size_sectors; /* 0: not said */
    uint64_t pe_start_sectors;
    uint32_t pe_count;
    struct config_node *extra;
};

struct vg_metadata {
    struct arena *arena;
    const char *name;
    char id[LVM_UUID_TEXT_CHARS + 1];
    uint32_t seqno;
    struct text_list status, flags, tags;
    uint32_t extent_size_sectors;
    uint32_t max_lv, max_pv; /* 0: no limit */
    uint32_t metadata_copies;
    unsigned pv_count;
    struct vg_pv *pvs;
    unsigned lv_count;
    struct vg_lv *lvs;
    struct config_node *extra;
    const char *read_only_reason; /* NULL: it may be modified */
};

/* What stands beside the group in a text. */
struct vg_text_header {
    const char *description, *creation_host;
    uint64_t creation_time;
};

enum vg_text_form {
    VG_TEXT_DISK,  /* the group first, then the header, no indentation, no comments */
    VG_TEXT_BACKUP /* the header first, for people */
};

/* Both forms. -EBADMSG: not such a text, or it contradicts itself (extents used twice, outside
 * their PV, gaps); -ENOMEM. */
int vg_metadata_decode(struct vg_metadata **m, const char *text, size_t length, struct error *err);
/* *text is malloc'd, NUL-terminated past *length. -ENOMEM. */
int vg_metadata_encode(const struct vg_metadata *m, const struct vg_text_header *header,
    enum vg_text_form form, char **text, size_t *length);
/* -ENOMEM. */
int vg_metadata_clone(const struct vg_metadata *m, struct vg_metadata **copy);
/* An empty group; NULL: out of memory. */
struct vg_metadata *vg_metadata_new(const char *name, const char *id, uint32_t extent_size_sectors);
void vg_metadata_free(struct vg_metadata *m);

struct vg_lv *vg_metadata_find_lv(const struct vg_metadata *m, const char *name);
struct vg_lv *vg_metadata_find_lv_by_id(const struct vg_metadata *m, const char *id);
/* -1: there is none. */
int vg_metadata_find_pv(const struct vg_metadata *m, const char *id);
/* Appends a PV under the first free key; NULL: out of memory. */
struct vg_pv *vg_metadata_add_pv(struct vg_metadata *m);
/* No volume uses it: the stripes that name later PVs follow. */
void vg_metadata_remove_pv(struct vg_metadata *m, unsigned index);
/* Appends a volume, visible, readable and writable, without segments; NULL: out of memory. */
struct vg_lv *vg_metadata_add_lv(struct vg_metadata *m, const char *name, const char *id);
void vg_metadata_remove_lv(struct vg_metadata *m, struct vg_lv *lv);

uint32_t vg_lv_extents(const struct vg_lv *lv);
/* Every segment is of a type that we map. */
bool vg_lv_known(const struct vg_lv *lv);
uint32_t vg_segment_pes_per_stripe(const struct vg_segment *s);

bool text_list_has(const struct text_list *l, const char *item);
/* 0 (also when it is there already), -ENOMEM. */
int text_list_add(struct arena *a, struct text_list *l, const char *item);
/* False: it was not there. */
bool text_list_remove(struct text_list *l, const char *item);

/* Whether LVM2 would take the name for a new group or volume: -EINVAL with the reason. */
int vg_name_check(const char *name, struct error *err);
int lv_name_check(const char *name, struct error *err);
int lvm_tag_check(const char *tag, struct error *err);

#endif
