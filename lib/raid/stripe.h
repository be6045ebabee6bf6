/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One stretch of one stripe at work: the same bytes [start, end) of each of its blocks. What is to
 * be done with it is in stripe_plan.h; here are the buffers, the operations on members, and the
 * arithmetic. Seen only inside raid/.
 *
 * Who works on a stretch is inside the gate of writes and holds the range of it (in member bytes)
 * exclusively, so that data and parity stand still.
 */
#ifndef ASHLAR_RAID_STRIPE_H
#define ASHLAR_RAID_STRIPE_H

#include "raid/array_private.h"
#include "raid/stripe_plan.h"

struct stripe_cell {
    bool rewrite;   /* could not be read */
    bool fill;      /* a member gets it that is being filled */
    uint8_t *old;   /* what stands there; parity: before and after. NULL: not known */
    uint8_t *fresh; /* data: what the write gives; not owned. NULL: nothing */
};

struct stripe {
    struct array *a;
    struct raid_stripe place;
    uint64_t start, end; /* in each block */
    struct stripe_plan plan;
    bool logged; /* goes into a record of the parity log before it is written */
    /* By block: data, P, Q. */
    struct stripe_cell *cells;
    unsigned char *flags; /* STRIPE_... */
};

static inline uint64_t stripe_bytes(const struct stripe *s)
{
    return s->end - s->start;
}

/* Of the stretch, in the members' data. */
static inline uint64_t stripe_member_offset(const struct stripe *s)
{
    return s->place.number * s->a->geometry.chunk_bytes + s->start;
}

/* Memory for the cells of a stretch. */
static inline size_t stripe_memory_bytes(const struct array *a)
{
    return a->geometry.raid_disks * (sizeof(struct stripe_cell) + 1);
}

/* The flags say what can be read and written; the rest is cleared. `memory`: stripe_memory_bytes,
 * aligned for pointers, used until the end. */
void stripe_init(
    struct stripe *s, struct array *a, uint64_t number, uint64_t start, uint64_t end, void *memory);
/* Gives back the buffers. */
void stripe_end(struct stripe *s);

/*
 * Reads the cells marked STRIPE_READ of several stretches, side by side. What fails counts as an
 * error of its member and as not readable; then -EAGAIN: plan again. -ENOMEM.
 */
int stripes_read(struct stripe *stripes, unsigned count);
/* After stripe_plan_load and stripes_read: data that could not be read is solved for. -ENOMEM. */
int stripe_solve(struct stripe *s);
/* All data is known: that of members which are being filled, replacements among them, is written,
 * too. Where parity does not fit, what they have got already may be something else. */
void stripe_fill(struct stripe *s);
/* Parity of all data (fresh or old) into the parity cells that are writable. -ENOMEM. */
int stripe_generate(struct stripe *s);
/* The old parity changed by what is fresh. */
void stripe_modify(struct stripe *s);
/* Reads all that can be read of one stretch (`all`) or what is needed to know its data, and solves
 * for what cannot be. The range is locked. -EIO: more is missing than parity makes good. */
int stripe_load(struct stripe *s, bool all);
/* parity_read.c: writes what is known to where it could not be read, and reads it again. Members
 * that cannot be corrected become faulty (recorded). */
void stripe_correct(struct stripe *s);
/* What is to stand in a block; NULL: it stays as it is. */
uint8_t *stripe_new_block(const struct stripe *s, unsigned block);
/*
 * Writes fresh data, parity, and data that had to be solved for because it could not be read, side
 * by side. Members that fail become faulty (recorded by the caller); -EIO: the array has failed.
 */
int stripes_write(struct stripe *stripes, unsigned count, unsigned flags);

#endif
