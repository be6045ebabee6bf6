/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that are simulated disks, found by path. Who has which open is the machine's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rt/sim/file.h"
#include "rt/sim/machine.h"

static struct {
    unsigned open;
    bool exclusive;
} users[SIM_DISKS_MAX];

static struct sim_disk *find_disk(const char *path)
{
    for (unsigned i = 0; i < sim->disk_count; i++)
        if (!strcmp(sim->disks[i].path, path))
            return sim->disks[i].present ? &sim->disks[i] : NULL;
    return NULL;
}

static void describe(struct file_info *info, const struct sim_disk *d)
{
    *info = (struct file_info){
        .size_bytes = d->size_bytes,
        .block_device = true,
        .direct = true,
        .logical_block_bytes = d->logical_block_bytes,
        .physical_block_bytes =
            d->atomic_bytes > d->logical_block_bytes ? d->atomic_bytes : d->logical_block_bytes,
        .memory_align_bytes = SIM_SECTOR_BYTES,
        .can_discard = true,
        .can_zero = d->can_zero,
    };
}

int file_open(const char *path, unsigned flags, struct file **file, struct error *err)
{
    struct sim_disk *d;
    struct file *f;
    unsigned slot;

    if (co_self())
        co_sleep_ns(1000 + sim_below(sim_stream(SIM_SCHEDULE), 100000));
    d = find_disk(path);
    if (!d)
        return error_set(err, ENOENT, "cannot open %s: %s", path, strerror(ENOENT));
    slot = (unsigned)(d - sim->disks);
    if (users[slot].open && (users[slot].exclusive || flags & FILE_EXCLUSIVE))
        return error_set(err, EBUSY, "%s is in use: locked by another program", path);
    f = calloc(1, sizeof *f);
    if (!f)
        return error_set(err, ENOMEM, "out of memory");
    f->disk = d;
    describe(&f->info, d);
    users[slot].open++;
    users[slot].exclusive = flags & FILE_EXCLUSIVE;
    *file = f;
    return 0;
}

const struct file_info *file_info(const struct file *file)
{
    return &file->info;
}

int file_refresh(struct file *file)
{
    file->info.size_bytes = file->disk->size_bytes;
    return file->disk->present ? 0 : -ENXIO;
}

/* Disks have the size they have. */
int file_resize(struct file *file, uint64_t size_bytes)
{
    return -EINVAL;
}

int file_next_extent(struct file *file, uint64_t offset, uint64_t *length_bytes, bool *hole)
{
    return -EOPNOTSUPP;
}

void file_close(struct file *file)
{
    users[file->disk - sim->disks].open--;
    free(file);
}
