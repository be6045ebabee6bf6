/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SHA-256 of a disk's content, from its first byte to its last, holes as zeros. Computed on helper
 * threads; calls from coroutines, which wait. */
#ifndef ASHLAR_IMAGE_DIGEST_H
#define ASHLAR_IMAGE_DIGEST_H

#include <nettle/sha2.h>
#include <stdbool.h>
#include <stdint.h>

#include "image/pieces.h"

#define DIGEST_BYTES SHA256_DIGEST_SIZE
#define DIGEST_TEXT  (2 * DIGEST_BYTES + 1)

struct digest {
    struct sha256_ctx sha256;
};

void digest_init(struct digest *d);
/* The next bytes of the disk; a step of pieces_run (in_turn). */
void digest_piece(struct digest *d, const struct piece *p);
/* As many zeros. */
void digest_zeros(struct digest *d, uint64_t length);
void digest_end(struct digest *d, uint8_t digest[DIGEST_BYTES]);

/* Reads so much of a disk, from its beginning. */
int digest_disk(struct blockdev *from, uint64_t size_bytes, uint8_t digest[DIGEST_BYTES],
    pieces_progress *progress, void *progress_arg, struct error *err);

/* In hexadecimal. parse: of either case; false when it is none. */
void digest_format(const uint8_t digest[DIGEST_BYTES], char text[DIGEST_TEXT]);
bool digest_parse(uint8_t digest[DIGEST_BYTES], const char *text);

#endif
