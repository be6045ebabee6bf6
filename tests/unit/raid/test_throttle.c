/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The throttle beside invented guests and disks. */
#include "unit.h"

#include "raid/throttle.h"

#define MIB UINT64_C(1048576)
#define MS  UINT64_C(1000000)

/* A disk on which guests wait baseline_ns, and as much again for each harmful_rate that background
 * work has; which does most_rate, or what it is allowed. */
struct world {
    struct throttle throttle;
    struct throttle_sample sample;
    uint64_t baseline_ns, harmful_rate, most_rate;
    uint64_t requests_per_tick;
};

static void world_init(struct world *w)
{
    *w = (struct world){.baseline_ns = 100000, .requests_per_tick = 10};
    w->sample.now_ns = 1000000 * MS;
    w->harmful_rate = w->most_rate = 1000 * MIB;
    throttle_init(&w->throttle, false, w->sample.now_ns);
}

static uint64_t rate_of(const struct world *w)
{
    const struct throttle *t = &w->throttle;

    if (t->phase == THROTTLE_FREE)
        return w->most_rate;
    if (t->phase != THROTTLE_PACED)
        return 0;
    return t->rate < w->most_rate ? t->rate : w->most_rate;
}

static void tick(struct world *w)
{
    uint64_t rate = rate_of(w), n = w->requests_per_tick;

    w->sample.now_ns += THROTTLE_TICK_NS;
    w->sample.begun_bytes += rate * THROTTLE_TICK_NS / (1000 * MS);
    w->sample.requests += n;
    w->sample.timed += n;
    w->sample.latency_ns += n * (w->baseline_ns + w->baseline_ns * rate / w->harmful_rate);
    throttle_update(&w->throttle, &w->sample);
}

static void run_ms(struct world *w, uint64_t ms)
{
    for (uint64_t end_ns = w->sample.now_ns + ms * MS; w->sample.now_ns < end_ns;)
        tick(w);
}

static void run_until(struct world *w, enum throttle_phase phase)
{
    for (unsigned i = 0; w->throttle.phase != phase; i++) {
        CU_ASSERT_FATAL(i < 1000);
        tick(w);
    }
}

static void test_goes_at_full_speed_without_guests(void)
{
    struct world w;

    world_init(&w);
    w.requests_per_tick = 0;
    for (unsigned i = 0; i < 1000; i++) {
        CU_ASSERT_EQUAL(throttle_gap_ns(&w.throttle, MIB), 0);
        CU_ASSERT_EQUAL(throttle_window_bytes(&w.throttle), THROTTLE_WINDOW_BYTES);
        tick(&w);
    }
}

static void test_slows_at_the_first_request(void)
{
    struct world w;

    world_init(&w);
    tick(&w);
    CU_ASSERT_EQUAL(w.throttle.phase, THROTTLE_PACED);
    CU_ASSERT_EQUAL(throttle_gap_ns(&w.throttle, 16 * MIB), 1000 * MS);
    CU_ASSERT(throttle_window_bytes(&w.throttle) < THROTTLE_WINDOW_BYTES);
}

static void test_slows_for_a_request_that_is_stuck(void)
{
    struct world w;

    world_init(&w);
    w.requests_per_tick = 0;
    w.sample.waiting = true;
    tick(&w);
    CU_ASSERT_EQUAL(w.throttle.phase, THROTTLE_PACED);
    run_ms(&w, 5000);
    CU_ASSERT_NOT_EQUAL(w.throttle.phase, THROTTLE_FREE);
    CU_ASSERT_EQUAL(w.throttle.rate, THROTTLE_FLOOR);
}

static void test_pauses_when_nothing_is_under_way(void)
{
    struct world w;

    world_init(&w);
    w.sample.in_flight = 1;
    run_until(&w, THROTTLE_DRAIN);
    run_ms(&w, 100);
    CU_ASSERT_EQUAL(w.throttle.phase, THROTTLE_DRAIN);
    w.sample.in_flight = 0;
    tick(&w);
    CU_ASSERT_EQUAL(w.throttle.phase, THROTTLE_PAUSE);
}

static void test_takes_the_baseline_in_pauses(void)
{
    struct world w;

    world_init(&w);
    run_until(&w, THROTTLE_PAUSE);
    run_until(&w, THROTTLE_PACED);
    CU_ASSERT_EQUAL(w.throttle.baseline_ns, w.baseline_ns);
    w.baseline_ns *= 10;
    run_ms(&w, 10000);
    CU_ASSERT(w.throttle.baseline_ns > w.baseline_ns * 9 / 10);
}

static void test_pauses_for_a_small_part_of_the_time(void)
{
    struct world w;
    unsigned not_paced = 0;

    world_init(&w);
    for (unsigned i = 0; i < 10000; i++) {
        tick(&w);
        not_paced += w.throttle.phase != THROTTLE_PACED;
    }
    CU_ASSERT(not_paced > 500 && not_paced < 1500);
}

static void test_harmless_work_speeds_up_to_what_disks_do(void)
{
    struct world w;

    world_init(&w);
    w.harmful_rate = 1000000 * MIB;
    run_ms(&w, 5000);
    run_until(&w, THROTTLE_PACED);
    CU_ASSERT(w.throttle.rate >= w.most_rate);
    CU_ASSERT(w.throttle.rate <= 4 * w.most_rate);
}

static void test_guests_wait_a_fifth_longer(void)
{
    struct world w;

    for (uint64_t harmful = 40 * MIB; harmful < 2000 * MIB; harmful *= 3) {
        world_init(&w);
        w.harmful_rate = harmful;
        run_ms(&w, 10000);
        run_until(&w, THROTTLE_PACED);
        CU_ASSERT(w.throttle.rate > harmful / 5 * 9 / 10);
        CU_ASSERT(w.throttle.rate < harmful / 5 * 11 / 10);
    }
}

static void test_never_falls_below_the_floor(void)
{
    struct world w;

    world_init(&w);
    w.harmful_rate = MIB / 100;
    for (unsigned i = 0; i < 10000; i++) {
        tick(&w);
        CU_ASSERT_FATAL(w.throttle.rate >= THROTTLE_FLOOR);
    }
    CU_ASSERT_EQUAL(w.throttle.rate, THROTTLE_FLOOR);
}

static void test_is_free_soon_after_guests_fell_idle(void)
{
    struct world w;

    world_init(&w);
    run_ms(&w, 3000);
    w.requests_per_tick = 0;
    run_ms(&w, 40);
    CU_ASSERT_EQUAL(w.throttle.phase, THROTTLE_FREE);
}

static void test_guests_who_come_back_find_the_rate_of_before(void)
{
    struct world w;
    uint64_t rate;

    world_init(&w);
    w.harmful_rate = 80 * MIB;
    run_ms(&w, 10000);
    run_until(&w, THROTTLE_PACED);
    rate = w.throttle.rate;
    w.requests_per_tick = 0;
    run_ms(&w, 3000);
    CU_ASSERT_EQUAL(w.throttle.phase, THROTTLE_FREE);
    CU_ASSERT_EQUAL(w.throttle.rate, rate);
}

/* One request every 100 ms. */
static void test_waits_for_guests_who_are_slow(void)
{
    struct world w;

    world_init(&w);
    for (unsigned i = 0; i < 400; i++) {
        w.requests_per_tick = i % 20 == 0;
        tick(&w);
        if (i > 40)
            CU_ASSERT_NOT_EQUAL(w.throttle.phase, THROTTLE_FREE);
    }
    w.requests_per_tick = 0;
    run_ms(&w, 1000);
    CU_ASSERT_EQUAL(w.throttle.phase, THROTTLE_FREE);
}

static void test_windows_grow_with_the_rate(void)
{
    struct throttle t;
    uint64_t last = 0;

    throttle_init(&t, false, 0);
    t.phase = THROTTLE_PACED;
    for (t.rate = THROTTLE_FLOOR; t.rate < 16384 * MIB; t.rate *= 2) {
        uint64_t bytes = throttle_window_bytes(&t);

        CU_ASSERT(bytes >= last && bytes >= 4096 && bytes <= THROTTLE_WINDOW_BYTES);
        last = bytes;
    }
    CU_ASSERT_EQUAL(last, THROTTLE_WINDOW_BYTES);
}

CU_TestInfo throttle_tests[] = {
    {"goes at full speed without guests", test_goes_at_full_speed_without_guests},
    {"slows at the first request", test_slows_at_the_first_request},
    {"slows for a request that is stuck", test_slows_for_a_request_that_is_stuck},
    {"pauses when nothing is under way", test_pauses_when_nothing_is_under_way},
    {"takes the baseline in pauses", test_takes_the_baseline_in_pauses},
    {"pauses for a small part of the time", test_pauses_for_a_small_part_of_the_time},
    {"harmless work speeds up to what disks do", test_harmless_work_speeds_up_to_what_disks_do},
    {"guests wait a fifth longer", test_guests_wait_a_fifth_longer},
    {"never falls below the floor", test_never_falls_below_the_floor},
    {"is free soon after guests fell idle", test_is_free_soon_after_guests_fell_idle},
    {"guests who come back find the rate of before",
        test_guests_who_come_back_find_the_rate_of_before},
    {"waits for guests who are slow", test_waits_for_guests_who_are_slow},
    {"windows grow with the rate", test_windows_grow_with_the_rate},
    CU_TEST_INFO_NULL,
};
