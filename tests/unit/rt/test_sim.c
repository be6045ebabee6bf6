/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The simulator: machines that live and are cut off, workers that take turns, virtual time, and the
 * same history from the same seed.
 */
#include <CUnit/Basic.h>
#include <stdlib.h>
#include <string.h>

#include "rt/io.h"
#include "rt/sim/sim.h"
#include "rt/sim/site.h"
#include "rt/sync.h"
#include "rt/worker.h"

#define DISK_BYTES (1u << 20)
#define BLOCK      4096u

static struct record {
    uint64_t number;
    unsigned reached;
    char order[64];
    char buf[BLOCK];
} * record;

static void add_disks(unsigned count)
{
    static const char *const paths[] = {"/disks/d0", "/disks/d1"};

    for (unsigned i = 0; i < count; i++)
        sim_add_disk(&(struct sim_disk_params){.path = paths[i],
            .size_bytes = DISK_BYTES,
            .logical_block_bytes = 512,
            .atomic_bytes = 512,
            .seed = sim->seed + i});
}

static void do_nothing(void *arg)
{
    record->reached++;
}

static void test_stop(void)
{
    sim_reset(1);
    CU_ASSERT_EQUAL(sim_live(do_nothing, NULL), SIM_STOPPED);
    CU_ASSERT_EQUAL(record->reached, 1);
}

static void sleep_long(void *arg)
{
    uint64_t begun = rt_now_ns();

    co_sleep_ns(UINT64_C(3600000000000));
    record->number = rt_now_ns() - begun;
}

static void test_time_is_virtual(void)
{
    sim_reset(2);
    CU_ASSERT_EQUAL(sim_live(sleep_long, NULL), SIM_STOPPED);
    CU_ASSERT_EQUAL(record->number, UINT64_C(3600000000000));
}

static void wait_for_nothing(void *arg)
{
    co_suspend("nothing");
}

static void test_deadlock_is_a_failure(void)
{
    sim_reset(3);
    CU_ASSERT_EQUAL(sim_live(wait_for_nothing, NULL), SIM_FAILED);
    CU_ASSERT_PTR_NOT_NULL(strstr(sim->failure, "deadlock"));
}

static void crash(void *arg)
{
    abort();
}

static void test_a_dead_machine_is_a_failure(void)
{
    sim_reset(4);
    CU_ASSERT_EQUAL(sim_live(crash, NULL), SIM_FAILED);
    CU_ASSERT_PTR_NOT_NULL(strstr(sim->failure, "died: Aborted"));
}

#define WORKERS 3
#define ROUNDS  20

struct crew {
    struct spinlock lock;
    struct wait_group working;
    unsigned count;
};

static void take_turns(void *arg)
{
    struct crew *crew = arg;

    for (unsigned i = 0; i < ROUNDS; i++) {
        spin_lock(&crew->lock);
        if (crew->count < sizeof record->order - 1)
            record->order[crew->count] = (char)('0' + worker_index(worker_self()));
        crew->count++;
        spin_unlock(&crew->lock);
    }
    wait_group_done(&crew->working);
}

static void run_crew(void *arg)
{
    struct crew crew = {.lock = SPINLOCK_INIT};
    struct worker *workers[WORKERS];

    wait_group_init(&crew.working);
    wait_group_add(&crew.working, WORKERS);
    for (unsigned i = 0; i < WORKERS; i++)
        if (worker_create(&workers[i], "crew", NULL) ||
            worker_start(workers[i], "turns", take_turns, &crew))
            sim_fail("no crew");
    wait_group_wait(&crew.working);
    for (unsigned i = 0; i < WORKERS; i++)
        worker_destroy(workers[i]);
    record->number = crew.count;
}

static void test_workers_interleave_as_the_seed_says(void)
{
    char first[sizeof record->order];
    unsigned different = 0;
    uint64_t hash;

    for (uint64_t seed = 1; seed < 9; seed++) {
        sim_reset(seed);
        sim->preempt = true;
        CU_ASSERT_EQUAL(sim_live(run_crew, NULL), SIM_STOPPED);
        CU_ASSERT_EQUAL(record->number, WORKERS * ROUNDS);
        hash = sim->hash;
        memcpy(first, record->order, sizeof first);
        sim_reset(seed);
        sim->preempt = true;
        CU_ASSERT_EQUAL(sim_live(run_crew, NULL), SIM_STOPPED);
        CU_ASSERT_EQUAL(hash, sim->hash);
        CU_ASSERT_STRING_EQUAL(first, record->order);
        /* Not one after the other. */
        for (unsigned i = 1; i < sizeof first - 1; i++)
            different += first[i] != first[i - 1] && first[i];
    }
    CU_ASSERT(different > 8 * WORKERS);
}

static void transfer(struct file *f, enum io_kind kind, unsigned flags, uint64_t block, char fill)
{
    char *buf = io_buffer_get(BLOCK);
    struct iovec v = {buf, BLOCK};
    struct io io = {.kind = kind,
        .flags = flags,
        .file = f,
        .iov = &v,
        .iov_count = 1,
        .offset = block * BLOCK};

    if (!buf)
        sim_fail("no memory");
    memset(buf, fill, BLOCK);
    if (kind == IO_SYNC)
        io.iov_count = 0;
    if (io_run(&io))
        sim_fail("io: %d", io.result);
    memcpy(record->buf, buf, BLOCK);
    io_buffer_put(buf, BLOCK);
}

static void write_then_flush(void *arg)
{
    struct file *f;

    if (file_open("/disks/d0", FILE_EXCLUSIVE, &f, NULL))
        sim_fail("no disk");
    transfer(f, IO_WRITE, 0, 0, 'a');
    transfer(f, IO_SYNC, 0, 0, 0);
    transfer(f, IO_WRITE, 0, 1, 'b');
    transfer(f, IO_WRITE, IO_FUA, 2, 'c');
    record->reached = 2;
    co_sleep_ns(1000000000);
    file_close(f);
}

static void read_back(void *arg)
{
    const uint64_t *block = arg;
    struct file *f;

    if (file_open("/disks/d0", FILE_EXCLUSIVE | FILE_READ_ONLY, &f, NULL))
        sim_fail("no disk");
    transfer(f, IO_READ, 0, *block, 0);
    file_close(f);
}

static char read_block(uint64_t block)
{
    CU_ASSERT_EQUAL(sim_live(read_back, &block), SIM_STOPPED);
    return record->buf[0];
}

static void test_a_power_cut_keeps_what_was_flushed(void)
{
    unsigned lost = 0, kept = 0;

    for (uint64_t seed = 1; seed < 40; seed++) {
        sim_reset(seed);
        add_disks(1);
        sim->cut.at_ns = sim->now_ns + 500000000;
        CU_ASSERT_EQUAL(sim_live(write_then_flush, NULL), SIM_POWER_CUT);
        CU_ASSERT_EQUAL(record->reached, 2);
        CU_ASSERT_EQUAL(read_block(0), 'a');
        CU_ASSERT_EQUAL(read_block(2), 'c');
        if (read_block(1) == 'b')
            kept++;
        else
            lost++;
    }
    CU_ASSERT(lost > 3);
    CU_ASSERT(kept > 3);
}

static void test_a_kill_keeps_the_disks_caches(void)
{
    for (uint64_t seed = 1; seed < 20; seed++) {
        sim_reset(seed);
        add_disks(1);
        sim->cut = (struct sim_cut){.kill = true, .at_ns = sim->now_ns + 500000000};
        CU_ASSERT_EQUAL(sim_live(write_then_flush, NULL), SIM_KILLED);
        CU_ASSERT_EQUAL(read_block(1), 'b');
    }
}

static void cut_at(uint64_t write, enum sim_phase phase, uint64_t seed)
{
    sim_reset(seed);
    add_disks(1);
    sim->cut = (struct sim_cut){.writes = write, .phase = phase};
    CU_ASSERT_EQUAL(sim_live(write_then_flush, NULL), SIM_POWER_CUT);
}

static uint64_t cuts(enum sim_phase phase)
{
    unsigned count;
    const struct sim_site *sites = sim_sites(&count);
    uint64_t sum = 0;

    for (unsigned i = 0; i < count; i++)
        sum += sites[i].cut[phase];
    return sum;
}

static void test_cut_at_a_write(void)
{
    uint64_t before = cuts(SIM_BEFORE), during = cuts(SIM_DURING), after = cuts(SIM_AFTER);
    unsigned torn = 0;

    for (uint64_t seed = 1; seed < 20; seed++) {
        cut_at(1, SIM_BEFORE, seed);
        CU_ASSERT_NOT_EQUAL(read_block(0), 'a');
        cut_at(1, SIM_DURING, seed);
        read_block(0);
        for (unsigned i = 512; i < BLOCK; i += 512)
            torn += (record->buf[i] == 'a') != (record->buf[i - 512] == 'a');
        cut_at(2, SIM_AFTER, seed);
        CU_ASSERT_EQUAL(read_block(0), 'a');
    }
    CU_ASSERT(torn > 10);
    CU_ASSERT_EQUAL(cuts(SIM_BEFORE), before + 19);
    CU_ASSERT_EQUAL(cuts(SIM_DURING), during + 19);
    CU_ASSERT_EQUAL(cuts(SIM_AFTER), after + 19);
}

static void open_missing(void *arg)
{
    struct file *f;
    struct error err = {0};

    record->number = (uint64_t)-file_open("/disks/d1", 0, &f, &err);
    record->reached = strstr(err.text, "/disks/d1") != NULL;
}

static void test_a_disk_that_is_gone(void)
{
    sim_reset(1);
    add_disks(2);
    sim->disks[1].present = false;
    CU_ASSERT_EQUAL(sim_live(open_missing, NULL), SIM_STOPPED);
    CU_ASSERT_EQUAL(record->number, 2);
    CU_ASSERT_EQUAL(record->reached, 1);
}

static unsigned changed = 1;
static void *kept;

static void change_memory(void *arg)
{
    record->number = changed++;
    record->reached = kept != NULL;
    kept = malloc(100000);
    co_sleep_ns(1000);
    if (arg)
        sim_power_cut(false);
}

static void test_a_machine_leaves_the_program_as_it_was(void)
{
    sim_share_process();
    for (unsigned i = 0; i < 100; i++) {
        sim_reset(i + 1);
        CU_ASSERT_EQUAL(
            sim_live(change_memory, i % 2 ? "cut" : NULL), i % 2 ? SIM_POWER_CUT : SIM_STOPPED);
        CU_ASSERT_EQUAL(record->number, 1);
        CU_ASSERT_EQUAL(record->reached, 0);
        CU_ASSERT_EQUAL(changed, 1);
    }
    sim->isolated = true;
}

static uint64_t history_of_crew(uint64_t seed)
{
    sim_reset(seed);
    CU_ASSERT_EQUAL(sim_live(run_crew, NULL), SIM_STOPPED);
    CU_ASSERT_EQUAL(sim_live(run_crew, NULL), SIM_STOPPED);
    return sim->hash;
}

static void test_a_history_is_the_same_in_processes_and_without(void)
{
    for (uint64_t seed = 1; seed < 20; seed++) {
        uint64_t isolated = history_of_crew(seed);

        sim_share_process();
        CU_ASSERT_EQUAL(history_of_crew(seed), isolated);
        sim->isolated = true;
    }
}

static CU_TestInfo tests[] = {
    {"a machine stops", test_stop},
    {"time is virtual", test_time_is_virtual},
    {"a deadlock is a failure", test_deadlock_is_a_failure},
    {"a dead machine is a failure", test_a_dead_machine_is_a_failure},
    {"workers interleave as the seed says", test_workers_interleave_as_the_seed_says},
    {"a power cut keeps what was flushed", test_a_power_cut_keeps_what_was_flushed},
    {"a kill keeps the disks' caches", test_a_kill_keeps_the_disks_caches},
    {"cut at a write", test_cut_at_a_write},
    {"a disk that is gone", test_a_disk_that_is_gone},
    {"a machine leaves the program as it was", test_a_machine_leaves_the_program_as_it_was},
    {"a history is the same in processes and without",
        test_a_history_is_the_same_in_processes_and_without},
    CU_TEST_INFO_NULL,
};

int main(int argc, char **argv)
{
    CU_SuiteInfo suites[] = {{"sim", NULL, NULL, NULL, NULL, tests}, CU_SUITE_INFO_NULL};

    sim_init(argv);
    record = sim_share(sizeof *record);
    if (CU_initialize_registry() != CUE_SUCCESS || CU_register_suites(suites) != CUE_SUCCESS)
        return 2;
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    return CU_get_number_of_failures() ? 1 : 0;
}
