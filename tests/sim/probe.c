/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stands in for block/probe.c, and with it for libblkid and the host's kernel, where members are
 * simulated disks: md and LVM2 are told by what libblkid goes by, nothing else is known, and nobody
 * holds a disk. It looks at what stands on the disk, past faults of reading.
 */
#include "block/probe.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "rt/sim/sim.h"
#include "rt/worker.h"

#define LOOKED_AT_BYTES 8192u
#define MD_OFFSET       4096u /* of version 1.2; linux/raid/md_p.h */
#define MD_MAGIC        0xa92b4efcu

struct probing {
    const char *path;
    struct probe_result *result;
    struct error *err;
};

static void note(struct probe_result *r, const char *what)
{
    size_t used = strlen(r->signature);

    snprintf(r->signature + used, sizeof r->signature - used, "%s%s", used ? ", " : "", what);
}

/* magic, major_version. */
static void find_md(const unsigned char *sb, struct probe_result *r)
{
    if (get_le32(sb) == MD_MAGIC && get_le32(sb + 4) == 1)
        note(r, "linux_raid_member");
}

/* A label in one of the first four sectors, which bears the sector's number at 8 and its type at
 * 24. */
static void find_lvm(const unsigned char *head, struct probe_result *r)
{
    for (unsigned i = 0; i < 4; i++) {
        const unsigned char *sector = head + (size_t)i * SIM_SECTOR_BYTES;

        if (memcmp(sector, "LABELONE", 8) || get_le64(sector + 8) != i ||
            memcmp(sector + 24, "LVM2 001", 8))
            continue;
        note(r, "LVM2_member");
        return;
    }
}

static const struct sim_disk *find_disk(const char *path)
{
    for (unsigned i = 0; i < sim->disk_count; i++)
        if (sim->disks[i].present && !strcmp(sim->disks[i].path, path))
            return &sim->disks[i];
    return NULL;
}

static int look(void *arg)
{
    const struct probing *p = arg;
    const struct sim_disk *d = find_disk(p->path);
    unsigned char head[LOOKED_AT_BYTES];

    if (!d)
        return error_set(p->err, ENOENT, "cannot open %s: %s", p->path, strerror(ENOENT));
    sim_disk_peek(d, head, 0, sizeof head);
    *p->result = (struct probe_result){0};
    find_md(head + MD_OFFSET, p->result);
    find_lvm(head, p->result);
    return 0;
}

int probe_path(const char *path, struct probe_result *result, struct error *err)
{
    struct probing p = {path, result, err};

    return rt_offload(look, &p);
}

int probe_refuse(const char *path, bool force, struct error *err)
{
    struct probe_result r;
    int rc = probe_path(path, &r, err);

    if (rc < 0 || !r.signature[0] || force)
        return rc;
    return error_set(err, EEXIST, "%s carries data: %s; --force overrides", path, r.signature);
}
