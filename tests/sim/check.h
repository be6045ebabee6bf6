/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the checkers have in common: how they look at a disk, and where they say what is wrong.
 *
 * The checkers (check_md, check_copies, check_lvm) are a second opinion on what stands on the
 * disks: written from the formats, apart from the codecs in lib/. They only read, keep nothing, and
 * do not stop at what is damaged: they say so.
 */
#ifndef ASHLAR_TESTS_SIM_CHECK_H
#define ASHLAR_TESTS_SIM_CHECK_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CHECK_SECTOR_BYTES 512u

/* A disk, or whatever is read like one. Copied freely; what arg points to has to stay. */
struct check_disk {
    const char *name;
    uint64_t size_bytes;
    /* Whole sectors inside the disk: a pointer to them where they are, or to buf (room for length),
     * filled. NULL: they cannot be read. */
    const void *(*at)(void *arg, void *buf, uint64_t offset, uint64_t length);
    void *arg;
};

struct sim_disk;
/* A simulated disk, without faults. */
struct check_disk check_sim_disk(const struct sim_disk *d);
/* An image in memory. */
struct check_disk check_image(const char *name, const void *bytes, uint64_t size_bytes);

/* NULL also when the range is not inside the disk. */
const void *check_read(const struct check_disk *d, void *buf, uint64_t offset, uint64_t length);

/* What is wrong, a line each; what has no room is counted only. */
struct check_problems {
    unsigned count;
    size_t used;
    char text[2048];
};
void check_problem(struct check_problems *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Little-endian numbers at p + offset, which need not be aligned. */
static inline uint16_t check_u16(const void *p, size_t offset)
{
    uint16_t n;

    memcpy(&n, (const char *)p + offset, sizeof n);
    return le16toh(n);
}

static inline uint32_t check_u32(const void *p, size_t offset)
{
    uint32_t n;

    memcpy(&n, (const char *)p + offset, sizeof n);
    return le32toh(n);
}

static inline uint64_t check_u64(const void *p, size_t offset)
{
    uint64_t n;

    memcpy(&n, (const char *)p + offset, sizeof n);
    return le64toh(n);
}

#endif
