/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The administrator of a simulated host: asks the daemon for one change after the other, at random,
 * mostly such as must be done, and looks whether the status is as it then must be.
 */
#ifndef ASHLAR_TESTS_SIM_HOST_ADMIN_H
#define ASHLAR_TESTS_SIM_HOST_ADMIN_H

#include <stdbool.h>

#include "host_rpc.h"
#include "host_world.h"

struct admin {
    struct rpc_client rpc;
    struct sim_random *random;
    json_int_t job; /* the last that was begun; 0: none yet */
};

void admin_open(struct admin *a);
void admin_close(struct admin *a);

/* The status must be as a start may leave it, or a change of which nobody knows whether it has been
 * done; what is there is known from then on. */
void admin_settle(struct admin *a, bool started);
/* Serves every volume, so that it can be read. */
void admin_serve_all(struct admin *a);
/* One change, or nothing when the choice has fallen on one that cannot be made now. */
void admin_act(struct admin *a);

/* What the kinds of changes are made of; refusals they may meet, 0 at the end. */
#define ADMIN_REFUSALS_MAX 8
typedef const int admin_refusals[ADMIN_REFUSALS_MAX];
/* Asks for host->then, of which the caller has made what will be. Whether it has been done; another
 * refusal than these fails the machine. Takes params. */
bool admin_change(struct admin *a, const char *method, json_t *params, admin_refusals refusals);
/* The same of what is done by a job, of whose end is waited for. */
bool admin_change_by_job(
    struct admin *a, const char *method, json_t *params, admin_refusals refusals);
/* One of the bits that are set, -1 when there is none; so many of them. */
int admin_choose(struct admin *a, uint32_t bits);
uint32_t admin_choose_some(struct admin *a, uint32_t bits, unsigned count);
/* Paths of disks, names of arrays. */
json_t *admin_paths(uint32_t disks, uint32_t arrays);

/* Whether to force it: where something may stand on the disks, else seldom. */
json_t *admin_force(struct admin *a, uint32_t disks);

/* host_admin_array.c, host_admin_group.c, host_admin_volume.c: false when it cannot be done now. */
typedef bool admin_action(struct admin *a);
admin_action admin_array_create, admin_array_fail, admin_array_remove, admin_array_add,
    admin_array_replace, admin_array_check, admin_array_sync, admin_array_stop,
    admin_array_assemble, admin_array_destroy, admin_scan, admin_job;
admin_action admin_group_create, admin_group_extend, admin_group_reduce, admin_group_rename,
    admin_group_remove;
admin_action admin_volume_create, admin_volume_resize, admin_volume_rename, admin_volume_remove,
    admin_export_add, admin_export_remove;
/* host_admin_sparse.c */
admin_action admin_volume_create_sparse, admin_volume_clone, admin_volume_flatten,
    admin_volume_compact, admin_snapshot_create, admin_snapshot_delete, admin_snapshot_revert,
    admin_overlay;

/* Volumes that are such, a bit each; parameters that name one. */
uint32_t admin_volumes_that(bool (*fit)(const struct host_volume *v));
bool admin_volume_is_there(const struct host_volume *v);
bool admin_volume_is_absent(const struct host_volume *v);
bool admin_volume_is_not_served(const struct host_volume *v);
uint32_t admin_groups_there(void);
uint64_t admin_sparse_size(struct admin *a);
/* Its export goes. */
void admin_withdraw(struct admin *a, unsigned volume);
json_t *admin_named(unsigned volume);

#endif
