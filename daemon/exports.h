/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Exports on the catalog: a target (VG/NAME, or an array without a group) served by its name on an
 * NBD socket: the common one, RUNTIME_DIR/nbd.sock, or one of its own. A socket lives as long as it
 * has exports. The caller holds the catalog's `change`.
 */
#ifndef ASHLAR_DAEMON_EXPORTS_H
#define ASHLAR_DAEMON_EXPORTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "catalog.h"

struct export_plan {
    const char *target;
    const char *path; /* NULL: the common socket */
    bool read_only;
};

int exports_add(
    struct daemon *d, const struct export_plan *plan, struct catalog_export **e, struct error *err);
/* All of that target, on `path` if given. -ENOENT: none. */
int exports_remove(struct daemon *d, const char *target, const char *path, struct error *err);
/* The disk of a target is on another device from now on, for all of its exports at one moment, and
 * what clients have written before is durable on the former. They wait meanwhile. On failure all is
 * as it was. */
int exports_switch(struct daemon *d, const char *target, struct blockdev *from, struct blockdev *to,
    struct error *err);
/* -EBUSY while the target is exported, or known to be. */
int exports_refuse_exported(struct daemon *d, const char *target, struct error *err);

/* Serves what is known and not served, as far as it goes; the rest keeps the reason. A socket that
 * is in use is tried again until `due_ns`. */
void exports_bring_up(struct daemon *d, uint64_t due_ns);
/* For the daemon's end: disconnects all; what is exported stays known. */
void exports_close_all(struct daemon *d);

/* The device of a target, exported or not. -ENOENT, -ENXIO, -EBUSY (an array with a group). */
int exports_device(struct daemon *d, const char *target, struct blockdev **dev, struct error *err);

/* Its socket; clients connected to it now (may wait: under the catalog's view). */
const char *export_path(
    const struct daemon *d, const struct catalog_export *e, char *buf, size_t len);
unsigned export_clients(const struct catalog_export *e);

#endif
