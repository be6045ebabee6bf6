/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A request enters the gate, is cut where the map says, and its pieces go down side by side in
 * batches; nothing is allocated. Buffers, flags and durability are the PVs' business: each piece
 * passes their wrapper.
 */
#include "lvm/volume.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"

#define BATCH 8

struct volume {
    struct blockdev dev;
    struct gate gate;
    struct volume_map *map;
};

static struct volume *volume_of(struct blockdev *d)
{
    return container_of(d, struct volume, dev);
}

/* One request on its way through the map. */
struct request {
    enum block_kind kind;
    unsigned flags;
    const struct iovec *iov; /* NULL: discard, write_zeroes */
    int iov_count;
    uint64_t start, done, length;
};

struct batch {
    struct block_op ops[BATCH];
    struct iovec slices[IOV_SEGMENTS_MAX + BATCH];
    unsigned count;
    int slices_used;
};

static void add_piece(struct batch *b, struct request *r, const struct map_piece *piece)
{
    struct block_op *op = &b->ops[b->count++];
    struct iovec *slices = &b->slices[b->slices_used];

    *op = (struct block_op){.kind = r->kind,
        .flags = r->flags,
        .dev = piece->dev,
        .offset = piece->offset_bytes,
        .length = piece->length_bytes};
    if (r->iov) {
        op->iov = slices;
        op->iov_count = iov_slice(slices, r->iov, r->iov_count, r->done, piece->length_bytes);
        b->slices_used += op->iov_count;
    }
    r->done += piece->length_bytes;
}

/* Pieces for the next batch: at least one, unless the volume has become too short. */
static int fill(struct batch *b, const struct volume_map *map, struct request *r)
{
    struct map_piece piece;

    b->count = 0;
    b->slices_used = 0;
    while (r->done < r->length && b->count < BATCH) {
        if (!volume_map_find(map, r->start + r->done, r->length - r->done, &piece))
            return -EIO;
        add_piece(b, r, &piece);
    }
    return 0;
}

static int run(struct blockdev *d, struct request *r)
{
    struct volume *v = volume_of(d);
    struct batch b;
    int rc = 0;

    gate_enter(&v->gate);
    while (!rc && r->done < r->length) {
        rc = fill(&b, v->map, r);
        if (!rc)
            rc = blockdev_run(b.ops, b.count);
    }
    gate_leave(&v->gate);
    return rc;
}

static int volume_read(
    struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t length)
{
    struct request r = {
        .kind = BLOCK_READ, .iov = iov, .iov_count = iov_count, .start = offset, .length = length};

    return run(d, &r);
}

static int volume_write(struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset,
    uint64_t length, unsigned flags)
{
    struct request r = {.kind = BLOCK_WRITE,
        .flags = flags,
        .iov = iov,
        .iov_count = iov_count,
        .start = offset,
        .length = length};

    return run(d, &r);
}

static int volume_discard(struct blockdev *d, uint64_t offset, uint64_t length)
{
    struct request r = {.kind = BLOCK_DISCARD, .start = offset, .length = length};

    return run(d, &r);
}

static int volume_write_zeroes(struct blockdev *d, uint64_t offset, uint64_t length, unsigned flags)
{
    struct request r = {
        .kind = BLOCK_WRITE_ZEROES, .flags = flags, .start = offset, .length = length};

    return run(d, &r);
}

static int volume_flush(struct blockdev *d)
{
    struct volume *v = volume_of(d);
    struct block_op ops[BATCH];
    int rc = 0;

    gate_enter(&v->gate);
    for (unsigned i = 0, n; i < v->map->dev_count; i += n) {
        n = MIN(v->map->dev_count - i, (unsigned)BATCH);
        for (unsigned k = 0; k < n; k++)
            ops[k] = (struct block_op){.kind = BLOCK_FLUSH, .dev = v->map->devs[i + k]};
        rc = blockdev_run(ops, n) ?: rc;
    }
    gate_leave(&v->gate);
    return rc;
}

static int volume_extents(
    struct blockdev *d, uint64_t offset, uint64_t length, struct block_extent *extent)
{
    struct volume *v = volume_of(d);
    struct map_piece piece;
    int rc = -EIO;

    gate_enter(&v->gate);
    if (volume_map_find(v->map, offset, length, &piece))
        rc = blockdev_extents(piece.dev, piece.offset_bytes, piece.length_bytes, extent);
    gate_leave(&v->gate);
    return rc;
}

static void volume_unused(struct blockdev *d, uint64_t offset, uint64_t length)
{
    struct volume *v = volume_of(d);
    struct map_piece piece;

    gate_enter(&v->gate);
    for (; length && volume_map_find(v->map, offset, length, &piece);
         offset += piece.length_bytes, length -= piece.length_bytes)
        blockdev_unused(piece.dev, piece.offset_bytes, piece.length_bytes);
    gate_leave(&v->gate);
}

static void volume_close(struct blockdev *d)
{
    struct volume *v = volume_of(d);

    volume_map_free(v->map);
    blockdev_fini(d);
    free(v);
}

static const struct blockdev_ops volume_ops = {
    .read = volume_read,
    .write = volume_write,
    .flush = volume_flush,
    .discard = volume_discard,
    .write_zeroes = volume_write_zeroes,
    .extents = volume_extents,
    .unused = volume_unused,
    .close = volume_close,
};

static void inherit(struct blockdev *d, const struct volume_map *map)
{
    uint32_t all = BLOCK_CAN_DISCARD | BLOCK_CAN_ZERO_FAST, any = 0;

    for (unsigned i = 0; i < map->dev_count; i++) {
        const struct blockdev *pv = map->devs[i];

        d->logical_block_bytes = MAX(d->logical_block_bytes, pv->logical_block_bytes);
        d->physical_block_bytes = MAX(d->physical_block_bytes, pv->physical_block_bytes);
        d->optimal_io_bytes = MAX(d->optimal_io_bytes, pv->optimal_io_bytes);
        all &= pv->capabilities;
        any |= pv->capabilities & (BLOCK_ROTATIONAL | BLOCK_READ_ONLY);
    }
    /* A PV that lacks FUA follows the write by a flush of itself, which is less than one of all. */
    d->capabilities = all | any | BLOCK_CAN_FUA;
}

int volume_create(
    const char *name, struct volume_map *map, bool read_only, struct blockdev **volume)
{
    struct volume *v =
        aligned_alloc(_Alignof(struct volume), round_up(sizeof *v, _Alignof(struct volume)));

    if (!v)
        return -ENOMEM;
    memset(v, 0, sizeof *v);
    int rc = blockdev_init(&v->dev, &volume_ops, name, map->size_bytes);
    if (rc) {
        free(v);
        return rc;
    }
    inherit(&v->dev, map);
    if (read_only)
        v->dev.capabilities |= BLOCK_READ_ONLY;
    gate_init(&v->gate);
    v->map = map;
    *volume = &v->dev;
    return 0;
}

void volume_set_map(struct blockdev *volume, struct volume_map *map)
{
    struct volume *v = volume_of(volume);
    struct volume_map *old = v->map;

    gate_close(&v->gate);
    v->map = map;
    volume->size_bytes = map->size_bytes;
    gate_open(&v->gate);
    volume_map_free(old);
}
