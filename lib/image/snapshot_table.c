/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/snapshot_table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"

#define AT_L1_OFFSET     0
#define AT_L1_ENTRIES    8
#define AT_ID_BYTES      12
#define AT_NAME_BYTES    14
#define AT_SECONDS       16
#define AT_NANOSECONDS   20
#define AT_VM_CLOCK      24
#define AT_VM_STATE      32
#define AT_EXTRA_BYTES   36
#define ENTRY_BYTES      40 /* then extra data, id, name */
#define AT_VM_STATE_LONG 40
#define AT_SIZE          48
#define AT_ICOUNT        56
#define EXTRA_BYTES      24   /* that we know */
#define EXTRA_BYTES_MAX  1024 /* QEMU's cap */

static int keep_unknown(struct qcow2_snapshot *s, const uint8_t *extra, uint32_t extra_bytes)
{
    if (extra_bytes <= EXTRA_BYTES)
        return 0;
    s->unknown_bytes = extra_bytes - EXTRA_BYTES;
    s->unknown = malloc(s->unknown_bytes);
    if (!s->unknown)
        return -ENOMEM;
    memcpy(s->unknown, extra + EXTRA_BYTES, s->unknown_bytes);
    return 0;
}

static int read_strings(struct qcow2_snapshot *s, const uint8_t *entry, const uint8_t *strings)
{
    uint16_t id_bytes = get_be16(entry + AT_ID_BYTES), name_bytes = get_be16(entry + AT_NAME_BYTES);

    s->id = strndup((const char *)strings, id_bytes);
    s->name = strndup((const char *)strings + id_bytes, name_bytes);
    return s->id && s->name ? 0 : -ENOMEM;
}

static int read_fields(
    struct qcow2_snapshot *s, const uint8_t *entry, uint32_t extra_bytes, uint64_t disk_bytes)
{
    s->l1_offset = get_be64(entry + AT_L1_OFFSET);
    s->l1_entries = get_be32(entry + AT_L1_ENTRIES);
    s->seconds = get_be32(entry + AT_SECONDS);
    s->nanoseconds = get_be32(entry + AT_NANOSECONDS);
    s->vm_clock_ns = get_be64(entry + AT_VM_CLOCK);
    s->vm_state_bytes = extra_bytes >= AT_SIZE - ENTRY_BYTES ? get_be64(entry + AT_VM_STATE_LONG)
                                                             : get_be32(entry + AT_VM_STATE);
    s->size_bytes = extra_bytes >= AT_ICOUNT - ENTRY_BYTES ? get_be64(entry + AT_SIZE) : disk_bytes;
    s->icount = extra_bytes >= EXTRA_BYTES ? get_be64(entry + AT_ICOUNT) : UINT64_MAX;
    return keep_unknown(s, entry + ENTRY_BYTES, extra_bytes);
}

/* The entry at *at, which moves to its end. */
static int read_entry(
    struct qcow2_snapshot *s, const uint8_t *bytes, size_t length, size_t *at, uint64_t disk_bytes)
{
    const uint8_t *entry = bytes + *at;
    uint64_t room = length - *at, space;
    uint32_t extra_bytes;
    int rc;

    if (room < ENTRY_BYTES)
        return -EBADMSG;
    extra_bytes = get_be32(entry + AT_EXTRA_BYTES);
    space = UINT64_C(1) * ENTRY_BYTES + extra_bytes + get_be16(entry + AT_ID_BYTES) +
            get_be16(entry + AT_NAME_BYTES);
    if (extra_bytes > EXTRA_BYTES_MAX || space > room)
        return -EBADMSG;
    *at += space;
    rc = read_fields(s, entry, extra_bytes, disk_bytes);
    return rc < 0 ? rc : read_strings(s, entry, entry + ENTRY_BYTES + extra_bytes);
}

int qcow2_snapshots_read(struct qcow2_snapshot **list, unsigned count, const uint8_t *bytes,
    size_t length, uint64_t disk_bytes, size_t *used, struct error *err)
{
    struct qcow2_snapshot *read = calloc(count + !count, sizeof *read);
    size_t at = 0;
    int rc = read ? 0 : -ENOMEM;

    length = MIN(length, (size_t)QCOW2_SNAPSHOT_TABLE_MAX_BYTES);
    for (unsigned i = 0; !rc && i < count; i++) {
        at = MIN(round_up(at, 8), length);
        rc = read_entry(&read[i], bytes, length, &at, disk_bytes);
        if (rc == -EBADMSG)
            error_set(err, EBADMSG, "the snapshot table is damaged: entry %u of %u", i, count);
    }
    if (rc < 0) {
        qcow2_snapshots_free(read, count);
        return rc == -ENOMEM ? error_set(err, ENOMEM, "out of memory") : rc;
    }
    *list = read;
    *used = at;
    return 0;
}

const char *qcow2_snapshot_fault(
    const struct qcow2_geometry *g, const struct qcow2_snapshot *s, uint64_t image_bytes)
{
    uint64_t l1_bytes = UINT64_C(8) * s->l1_entries;

    if (l1_bytes > QCOW2_L1_MAX_BYTES)
        return "the L1 table is larger than 32 MiB";
    if (s->l1_offset & ((UINT64_C(1) << g->cluster_bits) - 1))
        return "the L1 table's offset is not a cluster's";
    if (l1_bytes &&
        (!s->l1_offset || s->l1_offset > image_bytes || l1_bytes > image_bytes - s->l1_offset))
        return "the L1 table is not inside the image";
    return NULL;
}

static size_t entry_space(const struct qcow2_snapshot *s)
{
    return ENTRY_BYTES + EXTRA_BYTES + (size_t)s->unknown_bytes + strlen(s->id) + strlen(s->name);
}

size_t qcow2_snapshots_bytes(const struct qcow2_snapshot *list, unsigned count)
{
    size_t at = 0;

    for (unsigned i = 0; i < count; i++)
        at = round_up(at, 8) + entry_space(&list[i]);
    return at;
}

static void put_fields(const struct qcow2_snapshot *s, uint8_t *entry)
{
    put_be64(entry + AT_L1_OFFSET, s->l1_offset);
    put_be32(entry + AT_L1_ENTRIES, s->l1_entries);
    put_be16(entry + AT_ID_BYTES, (uint16_t)strlen(s->id));
    put_be16(entry + AT_NAME_BYTES, (uint16_t)strlen(s->name));
    put_be32(entry + AT_SECONDS, s->seconds);
    put_be32(entry + AT_NANOSECONDS, s->nanoseconds);
    put_be64(entry + AT_VM_CLOCK, s->vm_clock_ns);
    put_be32(entry + AT_VM_STATE, s->vm_state_bytes > UINT32_MAX ? 0 : (uint32_t)s->vm_state_bytes);
    put_be32(entry + AT_EXTRA_BYTES, EXTRA_BYTES + s->unknown_bytes);
    put_be64(entry + AT_VM_STATE_LONG, s->vm_state_bytes);
    put_be64(entry + AT_SIZE, s->size_bytes);
    put_be64(entry + AT_ICOUNT, s->icount);
}

static void put_entry(const struct qcow2_snapshot *s, uint8_t *entry)
{
    uint8_t *p = entry + ENTRY_BYTES + EXTRA_BYTES;
    size_t id_bytes = strlen(s->id), name_bytes = strlen(s->name);

    assert(id_bytes <= UINT16_MAX && name_bytes <= UINT16_MAX);
    put_fields(s, entry);
    if (s->unknown_bytes)
        memcpy(p, s->unknown, s->unknown_bytes);
    p += s->unknown_bytes;
    memcpy(p, s->id, id_bytes);
    memcpy(p + id_bytes, s->name, name_bytes);
}

void qcow2_snapshots_write(const struct qcow2_snapshot *list, unsigned count, uint8_t *bytes)
{
    size_t at = 0;

    for (unsigned i = 0; i < count; i++) {
        size_t start = round_up(at, 8);

        memset(bytes + at, 0, start - at);
        put_entry(&list[i], bytes + start);
        at = start + entry_space(&list[i]);
    }
}

void qcow2_snapshots_free(struct qcow2_snapshot *list, unsigned count)
{
    for (unsigned i = 0; list && i < count; i++) {
        free(list[i].id);
        free(list[i].name);
        free(list[i].unknown);
    }
    free(list);
}
