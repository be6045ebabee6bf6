/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* array.*: arrays and their members. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "array_watch.h"
#include "arrays.h"
#include "base/size.h"
#include "daemon.h"
#include "raid/layout.h"
#include "rpc/method.h"
#include "rpc/objects.h"
#include "state.h"

static json_t *member_json(const struct array_member_status *m)
{
    return json_pack("{s:s?, s:o, s:s, s:I, s:I, s:I, s:b}", "path", *m->name ? m->name : NULL,
        "role", m->role < 0 ? json_null() : json_integer(m->role), "state",
        array_member_state_name(m->state), "errors", (json_int_t)m->errors, "errors_corrected",
        (json_int_t)m->errors_corrected, "errors_recent", (json_int_t)m->errors_recent, "worn",
        m->worn);
}

static json_t *sync_json(const struct array_sync_status *s)
{
    return json_pack("{s:s, s:b, s:I, s:I, s:I}", "action", array_action_name(s->action), "paused",
        s->paused, "done_bytes", (json_int_t)s->done_bytes, "total_bytes",
        (json_int_t)s->total_bytes, "mismatch_bytes", (json_int_t)s->mismatch_bytes);
}

static json_t *status_json(const struct catalog_array *a, const struct array_status *s)
{
    char uuid[UUID_TEXT_BYTES], layout[32];
    json_t *members = json_array();

    for (unsigned i = 0; i < s->member_count; i++)
        json_array_append_new(members, member_json(&s->members[i]));
    raid_layout_format(s->level, s->layout, layout, sizeof layout);
    return json_pack(
        "{s:s, s:s, s:i, s:s?, s:I, s:I, s:I, s:s, s:i, s:I, s:I, s:I, s:b, s:I, s:o, s:o}", "name",
        a->name, "uuid", uuid_format(s->uuid, uuid), "level", s->level, "layout",
        strcmp(layout, "-") ? layout : NULL, "chunk_bytes", (json_int_t)s->chunk_bytes,
        "size_bytes", (json_int_t)s->size_bytes, "member_bytes", (json_int_t)s->member_bytes,
        "state", array_state_name(s->state), "raid_disks", (int)s->raid_disks, "events",
        (json_int_t)s->events, "unsynced_bytes", (json_int_t)s->unsynced_bytes,
        "bitmap_chunk_bytes", (json_int_t)(s->bitmap ? s->bitmap_chunk_bytes : 0), "parity_log",
        s->parity_log, "max_read_errors", (json_int_t)s->max_read_errors, "members", members,
        "sync", sync_json(&s->sync));
}

json_t *rpc_array(const struct catalog_array *a)
{
    struct array_status *s = array_status(a->array);
    json_t *json = s ? status_json(a, s) : NULL;

    free(s);
    return json;
}

json_t *rpc_arrays(struct daemon *d)
{
    json_t *list = json_array();

    list_for_each (it, &d->catalog.arrays) {
        struct catalog_array *a = container_of(it, struct catalog_array, link);

        if (a->array && !a->stopping)
            json_array_append_new(list, rpc_array(a));
    }
    return list;
}

static int find(struct rpc_call *call, struct catalog_array **a)
{
    return arrays_find(call->daemon, rpc_text(call, "name"), a, call->err);
}

static int list(struct rpc_call *call)
{
    json_t *arrays;

    catalog_view_begin(call->daemon);
    arrays = rpc_arrays(call->daemon);
    catalog_view_end(call->daemon);
    return rpc_result(call, json_pack("{s:o}", "arrays", arrays));
}

static int show(struct rpc_call *call)
{
    struct catalog_array *a;
    int rc;

    catalog_view_begin(call->daemon);
    rc = find(call, &a);
    if (rc == 0 && a->stopping)
        rc = error_set(call->err, EBUSY, "array %s is being stopped", a->name);
    if (rc == 0)
        rc = rpc_result(call, rpc_array(a));
    catalog_view_end(call->daemon);
    return rc;
}

static int parse_params(struct rpc_call *call, struct array_params *p)
{
    uint64_t level = rpc_integer(call, "level", 0);

    *p = (struct array_params){.name = rpc_text(call, "name"),
        .homehost = call->daemon->config->host,
        .level = (int)level,
        .chunk_bytes = rpc_integer(call, "chunk_bytes", 0),
        .member_bytes = rpc_integer(call, "member_bytes", 0),
        .assume_clean = rpc_flag(call, "assume_clean")};
    if (level != 0 && level != 1 && level != 5 && level != 6 && level != 10)
        return error_set(call->err, EOPNOTSUPP, "levels are 0, 1, 5, 6 and 10");
    return raid_layout_parse(p->level, rpc_text(call, "layout"), &p->layout, call->err);
}

static int would_create(struct rpc_call *call, const struct array_plan *p)
{
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < p->member_count; i++)
        if (strcmp(p->members[i], "missing"))
            rc = rpc_would(call, "%swrite an md superblock to %s: role %u of array %s",
                p->force ? "wipe what stands on it and " : "", p->members[i], i, p->params.name);
    for (unsigned i = 0; rc == 0 && i < p->spare_count; i++)
        rc = rpc_would(call, "%swrite an md superblock to %s: spare of array %s",
            p->force ? "wipe what stands on it and " : "", p->spares[i], p->params.name);
    return rc;
}

static int create_plan(struct rpc_call *call, struct array_plan *p)
{
    struct catalog_array *a;
    int rc = p->members && p->spares ? parse_params(call, &p->params) : -ENOMEM;

    if (rc == 0)
        rc = arrays_create(call->daemon, p, &a, call->err);
    if (rc)
        return rc;
    return p->dry ? would_create(call, p) : rpc_result(call, rpc_array(a));
}

static int create(struct rpc_call *call)
{
    const char **members = rpc_list(call, "members"), **spares = rpc_list(call, "spares");
    struct array_plan plan = {.members = members,
        .member_count = (unsigned)rpc_list_size(call, "members"),
        .spares = spares,
        .spare_count = (unsigned)rpc_list_size(call, "spares"),
        .force = call->force,
        .dry = call->dry_run};
    int rc = create_plan(call, &plan);

    free(members);
    free(spares);
    return rc;
}

static int assemble(struct rpc_call *call)
{
    const char **members = rpc_list(call, "members");
    struct array_assembly_plan plan = {.name = rpc_text(call, "name"),
        .members = members,
        .member_count = (unsigned)rpc_list_size(call, "members"),
        .force = call->force,
        .dry = call->dry_run};
    struct catalog_array *a;
    int rc = members ? arrays_assemble(call->daemon, &plan, &a, call->err) : -ENOMEM;

    free(members);
    if (rc)
        return rc;
    if (plan.dry)
        return rpc_would(call, "assemble array %s from %u members", plan.name, plan.member_count);
    return rpc_result(call, rpc_array(a));
}

static int stop(struct rpc_call *call)
{
    const char *name = rpc_text(call, "name");
    struct catalog_array *a = catalog_find_array(&call->daemon->catalog, name);
    int rc;

    if (!a)
        return error_set(call->err, ENOENT, "there is no array %s", name);
    rc = arrays_refuse_used(a, call->err);
    if (rc || !call->dry_run)
        return rc ? rc : arrays_stop(a, call->err);
    if (!a->array)
        return rpc_would(call, "forget array %s, which is not assembled", name);
    return rpc_would(call, "stop array %s and mark it clean", name);
}

static int destroy(struct rpc_call *call)
{
    struct catalog_array *a;
    int rc = find(call, &a);

    if (rc == 0)
        rc = arrays_refuse_used(a, call->err);
    if (rc == 0)
        rc = content_refuse(array_blockdev(a->array), call->force, call->err);
    if (rc || !call->dry_run)
        return rc ? rc : arrays_destroy(a, call->err);
    for (char **m = a->members; rc == 0 && *m; m++)
        rc = rpc_would(call, "wipe the superblock and bitmap of %s", *m);
    return rc;
}

static int set(struct rpc_call *call)
{
    struct catalog_array *a;
    int rc = find(call, &a);

    if (rc == 0)
        rc = arrays_set_max_read_errors(a, rpc_integer(call, "max_read_errors", 0), call->err);
    return rc ? rc : rpc_result(call, rpc_array(a));
}

static int fail(struct rpc_call *call)
{
    const char *path = rpc_text(call, "member");
    struct catalog_array *a;
    int rc = find(call, &a);

    if (rc == 0 && call->dry_run)
        rc = arrays_refuse_fail(a, path, call->err);
    else if (rc == 0)
        rc = array_fail(a->array, path, call->err);
    if (rc)
        return rc;
    if (call->dry_run)
        return rpc_would(call, "mark %s faulty in array %s", path, a->name);
    return rpc_result(call, rpc_array(a));
}

static int remove_member(struct rpc_call *call)
{
    const char *path = rpc_text(call, "member");
    struct catalog_array *a;
    int rc = find(call, &a);

    if (rc == 0 && call->dry_run)
        rc = arrays_refuse_remove(a, path, call->err);
    else if (rc == 0)
        rc = arrays_remove(a, path, call->err);
    if (rc)
        return rc;
    if (call->dry_run)
        return rpc_would(call, "take %s out of array %s", path, a->name);
    return rpc_result(call, rpc_array(a));
}

static int add(struct rpc_call *call)
{
    const char *path = rpc_text(call, "member");
    bool readded = false;
    struct catalog_array *a;
    json_t *json;
    int rc = find(call, &a);

    if (rc == 0)
        rc = arrays_add(a, path, call->force, call->dry_run, &readded, call->err);
    if (rc)
        return rc;
    if (call->dry_run)
        return rpc_would(call, "add %s to array %s", path, a->name);
    json = rpc_array(a);
    json_object_set_new(json, "readded", json_boolean(readded));
    return rpc_result(call, json);
}

/* The document with the job that has been started since the mark. */
static int answer_job(
    struct rpc_call *call, struct catalog_array *a, uint64_t mark, bool with_array)
{
    uint64_t id;
    int rc = array_watch_job(a, mark, &id);

    if (rc == 0)
        rc = rpc_result(call, with_array ? rpc_array(a) : json_object());
    if (rc == 0 && id > 0)
        json_object_set_new(call->result, "job", json_integer((json_int_t)id));
    return rc;
}

static int replace(struct rpc_call *call)
{
    const char *path = rpc_text(call, "member"), *with = rpc_text(call, "with");
    struct array_member_status member;
    struct catalog_array *a;
    uint64_t mark;
    int rc = find(call, &a);

    if (rc == 0)
        rc = arrays_refuse_stranger(a, path, &member, call->err);
    if (rc == 0)
        rc = array_watch_mark(a, &mark);
    if (rc == 0)
        rc = arrays_replace(a, path, with, call->force, call->dry_run, call->err);
    if (rc)
        return rc;
    if (call->dry_run)
        return rpc_would(call, "copy %s to %s, which takes its place in array %s", path,
            with ? with : "a spare", a->name);
    return answer_job(call, a, mark, true);
}

static int start_sync(struct rpc_call *call, enum array_action action)
{
    struct catalog_array *a;
    uint64_t mark;
    int rc = find(call, &a);

    if (rc == 0 && call->dry_run)
        rc = arrays_refuse_sync(a, call->err);
    if (rc)
        return rc;
    if (call->dry_run)
        return rpc_would(call, "start %s of array %s", array_action_name(action), a->name);
    rc = array_watch_mark(a, &mark);
    if (rc == 0)
        rc = array_sync(a->array, action, call->err);
    return rc ? rc : answer_job(call, a, mark, false);
}

static int check(struct rpc_call *call)
{
    return start_sync(call, rpc_flag(call, "repair") ? ARRAY_REPAIR : ARRAY_CHECK);
}

static int sync_all(struct rpc_call *call)
{
    return start_sync(call, ARRAY_RESYNC);
}

#define NAME                                                                                       \
    {                                                                                              \
        "name", RPC_TEXT, true, "the array"                                                        \
    }
#define MEMBER                                                                                     \
    {                                                                                              \
        "member", RPC_TEXT, true, "its path"                                                       \
    }
#define FORCE(help)                                                                                \
    {                                                                                              \
        "force", RPC_FLAG, false, help                                                             \
    }
const struct rpc_method rpc_array_methods[] = {
    {"array.create", "Creates an array; it is usable and redundant at once.",
        RPC_CHANGES | RPC_DISKS,
        {NAME, {"level", RPC_INTEGER, true, "0, 1, 5, 6 or 10"},
            {"members", RPC_LIST, true, "paths, in order of roles; \"missing\" leaves a place"},
            {"layout", RPC_TEXT, false,
                "near2, far2, offset2... (RAID10); left-symmetric... (RAID5, RAID6)"},
            {"chunk_bytes", RPC_INTEGER, false, "default 512 KiB"},
            {"spares", RPC_LIST, false, "paths"},
            {"member_bytes", RPC_INTEGER, false, "used of each member; default: all"},
            {"assume_clean", RPC_FLAG, false, "the members are known to agree"},
            FORCE("take members that carry something")},
        create},
    {"array.assemble", "Assembles an array from its members, under the name given.",
        RPC_CHANGES | RPC_DISKS,
        {NAME, {"members", RPC_LIST, true, "paths"},
            FORCE("start with members missing, from stale ones if need be, and a parity array that "
                  "lacks members although it was not stopped cleanly")},
        assemble},
    {"array.stop", "Stops an array and marks it clean.", RPC_CHANGES | RPC_DISKS, {NAME}, stop},
    {"array.list", "Lists the arrays.", 0, {{0}}, list},
    {"array.show", "Shows an array and its members.", 0, {NAME}, show},
    {"array.set", "Changes a setting of an array; it is remembered.", RPC_CHANGES,
        {NAME, {"max_read_errors", RPC_INTEGER, true,
                   "corrected read errors, halved every hour, after which a member is replaced"}},
        set},
    {"array.fail", "Marks a member faulty; a spare takes over.", RPC_CHANGES | RPC_DISKS,
        {NAME, MEMBER}, fail},
    {"array.remove", "Takes a faulty, stale or spare member out.", RPC_CHANGES | RPC_DISKS,
        {NAME, MEMBER}, remove_member},
    {"array.add", "Adds a member: a former one by its bitmap, else as spare.",
        RPC_CHANGES | RPC_DISKS, {NAME, MEMBER, FORCE("take it although it carries something")},
        add},
    {"array.replace", "Copies a member to another, which then takes its place.",
        RPC_CHANGES | RPC_DISKS,
        {NAME, MEMBER, {"with", RPC_TEXT, false, "a path; default: a spare"},
            FORCE("take it although it carries something")},
        replace},
    {"array.check", "Compares all copies, and data with parity.", RPC_CHANGES | RPC_DISKS,
        {NAME, {"repair", RPC_FLAG, false, "make them agree"}}, check},
    {"array.mismatches", "Tells what the last check or repair has found, by volume and member.", 0,
        {NAME}, rpc_array_mismatches},
    {"array.sync", "Brings everything in sync, in use or not.", RPC_CHANGES | RPC_DISKS, {NAME},
        sync_all},
    {"array.destroy", "Stops an array and wipes its superblocks.", RPC_CHANGES | RPC_DISKS,
        {NAME, FORCE("although it carries something")}, destroy},
    {0},
};
