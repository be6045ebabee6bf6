/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "array_watch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "daemon.h"
#include "places.h"
#include "rt/worker.h"
#include "state.h"

#define BEGIN_DUE_NS 1000000000

/*
 * Status while nobody stops the array; NULL: it is being stopped, or no memory. Under `view`, in
 * whose queue everybody comes before the one who forgets the array: `a` is still there when the
 * lock is ours, although its job was looked at by somebody else.
 */
static struct array_status *look(struct catalog_array *a)
{
    struct array_status *s = NULL;
    struct daemon *d = a->daemon;

    catalog_view_begin(d);
    if (a->array && !a->stopping)
        s = array_status(a->array);
    catalog_view_end(d);
    return s;
}

static void job_progress(void *owner, struct job_progress *progress)
{
    struct catalog_array *a = owner;
    struct array_status *s = look(a);

    if (s && s->sync.id == a->job_sync_id) {
        progress->done_bytes = s->sync.done_bytes;
        progress->total_bytes = s->sync.total_bytes;
        progress->paused = s->sync.paused;
    }
    free(s);
}

static void job_pause_array(void *owner, bool paused)
{
    struct catalog_array *a = owner;

    catalog_view_begin(a->daemon);
    if (a->array && !a->stopping)
        array_sync_pause(a->array, paused);
    catalog_view_end(a->daemon);
}

static void job_cancel_array(void *owner)
{
    struct catalog_array *a = owner;

    catalog_view_begin(a->daemon);
    if (a->array && !a->stopping)
        array_sync_cancel(a->array);
    catalog_view_end(a->daemon);
}

static const struct job_owner_ops job_ops = {job_progress, job_pause_array, job_cancel_array};

static void end_job(struct catalog_array *a, int rc)
{
    struct job *job = a->job;

    a->job = NULL;
    if (job)
        job_end(&a->daemon->jobs, job, rc);
}

static int begin_job(struct catalog_array *a, const struct array_sync_status *sync)
{
    const char *kind = array_action_name(sync->last_action);
    struct job *job = job_add(&a->daemon->jobs, kind, a->name, &job_ops, a);

    if (!job)
        return -ENOMEM;
    job->progress = (struct job_progress){sync->done_bytes, sync->total_bytes, sync->paused};
    a->job = job;
    a->job_id = job->id;
    a->job_sync_id = sync->id;
    co_event_set(&a->job_begun);
    return 0;
}

struct first_place {
    struct place place;
    bool found;
};

static void keep_first(void *arg, const struct place *p)
{
    struct first_place *first = arg;

    if (!first->found)
        *first = (struct first_place){*p, true};
}

static void tell_first(struct catalog_array *a, const struct array_mismatches *l)
{
    const struct array_mismatch *m = &l->items[0];
    struct first_place first = {.found = false};
    bool volume, known = m->suspects == 1;

    places_of(a, m, keep_first, &first);
    volume = first.place.use == PLACE_VOLUME;
    events_post(&a->daemon->events, EVENT_ARRAY_MISMATCH, a->name,
        "%s found %" PRIu64 " bytes that do not fit, first at %" PRIu64 " of %s%s%s%s",
        array_action_name(l->action), l->bytes,
        volume ? first.place.offset_bytes : first.place.array_offset_bytes,
        volume ? first.place.volume : "the array", known ? ": " : "",
        known ? l->members[m->roles[0]] : "", known ? " disagrees" : "");
}

/* Of a check or a repair that has ended, unless the next has begun. */
static void tell_mismatches(struct catalog_array *a, uint64_t sync_id)
{
    struct array_mismatches *l = NULL;

    catalog_view_begin(a->daemon);
    if (a->array && !a->stopping)
        l = array_mismatches(a->array);
    if (l && l->count && l->sync_id == sync_id)
        tell_first(a, l);
    catalog_view_end(a->daemon);
    free(l);
}

/* Brings the job in line with what the array has said of its background action. Ending a job waits,
 * and what was said may be old by then: ids only go up. */
static int follow_sync(struct catalog_array *a, const struct array_sync_status *sync)
{
    int rc = 0;

    if (sync->id > a->job_sync_id)
        end_job(a, -ECANCELED); /* if there still is one: overtaken before we looked */
    if (sync->id > a->job_sync_id && a->array)
        rc = begin_job(a, sync);
    if (a->job && sync->id == a->job_sync_id && sync->action == ARRAY_IDLE) {
        end_job(a, sync->result);
        if (sync->mismatch_bytes)
            tell_mismatches(a, sync->id);
    }
    return rc;
}

int array_watch_mark(struct catalog_array *a, uint64_t *mark)
{
    struct array_status *s = array_status(a->array);

    if (!s)
        return -ENOMEM;
    *mark = s->sync.id;
    free(s);
    co_event_clear(&a->job_begun);
    return 0;
}

/* The watcher sees the action begin: at once, or when the array's own coroutine gets to it. */
int array_watch_job(struct catalog_array *a, uint64_t mark, uint64_t *id)
{
    struct array_status *s = array_status(a->array);
    int rc = s ? follow_sync(a, &s->sync) : -ENOMEM;

    free(s);
    if (rc == 0 && a->job_sync_id <= mark)
        co_event_wait_until(&a->job_begun, rt_now_ns() + BEGIN_DUE_NS);
    if (rc == 0)
        *id = a->job_sync_id > mark ? a->job_id : 0;
    return rc;
}

static bool whole(enum array_state state)
{
    return state == ARRAY_CLEAN || state == ARRAY_ACTIVE;
}

static const struct array_member_status *find_member(const struct array_status *s, const char *name)
{
    for (unsigned i = 0; s && i < s->member_count; i++)
        if (!strcmp(s->members[i].name, name))
            return &s->members[i];
    return NULL;
}

static bool worth_telling(
    const struct array_member_status *now, const struct array_member_status *before, bool first)
{
    if (!*now->name)
        return false;
    if (first)
        return now->state == MEMBER_FAULTY || now->state == MEMBER_STALE;
    return !before || before->state != now->state;
}

static void tell_worn(struct catalog_array *a, const struct array_member_status *m, unsigned max)
{
    events_post(&a->daemon->events, EVENT_MEMBER_ERRORS, a->name,
        "%s wears out: %u read errors lately, more than %u", m->name, m->errors_recent, max);
}

/* Events for what differs; before is NULL at the first look. */
static void tell(
    struct catalog_array *a, const struct array_status *before, const struct array_status *now)
{
    struct events *events = &a->daemon->events;

    for (unsigned i = 0; i < now->member_count; i++) {
        const struct array_member_status *m = &now->members[i];
        const struct array_member_status *was = find_member(before, m->name);

        if (m->worn && !(was && was->worn))
            tell_worn(a, m, now->max_read_errors);
        if (worth_telling(m, was, !before))
            events_post(events, EVENT_MEMBER_STATE, a->name, "%s: %s", m->name,
                array_member_state_name(m->state));
    }
    for (unsigned i = 0; before && i < before->member_count; i++)
        if (*before->members[i].name && !find_member(now, before->members[i].name))
            events_post(
                events, EVENT_MEMBER_STATE, a->name, "%s: removed", before->members[i].name);
    if (before && before->state != now->state && !(whole(before->state) && whole(now->state)))
        events_post(events, EVENT_ARRAY_STATE, a->name, "%s", array_state_name(now->state));
}

/* One look; keeps the status in *last for the next. */
static void take_in(struct catalog_array *a, struct array_status **last)
{
    struct array_status *now = look(a);
    struct error err;

    if (!now)
        return;
    tell(a, *last, now);
    free(*last);
    *last = now;
    if (follow_sync(a, &now->sync) == 0)
        state_save(a->daemon, &err); /* the next job's number; it logs what goes wrong */
}

static void watch(void *arg)
{
    struct catalog_array *a = arg;
    struct array_status *last = NULL;
    uint64_t version = 0;

    while (a->array) {
        take_in(a, &last); /* waits: the array may be gone after it */
        if (a->array && !a->stopping)
            array_wait_change(a->array, &version);
        if (a->stopping)
            co_event_wait(&a->decided);
    }
    free(last);
    co_event_set(&a->unwatched);
}

int array_watch_start(struct catalog_array *a)
{
    a->stopping = false;
    a->job_sync_id = 0;
    co_event_init(&a->decided);
    co_event_init(&a->unwatched);
    co_event_init(&a->job_begun);
    return co_start("array watch", watch, a);
}

void array_watch_begin_stop(struct catalog_array *a)
{
    catalog_view_begin(a->daemon);
    co_event_clear(&a->decided);
    a->stopping = true;
    catalog_view_end(a->daemon);
}

void array_watch_end_stop(struct catalog_array *a, bool stopped)
{
    a->stopping = false;
    if (stopped)
        a->array = NULL;
    co_event_set(&a->decided);
    if (!stopped)
        return;
    co_event_wait(&a->unwatched);
    end_job(a, -ECANCELED);
}
