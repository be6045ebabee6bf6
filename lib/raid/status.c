/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What users see of an array. Control's worker. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "raid/array_private.h"
#include "raid/mismatch.h"

static enum array_state state_of(const struct array *a)
{
    if (atomic_load(&a->failed))
        return ARRAY_FAILED;
    if (array_degraded(a))
        return ARRAY_DEGRADED;
    return atomic_load(&a->busy) ? ARRAY_ACTIVE : ARRAY_CLEAN;
}

/* Sync bytes of RAID5 and RAID6 are the members': each stands for as many as a stripe has data. */
static uint64_t in_array_bytes(const struct array *a, uint64_t sync_bytes)
{
    return a->geometry.parity ? sync_bytes * a->geometry.raid5.data : sync_bytes;
}

/* The last chunk may be shorter, which is not looked at. */
static uint64_t unsynced_bytes(const struct array *a)
{
    uint64_t chunks = array_redundant(a) ? atomic_load(&a->bitmap.unsynced) : 0;

    return MIN(in_array_bytes(a, chunks << a->bitmap.chunk_shift), a->geometry.size_bytes);
}

static void describe(const struct array *a, const struct member *m, struct array_member_status *out)
{
    enum array_member_state state = member_state(m);

    *out = (struct array_member_status){
        .role = state <= MEMBER_REPLACING ? m->role : -1,
        .state = state,
        .errors_corrected = atomic_load(&m->errors_corrected),
        .errors = atomic_load(&m->errors),
        .errors_recent = atomic_load(&m->errors_recent),
        .worn = state == MEMBER_IN_SYNC && wear_is_over(a, m),
    };
    memcpy(out->name, m->dev->name, sizeof out->name);
}

/* The member that fills the role, or one that is missing; then its replacement. */
static unsigned describe_role(const struct array *a, unsigned role, struct array_member_status *out)
{
    unsigned count = 0;

    if (array_writable(a->roles[role]))
        describe(a, a->roles[role], &out[count++]);
    else
        out[count++] = (struct array_member_status){.role = (int)role, .state = MEMBER_MISSING};
    if (array_writable(a->replacements[role]))
        describe(a, a->replacements[role], &out[count++]);
    return count;
}

static void describe_members(const struct array *a, struct array_status *s)
{
    for (unsigned role = 0; role < a->geometry.raid_disks; role++)
        s->member_count += describe_role(a, role, &s->members[s->member_count]);
    for (enum array_member_state state = MEMBER_SPARE; state <= MEMBER_STALE; state++)
        list_for_each (it, &a->members) {
            const struct member *m = container_of(it, struct member, link);
            if (member_state(m) == state)
                describe(a, m, &s->members[s->member_count++]);
        }
}

static void describe_sync(const struct array *a, struct array_sync_status *s)
{
    *s = a->sync.status;
    s->action = a->sync.running ? a->sync.action : ARRAY_IDLE;
    s->paused = atomic_load(&a->sync.paused);
    s->done_bytes = in_array_bytes(a, atomic_load(&a->sync.done_bytes));
    s->total_bytes = in_array_bytes(a, atomic_load(&a->sync.total_bytes));
    s->mismatch_bytes = atomic_load(&a->sync.mismatch_bytes);
}

struct array_status *array_status(struct array *a)
{
    unsigned room = a->member_count + 2 * a->geometry.raid_disks;
    struct array_status *s = calloc(1, sizeof *s + room * sizeof s->members[0]);

    if (!s)
        return NULL;
    snprintf(s->name, sizeof s->name, "%s", a->name);
    memcpy(s->uuid, a->sb.set_uuid, sizeof s->uuid);
    s->level = a->geometry.level;
    s->layout = a->geometry.layout;
    s->chunk_bytes = a->geometry.chunk_bytes;
    s->size_bytes = a->geometry.size_bytes;
    s->member_bytes = a->geometry.member_bytes;
    s->raid_disks = a->geometry.raid_disks;
    s->missing = a->geometry.raid_disks - atomic_load(&a->in_sync);
    s->max_read_errors = atomic_load(&a->max_read_errors);
    s->state = state_of(a);
    s->events = atomic_load(&a->events);
    s->unsynced_bytes = unsynced_bytes(a);
    s->bitmap = a->bitmap.on_disk;
    s->bitmap_chunk_bytes = a->bitmap.on_disk ? bitmap_log_chunk_bytes(a) : 0;
    s->parity_log = a->log;
    describe_sync(a, &s->sync);
    describe_members(a, s);
    return s;
}

struct array_mismatches *array_mismatches(const struct array *a)
{
    return mismatches_copy(a->mismatches);
}

const char *array_state_name(enum array_state state)
{
    static const char *const names[] = {
        [ARRAY_CLEAN] = "clean",
        [ARRAY_ACTIVE] = "active",
        [ARRAY_DEGRADED] = "degraded",
        [ARRAY_FAILED] = "failed",
    };
    return names[state];
}

const char *array_member_state_name(enum array_member_state state)
{
    static const char *const names[] = {
        [MEMBER_IN_SYNC] = "in-sync",
        [MEMBER_RECOVERING] = "recovering",
        [MEMBER_REPLACING] = "replacing",
        [MEMBER_SPARE] = "spare",
        [MEMBER_FAULTY] = "faulty",
        [MEMBER_STALE] = "stale",
        [MEMBER_MISSING] = "missing",
    };
    return names[state];
}

const char *array_action_name(enum array_action action)
{
    static const char *const names[] = {
        [ARRAY_IDLE] = "idle",
        [ARRAY_RESYNC] = "resync",
        [ARRAY_RECOVERY] = "recovery",
        [ARRAY_REPLACE] = "replace",
        [ARRAY_CHECK] = "check",
        [ARRAY_REPAIR] = "repair",
    };
    return names[action];
}
