/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The model beside a mirror of two disks with caches, one sector of it: random histories in which
 * copies are lost and come back. The model must allow whatever is read, and whatever stands on a
 * copy after the power was cut.
 *
 * The mirror does what an array promises: writes that overlap reach both copies in the same order;
 * where copies may differ, it is always the same one that answers.
 */
#include <stdio.h>
#include <string.h>

#include "base/arith.h"
#include "model.h"
#include "rt/sim/random.h"
#include "unit.h"

#define SECTOR        MODEL_SECTOR_BYTES
#define HISTORIES     30000u
#define STEPS         120u
#define VALUES        (STEPS + 1)
#define COPIES        2u
#define NONE          UINT32_MAX
#define UNDER_WAY_MAX 4u

struct copy {
    bool present;
    unsigned applied[4 * STEPS]; /* values; applied[0] is on the medium, the last one shows */
    unsigned count, flush_mark;
};

struct write {
    unsigned ticket;
    bool under_way, on[COPIES]; /* it has reached that copy */
};

static struct {
    uint64_t seed;
    struct sim_random random;
    struct copy copies[COPIES];
    unsigned primary; /* answers where copies may differ */
    bool differ;
    struct write writes[VALUES];
    unsigned values, under_way;
    unsigned holder; /* has begun to reach copies, and keeps others out */
    bool flushing, reading;
    uint32_t flush_begun, read_begun;
    unsigned sampled;
    bool bad;
} mirror;

static struct model model;
static char contents[VALUES][SECTOR], why[MODEL_WHY_LEN];

static unsigned pick(unsigned limit)
{
    return (unsigned)sim_below(&mirror.random, limit);
}

static unsigned shows(const struct copy *c)
{
    return c->applied[c->count - 1];
}

static void apply(struct copy *c, unsigned value)
{
    c->applied[c->count++] = value;
}

static void make_durable(struct copy *c, unsigned first)
{
    c->count -= first;
    memmove(c->applied, c->applied + first, c->count * sizeof *c->applied);
    c->flush_mark = c->flush_mark > first ? c->flush_mark - first : 0;
}

static void complain(const char *what, unsigned value)
{
    fprintf(stderr, "history %llu: %s %u: %s\n", (unsigned long long)mirror.seed, what, value, why);
    mirror.bad = true;
}

/* --- writes --- */

static void begin_write(void)
{
    unsigned value = mirror.values;
    struct write *w = &mirror.writes[value];

    if (mirror.under_way == UNDER_WAY_MAX)
        return;
    mirror.under_way++;
    mirror.values++;
    *w = (struct write){.under_way = true};
    w->ticket = model_write_begin(&model, MODEL_DATA, 0, SECTOR, contents[value]);
}

static bool is_complete(const struct write *w)
{
    for (unsigned i = 0; i < COPIES; i++)
        if (mirror.copies[i].present && !w->on[i])
            return false;
    return true;
}

static void reach_copy(void)
{
    unsigned value = mirror.holder == NONE ? pick(mirror.values) : mirror.holder, i = pick(COPIES);
    struct write *w = &mirror.writes[value];

    if (!w->under_way || is_complete(w) || !mirror.copies[i].present || w->on[i])
        return;
    apply(&mirror.copies[i], value);
    w->on[i] = true;
    mirror.holder = is_complete(w) ? NONE : value;
}

static void end_write(void)
{
    unsigned value = pick(mirror.values);
    struct write *w = &mirror.writes[value];
    bool ok = is_complete(w), fua = ok && !pick(4);

    if (!w->under_way || (!ok && pick(8)))
        return;
    w->under_way = false;
    mirror.under_way--;
    if (mirror.holder == value) {
        mirror.holder = NONE;
        mirror.differ = true;
    }
    for (unsigned i = 0; fua && i < COPIES; i++)
        for (unsigned k = mirror.copies[i].count; mirror.copies[i].present && k-- > 0;)
            if (mirror.copies[i].applied[k] == value)
                make_durable(&mirror.copies[i], k);
    model_write_end(&model, w->ticket, ok, fua);
}

/* --- flushes and reads --- */

static void step_flush(void)
{
    for (unsigned i = 0; i < COPIES; i++)
        if (mirror.flushing)
            make_durable(&mirror.copies[i], mirror.copies[i].flush_mark);
        else
            mirror.copies[i].flush_mark = mirror.copies[i].count - 1;
    if (mirror.flushing)
        model_flush_end(&model, mirror.flush_begun, true);
    else
        mirror.flush_begun = model_flush_begin(&model);
    mirror.flushing = !mirror.flushing;
}

static void step_read(void)
{
    unsigned i = pick(COPIES);

    if (mirror.differ || !mirror.copies[i].present)
        i = mirror.primary;
    if (!mirror.reading) {
        mirror.read_begun = model_read_begin(&model);
        mirror.sampled = pick(2) ? shows(&mirror.copies[i]) : NONE;
    } else {
        if (mirror.sampled == NONE)
            mirror.sampled = shows(&mirror.copies[i]);
        if (model_read_check(&model, mirror.read_begun, contents[mirror.sampled], 0, SECTOR, why) !=
            MODEL_GOOD)
            complain("reads", mirror.sampled);
    }
    mirror.reading = !mirror.reading;
}

/* --- copies --- */

static void lose_copy(void)
{
    unsigned i = pick(COPIES);
    struct write *w = mirror.holder == NONE ? NULL : &mirror.writes[mirror.holder];

    if (!mirror.copies[0].present || !mirror.copies[1].present)
        return;
    model_unpin(&model);
    mirror.copies[i].present = false;
    mirror.primary = !i;
    model_pin(&model);
    if (w && is_complete(w))
        mirror.holder = NONE;
}

/* It comes back, and is filled; or a resync makes it the same. */
static void fill_copy(void)
{
    const struct copy *from = &mirror.copies[mirror.primary];
    struct copy *to = &mirror.copies[!mirror.primary];

    if (mirror.holder != NONE)
        return;
    if (!to->present)
        *to = (struct copy){.present = true, .applied = {shows(from)}, .count = 1};
    else if (mirror.differ)
        apply(to, shows(from));
    for (unsigned value = 0; value < mirror.values; value++)
        mirror.writes[value].on[!mirror.primary] = mirror.writes[value].on[mirror.primary];
    if (mirror.differ)
        for (unsigned i = 0; i < COPIES; i++)
            make_durable(&mirror.copies[i], mirror.copies[i].count - 1);
    mirror.differ = false;
}

static void look_at(struct copy *c)
{
    if (c->present && model_check_image(&model, contents[shows(c)], 0, SECTOR, why) != MODEL_GOOD)
        complain("a copy holds", shows(c));
}

static void cut(void)
{
    bool power = pick(3);

    for (unsigned i = 0; power && i < COPIES; i++) {
        struct copy *c = &mirror.copies[i];

        c->applied[0] = c->applied[pick(c->count)];
        c->count = 1;
    }
    for (unsigned value = 0; value < mirror.values; value++)
        mirror.writes[value].under_way = false;
    mirror.under_way = 0;
    mirror.differ = true;
    mirror.holder = NONE;
    mirror.flushing = mirror.reading = false;
    (power ? model_cut : model_killed)(&model);
    for (unsigned i = 0; i < COPIES; i++)
        look_at(&mirror.copies[i]);
}

/* --- histories --- */

static void step(void)
{
    static void (*const steps[])(void) = {begin_write, begin_write, reach_copy, reach_copy,
        reach_copy, reach_copy, end_write, end_write, end_write, end_write, step_flush, step_read,
        step_read, step_read, step_read};

    switch (pick(40)) {
    case 0:
        cut();
        break;
    case 1:
        lose_copy();
        break;
    case 2:
        fill_copy();
        break;
    default:
        steps[pick(ARRAY_LEN(steps))]();
    }
}

static void run_history(uint64_t seed)
{
    memset(&mirror, 0, sizeof mirror);
    mirror.seed = seed;
    mirror.random = (struct sim_random){seed};
    mirror.holder = NONE;
    mirror.values = 1;
    for (unsigned i = 0; i < COPIES; i++)
        mirror.copies[i] = (struct copy){.present = true, .count = 1};
    model_init(&model, 7, SECTOR, MODEL_START_ZEROS);
    for (unsigned i = 0; i < STEPS && !mirror.bad; i++)
        step();
}

static void test_histories(void)
{
    bool bad = false;

    for (uint64_t seed = 1; seed <= HISTORIES && !bad; seed++) {
        run_history(seed);
        bad = mirror.bad;
    }
    CU_ASSERT_FALSE(bad);
}

static CU_TestInfo tests[] = {
    {"histories", test_histories},
    CU_TEST_INFO_NULL,
};

int main(int argc, char **argv)
{
    CU_SuiteInfo suites[] = {
        {"model of a mirror", NULL, NULL, NULL, NULL, tests}, CU_SUITE_INFO_NULL};

    return unit_main(argc, argv, suites);
}
