/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Going over a disk in pieces, several at a time: the reading half of copying, of saving and of
 * checksums. What the disk says is zeros is not read. Pieces begin in the disk's order and are read
 * side by side; then three steps, each of which may wait and may be left out:
 *
 *   prepare   side by side (compressing)
 *   in_turn   one piece after the other, in the disk's order (a running checksum, allocation)
 *   finish    side by side (writing)
 *
 * All runs in coroutines of the calling worker. Nobody writes to the disk meanwhile.
 */
#ifndef ASHLAR_IMAGE_PIECES_H
#define ASHLAR_IMAGE_PIECES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "block/blockdev.h"

#define PIECE_BYTES      (1u << 20)
#define PIECE_ZERO_BYTES (64u << 20) /* zeros come in larger ones */
#define PIECES_DEPTH     8

struct piece {
    uint64_t number; /* from 0, in the disk's order */
    uint64_t offset, length;
    bool zero;      /* reads as zeros and has not been read */
    uint8_t *bytes; /* room for piece_bytes; what was read, then zeros to a multiple of
                       align_bytes */
    void *own;      /* own_bytes, aligned as for direct I/O, for the steps; not cleared between
                       pieces */
};

typedef int piece_step(void *arg, struct piece *p, struct error *err);

/* Called before each piece: `done` bytes of the disk have been begun. May wait (a pause); returns
 * false to stop. */
typedef bool pieces_progress(void *arg, uint64_t done, uint64_t total);

struct pieces_plan {
    struct blockdev *from;
    uint64_t size_bytes;  /* so much of it from its beginning; 0: all */
    uint64_t align_bytes; /* pieces begin and end there, but for the disk's end; a multiple of its
                             logical block */
    uint64_t piece_bytes; /* the largest that is read, a multiple of align_bytes */
    size_t own_bytes;
    piece_step *prepare, *in_turn, *finish; /* NULL: nothing to be done */
    void *arg;
    pieces_progress *progress; /* NULL: nobody asks */
    void *progress_arg;
};

/* Ends at the first failure, when all that was begun has ended. -ECANCELED: by `progress`. */
int pieces_run(const struct pieces_plan *plan, struct error *err);

/* length > 0. */
bool bytes_are_zero(const uint8_t *bytes, size_t length);

#endif
