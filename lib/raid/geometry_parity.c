/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RAID5 and RAID6. In each stripe the data go from member to member around P and Q, which in most
 * layouts move on by a member from stripe to stripe, to the left or to the right. Data begin behind
 * them and go round (symmetric), or begin at the first member and step over them (asymmetric).
 *
 *     left-symmetric   left-asymmetric   right-symmetric   parity-first
 *      0  1  2  P       0  1  2  P        P  0  1  2        P  0  1  2
 *      4  5  P  3       3  4  P  5        5  P  3  4        P  3  4  5
 *
 * RAID6 has Q to the right of P, going round, or ("-6" layouts) always on the last member.
 */
#include "raid/geometry_level.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#include "base/arith.h"
#include "base/mutant.h"

#define RAID5_DISKS_MIN 2u /* as Linux does, although it is a mirror */
#define RAID6_DISKS_MIN 4u

static bool q_is_last(const struct raid_geometry *g)
{
    return g->layout & RAID6_LAYOUT_Q_LAST;
}

/* How P moves, without where Q is. */
static uint32_t rotation(const struct raid_geometry *g)
{
    return g->layout & ~RAID6_LAYOUT_Q_LAST;
}

static bool is_symmetric(const struct raid_geometry *g)
{
    return rotation(g) == RAID5_LAYOUT_LEFT_SYMMETRIC ||
           rotation(g) == RAID5_LAYOUT_RIGHT_SYMMETRIC;
}

static int check_layout(const struct raid_geometry *g, struct error *err)
{
    char name[32];

    if (rotation(g) <= RAID5_LAYOUT_PARITY_LAST &&
        (!q_is_last(g) || (g->level == 6 && rotation(g) != RAID5_LAYOUT_PARITY_LAST)))
        return 0;
    if (g->level == 6 && g->layout >= RAID6_LAYOUT_DDF_ZERO_RESTART &&
        g->layout <= RAID6_LAYOUT_DDF_N_CONTINUE)
        return error_set(err, EOPNOTSUPP, "raid6 layout %s is not supported",
            raid_layout_format(6, g->layout, name, sizeof name));
    return error_set(
        err, EINVAL, "%" PRIu32 " is no layout of %s", g->layout, raid_level_name(g->level));
}

static int check_disks(const struct raid_geometry *g, struct error *err)
{
    unsigned min = g->level == 6 ? RAID6_DISKS_MIN : RAID5_DISKS_MIN;

    if (g->raid_disks < min)
        return error_set(err, EINVAL, "%s has at least %u members, not %u",
            raid_level_name(g->level), min, g->raid_disks);
    if (g->level == 6 && g->raid_disks > RAID6_DISKS_MAX)
        return error_set(
            err, EOPNOTSUPP, "raid6 over more than %u members is not supported", RAID6_DISKS_MAX);
    return 0;
}

static int parity_init(struct raid_geometry *g, const struct raid_shape *shape, struct error *err)
{
    uint64_t row_bytes;
    int rc = check_layout(g, err);

    if (!rc)
        rc = check_disks(g, err);
    if (!rc)
        rc = raid_chunk_check(shape->chunk_bytes, err);
    if (rc)
        return rc;
    g->copies = 1;
    g->parity = g->level == 6 ? 2 : 1;
    g->boundary_bytes = g->chunk_bytes;
    g->raid5.data = g->raid_disks - g->parity;
    g->raid5.rotating = g->raid_disks - q_is_last(g);
    g->raid5.stripes = shape->member_bytes / g->chunk_bytes;
    row_bytes = g->raid5.data * g->chunk_bytes;
    if (g->raid5.stripes == 0)
        return error_set(err, EINVAL, "members have no room for a chunk");
    if (g->raid5.stripes > INT64_MAX / row_bytes)
        return error_set(err, EFBIG, "the array is too large");
    g->member_bytes = g->sync_bytes = g->raid5.stripes * g->chunk_bytes;
    g->size_bytes = g->raid5.stripes * row_bytes;
    return 0;
}

static unsigned p_role(const struct raid_geometry *g, uint64_t stripe)
{
    unsigned step = (unsigned)(stripe % g->raid5.rotating);

    switch (rotation(g)) {
    case RAID5_LAYOUT_PARITY_FIRST:
        return 0;
    case RAID5_LAYOUT_PARITY_LAST:
        return g->raid5.data;
    case RAID5_LAYOUT_RIGHT_ASYMMETRIC:
    case RAID5_LAYOUT_RIGHT_SYMMETRIC:
        return step;
    default:
        return g->raid5.rotating - 1 - step;
    }
}

struct raid_stripe raid_geometry_stripe(const struct raid_geometry *g, uint64_t number)
{
    struct raid_stripe stripe = {.number = number, .q = g->raid_disks};

    assert(g->parity && number < g->raid5.stripes);
    stripe.p = p_role(g, number);
    if (g->parity == 2)
        stripe.q = q_is_last(g) ? g->raid_disks - 1 : (stripe.p + 1) % g->raid_disks;
    return stripe;
}

/* Of the roles that go round: the first behind P, and Q when that is there too. */
static unsigned behind_parity(const struct raid_geometry *g, const struct raid_stripe *stripe)
{
    return stripe->p + (g->parity == 2 && !q_is_last(g) ? 2 : 1);
}

unsigned raid_stripe_role(
    const struct raid_geometry *g, const struct raid_stripe *stripe, unsigned block)
{
    unsigned role = block;

    assert(block < g->raid_disks);
    if (block >= g->raid5.data)
        return block == g->raid5.data ? stripe->p : stripe->q;
    if (is_symmetric(g))
        return (behind_parity(g, stripe) + block) % g->raid5.rotating;
    role += role >= MIN(stripe->p, stripe->q);
    role += role >= MAX(stripe->p, stripe->q);
    return role;
}

unsigned raid_stripe_block(
    const struct raid_geometry *g, const struct raid_stripe *stripe, unsigned role)
{
    unsigned round = 2 * g->raid5.rotating;

    assert(role < g->raid_disks);
    if (role == stripe->p)
        return g->raid5.data;
    if (role == stripe->q)
        return g->raid5.data + 1;
    if (is_symmetric(g))
        return (role + round - behind_parity(g, stripe)) % g->raid5.rotating;
    return role - (role > stripe->p) - (role > stripe->q);
}

unsigned raid_stripe_exponent(
    const struct raid_geometry *g, const struct raid_stripe *stripe, unsigned block)
{
    unsigned n = g->raid_disks, role = raid_stripe_role(g, stripe, block);
    unsigned behind_q, p_behind_q;

    assert(block < g->raid5.data);
    if (g->parity == 1 || (MUTANT(Q_IN_DATA_ORDER) && rotation(g) == RAID5_LAYOUT_LEFT_ASYMMETRIC))
        return block;
    /* from the member behind Q on, round and round, without P */
    behind_q = (role + n - stripe->q - 1) % n;
    p_behind_q = (stripe->p + n - stripe->q - 1) % n;
    return behind_q - (behind_q > p_behind_q);
}

unsigned raid_stripe_block_of_exponent(
    const struct raid_geometry *g, const struct raid_stripe *stripe, unsigned exponent)
{
    unsigned block = 0;

    assert(exponent < g->raid5.data);
    while (raid_stripe_exponent(g, stripe, block) != exponent)
        block++;
    return block;
}

struct raid_place raid_geometry_place(const struct raid_geometry *g, uint64_t offset_bytes)
{
    uint64_t chunk = offset_bytes / g->chunk_bytes;

    assert(g->parity && offset_bytes < g->size_bytes);
    return (struct raid_place){
        .stripe = chunk / g->raid5.data,
        .block = (unsigned)(chunk % g->raid5.data),
        .offset_bytes = offset_bytes & (g->chunk_bytes - 1),
    };
}

static unsigned parity_map(const struct raid_geometry *g, uint64_t offset_bytes,
    struct raid_location *copies, uint64_t *run_bytes)
{
    struct raid_place place = raid_geometry_place(g, offset_bytes);
    struct raid_stripe stripe = raid_geometry_stripe(g, place.stripe);

    *copies = (struct raid_location){
        .role = raid_stripe_role(g, &stripe, place.block),
        .offset_bytes = place.stripe * g->chunk_bytes + place.offset_bytes,
    };
    *run_bytes = g->chunk_bytes - place.offset_bytes;
    return 1;
}

static bool parity_unmap(const struct raid_geometry *g, unsigned role, uint64_t member_offset_bytes,
    uint64_t *offset_bytes, unsigned *copy, uint64_t *run_bytes)
{
    uint64_t in_chunk = member_offset_bytes & (g->chunk_bytes - 1);
    uint64_t number = member_offset_bytes / g->chunk_bytes;
    struct raid_stripe stripe = raid_geometry_stripe(g, number);
    unsigned block = raid_stripe_block(g, &stripe, role);
    uint64_t start = number * g->raid5.data * g->chunk_bytes;

    *run_bytes = g->chunk_bytes - in_chunk;
    if (block < g->raid5.data) {
        *offset_bytes = start + block * g->chunk_bytes + in_chunk;
        *copy = 0;
    } else {
        *offset_bytes = start;
        *copy = block == g->raid5.data ? RAID_COPY_P : RAID_COPY_Q;
    }
    return true;
}

static uint64_t parity_member_bytes(const struct raid_geometry *g, unsigned role)
{
    return g->member_bytes;
}

const struct raid_level raid5_level = {
    .level = 5,
    .init = parity_init,
    .map = parity_map,
    .unmap = parity_unmap,
    .member_bytes = parity_member_bytes,
};

const struct raid_level raid6_level = {
    .level = 6,
    .init = parity_init,
    .map = parity_map,
    .unmap = parity_unmap,
    .member_bytes = parity_member_bytes,
};
