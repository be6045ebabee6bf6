/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host_admin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host_trouble.h"

static const struct {
    admin_action *act;
    unsigned weight;
} actions[] = {
    {admin_array_create, 6},
    {admin_array_fail, 2},
    {admin_array_remove, 4},
    {admin_array_add, 4},
    {admin_array_replace, 2},
    {admin_array_check, 1},
    {admin_array_sync, 1},
    {admin_array_stop, 1},
    {admin_array_assemble, 4},
    {admin_array_destroy, 1},
    {admin_scan, 1},
    {admin_job, 2},
    {admin_group_create, 6},
    {admin_group_extend, 2},
    {admin_group_reduce, 2},
    {admin_group_rename, 1},
    {admin_group_remove, 1},
    {admin_volume_create, 8},
    {admin_volume_resize, 6},
    {admin_volume_rename, 2},
    {admin_volume_remove, 2},
    {admin_export_add, 6},
    {admin_export_remove, 2},
    {admin_volume_create_sparse, 8},
    {admin_volume_clone, 8},
    {admin_volume_flatten, 2},
    {admin_volume_compact, 2},
    {admin_snapshot_create, 6},
    {admin_snapshot_delete, 2},
    {admin_snapshot_revert, 2},
    {admin_overlay, 6},
};

void admin_open(struct admin *a)
{
    int rc;

    *a = (struct admin){.random = &sim->random[SIM_ADMIN]};
    rc = rpc_client_open(&a->rpc, HOST_SOCKET);
    if (rc)
        sim_fail("rpc: cannot connect: %s", strerror(-rc));
}

void admin_close(struct admin *a)
{
    rpc_client_close(&a->rpc);
}

int admin_choose(struct admin *a, uint32_t bits)
{
    unsigned n = (unsigned)__builtin_popcount(bits), skip;

    if (n == 0)
        return -1;
    for (skip = (unsigned)sim_below(a->random, n); skip > 0; skip--)
        bits &= bits - 1;
    return __builtin_ctz(bits);
}

uint32_t admin_choose_some(struct admin *a, uint32_t bits, unsigned count)
{
    uint32_t chosen = 0;

    while (count-- > 0 && (bits & ~chosen))
        chosen |= 1u << admin_choose(a, bits & ~chosen);
    return chosen;
}

json_t *admin_paths(uint32_t disks, uint32_t arrays)
{
    json_t *list = json_array();
    char path[HOST_NAME];

    for (unsigned i = 0; i < HOST_DISKS; i++)
        if (disks & 1u << i) {
            host_disk_path(i, path);
            json_array_append_new(list, json_string(path));
        }
    for (unsigned i = 0; i < HOST_ARRAYS; i++)
        if (arrays & 1u << i)
            json_array_append_new(list, json_string(host->now.arrays[i].name));
    return list;
}

json_t *admin_force(struct admin *a, uint32_t disks)
{
    bool carrying = (host->carrying & disks) != 0;

    host->carrying |= disks;
    return json_boolean(carrying || sim_one_in(a->random, 4));
}

static void trace_request(const char *method, const json_t *params)
{
    char *text;

    if (!sim->trace)
        return;
    text = params ? json_dumps(params, JSON_COMPACT) : NULL;
    SIM_TRACE("admin: %s %s", method, text ? text : "");
    free(text);
}

static int ask(
    struct admin *a, const char *method, json_t *params, json_t **result, struct error *err)
{
    int rc;

    trace_request(method, params);
    rc = rpc_client_call(&a->rpc, method, params, result, err);
    if (rc == -EPIPE)
        sim_fail("%s: the daemon has ended the connection", method);
    SIM_TRACE("admin: %s: %s", method, rc ? err->text : "done");
    return rc;
}

static bool may_be_refused(int rc, admin_refusals refusals)
{
    for (unsigned i = 0; refusals[i]; i++)
        if (rc == -refusals[i])
            return true;
    return false;
}

/* False: nobody knows what it should be. */
static bool look(struct admin *a, struct host_state *seen)
{
    struct error err = {0};
    json_t *status;

    if (ask(a, "status", NULL, &status, &err))
        sim_fail("status is refused: %s", err.text);
    if (!trouble_beyond())
        host_read_status(status, seen);
    json_decref(status);
    return !trouble_beyond();
}

void admin_settle(struct admin *a, bool started)
{
    struct host_state seen;

    if (look(a, &seen))
        host_settle(&seen, started);
}

/* What would be done can be asked for all that changes disks; nothing is done then. */
static void rehearse(
    struct admin *a, const char *method, const json_t *params, admin_refusals refusals)
{
    json_t *dry = json_deep_copy(params), *result = NULL;
    struct host_state seen;
    struct error err = {0};
    int rc;

    json_object_set_new(dry, "dry_run", json_true());
    rc = ask(a, method, dry, &result, &err);
    if (trouble_beyond())
        return;
    if (rc && !may_be_refused(rc, refusals) && !trouble_uncertain())
        sim_fail("%s would be refused: %s: %s", method, strerrorname_np(-rc), err.text);
    if (rc == 0 && strcmp(method, "scan") && !json_array_size(json_object_get(result, "would")))
        sim_fail("%s would do nothing", method);
    json_decref(result);
    if (look(a, &seen))
        host_compare(&seen);
}

static bool changes_disks(const char *method)
{
    return strncmp(method, "job.", 4) && strncmp(method, "export.", 7);
}

/* While it is being done: else hardly a cut would meet it. What is there is worth more than what is
 * only being made. */
static void aim_cut(const char *method)
{
    struct sim_random *r = &sim->random[SIM_FAULTS];

    if (sim->cut.writes && sim_one_in(r, strstr(method, ".create") ? 16 : 3))
        sim->cut.writes = 1 + sim_below(r, 16);
}

/* In the middle of its destruction an array may be anything. */
static void doubt(void)
{
    for (unsigned i = 0; i < HOST_ARRAYS; i++)
        if (host->then.arrays[i].presence == HOST_ABSENT &&
            host->now.arrays[i].presence == HOST_THERE)
            host->now.arrays[i].presence = HOST_DOUBTFUL;
}

/* The answer; the caller's `result`, if any, is taken. */
static bool settle_answer(
    struct admin *a, const char *method, int rc, const struct error *err, admin_refusals refusals)
{
    if (rc == 0) {
        host_done();
        host->unsaved = host->unsaved && !strncmp(method, "job.", 4); /* these save nothing */
        return true;
    }
    if (trouble_beyond()) /* the next machine will tell */
        return false;
    if ((rc == -ENOSPC || rc == -EIO) && trouble_uncertain()) {
        host->unsaved = true;
        admin_settle(a, false);
        return false;
    }
    if (!may_be_refused(rc, refusals))
        sim_fail("%s is refused: %s: %s", method, strerrorname_np(-rc), err->text);
    host_refused();
    return false;
}

/* Asks, as something that changes; *job: what it has begun, 0: nothing. */
static int ask_change(struct admin *a, const char *method, json_t *params, admin_refusals refusals,
    json_int_t *job, struct error *err)
{
    json_t *result = NULL;
    int rc;

    if (changes_disks(method) && sim_one_in(a->random, 8))
        rehearse(a, method, params, refusals);
    doubt();
    host->changing = true;
    aim_cut(method);
    rc = ask(a, method, params, &result, err);
    *job = rc ? 0 : json_integer_value(json_object_get(result, "job"));
    if (rc == 0)
        json_decref(result);
    return rc;
}

bool admin_change(struct admin *a, const char *method, json_t *params, admin_refusals refusals)
{
    struct error err = {0};
    json_int_t job;
    int rc = ask_change(a, method, params, refusals, &job, &err);

    if (job)
        a->job = job;
    return settle_answer(a, method, rc, &err, refusals);
}

/* Jobs say why they failed in words. */
static int wait_for(struct admin *a, json_int_t id, struct error *err)
{
    json_t *job = NULL;
    const char *state;
    int rc = ask(a, "job.wait", json_pack("{s:I}", "id", id), &job, err);

    if (rc)
        return rc;
    state = json_string_value(json_object_get(job, "state"));
    if (state && strcmp(state, "done")) {
        const char *text = json_string_value(json_object_get(job, "error"));

        snprintf(err->text, sizeof err->text, "it %s: %s", state, text ? text : "");
        rc = text && strcasestr(text, "space") ? -ENOSPC : -EIO;
    }
    json_decref(job);
    return rc;
}

/* A job that will not be remembered runs, and the answer does not name it. */
static void wait_for_all(struct admin *a)
{
    json_t *result = NULL, *job;
    struct error err = {0};
    size_t i;

    if (ask(a, "job.list", NULL, &result, &err))
        sim_fail("job.list is refused: %s", err.text);
    json_array_foreach (json_object_get(result, "jobs"), i, job) {
        const char *kind = json_string_value(json_object_get(job, "kind"));

        if (kind && (!strcmp(kind, "flatten") || !strcmp(kind, "snapshot-delete")))
            wait_for(a, json_integer_value(json_object_get(job, "id")), &err);
    }
    json_decref(result);
}

bool admin_change_by_job(
    struct admin *a, const char *method, json_t *params, admin_refusals refusals)
{
    struct error err = {0};
    json_int_t job;
    int rc = ask_change(a, method, params, refusals, &job, &err);

    if (rc == 0)
        rc = wait_for(a, job, &err);
    else if (trouble_uncertain())
        wait_for_all(a);
    return settle_answer(a, method, rc, &err, refusals);
}

/* Where members fail, new ones have to come. */
static admin_action *choose_action(struct admin *a)
{
    unsigned total = 0, at, i = 0;

    if (host->trouble == HOST_TROUBLE_MEMBERS && sim_one_in(a->random, 3))
        return sim_one_in(a->random, 2) ? admin_array_remove : admin_array_add;
    for (unsigned k = 0; k < sizeof actions / sizeof *actions; k++)
        total += actions[k].weight;
    at = (unsigned)sim_below(a->random, total);
    while (at >= actions[i].weight)
        at -= actions[i++].weight;
    return actions[i].act;
}

void admin_act(struct admin *a)
{
    struct host_state seen;

    for (unsigned tries = 0; tries < 20 && !trouble_beyond(); tries++) {
        host->then = host->now;
        if (choose_action(a)(a))
            break;
    }
    if (!trouble_beyond() && look(a, &seen))
        host_compare(&seen);
}
