/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images that QEMU's programs made: bitmaps, kept while nothing changes and taken out before
 * something does; version 2, which is only read; compressed clusters at a disk's end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../block/scratch.h"
#include "base/arith.h"
#include "block/member.h"
#include "rig.h"

extern CU_TestInfo image_kept_tests[];

static const char *path(void)
{
    return scratch_path("image.qcow2");
}

static int open_path(struct rig *r, bool read_only)
{
    struct error err = {0};

    *r = (struct rig){.options = {.read_only = read_only}};
    CU_ASSERT_EQUAL(member_open(path(), read_only ? MEMBER_READ_ONLY : 0, &r->file, &err), 0);
    int rc = qcow2_open(&r->q, r->file, "image", &r->options, &err);
    if (rc && rc != -EROFS)
        printf("open: %s\n", err.text);
    if (rc)
        blockdev_close(r->file);
    else
        r->disk = qcow2_blockdev(r->q);
    return rc;
}

static void close_path(struct rig *r)
{
    CU_ASSERT_EQUAL(rig_close(r), 0);
    if (!r->options.read_only)
        rig_expect_whole(r);
    blockdev_close(r->file);
}

static bool has_bitmap(void)
{
    return scratch_run("qemu-img info %s | grep -q 'name: b0'", path());
}

static void bitmaps(void)
{
    struct rig r;

    CU_ASSERT(scratch_run("qemu-img create -q -f qcow2 -o cluster_size=4k %s 4M && "
                          "qemu-img bitmap --add -g 512 %s b0 && "
                          "qemu-io -c 'write -P 7 0 1M' %s && truncate -s 8M %s && cp %s %s.before",
        path(), path(), path(), path(), path(), path()));
    for (unsigned read_only = 0; read_only < 2; read_only++) {
        CU_ASSERT_EQUAL(open_path(&r, read_only), 0);
        CU_ASSERT(rig_reads(&r, 0, 1 << 20, 7));
        CU_ASSERT_EQUAL(blockdev_flush(r.disk), 0);
        close_path(&r);
        CU_ASSERT(
            scratch_run("cmp -n $(stat -c %%s %s.before) %s %s.before", path(), path(), path()));
    }
    CU_ASSERT(has_bitmap());
    CU_ASSERT_EQUAL(open_path(&r, false), 0);
    CU_ASSERT_EQUAL(rig_write(&r, 4096, 512, 8), 0);
    close_path(&r);
    CU_ASSERT_FALSE(has_bitmap());
    CU_ASSERT(scratch_run("qemu-img check -q %s", path()));
}

static void version_2(void)
{
    struct rig r;

    CU_ASSERT(scratch_run("qemu-img create -q -f qcow2 -o compat=0.10 %s 4M && "
                          "qemu-io -c 'write -P 7 0 1M' %s >/dev/null && cp %s %s.before",
        path(), path(), path(), path()));
    CU_ASSERT_EQUAL(open_path(&r, false), -EROFS);
    CU_ASSERT_EQUAL(open_path(&r, true), 0);
    CU_ASSERT(rig_reads(&r, 0, 1 << 20, 7));
    CU_ASSERT(rig_reads(&r, 1 << 20, 3 << 20, 0));
    CU_ASSERT_EQUAL(rig_write(&r, 0, 512, 8), -EROFS);
    close_path(&r);
    CU_ASSERT(scratch_run("cmp %s %s.before", path(), path()));
}

/* The last cluster is compressed, and the disk ends inside one of its subclusters. */
static void zeros_at_the_end(void)
{
    const uint64_t size = (256 << 10) + 512;
    struct rig r;

    for (unsigned how = 0; how < 4; how++) {
        uint64_t from = how & 1 ? 0 : size - 512;

        CU_ASSERT(scratch_run("head -c %llu /dev/zero | tr '\\0' '\\7' > %s.raw && "
                              "qemu-img convert -c -f raw -O qcow2 -o "
                              "extended_l2=on,cluster_size=64k %s.raw %s && truncate -s 8M %s",
            (unsigned long long)size, path(), path(), path(), path()));
        CU_ASSERT_EQUAL(open_path(&r, false), 0);
        CU_ASSERT(rig_reads(&r, 0, size, 7));
        CU_ASSERT_EQUAL(how & 2 ? blockdev_discard(r.disk, from, size - from)
                                : blockdev_write_zeroes(r.disk, from, size - from, 0),
            0);
        CU_ASSERT(rig_reads(&r, 0, from, 7));
        CU_ASSERT((how & 2) || rig_reads(&r, from, size - from, 0));
        close_path(&r);
        CU_ASSERT(scratch_run("qemu-img check -q %s", path()));
    }
}

#define RULE(name)                                                                                 \
    static void test_##name(void)                                                                  \
    {                                                                                              \
        run_in_rt(name);                                                                           \
    }
RULE(bitmaps)
RULE(version_2)
RULE(zeros_at_the_end)

CU_TestInfo image_kept_tests[] = {
    {"bitmaps are kept, or taken out", test_bitmaps},
    {"version 2 is read", test_version_2},
    {"zeros at the end of a disk", test_zeros_at_the_end},
    CU_TEST_INFO_NULL,
};
