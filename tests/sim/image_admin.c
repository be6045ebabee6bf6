/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The administrator: takes, deletes and goes back to snapshots while guests write, makes the disk
 * larger or smaller between their operations, gives the file more room. What he was told is done is
 * there after any crash; what was under way is there wholly or not at all.
 *
 * A snapshot holds what a reader of the whole disk might have been given meanwhile: it is held
 * against the model when it has been made, and may not change any more.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "image/check.h"
#include "image/compact.h"
#include "image/flatten.h"
#include "image_world.h"

#define OPS_MAX     8u
#define PIECE_BYTES (32u << 10)

static uint64_t draw(uint64_t limit)
{
    return choose(SIM_ADMIN, limit);
}

/* --- what has been done --- */

/* What the snapshot just made holds becomes what it has to hold. */
static void note_created(struct check_qcow2 *c)
{
    struct image_change *change = &image->change;
    uint8_t *contents = image_contents[image->snapshot_count];
    uint64_t length, bad = MODEL_GOOD;
    char why[MODEL_WHY_LEN];

    if (!image_peek(c, c->disk_count - 1, contents, 0, change->snapshot.size_bytes)) {
        image_complain("the new snapshot cannot be read");
        return;
    }
    length = change->snapshot.size_bytes;
    bad = model_read_check(image_model, change->begun, contents, 0, length, why);
    if (bad != MODEL_GOOD)
        image_complain(
            "the new snapshot holds what cannot be at %llu: %s", (unsigned long long)bad, why);
    image->snapshots[image->snapshot_count++] = change->snapshot;
}

static void note_deleted(void)
{
    unsigned i = image->change.index, left = --image->snapshot_count - i;

    memmove(&image->snapshots[i], &image->snapshots[i + 1], left * sizeof *image->snapshots);
    memmove(image_contents[i], image_contents[i + 1], left * sizeof *image_contents);
}

/* Of a revert: beyond the old end it is all new. */
static void note_size(const uint8_t *contents)
{
    uint64_t old = image->size_bytes, size = image->change.size_bytes;

    if (image->change.writes)
        model_write_end(image_model, image->change.ticket, true, true);
    image->size_bytes = size;
    if (size != old)
        model_resize(image_model, size, MODEL_START_ZEROS);
    if (contents && size > old)
        model_write_end(image_model, model_copy_begin(image_model, old, size - old, contents + old),
            true, true);
}

static const uint8_t *reverted_to(void)
{
    return image->change.kind == CHANGE_REVERT ? image_contents[image->change.index] : NULL;
}

static void note_done(struct check_qcow2 *c)
{
    if (image->change.kind == CHANGE_CREATE)
        note_created(c);
    else if (image->change.kind == CHANGE_DELETE)
        note_deleted();
    else
        note_size(reverted_to());
    image->change.kind = CHANGE_NONE;
}

static void done(void)
{
    struct check_qcow2 c = {0};

    if (image_examine(&c))
        note_done(&c);
    check_qcow2_free(&c);
    if (sim->failure[0])
        sim_fail("%s", sim->failure);
}

/* It was not done, and will not be. */
static void not_done(void)
{
    if (image->change.kind == CHANGE_CREATE)
        model_read_failed(image_model, image->change.begun);
    if (image->change.writes)
        model_write_end(image_model, image->change.ticket, false, false);
    image->change.kind = CHANGE_NONE;
}

static bool is_done(const struct check_qcow2 *c)
{
    switch (image->change.kind) {
    case CHANGE_CREATE:
        return c->disk_count > 1 + image->snapshot_count;
    case CHANGE_DELETE:
        return c->disk_count < 1 + image->snapshot_count;
    default: /* of the same size: sector by sector, as the model has it */
        return c->disks[0].size_bytes == image->change.size_bytes &&
               image->change.size_bytes != image->size_bytes;
    }
}

void image_change_settle(struct check_qcow2 *c)
{
    struct sim_disk *d = &sim->disks[0];

    if (image->change.kind == CHANGE_NONE)
        return;
    sim_disk_flushed(d, sim_disk_flush_begin(d)); /* of a kill: what is found now stays */
    if (is_done(c))
        note_done(c);
    else
        not_done();
}

/* --- what is done --- */

/* A failure where nothing is broken, or full, is one. After an I/O error it is the next machine
 * that finds whether the change was done: so long it is under way. */
static void end(int rc, const struct error *err, bool may_refuse)
{
    struct check_qcow2 c = {0};

    SIM_TRACE("admin: %d %s", rc, rc ? err->text : "");
    if (!may_refuse && !image_may_give(rc))
        sim_fail("the administrator is refused: error %d, %s", rc, err->text);
    if (!rc) {
        done();
        return;
    }
    if (rc == -EIO)
        return;
    if (!image_examine(&c) || is_done(&c))
        sim_fail("refused, and done: %s", sim->failure);
    check_qcow2_free(&c);
    not_done();
}

/* As many as the image's refcounts can count. */
static bool too_many(void)
{
    return image->snapshot_count + 2u > (1u << MIN(1u << image->refcount_order, 16u)) - 1;
}

static void create_snapshot(void)
{
    struct image_change change = {.kind = CHANGE_CREATE};
    struct error err = {0};

    if (image->snapshot_count == IMAGE_SNAPSHOTS_MAX)
        return;
    snprintf(change.snapshot.name, sizeof change.snapshot.name, "s%u", ++image->snapshots_made);
    change.snapshot.size_bytes = change.size_bytes = image->size_bytes;
    change.begun = model_read_begin(image_model);
    image->change = change;
    SIM_TRACE("admin: create snapshot %s", change.snapshot.name);
    end(qcow2_snapshot_create(image_machine.q, change.snapshot.name, &err), &err, too_many());
}

static void delete_snapshot(void)
{
    struct error err = {0};

    if (!image->snapshot_count)
        return;
    image->change = (struct image_change){.kind = CHANGE_DELETE,
        .index = (unsigned)draw(image->snapshot_count),
        .size_bytes = image->size_bytes};
    SIM_TRACE("admin: delete snapshot %s", image->snapshots[image->change.index].name);
    end(qcow2_snapshot_delete(image_machine.q, image->snapshots[image->change.index].name, &err),
        &err, false);
}

/* Guests keep writing unless the size changes. */
static void revert(void)
{
    struct image_change change = {.kind = CHANGE_REVERT, .writes = true};
    const struct image_snapshot *s;
    struct error err = {0};
    bool quiet;

    if (!image->snapshot_count)
        return;
    change.index = (unsigned)draw(image->snapshot_count);
    s = &image->snapshots[change.index];
    quiet = s->size_bytes != image->size_bytes || draw(2);
    if (quiet)
        gate_close(&image_machine.guests);
    change.size_bytes = s->size_bytes;
    change.ticket = model_copy_begin(
        image_model, 0, MIN(s->size_bytes, image->size_bytes), image_contents[change.index]);
    image->change = change;
    SIM_TRACE("admin: revert to %s, ticket %u", s->name, change.ticket);
    end(qcow2_snapshot_revert(image_machine.q, s->name, &err), &err, false);
    if (quiet)
        gate_open(&image_machine.guests);
}

static void resize(void)
{
    uint64_t most = image->cluster_bits < 12 ? 512u << 10 : IMAGE_BYTES_MAX;
    struct image_change change = {.kind = CHANGE_RESIZE};
    struct error err = {0};

    gate_close(&image_machine.guests);
    change.size_bytes = (16u << 10) + draw((most - (16u << 10)) / 512) * 512;
    change.writes = change.size_bytes < image->size_bytes;
    if (change.writes)
        change.ticket = model_write_begin(image_model, MODEL_ZEROS, change.size_bytes,
            image->size_bytes - change.size_bytes, NULL);
    image->change = change;
    SIM_TRACE("admin: resize to %llu", (unsigned long long)change.size_bytes);
    end(qcow2_resize(image_machine.q, change.size_bytes, &err), &err, false);
    gate_open(&image_machine.guests);
}

static bool go_on(void *arg, uint64_t done, uint64_t total)
{
    return true;
}

/* It is whole while it is at work, too. */
static void look_at_image(void)
{
    struct check_qcow2 c = {0};

    if (!image_examine(&c))
        sim_fail("%s", sim->failure);
    check_qcow2_free(&c);
}

static void look_at_status(void)
{
    struct qcow2_status s;

    qcow2_status(image_machine.q, &s);
    if (s.size_bytes != image->size_bytes || s.snapshots != image->snapshot_count)
        sim_fail("the status tells of %llu bytes, %u snapshots", (unsigned long long)s.size_bytes,
            s.snapshots);
    if (s.corrupt)
        sim_fail("the image is said to be corrupt");
}

/* What changes nothing that a guest sees. */
static void keep_house(void)
{
    static struct check_result found;
    struct error err = {0};
    int rc;

    switch (draw(3)) {
    case 0:
        SIM_TRACE("admin: compact");
        rc = qcow2_compact(image_machine.q, NULL, NULL, &err);
        if (rc == -ENOSPC) /* guests were quicker */
            rc = 0;
        break;
    case 1:
        SIM_TRACE("admin: flatten");
        rc = qcow2_flatten(image_machine.q, go_on, NULL, &err);
        if (rc == (image->snapshot_count && image->backed ? -EBUSY : -ENXIO))
            rc = 0;
        break;
    default:
        SIM_TRACE("admin: check");
        rc = qcow2_check_online(image_machine.q, NULL, NULL, &found, &err);
        if (!rc && !image->struck && (!check_is_clean(&found) || found.found[CHECK_LEAK]))
            sim_fail("the check finds %s", found.findings[0].text);
        break;
    }
    SIM_TRACE("admin: %d %s", rc, rc ? err.text : "");
    if (!image_may_give(rc))
        sim_fail("the administrator is refused: error %d, %s", rc, err.text);
    look_at_image();
}

static void administer_once(void)
{
    switch (draw(11)) {
    case 8:
    case 9:
    case 10:
        keep_house();
        break;
    case 0:
    case 1:
        create_snapshot();
        break;
    case 2:
        delete_snapshot();
        break;
    case 3:
        revert();
        break;
    case 4:
        resize();
        break;
    case 5:
        look_at_status();
        break;
    default:
        image_file_room(draw(8) * IMAGE_FILE_UNIT);
        break;
    }
}

void image_administer(void)
{
    for (unsigned i = (unsigned)draw(OPS_MAX + 1);
         i && image_machine.at_work && image->change.kind == CHANGE_NONE; i--) {
        co_sleep_ns(draw(6 * MILLISECOND_NS));
        administer_once();
    }
}
