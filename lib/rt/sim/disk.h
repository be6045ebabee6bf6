/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A simulated disk: what stands on it as the host reads it, and a log of the writes that no flush
 * has made durable yet, each with what stood there before, so that a power cut can take them back.
 * Pure: no time, no waiting, no allocation; the engine decides when something happens, this file
 * what it does. All of it lies in memory that outlives the simulated machine (struct sim_disk and
 * its areas are in the shared world), and holds no pointer into the machine.
 *
 * Sectors never written read as the former owner's data: noise made of the disk's seed and the
 * sector's number (sim_disk_noise), so that whoever shows it to somebody can be told.
 *
 * A power cut decides for each atomic unit of each write that is not durable whether it is kept:
 * per write all, none, or each unit by itself (torn); a later write may be kept where an earlier
 * one is lost (reordered). Durable writes and what was there before them stay.
 *
 * The log is bounded: when it is full, the oldest half becomes durable, as a disk's cache is
 * written back.
 */
#ifndef ASHLAR_RT_SIM_DISK_H
#define ASHLAR_RT_SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "rt/io.h"
#include "rt/sim/random.h"

#define SIM_SECTOR_BYTES   512u
#define SIM_DISK_BYTES_MAX (16u << 20)
#define SIM_LOG_BYTES      (4u << 20) /* data of writes that are not durable */
#define SIM_LOG_WRITES     1024u
#define SIM_FAULTS_MAX     8u

/* What a discarded sector holds. */
enum sim_discard { SIM_DISCARD_ZEROS, SIM_DISCARD_NOTHING, SIM_DISCARD_NOISE };

struct sim_disk_params {
    const char *path;
    uint64_t size_bytes; /* a multiple of logical_block_bytes, at most SIM_DISK_BYTES_MAX */
    uint32_t logical_block_bytes; /* 512 or 4096 */
    uint32_t atomic_bytes;        /* 512 or 4096: the unit that is never torn */
    enum sim_discard discard;
    bool can_zero;
    uint64_t seed;
};

/* Fails the next `times` operations of these kinds that touch the range; a sync touches all. */
struct sim_fault {
    unsigned kinds; /* 1u << enum io_kind */
    uint64_t offset, length;
    unsigned times; /* 0: not in use; UINT32_MAX: for ever */
    int error;      /* -errno */
};

struct sim_write {
    uint64_t offset, length;
    size_t before;   /* what stood there, in the log's data */
    uint64_t number; /* counts the writes of the disk */
    bool durable;
};

struct sim_disk {
    char path[64];
    uint64_t size_bytes, seed;
    uint32_t logical_block_bytes, atomic_bytes;
    enum sim_discard discard;
    bool can_zero;
    bool present;              /* false: it is gone, opening and every operation fails */
    uint64_t stalled_until_ns; /* the engine's: nothing ends before */
    uint64_t lose_writes; /* the next so many writes and zeroes are acknowledged and not done */
    uint64_t misdirect_writes; /* ...and done elsewhere */
    struct sim_fault faults[SIM_FAULTS_MAX];

    unsigned char data[SIM_DISK_BYTES_MAX];
    uint64_t written[SIM_DISK_BYTES_MAX / SIM_SECTOR_BYTES / 64]; /* a bit a sector; 0: data does
                                                                     not hold its noise yet */
    uint64_t
        unreadable[SIM_DISK_BYTES_MAX / SIM_SECTOR_BYTES / 64]; /* latent errors: a write heals */

    uint64_t next_number;
    struct sim_write log[SIM_LOG_WRITES]; /* in the order in which they were applied */
    unsigned log_count;
    size_t log_bytes;
    unsigned char log_data[SIM_LOG_BYTES];
};

void sim_disk_init(struct sim_disk *d, const struct sim_disk_params *params);
/* The former owner's data of a sector: SIM_SECTOR_BYTES bytes; its first 8 bytes are
 * SIM_NOISE_MAGIC. */
#define SIM_NOISE_MAGIC UINT64_C(0x72656d726f466e41)
void sim_disk_noise(const struct sim_disk *d, uint64_t sector, void *buf);

/* What would be read, as it is, without any fault: for checkers and dumps. Whole sectors, as for
 * poke. */
void sim_disk_peek(const struct sim_disk *d, void *buf, uint64_t offset, uint64_t length);
/* Overwrites it beyond the log, as a corrupted medium does: a power cut does not take it back. */
void sim_disk_poke(struct sim_disk *d, const void *buf, uint64_t offset, uint64_t length);

/* The error that a fault in force has for this operation, counting it down; 0: none. Latent errors
 * are included (-EIO for reads), as is a disk that is gone (-ENXIO). */
int sim_disk_fault(struct sim_disk *d, enum io_kind kind, uint64_t offset, uint64_t length);
/*
 * Does one operation at once (faults apart). Returns for a write, zeroes or discard the number of
 * its entry in the log (sim_disk_durable), else 0. lose_writes and misdirect_writes are heeded. The
 * range lies on the disk.
 */
uint64_t sim_disk_apply(struct sim_disk *d, const struct io *io, struct sim_random *random);
/* Only some atomic units of it, chosen at random, perhaps none: what a power cut leaves of a write
 * on its way. */
void sim_disk_apply_torn(struct sim_disk *d, const struct io *io, struct sim_random *random);
/* That write survives a power cut (FUA). */
void sim_disk_durable(struct sim_disk *d, uint64_t number);
/* What a flush that begins now will make durable; pass it to flushed when it ends. */
uint64_t sim_disk_flush_begin(const struct sim_disk *d);
void sim_disk_flushed(struct sim_disk *d, uint64_t begun);
/* The power is cut: see above. The log is empty afterwards, faults that are not of the medium are
 * gone: those that count down, lost and misdirected writes, a stall. */
void sim_disk_cut(struct sim_disk *d, struct sim_random *random);

#endif
