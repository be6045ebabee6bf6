/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A commit in its steps: for those who capture the map at a moment of their own choosing. Under
 * `control`. */
#ifndef ASHLAR_IMAGE_COMMIT_H
#define ASHLAR_IMAGE_COMMIT_H

#include "image/image.h"

/* Bytes for the disk. Of a table: they count as dirty again when they could not be written. */
struct part {
    uint64_t offset;
    uint32_t length;
    uint8_t *bytes;
    struct l2_table *table;
    struct refblock *block;
    uint64_t inside; /* offset in the table, block or L1 */
    bool early;      /* step 1 */
    bool whole;
};

struct commit {
    struct qcow2 *q;
    struct part *parts;
    size_t count, capacity;
    struct list tables; /* those that are looked at */
    bool settled;       /* what step 1 wrote is durable, and step 3 may refer to it */
    struct freed freed;
};

/* Begin, capture, write, end: the last also when one of the others failed (rc), which puts all
 * back. */
void commit_begin(struct commit *c, struct qcow2 *q);
int commit_capture(struct commit *c);
int commit_write(struct commit *c);
void commit_end(struct commit *c, int rc);

#endif
