/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What stands on the disk, seen by a checker that knows nothing of lib/image: at any moment a whole
 * image, with leaks at most while its dirty bit says so.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "image_world.h"

#define PIECE_BYTES (32u << 10)

void image_complain(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (!sim->failure[0])
        vsnprintf(sim->failure, sizeof sim->failure, fmt, ap);
    va_end(ap);
    SIM_TRACE("*** %s", sim->failure);
}

bool image_examine(struct check_qcow2 *c)
{
    struct check_disk file = check_sim_disk(&sim->disks[0]);

    file.size_bytes = image->file_bytes;
    if (!check_qcow2(c, &file))
        image_complain("the image: %s", c->problems.text);
    else if (image->closed && (c->dirty || c->leaks))
        image_complain("closed, and dirty");
    image->backed = c->backed;
    return !sim->failure[0];
}

bool image_peek(struct check_qcow2 *c, unsigned disk, void *buf, uint64_t offset, uint64_t length)
{
    struct check_disk backing = check_sim_disk(&sim->disks[1]);

    return check_qcow2_read(c, disk, c->backed ? &backing : NULL, buf, offset, length);
}

static void look_at_active(struct check_qcow2 *c)
{
    static char buf[PIECE_BYTES];
    char why[MODEL_WHY_LEN];
    uint64_t length, bad;

    if (c->disks[0].size_bytes != image->size_bytes)
        image_complain("the disk has %llu bytes", (unsigned long long)c->disks[0].size_bytes);
    for (uint64_t at = 0; at < image->size_bytes && !sim->failure[0]; at += length) {
        length = MIN(image->size_bytes - at, (uint64_t)sizeof buf);
        if (!image_peek(c, 0, buf, at, length)) {
            image_complain(
                "%llu+%llu cannot be read", (unsigned long long)at, (unsigned long long)length);
            return;
        }
        bad = model_check_image(image_model, buf, at, length, why);
        if (bad != MODEL_GOOD)
            image_complain(
                "the image holds what cannot be at %llu: %s", (unsigned long long)bad, why);
    }
}

static void look_at_snapshot(struct check_qcow2 *c, unsigned i)
{
    static char buf[PIECE_BYTES];
    const struct image_snapshot *s = &image->snapshots[i];
    const struct check_qcow2_disk *d = &c->disks[1 + i];
    uint64_t length;

    if (strcmp(s->name, d->name) != 0 || s->size_bytes != d->size_bytes)
        image_complain("instead of snapshot %s there is %s", s->name, d->name);
    for (uint64_t at = 0; at < s->size_bytes && !sim->failure[0]; at += length) {
        length = MIN(s->size_bytes - at, (uint64_t)sizeof buf);
        if (!image_peek(c, 1 + i, buf, at, length) ||
            memcmp(buf, image_contents[i] + at, length) != 0)
            image_complain("snapshot %s has changed in %llu+%llu", s->name, (unsigned long long)at,
                (unsigned long long)length);
    }
}

void image_look(struct check_qcow2 *c)
{
    if (c->disk_count != 1 + image->snapshot_count)
        image_complain(
            "there are %u snapshots instead of %u", c->disk_count - 1, image->snapshot_count);
    for (unsigned i = 0; i < image->snapshot_count && !sim->failure[0]; i++)
        look_at_snapshot(c, i);
    if (!sim->failure[0])
        look_at_active(c);
}
