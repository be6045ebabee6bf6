/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is done with volume groups, on the catalog. The caller holds the catalog's `change`. A PV is
 * an array's name or a path; a path that is a PV is open as long as its group is. `dry` calls check
 * the same and change nothing.
 */
#ifndef ASHLAR_DAEMON_GROUPS_H
#define ASHLAR_DAEMON_GROUPS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "lvm/vg.h"

struct catalog_vg;
struct daemon;

struct group_plan {
    const char *name;
    const char *const *pvs; /* an array's name or a path each */
    unsigned pv_count;
    uint64_t extent_size_bytes; /* create: 0 for the default */
    bool force, dry;
};

/* *vg is set unless dry. */
int groups_create(
    struct daemon *d, const struct group_plan *plan, struct catalog_vg **vg, struct error *err);
int groups_extend(struct daemon *d, const struct group_plan *plan, struct error *err);
int groups_reduce(
    struct daemon *d, struct catalog_vg *vg, const char *pv, bool dry, struct error *err);
int groups_remove(struct daemon *d, struct catalog_vg *vg, bool dry, struct error *err);
/* Refused while volumes of it are exported: exports go by name. */
int groups_rename(
    struct daemon *d, struct catalog_vg *vg, const char *name, bool dry, struct error *err);

/*
 * Opens the groups that stand on arrays and open paths which no group has yet, or gives these to
 * groups that miss them. What cannot be opened is logged, and a path's reason tells.
 */
void groups_bring_up(struct daemon *d);
/* For the daemon's end: nothing is exported any more. */
void groups_close_all(struct daemon *d);

/* -ENOENT. */
int groups_find(struct daemon *d, const char *name, struct catalog_vg **vg, struct error *err);
int groups_find_volume(
    struct daemon *d, const char *vg, const char *name, struct lv **lv, struct error *err);

#endif
