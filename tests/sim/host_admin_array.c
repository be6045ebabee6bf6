/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Arrays, as the administrator changes them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "host_admin.h"
#include "host_trouble.h"

/* Arrays of that kind, a bit each. */
static uint32_t arrays_that(bool (*fit)(unsigned array))
{
    uint32_t bits = 0;

    for (unsigned i = 0; i < HOST_ARRAYS; i++)
        if (fit(i))
            bits |= 1u << i;
    return bits;
}

static bool is_there(unsigned array)
{
    return host->now.arrays[array].presence == HOST_THERE;
}

static bool is_absent(unsigned array)
{
    return host->now.arrays[array].presence == HOST_ABSENT;
}

static bool is_down(unsigned array)
{
    return host->now.arrays[array].presence >= HOST_STOPPED;
}

static bool has_copies(unsigned array)
{
    return is_there(array) && host->now.arrays[array].level > 0;
}

static bool is_unused(unsigned array)
{
    return is_there(array) && !host_group_of(array);
}

static json_t *named(const struct host_array *a)
{
    return json_pack("{s:s}", "name", a->name);
}

static json_t *with_member(const struct host_array *a, unsigned disk)
{
    char path[HOST_NAME];

    host_disk_path(disk, path);
    return json_pack("{s:s, s:s}", "name", a->name, "member", path);
}

static const struct {
    int level;
    const char *layout;
    unsigned disks_min, disks_max;
} shapes[] = {
    {0, NULL, 1, 3},
    {1, NULL, 2, 3},
    {1, NULL, 2, 2},
    {10, "near2", 2, 4},
    {10, "far2", 2, 4},
    {10, "offset2", 2, 4},
    {10, "near3", 3, 4},
    {5, "left-symmetric", 3, 4},
    {5, "right-asymmetric", 3, 4},
    {5, "parity-last", 3, 4},
    {6, "left-symmetric", 4, 5},
    {6, "right-asymmetric", 4, 5},
    {6, "left-symmetric-6", 4, 5},
};
#define PARITY_MEMBER_UNIT (512 << 10) /* of a size that is soon synced, and looked at */

bool admin_array_create(struct admin *a)
{
    static admin_refusals refusals = {0};
    int slot = admin_choose(a, arrays_that(is_absent));
    unsigned shape = (unsigned)sim_below(a->random, sizeof shapes / sizeof *shapes);
    unsigned count =
        shapes[shape].disks_min +
        (unsigned)sim_below(a->random, shapes[shape].disks_max - shapes[shape].disks_min + 1);
    unsigned spare_count = shapes[shape].level > 0 && sim_one_in(a->random, 4);
    uint32_t free_disks = host_free_disks(), members, spares;
    struct host_array *array = &host->then.arrays[slot < 0 ? 0 : slot];
    json_t *params;

    if (slot < 0 || (unsigned)__builtin_popcount(free_disks) < count + spare_count)
        return false;
    members = admin_choose_some(a, free_disks, count);
    spares = admin_choose_some(a, free_disks & ~members, spare_count);
    *array = (struct host_array){.presence = HOST_THERE,
        .level = shapes[shape].level,
        .raid_disks = count,
        .members = members | spares,
        .attached = members | spares,
        .unsettled = spares}; /* written last */
    host_name('a', array->name);
    host_take_disks(members | spares);
    params = json_pack("{s:s, s:i, s:s*, s:i, s:o, s:o, s:o}", "name", array->name, "level",
        array->level, "layout", shapes[shape].layout, "chunk_bytes",
        4096 << sim_below(a->random, 5), "members", admin_paths(members, 0), "spares",
        admin_paths(spares, 0), "force", admin_force(a, members | spares));
    if (host_has_parity(array))
        json_object_set_new(params, "member_bytes",
            json_integer((2 + (json_int_t)sim_below(a->random, 3)) * PARITY_MEMBER_UNIT));
    admin_change(a, "array.create", params, refusals);
    if (!trouble_beyond())
        host->now.arrays[slot].unsettled = 0;
    return true;
}

/* Members that can be done without: where one has trouble, only that one. */
static uint32_t may_go(const struct host_array *array)
{
    uint32_t victims = array->members & host->victims;

    return victims ? victims : array->members;
}

bool admin_array_fail(struct admin *a)
{
    static admin_refusals refusals = {EBUSY}; /* the last copy */
    int slot = admin_choose(a, arrays_that(has_copies)), disk;
    struct host_array *array = &host->then.arrays[slot < 0 ? 0 : slot];

    if (slot < 0 || (disk = admin_choose(a, may_go(array))) < 0)
        return false;
    array->members &= ~(1u << disk);
    array->unsettled &= ~(1u << disk);
    host_loosen((unsigned)slot);
    admin_change(a, "array.fail", with_member(array, (unsigned)disk), refusals);
    return true;
}

bool admin_array_remove(struct admin *a)
{
    static admin_refusals refusals = {EBUSY}; /* a spare that has been put to use */
    int slot = admin_choose(a, arrays_that(has_copies)), disk;
    struct host_array *array = &host->then.arrays[slot < 0 ? 0 : slot];

    if (slot < 0)
        return false;
    disk = admin_choose(a, (array->attached & ~array->members) | array->spares);
    if (disk < 0)
        return false;
    array->members &= ~(1u << disk);
    array->attached &= ~(1u << disk);
    array->unsettled &= ~(1u << disk);
    admin_change(a, "array.remove", with_member(array, (unsigned)disk), refusals);
    return true;
}

bool admin_array_add(struct admin *a)
{
    static admin_refusals refusals = {ENOSPC, EEXIST};
    int slot = admin_choose(a, arrays_that(has_copies)), disk = admin_choose(a, host_free_disks());
    struct host_array *array = &host->then.arrays[slot < 0 ? 0 : slot];
    json_t *params;

    if (slot < 0 || disk < 0)
        return false;
    array->members |= 1u << disk;
    array->attached |= 1u << disk;
    host_take_disks(1u << disk);
    params = with_member(array, (unsigned)disk);
    json_object_set_new(
        params, "force", sim_one_in(a->random, 3) ? json_false() : admin_force(a, 1u << disk));
    host->carrying |= 1u << disk;
    admin_change(a, "array.add", params, refusals);
    return true;
}

bool admin_array_replace(struct admin *a)
{
    static admin_refusals refusals = {EBUSY, ENOSPC, EINVAL};
    int slot = admin_choose(a, arrays_that(has_copies)), disk, with;
    struct host_array *array = &host->then.arrays[slot < 0 ? 0 : slot];
    char path[HOST_NAME];
    json_t *params;

    if (slot < 0)
        return false;
    disk = admin_choose(a, may_go(array) & ~array->spares);
    with = admin_choose(a, host_free_disks());
    if (disk < 0 || with < 0)
        return false;
    array->members |= 1u << with;
    array->attached |= 1u << with;
    array->unsettled |= 1u << with | 1u << disk | array->spares;
    host_take_disks(1u << with);
    host_loosen((unsigned)slot);
    params = with_member(array, (unsigned)disk);
    host_disk_path((unsigned)with, path);
    json_object_set_new(params, "with", json_string(path));
    json_object_set_new(params, "force", admin_force(a, 1u << with));
    admin_change(a, "array.replace", params, refusals);
    return true;
}

bool admin_array_check(struct admin *a)
{
    static admin_refusals refusals = {EBUSY, EINVAL};
    int slot = admin_choose(a, arrays_that(has_copies));
    json_t *params;

    if (slot < 0)
        return false;
    params = named(&host->now.arrays[slot]);
    json_object_set_new(params, "repair", json_boolean(sim_one_in(a->random, 2)));
    admin_change(a, "array.check", params, refusals);
    return true;
}

bool admin_array_sync(struct admin *a)
{
    static admin_refusals refusals = {EBUSY, EINVAL};
    int slot = admin_choose(a, arrays_that(has_copies));

    if (slot < 0)
        return false;
    admin_change(a, "array.sync", named(&host->now.arrays[slot]), refusals);
    return true;
}

bool admin_array_stop(struct admin *a)
{
    static admin_refusals refusals = {0};
    int slot = admin_choose(a, arrays_that(is_unused));

    if (slot < 0)
        return false;
    host->then.arrays[slot].presence =
        host->now.arrays[slot].unsettled & host->victims ? HOST_DOUBTFUL : HOST_STOPPED;
    return admin_change(a, "array.stop", named(&host->now.arrays[slot]), refusals);
}

/* One whose destruction was cut off may lack anything. */
bool admin_array_assemble(struct admin *a)
{
    static admin_refusals whole = {0}, doubtful = {ENXIO, ENODATA, EINVAL, EBADMSG, ENOENT, EIO};
    int slot = admin_choose(a, arrays_that(is_down));
    struct host_array *array = &host->then.arrays[slot < 0 ? 0 : slot];
    bool stopped = array->presence == HOST_STOPPED;
    json_t *params;

    if (slot < 0 || !array->attached)
        return false;
    array->presence = HOST_THERE;
    array->unsettled = array->attached;
    params = named(array);
    json_object_set_new(params, "members", admin_paths(array->attached, 0));
    json_object_set_new(params, "force", json_boolean(!stopped || sim_one_in(a->random, 2)));
    admin_change(a, "array.assemble", params, stopped ? whole : doubtful);
    return true;
}

bool admin_array_destroy(struct admin *a)
{
    static admin_refusals refusals = {0};
    int slot = admin_choose(a, arrays_that(is_unused));

    if (slot < 0)
        return false;
    memset(&host->then.arrays[slot], 0, sizeof host->then.arrays[slot]);
    return admin_change(a, "array.destroy",
        json_pack("{s:s, s:b}", "name", host->now.arrays[slot].name, "force", 1), refusals);
}

bool admin_scan(struct admin *a)
{
    static admin_refusals refusals = {0};

    return admin_change(
        a, "scan", json_pack("{s:[s], s:b}", "paths", "/disks", "force", 0), refusals);
}

bool admin_job(struct admin *a)
{
    static const char *const methods[] = {"job.pause", "job.resume", "job.cancel", "job.wait"};
    static admin_refusals refusals = {EALREADY, ENOENT, EBUSY};
    const char *method = methods[sim_below(a->random, 4)];
    json_t *params;

    if (!a->job)
        return false;
    params = json_pack("{s:I}", "id", a->job);
    if (!strcmp(method, "job.wait"))
        json_object_set_new(params, "timeout_seconds", json_real(10));
    admin_change(a, method, params, refusals);
    return true;
}
