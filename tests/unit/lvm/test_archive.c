/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lvm/archive.h"
#include "rt/fs.h"

extern CU_TestInfo archive_tests[];

static struct rig rig;
static struct error err;
static char dir[64], archive_dir[80], backup_dir[80], path[128];

static void test_numbers(void)
{
    CU_ASSERT_EQUAL(archive_number("vg_00000-123.vg", "vg"), 0);
    CU_ASSERT_EQUAL(archive_number("vg_00017-0.vg", "vg"), 17);
    CU_ASSERT_EQUAL(archive_number("vg_123456-5.vg", "vg"), 123456);
    CU_ASSERT_EQUAL(archive_number("vg_x_00017-0.vg", "vg"), -1);
    CU_ASSERT_EQUAL(archive_number("vg_x_00017-0.vg", "vg_x"), 17);
    CU_ASSERT_EQUAL(archive_number("vg_0017-0.vg", "vg"), -1);
    CU_ASSERT_EQUAL(archive_number("vg_00017.vg", "vg"), -1);
    CU_ASSERT_EQUAL(archive_number("vg_00017-.vg", "vg"), -1);
    CU_ASSERT_EQUAL(archive_number("vg_00017-5.vg.tmp", "vg"), -1);
    CU_ASSERT_EQUAL(archive_number("vg", "vg"), -1);
    CU_ASSERT_EQUAL(archive_number("", "vg"), -1);
}

static struct vg_settings begin(void)
{
    snprintf(dir, sizeof dir, "/var/tmp/ashlar-lvm-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL(mkdtemp(dir));
    snprintf(archive_dir, sizeof archive_dir, "%s/archive", dir);
    snprintf(backup_dir, sizeof backup_dir, "%s/backup", dir);
    rig_begin(&rig, 512);
    return (struct vg_settings){archive_dir, 3, backup_dir, "host"};
}

static unsigned remove_all(const char *from)
{
    char **names = NULL;
    unsigned count = 0;

    if (fs_list(from, &names))
        return 0;
    for (; names[count]; count++) {
        snprintf(path, sizeof path, "%.60s/%.60s", from, names[count]);
        fs_remove(path);
    }
    free(names);
    rmdir(from);
    return count;
}

static void end(void)
{
    rig_end(&rig);
    remove_all(archive_dir);
    remove_all(backup_dir);
    rmdir(dir);
}

static struct vg_metadata *read_text(const char *in, const char *name)
{
    struct vg_metadata *m = NULL;
    size_t length;
    char *text = NULL;

    snprintf(path, sizeof path, "%.60s/%.60s", in, name);
    CU_ASSERT_EQUAL(fs_read(path, 1 << 20, &text, &length), 0);
    CU_ASSERT_EQUAL(vg_metadata_decode(&m, text, length, &err), 0);
    free(text);
    return m;
}

static void keeps(void)
{
    struct vg_settings settings = begin();
    char **names = NULL, name[16];

    expect(vg_create(&rig.vg, "vg", rig.pvs, 2, 0, &settings, 0, &err), 0, &err, NULL);
    CU_ASSERT_NOT_EQUAL(fs_list(archive_dir, &names), 0); /* a new group has no past */
    for (unsigned i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "l%u", i);
        rig_lv(&rig, name, 1);
    }
    CU_ASSERT_EQUAL(fs_list(archive_dir, &names), 0);
    for (unsigned i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(archive_number(names[i], "vg"), 3 + (long)i);
        struct vg_metadata *m = read_text(archive_dir, names[i]);
        CU_ASSERT_EQUAL(m->seqno, 4 + i); /* what was before the change */
        CU_ASSERT_EQUAL(m->lv_count, 3 + i);
        vg_metadata_free(m);
    }
    CU_ASSERT_PTR_NULL(names[3]);
    free(names);
    struct vg_metadata *m = read_text(backup_dir, "vg");
    CU_ASSERT_EQUAL(m->seqno, 7);
    CU_ASSERT_EQUAL(m->lv_count, 6);
    vg_metadata_free(m);
    expect(vg_rename(rig.vg, "new", 0, &err), 0, &err, NULL);
    CU_ASSERT_EQUAL(fs_list(backup_dir, &names), 0);
    CU_ASSERT_STRING_EQUAL(names[0], "new");
    CU_ASSERT_PTR_NULL(names[1]);
    free(names);
    end();
}

/* Without an archive nothing is changed; without a backup it is, and told. */
static void fails(void)
{
    struct vg_settings settings = begin();
    struct lv *lv = NULL;

    settings.archive_dir = "/dev/null/archive";
    expect(vg_create(&rig.vg, "vg", rig.pvs, 1, 0, &settings, 0, &err), 0, &err, NULL);
    expect(
        lv_create(rig.vg, "l", EXTENT, NULL, 0, 0, &lv, &err), ENOTDIR, &err, "cannot be written");
    CU_ASSERT_PTR_NULL(vg_find_lv(rig.vg, "l"));
    expect(vg_close(rig.vg, &err), 0, &err, NULL);
    settings.archive_dir = NULL;
    settings.backup_dir = "/dev/null/backup";
    expect(vg_open(&rig.vg, rig.pvs, 1, &settings, &err), 0, &err, NULL);
    lv = rig_lv(&rig, "l", 1);
    struct vg_status *s = vg_status(rig.vg);
    CU_ASSERT(s->warning && strstr(s->warning, "/dev/null/backup/vg cannot be written"));
    vg_status_free(s);
    end();
}

static void test_keeps(void)
{
    run_in_rt(keeps);
}

static void test_fails(void)
{
    run_in_rt(fails);
}

CU_TestInfo archive_tests[] = {
    {"the numbers in names", test_numbers},
    {"what was and what is are kept", test_keeps},
    {"directories that cannot be written", test_fails},
    CU_TEST_INFO_NULL,
};
