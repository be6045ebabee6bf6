/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A new array: its superblock and bitmap header as mdadm would choose them, members in their roles,
 * then all of it written, superblocks last. Control's worker.
 *
 * It is all "never synced": its bitmap is full and resync_offset 0, so that the kernel, too, would
 * sync it; and all unused, so that nothing is synced until something is written.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "raid/array_private.h"
#include "raid/defaults.h"
#include "raid/parity_log.h"

static bool name_valid(const char *name)
{
    size_t len = strlen(name);

    return len >= 1 && len <= MD_NAME_BYTES &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") == len;
}

static int check_params(
    const struct array_params *p, unsigned member_count, unsigned spare_count, struct error *err)
{
    if (!name_valid(p->name))
        return error_set(err, EINVAL,
            "an array's name is 1 to %u letters, digits and _ . -, not \"%s\"", MD_NAME_BYTES,
            p->name);
    if (member_count == 0 || member_count > RAID_DISKS_MAX || spare_count > RAID_DISKS_MAX)
        return error_set(err, EINVAL, "an array has 1 to %u members", RAID_DISKS_MAX);
    return 0;
}

/* Roles in order (NULL: missing), then spares. */
static struct blockdev *device_at(
    struct blockdev **members, unsigned member_count, struct blockdev **spares, unsigned i)
{
    return i < member_count ? members[i] : spares[i - member_count];
}

static int add_new_members(struct array *a, struct blockdev **members, unsigned member_count,
    struct blockdev **spares, unsigned count)
{
    struct md_superblock sb = a->sb;

    for (unsigned i = 0; i < count; i++) {
        struct blockdev *d = device_at(members, member_count, spares, i);
        struct member *m;
        if (!d)
            continue;
        md_create_member(&sb, i, d->size_bytes);
        rt_random(sb.device_uuid, sizeof sb.device_uuid);
        m = member_new(d, &sb);
        if (!m || members_add(a, m)) {
            if (m)
                member_free(m);
            return -ENOMEM;
        }
        if (i < member_count) {
            atomic_store(&m->state, MEMBER_IN_SYNC);
            m->role = (int)i;
        }
    }
    members_settle(a);
    return 0;
}

int array_prepare_member(struct member *m)
{
    uint64_t log = (uint64_t)(MD_SUPERBLOCK_OFFSET + m->sb.bblog_offset) * MD_SECTOR_BYTES;
    int rc = array_fill_page(m->dev, 0, 0);

    if (!rc && m->sb.bblog_size)
        rc = array_fill_page(m->dev, 0xff, log);
    return rc;
}

static int clear(struct array *a, uint64_t offset, uint64_t end)
{
    struct raid_location copies[RAID_COPIES_MAX];
    uint64_t run_bytes;

    for (; offset < end; offset += run_bytes) {
        unsigned count = raid_geometry_map(&a->geometry, offset, copies, &run_bytes);

        run_bytes = MIN(run_bytes, end - offset);
        for (unsigned i = 0; i < count; i++) {
            struct member *m = a->roles[copies[i].role];
            int rc = m ? blockdev_write_zeroes(
                             m->dev, m->data_offset_bytes + copies[i].offset_bytes, run_bytes, 0)
                       : 0;
            if (rc)
                return rc;
        }
    }
    return 0;
}

/*
 * A former array may have had its data in the same place: what stood on it must not come to life
 * again. It is gone in all copies before a superblock says that there is an array.
 */
static int clear_ends(struct array *a, struct error *err)
{
    uint64_t size = a->dev.size_bytes, length = MIN(size, ARRAY_ENDS_BYTES);
    int rc = clear(a, 0, length);

    if (!rc)
        rc = clear(a, size - length, size);
    for (unsigned i = 0; !rc && i < a->geometry.raid_disks; i++)
        rc = a->roles[i] ? blockdev_flush(a->roles[i]->dev) : 0;
    return rc ? error_set(
                    err, -rc, "a member of %s cannot be written: %s", array_name(a), strerror(-rc))
              : 0;
}

static int write_new(struct array *a, struct error *err)
{
    int rc = 0;

    list_for_each (it, &a->members) {
        struct member *m = container_of(it, struct member, link);
        rc = array_prepare_member(m);
        if (!rc)
            rc = bitmap_log_write_all(a, m);
        if (!rc)
            rc = parity_log_add_member(a, m);
        if (rc)
            return error_set(err, -rc, "%s: %s", m->dev->name, strerror(-rc));
    }
    a->sb.events = UINT64_MAX; /* the first are 0 */
    co_mutex_lock(&a->update);
    rc = members_write_superblocks(a);
    co_mutex_unlock(&a->update);
    if (rc || atomic_load(&a->failures))
        return error_set(err, EIO, "a member of %s cannot be written", a->name);
    return 0;
}

static int init_bitmap(struct array *a, struct md_bitmap_header *header, bool assume_clean)
{
    int rc;

    if (!array_redundant(a))
        return 0;
    memcpy(header->uuid, a->sb.set_uuid, sizeof header->uuid);
    rc = bitmap_log_init(a, header, true);
    if (!rc && !assume_clean) {
        bitmap_log_fill(a, 0);
        bitmap_log_distrust(a);
    }
    return rc;
}

static int make(struct array **made, const struct md_create_params *p, struct md_superblock *sb,
    struct error *err)
{
    uint64_t data_bytes[RAID_DISKS_MAX];
    struct raid_shape shape = {
        .level = p->level,
        .layout = p->layout,
        .raid_disks = p->raid_disks,
        .chunk_bytes = (uint64_t)sb->chunk * MD_SECTOR_BYTES,
        .member_bytes = sb->size * MD_SECTOR_BYTES,
        .data_bytes = data_bytes,
    };
    struct raid_geometry g;
    int rc;

    for (unsigned i = 0; i < p->raid_disks; i++)
        data_bytes[i] = p->device_bytes[i] - sb->data_offset * MD_SECTOR_BYTES;
    rc = raid_geometry_init(&g, &shape, err);
    return rc ? rc : array_new(made, sb, &g, err);
}

/* The array without anything written yet. */
static int design(struct array **made, const struct array_params *params,
    struct md_create_params *p, struct md_bitmap_header *header, struct error *err)
{
    struct md_superblock *sb = malloc(sizeof *sb);
    int rc = sb ? md_create_template(sb, header, p, err) : -ENOMEM;

    if (!rc)
        rc = md_superblock_supported(sb, err);
    if (!rc) {
        rt_random(sb->set_uuid, sizeof sb->set_uuid);
        md_create_name(sb, params->homehost, params->name);
        sb->ctime = rt_wall_seconds();
        rc = make(made, p, sb, err);
    }
    free(sb);
    return rc;
}

static void look_at_devices(uint64_t *bytes, const char **names, struct blockdev **members,
    unsigned member_count, struct blockdev **spares, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct blockdev *d = device_at(members, member_count, spares, i);
        bytes[i] = d ? d->size_bytes : 0;
        names[i] = d ? d->name : NULL;
    }
}

int array_create(struct array **made, const struct array_params *params, struct blockdev **members,
    unsigned member_count, struct blockdev **spares, unsigned spare_count, struct error *err)
{
    uint64_t device_bytes[2 * RAID_DISKS_MAX];
    const char *names[2 * RAID_DISKS_MAX];
    unsigned count = member_count + spare_count;
    struct md_create_params p = {
        .level = params->level,
        .layout = params->layout,
        .raid_disks = member_count,
        .chunk_bytes = params->chunk_bytes,
        .member_bytes = params->member_bytes,
        .device_bytes = device_bytes,
        .names = names,
        .device_count = count,
        .assume_clean = params->assume_clean,
    };
    struct md_bitmap_header header;
    struct array *a;
    int rc = check_params(params, member_count, spare_count, err);

    if (rc)
        return rc;
    look_at_devices(device_bytes, names, members, member_count, spares, count);
    rc = design(&a, params, &p, &header, err);
    if (rc)
        return rc;
    rc = add_new_members(a, members, member_count, spares, count);
    array_publish(a);
    if (!rc)
        rc = init_bitmap(a, &header, params->assume_clean);
    if (!rc)
        rc = sync_init(a);
    if (!rc)
        rc = parity_log_init(a);
    if (rc)
        error_set(err, -rc, "out of memory");
    if (!rc && !params->assume_clean)
        rc = clear_ends(a, err);
    if (!rc)
        rc = write_new(a, err);
    if (rc)
        array_free(a);
    else
        *made = a;
    return rc;
}
