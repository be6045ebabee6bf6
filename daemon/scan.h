/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Scan: looks at paths, takes what belongs together, and brings it all up: arrays, the groups on
 * them and on bare paths, the exports. The daemon's start is a scan of what it remembers and of the
 * configured paths; `ashlar scan` is another one later.
 *
 * Nothing is opened that libblkid does not take for a member or PV, unless it is remembered as one.
 * What is found is told in a list; what was not taken is closed again.
 */
#ifndef ASHLAR_DAEMON_SCAN_H
#define ASHLAR_DAEMON_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"

struct blockdev;
struct catalog_pv;
struct daemon;

struct scan_found {
    struct list link;
    char *path;
    char what[128]; /* "linux_raid_member", "LVM2_member"; empty: unknown */
    bool remembered, taken;
    char reason[256]; /* why not taken */
    /* Below: scan.c's. */
    struct blockdev *dev; /* open, not taken yet */
    bool member;          /* has an md superblock; then: */
    uint8_t uuid[16];
    char name[33];
};

struct scan {
    struct daemon *daemon;
    bool degraded_all;        /* arrays start although members are missing */
    bool degraded_remembered; /* those that are remembered do */
    bool dry;
    uint64_t patience_ns; /* so long what is remembered is tried again while it is busy */
    struct list found;    /* struct scan_found */
};

/*
 * `paths`: files, directories (what is in them), patterns. The caller holds the catalog's `change`.
 * -ENOMEM; a failure of one thing is told in its entry (or its reason in the catalog) and stops
 * nothing else. scan_free afterwards in any case.
 */
int scan_run(struct scan *s, struct daemon *d, const char *const *paths, unsigned count);
void scan_free(struct scan *s);

#endif
