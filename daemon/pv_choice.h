/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PVs as people name them, on their way into a group: checked, opened, and handed to the catalog
 * when the group has taken them. */
#ifndef ASHLAR_DAEMON_PV_CHOICE_H
#define ASHLAR_DAEMON_PV_CHOICE_H

#include <stdbool.h>

#include "base/error.h"

struct blockdev;
struct catalog_array;
struct catalog_pv;
struct catalog_vg;
struct daemon;

struct pv_choices {
    struct blockdev **devs;
    struct {
        struct catalog_array *array; /* or */
        struct catalog_pv *path;     /* not yet in the catalog's list */
    } * of;
    unsigned count;
};

/* Refuses what is in use, and what carries something (-EEXIST unless force). All or none. */
int pv_choices_open(struct daemon *d, struct pv_choices *c, const char *const *names,
    unsigned count, bool force, struct error *err);
/* Wipes them of what force has passed over. */
int pv_choices_wipe(const struct pv_choices *c, struct error *err);
/* The group has them now. */
void pv_choices_attach(struct daemon *d, struct pv_choices *c, struct catalog_vg *vg);
/* Closes paths that were not attached. */
void pv_choices_close(struct pv_choices *c);

#endif
