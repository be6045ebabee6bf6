/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who leads, who goes with whom, and in which order updates are admitted. */
#include "rig.h"

#include <stdlib.h>

#include "base/arith.h"
#include "raid/array_private.h"
#include "raid/stripe_join.h"

#define WRITERS 5u
#define MEBI    (UINT64_C(1) << 20)

struct scene {
    struct array *array;
    struct wait_group group;
    struct co_event go_on;
    unsigned order[WRITERS], done; /* in which they were through */
};

struct writer {
    struct scene *scene;
    unsigned number;
    uint64_t stripe, bytes;
    uint64_t end;   /* of the part */
    unsigned taken; /* by a leader: with it */
    bool led;
};

static struct scene *scene_new(void)
{
    struct scene *s = calloc(1, sizeof *s);

    s->array = calloc(1, sizeof *s->array);
    CU_ASSERT_EQUAL(stripe_join_init(s->array), 0);
    wait_group_init(&s->group);
    co_event_init(&s->go_on);
    return s;
}

static void scene_end(struct scene *s)
{
    stripe_join_destroy(s->array);
    free(s->array);
    free(s);
}

static void start(struct scene *s, struct writer *writers, co_entry *entry)
{
    wait_group_add(&s->group, WRITERS);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i].scene = s;
        writers[i].number = i;
        CU_ASSERT_EQUAL(co_start("writer", entry, &writers[i]), 0);
    }
}

static void lead(struct writer *w, struct stripe_part *p)
{
    struct stripe_part *parts[3];

    w->led = true;
    co_event_wait(&w->scene->go_on);
    w->taken = stripe_join_take(w->scene->array, p, parts, ARRAY_LEN(parts));
    CU_ASSERT_PTR_EQUAL(parts[0], p);
    stripe_join_end(w->scene->array, p, parts, w->taken, (int)w->number + 1);
}

static void join(void *arg)
{
    struct writer *w = arg;
    struct stripe_part p = {.stripe = w->stripe, .end = w->end};

    if (stripe_join(w->scene->array, &p))
        lead(w, &p);
    w->scene->order[w->number] = (unsigned)p.result;
    wait_group_done(&w->scene->group);
}

/* Four at one stripe, of which an update takes three; one at another, in the same shard. */
static void co_joining(void *arg)
{
    struct scene *s = scene_new();
    struct writer writers[WRITERS] = {
        {.stripe = 7}, {.stripe = 7}, {.stripe = 7 + 64}, {.stripe = 7}, {.stripe = 7}};

    start(s, writers, join);
    co_event_set(&s->go_on);
    wait_group_wait(&s->group);
    CU_ASSERT_TRUE(writers[0].led && writers[2].led && writers[4].led);
    CU_ASSERT_FALSE(writers[1].led || writers[3].led);
    CU_ASSERT_EQUAL(writers[0].taken, 3);
    CU_ASSERT_EQUAL(writers[2].taken, 1);
    CU_ASSERT_EQUAL(writers[4].taken, 1);
    /* all have their leader's result */
    CU_ASSERT_EQUAL(s->order[1], 1);
    CU_ASSERT_EQUAL(s->order[3], 1);
    CU_ASSERT_EQUAL(s->order[2], 3);
    CU_ASSERT_EQUAL(s->order[4], 5);
    scene_end(s);
}

/* Of stripes of two blocks of 64 KiB: the first is whole, the second becomes so, the third stays in
 * parts and has to wait for the second; the ninth has none before it. Says whether the third did:
 * where this test was kept from running for long, it may have waited enough. */
static bool run_sequence(void)
{
    struct scene *s = scene_new();
    struct writer writers[WRITERS] = {{.stripe = 1, .end = 128 << 10},
        {.stripe = 2, .end = 64 << 10}, {.stripe = 2, .end = 64 << 10},
        {.stripe = 3, .end = 64 << 10}, {.stripe = 9, .end = 64 << 10}};
    bool waited;

    s->array->geometry = (struct raid_geometry){.chunk_bytes = 64 << 10, .raid5.data = 2};
    start(s, writers, join);
    for (unsigned i = 0; i < 6; i++)
        co_yield ();
    CU_ASSERT_TRUE(writers[0].led && writers[1].led && writers[4].led);
    waited = !writers[3].led;
    co_event_set(&s->go_on);
    wait_group_wait(&s->group);
    CU_ASSERT_TRUE(writers[3].led);
    CU_ASSERT_FALSE(writers[2].led);
    CU_ASSERT_EQUAL(writers[1].taken, 2);
    scene_end(s);
    return waited;
}

static void co_more(void *arg)
{
    bool waited = false;

    for (unsigned i = 0; i < 10 && !waited; i++)
        waited = run_sequence();
    CU_ASSERT_TRUE(waited);
}

static void take_memory(void *arg)
{
    struct writer *w = arg;
    struct scene *s = w->scene;

    stripe_memory_take(s->array, w->bytes);
    s->order[s->done++] = w->number;
    co_event_wait(&s->go_on);
    co_yield ();
    stripe_memory_give(s->array, w->bytes);
    wait_group_done(&s->group);
}

/* The second has to wait, so the third does, too, although it would fit; one that is larger than
 * all there is comes alone. */
static void co_admission(void *arg)
{
    struct scene *s = scene_new();
    struct writer writers[WRITERS] = {{.bytes = 50 * MEBI}, {.bytes = 30 * MEBI}, {.bytes = MEBI},
        {.bytes = 500 * MEBI}, {.bytes = MEBI}};

    start(s, writers, take_memory);
    co_yield ();
    CU_ASSERT_EQUAL(s->done, 1);
    co_event_set(&s->go_on);
    wait_group_wait(&s->group);
    for (unsigned i = 0; i < WRITERS; i++)
        CU_ASSERT_EQUAL(s->order[i], i);
    scene_end(s);
}

static void run_one(co_entry *body)
{
    CU_ASSERT_EQUAL(rt_main(body, NULL), 0);
}

static void test_joining(void)
{
    run_one(co_joining);
}

static void test_more(void)
{
    run_one(co_more);
}

static void test_admission(void)
{
    run_one(co_admission);
}

CU_TestInfo stripe_join_tests[] = {
    {"writes that meet at a stripe go together", test_joining},
    {"parts behind a stripe that is written wait for more", test_more},
    {"updates are admitted in the order they come", test_admission},
    CU_TEST_INFO_NULL,
};
