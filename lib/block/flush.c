/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Flushes that share: a flush covers all writes that had ended when it began. Those that arrive
 * while one runs wait, and all of them are served by the next, which the first of them leads. With
 * many writers the flush rate does not grow with their number. A failure goes to all that shared.
 *
 * The waiters' places are on their stacks; the leader does not touch one after waking it.
 */
#include "block/request.h"

#include "rt/worker.h"

struct flush_place {
    struct list link;
    struct co *co;
    bool ended; /* served by another's flush, result is set; else it leads the next */
    int result;
    struct list followers; /* of a leader */
};

/* True: the caller leads. False: another's flush has served it. */
static bool take_place(struct block_flushes *f, struct flush_place *p)
{
    spin_lock(&f->lock);
    if (!f->running) {
        f->running = true;
        spin_unlock(&f->lock);
        return true;
    }
    list_append(&f->waiting, &p->link);
    spin_unlock(&f->lock);
    co_suspend("flush");
    return !p->ended;
}

/* Whoever came first of the waiting leads the rest of them. */
static void pass_lead(struct block_flushes *f)
{
    struct flush_place *next = NULL;
    struct list *first;

    spin_lock(&f->lock);
    first = list_first(&f->waiting);
    f->running = first;
    if (first) {
        next = container_of(first, struct flush_place, link);
        list_remove(first);
        list_splice(&next->followers, &f->waiting);
    }
    spin_unlock(&f->lock);
    if (next)
        co_wake(next->co);
}

static void serve_followers(struct flush_place *leader, int result)
{
    list_for_each_safe (link, &leader->followers) {
        struct flush_place *p = container_of(link, struct flush_place, link);

        p->result = result;
        p->ended = true;
        co_wake(p->co);
    }
}

int flush_shared(struct blockdev *d)
{
    struct block_op op = {.kind = BLOCK_FLUSH, .dev = d};
    struct flush_place place = {.co = co_self()};
    int rc;

    list_init(&place.followers);
    if (!take_place(&d->flushes, &place))
        return place.result;
    rc = block_op_perform(&op);
    pass_lead(&d->flushes);
    serve_followers(&place, rc);
    return rc;
}
