/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The snapshot table, and with it the list of all L1s. */
#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"
#include "image/check_private.h"

#define FIRST_TRY_BYTES (64u << 10) /* of a table whose length nothing tells */

static void damaged(struct check *c, const char *why)
{
    check_found(c, CHECK_TABLE, c->header.snapshots_offset, "snapshot table: %s", why);
    c->incomplete = true;
}

/* More and more of it, until it can be read. */
static int read_list(struct check *c, size_t *used)
{
    uint64_t offset = c->header.snapshots_offset, length = FIRST_TRY_BYTES;
    uint64_t limit = MIN(c->file_bytes - offset, (uint64_t)QCOW2_SNAPSHOT_TABLE_MAX_BYTES);
    struct error why = {0};
    uint8_t *bytes;
    int rc = -EBADMSG;

    for (uint64_t tried = 0; rc == -EBADMSG && tried < limit; tried = length, length *= 8) {
        length = MIN(length, limit);
        rc = check_read_table(c, offset, length, &bytes);
        if (rc < 0)
            break;
        rc = qcow2_snapshots_read(&c->snapshots, c->header.snapshot_count, bytes, length,
            c->header.size_bytes, used, &why);
        free(bytes);
    }
    if (!rc)
        c->snapshot_count = c->header.snapshot_count;
    else if (rc != -ENOMEM)
        damaged(c, rc == -EBADMSG ? why.text : "it cannot be read");
    return rc == -ENOMEM ? rc : 0;
}

static void add_l1(struct check *c, struct check_l1 l1)
{
    if (l1.entries)
        c->l1s[c->l1_count++] = l1;
}

static void add_snapshot(struct check *c, const struct qcow2_snapshot *s)
{
    const char *why = qcow2_snapshot_fault(&c->g, s, c->file_bytes);

    if (why) {
        check_found(c, CHECK_TABLE, s->l1_offset, "snapshot \"%s\": %s", s->name, why);
        c->incomplete = true;
        return;
    }
    add_l1(c, (struct check_l1){.offset = s->l1_offset, .entries = s->l1_entries, .name = s->name});
}

int check_read_snapshots(struct check *c)
{
    int rc = c->header.snapshot_count ? read_list(c, &c->snapshots_bytes) : 0;

    if (rc < 0)
        return rc;
    c->l1s = calloc(c->snapshot_count + 1, sizeof *c->l1s);
    if (!c->l1s)
        return -ENOMEM;
    add_l1(c, (struct check_l1){.offset = c->header.l1_offset,
                  .entries = c->header.l1_entries,
                  .active = true,
                  .name = "the disk"});
    for (unsigned i = 0; i < c->snapshot_count; i++)
        add_snapshot(c, &c->snapshots[i]);
    return 0;
}

void check_use_snapshots(struct check *c)
{
    if (c->snapshot_count)
        check_use(c, c->header.snapshots_offset, c->snapshots_bytes, CHECK_USE_FIXED, 1);
}
