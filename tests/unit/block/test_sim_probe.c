/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The simulator's stand-in for block/probe.c, and block/used.c on simulated disks. */
#include <errno.h>
#include <string.h>

#include "../rt/sim.h"
#include "base/bytes.h"
#include "block/member.h"
#include "block/probe.h"

#define PATH       "/disks/a"
#define DISK_BYTES (4u << 20)

static void add_disk(uint64_t seed)
{
    sim_reset(seed);
    sim_add_disk(&(struct sim_disk_params){.path = PATH,
        .size_bytes = DISK_BYTES,
        .logical_block_bytes = 512,
        .atomic_bytes = 512,
        .seed = seed});
}

static void put_md(unsigned version)
{
    unsigned char sb[SIM_SECTOR_BYTES] = {0};

    put_le32(sb, 0xa92b4efc);
    put_le32(sb + 4, version);
    sim_disk_poke(&sim->disks[0], sb, 4096, sizeof sb);
}

static void put_label(unsigned sector, unsigned number)
{
    unsigned char label[SIM_SECTOR_BYTES] = "LABELONE";

    put_le64(label + 8, number);
    memcpy(label + 24, "LVM2 001", 8);
    sim_disk_poke(&sim->disks[0], label, (uint64_t)sector * sizeof label, sizeof label);
}

/* linux/swap.h: version, last_page, magic. */
static void put_swap(uint64_t used_bytes)
{
    unsigned char page[4096] = {0};

    put_le32(page + 1024, 1);
    put_le32(page + 1028, (uint32_t)(used_bytes / sizeof page - 1));
    memcpy(page + 4086, "SWAPSPACE2", 10);
    sim_disk_poke(&sim->disks[0], page, 0, sizeof page);
}

static void probe(void *arg)
{
    const char *want = arg;
    struct error err = {0};
    struct probe_result r;

    CHECK(probe_path(PATH, &r, &err) == 0);
    CHECK(!strcmp(r.signature, want));
    CHECK(!*r.holder);
    CHECK(probe_refuse(PATH, true, &err) == 0);
    CHECK(probe_refuse(PATH, false, &err) == (*want ? -EEXIST : 0));
    CHECK(strstr(err.text, want));
}

static void test_signatures(void)
{
    add_disk(1);
    sim_check(probe, "");
    put_md(0);
    sim_check(probe, "");
    put_md(1);
    sim_check(probe, "linux_raid_member");
    put_label(3, 3);
    sim_check(probe, "linux_raid_member, LVM2_member");
    add_disk(2);
    put_label(1, 2);
    put_label(4, 4);
    sim_check(probe, "");
    put_label(0, 0);
    sim_check(probe, "LVM2_member");
}

static void probe_gone(void *arg)
{
    struct error err = {0};
    struct probe_result r;

    CHECK(probe_path(PATH, &r, &err) == -ENOENT);
    CHECK(probe_refuse(PATH, true, &err) == -ENOENT);
    CHECK(strstr(err.text, PATH));
}

static void test_gone(void)
{
    add_disk(1);
    sim->disks[0].present = false;
    sim_check(probe_gone, NULL);
}

static void find_used(void *arg)
{
    struct blockdev *d;
    struct error err = {0};
    uint64_t used_bytes = 1;
    char what[64];

    CHECK(member_open(PATH, 0, &d, &err) == 0);
    CHECK(probe_used_bytes(d, &used_bytes, what, sizeof what, &err) == 0);
    CHECK(used_bytes == *(uint64_t *)arg);
    blockdev_close(d);
}

/* A former owner's data are taken for nothing. */
static void test_used(void)
{
    for (uint64_t seed = 1; seed <= SIM_SEEDS; seed++) {
        uint64_t none = 0, half = DISK_BYTES / 2;

        add_disk(seed);
        sim_check(find_used, &none);
        put_swap(half);
        sim_check(find_used, &half);
    }
}

static CU_TestInfo probe_tests[] = {
    {"signatures", test_signatures},
    {"a disk that is gone", test_gone},
    {"how much is used", test_used},
    CU_TEST_INFO_NULL,
};

int main(int argc, char **argv)
{
    CU_SuiteInfo suites[] = {{.pName = "sim_probe", .pTests = probe_tests}, CU_SUITE_INFO_NULL};

    sim_init(argv);
    return unit_main(argc, argv, suites);
}
