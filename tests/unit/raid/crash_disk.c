/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "crash_disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../rt/run.h"
#include "base/arith.h"

#define SECTOR_BYTES 512u

struct handle {
    struct blockdev dev;
    struct crash_disk *disk;
};

uint64_t crash_clock(void)
{
    static _Atomic uint64_t now = 1;

    return atomic_fetch_add(&now, 1);
}

static struct crash_disk *disk_of(struct blockdev *d)
{
    return container_of(d, struct handle, dev)->disk;
}

static unsigned draw(struct crash_disk *d, unsigned limit)
{
    unsigned n;

    spin_lock(&d->lock);
    n = random_below(&d->random, limit);
    spin_unlock(&d->lock);
    return n;
}

static void dawdle(struct crash_disk *d)
{
    for (unsigned n = draw(d, 4); n; n--)
        co_yield ();
}

static bool fails(struct crash_disk *d, enum block_kind kind, uint64_t offset, uint64_t length)
{
    bool hit;

    spin_lock(&d->lock);
    hit = d->faults && kind == d->fault_kind &&
          (!d->fault_length ||
              (offset < d->fault_offset + d->fault_length && d->fault_offset < offset + length));
    d->faults -= hit;
    spin_unlock(&d->lock);
    return hit;
}

static void *grown(void *array, unsigned count, size_t size)
{
    if (count % 64)
        return array;
    array = realloc(array, (count + 64) * size);
    if (!array)
        abort();
    return array;
}

/* Takes over `data`. Returns its place. */
static unsigned apply(
    struct crash_disk *d, char *data, uint64_t offset, uint64_t length, unsigned flags)
{
    unsigned at;

    spin_lock(&d->lock);
    d->writes = grown(d->writes, d->write_count, sizeof *d->writes);
    at = d->write_count++;
    d->writes[at] =
        (struct crash_write){crash_clock(), CRASH_NEVER, offset, length, flags & BLOCK_FUA, data};
    if (data)
        memcpy(d->bytes + offset, data, length);
    else
        memset(d->bytes + offset, 0, length);
    spin_unlock(&d->lock);
    return at;
}

static int write_data(
    struct crash_disk *d, char *data, uint64_t offset, uint64_t length, unsigned flags)
{
    unsigned at;

    dawdle(d);
    if (fails(d, BLOCK_WRITE, offset, length)) {
        /* some of it may have got there all the same */
        uint64_t some = draw(d, (unsigned)(length / SECTOR_BYTES) + 1) * (uint64_t)SECTOR_BYTES;
        if (some)
            apply(d, data, offset, some, 0);
        else
            free(data);
        return -EIO;
    }
    at = apply(d, data, offset, length, flags);
    dawdle(d);
    spin_lock(&d->lock);
    d->writes[at].done = crash_clock();
    spin_unlock(&d->lock);
    return 0;
}

static int disk_write(struct blockdev *dev, const struct iovec *iov, int iov_count, uint64_t offset,
    uint64_t length, unsigned flags)
{
    char *data = malloc(length);

    if (!data)
        abort();
    iov_copy_from(data, iov, iov_count, 0, length);
    return write_data(disk_of(dev), data, offset, length, flags);
}

static int disk_write_zeroes(struct blockdev *dev, uint64_t offset, uint64_t length, unsigned flags)
{
    return write_data(disk_of(dev), NULL, offset, length, flags);
}

static int disk_read(
    struct blockdev *dev, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t length)
{
    struct crash_disk *d = disk_of(dev);

    dawdle(d);
    if (fails(d, BLOCK_READ, offset, length))
        return -EIO;
    spin_lock(&d->lock);
    iov_copy_to(iov, iov_count, 0, d->bytes + offset, length);
    spin_unlock(&d->lock);
    dawdle(d);
    return 0;
}

static int disk_flush(struct blockdev *dev)
{
    struct crash_disk *d = disk_of(dev);
    uint64_t begun = crash_clock();

    dawdle(d);
    if (fails(d, BLOCK_FLUSH, 0, 0))
        return -EIO;
    spin_lock(&d->lock);
    d->flushes = grown(d->flushes, d->flush_count, sizeof *d->flushes);
    d->flushes[d->flush_count++] = (struct crash_flush){begun, crash_clock()};
    spin_unlock(&d->lock);
    return 0;
}

static void disk_close(struct blockdev *dev)
{
    disk_of(dev)->dev = NULL;
    blockdev_fini(dev);
    free(container_of(dev, struct handle, dev));
}

static const struct blockdev_ops disk_ops = {
    .read = disk_read,
    .write = disk_write,
    .flush = disk_flush,
    .write_zeroes = disk_write_zeroes,
    .close = disk_close,
};

void crash_disk_init(struct crash_disk *d, unsigned number, uint64_t size_bytes, uint64_t seed)
{
    memset(d, 0, sizeof *d);
    snprintf(d->name, sizeof d->name, "d%u", number);
    d->size_bytes = size_bytes;
    d->bytes = malloc(size_bytes);
    d->base = malloc(size_bytes);
    if (!d->bytes || !d->base)
        abort();
    d->random = seed * 1000003 + number + 1;
    for (uint64_t at = 0; at < size_bytes; at += sizeof d->random) {
        random_below(&d->random, 2);
        memcpy(d->bytes + at, &d->random, sizeof d->random);
    }
    memset(d->bytes, 0, 64 << 10);
    memcpy(d->base, d->bytes, size_bytes);
}

static void forget(struct crash_disk *d)
{
    for (unsigned i = 0; i < d->write_count; i++)
        free(d->writes[i].data);
    free(d->writes);
    free(d->flushes);
    d->writes = NULL;
    d->flushes = NULL;
    d->write_count = d->flush_count = 0;
}

void crash_disk_end(struct crash_disk *d)
{
    forget(d);
    free(d->bytes);
    free(d->base);
}

struct blockdev *crash_disk_open(struct crash_disk *d)
{
    struct handle *h = calloc(1, sizeof *h);

    if (!h || d->dev || blockdev_init(&h->dev, &disk_ops, d->name, d->size_bytes))
        abort();
    h->disk = d;
    h->dev.capabilities = BLOCK_CAN_FUA;
    d->faults = 0;
    d->dev = &h->dev;
    return d->dev;
}

void crash_disk_break(
    struct crash_disk *d, enum block_kind kind, uint64_t offset, uint64_t length, unsigned times)
{
    spin_lock(&d->lock);
    d->fault_kind = kind;
    d->fault_offset = offset;
    d->fault_length = length;
    d->faults = times;
    spin_unlock(&d->lock);
}

static bool is_durable(const struct crash_disk *d, const struct crash_write *w, uint64_t moment)
{
    if (w->fua && w->done < moment)
        return true;
    for (unsigned i = 0; i < d->flush_count; i++)
        if (d->flushes[i].begun > w->done && d->flushes[i].done < moment)
            return true;
    return false;
}

static void copy_sector(char *image, const struct crash_write *w, uint64_t at)
{
    if (w->data)
        memcpy(image + w->offset + at, w->data + at, SECTOR_BYTES);
    else
        memset(image + w->offset + at, 0, SECTOR_BYTES);
}

void crash_disk_image(struct crash_disk *d, uint64_t moment, uint64_t *random, char *image)
{
    enum { LOSE, KEEP, SOME, TORN, MODES } mode = random_below(random, MODES);

    memcpy(image, d->base, d->size_bytes);
    for (unsigned i = 0; i < d->write_count; i++) {
        const struct crash_write *w = &d->writes[i];
        bool durable = is_durable(d, w, moment), keep = mode == KEEP;
        if (w->applied > moment)
            continue;
        if (mode == SOME)
            keep = random_below(random, 2);
        for (uint64_t at = 0; at < w->length; at += SECTOR_BYTES)
            if (durable || (mode == TORN ? random_below(random, 2) : keep))
                copy_sector(image, w, at);
    }
}

void crash_disk_restart(struct crash_disk *d, const char *image)
{
    forget(d);
    memcpy(d->base, image, d->size_bytes);
    memcpy(d->bytes, image, d->size_bytes);
}
