/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/digest.h"

#include <stdio.h>
#include <string.h>

#include "base/arith.h"
#include "rt/worker.h"

struct stretch {
    struct digest *digest;
    const uint8_t *bytes; /* NULL: zeros */
    uint64_t length;
};

static int add_blocking(void *arg)
{
    static const uint8_t zeros[64 << 10];
    const struct stretch *s = arg;

    if (s->bytes) {
        sha256_update(&s->digest->sha256, s->length, s->bytes);
        return 0;
    }
    for (uint64_t left = s->length, n; left; left -= n) {
        n = MIN(left, sizeof zeros);
        sha256_update(&s->digest->sha256, n, zeros);
    }
    return 0;
}

void digest_init(struct digest *d)
{
    sha256_init(&d->sha256);
}

void digest_piece(struct digest *d, const struct piece *p)
{
    struct stretch s = {d, p->zero ? NULL : p->bytes, p->length};

    rt_offload(add_blocking, &s);
}

void digest_zeros(struct digest *d, uint64_t length)
{
    struct stretch s = {d, NULL, length};

    rt_offload(add_blocking, &s);
}

void digest_end(struct digest *d, uint8_t digest[DIGEST_BYTES])
{
    sha256_digest(&d->sha256, DIGEST_BYTES, digest);
}

static int add_piece(void *arg, struct piece *p, struct error *err)
{
    digest_piece(arg, p);
    return 0;
}

int digest_disk(struct blockdev *from, uint64_t size_bytes, uint8_t digest[DIGEST_BYTES],
    pieces_progress *progress, void *progress_arg, struct error *err)
{
    struct digest d;
    struct pieces_plan plan = {.from = from,
        .size_bytes = size_bytes,
        .align_bytes = from->logical_block_bytes,
        .piece_bytes = PIECE_BYTES,
        .in_turn = add_piece,
        .arg = &d,
        .progress = progress,
        .progress_arg = progress_arg};
    int rc;

    digest_init(&d);
    rc = pieces_run(&plan, err);
    if (rc == 0)
        digest_end(&d, digest);
    return rc;
}

void digest_format(const uint8_t digest[DIGEST_BYTES], char text[DIGEST_TEXT])
{
    for (unsigned i = 0; i < DIGEST_BYTES; i++)
        sprintf(text + 2 * i, "%02x", digest[i]);
}

bool digest_parse(uint8_t digest[DIGEST_BYTES], const char *text)
{
    uint8_t parsed[DIGEST_BYTES];

    if (strlen(text) != 2 * DIGEST_BYTES ||
        strspn(text, "0123456789abcdefABCDEF") != 2 * DIGEST_BYTES)
        return false;
    for (unsigned i = 0; i < DIGEST_BYTES; i++)
        if (sscanf(text + 2 * i, "%2hhx", &parsed[i]) != 1)
            return false;
    memcpy(digest, parsed, DIGEST_BYTES);
    return true;
}
