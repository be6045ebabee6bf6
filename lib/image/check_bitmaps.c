/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bitmaps: their directory, tables and clusters of bits. Where one cannot be, a repair gives all of
 * them up: they only save work to whoever made them. */
#include <errno.h>
#include <stdlib.h>

#include "image/bitmaps.h"
#include "image/check_private.h"

static void bad(struct check *c, enum check_fault fault, uint64_t offset, const char *why)
{
    check_found(c, fault, offset, "bitmaps: %s", why);
    c->bad_bitmaps = true;
}

static void use_entry(struct check *c, uint64_t word, uint64_t at)
{
    const char *why = qcow2_bitmap_entry_fault(&c->g, word, c->file_bytes);
    uint64_t offset = word & QCOW2_OFFSET_MASK;

    if (why)
        bad(c, CHECK_TABLE, at, why);
    else if (offset)
        check_use(c, offset, c->cluster_bytes, CHECK_USE_BITMAP, 1);
}

static int use_bitmap(struct check *c, const struct qcow2_bitmap *b)
{
    uint64_t length = UINT64_C(8) * b->table_entries;
    uint8_t *bytes;
    int rc;

    if (!length)
        return 0;
    check_use(c, b->table_offset, length, CHECK_USE_BITMAP, 1);
    rc = check_read_table(c, b->table_offset, length, &bytes);
    if (rc < 0) {
        bad(c, CHECK_UNREADABLE, b->table_offset, "a table cannot be read");
        return rc == -ENOMEM ? rc : 0;
    }
    for (uint64_t i = 0; i < length; i += 8)
        use_entry(c, get_be64(bytes + i), b->table_offset + i);
    free(bytes);
    return 0;
}

static int use_directory(struct check *c, const uint8_t *bytes)
{
    const struct qcow2_bitmaps_extension *x = &c->header.bitmaps;
    struct qcow2_bitmap *list;
    struct error why = {0};
    int rc =
        qcow2_bitmaps_read(&list, x->count, bytes, x->directory_bytes, &c->g, c->file_bytes, &why);

    if (rc < 0) {
        bad(c, CHECK_TABLE, x->directory_offset, why.text);
        return rc == -ENOMEM ? rc : 0;
    }
    for (unsigned i = 0; !rc && i < x->count; i++)
        rc = use_bitmap(c, &list[i]);
    qcow2_bitmaps_free(list, x->count);
    return rc;
}

int check_use_bitmaps(struct check *c)
{
    const struct qcow2_bitmaps_extension *x = &c->header.bitmaps;
    uint8_t *bytes;
    int rc;

    if (!c->header.has_bitmaps)
        return 0;
    check_use(c, x->directory_offset, x->directory_bytes, CHECK_USE_BITMAP, 1);
    rc = check_read_table(c, x->directory_offset, x->directory_bytes, &bytes);
    if (rc < 0) {
        bad(c, CHECK_UNREADABLE, x->directory_offset, "their directory cannot be read");
        return rc == -ENOMEM ? rc : 0;
    }
    rc = use_directory(c, bytes);
    free(bytes);
    return rc;
}
