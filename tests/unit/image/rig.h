/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An image in memory behind a device that goes wrong, and what guests do to it at the same time. */
#ifndef ASHLAR_TESTS_IMAGE_RIG_H
#define ASHLAR_TESTS_IMAGE_RIG_H

#include "../rt/run.h"
#include "block/fault.h"
#include "image/check.h"
#include "image/qcow2.h"
#include "rt/sync.h"

struct rig {
    struct blockdev *file; /* fault.h over memory of 512-byte blocks */
    struct qcow2 *q;
    struct blockdev *disk;
    struct qcow2_options options;
};

/* A new image, not open. */
void rig_make(struct rig *r, const struct qcow2_plan *plan, uint64_t file_bytes);
int rig_open(struct rig *r);
/* 0 or -errno. */
int rig_close(struct rig *r);
/* Of the closed image: nothing is found, not even leaks. */
void rig_expect_whole(struct rig *r);
/* All faults but leaks. */
uint64_t rig_faults(struct rig *r);
void rig_end(struct rig *r);

/* Clusters of the guest's disk, filled with a byte. */
int rig_write(struct rig *r, uint64_t offset, uint64_t length, int byte);
/* It all is that byte. */
bool rig_reads(struct rig *r, uint64_t offset, uint64_t length, int byte);
/* Where the first write of so many bytes went since fault_log_clear. */
uint64_t rig_place(struct rig *r, uint64_t length);
uint64_t rig_l1_offset(struct rig *r);
uint64_t rig_file_word(struct rig *r, uint64_t offset);
void rig_put_file_word(struct rig *r, uint64_t offset, uint64_t word);

/* A request under way. */
struct task {
    struct rig *rig;
    enum block_kind kind;
    uint64_t offset, length;
    int byte;
    uint8_t *buf; /* of a read: freed by task_end */
    int rc;
    bool ended;
    struct co_event end;
};
void task_start(struct task *t, struct rig *r, enum block_kind kind, uint64_t offset,
    uint64_t length, int byte);
/* Has it ended, after everybody has had his turns? */
bool task_has_ended(struct task *t);
int task_end(struct task *t);
bool task_has_read(const struct task *t, int byte);

#endif
