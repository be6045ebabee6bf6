/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "members.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/size.h"
#include "block/member.h"
#include "block/probe.h"
#include "daemon.h"

#define WIPE_BYTES (1u << 20)

int member_refuse_own(struct daemon *d, const char *path, struct error *err)
{
    struct catalog_pv *pv = catalog_find_pv(&d->catalog, path);

    if (pv && pv->dev)
        return error_set(err, EBUSY, "%s is a PV in use", path);
    list_for_each (it, &d->catalog.arrays) {
        struct catalog_array *a = container_of(it, struct catalog_array, link);

        for (char **m = a->members; a->array && *m; m++)
            if (!strcmp(*m, path))
                return error_set(err, EBUSY, "%s is a member of array %s", path, a->name);
    }
    return 0;
}

int member_refuse_path(const char *path, struct error *err)
{
    json_t *text = json_string(path);
    bool utf8 = text != NULL;

    json_decref(text);
    if (path[0] != '/')
        return error_set(err, EINVAL, "%s is not an absolute path", path);
    if (strlen(path) >= sizeof((struct blockdev *)NULL)->name)
        return error_set(err, EINVAL, "%s: the path is too long, by %zu bytes", path,
            strlen(path) + 1 - sizeof((struct blockdev *)NULL)->name);
    return utf8 ? 0 : error_set(err, EINVAL, "the path is not UTF-8");
}

int member_refuse(struct daemon *d, const char *path, unsigned flags, struct error *err)
{
    int rc = member_refuse_path(path, err);

    if (rc == 0)
        rc = member_refuse_own(d, path, err);
    return rc ? rc : probe_refuse(path, flags != 0, err);
}

int members_open(struct daemon *d, struct members *m, const char *const *paths, unsigned count,
    unsigned flags, struct error *err)
{
    *m = (struct members){.devs = calloc(count + 1, sizeof *m->devs)};
    if (!m->devs)
        return -ENOMEM;
    for (unsigned i = 0; i < count; i++) {
        int rc = 0;

        m->count++;
        if (!strcmp(paths[i], "missing"))
            continue;
        rc = member_refuse(d, paths[i], flags, err);
        if (rc == 0)
            rc = member_open(paths[i], 0, &m->devs[i], err);
        if (rc) {
            members_close(m);
            return rc;
        }
    }
    return 0;
}

static int wipe(struct blockdev *d)
{
    uint64_t length = MIN((uint64_t)WIPE_BYTES, (uint64_t)d->size_bytes);
    int rc = blockdev_write_zeroes(d, 0, length, 0);

    return rc ? rc : blockdev_write_zeroes(d, d->size_bytes - length, length, BLOCK_FUA);
}

int members_wipe(const struct members *m, struct error *err)
{
    for (unsigned i = 0; i < m->count; i++) {
        int rc = m->devs[i] ? wipe(m->devs[i]) : 0;

        if (rc)
            return error_set(err, -rc, "%s: cannot be wiped: %s", m->devs[i]->name, strerror(-rc));
    }
    return 0;
}

void members_close(struct members *m)
{
    for (unsigned i = 0; i < m->count; i++)
        if (m->devs[i])
            blockdev_close(m->devs[i]);
    members_forget(m);
}

void members_forget(struct members *m)
{
    free(m->devs);
    *m = (struct members){0};
}

int content_refuse(struct blockdev *dev, bool force, struct error *err)
{
    char what[64] = "", size[16];
    uint64_t used_bytes = 0;
    int rc = force ? 0 : probe_used_bytes(dev, &used_bytes, what, sizeof what, err);

    if (rc || used_bytes == 0)
        return rc;
    return error_set(err, EEXIST, "%s carries %s, which uses %s of it (--force overrides)",
        dev->name, what, size_format(used_bytes, size, sizeof size));
}
