/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Power cuts: guests work on an array while an administrator fails, adds and replaces members and
 * disks return errors; then the power goes at moments chosen at random, and what stands on the
 * disks is held against what must be there:
 *
 *   - the superblocks make an array, and every member in sync has a bitmap as new as the newest;
 *   - each copy in sync of a sector holds something that the guests' flushes allow;
 *   - copies agree wherever they are not marked; those of members that recover, too, as far as
 *     they have come, and those of members that may come back by bitmap;
 *   - assembled again, the array gives one answer, before and after it has recovered and resynced.
 *
 * Then it goes on from there. `test_array_crash SEED [COUNT]` does chosen rounds again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../rt/run.h"
#include "base/arith.h"
#include "crash_disk.h"
#include "crash_model.h"
#include "raid/array_private.h"

#define DISKS_MAX    8u
#define DISK_BYTES   (3u << 20)
#define CHUNK_BYTES  (64u << 10)
#define GUESTS       4u
#define GUEST_OPS    50u
#define WRITE_MAX    (192u << 10)
#define ADMIN_OPS    14u
#define LOOKS        12u /* at moments of one epoch */
#define EPOCHS       3u
#define ROUNDS       16u
#define POLL_NS      UINT64_C(2000000)
#define SETTLE_POLLS 5000u
#define SECTOR_BYTES 512u

struct shape {
    int level;
    uint32_t layout;
    unsigned members, others;
};

static const struct shape shapes[] = {
    {1, 0, 2, 2},
    {10, RAID10_LAYOUT_NEAR(2), 4, 2},
    {1, 0, 3, 1},
    {10, RAID10_LAYOUT_FAR(2), 4, 2},
    {10, RAID10_LAYOUT_NEAR(2), 3, 2},
    {10, RAID10_LAYOUT_FAR(2) | RAID10_LAYOUT_OFFSET, 4, 2},
    {10, RAID10_LAYOUT_NEAR(2), 5, 1},
    {10, RAID10_LAYOUT_FAR(2), 3, 2},
    {10, RAID10_LAYOUT_FAR(2) | RAID10_LAYOUT_OFFSET, 3, 2},
    {0, 0, 3, 0},
};

struct stage {
    uint64_t seed, random;
    const struct shape *shape;
    struct crash_disk disks[DISKS_MAX];
    char *images[DISKS_MAX];
    unsigned disk_count, epoch;
    struct array *array;
    struct crash_model model;
    struct gate guests; /* closed: no guest has anything under way */
    struct wait_group working;
    _Atomic unsigned at_work;
    struct worker *workers[2];
    unsigned worker_count;
    char *found, *again;
};

static _Atomic unsigned complaints;
static bool verbose;

#define COMPLAIN(s, ...)                                                                           \
    do {                                                                                           \
        fprintf(stderr, "seed %" PRIu64 ", epoch %u: ", (s)->seed, (s)->epoch);                    \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fputc('\n', stderr);                                                                       \
        atomic_fetch_add(&complaints, 1);                                                          \
    } while (0)
#define SAY(...)                                                                                   \
    do {                                                                                           \
        if (verbose)                                                                               \
            fprintf(stderr, __VA_ARGS__);                                                          \
    } while (0)

static unsigned pick(struct stage *s, unsigned limit)
{
    return random_below(&s->random, limit);
}

/* --- guests --- */

struct guest {
    struct stage *s;
    uint64_t random;
};

static void choose_range(struct guest *g, uint64_t *offset, uint64_t *length)
{
    uint64_t size = g->s->model.size_bytes;
    unsigned sectors = random_below(&g->random, 6) ? 24 : WRITE_MAX / SECTOR_BYTES;

    *offset = random_below(&g->random, (unsigned)(size / SECTOR_BYTES)) * (uint64_t)SECTOR_BYTES;
    if (random_below(&g->random, 2)) /* they meet in a few places */
        *offset = *offset % (4 * SECTOR_BYTES) + random_below(&g->random, 3) * (size / 3);
    *length = (1 + random_below(&g->random, sectors)) * (uint64_t)SECTOR_BYTES;
    if (!random_below(&g->random, 16)) { /* a whole chunk of the bitmap */
        *offset = round_down(*offset, CHUNK_BYTES);
        *length = CHUNK_BYTES;
    }
    *length = MIN(*length, size - *offset);
}

static void guest_write(struct guest *g, char *buf)
{
    struct blockdev *dev = array_blockdev(g->s->array);
    struct crash_model *m = &g->s->model;
    bool zeros = !random_below(&g->random, 8), fua = !random_below(&g->random, 6);
    unsigned flags = (fua ? BLOCK_FUA : 0), write;
    uint64_t offset, length;
    int rc;

    choose_range(g, &offset, &length);
    write = crash_model_begin(m, zeros ? CRASH_ZEROS : CRASH_DATA, offset, length, buf);
    if (zeros)
        rc = blockdev_write_zeroes(dev, offset, length, flags);
    else
        rc = blockdev_write(
            dev, buf, offset, length, flags | (random_below(&g->random, 2) ? BLOCK_STABLE : 0));
    crash_model_finish(m, write, !rc, fua);
}

static void guest_flush(struct guest *g)
{
    uint64_t begun = crash_clock();

    if (!blockdev_flush(array_blockdev(g->s->array)))
        crash_model_flushed(&g->s->model, begun);
}

static void guest_read(struct guest *g, char *buf)
{
    uint64_t offset, length, begun = crash_clock(), bad;

    choose_range(g, &offset, &length);
    if (blockdev_read(array_blockdev(g->s->array), buf, offset, length))
        return;
    bad = crash_model_check_read(&g->s->model, buf, offset, length, begun, crash_clock());
    if (bad == CRASH_NEVER)
        return;
    COMPLAIN(g->s, "sector %" PRIu64 " read wrong", bad / SECTOR_BYTES);
    crash_model_explain(&g->s->model, bad, buf + (bad - offset));
}

static void guest_run(void *arg)
{
    struct guest *g = arg;
    char *buf = malloc(WRITE_MAX);

    for (unsigned i = 0; i < GUEST_OPS && buf; i++) {
        gate_enter(&g->s->guests);
        switch (random_below(&g->random, 8)) {
        case 0:
            guest_flush(g);
            break;
        case 1:
        case 2:
            guest_read(g, buf);
            break;
        default:
            guest_write(g, buf);
            break;
        }
        gate_leave(&g->s->guests);
        if (!random_below(&g->random, 4))
            co_sleep_ns(random_below(&g->random, 2000) * UINT64_C(1000));
    }
    free(buf);
    atomic_fetch_sub(&g->s->at_work, 1);
    wait_group_done(&g->s->working);
}

/* --- the administrator --- */

static enum array_member_state state_of(struct stage *s, unsigned disk)
{
    struct array_status *status = array_status(s->array);
    enum array_member_state state = MEMBER_MISSING;

    for (unsigned i = 0; i < status->member_count; i++)
        if (!strcmp(status->members[i].name, s->disks[disk].name))
            state = status->members[i].state;
    free(status);
    return state;
}

static void add_disk(struct stage *s, unsigned disk)
{
    struct blockdev *dev = crash_disk_open(&s->disks[disk]);
    struct error err = {0};
    bool readded = false;
    int rc = array_add(s->array, dev, true, &readded, &err);

    SAY("  add d%u: %d%s %s\n", disk, rc, readded ? " (re-added)" : "", err.text);
    if (rc)
        blockdev_close(dev);
}

static void replace_disk(struct stage *s, unsigned disk)
{
    struct blockdev *with = NULL;
    struct error err = {0};
    int rc;

    for (unsigned i = 0; i < s->disk_count && !with; i++)
        if (!s->disks[i].dev && pick(s, 2))
            with = crash_disk_open(&s->disks[i]);
    rc = array_replace(s->array, s->disks[disk].name, with, &err);
    SAY("  replace d%u with %s: %d %s\n", disk, with ? with->name : "a spare", rc, err.text);
    if (rc && with)
        blockdev_close(with);
}

static void change_member(struct stage *s)
{
    unsigned disk = pick(s, s->disk_count);
    enum array_member_state state = state_of(s, disk);
    struct error err = {0};
    int rc;

    if (!s->disks[disk].dev) {
        add_disk(s, disk);
    } else if (state > MEMBER_REPLACING) {
        rc = array_remove(s->array, s->disks[disk].name, &err);
        SAY("  remove d%u: %d %s\n", disk, rc, err.text);
    } else if (pick(s, 3) && state == MEMBER_IN_SYNC) {
        replace_disk(s, disk);
    } else {
        rc = array_fail(s->array, s->disks[disk].name, &err);
        SAY("  fail d%u: %d %s\n", disk, rc, err.text);
    }
}

static void break_disk(struct stage *s)
{
    static const enum block_kind kinds[] = {BLOCK_READ, BLOCK_WRITE, BLOCK_WRITE, BLOCK_FLUSH};
    unsigned disk = pick(s, s->disk_count);
    enum block_kind kind = kinds[pick(s, ARRAY_LEN(kinds))];
    bool metadata = pick(s, 2);

    SAY("  break d%u: kind %d%s\n", disk, kind, metadata ? " of metadata" : "");
    crash_disk_break(
        &s->disks[disk], kind, 0, metadata && kind == BLOCK_WRITE ? 64 << 10 : 0, 1 + pick(s, 2));
}

/* What the manager does now and then. */
static void clean_bitmap(struct stage *s)
{
    SAY("  clean\n");
    gate_enter(&s->array->writes);
    bitmap_log_clean(s->array, pick(s, 2));
    members_record_if_needed(s->array);
    gate_leave(&s->array->writes);
}

static void go_idle(struct stage *s)
{
    struct array *a = s->array;

    SAY("  idle\n");
    gate_close(&a->writes);
    if (!atomic_load(&a->failed)) {
        atomic_store(&a->busy, false);
        if (!atomic_load(&a->bitmap.unsynced))
            array_mark_clean(a);
    }
    gate_open(&a->writes);
}

static void say_unused(struct stage *s, uint64_t offset, uint64_t length)
{
    unsigned write = crash_model_begin(&s->model, CRASH_ANYTHING, offset, length, NULL);

    blockdev_unused(array_blockdev(s->array), offset, length);
    crash_model_finish(&s->model, write, true, false);
}

static void forget_range(struct stage *s)
{
    uint64_t size = s->model.size_bytes;
    uint64_t offset = pick(s, (unsigned)(size / CHUNK_BYTES)) * (uint64_t)CHUNK_BYTES;
    uint64_t length = MIN(size - offset, (1 + pick(s, 8)) * (uint64_t)CHUNK_BYTES);

    SAY("  unused\n");
    gate_close(&s->guests);
    say_unused(s, offset, length);
    gate_open(&s->guests);
}

static void start_sync(struct stage *s)
{
    static const enum array_action actions[] = {ARRAY_CHECK, ARRAY_REPAIR, ARRAY_RESYNC};
    enum array_action action = actions[pick(s, ARRAY_LEN(actions))];
    int rc = array_sync(s->array, action, NULL);

    SAY("  %s: %d\n", array_action_name(action), rc);
}

static void administer(struct stage *s)
{
    switch (pick(s, 14)) {
    case 0:
        start_sync(s);
        break;
    case 1:
        SAY("  cancel\n");
        array_sync_cancel(s->array);
        break;
    case 2:
        clean_bitmap(s);
        break;
    case 3:
        go_idle(s);
        break;
    case 4:
        forget_range(s);
        break;
    case 5:
    case 6:
        break_disk(s);
        break;
    case 7: /* what has failed or was cancelled is tried again */
        memset(s->array->sync.not_before_ns, 0, sizeof s->array->sync.not_before_ns);
        array_wake(s->array);
        break;
    case 8:
        array_sync_pause(s->array, pick(s, 2));
        break;
    default:
        change_member(s);
        break;
    }
}

static void work(struct stage *s)
{
    struct guest guests[GUESTS];

    wait_group_init(&s->working);
    wait_group_add(&s->working, GUESTS);
    atomic_store(&s->at_work, GUESTS);
    for (unsigned i = 0; i < GUESTS; i++) {
        guests[i] = (struct guest){s, s->random + i * 7919 + 1};
        if (worker_start(s->workers[i % s->worker_count], "guest", guest_run, &guests[i]))
            abort();
    }
    for (unsigned i = 0; i < ADMIN_OPS && atomic_load(&s->at_work); i++) {
        co_sleep_ns(pick(s, 4000) * UINT64_C(1000));
        if (s->shape->level != 0 && !atomic_load(&s->array->failed))
            administer(s);
    }
    array_sync_pause(s->array, false);
    wait_group_wait(&s->working);
}

/* --- what stands on the disks --- */

struct view {
    struct stage *s;
    uint64_t moment;
    struct md_superblock sbs[DISKS_MAX];
    struct md_bitmap_header headers[DISKS_MAX];
    struct raid_candidate candidates[DISKS_MAX];
    unsigned disks[DISKS_MAX]; /* of each candidate */
    unsigned count;
    struct raid_assembly decision;
    struct raid_geometry geometry;
};

static uint64_t bitmap_offset(const struct md_superblock *sb)
{
    return (uint64_t)(MD_SUPERBLOCK_OFFSET + sb->bitmap_offset) * MD_SECTOR_BYTES;
}

static void view_disks(struct view *v)
{
    struct stage *s = v->s;

    for (unsigned i = 0; i < s->disk_count; i++) {
        struct md_superblock *sb = &v->sbs[v->count];
        struct md_bitmap_header *h = &v->headers[v->count];
        if (md_superblock_decode(sb, s->images[i] + MD_SUPERBLOCK_OFFSET_BYTES, NULL))
            continue;
        bool has = sb->level != 0 && !md_bitmap_decode(h, s->images[i] + bitmap_offset(sb), NULL);
        v->disks[v->count] = i;
        v->candidates[v->count++] =
            (struct raid_candidate){s->disks[i].name, sb, has ? h : NULL, DISK_BYTES};
    }
}

static const char *image_of(const struct view *v, unsigned candidate)
{
    return v->s->images[v->disks[candidate]];
}

static const char *data_of(const struct view *v, unsigned candidate, uint64_t member_offset)
{
    return image_of(v, candidate) + v->sbs[candidate].data_offset * MD_SECTOR_BYTES + member_offset;
}

static bool in_sync(const struct view *v, int candidate)
{
    return candidate >= 0 && v->decision.candidates[candidate].use == RAID_USE_IN_SYNC;
}

static bool bit_set(const struct view *v, unsigned candidate, uint64_t offset)
{
    return md_bitmap_test(
        image_of(v, candidate) + bitmap_offset(&v->sbs[candidate]) + MD_BITMAP_HEADER_BYTES,
        offset / v->headers[v->decision.bitmap_from].chunk_bytes);
}

/* In the bitmap of each member in sync, since each may be the one that is gone by. */
static bool marked(const struct view *v, uint64_t offset)
{
    for (unsigned role = 0; role < v->geometry.raid_disks; role++) {
        int c = v->decision.members[role];
        if (in_sync(v, c) && !bit_set(v, (unsigned)c, offset))
            return false;
    }
    return true;
}

/* Whether what `candidate` has there counts as right, beside members in sync. */
static bool counts(
    const struct view *v, unsigned candidate, uint64_t offset, uint64_t member_offset_end)
{
    const struct raid_assembly_member *m = &v->decision.candidates[candidate];
    bool set = marked(v, offset);

    switch (m->use) {
    case RAID_USE_IN_SYNC:
        return !(v->decision.dirty && set);
    case RAID_USE_RECOVERING:
    case RAID_USE_REPLACING:
        return (m->recover_by_bitmap && !set) ||
               (member_offset_end <= m->recovery_offset_bytes && !(v->decision.dirty && set));
    default:
        return m->may_readd && !set;
    }
}

static void explain_difference(
    struct view *v, const char *data, const char *reference, uint64_t offset, uint64_t length)
{
    for (uint64_t at = 0; at < length; at += SECTOR_BYTES) {
        if (!memcmp(data + at, reference + at, SECTOR_BYTES))
            continue;
        fprintf(stderr, "  sector %" PRIu64 "\n", (offset + at) / SECTOR_BYTES);
        crash_model_explain(&v->s->model, offset + at, data + at);
        crash_model_explain(&v->s->model, offset + at, reference + at);
        return;
    }
}

static void check_copy(struct view *v, unsigned candidate, uint64_t offset, uint64_t member_offset,
    uint64_t length, const char *reference)
{
    const char *data = data_of(v, candidate, member_offset);
    const struct raid_assembly_member *m = &v->decision.candidates[candidate];
    uint64_t bad;

    if (m->use == RAID_USE_IN_SYNC) {
        bad = crash_model_check_cut(&v->s->model, data, offset, length, v->moment);
        if (bad != CRASH_NEVER) {
            COMPLAIN(v->s, "moment %" PRIu64 ": sector %" PRIu64 " is wrong on %s", v->moment,
                bad / SECTOR_BYTES, v->candidates[candidate].name);
            crash_model_explain(&v->s->model, bad, data + (bad - offset));
        }
    }
    if (v->geometry.level != 0 && counts(v, candidate, offset, member_offset + length) &&
        memcmp(data, reference, length)) {
        COMPLAIN(v->s,
            "moment %" PRIu64 ": %s (%s%s, role %d, recovered %" PRIu64 ") differs at %" PRIu64
            "+%" PRIu64 ", %s, bit %d",
            v->moment, v->candidates[candidate].name, raid_use_name(m->use),
            m->recover_by_bitmap ? " by bitmap"
            : m->may_readd       ? ", may be re-added"
                                 : "",
            m->role, m->recovery_offset_bytes, offset, length,
            v->decision.dirty ? "dirty" : "clean", marked(v, offset));
        explain_difference(v, data, reference, offset, length);
    }
}

static void check_run(struct view *v, uint64_t offset, uint64_t *length)
{
    struct raid_location copies[RAID_COPIES_MAX];
    unsigned count = raid_geometry_map(&v->geometry, offset, copies, length);
    const char *reference = NULL;

    *length = MIN(*length, CHUNK_BYTES - offset % CHUNK_BYTES);
    for (unsigned i = 0; i < count && !reference; i++)
        if (in_sync(v, v->decision.members[copies[i].role]))
            reference =
                data_of(v, (unsigned)v->decision.members[copies[i].role], copies[i].offset_bytes);
    for (unsigned i = 0; i < count; i++)
        for (unsigned c = 0; c < v->count; c++)
            if (v->decision.candidates[c].role == (int)copies[i].role)
                check_copy(v, c, offset, copies[i].offset_bytes, *length, reference);
}

static void check_bitmaps(struct view *v)
{
    uint64_t events = v->sbs[v->decision.freshest].events;

    if (v->decision.bitmap_from < 0)
        COMPLAIN(v->s, "moment %" PRIu64 ": no bitmap is current", v->moment);
    for (unsigned c = 0; c < v->count; c++)
        if (in_sync(v, (int)c) && (!v->candidates[c].bitmap || v->headers[c].events < events))
            COMPLAIN(v->s,
                "moment %" PRIu64 ": bitmap of %s is at %" PRIu64 ", the array at %" PRIu64,
                v->moment, v->candidates[c].name, v->headers[c].events, events);
}

static void say_view(const struct view *v)
{
    for (unsigned c = 0; c < v->count; c++)
        fprintf(stderr, "  %s: number %u, events %" PRIu64 ", own role %x, %s role %d\n",
            v->candidates[c].name, v->sbs[c].dev_number, v->sbs[c].events,
            md_superblock_role(&v->sbs[c], v->sbs[c].dev_number),
            raid_use_name(v->decision.candidates[c].use), v->decision.candidates[c].role);
}

/* Makes the images of that moment and looks at them. */
static void look(struct stage *s, uint64_t moment)
{
    struct view *v = calloc(1, sizeof *v);
    struct error err = {0};
    unsigned before = atomic_load(&complaints);
    uint64_t length;

    if (!v)
        abort();
    v->s = s;
    v->moment = moment;
    for (unsigned i = 0; i < s->disk_count; i++)
        crash_disk_image(&s->disks[i], moment, &s->random, s->images[i]);
    view_disks(v);
    if (raid_assembly_decide(&v->decision, &v->geometry, v->candidates, v->count, false, &err)) {
        COMPLAIN(s, "moment %" PRIu64 ": cannot be assembled: %s", moment, err.text);
        say_view(v);
        free(v);
        return;
    }
    if (v->geometry.level != 0)
        check_bitmaps(v);
    for (uint64_t at = 0; at < v->geometry.size_bytes && atomic_load(&complaints) == before &&
                          (v->geometry.level == 0 || v->decision.bitmap_from >= 0);
         at += length)
        check_run(v, at, &length);
    if (atomic_load(&complaints) != before)
        say_view(v);
    raid_geometry_destroy(&v->geometry);
    free(v);
}

/* --- epochs --- */

static bool has_superblock(const struct crash_disk *d)
{
    struct md_superblock sb;

    return !md_superblock_decode(&sb, d->bytes + MD_SUPERBLOCK_OFFSET_BYTES, NULL);
}

static bool assemble(struct stage *s)
{
    struct blockdev *devs[DISKS_MAX];
    struct error err = {0};
    unsigned count = 0;
    int rc;

    for (unsigned i = 0; i < s->disk_count; i++)
        if (has_superblock(&s->disks[i]))
            devs[count++] = crash_disk_open(&s->disks[i]);
    rc = array_assemble(&s->array, devs, count, ARRAY_DEGRADED_OK, &err);
    if (!rc)
        return true;
    COMPLAIN(s, "cannot be assembled: %s", err.text);
    for (unsigned i = 0; i < count; i++)
        blockdev_close(devs[i]);
    return false;
}

static void settle(struct stage *s)
{
    unsigned calm = 0;

    for (unsigned i = 0; i < SETTLE_POLLS && calm < 4; i++) {
        co_sleep_ns(POLL_NS);
        calm = s->array->sync.running ? 0 : calm + 1;
    }
    if (calm < 4)
        COMPLAIN(s, "%s does not end", array_action_name(s->array->sync.action));
}

static void complain_of_answer(struct stage *s, unsigned turn, uint64_t used)
{
    uint64_t at = 0;

    while (at < used && !memcmp(s->found + at, s->again + at, SECTOR_BYTES))
        at += SECTOR_BYTES;
    COMPLAIN(s, "gives another answer later (%u), at %" PRIu64, turn, at);
    crash_model_explain(&s->model, at, s->found + at);
    crash_model_explain(&s->model, at, s->again + at);
}

/* One answer, whichever copy gives it. */
static void check_answers(struct stage *s, uint64_t moment)
{
    struct blockdev *dev = array_blockdev(s->array);
    uint64_t size = s->model.size_bytes, used = size, bad;

    if (blockdev_read(dev, s->found, 0, size))
        COMPLAIN(s, "cannot be read");
    bad = crash_model_check_cut(&s->model, s->found, 0, size, moment);
    if (bad != CRASH_NEVER) {
        COMPLAIN(s, "sector %" PRIu64 " is wrong after the power cut", bad / SECTOR_BYTES);
        crash_model_explain(&s->model, bad, s->found + bad);
    }
    if (pick(s, 4) == 0) {
        used = round_down(size / 2, CHUNK_BYTES);
        say_unused(s, used, size - used);
    }
    array_start(s->array);
    settle(s);
    for (unsigned i = 0; i < 2; i++) {
        if (blockdev_read(dev, s->again, 0, size))
            COMPLAIN(s, "cannot be read later");
        else if (memcmp(s->found, s->again, used))
            complain_of_answer(s, i, used);
        if (atomic_load(&s->array->bitmap.unsynced) || s->shape->level == 0)
            break;
        array_fail(s->array, s->disks[pick(s, s->disk_count)].name, NULL);
    }
}

/* As likely as any other: shortly before superblocks are written. */
static uint64_t choose_moment(struct stage *s, uint64_t since)
{
    const struct crash_disk *d = &s->disks[pick(s, s->disk_count)];
    uint64_t moment = since + pick(s, (unsigned)(crash_clock() - since));
    unsigned at = d->write_count ? pick(s, d->write_count) : 0;

    if (pick(s, 2))
        return moment;
    while (at < d->write_count && d->writes[at].offset != MD_SUPERBLOCK_OFFSET_BYTES)
        at++;
    return at < d->write_count ? MAX(since, d->writes[at].applied - pick(s, 16)) : moment;
}

static void epoch(struct stage *s, uint64_t begun)
{
    uint64_t since = crash_clock(), moment = since;

    SAY("epoch %u\n", s->epoch);
    if (!assemble(s))
        return;
    if (begun)
        check_answers(s, begun);
    else if (pick(s, 2))
        blockdev_unused(array_blockdev(s->array), 0, s->model.size_bytes);
    if (!begun)
        array_start(s->array);
    work(s);
    array_stop(s->array, NULL);
    for (unsigned i = 0; i <= LOOKS && !atomic_load(&complaints); i++) {
        moment = choose_moment(s, since);
        look(s, moment);
    }
    crash_model_cut(&s->model, moment);
    for (unsigned i = 0; i < s->disk_count; i++)
        crash_disk_restart(&s->disks[i], s->images[i]);
    if (atomic_load(&complaints) || ++s->epoch == EPOCHS)
        return;
    epoch(s, moment);
}

/* Small chunks, as `mdadm --bitmap-chunk` makes them. */
static void shrink_bitmap_chunks(struct crash_disk *d)
{
    struct md_bitmap_header h;
    struct md_superblock sb;
    char *at;

    if (md_superblock_decode(&sb, d->bytes + MD_SUPERBLOCK_OFFSET_BYTES, NULL) || sb.level == 0)
        return;
    at = d->bytes + bitmap_offset(&sb);
    if (md_bitmap_decode(&h, at, NULL))
        return;
    h.chunk_bytes = CHUNK_BYTES;
    md_bitmap_encode(&h, at);
    md_bitmap_fill(at + MD_BITMAP_HEADER_BYTES,
        md_bitmap_bits(h.sync_size * MD_SECTOR_BYTES, CHUNK_BYTES), true);
}

static void create(struct stage *s)
{
    struct array_params params = {.name = "crash",
        .level = s->shape->level,
        .layout = s->shape->layout,
        .chunk_bytes = CHUNK_BYTES};
    struct blockdev *devs[DISKS_MAX];
    struct error err = {0};
    unsigned spares = pick(s, s->shape->others + 1);

    for (unsigned i = 0; i < s->disk_count; i++)
        crash_disk_init(&s->disks[i], i, DISK_BYTES, s->seed);
    for (unsigned i = 0; i < s->shape->members + spares; i++)
        devs[i] = crash_disk_open(&s->disks[i]);
    if (array_create(
            &s->array, &params, devs, s->shape->members, devs + s->shape->members, spares, &err)) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    crash_model_init(&s->model, array_blockdev(s->array)->size_bytes);
    array_stop(s->array, NULL);
    for (unsigned i = 0; i < s->disk_count; i++) {
        shrink_bitmap_chunks(&s->disks[i]);
        memcpy(s->images[i], s->disks[i].bytes, DISK_BYTES);
        crash_disk_restart(&s->disks[i], s->images[i]);
    }
}

static void run_round(uint64_t seed)
{
    struct stage *s = calloc(1, sizeof *s);

    if (!s)
        abort();
    s->seed = seed;
    s->random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    s->shape = &shapes[seed % ARRAY_LEN(shapes)];
    s->disk_count = s->shape->members + s->shape->others;
    for (unsigned i = 0; i < s->disk_count; i++)
        s->images[i] = malloc(DISK_BYTES);
    gate_init(&s->guests);
    s->workers[0] = worker_self();
    s->worker_count = 1 + seed / ARRAY_LEN(shapes) % 2;
    if (s->worker_count > 1 && worker_create(&s->workers[1], "w1", NULL))
        abort();
    create(s);
    s->found = malloc(s->model.size_bytes);
    s->again = malloc(s->model.size_bytes);
    epoch(s, 0);
    if (s->worker_count > 1)
        worker_destroy(s->workers[1]);
    for (unsigned i = 0; i < s->disk_count; i++) {
        crash_disk_end(&s->disks[i]);
        free(s->images[i]);
    }
    crash_model_end(&s->model);
    free(s->found);
    free(s->again);
    free(s);
}

static uint64_t first = 1, rounds = ROUNDS;

static void run_rounds(void *arg)
{
    for (uint64_t seed = first; seed < first + rounds && !atomic_load(&complaints); seed++)
        run_round(seed);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        first = strtoull(argv[1], NULL, 10);
        rounds = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
        verbose = argc == 2;
    }
    if (rt_init(NULL, NULL) < 0 || rt_main(run_rounds, NULL) < 0)
        return 2;
    return atomic_load(&complaints) ? 1 : 0;
}
