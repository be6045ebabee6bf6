/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A device that keeps watch: counts what the wrapper must not let through, and lacks what a test
 * wants it to lack. Its bytes are open to the test. */
#ifndef ASHLAR_TESTS_BLOCK_STRICT_H
#define ASHLAR_TESTS_BLOCK_STRICT_H

#include "rt/run.h"

#include "block/blockdev.h"

enum strict_mode {
    STRICT_LEAF_NOW,   /* a leaf whose operations end in start */
    STRICT_LEAF_LATER, /* a leaf whose operations end from a timer */
    STRICT_LAYER,      /* the calls that wait, and do */
    STRICT_BARE,       /* a layer of reads and writes only */
    STRICT_MODES
};

struct strict {
    struct blockdev dev;
    enum strict_mode mode;
    char *bytes;
    unsigned violations;
    unsigned calls[BLOCK_KINDS];
    unsigned fua_calls, in_flight, in_flight_max;
    int zeroes_error, discard_error, write_error;
    int fail_after;                      /* writes that pass before write_error */
    uint64_t asked_offset, asked_length; /* of extents and unused, the last */
    int extents_error;
};

struct strict *strict_create(enum strict_mode mode, uint64_t size_bytes);

#endif
