/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images made by qemu-img and qemu-io are read as qemu-img reads them. */
#include "image/source.h"

#include <errno.h>
#include <string.h>

#include "../block/scratch.h"
#include "../rt/run.h"
#include "block/member.h"
#include "image/digest.h"
#include "unit.h"

static bool open_source(struct source *s, const char *name, enum source_format format)
{
    struct error err = {0};
    int rc = source_open(s, scratch_path(name), format, &err);

    CU_ASSERT_EQUAL(rc, 0);
    CU_ASSERT_STRING_EQUAL(err.text, "");
    return rc == 0;
}

static void digest_of(const char *name, enum source_format format, uint8_t digest[DIGEST_BYTES])
{
    struct source s;

    memset(digest, 0, DIGEST_BYTES);
    if (!open_source(&s, name, format))
        return;
    CU_ASSERT_EQUAL(digest_disk(s.disk, s.disk->size_bytes, digest, NULL, NULL, NULL), 0);
    source_close(&s);
}

static void same_as_raw(void)
{
    uint8_t image[DIGEST_BYTES], raw[DIGEST_BYTES];

    CU_ASSERT(scratch_run(
        "qemu-img convert -f qcow2 -O raw %s %s", scratch_path("image"), scratch_path("as-raw")));
    digest_of("image", SOURCE_QCOW2, image);
    digest_of("as-raw", SOURCE_RAW, raw);
    CU_ASSERT_EQUAL(memcmp(image, raw, sizeof raw), 0);
}

/* Compressed or not, by options of all kinds. */
static void converted(void)
{
    static const char *const options[] = {"-o compat=0.10", "-o cluster_size=512",
        "-o cluster_size=2M", "-o extended_l2=on,cluster_size=16k", "-o refcount_bits=1",
        "-o refcount_bits=64,lazy_refcounts=on", "-o preallocation=metadata", "-c",
        "-c -o compression_type=zstd", "-c -o cluster_size=4k", "-c -o cluster_size=2M",
        "-c -o extended_l2=on", "-c -o compat=0.10"};

    if (!scratch_has("qemu-img") || !scratch_has("qemu-io"))
        return;
    CU_ASSERT(scratch_run("truncate -s 9M %s; qemu-io -f raw -c 'write -P 7 1M 3M' -c 'write -P 8 "
                          "4660k 1k' -c 'write -P 9 9215k 1k' %s",
        scratch_path("raw"), scratch_path("raw")));
    for (unsigned i = 0; i < sizeof options / sizeof *options; i++) {
        CU_ASSERT(scratch_run("qemu-img convert -f raw -O qcow2 %s %s %s", options[i],
            scratch_path("raw"), scratch_path("image")));
        same_as_raw();
    }
}

/* Written at random, with zeros, discards and a snapshot before. */
static void written(void)
{
    static const char *const options[] = {"cluster_size=4k", "extended_l2=on", "compat=0.10"};

    if (!scratch_has("qemu-img") || !scratch_has("qemu-io"))
        return;
    for (unsigned i = 0; i < 3; i++) {
        const char *image = scratch_path("image");

        CU_ASSERT(scratch_run("qemu-img create -f qcow2 -o %s %s 64M", options[i], image));
        CU_ASSERT(scratch_run("qemu-io -c 'write -P 1 0 1M' -c 'write -P 2 31M 5k' %s && "
                              "qemu-img snapshot -c before %s",
            image, image));
        CU_ASSERT(scratch_run("qemu-io -c 'write -P 3 512k 1M' -c 'write -z 64k 90k' -c 'discard "
                              "1M 128k' -c 'write -P 4 67108352 512' %s",
            image));
        same_as_raw();
    }
}

static void refused(const char *name, enum source_format format, int code, const char *text)
{
    struct error err = {0};
    struct source s;

    CU_ASSERT_EQUAL(source_open(&s, scratch_path(name), format, &err), -code);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, text));
}

static void odd_file(void)
{
    struct source s;
    uint8_t last[2] = {1, 1};

    CU_ASSERT(scratch_run(
        "truncate -s 1048577 %s; printf x >> %s", scratch_path("odd"), scratch_path("odd")));
    if (!open_source(&s, "odd", SOURCE_UNSAID))
        return;
    CU_ASSERT_EQUAL(s.disk->size_bytes % 512, 0);
    CU_ASSERT_EQUAL(blockdev_read_bytes(s.disk, last, 1048577, 2), 0);
    CU_ASSERT_EQUAL(last[0], 'x');
    CU_ASSERT_EQUAL(last[1], 0);
    source_close(&s);
}

static void refusals(void)
{
    CU_ASSERT(scratch_run(
        "truncate -s 1M %s; truncate -s 1048777 %s", scratch_path("zeros"), scratch_path("odd")));
    refused("none", SOURCE_RAW, ENOENT, "No such file");
    refused("zeros", SOURCE_QCOW2, ENOEXEC, "");
    if (!scratch_has("qemu-img"))
        return;
    /* Making a really encrypted image takes qemu-img seconds, or fails on a busy machine. */
    CU_ASSERT(scratch_run("cd %s && qemu-img create -f qcow2 image 1M && qemu-img create -f qcow2 "
                          "-b image -F qcow2 over && cp image locked && printf '\\002' | "
                          "dd of=locked bs=1 seek=35 conv=notrunc && "
                          "qemu-img create -f qcow2 -o data_file=outside split 1M",
        scratch_path("")));
    refused("over", SOURCE_QCOW2, EOPNOTSUPP, "lies over another image, image, which");
    refused("locked", SOURCE_QCOW2, EOPNOTSUPP, "encrypted (LUKS)");
    refused("split", SOURCE_QCOW2, EOPNOTSUPP, "data file");
    refused("image", SOURCE_UNSAID, EINVAL, "begins like a qcow2 image");
}

/* Taken as it is, if that is what was said. */
static void image_as_raw(void)
{
    struct source s;
    uint8_t magic[4];

    if (!scratch_has("qemu-img"))
        return;
    CU_ASSERT(scratch_run("qemu-img create -f qcow2 %s 1M", scratch_path("image")));
    if (!open_source(&s, "image", SOURCE_RAW))
        return;
    CU_ASSERT_EQUAL(blockdev_read_bytes(s.disk, magic, 0, 4), 0);
    CU_ASSERT_EQUAL(memcmp(magic, "QFI\xfb", 4), 0);
    CU_ASSERT_EQUAL(blockdev_write_bytes(s.disk, magic, 0, 4, 0), -EROFS);
    source_close(&s);
}

#define RUN(fn)                                                                                    \
    static void test_##fn(void)                                                                    \
    {                                                                                              \
        run_in_rt(fn);                                                                             \
    }
RUN(converted)
RUN(written)
RUN(odd_file)
RUN(refusals)
RUN(image_as_raw)

CU_TestInfo source_tests[] = {{"converted by qemu-img", test_converted},
    {"written by qemu-io", test_written}, {"a file that ends anywhere", test_odd_file},
    {"what is refused", test_refusals}, {"an image taken as raw", test_image_as_raw},
    CU_TEST_INFO_NULL};
