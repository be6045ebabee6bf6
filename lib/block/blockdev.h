/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Block devices: the one interface between the layers. A member is a leaf; an array turns members
 * into one, a volume group cuts volumes out of some, an export serves one. Data goes down by calls
 * and comes back by returns.
 *
 * Everybody calls blockdev_read() and its like, never the operations: the wrapper checks range,
 * alignment and flags, splits at the boundary and at IOV_SEGMENTS_MAX, emulates what a layer lacks,
 * and counts. Layers assert that they never see what the wrapper excludes. Values from outside
 * (guest, client, disk) have been refused before they get here, but a refusal here is -EINVAL,
 * never damage.
 *
 * All calls run in coroutines of any worker, wait until the operation has ended, and return 0 or
 * -errno. Overlapping operations in flight may take effect in either order, but copies and parity
 * agree in the end. Data acknowledged is durable after a later flush returned 0, or at once with
 * BLOCK_FUA.
 */
#ifndef ASHLAR_BLOCK_BLOCKDEV_H
#define ASHLAR_BLOCK_BLOCKDEV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/iov.h"
#include "base/list.h"
#include "rt/io.h"
#include "rt/sync.h"

struct blockdev;
struct block_batch;

#define BLOCK_FUA        1u  /* write, write_zeroes: durable on return */
#define BLOCK_STABLE     2u  /* write: nobody changes the buffer meanwhile, no copy needed */
#define BLOCK_MAY_UNMAP  4u  /* write_zeroes: space may be given back */
#define BLOCK_FAST       8u  /* write_zeroes: -EOPNOTSUPP rather than write bytes */
#define BLOCK_BACKGROUND 16u /* resync and the like: not counted as a guest's */
#define BLOCK_PATIENT    32u /* waits for memory, never -ENOMEM: that would pass for the device's */

enum block_kind {
    BLOCK_READ,
    BLOCK_WRITE,
    BLOCK_FLUSH,
    BLOCK_DISCARD,
    BLOCK_WRITE_ZEROES,
    BLOCK_KINDS
};

/* What a range holds. ZERO: reads as zeros. HOLE: a write there may need space. Neither: data. */
#define EXTENT_ZERO 1u
#define EXTENT_HOLE 2u
struct block_extent {
    uint64_t length;
    unsigned flags;
};

/* One operation of a batch (blockdev_run). Ranges, alignment and flags as for the calls of one. */
struct block_op {
    enum block_kind kind;
    unsigned flags;
    struct blockdev *dev;
    const struct iovec *iov;
    int iov_count;
    uint64_t offset, length; /* for read and write the wrapper sets length: the iov's */
    int result;
    /* Below: the wrapper's and the leaf's. */
    bool fits; /* the layer can take it as it stands */
    struct block_batch *batch;
    struct io io; /* a leaf's, so that it need not allocate */
};

struct blockdev_ops {
    /*
     * A leaf has `start` and nothing of the next five: it begins the operation and returns;
     * block_op_end(op, result), from any context on the same worker, ends it (possibly before start
     * returns). Other layers have the five, which wait; NULL: flush has nothing to do, discard
     * does nothing, write_zeroes writes zeros (as it does on -EOPNOTSUPP, unless BLOCK_FAST).
     * write_zeroes never sees BLOCK_FUA: the wrapper flushes afterwards.
     */
    void (*start)(struct block_op *op);
    int (*read)(struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset,
        uint64_t length);
    int (*write)(struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset,
        uint64_t length, unsigned flags);
    int (*flush)(struct blockdev *d);
    int (*discard)(struct blockdev *d, uint64_t offset, uint64_t length);
    int (*write_zeroes)(struct blockdev *d, uint64_t offset, uint64_t length, unsigned flags);
    /* What stands at `offset`: fills in one extent (length > 0, at most `length`). NULL: all is
     * data. */
    int (*extents)(
        struct blockdev *d, uint64_t offset, uint64_t length, struct block_extent *extent);
    /* Hint: these bytes hold nothing, do not sync them. NULL: ignored. Bytes written later hold
     * something again. */
    void (*unused)(struct blockdev *d, uint64_t offset, uint64_t length);
    /* Frees `d`; nothing is in flight and nobody uses it. */
    void (*close)(struct blockdev *d);
};

#define BLOCK_CAN_DISCARD   1u /* else discard succeeds and does nothing */
#define BLOCK_CAN_ZERO_FAST 2u /* write_zeroes without writing the bytes */
#define BLOCK_CAN_FUA       4u /* else the wrapper follows the write by a flush */
#define BLOCK_READ_ONLY     8u
#define BLOCK_ROTATIONAL    16u

/* Flushes that share one of the layer; flush.c. */
struct block_flushes {
    struct spinlock lock;
    bool running;
    struct list waiting; /* those that share the next */
};

/* Counted per worker, so that counting costs no shared cache line; blockdev_stats adds them up. */
struct block_counts {
    _Alignas(64) _Atomic uint64_t ops[BLOCK_KINDS], bytes[BLOCK_KINDS], errors;
};
struct blockdev_stats {
    uint64_t ops[BLOCK_KINDS], bytes[BLOCK_KINDS], errors;
};

struct blockdev {
    const struct blockdev_ops *ops;
    char name[128];              /* for people: a path, an array's name, VG/NAME */
    _Atomic uint64_t size_bytes; /* a multiple of logical_block_bytes; may change under a drain */
    uint32_t logical_block_bytes, physical_block_bytes;
    uint32_t optimal_io_bytes; /* 0: none */
    uint32_t
        memory_align_bytes; /* buffers that are not so aligned are bounced by the wrapper; 1: any */
    uint64_t boundary_bytes; /* requests are split where they cross a multiple of it; 0: never. Any
                                number */
    uint64_t zeroes_boundary_bytes; /* the same of discard and write_zeroes; 0: boundary_bytes */
    uint64_t max_transfer_bytes;    /* longer reads and writes are split; 0: no limit */
    _Atomic uint32_t capabilities;
    _Atomic uint32_t users;      /* who has it open (export, array, volume group): blockdev_use */
    struct block_counts *counts; /* [WORKERS_MAX], made by blockdev_init */
    struct block_flushes flushes;
};

/* Common part of every device: ops, name (cut to fit), size, 512-byte blocks, no capabilities.
 * -ENOMEM. blockdev_fini is for ops->close. */
int blockdev_init(
    struct blockdev *d, const struct blockdev_ops *ops, const char *name, uint64_t size_bytes);
void blockdev_fini(struct blockdev *d);

int blockdev_read(struct blockdev *d, void *buf, uint64_t offset, uint64_t length);
int blockdev_write(
    struct blockdev *d, const void *buf, uint64_t offset, uint64_t length, unsigned flags);
int blockdev_readv(
    struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags);
int blockdev_writev(
    struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset, unsigned flags);
int blockdev_flush(struct blockdev *d);
int blockdev_discard(struct blockdev *d, uint64_t offset, uint64_t length);
int blockdev_write_zeroes(struct blockdev *d, uint64_t offset, uint64_t length, unsigned flags);
/* For layers, of a part of what they are to zero: writes zeros to `d` as bytes, not counted.
 * `flags` as for write_zeroes, of which only BLOCK_BACKGROUND matters. */
int blockdev_write_zeros(struct blockdev *d, uint64_t offset, uint64_t length, unsigned flags);
int blockdev_extents(
    struct blockdev *d, uint64_t offset, uint64_t length, struct block_extent *extent);
void blockdev_unused(struct blockdev *d, uint64_t offset, uint64_t length);

/* Runs operations (on any devices) side by side, waits for all; each has its own result. Returns
 * the first failure's in the order of `ops`, or 0. */
int blockdev_run(struct block_op *ops, unsigned count);
/* For leaves. */
void block_op_end(struct block_op *op, int result);

/* Any byte range, for metadata: reads the blocks around it; write reads, changes and writes them,
 * so the caller excludes others. */
int blockdev_read_bytes(struct blockdev *d, void *buf, uint64_t offset, uint64_t length);
int blockdev_write_bytes(
    struct blockdev *d, const void *buf, uint64_t offset, uint64_t length, unsigned flags);

/* Marks it in use; -EBUSY when somebody uses it already and either of the two is exclusive. */
int blockdev_use(struct blockdev *d, bool exclusive);
void blockdev_unuse(struct blockdev *d);
void blockdev_close(struct blockdev *d);
void blockdev_stats(const struct blockdev *d, struct blockdev_stats *stats);

#endif
