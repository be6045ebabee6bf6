/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The administrator: gives the file more room.
 */
#include "image_world.h"

#define OPS_MAX 8u

static uint64_t draw(uint64_t limit)
{
    return choose(SIM_ADMIN, limit);
}

static void look_at_status(void)
{
    struct qcow2_status s;

    qcow2_status(image_machine.q, &s);
    if (s.size_bytes != image->size_bytes || s.snapshots != image->snapshot_count)
        sim_fail("the status tells of %llu bytes, %u snapshots", (unsigned long long)s.size_bytes,
            s.snapshots);
    if (s.corrupt)
        sim_fail("the image is said to be corrupt");
}

void image_administer(void)
{
    for (unsigned i = (unsigned)draw(OPS_MAX + 1); i && image_machine.at_work; i--) {
        co_sleep_ns(draw(6 * MILLISECOND_NS));
        if (draw(4))
            image_file_room(draw(8) * IMAGE_FILE_UNIT);
        else
            look_at_status();
    }
}
