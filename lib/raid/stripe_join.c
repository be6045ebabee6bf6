/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Joining and admission of writes to stripes; see stripe_join.h. */
#include "raid/stripe_join.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SHARDS              64u
#define WORKER_MEMORY_BYTES (UINT64_C(64) << 20)
#define MORE_NS             UINT64_C(20000000) /* that a part waits for more, at most */

struct shard {
    _Alignas(64) struct spinlock lock;
    struct list leaders; /* one for each stripe that is being written */
};

/* Seen by its worker alone. */
struct memory {
    _Alignas(64) uint64_t used_bytes;
    struct list waiting; /* struct applicant */
};

struct stripe_joins {
    struct shard shards[SHARDS];
    struct memory memory[WORKERS_MAX];
};

int stripe_join_init(struct array *a)
{
    struct stripe_joins *j = aligned_alloc(_Alignof(struct stripe_joins), sizeof *j);

    if (!j)
        return -ENOMEM;
    memset(j, 0, sizeof *j);
    for (unsigned i = 0; i < SHARDS; i++)
        list_init(&j->shards[i].leaders);
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        list_init(&j->memory[i].waiting);
    a->joins = j;
    return 0;
}

void stripe_join_destroy(struct array *a)
{
    free(a->joins);
}

/* --- joining --- */

static struct shard *shard_of(struct array *a, uint64_t stripe)
{
    return &a->joins->shards[stripe % SHARDS];
}

/* The lock is held. */
static struct stripe_part *find_leader(struct shard *shard, uint64_t stripe)
{
    list_for_each (link, &shard->leaders) {
        struct stripe_part *p = container_of(link, struct stripe_part, link);
        if (p->stripe == stripe)
            return p;
    }
    return NULL;
}

static bool is_whole(const struct array *a, const struct stripe_part *leader)
{
    return leader->bytes >= a->geometry.chunk_bytes * a->geometry.raid5.data;
}

/* The lock is held. */
static void join(struct array *a, struct stripe_part *leader, struct stripe_part *p)
{
    list_append(&leader->waiting, &p->link);
    leader->bytes += p->bytes;
    if (leader->waits && is_whole(a, leader))
        co_event_set(&leader->more);
}

static bool is_being_written(struct array *a, uint64_t stripe)
{
    struct shard *shard = shard_of(a, stripe);
    bool found;

    spin_lock(&shard->lock);
    found = find_leader(shard, stripe);
    spin_unlock(&shard->lock);
    return found;
}

/* Says whether it waits: not when the stripe is whole. */
static bool set_waits(struct array *a, struct stripe_part *leader, bool waits)
{
    struct shard *shard = shard_of(a, leader->stripe);

    spin_lock(&shard->lock);
    leader->waits = waits = waits && !is_whole(a, leader);
    spin_unlock(&shard->lock);
    return waits;
}

/* Until the stripe is whole, the one before has been written, or a moment has passed. */
static void wait_for_more(struct array *a, struct stripe_part *leader)
{
    if (!leader->stripe || !set_waits(a, leader, true))
        return;
    if (is_being_written(a, leader->stripe - 1))
        co_event_wait_until(&leader->more, rt_now_ns() + MORE_NS);
    set_waits(a, leader, false);
}

bool stripe_join(struct array *a, struct stripe_part *p)
{
    struct shard *shard = shard_of(a, p->stripe);
    struct stripe_part *leader;

    p->co = co_self();
    p->bytes = p->end - p->start;
    p->waits = false;
    list_init(&p->waiting);
    co_event_init(&p->more);
    spin_lock(&shard->lock);
    leader = find_leader(shard, p->stripe);
    p->leads = !leader;
    if (leader)
        join(a, leader, p);
    else
        list_append(&shard->leaders, &p->link);
    spin_unlock(&shard->lock);
    if (leader)
        co_suspend("stripe");
    if (p->leads)
        co_yield ();
    if (!leader)
        wait_for_more(a, p);
    return p->leads;
}

unsigned stripe_join_take(
    struct array *a, struct stripe_part *leader, struct stripe_part **parts, unsigned max)
{
    struct shard *shard = shard_of(a, leader->stripe);
    struct list *link;
    unsigned count = 0;

    parts[count++] = leader;
    spin_lock(&shard->lock);
    while (count < max && (link = list_first(&leader->waiting))) {
        list_remove(link);
        parts[count++] = container_of(link, struct stripe_part, link);
    }
    spin_unlock(&shard->lock);
    return count;
}

/* The first of those who wait now leads the others. */
static void hand_over(struct array *a, struct stripe_part *leader)
{
    struct shard *shard = shard_of(a, leader->stripe);
    struct stripe_part *next = NULL;
    struct list *link;

    spin_lock(&shard->lock);
    list_remove(&leader->link);
    link = list_first(&leader->waiting);
    if (link) {
        next = container_of(link, struct stripe_part, link);
        list_remove(link);
        next->leads = true;
        list_splice(&next->waiting, &leader->waiting);
        list_append(&shard->leaders, &next->link);
    }
    spin_unlock(&shard->lock);
    if (next)
        co_wake(next->co);
}

/* Whoever waits for more in the stripe behind has waited enough. */
static void let_next_go(struct array *a, uint64_t stripe)
{
    struct shard *shard = shard_of(a, stripe);
    struct stripe_part *leader;

    spin_lock(&shard->lock);
    leader = find_leader(shard, stripe);
    if (leader && leader->waits)
        co_event_set(&leader->more);
    spin_unlock(&shard->lock);
}

void stripe_join_end(struct array *a, struct stripe_part *leader, struct stripe_part *const *parts,
    unsigned count, int result)
{
    for (unsigned i = 0; i < count; i++)
        parts[i]->result = result;
    hand_over(a, leader);
    let_next_go(a, leader->stripe + 1);
    for (unsigned i = 0; i < count; i++)
        if (parts[i] != leader)
            co_wake(parts[i]->co);
}

/* --- admission --- */

/* On the stack of who waits. */
struct applicant {
    struct list link;
    uint64_t bytes;
    struct co *co;
};

static struct memory *own_memory(struct array *a)
{
    return &a->joins->memory[worker_index(worker_self())];
}

static bool has_room(const struct memory *m, uint64_t bytes)
{
    return !m->used_bytes || m->used_bytes + bytes <= WORKER_MEMORY_BYTES;
}

void stripe_memory_take(struct array *a, uint64_t bytes)
{
    struct memory *m = own_memory(a);
    struct applicant self = {.bytes = bytes, .co = co_self()};

    if (list_empty(&m->waiting) && has_room(m, bytes)) {
        m->used_bytes += bytes;
        return;
    }
    list_append(&m->waiting, &self.link);
    co_suspend("memory for stripes");
}

void stripe_memory_give(struct array *a, uint64_t bytes)
{
    struct memory *m = own_memory(a);
    struct list *link;

    m->used_bytes -= bytes;
    while ((link = list_first(&m->waiting))) {
        struct applicant *next = container_of(link, struct applicant, link);

        if (!has_room(m, next->bytes))
            break;
        m->used_bytes += next->bytes;
        list_remove(link);
        co_wake(next->co);
    }
}
