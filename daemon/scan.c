/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arrays.h"
#include "base/log.h"
#include "block/member.h"
#include "block/probe.h"
#include "daemon.h"
#include "exports.h"
#include "groups.h"
#include "images.h"
#include "raid/superblock.h"
#include "rt/fs.h"
#include "rt/worker.h"

#define BUSY_PAUSE_NS 50000000

/* Those of one array. */
struct set {
    struct scan_found **found;
    struct blockdev **devs;
    unsigned count, remembered, owned; /* owned: so many the array has taken */
    struct catalog_array *known;
};

static void refuse(struct scan_found *f, const struct error *err, int rc)
{
    snprintf(f->reason, sizeof f->reason, "%.255s", err->code ? err->text : strerror(-rc));
}

/* A path once, unless it is in use by us. */
static int note(struct scan *s, const char *path, bool remembered)
{
    struct scan_found *f;

    if (member_refuse_own(s->daemon, path, NULL))
        return 0;
    list_for_each (it, &s->found)
        if (!strcmp(container_of(it, struct scan_found, link)->path, path))
            return 0;
    f = calloc(1, sizeof *f);
    if (!f || !(f->path = strdup(path))) {
        free(f);
        return -ENOMEM;
    }
    f->remembered = remembered;
    list_append(&s->found, &f->link);
    return 0;
}

static int note_remembered(struct scan *s)
{
    int rc = 0;

    list_for_each (it, &s->daemon->catalog.arrays) {
        struct catalog_array *a = container_of(it, struct catalog_array, link);

        for (char **m = a->members; rc == 0 && !a->array && *m; m++)
            rc = note(s, *m, true);
    }
    list_for_each (it, &s->daemon->catalog.pvs) {
        struct catalog_pv *pv = container_of(it, struct catalog_pv, link);

        if (rc == 0 && !pv->dev)
            rc = note(s, pv->path, true);
    }
    return rc;
}

static int note_pattern(struct scan *s, const char *pattern)
{
    char **paths;
    int rc = fs_expand(pattern, &paths);

    if (rc)
        return rc;
    for (char **p = paths; rc == 0 && *p; p++)
        rc = note(s, *p, false);
    free(paths);
    return rc;
}

static bool is_member(const struct scan_found *f)
{
    return !strcmp(f->what, "linux_raid_member");
}

static bool is_pv(const struct scan_found *f)
{
    return !strcmp(f->what, "LVM2_member");
}

static bool wanted(const struct scan_found *f)
{
    return f->remembered || is_pv(f) || is_member(f);
}

/* Reads the superblock of what is open and no PV. */
static int examine(struct scan_found *f, struct error *err)
{
    struct md_superblock *sb = calloc(1, sizeof *sb);
    int rc = sb ? array_examine(f->dev, sb, err) : -ENOMEM;

    if (rc == 0) {
        f->member = true;
        memcpy(f->uuid, sb->set_uuid, sizeof f->uuid);
        snprintf(f->name, sizeof f->name, "%s", md_superblock_short_name(sb));
    }
    free(sb);
    return rc;
}

/* What is remembered and bears no signature any more is looked at as what it was, for the reason.
 */
static bool take_for_pv(struct scan *s, const struct scan_found *f)
{
    return is_pv(f) || (!is_member(f) && catalog_find_pv(&s->daemon->catalog, f->path));
}

static int look(struct scan *s, struct scan_found *f, struct error *err)
{
    struct probe_result *result = calloc(1, sizeof *result);
    int rc = member_refuse_path(f->path, err);

    if (rc == 0)
        rc = result ? probe_path(f->path, result, err) : -ENOMEM;
    if (rc == 0) {
        snprintf(f->what, sizeof f->what, "%s", result->signature);
        if (*result->holder)
            rc = error_set(err, EBUSY, "%s", result->holder);
    }
    free(result);
    if (rc == 0 && wanted(f))
        rc = member_open(f->path, 0, &f->dev, err);
    if (rc == 0 && f->dev && !take_for_pv(s, f))
        rc = examine(f, err);
    if (rc && f->dev) {
        blockdev_close(f->dev);
        f->dev = NULL;
    }
    return rc;
}

/* What is remembered may be busy still, until `due_ns`. */
static void look_at(struct scan *s, struct scan_found *f, uint64_t due_ns)
{
    struct error err = {0};
    int rc;

    while ((rc = look(s, f, &err)) == -EBUSY && f->remembered && rt_now_ns() < due_ns)
        co_sleep_ns(BUSY_PAUSE_NS);
    if (rc == 0)
        return;
    refuse(f, &err, rc);
    if (f->remembered)
        log_warning("%s: %s", f->path, f->reason);
}

/* All open members of the array of `first`, those on remembered paths first, as in the list. */
static int gather_set(struct scan *s, struct scan_found *first, struct set *set)
{
    unsigned room = 0;

    list_for_each (it, &s->found)
        room++;
    *set = (struct set){.found = calloc(room, sizeof *set->found),
        .devs = calloc(room, sizeof *set->devs),
        .known = catalog_find_array_uuid(&s->daemon->catalog, first->uuid)};
    if (!set->found || !set->devs)
        return -ENOMEM;
    list_for_each (it, &s->found) {
        struct scan_found *f = container_of(it, struct scan_found, link);

        if (!f->dev || !f->member || memcmp(f->uuid, first->uuid, sizeof f->uuid))
            continue;
        set->found[set->count] = f;
        set->devs[set->count++] = f->dev;
        if (f->remembered)
            set->remembered++;
    }
    return 0;
}

/* The array's devices are its own; the others are closed, with the reason. */
static void settle_set(const struct set *set, const struct error *err, int rc)
{
    for (unsigned i = 0; i < set->count; i++) {
        struct scan_found *f = set->found[i];
        bool owned = i < set->owned;

        f->taken = owned && rc == 0;
        if (!f->taken)
            refuse(f, err, rc);
        if (!owned)
            blockdev_close(f->dev);
        f->dev = NULL;
    }
}

/* A copy of a member somewhere in the configured paths must not keep the array from starting: two
 * that claim one place are settled for the one that had it. */
static int assemble_devices(
    struct set *set, unsigned flags, struct array **array, struct error *err)
{
    int rc = array_assemble(array, set->devs, set->count, flags, err);

    set->owned = rc == 0 ? set->count : 0;
    if (rc != -EEXIST || set->remembered == 0 || set->remembered == set->count)
        return rc;
    rc = array_assemble(array, set->devs, set->remembered, flags, NULL);
    set->owned = rc == 0 ? set->remembered : 0;
    return rc;
}

static int assemble_set(struct scan *s, struct set *set, struct error *err)
{
    bool degraded = s->degraded_all || (set->known && s->degraded_remembered);
    const struct scan_found *first = set->found[0];
    const char *name = set->known ? set->known->name : first->name;
    struct catalog_array *a;
    struct array *array;
    int rc;

    if (set->known && set->known->array)
        return error_set(err, EEXIST, "array %s runs without it (array add brings it back)", name);
    rc = arrays_refuse_name(s->daemon, name, first->uuid, err);
    if (rc == 0)
        rc = assemble_devices(set, degraded ? ARRAY_DEGRADED_OK : 0, &array, err);
    if (rc)
        return rc;
    rc = arrays_adopt(s->daemon, array, name, &a, err);
    if (rc)
        array_stop(array, NULL);
    return rc;
}

static void free_set(struct set *set)
{
    free(set->found);
    free(set->devs);
}

static void assemble(struct scan *s, struct scan_found *first)
{
    struct set set;
    struct error err = {0};
    int rc = gather_set(s, first, &set);

    if (rc == 0 && !s->dry) {
        rc = assemble_set(s, &set, &err);
        settle_set(&set, &err, rc);
    }
    free_set(&set);
    if (rc == 0)
        return;
    log_error("array %s: %s", set.known ? set.known->name : first->name, first->reason);
    if (set.known && !set.known->array)
        snprintf(set.known->reason, sizeof set.known->reason, "%s", first->reason);
}

/* Open PVs go into the catalog, where groups_bring_up finds them. */
static void hand_over_pvs(struct scan *s)
{
    list_for_each (it, &s->found) {
        struct scan_found *f = container_of(it, struct scan_found, link);
        struct catalog_pv *pv;

        if (!f->dev || f->member)
            continue;
        pv = catalog_find_pv(&s->daemon->catalog, f->path);
        if (!pv)
            pv = catalog_add_pv(s->daemon, f->path);
        if (!pv) {
            snprintf(f->reason, sizeof f->reason, "out of memory");
            blockdev_close(f->dev);
        } else {
            pv->dev = f->dev;
            pv->just_found = !f->remembered;
        }
        f->dev = NULL;
    }
}

/* Those that found no group are closed, and forgotten unless they were remembered. */
static void settle_pvs(struct scan *s)
{
    list_for_each (it, &s->found) {
        struct scan_found *f = container_of(it, struct scan_found, link);
        struct catalog_pv *pv = catalog_find_pv(&s->daemon->catalog, f->path);

        if (!pv || !pv->dev || f->member)
            continue;
        f->taken = pv->vg != NULL;
        pv->just_found = false;
        if (f->taken)
            continue;
        snprintf(f->reason, sizeof f->reason, "%s", *pv->reason ? pv->reason : "of no group");
        blockdev_close(pv->dev);
        pv->dev = NULL;
        if (!f->remembered)
            catalog_drop_pv(pv);
    }
}

/* What is remembered and not there keeps the reason. */
static void tell_missing(struct scan *s)
{
    list_for_each (it, &s->daemon->catalog.arrays) {
        struct catalog_array *a = container_of(it, struct catalog_array, link);

        if (a->array || *a->reason)
            continue;
        snprintf(a->reason, sizeof a->reason, "no member of it was found");
        log_error("array %s: %s", a->name, a->reason);
    }
    list_for_each (it, &s->found) {
        struct scan_found *f = container_of(it, struct scan_found, link);
        struct catalog_pv *pv = catalog_find_pv(&s->daemon->catalog, f->path);

        if (pv && !pv->dev)
            snprintf(pv->reason, sizeof pv->reason, "%s", f->reason);
    }
}

int scan_run(struct scan *s, struct daemon *d, const char *const *paths, unsigned count)
{
    uint64_t due_ns;
    int rc;

    s->daemon = d;
    list_init(&s->found);
    rc = note_remembered(s);
    for (unsigned i = 0; rc == 0 && i < count; i++)
        rc = note_pattern(s, paths[i]);
    if (rc)
        return rc;
    due_ns = rt_now_ns() + s->patience_ns;
    list_for_each (it, &s->found)
        look_at(s, container_of(it, struct scan_found, link), due_ns);
    list_for_each (it, &s->found) {
        struct scan_found *f = container_of(it, struct scan_found, link);

        if (f->dev && f->member)
            assemble(s, f);
    }
    if (s->dry)
        return 0;
    hand_over_pvs(s);
    groups_bring_up(d);
    settle_pvs(s);
    tell_missing(s);
    arrays_start_new(d);
    images_bring_up(d);
    exports_bring_up(d, due_ns);
    return 0;
}

void scan_free(struct scan *s)
{
    list_for_each_safe (it, &s->found) {
        struct scan_found *f = container_of(it, struct scan_found, link);

        if (f->dev)
            blockdev_close(f->dev);
        list_remove(&f->link);
        free(f->path);
        free(f);
    }
}
