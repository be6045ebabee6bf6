/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The catalog: what exists on this host and how it is stacked. Arrays are made of members (paths),
 * volume groups of arrays and bare paths, exports serve volumes and arrays. It alone knows all the
 * rooms; they do not know one another.
 *
 * What is known is kept in STATE_DIR/state.json and comes back after a restart. Something known
 * that cannot be brought up (a member is away) stays in the catalog without its device, with the
 * reason: reported, never forgotten.
 *
 * Control worker only. Two locks, both held across waits: `change` by whoever changes something,
 * for as long as it takes (zeroing a new volume may take minutes); `view` by whoever looks at
 * devices, shortly, and by a change only while it takes an object out of the lists. So the list of
 * arrays is answered while a change is under way, and nothing is freed under a reader. Adding needs
 * no `view`: readers go on to the new end.
 */
#ifndef ASHLAR_DAEMON_CATALOG_H
#define ASHLAR_DAEMON_CATALOG_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"
#include "raid/array.h"
#include "rt/sync.h"

struct blockdev;
struct daemon;
struct job;
struct nbd_socket;
struct vg;

#define CATALOG_NAME_MAX 288 /* VG/NAME and NUL */
#define ARRAY_NAME_MAX   33

struct catalog_array {
    struct list link;
    struct daemon *daemon;
    char name[ARRAY_NAME_MAX]; /* on this host; array_assemble may have given it another than its
                                  superblocks have */
    uint8_t uuid[16];
    unsigned max_read_errors; /* of each member (array_set_max_read_errors) */
    char **members;           /* paths, NULL-terminated: it has them, or where to look for it */
    char **away;              /* paths of former members that it lacks: to be looked at again */
    struct array *array;      /* NULL: known, not assembled */
    char reason[256];         /* why not */
    bool unstarted;           /* array_start is due */
    struct catalog_vg *vg;    /* that has it as a PV */
    /* Below: array_watch.c's. */
    bool stopping;
    struct co_event decided; /* the stop that is under way has succeeded (array NULL) or failed */
    struct co_event unwatched, job_begun;
    struct job *job; /* that runs */
    uint64_t job_id,
        job_sync_id; /* of the last one, also after its end; its array_sync_status.id */
};

/* A path that is a PV itself. */
struct catalog_pv {
    struct list link;
    char *path;
    struct blockdev *dev; /* NULL: known, not open */
    bool just_found;      /* by the scan under way; not remembered unless it finds a group */
    struct catalog_vg *vg;
    char reason[256];
};

struct catalog_vg {
    struct list link;
    struct vg *vg;
    struct list images; /* images.h */
    /* group_space.c's, of the last look. */
    uint64_t free_bytes;
    bool space_low;
};

struct catalog_export {
    struct list link;
    char target[CATALOG_NAME_MAX]; /* also its name on the socket */
    char *path;                    /* NULL: the common socket */
    bool read_only;
    struct nbd_socket *socket; /* NULL: known, not served */
    char reason[256];
};

struct catalog {
    struct list arrays, pvs, vgs, exports;
    struct list sockets; /* exports.c */
    struct list copies;  /* volume_copy.c */
    struct co_event copy_ended;
    struct wait_group commits; /* overlay.c's jobs */
    struct co_mutex change, view, saving;
    char *saved; /* text of the state file as it is on disk; NULL: none yet */
};

void catalog_init(struct catalog *c);
void catalog_free(struct catalog *c);

/* Around every change. end saves the state and returns rc, or why it could not be saved. */
void catalog_change_begin(struct daemon *d);
int catalog_change_end(struct daemon *d, int rc, struct error *err);
void catalog_view_begin(struct daemon *d);
void catalog_view_end(struct daemon *d);

/* Known things without their devices; strings are copied. NULL, -ENOMEM: out of memory. */
struct catalog_array *catalog_add_array(struct daemon *d, const char *name, const uint8_t uuid[16]);
int catalog_set_members(struct catalog_array *a, const char *const *members, unsigned count);
/* The same; of the paths it had, the others are `away` then (keep_away), or forgotten. */
int catalog_change_members(
    struct catalog_array *a, const char *const *members, unsigned count, bool keep_away);
struct catalog_pv *catalog_add_pv(struct daemon *d, const char *path);
/* Not in the list yet. */
struct catalog_pv *catalog_make_pv(const char *path);
struct catalog_vg *catalog_add_vg(struct daemon *d, struct vg *vg);
struct catalog_export *catalog_add_export(
    struct daemon *d, const char *target, const char *path, bool read_only);
/* Out of its list and freed; the device is gone already, nobody looks. */
void catalog_drop_array(struct catalog_array *a);
void catalog_drop_pv(struct catalog_pv *pv);
void catalog_drop_vg(struct catalog_vg *vg);
void catalog_drop_export(struct catalog_export *e);

/* NULL when there is none. */
struct catalog_array *catalog_find_array(const struct catalog *c, const char *name);
struct catalog_pv *catalog_find_pv(const struct catalog *c, const char *path);
struct catalog_vg *catalog_find_vg(const struct catalog *c, const char *name);
struct catalog_vg *catalog_find_vg_uuid(const struct catalog *c, const char *uuid);
/* The first of that target. */
struct catalog_export *catalog_find_export(const struct catalog *c, const char *target);
struct catalog_array *catalog_find_array_uuid(const struct catalog *c, const uint8_t uuid[16]);

#endif
