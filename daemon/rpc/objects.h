/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The objects of docs/rpc.md as JSON. Each is made by the file of its noun; NULL: out of memory.
 * Those that look at devices may wait: under the catalog's `view` or `change`.
 */
#ifndef ASHLAR_DAEMON_RPC_OBJECTS_H
#define ASHLAR_DAEMON_RPC_OBJECTS_H

#include <jansson.h>
#include <stdbool.h>

struct catalog_array;
struct catalog_export;
struct catalog_vg;
struct daemon;
struct job;
struct lv;
struct lv_status;
struct rpc_call;
struct vg_status;

json_t *rpc_array(const struct catalog_array *a);
json_t *rpc_arrays(struct daemon *d);

/* mismatch.c: the handler of array.mismatches. */
int rpc_array_mismatches(struct rpc_call *call);

json_t *rpc_vg(const struct catalog_vg *v);
/* With its volumes and pv_details. */
json_t *rpc_vg_details(struct daemon *d, const struct catalog_vg *v);
json_t *rpc_vgs(struct daemon *d, bool details);

/* Adds the PVs of the group to a list; 0 or -ENOMEM. */
int rpc_add_pvs(json_t *list, const struct vg_status *s);

json_t *rpc_volume(struct daemon *d, const struct vg_status *s, const struct lv_status *lv);
int rpc_add_volumes(struct daemon *d, json_t *list, const struct vg_status *s);

json_t *rpc_export(struct daemon *d, const struct catalog_export *e);
/* Those that are served; target NULL: all. */
json_t *rpc_exports(struct daemon *d, const char *target);

json_t *rpc_job(const struct job *job);
/* Asks the owners for progress: not under the catalog's `view`. */
json_t *rpc_jobs(struct daemon *d, bool running_only);

#endif
