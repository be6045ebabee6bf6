/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Only sectors that were written are looked at: the rest is the former owner's noise. */
#include "dump.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rt/sim/sim.h"

#define PIECE_BYTES 65536u

static bool was_written(const struct sim_disk *d, uint64_t sector)
{
    return d->written[sector / 64] >> (sector % 64) & 1;
}

/* The next run of written sectors from *sector on; its length in bytes, at most PIECE_BYTES; 0: no
 * more. */
static uint64_t next_piece(const struct sim_disk *d, uint64_t *sector)
{
    uint64_t sectors = d->size_bytes / SIM_SECTOR_BYTES, n = 0;

    while (*sector < sectors && !was_written(d, *sector))
        ++*sector;
    while (
        *sector + n < sectors && n < PIECE_BYTES / SIM_SECTOR_BYTES && was_written(d, *sector + n))
        n++;
    return n * SIM_SECTOR_BYTES;
}

static const char *disk_name(const struct sim_disk *d)
{
    const char *slash = strrchr(d->path, '/');

    return slash ? slash + 1 : d->path;
}

static int dump_disk(const struct sim_disk *d, int fd)
{
    static char piece[PIECE_BYTES];
    uint64_t n;

    if (ftruncate(fd, (off_t)d->size_bytes))
        return -errno;
    for (uint64_t sector = 0; (n = next_piece(d, &sector)); sector += n / SIM_SECTOR_BYTES) {
        sim_disk_peek(d, piece, sector * SIM_SECTOR_BYTES, n);
        if (pwrite(fd, piece, n, (off_t)(sector * SIM_SECTOR_BYTES)) != (ssize_t)n)
            return errno ? -errno : -EIO;
    }
    return 0;
}

static int dump_disk_in(const struct sim_disk *d, const char *dir)
{
    char path[1024];
    int fd, rc;

    snprintf(path, sizeof path, "%s/%s.img", dir, disk_name(d));
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return -errno;
    rc = dump_disk(d, fd);
    return close(fd) && !rc ? -errno : rc;
}

static json_t *describe_disk(const struct sim_disk *d)
{
    return json_pack("{s:s, s:s+, s:I, s:I, s:b}", "path", d->path, "file", disk_name(d), ".img",
        "size_bytes", (json_int_t)d->size_bytes, "logical_block_bytes",
        (json_int_t)d->logical_block_bytes, "present", (int)d->present);
}

static int describe_world(const char *dir, const char *scenario)
{
    json_t *disks = json_array(), *world;
    char path[1024];
    int rc;

    for (unsigned i = 0; i < sim->disk_count; i++)
        json_array_append_new(disks, describe_disk(&sim->disks[i]));
    world = json_pack("{s:s, s:I, s:s, s:o}", "scenario", scenario, "seed", (json_int_t)sim->seed,
        "failure", sim->failure, "disks", disks);
    snprintf(path, sizeof path, "%s/world.json", dir);
    rc = json_dump_file(world, path, JSON_INDENT(2));
    json_decref(world);
    return rc ? -EIO : 0;
}

int dump_world(const char *dir, const char *scenario)
{
    char path[512];
    int rc = 0;

    snprintf(path, sizeof path, "%s/%" PRIu64, dir, sim->seed);
    if ((mkdir(dir, 0777) && errno != EEXIST) || (mkdir(path, 0777) && errno != EEXIST))
        return -errno;
    for (unsigned i = 0; i < sim->disk_count && !rc; i++)
        rc = dump_disk_in(&sim->disks[i], path);
    return rc ? rc : describe_world(path, scenario);
}

static uint64_t hash_words(uint64_t h, const char *piece, uint64_t n)
{
    for (uint64_t i = 0, word; i < n; i += sizeof word) {
        memcpy(&word, piece + i, sizeof word);
        h = (h ^ word) * UINT64_C(0x9fb21c651e98df25);
        h ^= h >> 29;
    }
    return h;
}

uint64_t world_hash(void)
{
    static char piece[PIECE_BYTES];
    uint64_t h = sim->hash, n;

    for (unsigned i = 0; i < sim->disk_count; i++) {
        const struct sim_disk *d = &sim->disks[i];

        for (uint64_t sector = 0; (n = next_piece(d, &sector)); sector += n / SIM_SECTOR_BYTES) {
            sim_disk_peek(d, piece, sector * SIM_SECTOR_BYTES, n);
            h = hash_words(h ^ sector, piece, n);
        }
    }
    return h;
}
