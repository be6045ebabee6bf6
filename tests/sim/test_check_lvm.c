/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The checker of volume groups: it accepts what LVM2 has written, and what a power cut at every
 * moment of every change of ours leaves; and it names each kind of damage.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/arith.h"
#include "check_lvm.h"
#include "check_text.h"
#include "lvm/golden.h"
#include "lvm/rig.h"
#include "lvm/tape.h"

#define MDA       4096u
#define DEV_BYTES (2 * MIB)
#define SMALL     (64u << 10) /* an extent */

struct bench {
    unsigned count;
    char *bytes[CHECK_LVM_PVS_MAX];
    struct check_disk disks[CHECK_LVM_PVS_MAX];
    struct check_lvm *c;
};
static struct bench bench;

static bool look(void)
{
    check_lvm_free(bench.c);
    bench.c = check_lvm(bench.disks, bench.count, 1);
    return bench.c->problems.count == 0;
}

static void add_image(const char *name, uint64_t size_bytes)
{
    bench.bytes[bench.count] = calloc(1, size_bytes);
    bench.disks[bench.count] = check_image(name, bench.bytes[bench.count], size_bytes);
    bench.count++;
}

static void clear(void)
{
    for (unsigned i = 0; i < bench.count; i++)
        free(bench.bytes[i]);
    check_lvm_free(bench.c);
    bench = (struct bench){0};
}

static void expect_silence(const char *what)
{
    CU_ASSERT_EQUAL(bench.c->problems.count, 0);
    if (bench.c->problems.count)
        printf("%s: %s", what, bench.c->problems.text);
}

static void expect_said(const char *name, const char *what)
{
    bool said = strstr(bench.c->problems.text, what);

    for (unsigned i = 0; i < bench.c->pv_count; i++)
        said = said || strstr(bench.c->pvs[i].damage, what);
    CU_ASSERT(said);
    if (!said)
        printf("%s: \"%s\" is not in \"%s\"\n", name, what, bench.c->problems.text);
}

/* --- groups of LVM2 --- */

/* Devices as large as their labels say; only the first MiB holds anything. */
static void load(const struct golden *g)
{
    static const char *const names[] = {"pv0", "pv1", "pv2"};

    for (unsigned i = 0; i < g->pvs; i++) {
        char *head = golden_head(g, i);
        add_image(names[i], check_u64(head, 512 + 32 + 32));
        memcpy(bench.bytes[i], head, GOLDEN_HEAD_BYTES);
        free(head);
    }
}

static void test_golden(void)
{
    for (unsigned i = 0; i < golden_count; i++) {
        const struct golden *g = &goldens[i];
        if (!g->pvs)
            continue;
        load(g);
        CU_ASSERT(look());
        expect_silence(g->name);
        CU_ASSERT_EQUAL(bench.c->vg_count, 1);
        CU_ASSERT_STRING_EQUAL(bench.c->vgs[0].name, g->vg);
        CU_ASSERT_EQUAL(bench.c->vgs[0].pv_count, g->pvs);
        CU_ASSERT_EQUAL(bench.c->vgs[0].missing, 0);
        CU_ASSERT_EQUAL(bench.c->vgs[0].lv_count, g->lvs);
        clear();
    }
}

static void expect_place(
    const char *lv, uint64_t offset, unsigned pv, uint64_t pv_offset, uint64_t run_bytes)
{
    unsigned found;
    uint64_t at, run;
    int number = check_lvm_find(bench.c, "vg4", lv);

    CU_ASSERT(number >= 0);
    CU_ASSERT(check_lvm_place(bench.c, number, offset, &found, &at, &run));
    CU_ASSERT_EQUAL(found, pv);
    CU_ASSERT_EQUAL(at, pv_offset);
    CU_ASSERT_EQUAL(run, run_bytes);
}

static void test_places(void)
{
    load(&goldens[0]);
    CU_ASSERT(look());
    expect_place("lin", 0, 0, MIB, 5 * EXTENT);
    expect_place("lin", EXTENT + 512, 0, MIB + EXTENT + 512, 4 * EXTENT - 512);
    expect_place("str2", 0, 0, MIB + 5 * EXTENT, SMALL);
    expect_place("str2", SMALL + 512, 1, MIB + 512, SMALL - 512);
    expect_place("str2", 2 * SMALL, 0, MIB + 5 * EXTENT + SMALL, SMALL);
    expect_place("str2", 6 * EXTENT - 512, 1, MIB + 3 * EXTENT - 512, 512);
    expect_place("span", 11 * EXTENT - 512, 2, MIB + 11 * EXTENT - 512, 512);
    expect_place("span", 11 * EXTENT, 1, MIB + 3 * EXTENT, 4 * EXTENT);
    CU_ASSERT_EQUAL(check_lvm_find(bench.c, "vg4", "other"), -1);
    CU_ASSERT_EQUAL(check_lvm_find(bench.c, "vg", "lin"), -1);
    bench.disks[2].size_bytes = 0;
    CU_ASSERT(look());
    CU_ASSERT_EQUAL(bench.c->vgs[0].missing, 1);
    unsigned pv;
    uint64_t at, run;
    int span = check_lvm_find(bench.c, "vg4", "span");
    CU_ASSERT(!check_lvm_place(bench.c, span, 0, &pv, &at, &run));
    CU_ASSERT(check_lvm_place(bench.c, span, 11 * EXTENT, &pv, &at, &run));
    clear();
}

/* --- groups of ours --- */

static struct tape tape;
static struct error err;

static void change_all(void)
{
    struct vg *vg;
    struct lv *lv;

    expect(vg_create(&vg, "vg", tape.devs, 2, SMALL, &no_settings, 0, &err), 0, &err, NULL);
    expect(lv_create(vg, "a", 20 * SMALL, NULL, 0, 0, &lv, &err), 0, &err, NULL);
    expect(vg_extend(vg, &tape.devs[2], 1, 0, &err), 0, &err, NULL);
    expect(lv_resize(lv, 40 * SMALL, 0, &err), 0, &err, NULL);
    expect(lv_create(vg, "b", 3 * SMALL, NULL, 0, 0, &lv, &err), 0, &err, NULL);
    expect(vg_rename(vg, "renamed", 0, &err), 0, &err, NULL);
    expect(lv_resize(vg_find_lv(vg, "a"), SMALL, 0, &err), 0, &err, NULL);
    expect(lv_remove(lv, 0, &err), 0, &err, NULL);
    expect(vg_reduce(vg, "dev-2", 0, &err), 0, &err, NULL);
    expect(lv_remove(vg_find_lv(vg, "a"), 0, &err), 0, &err, NULL);
    expect(vg_remove(vg, 0, &err), 0, &err, NULL);
}

static void look_at_cut(unsigned at, unsigned random)
{
    static const char *const names[] = {"dev-0", "dev-1", "dev-2"};
    struct blockdev *devs[TAPE_DEVS];

    tape_cut(&tape, at, random, devs);
    for (unsigned i = 0; i < TAPE_DEVS; i++) {
        add_image(names[i], DEV_BYTES);
        blockdev_read(devs[i], bench.bytes[i], 0, MIB); /* what follows is data */
        blockdev_close(devs[i]);
    }
    look();
    expect_silence("after a power cut");
    for (unsigned i = 0; i < TAPE_DEVS; i++)
        CU_ASSERT_NOT_EQUAL(bench.c->pvs[i].state, CHECK_PV_DAMAGED);
    clear();
}

static void cut_everywhere(void)
{
    tape_begin(&tape, DEV_BYTES, 'x');
    tape_record(&tape);
    change_all();
    CU_ASSERT(tape.count > 100);
    for (unsigned at = 0; at <= tape.count; at++)
        for (unsigned random = 0; random < 2; random++)
            look_at_cut(at, random * at * 7919);
    tape_end(&tape);
}

static void test_cuts(void)
{
    run_in_rt(cut_everywhere);
}

static void make_volume(void)
{
    struct vg *vg;
    struct lv *lv;

    tape_begin(&tape, DEV_BYTES, 'x');
    expect(vg_create(&vg, "vg", tape.devs, 3, SMALL, &no_settings, 0, &err), 0, &err, NULL);
    expect(lv_create(vg, "a", 35 * SMALL, NULL, 0, 0, &lv, &err), 0, &err, NULL);
    for (unsigned i = 0; i < 35; i++)
        fill(lv_blockdev(lv, &err), i * SMALL, SMALL, (char)i);
    expect(vg_close(vg, &err), 0, &err, NULL);
    for (unsigned i = 0; i < TAPE_DEVS; i++) {
        add_image("dev", DEV_BYTES);
        blockdev_read(tape.devs[i], bench.bytes[i], 0, DEV_BYTES);
    }
    tape_end(&tape);
}

static void test_contents(void)
{
    uint64_t at, run;
    unsigned pv;

    run_in_rt(make_volume);
    CU_ASSERT(look());
    for (uint64_t offset = 0; offset < 35 * SMALL; offset += 512) {
        CU_ASSERT(check_lvm_place(bench.c, 0, offset, &pv, &at, &run));
        CU_ASSERT_EQUAL(bench.bytes[pv][at], (char)(offset / SMALL));
    }
    clear();
}

/* --- damage --- */

static void poke(unsigned pv, uint64_t offset, unsigned bytes, uint64_t value)
{
    value = htole64(value);
    memcpy(bench.bytes[pv] + offset, &value, bytes);
}

static uint32_t checksum(const void *bytes, size_t count)
{
    return (uint32_t)crc32(0xf597a6cfu ^ UINT32_MAX, bytes, (uInt)count) ^ UINT32_MAX;
}

static void correct_label(unsigned pv)
{
    poke(pv, 512 + 16, 4, checksum(bench.bytes[pv] + 512 + 20, 512 - 20));
}

static void correct_area(unsigned pv)
{
    poke(pv, MDA, 4, checksum(bench.bytes[pv] + MDA + 4, 512 - 4));
}

/* The first `from` after `after` becomes `to`, of the same length, in the committed text. */
static void edit(unsigned pv, const char *after, const char *from, const char *to)
{
    char *area = bench.bytes[pv] + MDA, *text = area + check_u64(area, 40);
    size_t bytes = check_u64(area, 48);
    char *place = strstr(strstr(text, after), from);

    CU_ASSERT_EQUAL_FATAL(strlen(from), strlen(to));
    memcpy(place, to, strlen(to));
    poke(pv, MDA + 56, 4, checksum(text, bytes));
    correct_area(pv);
}

/* Of the first group above: pv0, pv1, pv2; lin on pv0; str2 on pv0 and pv1; span on pv2 and pv1. */
static const struct text_damage {
    const char *after, *from, *to, *said;
} text_damages[] = {
    {"", "Text Format", "text format", "not a volume group's"},
    {"", "version = 1", "version = 2", "not a volume group's"},
    {"", "vg4 {", "-g4 {", "the group's name"},
    {"", "id = \"gbQpZ2-a06X", "id = \"gbQpZ2a-06X", "the group's id"},
    {"", "seqno = 4", "seqno = 0", "the group's seqno"},
    {"", "extent_size = 8192", "extent_size = 0000", "the group's extent size"},
    {"", "lvm2", "lvm1", "format is not lvm2"},
    {"", "\"READ\"", "\"REED\"", "its status has no READ"},
    {"contents", "creation_time", "creatiom_time", "nothing says when and where"},
    {"contents", "creation_host", "creation_time", "a key stands there twice"},
    {"lin {", "creation_time", "creation_host", "lin: a key stands there twice"},
    {"", "}", " ", "a section without an end"},
    {"", "]", " ", "a list without an end"},
    {"", "seqno =", "seqno  ", "a key without a value"},
    {"", "seqno = 4", "seqno = ?", "a value that is none"},
    {"physical_volumes", "pv1 {", "pv0 {", "two of a name"},
    {"pv1 {", "QLM9wF-C9g5", "VevRmNaC9g5", "a PV's key or id"},
    {"pv1 {", "QLM9wF-C9g5-U4AY-HHGJ-2pLv-HAuX-mWuKO4", "VevRmN-mIEm-3cPW-DEZL-IywQ-DAgb-EYzmvy",
        "pv1 and pv0 are the same PV"},
    {"pv1 {", "dev_size = 98304", "dev_size = 98312", "pv1: 98312 sectors, its label says"},
    {"pv1 {", "pe_start = 2048", "pe_start = 2049", "pv1: extents start at sector 2049"},
    {"pv1 {", "pe_count = 11", "pe_count = 12", "pv1: extents up to sector"},
    {"logical_volumes", "str2 {", "span {", "two LVs of a name"},
    {"logical_volumes", "str2 {", "st:2 {", "st:2: no name for an LV"},
    {"str2 {", "F5ucnL-NlUT-hpIs-ufNE-TkEy-CpJL-R5hfP5", "1LZdi6-Qd0i-yeRK-Fnr0-Fn2G-K3tL-3jltKg",
        "str2 and lin have the same id"},
    {"str2 {", "\"READ\"", "\"REED\"", "str2: its status has no READ"},
    {"span {", "segment_count = 2", "segment_count = 3", "span: 3 segments, it has 2"},
    {"span {", "segment2 {", "segment3 {", "span: segment2 is missing"},
    {"span {", "start_extent = 11", "start_extent = 12",
        "span: a segment of extents 12+4 after 11"},
    {"span {", "extent_count = 11", "extent_count = 10",
        "span: a segment of extents 11+4 after 10"},
    {"span {", "extent_count = 4", "extent_count = 0", "span: a segment of extents 11+0"},
    {"lin {", "extent_count = 5", "extent_count = 6", "extent 5 of pv0 is used by lin and str2"},
    {"span {", "\"pv1\", 3", "\"pv1\", 2", "extent 2 of pv1 is used by str2 and span"},
    {"span {", "\"pv1\", 3", "\"pv1\", 8", "span: extents 8+4 of pv1, which has 11"},
    {"span {", "\"pv1\", 3", "\"pv7\", 3", "span: stripes on no PV"},
    {"str2 {", "stripe_count = 2", "stripe_count = 3",
        "str2: 6 extents in 3 stripes, 2 are listed"},
    {"str2 {", "stripe_size = 128", "stripe_size = 100", "str2: stripes of 51200 bytes"},
};

static void reload(void)
{
    clear();
    load(&goldens[0]);
}

static void test_text_damage(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(text_damages); i++) {
        const struct text_damage *d = &text_damages[i];
        reload();
        for (unsigned pv = 0; pv < bench.count; pv++)
            edit(pv, d->after, d->from, d->to);
        look();
        expect_said(d->to, d->said);
    }
    clear();
}

/* Something else at one place of pv1, with right checksums. */
static const struct damage {
    const char *what;
    uint32_t offset, bytes;
    uint64_t value;
    const char *said;
} damages[] = {
    {"the label's sector", 512 + 8, 8, 2, "label: of another sector"},
    {"the label's type", 512 + 24, 1, 'X', "label: of another type"},
    {"the header's place", 512 + 20, 4, 40, "label: header not behind it"},
    {"the uuid", 512 + 32, 1, '-', "label: its header makes no sense"},
    {"size beyond the device", 512 + 64, 8, 49 << 20, "on a device of"},
    {"size less than the data", 512 + 64, 8, 1 << 19, "data area outside"},
    {"data on the label", 512 + 72, 8, 512, "data area outside"},
    {"data in the metadata", 512 + 72, 8, 65536, "metadata area overlaps the data area"},
    {"a second data area", 512 + 88, 8, 65536, "3 data, 1 metadata"},
    {"metadata on the label", 512 + 104, 8, 0, "metadata area outside"},
    {"metadata beyond the device", 512 + 112, 8, 1 << 30, "metadata area outside"},
    {"metadata elsewhere", 512 + 104, 8, 8192, "metadata area: no magic"},
    {"metadata of another size", 512 + 112, 8, 65536, "metadata area: not where the label says"},
    {"later version", 512 + 136, 4, 3, "header of a later version"},
    {"the area's magic", MDA + 4, 1, 0, "metadata area: no magic"},
    {"the area's version", MDA + 20, 4, 2, "metadata area: version"},
    {"the area's start", MDA + 24, 8, 0, "metadata area: not where the label says"},
    {"the area's size", MDA + 32, 8, 0, "metadata area: not where the label says"},
    {"text in the header", MDA + 40, 8, 256, "text outside of it"},
    {"text behind the end", MDA + 40, 8, 1044480, "text outside of it"},
    {"text of an odd place", MDA + 40, 8, 5633, "text outside of it"},
    {"text of no size", MDA + 48, 8, 0, "text outside of it"},
    {"text too long", MDA + 48, 8, 1044480, "text outside of it"},
    {"text elsewhere", MDA + 40, 8, 512, "text: wrong checksum"},
    {"the text's checksum", MDA + 56, 4, 0, "text: wrong checksum"},
    {"precommitted outside", MDA + 64, 16, 5, "text outside of it"},
    {"a third slot", MDA + 88, 8, 512, "more than two slots"},
};

static void test_damage(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(damages); i++) {
        const struct damage *d = &damages[i];
        reload();
        for (unsigned at = 0; at < d->bytes; at += 8)
            poke(1, d->offset + at, MIN(d->bytes - at, 8u), d->value);
        correct_label(1);
        correct_area(1);
        look();
        expect_said(d->what, d->said);
    }
    clear();
}

/* Of label, area and text: none may change unnoticed. */
static void test_flipped_bits(void)
{
    reload();
    char *area = bench.bytes[1] + MDA;
    uint64_t text = MDA + check_u64(area, 40), bytes = check_u64(area, 48);
    const struct {
        uint64_t start, end;
    } ranges[] = {{520, 1024}, {MDA, MDA + 512}, {text, text + bytes}};

    for (unsigned i = 0; i < ARRAY_LEN(ranges); i++) {
        for (uint64_t at = ranges[i].start; at < ranges[i].end; at++) {
            bench.bytes[1][at] ^= (char)(1 << at % 8);
            look();
            CU_ASSERT_EQUAL(bench.c->pvs[1].state, CHECK_PV_DAMAGED);
            bench.bytes[1][at] ^= (char)(1 << at % 8);
        }
    }
    CU_ASSERT(look());
    clear();
}

static void test_nul_in_text(void)
{
    reload();
    edit(1, "", "lvm2", "lvm!");
    char *area = bench.bytes[1] + MDA, *text = area + check_u64(area, 40);
    *strchr(text, '!') = '\0';
    poke(1, MDA + 56, 4, checksum(text, check_u64(area, 48)));
    correct_area(1);
    look();
    expect_said("a NUL", "does not end with its only NUL");
    clear();
}

static void test_two_labels(void)
{
    reload();
    memcpy(bench.bytes[1] + 1024, bench.bytes[1] + 512, 512);
    poke(1, 1024 + 8, 8, 2);
    poke(1, 1024 + 16, 4, checksum(bench.bytes[1] + 1024 + 20, 512 - 20));
    look();
    expect_said("two labels", "a second label");
    clear();
}

/* --- PVs against one another --- */

/* A copy of the text in the second half of the area, as pv1's committed one. */
static void move_text(uint64_t offset)
{
    char *area = bench.bytes[1] + MDA;
    uint64_t bytes = check_u64(area, 48), size = check_u64(area, 32), from = check_u64(area, 40);

    for (uint64_t i = 0; i < bytes; i++) {
        uint64_t to = offset + i;
        area[to < size ? to : to - size + 512] = area[from + i];
    }
    poke(1, MDA + 40, 8, offset);
    correct_area(1);
}

static void test_ring(void)
{
    reload();
    move_text(1044480 - 1024);
    CU_ASSERT(look());
    CU_ASSERT_EQUAL(bench.c->pvs[1].state, CHECK_PV_NEWEST);
    bench.bytes[1][MDA + 512 + 100] ^= 1;
    look();
    expect_said("around the ring", "text: wrong checksum");
    clear();
}

static void test_seqnos(void)
{
    reload();
    edit(1, "", "seqno = 4", "seqno = 3");
    CU_ASSERT(look());
    CU_ASSERT_EQUAL(bench.c->pvs[1].state, CHECK_PV_BEHIND);
    CU_ASSERT_EQUAL(bench.c->vgs[0].seqno, 4);
    edit(1, "", "seqno = 3", "seqno = 2");
    CU_ASSERT(!look());
    expect_said("two behind", "pv1 holds seqno 2 of group vg4, which is at 4");
    edit(1, "", "seqno = 2", "seqno = 5");
    CU_ASSERT(look());
    CU_ASSERT_EQUAL(bench.c->vgs[0].seqno, 5);
    CU_ASSERT_EQUAL(bench.c->pvs[0].state, CHECK_PV_BEHIND);
    edit(1, "", "seqno = 5", "seqno = 4");
    edit(1, "", "metadata_copies = 0", "metadata_copies = 1");
    CU_ASSERT(!look());
    expect_said("of one seqno", "pv0 and pv1 hold different texts of group vg4, seqno 4");
    clear();
}

/* An older text is checked as the newest is. */
static void test_older_text(void)
{
    reload();
    edit(1, "", "seqno = 4", "seqno = 3");
    edit(1, "span {", "\"pv1\", 3", "\"pv1\", 2");
    CU_ASSERT(!look());
    expect_said("older", "group vg4, seqno 3: extent 2 of pv1 is used by str2 and span");
    CU_ASSERT_EQUAL(bench.c->lv_count, 3);
    clear();
}

static void test_other_pvs(void)
{
    reload();
    memset(bench.bytes[1] + MDA + 40, 0, 48);
    correct_area(1);
    CU_ASSERT(look());
    CU_ASSERT_EQUAL(bench.c->pvs[1].state, CHECK_PV_BEHIND);
    memset(bench.bytes[2], 0, 4096);
    CU_ASSERT(look());
    CU_ASSERT_EQUAL(bench.c->pvs[2].state, CHECK_PV_NONE);
    CU_ASSERT_EQUAL(bench.c->vgs[0].missing, 1);
    memcpy(bench.bytes[2], bench.bytes[0], 4096);
    CU_ASSERT(!look());
    expect_said("twice", "pv0 and pv2 have the same PV uuid");
    reload();
    edit(1, "", "gbQpZ2-a06X", "gbQpZ2-b06X");
    CU_ASSERT(!look());
    expect_said("two groups", "two groups named vg4");
    expect_said("two groups", "is claimed by group vg4, too");
    clear();
}

static void test_text_nodes(void)
{
    static const char text[] = "a = 1 # comment = 2\ns { b = [\"x\\\"y\", -3, 7] t { } }\nc = \"\"";
    struct check_text t;

    CU_ASSERT_PTR_NULL(check_text_parse(&t, text, strlen(text)));
    CU_ASSERT_EQUAL(check_text_number(&t, 0, "a", 9), 1);
    CU_ASSERT_EQUAL(check_text_number(&t, 0, "comment", 9), 9);
    unsigned s = check_text_find(&t, 0, "s", CHECK_SECTION);
    unsigned b = check_text_find(&t, s, "b", CHECK_LIST);
    CU_ASSERT_EQUAL(check_text_items(&t, b), 3);
    CU_ASSERT(check_text_is(&t, t.nodes[b].first, "x\\\"y"));
    CU_ASSERT(check_text_find(&t, s, "t", CHECK_SECTION));
    CU_ASSERT(check_text_is(&t, check_text_find(&t, 0, "c", CHECK_STRING), ""));
    check_text_free(&t);
    for (size_t bytes = 0; bytes < strlen(text); bytes++) {
        char *part = malloc(bytes);
        memcpy(part, text, bytes); /* for sanitizers: nothing beyond is read */
        check_text_parse(&t, part, bytes);
        check_text_free(&t);
        free(part);
    }
}

static CU_TestInfo tests[] = {
    {"the text format", test_text_nodes},
    {"groups of LVM2", test_golden},
    {"where volumes are", test_places},
    {"groups of ours, cut off at every moment", test_cuts},
    {"where a volume of ours is", test_contents},
    {"damage of texts is named", test_text_damage},
    {"damage of labels and areas is named", test_damage},
    {"flipped bits", test_flipped_bits},
    {"a NUL in the text", test_nul_in_text},
    {"two labels", test_two_labels},
    {"a text around the ring", test_ring},
    {"seqnos", test_seqnos},
    {"an older text", test_older_text},
    {"PVs without metadata, twice, and of two groups", test_other_pvs},
    CU_TEST_INFO_NULL,
};

int main(int argc, char **argv)
{
    CU_SuiteInfo suites[] = {{.pName = "check-lvm", .pTests = tests}, CU_SUITE_INFO_NULL};

    return rt_init(NULL, NULL) < 0 ? 2 : unit_main(argc, argv, suites);
}
