/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "golden.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "lvm/metadata.h"

extern CU_TestInfo metadata_tests[];

static struct vg_metadata *decode(const char *text)
{
    struct vg_metadata *m = NULL;
    struct error err = {0};
    int rc = vg_metadata_decode(&m, text, strlen(text), &err);

    if (rc)
        printf("%s\n", err.text);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    return m;
}

static char *encode(const struct vg_metadata *m, enum vg_text_form form)
{
    const struct vg_text_header header = {"a \"test\" \\", "host", 1795255341};
    char *text = NULL;
    size_t length;

    CU_ASSERT_EQUAL_FATAL(vg_metadata_encode(m, &header, form, &text, &length), 0);
    CU_ASSERT_EQUAL(strlen(text), length);
    return text;
}

/* What LVM2 wrote, from the group's name to the brace that ends it: ours is the same, byte by byte.
 */
static void same_group(const char *theirs, const char *ours, const char *vg)
{
    char start[160];

    snprintf(start, sizeof start, "\n%s {\n", vg);
    const char *a =
        strncmp(theirs, start + 1, strlen(start + 1)) ? strstr(theirs, start) + 1 : theirs;
    const char *b = strncmp(ours, start + 1, strlen(start + 1)) ? strstr(ours, start) + 1 : ours;
    size_t length = (size_t)(strstr(a, "\n\n}\n") + 4 - a);

    CU_ASSERT_EQUAL(strncmp(a, b, length), 0);
    for (size_t i = 0; i < length; i++)
        if (a[i] != b[i]) {
            printf("differs at %.60s\n", b + i);
            break;
        }
}

static void test_golden_backup(void)
{
    for (unsigned i = 0; i < golden_count; i++) {
        size_t length;
        char *backup = golden_backup(&goldens[i], &length);
        struct vg_metadata *m = decode(backup);
        char *ours = encode(m, VG_TEXT_BACKUP);

        CU_ASSERT_STRING_EQUAL(m->name, goldens[i].vg);
        CU_ASSERT_EQUAL(m->lv_count, goldens[i].lvs);
        CU_ASSERT_EQUAL(!m->read_only_reason, !goldens[i].reason);
        if (!goldens[i].reason)
            same_group(backup, ours, m->name);
        vg_metadata_free(m);
        free(backup);
        free(ours);
    }
}

static void test_golden_disk(void)
{
    for (unsigned i = 0; i < golden_count; i++)
        for (unsigned k = 0; k < goldens[i].pvs; k++) {
            char *head = golden_head(&goldens[i], k);
            size_t length;
            char *text = golden_text(head, &length);

            if (text) {
                struct vg_metadata *m = decode(text);
                char *ours = encode(m, VG_TEXT_DISK);

                if (!goldens[i].reason)
                    same_group(text, ours, m->name);
                vg_metadata_free(m);
                free(ours);
            }
            free(text);
            free(head);
        }
}

/* Written and read again, everything unknown is still there. */
static void test_unknown_is_kept(void)
{
    size_t length;
    char *backup = golden_backup(&goldens[6], &length);
    struct vg_metadata *m = decode(backup);
    char *once = encode(m, VG_TEXT_DISK);
    struct vg_metadata *again = decode(once);
    char *twice = encode(again, VG_TEXT_DISK);

    CU_ASSERT_STRING_EQUAL(once, twice);
    CU_ASSERT_PTR_NOT_NULL(strstr(once, "\"r5_rmeta_2\", \"r5_rimage_2\""));
    CU_ASSERT_PTR_NOT_NULL(strstr(once, "thin_pool = \"tp\""));
    CU_ASSERT_PTR_NOT_NULL(strstr(m->read_only_reason, "segment of type"));
    CU_ASSERT(vg_lv_known(vg_metadata_find_lv(m, "lin")));
    CU_ASSERT(!vg_lv_known(vg_metadata_find_lv(m, "r5")));
    CU_ASSERT_EQUAL(vg_lv_extents(vg_metadata_find_lv(m, "r5")), 4);
    vg_metadata_free(m);
    vg_metadata_free(again);
    free(backup);
    free(once);
    free(twice);
}

#define ID(c)                                                                                      \
    c c c c c c "-" c c c c "-" c c c c "-" c c c c "-" c c c c "-" c c c c "-" c c c c c c
#define TAIL "contents = \"Text Format Volume Group\"\nversion = 1\n"
#define HEAD                                                                                       \
    "vg { id = \"" ID(                                                                             \
        "a") "\" seqno = 3 status = [\"RESIZEABLE\", \"READ\", \"WRITE\"] extent_size = 8192 "
#define PVS                                                                                        \
    "physical_volumes { pv0 { id = \"" ID(                                                         \
        "b") "\" device = \"/dev/x\" status = [\"ALLOCATABLE\"]"                                   \
             " pe_start = 2048 pe_count = 10 } pv1 { id = \"" ID(                                  \
                 "c") "\" pe_start = 2048 pe_count = 10 } } "
#define LV(name, c, segments)                                                                      \
    name " { id = \"" ID(c) "\" status = [\"READ\", \"WRITE\", \"VISIBLE\"] " segments " } "
#define SEGMENT(n, start, count, type, rest)                                                       \
    "segment" n " { start_extent = " start " extent_count = " count " type = \"" type "\" " rest   \
    " } "
#define LINEAR(pe) "stripe_count = 1 stripes = [\"pv0\", " pe "]"
#define ONE(rest)  "segment_count = 1 " SEGMENT("1", "0", "4", "striped", rest)
#define LVS(lvs)   "logical_volumes { " lvs "} } "

static void refused(const char *text, int code, const char *part)
{
    struct vg_metadata *m = (void *)1;
    struct error err = {0};

    CU_ASSERT_EQUAL(vg_metadata_decode(&m, text, strlen(text), &err), -code);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, part));
    if (!strstr(err.text, part))
        printf("\"%s\" is not in \"%s\"\n", part, err.text);
    CU_ASSERT_PTR_EQUAL(m, (void *)1);
}

static void test_refuse(void)
{
    static const struct {
        const char *text, *part;
        int code;
    } cases[] = {
        {"", "\"contents\" is missing", EBADMSG},
        {TAIL, "no group", EBADMSG},
        {"vg { id = \"x\" seqno = 1 id = \"y\" } " TAIL, "stands twice", EBADMSG},
        {HEAD PVS "} "
                  "version = 1",
            "\"contents\" is missing", EBADMSG},
        {HEAD PVS "} contents = \"Text Format Volume Group\" version = 2", "another kind",
            EOPNOTSUPP},
        {HEAD PVS "} x { } " TAIL, "second group", EBADMSG},
        {"../x { } " TAIL, "no group with a valid name", EBADMSG},
        {"vg { } " TAIL, "\"id\" is missing", EBADMSG},
        {"vg { id = \"x\" } " TAIL, "no LVM2 identifier", EBADMSG},
        {"vg { id = 5 } " TAIL, "is no text", EBADMSG},
        {"vg { id = \"" ID("a") "\" seqno = -1 } " TAIL, "\"seqno\" is no number in range",
            EBADMSG},
        {"vg { id = \"" ID("a") "\" seqno = 4294967296 } " TAIL, "\"seqno\" is no number", EBADMSG},
        {"vg { id = \"" ID("a") "\" seqno = 1 format = \"lvm1\" } " TAIL, "format lvm1",
            EOPNOTSUPP},
        {"vg { id = \"" ID("a") "\" seqno = 1 extent_size = 0 } " TAIL, "is zero", EBADMSG},
        {"vg { id = \"" ID("a") "\" seqno = 1 status = [1] } " TAIL, "no text", EBADMSG},
        {HEAD "} " TAIL, "\"physical_volumes\" is missing", EBADMSG},
        {HEAD "physical_volumes = 3 } " TAIL, "is no section", EBADMSG},
        {HEAD "physical_volumes { pv0 = 1 } } " TAIL, "is no section", EBADMSG},
        {HEAD "physical_volumes { pv0 { id = \"" ID("b") "\" pe_start = 2048 } } } " TAIL,
            "\"pe_count\" is missing", EBADMSG},
        {HEAD "physical_volumes { pv0 { id = \"" ID(
             "b") "\" pe_start = 18014398509481983 pe_count = 9 } } } " TAIL,
            "impossibly large", EBADMSG},
        {HEAD PVS LVS(LV("l", "d", "segment_count = 7")) TAIL, "larger than what follows", EBADMSG},
        {HEAD PVS LVS(LV("l", "d", "segment_count = 1 x = 1")) TAIL, "\"segment1\" is missing",
            EBADMSG},
        {HEAD PVS LVS(LV("l", "d", ONE(LINEAR("7")))) TAIL, "outside of PV pv0", EBADMSG},
        {HEAD PVS LVS(LV("l", "d", ONE(LINEAR("0"))) LV("m", "e", ONE(LINEAR("3")))) TAIL,
            "share extents", EBADMSG},
        {HEAD PVS LVS(LV("l", "d", ONE(LINEAR("0"))) LV("l", "e", ONE(LINEAR("4")))) TAIL,
            "stands twice", EBADMSG},
        {HEAD PVS LVS(LV("l", "b", ONE(LINEAR("0")))) TAIL, "are called", EBADMSG},
        {HEAD PVS LVS(LV("a/b", "d", ONE(LINEAR("0")))) TAIL, "impossible name", EBADMSG},
        {HEAD PVS LVS(LV(
             "l", "d", "segment_count = 1 " SEGMENT("1", "1", "2", "striped", LINEAR("0")))) TAIL,
            "leave a gap", EBADMSG},
        {HEAD PVS LVS(LV(
             "l", "d", "segment_count = 1 " SEGMENT("1", "0", "0", "striped", LINEAR("0")))) TAIL,
            "leave a gap", EBADMSG},
        {HEAD PVS "} " TAIL "x = [1, 2", "line 3", EBADMSG},
    };

    for (unsigned i = 0; i < ARRAY_LEN(cases); i++)
        refused(cases[i].text, cases[i].code, cases[i].part);
}

static void never_modified(const char *text, const char *part)
{
    struct vg_metadata *m = decode(text);

    CU_ASSERT_PTR_NOT_NULL_FATAL(m->read_only_reason);
    CU_ASSERT_PTR_NOT_NULL(strstr(m->read_only_reason, part));
    vg_metadata_free(m);
}

static void test_reasons(void)
{
    never_modified("vg { id = \"" ID("a") "\" seqno = 3 status = [\"RESIZEABLE\", \"READ\", "
                                          "\"WRITE\", \"EXPORTED\"] extent_size = 8192 " PVS
                                          "} " TAIL,
        "EXPORTED");
    never_modified(
        "vg { id = \"" ID(
            "a") "\" seqno = 3 status = [\"RESIZEABLE\", \"READ\"] extent_size = 8192 " PVS
                 "} " TAIL,
        "lacks the status flag WRITE");
    never_modified(HEAD "system_id = \"other\" " PVS "} " TAIL, "system \"other\"");
    never_modified(HEAD "lock_type = \"sanlock\" " PVS "} " TAIL, "sanlock");
    never_modified(HEAD PVS "new_things { a = 1 } } " TAIL, "\"new_things\"");
    never_modified(HEAD PVS LVS(LV("l", "d", ONE("stripe_count = 1 stripes = [\"lv9\", 0]"))) TAIL,
        "segment of type striped");
    never_modified(HEAD PVS LVS(LV(
                       "l", "d", "segment_count = 1 " SEGMENT("1", "0", "4", "vdo", "x = 1"))) TAIL,
        "type vdo");
    never_modified(HEAD PVS LVS("l { id = \"" ID(
                       "d") "\" status = [\"READ\", \"LOCKED\"] segment_count = 0 } ") TAIL,
        "LOCKED");
    never_modified(HEAD "physical_volumes { pv0 { id = \"" ID(
                       "b") "\" flags = [\"MISSING\"] pe_start = 2048 pe_count = 9 } } } " TAIL,
        "missing");
}

/* Keys that LVM2 has and we have no use for do not stand in the way. */
static void test_harmless_keys(void)
{
    struct vg_metadata *m = decode(
        HEAD "allocation_policy = \"normal\" system_id = \"\" lock_type = \"none\" " PVS "} " TAIL);
    char *text = encode(m, VG_TEXT_BACKUP);

    CU_ASSERT_PTR_NULL(m->read_only_reason);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\tallocation_policy = \"normal\"\n"));
    free(text);
    vg_metadata_free(m);
}

/* A damaged text is refused, or it is still one that makes sense; nothing else happens (the
 * sanitizers watch). */
static void test_truncation_and_flips(void)
{
    size_t length;
    char *backup = golden_backup(&goldens[3], &length);

    for (size_t i = 0; i < length; i++) {
        struct vg_metadata *m;

        if (vg_metadata_decode(&m, backup, i, NULL) == 0)
            vg_metadata_free(m);
        for (unsigned bit = 0; bit < 8; bit++) {
            backup[i] ^= (char)(1 << bit);
            if (vg_metadata_decode(&m, backup, length, NULL) == 0)
                vg_metadata_free(m);
            backup[i] ^= (char)(1 << bit);
        }
    }
    free(backup);
}

static void test_names(void)
{
    static const char *const good[] = {"vg", "a.b", "x+y", "_", "9", "lv-1"};
    static const char *const bad_vg[] = {"", "-a", ".", "..", "a b", "a/b", "\xc3\xa4", "a\"b"};
    static const char *const bad_lv[] = {
        "snapshot1", "pvmove0", "x_rimage_0", "lvol0_pmspare", "-"};
    static const char *const bad_tag[] = {"", "-x", "a b", "a,b", "a\"", "@x"};
    char long_name[LVM_NAME_CHARS + 2];

    for (unsigned i = 0; i < ARRAY_LEN(good); i++)
        CU_ASSERT_EQUAL(lv_name_check(good[i], NULL), 0);
    for (unsigned i = 0; i < ARRAY_LEN(bad_vg); i++)
        CU_ASSERT_EQUAL(vg_name_check(bad_vg[i], NULL), -EINVAL);
    for (unsigned i = 0; i < ARRAY_LEN(bad_lv); i++)
        CU_ASSERT_EQUAL(lv_name_check(bad_lv[i], NULL), -EINVAL);
    for (unsigned i = 0; i < ARRAY_LEN(bad_tag); i++)
        CU_ASSERT_EQUAL(lvm_tag_check(bad_tag[i], NULL), -EINVAL);
    CU_ASSERT_EQUAL(lvm_tag_check("ashlar:format=raw&x#1!", NULL), 0);
    memset(long_name, 'x', sizeof long_name);
    long_name[LVM_NAME_CHARS] = 0;
    CU_ASSERT_EQUAL(vg_name_check(long_name, NULL), 0);
    long_name[LVM_NAME_CHARS] = 'x';
    long_name[LVM_NAME_CHARS + 1] = 0;
    CU_ASSERT_EQUAL(vg_name_check(long_name, NULL), -EINVAL);
}

static void test_add_and_remove(void)
{
    struct vg_metadata *m = decode(HEAD PVS LVS(
                           LV("l", "d", ONE("stripe_count = 1 stripes = [\"pv1\", 2]"))) TAIL),
                       *copy = NULL;

    CU_ASSERT_EQUAL(m->lvs[0].segments[0].stripes[0].pv, 1);
    vg_metadata_remove_pv(m, 0);
    CU_ASSERT_EQUAL(m->lvs[0].segments[0].stripes[0].pv, 0);
    struct vg_pv *pv = vg_metadata_add_pv(m);
    CU_ASSERT_STRING_EQUAL(pv->key, "pv0");
    memcpy(pv->id, ID("f"), sizeof pv->id);
    pv->pe_count = 5;
    struct vg_lv *lv = vg_metadata_add_lv(m, "new", ID("g"));
    CU_ASSERT_EQUAL(text_list_add(m->arena, &lv->tags, "one"), 0);
    CU_ASSERT_EQUAL(text_list_add(m->arena, &lv->tags, "two"), 0);
    CU_ASSERT_EQUAL(text_list_add(m->arena, &lv->tags, "one"), 0);
    CU_ASSERT_EQUAL(vg_metadata_clone(m, &copy), 0);
    vg_metadata_free(m);
    CU_ASSERT_EQUAL(copy->lv_count, 2);
    lv = vg_metadata_find_lv(copy, "new");
    CU_ASSERT_EQUAL(lv->tags.count, 2);
    CU_ASSERT(text_list_remove(&lv->tags, "one"));
    CU_ASSERT(!text_list_remove(&lv->tags, "one"));
    vg_metadata_remove_lv(copy, vg_metadata_find_lv(copy, "l"));
    CU_ASSERT_PTR_NULL(vg_metadata_find_lv(copy, "l"));
    CU_ASSERT_PTR_NOT_NULL(vg_metadata_find_lv(copy, "new"));
    CU_ASSERT_EQUAL(vg_metadata_find_pv(copy, ID("f")), 1);
    CU_ASSERT_EQUAL(vg_metadata_find_pv(copy, ID("b")), -1);
    vg_metadata_free(copy);
}

CU_TestInfo metadata_tests[] = {
    {"LVM2's backups are read, and written as LVM2 does", test_golden_backup},
    {"LVM2's texts on disk, too", test_golden_disk},
    {"what is unknown is kept", test_unknown_is_kept},
    {"what makes no sense is refused", test_refuse},
    {"what others own or extend is never modified", test_reasons},
    {"keys of no use are harmless", test_harmless_keys},
    {"every truncation and every flipped bit", test_truncation_and_flips},
    {"names and tags", test_names},
    {"volumes and PVs come and go", test_add_and_remove},
    CU_TEST_INFO_NULL,
};
