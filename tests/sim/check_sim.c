/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Simulated disks for the checkers: where they are, as long as nothing has to be made up. */
#include "check.h"
#include "rt/sim/disk.h"

static bool all_written(const struct sim_disk *d, uint64_t offset, uint64_t length)
{
    uint64_t end = (offset + length) / SIM_SECTOR_BYTES;

    for (uint64_t at = offset / SIM_SECTOR_BYTES, run; at < end; at += run) {
        uint64_t wanted = UINT64_MAX;
        run = 64 - at % 64;
        if (run > end - at)
            run = end - at;
        wanted = wanted >> (64 - run) << at % 64;
        if ((d->written[at / 64] & wanted) != wanted)
            return false;
    }
    return true;
}

static const void *sim_at(void *arg, void *buf, uint64_t offset, uint64_t length)
{
    const struct sim_disk *d = arg;

    if (all_written(d, offset, length))
        return d->data + offset;
    sim_disk_peek(d, buf, offset, length);
    return buf;
}

struct check_disk check_sim_disk(const struct sim_disk *d)
{
    return (struct check_disk){d->path, d->size_bytes, sim_at, (void *)d};
}
