/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Members of an assembled array come and go. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arrays.h"
#include "daemon.h"
#include "raid/geometry.h"
#include "raid/superblock.h"

/* A former member comes back without force although it bears a superblock: this array's. */
static unsigned joining_flags(struct catalog_array *a, const char *path, bool force)
{
    struct md_superblock *sb = calloc(1, sizeof *sb);
    unsigned flags = force ? MEMBERS_FORCE : 0;
    struct members m;

    if (sb && members_open(a->daemon, &m, &path, 1, MEMBERS_KNOWN, NULL) == 0) {
        if (array_examine(m.devs[0], sb, NULL) == 0 &&
            !memcmp(sb->set_uuid, a->uuid, sizeof a->uuid))
            flags = MEMBERS_KNOWN;
        members_close(&m);
    }
    free(sb);
    return flags;
}

/* Opens one that is to join, wiped of what else stood there. */
static int open_joining(struct catalog_array *a, struct members *m, const char *path, bool force,
    bool dry, struct error *err)
{
    unsigned flags = joining_flags(a, path, force);
    int rc = strcmp(path, "missing") ? members_open(a->daemon, m, &path, 1, flags, err)
                                     : error_set(err, EINVAL, "\"missing\" is for array create");

    if (rc || !(flags & MEMBERS_FORCE) || dry)
        return rc;
    rc = members_wipe(m, err);
    if (rc)
        members_close(m);
    return rc;
}

int arrays_add(struct catalog_array *a, const char *path, bool force, bool dry, bool *readded,
    struct error *err)
{
    struct members m;
    int rc = open_joining(a, &m, path, force, dry, err);

    if (rc)
        return rc;
    if (!dry)
        rc = array_add(a->array, m.devs[0], force, readded, err);
    if (rc == 0 && !dry) {
        members_forget(&m);
        return arrays_refresh_members(a);
    }
    members_close(&m);
    return rc;
}

int arrays_remove(struct catalog_array *a, const char *path, struct error *err)
{
    int rc = array_remove(a->array, path, err);

    return rc ? rc : arrays_refresh_members(a);
}

int arrays_replace(struct catalog_array *a, const char *path, const char *with, bool force,
    bool dry, struct error *err)
{
    struct members m = {0};
    int rc = with ? open_joining(a, &m, with, force, dry, err) : 0;

    if (rc)
        return rc;
    if (!dry)
        rc = array_replace(a->array, path, with ? m.devs[0] : NULL, err);
    if (rc == 0 && !dry) {
        members_forget(&m);
        return arrays_refresh_members(a);
    }
    members_close(&m);
    return rc;
}

int arrays_refuse_stranger(struct catalog_array *a, const char *path,
    struct array_member_status *member, struct error *err)
{
    struct array_status *s = array_status(a->array);
    int rc = s ? -ENOENT : -ENOMEM;

    for (unsigned i = 0; s && rc && i < s->member_count; i++)
        if (!strcmp(s->members[i].name, path)) {
            *member = s->members[i];
            rc = 0;
        }
    free(s);
    return rc == -ENOENT ? error_set(err, ENOENT, "%s is no member of array %s", path, a->name)
                         : rc;
}

/* Whether the array keeps all its data without that member. */
static int survives(const struct array_status *s, const char *without, bool *yes, struct error *err)
{
    struct raid_shape shape = {.level = s->level,
        .layout = s->layout,
        .raid_disks = s->raid_disks,
        .chunk_bytes = s->chunk_bytes,
        .member_bytes = s->member_bytes};
    bool *present = calloc(s->raid_disks, sizeof *present);
    struct raid_geometry g;
    int rc = present ? raid_geometry_init(&g, &shape, err) : -ENOMEM;

    for (unsigned i = 0; rc == 0 && i < s->member_count; i++)
        if (s->members[i].state == MEMBER_IN_SYNC && strcmp(s->members[i].name, without))
            present[s->members[i].role] = true;
    if (rc == 0) {
        *yes = raid_geometry_complete(&g, present);
        raid_geometry_destroy(&g);
    }
    free(present);
    return rc;
}

int arrays_refuse_fail(struct catalog_array *a, const char *path, struct error *err)
{
    struct array_member_status m;
    struct array_status *s;
    bool yes = false;
    int rc = arrays_refuse_stranger(a, path, &m, err);

    if (rc || m.state != MEMBER_IN_SYNC)
        return rc;
    s = array_status(a->array);
    if (!s)
        return -ENOMEM;
    if (s->level > 0)
        rc = survives(s, path, &yes, err);
    free(s);
    if (rc || yes)
        return rc;
    return error_set(err, EBUSY, "%s holds the last copy of data of %s", path, a->name);
}

int arrays_refuse_remove(struct catalog_array *a, const char *path, struct error *err)
{
    struct array_member_status m;
    int rc = arrays_refuse_stranger(a, path, &m, err);

    if (rc || m.state == MEMBER_FAULTY || m.state == MEMBER_SPARE || m.state == MEMBER_STALE)
        return rc;
    return error_set(err, EBUSY, "%s is in use by %s: fail it first", path, a->name);
}

int arrays_refuse_sync(struct catalog_array *a, struct error *err)
{
    struct array_status *s = array_status(a->array);
    int rc = s ? 0 : -ENOMEM;

    if (s && s->sync.action != ARRAY_IDLE)
        rc = error_set(
            err, EBUSY, "%s of %s is under way", array_action_name(s->sync.action), a->name);
    free(s);
    return rc;
}
