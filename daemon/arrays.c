/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "arrays.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "array_watch.h"
#include "base/log.h"
#include "daemon.h"
#include "exports.h"
#include "groups.h"
#include "images.h"
#include "raid/defaults.h"
#include "raid/superblock.h"
#include "state.h"

static int refuse_bad_name(const char *name, struct error *err)
{
    size_t length =
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-");

    if (name[length] || length == 0 || length >= ARRAY_NAME_MAX)
        return error_set(
            err, EINVAL, "\"%.60s\" is no name for an array: 1 to 32 of A-Z a-z 0-9 _ . -", name);
    if (name[0] == '.' || name[0] == '-' || !strcmp(name, "missing"))
        return error_set(err, EINVAL, "\"%s\" is no name for an array", name);
    return 0;
}

int arrays_refuse_name(struct daemon *d, const char *name, const uint8_t *uuid, struct error *err)
{
    struct catalog_array *other = catalog_find_array(&d->catalog, name);
    char text[2][UUID_TEXT_BYTES];

    if (!other || (uuid && !memcmp(other->uuid, uuid, sizeof other->uuid)))
        return 0;
    if (!uuid)
        return error_set(err, EEXIST, "there is an array %s already, UUID %s", name,
            uuid_format(other->uuid, text[0]));
    return error_set(err, EEXIST,
        "two arrays have the name %s: UUID %s is known by it, UUID %s cannot be "
        "(array assemble can give it another name)",
        name, uuid_format(other->uuid, text[0]), uuid_format(uuid, text[1]));
}

int arrays_find(struct daemon *d, const char *name, struct catalog_array **a, struct error *err)
{
    struct catalog_array *found = catalog_find_array(&d->catalog, name);

    if (!found)
        return error_set(err, ENOENT, "there is no array %s", name);
    if (!found->array)
        return error_set(err, ENXIO, "array %s is not assembled: %s", name, found->reason);
    *a = found;
    return 0;
}

/* After an assembly: what was remembered and has not come is away. */
static int note_members(struct catalog_array *a, bool keep_away)
{
    struct array_status *s = array_status(a->array);
    const char *names[ARRAY_MEMBERS_MAX];
    unsigned count = 0;
    int rc = -ENOMEM;

    for (unsigned i = 0; s && i < s->member_count && count < ARRAY_MEMBERS_MAX; i++)
        if (*s->members[i].name)
            names[count++] = s->members[i].name;
    if (s)
        rc = catalog_change_members(a, names, count, keep_away && s->missing > 0);
    free(s);
    return rc;
}

int arrays_refresh_members(struct catalog_array *a)
{
    return note_members(a, false);
}

int arrays_set_max_read_errors(struct catalog_array *a, uint64_t max, struct error *err)
{
    if (max > ARRAY_READ_ERRORS_LIMIT)
        return error_set(err, EINVAL, "at most %d read errors", ARRAY_READ_ERRORS_LIMIT);
    a->max_read_errors = (unsigned)max;
    array_set_max_read_errors(a->array, a->max_read_errors);
    return 0;
}

static int place(struct daemon *d, struct array *array, const char *name, const uint8_t uuid[16],
    struct catalog_array **result)
{
    struct catalog_array *a = catalog_find_array_uuid(&d->catalog, uuid);
    bool fresh = !a;
    int rc;

    if (fresh && !(a = catalog_add_array(d, name, uuid)))
        return -ENOMEM;
    a->array = array;
    array_set_max_read_errors(array, a->max_read_errors);
    rc = note_members(a, true);
    if (rc == 0)
        rc = array_watch_start(a);
    if (rc) {
        a->array = NULL;
        if (fresh)
            catalog_drop_array(a);
        return rc;
    }
    if (name != a->name)
        snprintf(a->name, sizeof a->name, "%s", name);
    snprintf(array_blockdev(array)->name, sizeof array_blockdev(array)->name, "%s", name);
    *a->reason = '\0';
    a->unstarted = true;
    *result = a;
    return 0;
}

static void tell_assembled(struct catalog_array *a)
{
    struct array_status *s = array_status(a->array);

    if (s)
        events_post(&a->daemon->events, EVENT_ARRAY_ASSEMBLED, a->name, "%s, %u of %u members",
            array_state_name(s->state), s->raid_disks - s->missing, s->raid_disks);
    free(s);
}

void arrays_start_new(struct daemon *d)
{
    list_for_each (it, &d->catalog.arrays) {
        struct catalog_array *a = container_of(it, struct catalog_array, link);

        if (!a->array || !a->unstarted)
            continue;
        a->unstarted = false;
        tell_assembled(a);
        array_start(a->array);
    }
}

int arrays_adopt(struct daemon *d, struct array *array, const char *name, struct catalog_array **a,
    struct error *err)
{
    struct array_status *s = array_status(array);
    int rc = s ? arrays_refuse_name(d, name, s->uuid, err) : -ENOMEM;

    if (rc == 0)
        rc = place(d, array, name, s->uuid, a);
    free(s);
    return rc;
}

/* The sizes and the shape, without touching anything: what array_create would say. */
static int check_shape(
    const struct array_plan *p, const struct members *m, const struct members *s, struct error *err)
{
    unsigned count = m->count + s->count;
    uint64_t *sizes = calloc(count, sizeof *sizes);
    const char **names = calloc(count, sizeof *names);
    struct md_superblock *sb = calloc(1, sizeof *sb);
    struct md_bitmap_header bitmap;
    struct md_create_params params = {.level = p->params.level,
        .layout = p->params.layout,
        .raid_disks = m->count,
        .chunk_bytes = p->params.chunk_bytes,
        .member_bytes = p->params.member_bytes,
        .device_bytes = sizes,
        .names = names,
        .device_count = count,
        .assume_clean = p->params.assume_clean};
    int rc = -ENOMEM;

    for (unsigned i = 0; sizes && names && i < count; i++) {
        struct blockdev *d = i < m->count ? m->devs[i] : s->devs[i - m->count];

        sizes[i] = d ? d->size_bytes : 0;
        names[i] = d ? d->name : "missing";
    }
    if (sizes && names && sb)
        rc = md_create_template(sb, &bitmap, &params, err);
    free(sizes);
    free(names);
    free(sb);
    return rc;
}

static int create_on(struct daemon *d, const struct array_plan *p, struct members *m,
    struct members *s, struct catalog_array **a, struct error *err)
{
    struct array *array;
    int rc = check_shape(p, m, s, err);

    if (rc || p->dry)
        return rc;
    if ((p->force && (rc = members_wipe(m, err))) || (p->force && (rc = members_wipe(s, err))))
        return rc;
    rc = array_create(&array, &p->params, m->devs, m->count, s->devs, s->count, err);
    if (rc)
        return rc;
    members_forget(m);
    members_forget(s);
    rc = arrays_adopt(d, array, p->params.name, a, err);
    if (rc) {
        array_destroy(array, NULL);
        return rc;
    }
    (*a)->unstarted = false;
    array_start(array);
    events_post(&d->events, EVENT_ARRAY_CREATED, (*a)->name, "over %u members", p->member_count);
    return 0;
}

int arrays_create(
    struct daemon *d, const struct array_plan *p, struct catalog_array **a, struct error *err)
{
    unsigned flags = p->force ? MEMBERS_FORCE : 0;
    struct members members, spares;
    int rc;

    if ((rc = refuse_bad_name(p->params.name, err)) ||
        (rc = arrays_refuse_name(d, p->params.name, NULL, err)) ||
        (rc = members_open(d, &members, p->members, p->member_count, flags, err)))
        return rc;
    rc = members_open(d, &spares, p->spares, p->spare_count, flags, err);
    if (rc == 0)
        rc = create_on(d, p, &members, &spares, a, err);
    members_close(&members);
    members_close(&spares);
    return rc;
}

/* By the first member's superblock, before anything is assembled (which writes). */
static int refuse_assembled(
    struct daemon *d, const char *name, const struct members *m, struct error *err)
{
    struct md_superblock *sb = calloc(1, sizeof *sb);
    int rc = sb ? array_examine(m->devs[0], sb, err) : -ENOMEM;
    struct catalog_array *known =
        rc == 0 ? catalog_find_array_uuid(&d->catalog, sb->set_uuid) : NULL;

    if (known && known->array)
        rc = error_set(err, EEXIST, "%s is of array %s, which is assembled already",
            m->devs[0]->name, known->name);
    if (rc == 0)
        rc = arrays_refuse_name(d, name, sb->set_uuid, err);
    free(sb);
    return rc;
}

static int assemble_on(struct daemon *d, const struct array_assembly_plan *p, struct members *m,
    struct catalog_array **a, struct error *err)
{
    struct array *array;
    int rc = refuse_assembled(d, p->name, m, err);

    if (rc || p->dry)
        return rc;
    rc = array_assemble(
        &array, m->devs, m->count, p->force ? ARRAY_FORCE | ARRAY_DEGRADED_OK : 0, err);
    if (rc)
        return rc;
    members_forget(m);
    rc = arrays_adopt(d, array, p->name, a, err);
    if (rc) {
        array_stop(array, NULL);
        return rc;
    }
    groups_bring_up(d);
    arrays_start_new(d);
    images_bring_up(d);
    exports_bring_up(d, 0);
    return 0;
}

int arrays_assemble(struct daemon *d, const struct array_assembly_plan *p, struct catalog_array **a,
    struct error *err)
{
    struct members members;
    int rc = refuse_bad_name(p->name, err);

    for (unsigned i = 0; rc == 0 && i < p->member_count; i++)
        if (!strcmp(p->members[i], "missing"))
            rc = error_set(err, EINVAL, "\"missing\" is for array create");
    if (rc == 0)
        rc = members_open(d, &members, p->members, p->member_count, MEMBERS_KNOWN, err);
    if (rc)
        return rc;
    rc = assemble_on(d, p, &members, a, err);
    members_close(&members);
    return rc;
}

int arrays_refuse_used(struct catalog_array *a, struct error *err)
{
    if (a->vg)
        return error_set(
            err, EBUSY, "array %s carries volume group %s", a->name, vg_name(a->vg->vg));
    if (a->array && array_blockdev(a->array)->users > 0)
        return error_set(err, EBUSY, "array %s is exported", a->name);
    return 0;
}

/* Ends the array by `end`, which frees it on success. */
static int end_array(
    struct catalog_array *a, int (*end)(struct array *a, struct error *err), struct error *err)
{
    int rc = arrays_refuse_used(a, err);

    if (rc)
        return rc;
    array_watch_begin_stop(a);
    rc = end(a->array, err);
    array_watch_end_stop(a, rc == 0);
    if (rc == 0)
        events_post(&a->daemon->events, EVENT_ARRAY_STOPPED, a->name, "stopped");
    return rc;
}

static void forget(struct catalog_array *a)
{
    struct daemon *d = a->daemon;

    catalog_view_begin(d);
    list_remove(&a->link);
    catalog_view_end(d);
    catalog_drop_array(a);
}

int arrays_stop(struct catalog_array *a, struct error *err)
{
    int rc = a->array ? end_array(a, array_stop, err) : 0;

    if (rc == 0)
        forget(a);
    return rc;
}

int arrays_destroy(struct catalog_array *a, struct error *err)
{
    int rc = end_array(a, array_destroy, err);

    if (rc == 0)
        forget(a);
    return rc;
}

void arrays_stop_all(struct daemon *d)
{
    list_for_each (it, &d->catalog.arrays) {
        struct catalog_array *a = container_of(it, struct catalog_array, link);
        struct error err = {0};

        if (a->array && end_array(a, array_stop, &err))
            log_error("array %s: %s", a->name, err.text);
    }
}
