/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Between two machines: what guests of a volume would read, past the daemon: LVM2 segments, and of
 * sparse volumes the image in them, held against the strict checker, and what is below a clone or
 * an overlay. */
#ifndef ASHLAR_TESTS_SIM_HOST_DISK_H
#define ASHLAR_TESTS_SIM_HOST_DISK_H

#include "check_lvm.h"
#include "check_qcow2.h"

#define HOST_WHY 1024

struct host_disk {
    struct check_disk disk;   /* what guests read */
    struct check_qcow2 image; /* of a sparse volume, or an overlay */
    /* Below: its own. */
    const struct check_lvm *lvm;
    int lv;
    unsigned chosen;         /* of image.disks */
    struct host_disk *below; /* NULL: no clone, no overlay */
};

/* The volume of `now`. False: why (HOST_WHY bytes). host_disk_close in either case; it stays where
 * it is in between. */
bool host_disk_open(struct host_disk *d, const struct check_lvm *c, unsigned volume, char *why);
void host_disk_close(struct host_disk *d);
/* From now on d->disk is that one of image.disks: 0 the active one, 1 the first snapshot... */
void host_disk_choose(struct host_disk *d, unsigned disk);

#endif
