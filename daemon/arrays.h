/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is done with arrays, on the catalog: each call checks, acts on the array, brings the catalog
 * in line and posts events. The caller holds the catalog's `change`. `dry` calls check the same and
 * change nothing.
 *
 * A name belongs to one array: a second one is refused with both UUIDs, and may be assembled under
 * another name, by which this host knows it from then on (its superblocks stay as they are).
 */
#ifndef ASHLAR_DAEMON_ARRAYS_H
#define ASHLAR_DAEMON_ARRAYS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "members.h"
#include "raid/array.h"

struct catalog_array;
struct daemon;

struct array_plan {
    struct array_params params;
    const char *const *members; /* paths, in order of roles, or "missing" */
    unsigned member_count;
    const char *const *spares;
    unsigned spare_count;
    bool force, dry;
};

/* *a is set unless dry. */
int arrays_create(
    struct daemon *d, const struct array_plan *plan, struct catalog_array **a, struct error *err);

struct array_assembly_plan {
    const char *name;
    const char *const *members;
    unsigned member_count;
    bool force, dry;
};

/* Also opens the groups that this completes, and serves the exports that waited for it. */
int arrays_assemble(struct daemon *d, const struct array_assembly_plan *plan,
    struct catalog_array **a, struct error *err);

/*
 * Puts an assembled array into the catalog, as the one known by its UUID or a new one, and watches
 * it. -EEXIST: another has the name. On failure the array is the caller's to stop.
 */
int arrays_adopt(struct daemon *d, struct array *array, const char *name, struct catalog_array **a,
    struct error *err);

/* Starts the background work of arrays adopted since the last time: after the groups on them have
 * been opened, so that it is known what is unused. */
void arrays_start_new(struct daemon *d);
/* -EEXIST: an array other than the one with that UUID (NULL: that is to be created) has the name.
 */
int arrays_refuse_name(struct daemon *d, const char *name, const uint8_t *uuid, struct error *err);

/* By name; -ENOENT: unknown, -ENXIO: known but not assembled, with the reason. */
int arrays_find(struct daemon *d, const char *name, struct catalog_array **a, struct error *err);

/* Refused while a group or an export uses it. Forgets the array, also one that is not assembled. */
int arrays_stop(struct catalog_array *a, struct error *err);
/* For the daemon's end: they stay known. */
void arrays_stop_all(struct daemon *d);
int arrays_destroy(struct catalog_array *a, struct error *err);
/* The check of the last two. */
int arrays_refuse_used(struct catalog_array *a, struct error *err);

#define ARRAY_READ_ERRORS_LIMIT 1000000
/* How many corrected read errors a member may have; remembered. -EINVAL beyond the limit. */
int arrays_set_max_read_errors(struct catalog_array *a, uint64_t max, struct error *err);

/* Takes the members' paths from the array, to be remembered; what was away is given up. -ENOMEM. */
int arrays_refresh_members(struct catalog_array *a);

/* array_members.c */
/* `path` joins; *readded as array_add says. */
int arrays_add(struct catalog_array *a, const char *path, bool force, bool dry, bool *readded,
    struct error *err);
int arrays_remove(struct catalog_array *a, const char *path, struct error *err);
/* with NULL: a spare. */
int arrays_replace(struct catalog_array *a, const char *path, const char *with, bool force,
    bool dry, struct error *err);
/* For dry runs: what array_fail and array_remove would refuse, and an action while one runs. */
int arrays_refuse_fail(struct catalog_array *a, const char *path, struct error *err);
int arrays_refuse_remove(struct catalog_array *a, const char *path, struct error *err);
int arrays_refuse_sync(struct catalog_array *a, struct error *err);
/* Whether `path` is a member: -ENOENT. */
int arrays_refuse_stranger(struct catalog_array *a, const char *path,
    struct array_member_status *member, struct error *err);

#endif
