/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "block/member.h"
#include "block/probe.h"

extern CU_TestInfo probe_tests[];

#define MIB UINT64_C(1048576)

static void check_signature(const char *path, const char *signature, const char *label)
{
    struct probe_result r;
    struct error err = {0};

    CU_ASSERT_EQUAL(probe_path(path, &r, &err), 0);
    CU_ASSERT_STRING_EQUAL(r.signature, signature);
    CU_ASSERT_STRING_EQUAL(r.label, label);
    CU_ASSERT_STRING_EQUAL(r.holder, "");
}

static void check_holder(const char *path, const char *holder)
{
    struct probe_result r = {0};
    struct error err = {0};
    char text[512];

    CU_ASSERT_EQUAL(probe_path(path, &r, &err), 0);
    CU_ASSERT_STRING_EQUAL(r.holder, holder);
    CU_ASSERT_EQUAL(probe_refuse(path, true, &err), -EBUSY);
    snprintf(text, sizeof text, "%s is in use: %s", path, holder);
    CU_ASSERT_STRING_EQUAL(err.text, text);
}

static void check_used(const char *path, uint64_t expected, const char *what)
{
    struct blockdev *d;
    uint64_t used = 1;
    char found[64] = "?";
    struct error err = {0};

    CU_ASSERT_EQUAL(member_open(path, MEMBER_READ_ONLY, &d, &err), 0);
    CU_ASSERT_EQUAL(probe_used_bytes(d, &used, found, sizeof found, &err), 0);
    CU_ASSERT_EQUAL(used, expected);
    CU_ASSERT_STRING_EQUAL(found, what);
    blockdev_close(d);
}

static void write_at(const char *path, uint64_t offset, const void *bytes, size_t length)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    CU_ASSERT_EQUAL(pwrite(fd, bytes, length, (off_t)offset), (ssize_t)length);
    close(fd);
}

static void nothing(void)
{
    const char *path = scratch_file("blank", 8 * MIB);
    struct probe_result r = {.label = "untouched"};
    struct error err = {0};

    check_signature(path, "", "");
    CU_ASSERT_EQUAL(probe_refuse(path, false, &err), 0);
    check_used(path, 0, "");
    write_at(path, 5000, "just some text", 14);
    check_signature(path, "", "");
    check_used(path, 0, "");
    CU_ASSERT_EQUAL(probe_path(scratch_path("none"), &r, &err), -ENOENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "none: No such file"));
    CU_ASSERT_EQUAL(probe_path("/dev/null", &r, &err), -EINVAL);
    CU_ASSERT_STRING_EQUAL(err.text, "/dev/null is neither a regular file nor a block device");
    CU_ASSERT_STRING_EQUAL(r.label, "untouched");
}

static void test_nothing(void)
{
    run_in_rt(nothing);
}

static void ext(void)
{
    const char *path = scratch_file("ext", 64 * MIB);
    struct error err = {0};
    char text[512];

    if (!scratch_has("mke2fs"))
        return;
    CU_ASSERT(scratch_run("mke2fs -q -t ext4 -b 4096 -L stone %s 40M", path));
    check_signature(path, "ext4 file system", "stone");
    check_used(path, 40 * MIB, "ext4 file system");
    CU_ASSERT_EQUAL(probe_refuse(path, false, &err), -EEXIST);
    snprintf(text, sizeof text,
        "%s carries data: ext4 file system labelled \"stone\"; --force overrides", path);
    CU_ASSERT_STRING_EQUAL(err.text, text);
    CU_ASSERT_EQUAL(probe_refuse(path, true, &err), 0);
    CU_ASSERT(scratch_run("mke2fs -q -F -t ext2 -b 1024 %s 10001", path));
    check_used(path, 10001 * 1024, "ext2 file system");
    CU_ASSERT(scratch_run("mke2fs -q -F -t ext4 -O 64bit %s", path));
    check_used(path, 64 * MIB, "ext4 file system");
}

static void test_ext(void)
{
    run_in_rt(ext);
}

static void xfs(void)
{
    const char *path = scratch_file("xfs", 400 * MIB);

    if (!scratch_has("mkfs.xfs"))
        return;
    CU_ASSERT(scratch_run("mkfs.xfs -q -d size=320m %s", path));
    check_signature(path, "xfs file system", "");
    check_used(path, 320 * MIB, "xfs file system");
}

static void test_xfs(void)
{
    run_in_rt(xfs);
}

static void swap(void)
{
    const char *path = scratch_file("swap", 16 * MIB);

    if (!scratch_has("mkswap"))
        return;
    CU_ASSERT(scratch_run("mkswap -L pages %s && truncate -s 20M %s", path, path));
    check_signature(path, "swap", "pages");
    check_used(path, 16 * MIB, "swap");
}

static void test_swap(void)
{
    run_in_rt(swap);
}

static void partition_tables(void)
{
    const char *path = scratch_file("table", 64 * MIB);

    if (!scratch_has("sfdisk"))
        return;
    CU_ASSERT(scratch_run("printf 'label: gpt\\nsize=8M\\nsize=10M\\n' | sfdisk %s", path));
    check_signature(path, "gpt partition table", "");
    check_used(path, 19 * MIB, "gpt partition table");
    CU_ASSERT(scratch_run(
        "printf 'label: dos\\nsize=8M\\nsize=20M,type=5\\n' | sfdisk -w always %s", path));
    check_signature(path, "dos partition table", "");
    check_used(path, 29 * MIB, "dos partition table");
    CU_ASSERT(scratch_run("printf 'label: gpt\\n' | sfdisk -w always %s", path));
    check_used(path, 1 * MIB, "gpt partition table");
}

static void test_partition_tables(void)
{
    run_in_rt(partition_tables);
}

/* The few fields by which libblkid knows an md member; then a second signature beside it. */
static void raid_member(void)
{
    const char *path = scratch_file("md", 64 * MIB);
    unsigned char sb[256] = {0};
    struct probe_result r;

    put_le32(sb, 0xa92b4efc);
    put_le32(sb + 4, 1);
    put_le64(sb + 144, 8);
    memcpy(sb + 32, "host:name", 9);
    write_at(path, 4096, sb, sizeof sb);
    check_signature(path, "linux_raid_member", "host:name");
    check_used(path, 64 * MIB, "linux_raid_member");
    if (!scratch_has("mke2fs"))
        return;
    CU_ASSERT(scratch_run("mke2fs -q -F -t ext4 -b 4096 %s 40M", path));
    write_at(path, 4096, sb, sizeof sb);
    CU_ASSERT_EQUAL(probe_path(path, &r, NULL), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.signature, "linux_raid_member"));
    CU_ASSERT_PTR_NOT_NULL(strstr(r.signature, "ext4 file system"));
    check_used(path, 64 * MIB, "linux_raid_member");
}

static void test_raid_member(void)
{
    run_in_rt(raid_member);
}

/* A superblock whose block count is absurd claims no more than there is. */
static void absurd(void)
{
    const char *path = scratch_file("absurd", 64 * MIB);
    unsigned char blocks[4] = {0xff, 0xff, 0xff, 0xff};

    if (!scratch_has("mke2fs"))
        return;
    CU_ASSERT(scratch_run("mke2fs -q -t ext2 %s 40M", path));
    write_at(path, 1024 + 4, blocks, 4);
    check_used(path, 64 * MIB, "ext2 file system");
}

static void test_absurd(void)
{
    run_in_rt(absurd);
}

static void unreadable(void)
{
    const char *path = scratch_file("unreadable", 8 * MIB);
    struct blockdev *d;
    struct error err = {0};
    uint64_t used = 7;
    char what[8] = "old";

    CU_ASSERT_EQUAL(member_open(path, 0, &d, &err), 0);
    CU_ASSERT_EQUAL(truncate(path, MIB), 0);
    CU_ASSERT_EQUAL(probe_used_bytes(d, &used, what, sizeof what, &err), -EIO);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "cannot look for a file system on "));
    CU_ASSERT_EQUAL(used, 7);
    CU_ASSERT_STRING_EQUAL(what, "old");
    blockdev_close(d);
}

static void test_unreadable(void)
{
    run_in_rt(unreadable);
}

/* Holders. */

static void locked(void)
{
    const char *path = scratch_file("locked", 8 * MIB);
    struct blockdev *d;

    CU_ASSERT_EQUAL(member_open(path, 0, &d, NULL), 0);
    check_holder(path, "locked by another program");
    blockdev_close(d);
    CU_ASSERT_EQUAL(probe_refuse(path, false, NULL), 0);
}

static void test_locked(void)
{
    run_in_rt(locked);
}

static void attached(void)
{
    const char *path = scratch_file("attached", 8 * MIB);
    struct blockdev *d;
    char loop[32], holder[64];

    if (!scratch_loop(path, "", loop))
        return;
    snprintf(holder, sizeof holder, "used by %s", loop);
    check_holder(path, holder);
    check_signature(loop, "", "");
    CU_ASSERT_EQUAL(member_open(loop, 0, &d, NULL), 0);
    check_holder(loop, "held by the kernel or another program");
    blockdev_close(d);
    CU_ASSERT(scratch_run("losetup -d %s", loop));
    CU_ASSERT_EQUAL(probe_refuse(path, false, NULL), 0);
}

static void test_attached(void)
{
    run_in_rt(attached);
}

static void mounted(void)
{
    const char *path = scratch_file("image", 16 * MIB), *mount = scratch_path("mount point");
    char loop[32], holder[256];

    if (!scratch_has("mke2fs") || !scratch_loop(path, "", loop))
        return;
    CU_ASSERT(scratch_run("mke2fs -q %s && mkdir '%s'", loop, mount));
    if (scratch_run("mount %s '%s'", loop, mount)) {
        snprintf(holder, sizeof holder, "mounted on %s", mount);
        check_holder(loop, holder);
        CU_ASSERT(scratch_run("umount '%s'", mount));
    } else {
        scratch_skip("file systems cannot be mounted here");
    }
    check_signature(loop, "ext2 file system", "");
    CU_ASSERT(scratch_run("losetup -d %s", loop));
}

static void test_mounted(void)
{
    run_in_rt(mounted);
}

static void check_partition_mounted(const char *disk, const char *part)
{
    const char *mount = scratch_path("mount");
    char holder[256];

    CU_ASSERT(scratch_run("mke2fs -q %s && mkdir %s && mount %s %s", part, mount, part, mount));
    snprintf(
        holder, sizeof holder, "its partition %s is mounted on %s", part + strlen("/dev/"), mount);
    check_holder(disk, holder);
    CU_ASSERT(scratch_run("umount %s", mount));
}

static void partition_in_use(void)
{
    const char *path = scratch_file("disk", 64 * MIB);
    char loop[32], part[40];
    struct blockdev *d;

    if (!scratch_has("sfdisk") || !scratch_has("mke2fs") ||
        !scratch_run("printf 'label: gpt\\nsize=16M\\n' | sfdisk %s", path) ||
        !scratch_loop(path, "", loop))
        return;
    snprintf(part, sizeof part, "%sp1", loop);
    /* losetup may have scanned already; the node comes a little later. */
    if (!scratch_run(
            "partx -u %s; for i in $(seq 40); do test -b %s && exit; sleep .05; done; false", loop,
            part)) {
        scratch_skip("no partitions on loop devices here");
    } else {
        check_partition_mounted(loop, part);
        CU_ASSERT_EQUAL(member_open(loop, 0, &d, NULL), 0);
        check_holder(part, "held by the kernel or another program");
        blockdev_close(d);
    }
    CU_ASSERT(scratch_run("losetup -d %s", loop));
}

static void test_partition_in_use(void)
{
    run_in_rt(partition_in_use);
}

/* LVM2 without the kernel's device mapper. */
static void physical_volume(void)
{
    const char *path = scratch_file("pv", 64 * MIB);
    char loop[32];

    if (!scratch_has("lvm") || !scratch_loop(path, "", loop))
        return;
    CU_ASSERT(scratch_run(
        "lvm pvcreate --driverloaded n --config 'devices{filter=[\"a|^%s$|\",\"r|.*|\"] "
        "use_devicesfile=0} backup{archive=0}' %s",
        loop, loop));
    check_signature(loop, "LVM2_member", "");
    check_used(loop, 64 * MIB, "LVM2_member");
    CU_ASSERT(scratch_run("losetup -d %s", loop));
}

static void test_physical_volume(void)
{
    run_in_rt(physical_volume);
}

CU_TestInfo probe_tests[] = {
    {"nothing there", test_nothing},
    {"ext2, ext4", test_ext},
    {"xfs", test_xfs},
    {"swap", test_swap},
    {"partition tables", test_partition_tables},
    {"a member of an md array, and two signatures", test_raid_member},
    {"a physical volume", test_physical_volume},
    {"an absurd size", test_absurd},
    {"a device that cannot be read", test_unreadable},
    {"locked", test_locked},
    {"attached to a loop device", test_attached},
    {"mounted", test_mounted},
    {"a partition in use", test_partition_in_use},
    CU_TEST_INFO_NULL,
};
