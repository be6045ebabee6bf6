/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads all of the array: it must give what the model allows, and (while no copy is lost) the same
 * each time, whichever copy answers.
 */
#include <errno.h>
#include <stdlib.h>

#include "array_world.h"

#define PIECE_BYTES (32u << 10)

static uint64_t *answers; /* a hash of each sector; 0: not read yet */

static uint64_t hash_of(const void *sector)
{
    const uint64_t *words = sector;
    uint64_t h = 0;

    for (unsigned i = 0; i < SIM_SECTOR_BYTES / sizeof *words; i++)
        h = (h ^ words[i]) * UINT64_C(0x9fb21c651e98df25);
    return (h ^ h >> 32) | 1;
}

static void note(const char *buf, uint64_t offset, uint64_t length, const char *when)
{
    uint64_t sector = offset / SIM_SECTOR_BYTES;

    for (uint64_t at = 0; at < length; at += SIM_SECTOR_BYTES, sector++) {
        uint64_t hash = hash_of(buf + at);
        if (answers[sector] && answers[sector] != hash)
            sim_fail("sector %llu: another answer %s", (unsigned long long)sector, when);
        answers[sector] = hash;
    }
}

/* false: it could not be read, and that may be. */
static bool read_piece(char *buf, uint64_t offset, uint64_t length)
{
    uint32_t begun = model_read_begin(model);
    bool could_fail = array_may_fail();
    char why[MODEL_WHY_LEN];
    uint64_t bad;
    int rc = blockdev_read(array_blockdev(machine.array), buf, offset, length);

    if (rc) {
        if (rc != -EIO || (!could_fail && !array_may_fail()))
            sim_fail("%llu+%llu cannot be read: %d", (unsigned long long)offset,
                (unsigned long long)length, rc);
        return false;
    }
    bad = model_read_check(model, begun, buf, offset, length, why);
    if (bad != MODEL_GOOD)
        sim_fail("the array gives what cannot be at %llu: %s", (unsigned long long)bad, why);
    return true;
}

static void read_all(const char *when, uint64_t size_bytes)
{
    char *buf = malloc(PIECE_BYTES);

    if (!answers)
        answers = calloc(world->size_bytes / SIM_SECTOR_BYTES, sizeof *answers);
    if (!buf || !answers)
        sim_fail("out of memory");
    for (uint64_t at = 0; at < size_bytes; at += PIECE_BYTES) {
        uint64_t length = MIN(size_bytes - at, (uint64_t)PIECE_BYTES);
        if (read_piece(buf, at, length))
            note(buf, at, length, when);
    }
    free(buf);
}

void array_read_first(void)
{
    read_all(NULL, world->size_bytes);
}

void array_read_again(const char *when, uint64_t size_bytes)
{
    read_all(when, size_bytes);
}
