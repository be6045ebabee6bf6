/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lvm/commit.h"

#include <errno.h>
#include <string.h>

#include "base/mutant.h"
#include "lvm/crc.h"

static int place(
    struct commit_target *t, unsigned count, const char *text, size_t size, struct error *err)
{
    for (unsigned i = 0; i < count; i++) {
        struct lvm_raw_locn locn = {.size = size, .crc = lvm_crc(LVM_CRC_INITIAL, text, size)};

        if (lvm_mda_place(&t[i].mda->header, size, &locn.offset))
            return error_set(err, ENOSPC, "%zu bytes of metadata do not fit into the area of %s",
                size, t[i].pv->dev->name);
        t[i].locn = locn;
        t[i].previous = t[i].mda->header;
        t[i].result = 0;
    }
    return 0;
}

static unsigned alive(const struct commit_target *t, unsigned count)
{
    unsigned n = 0;

    for (unsigned i = 0; i < count; i++)
        n += !t[i].result;
    return n;
}

static void flush_all(struct commit_target *t, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!t[i].result)
            t[i].result = blockdev_flush(t[i].pv->dev);
}

static void write_texts(struct commit_target *t, unsigned count, const char *text)
{
    for (unsigned i = 0; i < count; i++)
        t[i].result = pv_write_text(t[i].pv, t[i].mda, &t[i].locn, text);
    if (!MUTANT(TEXT_AFTER_HEADER))
        flush_all(t, count);
}

static void precommit(struct commit_target *t, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (t[i].result)
            continue;
        t[i].mda->header.precommitted = t[i].locn;
        t[i].result = pv_write_header(t[i].pv, t[i].mda);
    }
    if (!MUTANT(TEXT_AFTER_HEADER))
        flush_all(t, count);
}

static void commit(struct commit_target *t, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (t[i].result || (MUTANT(COMMIT_ONE_PV) && i > 0))
            continue;
        t[i].mda->header.committed = t[i].locn;
        t[i].mda->header.precommitted = (struct lvm_raw_locn){0};
        t[i].result = pv_write_header(t[i].pv, t[i].mda);
    }
    flush_all(t, count);
}

/* On disk as far as that goes: the committed copy is the old one in any case. */
static void revert(struct commit_target *t, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        bool touched = t[i].mda->header.precommitted.offset != t[i].previous.precommitted.offset;

        t[i].mda->header = t[i].previous;
        if (touched)
            pv_write_header(t[i].pv, t[i].mda);
    }
}

/* What was last known to be committed stays the place to keep clear of. */
static void mark(struct commit_target *t, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        t[i].pv->stale = false;
        t[i].mda->damaged = t[i].mda->damaged && t[i].result;
    }
    for (unsigned i = 0; i < count; i++)
        if (t[i].result)
            t[i].pv->stale = true;
}

static int first_failure(const struct commit_target *t, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (t[i].result)
            return t[i].result;
    return -EIO;
}

int metadata_commit(struct commit_target *targets, unsigned count, const char *text, size_t size,
    bool *uncertain, struct error *err)
{
    int rc = count ? place(targets, count, text, size, err)
                   : error_set(err, EROFS, "no PV has a metadata area in use");

    *uncertain = false;
    if (rc)
        return rc;
    write_texts(targets, count, text);
    precommit(targets, count);
    if (!alive(targets, count)) {
        rc = first_failure(targets, count);
        revert(targets, count);
        return error_set(err, -rc, "the metadata could not be written: %s", strerror(-rc));
    }
    commit(targets, count);
    mark(targets, count);
    if (alive(targets, count))
        return 0;
    *uncertain = true;
    rc = first_failure(targets, count);
    return error_set(err, -rc, "the metadata could not be committed: %s", strerror(-rc));
}
