/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/list.h"
#include "block/member.h"
#include "rt/run.h"

#define SECTOR 512u

struct recorder {
    struct blockdev dev;
    struct blockdev *lower;
    struct tape *tape;
    unsigned index;
};

static struct recorder *recorder_of(struct blockdev *d)
{
    return container_of(d, struct recorder, dev);
}

static struct tape_entry *note(
    struct blockdev *d, enum tape_kind kind, uint64_t offset, uint64_t length)
{
    struct recorder *r = recorder_of(d);
    struct tape *t = r->tape;

    t->entries = realloc(t->entries, (t->count + 1) * sizeof *t->entries);
    t->entries[t->count] = (struct tape_entry){kind, r->index, offset, length, NULL};
    return &t->entries[t->count++];
}

static int tape_read(
    struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t length)
{
    return blockdev_readv(recorder_of(d)->lower, iov, iov_count, offset, 0);
}

static int tape_write(struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset,
    uint64_t length, unsigned flags)
{
    struct tape_entry *e = note(d, TAPE_WRITE, offset, length);

    e->data = malloc(length);
    iov_copy_from(e->data, iov, iov_count, 0, length);
    return blockdev_writev(recorder_of(d)->lower, iov, iov_count, offset, flags);
}

static int tape_flush(struct blockdev *d)
{
    int rc = blockdev_flush(recorder_of(d)->lower);

    note(d, TAPE_FLUSH, 0, 0);
    return rc;
}

static int tape_discard(struct blockdev *d, uint64_t offset, uint64_t length)
{
    note(d, TAPE_DISCARD, offset, length);
    return blockdev_discard(recorder_of(d)->lower, offset, length);
}

static int tape_write_zeroes(struct blockdev *d, uint64_t offset, uint64_t length, unsigned flags)
{
    note(d, TAPE_ZEROES, offset, length);
    return blockdev_write_zeroes(recorder_of(d)->lower, offset, length, flags);
}

static void tape_unused(struct blockdev *d, uint64_t offset, uint64_t length)
{
    note(d, TAPE_UNUSED, offset, length);
}

static void tape_close(struct blockdev *d)
{
    struct recorder *r = recorder_of(d);

    blockdev_close(r->lower);
    blockdev_fini(d);
    free(r);
}

static const struct blockdev_ops tape_ops = {
    .read = tape_read,
    .write = tape_write,
    .flush = tape_flush,
    .discard = tape_discard,
    .write_zeroes = tape_write_zeroes,
    .unused = tape_unused,
    .close = tape_close,
};

static struct blockdev *new_memory(const char *name, const char *contents, uint64_t bytes)
{
    struct blockdev *d = NULL;

    CU_ASSERT_EQUAL(member_memory(name, bytes, SECTOR, &d), 0);
    CU_ASSERT_EQUAL(blockdev_write(d, contents, 0, bytes, 0), 0);
    return d;
}

void tape_begin(struct tape *t, uint64_t dev_bytes, char byte)
{
    char *contents = malloc(dev_bytes), name[16];

    memset(contents, byte, dev_bytes);
    *t = (struct tape){.dev_bytes = dev_bytes};
    for (unsigned i = 0; i < TAPE_DEVS; i++) {
        struct recorder *r = calloc(1, sizeof *r);

        snprintf(name, sizeof name, "dev-%u", i);
        r->lower = new_memory(name, contents, dev_bytes);
        r->tape = t;
        r->index = i;
        CU_ASSERT_EQUAL(blockdev_init(&r->dev, &tape_ops, name, dev_bytes), 0);
        r->dev.capabilities = BLOCK_CAN_DISCARD | BLOCK_CAN_ZERO_FAST;
        t->devs[i] = &r->dev;
        t->start[i] = malloc(dev_bytes);
    }
    free(contents);
    tape_record(t);
}

static void forget(struct tape *t)
{
    for (unsigned i = 0; i < t->count; i++)
        free(t->entries[i].data);
    free(t->entries);
    t->entries = NULL;
    t->count = 0;
}

void tape_record(struct tape *t)
{
    forget(t);
    for (unsigned i = 0; i < TAPE_DEVS; i++)
        CU_ASSERT_EQUAL(blockdev_read(t->devs[i], t->start[i], 0, t->dev_bytes), 0);
}

void tape_end(struct tape *t)
{
    forget(t);
    for (unsigned i = 0; i < TAPE_DEVS; i++) {
        CU_ASSERT_EQUAL(t->devs[i]->users, 0);
        blockdev_close(t->devs[i]);
        free(t->start[i]);
    }
}

static bool is_flushed(const struct tape *t, unsigned index, unsigned count)
{
    for (unsigned i = index + 1; i < count; i++)
        if (t->entries[i].kind == TAPE_FLUSH && t->entries[i].dev == t->entries[index].dev)
            return true;
    return false;
}

/* Sector by sector, those that the cut keeps. A discard may turn them into anything. */
static void apply(char *image, const struct tape_entry *e, bool all, unsigned *random)
{
    for (uint64_t at = 0; at < e->length; at += SECTOR) {
        *random = *random > 1 ? *random * 1103515245 + 12345 : *random;
        if (!all && !(*random > 1 ? *random >> 16 & 1 : *random))
            continue;
        if (e->kind == TAPE_WRITE)
            memcpy(image + e->offset + at, e->data + at, SECTOR);
        else
            memset(image + e->offset + at, e->kind == TAPE_ZEROES ? 0 : 0x5a, SECTOR);
    }
}

void tape_cut(const struct tape *t, unsigned count, unsigned random, struct blockdev **devs)
{
    char *image = malloc(t->dev_bytes);

    for (unsigned d = 0; d < TAPE_DEVS; d++) {
        char name[16];

        memcpy(image, t->start[d], t->dev_bytes);
        for (unsigned i = 0; i < count; i++) {
            const struct tape_entry *e = &t->entries[i];

            if (e->dev == d && e->kind != TAPE_FLUSH && e->kind != TAPE_UNUSED)
                apply(image, e, is_flushed(t, i, count), &random);
        }
        snprintf(name, sizeof name, "dev-%u", d);
        devs[d] = new_memory(name, image, t->dev_bytes);
    }
    free(image);
}

int tape_find(const struct tape *t, unsigned from, enum tape_kind kind, unsigned dev,
    uint64_t offset, uint64_t length)
{
    for (unsigned i = from; i < t->count; i++) {
        const struct tape_entry *e = &t->entries[i];

        if (e->kind == kind && e->dev == dev && e->offset < offset + length &&
            offset < e->offset + e->length)
            return (int)i;
    }
    return -1;
}
