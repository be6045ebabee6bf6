/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The space of the parity logs: where it is on each member, and its beginning and end; see
 * parity_log.h. Control's worker, nothing is being written. */
#include "raid/parity_log.h"

#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"
#include "raid/parity_record.h"
#include "rt/io.h"

#define LOG_ALIGN_BYTES 65536u
#define LOG_BYTES_MAX   (64u << 20) /* of a member */
#define HALF_BYTES_MIN  (64u << 10)

static uint64_t log_start(const struct array *a, const struct member *m)
{
    int64_t end = MD_SUPERBLOCK_OFFSET + 2 * MD_SUPERBLOCK_OFFSET;
    uint64_t bitmap_sectors = a->bitmap.image_bytes / MD_SECTOR_BYTES;

    if (a->bitmap.on_disk)
        end = MAX(end, MD_SUPERBLOCK_OFFSET + a->sb.bitmap_offset + (int64_t)bitmap_sectors);
    if (m->sb.bblog_size)
        end = MAX(end, MD_SUPERBLOCK_OFFSET + m->sb.bblog_offset + (int64_t)m->sb.bblog_size);
    return round_up((uint64_t)end * MD_SECTOR_BYTES, LOG_ALIGN_BYTES);
}

/* 0: too little. */
static uint64_t half_bytes(const struct array *a, const struct member *m)
{
    uint64_t start = log_start(a, m), bytes;

    if (start >= m->data_offset_bytes)
        return 0;
    bytes = MIN(m->data_offset_bytes - start, (uint64_t)LOG_BYTES_MAX) / 2;
    bytes = round_down(bytes, PARITY_RECORD_HEADER_BYTES);
    return bytes >= HALF_BYTES_MIN ? bytes : 0;
}

bool parity_log_space(
    const struct array *a, const struct member *m, uint64_t *start_bytes, uint64_t *bytes)
{
    *start_bytes = log_start(a, m);
    *bytes = half_bytes(a, m);
    return *bytes;
}

static void free_log(struct member_log *log)
{
    free(log->halves[0].slots);
    free(log->halves[1].slots);
    free(log);
}

static int make_log(struct array *a, struct member *m, uint64_t bytes)
{
    struct member_log *log = calloc(1, sizeof *log);

    if (!log)
        return -ENOMEM;
    list_init(&log->waiting);
    wait_queue_init(&log->idle);
    log->start_bytes = log_start(a, m);
    log->half_bytes = bytes;
    log->slots_max = (unsigned)(bytes / (2 * MD_SECTOR_BYTES));
    for (unsigned i = 0; i < 2; i++)
        log->halves[i].slots = calloc(log->slots_max, sizeof *log->halves[i].slots);
    if (!log->halves[0].slots || !log->halves[1].slots) {
        free_log(log);
        return -ENOMEM;
    }
    m->log = log;
    return 0;
}

/* What stood there is no record of ours any more: nor is what is left of it behind the next. */
static int wipe(const struct array *a, struct member *m)
{
    int rc = 0;

    m->log->floor = atomic_load(&a->log->sequence) + 1;
    for (unsigned i = 0; i < 2 && !rc; i++)
        rc = array_fill_page(m->dev, 0, m->log->start_bytes + i * m->log->half_bytes);
    return rc ? rc : member_flush(m);
}

int parity_log_add_member(struct array *a, struct member *m)
{
    uint64_t bytes = a->log ? half_bytes(a, m) : 0;
    int rc;

    if (!a->log || m->log)
        return m->log ? wipe(a, m) : 0;
    if (!bytes || bytes - PARITY_RECORD_HEADER_BYTES < a->log->most_bytes)
        return -ENOSPC;
    rc = make_log(a, m, bytes);
    return rc ? rc : wipe(a, m);
}

/* The same for all: the smallest. 0: a member has no room, or there are too many members. */
static uint64_t most_bytes(struct array *a)
{
    uint64_t most = UINT64_MAX;

    if (a->geometry.raid_disks > PARITY_RECORD_ENTRIES_MAX)
        return 0;
    list_for_each (it, &a->members) {
        uint64_t bytes = half_bytes(a, container_of(it, struct member, link));

        most = MIN(most, bytes ? bytes - PARITY_RECORD_HEADER_BYTES : 0);
    }
    return most / a->geometry.raid_disks >= PARITY_RECORD_HEADER_BYTES ? most : 0;
}

static uint32_t choose_tag(void)
{
    uint32_t tag = 0;

    while (!tag) {
        rt_random(&tag, sizeof tag);
        tag &= (1u << (64 - PARITY_TAG_SHIFT)) - 1;
    }
    return tag;
}

int parity_log_init(struct array *a)
{
    uint64_t most = a->geometry.parity ? most_bytes(a) : 0;
    int rc = 0;

    if (!most)
        return 0;
    a->log = calloc(1, sizeof *a->log);
    if (!a->log)
        return -ENOMEM;
    a->log->most_bytes = most;
    a->log->tag = choose_tag();
    list_for_each (it, &a->members) {
        struct member *m = container_of(it, struct member, link);

        if (!rc)
            rc = make_log(a, m, half_bytes(a, m));
    }
    return rc;
}

void parity_log_destroy(struct array *a)
{
    free(a->log);
}

void parity_log_remove_member(struct member *m)
{
    if (m->log)
        free_log(m->log);
}

uint64_t parity_log_tag(const struct array *a)
{
    return a->log ? a->log->tag : 0;
}

uint64_t parity_log_most_bytes(const struct array *a)
{
    return a->log ? a->log->most_bytes : 0;
}
