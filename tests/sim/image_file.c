/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The file of the image, as a volume would be it: a part of the disk from its start on, that grows
 * by whole units as far as the administrator lets it. What is added is zeroed before it counts, and
 * then counts for ever.
 */
#include <errno.h>
#include <stdlib.h>

#include "image_world.h"

struct image_file {
    struct blockdev dev;
    struct blockdev *lower;
};

static struct blockdev *lower_of(struct blockdev *d)
{
    return container_of(d, struct image_file, dev)->lower;
}

static int pass_read(
    struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t length)
{
    return blockdev_readv(lower_of(d), iov, iov_count, offset, 0);
}

static int pass_write(struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset,
    uint64_t length, unsigned flags)
{
    return blockdev_writev(lower_of(d), iov, iov_count, offset, flags);
}

static int pass_flush(struct blockdev *d)
{
    return blockdev_flush(lower_of(d));
}

static int pass_discard(struct blockdev *d, uint64_t offset, uint64_t length)
{
    return blockdev_discard(lower_of(d), offset, length);
}

static int pass_write_zeroes(struct blockdev *d, uint64_t offset, uint64_t length, unsigned flags)
{
    return blockdev_write_zeroes(lower_of(d), offset, length, flags);
}

static void pass_close(struct blockdev *d)
{
    struct image_file *f = container_of(d, struct image_file, dev);

    blockdev_close(f->lower);
    blockdev_fini(d);
    free(f);
}

static const struct blockdev_ops file_ops = {
    .read = pass_read,
    .write = pass_write,
    .flush = pass_flush,
    .discard = pass_discard,
    .write_zeroes = pass_write_zeroes,
    .close = pass_close,
};

struct blockdev *image_file_open(struct blockdev *lower)
{
    struct image_file *f = malloc(sizeof *f);

    if (!f || blockdev_init(&f->dev, &file_ops, "file", image->file_bytes))
        sim_fail("out of memory");
    f->lower = lower;
    f->dev.logical_block_bytes = lower->logical_block_bytes;
    f->dev.physical_block_bytes = lower->physical_block_bytes;
    f->dev.memory_align_bytes = lower->memory_align_bytes;
    f->dev.capabilities = atomic_load(&lower->capabilities);
    return &f->dev;
}

/* --- what the image asks of it --- */

static int file_grow(void *arg, uint64_t size_bytes)
{
    struct blockdev *d = arg, *lower = lower_of(d);
    uint64_t old = image->file_bytes;
    int rc;

    size_bytes = round_up(size_bytes, (uint64_t)IMAGE_FILE_UNIT);
    SIM_TRACE("file of %llu bytes is to have %llu, at most %llu", (unsigned long long)old,
        (unsigned long long)size_bytes, (unsigned long long)image->limit_bytes);
    if (size_bytes > image->limit_bytes || one_in(SIM_ADMIN, 64)) {
        image->refused = true;
        fault_count(FAULT_NO_SPACE);
        return -ENOSPC;
    }
    if (size_bytes <= old)
        return 0;
    rc = blockdev_write_zeroes(lower, old, size_bytes - old, 0);
    if (!rc)
        rc = blockdev_flush(lower);
    if (rc)
        return rc;
    image->file_bytes = size_bytes;
    atomic_store(&d->size_bytes, size_bytes);
    return 0;
}

static int file_shrink(void *arg, uint64_t size_bytes)
{
    struct blockdev *d = arg;

    size_bytes = round_up(size_bytes, (uint64_t)IMAGE_FILE_UNIT);
    SIM_TRACE("file of %llu bytes needs %llu", (unsigned long long)image->file_bytes,
        (unsigned long long)size_bytes);
    if (size_bytes >= image->file_bytes)
        return 0;
    image->file_bytes = size_bytes;
    atomic_store(&d->size_bytes, size_bytes);
    return 0;
}

static void file_starving(void *arg, bool starving)
{
    SIM_TRACE("the image is %s", starving ? "starving" : "fed");
    if (starving == image_machine.starving)
        sim_fail("the image says twice that it is %s", starving ? "starving" : "fed");
    image_machine.starving = starving;
}

const struct qcow2_file_ops image_growable = {
    .grow = file_grow, .shrink = file_shrink, .starving = file_starving};

void image_file_room(uint64_t bytes)
{
    image->limit_bytes = MIN(image->file_bytes + bytes, sim->disks[0].size_bytes);
    SIM_TRACE("the file may have %llu bytes", (unsigned long long)image->limit_bytes);
    qcow2_space_changed(image_machine.q);
}
