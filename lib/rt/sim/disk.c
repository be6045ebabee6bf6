/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `data` is what the host reads now; an entry of the log holds what stood there before its write.
 * Entries and their bytes lie in the order in which they were applied and leave from the oldest on,
 * so that a flush, which covers all older ones, and an overflow drop a prefix.
 *
 * A power cut goes from the newest entry to the oldest. A lost unit gets its former bytes back; a
 * kept one is decided: what stands there is its data, and nothing older can change it.
 *
 * Called by the one thread of a machine, or by the program between machines. Nothing here fails.
 */
#include "rt/sim/disk.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/arith.h"
#include "base/iov.h"

#define DISK_SECTORS_MAX (SIM_DISK_BYTES_MAX / SIM_SECTOR_BYTES)

/* What a power cut makes of a write. */
enum fate { KEPT, LOST, TORN, FATES };

/* How many of the bits from `from` on are the same, up to `to`; `value` says which. */
static uint64_t bits_run(const uint64_t *bits, uint64_t from, uint64_t to, bool *value)
{
    uint64_t at = from;

    *value = bits[from / 64] >> from % 64 & 1;
    while (at < to) {
        uint64_t others = (*value ? ~bits[at / 64] : bits[at / 64]) >> at % 64;

        if (others) {
            at += (unsigned)__builtin_ctzll(others);
            break;
        }
        at += 64 - at % 64;
    }
    return MIN(at, to) - from;
}

static void bits_set(uint64_t *bits, uint64_t from, uint64_t to, bool value)
{
    while (from < to) {
        uint64_t n = MIN(64 - from % 64, to - from);
        uint64_t mask = (n < 64 ? (UINT64_C(1) << n) - 1 : UINT64_MAX) << from % 64;

        bits[from / 64] = value ? bits[from / 64] | mask : bits[from / 64] & ~mask;
        from += n;
    }
}

static void check_range(const struct sim_disk *d, uint64_t offset, uint64_t length)
{
    assert(offset % SIM_SECTOR_BYTES == 0 && length % SIM_SECTOR_BYTES == 0);
    assert(length <= d->size_bytes && offset <= d->size_bytes - length);
}

void sim_disk_init(struct sim_disk *d, const struct sim_disk_params *params)
{
    assert(params->size_bytes <= SIM_DISK_BYTES_MAX);
    assert(params->size_bytes % params->logical_block_bytes == 0);
    snprintf(d->path, sizeof d->path, "%s", params->path);
    d->size_bytes = params->size_bytes;
    d->seed = params->seed;
    d->logical_block_bytes = params->logical_block_bytes;
    d->atomic_bytes = params->atomic_bytes;
    d->discard = params->discard;
    d->can_zero = params->can_zero;
    d->present = true;
    d->stalled_until_ns = d->lose_writes = d->misdirect_writes = 0;
    memset(d->faults, 0, sizeof d->faults);
    memset(d->written, 0, sizeof d->written);
    memset(d->unreadable, 0, sizeof d->unreadable);
    d->next_number = 1;
    d->log_count = 0;
    d->log_bytes = 0;
}

void sim_disk_noise(const struct sim_disk *d, uint64_t sector, void *buf)
{
    struct sim_random random = {d->seed ^ sector << 32};
    uint64_t words[SIM_SECTOR_BYTES / 8] = {SIM_NOISE_MAGIC};

    for (unsigned i = 1; i < ARRAY_LEN(words); i++)
        words[i] = sim_next(&random);
    memcpy(buf, words, sizeof words);
}

void sim_disk_peek(const struct sim_disk *d, void *buf, uint64_t offset, uint64_t length)
{
    uint64_t first = offset / SIM_SECTOR_BYTES, end = (offset + length) / SIM_SECTOR_BYTES, run;
    bool written;

    check_range(d, offset, length);
    memcpy(buf, d->data + offset, length);
    for (uint64_t at = first; at < end; at += run) {
        run = bits_run(d->written, at, end, &written);
        for (uint64_t sector = at; !written && sector < at + run; sector++)
            sim_disk_noise(d, sector, (char *)buf + (sector - first) * SIM_SECTOR_BYTES);
    }
}

/* From now on the bytes of the range stand in `data`, noise as well. */
static void settle(struct sim_disk *d, uint64_t offset, uint64_t length)
{
    uint64_t at = offset / SIM_SECTOR_BYTES, end = (offset + length) / SIM_SECTOR_BYTES, run;
    bool written;

    for (; at < end; at += run) {
        run = bits_run(d->written, at, end, &written);
        for (uint64_t sector = at; !written && sector < at + run; sector++)
            sim_disk_noise(d, sector, d->data + sector * SIM_SECTOR_BYTES);
        bits_set(d->written, at, at + run, true);
    }
}

void sim_disk_poke(struct sim_disk *d, const void *buf, uint64_t offset, uint64_t length)
{
    check_range(d, offset, length);
    settle(d, offset, length);
    memcpy(d->data + offset, buf, length);
    for (struct sim_write *w = d->log; w < d->log + d->log_count; w++) {
        uint64_t begin = MAX(offset, w->offset);
        uint64_t end = MIN(offset + length, w->offset + w->length);

        if (begin < end)
            memcpy(d->log_data + w->before + (begin - w->offset),
                (const char *)buf + (begin - offset), end - begin);
    }
}

static bool unreadable(const struct sim_disk *d, uint64_t offset, uint64_t length)
{
    uint64_t first = offset / SIM_SECTOR_BYTES, end = (offset + length) / SIM_SECTOR_BYTES;
    bool bad;

    return first < end && (bits_run(d->unreadable, first, end, &bad) < end - first || bad);
}

int sim_disk_fault(struct sim_disk *d, enum io_kind kind, uint64_t offset, uint64_t length)
{
    if (!d->present)
        return -ENXIO;
    for (struct sim_fault *f = d->faults; f < d->faults + SIM_FAULTS_MAX; f++) {
        bool touched =
            kind == IO_SYNC || (offset < f->offset + f->length && f->offset < offset + length);

        if (!f->times || !(f->kinds & 1u << kind) || !touched)
            continue;
        if (f->times != UINT32_MAX)
            f->times--;
        return f->error;
    }
    return kind == IO_READ && unreadable(d, offset, length) ? -EIO : 0;
}

/* The oldest entries become durable. */
static void drop(struct sim_disk *d, unsigned count)
{
    size_t bytes = count < d->log_count ? d->log[count].before : d->log_bytes;

    d->log_count -= count;
    d->log_bytes -= bytes;
    memmove(d->log, d->log + count, d->log_count * sizeof *d->log);
    memmove(d->log_data, d->log_data + bytes, d->log_bytes);
    for (unsigned i = 0; i < d->log_count; i++)
        d->log[i].before -= bytes;
}

/* Before the range changes. One that is too large for the log is durable at once, and so is all
 * before it. */
static void log_before(struct sim_disk *d, uint64_t number, uint64_t offset, uint64_t length)
{
    if (length > SIM_LOG_BYTES) {
        drop(d, d->log_count);
        return;
    }
    while (d->log_count == SIM_LOG_WRITES || d->log_bytes + length > SIM_LOG_BYTES)
        drop(d, (d->log_count + 1) / 2);
    d->log[d->log_count++] = (struct sim_write){
        .offset = offset, .length = length, .before = d->log_bytes, .number = number};
    memcpy(d->log_data + d->log_bytes, d->data + offset, length);
    d->log_bytes += length;
}

/* Another place for a write: the same when there is no other. */
static uint64_t misdirected(
    const struct sim_disk *d, uint64_t offset, uint64_t length, struct sim_random *random)
{
    uint64_t others = (d->size_bytes - length) / d->logical_block_bytes, block;

    if (!others)
        return offset;
    block = sim_below(random, others);
    if (block >= offset / d->logical_block_bytes)
        block++;
    return block * d->logical_block_bytes;
}

/* Puts the new contents there. */
static void change(struct sim_disk *d, const struct io *io, uint64_t offset, uint64_t length)
{
    uint64_t first = offset / SIM_SECTOR_BYTES, end = (offset + length) / SIM_SECTOR_BYTES;

    if (io->kind == IO_WRITE)
        iov_copy_from(d->data + offset, io->iov, io->iov_count, 0, length);
    else
        memset(d->data + offset, 0, length);
    if (io->kind == IO_DISCARD && d->discard == SIM_DISCARD_NOISE)
        bits_set(d->written, first, end, false);
    bits_set(d->unreadable, first, end, false);
}

uint64_t sim_disk_apply(struct sim_disk *d, const struct io *io, struct sim_random *random)
{
    bool listed = io->kind == IO_READ || io->kind == IO_WRITE;
    uint64_t offset = io->offset, number;
    uint64_t length = listed ? iov_length(io->iov, io->iov_count) : io->length;

    if (io->kind == IO_SYNC)
        return 0;
    check_range(d, offset, length);
    if (io->kind == IO_READ) {
        settle(d, offset, length);
        iov_copy_to(io->iov, io->iov_count, 0, d->data + offset, length);
        return 0;
    }
    number = d->next_number++;
    if (io->kind == IO_DISCARD && d->discard == SIM_DISCARD_NOTHING)
        return number;
    if (io->kind != IO_DISCARD && d->lose_writes) {
        d->lose_writes--;
        return number;
    }
    if (io->kind != IO_DISCARD && d->misdirect_writes) {
        d->misdirect_writes--;
        offset = misdirected(d, offset, length, random);
    }
    settle(d, offset, length);
    log_before(d, number, offset, length);
    change(d, io, offset, length);
    return number;
}

static struct sim_write *find(struct sim_disk *d, uint64_t number)
{
    for (unsigned i = d->log_count; i-- > 0;)
        if (d->log[i].number == number)
            return &d->log[i];
    return NULL;
}

static void take_back(struct sim_disk *d, const struct sim_write *w, uint64_t begin, uint64_t end)
{
    memcpy(d->data + begin, d->log_data + w->before + (begin - w->offset), end - begin);
    bits_set(d->written, begin / SIM_SECTOR_BYTES, end / SIM_SECTOR_BYTES, true);
}

/* The end of the atomic unit of the write that begins there. */
static uint64_t unit_end(const struct sim_disk *d, const struct sim_write *w, uint64_t begin)
{
    return MIN(round_down(begin, d->atomic_bytes) + d->atomic_bytes, w->offset + w->length);
}

void sim_disk_apply_torn(struct sim_disk *d, const struct io *io, struct sim_random *random)
{
    const struct sim_write *w = find(d, sim_disk_apply(d, io, random));
    uint64_t end;

    if (!w)
        return;
    for (uint64_t at = w->offset; at < w->offset + w->length; at = end) {
        end = unit_end(d, w, at);
        if (sim_one_in(random, 2))
            take_back(d, w, at, end);
    }
}

void sim_disk_durable(struct sim_disk *d, uint64_t number)
{
    struct sim_write *w = find(d, number);

    if (w)
        w->durable = true;
}

uint64_t sim_disk_flush_begin(const struct sim_disk *d)
{
    return d->next_number;
}

void sim_disk_flushed(struct sim_disk *d, uint64_t begun)
{
    unsigned covered = 0;

    while (covered < d->log_count && d->log[covered].number < begun)
        covered++;
    drop(d, covered);
}

/* Keeps or loses a part of the write, except for the sectors that are decided. */
static void decide(struct sim_disk *d, const struct sim_write *w, uint64_t begin, uint64_t end,
    bool kept, uint64_t *decided)
{
    uint64_t last = end / SIM_SECTOR_BYTES, run;
    bool by_newer;

    for (uint64_t at = begin / SIM_SECTOR_BYTES; at < last; at += run) {
        run = bits_run(decided, at, last, &by_newer);
        if (by_newer)
            continue;
        if (kept)
            bits_set(decided, at, at + run, true);
        else
            take_back(d, w, at * SIM_SECTOR_BYTES, (at + run) * SIM_SECTOR_BYTES);
    }
}

void sim_disk_cut(struct sim_disk *d, struct sim_random *random)
{
    uint64_t decided[DISK_SECTORS_MAX / 64] = {0};

    for (unsigned i = d->log_count; i-- > 0;) {
        const struct sim_write *w = &d->log[i];
        enum fate fate = w->durable ? KEPT : (enum fate)sim_below(random, FATES);
        uint64_t end;

        for (uint64_t at = w->offset; at < w->offset + w->length; at = end) {
            end = fate == TORN ? unit_end(d, w, at) : w->offset + w->length;
            decide(d, w, at, end, fate == TORN ? sim_one_in(random, 2) : fate == KEPT, decided);
        }
    }
    drop(d, d->log_count);
    d->stalled_until_ns = d->lose_writes = d->misdirect_writes = 0;
    for (struct sim_fault *f = d->faults; f < d->faults + SIM_FAULTS_MAX; f++)
        if (f->times != UINT32_MAX)
            f->times = 0;
}
