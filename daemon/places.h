/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where bytes of an array are for those who use it: in a volume of the group that has the array as
 * a PV. Control worker, under the catalog's `view` or `change`; nothing here waits.
 */
#ifndef ASHLAR_DAEMON_PLACES_H
#define ASHLAR_DAEMON_PLACES_H

#include <stdint.h>

#include "catalog.h"
#include "raid/array.h"

enum place_use { PLACE_ARRAY /* no group has it */, PLACE_VOLUME, PLACE_FREE, PLACE_METADATA };

struct place {
    enum place_use use;
    char volume[CATALOG_NAME_MAX]; /* PLACE_VOLUME: VG/NAME */
    uint64_t offset_bytes;         /* in the volume */
    uint64_t array_offset_bytes, length_bytes;
};

/* The part of the array's range that lies in one piece. length_bytes is not 0. */
void place_find(const struct catalog_array *a, uint64_t array_offset_bytes, uint64_t length_bytes,
    struct place *place);

/* Calls `fn` for each place that a mismatch concerns, in the array's order; what goes on in one
 * piece is one. */
typedef void place_fn(void *arg, const struct place *place);
void places_of(
    const struct catalog_array *a, const struct array_mismatch *m, place_fn *fn, void *arg);

const char *place_use_name(enum place_use use);

#endif
