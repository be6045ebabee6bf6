/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Members of an assembled array come and go. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arrays.h"
#include "daemon.h"
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
