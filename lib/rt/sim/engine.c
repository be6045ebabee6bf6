/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The simulated engine: ios on simulated disks, each of which takes two steps in virtual time. At
 * the first it reaches the disk (data moves, or it fails); at the second it has ended, and its
 * worker hears of it at its next turn, in an order of the seed's choosing. Ios overtake one another
 * freely.
 *
 * A machine is cut off at a chosen write: before it reaches the disk, when a part of it has, or
 * after all has but nobody has heard of it.
 */
#include <assert.h>
#include <errno.h>

#include "rt/sim/file.h"
#include "rt/sim/machine.h"
#include "rt/sim/site.h"

#define IN_FLIGHT_MAX 4096

enum op_state { OP_ON_ITS_WAY, OP_REACHED, OP_ENDED };

struct op {
    enum op_state state;
    struct io *io;
    struct sim_thread *thread;
    uint64_t next_ns;
    uint64_t flush; /* what it covers */
    enum sim_phase cut;
    struct sim_site *site;
};

static struct op *ops; /* [IN_FLIGHT_MAX], of which none is looked at beyond op_count */
static unsigned op_count;

void engine_init(void)
{
    ops = sim_keep(IN_FLIGHT_MAX * sizeof *ops);
}

static int sim_create(struct engine **e)
{
    struct sim_thread *t = thread_self();

    t->engine.ops = &engine_sim;
    *e = &t->engine;
    return 0;
}

static void sim_destroy(struct engine *e)
{
}

/* Mostly quick, now and then far from it. */
static uint64_t latency_ns(void)
{
    struct sim_random *r = sim_stream(SIM_SCHEDULE);

    return sim_one_in(r, 32) ? sim_below(r, 5000000) : 5000 + sim_below(r, 100000);
}

static void set_next(struct op *op)
{
    const struct sim_disk *d = op->io->file->disk;

    op->next_ns = sim->now_ns + latency_ns();
    if (op->next_ns < d->stalled_until_ns)
        op->next_ns = d->stalled_until_ns;
}

static const char *const kind_names[] = {"read", "write", "flush", "discard", "zero"};

static uint64_t io_length(const struct io *io)
{
    uint64_t length = io->length;

    if (io->kind == IO_READ || io->kind == IO_WRITE) {
        length = 0;
        for (int i = 0; i < io->iov_count; i++)
            length += io->iov[i].iov_len;
    }
    return length;
}

static void sim_submit(struct engine *e, struct io *io)
{
    struct op *op = &ops[op_count];
    struct sim_disk *d = io->file->disk;

    if (op_count == IN_FLIGHT_MAX)
        sim_fail("more than %d ios in flight", IN_FLIGHT_MAX);
    op_count++;
    *op = (struct op){.io = io, .thread = thread_self(), .cut = SIM_PHASES};
    io->length = io_length(io);
    sim->counts.ios++;
    sim_hash((uint64_t)io->kind << 60 ^ io->offset << 20 ^ io->length);
    SIM_TRACE("%s %s %llu+%llu%s", d->path, kind_names[io->kind], (unsigned long long)io->offset,
        (unsigned long long)io->length, io->flags & IO_FUA && io->kind == IO_WRITE ? " fua" : "");
    if (io->kind != IO_READ) {
        op->site = site_note(kind_names[io->kind]);
        op->cut = site_cut_due();
    }
    if (op->cut == SIM_BEFORE) {
        op_count--;
        site_cut(op->site, SIM_BEFORE);
    }
    if (io->kind == IO_SYNC)
        op->flush = sim_disk_flush_begin(d);
    set_next(op);
}

static void apply(struct op *op)
{
    struct io *io = op->io;
    struct sim_disk *d = io->file->disk;
    uint64_t number;

    if (io->kind == IO_SYNC) {
        sim_disk_flushed(d, op->flush);
        return;
    }
    number = sim_disk_apply(d, io, sim_stream(SIM_MEDIUM));
    if (number && io->flags & IO_FUA && io->kind == IO_WRITE)
        sim_disk_durable(d, number);
}

static void reach_disk(struct op *op)
{
    struct io *io = op->io;
    struct sim_disk *d = io->file->disk;

    io->result = io->kind == IO_WRITE_ZEROES && io->flags & IO_FAST && !d->can_zero
                     ? -EOPNOTSUPP
                     : sim_disk_fault(d, io->kind, io->offset, io->length);
    op->state = OP_REACHED;
    if (op->cut == SIM_DURING) {
        /* a kill leaves a disk alone: what it is to make durable, it does */
        if (sim->cut.kill && io->flags & IO_FUA && !io->result)
            apply(op);
        else if (io->kind != IO_SYNC)
            sim_disk_apply_torn(d, io, sim_stream(SIM_MEDIUM));
        op->state = OP_ENDED;
        site_cut(op->site, SIM_DURING);
    }
    if (!io->result)
        apply(op);
    else if (io->result != -EOPNOTSUPP && io->kind != IO_SYNC && io->kind != IO_READ &&
             d->present && sim_one_in(sim_stream(SIM_MEDIUM), 2))
        sim_disk_apply_torn(d, io, sim_stream(SIM_MEDIUM));
    if (io->result)
        SIM_TRACE("%s %s %llu+%llu fails: %d", d->path, kind_names[io->kind],
            (unsigned long long)io->offset, (unsigned long long)io->length, io->result);
    if (op->cut == SIM_AFTER)
        site_cut(op->site, SIM_AFTER);
    set_next(op);
}

static struct op *next_op(void)
{
    struct op *next = NULL;

    for (unsigned i = 0; i < op_count; i++)
        if (ops[i].state != OP_ENDED && (!next || ops[i].next_ns < next->next_ns))
            next = &ops[i];
    return next;
}

uint64_t io_next_ns(void)
{
    const struct op *op = next_op();

    return op ? op->next_ns : UINT64_MAX;
}

void io_happen(void)
{
    struct op *op = next_op();

    assert(op);
    if (op->state == OP_ON_ITS_WAY)
        reach_disk(op);
    else
        op->state = OP_ENDED;
}

bool io_ended_for(const struct sim_thread *t)
{
    for (unsigned i = 0; i < op_count; i++)
        if (ops[i].state == OP_ENDED && ops[i].thread == t)
            return true;
    return false;
}

/* One of those that have ended for this thread; NULL: none. */
static struct io *take_ended(const struct sim_thread *t)
{
    struct op *chosen = NULL;
    unsigned count = 0;
    struct io *io;

    for (unsigned i = 0; i < op_count; i++)
        if (ops[i].state == OP_ENDED && ops[i].thread == t &&
            (++count == 1 || sim_one_in(sim_stream(SIM_SCHEDULE), count)))
            chosen = &ops[i];
    if (!chosen)
        return NULL;
    io = chosen->io;
    *chosen = ops[--op_count];
    return io;
}

static void sim_turn(struct engine *e, uint64_t timeout_ns)
{
    struct sim_thread *t = thread_self();
    struct io *io;

    thread_wait(timeout_ns == UINT64_MAX ? UINT64_MAX : sim->now_ns + timeout_ns);
    while ((io = take_ended(t)))
        io->done(io);
}

static void sim_interrupt(struct engine *e)
{
    container_of(e, struct sim_thread, engine)->interrupted = true;
}

/* Descriptors are the host's. */
static void sim_poll_add(struct engine *e, struct io_poll *p)
{
    sim_fail("somebody waits for descriptor %d", p->fd);
}

static void sim_poll_cancel(struct engine *e, struct io_poll *p)
{
}

void io_cut_off(bool kill)
{
    for (unsigned i = 0; i < op_count; i++) {
        struct op *op = &ops[i];
        struct sim_disk *d = op->io->file->disk;

        if (op->state != OP_ON_ITS_WAY || op->io->kind == IO_READ || op->io->kind == IO_SYNC ||
            !d->present)
            continue;
        if (!kill)
            sim_disk_apply_torn(d, op->io, sim_stream(SIM_MEDIUM));
        else if (sim_one_in(sim_stream(SIM_MEDIUM), 2))
            apply(op);
    }
}

const struct engine_ops engine_sim = {
    .name = "sim",
    .create = sim_create,
    .submit = sim_submit,
    .poll_add = sim_poll_add,
    .poll_cancel = sim_poll_cancel,
    .turn = sim_turn,
    .interrupt = sim_interrupt,
    .destroy = sim_destroy,
};
