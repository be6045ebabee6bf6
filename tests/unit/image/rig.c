/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "block/member.h"

void rig_make(struct rig *r, const struct qcow2_plan *plan, uint64_t file_bytes)
{
    struct error err = {0};
    struct blockdev *memory = NULL;

    *r = (struct rig){.options = {.map_bytes_max = 1, .ahead_bytes = 1}};
    CU_ASSERT_EQUAL(member_memory("file", file_bytes, 512, &memory), 0);
    CU_ASSERT_EQUAL(fault_create(memory, &r->file), 0);
    CU_ASSERT_EQUAL(qcow2_format(r->file, plan, &err), 0);
}

int rig_open(struct rig *r)
{
    struct error err = {0};
    int rc = qcow2_open(&r->q, r->file, "image", &r->options, &err);

    r->disk = rc ? NULL : qcow2_blockdev(r->q);
    fault_log_clear(r->file);
    return rc;
}

int rig_close(struct rig *r)
{
    return qcow2_close(r->q);
}

static uint64_t count(struct rig *r, bool leaks)
{
    struct check_result *found = calloc(1, sizeof *found);
    struct error err = {0};
    uint64_t faults = 0;

    CU_ASSERT_EQUAL(qcow2_check(r->file, 0, NULL, NULL, found, &err), 0);
    for (unsigned i = 0; i < CHECK_FAULTS; i++)
        if (i != CHECK_LEAK || leaks)
            faults += found->found[i];
    free(found);
    return faults;
}

void rig_expect_whole(struct rig *r)
{
    CU_ASSERT_EQUAL(count(r, true), 0);
}

uint64_t rig_faults(struct rig *r)
{
    return count(r, false);
}

void rig_end(struct rig *r)
{
    blockdev_close(r->file);
}

int rig_write(struct rig *r, uint64_t offset, uint64_t length, int byte)
{
    uint8_t *buf = malloc(length);
    int rc;

    memset(buf, byte, length);
    rc = blockdev_write(r->disk, buf, offset, length, 0);
    free(buf);
    return rc;
}

static bool is_all(const uint8_t *buf, uint64_t length, int byte)
{
    for (uint64_t i = 0; i < length; i++)
        if (buf[i] != (uint8_t)byte)
            return false;
    return true;
}

bool rig_reads(struct rig *r, uint64_t offset, uint64_t length, int byte)
{
    uint8_t *buf = malloc(length);
    bool yes = !blockdev_read(r->disk, buf, offset, length) && is_all(buf, length, byte);

    free(buf);
    return yes;
}

uint64_t rig_place(struct rig *r, uint64_t length)
{
    struct fault_record log[64];
    unsigned n = MIN(fault_log(r->file, log, 64), 64u);

    for (unsigned i = 0; i < n; i++)
        if (log[i].kind == BLOCK_WRITE && log[i].length == length)
            return log[i].offset;
    CU_FAIL("it was not written");
    return 0;
}

uint64_t rig_l1_offset(struct rig *r)
{
    return rig_file_word(r, 40);
}

uint64_t rig_file_word(struct rig *r, uint64_t offset)
{
    uint8_t word[8];

    CU_ASSERT_EQUAL(blockdev_read_bytes(r->file, word, offset, 8), 0);
    return get_be64(word);
}

void rig_put_file_word(struct rig *r, uint64_t offset, uint64_t word)
{
    uint8_t bytes[8];

    put_be64(bytes, word);
    CU_ASSERT_EQUAL(blockdev_write_bytes(r->file, bytes, offset, 8, 0), 0);
}

static int do_task(struct task *t)
{
    struct blockdev *d = t->rig->disk;

    switch (t->kind) {
    case BLOCK_READ:
        return blockdev_read(d, t->buf, t->offset, t->length);
    case BLOCK_WRITE:
        return rig_write(t->rig, t->offset, t->length, t->byte);
    case BLOCK_FLUSH:
        return blockdev_flush(d);
    case BLOCK_DISCARD:
        return blockdev_discard(d, t->offset, t->length);
    default:
        return blockdev_write_zeroes(d, t->offset, t->length, 0);
    }
}

static void run(void *arg)
{
    struct task *t = arg;

    t->rc = do_task(t);
    t->ended = true;
    co_event_set(&t->end);
}

void task_start(
    struct task *t, struct rig *r, enum block_kind kind, uint64_t offset, uint64_t length, int byte)
{
    *t = (struct task){.rig = r, .kind = kind, .offset = offset, .length = length, .byte = byte};
    t->buf = kind == BLOCK_READ ? malloc(length) : NULL;
    co_event_init(&t->end);
    co_start("task", run, t);
}

bool task_has_ended(struct task *t)
{
    for (unsigned i = 0; i < 100; i++)
        co_yield ();
    return t->ended;
}

int task_end(struct task *t)
{
    co_event_wait(&t->end);
    free(t->buf);
    t->buf = NULL;
    return t->rc;
}

bool task_has_read(const struct task *t, int byte)
{
    return is_all(t->buf, t->length, byte);
}
