/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/qcow2.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../block/scratch.h"
#include "base/arith.h"
#include "block/fault.h"
#include "block/member.h"

extern CU_TestInfo create_tests[];

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static void put_garbage(const char *path, size_t bytes)
{
    FILE *f = fopen(path, "we");
    uint8_t *garbage = malloc(bytes);

    memset(garbage, 0xee, bytes);
    CU_ASSERT(f && fwrite(garbage, 1, bytes, f) == bytes);
    if (f)
        fclose(f);
    free(garbage);
}

/* A file of garbage, in which the plan's image is made; false: it is not. */
static bool make_image(const char *path, const struct qcow2_plan *plan)
{
    struct error err = {0};
    struct blockdev *file;
    uint64_t bytes = 0;

    CU_ASSERT_EQUAL(qcow2_plan_bytes(plan, &bytes, &err), 0);
    put_garbage(path, round_up(bytes, 4096));
    if (member_open(path, 0, &file, &err) < 0)
        return false;
    CU_ASSERT_EQUAL(qcow2_format(file, plan, &err), 0);
    if (err.text[0])
        printf("%s\n", err.text);
    blockdev_close(file);
    return !err.text[0];
}

/* `qemu-img check` finds nothing; what `qemu-img info` tells. */
static void get_info(const char *path, char *text, size_t room)
{
    const char *out = scratch_path("info");
    size_t n = 0;
    FILE *f;

    CU_ASSERT(scratch_run(
        "qemu-img check -U %s && qemu-img info -U --output=json %s > %s", path, path, out));
    f = fopen(out, "re");
    if (f) {
        n = fread(text, 1, room - 1, f);
        fclose(f);
    }
    text[n] = '\0';
}

static void __attribute__((format(printf, 2, 3))) expect(const char *info, const char *fmt, ...)
{
    char part[64];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(part, sizeof part, fmt, ap);
    va_end(ap);
    CU_ASSERT_PTR_NOT_NULL(strstr(info, part));
}

static void expect_info(const char *info, const struct qcow2_plan *plan, bool extended)
{
    expect(info, "\"virtual-size\": %llu,", (unsigned long long)plan->size_bytes);
    expect(info, "\"cluster-size\": %u,", 1u << plan->cluster_bits);
    expect(info, "\"refcount-bits\": %u,", 1u << plan->refcount_order);
    expect(info, "\"lazy-refcounts\": %s,", plan->no_lazy_refcounts ? "false" : "true");
    expect(info, "\"extended-l2\": %s", extended ? "true" : "false");
    expect(info, "\"compression-type\": \"%s\"", plan->compression == QCOW2_ZSTD ? "zstd" : "zlib");
}

static void try_plan(const struct qcow2_plan *plan)
{
    const char *path = scratch_path("new.qcow2");
    char info[4096];

    if (!make_image(path, plan))
        return;
    get_info(path, info, sizeof info);
    expect_info(info, plan, !plan->standard_l2 && plan->cluster_bits >= 14);
}

/* Every size of clusters and of refcounts, the other choices changing with them. */
static void grid(void)
{
    unsigned k = 0;

    for (unsigned bits = QCOW2_CLUSTER_BITS_MIN; bits <= QCOW2_CLUSTER_BITS_MAX; bits++)
        for (unsigned order = 1; order <= 6; order += 1 + bits % 2, k++) {
            struct qcow2_plan plan = {.size_bytes = k % 3 ? GIB : 100 * MIB + 512 * k,
                .cluster_bits = bits,
                .standard_l2 = k & 1,
                .refcount_order = order,
                .no_lazy_refcounts = k & 2,
                .compression = k & 4 ? QCOW2_ZSTD : QCOW2_ZLIB};

            try_plan(&plan);
        }
}

static void test_grid(void)
{
    if (scratch_has("qemu-img"))
        run_in_rt(grid);
}

/* The largest there can be: several refcount blocks before anything is written, and a disk whose
 * refcount table cannot grow with it. */
static void large(void)
{
    static const struct qcow2_plan plans[] = {
        {.size_bytes = 64 * GIB, .cluster_bits = 9, .refcount_order = 6},
        {.size_bytes = 64 * 1024 * GIB, .cluster_bits = 16, .refcount_order = 4}};

    for (unsigned i = 0; i < ARRAY_LEN(plans); i++)
        try_plan(&plans[i]);
}

static void test_large(void)
{
    if (scratch_has("qemu-img"))
        run_in_rt(large);
}

static void defaults(void)
{
    struct qcow2_plan plan = {
        .size_bytes = GIB, .backing_name = "base image", .backing_format = "raw"};
    const char *path = scratch_path("backed.qcow2");
    char info[4096];

    scratch_file("base image", MIB);
    if (!make_image(path, &plan))
        return;
    plan.cluster_bits = QCOW2_DEFAULT_CLUSTER_BITS;
    plan.refcount_order = 4;
    get_info(path, info, sizeof info);
    expect_info(info, &plan, true);
    expect(info, "\"backing-filename\": \"base image\"");
    expect(info, "\"backing-filename-format\": \"raw\"");
}

static void test_defaults(void)
{
    if (scratch_has("qemu-img"))
        run_in_rt(defaults);
}

/* QEMU finds a disk of zeros, and writes to it. */
static void use(void)
{
    static const unsigned bits[] = {9, 12, 14, 17, 21};

    for (unsigned i = 0; i < ARRAY_LEN(bits); i++) {
        struct qcow2_plan plan = {.size_bytes = 64 * MIB, .cluster_bits = bits[i]};
        const char *path = scratch_path("used.qcow2");

        if (!make_image(path, &plan))
            return;
        CU_ASSERT(
            scratch_run("qemu-io -c 'read -P 0 0 64M' -c 'write -P 7 1M 3M' -c 'write -P 8 60M 4M' "
                        "-c 'read -P 7 1M 3M' -c 'read -P 0 4M 56M' -c 'read -P 8 60M 4M' %s",
                path));
        CU_ASSERT(scratch_run("qemu-img check %s", path));
    }
}

static void test_use(void)
{
    if (scratch_has("qemu-io"))
        run_in_rt(use);
}

/* The refcount table need not move for as much as the disk holds, and its metadata. */
static void room(void)
{
    for (unsigned bits = QCOW2_CLUSTER_BITS_MIN; bits <= QCOW2_CLUSTER_BITS_MAX; bits++) {
        struct qcow2_plan plan = {.size_bytes = 10 * GIB, .cluster_bits = bits};
        struct qcow2_header h = {0};
        struct qcow2_geometry g;
        struct blockdev *file;
        uint8_t head[512];
        uint64_t bytes = 0;

        CU_ASSERT_EQUAL(qcow2_plan_bytes(&plan, &bytes, NULL), 0);
        CU_ASSERT_EQUAL(member_memory("m", round_up(bytes, 4096), 4096, &file), 0);
        CU_ASSERT_EQUAL(qcow2_format(file, &plan, NULL), 0);
        CU_ASSERT_EQUAL(blockdev_read_bytes(file, head, 0, sizeof head), 0);
        CU_ASSERT_EQUAL(qcow2_header_read(&h, head, sizeof head, file->size_bytes, NULL), 0);
        qcow2_geometry_init(&g, &h);
        CU_ASSERT((uint64_t)h.reftable_clusters << (2 * bits - 3 + g.refcount_block_bits) >=
                  plan.size_bytes + ((uint64_t)h.l1_entries << bits) + bytes);
        qcow2_header_free(&h);
        blockdev_close(file);
    }
}

static void test_room(void)
{
    run_in_rt(room);
}

static void refused(const struct qcow2_plan *plan, int code, const char *part)
{
    struct error err = {0};
    uint64_t bytes = 77;

    CU_ASSERT_EQUAL(qcow2_plan_bytes(plan, &bytes, &err), -code);
    CU_ASSERT(strstr(err.text, part) && bytes == 77);
}

static void test_refused(void)
{
    char name[1025];

    memset(name, 'n', 1024);
    name[1024] = '\0';
    refused(&(struct qcow2_plan){.size_bytes = 511}, EINVAL, "multiple of 512");
    refused(&(struct qcow2_plan){.cluster_bits = 8}, EINVAL, "clusters are");
    refused(&(struct qcow2_plan){.cluster_bits = 22}, EINVAL, "clusters are");
    refused(&(struct qcow2_plan){.refcount_order = 7}, EINVAL, "64 bits");
    refused(&(struct qcow2_plan){.backing_name = name}, EINVAL, "1023");
    refused(&(struct qcow2_plan){.size_bytes = 128 * GIB + 512, .cluster_bits = 9}, EFBIG,
        "larger clusters");
    refused(&(struct qcow2_plan){.size_bytes = -UINT64_C(512)}, EFBIG, "larger clusters");
}

static const struct qcow2_plan small_plan = {.size_bytes = GIB, .cluster_bits = 12};

static struct blockdev *make_fault(void)
{
    struct blockdev *memory, *file;
    uint64_t bytes = 0;

    CU_ASSERT_EQUAL(qcow2_plan_bytes(&small_plan, &bytes, NULL), 0);
    CU_ASSERT_EQUAL(member_memory("m", bytes, 512, &memory), 0);
    CU_ASSERT_EQUAL(fault_create(memory, &file), 0);
    return file;
}

static bool has_header(struct blockdev *file)
{
    uint8_t head[4];

    CU_ASSERT_EQUAL(blockdev_read_bytes(file, head, 0, sizeof head), 0);
    return !memcmp(head, "QFI\xfb", 4);
}

/* The header is written between two flushes, and nothing after it. */
static void order(void)
{
    struct blockdev *file = make_fault();
    struct fault_record log[64];
    unsigned n;

    CU_ASSERT_EQUAL(qcow2_format(file, &small_plan, NULL), 0);
    n = fault_log(file, log, ARRAY_LEN(log));
    CU_ASSERT(n >= 5 && n <= ARRAY_LEN(log));
    CU_ASSERT_EQUAL(log[n - 1].kind, BLOCK_FLUSH);
    CU_ASSERT(log[n - 2].kind == BLOCK_WRITE && log[n - 2].offset == 0);
    CU_ASSERT_EQUAL(log[n - 3].kind, BLOCK_FLUSH);
    blockdev_close(file);
}

static void test_order(void)
{
    run_in_rt(order);
}

static void fail_at(enum block_kind kind, unsigned skip, bool expect_header)
{
    struct fault_rule rule = {.kind = kind, .skip = skip, .error = -EIO};
    struct blockdev *file = make_fault();
    struct error err = {0};

    CU_ASSERT(fault_add(file, &rule) > 0);
    CU_ASSERT_EQUAL(qcow2_format(file, &small_plan, &err), -EIO);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "writing a new image"));
    CU_ASSERT_EQUAL(has_header(file), expect_header);
    blockdev_close(file);
}

static void failures(void)
{
    struct error err = {0};
    struct blockdev *file;
    uint64_t bytes = 0;

    fail_at(BLOCK_WRITE_ZEROES, 0, false);
    fail_at(BLOCK_WRITE, 0, false);
    fail_at(BLOCK_WRITE, 1, false);
    fail_at(BLOCK_FLUSH, 0, false);
    fail_at(BLOCK_WRITE, 2, false);
    fail_at(BLOCK_FLUSH, 1, true);
    CU_ASSERT_EQUAL(qcow2_plan_bytes(&small_plan, &bytes, NULL), 0);
    CU_ASSERT_EQUAL(member_memory("small", bytes - 4096, 512, &file), 0);
    CU_ASSERT_EQUAL(qcow2_format(file, &small_plan, &err), -ENOSPC);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "too small"));
    blockdev_close(file);
}

static void test_failures(void)
{
    run_in_rt(failures);
}

CU_TestInfo create_tests[] = {{"a grid of plans", test_grid}, {"large disks", test_large},
    {"defaults and a backing", test_defaults}, {"QEMU uses them", test_use},
    {"room in the refcount table", test_room}, {"plans that cannot be", test_refused},
    {"the header comes last", test_order}, {"what fails", test_failures}, CU_TEST_INFO_NULL};
