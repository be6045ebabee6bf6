/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The model's rules by name; then random histories of one sector, in which the model must allow
 * just what the oracle allows (contents that tell all writes apart), or at least that (contents of
 * all kinds).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "content.h"
#include "model.h"
#include "model_oracle.h"
#include "rt/sim/disk.h"
#include "rt/sim/random.h"
#include "unit.h"

#define SECTOR    MODEL_SECTOR_BYTES
#define HISTORIES 400u
#define STEPS     40u

static struct model model, scratch;
static char why[MODEL_WHY_LEN];

/* --- the rules, by name --- */

static char contents[ORACLE_VALUES][SECTOR];

static unsigned begin(unsigned value)
{
    return model_write_begin(&model, MODEL_DATA, 0, SECTOR, contents[value]);
}

static void write_one(unsigned value)
{
    model_write_end(&model, begin(value), true, false);
}

static void flush(void)
{
    model_flush_end(&model, model_flush_begin(&model), true);
}

static bool gives(unsigned value)
{
    uint32_t begun = model_read_begin(&model);

    return model_read_check(&model, begun, contents[value], 0, SECTOR, why) == MODEL_GOOD;
}

static void start(void)
{
    model_init(&model, 3, 4 * SECTOR, MODEL_START_ZEROS);
    memset(contents[0], 0, SECTOR);
}

static void test_acknowledged_is_read(void)
{
    start();
    write_one(1);
    CU_ASSERT(!gives(0));
    CU_ASSERT(gives(1));
}

static void test_under_way_is_either(void)
{
    unsigned write;

    start();
    write = begin(1);
    CU_ASSERT(gives(1));
    CU_ASSERT(gives(0));
    model_write_end(&model, write, true, false);
    CU_ASSERT(!gives(0));
}

static void test_failed_is_either_but_one(void)
{
    start();
    model_write_end(&model, begin(1), false, false);
    CU_ASSERT(gives(0));
    CU_ASSERT(!gives(1));
}

static void test_overlapping_are_in_one_order(void)
{
    unsigned a, b;

    start();
    a = begin(1);
    b = begin(2);
    model_write_end(&model, a, true, false);
    model_write_end(&model, b, true, false);
    CU_ASSERT(!gives(0));
    CU_ASSERT(gives(1));
    CU_ASSERT(!gives(2));
}

static void test_cut_brings_back_what_was_not_flushed(void)
{
    start();
    write_one(1);
    flush();
    write_one(2);
    write_one(3);
    model_cut(&model);
    CU_ASSERT(!gives(0));
    CU_ASSERT(gives(2));
    CU_ASSERT(!gives(1));
    CU_ASSERT(!gives(3));
    model_cut(&model);
    CU_ASSERT(!gives(1));
    CU_ASSERT(gives(2));
}

static void test_flush_covers_what_had_ended(void)
{
    uint32_t flushing;
    unsigned write;

    start();
    write = begin(1);
    flushing = model_flush_begin(&model);
    model_write_end(&model, write, true, false);
    model_flush_end(&model, flushing, true);
    model_cut(&model);
    CU_ASSERT(gives(0));
}

static void test_failed_flush_covers_nothing(void)
{
    start();
    write_one(1);
    model_flush_end(&model, model_flush_begin(&model), false);
    model_cut(&model);
    CU_ASSERT(gives(0));
}

static void test_fua_is_durable(void)
{
    start();
    model_write_end(&model, begin(1), true, true);
    model_cut(&model);
    CU_ASSERT(!gives(0));
    CU_ASSERT(gives(1));
}

static void test_kill_keeps_what_was_acknowledged(void)
{
    start();
    write_one(1);
    begin(2);
    model_killed(&model);
    CU_ASSERT(!gives(0));
    CU_ASSERT(gives(2));
    CU_ASSERT(!gives(1));
    model_cut(&model); /* it was in the cache only */
    CU_ASSERT(gives(1));
}

static void test_forgotten_is_either(void)
{
    start();
    write_one(1);
    flush();
    write_one(2);
    CU_ASSERT(gives(2));
    model_forgotten(&model);
    CU_ASSERT(gives(2));
    model_cut(&model); /* it was in the disk's cache only */
    CU_ASSERT(gives(1));
    CU_ASSERT(!gives(2));
    CU_ASSERT(!gives(0));
}

static void test_failed_may_linger(void)
{
    for (unsigned linger = 0; linger < 2; linger++) {
        start();
        model.failed_linger = linger;
        write_one(1);
        flush();
        write_one(2);
        model_write_end(&model, begin(3), false, false);
        CU_ASSERT(gives(2));
        CU_ASSERT(!gives(3));
        model_cut(&model);
        CU_ASSERT_EQUAL(gives(3), linger);
    }
}

static void test_copies_are_known(void)
{
    unsigned ticket;

    start();
    write_one(1);
    flush();
    write_one(2);
    flush();
    ticket = model_copy_begin(&model, 0, SECTOR, contents[1]);
    CU_ASSERT(gives(1));
    CU_ASSERT(gives(2));
    model_write_end(&model, ticket, true, true);
    CU_ASSERT(gives(1));
    CU_ASSERT(!gives(2));
    model_cut(&model);
    CU_ASSERT(!gives(2));
}

static void test_flush_keeps_what_was_seen(void)
{
    start();
    begin(1);
    model_killed(&model);
    CU_ASSERT(gives(1));
    flush();
    model_cut(&model);
    CU_ASSERT(!gives(0));
}

static void test_lost_copy_brings_back_the_other(void)
{
    start();
    write_one(1);
    flush();
    write_one(2);
    model_cut(&model);
    CU_ASSERT(gives(2));
    model_unpin(&model);
    CU_ASSERT(gives(1));
    CU_ASSERT(gives(2));
    CU_ASSERT(!gives(0));
    model_pin(&model);
    CU_ASSERT(gives(1));
    CU_ASSERT(!gives(2));
}

static void test_images_may_differ(void)
{
    start();
    write_one(1);
    model_cut(&model);
    CU_ASSERT(gives(1));
    CU_ASSERT(model_check_image(&model, contents[0], 0, SECTOR, why) == MODEL_GOOD);
    CU_ASSERT(model_check_image(&model, contents[1], 0, SECTOR, why) == MODEL_GOOD);
    model_write_end(&model, begin(2), true, true);
    CU_ASSERT(model_check_image(&model, contents[1], 0, SECTOR, why) == 0);
}

static void test_changing_buffer_becomes_one(void)
{
    char other[SECTOR];
    unsigned write;

    start();
    write = model_write_begin(&model, MODEL_MUTABLE, 0, SECTOR, contents[1]);
    memcpy(other, contents[1], SECTOR);
    model_write_change(&model, write, contents[1], 64, 128, true);
    model_write_end(&model, write, true, false);
    CU_ASSERT(gives(1));
    CU_ASSERT(gives(1));
    CU_ASSERT(model_read_check(&model, model_read_begin(&model), other, 0, SECTOR, why) == 0);
}

static void test_first_contents(void)
{
    uint64_t noise[SECTOR / 8] = {SIM_NOISE_MAGIC};

    start();
    memcpy(contents[1], noise, SECTOR);
    memset(contents[2], 0xaa, SECTOR);
    CU_ASSERT(!gives(1));
    model_init(&model, 3, SECTOR, MODEL_START_OWN);
    CU_ASSERT(!gives(1));
    CU_ASSERT(gives(2));
    CU_ASSERT(!gives(0));
    model_init(&model, 3, SECTOR, MODEL_START_ANYTHING);
    CU_ASSERT(gives(1));
    CU_ASSERT(!gives(2));
}

static void test_other_devices_are_told(void)
{
    start();
    write_one(1);
    model_init(&model, 4, SECTOR, MODEL_START_OWN);
    CU_ASSERT(!gives(1));
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "holds write 1 of device 3, sector 0"));
    write_one(2);
    CU_ASSERT(!gives(1));
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "write 1 (data)"));
}

static void test_resize(void)
{
    start();
    model_resize(&model, SECTOR, MODEL_START_ZEROS);
    write_one(1);
    model_resize(&model, 2 * SECTOR, MODEL_START_ZEROS);
    CU_ASSERT(gives(1));
    CU_ASSERT(model_read_check(&model, model_read_begin(&model), contents[0], SECTOR, SECTOR,
                  why) == MODEL_GOOD);
    model_resize(&model, 0, MODEL_START_ZEROS);
    model_resize(&model, SECTOR, MODEL_START_ZEROS);
    CU_ASSERT(gives(0));
    CU_ASSERT(!gives(1));
}

/* What was written before a shrink says nothing of what a growth adds. */
static void test_resize_and_flush(void)
{
    char buf[4 * SECTOR];

    start();
    model_write_end(&model, model_write_begin(&model, MODEL_DATA, 0, sizeof buf, buf), true, false);
    model_resize(&model, SECTOR, MODEL_START_ZEROS);
    model_resize(&model, sizeof buf, MODEL_START_ZEROS);
    model_write_end(
        &model, model_write_begin(&model, MODEL_DATA, SECTOR, SECTOR, buf), false, false);
    flush();
    memset(buf, 0, sizeof buf);
    CU_ASSERT_EQUAL(
        model_read_check(&model, model_read_begin(&model), buf, SECTOR, SECTOR, why), MODEL_GOOD);
}

static void test_discard(void)
{
    start();
    write_one(1);
    memcpy(contents[2], contents[1], SECTOR);
    model_write_end(&model, model_write_begin(&model, MODEL_DISCARD, 0, SECTOR, NULL), true, false);
    CU_ASSERT(gives(1));
    CU_ASSERT(!gives(0));
}

static void test_many_versions_melt(void)
{
    start();
    for (unsigned i = 1; i < 30; i++)
        write_one(i);
    CU_ASSERT(model.melted > 0);
    CU_ASSERT(!gives(1));
    CU_ASSERT(gives(29));
    model_cut(&model);
    CU_ASSERT(gives(1));
    CU_ASSERT(gives(29));
    model_write_end(&model, begin(30), true, true);
    CU_ASSERT(!gives(29));
    CU_ASSERT(model.version_counts[0] == 1);
}

/* --- histories --- */

struct history {
    struct sim_random random;
    bool all_kinds;
    struct oracle oracle;
    unsigned values; /* written so far, with the first */
    unsigned tickets[ORACLE_VALUES];
    enum model_kind kinds[ORACLE_VALUES];
    uint32_t read_begun[ORACLE_READS], flush_begun;
    bool flushing;
};

static struct history history;
static unsigned disagreements;

static unsigned pick(unsigned limit)
{
    return (unsigned)sim_below(&history.random, limit);
}

/* What the disk makes of it; the model knows only what it may. */
static void choose_contents(unsigned value)
{
    char *buf = contents[value];

    switch (history.kinds[value]) {
    case MODEL_MUTABLE:
        model_write_change(&model, history.tickets[value], buf, 8 * pick(60), 8 * pick(4), true);
        break;
    case MODEL_UNUSED:
    case MODEL_DISCARD:
        memcpy(buf, contents[pick(value)], SECTOR);
        break;
    default:
        memset(buf, 0, SECTOR);
    }
}

static void begin_write(struct history *h)
{
    static const enum model_kind kinds[] = {
        MODEL_DATA, MODEL_DATA, MODEL_MUTABLE, MODEL_ZEROS, MODEL_DISCARD, MODEL_UNUSED};
    unsigned value = h->values;

    if (value == ORACLE_VALUES || oracle_depth(&h->oracle) > 6 ||
        __builtin_popcountll(h->oracle.under_way) > 2)
        return;
    h->values++;
    h->kinds[value] = h->all_kinds ? kinds[pick(6)] : MODEL_DATA;
    h->tickets[value] = model_write_begin(&model, h->kinds[value], 0, SECTOR, contents[value]);
    if (h->kinds[value] != MODEL_DATA)
        choose_contents(value);
    oracle_write_begin(&h->oracle, value);
}

static void end_write(struct history *h)
{
    bool ok = pick(5), fua = !pick(4);
    unsigned value = pick(h->values);

    if (!(h->oracle.under_way >> value & 1))
        return;
    model_write_end(&model, h->tickets[value], ok, fua);
    oracle_write_end(&h->oracle, value, ok, fua);
}

static void step_flush(struct history *h)
{
    bool ok = pick(5);

    if (h->flushing) {
        model_flush_end(&model, h->flush_begun, ok);
        oracle_flush_end(&h->oracle, ok);
    } else {
        h->flush_begun = model_flush_begin(&model);
        oracle_flush_begin(&h->oracle);
    }
    h->flushing = !h->flushing;
}

/* As much as is in use. */
static void copy_model(struct model *to, const struct model *from)
{
    memcpy(to, from, offsetof(struct model, versions));
    memcpy(to->versions[0], from->versions[0], sizeof to->versions[0]);
    memcpy(to->writes, from->writes, from->slots_used * sizeof *to->writes);
}

static bool model_allows(struct model *m, uint32_t begun, unsigned value)
{
    return model_read_check(m, begun, contents[value], 0, SECTOR, why) == MODEL_GOOD;
}

static void compare(struct history *h, unsigned read)
{
    uint64_t possible = oracle_possible(&h->oracle, read);

    for (unsigned value = 0; value < h->values; value++) {
        bool allowed;

        why[0] = '\0';
        copy_model(&scratch, &model);
        allowed = model_allows(&scratch, h->read_begun[read], value);
        if (allowed == (possible >> value & 1) || (allowed && (h->all_kinds || model.melted)))
            continue;
        disagreements++;
        fprintf(stderr, "write %u: the model says %s: %s\n", value, allowed ? "yes" : "no", why);
    }
}

static uint64_t same_contents(const struct history *h, unsigned value)
{
    uint64_t values = 0;

    for (unsigned i = 0; i < h->values; i++)
        if (!memcmp(contents[i], contents[value], SECTOR))
            values |= UINT64_C(1) << i;
    return values;
}

static void step_read(struct history *h)
{
    unsigned read = pick(ORACLE_READS), value;

    if (!h->oracle.reading[read]) {
        h->read_begun[read] = model_read_begin(&model);
        oracle_read_begin(&h->oracle, read);
        return;
    }
    compare(h, read);
    do
        value = pick(h->values);
    while (!(oracle_possible(&h->oracle, read) >> value & 1));
    model_allows(&model, h->read_begun[read], value);
    oracle_read_end(&h->oracle, read, same_contents(h, value));
}

static void step_cut(struct history *h)
{
    bool power = pick(3);

    if (power)
        model_cut(&model);
    else
        model_killed(&model);
    oracle_cut(&h->oracle, power);
    h->flushing = false;
}

static void step(struct history *h)
{
    switch (pick(16)) {
    case 0:
        step_cut(h);
        break;
    case 1:
    case 2:
        step_flush(h);
        break;
    case 3:
    case 4:
    case 5:
    case 6:
        step_read(h);
        break;
    case 7:
    case 8:
    case 9:
        begin_write(h);
        break;
    default:
        end_write(h);
    }
}

static void begin_history(struct history *h, uint64_t seed, bool all_kinds)
{
    enum model_start first;

    h->random = (struct sim_random){seed};
    h->all_kinds = all_kinds;
    h->values = 1;
    h->flushing = false;
    first = all_kinds ? pick(3) : MODEL_START_ZEROS;
    memset(contents[0], first == MODEL_START_ZEROS ? 0 : 0x55, SECTOR);
    model_init(&model, 3, SECTOR, first);
    oracle_init(&h->oracle);
}

/* What a snapshot was read as does not change with the device; nor the other way round. */
static void test_forks_go_on_by_themselves(void)
{
    uint32_t begun;

    start();
    write_one(1);
    begun = model_read_begin(&model);
    model_fork(&scratch, &model, 1000);
    model_read_failed(&model, begun);
    write_one(2);
    CU_ASSERT(gives(2));
    CU_ASSERT_EQUAL(model_read_check(&scratch, begun, contents[1], 0, SECTOR, why), MODEL_GOOD);
    model_write_end(
        &scratch, model_write_begin(&scratch, MODEL_DATA, 0, SECTOR, contents[3]), true, true);
    CU_ASSERT(!gives(3));
    CU_ASSERT_NOT_EQUAL(model_check_image(&scratch, contents[2], 0, SECTOR, why), MODEL_GOOD);
    CU_ASSERT_EQUAL(model_check_image(&scratch, contents[3], 0, SECTOR, why), MODEL_GOOD);
}

/* That value, then zeros. */
static const char *four(unsigned value)
{
    static char sectors[4 * SECTOR];

    memcpy(sectors, contents[value], SECTOR);
    return sectors;
}

static void test_going_back_is_as_before_or_as_then(void)
{
    unsigned ticket;

    start();
    write_one(1);
    model_init(&scratch, 3, 4 * SECTOR, MODEL_START_ZEROS);
    model_write_end(&scratch, model_copy_begin(&scratch, 0, 4 * SECTOR, four(1)), true, true);
    write_one(2);
    flush();
    ticket = model_copy_model_begin(&model, &scratch);
    CU_ASSERT_EQUAL(model_check_image(&model, contents[2], 0, SECTOR, why), MODEL_GOOD);
    CU_ASSERT_EQUAL(model_check_image(&model, contents[1], 0, SECTOR, why), MODEL_GOOD);
    model_write_end(&model, ticket, true, true);
    CU_ASSERT(!gives(2));
    CU_ASSERT(gives(1));
}

static void run_histories(bool all_kinds)
{
    disagreements = 0;
    for (uint64_t seed = 1; seed <= HISTORIES && !disagreements; seed++) {
        struct history *h = &history;

        begin_history(h, seed, all_kinds);
        for (unsigned i = 0; i < STEPS && !disagreements; i++)
            step(h);
        if (disagreements)
            fprintf(stderr, "in history %llu\n", (unsigned long long)seed);
    }
    CU_ASSERT_EQUAL(disagreements, 0);
}

static void test_histories_of_data(void)
{
    run_histories(false);
}

static void test_histories_of_all_kinds(void)
{
    run_histories(true);
}

static CU_TestInfo tests[] = {
    {"acknowledged is read", test_acknowledged_is_read},
    {"under way is either", test_under_way_is_either},
    {"failed is either, but one", test_failed_is_either_but_one},
    {"overlapping are in one order", test_overlapping_are_in_one_order},
    {"a cut brings back what was not flushed", test_cut_brings_back_what_was_not_flushed},
    {"a flush covers what had ended", test_flush_covers_what_had_ended},
    {"a failed flush covers nothing", test_failed_flush_covers_nothing},
    {"FUA is durable", test_fua_is_durable},
    {"a kill keeps what was acknowledged", test_kill_keeps_what_was_acknowledged},
    {"a kill with a map in memory", test_forgotten_is_either},
    {"copies", test_copies_are_known},
    {"a failed write behind a map", test_failed_may_linger},
    {"a flush keeps what was seen", test_flush_keeps_what_was_seen},
    {"a lost copy brings back the other", test_lost_copy_brings_back_the_other},
    {"images may differ", test_images_may_differ},
    {"a changing buffer becomes one", test_changing_buffer_becomes_one},
    {"first contents", test_first_contents},
    {"other devices are told", test_other_devices_are_told},
    {"resize", test_resize},
    {"resizing with writes not flushed", test_resize_and_flush},
    {"discard", test_discard},
    {"many versions melt", test_many_versions_melt},
    {"forks go on by themselves", test_forks_go_on_by_themselves},
    {"going back", test_going_back_is_as_before_or_as_then},
    {"histories of data", test_histories_of_data},
    {"histories of all kinds", test_histories_of_all_kinds},
    CU_TEST_INFO_NULL,
};

int main(int argc, char **argv)
{
    CU_SuiteInfo suites[] = {{"model", NULL, NULL, NULL, NULL, tests}, CU_SUITE_INFO_NULL};

    return unit_main(argc, argv, suites);
}
