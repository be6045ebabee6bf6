/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A disk's content onto a volume, with checksums on request. */
#ifndef ASHLAR_IMAGE_LOAD_H
#define ASHLAR_IMAGE_LOAD_H

#include "image/digest.h"
#include "image/pieces.h"

struct load_plan {
    struct blockdev *from, *to; /* the caller's; nobody else writes to them meanwhile */
    bool verify;                /* `to` is read back and compared with what was read */
    const uint8_t *sha256;      /* NULL, or what the content is to have */
    pieces_progress *progress;  /* `done` goes over all that is read and read back */
    void *progress_arg;
};

/* Durable on return; `to` may be larger, its rest becomes zeros. -EFBIG: it is too small. -EILSEQ:
 * a checksum is not what it should be; then `to` has what was read, or what it reads back as. */
int load_disk(const struct load_plan *plan, struct error *err);

/* The checks behind the copying, for who has copied otherwise (save_qcow2). needed: whether
 * `digest` of what was read is wanted at all. */
bool load_needs_digest(const struct load_plan *plan);
int load_check(const struct load_plan *plan, struct digest *digest, struct error *err);
/* The part of `progress` that the copying is: arg is the plan. */
bool load_progress(void *plan, uint64_t done, uint64_t total);

#endif
