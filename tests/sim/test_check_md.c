/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The checkers of arrays: they accept what Linux and we have written, agree with both about where
 * everything is, and name each kind of damage.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "check_copies.h"
#include "raid/geometry.h"
#include "raid/golden.h"
#include "raid/rig.h"

#define SUPER  4096u
#define BITMAP 8192u
#define ROLES  (SUPER + 256)

/* Images of disks, and what is said of them. */
struct bench {
    unsigned count;
    char *bytes[CHECK_MD_DISKS_MAX];
    struct check_disk disks[CHECK_MD_DISKS_MAX];
    struct check_md c;
};

static bool look(struct bench *b)
{
    return check_md(&b->c, b->disks, b->count, NULL);
}

/* Copies too, everywhere. */
static bool look_closely(struct bench *b)
{
    return look(b) && check_copies_agree(&b->c, 0, b->c.layout.size_bytes);
}

static void add_image(struct bench *b, const char *name, uint64_t size_bytes)
{
    b->bytes[b->count] = calloc(1, size_bytes);
    b->disks[b->count] = check_image(name, b->bytes[b->count], size_bytes);
    b->count++;
}

static void clear(struct bench *b)
{
    for (unsigned i = 0; i < b->count; i++)
        free(b->bytes[i]);
    b->count = 0;
}

static void expect_silence(const struct bench *b, const char *what)
{
    CU_ASSERT_EQUAL(b->c.problems.count, 0);
    if (b->c.problems.count)
        printf("%s: %s", what, b->c.problems.text);
}

static bool is_said(const struct bench *b, const char *what)
{
    for (unsigned i = 0; i < b->c.disk_count; i++)
        if (strstr(b->c.disks[i].damage, what))
            return true;
    return strstr(b->c.problems.text, what);
}

static void expect_said(const struct bench *b, const char *name, const char *what)
{
    CU_ASSERT(is_said(b, what));
    if (!is_said(b, what))
        printf("%s: \"%s\" is not in \"%s\"\n", name, what, b->c.problems.text);
}

/* --- arrays of Linux --- */

static void load(struct bench *b, const struct golden *g)
{
    for (unsigned i = 0; i < g->count; i++) {
        add_image(b, g->members[i].name, g->members[i].bytes);
        memcpy(b->bytes[i], g->members[i].head, GOLDEN_HEAD_BYTES);
    }
}

/* "Active device 2", "spare" */
static int role_of(const struct golden_member *m)
{
    const char *role = json_string_value(json_object_get(m->json, "role"));
    int number;

    return sscanf(role, "Active device %d", &number) == 1 ? number : -1;
}

static bool has_place(const struct check_layout *l, uint64_t offset, int role, uint64_t at)
{
    struct check_place places[CHECK_ROLES_MAX];
    uint64_t run;
    unsigned count = check_layout_map(l, offset, places, &run);

    for (unsigned i = 0; i < count; i++)
        if ((int)places[i].role == role && places[i].offset_bytes == at)
            return true;
    return false;
}

/* Where Linux has put each block; returns how many bytes. */
static uint64_t check_placement(const struct check_layout *l, int role, FILE *f)
{
    uint64_t at, offset, bytes, sum = 0;

    while (fscanf(f, "%" SCNu64 " %" SCNu64 " %" SCNu64, &at, &offset, &bytes) == 3) {
        CU_ASSERT(has_place(l, offset, role, at));
        CU_ASSERT(has_place(l, offset + bytes - 512, role, at + bytes - 512));
        sum += bytes;
    }
    return sum;
}

static void check_golden(struct bench *b, const struct golden *g)
{
    CU_ASSERT(look(b));
    expect_silence(b, g->name);
    CU_ASSERT(b->c.starts);
    CU_ASSERT_EQUAL(b->c.layout.size_bytes, (uint64_t)golden_number(g->manifest, "array_bytes"));
    for (unsigned i = 0; i < g->count; i++)
        CU_ASSERT_EQUAL(b->c.disks[i].role, role_of(&g->members[i]));
}

static void test_golden(void)
{
    struct bench b = {0};
    unsigned arrays = 0;

    for (const char *const *name = golden_ours; *name; name++) {
        struct golden *g = golden_load(*name);
        uint64_t sum = 0;

        load(&b, g);
        check_golden(&b, g);
        for (unsigned i = 0; i < g->count; i++) {
            FILE *f = golden_file(g, i, "placement");
            if (f && b.c.disks[i].state == CHECK_MD_IN_SYNC)
                sum += check_placement(&b.c.layout, b.c.disks[i].role, f);
            if (f)
                fclose(f);
        }
        arrays += sum > 0;
        clear(&b);
        golden_free(g);
    }
    CU_ASSERT_EQUAL(arrays, 32);
}

/* --- arrays of ours --- */

struct shape {
    int level;
    uint32_t layout;
    unsigned members;
};

static const struct shape shapes[] = {
    {0, 0, 3},
    {1, 0, 2},
    {1, 0, 3},
    {10, RAID10_LAYOUT_NEAR(2), 2},
    {10, RAID10_LAYOUT_NEAR(2), 3},
    {10, RAID10_LAYOUT_NEAR(2), 4},
    {10, RAID10_LAYOUT_NEAR(2), 5},
    {10, RAID10_LAYOUT_NEAR(3), 4},
    {10, RAID10_LAYOUT_FAR(2), 3},
    {10, RAID10_LAYOUT_FAR(2), 4},
    {10, RAID10_LAYOUT_FAR(3), 5},
    {10, RAID10_LAYOUT_FAR(2) | RAID10_LAYOUT_OFFSET, 3},
    {10, RAID10_LAYOUT_FAR(2) | RAID10_LAYOUT_OFFSET, 4},
    {10, 0x202, 4},
    {5, RAID5_LAYOUT_LEFT_SYMMETRIC, 3},
    {5, RAID5_LAYOUT_LEFT_ASYMMETRIC, 4},
    {5, RAID5_LAYOUT_RIGHT_SYMMETRIC, 5},
    {5, RAID5_LAYOUT_RIGHT_ASYMMETRIC, 4},
    {5, RAID5_LAYOUT_PARITY_FIRST, 2},
    {5, RAID5_LAYOUT_PARITY_LAST, 3},
    {6, RAID5_LAYOUT_LEFT_SYMMETRIC, 5},
    {6, RAID5_LAYOUT_LEFT_ASYMMETRIC, 5},
    {6, RAID5_LAYOUT_RIGHT_SYMMETRIC, 5},
    {6, RAID5_LAYOUT_RIGHT_ASYMMETRIC, 5},
    {6, RAID5_LAYOUT_PARITY_FIRST, 4},
    {6, RAID5_LAYOUT_PARITY_LAST, 5},
    {6, RAID6_LAYOUT_Q_LAST | RAID5_LAYOUT_LEFT_SYMMETRIC, 5},
    {6, RAID6_LAYOUT_Q_LAST | RAID5_LAYOUT_RIGHT_ASYMMETRIC, 4},
};

/* What stands on the rig's disks. */
static void take(struct bench *b, struct rig *r)
{
    for (unsigned i = 0; i < r->disk_count; i++) {
        add_image(b, rig_name(i), r->disks[i].size_bytes);
        blockdev_read(r->disks[i].memory, b->bytes[i], 0, r->disks[i].size_bytes);
    }
}

static void expect_contents(const struct bench *b, const struct rig *r)
{
    struct check_disk array = check_array(&b->c, "array");
    char *buf = malloc(r->model_bytes);
    const char *at;

    CU_ASSERT_EQUAL(array.size_bytes, r->model_bytes);
    at = check_read(&array, buf, 0, r->model_bytes);
    CU_ASSERT(at && memcmp(at, r->model, r->model_bytes) == 0);
    free(buf);
}

/* Both formulas say the same. */
static void compare_layouts(const struct check_layout *l, const struct shape *s, uint64_t bytes)
{
    uint64_t data_bytes[] = {bytes, bytes, bytes, bytes, bytes}, offset = 0, run, other;
    struct raid_shape shape = {s->level, s->layout, s->members, RIG_CHUNK_BYTES, bytes, data_bytes};
    struct raid_location copies[RAID_COPIES_MAX];
    struct check_place places[CHECK_ROLES_MAX];
    struct raid_geometry g;

    CU_ASSERT_EQUAL(raid_geometry_init(&g, &shape, NULL), 0);
    CU_ASSERT_EQUAL(l->size_bytes, g.size_bytes);
    for (; offset < g.size_bytes; offset += run) {
        unsigned count = raid_geometry_map(&g, offset, copies, &run);
        CU_ASSERT_EQUAL(check_layout_map(l, offset, places, &other), count);
        for (unsigned i = 0; i < count; i++) {
            CU_ASSERT_EQUAL(places[i].role, copies[i].role);
            CU_ASSERT_EQUAL(places[i].offset_bytes, copies[i].offset_bytes);
        }
        run = MIN(run, other);
    }
    raid_geometry_destroy(&g);
}

/* Of the test that runs: what happens in the runtime is looked at outside, with a larger stack. */
static struct bench bench;
static struct rig rig;
static const struct shape *shape;

static void make_shape(void)
{
    rig_init(&rig, shape->members);
    rig_scribble(&rig);
    rig_create(&rig, shape->level, shape->layout, shape->members, 0);
    rig_work(&rig, 60);
    rig_crash(&rig);
    take(&bench, &rig);
}

static void end_rig(void)
{
    rig_end(&rig);
}

static uint64_t member_bytes(const struct bench *b)
{
    bool striped = b->c.level == 0; /* the superblock's size is 0 then */

    return check_u64(b->bytes[0] + SUPER, striped ? 136 : 80) * CHECK_SECTOR_BYTES;
}

static void test_shapes(void)
{
    for (shape = shapes; shape < shapes + ARRAY_LEN(shapes); shape++) {
        run_in_rt(make_shape);
        CU_ASSERT(look_closely(&bench));
        expect_silence(&bench, "an array of ours");
        CU_ASSERT(bench.c.starts);
        expect_contents(&bench, &rig);
        compare_layouts(&bench.c.layout, shape, member_bytes(&bench));
        clear(&bench);
        run_in_rt(end_rig);
    }
}

static void sync_all(void)
{
    rig_settle(&rig);
    CU_ASSERT_EQUAL(array_sync(rig.array, ARRAY_RESYNC, NULL), 0);
    rig_settle(&rig);
}

/* RAID1 of three with a spare, all in sync. */
static void make_mirror(void)
{
    rig_init(&rig, 4);
    rig_create(&rig, 1, 0, 3, 1);
    array_start(rig.array);
    rig_work(&rig, 40);
    sync_all();
    rig_stop(&rig);
    take(&bench, &rig);
    rig_end(&rig);
}

static void test_states(void)
{
    run_in_rt(make_mirror);
    CU_ASSERT(look_closely(&bench));
    expect_silence(&bench, "a mirror");
    CU_ASSERT(!bench.c.dirty && bench.c.starts && bench.c.has_bitmap);
    CU_ASSERT(!check_md_marked(&bench.c, 0));
    for (unsigned i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(bench.c.disks[i].state, CHECK_MD_IN_SYNC);
        CU_ASSERT_EQUAL(bench.c.disks[i].role, (int)i);
    }
    CU_ASSERT_EQUAL(bench.c.disks[3].state, CHECK_MD_SPARE);
    clear(&bench);
}

/* All were in sync; d1 has failed, and its chunk 0 has been written since. */
static void make_degraded(void)
{
    rig_init(&rig, 4);
    rig_create(&rig, 10, RAID10_LAYOUT_NEAR(2), 4, 0);
    array_start(rig.array);
    sync_all();
    rig_stop(&rig); /* all bits are cleared */
    CU_ASSERT_EQUAL(rig_assemble(&rig, RIG_ALL(&rig), 0), 0);
    CU_ASSERT_EQUAL(array_fail(rig.array, "d1", NULL), 0);
    rig_write(&rig, 0, RIG_CHUNK_BYTES, 0);
    rig_crash(&rig);
    take(&bench, &rig);
}

static void test_degraded(void)
{
    struct check_copy copies[CHECK_COPIES_MAX];
    uint64_t run;

    run_in_rt(make_degraded);
    CU_ASSERT(look_closely(&bench));
    expect_silence(&bench, "a degraded array");
    expect_contents(&bench, &rig);
    CU_ASSERT_EQUAL(bench.c.disks[1].state, CHECK_MD_FAULTY);
    CU_ASSERT(bench.c.disks[1].may_readd);
    CU_ASSERT(check_md_marked(&bench.c, 0));
    CU_ASSERT(!check_md_marked(&bench.c, 8 * RIG_CHUNK_BYTES));
    CU_ASSERT_EQUAL(check_copies(&bench.c, 0, copies, &run), 2);
    CU_ASSERT(copies[0].read && !copies[1].read && !copies[1].agrees);
    CU_ASSERT_EQUAL(run, RIG_CHUNK_BYTES);
    CU_ASSERT_EQUAL(check_copies(&bench.c, 8 * RIG_CHUNK_BYTES, copies, &run), 2);
    CU_ASSERT(!copies[1].read && copies[1].agrees);
    clear(&bench);
    run_in_rt(end_rig);
}

/* --- damage --- */

static void poke(struct bench *b, unsigned disk, uint64_t offset, unsigned bytes, uint64_t value)
{
    value = htole64(value);
    memcpy(b->bytes[disk] + offset, &value, bytes);
}

static void correct_checksum(struct bench *b, unsigned disk)
{
    const char *p = b->bytes[disk] + SUPER;
    uint64_t sum = 0;

    poke(b, disk, SUPER + 216, 4, 0);
    for (unsigned at = 0; at < 256 + 2 * check_u32(p, 220); at += 4)
        sum += check_u32(p, at);
    poke(b, disk, SUPER + 216, 4, (uint32_t)sum + (sum >> 32));
}

#define ALL 9u /* the members, instead of a disk */

/* Something else at one place of the mirror above, with a right checksum, and what is said. */
static const struct damage {
    const char *what;
    unsigned disk;
    uint32_t offset, bytes;
    uint64_t value;
    const char *said;
} damages[] = {
    {"major version", 1, SUPER + 4, 4, 2, "major version"},
    {"unknown feature", 1, SUPER + 8, 4, 1 | 0x2000, "unknown features"},
    {"pad0", 1, SUPER + 12, 4, 1, "pads"},
    {"pad3", 1, SUPER + 255, 1, 1, "pads"},
    {"super_offset", 1, SUPER + 144, 8, 0, "super_offset"},
    {"data_size of nothing", 1, SUPER + 136, 8, 9, "data_size below"},
    {"data_size beyond the disk", 1, SUPER + 136, 8, 1 << 20, "beyond the end of the device"},
    {"data_offset in the superblock", 1, SUPER + 128, 8, 9, "data_offset inside"},
    {"raid0 feature", 1, SUPER + 8, 4, 1 | 4096, "raid0 layout"},
    {"level", ALL, SUPER + 72, 4, 7, "level 7"},
    {"size", 1, SUPER + 80, 8, 1 << 14, "sectors used"},
    {"another size", 1, SUPER + 80, 8, 2048, "describe different arrays"},
    {"raid_disks", ALL, SUPER + 92, 4, 2, "has role 2 of 2"},
    {"more raid_disks than room", ALL, SUPER + 92, 4, 1000, "raid disks, room for"},
    {"device number", 1, SUPER + 160, 4, 200, "device number 200"},
    {"a spare's bitmap", 3, BITMAP, 4, 0, "d3: bitmap: no magic"},
    {"same device number", 1, SUPER + 160, 4, 2, "same device number"},
    {"same role", 2, ROLES + 4, 2, 1, "say different roles"},
    {"a role thrice", ALL, ROLES + 8, 4, 0, "more than two devices"},
    {"a role that there is not", ALL, ROLES + 20, 2, 9, "has role 9 of 3"},
    {"dirty at the same events", 1, SUPER + 208, 8, 0, "say different resync offsets"},
    {"bad blocks in the superblock", 1, SUPER + 184, 8, 8u << 16,
        "the bad-block log overlaps the superblock"},
    {"bitmap nowhere", 1, SUPER + 96, 4, (uint32_t)-100, "bitmap: outside the disk"},
    {"bitmap in the data", 1, SUPER + 96, 4, 1 << 13, "bitmap: no magic"},
    {"bad blocks in the bitmap", 1, SUPER + 184, 8, 8u << 16 | UINT64_C(8) << 32,
        "the bitmap overlaps the bad-block log"},
    {"bad blocks in the data", 1, SUPER + 184, 8, 8u << 16 | UINT64_C(2041) << 32,
        "behind the data"},
    {"bitmap magic", 1, BITMAP, 4, 0, "bitmap: no magic"},
    {"bitmap version", 1, BITMAP + 4, 4, 5, "bitmap: version"},
    {"bitmap uuid", 1, BITMAP + 8, 8, 5, "bitmap: of another array"},
    {"bitmap events", 1, BITMAP + 32, 8, 1000, "bitmap: cleared at events"},
    {"stale bitmap", 1, BITMAP + 24, 16, 0, "the array is at"},
    {"bitmap ahead", 1, BITMAP + 24, 8, 1000, "is ahead of the array"},
    {"bitmap size", 1, BITMAP + 40, 8, 8, "does not cover"},
    {"bitmap state", 1, BITMAP + 48, 4, 8, "unknown state"},
    {"bitmap chunk", 1, BITMAP + 52, 4, 65537, "chunk size"},
    {"another bitmap chunk", 2, BITMAP + 52, 4, 65536 * 2, "another chunk size"},
    {"daemon_sleep", 1, BITMAP + 56, 4, 0, "daemon_sleep"},
    {"write_behind", 1, BITMAP + 60, 4, 20000, "write_behind"},
};

static void copy_bench(struct bench *to, const struct bench *from)
{
    for (unsigned i = 0; i < from->count; i++) {
        add_image(to, from->disks[i].name, from->disks[i].size_bytes);
        memcpy(to->bytes[i], from->bytes[i], from->disks[i].size_bytes);
    }
}

static void do_damage(struct bench *b, const struct damage *d)
{
    for (unsigned i = d->disk == ALL ? 0 : d->disk; i < (d->disk == ALL ? 3 : d->disk + 1); i++) {
        unsigned bytes = d->bytes;
        for (unsigned at = 0; at < bytes; at += 8) /* longer: repeated */
            poke(b, i, d->offset + at, MIN(bytes - at, 8u), d->value);
        correct_checksum(b, i);
    }
}

static void test_damage(void)
{
    static struct bench b;

    run_in_rt(make_mirror);
    for (unsigned i = 0; i < ARRAY_LEN(damages); i++) {
        copy_bench(&b, &bench);
        do_damage(&b, &damages[i]);
        look(&b);
        expect_said(&b, damages[i].what, damages[i].said);
        clear(&b);
    }
    clear(&bench);
}

/* Bits that nobody may change, one after the other. */
static void test_flipped_bits(void)
{
    run_in_rt(make_mirror);
    for (unsigned bit = 0; bit < 8 * 512; bit++) {
        if (bit / 32 == 0) /* without a magic it is no superblock */
            continue;
        bench.bytes[1][SUPER + bit / 8] ^= (char)(1 << bit % 8);
        look(&bench);
        CU_ASSERT_EQUAL(bench.c.disks[1].state, CHECK_MD_DAMAGED);
        bench.bytes[1][SUPER + bit / 8] ^= (char)(1 << bit % 8);
    }
    CU_ASSERT(look(&bench));
    clear(&bench);
}

/* The write of its superblock has failed, as the others say in the same update: but it got there.
 * It agrees with them in all else. */
static void test_failed_in_update(void)
{
    static const struct damage failed = {"d0 has failed", 1, ROLES + 0, 2, 0xfffe, NULL};
    static const struct damage others[] = {
        {"another role", 0, ROLES + 4, 2, 1, "d0 and d1 are of the same events"},
        {"dirty", 0, SUPER + 208, 8, 0, "say different resync offsets"},
    };
    static struct bench b;

    run_in_rt(make_mirror);
    do_damage(&bench, &failed);
    CU_ASSERT(!look(&bench)); /* d2 says otherwise */
    expect_said(&bench, failed.what, "d2 and d1 are of the same events");
    poke(&bench, 2, ROLES + 0, 2, 0xfffe);
    correct_checksum(&bench, 2);
    CU_ASSERT(look(&bench));
    for (unsigned i = 0; i < ARRAY_LEN(others); i++) {
        copy_bench(&b, &bench);
        do_damage(&b, &others[i]);
        CU_ASSERT(!look(&b));
        expect_said(&b, others[i].what, others[i].said);
        clear(&b);
    }
    clear(&bench);
}

static void test_lost_superblocks(void)
{
    run_in_rt(make_mirror);
    memset(bench.bytes[1] + SUPER, 0, 4);
    CU_ASSERT(look_closely(&bench));
    CU_ASSERT_EQUAL(bench.c.disks[1].state, CHECK_MD_NONE);
    CU_ASSERT_EQUAL(bench.c.members[1], -1);
    bench.disks[2].size_bytes -= 4096;
    CU_ASSERT(look_closely(&bench));
    CU_ASSERT_STRING_EQUAL(
        bench.c.disks[2].damage, "superblock: data beyond the end of the device");
    bench.disks[0].size_bytes = 4096;
    CU_ASSERT(!look(&bench));
    expect_said(&bench, "all are lost", "no disk has a superblock of a member");
    clear(&bench);
}

static void set_events(unsigned disk, uint64_t events)
{
    poke(&bench, disk, SUPER + 200, 8, events);
    correct_checksum(&bench, disk);
}

/* One update behind is what a crash leaves, if the freshest agrees; more is out of date. */
static void test_events(void)
{
    uint64_t events;

    run_in_rt(make_mirror);
    CU_ASSERT(look(&bench));
    events = bench.c.events;
    set_events(1, events - 1);
    CU_ASSERT(look(&bench));
    CU_ASSERT_EQUAL(bench.c.disks[1].state, CHECK_MD_IN_SYNC);
    set_events(1, events - 2);
    CU_ASSERT(look(&bench));
    CU_ASSERT_EQUAL(bench.c.disks[1].state, CHECK_MD_STALE);
    set_events(1, events - 1);
    for (unsigned i = 0; i < 3; i += 2) {
        poke(&bench, i, ROLES + 2, 2, 0xfffe);
        correct_checksum(&bench, i);
    }
    CU_ASSERT(look(&bench));
    CU_ASSERT_EQUAL(bench.c.disks[1].state, CHECK_MD_FAULTY);
    set_events(3, 1); /* a spare's mean nothing */
    CU_ASSERT(look(&bench));
    CU_ASSERT_EQUAL(bench.c.disks[3].state, CHECK_MD_SPARE);
    for (unsigned i = 0; i < 3; i += 2) {
        poke(&bench, i, ROLES + 6, 2, 1);
        correct_checksum(&bench, i);
    }
    CU_ASSERT(!look(&bench));
    expect_said(&bench, "a spare with a role", "d3 is a spare, to which d0 gives role 1");
    clear(&bench);
}

static void test_other_arrays(void)
{
    uint8_t uuids[CHECK_MD_DISKS_MAX][16], uuid[16];

    run_in_rt(make_mirror);
    bench.bytes[1][SUPER + 16] ^= 1;
    correct_checksum(&bench, 1);
    CU_ASSERT(look(&bench));
    CU_ASSERT_EQUAL(bench.c.disks[1].state, CHECK_MD_FOREIGN);
    CU_ASSERT_EQUAL(check_md_find(bench.disks, bench.count, uuids), 2);
    memcpy(uuid, bench.bytes[1] + SUPER + 16, 16);
    CU_ASSERT(memcmp(uuids[1], uuid, 16) == 0);
    CU_ASSERT(!check_md(&bench.c, bench.disks, bench.count, uuid));
    CU_ASSERT_EQUAL(bench.c.disks[0].state, CHECK_MD_FOREIGN);
    CU_ASSERT_EQUAL(bench.c.disks[1].state, CHECK_MD_IN_SYNC);
    clear(&bench);
}

/* --- copies --- */

static void set_dirty(void)
{
    for (unsigned i = 0; i < 3; i++) {
        poke(&bench, i, SUPER + 208, 8, 0);
        correct_checksum(&bench, i);
    }
}

static void test_differing_copies(void)
{
    uint64_t at, chunk = 5;

    run_in_rt(make_mirror);
    CU_ASSERT(look_closely(&bench));
    at = bench.c.disks[1].data_offset_bytes + chunk * RIG_CHUNK_BYTES + 1000;
    bench.bytes[1][at] ^= 1;
    CU_ASSERT(!look_closely(&bench));
    expect_said(&bench, "copies", "array byte 328192: d0 (in-sync, role 0");
    expect_said(&bench, "copies", "d1 (in-sync, role 1");
    CU_ASSERT(look(&bench) && check_copies_agree(&bench.c, 0, chunk * RIG_CHUNK_BYTES));
    /* a resync by bitmap does not go there as long as one bitmap says that it need not */
    set_dirty();
    CU_ASSERT(!look_closely(&bench));
    for (unsigned i = 0; i < 3; i++) {
        CU_ASSERT(!look_closely(&bench));
        bench.bytes[i][BITMAP + 256] |= 1 << chunk;
    }
    CU_ASSERT(look_closely(&bench));
    clear(&bench);
}

/* d1 recovers and has come so far. */
static void set_recovering(uint64_t offset_bytes)
{
    poke(&bench, 1, SUPER + 8, 4, 1 | 2);
    poke(&bench, 1, SUPER + 152, 8, offset_bytes / 512);
    correct_checksum(&bench, 1);
}

static void test_recovering(void)
{
    uint64_t chunk = 5 * RIG_CHUNK_BYTES;

    run_in_rt(make_mirror);
    CU_ASSERT(look(&bench));
    bench.bytes[1][bench.c.disks[1].data_offset_bytes + chunk + 1000] ^= 1;
    set_recovering(chunk + 512);
    CU_ASSERT(look_closely(&bench));
    CU_ASSERT_EQUAL(bench.c.disks[1].state, CHECK_MD_RECOVERING);
    CU_ASSERT_EQUAL(bench.c.disks[1].recovery_offset_bytes, chunk + 512);
    set_recovering(chunk + 1024);
    CU_ASSERT(!look_closely(&bench));
    expect_said(&bench, "recovered", "d1 (recovering, role 1");
    poke(&bench, 1, SUPER + 8, 4, 1 | 2 | 128); /* by bitmap */
    poke(&bench, 1, SUPER + 152, 8, 0);
    correct_checksum(&bench, 1);
    CU_ASSERT(!look_closely(&bench));
    for (unsigned i = 0; i < 3; i++)
        bench.bytes[i][BITMAP + 256] |= 1 << 5;
    CU_ASSERT(look_closely(&bench));
    clear(&bench);
}

static void make_shape_in_sync(void)
{
    rig_init(&rig, shape->members);
    rig_create(&rig, shape->level, shape->layout, shape->members, 0);
    array_start(rig.array);
    rig_work(&rig, 60);
    sync_all();
    rig_stop(&rig);
    take(&bench, &rig);
    rig_end(&rig);
}

/* Two members' data swapped: their superblocks are all right. */
static void test_swapped_members(void)
{
    for (shape = shapes; shape < shapes + ARRAY_LEN(shapes); shape++) {
        if (shape->level != 10 || shape->members < 3)
            continue;
        run_in_rt(make_shape_in_sync);
        CU_ASSERT(look_closely(&bench));
        expect_silence(&bench, "in sync");
        for (uint64_t at = bench.c.disks[0].data_offset_bytes; at < RIG_DISK_BYTES; at++) {
            char byte = bench.bytes[0][at];
            bench.bytes[0][at] = bench.bytes[2][at];
            bench.bytes[2][at] = byte;
        }
        CU_ASSERT(!look_closely(&bench));
        expect_said(&bench, "swapped", "differ");
        clear(&bench);
    }
}

static void test_too_few(void)
{
    shape = &shapes[5];
    run_in_rt(make_shape_in_sync);
    memset(bench.bytes[0] + SUPER, 0, 512);
    CU_ASSERT(look_closely(&bench));
    memset(bench.bytes[2] + SUPER, 0, 512);
    CU_ASSERT(look_closely(&bench));
    memset(bench.bytes[3] + SUPER, 0, 512);
    CU_ASSERT(!look(&bench));
    CU_ASSERT(!bench.c.starts);
    expect_said(&bench, "too few", "not enough members");
    clear(&bench);
}

static char *read_array(void)
{
    struct check_disk array = check_array(&bench.c, "array");
    char *buf = malloc(array.size_bytes);
    const char *at = check_read(&array, buf, 0, array.size_bytes);

    CU_ASSERT(at == buf);
    return buf;
}

/* Without the superblocks of x and y the others tell what they held. */
static void expect_worked_out(unsigned x, unsigned y, const char *content)
{
    char supers[2][256];
    char *buf;

    memcpy(supers[0], bench.bytes[x] + SUPER, sizeof *supers);
    memcpy(supers[1], bench.bytes[y] + SUPER, sizeof *supers);
    memset(bench.bytes[x] + SUPER, 0, sizeof *supers);
    memset(bench.bytes[y] + SUPER, 0, sizeof *supers);
    CU_ASSERT(look_closely(&bench));
    buf = read_array();
    CU_ASSERT_EQUAL(memcmp(buf, content, bench.c.layout.size_bytes), 0);
    free(buf);
    memcpy(bench.bytes[x] + SUPER, supers[0], sizeof *supers);
    memcpy(bench.bytes[y] + SUPER, supers[1], sizeof *supers);
}

/* Also where one is missing, of RAID6. */
static void expect_unfit(unsigned disk)
{
    char *byte = bench.bytes[disk] + bench.c.disks[disk].data_offset_bytes + RIG_CHUNK_BYTES + 100;

    *byte ^= 0x40;
    CU_ASSERT(!look_closely(&bench));
    expect_said(&bench, "parity", "does not fit at 65636 of the members");
    *byte ^= 0x40;
    CU_ASSERT(look_closely(&bench));
}

static void test_parity(void)
{
    for (shape = shapes; shape < shapes + ARRAY_LEN(shapes); shape++) {
        char *content;
        if (shape->level != 5 && shape->level != 6)
            continue;
        run_in_rt(make_shape_in_sync);
        CU_ASSERT(look_closely(&bench));
        expect_silence(&bench, "in sync");
        content = read_array();
        for (unsigned x = 0; x < shape->members; x++)
            for (unsigned y = x; y < shape->members && (y == x || shape->level == 6); y++)
                expect_worked_out(x, y, content);
        for (unsigned i = 0; i < shape->members; i++)
            expect_unfit(i);
        if (shape->level == 6) {
            memset(bench.bytes[1] + SUPER, 0, 256);
            expect_unfit(0);
            expect_unfit(3);
        }
        free(content);
        clear(&bench);
    }
}

static CU_TestInfo tests[] = {
    {"arrays of Linux, and where it puts what", test_golden},
    {"arrays of ours in the middle of work", test_shapes},
    {"members and spares", test_states},
    {"a member that has failed", test_degraded},
    {"damage is named", test_damage},
    {"every flipped bit of a superblock", test_flipped_bits},
    {"who failed in an update may have it", test_failed_in_update},
    {"superblocks that are gone", test_lost_superblocks},
    {"events", test_events},
    {"members of other arrays", test_other_arrays},
    {"copies that differ", test_differing_copies},
    {"copies of a member that recovers", test_recovering},
    {"members in each other's place", test_swapped_members},
    {"too few members", test_too_few},
    {"parity", test_parity},
    CU_TEST_INFO_NULL,
};

int main(int argc, char **argv)
{
    CU_SuiteInfo suites[] = {{.pName = "check-md", .pTests = tests}, CU_SUITE_INFO_NULL};

    return rt_init(NULL, NULL) < 0 ? 2 : unit_main(argc, argv, suites);
}
