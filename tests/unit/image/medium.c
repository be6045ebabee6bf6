/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "medium.h"

#include <stdlib.h>
#include <string.h>

#include "../rt/run.h"
#include "base/arith.h"
#include "block/member.h"

#define SECTOR 512u

static struct medium *medium_of(struct blockdev *d)
{
    return container_of(d, struct medium, dev);
}

static void let_others(struct medium *m)
{
    if (m->random)
        for (unsigned n = random_below(&m->random, 4); n; n--)
            co_yield ();
}

static unsigned begin(struct medium *m, enum block_kind kind, uint64_t offset, uint64_t length)
{
    if (m->count == m->room) {
        m->room = 2 * m->room + 64;
        m->entries = realloc(m->entries, m->room * sizeof *m->entries);
        m->ended = realloc(m->ended, m->room * sizeof *m->ended);
    }
    m->entries[m->count] = (struct medium_entry){kind, offset, length, NULL, ++m->now, 0};
    return m->count++;
}

static void end(struct medium *m, unsigned i)
{
    m->entries[i].end = ++m->now;
    m->ended[m->ended_count++] = i;
}

static void apply(uint8_t *to, const struct medium_entry *e, uint64_t at, uint64_t length)
{
    if (e->data)
        memcpy(to + e->offset + at, e->data + at, length);
    else
        memset(to + e->offset + at, 0, length);
}

static int read_medium(
    struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t length)
{
    let_others(medium_of(d));
    iov_copy_to(iov, iov_count, 0, medium_of(d)->bytes + offset, length);
    let_others(medium_of(d));
    return 0;
}

static int change(struct medium *m, unsigned i)
{
    let_others(m);
    apply(m->bytes, &m->entries[i], 0, m->entries[i].length);
    end(m, i);
    let_others(m);
    return 0;
}

static int write_medium(struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset,
    uint64_t length, unsigned flags)
{
    struct medium *m = medium_of(d);
    unsigned i = begin(m, BLOCK_WRITE, offset, length);

    m->entries[i].data = malloc(length);
    iov_copy_from(m->entries[i].data, iov, iov_count, 0, length);
    return change(m, i);
}

static int discard_medium(struct blockdev *d, uint64_t offset, uint64_t length)
{
    return change(medium_of(d), begin(medium_of(d), BLOCK_DISCARD, offset, length));
}

static int write_zeroes(struct blockdev *d, uint64_t offset, uint64_t length, unsigned flags)
{
    return change(medium_of(d), begin(medium_of(d), BLOCK_WRITE_ZEROES, offset, length));
}

static int flush_medium(struct blockdev *d)
{
    struct medium *m = medium_of(d);
    unsigned i = begin(m, BLOCK_FLUSH, 0, 0);

    let_others(m);
    end(m, i);
    let_others(m);
    return 0;
}

static void forget(struct medium *m)
{
    for (unsigned i = 0; i < m->count; i++)
        free(m->entries[i].data);
    m->count = m->ended_count = m->applied = m->now = 0;
}

static void close_medium(struct blockdev *d)
{
    struct medium *m = medium_of(d);

    forget(m);
    free(m->entries);
    free(m->ended);
    free(m->durable);
    free(m->bytes);
    blockdev_fini(d);
    free(m);
}

static const struct blockdev_ops medium_ops = {.read = read_medium,
    .write = write_medium,
    .flush = flush_medium,
    .discard = discard_medium,
    .write_zeroes = write_zeroes,
    .close = close_medium};

struct medium *medium_create(uint64_t size_bytes, uint64_t capacity_bytes, uint64_t seed)
{
    struct medium *m = calloc(1, sizeof *m);

    m->capacity = capacity_bytes;
    m->bytes = calloc(1, capacity_bytes);
    m->durable = malloc(capacity_bytes);
    m->random = seed;
    memset(m->bytes, 0xee, size_bytes);
    CU_ASSERT_EQUAL(blockdev_init(&m->dev, &medium_ops, "medium", size_bytes), 0);
    m->dev.capabilities = BLOCK_CAN_DISCARD | BLOCK_CAN_ZERO_FAST;
    return m;
}

void medium_grow(struct medium *m, uint64_t size_bytes)
{
    CU_ASSERT(size_bytes <= m->capacity);
    m->dev.size_bytes = MAX(size_bytes, m->dev.size_bytes);
}

void medium_record(struct medium *m)
{
    forget(m);
    memcpy(m->durable, m->bytes, m->capacity);
}

/* When the last flush began that has ended at the moment. */
static unsigned flushed(const struct medium *m, unsigned moment)
{
    unsigned begun = 0;

    for (unsigned i = 0; i < m->count; i++) {
        const struct medium_entry *e = &m->entries[i];

        if (e->kind == BLOCK_FLUSH && e->end && e->end <= moment)
            begun = MAX(begun, e->begin);
    }
    return begun;
}

/* Some of what was under way or volatile; in the order of their beginnings, as good as any. */
static void apply_some(struct medium *m, uint8_t *to, unsigned from, unsigned moment, bool all)
{
    uint64_t random = m->random ^ moment * UINT64_C(0x9e3779b97f4a7c15) ^ 1;

    for (unsigned i = 0; i < m->count && m->entries[i].begin <= moment; i++) {
        const struct medium_entry *e = &m->entries[i];

        if (e->end && e->end <= from)
            continue;
        for (uint64_t at = 0; at < e->length; at += SECTOR)
            if (all || random_below(&random, 2))
                apply(to, e, at, SECTOR);
    }
}

struct blockdev *medium_cut(struct medium *m, unsigned moment, enum medium_loss loss)
{
    unsigned from = flushed(m, moment);
    uint64_t bytes = m->dev.size_bytes;
    uint8_t *left = malloc(bytes);
    struct blockdev *d = NULL;

    for (; m->applied < m->ended_count; m->applied++) {
        const struct medium_entry *e = &m->entries[m->ended[m->applied]];

        if (e->end > from)
            break;
        apply(m->durable, e, 0, e->length);
    }
    memcpy(left, m->durable, bytes);
    if (loss != MEDIUM_LOSES_ALL)
        apply_some(m, left, from, moment, loss == MEDIUM_LOSES_NOTHING);
    CU_ASSERT_EQUAL(member_memory("after the cut", bytes, SECTOR, &d), 0);
    CU_ASSERT_EQUAL(blockdev_write(d, left, 0, bytes, 0), 0);
    free(left);
    return d;
}
