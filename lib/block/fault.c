/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pass-through device of tests. One mutex guards rules, log and the count of those held; it is
 * not held while an operation waits or runs below. Any worker.
 */
#include "block/fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "rt/worker.h"

struct armed_rule {
    struct list link;
    int id;
    unsigned matched; /* how often, the skipped included */
    struct fault_rule rule;
};

struct fault {
    struct blockdev dev;
    struct blockdev *lower;
    struct co_mutex mutex;
    struct list rules;
    int last_id;
    struct co_cond released, held_more;
    unsigned held, releases;
    struct fault_record *log;
    size_t logged, log_size;
};

static struct fault *fault_of(struct blockdev *d)
{
    return container_of(d, struct fault, dev);
}

static bool matches(const struct fault_rule *r, const struct block_op *op)
{
    if (r->kind != op->kind)
        return false;
    if (!r->length || op->kind == BLOCK_FLUSH)
        return true;
    return op->offset < r->offset + r->length && r->offset < op->offset + op->length;
}

/* Fills in the rule that acts on the operation; one of no effect when there is none. */
static void find_rule(struct fault *f, const struct block_op *op, struct fault_rule *acting)
{
    *acting = (struct fault_rule){0};
    co_mutex_lock(&f->mutex);
    list_for_each (link, &f->rules) {
        struct armed_rule *r = container_of(link, struct armed_rule, link);

        if (!matches(&r->rule, op))
            continue;
        r->matched++;
        if (r->matched <= r->rule.skip)
            continue;
        if (r->rule.times && r->matched > r->rule.skip + r->rule.times)
            continue;
        *acting = r->rule;
        break;
    }
    co_mutex_unlock(&f->mutex);
}

static void hold(struct fault *f)
{
    unsigned releases;

    co_mutex_lock(&f->mutex);
    releases = f->releases;
    f->held++;
    co_cond_broadcast(&f->held_more);
    while (releases == f->releases)
        co_cond_wait(&f->released, &f->mutex);
    co_mutex_unlock(&f->mutex);
}

/* Returns 0 or -ENOMEM, which fails the operation: a log with a gap would make tests lie. */
static int record(struct fault *f, const struct block_op *op)
{
    int rc = 0;

    co_mutex_lock(&f->mutex);
    if (f->logged == f->log_size) {
        size_t size = f->log_size ? 2 * f->log_size : 64;
        struct fault_record *log = reallocarray(f->log, size, sizeof *log);

        if (log) {
            f->log = log;
            f->log_size = size;
        } else {
            rc = -ENOMEM;
        }
    }
    if (!rc)
        f->log[f->logged++] = (struct fault_record){op->kind, op->flags, op->offset, op->length};
    co_mutex_unlock(&f->mutex);
    return rc;
}

static int pass(struct blockdev *d, struct block_op op)
{
    struct fault *f = fault_of(d);
    struct fault_rule rule;
    int rc;

    find_rule(f, &op, &rule);
    if (rule.hold)
        hold(f);
    if (rule.delay_ns)
        co_sleep_ns(rule.delay_ns);
    if (rule.error && !rule.after)
        return rule.error;
    rc = record(f, &op);
    op.dev = f->lower;
    if (!rc)
        rc = blockdev_run(&op, 1);
    return rule.error ? rule.error : rc;
}

static int fault_read(
    struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t length)
{
    return pass(d, (struct block_op){.kind = BLOCK_READ,
                       .iov = iov,
                       .iov_count = iov_count,
                       .offset = offset,
                       .length = length});
}

static int fault_write(struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset,
    uint64_t length, unsigned flags)
{
    return pass(d, (struct block_op){.kind = BLOCK_WRITE,
                       .flags = flags,
                       .iov = iov,
                       .iov_count = iov_count,
                       .offset = offset,
                       .length = length});
}

static int fault_flush(struct blockdev *d)
{
    return pass(d, (struct block_op){.kind = BLOCK_FLUSH});
}

static int fault_discard(struct blockdev *d, uint64_t offset, uint64_t length)
{
    return pass(d, (struct block_op){.kind = BLOCK_DISCARD, .offset = offset, .length = length});
}

static int fault_write_zeroes(struct blockdev *d, uint64_t offset, uint64_t length, unsigned flags)
{
    return pass(
        d, (struct block_op){
               .kind = BLOCK_WRITE_ZEROES, .flags = flags, .offset = offset, .length = length});
}

static int fault_extents(
    struct blockdev *d, uint64_t offset, uint64_t length, struct block_extent *extent)
{
    return blockdev_extents(fault_of(d)->lower, offset, length, extent);
}

static void fault_unused(struct blockdev *d, uint64_t offset, uint64_t length)
{
    blockdev_unused(fault_of(d)->lower, offset, length);
}

static void fault_close(struct blockdev *d)
{
    struct fault *f = fault_of(d);

    fault_clear(d);
    blockdev_close(f->lower);
    blockdev_fini(d);
    free(f->log);
    free(f);
}

static const struct blockdev_ops fault_ops = {
    .read = fault_read,
    .write = fault_write,
    .flush = fault_flush,
    .discard = fault_discard,
    .write_zeroes = fault_write_zeroes,
    .extents = fault_extents,
    .unused = fault_unused,
    .close = fault_close,
};

int fault_create(struct blockdev *lower, struct blockdev **d)
{
    struct fault *f = calloc(1, sizeof *f);

    if (!f || blockdev_init(&f->dev, &fault_ops, lower->name, lower->size_bytes) < 0) {
        free(f);
        return -ENOMEM;
    }
    f->lower = lower;
    f->dev.logical_block_bytes = lower->logical_block_bytes;
    f->dev.physical_block_bytes = lower->physical_block_bytes;
    f->dev.optimal_io_bytes = lower->optimal_io_bytes;
    f->dev.memory_align_bytes = lower->memory_align_bytes;
    f->dev.boundary_bytes = lower->boundary_bytes;
    f->dev.max_transfer_bytes = lower->max_transfer_bytes;
    f->dev.capabilities = lower->capabilities;
    list_init(&f->rules);
    co_mutex_init(&f->mutex);
    co_cond_init(&f->released);
    co_cond_init(&f->held_more);
    *d = &f->dev;
    return 0;
}

int fault_add(struct blockdev *d, const struct fault_rule *rule)
{
    struct fault *f = fault_of(d);
    struct armed_rule *r = malloc(sizeof *r);
    int id;

    if (!r)
        return -ENOMEM;
    co_mutex_lock(&f->mutex);
    id = ++f->last_id;
    *r = (struct armed_rule){.id = id, .rule = *rule};
    list_append(&f->rules, &r->link);
    co_mutex_unlock(&f->mutex);
    return id;
}

/* id 0: all. */
static void remove_rules(struct fault *f, int id)
{
    co_mutex_lock(&f->mutex);
    list_for_each_safe (link, &f->rules) {
        struct armed_rule *r = container_of(link, struct armed_rule, link);

        if (id && r->id != id)
            continue;
        list_remove(link);
        free(r);
    }
    co_mutex_unlock(&f->mutex);
}

void fault_remove(struct blockdev *d, int id)
{
    remove_rules(fault_of(d), id);
}

void fault_clear(struct blockdev *d)
{
    remove_rules(fault_of(d), 0);
}

void fault_release(struct blockdev *d)
{
    struct fault *f = fault_of(d);

    co_mutex_lock(&f->mutex);
    f->releases++;
    f->held = 0;
    co_cond_broadcast(&f->released);
    co_mutex_unlock(&f->mutex);
}

void fault_wait_held(struct blockdev *d, unsigned n)
{
    struct fault *f = fault_of(d);

    co_mutex_lock(&f->mutex);
    while (f->held < n)
        co_cond_wait(&f->held_more, &f->mutex);
    co_mutex_unlock(&f->mutex);
}

unsigned fault_log(struct blockdev *d, struct fault_record *records, unsigned max)
{
    struct fault *f = fault_of(d);
    unsigned logged;

    co_mutex_lock(&f->mutex);
    logged = (unsigned)f->logged;
    if (logged && max)
        memcpy(records, f->log, MIN(logged, max) * sizeof *records);
    co_mutex_unlock(&f->mutex);
    return logged;
}

void fault_log_clear(struct blockdev *d)
{
    struct fault *f = fault_of(d);

    co_mutex_lock(&f->mutex);
    f->logged = 0;
    co_mutex_unlock(&f->mutex);
}
