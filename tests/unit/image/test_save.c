/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images are held against qemu-img: no fault, no leak, and the same content. */
#include "image/save.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../block/scratch.h"
#include "../rt/run.h"
#include "block/fault.h"
#include "block/member.h"
#include "disk.h"
#include "image/check.h"
#include "image/copy.h"
#include "unit.h"

#define MiB (UINT64_C(1) << 20)

static int grow(void *file, uint64_t size_bytes)
{
    return member_resize(file, size_bytes);
}

static const struct qcow2_file_ops grows = {.grow = grow};

static struct blockdev *new_file(const char *name, uint64_t size_bytes)
{
    struct blockdev *d = NULL;

    CU_ASSERT_EQUAL(member_open(scratch_file(name, size_bytes), 0, &d, NULL), 0);
    return d;
}

/* Keeps what the disk is, for qemu-img to compare. */
static void save_raw(struct blockdev *from)
{
    struct blockdev *raw = new_file("raw", from->size_bytes);
    struct copy_plan plan = {.from = from, .to = raw};

    CU_ASSERT_EQUAL(copy_disk(&plan, NULL), 0);
    blockdev_close(raw);
}

static bool qemu_agrees(void)
{
    return scratch_run("qemu-img check %s | grep -q 'No errors'", scratch_path("image")) &&
           scratch_run("qemu-img compare -f raw -F qcow2 %s %s", scratch_path("raw"),
               scratch_path("image"));
}

static bool saves(struct blockdev *from, const struct qcow2_plan *image, bool compress)
{
    struct blockdev *file = new_file("image", 4096);
    struct digest digest;
    struct save_plan plan = {.from = from,
        .to = {.file = file, .image = *image, .file_ops = &grows, .file_arg = file},
        .compress = compress,
        .digest = &digest};
    uint8_t read[DIGEST_BYTES], is[DIGEST_BYTES];
    struct error err = {0};
    uint64_t end_bytes = 0;

    plan.to.image.size_bytes = from->size_bytes;
    digest_init(&digest);
    CU_ASSERT_EQUAL(save_qcow2(&plan, &end_bytes, &err), 0);
    CU_ASSERT_STRING_EQUAL(err.text, "");
    digest_end(&digest, read);
    CU_ASSERT_EQUAL(digest_disk(from, from->size_bytes, is, NULL, NULL, NULL), 0);
    CU_ASSERT_EQUAL(memcmp(read, is, sizeof is), 0);
    CU_ASSERT_EQUAL(member_resize(file, end_bytes), 0);
    blockdev_close(file);
    return qemu_agrees();
}

static void all_formats(void)
{
    static const unsigned bits[] = {9, 16, 21};
    struct blockdev *from = disk_sparse(7 * MiB + 3 * 512, 512);

    if (!scratch_has("qemu-img"))
        return;
    save_raw(from);
    for (unsigned i = 0; i < 3; i++)
        for (unsigned extended = 0; extended < (bits[i] < 14 ? 1 : 2); extended++)
            for (unsigned how = 0; how < 3; how++) {
                struct qcow2_plan image = {.cluster_bits = bits[i],
                    .standard_l2 = !extended,
                    .compression = how == 2 ? QCOW2_ZSTD : QCOW2_ZLIB,
                    .no_lazy_refcounts = extended};

                CU_ASSERT(saves(from, &image, how > 0));
            }
    blockdev_close(from);
}

static void refcount_orders(void)
{
    struct blockdev *from = disk_sparse(5 * MiB, 512);

    if (!scratch_has("qemu-img"))
        return;
    save_raw(from);
    for (unsigned order = 1; order <= 6; order++)
        CU_ASSERT(saves(
            from, &(struct qcow2_plan){.cluster_bits = 12, .refcount_order = order}, order >= 4));
    blockdev_close(from);
}

/* Compressible and not by turns, in stretches of all lengths, and zeros. */
static void mixed(void)
{
    struct blockdev *from = NULL;
    uint8_t *bytes = malloc(16 * MiB);
    uint64_t state = 5;

    if (!scratch_has("qemu-img"))
        return;
    CU_ASSERT_EQUAL(member_memory("memory", 16 * MiB, 512, &from), 0);
    for (uint64_t at = 0, n; at < 16 * MiB; at += n) {
        unsigned kind = random_below(&state, 3);

        n = 4096 * (1 + random_below(&state, 60));
        n = n < 16 * MiB - at ? n : 16 * MiB - at;
        for (uint64_t i = at; i < at + n; i++)
            bytes[i] = kind == 0   ? 0
                       : kind == 1 ? (uint8_t)(i / 99)
                                   : (uint8_t)random_below(&state, 256);
    }
    CU_ASSERT_EQUAL(blockdev_write(from, bytes, 0, 16 * MiB, 0), 0);
    save_raw(from);
    for (unsigned bits = 12; bits <= 16; bits += 4) {
        CU_ASSERT(saves(from, &(struct qcow2_plan){.cluster_bits = bits}, true));
        CU_ASSERT(saves(
            from, &(struct qcow2_plan){.cluster_bits = bits, .compression = QCOW2_ZSTD}, true));
        CU_ASSERT(saves(from, &(struct qcow2_plan){.cluster_bits = bits}, false));
    }
    free(bytes);
    blockdev_close(from);
}

/* More refcount blocks and L2 tables than one. Data are left as the file has them: zeros. */
static void large(void)
{
    struct blockdev *file = new_file("image", 4096);
    const struct writer_plan plan = {.file = file,
        .image = {.size_bytes = UINT64_C(1) << 46},
        .file_ops = &grows,
        .file_arg = file};
    const uint64_t clusters = plan.image.size_bytes >> QCOW2_DEFAULT_CLUSTER_BITS, n = 20000;
    uint64_t end_bytes = 0, offset = 0;
    struct writer w;

    if (!scratch_has("qemu-img"))
        return;
    CU_ASSERT_EQUAL(writer_begin(&w, &plan, NULL), 0);
    for (uint64_t c = 5; c < clusters; c += clusters / 8) {
        CU_ASSERT_EQUAL(writer_take(&w, n, &offset, NULL), 0);
        for (uint64_t i = 0; i < n; i++)
            writer_map(&w, c + i, writer_plain_entry(&w, offset + i * w.cluster_bytes), NULL);
    }
    CU_ASSERT_EQUAL(writer_end(&w, &end_bytes, NULL), 0);
    writer_free(&w);
    CU_ASSERT_EQUAL(member_resize(file, end_bytes), 0);
    blockdev_close(file);
    CU_ASSERT(scratch_run("qemu-img check %s | grep -q 'No errors'", scratch_path("image")));
    CU_ASSERT(
        scratch_run("qemu-img info %s | grep -q 'virtual size: 64 TiB'", scratch_path("image")));
}

static struct blockdev *open_again(struct blockdev *file)
{
    struct blockdev *again = NULL;

    blockdev_close(file);
    CU_ASSERT(qemu_agrees());
    CU_ASSERT_EQUAL(member_open(scratch_path("image"), 0, &again, NULL), 0);
    return again;
}

/* What the file had stays whole until the header changes. */
static void beside_another(void)
{
    struct blockdev *from = disk_sparse(5 * MiB, 512), *file = new_file("image", 16 * MiB);
    struct save_plan plan = {
        .from = from, .to = {.file = file, .image = {.size_bytes = from->size_bytes}}};
    struct fault_rule rule = {.kind = BLOCK_WRITE, .length = 4096, .error = -EIO};
    uint64_t first_bytes = 0, end_bytes = 0;

    if (!scratch_has("qemu-img"))
        return;
    save_raw(from);
    CU_ASSERT_EQUAL(save_qcow2(&plan, &first_bytes, NULL), 0);
    plan.to.first_bytes = first_bytes;
    CU_ASSERT_EQUAL(fault_create(open_again(file), &plan.to.file), 0);
    fault_add(plan.to.file, &rule);
    CU_ASSERT_EQUAL(save_qcow2(&plan, &end_bytes, NULL), -EIO);
    plan.to.file = open_again(plan.to.file);
    CU_ASSERT_EQUAL(save_qcow2(&plan, &end_bytes, NULL), 0);
    CU_ASSERT(end_bytes > first_bytes);
    blockdev_close(open_again(plan.to.file));
    blockdev_close(from);
}

/* The disk of the image that is in the file now, which is whole. */
static void digest_of_image(struct blockdev *file, uint8_t digest[DIGEST_BYTES])
{
    const struct qcow2_options options = {.read_only = true};
    struct check_result *result = calloc(1, sizeof *result);
    struct qcow2 *q = NULL;

    memset(digest, 0, DIGEST_BYTES);
    CU_ASSERT_EQUAL(qcow2_check(file, 0, NULL, NULL, result, NULL), 0);
    CU_ASSERT(check_is_clean(result) && result->found[CHECK_LEAK] == 0);
    free(result);
    CU_ASSERT_EQUAL(qcow2_open(&q, file, "image", &options, NULL), 0);
    if (!q)
        return;
    CU_ASSERT_EQUAL(digest_disk(qcow2_blockdev(q), 5 * MiB, digest, NULL, NULL, NULL), 0);
    qcow2_close(q);
}

/* It ends at any write or flush: there is the old image. The header is the last to be written, when
 * all else is durable. */
static void cut_off_beside_another(void)
{
    struct blockdev *old = disk_sparse(5 * MiB, 512), *new = disk_sparse(5 * MiB, 512),
                    *file = NULL;
    struct save_plan plan = {.from = old, .to.image = {.size_bytes = 5 * MiB}, .compress = true};
    uint8_t before[DIGEST_BYTES], wanted[DIGEST_BYTES], is[DIGEST_BYTES];
    struct fault_record records[256];
    uint64_t end_bytes = 0;
    unsigned n;
    int rc = -EIO;

    disk_fill(new, 4);
    CU_ASSERT_EQUAL(digest_disk(old, 5 * MiB, before, NULL, NULL, NULL), 0);
    CU_ASSERT_EQUAL(member_memory("memory", 16 * MiB, 512, &file), 0);
    CU_ASSERT_EQUAL(fault_create(file, &file), 0);
    plan.to.file = file;
    CU_ASSERT_EQUAL(save_qcow2(&plan, &plan.to.first_bytes, NULL), 0);
    plan.from = new;
    CU_ASSERT_EQUAL(digest_disk(new, 5 * MiB, wanted, NULL, NULL, NULL), 0);
    for (unsigned skip = 0; rc && skip < 200; skip++) {
        fault_add(file, &(struct fault_rule){.kind = BLOCK_WRITE, .skip = skip, .error = -EIO});
        fault_log_clear(file);
        rc = save_qcow2(&plan, &end_bytes, NULL);
        fault_clear(file);
        if (rc) {
            CU_ASSERT_EQUAL(rc, -EIO);
            digest_of_image(file, is);
            CU_ASSERT_EQUAL(memcmp(is, before, sizeof is), 0);
        }
    }
    CU_ASSERT_EQUAL(rc, 0);
    n = fault_log(file, records, 256);
    CU_ASSERT(n > 3 && n <= 256);
    CU_ASSERT(records[n - 1].kind == BLOCK_WRITE && records[n - 1].offset == 0);
    CU_ASSERT(records[n - 1].flags & BLOCK_FUA);
    CU_ASSERT_EQUAL(records[n - 2].kind, BLOCK_FLUSH);
    for (unsigned i = 0; i < n - 1; i++)
        CU_ASSERT(records[i].kind != BLOCK_WRITE || records[i].offset >= plan.to.first_bytes);
    digest_of_image(file, is);
    CU_ASSERT_EQUAL(memcmp(is, wanted, sizeof is), 0);
    blockdev_close(file);
    blockdev_close(old);
    blockdev_close(new);
}

static void no_room(void)
{
    struct blockdev *from = disk_sparse(5 * MiB, 512), *file = new_file("image", 2 * MiB);
    struct save_plan plan = {
        .from = from, .to = {.file = file, .image = {.size_bytes = from->size_bytes}}};
    struct error err = {0};
    uint64_t end_bytes = 7;

    CU_ASSERT_EQUAL(save_qcow2(&plan, &end_bytes, &err), -ENOSPC);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "no room for more than 2097152 bytes"));
    CU_ASSERT_EQUAL(end_bytes, 7);
    blockdev_close(file);
    CU_ASSERT_FALSE(scratch_run("qemu-img info -f qcow2 %s", scratch_path("image")));
    blockdev_close(from);
}

static void refused(void)
{
    struct blockdev *from = disk_sparse(2 * MiB, 512), *file = new_file("image", 8 * MiB);
    struct save_plan plan = {.from = from, .to = {.file = file, .image = {.size_bytes = MiB}}};
    uint64_t end_bytes;

    CU_ASSERT_EQUAL(save_qcow2(&plan, &end_bytes, NULL), -EINVAL);
    plan.to.image = (struct qcow2_plan){.size_bytes = 2 * MiB, .cluster_bits = 22};
    CU_ASSERT_EQUAL(save_qcow2(&plan, &end_bytes, NULL), -EINVAL);
    plan.to.image = (struct qcow2_plan){.size_bytes = 2 * MiB, .refcount_order = 1};
    plan.compress = true;
    CU_ASSERT_EQUAL(save_qcow2(&plan, &end_bytes, NULL), -EINVAL);
    plan.to.image = (struct qcow2_plan){.size_bytes = UINT64_C(1) << 60, .cluster_bits = 9};
    CU_ASSERT_EQUAL(save_qcow2(&plan, &end_bytes, NULL), -EFBIG);
    blockdev_close(file);
    blockdev_close(from);
}

#define RUN(fn)                                                                                    \
    static void test_##fn(void)                                                                    \
    {                                                                                              \
        run_in_rt(fn);                                                                             \
    }
RUN(all_formats)
RUN(refcount_orders)
RUN(mixed)
RUN(large)
RUN(beside_another)
RUN(cut_off_beside_another)
RUN(no_room)
RUN(refused)

CU_TestInfo save_tests[] = {{"clusters, subclusters, compression", test_all_formats},
    {"refcounts of all widths", test_refcount_orders},
    {"compressible and not by turns", test_mixed}, {"64 TiB", test_large},
    {"beside another image", test_beside_another},
    {"cut off beside another image", test_cut_off_beside_another}, {"no room", test_no_room},
    {"plans that cannot be", test_refused}, CU_TEST_INFO_NULL};
