/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening and closing a qcow2 image, and its block device.
 *
 * An image in use says so on the disk (dirty). One that is found so was not closed: its refcounts,
 * which may be too high, are put right by a check before anything else. Closing commits the map,
 * lets freed clusters be released, writes refcounts that only went down, and takes the mark away.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "image/check.h"
#include "image/image.h"
#include "image/snapshot.h"
#include "image/snapshot.h"

#define MAP_BYTES      (UINT64_C(256) << 20)
#define AHEAD_BYTES    (UINT64_C(64) << 20)
#define SPACE_WAIT_NS  UINT64_C(30000000000)
#define CLAIM_SHIFT    21   /* claims of the same 2 MiB meet in one shard */
#define SNAPSHOT_BYTES 2048 /* names and extra data are short */
#define HEADER_BYTES   65536

static int image_flush(struct blockdev *d)
{
    return image_commit(qcow2_of(d));
}

static void image_close(struct blockdev *d)
{
    qcow2_close(qcow2_of(d));
}

static const struct blockdev_ops image_ops = {.read = image_read,
    .write = image_write,
    .flush = image_flush,
    .discard = image_discard,
    .write_zeroes = image_write_zeroes,
    .extents = image_extents,
    .close = image_close};

static int read_header(struct blockdev *file, struct qcow2_header *h, struct error *err)
{
    uint64_t bytes = MIN(file->size_bytes, (uint64_t)HEADER_BYTES);
    uint8_t *buf = malloc(bytes);
    int rc = buf ? blockdev_read_bytes(file, buf, 0, bytes) : -ENOMEM;

    if (rc)
        error_set(err, -rc, "cannot read the image's header");
    else
        rc = qcow2_header_read(h, buf, bytes, file->size_bytes, err);
    free(buf);
    return rc;
}

static int read_l1(struct qcow2 *q, struct error *err)
{
    uint64_t bytes = 8 * (uint64_t)q->map.count;
    uint8_t *buf = malloc(MAX(bytes, UINT64_C(1)));
    int rc = buf ? blockdev_read_bytes(q->file, buf, q->header.l1_offset, bytes) : -ENOMEM;

    for (unsigned i = 0; !rc && i < q->map.count; i++)
        q->map.slots[i].word = get_be64(buf + 8 * (uint64_t)i);
    free(buf);
    return rc ? error_set(err, -rc, "cannot read the image's L1 table") : 0;
}

static int read_snapshots(struct qcow2 *q, struct error *err)
{
    const struct qcow2_header *h = &q->header;
    uint64_t bytes = (uint64_t)h->snapshot_count * SNAPSHOT_BYTES;
    size_t used;
    uint8_t *buf;
    int rc;

    if (!h->snapshot_count)
        return 0;
    if (h->snapshots_offset > q->file->size_bytes)
        return error_set(err, EBADMSG, "the image's snapshots lie beyond its end");
    bytes = MIN(bytes, q->file->size_bytes - h->snapshots_offset);
    buf = malloc(bytes);
    rc = buf ? blockdev_read_bytes(q->file, buf, h->snapshots_offset, bytes) : -ENOMEM;
    if (rc)
        error_set(err, -rc, "cannot read the image's snapshots");
    else
        rc = qcow2_snapshots_read(
            &q->snapshots, h->snapshot_count, buf, bytes, h->size_bytes, &used, err);
    free(buf);
    return rc;
}

/* The header of an image of which the snapshot is the active disk. */
static int choose_snapshot(struct qcow2 *q, struct error *err)
{
    const struct qcow2_snapshot *s;
    int i, rc = read_snapshots(q, err);

    assert(q->options.read_only);
    if (rc)
        return rc;
    i = snapshot_find(q, q->options.snapshot, err);
    if (i < 0)
        return i;
    s = &q->snapshots[i];
    q->header.l1_offset = s->l1_offset;
    q->header.l1_entries = s->l1_entries;
    q->header.size_bytes = s->size_bytes;
    return 0;
}

static int refuse(const struct qcow2 *q, struct error *err)
{
    const struct qcow2_header *h = &q->header;

    if (h->l1_entries < qcow2_l1_entries(&q->g, h->size_bytes))
        return error_set(err, EBADMSG, "the image's L1 table is too short for its size");
    if (q->options.read_only)
        return 0;
    if (h->incompatible & QCOW2_CORRUPT)
        return error_set(err, EUCLEAN, "the image is marked corrupt (it can be read, or repaired)");
    if (h->version < 3)
        return error_set(err, EROFS, "images of version 2 can only be read");
    if (subcluster_bytes(q) < q->file->logical_block_bytes)
        return error_set(
            err, EINVAL, "the image's clusters are smaller than the blocks of %s", q->file->name);
    if (h->backing_name && !q->backing)
        return error_set(
            err, EINVAL, "the image lies over %s, which is not given", h->backing_name);
    return 0;
}

/* Refcounts whose blocks are missing take some: a file made by QEMU ends where its data does. */
static int check_with_room(struct qcow2 *q, struct check_result *result, struct error *err)
{
    const struct qcow2_options *o = &q->options;
    int rc = qcow2_check(q->file, CHECK_REPAIR_LEAKS, NULL, NULL, result, err);

    if (rc != -ENOSPC || !o->file_ops->grow)
        return rc;
    rc = o->file_ops->grow(o->file_arg, q->file->size_bytes + result->room_needed_bytes);
    if (rc)
        return error_set(err, -rc, "the image was not closed, and there is no room to repair it");
    return qcow2_check(q->file, CHECK_REPAIR_LEAKS, NULL, NULL, result, err);
}

/* One that was not closed. */
static int put_right(struct qcow2 *q, struct error *err)
{
    struct check_result *result;
    int rc;

    if (q->options.read_only || !(q->header.incompatible & QCOW2_DIRTY))
        return 0;
    result = calloc(1, sizeof *result);
    if (!result)
        return -ENOMEM;
    rc = check_with_room(q, result, err);
    free(result);
    if (rc)
        return rc;
    qcow2_header_free(&q->header);
    memset(&q->header, 0, sizeof q->header);
    rc = read_header(q->file, &q->header, err);
    if (!rc && q->header.incompatible & QCOW2_DIRTY)
        rc = error_set(
            err, EUCLEAN, "the image was not closed, and its refcounts cannot be put right");
    return rc;
}

static void set_defaults(struct qcow2 *q)
{
    static const struct qcow2_file_ops none;
    struct qcow2_options *o = &q->options;

    o->map_bytes_max = o->map_bytes_max ?: MAP_BYTES;
    o->ahead_bytes = o->ahead_bytes ?: AHEAD_BYTES;
    o->space_wait_ns = o->space_wait_ns ?: SPACE_WAIT_NS;
    o->file_ops = o->file_ops ?: &none;
}

static void init_parts(struct qcow2 *q)
{
    co_mutex_init(&q->admin);
    co_mutex_init(&q->control);
    co_event_init(&q->reported);
    co_event_set(&q->reported);
    gate_init(&q->gate);
    grace_init(&q->grace);
    range_lock_init(&q->claims, CLAIM_SHIFT);
    space_init(q);
    reaper_init(q);
}

static int init_device(struct qcow2 *q, const char *name)
{
    struct blockdev *file = q->file, *backing = q->backing;
    int rc = blockdev_init(&q->dev, &image_ops, name, round_down(q->header.size_bytes, 512));

    if (rc)
        return rc;
    q->dev.logical_block_bytes = file->logical_block_bytes;
    q->dev.memory_align_bytes = file->memory_align_bytes;
    if (backing) {
        q->dev.logical_block_bytes = MAX(q->dev.logical_block_bytes, backing->logical_block_bytes);
        q->dev.memory_align_bytes = MAX(q->dev.memory_align_bytes, backing->memory_align_bytes);
    }
    q->dev.size_bytes = round_down(q->header.size_bytes, q->dev.logical_block_bytes);
    q->dev.physical_block_bytes = MAX(file->physical_block_bytes, 4096u);
    q->dev.optimal_io_bytes = file->optimal_io_bytes;
    q->dev.capabilities = BLOCK_CAN_DISCARD | BLOCK_CAN_ZERO_FAST | BLOCK_CAN_FUA |
                          (file->capabilities & BLOCK_ROTATIONAL) |
                          (q->options.read_only ? BLOCK_READ_ONLY : 0);
    return 0;
}

void image_limit_tables(struct qcow2 *q)
{
    atomic_store(&q->map.tables_max,
        (unsigned)MAX(q->options.map_bytes_max >> q->g.cluster_bits, UINT64_C(4)));
}

/* A file may end inside its last cluster, which is written as a whole some day. */
static int complete_last_cluster(struct qcow2 *q, struct error *err)
{
    uint64_t bytes = round_up(q->file->size_bytes, cluster_bytes(q));
    int rc = 0;

    if (bytes > q->file->size_bytes && q->options.file_ops->grow)
        rc = q->options.file_ops->grow(q->options.file_arg, bytes);
    return rc ? error_set(err, -rc, "no room for the rest of the image's last cluster") : 0;
}

static int open_for_writing(struct qcow2 *q, struct error *err)
{
    int rc = complete_last_cluster(q, err);

    if (!rc)
        rc = clusters_init(q, err);
    if (!rc)
        rc = metadata_init(q, err);
    if (!rc)
        snapshots_keep(q);
    else if (rc == -EUCLEAN)
        header_say_corrupt(q);
    return rc;
}

/* With a header that was read. */
static int open_parts(struct qcow2 *q, struct error *err)
{
    int rc;

    qcow2_geometry_init(&q->g, &q->header);
    atomic_store(&q->snapshot_count, q->header.snapshot_count);
    atomic_store(&q->corrupt, q->header.incompatible & QCOW2_CORRUPT);
    rc = q->options.snapshot ? choose_snapshot(q, err) : 0;
    if (!rc)
        rc = refuse(q, err);
    if (!rc)
        rc = put_right(q, err);
    if (!rc)
        rc = map_init(q);
    if (!rc)
        rc = read_l1(q, err);
    if (!rc && !q->options.snapshot)
        rc = read_snapshots(q, err);
    if (!rc && !q->options.read_only)
        rc = open_for_writing(q, err);
    if (!rc)
        image_limit_tables(q);
    return rc;
}

static void free_image(struct qcow2 *q)
{
    map_free_tables(&q->map);
    clusters_free(q);
    qcow2_snapshots_free(q->snapshots, q->header.snapshot_count);
    qcow2_header_free(&q->header);
    free(q);
}

int qcow2_open(struct qcow2 **result, struct blockdev *file, const char *name,
    const struct qcow2_options *options, struct error *err)
{
    struct qcow2 *q = calloc(1, sizeof *q);
    int rc;

    if (!q)
        return -ENOMEM;
    q->file = file;
    q->backing = options->backing;
    q->options = *options;
    set_defaults(q);
    init_parts(q);
    rc = read_header(file, &q->header, err);
    if (!rc)
        rc = open_parts(q, err);
    if (!rc)
        rc = init_device(q, name);
    if (rc) {
        free_image(q);
        return rc;
    }
    *result = q;
    return 0;
}

/* All is durable, and the mark goes. */
static int finish(struct qcow2 *q)
{
    struct qcow2_header h;
    int rc;

    atomic_store(&q->closing, true);
    space_end(q);
    co_event_wait(&q->reported);
    co_mutex_lock(&q->control);
    rc = atomic_load(&q->marked) ? commit_locked(q, false) : atomic_load(&q->broken) ? -EIO : 0;
    co_mutex_unlock(&q->control);
    reaper_end(q);
    if (rc || !atomic_load(&q->marked))
        return rc;
    co_mutex_lock(&q->control);
    rc = commit_locked(q, true);
    h = q->header;
    h.incompatible &= ~QCOW2_DIRTY;
    if (!rc)
        rc = header_write(q, &h);
    co_mutex_unlock(&q->control);
    return rc;
}

int qcow2_close(struct qcow2 *q)
{
    int rc = q->options.read_only ? 0 : finish(q);

    blockdev_fini(&q->dev);
    free_image(q);
    return rc;
}

struct blockdev *qcow2_blockdev(struct qcow2 *q)
{
    return &q->dev;
}

const struct qcow2_geometry *qcow2_geometry(const struct qcow2 *q)
{
    return &q->g;
}

const struct qcow2_header *qcow2_header(const struct qcow2 *q)
{
    return &q->header;
}

void qcow2_status(struct qcow2 *q, struct qcow2_status *s)
{
    struct clusters *c = &q->clusters;
    uint64_t blocks = 0;

    *s = (struct qcow2_status){.size_bytes = q->dev.size_bytes,
        .corrupt = atomic_load(&q->corrupt),
        .snapshots = atomic_load(&q->snapshot_count)};
    spin_lock(&c->lock);
    s->file_bytes = c->count << q->g.cluster_bits;
    s->free_bytes = c->free << q->g.cluster_bits;
    for (uint64_t i = 0; i < c->block_count; i++)
        blocks += !!c->blocks[i];
    spin_unlock(&c->lock);
    s->allocated_bytes = s->file_bytes - s->free_bytes;
    s->map_bytes = ((blocks + atomic_load(&q->map.tables)) << q->g.cluster_bits) +
                   q->map.count * sizeof *q->map.slots + s->file_bytes / 8 / cluster_bytes(q);
    spin_lock(&q->space.lock);
    s->starving = q->space.starving;
    spin_unlock(&q->space.lock);
}
